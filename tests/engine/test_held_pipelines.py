"""Pipelines of slow requests, which are served in turns with other connections, to clients that are slow too."""

import select
from pathlib import Path

from sharing import Routes
from support import eventually

application = Routes()
REQUESTS = 40
served = []


@application.route
def block(_environ, start_response):
    """As much as is gathered; slowly, until there is a file named "quick"."""
    if not Path("quick").exists():
        select.select([], [], [], 0.02)
    served.append(1)
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    return [bytes(16_000)]


@application.route
def count(_environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"%d" % len(served)]


def test_a_pipeline_that_waits_for_its_turn_and_for_its_client_is_answered(serving):
    # A Unix socket holds little, so that the client holds up the server after some of the requests.
    server = serving("--bind", "unix:socket", "--keep-alive", "60")
    (server.directory / "quick").unlink(missing_ok=True)
    with server.client() as client, server.client() as other:
        client.send(b"GET /block HTTP/1.1\r\nHost: a\r\n\r\n" * REQUESTS)
        counts = []

        def is_held_up():
            counts.append(int(other.request("GET", "/count").content))
            return len(counts) > 100 and 0 < counts[-100] == counts[-1]

        eventually(is_held_up, within=20)
        (server.directory / "quick").touch()
        for _ in range(REQUESTS):
            assert client.receive_response().content == bytes(16_000)
        assert client.request("GET", "/").content == b""
