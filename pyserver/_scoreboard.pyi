from enum import IntEnum

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

class Scoreboard:
    """Slots of 64-bit words in anonymous shared memory, made before the first fork; a row for each thread."""

    slots: int
    rows: int
    def __init__(self, slots: int, rows: int = 1) -> None: ...
    def address(self, slot: int) -> int: ...
    def read(self, slot: int, cell: Cell) -> int:
        """One word of a slot; BUSY_SINCE_NS is that of its oldest request."""
    def write(self, slot: int, cell: Cell, value: int) -> None: ...
    def busy_since_ns(self, slot: int, row: int = 0) -> int:
        """The monotonic start of the request that runs in a row; 0 while none does."""
    def request_line(self, slot: int, row: int = 0) -> str:
        """Method and target of the request that runs in a row, or that ran last; may be empty."""
    def peer(self, slot: int, row: int = 0) -> str:
        """Who sent that request, as a log line names him; empty before the first."""
    def latencies(self, slot: int) -> list[int]:
        """How many requests took less than 1, 2, 4, 8 … microseconds; the last number is that of all."""
    def clear(self, slot: int) -> None: ...
