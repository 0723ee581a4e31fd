"""Applications that are held until their client has taken something: what the client may do meanwhile."""

import hashlib
import os
import sys
from pathlib import Path

import pytest
from classes import only
from sharing import Routes, is_idle
from support import Client, eventually

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="tells by /proc that an application waits")

application = Routes()

BLOCK = 8000  # small enough to be gathered
COUNT = 5000  # more together than sockets hold
SPOOL = ("--response-buffer", "65536", "--response-spool", "1048576")


def block(number):
    return hashlib.sha256(b"%d" % number).digest() * (BLOCK // 32)


class Blocks:
    """Blocks that are counted in the file "made", of a response whose end leaves the file "closed"."""

    def __init__(self):
        self._made = 0
        self._record = Path("made").open("wb", buffering=0)  # noqa: SIM115 - closed by close()

    def __iter__(self):
        return self

    def __next__(self):
        if self._made == COUNT:
            raise StopIteration
        self._made += 1
        os.pwrite(self._record.fileno(), b"%8d" % self._made, 0)
        return block(self._made)

    def close(self):
        self._record.close()
        Path("closed").touch()


@application.route
def blocks(_environ, start_response):
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    return Blocks()


@pytest.fixture
def hold():
    """Have the application wait for a client that does not read: `hold(server)` gives the client."""
    clients = []

    def held(server):
        made = server.directory / "made"
        for path in (made, server.directory / "closed"):
            path.unlink(missing_ok=True)
        clients.append(Client(server.address, timeout=10, receive_buffer=65_536))
        clients[-1].send(b"GET /blocks HTTP/1.1\r\nHost: a\r\n\r\n")
        eventually(lambda: made.exists() and made.read_bytes() and is_idle(server.workers()[0]))
        return clients[-1]

    yield held
    for client in clients:
        client.close()


def test_a_client_may_leave_while_the_application_waits_for_it(serving, hold):
    server = serving(*SPOOL)
    workers = server.workers()
    client = hold(server)
    assert not (server.directory / "closed").exists()
    client.close()
    eventually((server.directory / "closed").exists)
    assert server.get("/").status == 200
    assert server.workers() == workers


def test_a_client_may_stall_while_the_application_waits_for_it(serving, hold):
    server = serving(*SPOOL, "--write-timeout", "0.3")
    workers = server.workers()
    hold(server)
    eventually((server.directory / "closed").exists)
    assert server.get("/").status == 200
    assert server.workers() == workers


@only("sync", "threaded", each_poller=True)  # a greenlet waits for its client, and needs no file
def test_an_application_waits_when_its_response_cannot_be_kept_in_a_file(serving, hold, tmp_path):
    directory = tmp_path / "removed"
    directory.mkdir()
    server = serving("--response-buffer", "65536", "--tmp-upload-dir", str(directory))
    directory.rmdir()
    client = hold(server)
    assert int((server.directory / "made").read_text()) < COUNT
    assert client.receive_response().content == b"".join(map(block, range(1, COUNT + 1)))
    assert "in a file, so the application waits" in server.log()
