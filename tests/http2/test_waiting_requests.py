"""Requests that wait for their client: they hold no place of another one's, up to a bound."""

import pytest
from http2 import wire
from http2.peer import Peer
from support import eventually

ASGI = """
running = most = 0

async def application(scope, receive, send):
    global running, most
    assert scope["type"] == "http"
    if scope["path"] == "/most":
        return await answer(send, b"%d" % most)
    running += 1
    most = max(most, running)
    with open("begun", "ab") as file:
        file.write(b".")
    while (await receive()).get("more_body"):
        pass
    await answer(send, b"x" * 100_000)
    running -= 1

async def answer(send, content):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": content, "more_body": True})
    await send({"type": "http.response.body"})
"""
WSGI = """
running = most = 0

def application(environ, start_response):
    start_response("200 OK", [])
    return [b"%d" % most] if environ["PATH_INFO"] == "/most" else blocks()

def blocks():
    global running, most
    running += 1
    most = max(most, running)
    with open("begun", "ab") as file:
        file.write(b".")
    yield b"x" * 50_000
    yield b"x" * 50_000
    running -= 1
"""
CLEAR = ("--http2-cleartext", "both")
TIMEOUT = 20


@pytest.fixture
def peers(request):
    """Makes clients, which go when the test is over."""

    def peer(server, **options):
        made = Peer(server.address, TIMEOUT, **options)
        request.addfinalizer(made.close)
        return made

    return peer


def begun(server):
    path = server.directory / "begun"
    return len(path.read_bytes()) if path.exists() else 0


def test_contents_that_do_not_come_leave_room_for_others(serve, peers):
    server = serve(ASGI, "-k", "asgi", *CLEAR, "--worker-connections", "4")
    greedy = [peers(server) for _ in range(3)]
    streams = [(peer, peer.begin("POST")) for peer in greedy for _ in range(2)]
    # All six run, and a seventh.
    eventually(lambda: begun(server) == 6)
    assert len(peers(server).exchange().content) == 100_000
    for peer, stream in streams:
        peer.send(wire.data(stream, b"some"))
    for peer, stream in streams:
        peer.send(wire.data(stream, b"", wire.END_STREAM))
        assert len(peer.response(stream).content) == 100_000
    assert "Traceback" not in server.log()


@pytest.mark.parametrize(("kind", "application"), [("asgi", ASGI), ("gevent", WSGI)], ids=["asgi", "gevent"])
def test_there_is_a_bound_to_how_many_wait(serve, peers, kind, application):
    if kind == "gevent":
        pytest.importorskip("gevent")
    server = serve(application, "-k", kind, *CLEAR, "--worker-connections", "2")
    slow = [peers(server, settings=[(wire.INITIAL_WINDOW, 0)]) for _ in range(40)]
    streams = [peer.begin("GET", ends=True) for peer in slow]
    eventually(lambda: begun(server) >= 16)
    slow[0].settle()
    for peer, stream in zip(slow, streams, strict=True):
        peer.send(wire.window_update(stream, 1_000_000))
    for peer, stream in zip(slow, streams, strict=True):
        assert len(peer.response(stream).content) == 100_000
    # Two that run, or eight times as many that wait; or what comes of both.
    assert int(peers(server).exchange(path="/most").content) <= 18
    assert "Traceback" not in server.log()
