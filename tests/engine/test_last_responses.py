"""The last response of a connection arrives whole, whatever the client sent, and has no more than it may have."""

from pathlib import Path

import pytest
from sharing import Routes
from support import Client, eventually

application = Routes()

SIZE = 1_000_000


@application.route
def last(_environ, start_response):
    Path("entered").touch()
    eventually(Path("sent").exists)
    start_response("200 OK", [("Content-Type", "application/octet-stream"), ("Connection", "close")])
    return [bytes(SIZE)]


@pytest.mark.parametrize("sent", [b"\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", bytes(100_000)])
def test_bytes_that_come_while_the_last_request_is_run_do_not_truncate_its_response(server, sent):
    entered, gate = server.directory / "entered", server.directory / "sent"
    for path in (entered, gate):
        path.unlink(missing_ok=True)
    with Client(server.address, receive_buffer=16_384) as client:
        client.send(b"GET /last HTTP/1.1\r\nHost: a\r\n\r\n")
        eventually(entered.exists)
        client.send(sent)
        gate.touch()
        assert server.get("/").status == 200  # by now the server has closed, as far as it is concerned
        assert client.receive_response().content == bytes(SIZE)
        assert client.is_closed_by_server()


REFUSED = {
    "no Host": b"HEAD / HTTP/1.1\r\n\r\n",
    "a bad Host": b"HEAD / HTTP/1.1\r\nHost: a b\r\n\r\n",
    "an unknown version": b"HEAD / HTTP/3.0\r\nHost: a\r\n\r\n",
    "a bad field": b"HEAD / HTTP/1.1\r\nHost: a\r\nX Y: 1\r\n\r\n",
    "two lengths": b"HEAD / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "bad content": b"HEAD / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
    "bad content later": [b"HEAD / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n", b"xyz\r\n"],
}


@pytest.mark.parametrize("request_", list(REFUSED.values()), ids=list(REFUSED))
def test_the_refusal_of_a_head_request_has_no_content(server, request_):
    with server.client() as client:
        for part in request_ if isinstance(request_, list) else [request_]:
            client.send(part)
            assert server.get("/").status == 200  # the part has been received
        response = client.receive_response("HEAD")
        assert 400 <= response.status < 600
        assert client.is_closed_by_server()


@pytest.mark.parametrize(
    "part", [b"HEAD / HTTP/1.1\r\nHost", b"HEAD / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel"]
)
def test_a_head_request_that_does_not_come_to_its_end_has_no_content_in_its_refusal(serving, part):
    server = serving("--request-head-timeout", "0.2", "--request-body-timeout", "0.2")
    with server.client() as client:
        client.send(part)
        assert client.receive_response("HEAD").status == 408
        assert client.is_closed_by_server()
