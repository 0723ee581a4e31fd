class Durations:
    """How long a connection may wait for what, seconds; 0 is no limit, except for `idle`. Immutable.

    Args:
        head: for a request head, from its first byte (or from the accept) to its last.
        content: without a byte of awaited content.
        idle: between the requests of a persistent connection; 0 closes after each response.
        write: in which the peer takes no byte of a response.
    """

    def __init__(
        self, *, head: float = 10.0, content: float = 30.0, idle: float = 2.0, write: float = 60.0
    ) -> None: ...
