"""Blocks that are sent: which fields get into the table, and that hpack reads them."""

import hpack
import pytest

from pyserver._hpack import HpackDecoder, HpackEncoder

TYPE = (b"content-type", b"text/html; charset=utf-8")


@pytest.fixture
def encoder():
    return HpackEncoder()


def plain(*fields):
    return [(*field, False) for field in fields]


def representation(encoder, name, value=b"some value", sensitive=False):
    """The bits that say what becomes of a field."""
    first = encoder.encode([(name, value, sensitive)])[0]
    return next(kind for bit, kind in (
        (0x80, "indexed"), (0x40, "to be indexed"), (0x20, "size"), (0x10, "never indexed"), (0, "not indexed")
    ) if first & bit or not bit)  # fmt: skip


@pytest.mark.parametrize("status", [200, 204, 206, 304, 400, 404, 500])
def test_a_status_of_the_static_table_is_one_byte(encoder, status):
    block = encoder.encode([], status=status)
    assert len(block) == 1
    assert hpack.Decoder().decode(block) == [(":status", str(status))]


@pytest.mark.parametrize("status", [100, 103, 201, 302, 418, 503, 999])
def test_any_status_is_sent_and_one_byte_the_next_time(encoder, status):
    theirs = hpack.Decoder()
    assert theirs.decode(encoder.encode([], status=status)) == [(":status", str(status))]
    again = encoder.encode([], status=status)
    assert len(again) == 1
    assert theirs.decode(again) == [(":status", str(status))]


def test_a_field_of_the_static_table_is_one_byte(encoder):
    assert encoder.encode(plain((b"accept-encoding", b"gzip, deflate"))) == b"\x90"
    assert encoder.encode(plain((b"vary", b""))) == b"\xbb"


@pytest.mark.parametrize("name", [b"server", b"content-type", b"cache-control", b"vary", b"content-encoding"])
def test_what_others_will_have_too_is_indexed_at_first(encoder, name):
    assert representation(encoder, name) == "to be indexed"
    assert representation(encoder, name) == "indexed"


@pytest.mark.parametrize("name", [b"date", b"content-length", b"etag", b"last-modified", b"expires", b"age"])
def test_what_changes_is_not_indexed(encoder, name):
    assert [representation(encoder, name) for _ in range(3)] == ["not indexed"] * 3
    assert encoder.table == []


@pytest.mark.parametrize("name", [b"x-frame-options", b"location", b"x"])
def test_another_field_is_indexed_when_it_comes_again(encoder, name):
    assert [representation(encoder, name) for _ in range(3)] == ["not indexed", "to be indexed", "indexed"]


def test_values_that_differ_do_not_get_into_the_table(encoder):
    for number in range(100):
        encoder.encode(plain((b"x-request-id", b"%032x" % (number * 7919 << 64))))
    assert encoder.table == []


@pytest.mark.parametrize("name", [b"set-cookie", b"cookie", b"authorization", b"proxy-authorization"])
def test_what_is_secret_is_never_indexed(encoder, name):
    assert [representation(encoder, name) for _ in range(3)] == ["never indexed"] * 3
    assert encoder.table == []


@pytest.mark.parametrize("name", [b"x-token", b"server", b"date"])
def test_what_the_caller_calls_sensitive_is_never_indexed(encoder, name):
    assert [representation(encoder, name, sensitive=True) for _ in range(3)] == ["never indexed"] * 3
    assert encoder.table == []


def test_a_sensitive_field_is_not_taken_from_a_table(encoder):
    encoder.encode(plain(TYPE))
    assert representation(encoder, *TYPE, sensitive=True) == "never indexed"
    assert representation(encoder, b"accept-encoding", b"gzip, deflate", sensitive=True) == "never indexed"


def test_it_is_told_that_a_field_is_never_indexed(encoder):
    block = encoder.encode([(b"set-cookie", b"a=b", False), (b"x-token", b"t", True), (*TYPE, False)])
    assert [never for _, _, never in HpackDecoder().decode(block)[1]] == [True, True, False]


def test_a_name_that_is_in_the_table_is_sent_as_its_index(encoder):
    for _ in range(2):
        encoder.encode(plain((b"x-long-name-of-a-field", b"one")))
    block = encoder.encode(plain((b"x-long-name-of-a-field", b"2")))
    assert block == b"\x0f\x2f\x012"


def test_a_string_is_huffman_encoded_where_that_is_shorter(encoder):
    assert encoder.encode(plain((b"date", b"aaaaaaaa"))) == b"\x0f\x12\x85\x18\xc6\x31\x8c\x63"
    assert encoder.encode(plain((b"date", b"\xff\xfe"))) == b"\x0f\x12\x02\xff\xfe"
    assert encoder.encode(plain((b"date", b"X"))) == b"\x0f\x12\x01X"


def test_a_field_that_would_take_half_of_the_table_is_not_indexed(encoder):
    encoder.encode(plain((b"server", b"a" * 2010), (b"vary", b"b" * 2013)))
    assert encoder.table == [(b"server", b"a" * 2010)]


@pytest.mark.parametrize("length", [0, 1, 126, 127, 128, 254, 255, 256, 16000, 70000])
def test_fields_of_any_length_are_read(encoder, length):
    fields = [(b"n" * length, b"\xff" * length), (b"date", b"v" * length), (b"server", b"\xfe" * length)]
    theirs = hpack.Decoder(1 << 24)
    for _ in range(3):
        assert theirs.decode(encoder.encode(plain(*fields)), raw=True) == fields


# ---- the size of the table ----


def test_a_smaller_table_is_said_at_the_beginning_of_the_next_block(encoder):
    encoder.encode(plain(TYPE))
    encoder.limit_table(0)
    assert encoder.encode([], status=200) == b"\x20\x88"
    assert encoder.table == []
    assert encoder.encode([], status=200) == b"\x88"


def test_the_least_of_several_sizes_and_the_last_are_said(encoder):
    for limit in (1000, 10, 2000, 100):
        encoder.limit_table(limit)
    assert encoder.encode([]) == b"\x2a\x3f\x45"


def test_a_size_that_was_less_for_a_while_empties_the_table(encoder):
    encoder.encode(plain(TYPE))
    encoder.limit_table(0)
    encoder.limit_table(4096)
    assert encoder.encode([]) == b"\x20\x3f\xe1\x1f"
    assert encoder.table == []


@pytest.mark.parametrize("limit", [4096, 4097, 65536, 0xFFFFFFFF])
def test_a_larger_table_than_is_wanted_is_not_used(encoder, limit):
    encoder.limit_table(limit)
    assert encoder.encode([]) == b""


def test_a_ceiling_is_said_at_first():
    encoder = HpackEncoder(ceiling=100)
    assert encoder.encode([]) == b"\x3f\x45"
    encoder.limit_table(4096)
    assert encoder.encode([]) == b""


def test_a_larger_ceiling_is_used_when_the_peer_allows_it():
    encoder = HpackEncoder(ceiling=8192)
    assert encoder.encode([]) == b""
    encoder.limit_table(65536)
    assert encoder.encode([]) == b"\x3f\xe1\x3f"


def test_a_table_has_never_more_than_its_limit(encoder):
    theirs = hpack.Decoder()
    encoder.limit_table(200)
    theirs.max_allowed_table_size = 200
    for number in range(40):
        field = (b"vary", b"v" * (number % 9))
        assert theirs.decode(encoder.encode(plain(field)), raw=True) == [field]
        assert encoder.table == list(theirs.header_table.dynamic_entries)
        assert encoder.table_size <= 200
