"""How long a connection lives, and what is answered on it in which order."""

import socket
import struct
import sys

import pytest
from classes import only
from sharing import Routes
from support import eventually

application = Routes()

DATA_SEGMENTS_IN = 152  # bytes before tcpi_data_segs_in in struct tcp_info of linux/tcp.h
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="asks the kernel for TCP's counters")


@application.route
def echo(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["QUERY_STRING"].encode()]


@application.route
def unframed(_environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return iter([b"one ", b"two"])


@application.route
def dated(_environ, start_response):
    start_response("200 OK", [("Date", "Sun, 06 Nov 1994 08:49:37 GMT"), ("Server", "mine")])
    return [b""]


@application.route
def closing(_environ, start_response):
    start_response("200 OK", [("Connection", "close")])
    return [b"last"]


def get(target, *fields, version="1.1"):
    return "\r\n".join([f"GET {target} HTTP/{version}", "Host: a", *fields, "", ""]).encode()


def test_a_connection_carries_many_requests(server):
    with server.client() as client:
        answers = [client.request("GET", f"/echo?{number}").content for number in range(50)]
    assert answers == [str(number).encode() for number in range(50)]


def test_pipelined_requests_are_answered_in_their_order(server):
    with server.client() as client:
        client.send(b"".join(get(f"/echo?{number}") for number in range(200)))
        answers = [client.receive_response().content for _ in range(200)]
    assert answers == [str(number).encode() for number in range(200)]


def segments_of_answers(server, requests):
    """In how many TCP segments the answers to a pipeline came."""
    with server.client() as client:
        client.send(b"".join(get(f"/echo?{number}") for number in range(requests)))
        answers = [client.receive_response().content for _ in range(requests)]
        assert answers == [str(number).encode() for number in range(requests)]
        information = client.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        return struct.unpack_from("=I", information, DATA_SEGMENTS_IN)[0]


@only("sync", "threaded", each_poller=True)  # each greenlet writes its own answer
@linux_only
def test_pipelined_requests_are_answered_with_one_write(server):
    # A try: answers are gathered for some milliseconds, and a loaded machine may take the processor away for longer.
    eventually(lambda: segments_of_answers(server, 10) == 1)


def test_a_request_behind_one_that_closes_is_not_answered(server):
    with server.client() as client:
        client.send(get("/echo?1", "Connection: close") + get("/echo?2"))
        assert client.receive_response().content == b"1"
        assert client.is_closed_by_server()


def test_connection_close_is_obeyed_and_said(server):
    with server.client() as client:
        response = client.request("GET", "/echo?1", [("Connection", "close")])
        assert response.field("Connection") == "close"
        assert client.is_closed_by_server()


def test_an_application_may_close_the_connection(server):
    with server.client() as client:
        assert client.request("GET", "/closing").field("Connection") == "close"
        assert client.is_closed_by_server()


def test_a_persistent_connection_is_not_announced_to_http_1_1(server):
    with server.client() as client:
        assert client.request("GET", "/echo").field("Connection") is None


def test_http_1_0_closes_by_default(server):
    with server.client() as client:
        client.send(get("/echo?1", version="1.0"))
        response = client.receive_response()
        assert (response.content, response.field("Connection")) == (b"1", "close")
        assert client.is_closed_by_server()


def test_http_1_0_persists_when_it_asks_to(server):
    with server.client() as client:
        for number in range(3):
            client.send(get(f"/echo?{number}", "Connection: keep-alive", version="1.0"))
            response = client.receive_response()
            assert (response.content, response.field("Connection")) == (str(number).encode(), "keep-alive")


def test_content_of_unknown_length_ends_with_the_connection_for_http_1_0(server):
    with server.client() as client:
        client.send(get("/unframed", "Connection: keep-alive", version="1.0"))
        response = client.receive_response()
        assert response.content == b"one two"
        assert response.values("Transfer-Encoding") == []
        assert response.field("Connection") == "close"


def test_keepalive_0_closes_after_each_response(serving):
    with serving("--keep-alive", "0").client() as client:
        assert client.request("GET", "/echo?1").field("Connection") == "close"
        assert client.is_closed_by_server()


def test_an_idle_connection_is_closed_without_an_answer(serving):
    with serving("--keep-alive", "0.2").client() as client:
        client.request("GET", "/echo?1")
        assert client.is_closed_by_server()


def test_idle_connections_are_answered_again(serving):
    server = serving("--keep-alive", "60")
    clients = [server.client() for _ in range(300)]
    try:
        for again in range(2):
            for number, client in enumerate(clients):
                assert client.request("GET", f"/echo?{again}-{number}").content == f"{again}-{number}".encode()
    finally:
        for client in clients:
            client.close()


def test_an_empty_line_before_a_request_is_ignored(server):
    with server.client() as client:
        client.request("GET", "/echo?1")
        client.send(b"\r\n" + get("/echo?2"))
        assert client.receive_response().content == b"2"


def test_a_response_says_when_and_by_what_it_was_made(server):
    response = server.get("/echo")
    assert response.field("Server") == "pyserver"
    assert response.field("Date").endswith(" GMT")


def test_date_and_server_can_be_turned_off(serving):
    response = serving("--no-date-header", "--no-server-header").get("/echo")
    assert response.values("Date") == response.values("Server") == []


def test_date_and_server_of_the_application_take_the_place_of_ours(server):
    response = server.get("/dated")
    assert response.field("Date") == "Sun, 06 Nov 1994 08:49:37 GMT"
    assert response.field("Server") == "mine"


@pytest.mark.parametrize("end", [b"", b"GET /echo?2 HTT"])
def test_a_client_that_has_sent_its_last_byte_is_still_answered(server, end):
    with server.client() as client:
        client.send(get("/echo?1") + end)
        client.socket.shutdown(socket.SHUT_WR)
        assert client.receive_response().content == b"1"
        assert client.is_closed_by_server()


def test_a_request_that_ends_in_the_middle_is_not_answered(server):
    with server.client() as client:
        client.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel")
        client.socket.shutdown(socket.SHUT_WR)
        assert client.is_closed_by_server()


def test_a_refusal_follows_the_answers_before_it(server):
    with server.client() as client:
        client.send(get("/echo?1") + b"GET / HTTP/1.1\r\n\r\n")
        assert client.receive_response().content == b"1"
        refusal = client.receive_response()
        assert (refusal.status, refusal.field("Connection")) == (400, "close")
        assert client.is_closed_by_server()


def test_a_refused_request_leaves_one_line_in_the_log(server):
    with server.client() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
        host, port = client.socket.getsockname()
        assert client.receive_response().status == 400
        assert client.is_closed_by_server()
    lines = [line for line in server.log().splitlines() if f"{host}:{port}" in line]
    assert len(lines) == 1
    assert "there is more than one Host" in lines[0]


def test_nothing_follows_the_head_of_an_answer_to_head(server):
    with server.client() as client:
        client.send(get("/echo?12345").replace(b"GET", b"HEAD") + get("/echo?2"))
        assert client.receive_response("HEAD").field("Content-Length") == "5"
        assert client.receive_response().content == b"2"
