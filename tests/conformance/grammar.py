"""Requests and responses made at random: mostly by the grammar of RFC 9112, then spoiled."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from conformance.requests import CASES

if TYPE_CHECKING:
    from collections.abc import Sequence

METHODS = [b"GET", b"POST", b"HEAD", b"OPTIONS", b"CONNECT", b"M-SEARCH", b"get", b""]
TARGETS = [
    b"/",
    b"/a?b=c",
    b"/%20%",
    b"*",
    b"http://a/",
    b"http://a",
    b"https://b:80/c?d",
    b"a:80",
    b"//a",
    b"/a#b",
    b"",
]
VERSIONS = [b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/1.2", b"HTTP/2.0", b"http/1.1", b""]
HOSTS = [b"a", b"a", b"a:80", b"[::1]", b"b", b"", b"a b", b"a,b"]
FIELDS = [
    b"Content-Type: a/b",
    b"Connection: close",
    b"Connection: Keep-Alive, te",
    b"Expect: 100-continue",
    b"Expect: a",
    b"X: b",
    b"X_Y: b",
    b"X:",
    b"X:\t b \t",
    b"Content-Length: 0",
    b"Content-Length: 5",
    b"Content-Length: 5, 5",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: gzip, chunked",
    b" folded",
    b"X : b",
    b"Proxy: b",
    b"Host: a",
]
EXTENSIONS = [b";a", b";a=b", b'; a = "b;\\"c"', b";", b" ;a", b";a b", b";a=\x00"]
SIZES = [b"%x", b"%x", b"%X", b"0%x", b"000%x", b"0x%x", b"%x ", b"+%x"]
# What a mutation puts in: the bytes that framing hangs on, and those just outside of what is allowed.
PIECES = [
    *(bytes([byte]) for byte in b'\r\n\t :;,="\\/0159aAfF_#?%*[]\x00\x01\x0b\x1f\x7f\x80\xa0\xff'),
    b"\r\n",
    b"\r\n\r\n",
    b"\n\n",
    b"\r\r\n",
    b"\r\n ",
    b"0\r\n\r\n",
    b"Host: a\r\n",
    b"Content-Length: 1\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b" HTTP/1.1\r\n",
    b"FFFFFFFFFFFFFFFF",
    b"18446744073709551616",
]
CORPUS = [case.data for case in CASES.values() if len(case.data) < 1000]

STATUSES = ["200 OK", "200", "204 No Content", "205 A", "304 Not Modified", "404 Not Found", "500 A", "101 A", "999 A"]
NAMES = ["X", "Content-Type", "Content-Length", "Connection", "Date", "Server", "Transfer-Encoding", "Set-Cookie", "TE"]
VALUES = ["b", "", " b ", "5", "05", "close", "chunked", "a\tb", "\xe9\xff", "text/plain; charset=utf-8", "\t", "  "]
SPOILERS = [
    "\r",
    "\n",
    "\r\n",
    "\0",
    "\x0b",
    "\x1f",
    "\x7f",
    "\x80",
    "\xff",
    "\u20ac",
    "\U0001f600",
    "\ud800",
    ":",
    " ",
    "\t",
]


def requests(rng: random.Random) -> bytes:
    """Bytes of a connection: one or more requests, often spoiled."""
    parts = [rng.choice(CORPUS) if rng.random() < 0.3 else _request(rng) for _ in range(rng.choice((1, 1, 1, 2, 3)))]
    data = b"".join(parts)
    for _ in range(rng.choice((0, 0, 1, 1, 2, 5))):
        data = _spoiled(rng, data)
    return data


def _request(rng: random.Random) -> bytes:
    lines = [b" ".join((_tame(rng, METHODS), _tame(rng, TARGETS), _tame(rng, VERSIONS)))]
    if rng.random() < 0.95:
        lines.append(b"Host: " + _tame(rng, HOSTS))
    lines += [_tame(rng, FIELDS) for _ in range(rng.choice((0, 0, 1, 2, 4)))]
    content = b""
    kind = rng.random()
    if kind < 0.3:
        content = _text(rng, rng.choice((0, 1, 5, 30)))
        lines.append(b"Content-Length: %d" % len(content))
    elif kind < 0.7:
        content = _chunked(rng)
        lines.append(b"Transfer-Encoding: chunked")
    empty_lines = b"\r\n" * _tame(rng, (0, 0, 0, 1, 4, 5))
    return empty_lines + b"\r\n".join(lines) + b"\r\n\r\n" + content


def _tame(rng: random.Random, choices: Sequence[Any]) -> Any:
    """One of the choices, the first of which are the likeliest."""
    return choices[int(len(choices) * rng.random() ** 4)]


def _chunked(rng: random.Random) -> bytes:
    coded = b""
    for _ in range(rng.choice((0, 1, 1, 2, 5))):
        data = _text(rng, rng.choice((1, 2, 16, 40)))
        size = _tame(rng, SIZES)
        extension = rng.choice(EXTENSIONS) if rng.random() < 0.2 else b""
        coded += size % len(data) + extension + b"\r\n" + data + b"\r\n"
    trailers = b"".join(_tame(rng, FIELDS) + b"\r\n" for _ in range(rng.choice((0, 0, 0, 1, 2))))
    return coded + b"0\r\n" + trailers + b"\r\n"


def _text(rng: random.Random, length: int) -> bytes:
    return bytes(rng.choices(b"ab\r\n0\x00\xff", k=length))


def _spoiled(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data) + 1)
    end = min(len(data), at + rng.choice((1, 1, 2, 8, 40)))
    kind = rng.randrange(7)
    if kind == 0:
        return data[:at] + rng.choice(PIECES) + data[at:]
    if kind == 1:
        return data[:at] + rng.choice(PIECES) + data[end:]
    if kind == 2:
        return data[:at] + data[end:]
    if kind == 3:
        return data[:at] + data[at:end] * 2 + data[end:]
    if kind == 4:
        return data[:at]
    if kind == 5:
        return data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]
    other = rng.choice(CORPUS)
    return data[:at] + other[rng.randrange(len(other) + 1) :]


def limits(rng: random.Random) -> dict[str, Any]:
    """Limits that are often met."""
    return {
        "line": rng.choice((0, 14, 20, 40)),
        "fields": rng.choice((0, 1, 2, 3)),
        "field": rng.choice((0, 7, 12, 27)),
        "content": rng.choice((0, 1, 5, 20)),
        "refuse_underscores": rng.random() < 0.2,
    }


def cut(rng: random.Random, data: bytes) -> list[bytes]:
    """The bytes in parts, some of which may be empty."""
    if rng.random() < 0.2:
        return [data[at : at + 1] for at in range(len(data))]
    ends = sorted(rng.randrange(len(data) + 1) for _ in range(rng.choice((1, 2, 3, 10))))
    return [data[begin:end] for begin, end in zip([0, *ends], [*ends, len(data)], strict=True)]


def response(rng: random.Random) -> tuple[Any, Any, dict[str, Any]]:
    """What an application and the engine might give: status, fields and options."""
    fields = [_field(rng) for _ in range(rng.choice((0, 1, 2, 5)))]
    options = {
        "known": rng.choice((-1, -1, 0, 5, (1 << 63) - 1)),
        "to_head_request": rng.random() < 0.2,
        "minor": rng.choice((0, 1, 1)),
        "persists": rng.random() < 0.7,
        "unix_time": rng.randrange(1 << rng.choice((1, 31, 37))),
        "server": rng.choice((b"", b"pyserver", b"s" * 64)),
        "date": rng.random() < 0.7,
    }
    return _spoiled_text(rng, rng.choice(STATUSES)), fields, options


def _field(rng: random.Random) -> Any:
    name, value = _spoiled_text(rng, rng.choice(NAMES)), _spoiled_text(rng, rng.choice(VALUES))
    return (
        (name, value) if rng.random() < 0.98 else rng.choice(((name,), [name, value], (name, value, name), None, name))
    )


def _spoiled_text(rng: random.Random, text: str) -> Any:
    if rng.random() < 0.9:
        return text
    if rng.random() < 0.1:
        return rng.choice((None, 200, text.encode("latin-1")))
    at = rng.randrange(len(text) + 1)
    return text[:at] + rng.choice(SPOILERS) + text[at + rng.randrange(2) :]
