"""Requests that a soaked server gets: good ones with the only right answer, and bad ones with their status."""

from __future__ import annotations

import dataclasses
import string
from typing import TYPE_CHECKING

from soak.mixed_application import piece, pieces

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

# What the server of the soak is started with; the requests are made to meet these limits.
HEAD_TIMEOUT = 2.0
CONTENT_TIMEOUT = 3.0
WRITE_TIMEOUT = 4.0
KEEPALIVE = 2.0
REQUEST_BUFFER = 65_536
RESPONSE_BUFFER = 262_144
RESPONSE_SPOOL = 4_000_000
CONTENT_LIMIT = 4_000_000

_LENGTHS = [0, 1, 13, 1000, 16_384, 16_385, 65_536, 300_000, 1_000_000]
_LENGTH_WEIGHTS = [2, 4, 20, 20, 5, 5, 20, 5, 5]
_ECHOED = [1, 100, 1000, REQUEST_BUFFER - 200, REQUEST_BUFFER, REQUEST_BUFFER + 1, 100_000, 1_500_000]
_ECHOED_WEIGHTS = [5, 20, 10, 3, 3, 3, 10, 5]


@dataclasses.dataclass(frozen=True)
class Order:
    """One good request, and what has to come back."""

    data: bytes
    content: bytes
    method: str = "GET"
    status: int = 200
    is_small: bool = False  # in both directions, so that it fits into the buffers of any socket


def request(target: str, *fields: str, method: str = "GET", minor: int = 1) -> bytes:
    """A request head."""
    return "\r\n".join([f"{method} {target} HTTP/1.{minor}", "Host: test", *fields, "", ""]).encode("latin-1")


def any_order(random: Random) -> Order:
    """A good request of any kind."""
    return random.choice(_KINDS)(random)


def any_small_order(random: Random) -> Order:
    """One that can be sent in a row with many others before the first answer is read."""
    while not (order := any_order(random)).is_small:
        pass
    return order


def _of_one_block(random: Random) -> Order:
    at, length = _place(random)
    path = random.choice(["/block", "/file", "/file_in_memory"])
    return _answered(path, at, length, piece(at, length), any_wait(random))


def _of_many_blocks(random: Random) -> Order:
    at, length = _place(random)
    size = random.choice([500, 8192, 16_384, 16_385, 100_000]) if length > 20_000 else random.choice([7, 500, 8192])
    path = random.choice(["/blocks", "/stream", "/counted", "/written"])
    return _answered(path, at, length, b"".join(pieces(at, length, size)), f"&size={size}{any_wait(random)}")


def any_wait(random: Random) -> str:
    """Now and then, what makes the application take longer than the turn that a connection has before others."""
    return random.choice(["&wait=9", "&work=9"]) if random.random() < 0.02 else ""


def _slower_than_its_reader(random: Random) -> Order:
    at = random.randrange(1_000_000)
    length, size = random.choice([(20, 7), (40_000, 8192), (300_000, 100_000)])
    return _answered("/trickle", at, length, b"".join(pieces(at, length, size)), f"&size={size}")


def _answered(path: str, at: int, length: int, content: bytes, more: str = "") -> Order:
    return Order(request(f"{path}?at={at}&length={length}{more}"), content, is_small=length <= 2000)


def _place(random: Random) -> tuple[int, int]:
    return random.randrange(1_000_000), random.choices(_LENGTHS, _LENGTH_WEIGHTS)[0]


def _without_content(random: Random) -> Order:
    if random.random() < 0.3:
        return Order(request("/nothing"), b"", status=204, is_small=True)
    order = random.choice([_of_one_block, _of_many_blocks])(random)
    return Order(order.data.replace(b"GET", b"HEAD", 1), b"", "HEAD", is_small=True)


def _with_content(random: Random) -> Order:
    length = random.choices(_ECHOED, _ECHOED_WEIGHTS)[0]
    content = piece(random.randrange(1_000_000), length)
    path = random.choice(["/echo", "/echo", "/echo_by_lines", "/echo_as_read"])
    if random.random() < 0.5:
        data = request(path, f"Content-Length: {length}", method="POST") + content
    else:
        data = request(path, "Transfer-Encoding: chunked", method="POST") + chunked(random, content)
    return Order(data, content, "POST", is_small=length <= 1000)


def chunked(random: Random, content: bytes) -> bytes:
    """The content in chunks of various sizes, some with extensions, some with a trailer section."""
    sizes = random.choice([(1, 50), (100, 5000), (5000, 200_000)]) if len(content) < 200_000 else (20_000, 200_000)
    parts = []
    at = 0
    while at < len(content):
        part = content[at : at + random.randint(*sizes)]
        extension = random.choice([b"", b"", b"", b';a="b c"'])
        parts.append(b"%x%b\r\n%b\r\n" % (len(part), extension, part))
        at += len(part)
    # RFC 9112 §7.1.1: all extensions of a message together are limited, so a message of many chunks has none.
    if len(parts) > 300:
        parts = [part.replace(b';a="b c"', b"", 1) for part in parts]
    return b"".join(parts) + random.choice([b"0\r\n\r\n", b"0\r\nX-Trailer: 1\r\n\r\n"])


def _with_fields(random: Random) -> Order:
    """Names and values that nobody has sent before, so that whatever is remembered of them gives way."""
    query = _word(random, 1, 150)
    lines, keys = [], {"HTTP_HOST": "test"}
    for _ in range(random.choice([1, 5, 90])):
        name, value = f"X-{_word(random, 1, 60)}", _word(random, 0, random.choice([10, 200]))
        lines.append(f"{name}:{random.choice(['', ' ', '  '])}{value}")
        key = f"HTTP_{name.upper().replace('-', '_')}"
        keys[key] = f"{keys[key]},{value}" if key in keys else value
    lines += ["X_Dropped: 1", "Cookie: a=1", "Cookie: b=2"]
    keys["HTTP_COOKIE"] = "a=1; b=2"
    own = sorted(f"{key}: {value}" for key, value in keys.items())
    return Order(
        request(f"/%66ields?{query}", *lines),
        "\n".join(["/fields", query, *own]).encode("latin-1"),
        is_small=len(lines) < 10,
    )


def _word(random: Random, shortest: int, longest: int) -> str:
    return "".join(random.choices(string.ascii_letters + string.digits + "-", k=random.randint(shortest, longest)))


_KINDS: list[Callable[[Random], Order]] = [
    _of_one_block,
    _of_one_block,
    _of_many_blocks,
    _of_many_blocks,
    _slower_than_its_reader,
    _without_content,
    _with_content,
    _with_fields,
]


# ---- bad ones ----


def _post(*fields: str) -> bytes:
    return request("/echo", *fields, method="POST")


_CHUNKED = _post("Transfer-Encoding: chunked")
REFUSED: list[tuple[bytes, int]] = [
    (b"GET / HTTP/1.1\r\n\r\n", 400),
    (request("/", "Host: other"), 400),
    (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    (b"GET / HTTP/1.1\nHost: a\n\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", 400),
    (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET / HTTP/1.x\r\nHost: a\r\n\r\n", 400),
    (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
    (b"G@T / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    (b"\r\n" * 20, 400),
    (request("*"), 400),
    (request("a:80"), 400),
    (request("a:80", method="CONNECT").replace(b"Host: test", b"Host: a:80"), 501),
    (request("http://other/"), 400),
    (request("/", "X : 1"), 400),
    (request("/", " folded"), 400),
    (request("/", "X: a\0b"), 400),
    (request("/", "X: a\rb"), 400),
    (request("/", "no colon"), 400),
    (request("/" + "a" * 5000), 414),
    (request("/", "X: " + "a" * 9000), 431),
    (request("/", *["X: a"] * 101), 431),
    (_post("Expect: a-miracle", "Content-Length: 5"), 417),
    (_post("Content-Length: +5"), 400),
    (_post("Content-Length: -5"), 400),
    (_post("Content-Length: 5", "Content-Length: 5"), 400),
    (_post("Content-Length: 99999999999999999999999"), 413),
    (_post("Content-Type: a/b", "Content-Type: a/b"), 400),
    (_post("Transfer-Encoding: gzip"), 501),
    (_post("Transfer-Encoding: chunked", "Content-Length: 5"), 400),
    (_post("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"), 400),
    (_CHUNKED.replace(b"HTTP/1.1", b"HTTP/1.0"), 400),
    (_CHUNKED + b"no size\r\n", 400),
    (_CHUNKED + b"fffffffffffffffff\r\n", 400),
    (_CHUNKED + b"5\r\nhelloXX", 400),
    (_CHUNKED + b"11170\r\n" + piece(0, 70_000) + b"XX", 400),
    (_CHUNKED + b"5;" + b"a" * 5000 + b"\r\nhello\r\n", 400),
    (_CHUNKED + b"5\r\nhello\r\n0\r\nX : 1\r\n\r\n", 400),
    (_CHUNKED + b"0\r\n" + b"X: 1\r\n" * 101 + b"\r\n", 431),
    (_post(f"Content-Length: {CONTENT_LIMIT + 1}"), 413),
    (_CHUNKED + b"%x\r\n" % (CONTENT_LIMIT + 1), 413),
]
