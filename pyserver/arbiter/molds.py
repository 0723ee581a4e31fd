"""The arbiter's side of the molds: what is asked of them, what they say, and which of them are still wanted.

A mold is a process that has imported the application and forks workers (`pyserver.arbiter.mold` is its own side).
Both talk over a socket that keeps messages apart: an order takes the worker's end of its channel along, an event is
one message. When the socket ends, all has been said that will be.
"""

from __future__ import annotations

import contextlib
import enum
import os
import select
import signal
import socket
import struct
import time
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from pyserver.arbiter.actions import Reason
from pyserver.workers.messages import LONGEST_TEXT, Report, ReportKind

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

ORDER = struct.Struct("!cII")  # what, slot, number; followed by what the hooks have to say to the worker
FORK = b"f"  # comes with a descriptor
REOPEN = b"r"
DESCRIPTOR = struct.Struct("i")
_EVENT = struct.Struct("!BII")  # kind, slot, number; followed by the text
_LONGEST_EVENT = 65_536
_ABORT_NS = 1_000_000_000  # how long a mold may take to write its stacks
_LAST_WORDS_NS = 1_000_000_000  # how long after a mold's death the process that it has forked may tell of a worker


class EventKind(enum.IntEnum):
    """What a mold tells the arbiter."""

    LOADED = 1  # the application is there, and workers can be had; `number` is the mold's process
    FAILED = 2  # it could not be loaded; `number` is the exit code
    FORKED = 3  # `number` is the process that has the slot
    REFUSED = 4  # the slot stays empty; `number` says why, as errno does


class Event(NamedTuple):
    """One message of a mold."""

    kind: EventKind
    slot: int = 0
    number: int = 0
    text: str = ""

    def encoded(self) -> bytes:
        """The bytes that `decoded` reads."""
        # Of a long text, the end is kept: a message is sent in one piece.
        text = self.text.encode("utf-8", "backslashreplace")[-LONGEST_TEXT:]
        return _EVENT.pack(self.kind, self.slot, self.number) + text

    @classmethod
    def decoded(cls, data: bytes) -> Event:
        """The event of one message."""
        kind, slot, number = _EVENT.unpack_from(data)
        return cls(EventKind(kind), slot, number, data[_EVENT.size :].decode("utf-8", "replace"))


class Mold:
    """The handle on one mold. Nothing here waits.

    Args:
        pid: of its process, a child of this one; 0 when it is forked by a worker, until it says who it is.
        generation: whose workers come from it.
        channel: this process' end.
    """

    role: ClassVar[str] = "Mold"

    def __init__(self, pid: int, generation: int, channel: socket.socket) -> None:
        self.pid = pid
        self.is_refork = not pid
        self.is_promoted = False  # its workers are the ones that there should be
        self.generation = generation
        self.forked_at_ns = time.monotonic_ns()
        self.loaded_at_ns = 0
        self.aborted_at_ns = 0
        self.died_at_ns = 0
        self.status = 0  # of its process, as `os.waitpid` has it
        self.end: Reason | None = None  # why it was aborted or killed
        self.is_silent = False  # its channel has ended
        self.failure: Report | None = None  # why it could not load the application, in its own words
        self.ordered: set[int] = set()  # the slots whose workers it has still to fork
        self._channel = channel
        channel.setblocking(False)

    def fileno(self) -> int:
        """Readable when the mold has said something, or has ended."""
        return self._channel.fileno()

    def ask(self, slot: int, number: int, channel: socket.socket, notes: bytes = b"") -> bool:
        """Have it fork a worker with that end of a channel, and these notes of hooks; it answers FORKED or REFUSED.

        Returns:
            False when it cannot be asked now: it is about to be found dead, or many orders wait.

        Raises:
            OSError: too many descriptors are under way.
        """
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, DESCRIPTOR.pack(channel.fileno()))]
        try:
            self._channel.sendmsg([ORDER.pack(FORK, slot, number), notes], rights)
        except (BlockingIOError, ConnectionError):
            return False
        self.ordered.add(slot)
        return True

    def reopen(self) -> None:
        """Have it open the error log anew, so that the workers to come write to the new file."""
        with contextlib.suppress(OSError):
            self._channel.send(ORDER.pack(REOPEN, 0, 0))

    @property
    def is_alive(self) -> bool:
        """Whether it has not died, and was not told to."""
        return not self.died_at_ns and self.end is None

    def hear(self) -> list[Event]:
        """What has become of the orders since the last time."""
        events: list[Event] = []
        while True:
            try:
                data = self._channel.recv(_LONGEST_EVENT)
            except BlockingIOError:
                return events
            except ConnectionResetError:
                continue  # It has gone without looking at all orders; what it had said comes next.
            if not data:
                self.is_silent = True
                self.ordered.clear()
                return events
            try:
                event = Event.decoded(data)
            except (struct.error, ValueError):
                # The application can write here, too.
                self.kill()
                self.is_silent = True
                self.ordered.clear()
                return events
            if event.kind is EventKind.LOADED:
                self.pid = self.pid or event.number
                self.loaded_at_ns = time.monotonic_ns()
            elif event.kind is EventKind.FAILED:
                self.failure = Report(ReportKind.FAILED, event.number, event.text)
            elif event.slot in self.ordered:
                self.ordered.remove(event.slot)
                events.append(event)
            elif event.kind is EventKind.FORKED:
                # Nobody waits for it any more.
                _end(event.number, signal.SIGKILL)

    def abort(self, now_ns: int) -> None:
        """Have it write its stacks to the error log and die: it has not loaded the application in time."""
        self.end = Reason.BOOT
        self.aborted_at_ns = now_ns
        self._tell(signal.SIGABRT)

    def retire(self) -> None:
        """Have it end when it has done what it was asked for."""
        self.end = self.end or Reason.NOTHING_TO_LOSE
        self._channel.shutdown(socket.SHUT_WR)

    def kill(self) -> None:
        """End it: it has nothing to lose."""
        self.end = self.end or Reason.NOTHING_TO_LOSE
        self._tell(signal.SIGKILL)

    def close(self) -> None:
        """Give up this end of the channel."""
        self._channel.close()

    def _tell(self, number: int) -> None:
        if self.died_at_ns:
            return
        if self.pid:
            _end(self.pid, number)
        else:
            # Whoever it will be ends when its channel does; and so it does for us.
            self._channel.shutdown(socket.SHUT_RDWR)


def new_mold(generation: int) -> tuple[Mold, socket.socket]:
    """The handle on a mold that a worker is going to fork, and the end of the channel for it.

    Raises:
        OSError: no descriptor is left.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return Mold(0, generation, ours), theirs


class Molds:
    """All molds there are.

    Args:
        poll: what the arbiter waits with; it learns of every mold.
    """

    def __init__(self, poll: select.poll) -> None:
        self._poll = poll
        self._molds: list[Mold] = []  # oldest first
        self._untold: list[Mold] = []

    def __iter__(self) -> Iterator[Mold]:
        """They, oldest first; those as well that have died while somebody waited for a worker of theirs."""
        return iter(tuple(self._molds))

    def of(self, generation: int) -> Mold | None:
        """The one that workers of the generation come from, now or when it has loaded the application."""
        alive = [mold for mold in self._molds if mold.generation == generation and mold.is_alive]
        loaded = [mold for mold in alive if mold.loaded_at_ns]
        return next(reversed(loaded or alive), None)

    def add(self, mold: Mold) -> None:
        """A mold was forked."""
        self._molds.append(mold)
        self._poll.register(mold, select.POLLIN)

    def hear(self) -> list[Event]:
        """What has become of the orders since the last time."""
        heard: list[Event] = []
        for mold in self:
            if not mold.is_silent:
                heard += mold.hear()
            if mold.is_silent and not mold.pid and not mold.died_at_ns:
                # It has never been, or has died before it could say who it is.
                mold.died_at_ns = time.monotonic_ns()
                self._untold.append(mold)
            if mold.is_silent:
                # Its end could be read for ever, and the wait would end at once each time.
                self._unregister(mold)
        return heard

    def are_asked(self) -> bool:
        """Whether an answer is still to come."""
        return any(mold.ordered for mold in self._molds)

    def are_asked_for(self, slot: int) -> bool:
        """Whether a worker for that slot may still be forked."""
        return any(slot in mold.ordered for mold in self._molds)

    def give_up(self, slot: int) -> None:
        """Nobody waits for that worker any more; who has not forked it in all this time is of no use."""
        for mold in self:
            if slot in mold.ordered:
                mold.ordered.discard(slot)
                mold.kill()

    def note_dead(self, pid: int, status: int, now_ns: int) -> bool:
        """A process has died with that status; whether it was one of them."""
        mold = next((mold for mold in self._molds if mold.pid == pid and not mold.died_at_ns), None)
        if mold is None:
            return False
        mold.status = status
        mold.died_at_ns = now_ns
        self._untold.append(mold)
        return True

    def dead(self, now_ns: int) -> list[Mold]:
        """Those that have died since the last time."""
        for mold in self:
            is_over = mold.is_silent or not mold.ordered or now_ns - mold.died_at_ns > _LAST_WORDS_NS
            if mold.died_at_ns and is_over:
                self._unregister(mold)
                self._molds.remove(mold)
                mold.close()
        dead, self._untold = self._untold, []
        return dead

    def keep(self, generations: Collection[int]) -> None:
        """End those of other generations."""
        for mold in self:
            if mold.is_alive and mold.generation not in generations:
                mold.kill()

    def is_reforking(self, generation: int) -> bool:
        """Whether a worker of the generation is becoming a mold."""
        alive = [mold for mold in self._molds if mold.generation == generation and mold.is_alive]
        return any(mold.is_refork and not mold.loaded_at_ns for mold in alive)

    def promoted(self) -> list[Mold]:
        """Those that were a worker and are ready to take the place of the mold before, which is ended."""
        new = [mold for mold in self if mold.is_refork and mold.loaded_at_ns and mold.is_alive and not mold.is_promoted]
        for mold in new:
            mold.is_promoted = True
            for other in self:
                # Not before it has forked what it was asked for.
                if other is not mold and other.generation == mold.generation and other.is_alive:
                    other.retire()
        return new

    def end_overdue(self, boot_ns: int, clock_ns: int, now_ns: int) -> list[Mold]:
        """End those that have not loaded the application in time; returns those to which that is new.

        Args:
            boot_ns: how long it may take; 0: for ever.
            clock_ns: nobody's time began before.
            now_ns: monotonic instant.
        """
        overdue = [mold for mold, at_ns in self._deadlines(boot_ns, clock_ns) if at_ns <= now_ns]
        for mold in overdue:
            if mold.aborted_at_ns:
                mold.kill()
            else:
                mold.abort(now_ns)
        return [mold for mold in overdue if mold.aborted_at_ns == now_ns]

    def deadline_ns(self, boot_ns: int, clock_ns: int) -> int | None:
        """When `end_overdue` would have something to do; None: never."""
        return min((at_ns for _, at_ns in self._deadlines(boot_ns, clock_ns)), default=None)

    def _deadlines(self, boot_ns: int, clock_ns: int) -> Iterator[tuple[Mold, int]]:
        for mold in self._molds:
            # A worker that becomes one does it between two requests, and those have a time of their own.
            if mold.died_at_ns or mold.loaded_at_ns or mold.is_refork:
                continue
            if mold.aborted_at_ns:
                yield mold, max(mold.aborted_at_ns, clock_ns) + _ABORT_NS
            elif boot_ns:
                yield mold, max(mold.forked_at_ns, clock_ns) + boot_ns

    def _unregister(self, mold: Mold) -> None:
        with contextlib.suppress(KeyError):
            self._poll.unregister(mold)


def _end(pid: int, number: int) -> None:
    # It may have died, and be about to be reaped.
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
