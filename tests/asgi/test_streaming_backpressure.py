"""Responses that their clients take slowly: send() waits, others are served, and nothing is lost."""

import asyncio
import contextlib
import hashlib

import pytest
from calls import Calls, body, note, notes, respond, start
from calls import each_loop as worker_class
from support import Client, eventually

__all__ = ["worker_class"]

BLOCK = bytes(range(256)) * 256
MANY = 300

application = Calls()
given = {}


@application.route
async def many_blocks(scope, _receive, send):
    name = scope["query_string"]
    given[name] = 0
    await send(start())
    for _ in range(MANY):
        await send(body(BLOCK, more=True))
        given[name] += 1
    await send(body())
    note(scope, "given")


@application.route
async def how_many(scope, _receive, send):
    await respond(send, str(given.get(scope["query_string"], 0)).encode())


@application.route
async def one_large_block(scope, _receive, send):
    await respond(send, BLOCK * MANY)
    note(scope, "given")


@application.route
async def two_tasks(scope, _receive, send):
    """Two tasks that give blocks of one response, and both wait."""
    await send(start())

    async def give(byte):
        for _ in range(MANY // 2):
            await send(body(byte * len(BLOCK), more=True))

    await asyncio.gather(give(b"a"), give(b"b"))
    await send(body())
    note(scope, "given")


@application.route
async def gives_up(scope, _receive, send):
    """Cancel a send() that waits, and go on."""
    await send(start())
    blocks = 0
    with contextlib.suppress(asyncio.TimeoutError):
        while blocks < MANY:
            blocks += 1
            await asyncio.wait_for(send(body(BLOCK, more=True)), 0.05)
    note(scope, blocks)
    await send(body(b"end"))


@application.route
async def tells_of_errors(scope, _receive, send):
    try:
        await send(start())
        for _ in range(MANY):
            await send(body(BLOCK, more=True))
    except OSError as error:
        note(scope, type(error).__name__)
        raise


@application.route
async def gives_the_last_block_while_another_waits(scope, _receive, send):
    await send(start())
    waiting = asyncio.ensure_future(send(body(BLOCK * MANY, more=True)))
    await asyncio.sleep(0)
    note(scope, waiting.done())
    ending = asyncio.ensure_future(send(body(b"end")))
    await waiting
    note(scope, "told")
    await ending


@application.route
async def reads_while_it_sends(scope, receive, send):
    """Send to a client that sends, too."""
    await send(start())
    sending = asyncio.ensure_future(send(body(BLOCK * MANY, more=True)))
    note(scope, "entered")
    while (await receive())["type"] != "http.disconnect":
        pass
    try:
        await sending
    except OSError as error:
        note(scope, type(error).__name__)


@pytest.fixture
def slow(server):
    """A client that takes little at once."""
    with Client(server.address, timeout=20, receive_buffer=4096) as client:
        yield client


def ask(client, target):
    client.send(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())


def is_stalled(server, key):
    """Whether it has begun, and gives no more."""
    counts = [int(server.get(f"/how_many?{key}").content) for _ in range(20)]
    return 0 < counts[0] == counts[-1] < MANY


def test_send_waits_until_the_client_takes_more(server, slow, key):
    ask(slow, f"/many_blocks?{key}")
    eventually(lambda: is_stalled(server, key))
    assert notes(server, key) == []
    assert slow.receive_response().content == BLOCK * MANY
    eventually(lambda: notes(server, key) == ["given"])


def test_a_large_block_arrives_whole_and_its_connection_goes_on(server, slow, key):
    ask(slow, f"/one_large_block?{key}")
    assert hashlib.sha256(slow.receive_response().content).digest() == hashlib.sha256(BLOCK * MANY).digest()
    assert slow.request("GET").status == 200


def test_the_blocks_of_two_tasks_that_wait_are_all_sent(server, slow, key):
    ask(slow, f"/two_tasks?{key}")
    content = slow.receive_response().content
    assert (content.count(b"a"), content.count(b"b")) == (MANY // 2 * len(BLOCK),) * 2
    eventually(lambda: notes(server, key) == ["given"])


def test_a_send_that_was_cancelled_has_given_its_block_once(server, slow, key):
    ask(slow, f"/gives_up?{key}")
    (blocks,) = eventually(lambda: notes(server, key))
    assert blocks < MANY
    assert slow.receive_response().content == BLOCK * blocks + b"end"


def test_who_waits_is_told_when_another_gives_the_last_block(server, slow, key):
    ask(slow, f"/gives_the_last_block_while_another_waits?{key}")
    assert slow.receive_response().content == BLOCK * MANY + b"end"
    eventually(lambda: notes(server, key) == [False, "told"])


def test_a_client_that_leaves_ends_the_wait_with_an_os_error(server, key):
    with Client(server.address, receive_buffer=4096) as client:
        ask(client, f"/tells_of_errors?{key}")
        client.receive_head()
    eventually(lambda: notes(server, key) == ["Disconnected"])
    assert f"/tells_of_errors?{key}" not in server.log()


def test_a_client_that_takes_nothing_is_left_and_the_application_told(serving, key):
    server = serving("--write-timeout", "0.4")
    with Client(server.address, timeout=20, receive_buffer=4096) as client:
        ask(client, f"/tells_of_errors?{key}")
        eventually(lambda: notes(server, key) == ["Disconnected"], within=10)
        with contextlib.suppress(ConnectionResetError):
            client.read_until_closed()
    assert "took nothing of a response for write_timeout: closed" in server.log()


def test_what_a_client_sends_does_not_make_up_for_what_it_does_not_take(serving, key):
    server = serving("--write-timeout", "0.4")
    with Client(server.address, timeout=20, receive_buffer=4096) as client:
        client.send(f"POST /reads_while_it_sends?{key} HTTP/1.1\r\nHost: a\r\nContent-Length: 9999\r\n\r\n".encode())

        def is_told_while_more_is_sent():
            with contextlib.suppress(ConnectionError):
                client.send(b"a")
            return notes(server, key) == ["entered", "Disconnected"]

        eventually(is_told_while_more_is_sent)
