"""Files that the kernel sends: whole, in part, slowly, and while they change."""

import functools
import os
import socket
from pathlib import Path

import pytest
from sharing import Routes
from support import Client, eventually

application = Routes()

SIZE = 20_000_000  # more than sockets hold


@functools.cache
def content():
    return b"".join(number.to_bytes(4, "big") for number in range(SIZE // 4))


@application.route
def make(_environ, start_response):
    Path("part").write_bytes(content())
    Path("part").rename("file")
    start_response("200 OK", [])
    return []


@application.route
def send(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    return environ["wsgi.file_wrapper"](Path(environ["QUERY_STRING"] or "file").open("rb"))


@application.route
def send_range(environ, start_response):
    start, length = map(int, environ["QUERY_STRING"].split("-"))
    start_response("206 Partial Content", [("Content-Length", str(length))])
    file = Path("file").open("rb")  # noqa: SIM115 - the server closes it
    file.seek(start)
    return environ["wsgi.file_wrapper"](file)


@application.route
def count_open(environ, start_response):
    from sharing import descriptors

    start_response("200 OK", [])
    return [str(sum(link.endswith("/" + environ["QUERY_STRING"]) for link in descriptors(os.getpid()))).encode()]


@pytest.fixture(params=[(), ("--no-sendfile",)], ids=["sendfile", "no-sendfile"])
def server(request, serving):
    server = serving(*request.param)
    make_file(server)
    return server


def make_file(server):
    if not (server.directory / "file").exists():
        with server.client(timeout=30) as client:
            client.request("GET", "/make")


def slow_client(server):
    return Client(server.address, timeout=10, receive_buffer=65_536)


def test_a_file_is_sent_whole(server):
    assert server.get("/send").content == content()


def test_a_file_has_its_length_when_the_kernel_sends_it(serving):
    server = serving()
    make_file(server)
    assert server.get("/send").field("Content-Length") == str(SIZE)


def test_an_empty_file_is_sent(server):
    (server.directory / "empty").write_bytes(b"")
    assert server.get("/send?empty").content == b""


@pytest.mark.parametrize(("start", "length"), [(0, 10), (1, SIZE - 1), (SIZE - 3, 3), (65_537, 1_000_000), (5, 0)])
def test_a_part_of_a_file_is_sent(server, start, length):
    with server.client() as client:
        assert client.request("GET", f"/send_range?{start}-{length}").content == content()[start : start + length]
        assert client.request("GET", "/").status == 200


def test_a_slow_reader_of_a_file_holds_no_worker_and_gets_every_byte(server):
    with slow_client(server) as slow, server.client() as other:
        slow.send(b"GET /send HTTP/1.1\r\nHost: a\r\n\r\n")
        assert other.request("GET", "/").status == 200
        assert slow.receive_response().content == content()
        assert slow.request("GET", "/").status == 200


def test_a_file_is_closed_when_its_slow_reader_leaves(server):
    with server.client() as other:
        with slow_client(server) as slow:
            slow.send(b"GET /send HTTP/1.1\r\nHost: a\r\n\r\n")
            other.request("GET", "/")
        eventually(lambda: other.request("GET", "/count_open?file").content == b"0")


def test_a_file_that_shrinks_while_it_is_sent_ends_the_connection(serving):
    server = serving()
    (server.directory / "shrinking").write_bytes(content())
    with slow_client(server) as slow, server.client() as other:
        slow.send(b"GET /send?shrinking HTTP/1.1\r\nHost: a\r\n\r\n")
        # The head tells how long it was when it was asked.
        assert slow.socket.recv(1, socket.MSG_PEEK)
        os.truncate(server.directory / "shrinking", 1000)
        assert len(slow.read_until_closed()) < SIZE
        assert other.request("GET", "/").status == 200
    assert "a file being sent to 127.0.0.1" in server.log()
    assert "has become shorter: the connection is closed" in server.log()


def test_a_file_shorter_than_its_content_length_ends_the_connection(server):
    with server.client() as client:
        client.send(f"GET /send_range?{SIZE - 10}-20 HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        response = client.read_until_closed()
    assert response.endswith(b"\r\n\r\n" + content()[-10:])
    assert "ends after 10 of 20 bytes of content" in server.log()
