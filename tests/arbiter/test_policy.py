"""What the arbiter decides, by asking it: no process, no clock."""

import pytest

from pyserver.arbiter.actions import Abort, Ask, Kill, Quit, Reason, Relieve, Replace, ReportSlow, Retire, Spawn, Spent
from pyserver.arbiter.policy import Stop, Wanted, next_actions, next_deadline_ns
from pyserver.arbiter.roster import Member
from pyserver.workers.messages import WorkerState

S = 1_000_000_000
NOW = 1_000 * S
LATELY = NOW + 1_000 * S  # nobody is asked whether it is there


def wanted(**changes):
    facts = {"generation": 1, "workers": 2, "timeout_ns": 30 * S, "graceful_ns": 10 * S}
    return Wanted(**{**facts, **changes})


def worker(slot, state=WorkerState.READY, generation=1, **facts):
    """The first or the second of two, seen a moment ago and with one request at most, unless it is said otherwise."""
    facts = {"number": slot % 2, "forked_at_ns": NOW, "seen_at_ns": LATELY, **facts}
    since_ns = facts.get("busy_since_ns", 0)
    facts = {"alive_since_ns": since_ns, "last_alive_ns": since_ns, **facts}
    return Member(slot=slot, pid=100 + slot, generation=generation, state=state, **facts)


def booting(slot, generation=1, **facts):
    return worker(slot, WorkerState.BOOTING, generation, **facts)


def retiring(slot, since_ns=NOW, **facts):
    return worker(slot, WorkerState.RETIRING, retired_at_ns=since_ns, **facts)


# The number of workers


def test_missing_workers_are_started():
    assert next_actions(wanted(), [], NOW) == [Spawn(1, 0), Spawn(1, 1)]


def test_workers_that_boot_are_not_started_again():
    assert next_actions(wanted(), [booting(0), booting(1)], NOW) == []


def test_enough_workers_are_left_in_peace():
    assert next_actions(wanted(), [worker(0), worker(1)], NOW) == []


def test_surplus_workers_retire_oldest_first():
    assert next_actions(wanted(), [worker(3), worker(1), worker(2)], NOW) == [Retire(3)]


def test_a_number_beyond_those_wanted_retires_first():
    running = [worker(0, number=0), worker(1, number=2), worker(2, number=1)]
    assert next_actions(wanted(), running, NOW) == [Retire(1)]


def test_a_successor_has_the_number_that_is_free():
    assert next_actions(wanted(workers=3), [worker(0, number=2), worker(1, number=0)], NOW) == [Spawn(1, 1)]


def test_a_server_without_workers_retires_them_all():
    assert next_actions(wanted(workers=0), [worker(0), worker(1)], NOW) == [Retire(0), Retire(1)]


def test_a_retiring_worker_is_replaced_at_once():
    assert next_actions(wanted(), [worker(0), retiring(1)], NOW) == [Spawn(1, 1)]


@pytest.mark.parametrize("told", ["quit_at_ns", "aborted_at_ns", "killed_at_ns"])
def test_a_dying_worker_is_replaced_at_once(told):
    assert next_actions(wanted(), [worker(0), worker(1, **{told: NOW})], NOW) == [Spawn(1, 1)]


def test_no_worker_is_started_before_the_back_off_is_over():
    assert next_actions(wanted(spawn_not_before_ns=NOW + 1), [worker(0)], NOW) == []
    assert next_actions(wanted(spawn_not_before_ns=NOW), [worker(0)], NOW) == [Spawn(1, 1)]


# Reload


def test_a_new_generation_is_started_beside_the_old():
    assert next_actions(wanted(generation=2), [worker(0), worker(1)], NOW) == [Spawn(2, 0), Spawn(2, 1)]


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
    running = [worker(0), worker(1, spent=Spent.REQUESTS)]
    assert next_actions(wanted(), running, NOW) == [Spawn(1, 1)]
    assert next_actions(wanted(), [*running, booting(3)], NOW) == []


def test_a_worker_that_wants_replacing_retires_when_its_successor_is_ready():
    running = [worker(0), worker(1, spent=Spent.REQUESTS), worker(3)]
    assert next_actions(wanted(), running, NOW) == [Retire(1)]


def test_workers_are_replaced_one_at_a_time():
    spent = [worker(0, spent=Spent.REQUESTS), worker(1, spent=Spent.LIFETIME)]
    assert next_actions(wanted(), spent, NOW) == [Spawn(1, 0)]
    assert next_actions(wanted(), [*spent, worker(2)], NOW) == [Retire(0)]
    assert next_actions(wanted(), [retiring(0), spent[1], worker(2)], NOW) == [Spawn(1, 1)]


def test_a_worker_is_replaced_at_the_end_of_its_lifetime():
    aged = wanted(lifetime_ns=100 * S)
    running = [worker(0, ready_at_ns=NOW - 100 * S), worker(1, ready_at_ns=NOW - 94 * S)]
    assert next_actions(aged, running, NOW) == [Replace(0, Spent.LIFETIME)]


def test_lifetimes_that_begin_together_end_within_their_last_tenth():
    aged = wanted(workers=4, lifetime_ns=100 * S)
    running = [worker(slot, number=slot, ready_at_ns=NOW) for slot in range(4)]

    def replaced(after):
        return [action.slot for action in next_actions(aged, running, NOW + round(after * S))]

    moments = (90, 92.4, 92.5, 95, 97.5, 100)
    assert list(map(replaced, moments)) == [[], [], [3], [2, 3], [1, 2, 3], [0, 1, 2, 3]]


def test_a_worker_that_has_grown_is_replaced():
    running = [worker(0, memory_bytes=1000), worker(1, memory_bytes=1001)]
    assert next_actions(wanted(memory_bytes=1000), running, NOW) == [Replace(1, Spent.MEMORY)]


def test_a_worker_is_said_to_be_spent_once():
    running = [worker(0), worker(1, memory_bytes=1001, ready_at_ns=1, spent=Spent.MEMORY), booting(3)]
    assert next_actions(wanted(memory_bytes=1000, lifetime_ns=S), running, NOW) == []


# Timeouts


def test_a_request_over_its_time_has_its_worker_aborted():
    assert next_actions(wanted(workers=1), [worker(0, busy_since_ns=NOW - 31 * S)], NOW) == [Abort(0, Reason.TIMEOUT)]


def test_a_request_within_its_time_is_left_alone():
    assert next_actions(wanted(workers=1), [worker(0, busy_since_ns=NOW - 29 * S)], NOW) == []


def test_an_idle_worker_is_never_over_its_time():
    assert next_actions(wanted(workers=1), [worker(0, ready_at_ns=1)], NOW) == []


def test_without_a_timeout_a_request_runs_for_ever():
    assert next_actions(wanted(workers=1, timeout_ns=0), [worker(0, busy_since_ns=1)], NOW) == []


def test_a_retiring_worker_has_the_same_time_for_a_request():
    running = [worker(2), retiring(0, NOW - S, busy_since_ns=NOW - 31 * S)]
    assert next_actions(wanted(workers=1), running, NOW) == [Abort(0, Reason.TIMEOUT)]


def test_a_worker_that_survives_abort_is_killed_a_second_later():
    running = [worker(0, busy_since_ns=NOW - 40 * S, aborted_at_ns=NOW - S), worker(2)]
    assert next_actions(wanted(workers=1), running, NOW) == [Kill(0, Reason.TIMEOUT)]
    assert next_actions(wanted(workers=1), running, NOW - 1) == []


def test_a_request_that_gives_something_has_its_time_anew():
    streaming = worker(0, busy_since_ns=NOW - 90 * S, alive_since_ns=NOW - 29 * S, last_alive_ns=NOW - 29 * S)
    assert next_actions(wanted(workers=1), [streaming], NOW) == []
    assert next_actions(wanted(workers=1), [streaming], NOW + S) == [Abort(0, Reason.TIMEOUT)]


def several(first_ns, last_ns, **facts):
    """A worker that runs several requests; how long the two were silent that were so for longest and for shortest."""
    instants = {"busy_since_ns": NOW - first_ns, "alive_since_ns": NOW - first_ns, "last_alive_ns": NOW - last_ns}
    return worker(0, **instants, **facts)


@pytest.mark.parametrize(
    ("running", "action"),
    [
        (several(29 * S, 1 * S), None),
        (several(30 * S, 1 * S), Relieve(0)),
        (several(31 * S, 30 * S), Abort(0, Reason.TIMEOUT)),
        (several(30 * S, 1 * S, relieved_at_ns=NOW), None),
        (several(31 * S - 1, 1 * S, relieved_at_ns=NOW - S + 1), None),
        (several(31 * S, 1 * S, relieved_at_ns=NOW - S), Abort(0, Reason.TIMEOUT)),
        (several(30 * S + 2, 30 * S, relieved_at_ns=NOW - 1), Abort(0, Reason.TIMEOUT)),
        (several(2 * S, 1 * S, relieved_at_ns=NOW - S), None),
        (several(30 * S, 1 * S, relieved_at_ns=NOW - 1), Relieve(0)),
        (several(30 * S, 1 * S, state=WorkerState.RETIRING, retired_at_ns=NOW), Relieve(0)),
    ],
    ids=[
        "none is over its time",
        "one is, another is not",
        "all are",
        "it was just told",
        "it was told less than a second ago",
        "it was told a second ago",
        "others have ended since",
        "those over their time have ended since",
        "one is that was not when it was told",
        "it retires",
    ],
)
def test_a_worker_is_relieved_of_requests_before_it_is_aborted_with_others(running, action):
    found = [one for one in next_actions(wanted(workers=1), [running], NOW) if not isinstance(one, Spawn)]
    assert found == ([action] if action else [])


@pytest.mark.parametrize(
    ("running", "action"),
    [
        (several(30 * S, 30 * S, ends_requests=True), Relieve(0)),
        (several(31 * S, 31 * S, ends_requests=True, relieved_at_ns=NOW - S + 1), None),
        (several(31 * S, 31 * S, ends_requests=True, relieved_at_ns=NOW - S), Abort(0, Reason.TIMEOUT)),
        (several(1 * S, 1 * S, ends_requests=True, relieved_at_ns=NOW - S), None),
    ],
    ids=["the only one is over its time", "it was told less than a second ago", "a second ago", "it has ended it"],
)
def test_a_worker_that_can_end_a_request_is_always_relieved_first(running, action):
    assert next_actions(wanted(workers=1), [running], NOW) == ([action] if action else [])


def test_after_a_pause_of_the_machine_a_relief_is_no_reason_to_abort():
    running = several(31 * S, 1 * S, relieved_at_ns=NOW - S)
    assert next_actions(wanted(workers=1, clock_ns=NOW), [running], NOW) == []
    assert next_actions(wanted(workers=1, clock_ns=NOW), [running], NOW + 30 * S) == [Abort(0, Reason.TIMEOUT)]


def test_a_slow_request_is_reported():
    slow = worker(0, busy_since_ns=NOW - 60 * S, untold_since_ns=NOW - 6 * S)
    limits = wanted(workers=1, timeout_ns=0, slow_ns=5 * S)
    assert next_actions(limits, [slow], NOW) == [ReportSlow(0, 5 * S)]
    assert next_actions(limits, [slow], NOW - 2 * S) == []


def test_requests_that_become_slow_within_a_second_are_reported_together():
    limits = wanted(workers=1, timeout_ns=0, slow_ns=5 * S)
    slow = worker(0, busy_since_ns=NOW - 60 * S, untold_since_ns=NOW - 5 * S, told_slow_ns=NOW - 5 * S - S // 2)
    assert next_actions(limits, [slow], NOW) == []
    assert next_actions(limits, [slow], NOW + S // 2) == [ReportSlow(0, 5 * S)]


def test_a_slow_request_that_was_reported_is_not_reported_again():
    limits = wanted(workers=1, slow_ns=5 * S)
    assert next_actions(limits, [worker(0, busy_since_ns=NOW - 6 * S)], NOW) == []


def test_a_worker_that_does_not_load_in_time_is_aborted():
    limits = wanted(workers=1, boot_ns=60 * S)
    assert next_actions(limits, [booting(0, forked_at_ns=NOW - 60 * S)], NOW) == [Abort(0, Reason.BOOT)]
    assert next_actions(limits, [booting(0, forked_at_ns=NOW - 59 * S)], NOW) == []


def test_an_idle_worker_is_asked_whether_it_is_there():
    assert next_actions(wanted(workers=1), [worker(0, seen_at_ns=NOW - 8 * S)], NOW) == [Ask(0)]


def test_a_worker_that_was_asked_gets_some_time():
    asked = worker(0, seen_at_ns=NOW - 8 * S, asked_at_ns=NOW - S)
    assert next_actions(wanted(workers=1), [asked], NOW) == []


def test_an_idle_worker_that_does_not_answer_is_aborted():
    silent = worker(0, seen_at_ns=NOW - 30 * S, asked_at_ns=NOW - S)
    assert next_actions(wanted(workers=1), [silent], NOW) == [Abort(0, Reason.SILENT)]


def test_after_a_pause_of_the_machine_every_time_begins_anew():
    running = [worker(0, busy_since_ns=NOW - 40 * S)]
    assert next_actions(wanted(workers=1, clock_ns=NOW - S), running, NOW) == []
    assert next_actions(wanted(workers=1, clock_ns=NOW - 30 * S), running, NOW) == [Abort(0, Reason.TIMEOUT)]


# Requests that can be ended one by one, and a loop that has to turn


def single(first_ns, **facts):
    """A worker that ends single requests, whose only request has run for so long."""
    return several(first_ns, first_ns, ends_requests=True, **facts)


@pytest.mark.parametrize(
    ("running", "actions"),
    [
        (single(1 * S, seen_at_ns=NOW), []),
        (single(1 * S, seen_at_ns=NOW - 8 * S), [Ask(0)]),
        (single(1 * S, seen_at_ns=NOW - 8 * S, asked_at_ns=NOW - S, unanswered_since_ns=NOW - S), []),
        (single(1 * S, seen_at_ns=NOW - 90 * S, asked_at_ns=NOW - 8 * S, unanswered_since_ns=NOW - 16 * S), [Ask(0)]),
        (single(1 * S, seen_at_ns=NOW - 90 * S, asked_at_ns=NOW, unanswered_since_ns=NOW - 31 * S + 1), []),
        (
            single(1 * S, seen_at_ns=NOW - 31 * S, asked_at_ns=NOW, unanswered_since_ns=NOW - 31 * S),
            [Abort(0, Reason.SILENT)],
        ),
        (single(1 * S, seen_at_ns=NOW - 90 * S, asked_at_ns=NOW), []),
        (several(1 * S, 1 * S, seen_at_ns=NOW - 90 * S, unanswered_since_ns=NOW - 90 * S), []),
    ],
    ids=[
        "it was seen just now",
        "it was not seen for a while",
        "it was asked a moment ago",
        "it was asked a while ago",
        "it has a nanosecond to answer",
        "it has not answered for as long as a request may take, and a second",
        "it has answered since",
        "it cannot end single requests",
    ],
)
def test_a_busy_worker_that_could_answer_is_asked_and_aborted_when_it_does_not(running, actions):
    assert next_actions(wanted(workers=1), [running], NOW) == actions


def test_a_busy_worker_is_not_aborted_for_a_silence_before_it_was_asked():
    idle_for_long = single(1 * S, seen_at_ns=NOW - 40 * S)
    assert next_actions(wanted(workers=1), [idle_for_long], NOW) == [Ask(0)]


def test_an_idle_worker_that_could_end_requests_is_aborted_when_it_does_not_answer():
    silent = worker(
        0, ends_requests=True, seen_at_ns=NOW - 30 * S, asked_at_ns=NOW - S, unanswered_since_ns=NOW - 8 * S
    )
    assert next_actions(wanted(workers=1), [silent], NOW) == [Abort(0, Reason.SILENT)]


def test_a_loop_that_hangs_is_aborted_though_it_was_told_to_end_a_request():
    hung = single(31 * S, relieved_at_ns=NOW - S // 2, unanswered_since_ns=NOW - 31 * S, asked_at_ns=NOW)
    assert next_actions(wanted(workers=1), [hung], NOW) == [Abort(0, Reason.SILENT)]


def test_after_a_pause_of_the_machine_a_busy_worker_has_time_to_answer():
    silent = single(1 * S, asked_at_ns=NOW, unanswered_since_ns=NOW - 40 * S)
    assert next_actions(wanted(workers=1, clock_ns=NOW - S), [silent], NOW) == []
    assert next_actions(wanted(workers=1, clock_ns=NOW - 31 * S), [silent], NOW) == [Abort(0, Reason.SILENT)]


def test_without_a_timeout_a_busy_worker_is_not_asked():
    assert next_actions(wanted(workers=1, timeout_ns=0), [single(90 * S, seen_at_ns=NOW - 90 * S)], NOW) == []


def test_a_worker_that_boots_is_not_asked():
    assert next_actions(wanted(workers=1), [booting(0, ends_requests=True, seen_at_ns=NOW - 90 * S)], NOW) == []


def test_a_retiring_worker_whose_loop_hangs_is_aborted():
    hung = single(1 * S, state=WorkerState.RETIRING, retired_at_ns=NOW, unanswered_since_ns=NOW - 31 * S)
    assert Abort(0, Reason.SILENT) in next_actions(wanted(workers=1), [hung], NOW)


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
        ({"timeout_ns": 0}, [worker(0), worker(1)], None),
        ({}, [worker(0, seen_at_ns=NOW), worker(1)], NOW + 30 * S // 4),
        ({"boot_ns": 60 * S}, [booting(0)], NOW + 60 * S),
        ({"slow_ns": 5 * S}, [worker(0, busy_since_ns=NOW, untold_since_ns=NOW)], NOW + 5 * S),
        ({"slow_ns": 5 * S}, [worker(0, busy_since_ns=NOW - S)], NOW + 29 * S),
        ({}, [several(20 * S, S)], NOW + 10 * S),
        ({}, [single(20 * S)], NOW + 10 * S),
        ({}, [single(1 * S, seen_at_ns=NOW)], NOW + 30 * S // 4),
        ({}, [single(1 * S, seen_at_ns=NOW, asked_at_ns=NOW + S, unanswered_since_ns=NOW - 25 * S)], NOW + 6 * S),
        ({}, [several(30 * S, S, relieved_at_ns=NOW)], NOW + S // 10),
        ({}, [several(31 * S - 7, S, relieved_at_ns=NOW - S + 7)], NOW + 7),
        ({}, [several(30 * S, 30 * S - 7, relieved_at_ns=NOW)], NOW + 7),
        ({}, [several(2 * S, S, relieved_at_ns=NOW - S)], NOW + 28 * S),
        ({"timeout_ns": 0, "lifetime_ns": 50 * S}, [worker(0, ready_at_ns=NOW)], NOW + 50 * S),
        ({}, [worker(0, busy_since_ns=NOW - 10 * S), worker(1, busy_since_ns=NOW - 20 * S)], NOW + 10 * S),
        ({"clock_ns": NOW}, [worker(0, busy_since_ns=NOW - 10 * S)], NOW + 30 * S),
        ({"spawn_not_before_ns": NOW + S}, [worker(0)], NOW + S),
        ({"spawn_not_before_ns": NOW - S, "timeout_ns": 0}, [worker(0)], None),
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
    while (deadline_ns := next_deadline_ns(wanted(workers=1), running, now_ns)) != LATELY + 30 * S // 4:
        assert next_actions(wanted(workers=1), running, deadline_ns - 1) == []
        actions = next_actions(wanted(workers=1), running, deadline_ns)
        assert actions
        running = [one for one in running if one.slot not in {action.slot for action in actions}]
        if not any(one.number == 0 and one.state is WorkerState.READY and not one.is_dying for one in running):
            running.append(worker(8))
        now_ns, done = deadline_ns, done + len(actions)
    assert done == 4
