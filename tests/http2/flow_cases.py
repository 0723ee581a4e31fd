"""Flow control in both directions, and how many streams there may be: RFC 9113 §5.1.2, §5.2, §6.5.2 and §6.9.

That nothing is sent beyond a window is what the peer looks at with every DATA frame.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from . import wire
from .case import FLOW, OK, PROTOCOL, Case, NotApplicableError, stream_error
from .peer import Closed
from .wire import INITIAL_WINDOW, Code, data, get, headers, pseudo, settings, window_update

if TYPE_CHECKING:
    from collections.abc import Callable

    from .peer import Peer

OPEN = headers(1, pseudo(b"POST"), wire.END_HEADERS)
MOST = wire.MAX_WINDOW

UPDATES = [
    Case("increment-of-0-for-a-stream", "RFC 9113 §6.9", OPEN + window_update(1, 0), stream_error(Code.PROTOCOL_ERROR)),
    Case("increment-of-0-for-the-connection", "RFC 9113 §6.9", window_update(0, 0), PROTOCOL),
    Case("increment-of-0-with-the-reserved-bit", "RFC 9113 §6.9", window_update(0, 1 << 31), PROTOCOL),
    Case("window-of-a-stream-overflows", "RFC 9113 §6.9.1", OPEN + window_update(1, MOST),
         stream_error(Code.FLOW_CONTROL_ERROR)),
    Case("window-of-a-stream-overflows-in-two-steps", "RFC 9113 §6.9.1",
         OPEN + window_update(1, MOST - 65535) + window_update(1, 1), stream_error(Code.FLOW_CONTROL_ERROR)),
    Case("window-of-the-connection-overflows", "RFC 9113 §6.9.1", window_update(0, MOST), FLOW),
    Case("window-of-the-connection-overflows-in-two-steps", "RFC 9113 §6.9.1",
         window_update(0, MOST - 65535) + window_update(0, 1), FLOW),
    Case("largest-window-of-the-connection", "RFC 9113 §6.9.1", window_update(0, MOST - 65535) + get(), OK),
    Case("largest-window-of-a-stream", "RFC 9113 §6.9.1",
         OPEN + window_update(1, MOST - 65535) + data(1, b"a", 1), OK),
    Case("a-setting-makes-a-window-overflow", "RFC 9113 §6.9.2",
         OPEN + window_update(1, 1) + settings((INITIAL_WINDOW, MOST)), FLOW),
    Case("a-setting-makes-a-window-the-largest", "RFC 9113 §6.9.2",
         OPEN + settings((INITIAL_WINDOW, MOST)) + data(1, b"", 1), OK),
    Case("window-update-of-3-bytes-on-a-stream", "RFC 9113 §6.9",
         OPEN + wire.frame(wire.WINDOW_UPDATE, 0, 1, b"abc"), frozenset({"GOAWAY FRAME_SIZE_ERROR", "CLOSED"})),
    Case("window-updates-on-an-open-stream", "RFC 9113 §6.9", OPEN + window_update(1, 5) * 3 + data(1, b"a", 1), OK),
]  # fmt: skip


def arrived(peer: Peer, stream: int = 1) -> int:
    """How much content has come by now, on a connection on which all else was answered."""
    peer.settle()
    return len(peer.responses[stream].content) if stream in peer.responses else 0


def grows_to(peer: Peer, length: int, stream: int = 1) -> None:
    """Wait for so much content, and see that there is no more of it."""
    peer.wait_until(lambda: stream in peer.responses and len(peer.responses[stream].content) >= length)
    assert arrived(peer, stream) == length, f"RFC 9113 §6.9: {arrived(peer, stream)} bytes with a window of {length}"


def has_head(peer: Peer, stream: int = 1) -> None:
    peer.wait_until(lambda: stream in peer.responses and peer.responses[stream].status)


def nothing_with_a_window_of_0(peer: Peer) -> None:
    peer.returns_windows = False
    peer.send(get(1, b"/bytes/100"))
    has_head(peer)
    grows_to(peer, 0)
    peer.send(window_update(1, 100))


def so_much_as_the_window(peer: Peer) -> None:
    peer.returns_windows = False
    peer.send(get(1, b"/bytes/100"))
    for window in (10, 11, 50):
        grows_to(peer, window)
        peer.send(window_update(1, {10: 1, 11: 39, 50: 50}[window]))


def an_update_before_the_response(peer: Peer) -> None:
    peer.returns_windows = False
    peer.send(headers(1, pseudo(b"POST", b"/bytes/100"), 4) + window_update(1, 30) + data(1, b"", 1))
    grows_to(peer, 30)
    peer.send(window_update(1, 70))


def a_setting_opens_windows(peer: Peer) -> None:
    peer.returns_windows = False
    peer.send(get(1, b"/bytes/100"))
    has_head(peer)
    grows_to(peer, 0)
    peer.send(settings((INITIAL_WINDOW, 60)))
    grows_to(peer, 60)
    peer.send(settings((INITIAL_WINDOW, 100)))


def a_setting_makes_a_window_negative(peer: Peer) -> None:
    peer.returns_windows = False
    peer.send(get(1, b"/bytes/200"))
    grows_to(peer, 100)
    peer.send(settings((INITIAL_WINDOW, 10)))  # -90
    peer.wait_until(lambda: not peer.allowed.unacknowledged)
    peer.send(window_update(1, 90))  # 0
    grows_to(peer, 100)
    peer.send(window_update(1, 7))
    grows_to(peer, 107)
    peer.send(window_update(1, 93))


def a_setting_is_for_the_connections_window_nothing(peer: Peer) -> None:
    peer.returns_windows = False
    peer.send(settings((INITIAL_WINDOW, 200_000)) + get(1, b"/bytes/100000"))
    grows_to(peer, 65535)
    peer.send(window_update(0, 34465))


def the_connections_window_is_for_all(peer: Peer) -> None:
    peer.returns_windows = False
    peer.send(get(1, b"/bytes/60000"))
    grows_to(peer, 60000)
    peer.send(get(3, b"/bytes/60000"))
    grows_to(peer, 5535, stream=3)
    peer.send(window_update(0, 100_000))
    peer.wait_until(lambda: peer.responses[3].is_complete)


def no_content_needs_no_window(peer: Peer) -> None:
    peer.send(headers(1, pseudo(b"HEAD", b"/bytes/10")) + get(3, b"/status/204"))
    for stream in (1, 3):
        assert peer.response(stream).status in (200, 204)


def a_blocked_stream_blocks_no_other(peer: Peer) -> None:
    peer.send(settings((INITIAL_WINDOW, 0)))
    peer.send(get(1, b"/bytes/50") + get(3, b"/bytes/50"))
    for stream in (1, 3):
        has_head(peer, stream)
    peer.send(window_update(3, 50))
    peer.wait_until(lambda: peer.responses[3].is_complete)
    assert not peer.responses[1].content
    peer.send(window_update(1, 50))


def a_blocked_stream_can_be_reset(peer: Peer) -> None:
    peer.send(get(1, b"/bytes/50"))
    has_head(peer)
    peer.send(wire.reset(1) + get(3, b"/status/204"))


def much_through_small_windows(peer: Peer) -> None:
    response = peer.exchange(path="/bytes/300000")
    assert len(response.content) == 300_000, f"{len(response.content)} bytes of 300000"


def no_frame_is_too_large(peer: Peer) -> None:
    peer.send(settings((INITIAL_WINDOW, 10**6)) + window_update(0, 10**6))
    peer.wait_until(lambda: not peer.allowed.unacknowledged)
    assert len(peer.exchange(path="/bytes/200000").content) == 200_000


RESPONSES = [
    Case(name, source, play, OK, settings=((INITIAL_WINDOW, window),), needs="app", stream=stream)
    for name, source, play, window, stream in (
        ("nothing-with-a-window-of-0", "RFC 9113 §6.9.2", nothing_with_a_window_of_0, 0, 1),
        ("so-much-as-the-window", "RFC 9113 §6.9.1", so_much_as_the_window, 10, 1),
        ("an-update-before-the-response", "RFC 9113 §6.9.1", an_update_before_the_response, 0, 1),
        ("a-setting-opens-windows", "RFC 9113 §6.9.2", a_setting_opens_windows, 0, 1),
        ("a-setting-makes-a-window-negative", "RFC 9113 §6.9.2", a_setting_makes_a_window_negative, 100, 1),
        ("a-setting-is-nothing-for-the-window-of-the-connection", "RFC 9113 §6.9.2",
         a_setting_is_for_the_connections_window_nothing, 65535, 1),
        ("the-window-of-the-connection-is-for-all-streams", "RFC 9113 §6.9.1", the_connections_window_is_for_all,
         65535, 1),
        ("no-content-needs-no-window", "RFC 9113 §6.9", no_content_needs_no_window, 0, 1),
        ("a-blocked-stream-blocks-no-other", "RFC 9113 §5.2.1", a_blocked_stream_blocks_no_other, 65535, 1),
        ("much-through-the-smallest-windows", "RFC 9113 §6.9", much_through_small_windows, 65535, 1),
        ("no-frame-is-larger-than-allowed", "RFC 9113 §4.2", no_frame_is_too_large, 65535, 1),
    )
]  # fmt: skip
RESPONSES += [
    Case("a-blocked-stream-can-be-reset", "RFC 9113 §6.4", a_blocked_stream_can_be_reset, frozenset({"STATUS 204"}),
         settings=((INITIAL_WINDOW, 0),), needs="app", stream=3, probe=0),
]  # fmt: skip


def beyond_the_window(path: bytes) -> Callable[[Peer], None]:
    """Send more than both windows allow; that of the stream is looked at, which no other may have used."""

    def play(peer: Peer) -> None:
        peer.wait_for(wire.SETTINGS)
        peer.settle()  # The window of the connection may be widened right behind SETTINGS.
        room = peer.window_of(1)
        if room > 2**20:
            raise NotApplicableError(f"has windows of {room} bytes")
        whole, rest = divmod(room, 16384)
        peer.send(wire.post(1, path) + data(1, b"x" * 16384) * whole + data(1, b"x" * rest) + data(1, b"x" * 16384, 1))
        with contextlib.suppress(Closed):
            peer.settle()
        if peer.window_of(1) > room:
            raise NotApplicableError("returns a window before the content has come")

    return play


def uploads(peer: Peer, path: str, number: int, length: int) -> None:
    """Content that takes more than the window of the connection in all, which is to be returned each time."""
    peer.wait_for(wire.SETTINGS)
    for _ in range(number):
        stream = peer.request("POST", path, content=b"x" * length)
        response = peer.response(stream)
        assert response.status == 200 or response.reset is not None, response


def windows_are_returned(peer: Peer) -> None:
    uploads(peer, "/count", 1, 300_000)
    assert peer.responses[1].content == b"300000", peer.responses[1].content


def windows_are_returned_for_what_nobody_reads(peer: Peer) -> None:
    uploads(peer, "/ignore", 8, 40_000)


def windows_are_returned_for_small_requests(peer: Peer) -> None:
    uploads(peer, "/count", 60, 3000)


def windows_are_returned_for_padding(peer: Peer) -> None:
    peer.wait_for(wire.SETTINGS)
    stream = peer.begin("POST", "/count")
    for _ in range(600):
        peer.wait_until(lambda: min(peer.window, peer.window_of(stream)) >= 257)
        peer.window -= 257
        peer.windows[stream] = peer.window_of(stream) - 257
        peer.send(data(stream, b"\xffa" + b"\0" * 255, wire.PADDED))
    peer.send(data(stream, b"", 1))
    assert peer.response(stream).content == b"600", peer.responses[stream].content


def windows_are_returned_for_streams_that_were_reset(peer: Peer) -> None:
    peer.wait_for(wire.SETTINGS)
    for _ in range(6):
        stream = peer.begin("POST", "/count")
        peer.send_content(stream, b"x" * 30_000, ends=False)
        peer.send(wire.reset(stream))
    uploads_after = peer.request("POST", "/count", content=b"x" * 100_000)
    assert peer.response(uploads_after).content == b"100000"


def windows_are_returned_for_malformed_requests(peer: Peer) -> None:
    peer.wait_for(wire.SETTINGS)
    for number in range(6):
        stream = peer.begin("POST", "/count", [(b"x-number", b"%d" % number), (b"connection", b"close")])
        try:
            peer.send_content(stream, b"x" * 30_000)
            peer.response(stream)
        except Closed as closed:
            raise NotApplicableError("closes the connection") from closed
    assert peer.response(peer.request("POST", "/count", content=b"x" * 100_000)).content == b"100000"


def several_uploads_at_once(peer: Peer) -> None:
    peer.wait_for(wire.SETTINGS)
    streams = [peer.begin("POST", "/count") for _ in range(4)]
    for _ in range(5):
        for stream in streams:
            peer.send_content(stream, b"x" * 10_000, ends=False)
    for stream in reversed(streams):
        peer.send(data(stream, b"", 1))
    for stream in streams:
        assert peer.response(stream).content == b"50000", peer.responses[stream]


ANYTHING = OK | {"STATUS 413"} | stream_error(Code.NO_ERROR, Code.CANCEL, Code.FLOW_CONTROL_ERROR)
REQUESTS = [
    Case("content-beyond-the-window", "RFC 9113 §6.9", beyond_the_window(b"/hold"),
         stream_error(Code.FLOW_CONTROL_ERROR),
         needs="app"),
    # A window that has been returned at once was larger by the time that the content came.
    Case("content-beyond-the-window-that-is-being-read", "RFC 9113 §6.9", beyond_the_window(b"/count"), ANYTHING,
         needs="app", probe=0),
    *(Case(name, "RFC 9113 §6.9", play, OK, needs="app", stream=stream, probe=probe)
      for name, play, stream, probe in (
          ("windows-are-returned", windows_are_returned, 1, 1001),
          ("windows-are-returned-for-small-requests", windows_are_returned_for_small_requests, 1, 1001),
          ("windows-are-returned-for-padding", windows_are_returned_for_padding, 1, 1001),
          ("windows-are-returned-for-streams-that-were-reset", windows_are_returned_for_streams_that_were_reset, 13,
           1001),
          ("windows-are-returned-for-malformed-requests", windows_are_returned_for_malformed_requests, 13, 1001),
          ("several-uploads-at-once", several_uploads_at_once, 1, 1001),
      )),
    Case("windows-are-returned-for-what-nobody-reads", "RFC 9113 §6.9", windows_are_returned_for_what_nobody_reads,
         OK | {"RST NO_ERROR"}, needs="app"),
]  # fmt: skip


def opened_to_the_limit(peer: Peer) -> int:
    """The next stream when there are so many as the server allows."""
    peer.wait_for(wire.SETTINGS)
    peer.settle()
    limit = peer.server.get(wire.MAX_STREAMS)
    if limit is None or limit > 400:
        raise NotApplicableError(f"allows {limit} streams")
    peer.send(b"".join(wire.post(2 * number + 1, b"/count") for number in range(limit)))
    return 2 * limit + 1


def one_stream_too_many(peer: Peer) -> None:
    beyond = opened_to_the_limit(peer)
    peer.send(get(beyond))
    response = peer.response(beyond)
    assert response.reset in (Code.REFUSED_STREAM, Code.PROTOCOL_ERROR), response
    peer.send(b"".join(data(stream, b"a", 1) for stream in range(1, beyond, 2)))
    for stream in range(1, beyond, 2):
        assert peer.response(stream).status == 200, f"stream {stream}: {peer.responses[stream]}"


def a_stream_for_one_that_was_reset(peer: Peer) -> None:
    beyond = opened_to_the_limit(peer)
    peer.send(wire.reset(1) + get(beyond))
    # It may be refused while the application has still to notice.
    response = peer.response(beyond)
    assert response.status == 200 or response.reset == Code.REFUSED_STREAM, response
    peer.send(b"".join(wire.reset(stream) for stream in range(3, beyond, 2)) + get(beyond + 2))
    assert peer.response(beyond + 2).status == 200 or peer.responses[beyond + 2].reset == Code.REFUSED_STREAM
    peer.send(get(5001))


def a_stream_for_one_that_has_ended(peer: Peer) -> None:
    beyond = opened_to_the_limit(peer)
    peer.send(data(1, b"abc", 1))
    assert peer.response(1).status == 200
    peer.send(get(beyond))
    assert peer.response(beyond).status == 200, f"RFC 9113 §5.1.2: {peer.responses[beyond]}"
    peer.send(b"".join(wire.reset(stream) for stream in range(3, beyond, 2)))


CONCURRENCY = [
    Case("one-stream-too-many-is-refused", "RFC 9113 §5.1.2", one_stream_too_many, OK, needs="app"),
    Case("a-stream-for-one-that-was-reset", "RFC 9113 §5.1.2", a_stream_for_one_that_was_reset, OK, stream=5001,
         needs="app", probe=0),
    Case("a-stream-for-one-that-has-ended", "RFC 9113 §5.1.2", a_stream_for_one_that_has_ended, OK, needs="app",
         probe=5001),
]  # fmt: skip

CASES = [*UPDATES, *RESPONSES, *REQUESTS, *CONCURRENCY]
