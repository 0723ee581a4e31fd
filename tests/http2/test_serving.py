"""What an application, the log and a client see of HTTP/2, beside the rules of its frames."""

from __future__ import annotations

import base64
import contextlib
import os
import struct
import time

import pytest
from http2 import wire
from http2.peer import Closed, Peer, tls_context
from http2.served import issue
from http2.served import serve as serve_application
from support import Client, eventually

CLEAR = ("--http2-cleartext", "both", "--access-logfile", "access.log")
WSGI = """
import os, time

def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/slow":
        open("running", "w").close()
        while not os.path.exists("go on"):
            time.sleep(0.01)
    if path == "/blocks":
        start_response("200 OK", [])
        return (b"x" * 50_000 for _ in range(40))
    content = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Keep", "me")])
    told = (environ["SERVER_PROTOCOL"], environ["wsgi.url_scheme"], environ.get("HTTP_COOKIE"), len(content))
    return [repr(told).encode()]
"""
ASGI = """
import asyncio, os

async def application(scope, receive, send):
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (event := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": f"{scope['http_version']} {event['text']}"})
        open(f"ended {event['code']}", "w").close()
        return
    while (event := await receive())["type"] == "http.request" and event.get("more_body"):
        pass
    if scope["path"] == "/wait":
        open("running", "w").close()
        await receive()
        open("disconnected", "w").close()
    if scope["path"] == "/hint":
        await send({"type": "http.response.early_hint", "links": [b"</style.css>; rel=preload"]})
    trailers = scope["path"] == "/trailers"
    await send({"type": "http.response.start", "status": 200, "headers": [], "trailers": trailers})
    told = f"{scope['http_version']} {scope['scheme']} {'tls' in scope['extensions']}"
    await send({"type": "http.response.body", "body": told.encode()})
    if trailers:
        await send({"type": "http.response.trailers", "headers": [(b"checksum", b"1")]})
"""


@pytest.fixture
def wsgi(serve):
    return serve(WSGI, *CLEAR)


@pytest.fixture
def asgi(serve):
    return serve(ASGI, "-k", "asgi", *CLEAR)


def test_environ_tells_the_version(wsgi):
    with Peer(wsgi.address) as peer:
        assert bytes(peer.exchange().content) == b"('HTTP/2', 'http', None, 0)"


def test_crumbs_of_a_cookie_are_one_field(wsgi):
    with Peer(wsgi.address) as peer:
        fields = [(b"cookie", b"a=1"), (b"other", b"x"), (b"cookie", b"b=2")]
        assert bytes(peer.exchange(fields=fields).content) == b"('HTTP/2', 'http', 'a=1; b=2', 0)"


def test_content_without_a_length_is_read_to_its_end(wsgi):
    with Peer(wsgi.address) as peer:
        assert bytes(peer.exchange("POST", content=b"x" * 200_000).content) == b"('HTTP/2', 'http', None, 200000)"


def test_fields_about_the_connection_are_left_out(wsgi):
    with Peer(wsgi.address) as peer:
        names = {name for name, _ in peer.exchange().fields}
    assert {b"keep", b"date", b"content-length"} <= names
    assert not {b"connection", b"transfer-encoding", b"keep-alive"} & names


def test_the_access_log_tells_the_version(wsgi):
    with Peer(wsgi.address) as peer:
        peer.exchange(path="/a?b=c")
    log = wsgi.directory / "access.log"
    eventually(lambda: '"GET /a?b=c HTTP/2" 200 ' in log.read_text())


def test_scope_tells_the_version(asgi):
    with Peer(asgi.address) as peer:
        assert bytes(peer.exchange().content) == b"2 http False"


def test_alpn_chooses_what_the_client_knows(serve, tmp_path):
    server = serve(ASGI, "-k", "asgi", "--http", "h2,h1", *issue(tmp_path))
    with Peer(server.address, tls=tls_context("h2", "http/1.1")) as peer:
        assert bytes(peer.exchange().content) == b"2 https True"
    with Client(server.address, tls=tls_context("http/1.1")) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert client.receive_response().content == b"1.1 https True"


def test_nobody_is_offered_what_was_not_asked_for(serve, tmp_path):
    server = serve(ASGI, "-k", "asgi", *issue(tmp_path))
    context = tls_context("h2", "http/1.1")
    with Client(server.address, tls=context) as client:
        assert client.socket.selected_alpn_protocol() == "http/1.1"


def test_a_stranger_may_not_begin_in_the_clear(serve):
    server = serve(WSGI, *CLEAR, "--forwarded-allow-ips", "192.0.2.1")
    with Client(server.address) as client:
        client.send(wire.PREFACE + wire.settings())
        assert client.receive_response().status == 400


def upgrade(settings=b"", method=b"GET", more=b""):
    encoded = base64.urlsafe_b64encode(settings).rstrip(b"=")
    return (
        b"%b / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\n"
        b"Upgrade: h2c\r\nHTTP2-Settings: %b\r\n%b\r\n" % (method, encoded, more)
    )


def test_a_request_of_http_1_goes_over_to_http_2(wsgi):
    with Client(wsgi.address) as client:
        client.send(upgrade(struct.pack(">HI", wire.MAX_FRAME, 16384)))
        received = b""
        while b"\r\n\r\n" not in received:
            received += client.socket.recv(65536)
        head, _, frames = received.partition(b"\r\n\r\n")
        assert head == b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c"
        with Peer(wsgi.address, greets=False, taken_over=(client.socket, frames)) as peer:
            peer.send(wire.PREFACE + wire.settings())
            assert bytes(peer.response(1).content) == b"('HTTP/2', 'http', None, 0)"
            peer.next_stream = 3
            assert peer.exchange().status == 200


def test_a_request_with_content_stays_what_it_is(wsgi):
    with Client(wsgi.address) as client:
        client.send(upgrade(method=b"POST", more=b"Content-Length: 1\r\n") + b"x")
        assert client.receive_response().content == b"('HTTP/1.1', 'http', None, 1)"


@pytest.mark.parametrize("options", [("--threads", "2"), ("--workers", "1"), ("-k", "gevent")], ids=" ".join)
def test_an_application_waits_for_a_window_and_others_for_none(serve, options):
    server = serve(WSGI, *CLEAR, "--response-buffer", "65536", "--response-spool", "0", *options)
    with Peer(server.address) as peer:
        peer.returns_windows = False
        stream = peer.begin("GET", "/blocks", ends=True)
        peer.wait_until(lambda: len(peer.responses[stream].content) == wire.DEFAULT_WINDOW)
        peer.send(wire.window_update(0, 2_000_000))
        other = peer.begin("GET", "/", ends=True)
        if "--workers" not in options:
            assert peer.response(other).status == 200
        peer.send(wire.window_update(stream, 2_000_000))
        assert len(peer.response(stream).content) == 2_000_000
        assert peer.response(other).status == 200


def test_those_that_wait_for_their_client_leave_room_for_others(serve):
    server = serve(WSGI, *CLEAR, "-k", "gevent", "--worker-connections", "2", "--workers", "2", "--response-spool", "0")
    with Peer(server.address) as waiting, Peer(server.address) as other:
        waiting.returns_windows = False
        streams = [waiting.begin("GET", "/blocks", ends=True) for _ in range(20)]
        responses = waiting.responses
        waiting.wait_until(lambda: sum(len(responses[stream].content) for stream in streams) == wire.DEFAULT_WINDOW)
        assert other.exchange().status == 200
    assert server.stop() == os.EX_OK
    assert "Traceback" not in server.log()


def test_no_connection_has_all_requests_of_a_worker(serve):
    server = serve(ASGI, "-k", "asgi", *CLEAR, "--worker-connections", "4")
    with Peer(server.address) as greedy, Peer(server.address) as other:
        for _ in range(20):
            greedy.begin("POST")
        greedy.settle()
        assert other.exchange().status == 200


def test_a_slow_request_does_not_hold_back_the_answer_before_it(serve):
    server = serve(WSGI, *CLEAR)
    with Peer(server.address) as peer:
        first, slow = peer.begin("GET", "/", ends=True), peer.begin("GET", "/slow", ends=True)
        assert peer.response(first).status == 200
        (server.directory / "go on").touch()
        assert peer.response(slow).status == 200


def test_a_request_that_is_taken_back_is_a_disconnect(asgi):
    with Peer(asgi.address) as peer:
        stream = peer.begin("GET", "/wait", ends=True)
        eventually((asgi.directory / "running").exists)
        peer.send(wire.reset(stream, wire.Code.CANCEL))
        eventually((asgi.directory / "disconnected").exists)
        assert peer.exchange().status == 200


def test_a_client_that_goes_is_a_disconnect(asgi):
    with Peer(asgi.address) as peer:
        peer.begin("GET", "/wait", ends=True)
        eventually((asgi.directory / "running").exists)
    eventually((asgi.directory / "disconnected").exists)


def test_hints_come_before_the_response(asgi):
    with Peer(asgi.address) as peer:
        response = peer.exchange(path="/hint")
    assert response.interim == [(103, [(b"link", b"</style.css>; rel=preload")])]
    assert response.status == 200


def test_trailers_come_behind_the_content(asgi):
    with Peer(asgi.address) as peer:
        assert peer.exchange(path="/trailers", fields=[(b"te", b"trailers")]).trailers == [(b"checksum", b"1")]


def frame_of_websocket(opcode, content):
    return bytes([0x80 | opcode, 0x80 | len(content), 0, 0, 0, 0]) + content


def test_a_websocket_is_one_stream(asgi):
    with Peer(asgi.address) as peer:
        peer.wait_until(lambda: peer.server.get(wire.ENABLE_CONNECT) == 1)
        stream, peer.next_stream = peer.next_stream, peer.next_stream + 2
        fields = [
            (b":method", b"CONNECT"), (b":protocol", b"websocket"), (b":scheme", b"http"), (b":path", b"/"),
            (b":authority", b"test"), (b"sec-websocket-version", b"13"),
        ]  # fmt: skip
        peer.send(wire.headers(stream, wire.block(*fields), wire.END_HEADERS))
        peer.wait_until(lambda: stream in peer.responses and peer.responses[stream].status)
        response = peer.responses[stream]
        assert (response.status, response.values(b"sec-websocket-accept")) == (200, [])
        peer.send(wire.data(stream, frame_of_websocket(1, b"hello")))
        peer.wait_until(lambda: bytes(response.content) == b"\x81\x072 hello")
        assert peer.exchange().status == 200
        peer.send(wire.data(stream, frame_of_websocket(8, struct.pack(">H", 1000))))
        peer.wait_until(lambda: response.is_complete)
    eventually((asgi.directory / "ended 1000").exists)


def test_a_worker_class_without_websockets_does_not_announce_them(wsgi):
    with Peer(wsgi.address) as peer:
        peer.exchange()
        assert wire.ENABLE_CONNECT not in peer.server


def test_an_idle_connection_ends_with_a_word(serve):
    server = serve(WSGI, *CLEAR, "--keep-alive", "0.2")
    with Peer(server.address) as peer:
        peer.exchange()
        with contextlib.suppress(Closed):
            peer.wait_until(lambda: False)
        assert peer.goaways == [(1, wire.Code.NO_ERROR)]


def test_a_client_that_is_silent_is_asked_whether_it_is_there(serve):
    server = serve(ASGI, "-k", "asgi", *CLEAR, "--ws-ping-interval", "0.2", "--ws-ping-timeout", "0.3")
    with Peer(server.address) as peer:
        peer.begin("GET", "/wait", ends=True)
        peer.wait_for(wire.PING)
        peer.answers_pings = False
        with pytest.raises(Closed):
            peer.wait_until(lambda: False)


@pytest.mark.parametrize("kind", ["sync", "asgi"])
def test_each_class_stops_while_a_client_stays(kind, tmp_path):
    server = serve_application(kind, tmp_path)
    with Peer(server.address) as peer:
        peer.exchange()
        server.begin_to_stop()
        with contextlib.suppress(Closed):
            peer.wait_until(lambda: False)
        assert [last for last, _ in peer.goaways] == [wire.MAX_WINDOW, 1]
        assert server.stop() == os.EX_OK


@pytest.mark.parametrize("options", [(), ("-k", "gevent", "--response-spool", "0")], ids=["sync", "gevent"])
def test_streams_that_wait_for_each_other_are_not_late(serve, options):
    server = serve(WSGI, *CLEAR, "--write-timeout", "0.4", *options)
    with Peer(server.address, receive_buffer=16384, settings=[(wire.INITIAL_WINDOW, 2**30)]) as peer:
        peer.send(wire.window_update(0, 2**30))
        peer.returns_windows = False
        streams = [peer.begin("GET", "/blocks", ends=True) for _ in range(4)]
        while not all(peer.responses[stream].is_complete for stream in streams):
            # A line that is slow: nobody has a turn each 0.4 s.
            time.sleep(0.001)
            peer.read()
            assert not any(peer.responses[stream].reset for stream in streams)


def test_content_that_was_sent_before_the_window_became_small_is_returned(serve):
    server = serve(WSGI, *CLEAR, "--http2-initial-window-size", "5000")
    with Peer(server.address) as peer:
        assert bytes(peer.exchange("POST", content=b"x" * 200_000).content) == b"('HTTP/2', 'http', None, 200000)"


def test_a_client_that_goes_over_and_says_no_more_does_not_hold_up_a_stop(serve):
    server = serve(WSGI, *CLEAR, "--request-head-timeout", "60", "--graceful-timeout", "60")
    with Client(server.address) as client:
        client.send(upgrade())
        client.receive(12)
        server.begin_to_stop()
        assert server.stop() == os.EX_OK
