from enum import IntEnum

class ErrorCode(IntEnum):
    """Why a stream or a connection is ended; RFC 9113 §7."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12
    HTTP_1_1_REQUIRED = 13

class FrameType(IntEnum):
    """What a frame is; RFC 9113 §6."""

    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9

class Setting(IntEnum):
    """What SETTINGS may hold; RFC 9113 §6.5.2, RFC 8441 §3, RFC 9218 §2.1."""

    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6
    ENABLE_CONNECT_PROTOCOL = 8
    NO_RFC7540_PRIORITIES = 9

class FrameEvent(IntEnum):
    """What came of a frame. Where there is an error as well, RST_STREAM with it is owed, and the stream is over."""

    IGNORED = 0
    REQUEST = 1
    TRAILERS = 2
    DISCARDED = 3
    CONTENT = 4
    STREAM_RESET = 5
    STREAM_FAILED = 6
    SETTINGS_CHANGED = 7
    SETTINGS_ACKNOWLEDGED = 8
    PINGED = 9
    PONGED = 10
    PEER_LEAVES = 11
    WINDOW_OPENED = 12
    FAILED = 13

class Received:
    """What came of one frame.

    `payload` is a field block that is complete, content, or the 8 bytes of a PING; `ends` says END_STREAM; `number` is
    a peer's ErrorCode or the increment of a window, `last` the last stream of a GOAWAY; `error` is owed to the peer.
    """

    kind: FrameEvent
    stream: int
    payload: bytes
    ends: bool
    number: int
    last: int
    error: ErrorCode

class Http2Connection:
    """A server's side of a connection, as a session drives it but without field blocks being understood.

    Args:
        streams: open at once; 0 for 100.
        frame: bytes of a payload that the peer may send, 16,384 to 16,777,215; what is outside counts as the bound.
        window: bytes of a stream's content in flight; 0 for 65,535.
        connection_window: likewise of all streams; 65,535 at least.
        field_list: bytes of fields that the peer is told; 0 for 65,536.
        block: bytes of a compressed field block; 0 for as many as `field_list`.
        continuations: frames that a block may go on in; 0 for what `block` takes, and 128.
        credit: what a peer may spend on frames that do not serve a request; 0 for 1,000.
        allows_connect: whether it is told of extended CONNECT, RFC 8441.
    """

    def __init__(
        self,
        *,
        streams: int = 0,
        frame: int = 0,
        window: int = 0,
        connection_window: int = 0,
        field_list: int = 0,
        block: int = 0,
        continuations: int = 0,
        credit: int = 0,
        allows_connect: bool = False,
    ) -> None: ...
    def feed(self, data: bytes) -> list[Received]:
        """Take the next bytes of the connection; nothing more is looked at once an event is FAILED."""
    def take(self) -> bytes:
        """What is to be sent, once."""
    def begin(self) -> None:
        """Write our SETTINGS, and the WINDOW_UPDATE that makes the connection's window as large as it is to be."""
    def acknowledge(self) -> None:
        """Write SETTINGS with ACK."""
    def pong(self, data: bytes) -> None:
        """Write PING with ACK; ValueError where it is not 8 bytes."""
    def reset(self, stream: int, code: int) -> None:
        """Write RST_STREAM; what the peer had sent before it knew is ignored."""
    def warn(self) -> None:
        """Write the first of two GOAWAYs."""
    def leave(self, code: int = 0) -> None:
        """Write the last GOAWAY; streams that open from now on are ignored."""
    def consume(self, stream: int, length: int) -> None:
        """Say that so many bytes of content were taken; writes WINDOW_UPDATE once it is half a window."""
    def earn(self, credit: int) -> None:
        """Give the peer credit back, for time that has passed."""
    def expect_content(self, stream: int, length: int) -> ErrorCode:
        """Say what content-length says; other than NO_ERROR where the request is complete and has another."""
    def sendable(self, stream: int) -> int:
        """How many bytes the stream's next DATA may have; LookupError where it is not open."""
    def send_block(self, stream: int, block: bytes, ends: bool = False) -> None:
        """Write HEADERS, and CONTINUATIONs; LookupError where the stream is not open."""
    def send_data(self, stream: int, data: bytes, ends: bool = False) -> None:
        """Write DATA; LookupError where the stream is not open, ValueError where it is more than is sendable."""
    def windows(self, stream: int = 0) -> tuple[int, int]:
        """What may be sent and received, of a stream or of the connection; LookupError where it is not open."""
    def state(self, stream: int) -> str:
        """The state of a stream, as RFC 9113 §5.1 names it."""
    @property
    def peer(self) -> dict[Setting, int]:
        """The settings of the other side that are in force."""
    @property
    def credit(self) -> int:
        """What the peer has left."""
    @property
    def open_streams(self) -> int:
        """How many streams are neither idle nor closed."""
