"""Requests over HTTP/3 are requests as any other; RFC 9114."""

import asyncio
import hashlib
import json
import re
import socket
import ssl

import pytest
from aioquic.buffer import Buffer
from aioquic.quic.packet import QuicPacketType, pull_quic_header
from http3_client import Closed, Reset, connected, run
from support import Client, eventually

CONTENT = bytes(range(256)) * 4_000
HEAD = [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"localhost"), (b":path", b"/told")]


@pytest.fixture
def fetch(port, authority):
    """One request on a connection of its own."""

    def fetched(*args, **kwargs):
        async def once():
            async with connected(port, authority) as client:
                return await client.fetch(*args, **kwargs)

        return run(once())

    return fetched


def test_the_scope_tells_of_http_3(fetch, port):
    response = fetch("/told?a=b", fields=[(b"x-a", b"1"), (b"cookie", b"a=1"), (b"cookie", b"b=2")])
    told = json.loads(response.content)
    assert (response.status, told["http_version"], told["scheme"], told["method"]) == (200, "3", "https", "GET")
    assert told["fields"] == [["host", "localhost"], ["x-a", "1"], ["cookie", "a=1; b=2"]]
    assert told["server"] == ["127.0.0.1", port]
    assert told["client"][0] == "127.0.0.1"
    assert told["tls"]["tls_version"] == 0x0304
    assert told["tls"]["cipher_suite"] in range(0x1301, 0x1306)
    assert told["tls"]["server_cert"].startswith("-----BEGIN CERTIFICATE-----")


def test_a_response_to_head_has_no_content(fetch):
    # Without a length, of which aioquic's client would expect the content.
    response = fetch("/pieces", "HEAD")
    assert (response.status, bytes(response.content)) == (200, b"")


def test_a_megabyte_is_received(fetch):
    assert bytes(fetch("/digest", "POST", CONTENT).content).decode() == hashlib.sha256(CONTENT).hexdigest()


@pytest.mark.parametrize("path", ["/large", "/pieces"])
def test_three_megabytes_are_sent(fetch, path):
    assert bytes(fetch(path).content) == bytes(range(256)) * 12_000


def test_a_hundred_requests_run_beside_each_other(port, authority):
    async def ask():
        async with connected(port, authority) as client:
            waiting = [client.ask("/wait/all") for _ in range(99)]
            await client.fetch("/open/all")
            return await asyncio.gather(*(response.done for response in waiting))

    assert {response.status for response in run(ask())} == {200}


def test_streams_are_given_back(port, authority):
    async def ask():
        async with connected(port, authority) as client:
            for _ in range(3):
                responses = await asyncio.gather(*(client.fetch("/process") for _ in range(100)))
                assert {response.status for response in responses} == {200}

    run(ask())


def test_hints_and_trailers_are_sent(fetch):
    response = fetch("/hints", fields=[(b"te", b"trailers")])
    assert response.hints == [[(b":status", b"103"), (b"link", b"</a.css>; rel=preload")]]
    assert (bytes(response.content), response.trailers) == (b"abc", [(b"x-trailer", b"a")])


def test_what_is_not_received_gets_no_more_room(port, authority):
    async def ask():
        async with connected(port, authority) as client:
            held = client.ask("/wait/content", "POST", b"x" * 2_000_000)
            await client.fetch("/begun/content")
            sender = client._quic._streams[held.number].sender
            sent, unchanged = 0, 0
            while unchanged < 20:
                # Others are served meanwhile.
                await client.fetch("/process")
                unchanged = unchanged + 1 if sent == sender.highest_offset else 0
                sent = sender.highest_offset
            await client.fetch("/open/content")
            return sent, bytes((await held.done).content)

    sent, received = run(ask())
    assert 200_000 < sent < 700_000
    assert received == b"2000000"


MALFORMED = {
    "upper case": [*HEAD, (b"X-A", b"1")],
    "about the connection": [*HEAD, (b"connection", b"close")],
    "no path": HEAD[:3],
    "a pseudo-field behind a field": [*HEAD[:3], (b"x-a", b"1"), HEAD[3]],
    "a pseudo-field twice": [*HEAD, HEAD[3]],
    "te": [*HEAD, (b"te", b"gzip")],
    "a blank in the path": [*HEAD[:3], (b":path", b"/a b")],
    "another host": [*HEAD, (b"host", b"example.org")],
    "a line feed": [*HEAD, (b"x-a", b"1\nx-b: 2")],
    "content that does not come": [*HEAD, (b"content-length", b"5")],
    "no authority": [*HEAD[:2], (b":authority", b""), HEAD[3]],
    "an empty host": [*HEAD, (b"host", b"")],
    "a protocol that is not announced": [(b":method", b"CONNECT"), *HEAD[1:], (b":protocol", b"websocket")],
}


@pytest.mark.parametrize("head", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_request_is_reset_and_others_are_served(port, authority, head):
    async def ask():
        async with connected(port, authority) as client:
            with pytest.raises(Reset) as reset:
                await client.fetch("", pseudo=head)
            return reset.value.args, (await client.fetch("/process")).status

    assert run(ask()) == ((0x10E,), 200)


@pytest.mark.parametrize("sent", [b"abc", b"abcdefg"])
def test_content_of_another_length_than_it_was_said_is_reset(port, authority, sent):
    async def ask():
        async with connected(port, authority) as client:
            with pytest.raises(Reset) as reset:
                await client.fetch("/digest", "POST", sent, fields=[(b"content-length", b"5")])
            return reset.value.args

    assert run(ask()) == (0x10E,)


def test_too_many_fields_get_431(fetch):
    assert fetch("/told", fields=[(b"x-a", b"")] * 2000).status == 431


def test_a_block_of_fields_that_is_too_large_is_reset(port, authority):
    async def ask():
        async with connected(port, authority) as client:
            with pytest.raises(Reset) as reset:
                await client.fetch("/told", fields=[(b"x-%d" % n, b"^" * 5000) for n in range(20)])
            return reset.value.args

    assert run(ask()) == (0x107,)


BROKEN = {
    "content first": (0x105, b"\x00\x03abc"),
    "settings": (0x105, b"\x04\x00"),
    "a frame of http/2": (0x105, b"\x02\x00"),
    "a cut frame": (0x106, b"\x01\x40"),
    "no qpack": (0x200, b"\x01\x03\xff\xff\xff"),
}
# On the client's control stream, and on that of its decoder.
OUT_OF_ORDER = {
    "a push that was never promised": (0x108, 2, b"\x03\x01\x00"),
    "goaway that goes back": (0x108, 2, b"\x07\x01\x01\x07\x01\x02"),
    "fewer pushes than before": (0x108, 2, b"\x0d\x01\x05\x0d\x01\x04"),
    "an acknowledgement of nothing": (0x202, 10, b"\x80"),
    "an insertion that was not made": (0x202, 10, b"\x01"),
}


@pytest.mark.parametrize(("code", "data"), BROKEN.values(), ids=BROKEN)
def test_frames_that_break_a_rule_close_the_connection(port, authority, code, data):
    async def ask():
        async with connected(port, authority) as client:
            client._quic.send_stream_data(0, data, end_stream=True)
            client.transmit()
            await asyncio.wait_for(client.wait_closed(), 15)
            return client.closed

    assert run(ask()) == code


@pytest.mark.parametrize(("code", "stream", "data"), OUT_OF_ORDER.values(), ids=OUT_OF_ORDER)
def test_numbers_that_are_out_of_order_close_the_connection(port, authority, code, stream, data):
    async def ask():
        async with connected(port, authority) as client:
            await client.fetch("/process")
            client._quic.send_stream_data(stream, data)
            client.transmit()
            await asyncio.wait_for(client.wait_closed(), 15)
            return client.closed

    assert run(ask()) == code


def test_a_stream_of_a_decoder_may_cancel(port, authority):
    async def ask():
        async with connected(port, authority) as client:
            await client.fetch("/process")
            client._quic.send_stream_data(10, b"\x41\x7f\x80\x01\x42")
            client.transmit()
            return (await client.fetch("/process")).status

    assert run(ask()) == 200


def test_trailers_may_be_none(port, authority):
    async def ask():
        async with connected(port, authority) as client:
            response = client.ask("/digest", "POST", b"abc", ends=False)
            client._quic.send_stream_data(response.number, b"\x01\x02\x00\x00", end_stream=True)
            client.transmit()
            return bytes((await asyncio.wait_for(response.done, 15)).content).decode()

    assert run(ask()) == hashlib.sha256(b"abc").hexdigest()


def test_a_request_that_is_taken_back_is_a_disconnect(port, authority):
    async def ask():
        async with connected(port, authority) as client:
            response = client.ask("/until_gone/client")
            await client.fetch("/begun/client")
            client.cancel(response)
            return (await client.fetch("/gone/client")).status

    assert run(ask()) == 200


def test_a_client_that_closes_is_a_disconnect(port, authority):
    async def ask():
        async with connected(port, authority) as client:
            client.ask("/until_gone/connection")
            await client.fetch("/begun/connection")
        async with connected(port, authority) as client:
            return (await client.fetch("/gone/connection")).status

    assert run(ask()) == 200


def test_a_request_whose_response_is_refused_first_is_not_run(port, authority):
    async def ask():
        async with connected(port, authority) as client:
            number = client._quic.get_next_available_stream_id()
            client._quic.send_stream_data(number, b"\x01")
            client._quic.stop_stream(number, 0x10C)
            client.transmit()
            await client.fetch("/process")
            _, block = client.http._encoder.encode(number, [*HEAD[:3], (b":path", b"/open/refused")])
            client._quic.send_stream_data(number, bytes([len(block)]) + block, end_stream=True)
            client.transmit()
            return bytes((await client.fetch("/is_open/refused")).content)

    assert run(ask()) == b"False"


def test_an_application_that_fails_is_answered_for(fetch):
    assert fetch("/fail").status == 500


def test_an_application_that_fails_late_resets_the_stream(port, authority):
    async def ask():
        async with connected(port, authority) as client:
            with pytest.raises(Reset) as reset:
                await client.fetch("/fail_late")
            return reset.value.args

    assert run(ask()) == (0x102,)


def test_the_access_log_tells_of_http_3(fetch, shared):
    fetch("/told?logged")
    assert eventually(lambda: re.search(r'^127\.0\.0\.1 .*"GET /told\?logged HTTP/3" 200 ', shared.log(), re.MULTILINE))


def test_a_client_may_move_to_another_port(port, authority):
    async def ask():
        async with connected(port, authority) as client:
            before = json.loads((await client.fetch("/told")).content)["client"]
            loop = asyncio.get_running_loop()
            # As aioquic opens it: for both versions of IP.
            own = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
            own.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            own.bind(("::", 0))
            new, _ = await loop.create_datagram_endpoint(lambda: client, sock=own)
            after = json.loads((await client.fetch("/told")).content)["client"]
            client.close()
            new.close()
            return before, after

    before, after = run(ask())
    assert before[0] == after[0]
    assert before[1] != after[1]


def test_responses_over_tls_name_the_port(shared, port, authority):
    with Client(shared.address, tls=ssl.create_default_context(cafile=authority)) as client:
        assert client.request("GET", "/process").values("alt-svc") == [f'h3=":{port}"; ma=86400']
        assert client.request("GET", "/own_alternative").values("alt-svc") == ["clear"]


def test_responses_over_http_3_do_not(fetch):
    assert b"alt-svc" not in dict(fetch("/process").fields)


def test_other_versions_of_quic_are_told_which_there_are(port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(10)
        client.sendto(b"\xc0\x1a\x2a\x3a\x4a\x08abcdefgh\x04ijkl".ljust(1200, b"\0"), ("127.0.0.1", port))
        header = pull_quic_header(Buffer(data=client.recv(2000)), host_cid_length=8)
    assert header.packet_type is QuicPacketType.VERSION_NEGOTIATION
    assert 1 in header.supported_versions


def test_what_is_no_quic_is_ignored(port, fetch, shared):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        initial = b"\xc0\0\0\0\x01\x08abcdefgh\x00\x00\x44\x00".ljust(1200, b"x")
        for data in (b"", b"\x00", b"\xc0", b"\xc0\0\0\0\x01", initial):
            client.sendto(data, ("127.0.0.1", port))
    assert fetch("/process").status == 200
    assert "IndexError" not in shared.log()


def test_requests_behind_the_end_of_a_connection_are_told_of_it(port, authority):
    async def ask():
        async with connected(port, authority) as client:
            client._quic.send_stream_data(2, b"", end_stream=True)
            client.transmit()
            with pytest.raises(Closed) as closed:
                await client.fetch("/wait/never")
            return closed.value.args

    assert run(ask()) == (0x104,)
