"""The scoreboard, as the arbiter reads it."""

import pytest

from pyserver._scoreboard import Cell, Scoreboard


def test_slots_and_rows_do_not_touch_one_another():
    board, narrow = Scoreboard(2, rows=3), Scoreboard(2)
    board.write(0, Cell.REQUESTS, 1)
    board.write(1, Cell.REQUESTS, 2)
    assert [board.read(slot, Cell.REQUESTS) for slot in (0, 1)] == [1, 2]
    more = (board.address(1) - board.address(0)) - (narrow.address(1) - narrow.address(0))
    # Two rows more, and none shares a cache line with another.
    assert more > 0
    assert more % (2 * 64) == 0


def test_a_slot_is_busy_since_its_oldest_request():
    board = Scoreboard(1, rows=2)
    assert board.read(0, Cell.BUSY_SINCE_NS) == 0
    board.write(0, Cell.BUSY_SINCE_NS, 7)
    assert (board.read(0, Cell.BUSY_SINCE_NS), board.busy_since_ns(0), board.busy_since_ns(0, 1)) == (7, 7, 0)


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
