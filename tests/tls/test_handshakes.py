"""Handshakes: those that fail, those that never end, and those that are none."""

import contextlib
import socket
import ssl
import warnings

import pytest
from sharing import Routes
from support import Client, eventually

application = Routes()


def plain(server):
    return Client(server.address)


def test_plain_http_is_answered_in_plain_text(serving, certificate):
    with plain(serving(*certificate)) as client:
        response = client.request("GET", "/")
        assert response.status == 400
        assert b"https://" in response.content
        assert client.is_closed_by_server()


def test_a_client_hello_at_a_plain_port_is_closed_without_an_answer(serving, authority):
    server = serving()
    with pytest.raises(ssl.SSLError):
        Client(server.address, tls=authority.client())
    eventually(lambda: "begins a TLS handshake, which is not spoken here" in server.log())


def test_what_begins_like_a_handshake_and_is_none_gets_an_answer(serving):
    with plain(serving()) as client:
        client.send(b"\x16\x03\x01\x02\x00 hello\r\n\r\n")
        assert client.receive_response().status == 400


@pytest.mark.parametrize("garbage", [b"\x16\x03\x01\x00\x05hello", b"\x16" + bytes(400), b"\x16\x03\x01\xff\xff"])
def test_what_is_no_handshake_is_closed_and_told(serving, certificate, garbage):
    server = serving(*certificate)
    before = server.log().count("a TLS handshake with")
    with plain(server) as client:
        client.send(garbage)
        client.socket.shutdown(socket.SHUT_WR)
        client.read_until_closed()
    if not garbage.endswith(b"\xff"):
        eventually(lambda: server.log().count("a TLS handshake with") == before + 1)


def test_versions_before_1_2_are_not_spoken(serving, certificate, authority):
    context = authority.client()
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1_1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    server = serving(*certificate)
    with pytest.raises(ssl.SSLError):
        Client(server.address, tls=context)
    eventually(lambda: "unsupported protocol" in server.log())


def test_tls_1_2_can_be_excluded(serving, certificate, authority):
    context = authority.client()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    server = serving(*certificate, "--tls-minimum", "1.3")
    with pytest.raises(ssl.SSLError):
        Client(server.address, tls=context)


def test_a_handshake_that_does_not_go_on_is_closed_in_time(serving, certificate):
    server = serving(*certificate, "--request-head-timeout", "1")
    with plain(server) as client:
        client.send(b"\x16\x03\x01")
        assert client.is_closed_by_server()


def test_handshakes_that_do_not_go_on_hold_up_nobody(serving, certificate, authority):
    server = serving(*certificate)
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(plain(server)).send(b"\x16\x03\x01\x02\x00\x01")
        with Client(server.address, tls=authority.client()) as client:
            assert client.request("GET", "/").status == 200


def test_the_protocol_is_agreed_on(serving, certificate, authority):
    context = authority.client()
    context.set_alpn_protocols(["http/1.1"])
    with Client(serving(*certificate).address, tls=context) as client:
        assert client.socket.selected_alpn_protocol() == "http/1.1"
        assert client.request("GET", "/").status == 200
