"""Requests, right and malformed: RFC 9113 §8, RFC 9110 and RFC 8441."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import wire
from .case import MALFORMED, OK, REFUSED, Case, NotApplicableError, echoed, stream_error
from .wire import END_HEADERS, END_STREAM, Code, Field, block, data, headers

if TYPE_CHECKING:
    from collections.abc import Callable

    from .peer import Peer

METHOD, SCHEME, PATH, AUTHORITY = (b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority",
b"test")
REQUEST = (METHOD, SCHEME, PATH, AUTHORITY)


def request(*fields: Field) -> bytes:
    """A GET of exactly these fields."""
    return headers(1, block(*fields))


def with_field(name: bytes, value: bytes) -> bytes:
    return request(*REQUEST, (name, value))


def without(left_out: Field) -> tuple[Field, ...]:
    return tuple(field for field in REQUEST if field is not left_out)


def instead(replaced: Field, value: bytes) -> tuple[Field, ...]:
    return tuple((name, value) if (name, own) == replaced else (name, own) for name, own in REQUEST)


PSEUDO = [
    *(Case(f"without {left_out[0].decode()}", "RFC 9113 §8.3.1", request(*without(left_out)), MALFORMED)
      for left_out in (METHOD, SCHEME, PATH)),
    *(Case(f"twice {twice[0].decode()}", "RFC 9113 §8.3", request(*REQUEST, twice), MALFORMED) for twice in REQUEST),
    *(Case(f"twice-and-different {name.decode()}", "RFC 9113 §8.3", request(*REQUEST, (name, value)), MALFORMED)
      for name, value in ((b":method", b"POST"), (b":path", b"/b"), (b":authority", b"b"), (b":scheme", b"https"))),
    *(Case(f"behind-a-field {late[0].decode()}", "RFC 9113 §8.3", request(*without(late), (b"x", b"a"), late),
           MALFORMED)
      for late in REQUEST),
    *(Case(f"unknown-pseudo-field {name.decode()}", "RFC 9113 §8.3", request(*REQUEST, (name, value)), MALFORMED)
      for name, value in (
          (b":status", b"200"), (b":x", b"a"), (b":", b"a"), (b":Method", b"GET"), (b"::path", b"/"), (b":path ", b"/"),
          (b":host", b"test"), (b":version", b"HTTP/2"),
      )),
    Case("pseudo-fields-in-another-order", "RFC 9113 §8.3", request(AUTHORITY, PATH, SCHEME, METHOD), OK),
    Case("no-fields-at-all", "RFC 9113 §8.3.1", headers(1, b""), MALFORMED),
    Case("no-pseudo-fields", "RFC 9113 §8.3.1", request((b"host", b"test")), MALFORMED),
    *(Case(f"path {path!r}", "RFC 9113 §8.3.1", request(*instead(PATH, path)), MALFORMED)
      for path in (b"", b"a", b"*", b"/a b", b" /", b"/\t", b"/a\r\nx: y", b"/a\nb", b"/\0", b"/\x7f", b"?a")),
    # A server need not understand these, but they are no path of its own.
    Case("path-with-a-fragment", "RFC 9113 §8.3.1", request(*instead(PATH, b"/a#b")), MALFORMED | {"STATUS 404"}),
    Case("path-of-a-whole-uri", "RFC 9113 §8.3.1", request(*instead(PATH, b"http://test/")), MALFORMED),
    *(Case(f"method {method!r}", "RFC 9110 §9.1", request(*instead(METHOD, method)), MALFORMED | {"STATUS 405",
           "STATUS 501"})
      for method in (b"", b"GE T", b"GET ", b" GET", b"GET\r\n", b"G\0T", b"GET\x7f", b"G(T", b"GET / HTTP/1.1\r\nx:")),
    *(Case(f"scheme {scheme!r}", "RFC 3986 §3.1", request(*instead(SCHEME, scheme)), MALFORMED | {"STATUS 421"})
      for scheme in (b"", b"ht tp", b"http\r\nx: y", b"http\0", b"1http", b"http://a/?")),
    Case("scheme-in-upper-case", "RFC 3986 §3.1", request(*instead(SCHEME, b"HTTP")), OK | MALFORMED),
    Case("method-is-case-sensitive", "RFC 9110 §9.1", request(*instead(METHOD, b"get")),
         OK | MALFORMED | {"STATUS 405", "STATUS 501"}),
]  # fmt: skip

AUTHORITIES = [
    *(Case(f"authority {authority!r}", "RFC 9113 §8.3.1", request(*instead(AUTHORITY, authority)), MALFORMED)
      for authority in (
          b"user@test", b"user:password@test", b"te st", b"test\r\nx: y", b"test\0", b"test/", b"test?a", b" test",
          b"test\t", b"test\n", b"test#a", b"\\test",
      )),
    *(Case(f"authority-that-is-good {authority!r}", "RFC 9113 §8.3.1", request(*instead(AUTHORITY, authority)), OK)
      for authority in (b"test", b"test:8080", b"[::1]:80", b"127.0.0.1", b"TEST.example", b"a_b.example")),
    Case("host-in-place-of-authority", "RFC 9113 §8.3.1", request(METHOD, SCHEME, PATH, (b"host", b"test")), OK),
    Case("host-like-authority", "RFC 9113 §8.3.1", with_field(b"host", b"test"), OK),
    Case("host-unlike-authority", "RFC 9113 §8.3.1", with_field(b"host", b"other"), MALFORMED),
    Case("host-of-another-port", "RFC 9113 §8.3.1", with_field(b"host", b"test:81"), MALFORMED),
    Case("host-twice", "RFC 9110 §7.2", request(METHOD, SCHEME, PATH, (b"host", b"test"), (b"host", b"test")),
         MALFORMED),
    Case("host-twice-and-different", "RFC 9110 §7.2",
         request(METHOD, SCHEME, PATH, (b"host", b"a"), (b"host", b"b")), MALFORMED),
    Case("neither-authority-nor-host", "RFC 9110 §7.2", request(METHOD, SCHEME, PATH), OK | MALFORMED),
    Case("authority-that-is-empty", "RFC 9113 §8.3.1", request(*instead(AUTHORITY, b"")), OK | MALFORMED),
    Case("authority-that-is-empty-and-host", "RFC 9113 §8.3.1",
         request(*instead(AUTHORITY, b""), (b"host", b"test")), OK | MALFORMED),
]  # fmt: skip

# RFC 9113 §8.2.1: what could be a line end, or part of another field, in HTTP/1.
NO_NAMES = (
    b"", b"X-Upper", b"x-uppeR", b"x y", b" x", b"x ", b"x\t", b"x\r", b"x\n", b"x\r\ny", b"x\0", b"x\x7f", b"x\x80",
    b"\xff",
    b"x:y", b"x\x01", b"\xc3\xa9",
)  # fmt: skip
NO_VALUES = (
    b"a\r\nb: c", b"a\rb", b"a\nb", b"a\0b", b"\ra", b"a\n", b"\0", b" a", b"a ", b"\ta", b"a\t", b" ", b"\t", b"\r\n",
)  # fmt: skip
FIELDS = [
    *(Case(f"field-name {name!r}", "RFC 9113 §8.2.1", with_field(name, b"a"), MALFORMED) for name in NO_NAMES),
    *(Case(f"field-value {value!r}", "RFC 9113 §8.2.1", with_field(b"x", value), MALFORMED) for value in NO_VALUES),
    # Not a token, RFC 9110 §5.6.2; RFC 9113 §8.2.1 leaves it to the server to look so closely.
    *(Case(f"field-name-that-is-no-token {name!r}", "RFC 9110 §5.1", with_field(name, b"a"), OK | MALFORMED)
      for name in (b"x(", b"x/y", b"x\"", b"x{}")),
    *(Case(f"field-value-with-control {value!r}", "RFC 9110 §5.5", with_field(b"x", value), OK | MALFORMED)
      for value in (b"a\x01b", b"a\x7fb", b"a\x0bb")),
    *(Case(f"field-value-that-is-good {value!r}", "RFC 9110 §5.5", with_field(b"x", value), OK)
      for value in (b"", b"a b", b"a\tb", b"\x80\xff", b"a: b", b"\"a, b\"")),
    *(Case(f"field-of-connections {name.decode()}: {value.decode()}", "RFC 9113 §8.2.2", with_field(name, value),
           MALFORMED)
      for name, value in (
          (b"connection", b"close"), (b"connection", b"keep-alive"), (b"connection", b""), (b"proxy-connection",
           b"close"),
          (b"keep-alive", b"timeout=5"), (b"transfer-encoding", b"chunked"), (b"transfer-encoding", b"identity"),
          (b"upgrade", b"websocket"), (b"upgrade", b"h2c"), (b"te", b"gzip"), (b"te", b"trailers, deflate"),
          (b"te", b"chunked"), (b"te", b""),
      )),
    Case("te-trailers", "RFC 9113 §8.2.2", with_field(b"te", b"trailers"), OK),
    Case("http2-settings-means-nothing-here", "RFC 9113 §3.1", with_field(b"http2-settings", b"AAMAAABk"),
         OK | MALFORMED),
    *(Case(f"field-of-a-malformed-request {name!r}: {value!r}", "RFC 9113 §8.2",
           headers(1, wire.pseudo(b"POST", b"/echo") + block((name, value)), 4) + data(1, b"abc", 1), MALFORMED)
      for name, value in ((b"transfer-encoding", b"chunked"), (b"Content-Length", b"3"), (b"content-length ", b"3"))),
]  # fmt: skip


def posted(length: bytes, *parts: bytes, more: tuple[Field, ...] = ()) -> bytes:
    """A POST with this Content-Length whose content comes in these parts."""
    head = wire.pseudo(b"POST", b"/echo") + block((b"content-length", length), *more)
    if not parts:
        return headers(1, head)
    last = len(parts) - 1
    return headers(1, head, END_HEADERS) + b"".join(
        data(1, part, END_STREAM if at == last else 0) for at, part in enumerate(parts)
    )


LENGTHS = [
    *(Case(f"content-length {length!r}-and-content-of {sum(map(len, parts))}", "RFC 9113 §8.1.1", posted(length,
           *parts), MALFORMED | {"STATUS 413"})
      for length, parts in (
          (b"2", (b"abc",)), (b"4", (b"abc",)), (b"0", (b"a",)), (b"1", ()), (b"3", (b"ab", b"")), (b"3", (b"ab",
           b"cd")),
          (b"99999999999999999999", (b"a",)),
      )),
    *(Case(f"content-length {length!r}", "RFC 9110 §8.6", posted(length, b"abc"), MALFORMED | {"STATUS 413"})
      for length in (b"", b"abc", b"-3", b"+3", b"3 3", b"0x3", b"3,4", b"3.0", b"\xb3", b"18446744073709551619")),
    *(Case(f"content-length-twice {second!r}", "RFC 9110 §8.6",
           posted(b"3", b"abc", more=((b"content-length", second),)), MALFORMED | extra)
      for second, extra in ((b"4", frozenset()), (b"3", OK))),
    Case("content-length-list-of-the-same", "RFC 9110 §8.6", posted(b"3, 3", b"abc"), OK | MALFORMED),
    *(Case(f"content-length-that-is-right {length!r} {len(parts)}", "RFC 9113 §8.1.1", posted(length, *parts), OK,
           needs="app")
      for length, parts in ((b"3", (b"abc",)), (b"3", (b"a", b"", b"bc")), (b"3", (b"abc", b"")), (b"0", ()), (b"0",
      (b"",)))),
    Case("content-length-and-trailers-too-early", "RFC 9113 §8.1.1",
         headers(1, wire.pseudo(b"POST", b"/echo") + block((b"content-length", b"3")), END_HEADERS)
         + data(1, b"a") + headers(1, block((b"x", b"a"))), MALFORMED),
    Case("content-length-counts-no-padding", "RFC 9113 §8.1.1",
         headers(1, wire.pseudo(b"POST", b"/echo") + block((b"content-length", b"3")), END_HEADERS)
         + data(1, b"\4abc\0\0\0\0", 0x9), OK, needs="app"),
]  # fmt: skip


def is_given(sent: bytes, **expected: Any) -> Callable[[Peer], None]:
    """Send a request of which the application is to be told this."""

    def play(peer: Peer) -> None:
        peer.send(sent)
        told = echoed(peer.response(1))
        given = {name: told[name] for name in expected}
        assert given == expected, f"the application was given {given}"

    return play


def gives_fields(sent: bytes, name: str, *values: str) -> Callable[[Peer], None]:
    """Send a request of whose fields the application is to be given these."""

    def play(peer: Peer) -> None:
        peer.send(sent)
        given = [value for own, value in echoed(peer.response(1))["fields"] if own == name]
        assert given == list(values), f"the application was given {given}"

    return play


def echo(*fields: Field, method: bytes = b"GET", path: bytes = b"/echo") -> bytes:
    return headers(1, wire.pseudo(method, path) + block(*fields))


GIVEN = [
    Case("crumbs-of-cookies-are-joined", "RFC 9113 §8.2.3",
         gives_fields(echo((b"cookie", b"a=b"), (b"x", b"y"), (b"cookie", b"c=d"), (b"cookie", b"e=f")),
                      "cookie", "a=b; c=d; e=f"), OK, needs="app"),
    Case("one-cookie-is-left-alone", "RFC 9113 §8.2.3", gives_fields(echo((b"cookie", b"a=b; c=d")), "cookie",
         "a=b; c=d"),
         OK, needs="app"),
    Case("authority-becomes-host", "RFC 9113 §8.3.1", gives_fields(echo(), "host", "test"), OK, needs="app"),
    Case("host-comes-once", "RFC 9113 §8.3.1", gives_fields(echo((b"host", b"test")), "host", "test"), OK, needs="app"),
    Case("method-path-and-query", "RFC 9113 §8.3.1",
         is_given(echo(method=b"PUT", path=b"/echo?a=%20b&c"), method="PUT", path="/echo", query="a=%20b&c"), OK,
         needs="app"),
    Case("method-of-its-own", "RFC 9110 §9.1", is_given(echo(method=b"FROB"), method="FROB"), OK, needs="app"),
    Case("pseudo-fields-are-not-given", "RFC 9113 §8.3", gives_fields(echo(), ":path"), OK, needs="app"),
    Case("value-of-latin-1", "RFC 9110 §5.5", gives_fields(echo((b"x-a", b"caf\xe9")), "x-a", "caf\xe9"), OK,
         needs="app"),
    Case("content-without-a-length", "RFC 9113 §8.1",
         is_given(wire.post() + data(1, b"ab") + data(1, b"c", 1), content="abc", method="POST"), OK, needs="app"),
    Case("content-of-a-get", "RFC 9110 §9.3.1",
         is_given(headers(1, wire.pseudo(b"GET", b"/echo"), 4) + data(1, b"abc", 1), content="abc"), OK, needs="app"),
    Case("content-that-looks-like-a-request", "RFC 9113 §8.1",
         is_given(wire.post() + data(1, b"0\r\n\r\nGET /x HTTP/1.1\r\n\r\n", 1),
         content="0\r\n\r\nGET /x HTTP/1.1\r\n\r\n"),
         OK, needs="app"),
    Case("options-of-the-whole-server", "RFC 9113 §8.3.1", headers(1, wire.pseudo(b"OPTIONS", b"*")),
         OK | {"STATUS 204", "STATUS 400", "STATUS 404", "STATUS 405", "STATUS 501"}),
]  # fmt: skip

# A server that is no proxy refuses to connect.
NO_CONNECT = MALFORMED | {f"STATUS {status}" for status in (403, 404, 405, 501)} | stream_error(
    Code.CONNECT_ERROR, Code.REFUSED_STREAM, Code.HTTP_1_1_REQUIRED
)  # fmt: skip
CONNECT = (b":method", b"CONNECT")
CONNECTS = [
    Case("connect", "RFC 9113 §8.5", headers(1, block(CONNECT, AUTHORITY), 4), NO_CONNECT),
    Case("connect-with-a-path", "RFC 9113 §8.5", headers(1, block(CONNECT, AUTHORITY, SCHEME, PATH), 4), NO_CONNECT),
    Case("connect-without-authority", "RFC 9113 §8.5", headers(1, block(CONNECT), 4), NO_CONNECT),
    Case("trace", "RFC 9110 §9.3.8", headers(1, wire.pseudo(b"TRACE")), OK | {"STATUS 405", "STATUS 501"} | REFUSED),
    Case("protocol-without-connect", "RFC 8441 §4", request(*REQUEST, (b":protocol", b"websocket")), MALFORMED),
]  # fmt: skip


def extended(*fields: Field, allowed: bool = True) -> Callable[[Peer], None]:
    """An extended CONNECT to a server that allows it, or to one that does not."""

    def play(peer: Peer) -> None:
        peer.wait_for(wire.SETTINGS)
        if bool(peer.server.get(wire.ENABLE_CONNECT)) != allowed:
            raise NotApplicableError("RFC 8441 is " + ("not offered" if allowed else "offered"))
        peer.send(headers(1, block(CONNECT, *fields), END_HEADERS))

    return play


WEBSOCKET = (b":protocol", b"websocket")
VERSION = (b"sec-websocket-version", b"13")
EXTENDED = [
    Case("extended-connect-that-was-not-offered", "RFC 8441 §3",
         extended(WEBSOCKET, SCHEME, PATH, AUTHORITY, VERSION, allowed=False), NO_CONNECT),
    *(Case(f"extended-connect-without {left_out[0].decode()}", "RFC 8441 §4",
           extended(WEBSOCKET, *(field for field in (SCHEME, PATH, AUTHORITY) if field != left_out), VERSION),
           MALFORMED)
      for left_out in (SCHEME, PATH)),
    Case("extended-connect-of-an-unknown-protocol", "RFC 8441 §4",
         extended((b":protocol", b"frobnicate"), SCHEME, PATH, AUTHORITY), MALFORMED | {"STATUS 501", "STATUS 404"}),
    Case("extended-connect-with-protocol-twice", "RFC 8441 §4",
         extended(WEBSOCKET, WEBSOCKET, SCHEME, PATH, AUTHORITY, VERSION), MALFORMED),
]  # fmt: skip

CASES = [*PSEUDO, *AUTHORITIES, *FIELDS, *LENGTHS, *GIVEN, *CONNECTS, *EXTENDED]
