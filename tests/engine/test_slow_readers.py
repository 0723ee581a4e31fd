"""Clients that take a response slowly: they hold no worker, and get every byte."""

import contextlib
import functools
import hashlib
import os
import socket
import sys
from pathlib import Path

import pytest
from classes import only
from sharing import Routes, is_idle
from support import Client, eventually

application = Routes()

BLOCK = 65_536
LARGE = 400 * BLOCK  # more than sockets hold
SPOOL = 8_000_000  # likewise
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")


def block(number):
    """One of many blocks that differ all over."""
    return hashlib.sha256(b"%d" % number).digest() * (BLOCK // 32)


def blocks(total, size=BLOCK):
    """Blocks of `size` bytes that are `total` bytes together."""
    for number in range(total // size):
        yield block(number)[:size]


@functools.cache
def content_of(total, size=BLOCK):
    return b"".join(blocks(total, size))


def largest_temporary_file():
    """Bytes; of those that this process has open and nobody else sees."""
    sizes = [0]
    for number in os.listdir("/proc/self/fd"):
        link = Path("/proc/self/fd", number)
        try:
            if "/pyserver-" in os.readlink(link):
                sizes.append(link.stat().st_size)
        except FileNotFoundError:
            continue
    return max(sizes)


@application.route
def generator(_environ, start_response):
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    return blocks(LARGE)


@application.route
def generator_of_known_length(_environ, start_response):
    start_response("200 OK", [("Content-Type", "application/octet-stream"), ("Content-Length", str(LARGE))])
    return blocks(LARGE)


@application.route
def generator_of_small_blocks(_environ, start_response):
    start_response("200 OK", [("Content-Type", "application/octet-stream"), ("Content-Length", str(LARGE))])
    return blocks(LARGE, 8192 * 2)


@application.route
def one_block(_environ, start_response):
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    return [content_of(LARGE)]


@application.route
def list_of_blocks(_environ, start_response):
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    return list(blocks(LARGE))


@application.route
def written(_environ, start_response):
    write = start_response("200 OK", [("Content-Type", "application/octet-stream")])
    for one in blocks(LARGE):
        write(one)
    return []


@application.route
def file(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    stored = Path("large")
    if not stored.exists():
        stored.with_suffix(".part").write_bytes(content_of(LARGE))
        stored.with_suffix(".part").rename(stored)
    return environ["wsgi.file_wrapper"](stored.open("rb"))


@application.route
def watched(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/octet-stream"), ("Content-Length", str(LARGE))])
    size = int(environ["QUERY_STRING"])
    largest = 0
    for one in blocks(LARGE, size):
        yield one
        largest = max(largest, largest_temporary_file())
    Path("largest").write_text(str(largest))


@application.route
def resumed(_environ, start_response):
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    yield from blocks(LARGE // 4)
    for _ in range(200):
        with contextlib.suppress(AssertionError):
            eventually(Path("caught-up").exists, within=0.01)
            return
        yield block(0)
    yield b"too late"


@application.route
def count_temporary_files(_environ, start_response):
    from sharing import descriptors

    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(sum("/pyserver-" in link for link in descriptors(os.getpid()))).encode()]


def slow_client(server):
    return Client(server.address, timeout=10, receive_buffer=65_536)


def order(client, target):
    client.send(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())


LARGE_ONES = [
    ("/generator", BLOCK),
    ("/generator_of_known_length", BLOCK),
    ("/generator_of_small_blocks", 16_384),
    ("/one_block", BLOCK),
    ("/list_of_blocks", BLOCK),
    ("/written", BLOCK),
    ("/file", BLOCK),
]


@pytest.fixture
def slow(server):
    with slow_client(server) as client:
        yield client


@pytest.mark.parametrize(("target", "size"), LARGE_ONES)
def test_a_slow_reader_holds_no_worker_and_gets_every_byte(server, slow, target, size):
    order(slow, target)
    with server.client() as other:
        assert other.request("GET", "/").status == 200
    assert slow.receive_response().content == content_of(LARGE, size)
    assert slow.request("GET", "/").status == 200


@pytest.mark.parametrize(("target", "size"), LARGE_ONES)
@pytest.mark.parametrize("arguments", [("--response-buffer", "0"), ("--response-buffer", "200000")])
def test_the_marks_of_the_buffer_change_no_byte(serving, arguments, target, size):
    with slow_client(serving(*arguments)) as client:
        order(client, target)
        assert client.receive_response().content == content_of(LARGE, size)


@pytest.mark.parametrize("spool", [0, 65_536, 300_000])
@pytest.mark.parametrize("target", ["/generator", "/generator_of_known_length", "/generator_of_small_blocks"])
def test_an_application_that_waits_for_its_client_loses_no_byte(serving, target, spool):
    server = serving("--response-buffer", "0", "--response-spool", str(spool))
    with slow_client(server) as client:
        for _ in range(2):
            order(client, target)
            response = client.receive_response()
            assert response.content == content_of(LARGE, 16_384 if "small" in target else BLOCK)


@only("sync", "threaded", each_poller=True)  # a greenlet waits for its client, and needs no file
def test_a_response_that_the_disk_does_not_take_is_whole(serving, tmp_path_factory):
    directory = tmp_path_factory.mktemp("spool")
    server = serving("--tmp-upload-dir", str(directory))
    directory.rmdir()
    with slow_client(server) as client:
        order(client, "/generator")
        # Nothing is read before: a client that reads as fast as we write leaves nothing to be kept.
        eventually(lambda: "cannot keep a response to 127.0.0.1" in server.log())
        assert client.receive_response().content == content_of(LARGE)
    assert server.log().count("cannot keep a response to 127.0.0.1") == 1


@only("sync", "threaded", each_poller=True)  # a greenlet waits for its client, and needs no file
@linux_only
@pytest.mark.parametrize("size", [16_384, BLOCK])
def test_the_file_of_a_response_does_not_grow_beyond_its_limit(serving, size):
    server = serving("--response-buffer", "100000", "--response-spool", str(SPOOL))
    largest = server.directory / "largest"
    largest.unlink(missing_ok=True)
    received = hashlib.sha256()
    with slow_client(server) as client:
        order(client, f"/watched?{size}")
        while client.receive(1) != b"\r" or client.receive(3) != b"\n\r\n":
            pass
        for _ in range(LARGE // BLOCK // 20):
            eventually(lambda: is_idle(server.workers()[0]))
            received.update(client.receive(BLOCK * 20))
        assert client.request("GET", "/").status == 200
    assert received.digest() == hashlib.sha256(content_of(LARGE, size)).digest()
    # Another thread may still be about to write it.
    assert 0 < int(eventually(lambda: largest.exists() and largest.read_text())) <= SPOOL


def test_a_client_that_catches_up_gets_what_was_kept_while_the_application_goes_on(server, slow):
    caught_up = server.directory / "caught-up"
    caught_up.unlink(missing_ok=True)
    slow.send(b"GET /resumed HTTP/1.0\r\nHost: a\r\n\r\n")
    slow.receive(LARGE // 4)
    caught_up.touch()
    assert not slow.read_until_closed().endswith(b"too late")


@linux_only
def test_a_response_of_one_block_needs_no_file(server, slow):
    order(slow, "/one_block")
    with server.client() as other:
        assert other.request("GET", "/count_temporary_files").content == b"0"


@only("sync", "threaded", each_poller=True)  # a greenlet waits for its client, and needs no file
@linux_only
def test_the_file_of_a_response_is_closed_when_its_client_leaves(server):
    with server.client() as other:
        with slow_client(server) as client:
            order(client, "/generator")
            eventually(lambda: other.request("GET", "/count_temporary_files").content == b"1")
        eventually(lambda: other.request("GET", "/count_temporary_files").content == b"0")


def test_requests_sent_behind_a_large_response_are_answered_after_it(server, slow):
    for target in ("/generator", "/one_block", "/file", "/"):
        order(slow, target)
    for _ in range(3):
        assert slow.receive_response().content == content_of(LARGE)
    assert slow.receive_response().content == b""


def test_a_slow_reader_that_has_sent_its_last_byte_gets_every_byte(server, slow):
    order(slow, "/generator")
    slow.socket.shutdown(socket.SHUT_WR)
    with server.client() as other:
        assert other.request("GET", "/").status == 200
    assert slow.receive_response().content == content_of(LARGE)
    assert slow.is_closed_by_server()


def test_many_slow_readers_share_one_worker(server):
    clients = [slow_client(server) for _ in range(5)]
    for client in clients:
        order(client, "/generator_of_known_length")
    with server.client() as other:
        assert other.request("GET", "/").status == 200
    for client in clients:
        with client:
            assert client.receive_response().content == content_of(LARGE)
