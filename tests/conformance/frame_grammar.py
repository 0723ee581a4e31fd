"""Bytes of WebSockets made at random: mostly frames by the rules of RFC 6455, then spoiled."""

from __future__ import annotations

import random
import struct
from typing import TYPE_CHECKING, Any

from conformance.frames import BINARY, CASES, CLOSE, CONTINUATION, PING, PONG, TEXT, Deflater, frame
from conformance.grammar import cut

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["connection", "cut", "message"]

SIZES = [0, 1, 2, 5, 8, 20, 125, 126, 127, 300]
LARGE = 66000  # takes a hundred times as long, and is as much rarer
CHARACTERS = "ab\0\x7f\x80\xe9\u07ff\u0800\u20ac\ud7ff\ue000\uffff\U00010000\U0001f600\U0010ffff"
# What text is spoiled with: the bytes that the rules of UTF-8 hang on.
OCTETS = [0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF, 0xE0, 0xED, 0xEF, 0xF0, 0xF4, 0xF5, 0xFF]
CODES = [1000, 1001, 1003, 1007, 1011, 1012, 1013, 1014, 3000, 4999, 0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000]
PLAIN = [case.data for case in CASES.values() if len(case.data) < 1000 and not case.deflate]
DEFLATED = [case.data for case in CASES.values() if len(case.data) < 1000]


def connection(rng: random.Random) -> tuple[bytes, bool]:
    """What a client sends after the handshake, and whether compression was agreed."""
    deflate = rng.random() < 0.5
    pack = Deflater(rng.choice((9, 12, 15)))
    parts: list[bytes] = []
    for _ in range(rng.choice((1, 1, 2, 3, 6))):
        if rng.random() < 0.1:
            parts.append(rng.choice(DEFLATED if deflate else PLAIN))
        else:
            parts += _message(rng, pack if deflate else None)
    data = b"".join(parts)
    for _ in range(rng.choice((0, 0, 0, 1, 2))):
        data = _spoiled(rng, data)
    return data, deflate


def message(rng: random.Random) -> str | bytes:
    """What an application may send."""
    size = rng.choice(SIZES) if rng.random() < 0.99 else LARGE
    if rng.random() < 0.5:
        return _octets(rng, size)
    alphabet = rng.choice(("ab", CHARACTERS))
    return "".join(rng.choices(alphabet, k=size))


def _octets(rng: random.Random, size: int) -> bytes:
    return rng.randbytes(size) if rng.random() < 0.5 else bytes(rng.choices(b"ab", k=size))


def _message(rng: random.Random, pack: Deflater | None) -> Iterator[bytes]:
    """The frames of a message, with control frames among them."""
    content = message(rng)
    data = content.encode() if isinstance(content, str) else content
    opcode, rsv = TEXT if isinstance(content, str) or rng.random() < 0.05 else BINARY, 0
    if opcode == TEXT and data and rng.random() < 0.1:
        at = rng.randrange(len(data))
        data = data[:at] + bytes([rng.choice(OCTETS)]) + data[at + rng.choice((0, 1)) :]
    if pack is not None and rng.random() < 0.7:
        data, rsv = pack(data), 4
    parts = cut(rng, data) if len(data) < 1000 and rng.random() < 0.5 else [data]
    for at, part in enumerate(parts):
        if rng.random() < 0.1:
            yield _control(rng)
        yield _frame(rng, opcode if at == 0 else CONTINUATION, part, fin=at == len(parts) - 1, rsv=0 if at else rsv)


def _control(rng: random.Random) -> bytes:
    opcode = rng.choice((PING, PING, PONG, PONG, CLOSE))
    data = _octets(rng, rng.choice((0, 1, 2, 60, 123, 125)))
    if opcode == CLOSE and rng.random() < 0.8:
        data = struct.pack("!H", rng.choice(CODES)) + rng.choice((b"", b"bye", b"\xe2\x82\xac", b"\xe2", b"\xff"))
    return _frame(rng, opcode, data)


def _frame(rng: random.Random, opcode: int, data: bytes, **options: Any) -> bytes:
    """A frame that rarely has something wrong with its head."""
    options["key"] = rng.randbytes(4)
    if rng.random() < 0.02:
        wrong = {
            "fin": not options.get("fin", True),
            "rsv": rng.randrange(8),
            "key": None,
            "length": rng.choice((len(data) + 1, 1 << 16, 1 << 62, 1 << 63)),
            "form": rng.choice((126, 127)),
        }
        name = rng.choice(list(wrong))
        options[name] = wrong[name]
    if rng.random() < 0.01:
        opcode = rng.randrange(16)
    return frame(opcode, data, **options)


def _spoiled(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data) + 1)
    end = min(len(data), at + rng.choice((1, 1, 2, 8, 40)))
    kind = rng.randrange(6)
    if kind == 0:
        return data[:at]
    if kind == 1:
        return data[:at] + data[end:]
    if kind == 2:
        return data[:at] + data[at:end] * 2 + data[end:]
    if kind == 3:
        return data[:at] + rng.randbytes(end - at) + data[end:]
    if kind == 4:
        return data[:at] + bytes([1 << rng.randrange(8) ^ octet for octet in data[at : at + 1]]) + data[at + 1 :]
    return data[:at] + rng.choice(DEFLATED) + data[at:]
