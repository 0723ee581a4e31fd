"""WebSockets: the handshake, messages, and answers that are none."""

import asyncio

import pytest
from calls import Calls, Interrupted, note, notes, respond
from calls import each_loop as worker_class
from conformance.frames import BINARY, CONTINUATION, PING, PONG, TEXT, frame
from support import eventually
from websocket_client import WebSocketClient, handshake

__all__ = ["worker_class"]

application = Calls()


@application.route
async def echo(scope, receive, send):
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "bytes": event.get("bytes"), "text": event.get("text")})
    note(scope, event)


@application.route
async def events(scope, receive, send):
    """Note each event."""
    kind = ""
    while kind != "websocket.disconnect":
        event = await receive()
        kind = event["type"]
        note(scope, event)
        if kind == "websocket.connect":
            await send({"type": "websocket.accept"})


@application.route
async def accepts_without_receiving(_scope, _receive, send):
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": "hello"})
    await send({"type": "websocket.close"})


@application.route
async def chooses(scope, receive, send):
    await receive()
    await send(
        {
            "type": "websocket.accept",
            "subprotocol": scope["subprotocols"][-1],
            "headers": [(b"X-A", b"1"), (b"set-cookie", b"a"), (b"set-cookie", b"b")],
        }
    )
    await send({"type": "websocket.close"})


@application.route
async def accepts_later(scope, receive, send):
    """Accept in another task than the one that receives."""

    async def accept():
        await asyncio.sleep(0.01)
        await send({"type": "websocket.accept"})

    assert (await receive())["type"] == "websocket.connect"
    accepting = asyncio.ensure_future(accept())
    event = await receive()
    await accepting
    await send({"type": "websocket.send", "text": event["text"]})


WRONG = {
    "a message before the accept": {"type": "websocket.send", "text": "a"},
    "an unknown type": {"type": "websocket.whatever"},
    "no type": {},
    "a type of HTTP": {"type": "http.response.start", "status": 200},
    "a subprotocol that is bytes": {"type": "websocket.accept", "subprotocol": b"a"},
    "a subprotocol that is not ASCII": {"type": "websocket.accept", "subprotocol": "é"},
    "a subprotocol with a line end": {"type": "websocket.accept", "subprotocol": "a\r\nx-a: b"},
    "a header with a line end": {"type": "websocket.accept", "headers": [(b"x-a", b"1\r\nx-b: 2")]},
    "headers of text": {"type": "websocket.accept", "headers": [("x-a", "1")]},
    "a denial with a body first": {"type": "websocket.http.response.body", "body": b"a"},
    "a denial without a status": {"type": "websocket.http.response.start"},
    "a denial that is none": {"type": "websocket.http.response.start", "status": 101},
}
WRONG_LATER = {
    "a second accept": {"type": "websocket.accept"},
    "neither bytes nor text": {"type": "websocket.send"},
    "bytes and text": {"type": "websocket.send", "bytes": b"a", "text": "a"},
    "text that is bytes": {"type": "websocket.send", "text": b"a"},
    "bytes that are text": {"type": "websocket.send", "bytes": "a"},
    "a denial": {"type": "websocket.http.response.start", "status": 403},
    "a code that may not be sent": {"type": "websocket.close", "code": 1006},
    "a code that is text": {"type": "websocket.close", "code": "1000"},
    "a reason that is bytes": {"type": "websocket.close", "reason": b"a"},
}


@application.route
async def wrong(scope, receive, send):
    """Be wrong before the answer to the handshake, and then accept."""
    await receive()
    try:
        await send(list(WRONG.values())[int(scope["query_string"])])
    except Exception as error:
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": type(error).__name__})


@application.route
async def wrong_later(scope, receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    try:
        await send(list(WRONG_LATER.values())[int(scope["query_string"])])
    except Exception as error:
        await send({"type": "websocket.send", "text": type(error).__name__})


@application.route
async def sends_other_shapes(_scope, receive, send):
    await receive()
    await send({"type": "websocket.accept", "subprotocol": None, "headers": None})
    for data in (bytearray(b"a"), memoryview(b"b"), b""):
        await send({"type": "websocket.send", "bytes": data, "text": None})
    await send({"type": "websocket.send", "text": ""})


@application.route
async def refuses(scope, receive, send):
    await receive()
    await send({"type": "websocket.close", "code": 1000})
    note(scope, await receive())


@application.route
async def denies(_scope, receive, send):
    await receive()
    await send({"type": "websocket.http.response.start", "status": 401, "headers": [(b"x-a", b"1")]})
    await send({"type": "websocket.http.response.body", "body": b"who ", "more_body": True})
    await send({"type": "websocket.http.response.body", "body": b"are you?"})


interrupted = Interrupted()
application.route(interrupted.waits)


@application.route
async def interrupts_with_its_accept(_scope, receive, send):
    await receive()
    await send({"type": "websocket.accept", "headers": interrupted.fields()})


@application.route
async def interrupts_with_its_denial(_scope, receive, send):
    await receive()
    await send({"type": "websocket.http.response.start", "status": 401, "headers": interrupted.fields()})
    await send({"type": "websocket.http.response.body", "body": b"of the second"})


LATE = {
    "an accept": [{"type": "websocket.accept"}, {"type": "websocket.send", "text": "a"}],
    "a denial": [{"type": "websocket.http.response.start", "status": 401}, {"type": "websocket.http.response.body"}],
}


@application.route
async def leaves_the_answer_to_a_task(scope, receive, send):
    await receive()
    number, key = scope["query_string"].decode().split("-")

    async def answer():
        await over.setdefault(scope["query_string"], asyncio.Event()).wait()
        for event in list(LATE.values())[int(number)]:
            try:
                await send(event)
            except OSError as error:
                note(scope, type(error).__name__)

    kept[key] = asyncio.ensure_future(answer())


@application.route
async def lets_it_answer(scope, _receive, send):
    over.setdefault(scope["query_string"], asyncio.Event()).set()
    await respond(send)


over = {}


@application.route
async def fails(_scope, receive, _send):
    await receive()
    raise ValueError("before it is accepted")


@application.route
async def returns(_scope, receive, _send):
    await receive()


@application.route
async def fails_later(_scope, receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    await receive()
    raise ValueError("of an open one")


@application.route
async def cancels_a_receive(_scope, receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    waiting = asyncio.ensure_future(receive())
    await asyncio.sleep(0.001)
    waiting.cancel()
    await asyncio.wait({waiting})
    await send({"type": "websocket.send", "text": "cancelled"})
    await send({"type": "websocket.send", "text": (await receive())["text"]})


@application.route
async def many(_scope, receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    await asyncio.gather(*(send({"type": "websocket.send", "text": str(number)}) for number in range(100)))
    await send({"type": "websocket.send", "bytes": bytes(5_000_000)})


@pytest.mark.parametrize(
    "message", ["", "hello", "é€\U0001f600", b"", b"\x00\xff", "x" * 126, b"x" * 65_536, "y" * 300_000]
)
def test_messages_go_both_ways(server, message):
    with WebSocketClient(server, "/echo") as client:
        for _ in range(2):
            client.send(message)
            assert client.receive_message() == message


def test_the_handshake_is_answered(server):
    with WebSocketClient(server, "/echo") as client:
        response = client.response
        assert response.field("Sec-WebSocket-Accept") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        assert (response.field("Upgrade"), response.field("Connection")) == ("websocket", "Upgrade")
        assert response.field("Sec-WebSocket-Protocol") is None
        assert response.field("Date")


def test_events_have_what_the_specification_says(server, key):
    with WebSocketClient(server, f"/events?{key}") as client:
        client.send("text")
        client.send(b"bytes")
        client.send_close(4000, "enough")
        assert client.receive_close() == (4000, "")
    eventually(
        lambda: (
            notes(server, key)
            == [
                {"type": "websocket.connect"},
                {"type": "websocket.receive", "text": "text"},
                {"type": "websocket.receive", "bytes": repr(b"bytes")},
                {"type": "websocket.disconnect", "code": 4000, "reason": "enough"},
            ]
        )
    )


def test_the_application_chooses_subprotocol_and_fields(server):
    with WebSocketClient(server, "/chooses", ["Sec-WebSocket-Protocol: a", "Sec-WebSocket-Protocol: b, c"]) as client:
        assert client.response.field("Sec-WebSocket-Protocol") == "c"
        assert client.response.field("X-A") == "1"
        assert client.response.values("Set-Cookie") == ["a", "b"]


def test_the_application_need_not_receive_before_it_accepts(server):
    with WebSocketClient(server, "/accepts_without_receiving") as client:
        assert client.receive_message() == "hello"
        assert client.end() == (1000, "")


def test_it_may_be_accepted_by_another_task(server):
    with WebSocketClient(server, "/accepts_later") as client:
        client.send("hello")
        assert client.receive_message() == "hello"


def test_a_connection_may_become_one_after_requests(server):
    with server.client() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 2 + handshake("/echo") + frame(TEXT, b"hello"))
        assert [client.receive_response().status for _ in range(3)] == [200, 200, 101]
        assert client.receive(7) == b"\x81\x05hello"


def test_messages_that_come_with_the_handshake_are_received(server):
    sent = frame(TEXT, b"one") + frame(TEXT, b"two")
    with WebSocketClient(server, "/echo", behind=sent) as client:
        assert [client.receive_message(), client.receive_message()] == ["one", "two"]


def test_fragments_are_one_message_and_control_frames_may_be_between(server):
    with WebSocketClient(server, "/echo") as client:
        client.send_frame(BINARY, b"one ", fin=False)
        client.send_frame(PING, b"there?")
        client.send_frame(CONTINUATION, b"two ", fin=False)
        client.send_frame(CONTINUATION, b"three")
        assert client.receive_frame() == (PONG, 0, b"there?")
        assert client.receive_message() == b"one two three"


def test_a_frame_may_come_byte_by_byte(server):
    with WebSocketClient(server, "/echo") as client:
        for byte in frame(TEXT, "é€".encode()):
            client.client.send(bytes([byte]))
        assert client.receive_message() == "é€"


def test_a_pong_that_nobody_asked_for_is_ignored(server):
    with WebSocketClient(server, "/echo") as client:
        client.send_frame(PONG, b"here")
        client.send("hello")
        assert client.receive_message() == "hello"


def test_a_ping_is_answered_while_the_application_does_something_else(server, key):
    with WebSocketClient(server, f"/accepts_later?{key}") as client:
        client.send_frame(PING, b"there?")
        assert client.receive_frame() == (PONG, 0, b"there?")


@pytest.mark.parametrize("number", range(len(WRONG)), ids=list(WRONG))
def test_what_is_wrong_before_the_accept_is_raised_and_it_may_be_accepted_yet(server, number):
    with WebSocketClient(server, f"/wrong?{number}") as client:
        assert client.receive_message() == "LocalProtocolError"
        assert client.response.values("X-A") == []


@pytest.mark.parametrize("number", range(len(WRONG_LATER)), ids=list(WRONG_LATER))
def test_what_is_wrong_later_is_raised_and_it_is_open_yet(server, number):
    with WebSocketClient(server, f"/wrong_later?{number}") as client:
        assert client.receive_message() == "LocalProtocolError"
        assert client.end() == (1000, "")


def test_messages_may_have_other_shapes(server):
    with WebSocketClient(server, "/sends_other_shapes") as client:
        assert [client.receive_message() for _ in range(4)] == [b"a", b"b", b"", ""]


def test_messages_of_many_tasks_and_a_long_one_are_whole(server):
    with WebSocketClient(server, "/many") as client:
        assert [client.receive_message() for _ in range(100)] == [str(number) for number in range(100)]
        assert client.receive_message() == bytes(5_000_000)


def test_a_receive_that_was_cancelled_takes_no_message_with_it(server):
    with WebSocketClient(server, "/cancels_a_receive") as client:
        assert client.receive_message() == "cancelled"
        client.send("hello")
        assert client.receive_message() == "hello"


@application.route
async def is_kept(scope, receive, send):
    kept[scope["query_string"]] = receive, send
    await receive()
    await send({"type": "websocket.accept"})


@application.route
async def uses_the_kept_one(scope, receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    old_receive, old_send = kept[scope["query_string"]]
    event = await old_receive()
    try:
        await old_send({"type": "websocket.send", "text": "not of this one"})
    except OSError as error:
        await send({"type": "websocket.send", "text": f"{event['type']} {type(error).__name__}"})


kept = {}


def test_what_is_given_to_one_that_is_over_goes_to_no_other(server, key):
    with WebSocketClient(server, f"/is_kept?{key}") as client:
        assert client.end() == (1000, "")
    with WebSocketClient(server, f"/uses_the_kept_one?{key}") as client:
        assert client.receive_message() == "websocket.disconnect Disconnected"


# ---- answers that are none ----


def refused(server, request):
    with server.client() as client:
        client.send(request)
        response = client.receive_response()
        assert client.is_closed_by_server()
        return response


def test_a_close_before_the_accept_is_a_403(server, key):
    assert refused(server, handshake(f"/refuses?{key}")).status == 403
    eventually(lambda: notes(server, key) == [{"type": "websocket.disconnect", "code": 1006, "reason": ""}])


def test_the_application_may_answer_with_a_response(server):
    response = refused(server, handshake("/denies"))
    assert (response.status, response.field("X-A"), response.content) == (401, "1", b"who are you?")


@pytest.mark.parametrize(
    ("target", "why"),
    [("/fails", "ValueError: before it is accepted"), ("/returns", "has not answered WebSocket GET /returns")],
)
def test_an_application_that_does_not_answer_is_a_500(server, target, why):
    assert refused(server, handshake(target)).status == 500
    assert why in server.log()


@pytest.mark.parametrize("number", range(len(LATE)), ids=list(LATE))
def test_a_task_that_answers_when_the_application_has_returned_is_told_that_it_is_over(server, key, number):
    key = f"{number}-{key}"
    assert refused(server, handshake(f"/leaves_the_answer_to_a_task?{key}")).status == 500
    assert server.get(f"/lets_it_answer?{key}").status == 200
    eventually(lambda: notes(server, key) == ["Disconnected"] * 2)


@pytest.mark.parametrize(("target", "status"), [("accept", 101), ("denial", 401)])
def test_fields_of_an_answer_that_send_for_another_request_are_kept_apart(server, key, target, status):
    with server.client() as first, server.client() as second:
        first.send(f"GET /waits?{key} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        eventually(lambda: notes(server, key) == ["waits"])
        second.send(handshake(f"/interrupts_with_its_{target}"))
        responses = [second.receive_response(), first.receive_response()]
    assert [response.status for response in responses] == [status, 200]
    assert [response.values("X-First") for response in responses] == [[], ["1"]]
    assert [response.values("X-Second") for response in responses] == [["1", "2"], []]


def test_an_application_that_fails_later_is_a_1011(server):
    with WebSocketClient(server, "/fails_later") as client:
        client.send("a")
        assert client.end() == (1011, "")
    assert "[ERROR] Error in WebSocket GET /fails_later\nTraceback" in server.log()


@pytest.mark.parametrize(
    ("before", "after", "status"),
    [
        (b"Version: 13", b"Version: 12", 426),
        (b"GET ", b"POST ", 400),
        (b"dGhlIHNhbXBsZSBub25jZQ==", b"c2hvcnQ=", 400),
        (b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", b"", 400),
        (b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Version: 13\r\nContent-Length: 5", 400),
        (b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Version: 13\r\nTransfer-Encoding: chunked", 400),
    ],
)
def test_a_handshake_that_breaks_a_rule_is_refused(server, key, before, after, status):
    response = refused(server, handshake(f"/events?{key}").replace(before, after))
    assert response.status == status
    assert status != 426 or response.field("Sec-WebSocket-Version") == "13"
    assert notes(server, key) == []


@pytest.mark.parametrize(
    ("before", "after"),
    [(b"Upgrade: websocket", b"Upgrade: h2c"), (b"HTTP/1.1", b"HTTP/1.0")],
)
def test_what_does_not_ask_for_a_websocket_is_a_request(server, before, after):
    with server.client() as client:
        client.send(handshake("/").replace(before, after))
        assert client.receive_response().status == 200
