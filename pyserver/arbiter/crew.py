"""The worker processes: forked, heard, told and reaped. Every system call about them is here; no decision is."""

from __future__ import annotations

import contextlib
import os
import select
from typing import TYPE_CHECKING

from pyserver._scoreboard import Cell, Scoreboard
from pyserver.arbiter.reports import ReportPipe
from pyserver.arbiter.roster import Member, Roster
from pyserver.arbiter.spawn import Lifeline, fork_worker
from pyserver.workers.base import Seat

if TYPE_CHECKING:
    import signal
    import socket
    from collections.abc import Iterable, Iterator, Sequence

    from pyserver.arbiter.generations import Generation
    from pyserver.arbiter.spawn import Closable
    from pyserver.workers.base import Report


class Crew:
    """All workers there are.

    Args:
        slots: how many there can be at the same time.
        poll: what the arbiter waits with; it learns of every report pipe.
    """

    def __init__(self, slots: int, poll: select.poll) -> None:
        self.roster = Roster(slots)
        self._scoreboard = Scoreboard(slots)
        self._lifeline = Lifeline()
        self._pipes: dict[int, ReportPipe] = {}  # by process id
        self._poll = poll

    def spawn(
        self, generation: Generation, listeners: Sequence[socket.socket], not_its_own: Iterable[Closable]
    ) -> bool:
        """Fork a worker of the generation; false when no slot is free, until somebody is reaped.

        Raises:
            OSError: the system has no room for another process, or no descriptor for its pipe.
        """
        slot = self.roster.free_slot()
        if slot is None:
            return False
        pipe = ReportPipe()
        seat = Seat(
            slot=slot,
            generation=generation.number,
            settings=generation.settings,
            listeners=listeners,
            scoreboard=self._scoreboard,
            log=generation.log,
            lifeline=self._lifeline.read_end,
            reports=pipe.write_end,
        )
        try:
            foreign = (*not_its_own, self._lifeline, *self._pipes.values(), pipe)
            pid = fork_worker(generation.worker_class, seat, foreign, generation.name)
        except OSError:
            pipe.close()
            raise
        finally:
            pipe.close_write_end()
        self._pipes[pid] = pipe
        self._poll.register(pipe, select.POLLIN)
        self.roster.add(Member(slot=slot, pid=pid, generation=generation.number))
        return True

    def look(self) -> list[Member]:
        """The workers, oldest first, with what the scoreboard says about them now."""
        self.roster.note_busy(lambda slot: self._scoreboard.read(slot, Cell.BUSY_SINCE_NS))
        return list(self.roster)

    def hear(self, member: Member) -> list[Report]:
        """What the worker has said since the last time."""
        pipe = self._pipes[member.pid]
        reports, is_at_end = pipe.read()
        if is_at_end:
            # Its end could be read for ever, and the wait would end at once each time.
            self._forget(pipe)
        return reports

    def announce_stop(self) -> None:
        """Let every worker know, before it is told to go, that no other will take its place."""
        for member in self.roster:
            self._scoreboard.write(member.slot, Cell.STOPS, 1)

    def tell(self, member: Member, number: signal.Signals) -> None:
        """Send it a signal."""
        # It may have died already; then it is about to be reaped.
        with contextlib.suppress(ProcessLookupError):
            os.kill(member.pid, number)

    def dead(self) -> Iterator[tuple[Member, int]]:
        """The workers that have died, and their exit status as `os.waitpid` has it; each is to be buried."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            # As process 1 of a container we inherit the orphans of others; they are reaped and forgotten.
            member = self.roster.find(pid)
            if member is not None:
                yield member, status

    def bury(self, member: Member) -> None:
        """Give free what a dead worker had."""
        self.roster.remove(member)
        self._scoreboard.clear(member.slot)
        pipe = self._pipes.pop(member.pid)
        self._forget(pipe)
        pipe.close()

    def request_of(self, member: Member) -> str:
        """What a worker is doing or did last, as the end of a sentence."""
        line = self._scoreboard.request_line(member.slot)
        if not line:
            return "it had no request yet"
        if self._scoreboard.read(member.slot, Cell.BUSY_SINCE_NS):
            return f"it was running {line}"
        return f"its last request was {line}"

    def connections_of(self, member: Member) -> int:
        """How many connections it has open."""
        return self._scoreboard.read(member.slot, Cell.CONNECTIONS)

    def _forget(self, pipe: ReportPipe) -> None:
        with contextlib.suppress(KeyError):
            self._poll.unregister(pipe)
