from enum import IntEnum

class Fault(IntEnum):
    """Why a request is refused; the answer to each is a row of refusals.REFUSALS."""

    NO_FAULT = 0
    EMPTY_LINES = 1
    REQUEST_LINE_LIMIT = 2
    METHOD = 3
    TARGET = 4
    TARGET_FORM = 5
    TARGET_AUTHORITY = 6
    CONNECT_UNSUPPORTED = 7
    VERSION = 8
    VERSION_UNSUPPORTED = 9
    REQUEST_LINE_END = 10
    FIELD_NAME = 11
    FIELD_VALUE = 12
    FIELD_LINE_END = 13
    FIELD_FOLDED = 14
    FIELD_LIMIT = 15
    FIELD_COUNT_LIMIT = 16
    FIELD_UNDERSCORE = 17
    HOST_MISSING = 18
    HOST_REPEATED = 19
    HOST = 20
    CONTENT_LENGTH = 21
    CONTENT_LENGTH_REPEATED = 22
    CONTENT_LIMIT = 23
    CONTENT_TYPE_REPEATED = 24
    TRANSFER_ENCODING = 25
    TRANSFER_ENCODING_REPEATED = 26
    TRANSFER_ENCODING_WITH_LENGTH = 27
    TRANSFER_ENCODING_IN_1_0 = 28
    EXPECTATION = 29
    CHUNK_SIZE = 30
    CHUNK_EXTENSION = 31
    CHUNK_EXTENSION_LIMIT = 32
    CHUNK_CRLF = 33
    TRAILER = 34
    TRAILER_LIMIT = 35
    HEAD_TIMEOUT = 36
    CONTENT_TIMEOUT = 37
    SCHEME_CONTRADICTION = 38
    PROXY_HEADER = 39
    PROXY_FORBIDDEN = 40
    PROXY_MISSING = 41
    NOT_TLS = 42

class Limits:
    """What a request may have at most. Immutable.

    Args:
        line: bytes of request line without its CRLF; 0 for no limit of its own.
        fields: field lines; 0 for 32,768.
        field: bytes of one field line without its CRLF; 0 for no limit of its own.
        content: bytes of content; 0 for no limit.
        refuse_underscores: whether a field name with an underscore is refused instead of left to the gateway.
        casefold_method: whether a method is taken for the one in upper case.
        unfold: whether a field value may go on in the next line, RFC 9112 §5.2.

    Whatever the limits, a head has at most 16 MiB.
    """

    def __init__(
        self,
        *,
        line: int = 4094,
        fields: int = 100,
        field: int = 8190,
        content: int = 0,
        refuse_underscores: bool = False,
        casefold_method: bool = False,
        unfold: bool = False,
    ) -> None: ...

class Request:
    """A request head as the parser understood it."""

    method: bytes
    target: bytes
    path: bytes
    query: bytes
    minor: int
    fields: list[tuple[bytes, bytes]]
    persists: bool
    is_chunked: bool
    content_length: int | None
    expects_continue: bool

class RequestParser:
    """Requests from bytes, as the engine parses them but without a connection.

    receive() returns what the bytes completed, in order: a `Request`, then its content as bytes objects, then None at
    the end of the content. A refusal is the pair of a `Fault` and its offset in the message, content included; after
    it nothing more is parsed.
    """

    is_refused: bool
    def __init__(self, limits: Limits | None = None) -> None: ...
    def receive(self, data: bytes) -> list[Request | bytes | tuple[Fault, int] | None]: ...
    @property
    def is_between_requests(self) -> bool:
        """Whether no byte of an unfinished request has been received."""
