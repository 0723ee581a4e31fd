"""Look for input that _hpack gets wrong, for a bounded time: python tests/fuzz_hpack.py --seconds N [--seed S].

What hpack encodes is decoded, what is encoded is decoded by hpack, and blocks that are damaged are judged by both;
what the dynamic tables have is compared after each.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import hpack
from fuzzing import Finding, Fuzzer, Kind

from pyserver import _hpack
from pyserver._hpack import BlockOutcome, HpackDecoder, HpackEncoder, huffman_decode, huffman_encode

if TYPE_CHECKING:
    import random
    from collections import Counter

# An entry is a name, a value, and whether the value is sensitive.
Field = tuple[bytes, bytes, bool]
# What is sent one after the other: a block of fields, or a limit of the table.
Step = list[Field] | int

STATIC = hpack.table.HeaderTable.STATIC_TABLE
NO_LIMITS = {"list_size": 1 << 40, "ceiling": 1 << 40, "count": 1 << 30, "field": 1 << 30}
LIMITS = (0, 1, 31, 32, 33, 64, 100, 300, 1000, 4095, 4096, 4097, 20000)
LENGTHS = (0, 1, 2, 3, 5, 8, 13, 30, 62, 126, 127, 128, 300, 1100, 4064, 5000)
TEXT = b"abcdefghijklmnopqrstuvwxyz0123456789-=;,/ .%"


def string(rng: random.Random) -> bytes:
    length = rng.choices(LENGTHS, [8] * 10 + [2] * 3 + [1] * 3)[0]
    if rng.random() < 0.3:
        return bytes(rng.choices(range(256), k=length))
    return bytes(rng.choices(TEXT, k=length))


def field(rng: random.Random, used: list[Field]) -> Field:
    """One that was there, one with a name that was there, of the static table, or any."""
    how = rng.random()
    name, value = rng.choice(STATIC)
    if used and how < 0.3:
        return rng.choice(used)
    if used and how < 0.5:
        name, value = rng.choice(used)[0], string(rng)
    elif how < 0.7:
        value = string(rng)
    elif how < 0.9:
        name, value = string(rng), string(rng)
    return name, value, rng.random() < 0.1


def steps(rng: random.Random) -> list[Step]:
    made: list[Step] = []
    used: list[Field] = []
    for _ in range(rng.choice((1, 2, 5, 20))):
        if rng.random() < 0.3:
            made.append(rng.choice(LIMITS))
        block = [field(rng, used) for _ in range(rng.choice((0, 1, 3, 10)))]
        used += block
        made.append(block)
    return made


def pairs(block: list[Field]) -> list[tuple[bytes, bytes]]:
    return [(name, value) for name, value, _ in block]


def look_at_decoder(made: list[Step], rng: random.Random, seen: Counter[str]) -> Finding | None:
    """Whether what hpack encodes is decoded, in limits the beginning of it, and the table the same."""
    theirs = hpack.Encoder()
    limit = {rng.choice(("list_size", "count", "field")): rng.choice((0, 3, 40, 500))}
    ours, limited = HpackDecoder(**NO_LIMITS), HpackDecoder(**{**NO_LIMITS, **limit})
    for step in made:
        if isinstance(step, int):
            theirs.header_table_size = step
            ours.limit_table(step)
            limited.limit_table(step)
            continue
        block = theirs.encode(step, huffman=rng.random() < 0.7)
        outcome, fields = ours.decode(block)
        seen[f"decoded {len(step) > 0}"] += 1
        if outcome is not BlockOutcome.DECODED or pairs(fields) != pairs(step):
            return Finding(repr(made), f"{block!r} is decoded as {outcome!r} {fields!r}")
        if any(never and not sensitive for (*_, never), (*_, sensitive) in zip(fields, step, strict=True)):
            return Finding(repr(made), f"{block!r} has a field that is said to be sensitive")
        within, kept = limited.decode(block)
        seen[within.name] += 1
        if kept != fields[: len(kept)] or (within is BlockOutcome.DECODED) is not (len(kept) == len(fields)):
            return Finding(repr(made), f"{block!r} is decoded in limits as {within!r} {kept!r}")
        if not ours.table == limited.table == list(theirs.header_table.dynamic_entries):
            return Finding(repr(made), f"the table is {ours.table!r}, in limits {limited.table!r}")
    return None


def look_at_encoder(made: list[Step], rng: random.Random, seen: Counter[str]) -> Finding | None:
    """Whether hpack decodes what is encoded, and has the same table; and we do."""
    encoder = HpackEncoder(ceiling=rng.choice(LIMITS))
    theirs, ours = hpack.Decoder(1 << 40), HpackDecoder(**NO_LIMITS)
    for step in made:
        if isinstance(step, int):
            encoder.limit_table(step)
            theirs.max_allowed_table_size = step
            ours.limit_table(step)
            continue
        block = encoder.encode(step)
        seen["encoded"] += 1
        read = theirs.decode(block, raw=True)
        if [tuple(pair) for pair in read] != pairs(step):
            return Finding(repr(made), f"hpack decodes {block!r} as {read!r}")
        if any(pair.indexable and sensitive for pair, (*_, sensitive) in zip(read, step, strict=True)):
            return Finding(repr(made), f"{block!r} has a field that is not said to be sensitive")
        if pairs(ours.decode(block)[1]) != pairs(step):
            return Finding(repr(made), f"{block!r} is decoded otherwise")
        if not encoder.table == ours.table == list(theirs.header_table.dynamic_entries):
            return Finding(repr(made), f"the table is {encoder.table!r}, decoded {ours.table!r}")
    return None


def damaged(rng: random.Random, block: bytes) -> bytes:
    data = bytearray(block)
    for _ in range(rng.choice((0, 1, 1, 2, 5))):
        at = rng.randrange(len(data) + 1)
        how = rng.randrange(5)
        if how == 0:
            data[at:at] = rng.choice((b"\xff", b"\x80", b"\x20", b"\x3f", b"\x40", b"\xbe", b"\x00", b"\x7f\x80"))
        elif how == 1:
            del data[at:]
        elif how == 2:
            del data[at : at + rng.randrange(1, 4)]
        elif at < len(data):
            data[at] = rng.randrange(256) if how == 3 else data[at] ^ 1 << rng.randrange(8)
    return bytes(data)


def blocks(rng: random.Random) -> list[bytes]:
    """Blocks of a connection, some of them damaged or no blocks at all."""
    encoder = hpack.Encoder()
    made = []
    for step in steps(rng):
        if isinstance(step, int):
            encoder.header_table_size = min(step, 4096)
            continue
        block = encoder.encode(step, huffman=rng.random() < 0.5)
        if rng.random() < 0.1:
            block = rng.randbytes(rng.choice((1, 2, 3, 10, 100)))
        made.append(damaged(rng, block) if rng.random() < 0.5 else block)
    return made


def look_at_blocks(made: list[bytes], rng: random.Random, seen: Counter[str]) -> Finding | None:
    """Whether blocks are judged as hpack judges them."""
    ours, theirs = HpackDecoder(**NO_LIMITS), hpack.Decoder(1 << 40)
    for block in made:
        outcome, fields = ours.decode(block)
        seen[outcome.name] += 1
        try:
            read = theirs.decode(block, raw=True)
        except hpack.HPACKError as error:
            if outcome is not BlockOutcome.COMPRESSION_ERROR:
                return Finding(repr(made), f"{block!r} is {outcome!r}, hpack: {error!r}")
            return None
        if outcome is not BlockOutcome.DECODED:
            return Finding(repr(made), f"{block!r} is {outcome!r}, hpack: {read!r}")
        if fields != [(*pair, not pair.indexable) for pair in read]:
            return Finding(repr(made), f"{block!r} is {fields!r}, hpack: {read!r}")
        if ours.table != list(theirs.header_table.dynamic_entries):
            return Finding(repr(made), f"the table is {ours.table!r}, hpack: {theirs.header_table.dynamic_entries!r}")
    return None


def look_at_text(made: bytes, rng: random.Random, seen: Counter[str]) -> Finding | None:
    """Whether a string stays the same when it is Huffman-encoded, and hpack decodes bytes as we do."""
    seen["text"] += 1
    if huffman_decode(huffman_encode(made)) != made:
        return Finding(repr(made), "becomes another string when it is Huffman-encoded")
    for encoded in (made, damaged(rng, huffman_encode(made))):
        try:
            read = hpack.huffman_table.decode_huffman(encoded)
        except hpack.HPACKError:
            read = None
        if huffman_decode(encoded) != read:
            return Finding(repr(made), f"{encoded!r} is decoded as {huffman_decode(encoded)!r}, by hpack as {read!r}")
    return None


FUZZER = Fuzzer(
    __doc__,
    _hpack.__file__,
    [
        Kind(3, steps, look_at_decoder),
        Kind(3, steps, look_at_encoder),
        Kind(3, blocks, look_at_blocks),
        Kind(1, string, look_at_text),
    ],
)

if __name__ == "__main__":
    sys.exit(FUZZER.main())
