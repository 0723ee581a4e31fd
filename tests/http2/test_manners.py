"""What is done beyond the rules of frames: for clients that are not all alike, and against slow ones."""

import contextlib
import time

import pytest
from http2 import wire
from http2.peer import Closed, Peer
from support import eventually

CLEAR = ("--http2-cleartext", "both")
ASGI = """
import asyncio, os
async def application(scope, receive, send):
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        event = await receive()
        open("ended", "w").close()
        return
    assert scope["type"] == "http"
    if scope["path"] == "/held":
        while not os.path.exists("go on"):
            await asyncio.sleep(0.02)
    if scope["path"] == "/content":
        while (event := await receive()).get("more_body"):
            pass
        assert event["type"] == "http.request"
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body", "body": b"nothing"})
"""


@pytest.fixture
def serve_asgi(serve):
    def served(*arguments):
        return serve(ASGI, "-k", "asgi", *CLEAR, *arguments)

    return served


def test_who_is_answered_before_it_has_sent_all_may_go_on(serve_asgi):
    with Peer(serve_asgi().address) as peer:
        stream = peer.begin()
        assert bytes(peer.response(stream).content) == b"nothing"
        # More than a window, for which there is room again.
        peer.send_content(stream, b"x" * 200_000)
        peer.settle()
        assert peer.responses[stream].reset is None


def test_room_for_the_rest_of_a_request_is_made_at_once(serve_asgi):
    with Peer(serve_asgi().address) as peer:
        stream = peer.begin(fields=[(b"content-length", b"5000000")])
        peer.response(stream)
        # Some clients look for no more of it when they have the response.
        peer.settle()
        assert min(peer.window_of(stream), peer.window) >= 5_000_000


def test_content_that_nobody_has_taken_makes_room_for_the_rest(serve_asgi):
    server = serve_asgi("--keep-alive", "0.2")
    with Peer(server.address) as peer:
        stream = peer.begin(path="/held")
        peer.settle()
        while peer.window_of(stream) > 0:
            peer.send_content(stream, b"x" * peer.window_of(stream), ends=False)
            peer.settle()
        (server.directory / "go on").touch()
        peer.response(stream)
        peer.wait_until(lambda: peer.window_of(stream) > 0)


def test_content_of_requests_that_are_taken_back_is_returned(serve_asgi):
    server = serve_asgi()
    with Peer(server.address) as peer:
        for _ in range(30):
            stream = peer.begin(path="/held")
            peer.settle()
            peer.send_content(stream, b"x" * peer.window_of(stream), ends=False)
            peer.send(wire.reset(stream, wire.Code.CANCEL))
        assert peer.exchange("POST", "/content", content=b"x" * 100_000).status == 404
    (server.directory / "go on").touch()


def test_content_that_nobody_wants_is_not_waited_for_without_end(serve_asgi):
    with Peer(serve_asgi("--keep-alive", "30").address, timeout=15) as peer:
        stream = peer.begin()
        peer.response(stream)
        peer.wait_for(wire.RST_STREAM, stream)
        assert peer.responses[stream].reset == wire.Code.NO_ERROR
        assert peer.exchange().status == 404


@pytest.mark.parametrize("asks_first", [True, False], ids=["behind a request", "before any"])
def test_frames_that_ask_for_nothing_do_not_keep_a_connection(serve_asgi, asks_first):
    server = serve_asgi("--keep-alive", "0.4", "--request-head-timeout", "0.4")
    with Peer(server.address) as peer:
        if asks_first:
            peer.exchange()
        with contextlib.suppress(Closed):
            # At once after each answer.
            eventually(lambda: peer.settle() or peer.goaways)
        assert peer.goaways


def test_halves_of_frames_do_not_keep_a_connection(serve_asgi):
    server = serve_asgi("--keep-alive", "0.4")
    with Peer(server.address) as peer:
        peer.exchange()
        ping = wire.ping(b"12345678")

        def is_told_to_go():
            peer.send(ping[:9], is_frames=False)
            # The server has seen the half.
            time.sleep(0.02)
            peer.send(ping[9:], is_frames=False)
            peer.wait_for(wire.PING)
            return peer.goaways

        with contextlib.suppress(Closed):
            eventually(is_told_to_go)
        assert peer.goaways


@pytest.mark.soak
def test_a_slow_client_gets_all_of_what_the_system_has_for_it(serve):
    server = serve(
        """
        def application(environ, start_response):
            start_response("200 OK", [])
            return [b"x" * 600_000]
        """,
        *(*CLEAR, "--keep-alive", "0.1"),
    )
    with Peer(server.address, receive_buffer=8192, settings=[(wire.INITIAL_WINDOW, 2**30)]) as peer:
        peer.send(wire.window_update(0, 2**30))
        stream = peer.begin("GET", "/", ends=True)
        peer.wait_for(wire.HEADERS, stream)
        while not peer.responses[stream].is_complete:
            # For longer than a connection that is closed is read from.
            time.sleep(1)
            peer.read()
        assert len(peer.responses[stream].content) == 600_000


def test_empty_data_does_not_prolong_the_wait_for_content(serve_asgi):
    with Peer(serve_asgi("--request-body-timeout", "0.4", "--keep-alive", "30").address) as peer:
        stream = peer.begin(path="/content")

        def is_answered():
            peer.send(wire.data(stream, b""))
            peer.settle()
            return peer.responses[stream].is_complete

        eventually(is_answered)
        assert peer.responses[stream].status == 408


def test_a_client_that_says_it_goes_is_let_go(serve_asgi):
    with Peer(serve_asgi("--keep-alive", "60").address) as peer:
        peer.exchange()
        peer.send(wire.goaway())
        with pytest.raises(Closed):
            peer.wait_until(lambda: False)


def test_the_smallest_table_of_a_frame_is_told(serve_asgi):
    with Peer(serve_asgi().address) as peer:
        peer.exchange()
        peer.send(wire.settings((wire.TABLE_SIZE, 0), (wire.TABLE_SIZE, 4096)))
        stream = peer.begin(ends=True)
        # RFC 7541 §4.2: to 0, and back.
        assert peer.wait_for(wire.HEADERS, stream).payload.startswith(b"\x20\x3f\xe1\x1f")


@pytest.mark.parametrize("value", [b"trailers", b"Trailers"])
def test_te_is_known_in_any_case(serve_asgi, value):
    with Peer(serve_asgi().address) as peer:
        assert peer.exchange(fields=[(b"te", value)]).status == 404


def test_trailers_have_the_limits_of_a_head(serve_asgi):
    with Peer(serve_asgi("--http2-max-header-list-size", "4096").address) as peer:
        stream = peer.begin(path="/content")
        peer.send(wire.headers(stream, wire.literal(b"a", b"x" * 5000), wire.END_HEADERS | wire.END_STREAM))
        assert peer.response(stream).reset == wire.Code.PROTOCOL_ERROR


CONNECT = [
    (b":method", b"CONNECT"), (b":protocol", b"websocket"), (b":scheme", b"http"), (b":path", b"/"),
    (b":authority", b"a"), (b"sec-websocket-version", b"13"),
]  # fmt: skip


def test_a_websocket_that_ends_with_its_handshake_is_reset(serve_asgi):
    server = serve_asgi()
    with Peer(server.address) as peer:
        block = b"".join(wire.literal(*field) for field in CONNECT)
        peer.send(wire.headers(1, block, wire.END_HEADERS | wire.END_STREAM))
        assert peer.response(1).reset == wire.Code.PROTOCOL_ERROR
    assert "a WebSocket ends with its handshake" in server.log()


def test_trailers_of_a_websocket_reset_it(serve_asgi):
    server = serve_asgi()
    with Peer(server.address) as peer:
        peer.send(wire.headers(1, b"".join(wire.literal(*field) for field in CONNECT), wire.END_HEADERS))
        peer.wait_for(wire.HEADERS, 1)
        peer.send(wire.headers(1, wire.literal(b"a", b"b"), wire.END_HEADERS | wire.END_STREAM))
        assert peer.response(1).reset == wire.Code.PROTOCOL_ERROR
    eventually((server.directory / "ended").exists)


def test_a_worker_that_is_full_gets_no_new_connections_though_it_has_fewer(serve):
    server = serve(
        """
        import asyncio, os
        async def application(scope, receive, send):
            assert scope["type"] == "http"
            if scope["path"] == "/held":
                with open("held", "a") as file:
                    file.write(".")
                while not os.path.exists("go on"):
                    await asyncio.sleep(0.02)
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": str(os.getpid()).encode()})
        """,
        *("-k", "asgi", *CLEAR, "-w", "2", "--worker-connections", "4", "--keep-alive", "60"),
    )
    by_worker = {}
    with contextlib.ExitStack() as stack:

        def connect():
            peer = stack.enter_context(Peer(server.address))
            by_worker.setdefault(bytes(peer.exchange().content), []).append(peer)
            return by_worker

        peers = eventually(lambda: next((some for some in connect().values() if len(some) == 2), None))
        # One connection may have half of what a worker runs.
        for peer in peers:
            for _ in range(2):
                peer.begin("GET", "/held", ends=True)
        held = server.directory / "held"
        eventually(lambda: held.exists() and held.stat().st_size == 4)
        for _ in range(8):
            connect()
        (server.directory / "go on").touch()
