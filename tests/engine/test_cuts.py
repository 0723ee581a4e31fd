"""A pipeline of requests, received in any two parts and byte by byte: the same answers."""

import array
import fcntl
import sys
import termios

import pytest
from sharing import Routes
from support import Client, cuts, eventually

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="asks a Unix socket what its peer has not read")

application = Routes()

PIPELINE = (
    b"POST /echo?1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
    b"\r\nPOST /echo?2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"2;x=y\r\nhe\r\n3\r\nllo\r\n0\r\nA: b\r\n\r\n"
    b"HEAD /echo?3 HTTP/1.1\r\nHost: a\r\n\r\n"
    b"GET /echo?4 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
    b"GET /echo?5 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
)
ANSWERS = [("POST", b"1hello"), ("POST", b"2hello"), ("HEAD", b""), ("GET", b"4"), ("GET", b"5")]


@application.route
def echo(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    return [environ["QUERY_STRING"].encode() + environ["wsgi.input"].read()]


@pytest.fixture
def server(serving):
    return serving("-b", "unix:socket", "--keep-alive", "60")


def unread(client):
    """How much the server has not read yet, bytes and more; SIOCOUTQ of unix(7) is TIOCOUTQ."""
    length = array.array("i", [0])
    fcntl.ioctl(client.socket, termios.TIOCOUTQ, length)
    return length[0]


def send_alone(client, part):
    client.send(part)
    eventually(lambda: unread(client) == 0)


def answers(client):
    received = [(method, client.receive_response(method).content) for method, _ in ANSWERS]
    assert client.is_closed_by_server()
    return received


def test_a_pipeline_is_answered_wherever_it_is_cut(server):
    for first, second in cuts(PIPELINE):
        with Client(server.address) as client:
            send_alone(client, first)
            client.send(second)
            assert answers(client) == ANSWERS, first


def test_a_pipeline_is_answered_byte_by_byte(server):
    with Client(server.address) as client:
        for at in range(len(PIPELINE)):
            send_alone(client, PIPELINE[at : at + 1])
        assert answers(client) == ANSWERS


def test_content_kept_in_a_file_is_the_same_wherever_it_is_cut(serving):
    server = serving("-b", "unix:files", "--keep-alive", "60", "--request-buffer", "3")
    for first, second in cuts(PIPELINE):
        with Client(server.address) as client:
            send_alone(client, first)
            client.send(second)
            assert answers(client) == ANSWERS, first
