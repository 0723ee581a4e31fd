"""Who the client is when a proxy says so at the beginning of a connection, by the PROXY protocol."""

import re
import socket
import struct

import pytest
from proxies.conftest import request
from support import eventually

V1 = b"PROXY TCP4 192.0.2.1 198.51.100.2 40000 443\r\n"
V1_OF_IPV6 = b"PROXY TCP6 2001:db8::1 2001:db8::2 40000 443\r\n"
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
V2 = (
    SIGNATURE + struct.pack("!BBH", 0x21, 0x11, 17)
    + socket.inet_aton("192.0.2.1") + socket.inet_aton("198.51.100.2") + struct.pack("!HH", 40000, 443)
    + b"\x04\x00\x02ab"
)  # fmt: skip
LOCAL = SIGNATURE + b"\x20\x00\x00\x00"
UNSPECIFIED = SIGNATURE + b"\x21\x00\x00\x00"
UNIX = SIGNATURE + struct.pack("!BBH", 0x21, 0x31, 216) + bytes(216)
# Two workers, between which each connection moves after each response.
AUTO = (
    *("--proxy-protocol", "-w", "2", "--move-connections", "always"),
    *("--access-logfile", "-", "--access-logformat", "line of %(h)s: %(m)s %(U)s %(s)s %(i)s"),
)


def is_wsgi(told):
    return "relayed" in told


@pytest.mark.parametrize(
    ("header", "client", "relayed"),
    [
        (V1, ["192.0.2.1", "40000"], ["TCP4", "198.51.100.2", "443"]),
        (V2, ["192.0.2.1", "40000"], ["TCP4", "198.51.100.2", "443"]),
        (V1_OF_IPV6, ["2001:db8::1", "40000"], ["TCP6", "2001:db8::2", "443"]),
    ],
)
def test_the_client_is_the_one_that_the_header_names(behind, header, client, relayed):
    told = behind(*AUTO).ask(before=header)
    assert told["client"] == client
    assert told.get("relayed", relayed) == relayed


@pytest.mark.parametrize(
    ("header", "relayed"),
    [
        (b"PROXY UNKNOWN\r\n", "UNKNOWN"), (LOCAL, "LOCAL"), (UNSPECIFIED, "UNSPEC"), (UNIX, "UNIX"), (b"", None),
    ],
)  # fmt: skip
def test_the_client_is_who_is_connected_when_the_header_names_nobody(behind, header, relayed):
    site = behind(*AUTO)
    with site.visit() as client:
        told = site.asked(client, before=header)
        host, port = client.socket.getsockname()
    assert told["client"] == [host, str(port)]
    assert told.get("relayed", [relayed, None, None]) == [relayed, None, None]


@pytest.mark.parametrize("header", [V1, V2, LOCAL])
def test_a_header_may_arrive_byte_by_byte(behind, header):
    site = behind(*AUTO)
    with site.visit() as client:
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in header + request():
            client.send(bytes([byte]))
        assert client.receive_response().status == 200


def test_the_client_stays_the_same_on_a_connection_that_moves(behind):
    site = behind(*AUTO)
    with site.visit() as client:
        told = [site.asked(client, before=V1), *(site.asked(client) for _ in range(20))]
    pids = {one.pop("pid") for one in told}
    assert told == [told[0]] * 21
    assert told[0]["client"] == ["192.0.2.1", "40000"]
    assert pids <= set(site.server.workers())


def test_a_second_header_is_refused(behind):
    site = behind(*AUTO)
    with site.visit() as client:
        site.asked(client, before=V1)
        client.send(V1 + request())
        assert client.receive_response().status == 400


def test_requests_may_follow_at_once(behind):
    with behind(*AUTO).visit() as client:
        client.send(V2 + request() * 3)
        assert [client.receive_response().status for _ in range(3)] == [200] * 3


def test_the_access_log_names_the_client(behind):
    site = behind(*AUTO)
    site.ask(before=b"PROXY TCP4 192.0.2.77 192.0.2.2 1 2\r\n", target="/logged")
    eventually(lambda: "line of 192.0.2.77: GET /logged 200" in site.server.log())


def test_a_client_that_a_header_names_does_not_choose_the_id_of_its_request(behind):
    site = behind(*AUTO)
    site.ask("X-Request-ID: forged", before=V1, target="/of-client")
    site.ask("X-Request-ID: known", before=LOCAL, target="/of-proxy")
    eventually(lambda: "GET /of-client 200 " in site.server.log() and "GET /of-proxy 200 " in site.server.log())
    assert re.search(r"GET /of-client 200 [0-9a-f]{32}\n", site.server.log())
    assert "GET /of-proxy 200 known\n" in site.server.log()


def test_a_client_that_a_header_names_does_not_say_where_the_application_is_mounted(behind):
    site = behind(*AUTO)
    with site.visit() as client:
        roots = [site.asked(client, "SCRIPT_NAME: /a", before=before, target="/a")["root"] for before in (V1, b"", b"")]
    assert roots == ["", "", ""]
    assert site.ask("SCRIPT_NAME: /a", before=LOCAL, target="/a")["root"] == "/a"


@pytest.mark.parametrize("header", [b"PROXY TCP4 192.0.2.1 198.51.100.2 40000\r\n", SIGNATURE + b"\x21\x12\x00\x00"])
def test_a_malformed_header_is_refused(behind, header):
    site = behind(*AUTO)
    assert site.refuses(header + request()) == 400
    assert "refused a request from 127.0.0.1" in site.server.log()
    assert "the PROXY header is malformed" in site.server.log()


@pytest.mark.parametrize("header", [V1, V2])
def test_who_is_not_allowed_to_name_the_client_is_refused(behind, header):
    site = behind(*AUTO)
    assert site.refuses(header + request(), source="127.0.0.2") == 403
    assert "proxy_allow_ips does not have the peer" in site.server.log()


def test_who_is_not_allowed_to_name_the_client_is_served_without_a_header(behind):
    assert behind(*AUTO).ask(source="127.0.0.2")["client"][0] == "127.0.0.2"


REQUIRED = ("--proxy-protocol=v2", "--proxy-protocol-required", "-b", "unix:socket", "--request-head-timeout", "0.5")


def test_a_connection_without_a_header_is_refused_where_it_is_required(behind):
    site = behind(*REQUIRED)
    assert site.refuses(request()) == 400
    assert "the connection does not begin with a PROXY header" in site.server.log()


def test_another_version_is_no_header(behind):
    assert behind(*REQUIRED).refuses(V1 + request()) == 400


def test_who_is_connected_by_a_unix_socket_may_name_the_client(behind):
    assert behind(*REQUIRED).ask(before=V2)["client"] == ["192.0.2.1", "40000"]


def test_half_a_header_is_answered_when_its_time_is_over(behind):
    with behind(*REQUIRED).visit() as client:
        client.send(V2[:20])
        assert client.receive_response().status == 408
        assert client.is_closed_by_server()


def test_a_header_without_a_request_is_closed_when_its_time_is_over(behind):
    with behind(*REQUIRED).visit() as client:
        client.send(V2)
        assert client.is_closed_by_server()


def test_a_header_is_a_bad_request_where_it_is_not_looked_for(behind):
    site = behind()
    assert site.refuses(V1 + request()) == 400
    assert site.refuses(V2 + request()) == 400
