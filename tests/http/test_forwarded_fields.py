"""Whom Forwarded and the X-Forwarded fields name as the client, and what else of them is believed."""

from __future__ import annotations

import pytest

from pyserver._proxies import FIELDS, Proxies
from pyserver.settings.proxies import FORWARDED_FIELDS

TRUSTED = ("10.0.0.0/8", "fd00::/8")


def head(*lines: str) -> bytes:
    return "\r\n".join(["GET / HTTP/1.1", "Host: own.example", *lines, "", ""]).encode("latin-1")


def understood(fields, *lines, trusted=TRUSTED, hops=0):
    return Proxies(trusted=trusted, forwarded_fields=fields.split(), forwarded_hops=hops).understood(head(*lines))


def client_by_list(*values, **options):
    return understood("x-forwarded-for", *(f"X-Forwarded-For: {value}" for value in values), **options)["client"]


def by_forwarded(*values, **options):
    return understood("forwarded", *(f"Forwarded: {value}" for value in values), **options)


def client_by_forwarded(*values, **options):
    return by_forwarded(*values, **options)["client"]


# ---- X-Forwarded-For ----


@pytest.mark.parametrize(
    ("values", "client"),
    [
        (["192.0.2.1"], ("192.0.2.1", 0)),
        (["203.0.113.9, 192.0.2.1"], ("192.0.2.1", 0)),
        (["203.0.113.9, 192.0.2.1, 10.0.0.1"], ("192.0.2.1", 0)),
        (["203.0.113.9, 192.0.2.1,10.0.0.1 ,\tfd00::1"], ("192.0.2.1", 0)),
        (["203.0.113.9", "192.0.2.1", "10.0.0.1"], ("192.0.2.1", 0)),
        (["10.0.0.3, 10.0.0.2"], ("10.0.0.3", 0)),
        (["192.0.2.1:4711"], ("192.0.2.1", 4711)),
        (["2001:db8::1"], ("2001:db8::1", 0)),
        (["[2001:db8::1]"], ("2001:db8::1", 0)),
        (["[2001:db8::1]:4711"], ("2001:db8::1", 4711)),
        (["::ffff:192.0.2.1"], ("::ffff:192.0.2.1", 0)),
        (["192.0.2.1, ::ffff:10.0.0.1"], ("192.0.2.1", 0)),
        (["192.0.2.1,, "], ("192.0.2.1", 0)),
        (["", "192.0.2.1", ""], ("192.0.2.1", 0)),
        # What a client has written is not even looked at.
        (["<script>, 192.0.2.1"], ("192.0.2.1", 0)),
        (["<script>", "192.0.2.1, 10.0.0.1"], ("192.0.2.1", 0)),
    ],
)
def test_the_client_is_the_last_hop_that_is_not_trusted(values, client):
    assert client_by_list(*values) == client


@pytest.mark.parametrize(
    "value",
    [
        *("", ",", "unknown", "_hidden", "localhost", "192.0.2", "192.0.2.1.", "192.0.2.01", "192.0.2.1 192.0.2.2"),
        *("192.0.2.1:", "192.0.2.1:65536", "192.0.2.1:x", "192.0.2.1:_x", "[192.0.2.1]", "[2001:db8::1"),
        *("2001:db8::1]", "[2001:db8::1]80", "[2001:db8::1]:", "fe80::1%eth0", "2001:db8:::1", "'192.0.2.1'"),
        *('"192.0.2.1"', "1" * 5000),
        *("192.0.2.1, unknown", "192.0.2.1, x, 10.0.0.1", "192.0.2.1, 10.0.0.1:x"),
    ],
)
def test_what_is_malformed_or_unknown_names_nobody(value):
    assert client_by_list(value) is None


def test_with_everybody_trusted_the_client_is_the_last_hop():
    assert client_by_list("203.0.113.9, 192.0.2.1", trusted=("*",)) == ("192.0.2.1", 0)


@pytest.mark.parametrize(
    ("value", "hops", "client"),
    [
        ("203.0.113.9, 192.0.2.1", 1, "192.0.2.1"),
        ("203.0.113.9, 192.0.2.1, 198.51.100.1", 2, "192.0.2.1"),
        ("10.0.0.3, 10.0.0.2, 10.0.0.1", 2, "10.0.0.2"),
        ("192.0.2.1, unknown", 2, "192.0.2.1"),
        ("192.0.2.1", 2, None),
        ("", 1, None),
        ("192.0.2.1, x", 2, None),
    ],
)
@pytest.mark.parametrize("trusted", [TRUSTED, ("*",)])
def test_hops_are_counted_from_the_end(value, hops, client, trusted):
    assert client_by_list(value, hops=hops, trusted=trusted) == (client and (client, 0))


def test_hops_are_counted_over_several_lines():
    assert client_by_list("203.0.113.9, 192.0.2.1", "198.51.100.1", hops=2) == ("192.0.2.1", 0)


def test_a_field_that_is_not_asked_for_is_not_looked_at():
    lines = [f"{name}: 192.0.2.1" for name in FORWARDED_FIELDS]
    said = {"client": None, "scheme": None, "host": None, "port": 0, "prefix": b""}
    assert Proxies(trusted=("*",)).understood(head(*lines)) == said


# ---- Forwarded ----


@pytest.mark.parametrize(
    ("values", "client"),
    [
        (["for=192.0.2.1"], ("192.0.2.1", 0)),
        (["For=192.0.2.1;Proto=http;By=203.0.113.43"], ("192.0.2.1", 0)),
        (["proto=http ; by=10.0.0.1; for=192.0.2.1"], ("192.0.2.1", 0)),
        (['for="192.0.2.1:4711"'], ("192.0.2.1", 4711)),
        (['for="[2001:db8::1]"'], ("2001:db8::1", 0)),
        (['for="[2001:db8:cafe::17]:4711"'], ("2001:db8:cafe::17", 4711)),
        (['for="192.0.2.1:_port"'], ("192.0.2.1", 0)),
        (["for=203.0.113.9, for=192.0.2.1, for=10.0.0.1"], ("192.0.2.1", 0)),
        (["for=203.0.113.9", "for=192.0.2.1,for=10.0.0.1"], ("192.0.2.1", 0)),
        (["for=10.0.0.3, for=10.0.0.2"], ("10.0.0.3", 0)),
        (['for=192.0.2.1;secret="a, b; c=\\"d\\""'], ("192.0.2.1", 0)),
        (["for=192.0.2.1,", ",;, ,"], ("192.0.2.1", 0)),
        (['for="', "for=192.0.2.1"], ("192.0.2.1", 0)),
        ([", ".join(["for=192.0.2.1", *["for=10.0.0.1"] * 30])], ("192.0.2.1", 0)),
    ],
)
def test_forwarded_names_the_last_hop_that_is_not_trusted(values, client):
    assert client_by_forwarded(*values) == client


@pytest.mark.parametrize(
    "value",
    [
        *("", "for", "for=", "=192.0.2.1", "for=;proto=https", "for =192.0.2.1", "for= 192.0.2.1", "for=192.0.2.1 x"),
        *("for=192.0.2.1:80", "for=[2001:db8::1]", 'for="2001:db8::1"', 'for="[2001:db8::1"', 'for="192.0.2.1'),
        *('for="192.0.2.1\\', 'for="192\\.0.2.1"', 'for="192.0.2.1"x', 'for="192.0.2.1:_"', 'for="192.0.2.1:99999"'),
        *("for=192.0.2", "for=192.0.2.1;for=192.0.2.2", "for=192.0.2.1;host=a;host=b", 'for=192.0.2.1;host=""'),
        'for=192.0.2.1;host="a b"',
        # A client's quote must not swallow what a proxy adds to its line.
        *('for="203.0.113.9, for=192.0.2.1', 'for=203.0.113.9;x=", for="[2001:db8::1]"'),
        "for=192.0.2.1, for=10.0.0.1, bad",
        ", ".join(["for=192.0.2.1", *["for=10.0.0.1"] * 40]),
    ],
)
def test_of_a_malformed_forwarded_nothing_is_believed(value):
    said = {"client": None, "scheme": None, "host": None, "port": 0, "prefix": b""}
    assert by_forwarded(value) == said


@pytest.mark.parametrize("node", ["unknown", "UNKNOWN", "_hidden", "_a.b-c_9", '"_hidden:80"', '"unknown:_x"'])
def test_a_client_that_is_hidden_is_nobody_and_the_rest_is_believed(node):
    value = f"for=203.0.113.9;proto=http, for={node};proto=https;host=shop.example, for=10.0.0.1;proto=http"
    said = by_forwarded(value)
    assert (said["client"], said["scheme"], said["host"]) == (None, "https", b"shop.example")


def test_scheme_and_host_are_those_of_the_hop_that_names_the_client():
    said = by_forwarded(
        'for=203.0.113.9;proto=http;host=evil.example, for=192.0.2.1;host="shop.example:8443";proto=HTTPS',
        "for=10.0.0.1;proto=http;host=inner.example",
    )
    assert said == {
        "client": ("192.0.2.1", 0), "scheme": "https", "host": b"shop.example:8443", "port": 0, "prefix": b"",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("proto", "scheme"), [("http", "http"), ("ws", "http"), ("wss", "https"), ("ftp", None), ('"https"', "https")]
)
def test_proto_is_the_scheme(proto, scheme):
    assert by_forwarded(f"for=192.0.2.1;proto={proto}")["scheme"] == scheme


@pytest.mark.parametrize(
    ("values", "hops", "client"),
    [
        (["for=203.0.113.9, for=192.0.2.1"], 1, ("192.0.2.1", 0)),
        (["for=203.0.113.9, for=192.0.2.1", "for=_inner"], 2, ("192.0.2.1", 0)),
        (["for=192.0.2.1;proto=https"], 2, None),
    ],
)
def test_elements_of_forwarded_are_counted_from_the_end(values, hops, client):
    said = by_forwarded(*values, hops=hops)
    assert (said["client"], said["scheme"]) == (client, None)


# ---- host, port and prefix ----


@pytest.mark.parametrize(
    ("values", "host"),
    [
        (["shop.example"], b"shop.example"),
        (["shop.example:8443"], b"shop.example:8443"),
        (["[2001:db8::1]:80"], b"[2001:db8::1]:80"),
        (["evil.example, shop.example"], b"shop.example"),
        (["evil.example", "shop.example"], b"shop.example"),
        ([""], None),
        (["shop example"], None),
        (["shop.example/x"], None),
        (["shop.example:99999"], None),
        (["user@shop.example"], None),
    ],
)
def test_the_host_is_what_the_nearest_proxy_says(values, host):
    assert understood("x-forwarded-host", *(f"X-Forwarded-Host: {value}" for value in values))["host"] == host


@pytest.mark.parametrize(
    ("value", "port"), [("443", 443), ("80, 8443", 8443), ("0", 0), ("65536", 0), ("x", 0), ("", 0)]
)
def test_the_port_is_a_number(value, port):
    assert understood("x-forwarded-port", f"X-Forwarded-Port: {value}")["port"] == port


@pytest.mark.parametrize(
    ("value", "prefix"),
    [
        ("/shop", b"/shop"),
        ("/a/b/", b"/a/b"),
        ("/evil, /shop", b"/shop"),
        ("/", b""),
        ("", b""),
        ("shop", b""),
        ("//evil.example", b""),
        ("/a//b", b""),
        ("/a/b//", b""),
        ("/.", b""),
        ("/a/../b", b""),
        ("/a/..", b""),
        ("/.a/..b/...", b"/.a/..b/..."),
        ("/a?b", b""),
        ("/a%2f", b""),
        ("/a b", b""),
        ("https://evil.example", b""),
    ],
)
def test_the_prefix_is_a_path(value, prefix):
    assert understood("x-forwarded-prefix", f"X-Forwarded-Prefix: {value}")["prefix"] == prefix


def test_the_fields_are_those_of_the_setting():
    assert set(FIELDS) == set(FORWARDED_FIELDS)
