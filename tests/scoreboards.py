"""Scoreboards on which requests run, for tests: what otherwise only compiled workers write."""

from __future__ import annotations

import ctypes

from pyserver._scoreboard import Cell, Scoreboard

ROW = 320
_HEAD = 64 * 8  # what lies before the rows of a slot


class Row(ctypes.Structure):
    """A row, as _scoreboard.pxd has it."""

    _fields_ = (
        ("busy_since_ns", ctypes.c_int64),
        ("alive_ns", ctypes.c_int64),
        ("thread", ctypes.c_uint64),
        ("address", ctypes.c_uint8 * 16),
        ("port", ctypes.c_uint16),
        ("family", ctypes.c_uint8),
        ("line", ctypes.c_char * (ROW - 43)),
    )


def row_of(board: Scoreboard, slot: int, row: int) -> Row:
    """The memory of a row, which is used from then on."""
    board.write(slot, Cell.ROWS, max(board.read(slot, Cell.ROWS), row + 1))
    return Row.from_address(board.address(slot) + _HEAD + row * ROW)


def board_of(*slots: list[tuple[int, int]]) -> Scoreboard:
    """A scoreboard on which these requests run, one a row: when each began, and when it last gave something."""
    board = Scoreboard(len(slots), rows=max(1, *map(len, slots)))
    for slot, requests in enumerate(slots):
        for at, instants in enumerate(requests):
            row = row_of(board, slot, at)
            row.busy_since_ns, row.alive_ns = instants
    return board
