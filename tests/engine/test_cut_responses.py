"""A response that the application did not finish never looks finished."""

import pytest
from sharing import Routes

application = Routes()


@application.route
def fails_in_content(_environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield bytes(20_000)
    raise RuntimeError("after the first block")


@pytest.mark.parametrize("behind", [b"", b"\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"])
def test_a_response_without_framing_is_reset_whatever_was_sent_behind_its_request(server, behind):
    with server.client() as client:
        client.send(b"GET /fails_in_content HTTP/1.0\r\n\r\n" + behind)
        with pytest.raises(ConnectionResetError):
            client.receive_response()


@pytest.mark.parametrize("behind", [b"", b"\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"])
def test_chunks_that_break_off_have_no_end(server, behind):
    with server.client() as client:
        client.send(b"GET /fails_in_content HTTP/1.1\r\nHost: a\r\n\r\n" + behind)
        with pytest.raises(EOFError):
            client.receive_response()
