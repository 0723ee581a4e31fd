"""What clients may not send in HTTP/2, and what is to come of it: RFC 9113 §3.4 to §6."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from pyserver._frames import ErrorCode, FrameEvent, FrameType, Http2Connection, Received, Setting

T, E = FrameType, ErrorCode
END_STREAM = ACK = 0x01
END_HEADERS = 0x04
PADDED = 0x08
WITH_PRIORITY = 0x20
LARGEST = 2**31 - 1
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
BLOCK = b"\x82\x86\x84\x41\x01a"  # GET http /, :authority a


def frame(kind: int, payload: bytes = b"", *, stream: int = 0, flags: int = 0, length: int | None = None) -> bytes:
    """A frame; `length` is the payload's that is told, otherwise the true one."""
    told = len(payload) if length is None else length
    return struct.pack("!BHBBI", told >> 16, told & 0xFFFF, kind, flags, stream) + payload


def settings(*pairs: tuple[int, int], flags: int = 0) -> bytes:
    return frame(T.SETTINGS, b"".join(struct.pack("!HI", name, value) for name, value in pairs), flags=flags)


def headers(stream: int = 1, block: bytes = BLOCK, *, ends: bool = False, flags: int = END_HEADERS) -> bytes:
    return frame(T.HEADERS, block, stream=stream, flags=flags | (END_STREAM if ends else 0))


def continuation(stream: int = 1, block: bytes = b"", *, flags: int = 0) -> bytes:
    return frame(T.CONTINUATION, block, stream=stream, flags=flags)


def data(stream: int = 1, content: bytes = b"x", *, ends: bool = False) -> bytes:
    return frame(T.DATA, content, stream=stream, flags=END_STREAM if ends else 0)


def padded(
    kind: int, content: bytes, padding: int, *, stream: int = 1, flags: int = 0, told: int | None = None
) -> bytes:
    """A padded frame; `told` is the length of padding that it says."""
    payload = bytes([padding if told is None else told]) + content + bytes(padding)
    return frame(kind, payload, stream=stream, flags=flags | PADDED)


def reset(stream: int = 1, code: int = E.CANCEL) -> bytes:
    return frame(T.RST_STREAM, struct.pack("!I", code), stream=stream)


def window_update(stream: int = 0, increment: int = 1) -> bytes:
    return frame(T.WINDOW_UPDATE, struct.pack("!I", increment), stream=stream)


def ping(payload: bytes = b"12345678", *, flags: int = 0) -> bytes:
    return frame(T.PING, payload, flags=flags)


def goaway(last: int = 0, code: int = 0, debug: bytes = b"") -> bytes:
    return frame(T.GOAWAY, struct.pack("!II", last, code) + debug)


def priority(stream: int = 1, depends_on: int = 0) -> bytes:
    return frame(T.PRIORITY, struct.pack("!IB", depends_on, 15), stream=stream)


OPENING = PREFACE + settings()
OPEN = OPENING + headers()
REQUESTED = OPENING + headers(ends=True)


@dataclass(frozen=True)
class Case:
    """A row: what is sent, and the error that comes of its last frame.

    `stream` is the one that the error is of, 0 for the connection. With `error` NO_ERROR nothing is wrong.
    """

    name: str
    source: str
    send: bytes
    error: ErrorCode
    stream: int = 0

    def judge(self, parts: list[bytes]) -> list[Received]:
        connection = Http2Connection(connection_window=1 << 20)
        connection.begin()
        return [event for part in parts for event in connection.feed(part)]


def _connection_cases() -> list[Case]:
    return [
        Case("preface-is-http-1", "§3.4", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", E.PROTOCOL_ERROR),
        Case("preface-with-another-end", "§3.4", PREFACE[:-1] + b"x", E.PROTOCOL_ERROR),
        Case("preface-without-settings", "§3.4", PREFACE + headers(), E.PROTOCOL_ERROR),
        Case("preface-with-an-acknowledgement", "§3.4", PREFACE + settings(flags=ACK), E.PROTOCOL_ERROR),
        Case("preface-is-sent-again", "§3.4", OPENING + PREFACE, E.FRAME_SIZE_ERROR),
        Case("frame-over-the-limit", "§4.2", OPEN + data(1, bytes(16385)), E.FRAME_SIZE_ERROR),
        Case("fields-over-the-limit", "§4.2", OPENING + headers(1, bytes(16385)), E.FRAME_SIZE_ERROR),
        Case("unknown-frame-over-the-limit", "§4.2", OPENING + frame(77, bytes(16385)), E.FRAME_SIZE_ERROR),
        Case("frame-as-large-as-the-limit", "§4.2", OPEN + data(1, bytes(16384)), E.NO_ERROR),
        Case("reserved-bit", "§4.1", OPENING + headers(0x80000001), E.NO_ERROR),
        Case("unknown-frame", "§5.5", OPENING + frame(77, b"abc", stream=5, flags=255), E.NO_ERROR),
        Case("unknown-flags", "§4.1", OPENING + ping(flags=0xFE), E.NO_ERROR),
    ]


def _data_cases() -> list[Case]:
    return [
        Case("data-on-the-connection", "§6.1", OPENING + data(0), E.PROTOCOL_ERROR),
        Case("data-on-an-idle-stream", "§5.1", OPENING + data(1), E.PROTOCOL_ERROR),
        Case("data-on-a-stream-of-ours", "§5.1", OPEN + data(2), E.PROTOCOL_ERROR),
        Case("data-after-the-end", "§5.1", REQUESTED + data(1), E.STREAM_CLOSED, 1),
        Case("data-after-data-with-the-end", "§5.1", OPEN + data(ends=True) + data(1), E.STREAM_CLOSED, 1),
        Case("data-after-a-reset", "§5.1", OPEN + reset() + data(1), E.STREAM_CLOSED, 1),
        Case("data-on-an-id-passed-over", "§5.1.1", OPENING + headers(5) + data(3), E.STREAM_CLOSED),
        Case("data-padded-over-its-end", "§6.1", OPEN + padded(T.DATA, b"ab", 0, told=3), E.PROTOCOL_ERROR),
        Case("data-that-is-all-padding", "§6.1", OPEN + padded(T.DATA, b"", 9), E.NO_ERROR),
        Case("data-padded-without-a-length", "§6.1", OPEN + frame(T.DATA, stream=1, flags=PADDED), E.FRAME_SIZE_ERROR),
        Case(
            "data-over-the-stream's-window",
            "§6.9.1",
            OPEN + 4 * data(1, bytes(16383)) + data(1, bytes(4)),
            E.FLOW_CONTROL_ERROR,
            1,
        ),
    ]


def _fields_cases() -> list[Case]:
    begun = OPENING + headers(flags=0)
    short = frame(T.HEADERS, b"abcd", stream=1, flags=END_HEADERS | WITH_PRIORITY)
    itself = frame(T.HEADERS, b"\0\0\0\1\x0f" + BLOCK, stream=1, flags=END_HEADERS | WITH_PRIORITY)
    return [
        Case("fields-on-the-connection", "§6.2", OPENING + headers(0), E.PROTOCOL_ERROR),
        Case("fields-on-an-even-stream", "§5.1.1", OPENING + headers(2), E.PROTOCOL_ERROR),
        Case("fields-on-a-lower-stream", "§5.1.1", OPENING + headers(5) + headers(3), E.PROTOCOL_ERROR),
        Case("fields-on-a-stream-behind-a-gap", "§5.1.1", OPENING + headers(1) + headers(9), E.NO_ERROR),
        Case("fields-after-the-end", "§5.1", REQUESTED + headers(ends=True), E.STREAM_CLOSED, 1),
        Case("fields-after-a-reset", "§5.1", OPEN + reset() + headers(ends=True), E.STREAM_CLOSED, 1),
        Case("trailers-without-the-end", "§8.1", OPEN + headers(), E.PROTOCOL_ERROR, 1),
        Case("trailers", "§8.1", OPEN + headers(ends=True), E.NO_ERROR),
        Case(
            "fields-padded-over-their-end",
            "§6.2",
            OPENING + padded(T.HEADERS, b"ab", 0, told=3, flags=END_HEADERS),
            E.PROTOCOL_ERROR,
        ),
        Case(
            "fields-padded-over-the-priority",
            "§6.2",
            OPENING + padded(T.HEADERS, bytes(5), 0, told=1, flags=END_HEADERS | WITH_PRIORITY),
            E.PROTOCOL_ERROR,
        ),
        Case("fields-shorter-than-the-priority", "§4.2", OPENING + short, E.FRAME_SIZE_ERROR),
        Case("fields-that-depend-on-themselves", "§5.3.2", OPENING + itself, E.NO_ERROR),
        Case("continuation-of-nothing", "§6.10", OPENING + continuation(flags=END_HEADERS), E.PROTOCOL_ERROR),
        Case("continuation-of-what-has-ended", "§6.10", OPEN + continuation(flags=END_HEADERS), E.PROTOCOL_ERROR),
        Case("continuation-on-the-connection", "§6.10", begun + continuation(0), E.PROTOCOL_ERROR),
        Case("continuation-on-another-stream", "§6.10", begun + continuation(3), E.PROTOCOL_ERROR),
        Case("data-within-fields", "§6.10", begun + data(1), E.PROTOCOL_ERROR),
        Case("ping-within-fields", "§6.10", begun + ping(), E.PROTOCOL_ERROR),
        Case("fields-within-fields", "§4.3", begun + headers(1), E.PROTOCOL_ERROR),
        Case("unknown-within-fields", "§5.5", begun + frame(77), E.PROTOCOL_ERROR),
        Case("push-promise", "§8.4", OPEN + frame(T.PUSH_PROMISE, bytes(4) + BLOCK, stream=1), E.PROTOCOL_ERROR),
    ]


def _stream_cases() -> list[Case]:
    return [
        Case("priority-on-the-connection", "§6.3", OPENING + priority(0), E.PROTOCOL_ERROR),
        Case("priority-too-short", "§6.3", OPEN + frame(T.PRIORITY, bytes(4), stream=1), E.FRAME_SIZE_ERROR, 1),
        Case("priority-too-long", "§6.3", OPEN + frame(T.PRIORITY, bytes(6), stream=1), E.FRAME_SIZE_ERROR, 1),
        Case("priority-too-short-when-idle", "§6.4", OPENING + frame(T.PRIORITY, b"", stream=1), E.FRAME_SIZE_ERROR),
        Case("priority-on-an-idle-stream", "§6.3", OPENING + priority(7), E.NO_ERROR),
        Case("priority-on-itself", "§5.3.2", OPENING + priority(7, 7), E.NO_ERROR),
        Case("reset-of-the-connection", "§6.4", OPENING + reset(0), E.PROTOCOL_ERROR),
        Case("reset-of-an-idle-stream", "§6.4", OPENING + reset(1), E.PROTOCOL_ERROR),
        Case("reset-too-short", "§6.4", OPEN + frame(T.RST_STREAM, bytes(3), stream=1), E.FRAME_SIZE_ERROR),
        Case("reset-too-long", "§6.4", OPEN + frame(T.RST_STREAM, bytes(5), stream=1), E.FRAME_SIZE_ERROR),
        Case("reset-twice", "§5.1", OPEN + reset() + reset(), E.NO_ERROR),
        Case("window-of-an-idle-stream", "§5.1", OPENING + window_update(1), E.PROTOCOL_ERROR),
        Case("window-of-a-stream-of-ours", "§5.1", OPEN + window_update(2), E.PROTOCOL_ERROR),
        Case("window-of-a-closed-stream", "§5.1", OPEN + reset() + window_update(1), E.NO_ERROR),
        Case("window-of-the-connection-by-nothing", "§6.9", OPENING + window_update(0, 0), E.PROTOCOL_ERROR),
        Case("window-of-a-stream-by-nothing", "§6.9", OPEN + window_update(1, 0), E.PROTOCOL_ERROR, 1),
        Case("window-by-the-reserved-bit", "§6.9", OPEN + window_update(1, 1 << 31), E.PROTOCOL_ERROR, 1),
        Case("window-too-short", "§6.9", OPEN + frame(T.WINDOW_UPDATE, bytes(3), stream=1), E.FRAME_SIZE_ERROR),
        Case("window-too-long", "§6.9", OPEN + frame(T.WINDOW_UPDATE, bytes(5)), E.FRAME_SIZE_ERROR),
        Case(
            "window-of-the-connection-overflows",
            "§6.9.1",
            OPENING + window_update(0, LARGEST - 65534),
            E.FLOW_CONTROL_ERROR,
        ),
        Case(
            "window-of-a-stream-overflows",
            "§6.9.1",
            OPEN + window_update(1, LARGEST - 65534),
            E.FLOW_CONTROL_ERROR,
            1,
        ),
        Case("window-that-is-full", "§6.9.1", OPEN + window_update(1, LARGEST - 65535), E.NO_ERROR),
    ]


def _control_cases() -> list[Case]:
    raised = OPEN + window_update(1, LARGEST - 65535)
    connects = OPENING + settings((Setting.ENABLE_CONNECT_PROTOCOL, 1))
    return [
        Case("settings-on-a-stream", "§6.5", OPEN + frame(T.SETTINGS, stream=1), E.PROTOCOL_ERROR),
        Case("settings-cut-short", "§6.5", OPENING + frame(T.SETTINGS, bytes(7)), E.FRAME_SIZE_ERROR),
        Case("settings-acknowledged-with-settings", "§6.5", OPENING + settings((1, 0), flags=ACK), E.FRAME_SIZE_ERROR),
        Case("settings-acknowledged", "§6.5.3", OPENING + settings(flags=ACK), E.NO_ERROR),
        Case("settings-acknowledged-twice", "§6.5.3", OPENING + 2 * settings(flags=ACK), E.PROTOCOL_ERROR),
        Case("settings-unknown", "§6.5.2", OPENING + settings((0xFACE, 7), (0, 1)), E.NO_ERROR),
        Case("push-is-neither", "§6.5.2", OPENING + settings((Setting.ENABLE_PUSH, 2)), E.PROTOCOL_ERROR),
        Case("push-is-enabled", "§6.5.2", OPENING + settings((Setting.ENABLE_PUSH, 1)), E.NO_ERROR),
        Case(
            "window-too-large",
            "§6.5.2",
            OPENING + settings((Setting.INITIAL_WINDOW_SIZE, 1 << 31)),
            E.FLOW_CONTROL_ERROR,
        ),
        Case(
            "windows-overflow",
            "§6.9.2",
            raised + settings((Setting.INITIAL_WINDOW_SIZE, 65536)),
            E.FLOW_CONTROL_ERROR,
        ),
        Case("frames-too-small", "§6.5.2", OPENING + settings((Setting.MAX_FRAME_SIZE, 16383)), E.PROTOCOL_ERROR),
        Case("frames-too-large", "§6.5.2", OPENING + settings((Setting.MAX_FRAME_SIZE, 1 << 24)), E.PROTOCOL_ERROR),
        Case("frames-largest", "§6.5.2", OPENING + settings((Setting.MAX_FRAME_SIZE, (1 << 24) - 1)), E.NO_ERROR),
        Case(
            "connect-is-neither",
            "RFC 8441 §3",
            OPENING + settings((Setting.ENABLE_CONNECT_PROTOCOL, 2)),
            E.PROTOCOL_ERROR,
        ),
        Case(
            "connect-goes-back",
            "RFC 8441 §3",
            connects + settings((Setting.ENABLE_CONNECT_PROTOCOL, 0)),
            E.PROTOCOL_ERROR,
        ),
        Case(
            "priorities-are-neither",
            "RFC 9218 §2.1",
            PREFACE + settings((Setting.NO_RFC7540_PRIORITIES, 2)),
            E.PROTOCOL_ERROR,
        ),
        Case("priorities-off", "RFC 9218 §2.1", PREFACE + settings((Setting.NO_RFC7540_PRIORITIES, 1)), E.NO_ERROR),
        Case(
            "priorities-change",
            "RFC 9218 §2.1",
            OPENING + settings((Setting.NO_RFC7540_PRIORITIES, 1)),
            E.PROTOCOL_ERROR,
        ),
        Case("ping-on-a-stream", "§6.7", OPEN + frame(T.PING, bytes(8), stream=1), E.PROTOCOL_ERROR),
        Case("ping-too-short", "§6.7", OPENING + ping(bytes(7)), E.FRAME_SIZE_ERROR),
        Case("ping-too-long", "§6.7", OPENING + ping(bytes(9)), E.FRAME_SIZE_ERROR),
        Case("goaway-on-a-stream", "§6.8", OPEN + frame(T.GOAWAY, bytes(8), stream=1), E.PROTOCOL_ERROR),
        Case("goaway-too-short", "§6.8", OPENING + frame(T.GOAWAY, bytes(7)), E.FRAME_SIZE_ERROR),
        Case("goaway-with-debug-data", "§6.8", OPENING + goaway(0, 0, b"because"), E.NO_ERROR),
    ]


CASES = {
    case.name: case
    for case in (*_connection_cases(), *_data_cases(), *_fields_cases(), *_stream_cases(), *_control_cases())
}


def error_of(events: list[Received]) -> tuple[ErrorCode, int]:
    """The error that the last event is, and the stream that it is of: 0 for the connection."""
    last = events[-1]
    return last.error, 0 if last.kind is FrameEvent.FAILED or last.error is E.NO_ERROR else last.stream
