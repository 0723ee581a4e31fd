"""How long clients of HTTP/3 are waited for, and how long they have to wait."""

import asyncio
import contextlib
import os
import signal
import socket

import pytest
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import HandshakeCompleted
from http3_client import Closed, Reset, configuration, connected, run
from support import eventually

HALF_OF_A_HEAD = b"\x01\x40\x64" + b"x" * 20


@pytest.mark.parametrize("lost", [0, 10], ids=["half a head", "behind a gap"])
def test_a_head_that_does_not_end_is_reset_beside_others(serve_http3, authority, lost):
    _, port = serve_http3("--request-head-timeout", "0.3")

    async def ask():
        async with connected(port, authority) as client:
            held = client.ask("/wait/heads")
            late = client.put(HALF_OF_A_HEAD, lost)
            with pytest.raises(Reset) as told:
                await asyncio.wait_for(late.done, 15)
            await client.fetch("/open/heads")
            return told.value.args, bytes((await held.done).content)

    assert run(ask()) == ((0x10D,), b"0")


def test_who_was_asked_to_show_its_address_may_do_so_at_another_worker(serve_http3, authority):
    server, port = serve_http3("-w", "2")
    before = set(eventually(lambda: len(server.workers()) == 2 and server.workers()))
    with contextlib.ExitStack() as stack:

        def asked_to_retry():
            client = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            client.connect(("127.0.0.1", port))
            client.settimeout(0.2)
            quic = QuicConnection(configuration=configuration(authority))
            quic.connect(("127.0.0.1", port), now=0)
            exchange(quic, client)
            # Else its handshake stays as it is, one more of those that are under way.
            return (quic, client) if quic._retry_count else None

        asked = eventually(asked_to_retry)
        server.send_signal(signal.SIGHUP)
        eventually(lambda: not before & set(server.workers()))
        eventually(lambda: exchange(*asked))


def exchange(quic, client):
    """Send what there is to be sent, and take an answer; whether a handshake is complete."""
    for data, _ in quic.datagrams_to_send(now=0):
        client.send(data)
    with contextlib.suppress(TimeoutError):
        quic.receive_datagram(client.recv(2000), client.getpeername(), now=0)
    while (event := quic.next_event()) is not None:
        if isinstance(event, HandshakeCompleted):
            return True
    return False


def test_new_clients_do_not_wait_for_a_worker_that_is_stopped(serve_http3, authority):
    _, port = serve_http3("-w", "2")

    async def one():
        async with connected(port, authority) as client:
            return int((await client.fetch("/process")).content)

    async def eight():
        return await asyncio.wait_for(asyncio.gather(*(one() for _ in range(8))), 20)

    # Both take some.
    stopped, _ = eventually(lambda: len(seen := set(run(eight()))) == 2 and seen)
    os.kill(stopped, signal.SIGSTOP)
    try:
        assert stopped not in run(eight())
    finally:
        os.kill(stopped, signal.SIGCONT)


def test_idle_clients_make_room_for_others(serve_http3, authority):
    _, port = serve_http3("--worker-connections", "8", "--keep-alive", "60")

    async def ask():
        async with contextlib.AsyncExitStack() as stack:
            clients = []
            for _ in range(12):
                clients.append(await asyncio.wait_for(stack.enter_async_context(connected(port, authority)), 15))
                assert (await clients[-1].fetch("/process")).status == 200
            return [client.is_told_to_go for client in clients]

    told_to_go = run(ask())
    assert told_to_go[0]
    assert not told_to_go[-1]


def test_clients_hear_of_the_end_of_a_worker_that_is_to_be_killed(serve_http3, authority):
    server, port = serve_http3("--graceful-timeout", "1")

    async def ask():
        async with connected(port, authority) as client:
            held = client.ask("/wait/kill")
            await client.fetch("/begun/kill")
            server.send_signal(signal.SIGTERM)
            with pytest.raises(Closed) as told:
                await asyncio.wait_for(held.done, 15)
            return told.value.args

    assert run(ask()) == (0x100,)
