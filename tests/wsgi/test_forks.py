"""Applications that fork: the child answers nobody, and does not become a second worker."""

import os
import sys
from pathlib import Path

import pytest
from sharing import Routes
from support import eventually

application = Routes()
PLAIN = [("Content-Type", "text/plain")]


def ended(child):
    """How the child ended, as the content of the parent's response."""
    _, status = os.waitpid(child, 0)
    return b"%d: child ended with %d" % (os.getpid(), os.waitstatus_to_exitcode(status))


@application.route
def returns(_environ, start_response):
    child = os.fork()
    start_response("200 OK", PLAIN)
    return [ended(child) if child else b"from the child"]


@application.route
def returns_a_generator(_environ, start_response):
    child = os.fork()
    start_response("200 OK", PLAIN)
    return iter([ended(child) if child else b"from the child"])


@application.route
def raises(_environ, start_response):
    child = os.fork()
    if child == 0:
        raise RuntimeError("in the child")
    start_response("200 OK", PLAIN)
    return [ended(child)]


@application.route
def exits(_environ, start_response):
    child = os.fork()
    if child == 0:
        sys.exit(7)
    start_response("200 OK", PLAIN)
    return [ended(child)]


@application.route
def exits_with_words(_environ, start_response):
    child = os.fork()
    if child == 0:
        sys.exit("what went wrong")
    start_response("200 OK", PLAIN)
    return [ended(child)]


@application.route
def yields_in_a_generator(_environ, start_response):
    start_response("200 OK", PLAIN)
    child = os.fork()
    yield ended(child) if child else b"from the child"


@application.route
def ends_a_generator(_environ, start_response):
    start_response("200 OK", PLAIN)
    yield b""
    child = os.fork()
    if child == 0:
        return
    yield ended(child)


@application.route
def raises_in_a_generator(_environ, start_response):
    start_response("200 OK", PLAIN)
    yield b""
    child = os.fork()
    if child == 0:
        raise RuntimeError("in the child")
    yield ended(child)


class ForksInClose:
    def __iter__(self):
        yield b"content"

    def close(self):
        child = os.fork()
        if child:
            Path("closed").write_bytes(ended(child))


@application.route
def forks_in_close(_environ, start_response):
    start_response("200 OK", PLAIN)
    return ForksInClose()


CODES = {
    "returns": 0,
    "returns_a_generator": 0,
    "raises": 1,
    "exits": 7,
    "exits_with_words": 1,
    "yields_in_a_generator": 0,
    "ends_a_generator": 0,
    "raises_in_a_generator": 1,
}


@pytest.mark.parametrize("name", CODES)
def test_a_forked_child_ends_and_its_parent_answers_alone(server, name):
    (worker,) = server.workers()
    with server.client() as client:
        response = client.request("GET", f"/{name}", [("Connection", "close")])
        assert (response.status, response.content) == (200, b"%d: child ended with %d" % (worker, CODES[name]))
        assert client.is_closed_by_server()
    assert server.workers() == [worker]


def test_a_child_forked_in_close_ends_and_its_parent_goes_on(server):
    (worker,) = server.workers()
    closed = server.directory / "closed"
    closed.unlink(missing_ok=True)
    assert server.get("/forks_in_close").content == b"content"
    eventually(lambda: closed.exists() and closed.read_bytes() == b"%d: child ended with 0" % worker)
    assert server.get("/").status == 200
    assert server.workers() == [worker]


def test_what_a_forked_child_raises_is_logged(server):
    server.get("/raises")
    assert "Error in a process that the application has forked\nTraceback (most recent call last):" in server.log()
    assert "RuntimeError: in the child" in server.log()


@application.route
def leaves_a_child_behind(_environ, start_response):
    if os.fork() == 0:
        eventually(Path("answered").exists)
        os._exit(0)
    start_response("200 OK", PLAIN)
    return iter([b"all"])


def test_a_child_that_goes_on_does_not_keep_the_client_waiting_for_the_end(server):
    (worker,) = server.workers()
    answered = server.directory / "answered"
    answered.unlink(missing_ok=True)
    with server.client() as client:
        client.send(b"GET /leaves_a_child_behind HTTP/1.0\r\n\r\n")
        assert client.receive_response().content == b"all"
    assert len(server.workers()) == 2
    answered.touch()
    eventually(lambda: server.workers() == [worker])
