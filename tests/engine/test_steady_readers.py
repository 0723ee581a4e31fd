"""A reader who never stops is not given up, however long the server's socket stays full."""

import select

from classes import only
from sharing import Routes
from support import Client

application = Routes()

SIZE = 12_000_000  # more than sockets hold


@application.route
def large(_environ, start_response):
    start_response("200 OK", [("Content-Type", "application/octet-stream"), ("Content-Length", str(SIZE))])
    return [bytes(SIZE)]


@only("sync", "gevent")
def test_a_slow_but_steady_reader_gets_every_byte(serving):
    server = serving("--write-timeout", "1")
    with Client(server.address, receive_buffer=65_536) as client:
        client.send(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
        received = 0
        # Longer than write_timeout, and less than makes a full socket writable again.
        for _ in range(20):
            received += len(client.receive(25_000))
            select.select([], [], [], 0.1)
        received += len(client.receive(SIZE - received))
        assert client.read_until_closed().endswith(bytes(100))
    assert "took nothing of a response" not in server.log()
