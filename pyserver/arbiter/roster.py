"""Who there is: slots, processes, states, and what each was told. Bookkeeping without a system call."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from pyserver.arbiter.actions import Abort, Kill, Quit, Retire
from pyserver.workers.base import NEXT_STATE, Report, ReportKind, WorkerState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pyserver.arbiter.actions import Action


@dataclasses.dataclass(slots=True)
class Member:
    """One worker, as the arbiter knows it. Instants are monotonic nanoseconds; 0 means "not yet"."""

    slot: int
    pid: int
    generation: int
    state: WorkerState = WorkerState.BOOTING
    busy_since_ns: int = 0  # its current request began; 0: it has none
    ready_at_ns: int = 0
    retired_at_ns: int = 0
    quit_at_ns: int = 0
    aborted_at_ns: int = 0
    killed_at_ns: int = 0
    wants_replacing: bool = False
    failure: Report | None = None  # why it could not boot, in its own words

    @property
    def is_dying(self) -> bool:
        """Whether we have told it to go without finishing what it has."""
        return bool(self.quit_at_ns or self.aborted_at_ns or self.killed_at_ns)

    def note_told(self, action: Action, now_ns: int) -> None:
        """Remember what the worker has been told, and when."""
        match action:
            case Retire():
                self._retire(now_ns)
            case Quit():
                self.quit_at_ns = now_ns
            case Abort():
                self.aborted_at_ns = now_ns
            case Kill():
                self.killed_at_ns = now_ns

    def note_report(self, report: Report, now_ns: int) -> None:
        """Remember what the worker has said."""
        match report.kind:
            case ReportKind.LOADED:
                self._advance("loaded")
                self.ready_at_ns = now_ns
            case ReportKind.FAILED:
                self.failure = report
            case ReportKind.RETIRING:
                self._retire(now_ns)
            case ReportKind.REPLACE_ME:
                self.wants_replacing = True

    def note_reaped(self) -> None:
        """Its process is gone."""
        self._advance("reaped")

    def _retire(self, now_ns: int) -> None:
        # Said by us and by the worker: whichever comes first counts.
        if not self.retired_at_ns:
            self._advance("retire")
            self.retired_at_ns = now_ns

    def _advance(self, event: str) -> None:
        self.state = NEXT_STATE[self.state, event]


class Roster:
    """The workers that were forked and not yet reaped.

    Args:
        slots: how many there can be at the same time.
    """

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self._by_pid: dict[int, Member] = {}

    def __iter__(self) -> Iterator[Member]:
        """The members, oldest first."""
        return iter(tuple(self._by_pid.values()))

    def __len__(self) -> int:
        return len(self._by_pid)

    def free_slot(self) -> int | None:
        """The lowest slot that nobody has; None when all are taken."""
        taken = {member.slot for member in self}
        return next((slot for slot in range(self.slots) if slot not in taken), None)

    def add(self, member: Member) -> None:
        """A worker was forked."""
        self._by_pid[member.pid] = member

    def at(self, slot: int) -> Member:
        """The worker that has the slot; KeyError when nobody has."""
        for member in self:
            if member.slot == slot:
                return member
        raise KeyError(slot)

    def find(self, pid: int) -> Member | None:
        """The worker that is this process; None when it is none of ours."""
        return self._by_pid.get(pid)

    def remove(self, member: Member) -> None:
        """Its process was reaped, and the slot is free."""
        member.note_reaped()
        del self._by_pid[member.pid]

    def note_busy(self, busy_since_ns: Callable[[int], int]) -> None:
        """Take over since when each worker is busy, by slot."""
        for member in self:
            member.busy_since_ns = busy_since_ns(member.slot)
