class Balance:
    """Whether a worker does more than its share; addresses are those of slots of the scoreboard."""

    def __init__(self, first: int, stride: int, count: int, own: int) -> None: ...
    def look(self, now_ns: int, busy_ns: int, connections: int) -> int:
        """How many of so many connections it is to give away; `busy_ns` is how long it has not waited, -1: unknown."""
