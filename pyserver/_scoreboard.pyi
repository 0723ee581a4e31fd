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
    """Slots of 64-bit words in anonymous shared memory, made before the first fork."""

    slots: int
    def __init__(self, slots: int) -> None: ...
    def address(self, slot: int) -> int: ...
    def read(self, slot: int, cell: Cell) -> int: ...
    def write(self, slot: int, cell: Cell, value: int) -> None: ...
    def request_line(self, slot: int) -> str: ...
    def clear(self, slot: int) -> None: ...
