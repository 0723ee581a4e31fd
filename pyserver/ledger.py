"""What the arbiter writes down of the whole server, in memory that a process forked from it can read.

The scoreboard has what each worker writes; here is what the arbiter alone knows, and what workers that have gone had
counted, so that totals never fall.
"""

from __future__ import annotations

import contextlib
import enum
import time
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from pyserver._scoreboard import Cell, Words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pyserver._scoreboard import Scoreboard

_T = TypeVar("_T")


class Phase(enum.IntEnum):
    """Whether the server goes on."""

    SERVING = 0
    DRAINING = 1  # it serves on for the drain_delay, and stops then
    STOPPING = 2
    SUCCEEDED = 3  # it stops, and another arbiter serves in its place


class Word(enum.IntEnum):
    """The words about the server as a whole."""

    EDITION = 0  # odd while the arbiter writes what belongs together
    TURNED_NS = 1  # monotonic, when the arbiter's loop turned last
    STARTED_NS = 2  # the same clock
    PHASE = 3
    GENERATION = 4  # that new workers are of
    WANTED = 5  # how many workers there should be
    SPAWNED = 6  # workers, ever
    ABANDONED = 7  # requests that were cut off
    RELOADS = 8  # that a worker has proved
    RELOADS_FAILED = 9  # refused, or given up


# Why workers end, and why others take their places; each is counted for itself.
DEATHS = (
    "expected", "boot", "timeout", "silent", "graceful_timeout", "quit", "incoherent", "memory", "signal", "exit",
)  # fmt: skip
REPLACED = ("requests", "lifetime", "memory", "image")

SUMMED = (
    Cell.REQUESTS, Cell.ACCEPTED, Cell.REFUSED, Cell.ERRORS, Cell.BYTES_SENT, Cell.GIVEN_LEAVING, Cell.GIVEN_BUSY,
    Cell.GIVEN_UNEVEN, Cell.GIVEN_ALWAYS, Cell.TAKEN, Cell.QUEUE_NS, Cell.DURATION_NS,
)  # fmt: skip
"""The cells that only grow while a worker lives."""
BUCKETS = 32
"""Of the latencies on the scoreboard."""
_CELLS = 32  # of a slot there

_DEATHS_AT = len(Word)
_REPLACED_AT = _DEATHS_AT + len(DEATHS)
_GONE_AT = _REPLACED_AT + len(REPLACED)
_LATENCIES_AT = _GONE_AT + _CELLS
_SLOTS_AT = _LATENCIES_AT + BUCKETS
_TRIES = 200
_TRY_SECONDS = 0.001


class Entry(NamedTuple):
    """What the arbiter knows of one worker; instants are monotonic nanoseconds, 0 for "not yet"."""

    pid: int  # 0 while it is being forked
    number: int
    generation: int
    board: int  # where its scoreboard lies
    forked_at_ns: int
    ready_at_ns: int
    state: int  # a WorkerState
    serves: int  # whether it accepts connections


_NOBODY = Entry(0, 0, 0, 0, 0, 0, 0, 0)


class Ledger:
    """Written by the arbiter, read by others.

    Args:
        slots: how many workers there can be at the same time.
    """

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self._words = Words(_SLOTS_AT + slots * len(Entry._fields))
        self._words.write(Word.STARTED_NS, time.monotonic_ns())
        self._shown: dict[int, Entry] = {}

    # Writing

    @contextlib.contextmanager
    def edition(self) -> Iterator[None]:
        """What is written within belongs together: nobody reads a part of it."""
        self._add(Word.EDITION, 1)
        try:
            yield
        finally:
            self._add(Word.EDITION, 1)

    def set(self, word: Word, value: int) -> None:
        """Write one word."""
        self._words.write(word, value)

    def count(self, word: Word, number: int = 1) -> None:
        """Add to one word."""
        self._add(word, number)

    def count_death(self, why: str) -> None:
        """One more worker has ended; `why` is one of `DEATHS`."""
        self._add(_DEATHS_AT + DEATHS.index(why), 1)

    def count_replaced(self, why: str) -> None:
        """One more worker is to be replaced; `why` is one of `REPLACED`."""
        self._add(_REPLACED_AT + REPLACED.index(why), 1)

    def add_gone(self, board: Scoreboard, slot: int) -> None:
        """A worker has gone; its slot still says what it did, until this returns."""
        with self.edition():
            self._sum_up(board, slot)
            board.clear(slot)
            self._put(slot, _NOBODY)
            self._shown.pop(slot, None)

    def _sum_up(self, board: Scoreboard, slot: int) -> None:
        for cell in SUMMED:
            self._add(_GONE_AT + cell, board.read(slot, cell))
        before = 0
        for bucket, total in enumerate(board.latencies(slot)):
            self._add(_LATENCIES_AT + bucket, total - before)
            before = total

    def show(self, entries: Mapping[int, Entry]) -> None:
        """Write down which workers there are, by slot; all other slots are free."""
        changed = {slot: entries.get(slot, _NOBODY) for slot in {*self._shown, *entries}}
        changed = {slot: entry for slot, entry in changed.items() if entry != self._shown.get(slot, _NOBODY)}
        if changed:
            with self.edition():
                for slot, entry in changed.items():
                    self._put(slot, entry)
            self._shown = dict(entries)

    def _put(self, slot: int, entry: Entry) -> None:
        for at, value in enumerate(entry, _SLOTS_AT + slot * len(entry)):
            self._words.write(at, value)

    def _add(self, at: int, number: int) -> None:
        self._words.write(at, self._words.read(at) + number)

    # Reading

    def read(self, look: Callable[[], _T]) -> _T:
        """What `look` returns of one moment; of several, where the arbiter was stopped as it wrote."""
        for _ in range(_TRIES):
            edition = self.get(Word.EDITION)
            found = look()
            if edition % 2 == 0 and edition == self.get(Word.EDITION):
                return found
            time.sleep(_TRY_SECONDS)
        return look()

    def get(self, word: Word) -> int:
        """One word."""
        return self._words.read(word)

    def deaths(self) -> dict[str, int]:
        """How many workers have ended, by the reason."""
        return {why: self._words.read(_DEATHS_AT + at) for at, why in enumerate(DEATHS)}

    def replaced(self) -> dict[str, int]:
        """How many were to be replaced, by the reason."""
        return {why: self._words.read(_REPLACED_AT + at) for at, why in enumerate(REPLACED)}

    def gone(self, cell: Cell) -> int:
        """What the workers that have gone had counted in a cell of `SUMMED`."""
        return self._words.read(_GONE_AT + cell)

    def latencies(self) -> list[int]:
        """How many of their requests took less than 1, 2, 4, 8 … microseconds; the last number is that of all."""
        totals = [0]
        for bucket in range(BUCKETS):
            totals.append(totals[-1] + self._words.read(_LATENCIES_AT + bucket))
        return totals[1:]

    def entries(self) -> dict[int, Entry]:
        """The workers by slot."""
        size = len(Entry._fields)
        found = {
            slot: Entry(*(self._words.read(_SLOTS_AT + slot * size + at) for at in range(size)))
            for slot in range(self.slots)
        }
        return {slot: entry for slot, entry in found.items() if entry.state}
