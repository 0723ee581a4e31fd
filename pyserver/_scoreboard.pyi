from enum import IntEnum
from typing import NamedTuple

class Cell(IntEnum):
    STATE = 0
    BUSY_SINCE_NS = 1
    REQUESTS = 2
    CONNECTIONS = 3
    ACCEPTED = 4
    REFUSED = 5
    ERRORS = 6
    BYTES_SENT = 7
    STOPS = 8
    TIMEOUT_NS = 9
    DISMISSED = 10
    ENDS_REQUESTS = 11
    CHOSEN = 12
    TAKES = 13
    MOVES = 14
    GIVEN_LEAVING = 15
    GIVEN_BUSY = 16
    GIVEN_UNEVEN = 17
    GIVEN_ALWAYS = 18
    TAKEN = 19
    QUEUE_NS = 20
    QUEUE_MOST_NS = 21
    WAITS_SINCE_NS = 22
    DRAINS = 23
    DURATION_NS = 24
    QUIC = 25
    ROWS = 26

class Instants(NamedTuple):
    """Of the requests that run in a slot: monotonic nanoseconds, 0 where there is none."""

    busy_since_ns: int = 0
    alive_since_ns: int = 0
    last_alive_ns: int = 0
    untold_since_ns: int = 0

class Scoreboard:
    """Slots of 64-bit words in anonymous shared memory, made before the first fork; a row for each request."""

    slots: int
    rows: int
    def __init__(self, slots: int, rows: int = 1) -> None: ...
    def address(self, slot: int) -> int: ...
    @property
    def extent(self) -> tuple[int, int, int]:
        """Address of the first slot, bytes from one to the next, and how many there are."""
    def read(self, slot: int, cell: Cell) -> int:
        """One word of a slot; BUSY_SINCE_NS is that of its oldest request."""
    def write(self, slot: int, cell: Cell, value: int) -> None:
        """Set one word of a slot, before anything is read that comes after it.

        So when each of two processes writes a word and then reads that of the other, one of them at least sees both.
        """
    def busy_since_ns(self, slot: int, row: int = 0) -> int:
        """The monotonic start of the request that runs in a row; 0 while none does."""
    def alive_ns(self, slot: int, row: int = 0) -> int:
        """When the request that runs in a row began, or last gave a block of its response; 0 while none runs."""
    def thread(self, slot: int, row: int = 0) -> int:
        """Who runs the request of a row, as faulthandler names threads; 0 where that is not known."""
    def alive_since_ns(self, slot: int) -> int:
        """`alive_ns` of that row of the slot where it is longest ago; 0 while no request runs."""
    def instants(self, slot: int, told_ns: int = 0) -> Instants:
        """What timeouts look at: when the oldest request began, the longest and the shortest time that one has given
        nothing, and when the oldest one began that began after `told_ns`."""
    def rows_busy(self, slot: int) -> list[int]:
        """The rows in which a request runs, the oldest request first."""
    def row_last(self, slot: int) -> int:
        """The row in which a request began, or gave a block of its response, last."""
    def request_line(self, slot: int, row: int = 0) -> str:
        """Method and target of the request that runs in a row, or that ran last; may be empty."""
    def peer(self, slot: int, row: int = 0) -> str:
        """Who sent that request, as a log line names him; empty before the first."""
    def latencies(self, slot: int) -> list[int]:
        """How many requests took less than 1, 2, 4, 8 … microseconds; the last number is that of all."""
    def clear(self, slot: int) -> None: ...

class Words:
    """64-bit words in anonymous shared memory, made before the first fork and written by one process.

    Args:
        count: how many; all are 0 at first.

    Raises:
        ValueError: `count` is under 1.
        MemoryError: the memory cannot be mapped.
    """

    count: int
    def __init__(self, count: int) -> None: ...
    def read(self, at: int) -> int:
        """The word at that place, no older than those that were read before; IndexError where there is none."""
    def write(self, at: int, value: int) -> None:
        """Set the word at that place, which others see no later than those that are written after it."""
