"""The closing handshake: what is sent, and what is obeyed after it; RFC 6455 §5.5.1 and §7."""

import struct

import pytest
from conformance.frames import CONTINUATION, TEXT, Deflater, agreed, close, frame

from pyserver._websocket import Event, WebSocket


def code_and_reason(data):
    """What a close frame of the server's says."""
    assert (data[0], data[1]) == (0x88, len(data) - 2)
    return struct.unpack("!H", data[2:4])[0] if len(data) > 2 else None, data[4:].decode()


def test_a_close_has_a_code_and_a_reason():
    assert code_and_reason(WebSocket().close(4001, "b\u00e9")) == (4001, "b\u00e9")


def test_a_close_is_normal_unless_said_otherwise():
    assert code_and_reason(WebSocket().close()) == (1000, "")


def test_a_close_with_1005_has_no_code():
    assert WebSocket().close(1005, "not told") == b"\x88\0"


@pytest.mark.parametrize("code", [-1, 0, 999, 1004, 1006, 1015, 1016, 2999, 5000, 65536 + 1000])
def test_a_code_that_may_not_be_sent_is_an_error(code):
    socket = WebSocket()
    with pytest.raises(ValueError, match=f"{code} is not a code"):
        socket.close(code)
    assert not socket.close_sent


@pytest.mark.parametrize(
    ("reason", "sent"),
    [
        ("a" * 123, "a" * 123),
        ("a" * 124, "a" * 123),
        ("\u20ac" * 42, "\u20ac" * 41),
        ("a" + "\u00e9" * 62, "a" + "\u00e9" * 61),
    ],
)
def test_a_long_reason_ends_at_a_character(reason, sent):
    assert code_and_reason(WebSocket().close(1000, reason)) == (1000, sent)


def test_a_reason_with_a_surrogate_is_an_error():
    socket = WebSocket()
    with pytest.raises(UnicodeEncodeError):
        socket.close(1000, "\ud800")
    assert not socket.close_sent


def test_a_close_of_the_clients_is_remembered():
    socket = WebSocket()
    assert socket.feed(close(4000, b"bye")) == [(Event.CLOSE, 4000, "bye")]
    assert (socket.close_received, socket.code, socket.close_sent) == (True, 4000, False)


def test_a_close_is_answered_with_its_code():
    socket = WebSocket()
    socket.feed(frame(8))
    assert (socket.code, socket.close(socket.code)) == (1005, b"\x88\0")


def test_nothing_is_understood_after_a_close():
    socket = WebSocket()
    socket.feed(close(1000))
    assert socket.feed(frame(TEXT, b"a") + frame(9) + frame(3)) == []


def test_messages_are_dropped_once_a_close_was_sent():
    socket = WebSocket()
    socket.close()
    assert socket.feed(frame(TEXT, b"a") + frame(TEXT, b"\xff") + frame(9, b"p") + frame(10, b"q") + close(1001)) == [
        (Event.PING, b"p"),
        (Event.PONG, b"q"),
        (Event.CLOSE, 1001, ""),
    ]


def test_a_message_under_way_is_dropped_once_a_close_was_sent():
    for size in range(1, 30):
        socket = WebSocket()
        socket.feed(frame(TEXT, b"ab", fin=False) + frame(CONTINUATION, b"cdef", fin=False)[:-2])
        socket.close()
        rest = b"ef" + frame(CONTINUATION, b"\xff") + frame(TEXT, b"a") + close(1000)
        events = [event for at in range(0, len(rest), size) for event in socket.feed(rest[at : at + size])]
        assert events == [(Event.CLOSE, 1000, "")]


def test_a_compressed_message_is_not_inflated_once_a_close_was_sent():
    socket = WebSocket(deflate=agreed(), max_message=100000)
    data = frame(2, Deflater()(bytes(100000)), rsv=4)
    socket.feed(data[:-10])
    socket.close()
    assert socket.feed(data[-10:] + frame(2, b"\xff" * 9, rsv=4) + close(1000)) == [(Event.CLOSE, 1000, "")]


def test_frames_are_judged_when_a_close_was_sent():
    socket = WebSocket()
    socket.close()
    assert socket.feed(frame(CONTINUATION, b"a"))[0][:2] == (Event.FAIL, 1002)


def test_a_large_frame_is_dropped_once_a_close_was_sent():
    socket = WebSocket(max_message=5)
    socket.close()
    assert socket.feed(frame(2, b"a" * 1000) + close(1000)) == [(Event.CLOSE, 1000, "")]


def test_no_message_may_follow_a_close():
    socket = WebSocket()
    socket.close()
    for send, data in ((socket.text, "a"), (socket.text, "\u20ac"), (socket.binary, b"a")):
        with pytest.raises(RuntimeError, match="a close frame has been sent"):
            send(data)


def test_a_ping_may_be_answered_after_a_close():
    socket = WebSocket()
    socket.close()
    assert socket.pong(b"p") == b"\x8a\x01p"
