"""What send() takes, how it reaches the client, and what an application is told that gives it something else."""

import asyncio
import types

import pytest
from calls import Calls, Interrupted, body, note, notes, read, respond, start
from support import eventually

application = Calls()

FIELDS = [(b"X-B", b"1"), (b"x-a", b"2"), (b"X-B", b"3"), (b"Set-Cookie", b"a"), (b"set-cookie", b"b")]


@application.route
async def fields(_scope, _receive, send):
    await send(start(headers=FIELDS))
    await send(body(b"hello"))


@application.route
async def own_stamp(_scope, _receive, send):
    await send(start(headers=[(b"date", b"today"), (b"server", b"mine")]))
    await send(body())


@application.route
async def one_block(_scope, _receive, send):
    await respond(send, b"hello")


@application.route
async def blocks(_scope, _receive, send):
    await send(start())
    for block in (b"one", b"", b"two"):
        await send(body(block, more=True))
    await send(body())


@application.route
async def of_status(scope, _receive, send):
    await respond(send, b"hello", status=int(scope["query_string"]))


@application.route
async def with_length(_scope, _receive, send):
    """Blocks whose length is told before."""
    await send(start(headers=[(b"content-length", b"6")]))
    await send(body(b"one", more=True))
    await send(body(b"two"))


@application.route
async def too_long(_scope, _receive, send):
    await send(start(headers=[(b"content-length", b"3")]))
    await send(body(b"hello", more=True))
    await send(body(b" world"))


@application.route
async def too_short(_scope, _receive, send):
    await send(start(headers=[(b"content-length", b"9")]))
    await send(body(b"hello"))


@application.route
async def closes(_scope, _receive, send):
    await send(start(headers=[(b"connection", b"close")]))
    await send(body(b"hello"))


@application.route
async def hop_by_hop(_scope, _receive, send):
    dropped = [(b"transfer-encoding", b"chunked"), (b"keep-alive", b"timeout=9"), (b"connection", b"keep-alive")]
    await send(start(headers=[*dropped, (b"x-a", b"1")]))
    await send(body(b"hello"))


SHAPES = {
    "no headers": [{"type": "http.response.start", "status": 200}, body(b"hello")],
    "headers from a generator": lambda: [start(headers=(pair for pair in [(b"x-a", b"1")])), body(b"hello")],
    "headers as lists": [start(headers=[[b"x-a", b"1"]]), body(b"hello")],
    "headers as a tuple": [start(headers=((b"x-a", b"1"),)), body(b"hello")],
    "no more_body": [start(), {"type": "http.response.body", "body": b"hello"}],
    "a bytearray": [start(), body(bytearray(b"hello"))],
    "a memoryview": [start(), body(memoryview(b"hello"))],
    "other mappings": [types.MappingProxyType(start()), types.MappingProxyType(body(b"hello"))],
    "fields that nobody knows": [start(other=1), {**body(b"hello"), "other": 1}],
}


@application.route
async def shapes(scope, _receive, send):
    shape = list(SHAPES.values())[int(scope["query_string"])]
    for event in shape() if callable(shape) else shape:
        assert await send(event) is None


WRONG = {
    "an unknown type": [{"type": "http.response.push"}],
    "no type": [{}],
    "a type of websockets": [{"type": "websocket.send", "text": "a"}],
    "a body before the start": [body(b"a")],
    "trailers before the start": [{"type": "http.response.trailers", "headers": []}],
    "no status": [{"type": "http.response.start", "headers": []}],
    "a status that is no number": [start(status="200")],
    "a status that is too low": [start(status=99)],
    "a status that is too high": [start(status=600)],
    "an interim status": [start(status=100)],
    "another protocol": [start(status=101)],
    "a name that is text": [start(headers=[("x-a", b"1")])],
    "a value that is text": [start(headers=[(b"x-a", "1")])],
    "a name with a colon": [start(headers=[(b"x-a:", b"1")])],
    "an empty name": [start(headers=[(b"", b"1")])],
    "a value with a line end": [start(headers=[(b"x-a", b"1\r\nx-b: 2")])],
    "a value with a line feed": [start(headers=[(b"x-a", b"1\nx-b: 2")])],
    "a value with a null": [start(headers=[(b"x-a", b"1\0")])],
    "a pair of three": [start(headers=[(b"x-a", b"1", b"2")])],
    "a pair that is none": [start(headers=[b"x-a"])],
    "headers that are none": [start(headers=7)],
    "two lengths": [start(headers=[(b"content-length", b"1"), (b"content-length", b"1")])],
    "a length that is none": [start(headers=[(b"content-length", b"many")])],
}
WRONG_LATER = {
    "two starts": start(),
    "a start after a block": start(),
    "a body that is text": body("text"),
    "a body that is a number": body(5),
    "a body that is nothing": body(None),
    "trailers that were not announced": {"type": "http.response.trailers", "headers": []},
}


@application.route
async def wrong(scope, _receive, send):
    """Be wrong at the start, and then answer."""
    try:
        for event in list(WRONG.values())[int(scope["query_string"])]:
            await send(event)
    except Exception as error:
        await send(start(headers=[(b"x-error", type(error).__name__.encode())]))
        await send(body(str(error).encode()))


@application.route
async def wrong_later(scope, _receive, send):
    """Be wrong once the response has begun, and go on."""
    at = int(scope["query_string"])
    await send(start())
    if at:
        await send(body(b"begun ", more=True))
    try:
        await send(list(WRONG_LATER.values())[at])
    except Exception as error:
        await send(body(type(error).__name__.encode()))


@application.route
async def wrong_and_silent(_scope, _receive, send):
    await send(start())
    await send(start())


@application.route
async def after_the_end(scope, _receive, send):
    await respond(send, b"hello")
    await respond(send, b"again")
    await send({"type": "whatever"})
    note(scope, "ignored")


@application.route
async def is_kept(scope, receive, send):
    kept[scope["query_string"]] = receive, send
    await respond(send, b"hello")


@application.route
async def uses_the_kept_one(scope, _receive, send):
    """Another request is over: what its functions are given goes nowhere."""
    old_receive, old_send = kept[scope["query_string"]]
    await send(start())
    await send(body(b"begun ", more=True))
    await old_send(start(headers=[(b"x-a", b"1")]))
    await old_send(body(b"not of this one", more=True))
    event = await old_receive()
    await old_send(body(b"nor this"))
    await send(body(event["type"].encode()))


kept = {}


interrupted = Interrupted()
application.route(interrupted.waits)


@application.route
async def interrupts_with_its_start(_scope, _receive, send):
    await send(start(headers=interrupted.fields()))
    await send(body(b"of the second"))


@application.route
async def begins(scope, _receive, send):
    await send(start())
    await send(body(b"one", more=True))
    await wait_for_go(scope)
    await send(body(b"two", more=True))
    await send(body())


@application.route
async def only_starts(scope, _receive, send):
    await send(start(status=404))
    note(scope, "started")
    await wait_for_go(scope)
    await send(start(status=200))


@application.route
async def go(scope, _receive, send):
    waiting.setdefault(scope["query_string"], asyncio.Event()).set()
    await respond(send)


waiting = {}


async def wait_for_go(scope):
    await waiting.setdefault(scope["query_string"], asyncio.Event()).wait()


@application.route
async def echo(_scope, receive, send):
    await respond(send, await read(receive))


def test_fields_are_sent_in_their_order(server):
    response = server.get("/fields")
    names = ("x-a", "x-b", "set-cookie")
    sent = [(name.decode().lower(), value.decode()) for name, value in FIELDS]
    assert [(name.lower(), value) for name, value in response.fields if name.lower() in names] == sent


def test_date_and_server_are_added(server):
    response = server.get("/fields")
    assert response.field("Date").endswith(" GMT")
    assert response.field("Server") == "pyserver"


def test_date_and_server_of_the_application_are_the_only_ones(server):
    response = server.get("/own_stamp")
    assert (response.field("Date"), response.field("Server")) == ("today", "mine")


def test_the_length_of_a_single_block_is_told(server):
    response = server.get("/one_block")
    assert (response.field("Content-Length"), response.content) == ("5", b"hello")


def test_several_blocks_are_chunks_and_an_empty_one_ends_nothing(server):
    response = server.get("/blocks")
    assert (response.field("Transfer-Encoding"), response.content) == ("chunked", b"onetwo")


def test_a_client_that_knows_no_chunks_gets_none(server):
    with server.client() as client:
        client.send(b"GET /blocks HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        response = client.receive_response()
    assert (response.field("Transfer-Encoding"), response.field("Connection")) == (None, "close")
    assert response.content == b"onetwo"


def test_the_length_that_the_application_tells_is_sent(server):
    response = server.get("/with_length")
    assert (response.values("Content-Length"), response.field("Transfer-Encoding")) == (["6"], None)
    assert response.content == b"onetwo"


@pytest.mark.parametrize("target", ["/one_block", "/blocks", "/with_length"])
def test_a_response_to_head_has_no_content(server, target):
    with server.client() as client:
        assert client.request("HEAD", target).status == 200
        assert client.request("GET", "/one_block").content == b"hello"


@pytest.mark.parametrize("status", [204, 304])
def test_a_response_that_has_no_content_is_sent_without(server, status):
    with server.client() as client:
        response = client.request("GET", f"/of_status?{status}")
        assert (response.status, response.field("Transfer-Encoding")) == (status, None)
        assert client.request("GET", "/one_block").content == b"hello"


@pytest.mark.parametrize(("status", "reason"), [(200, "OK"), (404, "Not Found"), (418, None), (599, None)])
def test_a_status_has_its_reason(server, status, reason):
    response = server.get(f"/of_status?{status}")
    assert response.status == status
    assert reason is None or response.reason == reason


def test_what_is_beyond_the_length_is_not_sent(server):
    with server.client() as client:
        assert client.request("GET", "/too_long").content == b"hel"
        assert client.request("GET", "/one_block").content == b"hello"
    assert "the response to GET /too_long has more content than its Content-Length of 3" in server.log()


def test_after_too_little_the_connection_is_closed(server):
    with server.client() as client, pytest.raises(EOFError):
        client.request("GET", "/too_short")
    assert "the response to GET /too_short ends after 5 of 9 bytes of content" in server.log()


def test_the_application_may_close_the_connection(server):
    with server.client() as client:
        assert client.request("GET", "/closes").values("Connection") == ["close"]
        assert client.is_closed_by_server()


def test_what_is_the_servers_to_say_is_dropped(server):
    with server.client() as client:
        response = client.request("GET", "/hop_by_hop")
        assert (response.field("Transfer-Encoding"), response.field("Keep-Alive")) == (None, None)
        assert (response.field("X-A"), response.content) == ("1", b"hello")
        assert client.request("GET").status == 200


@pytest.mark.parametrize("number", range(len(SHAPES)), ids=list(SHAPES))
def test_events_may_have_other_shapes(server, number):
    assert server.get(f"/shapes?{number}").content == b"hello"


@pytest.mark.parametrize("number", range(len(WRONG)), ids=list(WRONG))
def test_what_is_wrong_is_raised_by_send_and_another_response_may_follow(server, number):
    with server.client() as client:
        response = client.request("GET", f"/wrong?{number}")
        assert response.field("X-Error") == "LocalProtocolError"
        assert response.content
        assert not response.values("X-A")
        assert client.request("GET").status == 200


@pytest.mark.parametrize("number", range(len(WRONG_LATER)), ids=list(WRONG_LATER))
def test_what_is_wrong_later_is_raised_and_the_response_may_go_on(server, number):
    with server.client() as client:
        assert client.request("GET", f"/wrong_later?{number}").content.endswith(b"LocalProtocolError")
        assert client.request("GET").status == 200


def test_fields_of_a_start_that_send_for_another_request_are_kept_apart(server, key):
    with server.client() as first, server.client() as second:
        first.send(f"GET /waits?{key} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        eventually(lambda: notes(server, key) == ["waits"])
        responses = [second.request("GET", "/interrupts_with_its_start"), first.receive_response()]
    assert [response.content for response in responses] == [b"of the second", b"of the first"]
    assert [response.values("X-First") for response in responses] == [[], ["1"]]
    assert [response.values("X-Second") for response in responses] == [["1", "2"], []]


def test_what_is_wrong_and_not_caught_is_a_500_and_in_the_log(server):
    assert server.get("/wrong_and_silent").status == 500
    expected = "LocalProtocolError: send() was given 'http.response.start' where 'http.response.body' was expected"
    assert expected in server.log()


def test_what_is_given_after_the_end_is_ignored(server, key):
    with server.client() as client:
        assert client.request("GET", f"/after_the_end?{key}").content == b"hello"
        assert client.request("GET", "/one_block").content == b"hello"
    eventually(lambda: notes(server, key) == ["ignored"])


def test_what_is_given_to_a_request_that_is_over_goes_to_no_other(server, key):
    with server.client() as client:
        assert client.request("GET", f"/is_kept?{key}").content == b"hello"
        assert client.request("GET", f"/uses_the_kept_one?{key}").content == b"begun http.disconnect"
        assert client.request("GET").status == 200


def test_a_block_leaves_before_the_next_is_there(server, key):
    with server.client() as client:
        client.send(f"GET /begins?{key} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        assert client.receive_head().status == 200
        assert client.receive_chunk() == b"one"
        assert server.get(f"/go?{key}").status == 200
        assert client.receive_chunk() == b"two"
        assert client.receive_chunk() == b""


def test_a_start_leaves_with_the_first_block_only(server, key):
    with server.client() as client:
        client.send(f"GET /only_starts?{key} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        eventually(lambda: notes(server, key))
        assert server.get(f"/go?{key}").status == 200
        assert client.receive_response().status == 500


def test_responses_that_are_made_at_the_same_time_are_not_mixed(server, key):
    names = [f"{key}-{number}" for number in range(20)]
    clients = [server.client() for _ in names]
    try:
        for client, name in zip(clients, names, strict=True):
            client.send(f"GET /only_starts?{name} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        for name in names:
            eventually(lambda name=name: notes(server, name))
        for client, name in reversed(list(zip(clients, names, strict=True))):
            assert server.get(f"/go?{name}").status == 200
            assert client.receive_response().status == 500
    finally:
        for client in clients:
            client.close()
