"""The worker processes: forked, heard, told and reaped. Every system call about them is here; no decision is."""

from __future__ import annotations

import contextlib
import os
import resource  # noqa: F401 - os.wait4 wants it, and might find no descriptor left to import it with
import select
import signal
import time
from typing import TYPE_CHECKING

from pyserver._scoreboard import Cell
from pyserver.arbiter.actions import Reason
from pyserver.arbiter.memory import peak_bytes, private_bytes
from pyserver.arbiter.molds import EventKind, Molds, new_mold
from pyserver.arbiter.reports import Channel
from pyserver.arbiter.roster import Member, Roster
from pyserver.arbiter.spawn import Lifeline, fork_worker
from pyserver.errors import EXIT_WORKER_BOOT
from pyserver.ledger import Ledger, Word
from pyserver.workers.messages import ARE_YOU_THERE, RELIEVE, Report, ReportKind, Seat, WorkerState

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from pyserver.arbiter.generations import Generation
    from pyserver.arbiter.hooks import Hooks
    from pyserver.arbiter.spawn import Closable
    from pyserver.commons import Commons
    from pyserver.log import ErrorLog

_SECOND_NS = 1_000_000_000
_WEIGHING_NS = _SECOND_NS  # how often the memory of a worker is looked at, at most

# Which word of a slot counts the connections that were passed on for which reason.
MOVED = {
    Cell.GIVEN_LEAVING: "by workers that left",
    Cell.GIVEN_BUSY: "by busy ones",
    Cell.GIVEN_UNEVEN: "by those that had more to do than others",
    Cell.GIVEN_ALWAYS: "for no reason",
}


class Crew:
    """All workers there are.

    Args:
        slots: how many there can be at the same time.
        poll: what the arbiter waits with; it learns of every channel.
    """

    def __init__(self, slots: int, poll: select.poll) -> None:
        self.roster = Roster(slots)
        self._lifeline = Lifeline()
        self._channels: dict[int, Channel] = {}  # by slot
        self._poll = poll
        self.ledger = Ledger(slots)
        self.molds = Molds(poll)
        self.commons: Commons | None = None  # by which workers pass connections on
        self._drains = False  # the server is to stop
        self._is_subreaper: bool | None = None  # None: nobody has asked for a mold
        self._strangers: dict[int, tuple[int, int]] = {}  # as `_reaped` has the dead, who may not be known yet
        self.note_stranger: Callable[[int, int], bool] = lambda pid, status: False  # whether somebody knew this one

    def spawn(
        self,
        generation: Generation,
        number: int,
        listeners: Sequence[socket.socket],
        not_its_own: Iterable[Closable],
        hooks: Hooks,
    ) -> bool:
        """Fork a worker of the generation, or have its mold fork it as soon as there is one.

        Returns:
            False when no slot is free, until somebody is reaped.

        Raises:
            OSError: the system has no room for another process, or no descriptor for its channel.
        """
        slot = self.roster.free_slot()
        if slot is None:
            return False
        channel = Channel()
        generation.scoreboard.write(slot, Cell.DRAINS, self._drains)
        seat = self._seat(slot, number, generation, listeners, channel)
        try:
            foreign = (*not_its_own, *self._not_for(generation), channel)
            pid = self._started(generation, seat, foreign, hooks)
        except OSError:
            channel.close()
            raise
        finally:
            channel.close_theirs()
        if pid is None:
            channel.close()
            return True
        now_ns, board = time.monotonic_ns(), generation.scoreboard
        member = Member(slot, pid, generation.number, number=number, forked_at_ns=now_ns, scoreboard=board)
        member.access_file = generation.access_file
        self._enrol(member, channel)
        return True

    def _enrol(self, member: Member, channel: Channel) -> None:
        self._channels[member.slot] = channel
        self._poll.register(channel, select.POLLIN)
        self.roster.add(member)
        self.ledger.count(Word.SPAWNED)

    def look(self, now_ns: int) -> list[Member]:
        """The workers, oldest first, with what their scoreboards say about them now."""
        members = list(self.roster)
        for member in members:
            member.ends_requests = member.scoreboard.read(member.slot, Cell.ENDS_REQUESTS) != 0
            member.note_busy(member.scoreboard.instants(member.slot, member.told_slow_ns), now_ns)
        return members

    def hear(self, member: Member) -> list[Report]:
        """What the worker has said since the last time."""
        if not member.pid:
            return []  # Its mold says first who it is, or it could not be told anything.
        channel = self._channels[member.slot]
        reports, is_at_end = channel.read()
        if is_at_end:
            # Its end could be read for ever, and the wait would end at once each time.
            self._forget(channel)
        return reports

    def mute(self, member: Member) -> None:
        """Listen to the worker no more."""
        self._forget(self._channels[member.slot])

    def ask(self, member: Member) -> None:
        """Ask the worker whether it is there."""
        self._channels[member.slot].say(ARE_YOU_THERE)

    def note_timeout(self, member: Member, seconds: float) -> None:
        """Let the worker know what time its requests are over: it may have been started with another."""
        member.scoreboard.write(member.slot, Cell.TIMEOUT_NS, int(seconds * 1e9))

    def relieve(self, member: Member) -> None:
        """Tell the worker that requests are over their time while others are not."""
        self._channels[member.slot].say(RELIEVE)

    def refork(self, member: Member) -> bool:
        """Have a worker become the image of the next mold; whether it could be told."""
        try:
            mold, theirs = new_mold(member.generation)
        except OSError:
            return False
        with theirs:
            if not self._channels[member.slot].refork(theirs.fileno()):
                mold.close()
                return False
        self.molds.add(mold)
        return True

    def announce_stop(self) -> None:
        """Let every worker know, before it is told to go, that no other will take its place."""
        for member in self.roster:
            member.scoreboard.write(member.slot, Cell.STOPS, 1)

    def announce_drain(self) -> None:
        """Have every worker, and each that is to come, answer at the health path that the server is to stop."""
        self._drains = True
        for member in self.roster:
            member.scoreboard.write(member.slot, Cell.DRAINS, 1)

    def dismiss(self, member: Member) -> bool:
        """Have a worker that boots serve nobody; False when it serves, or may serve, already."""
        member.scoreboard.write(member.slot, Cell.DISMISSED, 1)
        # It says that it is ready, and looks then: where we see nothing of that, it sees that it is dismissed.
        return member.scoreboard.read(member.slot, Cell.STATE) <= WorkerState.BOOTING

    def weigh(self, now_ns: int, most_bytes: int) -> None:
        """Look how much memory each worker has to itself, exactly for one that may have more than `most_bytes`."""
        for member in self.roster:
            if member.pid and member.spent is None and now_ns - member.weighed_at_ns >= _WEIGHING_NS:
                member.weighed_at_ns = now_ns
                member.memory_bytes = private_bytes(member.pid, most_bytes) or 0

    def let_move(self, member: Member, staying: Iterable[Member], *, others_take: bool) -> None:
        """Before it retires: let it pass its connections on, if somebody takes them.

        Args:
            member: who retires.
            staying: those who do not: what one puts into the commons that leaves a moment later is nobody's.
            others_take: whether another arbiter has workers that do.
        """
        may = others_take or any(one.scoreboard.read(one.slot, Cell.TAKES) for one in staying if one is not member)
        member.scoreboard.write(member.slot, Cell.MOVES, may)

    def tell(self, member: Member, number: int) -> None:
        """Send it a signal."""
        if not member.pid:
            return
        # It may have died already; then it is about to be reaped.
        with contextlib.suppress(ProcessLookupError):
            os.kill(member.pid, number)

    def dead(self, now_ns: int) -> Iterator[tuple[Member, int]]:
        """The workers that have died, and their exit status as `os.wait4` has it; each is to be buried."""
        # A worker may be dead before its mold has said who it was; and as process 1 of a container we inherit the
        # orphans of others.
        self._strangers.update(_reaped())
        self._hear_molds()
        for pid, (status, peak) in tuple(self._strangers.items()):
            member = self.roster.find(pid)
            if member is not None:
                member.peak_bytes = peak
                yield member, status
            if member is not None or self.molds.note_dead(pid, status, now_ns) or self.note_stranger(pid, status):
                del self._strangers[pid]
        if not self.molds.are_asked():
            self._strangers.clear()

    def lost(self) -> list[Member]:
        """The workers that nobody will fork any more; each is to be buried."""
        missing = [member for member in self.roster if not member.pid]
        lost = [member for member in missing if member.is_dying or not self.molds.are_asked_for(member.slot)]
        for member in lost:
            if member.end is Reason.BOOT:
                member.failure = Report(ReportKind.FAILED, EXIT_WORKER_BOOT, "its mold has not forked it")
        return lost

    def bury(self, member: Member) -> int:
        """Give free what a dead worker had; how many lines of the access log are lost with it."""
        if not member.pid:
            self.molds.give_up(member.slot)
        self.roster.remove(member)
        # One that has said how many it cut was asked to quit while some of them ran.
        busy = len(member.scoreboard.rows_busy(member.slot))
        self.ledger.count(Word.ABANDONED, busy if member.abandoned is None else member.abandoned)
        self.ledger.add_gone(member.scoreboard, member.slot)
        channel = self._channels.pop(member.slot)
        self._forget(channel)
        channel.close()
        return member.access_file.bury(member.slot) if member.access_file is not None else 0

    def not_for_others(self) -> list[Closable]:
        """What is open here and of no use to a process that is no worker."""
        commons = [self.commons] if self.commons is not None else []
        files = [file for file in {member.access_file for member in self.roster} if file is not None]
        return [self._lifeline, *self._channels.values(), *self.molds, *commons, *files]

    def _not_for(self, generation: Generation) -> list[Closable]:
        """The same, of no use to a worker of the generation."""
        keeps = (self.commons, generation.access_file)
        return [one for one in self.not_for_others() if one not in keeps]

    def connections_of(self, member: Member) -> int:
        """How many connections it has open."""
        return member.scoreboard.read(member.slot, Cell.CONNECTIONS)

    def _seat(
        self, slot: int, number: int, generation: Generation, listeners: Sequence[socket.socket], channel: Channel
    ) -> Seat:
        return Seat(
            slot=slot,
            generation=generation.number,
            number=number,
            settings=generation.settings,
            listeners=listeners,
            scoreboard=generation.scoreboard,
            log=generation.log,
            lifeline=self._lifeline.read_end,
            channel=channel.theirs,
            contexts=generation.contexts,
            commons=self._commons_of(generation),
            access_file=generation.access_file,
            quic=generation.quic,
        )

    def _commons_of(self, generation: Generation) -> tuple[int, int] | None:
        if self.commons is None or generation.settings.move_connections == "off":
            return None
        return self.commons.descriptors

    def _started(
        self, generation: Generation, seat: Seat, not_its_own: Sequence[Closable], hooks: Hooks
    ) -> int | None:
        """The process id of the worker; 0 when a mold was asked for it, None when there is no mold to ask yet."""
        if not (generation.settings.preload_app and self._can_adopt(generation.log)):
            hooked = seat._replace(hooks=hooks.note_fork(seat.slot, seat.number))
            return fork_worker(generation.worker_class, hooked, not_its_own, generation.name)
        mold = self.molds.of(generation.number)
        if mold is None:
            # Imported by those who need it.
            from pyserver.arbiter.mold import fork_mold

            name, worker_class = generation.name, generation.worker_class
            self.molds.add(fork_mold(worker_class, seat, not_its_own, name, hooks.of_worker))
            return None
        if not mold.loaded_at_ns:
            return None
        worker_hooks = hooks.note_fork(seat.slot, seat.number)
        notes = b"" if worker_hooks is None else worker_hooks.notes()
        return 0 if mold.ask(seat.slot, seat.number, seat.channel, notes) else None

    def _can_adopt(self, log: ErrorLog) -> bool:
        """Whether the children of a mold can become ours."""
        if self._is_subreaper is None:
            # As above.
            from pyserver._process import become_subreaper

            self._is_subreaper = become_subreaper()
            if not self._is_subreaper:
                log.warning("preload_app needs a subreaper, which this system has not: each worker imports on its own")
        return self._is_subreaper

    def _hear_molds(self) -> None:
        for event in self.molds.hear():
            member = self.roster.at(event.slot)
            if event.kind is EventKind.REFUSED:
                member.failure = Report(ReportKind.FAILED, EXIT_WORKER_BOOT, os.strerror(event.number))
                continue
            member.pid = event.number
            if member.is_dying:
                # It was told to go before it was there.
                self.tell(member, signal.SIGKILL)

    def _forget(self, channel: Channel) -> None:
        with contextlib.suppress(KeyError):
            self._poll.unregister(channel)


def _reaped() -> Iterator[tuple[int, tuple[int, int]]]:
    """The children that have died since the last time: process id, status, and the most memory it had in bytes."""
    while True:
        try:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        yield pid, (status, peak_bytes(usage.ru_maxrss))
