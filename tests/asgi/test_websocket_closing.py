"""How WebSockets end: who is told what, and when the connection goes."""

import asyncio
import contextlib
import gc
import signal
import socket
import struct

import pytest
from calls import Calls, note, notes, respond
from calls import each_loop as worker_class
from conformance.frames import CLOSE, CONTINUATION, PING, PONG, TEXT
from support import eventually
from websocket_client import WebSocketClient, handshake

__all__ = ["worker_class"]

application = Calls()


async def accept(receive, send):
    await receive()
    await send({"type": "websocket.accept"})


@application.route
async def listens(scope, receive, send):
    """Note the disconnect, again, and what send() raises then."""
    await accept(receive, send)
    note(scope, "accepted")
    while (event := await receive())["type"] == "websocket.receive":
        pass
    note(scope, [event["code"], event["reason"]], [(await receive())["code"]])
    try:
        await send({"type": "websocket.send", "text": "hello"})
    except OSError as error:
        note(scope, type(error).__name__)


@application.route
async def sends(scope, receive, send):
    """Send until that fails."""
    await accept(receive, send)
    note(scope, "accepted")
    try:
        while True:
            await send({"type": "websocket.send", "text": "hello"})
            await asyncio.sleep(0.001)
    except OSError as error:
        note(scope, type(error).__name__)
        raise


@application.route
async def sends_without_end(scope, receive, send):
    """Wait in send() for a client that does not read."""
    await accept(receive, send)
    name = scope["query_string"]
    try:
        while True:
            given[name] = given.get(name, 0) + 1
            await send({"type": "websocket.send", "bytes": bytes(100_000)})
    except OSError as error:
        note(scope, type(error).__name__)


@application.route
async def how_many(scope, _receive, send):
    await respond(send, str(given.get(scope["query_string"], 0)).encode())


given = {}


CLOSES = {
    "nothing else": ({}, (1000, "")),
    "a code": ({"code": 4001}, (4001, "")),
    "a reason": ({"code": 3000, "reason": "é"}, (3000, "é")),
    "no reason": ({"code": 1000, "reason": None}, (1000, "")),
    "a long reason": ({"code": 1000, "reason": "x" * 200}, (1000, "x" * 123)),
}


@application.route
async def closes(scope, receive, send):
    await accept(receive, send)
    await send({"type": "websocket.close", **list(CLOSES.values())[int(scope["query_string"])][0]})


@application.route
async def closes_and_goes_on(scope, receive, send):
    await accept(receive, send)
    await send({"type": "websocket.close", "code": 4000})
    await send({"type": "websocket.close", "code": 4001})
    note(scope, await receive())
    try:
        await send({"type": "websocket.send", "text": "late"})
    except OSError as error:
        note(scope, type(error).__name__)


@application.route
async def returns(_scope, receive, send):
    await accept(receive, send)


@application.route
async def cancels_itself(_scope, receive, send):
    await accept(receive, send)
    asyncio.current_task().cancel()
    await asyncio.sleep(60)


@application.route
async def waits_before_it_accepts(scope, receive, send):
    note(scope, (await receive())["type"])
    event = await receive()
    note(scope, event["code"])
    try:
        await send({"type": "websocket.accept"})
    except OSError as error:
        note(scope, type(error).__name__)


@application.route
async def reads_late(scope, receive, send):
    await accept(receive, send)
    note(scope, "accepted")
    await asyncio.wait_for(closed.setdefault(scope["query_string"], asyncio.Event()).wait(), 10)
    kind = ""
    while kind != "websocket.disconnect":
        event = await receive()
        kind = event["type"]
        note(scope, event.get("text", event.get("code")))


closed = {}


@application.route
async def lets_read(scope, _receive, send):
    closed.setdefault(scope["query_string"], asyncio.Event()).set()
    await respond(send)


@application.route
async def tasks(_scope, _receive, send):
    """How many there are beside this one."""
    await respond(send, str(len(asyncio.all_tasks() - {asyncio.current_task()})).encode())


@application.route
async def objects(_scope, _receive, send):
    """How many calls and sockets there are, cycles left out."""
    gc.collect()
    kinds = ("HTTPCall", "WebSocketCall", "WebSocket", "RequestTask", "UnbegunTask", "Receiving", "Sending")
    await respond(send, str(len([one for one in gc.get_objects() if type(one).__name__ in kinds])).encode())


def reset(client):
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.socket.close()


def leave(client):
    client.socket.close()


@pytest.mark.parametrize(
    ("code", "reason", "answer"), [(1000, "", 1000), (1001, "bye", 1001), (4999, "é", 4999), (None, "", None)]
)
def test_a_close_of_the_clients_is_answered_and_told(server, key, code, reason, answer):
    with WebSocketClient(server, f"/listens?{key}") as client:
        client.send_close(code, reason)
        assert client.receive_close() == (answer, "")
        assert client.client.is_closed_by_server()
    told = code or 1005
    eventually(lambda: notes(server, key) == ["accepted", [told, reason], [told], "Disconnected"])


@pytest.mark.parametrize("end", [reset, leave])
def test_a_client_that_leaves_without_a_word_is_a_1006(server, key, end):
    with WebSocketClient(server, f"/listens?{key}") as client:
        eventually(lambda: notes(server, key) == ["accepted"])
        end(client)
        eventually(lambda: notes(server, key) == ["accepted", [1006, ""], [1006], "Disconnected"])


@pytest.mark.parametrize("end", [reset, leave])
def test_send_raises_an_os_error_when_the_client_has_gone(server, key, end):
    with WebSocketClient(server, f"/sends?{key}") as client:
        assert client.receive_message() == "hello"
        end(client)
        eventually(lambda: notes(server, key) == ["accepted", "Disconnected"])
    assert f"?{key}" not in server.log()


@pytest.mark.parametrize("number", range(len(CLOSES)), ids=list(CLOSES))
def test_the_application_closes_with_a_code_and_a_reason(server, number):
    with WebSocketClient(server, f"/closes?{number}") as client:
        assert client.end() == list(CLOSES.values())[number][1]


def test_a_second_close_is_nothing_and_the_code_is_that_of_the_first(server, key):
    with WebSocketClient(server, f"/closes_and_goes_on?{key}") as client:
        assert client.end() == (4000, "")
    eventually(
        lambda: notes(server, key) == [{"type": "websocket.disconnect", "code": 4000, "reason": ""}, "Disconnected"]
    )


def test_an_application_that_returns_closes_normally(server):
    with WebSocketClient(server, "/returns") as client:
        assert client.end() == (1000, "")


def test_an_application_that_is_cancelled_closes_with_1011(server):
    with WebSocketClient(server, "/cancels_itself") as client:
        assert client.end() == (1011, "")


def test_a_client_that_leaves_before_the_accept_is_told_of(server, key):
    client = server.client()
    client.send(handshake(f"/waits_before_it_accepts?{key}"))
    eventually(lambda: notes(server, key))
    client.close()
    eventually(lambda: notes(server, key) == ["websocket.connect", 1006, "Disconnected"])
    assert f"?{key}" not in server.log()


def test_messages_before_a_close_are_received_before_the_disconnect(server, key):
    with WebSocketClient(server, f"/reads_late?{key}") as client:
        eventually(lambda: notes(server, key) == ["accepted"])
        client.send("one")
        client.send("two")
        client.send_close(4000)
        assert client.receive_close() == (4000, "")
        assert server.get(f"/lets_read?{key}").status == 200
        eventually(lambda: notes(server, key) == ["accepted", "one", "two", 4000])


@pytest.mark.parametrize(
    ("opcode", "data", "options", "code"),
    [
        (3, b"", {}, 1002),
        (11, b"", {}, 1002),
        (TEXT, b"a", {"rsv": 4}, 1002),
        (CONTINUATION, b"a", {}, 1002),
        (PING, bytes(126), {}, 1002),
        (PING, b"", {"fin": False}, 1002),
        (CLOSE, b"\x03", {}, 1002),
        (CLOSE, struct.pack("!H", 1005), {}, 1002),
        (CLOSE, struct.pack("!H", 1000) + b"\xff", {}, 1007),
        (TEXT, b"\xff", {}, 1007),
        (TEXT, "é".encode()[:1], {}, 1007),
    ],
)
def test_a_client_that_breaks_a_rule_is_told_and_the_application_too(server, key, opcode, data, options, code):
    with WebSocketClient(server, f"/listens?{key}") as client:
        client.send_frame(opcode, data, **options)
        assert client.receive_close()[0] == code
        assert client.client.is_closed_by_server()
    eventually(lambda: [note for note in notes(server, key)[1:2] if note[0] == code])


def test_an_application_that_waits_in_send_is_told_of_a_client_that_closes_and_does_not_read(server, key):
    with WebSocketClient(server, f"/sends_without_end?{key}") as client:

        def is_stalled():
            counts = [int(server.get(f"/how_many?{key}").content) for _ in range(20)]
            return 0 < counts[0] == counts[-1]

        eventually(is_stalled)
        client.send_close(1000)
        eventually(lambda: notes(server, key) == ["Disconnected"])


def test_a_frame_without_a_mask_is_refused(server, key):
    with WebSocketClient(server, f"/listens?{key}") as client:
        client.client.send(b"\x81\x01a")
        assert client.receive_close()[0] == 1002


def test_a_ping_after_the_close_of_the_server_is_not_answered(server):
    with WebSocketClient(server, "/returns") as client:
        assert client.receive_close() == (1000, "")
        client.send_frame(PING, b"there?")
        client.send("dropped")
        client.send_close(1000)
        assert client.client.is_closed_by_server()


def test_a_client_that_does_not_answer_the_close_may_leave(server):
    with WebSocketClient(server, "/returns") as client:
        assert client.receive_close() == (1000, "")
    assert server.get().status == 200


def test_a_client_that_only_ends_its_side_is_let_go(server, key):
    with WebSocketClient(server, f"/listens?{key}") as client:
        client.socket.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            client.client.read_until_closed()
    eventually(lambda: notes(server, key)[1:2] == [[1006, ""]])


def test_nothing_is_left_of_many_that_ended_in_every_way(server, key):
    eventually(lambda: server.get("/tasks").content == b"0")
    before = server.get("/objects").content
    ends = [
        leave,
        reset,
        lambda client: client.send_close(1000),
        lambda client: client.send_frame(3),
        lambda client: client.send_frame(PONG),
    ]
    for target in ("listens", "sends", "returns"):
        for end in ends:
            with WebSocketClient(server, f"/{target}?{key}") as client:
                end(client)
    eventually(lambda: server.get("/tasks").content == b"0" and server.get("/objects").content == before)


# It receives when there is a gate, and says what.
READS_AT_THE_GATE = """
import asyncio, os

async def application(scope, receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    while not os.path.exists("gate"):
        await asyncio.sleep(0.01)
    while True:
        event = await receive()
        print("received", event.get("text", event.get("code")), flush=True)
        if event["type"] == "websocket.disconnect":
            return
"""


def test_messages_before_a_stop_are_received_before_the_disconnect(serve, tmp_path):
    server = serve(READS_AT_THE_GATE, "--lifespan", "off")
    with WebSocketClient(server) as client:
        client.send("one")
        client.send("two")
        client.send_frame(PING, b"read?")
        assert client.receive_frame() == (PONG, 0, b"read?")
        server.send_signal(signal.SIGTERM)
        assert client.end() == (1012, "")
        (tmp_path / "gate").touch()
    assert server.wait() == 0
    told = [line.removeprefix("received ") for line in server.log().splitlines() if line.startswith("received ")]
    assert told == ["one", "two", "1012"]
