"""Streams, and the frames that are sent on them: RFC 9113 §4.3, §5.1, §6.1 to §6.4 and §6.10, RFC 9218."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import wire
from .case import MALFORMED, OK, PROTOCOL, SIZE, Case, echoed, stream_error, then_get
from .wire import CONTINUATION, END_HEADERS, END_STREAM, Code, continuation, data, frame, get, headers, pseudo

if TYPE_CHECKING:
    from collections.abc import Callable

    from .peer import Peer

OPEN = headers(1, pseudo(b"POST"), END_HEADERS)
ECHO = wire.post(1)
# RFC 9113 §5.1: what comes on a closed stream may be discarded, or be an error of the stream or the connection.
ON_CLOSED = stream_error(Code.STREAM_CLOSED, Code.PROTOCOL_ERROR)

IDS = [
    *(Case(f"{name}-on-an-idle-stream", "RFC 9113 §5.1", sent, PROTOCOL, probe=0)
      for name, sent in (
          ("data", data(1, b"a", 1)),
          ("rst-stream", wire.reset(1)),
          ("window-update", wire.window_update(1, 1)),
          ("continuation", continuation(1, pseudo())),
          ("rst-stream-of-a-server", wire.reset(2)),
          ("window-update-of-a-server", wire.window_update(2, 1)),
          ("data-of-a-server", data(2, b"a")),
      )),
    *(Case(f"{name}-on-stream-0", source, sent, PROTOCOL)
      for name, source, sent in (
          ("data", "RFC 9113 §6.1", data(0, b"a")),
          ("headers", "RFC 9113 §6.2", get(0)),
          ("priority", "RFC 9113 §6.3", frame(wire.PRIORITY, 0, 0, wire.dependency(1))),
          ("rst-stream", "RFC 9113 §6.4", wire.reset(0)),
          ("continuation", "RFC 9113 §6.10", continuation(0, pseudo())),
      )),
    Case("headers-on-an-even-stream", "RFC 9113 §5.1.1", get(2), PROTOCOL, stream=2),
    Case("headers-on-the-highest-even-stream", "RFC 9113 §5.1.1", get(2**31 - 2), PROTOCOL, stream=2),
    Case("streams-need-not-be-consecutive", "RFC 9113 §5.1.1", get(1) + get(77), OK, stream=77),
    Case("the-highest-stream", "RFC 9113 §5.1.1", get(2**31 - 1), OK, stream=2**31 - 1, probe=0),
    Case("a-lower-stream-after-a-higher-one", "RFC 9113 §5.1.1", get(5) + get(3), PROTOCOL, stream=3),
    Case("a-lower-stream-beside-an-open-one", "RFC 9113 §5.1.1",
         headers(5, pseudo(b"POST"), 4) + get(3), PROTOCOL, stream=3),
    # A stream that was skipped is closed, RFC 9113 §5.1.1.
    Case("data-on-a-skipped-stream", "RFC 9113 §5.1.1", get(5) + data(3, b"a", 1) + get(7), OK | ON_CLOSED, stream=7),
    Case("rst-stream-on-a-skipped-stream", "RFC 9113 §5.1.1", get(5) + wire.reset(3) + get(7),
         OK | ON_CLOSED, stream=7),
]  # fmt: skip


def second_request_on_a_stream(peer: Peer) -> None:
    peer.send(get())
    peer.response(1)
    peer.send(get())


def closed_then(frames: bytes, follow: int = 3) -> Callable[[Peer], None]:
    """Wait for the whole response on stream 1, send the frames and make another request."""

    def play(peer: Peer) -> None:
        peer.send(get())
        peer.response(1)
        peer.send(frames + get(follow))

    return play


STATES = [
    Case("data-after-end-stream", "RFC 9113 §5.1", get() + data(1, b"a", 1), ON_CLOSED | OK),
    Case("data-after-end-stream-of-data", "RFC 9113 §5.1",
         OPEN + data(1, b"a", 1) + data(1, b"b", 1), ON_CLOSED | OK),
    Case("headers-after-end-stream", "RFC 9113 §5.1", get() + get(), ON_CLOSED),
    Case("headers-on-a-closed-stream", "RFC 9113 §5.1.1", second_request_on_a_stream,
         stream_error(Code.STREAM_CLOSED, Code.PROTOCOL_ERROR)),
    Case("window-update-after-end-stream", "RFC 9113 §5.1", get() + wire.window_update(1, 1), OK),
    Case("priority-after-end-stream", "RFC 9113 §5.1",
         get() + frame(wire.PRIORITY, 0, 1, wire.dependency(0)), OK),
    Case("data-on-a-closed-stream", "RFC 9113 §5.1", closed_then(data(1, b"a", 1)), OK | ON_CLOSED, stream=3),
    Case("window-update-on-a-closed-stream", "RFC 9113 §5.1", closed_then(wire.window_update(1, 9)), OK, stream=3),
    Case("rst-stream-on-a-closed-stream", "RFC 9113 §5.1", closed_then(wire.reset(1)), OK, stream=3),
    Case("priority-on-a-closed-stream", "RFC 9113 §5.1",
         closed_then(frame(wire.PRIORITY, 0, 1, wire.dependency(0))), OK, stream=3),
    Case("unknown-type-on-a-closed-stream-later", "RFC 9113 §5.5", closed_then(frame(0xBA, 1, 1)), OK, stream=3),
    Case("continuation-on-a-closed-stream", "RFC 9113 §6.10", closed_then(continuation(1, b"")), PROTOCOL, stream=3),
    Case("data-after-a-reset-of-our-own", "RFC 9113 §5.1", OPEN + wire.reset(1) + data(1, b"a", 1) + get(3),
         OK | ON_CLOSED, stream=3),
    Case("headers-after-a-reset-of-our-own", "RFC 9113 §5.1", OPEN + wire.reset(1) + get(1) + get(9),
         OK | ON_CLOSED, stream=9),
    Case("window-update-after-a-reset-of-our-own", "RFC 9113 §5.1",
         OPEN + wire.reset(1) + wire.window_update(1, 1) + get(3), OK | ON_CLOSED, stream=3),
    Case("reset-twice", "RFC 9113 §5.4.2", OPEN + wire.reset(1) + wire.reset(1) + get(3),
         OK | ON_CLOSED, stream=3),
]  # fmt: skip


def reset_is_not_answered(peer: Peer) -> None:
    peer.send(OPEN + wire.reset(1))
    peer.settle()
    assert peer.responses[1].reset is None, "RFC 9113 §5.4.2: RST_STREAM in answer to RST_STREAM"
    peer.send(get(3))


RESETS = [
    Case("rst-stream-is-not-answered", "RFC 9113 §5.4.2", reset_is_not_answered, OK, stream=3),
    Case("rst-stream-with-an-unknown-code", "RFC 9113 §7", OPEN + wire.reset(1, 0xDEADBEEF) + get(3), OK, stream=3),
    Case("rst-stream-without-an-error", "RFC 9113 §6.4", OPEN + wire.reset(1, 0) + get(3), OK, stream=3),
    Case("rst-stream-of-3-bytes", "RFC 9113 §6.4", OPEN + frame(wire.RST_STREAM, 0, 1, b"abc"), SIZE),
    Case("rst-stream-of-5-bytes", "RFC 9113 §6.4", OPEN + frame(wire.RST_STREAM, 0, 1, b"abcde"), SIZE),
    Case("rst-stream-with-the-request", "RFC 9113 §6.4", get(1) + wire.reset(1) + get(3), OK, stream=3),
]

PRIORITIES = [
    Case("priority-on-an-idle-stream", "RFC 9113 §6.3",
         then_get(frame(wire.PRIORITY, 0, 101, wire.dependency(0, 256, True))), OK),
    Case("priority-on-an-even-stream", "RFC 9113 §6.3", then_get(frame(wire.PRIORITY, 0, 2, wire.dependency(0))),
         OK),
    Case("priority-of-4-bytes", "RFC 9113 §6.3", OPEN + frame(wire.PRIORITY, 0, 1, b"\0" * 4),
         stream_error(Code.FRAME_SIZE_ERROR)),
    Case("priority-of-6-bytes", "RFC 9113 §6.3", OPEN + frame(wire.PRIORITY, 0, 1, b"\0" * 6),
         stream_error(Code.FRAME_SIZE_ERROR)),
    Case("priority-of-a-stream-on-itself", "RFC 7540 §5.3.1",
         OPEN + frame(wire.PRIORITY, 0, 1, wire.dependency(1)) + data(1, b"", 1),
         OK | stream_error(Code.PROTOCOL_ERROR)),
    Case("headers-with-priority", "RFC 9113 §6.2", headers(1, wire.dependency(0, 200, True) + pseudo(), 0x25), OK),
    Case("headers-with-priority-on-itself", "RFC 7540 §5.3.1",
         headers(1, wire.dependency(1) + pseudo(), 0x25), OK | stream_error(Code.PROTOCOL_ERROR)),
    Case("headers-with-priority-and-padding", "RFC 9113 §6.2",
         headers(1, b"\3" + wire.dependency(3) + pseudo() + b"\0\0\0", 0x2D), OK),
    Case("priority-within-a-field-block", "RFC 9113 §4.3",
         headers(1, pseudo(), 1) + frame(wire.PRIORITY, 0, 1, wire.dependency(0)) + continuation(1, b""), PROTOCOL),
    Case("priority-field", "RFC 9218 §4", get(1, b"/", (b"priority", b"u=0, i")), OK),
    Case("priority-field-that-cannot-be-parsed", "RFC 9218 §4", get(1, b"/", (b"priority", b"u=\"?;,=9")), OK),
    Case("priority-update", "RFC 9218 §7.1", get() + frame(0x10, 0, 0, b"\0\0\0\1u=7"), OK),
    Case("priority-update-before-the-request", "RFC 9218 §7.1", then_get(frame(0x10, 0, 0, b"\0\0\0\1u=2, i")), OK),
    Case("priority-update-of-nonsense", "RFC 9218 §7.1", then_get(frame(0x10, 0, 0, b"\0\0\0\1\xff\0=")),
         OK | PROTOCOL),
    Case("priority-update-on-a-stream", "RFC 9218 §7.1", then_get(frame(0x10, 0, 1, b"\0\0\0\1u=7")), OK | PROTOCOL),
    Case("priority-update-of-stream-0", "RFC 9218 §7.1", then_get(frame(0x10, 0, 0, b"\0\0\0\0u=7")), OK | PROTOCOL),
    Case("priority-update-of-2-bytes", "RFC 9218 §7.1", then_get(frame(0x10, 0, 0, b"\0\0")), OK | PROTOCOL | SIZE),
]  # fmt: skip


def content_is(expected: str, sent: bytes) -> Callable[[Peer], None]:
    """Send frames whose content the application is to be given as it is."""

    def play(peer: Peer) -> None:
        peer.send(sent)
        told = echoed(peer.response(1))
        assert told["content"] == expected, f"the application was given {told['content']!r}"

    return play


PADDING = [
    Case("data-with-padding", "RFC 9113 §6.1", content_is("abc", ECHO + data(1, b"\4abc\0\0\0\0", 0x9)), OK,
         needs="app"),
    Case("data-with-padding-of-no-bytes", "RFC 9113 §6.1", content_is("abc", ECHO + data(1, b"\0abc", 0x9)), OK,
         needs="app"),
    Case("data-of-padding-alone", "RFC 9113 §6.1", content_is("", ECHO + data(1, b"\3\0\0\0", 0x9)), OK, needs="app"),
    Case("data-with-padding-of-255", "RFC 9113 §6.1", content_is("a", ECHO + data(1, b"\xffa" + b"\0" * 255, 0x9)),
         OK, needs="app"),
    Case("data-in-pieces-some-of-them-empty", "RFC 9113 §6.1",
         content_is("abc", ECHO + data(1) + data(1, b"a") + data(1) + data(1, b"bc") + data(1, b"", 1)), OK,
         needs="app"),
    Case("data-with-padding-of-its-length", "RFC 9113 §6.1", OPEN + data(1, b"\4abc", 0x9), PROTOCOL),
    Case("data-with-padding-that-is-longer", "RFC 9113 §6.1", OPEN + data(1, b"\xffabc", 0x9), PROTOCOL),
    Case("data-with-padding-without-its-length", "RFC 9113 §6.1", OPEN + data(1, b"", 0x9),
         PROTOCOL | stream_error(Code.FRAME_SIZE_ERROR)),
    Case("data-with-padding-that-is-not-zero", "RFC 9113 §6.1", OPEN + data(1, b"\1a\1", 0x9), OK | PROTOCOL),
    Case("headers-with-padding", "RFC 9113 §6.2", headers(1, b"\5" + pseudo() + b"\0" * 5, 0xD), OK),
    Case("headers-with-padding-of-its-length", "RFC 9113 §6.2",
         headers(1, bytes([len(pseudo()) + 1]) + pseudo(), 0xD), PROTOCOL),
    Case("headers-with-padding-of-one-byte-too-many", "RFC 9113 §6.2",
         headers(1, bytes([len(pseudo()) + 2]) + pseudo(), 0xD), PROTOCOL),
    Case("headers-with-padding-without-its-length", "RFC 9113 §6.2", headers(1, b"", 0xD), PROTOCOL | SIZE),
    Case("headers-with-priority-of-4-bytes", "RFC 9113 §6.2", headers(1, b"\0\0\0\0", 0x25), PROTOCOL | SIZE),
    Case("headers-with-padding-that-takes-the-priority", "RFC 9113 §6.2", headers(1, b"\3\0\0\0\0\0\0\0", 0x2D),
         PROTOCOL | SIZE),
    # Padding starts behind the field block: none of it is decoded.
    Case("headers-with-padding-that-looks-like-fields", "RFC 9113 §6.2",
         headers(1, b"\2" + pseudo() + b"\x80\x80", 0xD), OK | PROTOCOL),
]  # fmt: skip


def in_continuations(size: int, block: bytes, flags: int = END_STREAM) -> bytes:
    """A request whose field block comes in frames of so many bytes."""
    parts = [block[at : at + size] for at in range(0, len(block), size)]
    last = len(parts) - 1
    return headers(1, parts[0], flags) + b"".join(
        continuation(1, part, END_HEADERS if at == last else 0) for at, part in enumerate(parts) if at
    )


UNFINISHED = headers(1, pseudo(), END_STREAM)
CONTINUATIONS = [
    Case("block-in-two-frames", "RFC 9113 §6.10", in_continuations(10, pseudo()[:20] + pseudo()[20:]), OK),
    Case("block-in-frames-of-7-bytes", "RFC 9113 §6.10", in_continuations(7, pseudo()), OK),
    Case("block-in-frames-of-1-byte", "RFC 9113 §6.10", in_continuations(1, pseudo()), OK),
    Case("block-whose-last-frame-is-empty", "RFC 9113 §6.10", UNFINISHED + continuation(1, b""), OK),
    Case("block-whose-first-frame-is-empty", "RFC 9113 §6.10", headers(1, b"", 1) + continuation(1, pseudo()), OK),
    Case("end-stream-on-continuation-means-nothing", "RFC 9113 §6.10",
         headers(1, pseudo(b"POST"), 0) + continuation(1, b"", 5) + data(1, b"a", 1), OK),
    Case("padded-headers-and-continuation", "RFC 9113 §6.10",
         headers(1, b"\2" + pseudo()[:9] + b"\0\0", 0x9) + continuation(1, pseudo()[9:]), OK),
    Case("padded-flag-on-continuation-means-nothing", "RFC 9113 §6.10",
         headers(1, b"", 1) + frame(CONTINUATION, 0xC, 1, pseudo()), OK),
    *(Case(f"block-interrupted-by-{name}", "RFC 9113 §6.10", UNFINISHED + between + continuation(1, b""), PROTOCOL)
      for name, between in (
          ("headers-of-the-stream", headers(1, b"")),
          ("headers-of-another-stream", get(3)),
          ("data", data(1, b"a")),
          ("rst-stream", wire.reset(1)),
          ("window-update", wire.window_update(0, 1)),
          ("continuation-of-another-stream", continuation(3, b"")),
          ("priority-update", frame(0x10, 0, 0, b"\0\0\0\1u=1")),
      )),
    Case("continuation-without-headers", "RFC 9113 §6.10", OPEN + continuation(1, b""), PROTOCOL),
    Case("continuation-after-end-headers", "RFC 9113 §6.10", get() + continuation(1, b""), PROTOCOL),
    Case("continuation-after-continuation-with-end-headers", "RFC 9113 §6.10",
         UNFINISHED + continuation(1, b"") + continuation(1, b""), PROTOCOL),
    Case("continuation-after-data", "RFC 9113 §6.10", OPEN + data(1, b"a") + continuation(1, b""), PROTOCOL),
    Case("priority-alone-does-not-begin-a-block", "RFC 9113 §6.10",
         frame(wire.PRIORITY, 0, 1, wire.dependency(0)) + continuation(1, pseudo()), PROTOCOL, probe=0),
]  # fmt: skip

TRAILER = wire.block((b"x-trailer", b"a"))
TRAILERS = [
    Case("trailers", "RFC 9113 §8.1", OPEN + data(1, b"abc") + headers(1, TRAILER), OK),
    Case("trailers-without-content", "RFC 9113 §8.1", OPEN + headers(1, TRAILER), OK),
    Case("trailers-in-two-frames", "RFC 9113 §8.1",
         OPEN + data(1, b"abc") + headers(1, TRAILER, END_STREAM) + continuation(1, TRAILER), OK),
    Case("trailers-that-are-empty", "RFC 9113 §8.1", OPEN + data(1, b"abc") + headers(1, b""), OK),
    Case("trailers-without-end-stream", "RFC 9113 §8.1", OPEN + data(1, b"abc") + headers(1, TRAILER, 4), MALFORMED),
    Case("data-after-trailers", "RFC 9113 §5.1", OPEN + headers(1, TRAILER) + data(1, b"a", 1), OK | ON_CLOSED),
    Case("trailers-twice", "RFC 9113 §5.1", OPEN + headers(1, TRAILER) + headers(1, TRAILER), ON_CLOSED),
    *(Case(f"pseudo-field-in-trailers {name.decode()}", "RFC 9113 §8.1",
           wire.post() + data(1, b"abc") + headers(1, wire.block((name, value))), MALFORMED)
      for name, value in ((b":method", b"GET"), (b":path", b"/"), (b":status", b"200"), (b":x", b"a"))),
    *(Case(f"field-in-trailers {name!r}", "RFC 9113 §8.2",
           wire.post() + data(1, b"abc") + headers(1, wire.block((name, value))), MALFORMED)
      for name, value in ((b"X-Upper", b"a"), (b"x y", b"a"), (b"x", b"a\r\nb: c"), (b"connection", b"close"))),
]  # fmt: skip

CASES = [*IDS, *STATES, *RESETS, *PRIORITIES, *PADDING, *CONTINUATIONS, *TRAILERS]
