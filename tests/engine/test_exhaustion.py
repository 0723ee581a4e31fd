"""A worker that has no descriptors left goes on, quietly, and takes what waits when some are free."""

import resource
import sys

import pytest
from sharing import Routes, cpu_ticks
from support import eventually

LIMIT = 40

application = Routes()


@application.route
def limit(_environ, start_response):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (LIMIT, hard))
    start_response("200 OK", [])
    return []


@application.route
def echo(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    return [environ["wsgi.input"].read()]


@pytest.fixture
def exhausted(serving):
    """A server, and clients that have taken all its descriptors and some more."""
    server = serving("--keep-alive", "60")
    server.get("/limit")
    said = server.log().count("cannot accept connections")
    clients = [server.client() for _ in range(LIMIT + 10)]
    for client in clients:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    eventually(lambda: server.log().count("cannot accept connections") > said)
    yield server, clients
    for client in clients:
        client.close()
    assert server.get("/").status == 200


def test_connections_that_are_open_are_served_on(exhausted):
    _, clients = exhausted
    for _ in range(3):
        assert clients[0].receive_response().status == 200
        clients[0].send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")


def test_connections_that_wait_are_served_when_others_close(exhausted):
    _, clients = exhausted
    for client in clients:
        assert client.receive_response().status == 200
        client.close()


def test_content_that_needs_a_file_is_a_500(exhausted):
    server, clients = exhausted
    assert clients[0].receive_response().status == 200
    assert clients[0].request("POST", "/echo", content=bytes(600_000)).status == 500
    assert "Too many open files" in server.log()


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
def test_it_is_said_once_a_second_and_is_no_busy_loop(exhausted):
    server, _ = exhausted
    said, ticks = server.log().count("cannot accept connections"), cpu_ticks(server.workers()[0])
    eventually(lambda: server.log().count("cannot accept connections") > said)
    assert server.log().count("cannot accept connections") <= said + 2
    assert cpu_ticks(server.workers()[0]) - ticks < 10  # a loop would have used 100 in that second
