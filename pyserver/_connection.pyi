class Durations:
    """How long a connection may wait for what, seconds; 0 is no limit, except for `idle`. Immutable.

    Args:
        head: for a request head, from its first byte (or from the accept) to its last.
        content: without a byte of awaited content.
        idle: between the requests of a persistent connection; 0 closes after each response.
        write: in which the peer takes no byte of a response.
        ping: that a WebSocket may be silent before it is asked whether it is there.
        pong: that it may then take to say anything.
    """

    def __init__(
        self, *, head: float = 10.0, content: float = 30.0, idle: float = 2.0, write: float = 60.0,
        ping: float = 20.0, pong: float = 20.0,
    ) -> None: ...

class Buffers:
    """How much is kept in memory, and where the rest goes; sizes are bytes. Immutable.

    Args:
        request: content kept in memory; longer content is in an unlinked temporary file.
        response: of a response, kept in memory for a client that takes it slowly; then likewise.
        spool: of that file; past it the application waits for the client.
        directory: where temporary files are made.
    """

    def __init__(
        self, *, request: int = 524_288, response: int = 65_536, spool: int = 1_073_741_824, directory: str = "/tmp"
    ) -> None: ...
