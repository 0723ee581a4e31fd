"""permessage-deflate: what is agreed, and what is held and done for it; RFC 7692."""

import os
import tracemalloc
import zlib

import pytest
from conformance.frames import CONTINUATION, Deflater, agreed, frame

from pyserver._websocket import Deflate, Event, Handshake, WebSocket

NAME = b"permessage-deflate"
TEXT = "to be compressed, and compressed again; " * 10


def agree(offer, **wanted):
    fields = [
        (b"sec-websocket-version", b"13"),
        (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="),
        (b"sec-websocket-extensions", offer),
    ]
    return Handshake(b"GET", fields).agree(Deflate(**wanted))


def payload(data):
    """The payload of a frame of the server's, which has to be compressed."""
    assert data[0] & 0x70 == 0x40
    return data[2:] if data[1] < 126 else data[4:] if data[1] == 126 else data[10:]


class Inflater:
    def __init__(self, bits=15):
        self._inflater = zlib.decompressobj(-bits)

    def __call__(self, data):
        return self._inflater.decompress(data + b"\0\0\xff\xff")


@pytest.mark.parametrize(
    ("offer", "wanted", "response"),
    [
        (NAME, {}, NAME),
        (NAME + b"; client_max_window_bits", {}, NAME + b"; client_max_window_bits=12"),
        (NAME + b"; client_max_window_bits=10", {}, NAME + b"; client_max_window_bits=10"),
        (NAME + b"; client_max_window_bits=8", {}, NAME + b"; client_max_window_bits=8"),
        (NAME + b"; client_max_window_bits=15", {"client_bits": 9}, NAME + b"; client_max_window_bits=9"),
        (NAME + b"; server_max_window_bits=10", {}, NAME + b"; server_max_window_bits=10"),
        (NAME + b'; server_max_window_bits="15"', {}, NAME + b"; server_max_window_bits=12"),
        (NAME + b"; server_no_context_takeover", {}, NAME + b"; server_no_context_takeover"),
        (NAME + b"; client_no_context_takeover", {}, NAME + b"; client_no_context_takeover"),
        (NAME, {"server_no_context_takeover": True}, NAME + b"; server_no_context_takeover"),
        (NAME, {"client_no_context_takeover": True}, NAME + b"; client_no_context_takeover"),
        (b"x, " + NAME + b"; x, " + NAME, {}, NAME),
        (
            NAME + b"; server_max_window_bits=8, " + NAME + b"; server_max_window_bits=9; client_no_context_takeover",
            {},
            NAME + b"; client_no_context_takeover; server_max_window_bits=9",
        ),
    ],
)
def test_an_offer_is_accepted(offer, wanted, response):
    assert agree(offer, **wanted).response == response


@pytest.mark.parametrize(
    "parameters",
    [
        b"nonsense",
        b"nonsense=1",
        b"server_no_context_takeover=1",
        b"client_no_context_takeover=true",
        b"server_no_context_takeover; server_no_context_takeover",
        b"client_max_window_bits; client_max_window_bits=10",
        b"server_max_window_bits",
        b"server_max_window_bits=7",
        b"server_max_window_bits=8",
        b"server_max_window_bits=16",
        b"server_max_window_bits=010",
        b"server_max_window_bits=1a",
        b"client_max_window_bits=7",
        b"client_max_window_bits=16",
        b"client_max_window_bits=08",
        b"client_max_window_bits=0",
        b"Server_No_Context_Takeover",
    ],
)
def test_an_offer_that_is_wrong_or_cannot_be_met_is_declined(parameters):
    assert agree(NAME + b"; " + parameters) is None


@pytest.mark.parametrize("offer", [b"", b"x-webkit-deflate-frame", b"permessage-bzip2"])
def test_other_extensions_are_declined(offer):
    assert agree(offer) is None


def test_what_is_agreed_is_what_both_can():
    found = agree(NAME + b"; server_max_window_bits=10; client_max_window_bits", level=3, mem_level=4)
    assert (found.server_bits, found.client_bits, found.level, found.mem_level) == (10, 12, 3, 4)


def test_a_client_that_does_not_offer_to_limit_its_window_has_a_large_one():
    assert agree(NAME, client_bits=9).client_bits == 15


@pytest.mark.parametrize(
    "wanted", [{"server_bits": 8}, {"server_bits": 16}, {"client_bits": 7}, {"level": 10}, {"mem_level": 0}]
)
def test_numbers_out_of_bounds_are_errors(wanted):
    with pytest.raises(ValueError, match=f"{next(iter(wanted))} is "):
        Deflate(**wanted)


@pytest.mark.parametrize("bits", range(9, 16))
def test_messages_are_compressed_within_the_agreed_window(bits):
    socket = WebSocket(deflate=agreed(NAME + b"; server_max_window_bits=%d" % bits, server_bits=15))
    inflate = Inflater(bits)
    data = os.urandom(5000) * 3
    assert inflate(payload(socket.text(TEXT))) == TEXT.encode()
    assert inflate(payload(socket.binary(data))) == data


@pytest.mark.parametrize("bits", range(8, 16))
def test_messages_are_inflated_with_the_agreed_window(bits):
    socket = WebSocket(deflate=agreed(NAME + b"; client_max_window_bits=%d" % bits))
    pack = Deflater(max(bits, 9))
    data = os.urandom(5000) * 3
    assert socket.feed(frame(2, pack(data), rsv=4) + frame(2, pack(data), rsv=4)) == [(Event.BINARY, data)] * 2


def test_a_message_refers_to_those_before_it():
    socket = WebSocket(deflate=agreed())
    first, second = payload(socket.text(TEXT)), payload(socket.text(TEXT))
    inflate = Inflater()
    assert (inflate(first), inflate(second)) == (TEXT.encode(), TEXT.encode())
    assert len(second) < len(first) / 2


def test_a_message_does_not_refer_to_others_without_takeover():
    socket = WebSocket(deflate=agreed(NAME + b"; server_no_context_takeover"))
    assert [Inflater()(payload(socket.text(TEXT))) for _ in range(3)] == [TEXT.encode()] * 3


def test_a_message_after_a_rest_does_not_refer_to_others():
    socket = WebSocket(deflate=agreed())
    inflate = Inflater()
    inflate(payload(socket.text(TEXT)))
    socket.rest()
    data = payload(socket.text(TEXT))
    assert (inflate(data), Inflater()(data)) == (TEXT.encode(), TEXT.encode())


def test_a_client_may_not_refer_to_other_messages_without_takeover():
    socket = WebSocket(deflate=agreed(NAME + b"; client_no_context_takeover"))
    pack = Deflater()
    assert socket.feed(frame(1, pack(TEXT.encode()), rsv=4)) == [(Event.TEXT, TEXT)]
    assert socket.feed(frame(1, pack(TEXT.encode()), rsv=4))[0][:2] == (Event.FAIL, 1007)


def test_messages_of_a_client_without_takeover_are_inflated():
    socket = WebSocket(deflate=agreed(NAME + b"; client_no_context_takeover"))
    events = [socket.feed(frame(1, Deflater()(TEXT.encode()), rsv=4)) for _ in range(3)]
    assert events == [[(Event.TEXT, TEXT)]] * 3


@pytest.mark.parametrize("size", [0, 1, 63])
def test_short_messages_are_not_compressed(size):
    assert WebSocket(deflate=agreed()).binary(b"a" * size) == bytes([0x82, size]) + b"a" * size


@pytest.mark.parametrize("size", [64, 1000, 100000, 3000000])
def test_longer_messages_are_compressed(size):
    data = os.urandom(size // 2) * 2
    assert Inflater()(payload(WebSocket(deflate=agreed()).binary(data))) == data


def test_characters_are_compressed_as_utf_8():
    assert Inflater()(payload(WebSocket(deflate=agreed()).text("\u20ac" * 100))).decode() == "\u20ac" * 100


@pytest.mark.parametrize("size", [10, 32767, 32768, 32769, 65536, 100000])
def test_the_limit_is_that_of_the_inflated_size(size):
    for more, expected in ((0, (Event.BINARY, bytes(size))), (1, (Event.FAIL, 1009))):
        socket = WebSocket(deflate=agreed(), max_message=size)
        assert socket.feed(frame(2, Deflater()(bytes(size + more)), rsv=4))[0][:2] == expected


@pytest.mark.parametrize("size", [1, 32767, 32768, 32769, 100000, 5000000])
def test_an_inflated_message_may_have_any_number_of_blocks(size):
    data = (b"abc" * size)[:size]
    packed = Deflater()(data)
    assert WebSocket(deflate=agreed()).feed(frame(2, packed, rsv=4)) == [(Event.BINARY, data)]
    parts = [packed[at : at + 5] for at in range(0, len(packed), 5)]
    frames = [frame(CONTINUATION if at else 1, part, fin=False, rsv=0 if at else 4) for at, part in enumerate(parts)]
    assert WebSocket(deflate=agreed()).feed(b"".join(frames) + frame(CONTINUATION)) == [(Event.TEXT, data.decode())]


def test_characters_are_cut_anywhere_by_the_blocks_of_zlib():
    text = "a" + "\u20ac" * 50000
    assert WebSocket(deflate=agreed()).feed(frame(1, Deflater()(text.encode()), rsv=4)) == [(Event.TEXT, text)]


def test_a_bomb_takes_no_more_memory_than_the_limit():
    # 10 GB in 10 MB, of which the limit's worth is inflated.
    piece = Deflater()(bytes(10 << 20)) + b"\0\0\xff\xff"
    data = frame(2, piece * 1000, rsv=4, length=1 << 40)
    socket = WebSocket(deflate=agreed(), max_message=1 << 20)
    tracemalloc.start()
    try:
        assert socket.feed(data)[0][:2] == (Event.FAIL, 1009)
        assert tracemalloc.get_traced_memory()[1] < (1 << 20) + (1 << 18)
    finally:
        tracemalloc.stop()


def test_a_refused_message_leaves_nothing_to_be_inflated():
    socket = WebSocket(deflate=agreed())
    assert socket.feed(frame(1, b"\xff" * 9, rsv=4))[0][:2] == (Event.FAIL, 1007)
    assert socket.feed(frame(1, Deflater()(b"a"), rsv=4)) == []
