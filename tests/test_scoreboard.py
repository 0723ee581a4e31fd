"""The scoreboard, as the arbiter reads it."""

import mmap
import os
import re

import pytest
from scoreboards import ROW, board_of

from pyserver._scoreboard import Cell, Scoreboard


def resident_bytes(address: int) -> int:
    """How much of the mapping that begins there was ever touched."""
    with open("/proc/self/smaps") as file:
        _, _, mapping = file.read().partition(f"\n{address:x}-")
    return 1024 * int(re.search(r"^Rss: +(\d+) kB", mapping, re.M)[1])


def test_slots_and_rows_do_not_touch_one_another():
    board, narrow = Scoreboard(2, rows=3), Scoreboard(2)
    board.write(0, Cell.REQUESTS, 1)
    board.write(1, Cell.REQUESTS, 2)
    assert [board.read(slot, Cell.REQUESTS) for slot in (0, 1)] == [1, 2]
    more = (board.address(1) - board.address(0)) - (narrow.address(1) - narrow.address(0))
    # Two rows more, and none shares a cache line with another.
    assert more == 2 * ROW
    assert ROW % 64 == 0
    assert board.address(1) % 64 == 0


def test_a_slot_is_busy_since_its_oldest_request():
    board = Scoreboard(1, rows=2)
    assert board.read(0, Cell.BUSY_SINCE_NS) == 0
    board.write(0, Cell.BUSY_SINCE_NS, 7)
    assert (board.read(0, Cell.BUSY_SINCE_NS), board.busy_since_ns(0), board.busy_since_ns(0, 1)) == (7, 7, 0)


def test_a_request_runs_in_the_first_row_of_a_slot_that_says_no_more_than_since_when():
    board = Scoreboard(1, rows=2)
    board.write(0, Cell.BUSY_SINCE_NS, 7)
    assert (board.alive_since_ns(0), board.alive_ns(0), board.alive_ns(0, 1)) == (7, 7, 0)
    assert (board.rows_busy(0), board.thread(0)) == ([0], 0)


@pytest.mark.parametrize(
    ("requests", "instants"),
    [
        ([], (0, 0, 0, 0)),
        ([(7, 7)], (7, 7, 7, 7)),
        ([(9, 9), (7, 8)], (7, 8, 9, 7)),
        ([(9, 9), (7, 20)], (7, 9, 20, 7)),
        ([(0, 3), (7, 5)], (7, 7, 7, 7)),
        ([(2, 2), (4, 9), (3, 8)], (2, 2, 9, 4)),
    ],
    ids=["none", "one", "two", "one that gives blocks", "one after another", "one that was told of"],
)
def test_the_instants_of_a_slot_are_those_of_the_requests_that_run(requests, instants):
    board = board_of(requests)
    assert board.instants(0, told_ns=3) == instants
    assert board.alive_since_ns(0) == instants[1]
    assert board.read(0, Cell.BUSY_SINCE_NS) == instants[0]


def test_the_rows_that_are_busy_are_named_the_oldest_request_first():
    assert board_of([(9, 9), (0, 5), (7, 20)]).rows_busy(0) == [2, 0]


def test_the_last_row_is_where_something_happened_last():
    assert Scoreboard(1, rows=2).row_last(0) == 0
    assert board_of([(0, 5), (0, 20), (7, 8)]).row_last(0) == 1


def test_rows_that_were_never_used_are_not_looked_at():
    board = board_of([(7, 7), (8, 8)])
    board.write(0, Cell.ROWS, 1)
    assert board.rows_busy(0) == [0]
    assert board.instants(0).last_alive_ns == 7


def test_rows_that_do_not_exist_are_not_looked_at_whatever_the_slot_says():
    board = board_of([(7, 7)], [(5, 5)])
    board.write(0, Cell.ROWS, 2**40)
    assert board.rows_busy(0) == [0]
    board.clear(0)
    assert board.rows_busy(1) == [0]


@pytest.mark.skipif(not os.path.exists("/proc/self/smaps"), reason="only Linux tells what memory was touched")
def test_rows_that_were_never_used_take_no_memory():
    board = Scoreboard(64, rows=1000)
    for slot in range(64):
        board.write(slot, Cell.ROWS, 3)
        board.instants(slot)
        board.clear(slot)
    # The slots are far apart: a page or two of each.
    assert resident_bytes(board.address(0)) <= 64 * 2 * mmap.PAGESIZE


def test_a_new_slot_tells_of_no_request():
    board = Scoreboard(1)
    assert (board.request_line(0), board.peer(0), board.latencies(0)) == ("", "", [0] * 32)


def test_a_slot_that_was_cleared_is_new():
    board = Scoreboard(2, rows=2)
    for slot in (0, 1):
        board.write(slot, Cell.BUSY_SINCE_NS, 7)
        board.write(slot, Cell.ERRORS, 7)
    board.clear(0)
    cells = (Cell.BUSY_SINCE_NS, Cell.ERRORS)
    assert [board.read(slot, cell) for slot in (0, 1) for cell in cells] == [0, 0, 7, 7]


@pytest.mark.parametrize(("slot", "row"), [(2, 0), (-1, 0), (0, 2), (0, -1)])
def test_what_is_not_there_cannot_be_read(slot, row):
    with pytest.raises(IndexError, match=r"no (slot|row)"):
        Scoreboard(2, rows=2).busy_since_ns(slot, row)


@pytest.mark.parametrize(("slots", "rows"), [(0, 1), (1, 0)])
def test_a_scoreboard_has_at_least_one_slot_and_one_row(slots, rows):
    with pytest.raises(ValueError, match="at least one"):
        Scoreboard(slots, rows)
