"""Requests that follow one another on a connection, and those that run beside them on others."""

import asyncio
from pathlib import Path

import pytest
from calls import Calls, body, note, notes, read, respond, start
from support import eventually

application = Calls()
gates = {}


def gate(scope):
    return gates.setdefault(scope["query_string"], asyncio.Event())


@application.route
async def query(scope, _receive, send):
    await respond(send, scope["query_string"])


@application.route
async def waits(scope, _receive, send):
    note(scope, "entered")
    await gate(scope).wait()
    await respond(send, scope["query_string"])


@application.route
async def opens(scope, _receive, send):
    gate(scope).set()
    await respond(send)


@application.route
async def waits_for_a_disconnect(scope, receive, send):
    await receive()
    note(scope, "entered")
    waiting = asyncio.ensure_future(receive())
    await asyncio.wait({waiting, asyncio.ensure_future(gate(scope).wait())}, return_when=asyncio.FIRST_COMPLETED)
    note(scope, "told" if waiting.done() else "not told")
    waiting.cancel()
    await respond(send)


@application.route
async def echo(_scope, receive, send):
    await respond(send, await read(receive))


@application.route
async def begins_a_stream(scope, _receive, send):
    await send(start())
    await send(body(b"one", more=True))
    await gate(scope).wait()
    await send(body(b"two"))


@application.route
async def is_answered_by_another(scope, _receive, send):
    """Have the start sent by another request, and send the rest."""
    senders[scope["query_string"]] = send
    note(scope, "entered")
    await gate(scope).wait()
    await send(body(b"of the first"))


@application.route
async def blocks_the_loop(scope, _receive, send):
    """Let nothing else be read until the test says so."""
    note(scope, "blocks")
    eventually(Path(scope["query_string"].decode()).exists)
    await respond(send, b"before")


@application.route
async def starts_the_response_of_another(scope, _receive, send):
    await respond(send, b"own")
    await senders[scope["query_string"]](start(headers=[(b"x-first", b"1")]))


@application.route
async def waits_for_a_turn(_scope, _receive, send):
    await asyncio.sleep(0)
    await respond(send, b"after")


senders = {}


def get(target, *fields, version="1.1"):
    return "\r\n".join([f"GET {target} HTTP/{version}", "Host: a", *fields, "", ""]).encode()


def test_a_connection_persists(server):
    with server.client() as client:
        for number in range(3):
            response = client.request("GET", f"/query?{number}")
            assert (response.content, response.field("Connection")) == (str(number).encode(), None)


def test_a_client_may_close(server):
    with server.client() as client:
        assert client.request("GET", "/", [("Connection", "close")]).values("Connection") == ["close"]
        assert client.is_closed_by_server()


def test_an_old_client_is_closed_unless_it_wants_to_persist(server):
    with server.client() as client:
        client.send(get("/query?1", "Connection: keep-alive", version="1.0"))
        assert client.receive_response().field("Connection") == "keep-alive"
        client.send(get("/query?2", version="1.0"))
        assert client.receive_response().content == b"2"
        assert client.is_closed_by_server()


def test_requests_that_come_together_are_answered_in_order(server):
    with server.client() as client:
        client.send(b"".join(get(f"/query?{number}") for number in range(200)))
        assert [client.receive_response().content for _ in range(200)] == [b"%d" % number for number in range(200)]


def test_requests_with_content_that_come_together_have_their_own(server):
    contents = [b"x" * size for size in (0, 1, 70_000, 3, 200_000, 5)]
    with server.client() as client:
        for content in contents:
            client.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (len(content), content))
        assert [client.receive_response().content for _ in contents] == contents


def test_a_request_waits_for_those_before_it(server, key):
    with server.client() as client:
        client.send(get(f"/waits?{key}") + get("/query?next"))
        eventually(lambda: notes(server, key) == ["entered"])
        assert server.get(f"/opens?{key}").status == 200
        assert [client.receive_response().content for _ in range(2)] == [key.encode(), b"next"]


def test_a_request_that_comes_while_another_runs_is_kept(server, key):
    with server.client() as client:
        client.send(get(f"/waits?{key}"))
        eventually(lambda: notes(server, key) == ["entered"])
        client.send(get("/query?next")[:20])
        assert server.get(f"/opens?{key}").status == 200
        assert client.receive_response().content == key.encode()
        client.send(get("/query?next")[20:])
        assert client.receive_response().content == b"next"


def test_a_next_request_is_no_disconnect(server, key):
    with server.client() as client:
        client.send(get(f"/waits_for_a_disconnect?{key}"))
        eventually(lambda: notes(server, key) == ["entered"])
        client.send(get("/query?next"))
        assert server.get(f"/opens?{key}").status == 200
        assert client.receive_response().status == 200
        assert client.receive_response().content == b"next"
    assert notes(server, key) == ["entered", "not told"]


def test_a_client_that_leaves_with_a_next_request_is_told_of(server, key):
    client = server.client()
    client.send(get(f"/waits_for_a_disconnect?{key}") + get("/query?next"))
    eventually(lambda: notes(server, key) == ["entered"])
    client.close()
    try:
        eventually(lambda: notes(server, key) == ["entered", "told"])
    finally:
        assert server.get(f"/opens?{key}").status == 200


def test_a_head_that_another_request_begins_goes_to_nobody_else(server, key):
    with server.client() as first, server.client() as second:
        first.send(get(f"/is_answered_by_another?{key}"))
        eventually(lambda: notes(server, key) == ["entered"])
        second.send(get(f"/blocks_the_loop?{key}") + get(f"/starts_the_response_of_another?{key}"))
        eventually(lambda: notes(server, key) == ["entered", "blocks"])
        second.send(get("/waits_for_a_turn"))
        (server.directory / key).touch()
        responses = [second.receive_response() for _ in range(3)]
        assert [response.content for response in responses] == [b"before", b"own", b"after"]
        assert [response.field("X-First") for response in responses] == [None] * 3
        assert server.get(f"/opens?{key}").status == 200
        response = first.receive_response()
        assert (response.content, response.field("X-First")) == (b"of the first", "1")


def test_many_requests_run_at_the_same_time(server, key):
    clients = [server.client() for _ in range(50)]
    try:
        for client in clients:
            client.send(get(f"/waits?{key}"))
        eventually(lambda: len(notes(server, key)) == len(clients))
        assert server.get(f"/opens?{key}").status == 200
        assert {client.receive_response().content for client in clients} == {key.encode()}
    finally:
        for client in clients:
            client.close()


def test_a_stream_keeps_nobody_waiting(server, key):
    with server.client() as client:
        client.send(get(f"/begins_a_stream?{key}") + get("/query?next"))
        client.receive_head()
        assert client.receive_chunk() == b"one"
        assert server.get("/query?other").content == b"other"
        assert server.get(f"/opens?{key}").status == 200
        assert [client.receive_chunk(), client.receive_chunk()] == [b"two", b""]
        assert client.receive_response().content == b"next"


def test_without_keep_alive_every_response_closes(serving):
    with serving("--keep-alive", "0").client() as client:
        assert client.request("GET", "/query?1").values("Connection") == ["close"]
        assert client.is_closed_by_server()


def test_an_idle_connection_is_closed_in_the_end(serving):
    with serving("--keep-alive", "0.2").client() as client:
        assert client.request("GET", "/query?1").content == b"1"
        assert client.is_closed_by_server()


def test_a_head_that_does_not_come_is_a_408(serving):
    with serving("--request-head-timeout", "0.3").client() as client:
        client.send(b"GET / HTTP/1.1\r\nHo")
        assert client.receive_response().status == 408
        assert client.is_closed_by_server()


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX-A: " + b"x" * 9000 + b"\r\n\r\n", 431),
    ],
)
def test_a_request_that_breaks_a_rule_is_refused(server, head, status):
    with server.client() as client:
        client.send(get("/query?before") + head)
        assert client.receive_response().content == b"before"
        assert client.receive_response().status == status
        assert client.is_closed_by_server()
