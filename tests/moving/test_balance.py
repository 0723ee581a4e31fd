"""Who does more than its share gives some of its connections to those that wait."""

import time

import pytest

from pyserver._balance import Balance
from pyserver._scoreboard import Cell, Scoreboard

LOOK = 100_000_000  # nanoseconds, between two looks
NOW = 1_000_000_000_000
BUSY = LOOK * 9 // 10


class Board:
    """What the workers leave on the scoreboard; the first of them looks."""

    def __init__(self, workers):
        self.scoreboard = Scoreboard(workers)
        self.workers = range(workers)
        self.balance = Balance(*self.scoreboard.extent, self.scoreboard.address(0))
        self.now_ns = NOW
        for slot in self.workers:
            self.scoreboard.write(slot, Cell.TAKES, 1)
        self.look([0] * workers, 10)

    def wait(self, slot, since_ns=LOOK):
        self.scoreboard.write(slot, Cell.WAITS_SINCE_NS, self.now_ns + LOOK - since_ns)

    def look(self, served, connections, *, busy_ns=BUSY, after_ns=LOOK):
        """How many of its connections it is to give away, when all have served so many since it looked last."""
        for slot, count in zip(self.workers, served, strict=True):
            self.scoreboard.write(slot, Cell.REQUESTS, self.scoreboard.read(slot, Cell.REQUESTS) + count)
        self.now_ns += after_ns
        return self.balance.look(self.now_ns, busy_ns, connections)


# What each has served, how many connections the first has, and how many of them are too many.
SHARES = [
    ([1000, 0], 10, 5),
    ([1000, 0], 1, 1),
    ([1000, 500], 12, 3),
    ([1000, 1000], 10, 0),
    ([500, 1000], 10, 0),
    ([1000, 0, 0, 0], 8, 6),
    ([1000, 990], 10, 0),
    ([1000, 500], 1, 0),
    ([63, 0], 10, 0),
    ([64, 0], 10, 5),
    ([0, 0], 10, 0),
]


@pytest.mark.parametrize(("served", "connections", "surplus"), SHARES)
def test_a_share_is_what_all_have_served_by_how_many_they_are(served, connections, surplus):
    board = Board(len(served))
    for slot in board.workers[1:]:
        board.wait(slot)
    assert board.look(served, connections) == surplus


def test_where_nobody_waits_nothing_is_given():
    assert Board(2).look([1000, 0], 10) == 0


def test_a_surplus_is_given_as_soon_as_somebody_waits():
    board = Board(2)
    assert board.look([1000, 0], 10) == 0
    board.wait(1)
    assert board.look([0, 0], 10, after_ns=1) == 5
    assert board.look([0, 0], 10, after_ns=1) == 0


def test_who_takes_nothing_does_not_count():
    board = Board(2)
    board.wait(1)
    board.scoreboard.write(1, Cell.TAKES, 0)
    assert board.look([1000, 0], 10) == 0


def test_who_waits_itself_gives_nothing():
    board = Board(2)
    board.wait(0)
    board.wait(1)
    assert board.look([1000, 0], 10, busy_ns=LOOK // 10) == 0


def test_it_looks_seldom():
    board = Board(2)
    board.wait(1)
    assert board.look([1000, 0], 10, after_ns=LOOK // 2) == 0
    assert board.look([0, 0], 10, after_ns=LOOK // 2) == 5


def test_only_what_was_served_since_the_last_look_counts():
    board = Board(2)
    board.wait(1)
    board.look([1000, 0], 10)
    board.wait(1)
    assert board.look([0, 0], 10) == 0


def test_a_worker_that_was_replaced_counts_from_then_on():
    board = Board(2)
    board.look([100, 1000], 10)
    # Its slot is another one's now.
    board.scoreboard.write(1, Cell.REQUESTS, 0)
    board.wait(1)
    assert board.look([1000, 0], 10) == 0
    board.wait(1)
    assert board.look([1000, 0], 10) == 5


def test_in_an_event_loop_who_works_is_busy():
    board = Board(2)
    board.look([0, 0], 10, busy_ns=-1)
    board.wait(1)
    until = time.thread_time_ns() + LOOK // 2
    while time.thread_time_ns() < until:
        pass
    assert board.look([1000, 0], 10, busy_ns=-1) == 5


def test_in_an_event_loop_who_hardly_works_is_not():
    board = Board(2)
    board.look([0, 0], 10, busy_ns=-1)
    board.wait(1)
    assert board.look([1000, 0], 10, busy_ns=-1, after_ns=1000 * LOOK) == 0
