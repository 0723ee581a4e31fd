"""Pipelines whose answers are more than the socket takes: gathered, cut anywhere, and in order all the same."""

import os
import select
import sys
import time
from pathlib import Path

import pytest
from sharing import Routes
from support import Client, eventually

application = Routes()

BLOCK = 16_384  # as much as is copied, so that many are gathered


def block_of(number):
    return (b"%08d" % number) * (BLOCK // 8)


@application.route
def block(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    return [block_of(int(environ["QUERY_STRING"]))]


@application.route
def file(environ, start_response):
    path = Path(f"file-{os.getpid()}")
    path.write_bytes(block_of(int(environ["QUERY_STRING"])))
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    return environ["wsgi.file_wrapper"](path.open("rb"))


@application.route
def write_and_wait(environ, start_response):
    write = start_response("200 OK", [("Content-Type", "application/octet-stream")])
    write(bytes(int(environ["QUERY_STRING"])))
    Path("written").touch()
    eventually(Path("taken").exists)
    os.unlink("written")
    os.unlink("taken")
    return []


@application.route
def wait_a_little(environ, start_response):
    time.sleep(0.003)
    start_response("200 OK", [("Content-Length", "0")])
    return []


@application.route
def wait_for_client(environ, start_response):
    eventually(Path("answered").exists)
    os.unlink("answered")
    start_response("200 OK", [("Content-Length", "0")])
    return []


def pipelined(targets):
    return b"".join(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode() for target in targets)


@pytest.mark.parametrize("last", ["/file", "/block"])
@pytest.mark.parametrize("count", [10, 100, 400, 800])
def test_what_is_gathered_before_an_answer_comes_once_and_in_order(serving, count, last):
    targets = [*(f"/block?{number}" for number in range(count)), f"{last}?{count}"]
    with Client(serving().address, timeout=20, receive_buffer=65_536) as client:
        client.send(pipelined(targets))
        for number in range(len(targets)):
            assert client.receive_response().content == block_of(number)


@application.route
def most_memory(_environ, start_response):
    """The most memory that the worker has ever had, bytes; Linux."""
    most = Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"%d" % (int(most) * 1024)]


# Of these sizes, at least one is more than sockets hold at first, and what is left of it less than they hold then.
@pytest.mark.parametrize("size", [1_000_000, 2_000_000, 3_000_000, 5_000_000, 8_000_000, 13_000_000])
def test_the_next_request_is_answered_when_the_socket_takes_all_at_the_end_of_one(serving, size):
    server = serving()
    taken = bytearray()
    with Client(server.address, receive_buffer=65_536) as client:

        def take(within):
            while select.select([client.socket], [], [], within)[0]:
                taken.extend(client.socket.recv(65_536))

        client.send(pipelined([f"/write_and_wait?{size}", "/block?7"]))
        # An application that waits until most of it is taken has written it then.
        eventually(lambda: (server.directory / "written").exists() or take(0))
        take(0.2)
        (server.directory / "taken").touch()
        client.socket.settimeout(5)
        while not taken.endswith(block_of(7)):
            received = client.socket.recv(65_536)
            assert received, "closed without an answer to the second request"
            taken += received


def test_an_answer_that_took_a_while_is_not_held_while_the_next_request_runs(serving):
    server = serving()
    with server.client() as client:
        client.send(pipelined(["/wait_a_little", "/wait_for_client"]))
        assert client.receive_response().status == 200
        (server.directory / "answered").touch()
        assert client.receive_response().status == 200


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
def test_a_pipeline_is_answered_in_portions(serving):
    server = serving("--response-buffer", "100000")
    before = int(server.get("/most_memory").content)
    with Client(server.address, timeout=20, receive_buffer=65_536) as client:
        client.send(pipelined(f"/block?{number}" for number in range(1500)))
        for number in range(1500):
            assert client.receive_response().content == block_of(number)
    assert int(server.get("/most_memory").content) - before < 4_000_000
