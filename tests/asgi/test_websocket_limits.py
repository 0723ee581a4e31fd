"""What a WebSocket may do: pings, the length of messages, how many wait, and compression."""

import asyncio
import contextlib
import select
import socket
import zlib

import pytest
from calls import Calls, note, notes, respond
from conformance.frames import BINARY, CONTINUATION, PING, PONG, TEXT, Deflater, frame
from support import Client, eventually
from websocket_client import WebSocketClient

OFFER = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"

application = Calls()
gates = {}


@application.route
async def echo(scope, receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        await send(
            {"type": "websocket.send", "text": event["text"]}
            if "text" in event
            else {"type": "websocket.send", "bytes": event["bytes"]}
        )
    note(scope, event["code"])


@application.route
async def reads_late(scope, receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    await gates.setdefault(scope["query_string"], asyncio.Event()).wait()
    received = 0
    while (event := await receive())["type"] == "websocket.receive":
        received += 1
        if event.get("text") == "end":
            await send({"type": "websocket.send", "text": str(received)})


@application.route
async def opens(scope, _receive, send):
    gates.setdefault(scope["query_string"], asyncio.Event()).set()
    await respond(send)


@application.route
async def sends_much(scope, receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    for number in range(300):
        await send({"type": "websocket.send", "bytes": bytes(100_000)})
        gates[scope["query_string"]] = number + 1
    note(scope, "given")


@application.route
async def how_many(scope, _receive, send):
    await respond(send, str(gates.get(scope["query_string"], 0)).encode())


@application.route
async def waits(scope, receive, send):
    """Listen to nothing but the disconnect."""
    await receive()
    await send({"type": "websocket.accept"})
    note(scope, (await receive())["code"])


@application.route
async def sends_much_and_listens(scope, receive, send):
    await receive()
    await send({"type": "websocket.accept"})

    async def give():
        for number in range(300):
            await send({"type": "websocket.send", "bytes": bytes(100_000)})
            gates[scope["query_string"]] = number + 1

    sending = asyncio.ensure_future(give())
    while (event := await receive())["type"] == "websocket.receive":
        note(scope, event["text"])
    try:
        await sending
    except OSError as error:
        note(scope, type(error).__name__)


@application.route
async def counts_late(scope, receive, send):
    """Note how many messages there were, when the gate is opened, and the code behind them."""
    await receive()
    await send({"type": "websocket.accept"})
    note(scope, "accepted")
    await gates.setdefault(scope["query_string"], asyncio.Event()).wait()
    received = 0
    while (event := await receive())["type"] == "websocket.receive":
        received += 1
    note(scope, received, event["code"])


@application.route
async def closes_late(_scope, receive, send):
    """Close when more time has passed than a close frame is waited for."""
    await receive()
    await send({"type": "websocket.accept"})
    await asyncio.sleep(5.2)
    await send({"type": "websocket.close"})


# ---- pings ----


@pytest.fixture
def pinging(serving):
    """A server that asks silent clients soon."""
    return serving("--ws-ping-interval", "0.2", "--ws-ping-timeout", "1.5")


def test_a_silent_client_is_asked_and_let_be_when_it_answers(pinging, key):
    with WebSocketClient(pinging, f"/waits?{key}") as client:
        for _ in range(4):
            opcode, _, data = client.receive_frame()
            assert opcode == PING
            client.send_frame(PONG, data)
        client.send_close()
        assert client.receive_close() == (1000, "")
    eventually(lambda: notes(pinging, key) == [1000])


def test_a_client_that_answers_no_ping_is_closed_and_the_application_told(pinging, key):
    with WebSocketClient(pinging, f"/waits?{key}") as client:
        assert client.receive_frame()[0] == PING
        assert client.receive_close() == (1011, "keepalive ping timeout")
        assert client.client.is_closed_by_server()
    eventually(lambda: notes(pinging, key) == [1006])


def test_a_client_whose_answers_are_not_read_yet_is_not_closed(serving, key):
    server = serving("--ws-ping-interval", "0.2", "--ws-ping-timeout", "0.4", "--ws-max-queue", "4")
    with WebSocketClient(server, f"/reads_late?{key}") as client:
        for number in range(40):
            client.send(str(number))
        # Others that answer nothing are, one after the other.
        for _ in range(2):
            with WebSocketClient(server, f"/waits?{key}") as other:
                assert other.receive_frame()[0] == PING
                assert other.receive_close()[0] == 1011
        client.send("end")
        assert server.get(f"/opens?{key}").status == 200
        while (frame_of_server := client.receive_frame())[0] == PING:
            client.send_frame(PONG, frame_of_server[2])
        assert frame_of_server == (TEXT, 0, b"41")


def test_without_an_interval_nobody_is_asked(serving, pinging, key):
    server = serving("--ws-ping-interval", "0")
    with WebSocketClient(pinging, f"/waits?{key}") as asked, WebSocketClient(server, f"/waits?{key}") as client:
        assert asked.receive_frame()[0] == PING
        assert asked.receive_close()[0] == 1011
        assert not select.select([client.socket], [], [], 0)[0]


# ---- sizes ----


@pytest.fixture
def small(serving):
    """A server that takes small messages only."""
    return serving("--ws-max-size", "1000")


def test_a_message_of_the_largest_size_is_taken(small):
    with WebSocketClient(small, "/echo") as client:
        client.send("x" * 1000)
        assert client.receive_message() == "x" * 1000


@pytest.mark.parametrize(
    "sent",
    [
        frame(TEXT, bytes(1001)),
        frame(TEXT, b"x", length=1 << 62),
        frame(BINARY, bytes(600), fin=False) + frame(CONTINUATION, bytes(401)),
    ],
    ids=["one frame", "a frame of which most is missing", "two frames"],
)
def test_a_message_that_is_too_long_is_a_1009_for_both(small, key, sent):
    with WebSocketClient(small, f"/echo?{key}") as client:
        client.client.send(sent)
        assert client.receive_close()[0] == 1009
        assert client.client.is_closed_by_server()
    eventually(lambda: notes(small, key) == [1009])


def test_a_message_that_is_too_long_when_inflated_is_a_1009(small, key):
    with WebSocketClient(small, f"/echo?{key}", [OFFER]) as client:
        client.send_frame(BINARY, Deflater()(bytes(1_000_000)), rsv=4)
        assert client.receive_close()[0] == 1009
    eventually(lambda: notes(small, key) == [1009])


def test_what_a_refused_client_still_sends_does_not_hide_the_reason(small):
    with WebSocketClient(small, "/echo") as client:
        client.client.send(frame(BINARY, bytes(1_000_000)))
        assert client.receive_close()[0] == 1009


def test_what_comes_behind_the_refusal_is_dropped_too(small):
    sent = frame(BINARY, bytes(500_000))
    with WebSocketClient(small, "/echo") as client:
        client.client.send(sent[:2000])
        assert client.receive_close()[0] == 1009
        for begin in range(2000, len(sent), 100_000):
            client.client.send(sent[begin : begin + 100_000])
        assert client.client.is_closed_by_server()


# ---- queues ----


@pytest.mark.parametrize("size", [5, 2000], ids=["many messages", "long messages"])
def test_messages_that_nobody_receives_are_not_read_for_ever(serving, key, size):
    server = serving("--ws-max-queue", "4")
    with WebSocketClient(server, f"/reads_late?{key}", timeout=30) as client:
        client.socket.setblocking(False)
        one = frame(TEXT, b"x" * size)
        data = one * (2_000_000 // len(one))
        sent = 0
        while select.select([], [client.socket], [], 0.3)[1]:
            with contextlib.suppress(BlockingIOError):
                sent += client.socket.send(data[sent % len(data) :])
                # What the kernel keeps for both ends is a few megabytes.
                assert sent < 40_000_000
        client.socket.settimeout(30)
        assert server.get(f"/opens?{key}").status == 200
        begun = -sent % len(one)
        client.client.send(one[len(one) - begun :])
        client.send("end")
        assert client.receive_message() == str((sent + begun) // len(one) + 1)


def is_stalled(server, key):
    """Whether it has begun to send, and sends no more."""
    counts = [int(server.get(f"/how_many?{key}").content) for _ in range(20)]
    return 0 < counts[0] == counts[-1] < 300


def test_send_waits_for_a_client_that_reads_slowly(server, key):
    with WebSocketClient(server, f"/sends_much?{key}", timeout=20) as client:
        eventually(lambda: is_stalled(server, key))
        assert notes(server, key) == []
        for _ in range(300):
            assert client.receive_message() == bytes(100_000)
    eventually(lambda: notes(server, key) == ["given"])


def test_of_many_pings_of_a_client_that_does_not_read_the_last_is_answered(server, key):
    with WebSocketClient(server, f"/sends_much_and_listens?{key}", timeout=20) as client:
        eventually(lambda: is_stalled(server, key))
        for number in range(100):
            client.send_frame(PING, str(number).encode())
        client.send("all are here")
        eventually(lambda: notes(server, key) == ["all are here"])
        frames = [client.receive_frame() for _ in range(301)]
        assert [data for opcode, _, data in frames if opcode == PONG] == [b"99"]


def test_what_a_client_sends_does_not_make_up_for_what_it_does_not_take(serving, key):
    server = serving("--write-timeout", "0.4")
    with WebSocketClient(server, f"/sends_much_and_listens?{key}") as client:

        def is_told_while_more_is_sent():
            with contextlib.suppress(ConnectionError):
                client.send_frame(PONG)
            return notes(server, key) == ["Disconnected"]

        eventually(is_told_while_more_is_sent)


def test_messages_and_a_close_before_an_end_of_the_client_are_not_lost(serving, key):
    """Some are not read before the application takes the first; the end is known by then."""
    server = serving("--ws-max-queue", "4")
    with WebSocketClient(server, f"/counts_late?{key}") as client:
        eventually(lambda: notes(server, key) == ["accepted"])
        client.client.send(frame(TEXT, bytes(1000)) * 200)
        client.send_close(4000)
        client.socket.shutdown(socket.SHUT_WR)
        assert server.get(f"/opens?{key}").status == 200
        eventually(lambda: notes(server, key) == ["accepted", 200, 4000])


def test_a_close_after_a_long_silence_is_waited_for(server):
    with WebSocketClient(server, "/closes_late") as client:
        assert client.receive_close() == (1000, "")
        # It takes turns meanwhile.
        assert server.get().status == 200
        assert not select.select([client.socket], [], [], 0.3)[0]
        client.send_close(1000)
        assert client.client.is_closed_by_server()


def test_a_client_that_takes_nothing_is_left(serving, key):
    server = serving("--write-timeout", "0.4")
    with WebSocketClient(server, f"/sends_much?{key}"):
        eventually(lambda: "took nothing of a response for write_timeout: closed" in server.log())


# ---- compression ----


def inflated(data):
    return zlib.decompressobj(-15).decompress(data + b"\0\0\xff\xff")


def test_a_client_that_can_has_its_messages_compressed(server):
    with WebSocketClient(server, "/echo", [OFFER]) as client:
        assert client.response.field("Sec-WebSocket-Extensions").startswith("permessage-deflate")
        client.send_frame(TEXT, Deflater()(b"hello " * 1000), rsv=4)
        opcode, rsv, data = client.receive_frame()
        assert (opcode, rsv) == (TEXT, 4)
        assert len(data) < 500
        assert inflated(data) == b"hello " * 1000


def test_such_a_client_may_leave_a_message_as_it_is(server):
    with WebSocketClient(server, "/echo", [OFFER]) as client:
        client.send("x")
        opcode, rsv, data = client.receive_frame()
        assert (opcode, inflated(data) if rsv else data) == (TEXT, b"x")


def test_a_client_that_does_not_offer_has_none_compressed(server):
    with WebSocketClient(server, "/echo") as client:
        assert client.response.field("Sec-WebSocket-Extensions") is None
        client.send("hello " * 1000)
        assert client.receive_message() == "hello " * 1000


def test_compression_can_be_switched_off(serving):
    with WebSocketClient(serving("--no-ws-per-message-deflate"), "/echo", [OFFER]) as client:
        assert client.response.field("Sec-WebSocket-Extensions") is None
        client.send("hello " * 1000)
        assert client.receive_message() == "hello " * 1000


def test_what_cannot_be_inflated_is_refused(server, key):
    with WebSocketClient(server, f"/echo?{key}", [OFFER]) as client:
        client.send_frame(TEXT, b"\xff\xff\xff", rsv=4)
        code, _ = client.receive_close()
        assert code in (1002, 1007)
    eventually(lambda: notes(server, key) == [code])


def test_an_open_websocket_costs_no_request_its_place(serving):
    server = serving("--worker-connections", "2")
    sockets = [WebSocketClient(server, "/echo") for _ in range(5)]
    try:
        for number, one in enumerate(sockets):
            one.send(str(number))
            assert one.receive_message() == str(number)
        with Client(server.address) as client:
            assert client.request("GET").status == 200
    finally:
        for one in sockets:
            one.client.close()
