"""HTTP/2 by hand: frames and field blocks as bytes, right or wrong as they are asked for; RFC 9113 §4, §6, RFC 7541."""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
PRIORITY_UPDATE = 0x10
NAMES = (
    "DATA", "HEADERS", "PRIORITY", "RST_STREAM", "SETTINGS", "PUSH_PROMISE", "PING", "GOAWAY", "WINDOW_UPDATE",
    "CONTINUATION",
)  # fmt: skip

END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
WITH_PRIORITY = 0x20

TABLE_SIZE, ENABLE_PUSH, MAX_STREAMS, INITIAL_WINDOW, MAX_FRAME, MAX_FIELDS = range(1, 7)
ENABLE_CONNECT, NO_PRIORITIES = 8, 9

DEFAULT_WINDOW = 65535
DEFAULT_FRAME = 16384
MAX_WINDOW = 2**31 - 1


class Code(enum.IntEnum):
    """Error codes, RFC 9113 §7."""

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


def name_of(code: int) -> str:
    """The name of an error code, or its number."""
    return Code(code).name if code in Code.__members__.values() else hex(code)


@dataclass(frozen=True)
class Frame:
    """A frame as it arrived."""

    kind: int
    flags: int
    stream: int
    payload: bytes

    def __str__(self) -> str:
        name = NAMES[self.kind] if self.kind < len(NAMES) else f"type {self.kind:#x}"
        return f"{name} of {len(self.payload)} bytes, flags {self.flags:#x}, on stream {self.stream}"


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"", length: int | None = None) -> bytes:
    """A frame; `length` is what its head says when that is not so long as the payload."""
    said = len(payload) if length is None else length
    return struct.pack(">I", said)[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def settings(*pairs: tuple[int, int]) -> bytes:
    return frame(SETTINGS, payload=b"".join(struct.pack(">HI", *pair) for pair in pairs))


SETTINGS_ACK = frame(SETTINGS, ACK)


def data(stream: int, content: bytes = b"", flags: int = 0) -> bytes:
    return frame(DATA, flags, stream, content)


def headers(stream: int, block: bytes, flags: int = END_HEADERS | END_STREAM) -> bytes:
    return frame(HEADERS, flags, stream, block)


def continuation(stream: int, block: bytes, flags: int = END_HEADERS) -> bytes:
    return frame(CONTINUATION, flags, stream, block)


def window_update(stream: int, increment: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", increment))


def reset(stream: int, code: int = Code.CANCEL) -> bytes:
    return frame(RST_STREAM, 0, stream, struct.pack(">I", code))


def ping(payload: bytes = b"pingpong", flags: int = 0, stream: int = 0) -> bytes:
    return frame(PING, flags, stream, payload)


def goaway(last: int = 0, code: int = Code.NO_ERROR, debug: bytes = b"", stream: int = 0) -> bytes:
    return frame(GOAWAY, 0, stream, struct.pack(">II", last, code) + debug)


def dependency(on: int, weight: int = 16, exclusive: bool = False) -> bytes:
    """What PRIORITY carries, RFC 7540 §6.3."""
    return struct.pack(">IB", on | exclusive << 31, weight - 1)


def integer(value: int, prefix: int, first: int = 0) -> bytes:
    """RFC 7541 §5.1; `first` has the bits before the prefix."""
    most = (1 << prefix) - 1
    if value < most:
        return bytes([first | value])
    coded = [first | most]
    value -= most
    while value >= 128:
        coded.append(value & 127 | 128)
        value >>= 7
    return bytes([*coded, value])


def string(text: bytes) -> bytes:
    """A string literal without Huffman, RFC 7541 §5.2."""
    return integer(len(text), 7) + text


def indexed(index: int) -> bytes:
    return integer(index, 7, 0x80)


def literal(name: bytes | int, value: bytes, first: int = 0) -> bytes:
    """A field that is not put into the table; `first` is 0x10 for one that never is, RFC 7541 §6.2."""
    if isinstance(name, int):
        return integer(name, 4, first) + string(value)
    return bytes([first]) + string(name) + string(value)


def remembered(name: bytes | int, value: bytes) -> bytes:
    """A field that is put into the table, RFC 7541 §6.2.1."""
    if isinstance(name, int):
        return integer(name, 6, 0x40) + string(value)
    return b"\x40" + string(name) + string(value)


def resize(size: int) -> bytes:
    """A dynamic table size update, RFC 7541 §6.3."""
    return integer(size, 5, 0x20)


Field = tuple[bytes, bytes]


def block(*fields: Field) -> bytes:
    """Field lines as literals, whatever they hold."""
    return b"".join(literal(*field) for field in fields)


def pseudo(method: bytes = b"GET", path: bytes = b"/", scheme: bytes = b"http", authority: bytes = b"test") -> bytes:
    """The pseudo-header fields of a request."""
    return block((b":method", method), (b":scheme", scheme), (b":path", path), (b":authority", authority))


def get(stream: int = 1, path: bytes = b"/", *fields: Field) -> bytes:
    """A whole GET."""
    return headers(stream, pseudo(path=path) + block(*fields))


def post(stream: int = 1, path: bytes = b"/echo", *fields: Field) -> bytes:
    """The head of a POST whose content follows."""
    return headers(stream, pseudo(b"POST", path) + block(*fields), END_HEADERS)
