"""Who there is: slots, processes, states, and what each was told. Bookkeeping without a system call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pyserver.arbiter.actions import Abort, Ask, Kill, Quit, Reason, Relieve, Replace, ReportSlow, Retire, Spent
from pyserver.workers.messages import NEXT_STATE, Report, ReportKind, WorkerState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyserver._access import AccessFile
    from pyserver._scoreboard import Instants, Scoreboard
    from pyserver.arbiter.actions import Action


class Member:
    """One worker, as the arbiter knows it. Instants are monotonic nanoseconds; 0 means "not yet"."""

    role: ClassVar[str] = "Worker"

    number: int = 0  # which of the workers it is, from 0 on
    state: WorkerState = WorkerState.BOOTING
    forked_at_ns: int = 0
    ready_at_ns: int = 0
    busy_since_ns: int = 0  # the oldest of its requests began; 0: it has none
    alive_since_ns: int = 0  # of its requests, the one that has been silent for longest began or gave a block last
    last_alive_ns: int = 0  # the same of the one that has been silent for the shortest time
    untold_since_ns: int = 0  # the oldest of its requests began that nobody has reported as slow
    seen_at_ns: int = 0  # it was busy, or has said something
    asked_at_ns: int = 0  # whether it is there
    unanswered_since_ns: int = 0  # it was asked first after it had said something last
    told_slow_ns: int = 0  # of requests that began until then, those that are slow have been reported
    relieved_at_ns: int = 0  # when it was last told to end requests that are over their time
    retired_at_ns: int = 0
    quit_at_ns: int = 0
    aborted_at_ns: int = 0
    killed_at_ns: int = 0
    end: Reason | None = None  # why it was aborted or killed
    memory_bytes: int = 0  # that it had to itself, when it was looked at last
    weighed_at_ns: int = 0  # when that was
    peak_bytes: int = 0  # the most memory it ever had; known once it is dead
    spent: Spent | None = None  # why it is to be replaced
    failure: Report | None = None  # why it could not boot, in its own words
    abandoned: int | None = None  # how many requests it has cut off to quit, if it has said so
    ends_requests: bool = False  # it can end a request that is over its time, and go on
    scoreboard: Scoreboard
    access_file: AccessFile | None = None

    def __init__(self, slot: int, pid: int, generation: int, **known: Any) -> None:
        self.slot = slot  # its place on the scoreboard
        self.pid = pid  # 0 while it is being forked by somebody else
        self.generation = generation
        vars(self).update(known)

    @property
    def is_dying(self) -> bool:
        """Whether we have told it to go without finishing what it has."""
        return bool(self.quit_at_ns or self.aborted_at_ns or self.killed_at_ns)

    @property
    def serves(self) -> bool:
        """Whether it accepts connections."""
        return self.state is WorkerState.READY and not self.is_dying

    def note_told(self, action: Action, now_ns: int) -> None:
        """Remember what the worker has been told, and when."""
        match action:
            case Retire():
                self._retire(now_ns)
            case Quit():
                self.quit_at_ns = now_ns
            case Ask():
                self.asked_at_ns = now_ns
                self.unanswered_since_ns = self.unanswered_since_ns or now_ns
            case Replace(_, spent):
                self.spent = spent
            case ReportSlow(_, limit_ns):
                self.told_slow_ns = now_ns - limit_ns
                self.untold_since_ns = 0  # Not known before it is looked at again.
            case Relieve():
                self.relieved_at_ns = now_ns
            case Abort(_, reason):
                self.aborted_at_ns = now_ns
                self.end = reason
            case Kill(_, reason):
                self.killed_at_ns = now_ns
                self.end = self.end or reason

    def note_report(self, report: Report, now_ns: int) -> None:
        """Remember what the worker has said; ValueError when it makes no sense now."""
        self.seen_at_ns = now_ns
        self.unanswered_since_ns = 0
        match report.kind:
            case ReportKind.LOADED:
                self._advance("loaded")
                self.ready_at_ns = now_ns
            case ReportKind.FAILED:
                self.failure = report
            case ReportKind.RETIRING:
                self._retire(now_ns)
            case ReportKind.REPLACE_ME:
                self.spent = Spent.REQUESTS
            case ReportKind.ABANDONED:
                self.abandoned = int(report.text)

    def note_busy(self, instants: Instants, now_ns: int) -> None:
        """Remember since when its requests run."""
        self.busy_since_ns, self.alive_since_ns, self.last_alive_ns, self.untold_since_ns = instants
        if self.busy_since_ns and not self.ends_requests:
            # Whoever runs a request cannot answer, and has the request's own time.
            self.seen_at_ns = now_ns

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
        self._by_slot: dict[int, Member] = {}

    def __iter__(self) -> Iterator[Member]:
        """The members, oldest first."""
        return iter(tuple(self._by_slot.values()))

    def __len__(self) -> int:
        return len(self._by_slot)

    def free_slot(self) -> int | None:
        """The lowest slot that nobody has; None when all are taken."""
        return next((slot for slot in range(self.slots) if slot not in self._by_slot), None)

    def count_ready(self) -> int:
        """How many serve."""
        return sum(member.state is WorkerState.READY for member in self)

    def add(self, member: Member) -> None:
        """A worker was forked."""
        self._by_slot[member.slot] = member

    def at(self, slot: int) -> Member:
        """The worker that has the slot; KeyError when nobody has."""
        return self._by_slot[slot]

    def find(self, pid: int) -> Member | None:
        """The worker that is this process; None when it is none of ours."""
        return next((member for member in self if member.pid == pid), None)

    def remove(self, member: Member) -> None:
        """Its process was reaped, and the slot is free."""
        member.note_reaped()
        del self._by_slot[member.slot]
