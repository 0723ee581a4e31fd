"""Clients that vanish, at every stage: nobody else notices, and nothing is left behind."""

import os
import socket
import struct
from pathlib import Path

import pytest
from sharing import Routes
from support import eventually

application = Routes()


@application.route
def echo(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    return [environ["wsgi.input"].read()]


@application.route
def generator(_environ, start_response):
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    return (bytes(65_536) for _ in range(500))


@application.route
def one_block(_environ, start_response):
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    return [bytes(20_000_000)]


@application.route
def waits(_environ, start_response):
    os.path.exists("gate") or os.mkfifo("gate")
    Path("entered").touch()
    Path("gate").read_bytes()
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    return iter([b"one", b"two"])


@application.route
def endless(_environ, start_response):
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    return Endless()


class Endless:
    def __iter__(self):
        return self

    def __next__(self):
        return bytes(1000)

    def close(self):
        with open("closed", "a") as record:
            record.write("closed\n")


def reset(client):
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def leave(client):
    client.close()


STAGES = {
    "before the first byte": b"",
    "in the request line": b"GET / HT",
    "in the head": b"GET / HTTP/1.1\r\nHost: a\r\nX",
    "in content": b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + bytes(50_000),
    "in content kept in a file": b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 900000\r\n\r\n" + bytes(600_000),
    "in a chunk": b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
    "when content is awaited": b"POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n",
    "after a request": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "after many requests": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 500,
    "after a request that closes": b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "after a bad request": b"GET / HTTP/1.1\r\n\r\n",
    "in a response of one block": b"GET /one_block HTTP/1.1\r\nHost: a\r\n\r\n",
    "in a response of many blocks": b"GET /generator HTTP/1.1\r\nHost: a\r\n\r\n",
    "in two responses": b"GET /generator HTTP/1.1\r\nHost: a\r\n\r\n" * 2,
}


@pytest.mark.parametrize("end", [reset, leave])
@pytest.mark.parametrize("sent", list(STAGES.values()), ids=list(STAGES))
def test_a_client_that_vanishes_is_forgotten(server, sent, end):
    for _ in range(5):
        client = server.client()
        client.send(sent)
        end(client)
    assert server.get("/").status == 200


@pytest.mark.parametrize("end", [reset, leave])
def test_a_client_may_vanish_while_the_application_runs(server, end):
    (server.directory / "entered").unlink(missing_ok=True)
    client = server.client()
    client.send(b"GET /waits HTTP/1.1\r\nHost: a\r\n\r\n")
    eventually((server.directory / "entered").exists)
    end(client)
    (server.directory / "gate").write_bytes(b"")
    assert server.get("/").status == 200


@pytest.mark.parametrize("end", [reset, leave])
def test_an_endless_response_ends_when_its_client_vanishes(server, end):
    record = server.directory / "closed"
    record.unlink(missing_ok=True)
    with server.client() as client:
        client.send(b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n")
        client.receive(100_000)
        end(client)
    assert server.get("/").status == 200
    eventually(lambda: record.exists() and record.read_text() == "closed\n")


def test_a_client_that_vanishes_is_no_error(server):
    for sent in STAGES.values():
        client = server.client()
        client.send(sent)
        reset(client)
    assert server.get("/").status == 200
    assert "[ERROR]" not in server.log()
