"""What the PROXY protocol's header says, whichever way it is cut; versions 1 and 2."""

from __future__ import annotations

import socket
import struct

import pytest

from pyserver._proxies import VERSIONS, read_header
from pyserver.settings.proxies import PROXY_PROTOCOLS

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
MALFORMED = (-1, "", None, None)
NONE = (0, "", None, None)


def version_2(command: int = 0x21, family: int = 0x11, rest: bytes = b"") -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, family, len(rest)) + rest


V4 = socket.inet_aton("192.0.2.1") + socket.inet_aton("198.51.100.2") + struct.pack("!HH", 40000, 443)
V6 = socket.inet_pton(socket.AF_INET6, "2001:db8::1") + socket.inet_pton(socket.AF_INET6, "::2") + b"\0\x01\xff\xff"
TLV = b"\x04\x00\x03abc\x20\x00\x02\x01\x00"
TO_V4 = ("192.0.2.1", 40000), ("198.51.100.2", 443)
TO_V6 = ("2001:db8::1", 1), ("::2", 65535)

READ = {
    "v1 of IPv4": (b"PROXY TCP4 192.0.2.1 198.51.100.2 40000 443\r\n", "TCP4", *TO_V4),
    "v1 of IPv6": (b"PROXY TCP6 2001:db8::1 ::2 1 65535\r\n", "TCP6", *TO_V6),
    "v1 at its longest": (
        b"PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
        "TCP6",
        ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 65535),
        ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 65535),
    ),
    "v1 of something unknown": (b"PROXY UNKNOWN\r\n", "UNKNOWN", None, None),
    "v1 of something unknown with what is to be ignored": (b"PROXY UNKNOWN ::1 x y\r\n", "UNKNOWN", None, None),
    "v1 at its longest, unknown": (b"PROXY UNKNOWN " + b"f" * 91 + b"\r\n", "UNKNOWN", None, None),
    "v2 of IPv4": (version_2(rest=V4), "TCP4", *TO_V4),
    "v2 of IPv6": (version_2(family=0x21, rest=V6), "TCP6", *TO_V6),
    "v2 with more behind the addresses": (version_2(rest=V4 + TLV), "TCP4", *TO_V4),
    "v2 at its longest": (version_2(rest=V4.ljust(4080, b"\0")), "TCP4", *TO_V4),
    "v2 of a Unix socket": (version_2(family=0x31, rest=bytes(216)), "UNIX", None, None),
    "v2 of the proxy itself": (version_2(0x20, 0, b""), "LOCAL", None, None),
    "v2 of the proxy itself with addresses": (version_2(0x20, 0x11, V4), "LOCAL", None, None),
    "v2 of the proxy itself, of a family that there is not": (version_2(0x20, 0xFF, b""), "LOCAL", None, None),
    "v2 that does not tell": (version_2(family=0), "UNSPEC", None, None),
    "v2 that does not tell, of a stream": (version_2(family=1, rest=TLV), "UNSPEC", None, None),
}
REFUSED = {
    "v1 of another family": b"PROXY TCP5 192.0.2.1 192.0.2.2 1 2\r\n",
    "v1 of datagrams": b"PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n",
    "v1 with an address of the other family": b"PROXY TCP4 ::1 ::1 1 2\r\n",
    "v1 with IPv4 as IPv6": b"PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
    "v1 with a leading zero in an address": b"PROXY TCP4 192.0.2.01 192.0.2.2 1 2\r\n",
    "v1 with half an address": b"PROXY TCP4 192.0.2 192.0.2.2 1 2\r\n",
    "v1 with a zone": b"PROXY TCP6 fe80::1%eth0 ::2 1 2\r\n",
    "v1 with brackets": b"PROXY TCP6 [::1] [::2] 1 2\r\n",
    "v1 with a NUL": b"PROXY TCP4 192.0.2.1\0 192.0.2.2 1 2\r\n",
    "v1 with a port too large": b"PROXY TCP4 192.0.2.1 192.0.2.2 65536 2\r\n",
    "v1 with a leading zero in a port": b"PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n",
    "v1 with a sign": b"PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n",
    "v1 with too few words": b"PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
    "v1 with too many words": b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",
    "v1 with two spaces": b"PROXY TCP4 192.0.2.1  192.0.2.2 1 2\r\n",
    "v1 with a space at its end": b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n",
    "v1 without a CR": b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n",
    "v1 with nothing": b"PROXY \r\n",
    "v1 in small letters": b"PROXY tcp4 192.0.2.1 192.0.2.2 1 2\r\n",
    "v1 of something almost unknown": b"PROXY UNKNOWNS\r\n",
    "v1 without an end": b"PROXY UNKNOWN " + b"f" * 93,
    "v1 longer than there can be": b"PROXY UNKNOWN " + b"f" * 92 + b"\r\n",
    "v2 of another version": version_2(0x31, rest=V4),
    "v2 of another command": version_2(0x22, rest=V4),
    "v2 of another family": version_2(family=0x41, rest=V4),
    "v2 of another transport": version_2(family=0x13, rest=V4),
    "v2 of datagrams": version_2(family=0x12, rest=V4),
    "v2 of an unknown transport": version_2(family=0x10, rest=V4),
    "v2 with half of the addresses": version_2(rest=V4[:-1]),
    "v2 with half of the addresses, IPv6": version_2(family=0x21, rest=V6[:-1]),
    "v2 with half of a path": version_2(family=0x31, rest=bytes(215)),
    "v2 longer than we take": version_2(rest=V4.ljust(4081, b"\0")),
}


@pytest.mark.parametrize("name", READ)
def test_a_header_is_read(name):
    header, relayed, client, destination = READ[name]
    assert read_header(header, "auto") == (len(header), relayed, client, destination)
    assert read_header(header + b"GET / HTTP/1.1\r\n", "auto") == (len(header), relayed, client, destination)


@pytest.mark.parametrize("name", READ)
def test_nothing_is_said_before_all_of_it_is_there(name):
    header = READ[name][0]
    assert {read_header(header[:end], "auto") for end in range(len(header))} == {None}


@pytest.mark.parametrize("name", REFUSED)
def test_a_malformed_header_is_refused_in_each_way_it_is_cut(name):
    header = REFUSED[name]
    said = [read_header(header[:end], "auto") for end in range(len(header) + 1)]
    assert said[-1] == MALFORMED
    assert set(said) == {None, MALFORMED}
    assert said == sorted(said, key=lambda one: one is not None)


@pytest.mark.parametrize(
    "text",
    [b"GET / HTTP/1.1\r\n", b"PROXYTCP4 ", b"POST /", b"PROPFIND / HTTP/1.1", b"\r\nGET /", b"\r\n\r\n\0\r\nQUIt\n"],
)
def test_a_request_is_no_header(text):
    assert read_header(text, "auto") == NONE


@pytest.mark.parametrize("text", [b"", b"P", b"PR", b"PROXY", b"\r", b"\r\n", b"\r\n\r\n"])
def test_what_may_become_a_header_is_waited_for(text):
    assert read_header(text, "auto") is None


def test_only_the_version_that_is_asked_for_is_read():
    one, two = READ["v1 of IPv4"][0], READ["v2 of IPv4"][0]
    assert read_header(one, "v1")[0] == len(one)
    assert read_header(two, "v2")[0] == len(two)
    assert {read_header(one, "v2"), read_header(two, "v1"), read_header(one, "off"), read_header(two, "off")} == {NONE}


def test_the_versions_are_those_of_the_setting():
    assert set(VERSIONS) == set(PROXY_PROTOCOLS)
