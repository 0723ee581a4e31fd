"""Frames and messages that clients send: every row of the tables, whole and in parts."""

import tracemalloc

import pytest
from conformance.frames import CASES, CONTINUATION, TEXT, close, frame, judge, masked

from pyserver._websocket import Event, WebSocket


@pytest.fixture(params=CASES.values(), ids=CASES.keys())
def case(request):
    return request.param


def understood(events):
    """The events without the reason of a refusal, which is for people."""
    return [event[:2] if event[0] is Event.FAIL else event for event in events]


def expected(case):
    return [*case.events, (Event.FAIL, case.fail)] if case.fail else case.events


def test_a_row_is_judged_as_it_says(case):
    assert understood(case.judge([case.data])) == expected(case)


def test_a_row_is_judged_the_same_byte_by_byte(case):
    assert understood(case.judge([bytes([byte]) for byte in case.data])) == expected(case)


def test_a_row_is_judged_the_same_in_any_two_parts(case):
    for first, second in case.cuts():
        assert understood(case.judge([first, second])) == expected(case), (first, second)


def test_what_is_wrong_is_refused_at_its_first_byte():
    late = {}
    for name, case in CASES.items():
        if case.fail:
            before = understood(case.judge([case.send]))
            with_it = understood(case.judge([case.send, case.then[:1]]))
            if (before, with_it) != (case.events, expected(case)):
                late[name] = before, with_it
    assert late == {}


def test_names_are_not_used_twice():
    assert len(CASES) == len({(case.data, case.deflate, case.max_message) for case in CASES.values()})


@pytest.mark.parametrize("offset", range(9))
def test_any_alignment_is_unmasked(offset):
    data = bytes(range(256)) * 4
    for size in (*range(40), 1000):
        assert judge([frame(2, data[:offset]) + frame(2, data[:size], key=b"\x01\x80\xff\x10")]) == [
            (Event.BINARY, data[:offset]),
            (Event.BINARY, data[:size]),
        ]


def test_what_is_received_may_be_any_buffer():
    data = frame(TEXT, b"a")
    assert [WebSocket().feed(kind(data)) for kind in (bytes, bytearray, memoryview)] == [[(Event.TEXT, "a")]] * 3


def test_nothing_is_understood_after_a_refusal():
    socket = WebSocket()
    socket.feed(frame(3))
    assert (socket.feed(frame(TEXT, b"a")), socket.is_failed, socket.code) == ([], True, 1002)


def test_a_refusal_says_why():
    assert judge([frame(TEXT, key=None)]) == [(Event.FAIL, 1002, "the frame is not masked")]


def test_a_length_is_no_reason_to_take_memory():
    socket = WebSocket(max_message=1 << 30)
    data = frame(2, b"a", length=1 << 30)
    tracemalloc.start()
    try:
        assert socket.feed(data) == []
        assert tracemalloc.get_traced_memory()[1] < 10000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("limit", [0, 1 << 62, (1 << 63) - 1])
def test_large_limits_do_not_overflow(limit):
    parts = [frame(2, b"a", fin=False), frame(CONTINUATION, length=(1 << 63) - 1)]
    assert judge([*parts, b"b"], max_message=limit)[1:] == []


def test_a_negative_limit_is_an_error():
    with pytest.raises(ValueError, match="max_message is -1"):
        WebSocket(max_message=-1)


@pytest.mark.parametrize("size", [1, 100, 5000])
def test_a_long_message_may_come_in_pieces_of_any_size(size):
    data = "\u20aca".encode() * 20000
    whole = frame(TEXT, data)
    parts = [whole[at : at + size] for at in range(0, len(whole), size)]
    assert judge(parts) == [(Event.TEXT, data.decode())]


def test_a_ping_may_come_in_pieces_within_a_message_in_pieces():
    data = frame(TEXT, b"ab", fin=False) + frame(9, b"1234567") + frame(CONTINUATION, b"cd") + close(1000, b"bye")
    for size in range(1, 20):
        parts = [data[at : at + size] for at in range(0, len(data), size)]
        assert judge(parts) == [(Event.PING, b"1234567"), (Event.TEXT, "abcd"), (Event.CLOSE, 1000, "bye")]


def test_masking_twice_is_nothing():
    assert masked(masked(b"hello", b"abcd"), b"abcd") == b"hello"
