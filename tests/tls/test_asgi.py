"""What an ASGI application is told of TLS, and WebSockets over it."""

import contextlib
import json
import ssl

import pytest
from classes import DEFAULT
from records import Records
from support import Client, eventually
from websocket_client import WebSocketClient


@pytest.fixture(scope="module")
def worker_class():
    """The one that each server here chooses."""
    return DEFAULT


APPLICATION = """
import asyncio, json
async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        return
    told = json.dumps({"scheme": scope["scheme"], **scope["extensions"].get("tls", {})}).encode()
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "bytes": told})
        while (event := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "bytes": event.get("bytes") or event["text"].encode()})
        return
    if scope["path"] == "/disconnect":
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        while (event := await receive())["type"] != "http.disconnect":
            pass
        open("disconnected", "w").close()
        return
    if scope["path"] == "/stream":
        await send({"type": "http.response.start", "status": 200})
        try:
            while True:
                await send({"type": "http.response.body", "body": b"more", "more_body": True})
                await asyncio.sleep(0.02)
        except OSError:
            open("refused", "w").close()
        return
    content = b""
    while (event := await receive()).get("more_body"):
        content += event["body"]
    content += event.get("body", b"")
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": content or told})
"""


@pytest.fixture
def server(serve, certificate, authority):
    """Who tells what it is told."""
    return serve(APPLICATION, *certificate, "--ca-certs", authority.file, "--cert-reqs", "optional", "-k", "asgi")


def test_the_scope_tells_of_tls(server, authority):
    own = authority.issue("alice@example.org", file="alice", common_name="Alice")
    with Client(server.address, tls=authority.client(own)) as client:
        told = json.loads(client.request("GET", "/").content)
    assert told["scheme"] == "https"
    assert told["tls_version"] == 0x0304
    assert told["cipher_suite"] in range(0x1301, 0x1306)
    assert told["server_cert"].startswith("-----BEGIN CERTIFICATE-----")
    assert "CN=Alice" in told["client_cert_name"]
    assert told["client_cert_chain"][0].startswith("-----BEGIN CERTIFICATE-----")
    assert told["client_cert_error"] is None


def test_the_scope_tells_that_there_is_no_client_certificate(server, authority):
    with Client(server.address, tls=authority.client()) as client:
        told = json.loads(client.request("GET", "/").content)
    assert told["client_cert_name"] is None
    assert told["client_cert_chain"] == []


def test_content_is_streamed_in_both_directions(server, authority):
    content = bytes(range(256)) * 10_000
    with Client(server.address, tls=authority.client(), receive_buffer=8192) as client:
        assert client.request("POST", "/", content=content).content == content


@pytest.mark.parametrize("is_apart", [False, True])
def test_a_close_notify_is_a_disconnect(server, authority, is_apart):
    with Records(server.address, authority.client()) as client:
        request, notice = client.encrypted(b"GET /disconnect HTTP/1.1\r\nHost: a\r\n\r\n"), client.close_notify()
        client.socket.sendall(request if is_apart else request + notice)
        if is_apart:
            assert client.socket.recv(1)
            client.socket.sendall(notice)
        eventually((server.directory / "disconnected").exists)


def test_a_request_may_follow_one_that_runs(server, authority):
    with Client(server.address, tls=authority.client()) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\none")
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\ntwo")
        assert [client.receive_response().content for _ in range(2)] == [b"one", b"two"]


def test_a_websocket_over_tls(server, authority):
    client = Client(server.address, tls=authority.client())
    with WebSocketClient(server, client=client) as socket:
        assert json.loads(socket.receive_message())["scheme"] == "wss"
        socket.send("x" * 100_000)
        assert socket.receive_message() == b"x" * 100_000


def test_a_response_ends_whose_client_has_said_so_and_gone(server, authority):
    with Client(server.address, tls=authority.client()) as client:
        client.send(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n")
        client.receive_head()
        # It says close_notify, and closes with data unread, which resets the connection.
        with contextlib.suppress(ssl.SSLError):
            client.socket.unwrap()
    eventually((server.directory / "refused").exists)
