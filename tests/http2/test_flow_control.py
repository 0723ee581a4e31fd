"""How much may be sent, by either side, and what settings change of it; RFC 9113 §5.2, §6.5 and §6.9."""

import struct

import pytest
from conformance.http2_frames import (
    ACK,
    LARGEST,
    OPENING,
    PADDED,
    PREFACE,
    data,
    frame,
    headers,
    settings,
    window_update,
)

from pyserver._frames import ErrorCode, FrameEvent, FrameType, Http2Connection, Setting

WINDOW = 65535


def opened(*, acknowledged=True, **limits):
    """A connection with stream 1 open, and ours in force."""
    connection = Http2Connection(**limits)
    connection.begin()
    connection.feed(OPENING + (settings(flags=ACK) if acknowledged else b"") + headers())
    connection.take()
    return connection


def test_our_settings_are_told_first():
    connection = Http2Connection(streams=7, window=1000, frame=20000, field_list=3000, allows_connect=True)
    connection.begin()
    told = {
        Setting.MAX_CONCURRENT_STREAMS: 7,
        Setting.INITIAL_WINDOW_SIZE: 1000,
        Setting.MAX_FRAME_SIZE: 20000,
        Setting.MAX_HEADER_LIST_SIZE: 3000,
        Setting.NO_RFC7540_PRIORITIES: 1,
        Setting.ENABLE_CONNECT_PROTOCOL: 1,
    }
    assert connection.take() == settings(*told.items())


def test_the_window_of_the_connection_is_raised_at_once():
    connection = Http2Connection(connection_window=WINDOW + 10)
    connection.begin()
    assert connection.take().endswith(window_update(0, 10))
    assert connection.windows() == (WINDOW, WINDOW + 10)


def test_the_peers_settings_are_in_force_at_once():
    connection = Http2Connection()
    told = {
        Setting.HEADER_TABLE_SIZE: 0,
        Setting.INITIAL_WINDOW_SIZE: 5,
        Setting.MAX_FRAME_SIZE: 16385,
        Setting.MAX_HEADER_LIST_SIZE: 9,
        Setting.ENABLE_CONNECT_PROTOCOL: 1,
    }
    (event,) = connection.feed(PREFACE + settings(*told.items()))
    assert (event.kind, connection.peer) == (FrameEvent.SETTINGS_CHANGED, told)
    connection.acknowledge()
    assert connection.take() == settings(flags=ACK)


def test_the_last_of_repeated_settings_counts():
    connection = opened()
    connection.feed(settings((Setting.INITIAL_WINDOW_SIZE, LARGEST), (Setting.INITIAL_WINDOW_SIZE, 100)))
    assert connection.windows(1)[0] == 100


# ---- received ----


def test_content_takes_from_both_windows():
    connection = opened()
    connection.feed(data(content=bytes(100)))
    assert (connection.windows()[1], connection.windows(1)[1]) == (WINDOW - 100, WINDOW - 100)


def test_content_over_the_connections_window_fails_it():
    connection = opened(window=1 << 20)
    connection.feed(4 * data(content=bytes(16383)))
    (event,) = connection.feed(data(content=bytes(4)))
    assert (event.kind, event.error) == (FrameEvent.FAILED, ErrorCode.FLOW_CONTROL_ERROR)


def test_content_may_fill_the_window():
    connection = opened()
    connection.feed(4 * data(content=bytes(16383)))
    (event,) = connection.feed(data(content=bytes(3)))
    assert (event.kind, connection.windows(1)[1]) == (FrameEvent.CONTENT, 0)


def test_a_smaller_window_counts_from_the_acknowledgement_on():
    connection = opened(acknowledged=False, window=1000)
    (event,) = connection.feed(data(content=bytes(2000)))
    assert (event.error, connection.windows(1)[1]) == (0, WINDOW - 2000)
    connection.feed(settings(flags=ACK))
    assert connection.windows(1)[1] == -1000
    connection.feed(headers(3))
    assert connection.windows(3)[1] == 1000
    (event,) = connection.feed(data(content=b"x"))
    assert (event.kind, event.error) == (FrameEvent.STREAM_FAILED, ErrorCode.FLOW_CONTROL_ERROR)


def test_a_larger_window_counts_from_the_acknowledgement_on():
    connection = opened(acknowledged=False, window=100000)
    assert connection.windows(1)[1] == WINDOW
    connection.feed(settings(flags=ACK))
    assert connection.windows(1)[1] == 100000


def test_windows_are_opened_again_once_half_is_consumed():
    connection = opened()
    connection.feed(4 * data(content=bytes(10000)))
    connection.consume(1, 32000)
    assert connection.take() == b""
    connection.consume(1, 1000)
    assert connection.take() == window_update(0, 33000) + window_update(1, 33000)
    assert connection.windows(1)[1] == WINDOW - 40000 + 33000


def test_what_a_closed_stream_leaves_goes_back_to_the_connection():
    connection = opened()
    connection.feed(2 * data(content=bytes(16384)) + data(content=bytes(100)))
    connection.reset(1, ErrorCode.CANCEL)
    connection.take()
    connection.consume(1, 32868)
    assert connection.take() == window_update(0, 32868)


def test_content_on_a_stream_that_was_reset_goes_back_to_the_connection():
    connection = opened()
    connection.reset(1, ErrorCode.CANCEL)
    connection.feed(2 * data(content=bytes(16384)))
    assert connection.windows()[1] == WINDOW - 32768
    connection.take()
    connection.consume(0, 0)
    assert connection.take() == window_update(0, 32768)


def test_padding_counts_and_is_consumed_by_itself():
    connection = opened(window=400)
    connection.feed(frame(FrameType.DATA, b"\xff" + b"x" + bytes(255), stream=1, flags=PADDED))
    assert connection.windows(1)[1] == 400 - 257
    connection.consume(1, 1)
    assert connection.take() == window_update(1, 257)


def test_padding_over_the_streams_window_fails_it():
    connection = opened(window=100)
    (event,) = connection.feed(frame(FrameType.DATA, b"\x63" + b"x" + bytes(99), stream=1, flags=PADDED))
    assert (event.kind, event.error) == (FrameEvent.STREAM_FAILED, ErrorCode.FLOW_CONTROL_ERROR)


def test_padding_goes_back_to_the_connection():
    connection = opened()
    for _ in range(128):
        connection.feed(frame(FrameType.DATA, b"\xff" + b"x" + bytes(255), stream=1, flags=PADDED))
    connection.consume(0, 0)
    assert connection.take() == window_update(0, 32768)


def test_a_request_that_is_complete_is_given_no_room():
    connection = opened(window=100)
    connection.feed(data(content=bytes(100), ends=True))
    connection.consume(1, 100)
    assert connection.take() == b""


# ---- sent ----


def test_what_is_sent_takes_from_both_windows():
    connection = opened()
    connection.send_data(1, b"hello")
    assert connection.take() == data(content=b"hello")
    assert (connection.windows()[0], connection.windows(1)[0]) == (WINDOW - 5, WINDOW - 5)


def test_no_more_than_a_frame_is_sendable():
    connection = opened()
    assert connection.sendable(1) == 16384
    connection.feed(settings((Setting.MAX_FRAME_SIZE, 20000)))
    assert connection.sendable(1) == 20000


@pytest.mark.parametrize("stream", [0, 1])
def test_a_window_that_is_opened_is_told(stream):
    connection = opened()
    (event,) = connection.feed(window_update(stream, 3000))
    assert (event.kind, event.stream, event.number) == (FrameEvent.WINDOW_OPENED, stream, 3000)
    assert connection.windows(stream)[0] == WINDOW + 3000


def test_a_window_below_zero_has_to_be_filled_first():
    connection = opened()
    connection.send_data(1, bytes(1000))
    connection.feed(settings((Setting.INITIAL_WINDOW_SIZE, 400)))
    assert (connection.windows(1)[0], connection.sendable(1)) == (-600, 0)
    connection.feed(window_update(1, 600))
    assert connection.sendable(1) == 0
    connection.feed(window_update(1, 1))
    assert connection.sendable(1) == 1


def test_the_connections_window_bounds_all_streams():
    connection = opened()
    connection.feed(settings((Setting.INITIAL_WINDOW_SIZE, 100000)) + headers(3))
    for _ in range(3):
        connection.send_data(1, bytes(16384))
    assert connection.sendable(3) == 16383
    connection.send_data(1, bytes(16383))
    assert (connection.sendable(3), connection.windows(3)[0]) == (0, 100000)


def test_more_than_is_sendable_is_an_error():
    connection = opened()
    with pytest.raises(ValueError, match="window is smaller"):
        connection.send_data(1, bytes(16385))


def test_a_long_block_is_sent_in_several_frames():
    connection = opened()
    connection.send_block(1, bytes(40000), ends=True)
    sent, frames = connection.take(), []
    while sent:
        length = int.from_bytes(sent[:3], "big")
        frames.append((length, sent[3], sent[4], struct.unpack("!I", sent[5:9])[0]))
        sent = sent[9 + length :]
    assert frames == [(16384, 1, 1, 1), (16384, 9, 0, 1), (7232, 9, 4, 1)]


def test_an_empty_block_is_one_frame():
    connection = opened()
    connection.send_block(1, b"")
    assert connection.take() == headers(block=b"")
