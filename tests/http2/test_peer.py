"""Whether the client of these tests sees what a server does wrong."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from typing import TYPE_CHECKING

import pytest
from http2 import wire
from http2.cases import CASES
from http2.conformance import Target, judge
from http2.peer import Closed, Peer
from http2.received import Response, ViolationError
from http2.wire import Code

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HELLO = wire.settings()
STATUS_200 = wire.indexed(8)
HEAD = wire.headers(1, STATUS_200, wire.END_HEADERS)


@pytest.fixture
def says() -> Iterator[Callable[[bytes], tuple[str, int]]]:
    """Where a server is that says these bytes to everybody, and closes when it has been told something."""
    with contextlib.ExitStack() as stack:

        def start(said: bytes) -> tuple[str, int]:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))

            def serve() -> None:
                with contextlib.suppress(OSError):
                    while True:
                        with contextlib.closing(listener.accept()[0]) as accepted:
                            accepted.recv(65536)
                            accepted.sendall(said)
                            accepted.shutdown(socket.SHUT_WR)
                            while accepted.recv(65536):
                                pass

            thread = threading.Thread(target=serve, daemon=True)
            thread.start()
            stack.callback(thread.join, 10)
            stack.callback(listener.shutdown, socket.SHUT_RDWR)
            address: tuple[str, int] = listener.getsockname()
            return address

        yield start


@pytest.mark.parametrize(
    ("said", "rule"),
    [
        (wire.ping(), "not SETTINGS first"),
        (HELLO + wire.SETTINGS_ACK * 2, "an acknowledgement too many"),
        (wire.settings((wire.MAX_FRAME, 5)), "SETTINGS_MAX_FRAME_SIZE"),
        (wire.settings((wire.ENABLE_PUSH, 1)), "SETTINGS_ENABLE_PUSH"),
        (HELLO + wire.frame(0xBA, payload=b"x" * 16385), "longer than SETTINGS_MAX_FRAME_SIZE"),
        (HELLO + wire.frame(wire.PUSH_PROMISE, 4, 1, b"\0\0\0\2"), "§8.4"),
        (HELLO + wire.window_update(0, 0), "increment"),
        (HELLO + wire.window_update(0, wire.MAX_WINDOW), "more than 2^31-1"),
        (HELLO + wire.goaway(3) + wire.goaway(5), "last stream of GOAWAY rises"),
        (HELLO + wire.headers(2, STATUS_200), "not a stream of a client"),
        (HELLO + wire.headers(1, STATUS_200, 1) + wire.ping(), "within a field block"),
        (HELLO + wire.headers(1, b"\x80"), "RFC 7541"),
        (HELLO + wire.headers(1, b""), "not :status"),
        (HELLO + wire.headers(1, STATUS_200 * 2), ":status twice"),
        (HELLO + wire.headers(1, STATUS_200 + wire.literal(b"X", b"a")), "a field name"),
        (HELLO + wire.headers(1, STATUS_200 + wire.literal(b"x", b"a\r\nb: c")), "a field value"),
        (HELLO + wire.headers(1, STATUS_200 + wire.literal(b"connection", b"close")), "field of connections"),
        (HELLO + wire.headers(1, STATUS_200 + wire.literal(b"content-length", b"3")), "Content-Length"),
        (HELLO + wire.data(1, b"a"), "DATA before HEADERS"),
        (HELLO + HEAD + wire.headers(1, STATUS_200, 4), "trailers without END_STREAM"),
        (HELLO + wire.headers(1, STATUS_200) + wire.data(1, b"a"), "DATA after END_STREAM"),
        (HELLO + HEAD + wire.data(1, b"x" * 16384) * 3 + wire.data(1, b"x" * 16384), "window of the connection"),
        (HELLO + HEAD + wire.reset(1) + wire.data(1, b"a"), "DATA after RST_STREAM"),
        (HELLO + HEAD + wire.reset(1) * 2, "RST_STREAM twice"),
    ],
)
def test_what_is_wrong_is_seen(says: Callable[[bytes], tuple[str, int]], said: bytes, rule: str) -> None:
    with Peer(says(said)) as peer:
        peer.begin("GET", ends=True)
        peer.returns_windows = False
        with pytest.raises(ViolationError, match=re.escape(rule)):
            peer.wait_until(lambda: False)


def test_a_smaller_window_holds_once_it_is_acknowledged(says: Callable[[bytes], tuple[str, int]]) -> None:
    early = HELLO + HEAD + wire.data(1, b"x" * 20)
    with Peer(says(early + wire.SETTINGS_ACK), settings=[(wire.INITIAL_WINDOW, 10)]) as peer, pytest.raises(Closed):
        peer.wait_until(lambda: False)
    late = HELLO + wire.SETTINGS_ACK + HEAD + wire.data(1, b"x" * 11)
    with (
        Peer(says(late), settings=[(wire.INITIAL_WINDOW, 10)]) as peer,
        pytest.raises(ViolationError, match="window of stream 1"),
    ):
        peer.wait_until(lambda: False)


def test_content_of_a_response_to_head_is_seen() -> None:
    with pytest.raises(ViolationError, match="content where there is none"):
        Response("HEAD", status=200).take_content(b"a", ends=True)


@pytest.mark.parametrize(
    ("said", "outcome"),
    [
        (b"", "CLOSED"),
        (HELLO, "CLOSED"),
        (HELLO + wire.goaway(code=Code.INTERNAL_ERROR), "GOAWAY INTERNAL_ERROR"),
        (b"HTTP/1.1 500 A\r\n\r\n", "HTTP1 500"),
    ],
)
def test_a_server_that_says_always_the_same_keeps_no_case(
    says: Callable[[bytes], tuple[str, int]], said: bytes, outcome: str
) -> None:
    target = Target(says(said), strict=True)
    plain = [case for case in CASES.values() if isinstance(case.send, bytes) and case.greets]
    verdicts = [judge(case, target) for case in plain[::7]]
    assert {verdict.outcome for verdict in verdicts} == {outcome}
    assert [verdict.case.name for verdict in verdicts if not verdict.complaint] == []
