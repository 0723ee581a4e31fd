"""Requests to become a WebSocket: RFC 6455 §4.2."""

import base64

import pytest

from pyserver._websocket import accept_key, read_handshake

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
FIELDS = {
    b"host": b"a",
    b"upgrade": b"websocket",
    b"connection": b"Upgrade",
    b"sec-websocket-key": KEY,
    b"sec-websocket-version": b"13",
}


def handshake(*more, method=b"GET", minor=1, without=None, **changed):
    fields = {**FIELDS, **{name.replace("_", "-").encode(): value for name, value in changed.items()}}
    return read_handshake(method, minor, [*((name, fields[name]) for name in fields if name != without), *more])


def test_the_key_is_answered():
    assert accept_key(KEY) == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def test_a_good_request_is_accepted():
    found = handshake()
    assert (found.status, found.reason, found.accept) == (101, None, b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    assert (found.subprotocols, found.offers, found.refusal_fields) == ([], [], [])


@pytest.mark.parametrize(
    "changed",
    [
        {"upgrade": b"WebSocket"},
        {"upgrade": b"foo/1, websocket"},
        {"connection": b"keep-alive, upgrade"},
        {"connection": b"UPGRADE"},
    ],
)
def test_options_are_found_in_lists(changed):
    assert handshake(**changed).status == 101


def test_options_are_found_in_other_lines():
    found = handshake((b"upgrade", b"websocket"), (b"connection", b"upgrade"), upgrade=b"foo", connection=b"close")
    assert found.status == 101


@pytest.mark.parametrize(
    "changed",
    [
        {"upgrade": b"h2c"},
        {"upgrade": b"websocket/13"},
        {"upgrade": b"web socket"},
        {"upgrade": b""},
        {"without": b"upgrade"},
        {"connection": b"keep-alive"},
        {"connection": b"upgraded"},
        {"without": b"connection"},
        {"minor": 0},
    ],
)
def test_what_is_no_upgrade_is_plain_http(changed):
    assert handshake(**changed) is None


@pytest.mark.parametrize("method", [b"POST", b"HEAD", b"get"])
def test_the_method_is_get(method):
    assert (handshake(method=method).status, handshake(method=method).accept) == (400, None)


@pytest.mark.parametrize("version", [b"8", b"0", b"014", b"13, 8", b"13.0", b""])
def test_another_version_is_told_which_would_do(version):
    found = handshake(sec_websocket_version=version)
    assert (found.status, found.accept) == (426, None)
    assert found.refusal_fields == [(b"Upgrade", b"websocket"), (b"Sec-WebSocket-Version", b"13")]


def test_no_version_is_told_which_would_do():
    assert handshake(without=b"sec-websocket-version").status == 426


def test_a_version_comes_before_a_key():
    assert handshake(without=b"sec-websocket-key", sec_websocket_version=b"14").status == 426


@pytest.mark.parametrize(
    "key",
    [
        b"",
        KEY[:-1],
        KEY[:-4],
        KEY + b"=",
        KEY[:-3] + b"===",
        b"-" + KEY[1:],
        b" " + KEY[1:],
        b"dGhlIHNhbXBsZSBub25jZQ=a",
        base64.b64encode(bytes(15)),
        base64.b64encode(bytes(17)),
        base64.b64encode(bytes(18)),
    ],
)
def test_a_key_is_16_bytes_in_base64(key):
    assert (handshake(sec_websocket_key=key).status, handshake(sec_websocket_key=key).accept) == (400, None)


def test_any_16_bytes_are_a_key():
    for at in range(256):
        assert handshake(sec_websocket_key=base64.b64encode(bytes([at, 255 - at]) * 8)).status == 101


def test_a_request_without_a_key_is_refused():
    assert handshake(without=b"sec-websocket-key").status == 400


@pytest.mark.parametrize("name", [b"sec-websocket-key", b"sec-websocket-version"])
def test_key_and_version_are_not_repeated(name):
    assert handshake((name, FIELDS[name])).status == 400


def test_a_refusal_says_why():
    assert handshake(without=b"sec-websocket-key").reason == "Sec-WebSocket-Key is not base64 of 16 bytes"


def test_subprotocols_are_in_the_order_of_the_client():
    fields = [(b"sec-websocket-protocol", b"b, a,c ,"), (b"sec-websocket-protocol", b"v1.chat")]
    assert handshake(*fields).subprotocols == ["b", "a", "c", "v1.chat"]


@pytest.mark.parametrize("value", [b"a b", b"a;b", b"a, \xe9", b"a/b", b"a=", b'"a"', b"a\tb"])
def test_a_subprotocol_is_a_token(value):
    found = handshake((b"sec-websocket-protocol", value))
    assert (found.status, found.accept) == (400, None)


@pytest.mark.parametrize(
    ("value", "offers"),
    [
        (b"a", [(b"a", [])]),
        (b"a, b;c", [(b"a", []), (b"b", [(b"c", None)])]),
        (b" a ; b = c\t;d ,, ", [(b"a", [(b"b", b"c"), (b"d", None)])]),
        (b'a; b="c"; d="\\e\\f"', [(b"a", [(b"b", b"c"), (b"d", b"ef")])]),
        (b"a;b=1;b=2", [(b"a", [(b"b", b"1"), (b"b", b"2")])]),
        (b"", []),
        (b",", []),
    ],
)
def test_extensions_are_read(value, offers):
    assert handshake((b"sec-websocket-extensions", value)).offers == offers


def test_extensions_may_be_in_several_lines():
    fields = [(b"sec-websocket-extensions", b"a; b"), (b"sec-websocket-extensions", b"c")]
    assert handshake(*fields).offers == [(b"a", [(b"b", None)]), (b"c", [])]


@pytest.mark.parametrize(
    "value",
    [
        *(b"a;", b";a", b"a;;b", b"a b", b"a=b", b"a;b=", b"a;b=c d", b"a/b", b"\xe9"),
        *(b'a;b="c', b'a;b=""', b'a;b="c,d"', b'a;b="c d"'),
    ],
)
def test_extensions_that_break_the_grammar_are_refused(value):
    assert handshake((b"sec-websocket-extensions", value)).status == 400
