"""Descriptors run out: the application is left some, and taking them all harms nobody but its own request."""

import pytest
from support import eventually

LIMIT = 256  # of which an eighth is left to the application, in all its threads

# A module of its own, which imports next to nothing: what a worker needs to report an error may not be there yet.
APPLICATION = f"""
import os
import resource

resource.setrlimit(resource.RLIMIT_NOFILE, ({LIMIT}, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
kept = []

def application(environ, start_response):
    if environ["PATH_INFO"] == "/keep":
        while True:
            kept.append(open("/dev/null"))
    kept.clear()
    with open("/dev/null", "rb") as opened, open("/dev/null", "rb") as another:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"opened"]
"""


@pytest.fixture
def server(serve):
    return serve(APPLICATION, "--keep-alive", "60")


def test_an_application_that_takes_every_descriptor_gets_a_500(server):
    workers = server.workers()
    response = server.get("/keep")
    assert (response.status, response.content) == (500, b"Internal Server Error\n")
    assert "OSError: [Errno 24] Too many open files" in server.log()
    assert server.get("/").content == b"opened"
    assert server.workers() == workers


def test_connections_leave_descriptors_to_the_application(server):
    clients = [server.client() for _ in range(LIMIT + 10)]
    try:
        for client in clients:
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        eventually(lambda: "cannot accept connections" in server.log())
        for _ in range(3):
            assert clients[0].receive_response().content == b"opened"
            clients[0].send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        for client in clients[1:]:
            assert client.receive_response().content == b"opened"
            client.close()
    finally:
        for client in clients:
            client.close()
