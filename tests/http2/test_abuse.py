"""What a peer may not do for ever: frames that serve no request cost credit, and blocks have bounds; RFC 9113 §10.5."""

import pytest
from conformance.http2_frames import (
    BLOCK,
    END_HEADERS,
    OPENING,
    continuation,
    data,
    frame,
    goaway,
    headers,
    ping,
    priority,
    reset,
    settings,
    window_update,
)

from pyserver._frames import ErrorCode, FrameEvent, FrameType, Http2Connection, Setting

FLOODS = {
    "settings": settings((Setting.INITIAL_WINDOW_SIZE, 65535)),
    "pings": ping(),
    "answers-to-no-ping": ping(flags=1),
    "goaways": goaway(),
    "priorities": priority(),
    "unknown-frames": frame(77),
    "empty-data": data(content=b""),
    "padding": frame(FrameType.DATA, b"\x05" + bytes(5), stream=1, flags=8),
    "windows-of-the-connection-by-a-byte": window_update(0, 1),
    "windows-by-a-byte": window_update(1, 1),
    "windows-of-a-closed-stream": window_update(3, 5000),
    "resets-of-a-closed-stream": reset(3),
}


def opened(**limits):
    """A connection with stream 1 open and stream 3 reset."""
    connection = Http2Connection(**limits)
    connection.feed(OPENING + headers(1) + headers(3) + reset(3))
    return connection


def frames_until_it_fails(connection, frames, most=10000):
    """How many frames are taken before the connection fails, and why."""
    for count, sent in zip(range(most), frames, strict=False):
        for event in connection.feed(sent):
            if event.kind is FrameEvent.FAILED:
                return count, event.error
    return most, None


def always(sent):
    while True:
        yield sent


@pytest.mark.parametrize("sent", FLOODS.values(), ids=FLOODS.keys())
def test_a_flood_ends_a_connection(sent):
    count, error = frames_until_it_fails(opened(), always(sent))
    assert (error, 90 < count <= 1000) == (ErrorCode.ENHANCE_YOUR_CALM, True)


def test_a_flood_of_data_on_a_stream_that_was_reset_ends_a_connection():
    connection = opened()
    connection.reset(1, ErrorCode.CANCEL)
    _, error = frames_until_it_fails(connection, always(data(content=b"")))
    assert error is ErrorCode.ENHANCE_YOUR_CALM


def test_content_that_was_under_way_when_we_reset_costs_nothing():
    connection = opened()
    before = connection.credit
    connection.reset(1, ErrorCode.CANCEL)
    connection.feed(2000 * data(content=b"x"))
    assert connection.credit == before


@pytest.mark.parametrize("leaves", [False, True])
def test_a_flood_of_fields_that_are_not_looked_at_ends_a_connection(leaves):
    connection = opened()
    connection.reset(1, ErrorCode.CANCEL)
    frames = always(headers(1, ends=True))
    if leaves:
        connection.leave()
        frames = requests()
    _, error = frames_until_it_fails(connection, frames)
    assert error is ErrorCode.ENHANCE_YOUR_CALM


def requests(*, from_=5):
    return (headers(stream, ends=True) for stream in range(from_, 1 << 30, 2))


def test_rapid_resets_end_a_connection():
    frames = (headers(stream) + reset(stream) for stream in range(5, 1 << 30, 2))
    count, error = frames_until_it_fails(opened(), frames)
    assert (error, 100 < count < 250) == (ErrorCode.ENHANCE_YOUR_CALM, True)


def test_streams_that_are_refused_end_a_connection():
    _, error = frames_until_it_fails(opened(streams=2), requests())
    assert error is ErrorCode.ENHANCE_YOUR_CALM


def test_streams_that_fail_end_a_connection():
    frames = (headers(stream) + headers(stream) for stream in range(5, 1 << 30, 2))
    _, error = frames_until_it_fails(opened(), frames)
    assert error is ErrorCode.ENHANCE_YOUR_CALM


def test_requests_that_finish_pay_for_resets():
    connection = opened()
    for stream in range(5, 8005, 4):
        connection.feed(headers(stream, ends=True))
        connection.send_block(stream, b"\x88", ends=True)
        (_, event) = connection.feed(headers(stream + 2) + reset(stream + 2))
        assert event.kind is FrameEvent.STREAM_RESET
    assert connection.credit > 900


def test_requests_cost_nothing():
    connection = opened()
    before = connection.credit
    connection.feed(headers(5) + 10 * data(5, bytes(100)) + data(5, b"", ends=True) + window_update(0, 5000))
    assert connection.credit == before


def test_credit_comes_back_with_time_and_not_beyond_its_bound():
    connection = opened(credit=50)
    connection.feed(10 * ping())
    connection.earn(15)
    assert connection.credit == 40
    connection.earn(10**9)
    assert connection.credit == 50


def test_windows_that_follow_what_was_sent_are_paid_for():
    connection = opened()
    for _ in range(5000):
        connection.send_data(1, bytes(50))
        events = connection.feed(window_update(0, 50) + window_update(1, 50))
        assert [event.kind for event in events] == [FrameEvent.WINDOW_OPENED] * 2
    assert connection.credit > 900


def test_a_window_that_is_opened_byte_by_byte_ends_a_connection():
    connection = opened()
    connection.feed(settings((Setting.INITIAL_WINDOW_SIZE, 0)))

    def dribble():
        while True:
            yield window_update(1, 1)
            if connection.sendable(1):
                connection.send_data(1, b"x")

    _, error = frames_until_it_fails(connection, dribble())
    assert error is ErrorCode.ENHANCE_YOUR_CALM


# ---- field blocks ----


def test_a_block_of_too_many_frames_ends_a_connection():
    connection = opened()
    connection.feed(headers(5, flags=0))
    count, error = frames_until_it_fails(connection, always(continuation(5, b"x")))
    assert (error, count) == (ErrorCode.ENHANCE_YOUR_CALM, 65536 // 16384 + 128)


def test_empty_continuations_cost_credit():
    connection = opened()
    before = connection.credit
    connection.feed(headers(5, flags=0) + continuation(5) + continuation(5, flags=END_HEADERS))
    assert connection.credit == before - 10


def test_small_continuations_cost_credit():
    connection = opened()
    before = connection.credit
    parts = headers(5, BLOCK[:1], flags=0), continuation(5, BLOCK[1:2]), continuation(5, BLOCK[2:], flags=END_HEADERS)
    connection.feed(b"".join(parts))
    assert connection.credit == before - 2


@pytest.mark.parametrize(
    "parts",
    [
        [headers(5, bytes(101))],
        [headers(5, bytes(60), flags=0), continuation(5, bytes(41), flags=END_HEADERS)],
        [headers(5, bytes(60), flags=0), continuation(5, bytes(41))],
    ],
)
def test_a_block_of_too_many_bytes_ends_a_connection(parts):
    connection = opened(block=100)
    (event,) = connection.feed(b"".join(parts))[-1:]
    assert (event.kind, event.error) == (FrameEvent.FAILED, ErrorCode.ENHANCE_YOUR_CALM)


def test_a_block_may_have_as_many_bytes_as_its_limit():
    connection = opened(block=len(BLOCK))
    parts = headers(5), headers(7, BLOCK[:2], flags=0), continuation(7, BLOCK[2:], flags=END_HEADERS)
    events = connection.feed(b"".join(parts))
    assert [event.kind for event in events] == [FrameEvent.REQUEST, FrameEvent.IGNORED, FrameEvent.REQUEST]


def test_blocks_one_after_another_do_not_add_up():
    connection = opened(block=100)
    for stream in range(5, 65, 2):
        parts = headers(stream, bytes(60), flags=0), continuation(stream, bytes(40), flags=END_HEADERS)
        events = connection.feed(b"".join(parts))
        assert events[-1].kind is FrameEvent.REQUEST
