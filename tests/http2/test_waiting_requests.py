"""Requests that wait for their client: they hold no place of another one's."""

import pytest
from http2 import wire
from http2.peer import Peer
from support import eventually

ASGI = """
async def application(scope, receive, send):
    assert scope["type"] == "http"
    with open("begun", "ab") as file:
        file.write(b".")
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"x" * 100_000, "more_body": True})
    await send({"type": "http.response.body"})
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
