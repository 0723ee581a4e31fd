"""What a worker that is told to retire still does for its connections."""

import os
import signal
import socket

import pytest
from support import eventually

APPLICATION = """
    import os

    os.path.exists("gate") or os.mkfifo("gate")

    def application(environ, start_response):
        if environ["PATH_INFO"] == "/wait":
            open("entered", "w").close()
            open("gate").read()
        start_response("200 OK", [("Content-Type", "application/octet-stream")])
        if environ["PATH_INFO"] == "/large":
            return [bytes(30_000_000)]
        return [environ["wsgi.input"].read()]
"""


@pytest.fixture
def server(serve):
    server = serve(APPLICATION, "--keep-alive", "60")
    server.get("/")  # The worker is ready.
    return server


def retire(server):
    server.send_signal(signal.SIGTERM)
    eventually(lambda: "Handling signal: term" in server.log())


def test_an_idle_connection_is_answered_once_more(server):
    with server.client() as client:
        assert client.request("GET", "/").field("Connection") is None
        retire(server)
        eventually(lambda: client.request("GET", "/").field("Connection") == "close")
        assert client.is_closed_by_server()
    assert server.wait() == os.EX_OK


def test_an_idle_connection_does_not_hold_up_the_end(server):
    with server.client() as client:
        client.request("GET", "/")
        retire(server)
        assert client.is_closed_by_server()
    assert server.wait() == os.EX_OK


def test_a_connection_without_a_byte_does_not_hold_up_the_end(server):
    with server.client() as client:
        retire(server)
        assert client.is_closed_by_server()
    assert server.wait() == os.EX_OK


def test_content_that_is_under_way_is_awaited(server):
    with server.client() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe")
        server.get("/")
        retire(server)
        eventually(lambda: refuses(server))
        client.send(b"llo")
        response = client.receive_response()
        assert (response.content, response.field("Connection")) == (b"hello", "close")
    assert server.wait() == os.EX_OK


def test_a_response_that_is_under_way_is_finished(server):
    with server.client() as client:
        client.send(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
        server.get("/")
        retire(server)
        eventually(lambda: refuses(server))
        assert client.receive_response().content == bytes(30_000_000)
        assert client.is_closed_by_server()
    assert server.wait() == os.EX_OK


def test_connections_that_wait_to_be_accepted_are_answered(server):
    with server.client() as client:
        client.send(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
        eventually((server.directory / "entered").exists)
        waiting = [server.client() for _ in range(100)]
        for one in waiting:
            one.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        retire(server)
        (server.directory / "gate").write_text("")
        for one in waiting:
            with one:
                assert one.receive_response().status == 200
    assert server.wait() == os.EX_OK


def test_pipelined_requests_that_have_arrived_are_answered(server):
    with server.client() as client:
        client.send(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n" + b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 3)
        eventually((server.directory / "entered").exists)
        retire(server)
        (server.directory / "gate").write_text("")
        assert [client.receive_response().status for _ in range(4)] == [200] * 4
        assert client.is_closed_by_server()
    assert server.wait() == os.EX_OK


def refuses(server):
    with socket.socket() as probe:
        return probe.connect_ex(server.address) != 0
