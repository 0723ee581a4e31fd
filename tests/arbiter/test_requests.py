"""What is said of what a worker does."""

import pytest
from scoreboards import row_of

from pyserver._scoreboard import Scoreboard
from pyserver.arbiter.requests import Request, activity, requests_of, running
from pyserver.arbiter.roster import Member

S = 1_000_000_000
NOW = 1_000 * S


@pytest.fixture
def member():
    return Member(slot=1, pid=7, generation=1, scoreboard=Scoreboard(2, rows=3))


def ask(member, row, line, busy_since_ns, **facts):
    """Have a row of the worker say that this request runs, or, with 0, has run; from a peer on a Unix socket."""
    row = row_of(member.scoreboard, member.slot, row)
    row.line, row.busy_since_ns = line.encode(), busy_since_ns
    row.alive_ns = facts.get("alive_ns", busy_since_ns)
    row.thread = facts.get("thread", 0)


def test_a_worker_that_has_not_served_yet_has_no_request(member):
    assert activity(member, NOW) == "it had no request yet"


def test_an_idle_worker_has_a_last_request(member):
    ask(member, 0, "GET /a", 0, alive_ns=5)
    ask(member, 1, "GET /b", 0, alive_ns=6)
    assert activity(member, NOW) == "its last request was GET /b from a Unix socket"


def test_the_requests_of_a_worker_are_named_the_oldest_first(member):
    ask(member, 0, "GET /a", NOW - S)
    ask(member, 1, "GET /b", 0)
    ask(member, 2, "GET /c", NOW - 2 * S)
    assert activity(member, NOW) == (
        "it was running GET /c from a Unix socket for 2.0 s, GET /a from a Unix socket for 1.0 s"
    )


def test_a_request_is_named_with_the_thread_as_faulthandler_has_it(member):
    ask(member, 0, "GET /a", NOW - S, thread=0x7F00_1234_5678)
    assert activity(member, NOW).endswith("for 1.0 s in Thread 0x00007f0012345678")


def test_a_request_that_has_given_something_says_for_how_long_it_has_not(member):
    ask(member, 0, "GET /a", NOW - 3 * S, alive_ns=NOW - S, thread=1)
    ask(member, 1, "GET /b", NOW - 2 * S, alive_ns=NOW - S)
    assert [request.in_words(NOW) for request in requests_of(member)] == [
        "GET /a from a Unix socket for 3.0 s, silent for 1.0 s, in Thread 0x0000000000000001",
        "GET /b from a Unix socket for 2.0 s, silent for 1.0 s",
    ]


@pytest.mark.parametrize(("count", "end"), [(5, "GET /4 for 1.0 s"), (6, "GET /4 for 1.0 s, and 1 more")])
def test_of_many_requests_five_are_named(count, end):
    requests = [Request(f"GET /{number}", NOW - S, NOW - S) for number in range(count)]
    assert running(requests, NOW).endswith(end)
