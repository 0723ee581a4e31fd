"""Connections of several workers, of workers that leave, and of such as have died."""

import asyncio
import contextlib
import os
import re
import signal
import socket
from pathlib import Path

import pytest
import trustme
from aioquic.asyncio import connect
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from http3_client import Client, Closed, configuration, connected, run
from support import eventually


@pytest.fixture
def pid_of(authority):
    async def asked(client):
        return int((await client.fetch("/process")).content)

    return asked


def test_each_connection_stays_with_a_worker_and_all_have_some(serve_http3, authority, pid_of):
    server, port = serve_http3("-w", "4")
    eventually(lambda: len(server.workers()) == 4)

    async def one():
        async with connected(port, authority) as client:
            return {await pid_of(client) for _ in range(8)}

    async def all_have_some():
        seen = set()
        while len(seen) < 4:
            for pids in await asyncio.gather(*(one() for _ in range(8))):
                assert len(pids) == 1
                seen |= pids
        return seen

    assert run(asyncio.wait_for(all_have_some(), 60)) == set(server.workers())


def test_reloads_lose_no_request(serve_http3, authority, pid_of):
    server, port = serve_http3("-w", "2")
    state = {"goes_on": True, "served": 0, "pids": set()}

    async def ask():
        while state["goes_on"]:
            async with connected(port, authority) as client:
                while state["goes_on"] and not client.is_told_to_go:
                    state["pids"].add(await pid_of(client))
                    state["served"] += 1

    async def reload():
        for _ in range(2):
            before = set(server.workers())
            server.send_signal(signal.SIGHUP)
            # Until all that there were have gone, and others have been asked.
            while before & set(server.workers()) or not state["pids"] - before:
                await asyncio.sleep(0.05)
        state["goes_on"] = False

    async def both():
        await asyncio.wait_for(asyncio.gather(reload(), *(ask() for _ in range(4))), 60)

    run(both())
    assert state["served"] > 50
    assert server.log().count("is ready: the workers before it retire") == 2


def test_a_request_that_runs_when_a_worker_leaves_is_served_by_it(serve_http3, authority, pid_of):
    server, port = serve_http3("-w", "2", "--graceful-timeout", "20")

    async def ask():
        async with connected(port, authority) as client, connected(port, authority) as other:
            held = client.ask("/wait/reload", "POST", b"x" * 1000, ends=False)
            before = await pid_of(client)
            server.send_signal(signal.SIGHUP)
            while not client.is_told_to_go:
                await asyncio.sleep(0.02)
            # The first GOAWAY has been heard: what is asked at once is still served, by a worker that takes no others.
            await client.fetch("/open/reload")
            client.send(held, b"y" * 1000, ends=True)
            assert bytes((await asyncio.wait_for(held.done, 15)).content) == b"2000"
            await asyncio.wait_for(client.wait_closed(), 15)
            return before, client.closed, other

    before, code, _ = run(ask())
    assert code == 0x100
    eventually(lambda: before not in server.workers())


def test_a_stop_serves_what_has_begun(serve_http3, authority):
    server, port = serve_http3()

    async def ask():
        async with connected(port, authority) as client:
            held = client.ask("/wait/stop", "POST", b"x", ends=False)
            await client.fetch("/begun/stop")
            server.send_signal(signal.SIGTERM)
            while not client.is_told_to_go:
                await asyncio.sleep(0.02)
            await client.fetch("/open/stop")
            client.send(held, b"y", ends=True)
            response = await asyncio.wait_for(held.done, 15)
            await asyncio.wait_for(client.wait_closed(), 15)
            return bytes(response.content), client.closed

    assert run(ask()) == (b"2", 0x100)
    assert server.wait() == os.EX_OK


def test_a_quick_stop_tells_clients(serve_http3, authority):
    server, port = serve_http3()

    async def ask():
        async with connected(port, authority) as client:
            held = client.ask("/wait/quit")
            await client.fetch("/begun/quit")
            server.send_signal(signal.SIGQUIT)
            with pytest.raises(Closed):
                await asyncio.wait_for(held.done, 15)

    run(ask())
    assert server.wait() == os.EX_OK


def answer_to(cid, port):
    """What a client gets that sends to a connection which is no more."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(1)

        def answer():
            client.sendto((b"\x40" + cid).ljust(100, b"x"), ("127.0.0.1", port))
            try:
                return client.recv(2000)
            except TimeoutError:
                return b""  # Nobody receives yet.

        return eventually(answer)


def test_connections_of_a_dead_worker_are_reset(serve_http3, authority, pid_of):
    _, port = serve_http3()

    async def ask():
        async with connected(port, authority) as client:
            os.kill(await pid_of(client), signal.SIGKILL)
            name = client._quic._peer_cid
            return name.cid, name.stateless_reset_token

    cid, token = run(ask())
    assert answer_to(cid, port)[-16:] == token


def test_an_idle_connection_is_closed(serve_http3, authority, pid_of):
    _, port = serve_http3("--keep-alive", "0.1")

    async def ask():
        async with connected(port, authority) as client:
            await pid_of(client)
            await asyncio.wait_for(client.wait_closed(), 15)
            return client.is_told_to_go, client.closed

    assert run(ask()) == (True, 0x100)


def test_many_unfinished_handshakes_have_clients_show_their_address(serve_http3, authority):
    _, port = serve_http3()

    async def ask():
        async with connected(port, authority) as client:
            assert client._quic._retry_count == 0
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            for _ in range(64):
                quic = QuicConnection(configuration=configuration(authority))
                quic.connect(("127.0.0.1", port), now=0)
                for data, address in quic.datagrams_to_send(now=0):
                    silent.sendto(data, address)
            async with connected(port, authority) as client:
                return client._quic._retry_count, (await client.fetch("/process")).status

    assert run(ask()) == (1, 200)


def test_a_token_of_another_server_is_as_good_as_none(serve_http3, authority, pid_of):
    server, port = serve_http3()

    async def ask():
        told = configuration(authority)
        told.token = b"of another server, and long ago, or of nobody"
        async with connect("127.0.0.1", port, configuration=told, create_protocol=Client) as client:
            return await pid_of(client)

    assert run(ask()) in server.workers()


def test_what_others_put_into_a_mailbox_is_dropped(serve_http3, authority, pid_of):
    _, port = serve_http3()

    async def ask():
        async with connected(port, authority) as client:
            await pid_of(client)
            lines = Path("/proc/net/unix").read_text().splitlines()
            names = {line.split()[-1] for line in lines if "@pyserver-" in line}
            for name in names:
                # Another server's may be gone by now.
                with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as other, contextlib.suppress(OSError):
                    other.connect("\0" + name[1:])
                    other.send(b"x" * 1000)
                    other.settimeout(10)
                    assert await asyncio.to_thread(other.recv, 10) == b""
            return len(names), await pid_of(client) > 0

    found, is_served = run(ask())
    assert found >= 1
    assert is_served


def test_a_reload_takes_another_certificate(serve_http3, tmp_path, pid_of):
    def issue():
        """A certificate of a new authority, which is returned."""
        issuer = trustme.CA(key_type=trustme.KeyType.ECDSA)
        issued = issuer.issue_cert("localhost", key_type=trustme.KeyType.ECDSA)
        issued.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "pair.pem"))
        return issuer.cert_pem.bytes().decode()

    async def who(authority):
        told = QuicConfiguration(is_client=True, alpn_protocols=["h3"], server_name="localhost")
        told.load_verify_locations(cadata=authority.encode())
        async with connect("127.0.0.1", port, configuration=told, create_protocol=Client) as client:
            return await pid_of(client)

    first = issue()
    pair = str(tmp_path / "pair.pem")
    server, port = serve_http3("--certfile", pair, "--keyfile", pair)
    before = run(who(first))
    second = issue()
    server.send_signal(signal.SIGHUP)
    eventually(lambda: before not in server.workers())
    assert run(who(second)) != before


def test_an_upgrade_keeps_connections(serve_http3, authority, pid_of):
    server, port = serve_http3()

    async def ask():
        async with connected(port, authority) as client:
            before = await pid_of(client)
            server.send_signal(signal.SIGUSR2)
            while not (said := re.search(r"The new arbiter \(pid: (\d+)\) serves", server.log())):
                await asyncio.sleep(0.05)
            assert {await pid_of(client) for _ in range(20)} == {before}
            name = client._quic._peer_cid
            server.send_signal(signal.SIGTERM)
            await asyncio.wait_for(client.wait_closed(), 15)
            assert client.closed == 0x100
        assert server.wait() == os.EX_OK
        # The new workers know what the old ones knew.
        assert answer_to(name.cid, port)[-16:] == name.stateless_reset_token
        try:
            async with connected(port, authority) as client:
                assert await pid_of(client) != before
        finally:
            os.kill(int(said.group(1)), signal.SIGTERM)

    run(asyncio.wait_for(ask(), 60))
    eventually(lambda: not server.processes())
