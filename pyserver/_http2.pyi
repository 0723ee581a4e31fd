from pyserver._carried import CarriedStream
from pyserver._channel import Session, Version

class HTTP2Limits(Version):
    """What a client may have of HTTP/2. Immutable.

    Args:
        streams: requests of one connection at the same time.
        window: bytes of content of a request that are under way, RFC 9113 §6.9.2.
        connection_window: … and of all requests of a connection.
        frame: bytes of a frame's payload, RFC 9113 §4.2.
        field_list: bytes of a request's fields, counted as RFC 9113 §6.5.2 does.
        in_clear: whether a trusted client may begin without TLS, knowing that HTTP/2 is spoken (§3.3).
        by_upgrade: whether it may go over to it with a request of HTTP/1.1, RFC 7540 §3.2.
        websockets: whether WebSockets are served, so that RFC 8441 is announced.
    """

    def __init__(
        self,
        *,
        streams: int = 100,
        window: int = 65535,
        connection_window: int = 1048576,
        frame: int = 16384,
        field_list: int = 65536,
        in_clear: bool = False,
        by_upgrade: bool = False,
        websockets: bool = False,
    ) -> None: ...

class HTTP2Session(Session):
    """The server's side of one connection."""

class HTTP2Stream(CarriedStream):
    """One stream."""
