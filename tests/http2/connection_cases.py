"""Preface, frames as such, SETTINGS, PING and GOAWAY: RFC 9113 §3.4, §4.1, §4.2, §6.5, §6.7 and §6.8."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import wire
from .case import CLOSED, FLOW, OK, PROTOCOL, SIZE, Case, NotApplicableError, sent, stream_error, then_get
from .wire import Code, frame, get, headers, ping, pseudo, settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from .peer import Peer

# A server that speaks HTTP/1 as well takes another preface for a request that it does not understand.
NO_PREFACE = PROTOCOL | {f"HTTP1 {status}" for status in (400, 403, 404, 405, 421, 426, 501, 505)}

PREFACES = [
    Case(f"preface-{name}", "RFC 9113 §3.4", wrong, NO_PREFACE, greets=False)
    for name, wrong in (
        ("of-other-bytes", b"\0" * 24 + settings()),
        ("wrong-in-the-last-byte", wire.PREFACE[:-1] + b"\r" + settings() + get()),
        ("in-lower-case", wire.PREFACE.lower() + settings() + get()),
        ("of-another-version", wire.PREFACE.replace(b"2.0", b"2.1") + settings() + get()),
        ("of-SN-in-place-of-SM", wire.PREFACE.replace(b"SM", b"SN") + settings() + get()),
        ("missing", settings() + get() + b"\r\n\r\n"),
    )
]
FIRST_FRAMES = [
    Case(f"first-frame-is-{name}", "RFC 9113 §3.4", wire.PREFACE + first + settings(), PROTOCOL, greets=False)
    for name, first in (
        ("HEADERS", get()),
        ("DATA", wire.data(1, b"a")),
        ("PING", ping()),
        ("WINDOW_UPDATE", wire.window_update(0, 1)),
        ("GOAWAY", wire.goaway()),
        ("RST_STREAM", wire.reset(1)),
        ("PRIORITY", frame(wire.PRIORITY, 0, 1, wire.dependency(0))),
        ("of-an-unknown-type", frame(0xBA)),
    )
]


def answers_before_its_settings_are_acknowledged(peer: Peer) -> None:
    peer.acknowledges = False
    peer.send(get())
    assert peer.response(1).status == 200


def sends_settings_first_and_acknowledges(peer: Peer) -> None:
    first = peer.read()
    assert first.kind == wire.SETTINGS, first
    assert not first.flags & wire.ACK, first
    peer.wait_until(lambda: not peer.allowed.unacknowledged)
    peer.send(get())


def acknowledges_each_settings_frame(peer: Peer) -> None:
    peer.send(settings((wire.MAX_FRAME, 20000)) * 5)
    peer.wait_until(lambda: not peer.allowed.unacknowledged)
    peer.send(get())


BEGINNINGS = [
    Case("server-begins-with-settings", "RFC 9113 §3.4", sends_settings_first_and_acknowledges, OK),
    Case("request-before-acknowledging", "RFC 9113 §3.4", answers_before_its_settings_are_acknowledged, OK),
    Case("all-at-once", "RFC 9113 §3.4", wire.PREFACE + settings() + get(), OK, greets=False),
    Case("settings-with-values-first", "RFC 9113 §3.4", get(), OK, settings=((wire.ENABLE_PUSH, 0), (wire.MAX_STREAMS,
         100))),
]

UNKNOWN = [
    Case(f"unknown-type-{kind:#x}-on-stream-{stream}", "RFC 9113 §4.1", then_get(frame(kind, flags, stream, payload)),
         OK)
    for kind, flags, stream, payload in (
        (0xA, 0, 0, b""),
        (0xB, 0xFF, 0, b"abc"),
        (0xBA, 0x5, 1, b"\0" * 100),
        (0xFF, 0, 3, b"x" * 16384),
        (0xC, 0x1, 2, b""),
    )
]
UNKNOWN += [
    Case("unknown-type-on-a-closed-stream", "RFC 9113 §5.5", get() + frame(0xBB, 0, 1, b"a"), OK),
    Case("unknown-type-on-an-open-stream", "RFC 9113 §5.5",
         headers(1, pseudo(b"POST"), wire.END_HEADERS) + frame(0xBB, 0xFF, 1, b"a") + wire.data(1, b"b", 1), OK),
    Case("unknown-type-within-a-field-block", "RFC 9113 §5.5",
         headers(1, pseudo(), wire.END_STREAM) + frame(0xBB, 0, 1) + wire.continuation(1, b""), PROTOCOL),
    Case("reserved-bit-of-the-stream", "RFC 9113 §4.1", get(1 | 1 << 31), OK),
    Case("reserved-bit-of-settings", "RFC 9113 §4.1", then_get(frame(wire.SETTINGS, 0, 1 << 31)), OK),
    Case("reserved-bit-of-an-increment", "RFC 9113 §6.9",
         then_get(frame(wire.WINDOW_UPDATE, 0, 0, b"\x80\0\0\1")), OK),
    Case("undefined-flags-of-headers", "RFC 9113 §4.1", headers(1, pseudo(), 0x5 | 0xD2 & ~0x28), OK),
    Case("undefined-flags-of-data", "RFC 9113 §4.1",
         headers(1, pseudo(b"POST"), 4) + wire.data(1, b"a", 0xF7), OK),
    Case("undefined-flags-of-settings", "RFC 9113 §4.1", then_get(frame(wire.SETTINGS, 0xFE)), OK),
    Case("undefined-flags-of-window-update", "RFC 9113 §4.1", then_get(frame(wire.WINDOW_UPDATE, 0xFF, 0,
         b"\0\0\0\1")), OK),
    Case("undefined-flags-of-priority", "RFC 9113 §4.1",
         then_get(frame(wire.PRIORITY, 0xFF, 1, wire.dependency(0))), OK),
    Case("undefined-flags-of-ping", "RFC 9113 §4.1", then_get(frame(wire.PING, 0xFE, 0, b"12345678")), OK),
    Case("undefined-flags-of-continuation", "RFC 9113 §4.1",
         headers(1, pseudo(), 1) + wire.continuation(1, b"", 0xFF), OK),
]  # fmt: skip



def data_of_the_largest_size(peer: Peer) -> None:
    peer.wait_for(wire.SETTINGS)
    peer.send_content(peer.begin(), b"x" * 16384)


def too_large(kind: int, flags: int = 0, stream: int = 0, before: bytes = b"") -> Callable[[Peer], None]:
    """Send a frame that is a byte longer than the server allows."""

    def play(peer: Peer) -> None:
        peer.wait_for(wire.SETTINGS)
        limit = peer.server.get(wire.MAX_FRAME, wire.DEFAULT_FRAME)
        if limit > 2**20:
            raise NotApplicableError(f"allows frames of {limit} bytes")
        peer.send(before + frame(kind, flags, stream, b"\0" * (limit + 1)))

    return play


OPEN = headers(1, pseudo(b"POST"), wire.END_HEADERS)
SIZES = [
    Case("data-of-16384-bytes", "RFC 9113 §4.2", data_of_the_largest_size, OK),
    *(Case(f"{name}-too-large", "RFC 9113 §4.2", too_large(kind, flags, stream, before), expect)
      for name, kind, flags, stream, before, expect in (
          ("data", wire.DATA, 1, 1, OPEN, stream_error(Code.FRAME_SIZE_ERROR)),
          ("headers", wire.HEADERS, 5, 1, b"", SIZE),
          ("settings", wire.SETTINGS, 0, 0, b"", SIZE),
          ("ping", wire.PING, 0, 0, b"", SIZE),
          ("goaway", wire.GOAWAY, 0, 0, b"", SIZE),
          ("unknown-type", 0xBA, 0, 0, b"", SIZE),
          ("continuation", wire.CONTINUATION, 4, 1, headers(1, pseudo(), 1), SIZE),
      )),
    *(Case(f"{name}-of-{length}-bytes", source, frame(kind, 0, stream, b"\0" * length), SIZE)
      for name, source, kind, stream, lengths in (
          ("ping", "RFC 9113 §6.7", wire.PING, 0, (0, 7, 9)),
          ("goaway", "RFC 9113 §6.8", wire.GOAWAY, 0, (0, 4, 7)),
          ("window-update", "RFC 9113 §6.9", wire.WINDOW_UPDATE, 0, (0, 3, 5)),
          ("settings", "RFC 9113 §6.5", wire.SETTINGS, 0, (1, 5, 7)),
      )
      for length in lengths),
]  # fmt: skip

SETTINGS = [
    Case("settings-on-a-stream", "RFC 9113 §6.5", frame(wire.SETTINGS, 0, 1), PROTOCOL),
    Case("settings-ack-on-a-stream", "RFC 9113 §6.5", frame(wire.SETTINGS, wire.ACK, 1), PROTOCOL),
    Case("settings-ack-with-a-payload", "RFC 9113 §6.5",
         frame(wire.SETTINGS, wire.ACK, 0, b"\0\3\0\0\0\1"), SIZE),
    Case("settings-ack-with-one-byte", "RFC 9113 §6.5", frame(wire.SETTINGS, wire.ACK, 0, b"a"), SIZE),
    Case("each-settings-frame-is-acknowledged", "RFC 9113 §6.5.3", acknowledges_each_settings_frame, OK),
    *(Case(f"setting-{key:#x}-of-{value}", source, settings((key, value)), expect)
      for key, value, source, expect in (
          (wire.ENABLE_PUSH, 2, "RFC 9113 §6.5.2", PROTOCOL),
          (wire.ENABLE_PUSH, 2**32 - 1, "RFC 9113 §6.5.2", PROTOCOL),
          (wire.INITIAL_WINDOW, 2**31, "RFC 9113 §6.5.2", FLOW),
          (wire.INITIAL_WINDOW, 2**32 - 1, "RFC 9113 §6.5.2", FLOW),
          (wire.MAX_FRAME, 0, "RFC 9113 §6.5.2", PROTOCOL),
          (wire.MAX_FRAME, 16383, "RFC 9113 §6.5.2", PROTOCOL),
          (wire.MAX_FRAME, 2**24, "RFC 9113 §6.5.2", PROTOCOL),
          (wire.MAX_FRAME, 2**32 - 1, "RFC 9113 §6.5.2", PROTOCOL),
      )),
    *(Case(f"setting-{key:#x}-of-{value}", source, then_get(settings((key, value))), expect)
      for key, value, source, expect in (
          (wire.TABLE_SIZE, 0, "RFC 9113 §6.5.2", OK),
          (wire.TABLE_SIZE, 1, "RFC 9113 §6.5.2", OK),
          (wire.TABLE_SIZE, 2**32 - 1, "RFC 9113 §6.5.2", OK),
          (wire.ENABLE_PUSH, 0, "RFC 9113 §6.5.2", OK),
          (wire.ENABLE_PUSH, 1, "RFC 9113 §6.5.2", OK),
          (wire.MAX_STREAMS, 0, "RFC 9113 §6.5.2", OK),
          (wire.MAX_STREAMS, 2**32 - 1, "RFC 9113 §6.5.2", OK),
          (wire.INITIAL_WINDOW, 2**31 - 1, "RFC 9113 §6.5.2", OK),
          (wire.MAX_FRAME, 16384, "RFC 9113 §6.5.2", OK),
          (wire.MAX_FRAME, 2**24 - 1, "RFC 9113 §6.5.2", OK),
          (wire.MAX_FIELDS, 2**32 - 1, "RFC 9113 §6.5.2", OK),
          (7, 2**32 - 1, "RFC 9113 §6.5.2", OK),
          (0, 7, "RFC 9113 §6.5.2", OK),
          (0xFFFF, 1, "RFC 9113 §6.5.2", OK),
          (0x1A2A, 0, "RFC 9113 §6.5.2", OK),
          (wire.NO_PRIORITIES, 1, "RFC 9218 §2.1", OK | PROTOCOL),
          (wire.NO_PRIORITIES, 2, "RFC 9218 §2.1", OK | PROTOCOL),
          (wire.ENABLE_CONNECT, 1, "RFC 8441 §3", OK),
          (wire.ENABLE_CONNECT, 2, "RFC 8441 §3", OK | PROTOCOL),
      )),
    Case("of-a-setting-said-twice-the-last-holds", "RFC 9113 §6.5.3",
         then_get(settings((wire.INITIAL_WINDOW, 0), (wire.INITIAL_WINDOW, 65535))), OK),
    Case("a-bad-value-is-no-better-for-a-good-one-behind-it", "RFC 9113 §6.5.2",
         settings((wire.MAX_FRAME, 0), (wire.MAX_FRAME, 16384)), PROTOCOL),
    Case("settings-within-a-field-block", "RFC 9113 §4.3",
         headers(1, pseudo(), 1) + settings() + wire.continuation(1, b""), PROTOCOL),
    Case("no-priorities-of-1-first", "RFC 9218 §2.1", get(), OK, settings=((wire.NO_PRIORITIES, 1),)),
]  # fmt: skip


def ping_is_answered(peer: Peer) -> None:
    peer.send(ping(b"\0\xff\r\n\x01abc"))
    peer.wait_until(lambda: b"\0\xff\r\n\x01abc" in peer.pongs)
    peer.send(get())


def pings_are_answered_in_order(peer: Peer) -> None:
    payloads = [b"number %d" % number for number in range(5)]
    peer.send(b"".join(map(ping, payloads)))
    peer.wait_until(lambda: len(peer.pongs) == 5)
    assert peer.pongs == payloads
    peer.send(get())


def ping_ack_is_not_answered(peer: Peer) -> None:
    peer.send(ping(b"unwanted", wire.ACK))
    peer.settle()
    assert b"unwanted" not in peer.pongs, "RFC 9113 §6.7: answered an acknowledgement"
    peer.send(get())


PINGS = [
    Case("ping-is-answered", "RFC 9113 §6.7", ping_is_answered, OK),
    Case("pings-are-answered-in-order", "RFC 9113 §6.7", pings_are_answered_in_order, OK),
    Case("ping-ack-is-not-answered", "RFC 9113 §6.7", ping_ack_is_not_answered, OK),
    Case("ping-on-a-stream", "RFC 9113 §6.7", ping(stream=1), PROTOCOL),
    Case("ping-on-an-open-stream", "RFC 9113 §6.7", headers(1, pseudo(b"POST"), 4) + ping(stream=1), PROTOCOL),
    Case("ping-ack-on-a-stream", "RFC 9113 §6.7", ping(flags=wire.ACK, stream=1), PROTOCOL),
    Case("ping-within-a-field-block", "RFC 9113 §4.3",
         headers(1, pseudo(), 1) + ping() + wire.continuation(1, b""), PROTOCOL),
]  # fmt: skip

DONE = frozenset({CLOSED, "STATUS 200"})


def finishes_after_goaway(peer: Peer) -> None:
    peer.send(headers(1, pseudo(b"POST"), 4) + wire.goaway())
    peer.settle()
    peer.send(wire.data(1, b"abc", 1))
    assert peer.response(1).status == 200, "RFC 9113 §6.8: a stream that was open is to be finished"


GOAWAYS = [
    Case("goaway-on-a-stream", "RFC 9113 §6.8", wire.goaway(stream=1), PROTOCOL),
    Case("goaway-on-an-open-stream", "RFC 9113 §6.8",
         headers(1, pseudo(b"POST"), 4) + wire.goaway(stream=1), PROTOCOL),
    Case("goaway-after-a-request", "RFC 9113 §6.8", get() + wire.goaway(), OK, probe=0),
    Case("goaway-with-debug-data", "RFC 9113 §6.8", get() + wire.goaway(debug=b"x" * 1000), OK, probe=0),
    Case("goaway-with-an-unknown-code", "RFC 9113 §7", get() + wire.goaway(code=0xFACE), OK | {CLOSED}, probe=0),
    Case("goaway-of-the-highest-stream-first", "RFC 9113 §6.8",
         sent(get(), wire.goaway(2**31 - 1), wire.goaway(0)), OK, probe=0),
    Case("goaway-while-content-is-sent", "RFC 9113 §6.8", finishes_after_goaway, OK, probe=0),
    Case("goaway-within-a-field-block", "RFC 9113 §4.3",
         headers(1, pseudo(), 1) + wire.goaway() + wire.continuation(1, b""), PROTOCOL),
]  # fmt: skip

PROMISES = [
    Case(f"push-promise-{name}", "RFC 9113 §8.4", before + frame(wire.PUSH_PROMISE, 4, stream, b"\0\0\0\2" + pseudo()),
         PROTOCOL)
    for name, stream, before in (
        ("on-an-idle-stream", 1, b""),
        ("on-an-open-stream", 1, headers(1, pseudo(b"POST"), 4)),
        ("on-stream-0", 0, b""),
    )
]  # fmt: skip

CASES = [
    *PREFACES, *FIRST_FRAMES, *BEGINNINGS, *UNKNOWN, *SIZES, *SETTINGS, *PINGS, *GOAWAYS, *PROMISES,
]  # fmt: skip
