"""What was sent in time is served, however long the worker was busy with somebody else's request."""

import os
import select
from pathlib import Path

import pytest
from sharing import Routes
from support import eventually

application = Routes()


@application.route
def hold(_environ, start_response):
    """Keep the worker until every deadline of the others has passed, after they have sent what they have to send."""
    Path("held").touch()
    eventually(Path("sent").exists)
    select.select([], [], [], 1.5)
    os.unlink("held")
    os.unlink("sent")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"held"]


@application.route
def echo(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["wsgi.input"].read()]


# Longer than a loaded machine keeps us from sending, and shorter than the worker is held.
DEADLINES = ("--keep-alive", "1", "--request-head-timeout", "1", "--request-body-timeout", "1")
POST = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
IN_TIME = [
    ("another-request", POST, POST),
    ("half-a-head", b"POST /echo HT", b"TP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"),
    ("half-a-head-of-a-second", POST + b"POST /echo HT", b"TP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"),
    ("half-a-content", POST[:-3], POST[-3:]),
]


@pytest.mark.parametrize(("before", "meanwhile"), [row[1:] for row in IN_TIME], ids=[row[0] for row in IN_TIME])
def test_what_arrived_while_the_worker_was_busy_is_in_time(serving, before, meanwhile):
    server = serving(*DEADLINES)
    with server.client() as client, server.client() as other:
        client.send(before)
        for _ in range(before.count(POST)):
            assert client.receive_response().content == b"hello"
        other.send(b"GET /hold HTTP/1.1\r\nHost: a\r\n\r\n")
        eventually((server.directory / "held").exists)
        client.send(meanwhile)
        (server.directory / "sent").touch()
        assert client.receive_response().content == b"hello"
        assert other.receive_response().content == b"held"


def test_a_connection_that_has_sent_nothing_meanwhile_is_closed(serving):
    server = serving(*DEADLINES)
    with server.client() as client, server.client() as other:
        client.send(POST)
        assert client.receive_response().content == b"hello"
        other.send(b"GET /hold HTTP/1.1\r\nHost: a\r\n\r\n")
        eventually((server.directory / "held").exists)
        (server.directory / "sent").touch()
        assert client.is_closed_by_server()
        assert other.receive_response().content == b"held"
