"""Request content: framed by length or by chunks, in memory or in a file, awaited, limited and refused."""

import contextlib
import functools
import hashlib
import socket
import sys

import pytest
from sharing import Routes, descriptors
from support import eventually

application = Routes()

LIMIT = 524_288  # the default of request_buffer
SIZES = [1, 1000, 65_536, LIMIT - 1, LIMIT, LIMIT + 1, 3_000_000]
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")


@application.route
def digest(environ, start_response):
    content = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{environ['CONTENT_LENGTH']} {hashlib.sha256(content).hexdigest()}".encode()]


@application.route
def echo(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    return [environ["wsgi.input"].read()]


@application.route
def count_temporary_files(_environ, start_response):
    import os

    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(sum("/pyserver-" in link for link in descriptors(os.getpid()))).encode()]


@functools.cache
def content_of(size):
    """Bytes in which no run repeats, so that a lost or doubled one shows."""
    return b"".join(number.to_bytes(4, "big") for number in range(size // 4 + 1))[:size]


def chunked(content, size):
    parts = [content[at : at + size] for at in range(0, len(content), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def head(target, *fields):
    return "\r\n".join([f"POST {target} HTTP/1.1", "Host: a", *fields, "", ""]).encode()


@functools.cache
def told(content):
    return f"{len(content)} {hashlib.sha256(content).hexdigest()}".encode()


@pytest.mark.parametrize("size", SIZES)
def test_content_arrives_whole(server, size):
    content = content_of(size)
    with server.client() as client:
        assert client.request("POST", "/digest", content=content).content == told(content)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("chunk_size", [7, 4096, 1_000_000])
def test_chunked_content_arrives_whole_with_its_length(server, size, chunk_size):
    content = content_of(min(size, 100_000 * chunk_size))
    with server.client() as client:
        client.send(head("/digest", "Transfer-Encoding: chunked") + chunked(content, chunk_size))
        assert client.receive_response().content == told(content)


def test_no_content_has_no_buffer(serving):
    server = serving("--request-buffer", "0")
    with server.client() as client:
        assert client.request("POST", "/digest", [("Content-Length", "0")]).content == told(b"")


def test_a_request_buffer_of_0_keeps_all_content_in_files(serving):
    with serving("--request-buffer", "0").client() as client:
        assert client.request("POST", "/echo", content=b"hello").content == b"hello"


def test_a_connection_takes_another_request_after_content_of_each_kind(server):
    with server.client() as client:
        for size in SIZES:
            assert client.request("POST", "/digest", content=content_of(size)).content == told(content_of(size))


def test_a_request_behind_large_content_is_answered(server):
    content = content_of(1_000_000)
    with server.client() as client:
        client.send(head("/digest", f"Content-Length: {len(content)}") + content + head("/digest", "Content-Length: 0"))
        assert client.receive_response().content == told(content)
        assert client.receive_response().content == told(b"")


def test_a_trailer_section_is_dropped(server):
    with server.client() as client:
        client.send(head("/echo", "Transfer-Encoding: chunked") + b"2\r\nhi\r\n0\r\nX-Trailer: 1\r\n\r\n")
        assert client.receive_response().content == b"hi"
        assert client.request("GET", "/echo").content == b""


@linux_only
def test_content_beyond_the_buffer_waits_in_a_file_without_a_name(serving, tmp_path_factory):
    directory = tmp_path_factory.mktemp("uploads")
    server = serving("--tmp-upload-dir", str(directory), "--request-buffer", "1000")
    with server.client() as slow, server.client() as other:
        slow.send(head("/digest", "Content-Length: 3000") + bytes(2000))
        eventually(lambda: other.request("GET", "/count_temporary_files").content == b"1")
        assert list(directory.iterdir()) == []
        slow.send(bytes(1000))
        assert slow.receive_response().content == told(bytes(3000))


@linux_only
def test_the_file_of_content_is_closed_after_its_request(server):
    with server.client() as client:
        client.request("POST", "/digest", content=bytes(LIMIT * 2))
        assert client.request("GET", "/count_temporary_files").content == b"0"


@linux_only
def test_the_file_of_content_is_closed_when_its_client_leaves(server):
    with server.client() as client, server.client() as other:
        client.send(head("/digest", f"Content-Length: {LIMIT * 2}") + bytes(LIMIT + 100_000))
        eventually(lambda: other.request("GET", "/count_temporary_files").content == b"1")
        client.close()
        eventually(lambda: other.request("GET", "/count_temporary_files").content == b"0")


def test_content_that_the_disk_does_not_take_is_a_500(serving, tmp_path_factory):
    directory = tmp_path_factory.mktemp("uploads")
    server = serving("--tmp-upload-dir", str(directory), "--request-buffer", "10")
    directory.rmdir()
    with server.client() as client:
        client_port = client.socket.getsockname()[1]
        response = client.request("POST", "/digest", content=bytes(100))
        assert (response.status, response.field("Connection")) == (500, "close")
    assert f"cannot keep the content of a request from 127.0.0.1:{client_port}" in server.log()


# ---- limits ----


def test_content_beyond_its_limit_is_refused_by_its_length(serving):
    with serving("--limit-request-body", "1000").client() as client:
        client.send(head("/digest", "Content-Length: 1001"))
        assert client.receive_response().status == 413
        assert client.is_closed_by_server()


def test_content_at_its_limit_is_taken(serving):
    with serving("--limit-request-body", "1000").client() as client:
        assert client.request("POST", "/digest", content=bytes(1000)).content == told(bytes(1000))


def test_chunked_content_beyond_its_limit_is_refused(serving):
    with serving("--limit-request-body", "1000").client() as client:
        client.send(head("/digest", "Transfer-Encoding: chunked") + chunked(bytes(600), 100))
        assert client.receive_response().status == 200
        client.send(head("/digest", "Transfer-Encoding: chunked") + chunked(bytes(1001), 100))
        assert client.receive_response().status == 413


def test_chunked_content_at_its_limit_is_taken(serving):
    with serving("--limit-request-body", "1000").client() as client:
        client.send(head("/digest", "Transfer-Encoding: chunked") + chunked(bytes(1000), 100))
        assert client.receive_response().content == told(bytes(1000))


@pytest.mark.parametrize(
    ("fields", "beginning", "status"),
    [
        (["Content-Length: 5000000"], b"", 413),
        (["Transfer-Encoding: chunked"], b"4c4b40\r\n", 413),
        (["Transfer-Encoding: chunked"], b"no size\r\n", 400),
        (["Content-Length: 5000000", "Content-Length: 5000000"], b"", 400),
    ],
)
def test_a_refused_upload_gets_its_answer_although_it_goes_on(serving, fields, beginning, status):
    with serving("--limit-request-body", "1000").client() as client:
        client.send(head("/digest", *fields) + beginning)
        for _ in range(50):
            client.send(bytes(100_000))
        assert client.receive_response().status == status
        assert client.is_closed_by_server()


# ---- 100 (Continue) ----

EXPECTING = ["Expect: 100-continue", "Content-Length: 5"]


def test_100_is_sent_when_content_is_awaited(server):
    with server.client() as client:
        client.send(head("/echo", *EXPECTING))
        assert client.receive_response().status == 100
        client.send(b"hello")
        assert client.receive_response().content == b"hello"


def test_100_is_sent_once(server):
    with server.client() as client:
        client.send(head("/echo", *EXPECTING))
        assert client.receive_response().status == 100
        client.send(b"hel")
        client.send(b"lo")
        assert client.receive_response().status == 200


def test_100_is_sent_for_chunked_content(server):
    with server.client() as client:
        client.send(head("/echo", "Expect: 100-continue", "Transfer-Encoding: chunked"))
        assert client.receive_response().status == 100
        client.send(chunked(b"hello", 3))
        assert client.receive_response().content == b"hello"


def test_100_is_not_sent_when_content_has_come(server):
    with server.client() as client:
        client.send(head("/echo", *EXPECTING) + b"hello")
        assert client.receive_response().status == 200


def test_100_is_not_sent_when_there_is_no_content(server):
    with server.client() as client:
        client.send(head("/echo", "Expect: 100-continue", "Content-Length: 0"))
        assert client.receive_response().status == 200


def test_100_is_not_sent_to_http_1_0(server):
    with server.client() as client:
        client.send(head("/echo", *EXPECTING).replace(b"HTTP/1.1", b"HTTP/1.0"))
        client.socket.shutdown(socket.SHUT_WR)
        assert client.is_closed_by_server()


def test_100_is_not_sent_for_content_that_is_refused(serving):
    with serving("--limit-request-body", "4").client() as client:
        client.send(head("/echo", *EXPECTING))
        assert client.receive_response().status == 413


def test_100_follows_the_answers_before_it(server):
    with server.client() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" + head("/echo", *EXPECTING))
        assert [client.receive_response().status for _ in range(2)] == [200, 100]


def test_another_expectation_is_refused(server):
    with server.client() as client:
        client.send(head("/echo", "Expect: a-miracle", "Content-Length: 5"))
        assert client.receive_response().status == 417


@linux_only
def test_a_worker_that_is_idle_keeps_nothing_of_its_last_uploads(serving):
    # An environ that the access log quotes lives a little longer than its request.
    quoting = ("--access-logfile", "access.log", "--access-logformat", "%({RAW_URI}e)s")
    server = serving("--request-buffer", "1000", *quoting)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(server.client()) for _ in range(10)]
        for client in clients:
            client.send(head("/digest", "Content-Length: 5000") + content_of(5000))
        assert [client.receive_response().content for client in clients] == [told(content_of(5000))] * 10
    [worker] = server.workers()
    eventually(lambda: not any("/pyserver-" in link for link in descriptors(worker)))
