"""Frames that the server sends: RFC 6455 §5."""

import struct

import pytest

from pyserver._websocket import WebSocket


@pytest.mark.parametrize(
    ("size", "head"),
    [
        (0, b"\x82\0"),
        (1, b"\x82\x01"),
        (125, b"\x82\x7d"),
        (126, b"\x82\x7e\0\x7e"),
        (65535, b"\x82\x7e\xff\xff"),
        (65536, b"\x82\x7f" + struct.pack("!Q", 65536)),
        (1 << 20, b"\x82\x7f" + struct.pack("!Q", 1 << 20)),
    ],
)
def test_a_length_is_in_its_shortest_form(size, head):
    assert WebSocket().binary(b"x" * size) == head + b"x" * size


@pytest.mark.parametrize("text", ["", "a", "\0\x7f", "\xe9", "\u20ac", "\U0001f600" * 40, "a" * 70000])
def test_a_text_is_sent_as_utf_8(text):
    data = WebSocket().text(text)
    assert (data[0], data[-len(text.encode()) or len(data) :]) == (0x81, text.encode())


def test_a_text_with_a_surrogate_is_an_error():
    with pytest.raises(UnicodeEncodeError):
        WebSocket().text("\ud800")


def test_a_ping_and_a_pong_have_their_payload():
    assert (WebSocket().ping(b"a"), WebSocket().pong(b"b" * 125)) == (b"\x89\x01a", b"\x8a\x7d" + b"b" * 125)


def test_a_ping_needs_no_payload():
    assert (WebSocket().ping(), WebSocket().pong()) == (b"\x89\0", b"\x8a\0")


def test_a_control_frame_of_126_bytes_is_an_error():
    with pytest.raises(ValueError, match="at most 125 bytes, not 126"):
        WebSocket().ping(b"a" * 126)
