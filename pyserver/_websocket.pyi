from enum import IntEnum

class Event(IntEnum):
    """What was received."""

    NOTHING = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10
    FAIL = 16

class Deflate:
    """How messages are compressed: what the server wants, or what was agreed with a client. Immutable.

    Args:
        server_bits: the base-2 logarithm of the server's window, 9 to 15.
        client_bits: likewise of the client's, 8 to 15, where the client can limit it.
        server_no_context_takeover: whether the compressor is dropped after every message.
        client_no_context_takeover: whether clients have to drop theirs, and so the server its decompressor.
        level: of zlib, -1 to 9.
        mem_level: of zlib, 1 to 9; the compressor takes 2 ** (server_bits + 2) + 2 ** (mem_level + 9) bytes.

    Raises:
        ValueError: a number is outside of its bounds.
    """

    server_bits: int
    client_bits: int
    server_no_context_takeover: bool
    client_no_context_takeover: bool
    level: int
    mem_level: int
    response: bytes
    """What was agreed as the value of Sec-WebSocket-Extensions; empty before."""
    def __init__(
        self,
        *,
        server_bits: int = 12,
        client_bits: int = 12,
        server_no_context_takeover: bool = False,
        client_no_context_takeover: bool = False,
        level: int = -1,
        mem_level: int = 5,
    ) -> None: ...

class Handshake:
    """A request to become a WebSocket: what it asks for, or why it is refused; RFC 6455 §4.2.1."""

    status: int
    """101, or that of the refusal: 400 or 426."""
    reason: str | None
    """Why it is refused."""
    refusal_fields: list[tuple[bytes, bytes]]
    """What the refusal has to say besides."""
    accept: bytes | None
    """The value of Sec-WebSocket-Accept."""
    subprotocols: list[str]
    """In the order in which the client prefers them."""
    offers: list[tuple[bytes, list[tuple[bytes, bytes | None]]]]
    """The extensions, in that order, with their parameters."""
    def __init__(self, method: bytes, fields: list[tuple[bytes, bytes]]) -> None: ...
    def agree(self, wanted: Deflate) -> Deflate | None:
        """What the first offer of permessage-deflate that can be met comes to; None if there is none."""

def read_handshake(method: bytes, minor: int, fields: list[tuple[bytes, bytes]]) -> Handshake | None:
    """What a request says of becoming a WebSocket; None where it is plain HTTP.

    Args:
        minor: the minor version of HTTP/1.
        fields: pairs of name, in lower case, and value.
    """

def accept_key(key: bytes) -> bytes:
    """The value of Sec-WebSocket-Accept that answers a Sec-WebSocket-Key; RFC 6455 §4.2.2."""

class WebSocket:
    """The protocol of one open WebSocket, as the server speaks it.

    Args:
        max_message: bytes that a message may have, inflated; 0 for no limit.
        deflate: what was agreed with the client; None for no compression.
    """

    close_sent: bool
    close_received: bool
    is_failed: bool
    code: int
    """Of the CLOSE or FAIL that was received."""
    def __init__(self, *, max_message: int = 16777216, deflate: Deflate | None = None) -> None: ...
    def feed(self, data: bytes | bytearray | memoryview) -> list[tuple[Event, str | bytes] | tuple[Event, int, str]]:
        """Take the next bytes of the connection; the events in them, as tuples of an Event and what comes with it."""

    def text(self, text: str) -> bytes:
        """A text message; RuntimeError once a close was sent."""

    def binary(self, data: bytes) -> bytes:
        """A binary message; RuntimeError once a close was sent."""

    def ping(self, data: bytes = b"") -> bytes:
        """A ping frame; ValueError above 125 bytes."""

    def pong(self, data: bytes = b"") -> bytes:
        """A pong frame; ValueError above 125 bytes."""

    def close(self, code: int = 1000, reason: str = "") -> bytes:
        """A close frame. From now on no message is sent, and those that come are dropped.

        Args:
            code: 1005 for a frame without code and reason.
            reason: what is beyond 123 bytes of UTF-8 is left off, at the end of a character.

        Raises:
            ValueError: the code may not be sent; RFC 6455 §7.4.
            UnicodeEncodeError: the reason holds a surrogate.
        """

    def rest(self) -> None:
        """Give the compressor's memory back; the next message does not refer to earlier ones."""
