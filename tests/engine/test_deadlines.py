"""What is closed or refused when time is up. The settings are short; no test says how long anything took."""

import os
import select
import signal
import time

from sharing import Routes
from support import eventually

application = Routes()


@application.route
def large(_environ, start_response):
    start_response("200 OK", [("Content-Type", "application/octet-stream"), ("Content-Length", "50000000")])
    return [bytes(50_000_000)]


@application.route
def endless(_environ, start_response):
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    return iter(lambda: bytes(100_000), b"")


def is_answered(client):
    return bool(select.select([client.socket], [], [], 0)[0])


def test_a_head_that_does_not_come_to_its_end_is_a_408(serving):
    with serving("--request-head-timeout", "0.2").client() as client:
        client.send(b"GET / HTTP/1.1\r\nHos")
        response = client.receive_response()
        assert (response.status, response.field("Connection")) == (408, "close")
        assert client.is_closed_by_server()


def test_a_head_that_drips_is_a_408(serving):
    with serving("--request-head-timeout", "0.2").client() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\nX: ")
        eventually(lambda: client.send(b"x") or is_answered(client))
        assert client.receive_response().status == 408


def test_the_head_of_a_second_request_has_its_deadline_too(serving):
    with serving("--request-head-timeout", "0.2", "--keep-alive", "60").client() as client:
        assert client.request("GET", "/").status == 200
        client.send(b"GET / HT")
        assert client.receive_response().status == 408


def test_a_connection_without_a_byte_is_closed_without_an_answer(serving):
    with serving("--request-head-timeout", "0.2").client() as client:
        assert client.is_closed_by_server()


def test_an_idle_connection_does_not_wait_for_a_head(serving):
    server = serving("--request-head-timeout", "0.2", "--keep-alive", "60")
    with server.client() as idle, server.client() as silent:
        idle.request("GET", "/")
        assert silent.is_closed_by_server()  # after as long as a head may take
        assert idle.request("GET", "/").status == 200


def test_content_that_stays_away_is_a_408(serving):
    with serving("--request-body-timeout", "0.2").client() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel")
        response = client.receive_response()
        assert (response.status, response.field("Connection")) == (408, "close")
        assert client.is_closed_by_server()


def test_content_that_was_invited_and_stays_away_is_a_408(serving):
    with serving("--request-body-timeout", "0.2").client() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        assert [client.receive_response().status for _ in range(2)] == [100, 408]


def test_chunked_content_that_stays_away_is_a_408(serving):
    with serving("--request-body-timeout", "0.2").client() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel")
        assert client.receive_response().status == 408


def test_a_408_names_the_peer_in_the_log(serving):
    server = serving("--request-head-timeout", "0.2")
    with server.client() as client:
        client.send(b"G")
        assert client.receive_response().status == 408
        host, port = client.socket.getsockname()
    assert f"refused a request from {host}:{port} with 408" in server.log()


def test_a_client_that_takes_nothing_of_a_response_is_closed(serving):
    server = serving("--write-timeout", "0.3")
    with server.client() as client:
        client.send(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
        host, port = client.socket.getsockname()
        eventually(lambda: f"{host}:{port} took nothing of a response for write_timeout" in server.log())
        assert len(client.read_until_closed()) < 50_000_000


def test_a_client_that_takes_nothing_does_not_hold_an_endless_application(serving):
    server = serving("--write-timeout", "0.3", "--response-spool", "1000000")
    with server.client() as client, server.client() as other:
        client.send(b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n")
        assert other.request("GET", "/").status == 200


def test_what_came_while_the_worker_was_stopped_is_not_late(serving):
    server = serving("--keep-alive", "1", "--timeout", "0")
    clients = [server.client() for _ in range(5)]
    for client in clients:
        assert client.request("GET", "/").status == 200
    (pid,) = server.workers()
    os.kill(pid, signal.SIGSTOP)
    try:
        for client in clients:
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        until = time.monotonic() + 1.3
        eventually(lambda: time.monotonic() > until)
    finally:
        os.kill(pid, signal.SIGCONT)
    for client in clients:
        assert client.receive_response().status == 200
        client.close()
