"""What clients send in a WebSocket and what has to be made of it: RFC 6455 §5 and §7, RFC 7692 §7."""

from __future__ import annotations

import struct
import zlib
from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pyserver._websocket import Deflate, Event, Handshake, WebSocket

if TYPE_CHECKING:
    from collections.abc import Iterable

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
KEY = b"\x37\xfa\x21\x3d"
OFFER = b"permessage-deflate; client_max_window_bits=15"


def frame(
    opcode: int,
    data: bytes = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    key: bytes | None = KEY,
    length: int | None = None,
    form: int | None = None,
) -> bytes:
    """A frame, as a client sends it unless said otherwise.

    Args:
        key: the mask; None for a frame without one.
        length: the payload length that is told; otherwise the true one.
        form: the value of the seven bits of length, where it is not to be the shortest form.
    """
    told = len(data) if length is None else length
    if form is None:
        form = told if told < 126 else 126 if told < 1 << 16 else 127
    head = bytes([fin << 7 | rsv << 4 | opcode, (key is not None) << 7 | form])
    head += {126: struct.pack("!H", told & 0xFFFF), 127: struct.pack("!Q", told)}.get(form, b"")
    return head + data if key is None else head + key + masked(data, key)


def masked(data: bytes, key: bytes) -> bytes:
    """Mask or unmask a payload."""
    mask = (key * (len(data) // 4 + 1))[: len(data)]
    return (int.from_bytes(data, "big") ^ int.from_bytes(mask, "big")).to_bytes(len(data), "big")


def close(code: int, reason: bytes = b"") -> bytes:
    return frame(CLOSE, struct.pack("!H", code) + reason)


class Deflater:
    """Compresses messages as a client does, each with the history of those before it."""

    def __init__(self, bits: int = 15) -> None:
        self._compressor = zlib.compressobj(wbits=-bits)

    def __call__(self, data: bytes) -> bytes:
        return (self._compressor.compress(data) + self._compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


def agreed(offer: bytes = OFFER, **wanted: Any) -> Deflate:
    """What is agreed where a client makes that offer."""
    fields = [
        (b"sec-websocket-version", b"13"),
        (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="),
        (b"sec-websocket-extensions", offer),
    ]
    deflate = Handshake(b"GET", fields).agree(Deflate(**{"client_bits": 15, **wanted}))
    assert deflate is not None
    return deflate


def judge(parts: Iterable[bytes], **options: Any) -> list[tuple[Any, ...]]:
    """The events of a connection whose bytes arrive in these parts."""
    socket = WebSocket(**options)
    # In memory of just that size, so that a sanitizer sees whoever reads beyond it.
    return [event for part in parts for event in socket.feed(array("B", part))]


@dataclass(frozen=True)
class Case:
    """Bytes of a connection, and the events in them.

    Attributes:
        name: what the row shows.
        source: where the rule is written.
        send: all bytes; where they are refused, those before the first that shows why.
        events: what is understood.
        fail: the code of the refusal.
        then: the rest of what is refused.
        deflate: whether compression was agreed.
        max_message: the limit.
    """

    name: str
    source: str
    send: bytes
    events: list[tuple[Any, ...]] = field(default_factory=list)
    fail: int | None = None
    then: bytes = b""
    deflate: bool = False
    max_message: int = 1 << 20

    @property
    def data(self) -> bytes:
        return self.send + self.then

    def judge(self, parts: Iterable[bytes]) -> list[tuple[Any, ...]]:
        options = {"deflate": agreed()} if self.deflate else {}
        return judge(parts, max_message=self.max_message, **options)

    def cuts(self) -> Iterable[tuple[bytes, bytes]]:
        """Every way to receive the bytes in two parts; of long ones, those around the heads and the end."""
        data = self.data
        places = range(1, len(data)) if len(data) < 1000 else [*range(1, 50), *range(len(data) - 50, len(data))]
        return ((data[:at], data[at:]) for at in places)


T, B = Event.TEXT, Event.BINARY
EURO = "\u20ac".encode()
MIXED = "\u00e9\u20ac\U0001f600\0"
LONG = bytes(range(256)) * 300

MESSAGES = [
    Case("hello", "RFC 6455 §5.7", bytes.fromhex("818537fa213d7f9f4d5158"), [(T, "Hello")]),
    *(
        Case(f"text of {size}", "RFC 6455 §5.2", frame(TEXT, b"a" * size), [(T, "a" * size)])
        for size in (0, 1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 125, 126, 127, 65535, 65536)
    ),
    *(
        Case(f"binary of {size}", "RFC 6455 §5.2", frame(BINARY, LONG[:size]), [(B, LONG[:size])])
        for size in (0, 1, 8, 125, 126, 65535, 65536, 70001)
    ),
    Case("characters", "RFC 6455 §5.6", frame(TEXT, MIXED.encode()), [(T, MIXED)]),
    Case("latin-1", "RFC 6455 §5.6", frame(TEXT, "\xe9".encode() * 9), [(T, "\xe9" * 9)]),
    Case(
        "several",
        "RFC 6455 §5.2",
        frame(TEXT, b"a") + frame(BINARY, b"b") + frame(TEXT),
        [(T, "a"), (B, b"b"), (T, "")],
    ),
    Case("mask of zeroes", "RFC 6455 §5.3", frame(TEXT, b"abc", key=bytes(4)), [(T, "abc")]),
    Case("an end that has not come", "RFC 6455 §5.2", frame(TEXT, b"a") + frame(TEXT, b"bcd")[:-1], [(T, "a")]),
    Case("a limit that is met", "RFC 6455 §7.4.1", frame(BINARY, b"abcde"), [(B, b"abcde")], max_message=5),
    Case("no limit", "RFC 6455 §7.4.1", frame(BINARY, b"abcde"), [(B, b"abcde")], max_message=0),
]

FRAGMENTS = [
    Case(
        "fragments",
        "RFC 6455 §5.4",
        frame(TEXT, b"ab", fin=False) + frame(CONTINUATION, fin=False) + frame(CONTINUATION, b"cd", key=b"abcd"),
        [(T, "abcd")],
    ),
    Case(
        "fragments of binary",
        "RFC 6455 §5.4",
        frame(BINARY, b"a", fin=False) + frame(CONTINUATION, b"b"),
        [(B, b"ab")],
    ),
    Case("nothing but fragments", "RFC 6455 §5.4", frame(BINARY, fin=False) + frame(CONTINUATION), [(B, b"")]),
    Case("an empty text of two", "RFC 6455 §5.4", frame(TEXT, fin=False) + frame(CONTINUATION), [(T, "")]),
    Case(
        "a character in three fragments",
        "RFC 6455 §5.6",
        frame(TEXT, EURO[:1], fin=False) + frame(CONTINUATION, EURO[1:2], fin=False) + frame(CONTINUATION, EURO[2:]),
        [(T, "\u20ac")],
    ),
    Case(
        "control frames between fragments",
        "RFC 6455 §5.4",
        frame(TEXT, EURO[:2], fin=False) + frame(PING, b"\xff") + frame(PONG) + frame(CONTINUATION, EURO[2:] + b"a"),
        [(Event.PING, b"\xff"), (Event.PONG, b""), (T, "\u20aca")],
    ),
    Case(
        "a close between fragments",
        "RFC 6455 §5.4",
        frame(TEXT, b"a", fin=False) + close(1000) + frame(CONTINUATION, b"b"),
        [(Event.CLOSE, 1000, "")],
    ),
    Case(
        "many fragments",
        "RFC 6455 §5.4",
        frame(BINARY, b"x", fin=False) + frame(CONTINUATION, b"y", fin=False) * 5000 + frame(CONTINUATION, b"z"),
        [(B, b"x" + b"y" * 5000 + b"z")],
    ),
    Case("a continuation first", "RFC 6455 §5.4", b"", fail=1002, then=frame(CONTINUATION, b"x")),
    Case(
        "a continuation after the end",
        "RFC 6455 §5.4",
        frame(TEXT, b"a"),
        [(T, "a")],
        fail=1002,
        then=frame(CONTINUATION, b"x"),
    ),
    *(
        Case(
            f"opcode {opcode} within a message",
            "RFC 6455 §5.4",
            frame(TEXT, b"a", fin=False),
            fail=1002,
            then=frame(opcode, b"x"),
        )
        for opcode in (TEXT, BINARY)
    ),
    Case(
        "fragments beyond the limit",
        "RFC 6455 §7.4.1",
        frame(BINARY, b"abc", fin=False) + frame(CONTINUATION, b"def")[:5],
        fail=1009,
        then=frame(CONTINUATION, b"def")[5:],
        max_message=5,
    ),
]

HEADS = [
    *(
        Case(f"opcode {opcode}", "RFC 6455 §5.2", b"", fail=1002, then=frame(opcode, b"x"))
        for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)
    ),
    *(
        Case(f"reserved bits {bits} of {opcode}", "RFC 6455 §5.2", b"", fail=1002, then=frame(opcode, b"x", rsv=bits))
        for bits in (1, 2, 3, 4, 5)
        for opcode in (TEXT, PING, CLOSE)
    ),
    *(
        Case(
            f"opcode {opcode} without a mask",
            "RFC 6455 §5.1",
            frame(opcode, b"x", key=None)[:1],
            fail=1002,
            then=frame(opcode, b"x", key=None)[1:],
        )
        for opcode in (TEXT, BINARY, CLOSE, PING, PONG)
    ),
    *(
        Case(
            f"length {length} in form {form}",
            "RFC 6455 §5.2",
            frame(BINARY, length=length, form=form)[: 3 if form == 126 else 9],
            fail=1002,
            then=frame(BINARY, length=length, form=form)[3 if form == 126 else 9 :] + bytes(length),
        )
        for length, form in ((0, 126), (125, 126), (0, 127), (125, 127), (65535, 127))
    ),
    *(
        Case(
            f"length {length}",
            "RFC 6455 §5.2",
            frame(BINARY, length=length)[:9],
            fail=1002,
            then=frame(BINARY, length=length)[9:],
        )
        for length in (1 << 63, (1 << 64) - 1)
    ),
    *(
        Case(
            f"length {length} beyond the limit",
            "RFC 6455 §7.4.1",
            frame(TEXT, length=length)[:-1],
            fail=1009,
            then=frame(TEXT, length=length)[-1:],
        )
        for length in ((1 << 20) + 1, 1 << 32, 1 << 62, (1 << 63) - 1)
    ),
    Case("any length without a limit", "RFC 6455 §5.2", frame(BINARY, b"a", length=(1 << 62) - 1), max_message=0),
]

CONTROL = [
    Case("a ping", "RFC 6455 §5.5.2", frame(PING, b"p"), [(Event.PING, b"p")]),
    Case("a ping of nothing", "RFC 6455 §5.5.2", frame(PING), [(Event.PING, b"")]),
    Case("a ping of 125", "RFC 6455 §5.5", frame(PING, LONG[:125]), [(Event.PING, LONG[:125])]),
    Case("a pong", "RFC 6455 §5.5.3", frame(PONG, b"unasked"), [(Event.PONG, b"unasked")]),
    *(
        Case(
            f"opcode {opcode} of {length}",
            "RFC 6455 §5.5",
            frame(opcode, length=length)[:1],
            fail=1002,
            then=frame(opcode, bytes(length))[1:],
        )
        for opcode in (PING, PONG, CLOSE)
        for length in (126, 65536)
    ),
    *(
        Case(f"opcode {opcode} in fragments", "RFC 6455 §5.5", b"", fail=1002, then=frame(opcode, fin=False))
        for opcode in (PING, PONG, CLOSE)
    ),
]

CLOSES = [
    Case("a close without a code", "RFC 6455 §7.1.5", frame(CLOSE), [(Event.CLOSE, 1005, "")]),
    Case("a close with a reason", "RFC 6455 §7.1.6", close(1000, b"b\xc3\xa9"), [(Event.CLOSE, 1000, "b\u00e9")]),
    Case(
        "what follows a close",
        "RFC 6455 §5.5.1",
        close(1001) + frame(3) + frame(TEXT, b"a"),
        [(Event.CLOSE, 1001, "")],
    ),
    *(
        Case(f"close {code}", "RFC 6455 §7.4", close(code), [(Event.CLOSE, code, "")])
        for code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999)
    ),
    *(
        Case(f"close {code}", "RFC 6455 §7.4", close(code)[:-1], fail=1002, then=close(code)[-1:])
        for code in (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)
    ),
    Case("half a code", "RFC 6455 §5.5.1", frame(CLOSE, b"\x03")[:-1], fail=1002, then=frame(CLOSE, b"\x03")[-1:]),
    *(
        Case(f"the reason {text!r}", "RFC 6455 §7.1.6", close(1000, text)[:-1], fail=1007, then=close(1000, text)[-1:])
        for text in (b"\xff", b"a\xe2\x82", b"\xed\xa0\x80", b"\xc0\x80")
    ),
]

# Text up to the first byte that cannot be of UTF-8, and from there on.
NOT_UTF8 = [
    (b"", b"\x80"),
    (b"ab", b"\xff"),
    (b"", b"\xc0\x80"),
    (b"", b"\xc1\xbf"),
    (b"\xc3", b"\x28"),
    (b"\xc3", b"\xc3"),
    (b"\xe0", b"\x9f\xbf"),
    (b"\xe2\x82", b"a"),
    (b"\xed", b"\xa0\x80"),
    (b"\xed", b"\xbf\xbf"),
    (b"\xef\xbf", b"\xc0"),
    (b"\xf0", b"\x8f\xbf\xbf"),
    (b"\xf0\x9f\x98", b"\x7f"),
    (b"\xf4", b"\x90\x80\x80"),
    (b"", b"\xf5\x80\x80\x80"),
    (b"", b"\xfe"),
    (b"abcdefgh" * 3 + b"\xe2\x82\xac", b"\xac"),
]


def _refused_text(good: bytes, bad: bytes, name: str, at: int, begin: bytes, whole: bytes) -> Case:
    data = begin + whole
    cut = len(data) - len(bad) - at
    return Case(f"{good!r} then {bad!r} {name}", "RFC 6455 §8.1", data[:cut], fail=1007, then=data[cut:])


CHARACTERS = [
    *(_refused_text(good, bad, "in a frame", 3, b"", frame(TEXT, good + bad + b"abc")) for good, bad in NOT_UTF8),
    *(
        _refused_text(good, bad, "in two", 0, frame(TEXT, good, fin=False), frame(CONTINUATION, bad, fin=False))
        for good, bad in NOT_UTF8
    ),
    *(
        Case(
            f"a text that ends in {text!r}",
            "RFC 6455 §8.1",
            frame(TEXT, b"ab" + text)[:-1],
            fail=1007,
            then=frame(TEXT, b"ab" + text)[-1:],
        )
        for text in (b"\xc3", b"\xe2\x82", b"\xf0\x9f\x98")
    ),
    *(
        Case(f"the last of its kind, {text!r}", "RFC 3629 §4", frame(TEXT, text), [(T, text.decode())])
        for text in (character.encode() for character in "\x7f\u07ff\u0800\ud7ff\ue000\uffff\U00010000\U0010ffff")
    ),
]


def _deflated(*texts: bytes) -> bytes:
    pack = Deflater()
    return b"".join(frame(TEXT, pack(text), rsv=4) for text in texts)


HELLO = bytes.fromhex("f248cdc9c90700")
FINAL = bytes.fromhex("f348cdc9c90700")
ZEROES = Deflater()(bytes(1 << 20))
ENDS = frame(BINARY, b"\x03\0" * 65, rsv=4, fin=False)

DEFLATE = [
    Case("deflated hello", "RFC 7692 §7.2.3.1", frame(TEXT, HELLO, rsv=4), [(T, "Hello")], deflate=True),
    Case(
        "deflated hello in fragments",
        "RFC 7692 §7.2.3.1",
        frame(TEXT, HELLO[:3], rsv=4, fin=False) + frame(PING) + frame(CONTINUATION, HELLO[3:]),
        [(Event.PING, b""), (T, "Hello")],
        deflate=True,
    ),
    Case(
        "the last fragment is empty",
        "RFC 7692 §7.2.1",
        frame(TEXT, HELLO, rsv=4, fin=False) + frame(CONTINUATION),
        [(T, "Hello")],
        deflate=True,
    ),
    Case(
        "a window that is shared",
        "RFC 7692 §7.2.3.2",
        frame(TEXT, HELLO, rsv=4) + frame(TEXT, bytes.fromhex("f200110000"), rsv=4),
        [(T, "Hello"), (T, "Hello")],
        deflate=True,
    ),
    Case(
        "a block without compression",
        "RFC 7692 §7.2.3.3",
        frame(TEXT, bytes.fromhex("000500faff48656c6c6f00"), rsv=4),
        [(T, "Hello")],
        deflate=True,
    ),
    Case("a final block", "RFC 7692 §7.2.3.4", frame(TEXT, FINAL + b"\0", rsv=4) * 2, [(T, "Hello")] * 2, deflate=True),
    Case(
        "two blocks",
        "RFC 7692 §7.2.3.5",
        frame(TEXT, bytes.fromhex("f24805000000ffffcac9c90700"), rsv=4),
        [(T, "Hello")],
        deflate=True,
    ),
    Case("final blocks", "RFC 7692 §7.2.1", frame(TEXT, FINAL * 3 + b"\0", rsv=4), [(T, "Hello" * 3)], deflate=True),
    Case("an empty message", "RFC 7692 §7.2.3.6", frame(TEXT, b"\0", rsv=4), [(T, "")], deflate=True),
    Case("plain frames, too", "RFC 7692 §6", frame(TEXT, b"a") + frame(BINARY), [(T, "a"), (B, b"")], deflate=True),
    Case(
        "deflated and plain",
        "RFC 7692 §6",
        _deflated(b"abc" * 30) + frame(TEXT, b"a"),
        [(T, "abc" * 30), (T, "a")],
        deflate=True,
    ),
    Case(
        "several deflated",
        "RFC 7692 §7.2.2",
        _deflated(b"abc", EURO * 99),
        [(T, "abc"), (T, "\u20ac" * 99)],
        deflate=True,
    ),
    Case(
        "a mebibyte of zeroes",
        "RFC 7692 §7.2.2",
        frame(BINARY, ZEROES, rsv=4),
        [(B, bytes(1 << 20))],
        deflate=True,
    ),
    *(
        Case(
            f"opcode {opcode} deflated",
            "RFC 7692 §6.1",
            frame(TEXT, b"a", fin=False),
            fail=1002,
            then=frame(opcode, HELLO, rsv=4),
            deflate=True,
        )
        for opcode in (CONTINUATION, CLOSE, PING, PONG)
    ),
    *(
        Case(f"reserved bits {bits}", "RFC 7692 §6", b"", fail=1002, then=frame(TEXT, HELLO, rsv=bits), deflate=True)
        for bits in (1, 2, 5, 6, 7)
    ),
    Case(
        "a message within a deflated one",
        "RFC 6455 §5.4",
        frame(TEXT, HELLO[:3], rsv=4, fin=False),
        fail=1002,
        then=frame(TEXT, b"\0\0\0"),
        deflate=True,
    ),
    Case(
        "no block of such a type",
        "RFC 1951 §3.2.3",
        frame(TEXT, b"", length=6, rsv=4),
        fail=1007,
        then=masked(b"\xff" * 6, KEY),
        deflate=True,
    ),
    Case(
        "deflated text that is not UTF-8",
        "RFC 6455 §8.1",
        _deflated(b"a\xff")[:-2],
        fail=1007,
        then=_deflated(b"a\xff")[-2:],
        deflate=True,
    ),
    Case(
        "deflated text that ends within a character",
        "RFC 6455 §8.1",
        _deflated(b"a\xe2\x82")[:-1],
        fail=1007,
        then=_deflated(b"a\xe2\x82")[-1:],
        deflate=True,
    ),
    Case(
        "a stream that ends too often",
        "RFC 7692 §7.2.1",
        ENDS[:-1],
        fail=1002,
        then=ENDS[-1:],
        deflate=True,
    ),
]

CASES = {
    f"{table}: {case.name}": case
    for table, cases in {
        "messages": MESSAGES,
        "fragments": FRAGMENTS,
        "heads": HEADS,
        "control": CONTROL,
        "closes": CLOSES,
        "characters": CHARACTERS,
        "deflate": DEFLATE,
    }.items()
    for case in cases
}
