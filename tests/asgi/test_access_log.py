"""The access log of ASGI requests: one line each, when it is over, with what it was."""

import asyncio
import re

import pytest
from calls import Calls, body, respond, start
from support import eventually
from websocket_client import WebSocketClient, handshake

LOG = "access.log"
FORMAT = '%(r)s %(s)s %(B)s "%({x-a}i)s" "%({x-b}o)s" "%(a)s" %(m)s %(U)s %(q)s %(H)s %(D)s'

application = Calls()
gates = {}


@application.route
async def hello(_scope, _receive, send):
    await send(start(headers=[(b"x-b", b"out")]))
    await send(body(b"hello"))


@application.route
async def stream(_scope, _receive, send):
    await send(start(status=206))
    for _ in range(3):
        await send(body(b"block", more=True))
        await asyncio.sleep(0.001)
    await send(body())


@application.route
async def fails(_scope, _receive, _send):
    raise ValueError


@application.route
async def fails_in_the_middle(_scope, _receive, send):
    await send(start())
    await send(body(b"begun", more=True))
    raise ValueError


@application.route
async def waits(_scope, receive, send):
    await receive()
    await send(start())
    await send(body(b"begun", more=True))
    await receive()


@application.route
async def goes_on_after_it(scope, _receive, send):
    gates[scope["query_string"]] = asyncio.Event()
    await respond(send, b"hello")
    await gates[scope["query_string"]].wait()


@application.route
async def opens(scope, _receive, send):
    gates[scope["query_string"]].set()
    await respond(send)


@application.route
async def echo(_scope, receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": event["text"]})


@application.route
async def refuses(_scope, receive, send):
    await receive()
    await send({"type": "websocket.close"})


@pytest.fixture
def server(serving):
    """A server with an access log; `lines(server, query)` has those of the requests with that query."""
    return serving("--access-logfile", LOG, "--access-logformat", FORMAT)


def lines(server, key):
    return [line for line in (server.directory / LOG).read_text().splitlines() if f"?{key} HTTP" in line]


def logged(server, key):
    """The only line of the request with that query, without its duration."""
    (line,) = eventually(lambda: lines(server, key))
    shown, _, duration = line.rpartition(" ")
    assert duration.isdecimal()
    return shown


def test_a_line_tells_of_request_and_response(server, key):
    with server.client() as client:
        client.request("GET", f"/hello?{key}", [("X-A", "in"), ("User-Agent", "test")])
    assert logged(server, key) == (f'GET /hello?{key} HTTP/1.1 200 5 "in" "out" "test" GET /hello {key} HTTP/1.1')


@pytest.mark.parametrize(
    ("target", "status", "length"),
    [("stream", 206, 15), ("fails", 500, 22), ("fails_in_the_middle", 200, 5)],
)
def test_a_line_tells_what_became_of_it(server, key, target, status, length):
    with server.client() as client:
        client.send(f"GET /{target}?{key} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        client.read_until_closed()
    assert logged(server, key).startswith(f"GET /{target}?{key} HTTP/1.1 {status} {length} ")


def test_each_of_several_requests_that_come_together_has_a_line(server, key):
    with server.client() as client:
        client.send(b"".join(f"GET /hello?{key} HTTP/1.1\r\nHost: a\r\n\r\n".encode() for _ in range(5)))
        for _ in range(5):
            client.receive_response()
    eventually(lambda: len(lines(server, key)) == 5)


def test_a_response_that_its_client_did_not_want_has_a_line(server, key):
    with server.client() as client:
        client.send(f"GET /waits?{key} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        client.receive_head()
        assert lines(server, key) == []
    assert logged(server, key).startswith(f"GET /waits?{key} HTTP/1.1 200 5 ")


def test_the_line_is_there_before_the_application_has_returned(server, key):
    with server.client() as client:
        assert client.request("GET", f"/goes_on_after_it?{key}").content == b"hello"
        assert logged(server, key).startswith(f"GET /goes_on_after_it?{key} HTTP/1.1 200 5 ")
        assert client.request("GET", f"/opens?{key}").status == 200


def test_a_websocket_has_a_line_when_it_ends(server, key):
    with WebSocketClient(server, f"/echo?{key}", ["X-A: in"]) as client:
        client.send("hello")
        assert client.receive_message() == "hello"
        assert lines(server, key) == []
        client.send_close()
        client.receive_close()
    assert re.match(rf'GET /echo\?{key} HTTP/1\.1 101 5 "in" ', logged(server, key))


def test_a_websocket_that_is_refused_has_a_line(server, key):
    with server.client() as client:
        client.send(handshake(f"/refuses?{key}"))
        assert client.receive_response().status == 403
    assert logged(server, key).startswith(f"GET /refuses?{key} HTTP/1.1 403 10 ")


def test_a_refused_request_has_a_line(server, key):
    with server.client() as client:
        client.send(f"GET /hello?{key} HTTP/1.1\r\n\r\n".encode())
        assert client.receive_response().status == 400
    assert logged(server, key).startswith(f"GET /hello?{key} HTTP/1.1 400 ")


def test_a_method_that_is_refused_has_a_line(server, key):
    with server.client() as client:
        client.send(f"get /hello?{key} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        assert client.receive_response().status == 501
    assert logged(server, key).startswith(f"get /hello?{key} HTTP/1.1 501 ")
