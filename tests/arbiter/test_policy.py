"""What the arbiter decides, by asking it: no process, no clock."""

import pytest

from pyserver.arbiter.actions import Abort, Kill, Quit, Reason, Retire, Spawn
from pyserver.arbiter.policy import Stop, Wanted, next_actions, next_deadline_ns
from pyserver.arbiter.roster import Member
from pyserver.workers.base import WorkerState

S = 1_000_000_000
NOW = 1_000 * S


def wanted(**changes):
    facts = {"generation": 1, "workers": 2, "timeout_ns": 30 * S, "graceful_ns": 10 * S}
    return Wanted(**{**facts, **changes})


def worker(slot, state=WorkerState.READY, generation=1, **facts):
    return Member(slot=slot, pid=100 + slot, generation=generation, state=state, **facts)


def booting(slot, generation=1):
    return worker(slot, WorkerState.BOOTING, generation)


def retiring(slot, since_ns=NOW, **facts):
    return worker(slot, WorkerState.RETIRING, retired_at_ns=since_ns, **facts)


# The number of workers


def test_missing_workers_are_started():
    assert next_actions(wanted(), [], NOW) == [Spawn(1), Spawn(1)]


def test_workers_that_boot_are_not_started_again():
    assert next_actions(wanted(), [booting(0), booting(1)], NOW) == []


def test_enough_workers_are_left_in_peace():
    assert next_actions(wanted(), [worker(0), worker(1)], NOW) == []


def test_surplus_workers_retire_oldest_first():
    assert next_actions(wanted(), [worker(3), worker(1), worker(2)], NOW) == [Retire(3)]


def test_a_retiring_worker_is_replaced_at_once():
    assert next_actions(wanted(), [worker(0), retiring(1)], NOW) == [Spawn(1)]


@pytest.mark.parametrize("told", ["quit_at_ns", "aborted_at_ns", "killed_at_ns"])
def test_a_dying_worker_is_replaced_at_once(told):
    assert next_actions(wanted(), [worker(0), worker(1, **{told: NOW})], NOW) == [Spawn(1)]


def test_no_worker_is_started_before_the_back_off_is_over():
    assert next_actions(wanted(spawn_not_before_ns=NOW + 1), [worker(0)], NOW) == []
    assert next_actions(wanted(spawn_not_before_ns=NOW), [worker(0)], NOW) == [Spawn(1)]


# Reload


def test_a_new_generation_is_started_beside_the_old():
    assert next_actions(wanted(generation=2), [worker(0), worker(1)], NOW) == [Spawn(2), Spawn(2)]


def test_old_workers_serve_while_the_new_ones_boot():
    assert next_actions(wanted(generation=2), [worker(0), worker(1), booting(2, 2), booting(3, 2)], NOW) == []


def test_one_old_worker_retires_for_each_new_one_that_is_ready():
    running = [worker(0), worker(1), worker(2, generation=2), booting(3, 2)]
    assert next_actions(wanted(generation=2), running, NOW) == [Retire(0)]


def test_all_old_workers_have_retired_when_all_new_ones_are_ready():
    running = [retiring(0), worker(1), worker(2, generation=2), worker(3, generation=2)]
    assert next_actions(wanted(generation=2), running, NOW) == [Retire(1)]


def test_workers_of_an_abandoned_generation_are_killed_while_they_boot():
    running = [worker(0), worker(1), booting(2, 2)]
    assert next_actions(wanted(generation=1), running, NOW) == [Kill(2, Reason.NOTHING_TO_LOSE)]


def test_a_reload_to_fewer_workers_never_goes_below_them():
    running = [worker(0), worker(1), booting(2, 2)]
    assert next_actions(wanted(generation=2, workers=1), running, NOW) == [Retire(0)]
    running = [worker(1), worker(2, generation=2)]
    assert next_actions(wanted(generation=2, workers=1), running, NOW) == [Retire(1)]


# Recycling


def test_a_worker_that_wants_replacing_gets_a_successor_and_goes_on():
    running = [worker(0), worker(1, wants_replacing=True)]
    assert next_actions(wanted(), running, NOW) == [Spawn(1)]
    assert next_actions(wanted(), [*running, booting(2)], NOW) == []


def test_a_worker_that_wants_replacing_retires_when_its_successor_is_ready():
    running = [worker(0), worker(1, wants_replacing=True), worker(2)]
    assert next_actions(wanted(), running, NOW) == [Retire(1)]


# Timeouts


def test_a_request_over_its_time_has_its_worker_aborted():
    assert next_actions(wanted(workers=1), [worker(0, busy_since_ns=NOW - 31 * S)], NOW) == [Abort(0)]


def test_a_request_within_its_time_is_left_alone():
    assert next_actions(wanted(workers=1), [worker(0, busy_since_ns=NOW - 29 * S)], NOW) == []


def test_an_idle_worker_is_never_over_its_time():
    assert next_actions(wanted(workers=1), [worker(0, ready_at_ns=1)], NOW) == []


def test_without_a_timeout_a_request_runs_for_ever():
    assert next_actions(wanted(workers=1, timeout_ns=0), [worker(0, busy_since_ns=1)], NOW) == []


def test_a_retiring_worker_has_the_same_time_for_a_request():
    running = [worker(1), retiring(0, NOW - S, busy_since_ns=NOW - 31 * S)]
    assert next_actions(wanted(workers=1), running, NOW) == [Abort(0)]


def test_a_worker_that_survives_abort_is_killed_a_second_later():
    running = [worker(0, busy_since_ns=NOW - 40 * S, aborted_at_ns=NOW - S), worker(1)]
    assert next_actions(wanted(workers=1), running, NOW) == [Kill(0, Reason.TIMEOUT)]
    assert next_actions(wanted(workers=1), running, NOW - 1) == []


def test_after_a_pause_of_the_machine_every_time_begins_anew():
    running = [worker(0, busy_since_ns=NOW - 40 * S)]
    assert next_actions(wanted(workers=1, clock_ns=NOW - S), running, NOW) == []
    assert next_actions(wanted(workers=1, clock_ns=NOW - 30 * S), running, NOW) == [Abort(0)]


# Stopping


def test_a_graceful_stop_retires_everybody():
    assert next_actions(wanted(stop=Stop.GRACEFUL), [worker(0), worker(1)], NOW) == [Retire(0), Retire(1)]


def test_a_graceful_stop_waits_for_those_that_retire():
    assert next_actions(wanted(stop=Stop.GRACEFUL), [retiring(0)], NOW + 9 * S) == []


def test_a_graceful_stop_ends_with_the_graceful_timeout():
    assert next_actions(wanted(stop=Stop.GRACEFUL), [retiring(0)], NOW + 10 * S) == [Kill(0, Reason.GRACEFUL)]


@pytest.mark.parametrize("stop", [Stop.GRACEFUL, Stop.QUICK])
def test_a_stop_kills_those_that_still_boot(stop):
    assert next_actions(wanted(stop=stop), [booting(0)], NOW) == [Kill(0, Reason.NOTHING_TO_LOSE)]


def test_a_quick_stop_tells_everybody_to_quit_those_that_retire_too():
    assert next_actions(wanted(stop=Stop.QUICK), [worker(0), retiring(1)], NOW) == [Quit(0), Quit(1)]


def test_a_quick_stop_does_not_wait_for_long():
    running = [worker(0, quit_at_ns=NOW)]
    assert next_actions(wanted(stop=Stop.QUICK), running, NOW + S // 10) == []
    assert next_actions(wanted(stop=Stop.QUICK), running, NOW + S // 2) == [Kill(0, Reason.QUICK)]


@pytest.mark.parametrize("stop", [Stop.NO, Stop.GRACEFUL, Stop.QUICK])
def test_a_killed_worker_is_told_nothing_more(stop):
    dying = worker(0, killed_at_ns=1, quit_at_ns=1, retired_at_ns=1, busy_since_ns=1)
    assert next_actions(wanted(stop=stop, workers=0), [dying], NOW) == []


def test_a_stopping_server_starts_nobody():
    assert next_actions(wanted(stop=Stop.GRACEFUL), [], NOW) == []


# When to decide again


@pytest.mark.parametrize(
    ("changes", "running", "expected"),
    [
        ({}, [worker(0), worker(1)], None),
        ({}, [worker(0, busy_since_ns=NOW - 10 * S), worker(1, busy_since_ns=NOW - 20 * S)], NOW + 10 * S),
        ({"clock_ns": NOW}, [worker(0, busy_since_ns=NOW - 10 * S)], NOW + 30 * S),
        ({"spawn_not_before_ns": NOW + S}, [worker(0)], NOW + S),
        ({"spawn_not_before_ns": NOW - S}, [worker(0)], None),
        ({"stop": Stop.GRACEFUL}, [retiring(0, NOW - 4 * S)], NOW + 6 * S),
        ({"stop": Stop.GRACEFUL, "spawn_not_before_ns": NOW + S}, [], None),
        ({}, [worker(0, killed_at_ns=NOW)], None),
    ],
)
def test_the_next_deadline_is_when_the_decision_would_change(changes, running, expected):
    assert next_deadline_ns(wanted(**changes), running, NOW) == expected


def test_at_each_deadline_there_is_something_to_do():
    running = [worker(0, busy_since_ns=NOW - S), retiring(1), worker(2, quit_at_ns=NOW), worker(3, aborted_at_ns=NOW)]
    now_ns, done = NOW, 0
    while (deadline_ns := next_deadline_ns(wanted(workers=1), running, now_ns)) is not None:
        assert next_actions(wanted(workers=1), running, deadline_ns - 1) == []
        actions = next_actions(wanted(workers=1), running, deadline_ns)
        assert actions
        running = [one for one in running if one.slot not in {action.slot for action in actions}]
        running = running or [worker(9)]
        now_ns, done = deadline_ns, done + len(actions)
    assert done == 4
