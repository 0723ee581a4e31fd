"""Response heads: what an application may give, and what is sent for it. RFC 9112 §4 and §6, RFC 9110, PEP 3333."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ResponseCase:
    """What an application gives, and the head that is sent for it.

    Attributes:
        name: what the row shows.
        source: where the rule is written.
        status, fields: as an application gives them.
        options: what else format_response_head() is told.
        lines: the lines sent behind the status line; empty where `refuse` says that there are none.
        status_line: what is sent for the status.
        persists: whether the connection persists after the response.
        refuse: the exception raised instead.
    """

    name: str
    source: str
    status: Any = "200 OK"
    fields: Any = ()
    options: dict[str, Any] = field(default_factory=dict)
    lines: tuple[str, ...] = ()
    status_line: str = "HTTP/1.1 200 OK"
    persists: bool = True
    refuse: type[Exception] | None = None


NO_DATE = {"date": False}
LENGTH_0 = {"known": 0, **NO_DATE}

STATUSES = [
    *(
        ResponseCase(
            f"status {status!r}",
            "RFC 9112 §4",
            status,
            options=LENGTH_0,
            status_line=f"HTTP/1.1 {sent}",
            lines=("Content-Length: 0",),
        )
        for status, sent in (
            ("200 OK", "200 OK"),
            ("200", "200 "),
            ("200 ", "200 "),
            ("200  OK", "200  OK"),
            ("404 Not Found", "404 Not Found"),
            ("599 \t~", "599 \t~"),
            ("299 caf\xe9", "299 caf\xe9"),
        )
    ),
    *(
        ResponseCase(f"status {status!r}", "RFC 9112 §4", status, refuse=ValueError)
        for status in (
            "",
            "2",
            "20",
            "2000",
            "200OK",
            "200\tOK",
            "abc",
            "2x0 OK",
            " 200 OK",
            "-200",
            "0200 OK",
            "\xb200 OK",
            "\uff12\uff10\uff10 OK",
            "200 \u20ac",
            "200 OK\r\nX: b",
            "200 OK\r",
            "200 OK\n",
            "200 \0",
            "200 \x7f",
            "200\r\n",
        )
    ),
    *(
        ResponseCase(f"status {status!r}", "RFC 9110 §15", status, refuse=ValueError)
        for status in ("000 A", "099 A", "100 Continue", "101 Switching Protocols", "199 A", "600 A", "999 A")
    ),
    *(
        ResponseCase(f"status {status!r}", "PEP 3333", status, refuse=TypeError)
        for status in (b"200 OK", 200, None, ("200 OK",), bytearray(b"200 OK"))
    ),
]

FIELDS = [
    *(
        ResponseCase(
            f"field {name!r}: {value!r}",
            "RFC 9110 §5",
            fields=[(name, value)],
            options=LENGTH_0,
            lines=(f"{name}: {value}", "Content-Length: 0"),
        )
        for name, value in (
            ("X", "b"),
            ("X", ""),
            ("x_y", "b"),
            ("!#$%&'*+-.^_`|~09AZaz", "b"),
            ("X", "b\tc d"),
            ("X", "\x80\xff\xe9"),
            ("X", "".join(map(chr, [*range(0x20, 0x7F), *range(0x80, 0x100)]))),
            ("Trailer", "X"),
            ("Te-X", "b"),
            ("Connections", "b"),
            ("Location", "/\xe9"),
        )
    ),
    ResponseCase(
        "fields-keep-their-order",
        "RFC 9110 §5.3",
        fields=[("Set-Cookie", "b=1"), ("X", "2"), ("set-cookie", "c=3")],
        options=LENGTH_0,
        lines=("Set-Cookie: b=1", "X: 2", "set-cookie: c=3", "Content-Length: 0"),
    ),
    *(
        ResponseCase(f"field name {name!r}", "RFC 9110 §5.1", fields=[("A", "b"), (name, "b")], refuse=ValueError)
        for name in (
            "",
            " X",
            "X ",
            "X Y",
            "X:",
            ":",
            "X\r",
            "X\n",
            "X\r\nY",
            "X\0",
            "X\x7f",
            "\xe9",
            "\u20ac",
            "X\t",
            "X(",
            '"X"',
        )
    ),
    *(
        ResponseCase(f"field value {value!r}", "RFC 9110 §5.5", fields=[("X", value)], refuse=ValueError)
        for value in (
            "b\r\nY: c",
            "b\rc",
            "b\nc",
            "b\r\n c",
            "b\n",
            "b\r",
            "\0",
            "\x01",
            "\x0b",
            "\x1f",
            "\x7f",
            "bcdefgh\x00",
            "bcdefghi\x00jklmnopq",
            "\u20ac",
            "b\ud800",
            "\u0130",
        )
    ),
    *(
        ResponseCase(f"field {item!r}", "PEP 3333", fields=[item], refuse=TypeError)
        for item in (
            ("X",),
            ("X", "b", "c"),
            (),
            ["X", "b"],
            "Xb",
            None,
            (b"X", "b"),
            ("X", b"b"),
            ("X", 5),
            (None, "b"),
            ("X", None),
        )
    ),
    ResponseCase("fields-that-are-none", "PEP 3333", fields=None, refuse=TypeError),
    *(
        ResponseCase(f"hop-by-hop {name}: {value}", "PEP 3333", fields=[(name, value)], refuse=ValueError)
        for name, value in (
            ("Connection", "keep-alive"),
            ("Connection", "close, X"),
            ("Connection", ""),
            ("connection", "upgrade"),
            ("Keep-Alive", "timeout=5"),
            ("Proxy-Authenticate", "Basic"),
            ("Proxy-Authorization", "Basic"),
            ("TE", "trailers"),
            ("te", "trailers"),
            ("Trailers", "X"),
            ("Transfer-Encoding", "chunked"),
            ("TRANSFER-ENCODING", "identity"),
            ("transfer-encoding", "gzip"),
            ("Upgrade", "h2c"),
        )
    ),
    *(
        ResponseCase(f"length {value!r}", "RFC 9110 §8.6", fields=[("Content-Length", value)], refuse=ValueError)
        for value in (
            "",
            "a",
            "-1",
            "+1",
            "1.0",
            " 1",
            "1 ",
            "1, 1",
            "0x1",
            "1_0",
            "\xb2",
            "1000000000000000000",
            "9" * 400,
        )
    ),
    ResponseCase(
        "length-twice",
        "RFC 9110 §8.6",
        fields=[("Content-Length", "5"), ("content-length", "5")],
        refuse=ValueError,
    ),
]


def framing(
    name: str,
    source: str,
    *lines: str,
    status: int = 200,
    length: str | None = None,
    closes: bool = False,
    **options: Any,
) -> ResponseCase:
    """A row of what is said of framing and persistence, where the application says `length` and nothing else."""
    return ResponseCase(
        name,
        source,
        f"{status} A",
        [("Content-Length", length)] if length is not None else [],
        {**NO_DATE, **options},
        lines,
        f"HTTP/1.1 {status} A",
        not closes,
    )


CHUNKED = "Transfer-Encoding: chunked"
CLOSE = "Connection: close"
KEEP = "Connection: keep-alive"
LENGTH_5 = "Content-Length: 5"

FRAMING = [
    framing("unknown-length", "RFC 9112 §6.1", CHUNKED),
    framing("known-length", "RFC 9110 §8.6", LENGTH_5, known=5),
    framing("known-to-be-empty", "RFC 9110 §8.6", "Content-Length: 0", known=0),
    framing("declared-length", "RFC 9110 §8.6", LENGTH_5, length="5"),
    framing("declared-length-with-zeros", "RFC 9110 §8.6", LENGTH_5, length="0005"),
    framing("declared-length-zero", "RFC 9110 §8.6", "Content-Length: 0", length="0"),
    framing("declared-length-goes-before-known", "RFC 9110 §8.6", LENGTH_5, length="5", known=7),
    framing("declared-length-of-18-digits", "RFC 9110 §8.6", f"Content-Length: {'9' * 18}", length="9" * 18),
    framing("known-length-of-63-bits", "RFC 9110 §8.6", "Content-Length: 9223372036854775807", known=(1 << 63) - 1),
    framing("last-response-of-unknown-length", "RFC 9112 §9.6", CHUNKED, CLOSE, persists=False, closes=True),
    framing("last-response-of-known-length", "RFC 9112 §9.6", LENGTH_5, CLOSE, known=5, persists=False, closes=True),
    framing("unknown-length-to-1.0", "RFC 9112 §6.3", CLOSE, minor=0, closes=True),
    framing("unknown-length-to-1.0-that-closes", "RFC 9112 §6.3", CLOSE, minor=0, persists=False, closes=True),
    framing("known-length-to-1.0", "RFC 9112 §9.3", LENGTH_5, KEEP, known=5, minor=0),
    framing("declared-length-to-1.0", "RFC 9112 §9.3", LENGTH_5, KEEP, length="5", minor=0),
    framing(
        "known-length-to-1.0-that-closes",
        "RFC 9112 §9.3",
        LENGTH_5,
        CLOSE,
        known=5,
        minor=0,
        persists=False,
        closes=True,
    ),
    framing("head-of-unknown-length", "RFC 9110 §9.3.2", to_head_request=True),
    framing("head-of-known-length", "RFC 9110 §8.6", LENGTH_5, known=5, to_head_request=True),
    framing("head-without-content", "RFC 9110 §8.6", known=0, to_head_request=True),
    framing("head-of-declared-length", "RFC 9110 §8.6", LENGTH_5, length="5", known=0, to_head_request=True),
    framing("head-in-1.0", "RFC 9112 §9.3", KEEP, to_head_request=True, minor=0),
    framing("no-content", "RFC 9110 §15.3.5", status=204),
    framing("no-content-of-known-length", "RFC 9110 §8.6", status=204, known=5),
    framing("no-content-of-declared-length", "RFC 9110 §8.6", status=204, length="5"),
    framing("no-content-to-head", "RFC 9110 §8.6", status=204, known=5, to_head_request=True),
    framing("no-content-to-1.0", "RFC 9112 §9.3", KEEP, status=204, minor=0),
    framing("no-content-at-last", "RFC 9112 §9.6", CLOSE, status=204, persists=False, closes=True),
    framing("reset-content", "RFC 9110 §15.3.6", "Content-Length: 0", status=205),
    framing("reset-content-of-known-length", "RFC 9110 §15.3.6", "Content-Length: 0", status=205, known=5),
    framing("reset-content-of-declared-length", "RFC 9110 §15.3.6", "Content-Length: 0", status=205, length="5"),
    framing("reset-content-to-head", "RFC 9110 §15.3.6", "Content-Length: 0", status=205, to_head_request=True),
    framing("reset-content-to-1.0", "RFC 9110 §15.3.6", "Content-Length: 0", KEEP, status=205, minor=0),
    framing("not-modified", "RFC 9110 §15.4.5", status=304),
    framing("not-modified-of-known-length", "RFC 9110 §8.6", status=304, known=5),
    framing("not-modified-of-declared-length", "RFC 9110 §8.6", LENGTH_5, status=304, length="5"),
    framing("not-modified-to-head", "RFC 9110 §8.6", status=304, known=5, to_head_request=True),
    framing("not-modified-to-1.0", "RFC 9112 §9.3", KEEP, status=304, minor=0),
    framing("error-of-unknown-length", "RFC 9112 §6.1", CHUNKED, status=404),
    *(
        ResponseCase(
            f"application-says-{name}-{value}",
            "RFC 9112 §9.6",
            fields=[(name, value)],
            options=LENGTH_0,
            lines=("Content-Length: 0", CLOSE),
            persists=False,
        )
        for name, value in (("Connection", "close"), ("connection", "CLOSE"))
    ),
    ResponseCase(
        "application-says-close-to-1.0",
        "RFC 9112 §9.6",
        fields=[("Connection", "close")],
        options={"minor": 0, **LENGTH_0},
        lines=("Content-Length: 0", CLOSE),
        persists=False,
    ),
]

DATE = "Date: Sun, 06 Nov 1994 08:49:37 GMT"
THEN = {"unix_time": 784111777, "known": 0}

STAMPS = [
    ResponseCase(
        name,
        source,
        fields=fields,
        options={**THEN, **options},
        lines=(*(f"{key}: {value}" for key, value in fields), *lines, "Content-Length: 0"),
    )
    for name, source, fields, options, lines in (
        ("date-alone", "RFC 9110 §6.6.1", [], {}, [DATE]),
        ("date-and-server", "RFC 9110 §10.2.4", [], {"server": b"pyserver"}, [DATE, "Server: pyserver"]),
        ("server-alone", "RFC 9110 §10.2.4", [], {"server": b"pyserver", "date": False}, ["Server: pyserver"]),
        ("neither", "RFC 9110 §6.6.1", [], {"date": False}, []),
        ("server-of-64-bytes", "RFC 9110 §10.2.4", [], {"server": b"s" * 64}, [DATE, "Server: " + "s" * 64]),
        ("date-of-the-application", "RFC 9110 §6.6.1", [("date", "b")], {"server": b"s"}, ["Server: s"]),
        ("server-of-the-application", "RFC 9110 §10.2.4", [("SERVER", "b")], {"server": b"s"}, [DATE]),
        ("both-of-the-application", "RFC 9110 §6.6.1", [("Server", "b"), ("Date", "c")], {"server": b"s"}, []),
        ("server-of-the-application-without-ours", "RFC 9110 §10.2.4", [("Server", "b")], {"date": False}, []),
        ("fields-before-ours", "RFC 9110 §5.3", [("X", "b"), ("Y", "c")], {}, [DATE]),
    )
]

CASES = {case.name: case for case in (*STATUSES, *FIELDS, *FRAMING, *STAMPS)}
