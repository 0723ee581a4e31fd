"""Whether the client that judges responses is as strict as it claims."""

import socket

import pytest
from support import Client, MalformedResponseError, Response, cuts, eventually

OK = "HTTP/1.1 200 OK\r\n"

GOOD = {
    "content-length": (OK + "Content-Length: 5\r\n\r\nhello", "GET", b"hello"),
    "chunked": (OK + "Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", "GET", b"hello"),
    "closed": (OK + "\r\nhello", "GET", b"hello"),
    "head": (OK + "Content-Length: 5\r\n\r\n", "HEAD", b""),
    "no-content": ("HTTP/1.1 204 No Content\r\n\r\n", "GET", b""),
    "continue": ("HTTP/1.1 100 Continue\r\n\r\n", "GET", b""),
    "empty-value": (OK + "X-A:\r\nContent-Length: 0\r\n\r\n", "GET", b""),
}
BAD = {
    "bare-lf": "HTTP/1.1 200 OK\n\n",
    "status": "HTTP/1.1 20 OK\r\n\r\n",
    "space-before-colon": OK + "X-A : 1\r\n\r\n",
    "two-lengths": OK + "Content-Length: 1\r\nContent-Length: 1\r\n\r\na",
    "length-and-coding": OK + "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked-to-1.0": "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunk-end": OK + "Transfer-Encoding: chunked\r\n\r\n1\r\naXX0\r\n\r\n",
}


def receive(data: str, method: str = "GET") -> Response:
    with socket.create_server(("127.0.0.1", 0)) as listener, Client(listener.getsockname()) as client:
        peer, _ = listener.accept()
        with peer:
            peer.sendall(data.encode())
        return client.receive_response(method)


@pytest.mark.parametrize(("data", "method", "content"), GOOD.values(), ids=GOOD)
def test_a_response_is_read_as_it_is_framed(data, method, content):
    assert receive(data, method).content == content


@pytest.mark.parametrize("data", BAD.values(), ids=BAD)
def test_a_response_that_breaks_the_rules_is_refused(data):
    with pytest.raises(MalformedResponseError):
        receive(data)


def test_a_response_cut_short_is_an_error():
    with pytest.raises(EOFError):
        receive(OK + "Content-Length: 5\r\n\r\nhel")


def test_cuts_are_all_splits_into_two_parts():
    assert list(cuts(b"abc")) == [(b"a", b"bc"), (b"ab", b"c")]


def test_a_wait_reports_what_stayed_false():
    with pytest.raises(AssertionError, match="1 == 2"):
        eventually(lambda: 1 == 2, within=0)
