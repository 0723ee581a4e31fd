"""What an application returns, block by block: when it leaves, how it is framed, and that it is closed."""

import os
from pathlib import Path

import pytest
from sharing import Routes
from support import eventually

application = Routes()
PLAIN = [("Content-Type", "text/plain")]


class Blocks:
    """An iterable that records that it was closed."""

    def __init__(self, *blocks):
        self._blocks = iter(blocks)

    def __iter__(self):
        return self

    def __next__(self):
        block = next(self._blocks)
        if isinstance(block, BaseException):
            raise block
        return block

    def close(self):
        with open("closed", "a") as record:
            record.write("closed ")


def answers(name, *blocks, status="200 OK", fields=PLAIN, kind=Blocks):
    """Have the path of that name answered with these blocks."""

    def handler(_environ, start_response):
        start_response(status, fields)
        return kind(*blocks)

    handler.__name__ = name
    application.route(handler)


def generator(*blocks):
    yield from blocks


def as_list(*blocks):
    return list(blocks)


def as_tuple(*blocks):
    return blocks


@pytest.fixture
def closed(server):
    """How often close() was called since the test began."""
    record = server.directory / "closed"
    record.unlink(missing_ok=True)
    return lambda: record.read_text().split().count("closed") if record.exists() else 0


# ---- framing ----

answers("one", b"hello", kind=as_list)
answers("one_in_a_tuple", b"hello", kind=as_tuple)
answers("several", b"he", b"", b"llo", kind=as_list)
answers("none", kind=as_list)
answers("only_empty", b"", b"", kind=as_list)
answers("large_ones", *[bytes([65 + number]) * 30_000 for number in range(8)], kind=as_list)
answers("generated", b"he", b"", b"llo", kind=generator)
answers("generated_with_length", b"he", b"llo", fields=[("Content-Length", "5")], kind=generator)
answers("generated_empty", kind=generator)
answers("bytes_themselves", b"hello", kind=bytes)


@pytest.mark.parametrize("target", ["/one", "/one_in_a_tuple", "/several", "/generated_with_length"])
def test_content_of_known_length_is_framed_by_it(server, target):
    with server.client() as client:
        response = client.request("GET", target)
        assert (response.content, response.field("Content-Length"), response.chunks) == (b"hello", "5", [])
        assert client.request("GET", "/").status == 200


@pytest.mark.parametrize("target", ["/none", "/only_empty"])
def test_no_content_has_a_length_of_0(server, target):
    with server.client() as client:
        assert client.request("GET", target).field("Content-Length") == "0"
        assert client.request("GET", "/").status == 200


def test_an_empty_generator_has_no_content(server):
    with server.client() as client:
        assert client.request("GET", "/generated_empty").content == b""
        assert client.request("GET", "/").status == 200


def test_a_list_of_large_blocks_arrives_whole(server):
    response = server.get("/large_ones")
    assert response.field("Content-Length") == "240000"
    assert response.content == b"".join(bytes([65 + number]) * 30_000 for number in range(8))


def test_blocks_of_a_generator_are_chunks(server):
    with server.client() as client:
        assert client.request("GET", "/generated").chunks == [b"he", b"llo"]
        assert client.request("GET", "/").status == 200


def test_bytes_are_no_iterable_of_blocks(server):
    assert server.get("/bytes_themselves").status == 500


# ---- HEAD, 204, 304 ----

answers("no_content", b"ignored", status="204 No Content", fields=[])
answers("not_modified", b"ignored", status="304 Not Modified", fields=[("ETag", '"1"')])
answers("reset_content", b"ignored", status="205 Reset Content", fields=[])
answers("recorded", b"one", b"two")


@pytest.mark.parametrize("target", ["/one", "/several", "/generated", "/generated_with_length", "/recorded"])
def test_the_answer_to_head_has_the_head_alone(server, target):
    with server.client() as client:
        response = client.request("HEAD", target)
        assert response.field("Content-Length") in ("5", None)
        assert client.request("GET", "/one").content == b"hello"


@pytest.mark.parametrize("target", ["/no_content", "/not_modified", "/reset_content"])
def test_a_status_without_content_has_none(server, target):
    with server.client() as client:
        response = client.request("GET", target)
        assert (response.content, response.values("Transfer-Encoding")) == (b"", [])
        assert client.request("GET", "/one").content == b"hello"


# ---- laziness ----


@application.route
def gated(_environ, start_response):
    os.path.exists("gate") or os.mkfifo("gate")
    start_response("200 OK", PLAIN)
    for number in range(3):
        yield b"%d" % number
        Path("gate").read_bytes()


@application.route
def gated_write(_environ, start_response):
    os.path.exists("gate") or os.mkfifo("gate")
    write = start_response("200 OK", PLAIN)
    for number in range(3):
        write(b"%d" % number)
        Path("gate").read_bytes()
    return []


@application.route
def gated_large(_environ, start_response):
    os.path.exists("gate") or os.mkfifo("gate")
    start_response("200 OK", [*PLAIN, ("Content-Length", "90000")])
    for number in range(3):
        yield b"%d" % number * 30_000
        Path("gate").read_bytes()


@pytest.mark.parametrize("target", ["/gated", "/gated_write"])
def test_a_block_leaves_before_the_next_is_made(server, target):
    with server.client() as client:
        client.send(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        received = b""
        for number in range(3):
            while not received.endswith(b"1\r\n%d\r\n" % number):
                received += client.receive(1)
            (server.directory / "gate").write_bytes(b"")
        assert client.receive(5) == b"0\r\n\r\n"


def test_a_large_block_leaves_before_the_next_is_made(server):
    with server.client() as client:
        client.send(b"GET /gated_large HTTP/1.1\r\nHost: a\r\n\r\n")
        received = b""
        for number in range(3):
            while not received.endswith(b"%d" % number * 30_000):
                received += client.receive(1)
            (server.directory / "gate").write_bytes(b"")


def test_the_head_waits_for_the_first_block(server):
    with server.client() as client:
        response = client.request("GET", "/head_waits")
        assert (response.status, response.content) == (404, b"changed")


@application.route
def head_waits(_environ, start_response):
    import sys

    start_response("200 OK", PLAIN)
    yield b""
    try:
        raise KeyError
    except KeyError:
        start_response("404 Not Found", PLAIN, sys.exc_info())
    yield b"changed"


# ---- close ----

answers("error_first", RuntimeError("the first block fails"))
answers("error_later", b"first", RuntimeError("a later block fails"))
answers("text_first", "text")
answers("none_later", b"first", None)
answers("too_long", b"hello", b" world", fields=[("Content-Length", "5")])
answers("empty_ones", b"", b"")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("target", ["/recorded", "/no_content", "/not_modified", "/empty_ones"])
def test_close_is_called_once(server, closed, method, target):
    with server.client() as client:
        client.request(method, target)
        assert client.request("GET", "/").status == 200
    assert closed() == 1


@pytest.mark.parametrize("target", ["/error_first", "/error_later", "/text_first", "/none_later", "/too_long"])
def test_close_is_called_once_when_something_is_wrong(server, closed, target):
    with server.client() as client:
        client.send(f"GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        client.read_until_closed()
    assert closed() == 1


@application.route
def never_iterated(_environ, start_response):
    start_response("200 OK", PLAIN)
    return CannotBeIterated()


class CannotBeIterated(Blocks):
    def __iter__(self):
        raise RuntimeError("no iterator")


def test_close_is_called_once_when_there_is_no_iterator(server, closed):
    assert server.get("/never_iterated").status == 500
    assert closed() == 1


@application.route
def close_raises(_environ, start_response):
    start_response("200 OK", PLAIN)
    return RaisesInClose(b"con", b"tent")


class RaisesInClose(Blocks):
    def close(self):
        super().close()
        raise RuntimeError("close has failed")


def test_an_error_in_close_is_logged_and_changes_nothing(server, closed):
    with server.client() as client:
        assert client.request("GET", "/close_raises").content == b"content"
        assert client.request("GET", "/").status == 200
    assert closed() == 1
    assert "Error in close() of the response to GET /close_raises" in server.log()


@application.route
def generator_with_finally(_environ, start_response):
    start_response("200 OK", PLAIN)
    try:
        while True:
            yield bytes(100_000)
    finally:
        Blocks().close()


def test_a_generator_is_closed_when_its_client_leaves(server, closed):
    with server.client() as client:
        client.send(b"GET /generator_with_finally HTTP/1.1\r\nHost: a\r\n\r\n")
        client.receive(1_000_000)
    eventually(lambda: closed() == 1)


class ListWithClose(list):
    def close(self):
        Blocks().close()


@application.route
def list_with_close(_environ, start_response):
    start_response("200 OK", PLAIN)
    return ListWithClose([b"hello"])


def test_a_list_with_close_is_closed(server, closed):
    assert server.get("/list_with_close").content == b"hello"
    assert closed() == 1


# ---- errors ----


def test_an_error_before_the_first_block_is_a_500(server):
    response = server.get("/error_first")
    assert (response.status, response.content) == (500, b"Internal Server Error\n")
    assert "RuntimeError: the first block fails" in server.log()


def test_an_error_after_the_first_block_cuts_the_response(server):
    with server.client() as client:
        client.send(b"GET /error_later HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.read_until_closed().endswith(b"\r\n\r\n5\r\nfirst\r\n")
    assert "RuntimeError: a later block fails" in server.log()


def test_a_response_cut_short_that_ends_with_its_connection_ends_in_a_reset(server):
    with server.client() as client:
        client.send(b"GET /error_later HTTP/1.0\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            client.read_until_closed()


@pytest.mark.parametrize(("target", "kind"), [("/text_first", "str"), ("/none_first", "NoneType")])
def test_a_block_that_is_no_bytes_is_a_500(server, target, kind):
    assert server.get(target).status == 500
    assert f"LocalProtocolError: the application yielded {kind}, not bytes" in server.log()


answers("none_first", None)
answers("text_in_a_list", b"bytes", "text", kind=as_list)


def test_a_list_with_text_is_a_500(server):
    assert server.get("/text_in_a_list").status == 500


def test_a_block_that_is_no_bytes_later_cuts_the_response(server):
    with server.client() as client, pytest.raises(EOFError):
        client.request("GET", "/none_later")


# ---- more or less than Content-Length ----

answers("too_short", b"hel", fields=[("Content-Length", "5")])
answers("too_short_list", b"h", b"el", fields=[("Content-Length", "5")], kind=as_list)
answers("too_long_list", b"hello world", fields=[("Content-Length", "5")], kind=as_list)


@pytest.mark.parametrize("target", ["/too_long", "/too_long_list"])
def test_content_beyond_its_length_is_not_sent(server, target):
    with server.client() as client:
        assert client.request("GET", target).content == b"hello"
    said = f"the response to GET {target} has more content than its Content-Length of 5"
    eventually(lambda: said in server.log())


def test_a_response_with_excess_leaves_the_connection_in_order(server):
    with server.client() as client:
        client.send(b"GET /too_long HTTP/1.1\r\nHost: a\r\n\r\nGET /one HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.receive_response().content == b"hello"
        assert client.receive_response().content == b"hello"


@pytest.mark.parametrize("target", ["/too_short", "/too_short_list"])
def test_content_short_of_its_length_ends_the_connection(server, target):
    with server.client() as client:
        client.send(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        assert client.read_until_closed().endswith(b"\r\n\r\nhel")
    assert f"the response to GET {target} ends after 3 of 5 bytes of content: the connection is closed" in server.log()
