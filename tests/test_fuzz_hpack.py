"""Whether the fuzzer of HPACK finds what is there to be found; how fuzzers report is tested with that of HTTP."""

from __future__ import annotations

import random
from collections import Counter

import fuzz_hpack
import pytest

from pyserver._hpack import BlockOutcome, HpackDecoder, HpackEncoder

FUZZER = fuzz_hpack.FUZZER


def test_three_hundred_inputs_have_nothing_to_be_found():
    seen: Counter[str] = Counter()
    assert [finding for seed in range(300) if (finding := FUZZER.look(seed, seen))] == []
    assert {"decoded True", "DECODED", "OVER_LIMIT", "COMPRESSION_ERROR", "encoded", "text"} <= set(seen)


class Decoder:
    """One that is wrong in a way of its own."""

    change = staticmethod(lambda outcome, fields: (outcome, fields))

    def __init__(self, **limits):
        self._decoder = HpackDecoder(**limits)

    def decode(self, block):
        return self.change(*self._decoder.decode(block))

    @property
    def table(self):
        return self._decoder.table


@pytest.mark.parametrize(
    "change",
    [
        lambda outcome, fields: (outcome, fields[1:]),
        lambda outcome, fields: (outcome, [(name, value, True) for name, value, _ in fields]),
        lambda outcome, fields: (BlockOutcome.COMPRESSION_ERROR, fields),
    ],
)
@pytest.mark.parametrize(
    ("look", "made"),
    [(fuzz_hpack.look_at_decoder, [[(b"a", b"b", False)]]), (fuzz_hpack.look_at_blocks, [b"\x40\x01a\x01b"])],
)
def test_what_is_decoded_otherwise_is_found(monkeypatch, look, made, change):
    monkeypatch.setattr(Decoder, "change", staticmethod(change))
    monkeypatch.setattr(fuzz_hpack, "HpackDecoder", Decoder)
    assert look(made, random.Random(1), Counter()) is not None


def test_a_block_that_should_be_refused_is_found(monkeypatch):
    monkeypatch.setattr(Decoder, "change", staticmethod(lambda outcome, fields: (BlockOutcome.DECODED, [])))
    monkeypatch.setattr(fuzz_hpack, "HpackDecoder", Decoder)
    assert fuzz_hpack.look_at_blocks([b"\x80"], random.Random(1), Counter()) is not None


@pytest.mark.parametrize("table", [[], [(b"a", b"c")]])
def test_a_table_that_differs_is_found(monkeypatch, table):
    monkeypatch.setattr(Decoder, "table", table)
    monkeypatch.setattr(fuzz_hpack, "HpackDecoder", Decoder)
    assert fuzz_hpack.look_at_blocks([b"\x40\x01a\x01b"], random.Random(1), Counter()) is not None


@pytest.mark.parametrize("written", [b"", b"\x00\x01a\x01c", b"\x00\x01a\x01b\x82"])
def test_what_is_encoded_otherwise_is_found(monkeypatch, written):
    class Encoder:
        table = ()

        def __init__(self, ceiling):
            pass

        def encode(self, fields):
            return written

    monkeypatch.setattr(fuzz_hpack, "HpackEncoder", Encoder)
    assert fuzz_hpack.look_at_encoder([[(b"a", b"b", False)]], random.Random(1), Counter()) is not None


def test_what_is_sensitive_and_not_said_to_be_is_found(monkeypatch):
    class Careless:
        def __init__(self, ceiling):
            self._encoder = HpackEncoder()

        def encode(self, fields):
            return self._encoder.encode([(name, value, False) for name, value, _ in fields])

    monkeypatch.setattr(fuzz_hpack, "HpackEncoder", Careless)
    finding = fuzz_hpack.look_at_encoder([[(b"a", b"b", True)]], random.Random(1), Counter())
    assert finding is not None
    assert "sensitive" in finding.complaint
