"""The bookkeeping of workers: slots, states, what was said and told."""

import pytest
from scoreboards import board_of

from pyserver.arbiter.actions import Abort, Ask, Kill, Quit, Reason, Relieve, ReportSlow, Retire, Spent
from pyserver.arbiter.roster import Member, Roster
from pyserver.workers.messages import Report, ReportKind, WorkerState


@pytest.fixture
def roster():
    return Roster(3)


def forked(roster, pid):
    roster.add(Member(slot=roster.free_slot(), pid=pid, generation=1))
    return roster.find(pid)


def test_slots_are_given_from_zero_upwards(roster):
    assert [forked(roster, pid).slot for pid in (7, 8, 9)] == [0, 1, 2]


def test_there_is_no_slot_beyond_the_last(roster):
    for pid in (7, 8, 9):
        forked(roster, pid)
    assert roster.free_slot() is None


def test_the_slot_of_a_reaped_worker_is_given_again(roster):
    for pid in (7, 8, 9):
        forked(roster, pid)
    roster.remove(roster.find(8))
    assert roster.free_slot() == 1


def test_members_are_in_the_order_of_their_age(roster):
    for pid in (9, 7, 8):
        forked(roster, pid)
    assert [member.pid for member in roster] == [9, 7, 8]


def test_members_can_leave_while_they_are_gone_through(roster):
    for pid in (7, 8):
        forked(roster, pid)
    for member in roster:
        roster.remove(member)
    assert len(roster) == 0


def test_a_process_that_is_no_worker_is_nobody(roster):
    assert roster.find(12345) is None


def test_nobody_is_at_a_free_slot(roster):
    with pytest.raises(KeyError):
        roster.at(0)


def test_a_worker_is_ready_when_it_says_so(roster):
    member = forked(roster, 7)
    assert member.state is WorkerState.BOOTING
    member.note_report(Report(ReportKind.LOADED), 5)
    assert (member.state, member.ready_at_ns) == (WorkerState.READY, 5)


def test_a_worker_that_retires_on_its_own_and_is_told_so_retires_once(roster):
    member = forked(roster, 7)
    member.note_report(Report(ReportKind.LOADED), 5)
    member.note_report(Report(ReportKind.RETIRING), 6)
    member.note_told(Retire(member.slot), 7)
    assert (member.state, member.retired_at_ns) == (WorkerState.RETIRING, 6)


def test_what_a_worker_said_about_its_failure_is_kept(roster):
    member = forked(roster, 7)
    failure = Report(ReportKind.FAILED, 4, "no such module")
    member.note_report(failure, 5)
    assert member.failure == failure


def test_a_worker_that_wants_replacing_is_still_ready(roster):
    member = forked(roster, 7)
    member.note_report(Report(ReportKind.LOADED), 5)
    member.note_report(Report(ReportKind.REPLACE_ME), 6)
    assert member.spent is Spent.REQUESTS
    assert member.state is WorkerState.READY


@pytest.mark.parametrize("action", [Quit(0), Abort(0, Reason.TIMEOUT), Kill(0, Reason.QUICK)])
def test_a_worker_that_was_told_to_die_is_dying(roster, action):
    member = forked(roster, 7)
    member.note_told(action, 5)
    assert member.is_dying


@pytest.mark.parametrize("reports", [[], [ReportKind.LOADED], [ReportKind.LOADED, ReportKind.RETIRING]])
def test_a_worker_can_die_in_any_state(roster, reports):
    member = forked(roster, 7)
    for kind in reports:
        member.note_report(Report(kind), 5)
    roster.remove(member)
    assert member.state is WorkerState.EXITED


def test_a_transition_that_is_not_in_the_table_is_a_bug(roster):
    member = forked(roster, 7)
    with pytest.raises(KeyError):
        member.note_told(Retire(0), 5)


def test_each_slow_request_is_told_of_once():
    member = Member(slot=0, pid=7, generation=1, scoreboard=board_of([(10, 10), (20, 20), (30, 30)]))

    def look(now_ns):
        member.note_busy(member.scoreboard.instants(0, member.told_slow_ns), now_ns)
        return member.untold_since_ns

    assert look(24) == 10
    member.note_told(ReportSlow(0, 4), 24)
    # The second was as slow by then and was told of as well.
    assert look(25) == 30
    member.note_told(ReportSlow(0, 4), 34)
    assert look(35) == 0


def test_when_a_worker_was_relieved_is_remembered(roster):
    member = forked(roster, 7)
    member.note_told(Relieve(0), 5)
    assert (member.relieved_at_ns, member.is_dying) == (5, False)


def test_how_many_requests_a_worker_has_cut_off_is_remembered(roster):
    member = forked(roster, 7)
    assert member.abandoned is None
    member.note_report(Report(ReportKind.ABANDONED, text="3"), 5)
    assert member.abandoned == 3


def test_since_when_a_worker_does_not_answer_is_when_it_was_asked_first(roster):
    member = forked(roster, 7)
    member.note_told(Ask(0), 5)
    member.note_told(Ask(0), 9)
    assert (member.unanswered_since_ns, member.asked_at_ns) == (5, 9)


def test_whatever_a_worker_says_is_an_answer(roster):
    member = forked(roster, 7)
    member.note_told(Ask(0), 5)
    member.note_report(Report(ReportKind.LOADED), 6)
    assert (member.unanswered_since_ns, member.seen_at_ns) == (0, 6)
    member.note_told(Ask(0), 9)
    assert member.unanswered_since_ns == 9


@pytest.mark.parametrize(("ends_requests", "seen_at_ns"), [(False, 50), (True, 5)])
def test_a_request_that_runs_excuses_a_worker_that_cannot_answer_meanwhile(ends_requests, seen_at_ns):
    board = board_of([(10, 10)])
    member = Member(slot=0, pid=7, generation=1, scoreboard=board, seen_at_ns=5, ends_requests=ends_requests)
    member.note_busy(board.instants(0, 0), 50)
    assert member.seen_at_ns == seen_at_ns
