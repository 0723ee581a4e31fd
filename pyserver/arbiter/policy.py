"""What the arbiter does next: (wanted, running, now) → actions. Pure: no clock, no process, no log."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter
from typing import NamedTuple

from pyserver.arbiter.actions import (
    Abort,
    Action,
    Ask,
    Kill,
    Quit,
    Reason,
    Relieve,
    Replace,
    ReportSlow,
    Retire,
    Spawn,
    Spent,
)
from pyserver.arbiter.roster import Member
from pyserver.workers.messages import WorkerState

_ABORT_NS = 1_000_000_000  # how long a worker may take to write its stacks
_RELIEF_NS = 1_000_000_000  # how long it may take to end requests that are over their time, or to finish others
_LOOK_NS = 100_000_000  # how often it is looked at meanwhile whether that has helped: nobody says so
_BETWEEN_REPORTS_NS = 1_000_000_000  # of slow requests in one worker
_QUIT_NS = 300_000_000  # how long a worker may take to leave at once; a quick stop takes under half a second
_SPREAD = 10  # the ends of lifetimes that begin together lie within such a part of one
_ASKED_PER_SILENCE = 4  # how often an idle worker is asked whether it is there before it is given up


class Stop(enum.Enum):
    """Whether the server goes on."""

    NO = "no"
    GRACEFUL = "graceful"
    QUICK = "quick"


class Wanted(NamedTuple):
    """What there should be. Durations are nanoseconds."""

    generation: int
    workers: int
    timeout_ns: int  # how long a request may take; 0: for ever
    graceful_ns: int  # how long a retiring worker may take
    boot_ns: int = 0  # how long a worker may load the application; 0: for ever
    slow_ns: int = 0  # from when on a request is reported as slow; 0: never
    lifetime_ns: int = 0  # after which a worker is replaced, at the latest; 0: never
    memory_bytes: int = 0  # above which a worker is replaced; 0: never
    stop: Stop = Stop.NO
    spawn_not_before_ns: int = 0  # workers die as they start: not another one before
    clock_ns: int = 0  # nobody's time began before: the end of the last pause of the whole machine


def next_actions(wanted: Wanted, running: Sequence[Member], now_ns: int) -> list[Action]:
    """Decide what the arbiter does now; `running` is ordered by age, oldest first."""
    due = [action for at_ns, action in _deadlines(wanted, running, now_ns) if at_ns <= now_ns]
    if wanted.stop is not Stop.NO:
        return due + [action for w in running for action in _ending(wanted.stop, w)]
    serving = [w for w in running if w.state in (WorkerState.BOOTING, WorkerState.READY) and not w.is_dying]
    # One at a time: were all replaced at once, all would be cold at once.
    leaving = [w for w in serving if w.generation == wanted.generation and w.spent][:1]
    current = [w for w in serving if w.generation == wanted.generation and w not in leaving]
    outdated = [w for w in serving if w.generation != wanted.generation]
    numbers = {w.number for w in current}
    missing = [number for number in range(wanted.workers) if number not in numbers]
    return [
        *due,
        *(Replace(w.slot, Spent.MEMORY) for w in current if _is_too_large(w, wanted)),
        *(Kill(w.slot, Reason.NOTHING_TO_LOSE) for w in outdated if w.state is WorkerState.BOOTING),
        *(Spawn(wanted.generation, number) for number in missing if now_ns >= wanted.spawn_not_before_ns),
        *(Retire(w.slot) for w in _surplus(wanted, [*outdated, *leaving], current)),
    ]


def next_deadline_ns(wanted: Wanted, running: Sequence[Member], now_ns: int) -> int | None:
    """When `next_actions` would decide something else although nothing has been said; None: never."""
    instants = [at_ns for at_ns, _ in _deadlines(wanted, running, now_ns)]
    if wanted.stop is Stop.NO:
        instants.append(wanted.spawn_not_before_ns)
    if any(w.relieved_at_ns and now_ns < w.relieved_at_ns + _RELIEF_NS for w in running):
        instants.append(now_ns + _LOOK_NS)
    return min((at_ns for at_ns in instants if at_ns > now_ns), default=None)


def stays(wanted: Wanted, worker: Member) -> bool:
    """Whether nothing that is known now will have the worker leave."""
    return (
        wanted.stop is Stop.NO
        and worker.serves
        and worker.generation == wanted.generation
        and worker.number < wanted.workers
        and not (worker.spent or worker.retired_at_ns)
    )


def _surplus(wanted: Wanted, replaced: Iterable[Member], current: Iterable[Member]) -> list[Member]:
    """Who retires.

    Only a ready worker lets another leave, oldest first: capacity never drops below `workers`, and a generation that
    cannot boot costs nothing. Numbers beyond those that are wanted go before others.
    """
    leaving = [w for w in replaced if w.state is WorkerState.READY]
    ready = [w for w in current if w.state is WorkerState.READY]
    beyond = [w for w in ready if w.number >= wanted.workers]
    rest = [w for w in ready if w.number < wanted.workers]
    return (leaving + beyond + rest)[: max(0, len(leaving) + len(ready) - wanted.workers)]


def _is_too_large(worker: Member, wanted: Wanted) -> bool:
    is_ready = worker.state is WorkerState.READY and not worker.spent
    return is_ready and 0 < wanted.memory_bytes < worker.memory_bytes


def _deadlines(wanted: Wanted, running: Iterable[Member], now_ns: int) -> list[tuple[int, Action]]:
    found = (_deadline(wanted, worker, now_ns) for worker in running)
    return [deadline for deadline in found if deadline is not None]


def _deadline(wanted: Wanted, worker: Member, now_ns: int) -> tuple[int, Action] | None:
    """What happens to this worker if it goes on as it does, and when."""
    if worker.killed_at_ns:
        return None
    if worker.aborted_at_ns:
        return max(worker.aborted_at_ns, wanted.clock_ns) + _ABORT_NS, Kill(worker.slot, Reason.TIMEOUT)
    if worker.quit_at_ns:
        return max(worker.quit_at_ns, wanted.clock_ns) + _QUIT_NS, Kill(worker.slot, Reason.QUICK)
    return min(_waits(wanted, worker, now_ns), key=itemgetter(0), default=None)


def _waits(wanted: Wanted, worker: Member, now_ns: int) -> Iterator[tuple[int, Action]]:
    """What this worker may take how long for; everybody's time begins anew after a pause of the machine."""
    slot, clock_ns = worker.slot, wanted.clock_ns
    if worker.busy_since_ns:
        if wanted.timeout_ns:
            yield from _timeouts(wanted, worker, now_ns)
        if wanted.slow_ns and worker.untold_since_ns:
            # Hundreds of requests may become slow one after another, and the stacks of all threads come with each.
            since_ns = max(worker.untold_since_ns, clock_ns, worker.told_slow_ns + _BETWEEN_REPORTS_NS)
            yield since_ns + wanted.slow_ns, ReportSlow(slot, wanted.slow_ns)
    elif worker.state is WorkerState.BOOTING and wanted.boot_ns:
        yield max(worker.forked_at_ns, clock_ns) + wanted.boot_ns, Abort(slot, Reason.BOOT)
    if wanted.timeout_ns and worker.state is not WorkerState.BOOTING:
        yield from _silences(wanted, worker)
    if worker.retired_at_ns:
        yield max(worker.retired_at_ns, clock_ns) + wanted.graceful_ns, Kill(slot, Reason.GRACEFUL)
    elif wanted.lifetime_ns and worker.ready_at_ns and not worker.spent:
        yield worker.ready_at_ns + _lifetime_ns(wanted, worker.number), Replace(slot, Spent.LIFETIME)


def _lifetime_ns(wanted: Wanted, number: int) -> int:
    # Workers that have begun together would be replaced one right behind the other, and all be cold at once.
    workers = max(wanted.workers, 1)
    return wanted.lifetime_ns - wanted.lifetime_ns * (number % workers) // (_SPREAD * workers)


def _silences(wanted: Wanted, worker: Member) -> Iterator[tuple[int, Action]]:
    """The second clock, for a process that is frozen between requests, or whose loop does not turn."""
    seen_ns = max(worker.seen_at_ns, wanted.clock_ns)
    if worker.busy_since_ns and not worker.ends_requests:
        return
    if not worker.busy_since_ns:
        yield seen_ns + wanted.timeout_ns, Abort(worker.slot, Reason.SILENT)
    elif worker.unanswered_since_ns:
        # A request may keep it from answering for as long as it has time, which is judged first.
        unanswered_ns = max(worker.unanswered_since_ns, wanted.clock_ns)
        yield unanswered_ns + wanted.timeout_ns + _RELIEF_NS, Abort(worker.slot, Reason.SILENT)
    yield max(seen_ns, worker.asked_at_ns) + wanted.timeout_ns // _ASKED_PER_SILENCE, Ask(worker.slot)


def _timeouts(wanted: Wanted, worker: Member, now_ns: int) -> Iterator[tuple[int, Action]]:
    """What requests have time for: from their beginning, or from the last block of the response that each gave."""
    first_ns = max(worker.alive_since_ns, wanted.clock_ns) + wanted.timeout_ns
    last_ns = max(worker.last_alive_ns, wanted.clock_ns) + wanted.timeout_ns  # from then on all are over their time
    abort = Abort(worker.slot, Reason.TIMEOUT)
    if not worker.ends_requests and last_ns <= max(now_ns, first_ns):
        yield last_ns, abort
    elif worker.relieved_at_ns < first_ns:
        yield first_ns, Relieve(worker.slot)
    else:
        yield worker.relieved_at_ns + _RELIEF_NS, abort
        if not worker.ends_requests:
            yield last_ns, abort


def _ending(stop: Stop, worker: Member) -> list[Action]:
    """What a worker is told when the whole server stops."""
    if worker.killed_at_ns or worker.aborted_at_ns:
        return []
    if worker.state is WorkerState.BOOTING:
        return [Kill(worker.slot, Reason.NOTHING_TO_LOSE)]
    if stop is Stop.QUICK:
        return [] if worker.quit_at_ns else [Quit(worker.slot)]
    return [] if worker.retired_at_ns else [Retire(worker.slot)]
