"""Who goes over from HTTP/1.1 to HTTP/2 by Upgrade, and who stays: RFC 7540 §3.2, RFC 9110 §7.8."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest
from http2 import wire
from http2.peer import Peer
from http2.served import serve

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support import Server

SETTINGS = base64.urlsafe_b64encode(wire.settings((wire.INITIAL_WINDOW, 10))[9:]).rstrip(b"=")
CONNECTION = b"Connection: Upgrade, HTTP2-Settings\r\n"
UPGRADE = b"Upgrade: h2c\r\n"
WITH_SETTINGS = b"HTTP2-Settings: " + SETTINGS + b"\r\n"


@pytest.fixture(scope="module", params=["threaded", "asgi"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    served = serve(request.param, tmp_path_factory.mktemp("served"))
    yield served
    served.stop()


def begun(server: Server, fields: bytes, target: bytes = b"/bytes/30", version: bytes = b"1.1") -> Peer:
    """A client that has asked, and knows nothing yet."""
    peer = Peer(server.address, 10.0, greets=False)
    peer.send(b"GET " + target + b" HTTP/" + version + b"\r\nHost: test\r\n" + fields + b"\r\n", is_frames=False)
    return peer


def test_the_response_comes_on_stream_1_by_the_settings_of_the_field(server: Server) -> None:
    with begun(server, CONNECTION + UPGRADE + WITH_SETTINGS) as peer:
        assert peer.receive_head().startswith(b"HTTP/1.1 101 ")
        # RFC 7540 §3.2.1: what the field says is not acknowledged.
        peer.allowed.initial = 10
        peer.send(wire.PREFACE + wire.settings((wire.INITIAL_WINDOW, 10)))
        peer.returns_windows = False
        peer.wait_until(lambda: 1 in peer.responses and len(peer.responses[1].content) == 10)
        peer.settle()
        assert len(peer.responses[1].content) == 10
        peer.send(wire.window_update(1, 20))
        assert len(peer.response(1).content) == 30
        peer.send(wire.get(3, b"/status/204"))
        assert peer.response(3).status == 204


def test_stream_1_is_closed_for_the_client(server: Server) -> None:
    with begun(server, CONNECTION + UPGRADE + WITH_SETTINGS, b"/status/204") as peer:
        assert peer.receive_head().startswith(b"HTTP/1.1 101 ")
        peer.send(wire.PREFACE + wire.settings())
        assert peer.response(1).status == 204
        peer.send(wire.get(1))
        peer.wait_until(lambda: peer.goaways or peer.responses[1].reset is not None)


def test_a_client_that_does_not_go_on_as_it_said_is_told_so(server: Server) -> None:
    with begun(server, CONNECTION + UPGRADE + WITH_SETTINGS, b"/status/204") as peer:
        assert peer.receive_head().startswith(b"HTTP/1.1 101 ")
        peer.send(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n", is_frames=False)
        peer.wait_until(lambda: peer.goaways)
        assert peer.goaways[-1][1] == wire.Code.PROTOCOL_ERROR


def test_settings_that_are_wrong_end_what_they_began(server: Server) -> None:
    too_large = base64.urlsafe_b64encode(b"\0\4\xff\xff\xff\xff")
    with begun(server, CONNECTION + UPGRADE + b"HTTP2-Settings: " + too_large + b"\r\n") as peer:
        assert peer.receive_head().startswith(b"HTTP/1.1 101 ")
        peer.wait_until(lambda: peer.goaways)
        assert peer.goaways[-1][1] in (wire.Code.PROTOCOL_ERROR, wire.Code.FLOW_CONTROL_ERROR)


@pytest.mark.parametrize(
    ("name", "fields", "version"),
    [
        ("no settings", CONNECTION + UPGRADE, b"1.1"),
        ("settings twice", CONNECTION + UPGRADE + WITH_SETTINGS * 2, b"1.1"),
        ("settings not named by connection", b"Connection: Upgrade\r\n" + UPGRADE + WITH_SETTINGS, b"1.1"),
        ("upgrade not named by connection", b"Connection: HTTP2-Settings\r\n" + UPGRADE + WITH_SETTINGS, b"1.1"),
        ("h2, which is for TLS", CONNECTION + b"Upgrade: h2\r\n" + WITH_SETTINGS, b"1.1"),
        ("another protocol", CONNECTION + b"Upgrade: frobnicate\r\n" + WITH_SETTINGS, b"1.1"),
        ("HTTP/1.0", CONNECTION + UPGRADE + WITH_SETTINGS, b"1.0"),
        ("no base64", CONNECTION + UPGRADE + b"HTTP2-Settings: !!!!\r\n", b"1.1"),
        ("no base64 among some", CONNECTION + UPGRADE + b"HTTP2-Settings: AAMAAA!!Bk\r\n", b"1.1"),
        ("five bytes", CONNECTION + UPGRADE + b"HTTP2-Settings: AAAAAAA\r\n", b"1.1"),
    ],
)
def test_a_request_that_does_not_ask_for_it_rightly_stays_in_http_1(
    server: Server, name: str, fields: bytes, version: bytes
) -> None:
    with begun(server, fields, b"/length/3", version) as peer:
        head = peer.receive_head()
        # RFC 9110 §7.8: a server may ignore Upgrade; a malformed field may be refused.
        assert head[:12] in (b"HTTP/1.1 200", b"HTTP/1.1 400"), (name, head)
