"""What the arbiter does next: (wanted, running, now) → actions. Pure: no clock, no process, no log."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable, Sequence
from operator import itemgetter

from pyserver.arbiter.actions import Abort, Action, Kill, Quit, Reason, Retire, Spawn
from pyserver.arbiter.roster import Member
from pyserver.workers.base import WorkerState

_ABORT_NS = 1_000_000_000  # how long a worker may take to write its stacks
_QUIT_NS = 300_000_000  # how long a worker may take to leave at once; a quick stop takes under half a second


class Stop(enum.Enum):
    """Whether the server goes on."""

    NO = "no"
    GRACEFUL = "graceful"
    QUICK = "quick"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What there should be."""

    generation: int
    workers: int
    timeout_ns: int  # how long a request may take; 0: for ever
    graceful_ns: int  # how long a retiring worker may take
    stop: Stop = Stop.NO
    spawn_not_before_ns: int = 0  # workers die as they start: not another one before
    clock_ns: int = 0  # nobody's time began before: the end of the last pause of the whole machine


def next_actions(wanted: Wanted, running: Sequence[Member], now_ns: int) -> list[Action]:
    """Decide what the arbiter does now; `running` is ordered by age, oldest first."""
    overdue = [action for at_ns, action in _deadlines(wanted, running) if at_ns <= now_ns]
    if wanted.stop is not Stop.NO:
        return overdue + [action for w in running for action in _ending(wanted.stop, w)]
    serving = [w for w in running if w.state in (WorkerState.BOOTING, WorkerState.READY) and not w.is_dying]
    current = [w for w in serving if w.generation == wanted.generation and not w.wants_replacing]
    replaced = [w for w in serving if w.generation != wanted.generation or w.wants_replacing]
    outdated = [w for w in replaced if w.state is WorkerState.READY]
    ready = [w for w in current if w.state is WorkerState.READY]
    # Only a ready worker lets another leave, oldest first: capacity never drops below
    # `workers`, and a generation that cannot boot costs nothing.
    surplus = max(0, len(outdated) + len(ready) - wanted.workers)
    missing = wanted.workers - len(current) if now_ns >= wanted.spawn_not_before_ns else 0
    return [
        *overdue,
        *(Kill(w.slot, Reason.NOTHING_TO_LOSE) for w in replaced if w.state is WorkerState.BOOTING),
        *[Spawn(wanted.generation)] * missing,
        *(Retire(w.slot) for w in (outdated + ready)[:surplus]),
    ]


def next_deadline_ns(wanted: Wanted, running: Sequence[Member], now_ns: int) -> int | None:
    """When `next_actions` would decide something else although nothing has happened; None: never."""
    instants = [at_ns for at_ns, _ in _deadlines(wanted, running)]
    if wanted.stop is Stop.NO:
        instants.append(wanted.spawn_not_before_ns)
    return min((at_ns for at_ns in instants if at_ns > now_ns), default=None)


def _deadlines(wanted: Wanted, running: Iterable[Member]) -> list[tuple[int, Action]]:
    found = (_deadline(wanted, worker) for worker in running)
    return [deadline for deadline in found if deadline is not None]


def _deadline(wanted: Wanted, worker: Member) -> tuple[int, Action] | None:
    """What happens to this worker if it goes on as it does, and when."""
    if worker.killed_at_ns:
        return None
    if worker.aborted_at_ns:
        return max(worker.aborted_at_ns, wanted.clock_ns) + _ABORT_NS, Kill(worker.slot, Reason.TIMEOUT)
    if worker.quit_at_ns:
        return max(worker.quit_at_ns, wanted.clock_ns) + _QUIT_NS, Kill(worker.slot, Reason.QUICK)
    waits: list[tuple[int, Action]] = []
    if worker.busy_since_ns and wanted.timeout_ns:
        waits.append((max(worker.busy_since_ns, wanted.clock_ns) + wanted.timeout_ns, Abort(worker.slot)))
    if worker.retired_at_ns:
        kill = Kill(worker.slot, Reason.GRACEFUL)
        waits.append((max(worker.retired_at_ns, wanted.clock_ns) + wanted.graceful_ns, kill))
    return min(waits, key=itemgetter(0), default=None)


def _ending(stop: Stop, worker: Member) -> list[Action]:
    """What a worker is told when the whole server stops."""
    if worker.killed_at_ns or worker.aborted_at_ns:
        return []
    if worker.state is WorkerState.BOOTING:
        return [Kill(worker.slot, Reason.NOTHING_TO_LOSE)]
    if stop is Stop.QUICK:
        return [] if worker.quit_at_ns else [Quit(worker.slot)]
    return [] if worker.retired_at_ns else [Retire(worker.slot)]
