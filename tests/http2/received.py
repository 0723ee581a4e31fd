"""What an HTTP/2 server has sent, held against the rules for it. RFC 9113 §4, §6 and §8, RFC 9110 §6.4."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field

from .wire import DEFAULT_FRAME, DEFAULT_WINDOW, INITIAL_WINDOW, MAX_FRAME, MAX_WINDOW, Field, Frame

_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+")
_VALUE = re.compile(rb"(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?")
# RFC 9113 §8.2.2.
_OF_CONNECTIONS = {b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade", b"te"}


class ViolationError(AssertionError):
    """What the server sent breaks RFC 9113."""


def require(holds: object, rule: str, what: object = "") -> None:
    if not holds:
        raise ViolationError(f"{rule}: {what}" if what != "" else rule)


class Frames:
    """Cuts a sequence of bytes into frames."""

    def __init__(self) -> None:
        self.bytes = bytearray()

    def add(self, received: bytes) -> None:
        self.bytes += received

    def next(self, limit: int = 2**24) -> Frame | None:
        """The next whole frame, whose payload may not be longer than `limit` bytes; None while it is arriving."""
        if len(self.bytes) < 9:
            return None
        length = int.from_bytes(self.bytes[:3], "big")
        kind, flags, stream = struct.unpack(">BBI", self.bytes[3:9])
        require(length <= limit, "RFC 9113 §4.2: a frame is longer than SETTINGS_MAX_FRAME_SIZE", length)
        if len(self.bytes) < 9 + length:
            return None
        payload = bytes(self.bytes[9 : 9 + length])
        del self.bytes[: 9 + length]
        return Frame(kind, flags, stream & MAX_WINDOW, payload)


def unpadded(arrived: Frame, is_padded: int, has_priority: int = 0) -> bytes:
    """The payload of a DATA or HEADERS frame without its padding and priority."""
    payload = arrived.payload
    if arrived.flags & is_padded:
        require(payload and payload[0] < len(payload), "RFC 9113 §6.1: padding is longer than the frame", arrived)
        payload = payload[1 : len(payload) - payload[0]]
    return payload[5:] if arrived.flags & has_priority else payload


def parsed_settings(payload: bytes) -> list[tuple[int, int]]:
    """The pairs of a SETTINGS frame of a server, which have to be valid."""
    require(len(payload) % 6 == 0, "RFC 9113 §6.5: length of SETTINGS", len(payload))
    pairs = list(struct.iter_unpack(">HI", payload))
    for key, value in pairs:
        if key == 2:
            require(value == 0, "RFC 9113 §6.5.2: a server sent SETTINGS_ENABLE_PUSH", value)
        elif key == INITIAL_WINDOW:
            require(value <= MAX_WINDOW, "RFC 9113 §6.5.2: SETTINGS_INITIAL_WINDOW_SIZE", value)
        elif key == MAX_FRAME:
            require(DEFAULT_FRAME <= value < 2**24, "RFC 9113 §6.5.2: SETTINGS_MAX_FRAME_SIZE", value)
        elif key in (8, 9):
            require(value in (0, 1), f"RFC 8441 §3, RFC 9218 §2.1: setting {key}", value)
    return pairs


@dataclass
class Response:
    """What has arrived on a stream.

    Attributes:
        method: of the request; empty where the peer does not know it.
        interim: status and fields of each 1xx.
        status, fields: of the final response; 0 before it has come.
        is_complete: whether the server has ended the stream.
        reset: the code that the server has reset the stream with.
        is_abandoned: whether the peer itself has reset the stream.
    """

    method: str = ""
    interim: list[tuple[int, list[Field]]] = field(default_factory=list)
    status: int = 0
    fields: list[Field] = field(default_factory=list)
    content: bytearray = field(default_factory=bytearray)
    trailers: list[Field] | None = None
    is_complete: bool = False
    reset: int | None = None
    is_abandoned: bool = False

    def values(self, name: bytes) -> list[bytes]:
        return [value for own, value in self.fields if own == name]

    def take_fields(self, fields: list[Field], ends: bool) -> None:
        """Take what a field block held."""
        require(not self.is_complete, "RFC 9113 §5.1: HEADERS after END_STREAM", fields)
        if self.status:
            require(ends, "RFC 9113 §8.1: trailers without END_STREAM", fields)
            require(not any(name.startswith(b":") for name, _ in fields), "RFC 9113 §8.1: pseudo-field in trailers")
            self.trailers = fields
        else:
            self._take_head(fields, ends)
        _check_lines([line for line in fields if line[0] != b":status"])
        self.is_complete = ends
        if ends:
            self._check_length()

    def _take_head(self, fields: list[Field], ends: bool) -> None:
        require(fields and fields[0][0] == b":status", "RFC 9113 §8.3.2: the first field is not :status", fields)
        require([name for name, _ in fields].count(b":status") == 1, "RFC 9113 §8.3.2: :status twice", fields)
        require(re.fullmatch(rb"[1-5][0-9]{2}", fields[0][1]), "RFC 9113 §8.3.2: :status", fields[0][1])
        status = int(fields[0][1])
        require(status != 101, "RFC 9113 §8.6: 101")
        if status < 200:
            require(not ends, "RFC 9113 §8.1: 1xx with END_STREAM", status)
            self.interim.append((status, fields[1:]))
        else:
            self.status, self.fields = status, fields[1:]

    def take_content(self, content: bytes, ends: bool) -> None:
        """Take what a DATA frame held."""
        require(self.status, "RFC 9113 §8.1: DATA before HEADERS")
        require(not self.is_complete, "RFC 9113 §5.1: DATA after END_STREAM")
        has_none = self.method == "HEAD" or self.status in (204, 304)
        require(not (has_none and content), "RFC 9110 §6.4.1: content where there is none", bytes(content[:40]))
        self.content += content
        self.is_complete = ends
        if ends:
            self._check_length()

    def _check_length(self) -> None:
        if lengths := self.values(b"content-length"):
            require(len(lengths) == 1 and lengths[0].isdigit(), "RFC 9110 §8.6: Content-Length", lengths)
            if self.method and self.method != "HEAD" and self.status != 304:
                require(int(lengths[0]) == len(self.content), "RFC 9113 §8.1.1: Content-Length", len(self.content))


def _check_lines(fields: list[Field]) -> None:
    for name, value in fields:
        require(_NAME.fullmatch(name), "RFC 9113 §8.2.1: a field name", name)
        require(_VALUE.fullmatch(value), "RFC 9113 §8.2.1: a field value", (name, value))
        require(name not in _OF_CONNECTIONS, "RFC 9113 §8.2.2: a field of connections", name)


class Allowance:
    """How much DATA the server may send, by what it was told.

    A setting that allows less holds from its acknowledgement on, and one that allows more from when it was sent.
    """

    def __init__(self) -> None:
        self.connection = DEFAULT_WINDOW
        self.initial = DEFAULT_WINDOW
        self.frame = DEFAULT_FRAME
        self._pending: list[dict[int, int]] = []
        self._changes: dict[int, int] = {}

    def stream(self, stream: int) -> int:
        """The window of a stream, with what has been acknowledged only."""
        return self.initial + self._changes.get(stream, 0)

    def note_sent(self, sent: Frame) -> None:
        """Count SETTINGS and WINDOW_UPDATE that the peer has sent."""
        if sent.kind == 4 and not sent.flags & 1 and len(sent.payload) % 6 == 0:
            self._pending.append(dict(struct.iter_unpack(">HI", sent.payload)))
        elif sent.kind == 8 and len(sent.payload) == 4:
            increment = int.from_bytes(sent.payload, "big") & MAX_WINDOW
            if sent.stream:
                self._changes[sent.stream] = self._changes.get(sent.stream, 0) + increment
            else:
                self.connection += increment

    def note_acknowledged(self) -> dict[int, int]:
        """The settings that hold from now on."""
        require(self._pending, "RFC 9113 §6.5.3: an acknowledgement too many")
        changed = self._pending.pop(0)
        self.initial = changed.get(INITIAL_WINDOW, self.initial)
        self.frame = changed.get(MAX_FRAME, self.frame)
        return changed

    @property
    def unacknowledged(self) -> int:
        """How many SETTINGS the server has still to acknowledge."""
        return len(self._pending)

    @property
    def frame_limit(self) -> int:
        return max(self.frame, *(pairs.get(MAX_FRAME, 0) for pairs in self._pending), 0)

    def note_received(self, stream: int, length: int) -> None:
        """Count a DATA frame; it may not go beyond what is allowed."""
        initial = max(self.initial, *(pairs.get(INITIAL_WINDOW, 0) for pairs in self._pending), 0)
        window = self.stream(stream) + initial - self.initial
        require(not length or length <= self.connection, "RFC 9113 §6.9: beyond the window of the connection", length)
        require(not length or length <= window, f"RFC 9113 §6.9: beyond the window of stream {stream}", length)
        self.connection -= length
        self._changes[stream] = self._changes.get(stream, 0) - length
