"""How many files a worker has open for a client of HTTP/2 that is slow to send or to take: not one for each request."""

import hashlib
import sys
from pathlib import Path

import pytest
from classes import each_class as worker_class
from classes import only
from http2 import wire
from http2.peer import Peer
from sharing import Routes, descriptors, server, serving, share
from support import eventually

__all__ = ["server", "serving", "share", "worker_class"]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")

CLEAR = ("--http2-cleartext", "both")
STREAMS = 20
BLOCK = bytes(range(250)) * 200
BLOCKS = 20
LARGE = 2**30

application = Routes()
begun = []


@application.route
def blocks(_environ, start_response):
    start_response("200 OK", [])
    for number in range(BLOCKS):
        yield BLOCK[number:]
    begun.append(1)


@application.route
def count_ended(_environ, start_response):
    start_response("200 OK", [])
    return [b"%d" % len(begun)]


@application.route
def digest(environ, start_response):
    content = environ["wsgi.input"]
    start_response("200 OK", [])
    parts = [content.read(7), content.readline()]
    content.seek(3)
    parts.append(content.read(4))
    content.seek(-5, 2)
    parts.append(content.read())
    content.seek(0)
    parts.append(content.read())
    return [hashlib.sha1(b"|".join(parts)).hexdigest().encode()]


@application.route
def file(environ, start_response):
    start_response("200 OK", [])
    return environ["wsgi.file_wrapper"](Path(__file__).open("rb"))


def digest_of(content):
    first_line = content[7 : content.index(b"\n", 7) + 1]
    return hashlib.sha1(b"|".join([content[:7], first_line, content[3:7], content[-5:], content])).hexdigest()


def temporary_files(server):
    """How many the only worker has open."""
    return sum("/pyserver-" in name for name in descriptors(server.workers()[0]))


@only("sync", "threaded")  # a greenlet waits for its client, and needs no file
def test_responses_that_wait_for_a_client_share_a_file(serving):
    server = serving(*CLEAR)
    with Peer(server.address) as peer, Peer(server.address) as other:
        peer.returns_windows = False
        before = int(other.exchange(path="/count_ended").content)
        streams = [peer.begin("GET", "/blocks", ends=True) for _ in range(STREAMS)]
        eventually(lambda: int(other.exchange(path="/count_ended").content) == before + STREAMS)
        assert temporary_files(server) == 1
        # Those that end first leave room in it to those that follow.
        for stream in streams + [peer.begin("GET", "/blocks", ends=True) for _ in range(STREAMS)]:
            peer.send(wire.window_update(stream, LARGE))
            peer.returns_windows = True
            if stream == streams[0]:
                peer.send(wire.window_update(0, LARGE))
            content = peer.response(stream).content
            assert content == b"".join(BLOCK[number:] for number in range(BLOCKS))
        eventually(lambda: temporary_files(server) == 0)


def test_contents_that_come_slowly_share_a_file(serving):
    server = serving(*CLEAR, "--request-buffer", "1000")
    contents = [bytes(range(250)) * (30 + number) for number in range(STREAMS)]
    with Peer(server.address) as peer, Peer(server.address) as other:
        # With a length and without.
        streams = [
            peer.begin("POST", "/digest", [(b"content-length", b"%d" % len(content))] if len(content) % 500 else [])
            for content in contents
        ]
        for step in range(3):
            for stream, content in zip(streams, contents, strict=True):
                part = content[step * 2500 : step * 2500 + 2500 if step < 2 else len(content)]
                peer.send_content(stream, part, ends=False)
        peer.settle()
        assert eventually(lambda: temporary_files(server))
        for _ in range(STREAMS):
            assert other.exchange().status == 200
            assert temporary_files(server) <= 1
        for stream, content in zip(streams, contents, strict=True):
            peer.send(wire.data(stream, b"", wire.END_STREAM))
            assert bytes(peer.response(stream).content).decode() == digest_of(content)
        eventually(lambda: temporary_files(server) == 0)


def test_one_file_is_open_once(serving):
    server = serving(*CLEAR)
    with Peer(server.address, settings=[(wire.INITIAL_WINDOW, 0)]) as peer, Peer(server.address) as other:
        streams = [peer.begin("GET", "/file", ends=True) for _ in range(STREAMS)]
        peer.wait_until(lambda: all(peer.responses[stream].status for stream in streams))
        assert other.exchange().status == 200
        assert descriptors(server.workers()[0]).count(__file__) == 1
        peer.send(wire.reset(streams.pop()))
        for stream in streams:
            peer.send(wire.window_update(stream, LARGE))
            assert peer.response(stream).content == Path(__file__).read_bytes()
        eventually(lambda: __file__ not in descriptors(server.workers()[0]))
