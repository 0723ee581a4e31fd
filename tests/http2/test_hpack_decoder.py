"""Blocks that peers send: what is refused, what is left out, and what the table is in the end."""

import hpack
import pytest
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH

from pyserver._hpack import BlockOutcome, FieldLimit, HpackDecoder, huffman_decode, huffman_encode

EOS = 256
ENTRY = b"\x40\x01a\x01b"  # a: b, to be indexed
LARGE = b"\x40\x01n\x7f\xa1\x1e" + b"v" * 4000  # one entry that is most of a table


def bits(*codes, padding="1"):
    """Symbols as their codes, and what fills the last byte."""
    text = "".join(f"{REQUEST_CODES[symbol]:0{REQUEST_CODES_LENGTH[symbol]}b}" for symbol in codes)
    text += padding * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big")


def huffman_literal(encoded):
    """A field with a value that is encoded so."""
    return b"\x00\x01a" + bytes([0x80 | len(encoded)]) + encoded


REFUSED = {
    # RFC 7541 §2.3.3, §6.1
    "an index of 0": b"\x80",
    "an index beyond an empty table": b"\xbe",
    "an index beyond the table": ENTRY + b"\xbf",
    "a large index beyond the table": b"\xff\x80\x01",
    "the index of a name beyond the table": b"\x7e\x01b",
    "the index of a name that is not indexed beyond the table": b"\x0f\x30\x01b",
    # §5.1
    "an integer that does not end": b"\xff",
    "an integer that goes on to the end": b"\xff\x80\x80",
    "an integer of six more bytes": b"\xff\x80\x80\x80\x80\x80\x00",
    "an integer of six more bytes that is small": b"\x00\x01a\x7f\x80\x80\x80\x80\x80\x00" + b"b" * 127,
    "an integer of 33 bits": b"\xff\x80\x80\x80\x80\x10",
    "an integer of 33 bits of which 32 are small": b"\x3f\xc5\x80\x80\x80\x10",
    "an integer of 35 bits": b"\xff\xff\xff\xff\xff\x7f",
    "an integer of 64 bits": b"\xff" + b"\xff" * 9 + b"\x01",
    "a length of 33 bits": b"\x00\x7f\x80\x80\x80\x80\x10" + b"a" * 100,
    # §5.2
    "a name that is missing": b"\x40",
    "a name that does not end": b"\x40\x02a",
    "a value that is missing": b"\x40\x01a",
    "a value that does not end": b"\x40\x01a\x02b",
    "an encoded value that does not end": b"\x40\x01a\x82\x1f",
    "a length that is far beyond the block": b"\x00\x01a\x7f\xff\xff\xff\xff\x0f",
    "EOS alone": huffman_literal(bits(EOS)),
    "EOS within a string": huffman_literal(bits(ord("a"), EOS, ord("a"))),
    "EOS behind a long string": huffman_literal(bits(*b"a" * 24, EOS)),
    "padding of 8 bits": huffman_literal(b"\xff"),
    "padding of 8 bits behind symbols": huffman_literal(bits(*b"aaaaaaaa") + b"\xff"),
    "padding of 11 bits": huffman_literal(bits(ord("a")) + b"\xff"),
    "padding of 16 bits": huffman_literal(b"\xff\xff"),
    "padding of 25 bits": huffman_literal(bits(*b"aaa") + b"\xff\xff\xff"),
    "padding of zeros": huffman_literal(bits(ord("a"), padding="0")),
    "padding with a zero": huffman_literal(b"\x1d"),
    "padding with its last bit zero": huffman_literal(bytes([bits(ord("a"))[0] & 0xFE])),
    "a code that is cut off": huffman_literal(bits(ord("\\"))[:2]),
    "an encoded name with EOS": b"\x00\x84\xff\xff\xff\xff\x01a",
    # §4.2, §6.3
    "a size beyond the limit": b"\x3f\xe2\x1f",
    "a size beyond the limit for a while": b"\x3f\xe2\x1f\x20",
    "a size that does not end": b"\x3f",
    "an update of the size behind a field": b"\x82\x20",
    "an update of the size behind a literal": b"\x00\x01a\x01b\x20",
    "an update of the size that would be a literal": b"\x82\x20\x01a\x01b",
    "an update of the size behind one and a field": b"\x20\x82\x20",
}


@pytest.fixture
def decoder():
    return HpackDecoder()


@pytest.mark.parametrize("block", REFUSED.values(), ids=REFUSED.keys())
def test_a_block_that_breaks_a_rule_is_a_compression_error(decoder, block):
    assert decoder.decode(block) == (BlockOutcome.COMPRESSION_ERROR, [])


@pytest.mark.parametrize("block", REFUSED.values(), ids=REFUSED.keys())
def test_hpack_refuses_it_too(block):
    with pytest.raises(hpack.HPACKError):
        hpack.Decoder().decode(block, raw=True)


def test_after_a_compression_error_nothing_is_decoded(decoder):
    decoder.decode(b"\x80")
    assert decoder.decode(b"\x82") == (BlockOutcome.COMPRESSION_ERROR, [])


def test_any_prefix_of_a_block_is_decoded_or_refused():
    block = b"\x20\x3f\xe1\x1f" + ENTRY + b"\x82\xbe\x0f\x1f" + b"\x85" + huffman_encode(b"private")
    whole = HpackDecoder().decode(block)[1]
    assert len(whole) == 4
    for stop in range(len(block)):
        outcome, fields = HpackDecoder().decode(block[:stop])
        assert outcome in (BlockOutcome.DECODED, BlockOutcome.COMPRESSION_ERROR)
        assert fields == whole[: len(fields)]


def test_integers_may_have_zeros_up_to_five_more_bytes(decoder):
    assert decoder.decode(b"\x00\x7f\x81\x80\x80\x80\x00" + b"a" * 128 + b"\x00")[1] == [(b"a" * 128, b"", False)]


def test_an_empty_block_has_no_fields(decoder):
    assert decoder.decode(b"") == (BlockOutcome.DECODED, [])


def test_names_and_values_may_be_empty(decoder):
    assert decoder.decode(b"\x40\x00\x00\xbe\x00\x80\x80") == (BlockOutcome.DECODED, [(b"", b"", False)] * 3)
    assert decoder.table == [(b"", b"")]


def test_every_static_entry_is_that_of_the_standard(decoder):
    block = bytes(0x80 | index for index in range(1, 62))
    assert [field[:2] for field in decoder.decode(block)[1]] == list(hpack.table.HeaderTable.STATIC_TABLE)


def test_a_name_is_known_however_it_is_sent(decoder):
    table = hpack.table.HeaderTable.STATIC_TABLE
    least = {name: index for index, (name, _) in reversed(list(enumerate(table, 1)))}
    for index, (name, _) in enumerate(table, 1):
        indexed = bytes([0x40 | index]) + b"\x01v\xbe"
        literal = b"\x00" + bytes([len(name)]) + name + b"\x01v"
        encoded = b"\x00" + bytes([0x80 | len(huffman_encode(name))]) + huffman_encode(name) + b"\x01v"
        by_newest = b"\x0f\x2f\x01v"
        assert decoder.decode(indexed + literal + encoded + by_newest)[1] == [(name, b"v", False)] * 5
        assert decoder.known == [least[name]] * 5


@pytest.mark.parametrize("name", [b"", b"a", b"hosts", b"Host", b"access-control-allow-origins", b"a" * 99])
def test_a_name_that_is_in_no_table_is_not_known(decoder, name):
    decoder.decode(b"\x00" + bytes([len(name)]) + name + b"\x00")
    assert decoder.known == [0]


# ---- Huffman ----


def test_every_symbol_has_the_code_of_the_standard():
    assert [huffman_encode(bytes([symbol])) for symbol in range(256)] == [bits(symbol) for symbol in range(256)]


def test_every_two_symbols_are_decoded():
    for first in range(256):
        text = b"".join(bytes([first, second]) for second in range(256))
        assert huffman_decode(huffman_encode(text)) == text


@pytest.mark.parametrize("symbol", [b"0", b"a", b" ", b"z", b"Z", b"!", b"{", b"\\", b"\n", b"\xff"])
def test_a_string_of_any_length_is_decoded(symbol):
    for length in range(70):
        assert huffman_decode(huffman_encode(symbol * length)) == symbol * length


def test_what_is_two_bytes_of_a_string_is_judged_as_hpack_does():
    decode = hpack.huffman_table.decode_huffman
    for number in range(1 << 16):
        encoded = number.to_bytes(2, "big")
        try:
            expected = decode(encoded)
        except hpack.HPACKError:
            expected = None
        assert huffman_decode(encoded) == expected, encoded


# ---- the dynamic table ----


def test_the_oldest_entries_make_room(decoder):
    decoder.limit_table(80)
    decoder.decode(b"\x3f\x31" + b"\x40\x01a\x01b" + b"\x40\x01c\x01d")
    assert decoder.table == [(b"c", b"d"), (b"a", b"b")]
    assert decoder.table_size == 68
    decoder.decode(b"\x40\x01e\x0d" + b"f" * 13)
    assert decoder.table == [(b"e", b"f" * 13), (b"c", b"d")]
    assert decoder.table_size == 80


def test_an_entry_larger_than_the_table_empties_it(decoder):
    outcome, fields = decoder.decode(ENTRY + b"\x40\x01n\x7f\xff\x1e" + b"v" * 4094)
    assert (outcome, fields[1]) == (BlockOutcome.DECODED, (b"n", b"v" * 4094, False))
    assert decoder.table == []
    assert decoder.table_size == 0


def test_a_new_entry_may_have_the_name_of_one_that_it_drops(decoder):
    decoder.decode(LARGE)
    assert decoder.decode(b"\x7e\x7f\xa1\x1e" + b"w" * 4000)[1] == [(b"n", b"w" * 4000, False)]
    assert decoder.table == [(b"n", b"w" * 4000)]


def test_a_size_of_zero_empties_the_table(decoder):
    decoder.decode(ENTRY)
    assert decoder.decode(b"\x20\xbe") == (BlockOutcome.COMPRESSION_ERROR, [])
    assert decoder.table == []


def test_a_table_that_was_emptied_can_be_used_again(decoder):
    decoder.decode(ENTRY)
    assert decoder.decode(b"\x20\x3f\xe1\x1f" + ENTRY + b"\xbe") == (BlockOutcome.DECODED, [(b"a", b"b", False)] * 2)
    assert decoder.table == [(b"a", b"b")]


def test_a_smaller_limit_has_to_be_met_by_the_next_block(decoder):
    decoder.limit_table(100)
    assert decoder.decode(b"\x82") == (BlockOutcome.COMPRESSION_ERROR, [])


def test_a_smaller_limit_that_is_met_stays_so(decoder):
    decoder.limit_table(100)
    assert decoder.decode(b"\x3f\x45\x82")[0] is BlockOutcome.DECODED
    assert decoder.decode(b"\x82")[0] is BlockOutcome.DECODED


def test_a_larger_limit_is_used_once_the_peer_says_so(decoder):
    decoder.limit_table(8192)
    decoder.decode(LARGE + b"\x40\x01m\x7f\xa1\x1e" + b"v" * 4000)
    assert len(decoder.table) == 1
    decoder.decode(b"\x3f\xe1\x3f" + LARGE)
    assert len(decoder.table) == 2


def test_a_table_holds_as_many_entries_as_fit(decoder):
    for _ in range(3):
        decoder.decode(b"\x40\x00\x00" * 500)
        assert decoder.table == [(b"", b"")] * 128


def test_entries_are_the_same_wherever_in_memory_they_are(decoder):
    theirs = hpack.Encoder()
    for length in [*range(0, 300, 7), *range(1500, 0, -13)]:
        field = (b"name-%d" % length, bytes([length % 251]) * length)
        assert decoder.decode(theirs.encode([field, field]))[1] == [(*field, False)] * 2
        assert decoder.table == list(theirs.header_table.dynamic_entries)


# ---- limits ----


def test_what_is_beyond_the_list_size_is_left_out():
    decoder = HpackDecoder(list_size=42 + 43)
    outcome, fields = decoder.decode(b"\x82\x86\x84\x82")  # 42, 43 and 38 bytes
    assert (outcome, fields) == (
        BlockOutcome.OVER_LIMIT,
        [(b":method", b"GET", False), (b":scheme", b"http", False)],
    )
    assert decoder.exceeded is FieldLimit.LIST_LIMIT
    assert decoder.size == 42 + 43 + 38 + 42


def test_what_meets_every_limit_is_kept():
    decoder = HpackDecoder(list_size=42 + 43, count=2, field=11)
    assert decoder.decode(b"\x82\x86")[0] is BlockOutcome.DECODED
    assert decoder.exceeded is FieldLimit.WITHIN_LIMITS


@pytest.mark.parametrize(
    ("limits", "exceeded"),
    [
        ({"list_size": 33}, FieldLimit.LIST_LIMIT),
        ({"count": 0}, FieldLimit.COUNT_LIMIT),
        ({"field": 1}, FieldLimit.FIELD_LIMIT),
    ],
)
@pytest.mark.parametrize("block", [ENTRY + b"\xbe", b"\x00\x01a\x01b", b"\x82"])
def test_each_limit_is_told(limits, exceeded, block):
    decoder = HpackDecoder(**limits)
    assert decoder.decode(block) == (BlockOutcome.OVER_LIMIT, [])
    assert decoder.exceeded is exceeded


def test_a_block_behind_one_beyond_a_limit_is_decoded_with_the_same_table():
    decoder = HpackDecoder(count=1)
    assert decoder.decode(b"\x82" + ENTRY + b"\x40\x01c\x01d")[0] is BlockOutcome.OVER_LIMIT
    assert decoder.table == [(b"c", b"d"), (b"a", b"b")]
    assert decoder.decode(b"\xbf") == (BlockOutcome.DECODED, [(b"a", b"b", False)])
    assert decoder.exceeded is FieldLimit.WITHIN_LIMITS


def test_behind_a_field_that_is_left_out_all_are():
    outcome, fields = HpackDecoder(field=9).decode(b"\x00\x01a\x01b\x00\x01c\x0cdddddddddddd\x00\x01e\x01f")
    assert (outcome, fields) == (BlockOutcome.OVER_LIMIT, [(b"a", b"b", False)])


def test_what_breaks_a_rule_beyond_a_limit_is_refused():
    assert HpackDecoder(count=0).decode(b"\x82\x80") == (BlockOutcome.COMPRESSION_ERROR, [])


@pytest.mark.parametrize(
    "repeated", [b"\xbe", b"\x7e\x00", b"\x0f\x2f\x00"], ids=["fields", "names that are indexed", "names"]
)
def test_a_small_block_that_would_be_a_large_list_is_abandoned(repeated):
    decoder = HpackDecoder()
    name = b"\x40\x7f\xa1\x1e" + b"n" * 4000 + b"\x00"
    assert decoder.decode(name)[0] is BlockOutcome.DECODED
    assert decoder.decode(repeated * (16384 // len(repeated))) == (BlockOutcome.ABANDONED, [])
    assert 1 << 20 < decoder.size < (1 << 20) + 4100
    assert decoder.decode(b"\x82") == (BlockOutcome.COMPRESSION_ERROR, [])


def test_a_small_block_below_the_ceiling_is_left_out():
    decoder = HpackDecoder(list_size=16384)
    decoder.decode(LARGE)
    outcome, fields = decoder.decode(b"\xbe" * 100)
    assert (outcome, len(fields)) == (BlockOutcome.OVER_LIMIT, 4)
