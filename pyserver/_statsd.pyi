KINDS: dict[str, str]
"""What kinds of metrics there are, and what each is called on the wire."""

class Datagrams:
    """Sends datagrams to one address, and never waits: what the system does not take at once is lost.

    The address is given anew with each, so a receiver may come and go.

    Args:
        host: a name or an address, or with a port of 0 the path of a Unix socket.
        port: of UDP.

    Raises:
        OSError: the name is not known, the path is too long, or there are no more descriptors.
    """

    def __init__(self, host: str, port: int = 0) -> None: ...
    def fileno(self) -> int:
        """The descriptor of the socket."""
    def put(self, data: bytes) -> bool:
        """Send one; whether the system has taken it."""

class Statsd:
    """What is told to a statsd server.

    Args:
        target: where it listens.
        prefix: of every name; a dot is added where it has none.
        tags: of every metric, as dogstatsd has them: separated by commas; empty for none.

    Raises:
        ValueError: prefix and tags leave no room for metrics.
    """

    def __init__(self, target: Datagrams, prefix: str = "", tags: str = "") -> None: ...
    @property
    def target(self) -> Datagrams:
        """Where it listens."""
    def gauge(self, name: str, value: object) -> None:
        """Tell what something is."""
    def increment(self, name: str, value: object = 1) -> None:
        """Tell how many more there are."""
    def histogram(self, name: str, value: object) -> None:
        """Tell one of many values."""
    def timer(self, name: str, value: object) -> None:
        """Tell how long something took, milliseconds."""
    def tell(self, name: str, value: object, kind: str) -> None:
        """Send a metric of one of `KINDS`; one that cannot be sent, or is none, is dropped."""
