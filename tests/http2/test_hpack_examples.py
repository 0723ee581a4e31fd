"""The examples of RFC 7541 appendix C: each block read, and the table after it."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from pyserver._hpack import BlockOutcome, HpackDecoder, HpackEncoder, huffman_decode, huffman_encode


class Step(NamedTuple):
    """A block as it is sent, its fields, and what the dynamic table is after it."""

    block: str
    fields: list[tuple[bytes, bytes]]
    table: list[tuple[bytes, bytes]]
    table_size: int


AUTHORITY = (b":authority", b"www.example.com")
NO_CACHE = (b"cache-control", b"no-cache")
PRIVATE = (b"cache-control", b"private")
CUSTOM = (b"custom-key", b"custom-value")
DATE_21 = (b"date", b"Mon, 21 Oct 2013 20:13:21 GMT")
DATE_22 = (b"date", b"Mon, 21 Oct 2013 20:13:22 GMT")
LOCATION = (b"location", b"https://www.example.com")
GZIP = (b"content-encoding", b"gzip")
COOKIE = (b"set-cookie", b"foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1")
GET = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/")]


def requests(first: str, second: str, third: str) -> list[Step]:
    index = [(b":method", b"GET"), (b":scheme", b"https"), (b":path", b"/index.html")]
    return [
        Step(first, [*GET, AUTHORITY], [AUTHORITY], 57),
        Step(second, [*GET, AUTHORITY, NO_CACHE], [NO_CACHE, AUTHORITY], 110),
        Step(third, [*index, AUTHORITY, CUSTOM], [CUSTOM, NO_CACHE, AUTHORITY], 164),
    ]


def responses(first: str, second: str, third: str) -> list[Step]:
    found, again = (b":status", b"302"), (b":status", b"307")
    return [
        # The table of 256 bytes is agreed on beforehand, and has to be said at the beginning of a block.
        Step("3fe101" + first, [found, PRIVATE, DATE_21, LOCATION], [LOCATION, DATE_21, PRIVATE, found], 222),
        Step(second, [again, PRIVATE, DATE_21, LOCATION], [again, LOCATION, DATE_21, PRIVATE], 222),
        Step(
            third,
            [(b":status", b"200"), PRIVATE, DATE_22, LOCATION, GZIP, COOKIE],
            [COOKIE, GZIP, DATE_22],
            215,
        ),
    ]


EXAMPLES = {
    "C.2.1": [
        Step(
            "400a637573746f6d2d6b65790d637573746f6d2d686561646572",
            [(b"custom-key", b"custom-header")],
            [(b"custom-key", b"custom-header")],
            55,
        )
    ],
    "C.2.2": [Step("040c2f73616d706c652f70617468", [(b":path", b"/sample/path")], [], 0)],
    "C.2.3": [Step("100870617373776f726406736563726574", [(b"password", b"secret")], [], 0)],
    "C.2.4": [Step("82", [(b":method", b"GET")], [], 0)],
    "C.3": requests(
        "828684410f7777772e6578616d706c652e636f6d",
        "828684be58086e6f2d6361636865",
        "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
    ),
    "C.4": requests(
        "828684418cf1e3c2e5f23a6ba0ab90f4ff",
        "828684be5886a8eb10649cbf",
        "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
    ),
    "C.5": responses(
        "4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d546e17"
        "68747470733a2f2f7777772e6578616d706c652e636f6d",
        "4803333037c1c0bf",
        "88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738666f6f3d41"
        "53444a4b48514b425a584f5157454f50495541585157454f49553b206d61782d6167653d333630303b2076657273696f6e3d31",
    ),
    "C.6": responses(
        "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3",
        "4883640effc1c0bf",
        "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960"
        "d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
    ),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_read_as_it_says(name):
    decoder = HpackDecoder()
    if name in ("C.5", "C.6"):
        decoder.limit_table(256)
    for step in EXAMPLES[name]:
        outcome, fields = decoder.decode(bytes.fromhex(step.block))
        assert outcome is BlockOutcome.DECODED
        assert [field[:2] for field in fields] == step.fields
        assert decoder.table == step.table
        assert decoder.table_size == step.table_size


def test_what_is_never_indexed_is_told():
    read = {name: HpackDecoder().decode(bytes.fromhex(EXAMPLES[name][0].block))[1] for name in EXAMPLES if "2" in name}
    assert [name for name, fields in read.items() if any(never for _, _, never in fields)] == ["C.2.3"]


@pytest.mark.parametrize(("number", "written"), [(10, "2a"), (1337, "3f9a0a")], ids=["C.1.1", "C.1.2"])
def test_an_integer_is_written_as_in_c_1(number, written):
    encoder = HpackEncoder()
    encoder.limit_table(number)
    assert encoder.encode([]).hex() == written


@pytest.mark.parametrize(
    ("text", "encoded"),
    [
        (b"www.example.com", "f1e3c2e5f23a6ba0ab90f4ff"),
        (b"no-cache", "a8eb10649cbf"),
        (b"custom-key", "25a849e95ba97d7f"),
        (b"custom-value", "25a849e95bb8e8b4bf"),
        (b"302", "6402"),
        (b"307", "640eff"),
        (b"private", "aec3771a4b"),
        (b"Mon, 21 Oct 2013 20:13:21 GMT", "d07abe941054d444a8200595040b8166e082a62d1bff"),
        (b"https://www.example.com", "9d29ad171863c78f0b97c8e9ae82ae43d3"),
        (b"gzip", "9bd9ab"),
    ],
)
def test_a_string_is_encoded_as_in_c_4_and_c_6(text, encoded):
    assert huffman_encode(text).hex() == encoded
    assert huffman_decode(bytes.fromhex(encoded)) == text
