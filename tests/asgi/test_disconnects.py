"""Clients that leave: the application is told, once it asks, and not before they have left."""

import asyncio
import contextlib
import gc
import socket
import struct

import pytest
from calls import Calls, body, note, notes, read, respond, start
from calls import each_loop as worker_class
from support import eventually

__all__ = ["worker_class"]

application = Calls()


@application.route
async def waits(scope, receive, send):
    """Wait for the disconnect, and note what comes."""
    await receive()
    note(scope, "entered")
    note(scope, (await receive())["type"], (await receive())["type"])
    await respond(send)


@application.route
async def sends_on(scope, receive, send):
    await send(start())
    await send(body(b"begun", more=True))
    note(scope, "entered")
    await read(receive)
    assert (await receive())["type"] == "http.disconnect"
    for _ in range(2):
        try:
            # A client that has only ended its side may read yet: what is sent finds out.
            while True:
                await send(body(b"more", more=True))
                await asyncio.sleep(0.001)
        except OSError as error:
            note(scope, type(error).__name__)


@application.route
async def polls(scope, receive, send):
    """Stream, and look now and then whether the client is there, as frameworks do."""
    await read(receive)
    await send(start())
    asked = 0
    while not await is_gone(receive):
        asked += 1
        with contextlib.suppress(OSError):  # It may be the first to find out.
            await send(body(f"{asked} ".encode(), more=True))
        if asked == 20:
            note(scope, "there")
    note(scope, "gone")
    with contextlib.suppress(OSError):
        await send(body())


async def is_gone(receive):
    try:
        return (await asyncio.wait_for(receive(), 0.002))["type"] == "http.disconnect"
    except asyncio.TimeoutError:
        return False


@application.route
async def in_content(scope, receive, send):
    note(scope, "entered")
    kind = ""
    while kind != "http.disconnect":
        event = await receive()
        kind = event["type"]
        note(scope, [kind, len(event.get("body", b""))])


@application.route
async def after_the_end_of_the_request(_scope, receive, send):
    """Answer late."""
    content = await read(receive)
    await asyncio.sleep(0.05)
    await respond(send, content)


@application.route
async def goes_on(scope, receive, send):
    await read(receive)
    note(scope, "entered")
    await receive()
    try:
        await asyncio.sleep(0.02)
    except asyncio.CancelledError:
        note(scope, "cancelled")
        raise
    note(scope, "went on")


@application.route
async def fails(scope, receive, send):
    await read(receive)
    note(scope, "entered")
    await receive()
    note(scope, "told")
    raise ValueError("not of the client")


@application.route
async def raises_what_send_raises(scope, receive, send):
    await read(receive)
    note(scope, "entered")
    await receive()
    note(scope, "told")
    while True:
        await respond(send, b"a")
        await asyncio.sleep(0)


@application.route
async def tasks(_scope, _receive, send):
    """How many there are beside this one."""
    await respond(send, str(len(asyncio.all_tasks() - {asyncio.current_task()})).encode())


@application.route
async def objects(_scope, _receive, send):
    """How many calls and tasks of requests there are, cycles left out."""
    gc.collect()
    kinds = ("HTTPCall", "WebSocketCall", "RequestTask", "UnbegunTask", "Receiving", "Sending")
    found = [one for one in gc.get_objects() if type(one).__name__ in kinds]
    await respond(send, str(len(found)).encode())


def reset(client):
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def leave(client):
    client.close()


@pytest.fixture
def asked(server):
    """A client that has sent a request, which the application has."""
    clients = []

    def ask(target, key, *fields, content=b""):
        client = server.client()
        clients.append(client)
        client.send("\r\n".join([f"POST /{target}?{key} HTTP/1.1", "Host: a", *fields, "", ""]).encode() + content)
        eventually(lambda: notes(server, key))
        return client

    yield ask
    for client in clients:
        client.close()


@pytest.mark.parametrize("end", [reset, leave])
def test_who_waits_in_receive_is_told_each_time(server, asked, key, end):
    end(asked("waits", key))
    eventually(lambda: notes(server, key) == ["entered", "http.disconnect", "http.disconnect"])
    assert f"?{key}" not in server.log()


@pytest.mark.parametrize("end", [reset, leave])
def test_send_raises_an_os_error_afterwards(server, asked, key, end):
    client = asked("sends_on", key)
    client.receive_head()
    client.receive_chunk()
    end(client)
    eventually(lambda: notes(server, key) == ["entered", "Disconnected", "Disconnected"])


def test_a_client_that_is_asked_for_again_and_again_is_there_until_it_leaves(server, asked, key):
    client = server.client()
    client.send(f"GET /polls?{key} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    eventually(lambda: notes(server, key) == ["there"])
    leave(client)
    eventually(lambda: notes(server, key) == ["there", "gone"])


@pytest.mark.parametrize("end", [reset, leave])
def test_half_a_content_is_followed_by_a_disconnect(server, asked, key, end):
    client = asked("in_content", key, "Content-Length: 10", content=b"hello")
    eventually(lambda: ["http.request", 5] in notes(server, key))
    end(client)
    eventually(lambda: notes(server, key) == ["entered", ["http.request", 5], ["http.disconnect", 0]])


def test_a_client_that_has_only_said_all_it_will_gets_its_response(server):
    with server.client() as client:
        head = b"POST /after_the_end_of_the_request HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"
        client.send(head + b"hello")
        client.socket.shutdown(socket.SHUT_WR)
        assert client.receive_response().content == b"hello"
        assert client.is_closed_by_server()


def test_the_application_is_not_cancelled(server, asked, key):
    leave(asked("goes_on", key))
    eventually(lambda: notes(server, key) == ["entered", "went on"])


def test_an_error_of_the_applications_own_is_in_the_log(server, asked, key):
    reset(asked("fails", key))
    eventually(lambda: notes(server, key) == ["entered", "told"])
    eventually(lambda: f"/fails?{key}" in server.log())
    assert "ValueError: not of the client" in server.log()


def test_what_send_raised_is_not_in_the_log(server, asked, key):
    reset(asked("raises_what_send_raises", key))
    eventually(lambda: notes(server, key) == ["entered", "told"])
    assert server.get().status == 200
    assert f"?{key}" not in server.log()


@pytest.mark.parametrize("target", ["waits", "in_content", "polls"])
def test_nothing_of_many_requests_whose_clients_left_is_left(server, key, target):
    for number in range(20):
        client = server.client()
        client.send(f"POST /{target}?{key} HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab".encode())
        [reset, leave][number % 2](client)
    eventually(lambda: server.get("/tasks").content == b"0")


@pytest.mark.parametrize(
    "target", ["/", "/after_the_end_of_the_request", "/polls", "/sends_on", "/in_content", "/fails"]
)
def test_no_object_of_many_requests_is_left(server, key, target):
    eventually(lambda: server.get("/tasks").content == b"0")
    before = server.get("/objects").content
    for number in range(20):
        with server.client() as client:
            client.send(f"POST {target}?{key} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab".encode())
            [reset, leave][number % 2](client)
    eventually(lambda: server.get("/objects").content == before)
