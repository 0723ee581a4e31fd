"""Field blocks as HPACK codes them, and what cannot be decoded: RFC 7541, RFC 9113 §4.3."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import wire
from .case import COMPRESSION, MALFORMED, OK, PROTOCOL, Case, echoed
from .wire import continuation, headers, indexed, integer, literal, pseudo, remembered, resize, string

if TYPE_CHECKING:
    from collections.abc import Callable

    from .peer import Peer

GET, HTTP, ROOT = indexed(2), indexed(6), indexed(4)
# "test" in Huffman's code of RFC 7541 Appendix B: 01001 00101 01000 01001 and padding of ones.
HUFFMAN_TEST = b"\x83\x49\x50\x9f"
START = GET + HTTP + ROOT + b"\1" + HUFFMAN_TEST


def sent(coded: bytes) -> bytes:
    return headers(1, coded)


GOOD = [
    Case("static-table", "RFC 7541 §6.1", sent(START), OK),
    *(Case(f"literal {name}", source, sent(coded), OK)
      for name, source, coded in (
          ("without-indexing", "RFC 7541 §6.2.2", START + literal(b"x", b"a")),
          ("never-indexed", "RFC 7541 §6.2.3", START + literal(b"x", b"a", 0x10)),
          ("with-indexing", "RFC 7541 §6.2.1", START + remembered(b"x", b"a")),
          ("with-a-name-of-the-static-table", "RFC 7541 §6.2.1", START + remembered(58, b"agent")),
          ("with-a-name-of-the-dynamic-table", "RFC 7541 §6.2.1", START + remembered(b"x", b"a") + literal(62, b"b")),
          ("that-is-empty", "RFC 7541 §5.2", START + literal(b"x", b"")),
      )),
    Case("an-entry-is-used-in-the-same-block", "RFC 7541 §2.3.2", sent(START + remembered(b"x", b"a") + indexed(62)),
         OK),
    Case("an-integer-with-zeros-in-front", "RFC 7541 §5.1",
         sent(START + b"\x00" + b"\x7f\x81\x80\x00" + b"x" * 128 + b"\1a"), OK | COMPRESSION),
    Case("resize-to-0", "RFC 7541 §6.3", sent(resize(0) + START), OK),
    Case("resize-twice", "RFC 7541 §4.2", sent(resize(0) + resize(4096) + START), OK),
    Case("resize-to-the-most", "RFC 7541 §6.3", sent(resize(4096) + START), OK),
    Case("an-entry-larger-than-the-table-empties-it", "RFC 7541 §4.4",
         sent(resize(64) + START + remembered(b"x", b"a") + remembered(b"y", b"b" * 100)), OK),
    Case("entries-are-evicted", "RFC 7541 §4.4",
         sent(resize(70) + START + remembered(b"x", b"a") + remembered(b"y", b"b") + remembered(b"z", b"c")
              + indexed(62) + indexed(63)), OK),
    Case("huffman-of-every-byte", "RFC 7541 §5.2", sent(START + b"\0" + HUFFMAN_TEST + HUFFMAN_TEST), OK),
    Case("block-cut-in-the-middle-of-a-field", "RFC 9113 §4.3",
         headers(1, START + literal(b"x-long-name", b"value")[:8], 1)
         + continuation(1, literal(b"x-long-name", b"value")[8:]), OK),
    Case("block-cut-within-an-integer", "RFC 9113 §4.3",
         headers(1, START + b"\0\1x\x7f", 1) + continuation(1, integer(300, 7)[1:] + b"v" * 300), OK),
]  # fmt: skip

BAD = [
    # A string that is longer than any field may be need not be waited for.
    Case(name, source, sent(START + coded),
         COMPRESSION | ({"GOAWAY ENHANCE_YOUR_CALM"} if "length-of" in name else set()))
    for name, source, coded in (
        ("index-0", "RFC 7541 §6.1", b"\x80"),
        ("index-beyond-the-tables", "RFC 7541 §2.3.3", indexed(62)),
        ("index-far-beyond-the-tables", "RFC 7541 §2.3.3", indexed(2**28)),
        ("index-of-an-evicted-entry", "RFC 7541 §4.4", remembered(b"x", b"a" * 4000) + remembered(b"y",
         b"b" * 60) + indexed(63)),
        ("name-index-beyond-the-tables", "RFC 7541 §2.3.3", literal(62, b"a")),
        ("name-index-beyond-the-tables-with-indexing", "RFC 7541 §2.3.3", remembered(70, b"a")),
        ("name-index-beyond-the-tables-never-indexed", "RFC 7541 §2.3.3", literal(99, b"a", 0x10)),
        ("integer-that-overflows", "RFC 7541 §5.1", b"\xff" + b"\xff" * 10 + b"\x7f"),
        ("integer-of-2-to-the-64", "RFC 7541 §5.1", b"\xff\x81\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
        ("integer-that-never-ends", "RFC 7541 §5.1", b"\xff" + b"\x80" * 200),
        ("integer-that-is-cut", "RFC 7541 §5.1", b"\xff\x80"),
        ("index-that-is-cut", "RFC 7541 §5.1", b"\xff"),
        ("name-that-is-cut", "RFC 7541 §5.2", b"\0\5abc"),
        ("name-alone", "RFC 7541 §6.2", b"\0" + string(b"x")),
        ("value-that-is-cut", "RFC 7541 §5.2", b"\0" + string(b"x") + b"\5abc"),
        ("literal-that-is-cut", "RFC 7541 §6.2", b"\0"),
        ("length-of-a-string-beyond-the-block", "RFC 7541 §5.2", b"\0" + integer(2**20, 7) + b"x"),
        ("length-of-a-string-of-2-to-the-32", "RFC 7541 §5.2", b"\0" + integer(2**32 - 1, 7) + b"x"),
        ("huffman-with-the-end-of-string", "RFC 7541 §5.2", b"\0\1x\x84\xff\xff\xff\xff"),
        ("huffman-padded-with-8-ones", "RFC 7541 §5.2", b"\0\1x\x84\x49\x50\x9f\xff"),
        ("huffman-padded-with-zeros", "RFC 7541 §5.2", b"\0\1x\x83\x49\x50\x90"),
        ("huffman-name-with-the-end-of-string", "RFC 7541 §5.2", b"\0\x84\xff\xff\xff\xff\1a"),
        ("resize-behind-a-field", "RFC 7541 §4.2", resize(100)),
        ("resize-behind-a-field-to-0", "RFC 7541 §4.2", resize(0)),
    )
]
BAD += [
    Case("resize-beyond-the-limit", "RFC 7541 §6.3", sent(resize(2**20) + START), COMPRESSION),
    Case("resize-far-beyond-the-limit", "RFC 7541 §6.3", sent(resize(2**32 - 1) + START), COMPRESSION),
    Case("resize-that-overflows", "RFC 7541 §5.1", sent(b"\x3f" + b"\xff" * 10 + b"\1" + START), COMPRESSION),
    Case("an-entry-is-gone-after-resizing-to-0", "RFC 7541 §4.3",
         headers(1, START + remembered(b"x", b"a")) + headers(3, resize(0) + START + indexed(62)), COMPRESSION,
         stream=3),
    Case("bad-block-in-trailers", "RFC 9113 §4.3",
         wire.post() + wire.data(1, b"a") + headers(1, b"\x80"), COMPRESSION),
    Case("bad-block-in-a-continuation", "RFC 9113 §4.3",
         headers(1, START, 1) + continuation(1, b"\x80"), COMPRESSION),
    # It has to be decoded wherever it comes, for the table's sake.
    Case("bad-block-on-a-stream-that-was-reset", "RFC 9113 §4.3",
         headers(1, pseudo(b"POST"), 4) + wire.reset(1) + headers(1, b"\x80"),
         COMPRESSION | {"GOAWAY STREAM_CLOSED", "GOAWAY PROTOCOL_ERROR"}, probe=0),
    Case("block-of-padding-alone", "RFC 9113 §4.3", headers(1, b"\3\0\0\0", 0xD), MALFORMED),
]  # fmt: skip


def entries_live_on(first: bytes, second: bytes = b"") -> Callable[[Peer], None]:
    """What a block put into the table is there in a later one, whatever became of the request it was of."""

    def play(peer: Peer) -> None:
        peer.send(first + second)
        peer.settle()
        peer.send(headers(9, START + indexed(62)))

    return play


SEEN = remembered(b"x-seen", b"a")


def is_decoded_as(name: str, value: str, coded: bytes) -> Callable[[Peer], None]:
    def play(peer: Peer) -> None:
        peer.send(headers(1, GET + HTTP + literal(4, b"/echo") + literal(1, b"test") + coded))
        given = [text for own, text in echoed(peer.response(1))["fields"] if own == name]
        assert given == [value], f"the application was given {given}"

    return play


STATEFUL = [
    Case("entries-live-on-after-a-request", "RFC 7541 §2.2", entries_live_on(headers(1, START + SEEN)), OK, stream=9),
    Case("entries-live-on-after-a-malformed-request", "RFC 9113 §4.3",
         entries_live_on(headers(1, START + b"\0" + string(b"Upper") + string(b"") + SEEN)), OK | PROTOCOL, stream=9),
    Case("entries-live-on-after-trailers", "RFC 9113 §4.3",
         entries_live_on(wire.post(1) + wire.data(1, b"a"), headers(1, SEEN)), OK, stream=9),
    Case("entries-live-on-after-a-reset", "RFC 9113 §4.3",
         entries_live_on(headers(1, START + SEEN, 4), wire.reset(1)), OK, stream=9),
    Case("value-is-decoded", "RFC 7541 §6.2", is_decoded_as("x-a", "b", literal(b"x-a", b"b")), OK, needs="app"),
    Case("huffman-value-is-decoded", "RFC 7541 §5.2", is_decoded_as("x-a", "test", b"\0\3x-a" + HUFFMAN_TEST), OK,
         needs="app"),
    Case("entry-is-decoded", "RFC 7541 §6.1",
         is_decoded_as("x-b", "d", remembered(b"x-a", b"c") + remembered(b"x-b", b"d") + remembered(b"x-c", b"e")
                       + literal(b"x-d", b"f")), OK, needs="app"),
]  # fmt: skip

CASES = [*GOOD, *BAD, *STATEFUL]
