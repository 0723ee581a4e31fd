"""Pipelines whose answers are more than the socket takes: gathered, cut anywhere, and in order all the same."""

import os
from pathlib import Path

import pytest
from sharing import Routes
from support import Client

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
