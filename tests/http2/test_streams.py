"""The states of streams, what their blocks and content add up to, how a connection ends; RFC 9113 §5.1, §6.8, §8.1."""

import struct

import pytest
from conformance.http2_frames import (
    ACK,
    BLOCK,
    END_HEADERS,
    OPENING,
    PADDED,
    continuation,
    data,
    frame,
    goaway,
    headers,
    ping,
    reset,
    window_update,
)

from pyserver._frames import ErrorCode, FrameEvent, FrameType, Http2Connection

CLOSED, OPEN, REMOTE, LOCAL = "closed", "open", "half-closed (remote)", "half-closed (local)"


@pytest.fixture
def connection():
    connection = Http2Connection()
    connection.begin()
    connection.feed(OPENING)
    connection.take()
    return connection


def one(events):
    """What is told of the only frame that was fed."""
    (event,) = events
    return event


def said(event):
    return event.kind, event.stream, event.payload, event.ends, event.error


def test_a_stream_is_idle_until_its_fields_come(connection):
    assert connection.state(1) == "idle"
    assert said(one(connection.feed(headers()))) == (FrameEvent.REQUEST, 1, BLOCK, False, 0)
    assert connection.state(1) == OPEN


def test_lower_streams_are_closed_by_a_higher_one(connection):
    connection.feed(headers(5))
    assert (connection.state(3), connection.state(5), connection.state(7)) == (CLOSED, OPEN, "idle")


def test_a_request_without_content_is_complete(connection):
    assert one(connection.feed(headers(ends=True))).ends
    assert connection.state(1) == REMOTE


def test_a_stream_is_closed_when_both_ends_are(connection):
    connection.feed(headers(ends=True))
    connection.send_block(1, b"\x88")
    assert connection.state(1) == REMOTE
    connection.send_data(1, b"hello", ends=True)
    assert (connection.state(1), connection.open_streams) == (CLOSED, 0)


def test_a_response_may_end_before_the_request(connection):
    connection.feed(headers())
    connection.send_block(1, b"\x88", ends=True)
    assert connection.state(1) == LOCAL
    assert said(one(connection.feed(data(ends=True)))) == (FrameEvent.CONTENT, 1, b"x", True, 0)
    assert connection.state(1) == CLOSED


def test_trailers_end_a_request(connection):
    connection.feed(headers() + data())
    assert said(one(connection.feed(headers(block=b"trailers", ends=True)))) == (
        FrameEvent.TRAILERS,
        1,
        b"trailers",
        True,
        0,
    )
    assert connection.state(1) == REMOTE


def test_a_block_in_several_frames_is_told_once(connection):
    parts = headers(block=b"ab", ends=True, flags=0), continuation(block=b""), continuation(block=b"cd")
    events = connection.feed(b"".join(parts))
    assert [event.kind for event in events] == [FrameEvent.IGNORED] * 3
    event = one(connection.feed(continuation(block=b"ef", flags=END_HEADERS)))
    assert said(event) == (FrameEvent.REQUEST, 1, b"abcdef", True, 0)
    assert said(one(connection.feed(headers(3, b"gh")))) == (FrameEvent.REQUEST, 3, b"gh", False, 0)


def test_an_empty_block_is_a_block(connection):
    connection.feed(headers(block=b"", flags=0))
    assert said(one(connection.feed(continuation(flags=END_HEADERS)))) == (FrameEvent.REQUEST, 1, b"", False, 0)


def test_padding_and_priority_are_no_part_of_a_block(connection):
    payload = b"\x03" + bytes(5) + BLOCK + bytes(3)
    event = one(connection.feed(frame(FrameType.HEADERS, payload, stream=1, flags=END_HEADERS | PADDED | 0x20)))
    assert said(event) == (FrameEvent.REQUEST, 1, BLOCK, False, 0)


def test_a_reset_of_the_peers_closes_a_stream(connection):
    connection.feed(headers())
    event = one(connection.feed(reset(1, ErrorCode.CANCEL)))
    assert (event.kind, event.number, event.error) == (FrameEvent.STREAM_RESET, ErrorCode.CANCEL, 0)
    assert connection.state(1) == CLOSED


@pytest.mark.parametrize(
    ("late", "kind"),
    [
        (data(), FrameEvent.IGNORED),
        (headers(block=b"trailers", ends=True), FrameEvent.DISCARDED),
        (reset(), FrameEvent.IGNORED),
        (window_update(1), FrameEvent.IGNORED),
    ],
)
def test_what_was_under_way_when_we_reset_is_ignored(connection, late, kind):
    connection.feed(headers())
    connection.reset(1, ErrorCode.CANCEL)
    event = one(connection.feed(late))
    assert (event.kind, event.error) == (kind, 0)


def test_what_was_under_way_when_a_stream_failed_is_ignored(connection):
    connection.feed(headers() + headers())
    assert said(one(connection.feed(data()))) == (FrameEvent.IGNORED, 1, b"", False, 0)


def test_content_after_both_ends_fails_the_connection(connection):
    connection.feed(headers(ends=True))
    connection.send_block(1, b"\x88", ends=True)
    event = one(connection.feed(data()))
    assert (event.kind, event.error) == (FrameEvent.FAILED, ErrorCode.STREAM_CLOSED)


def test_fields_after_both_ends_fail_the_connection(connection):
    connection.feed(headers(ends=True))
    connection.send_block(1, b"\x88", ends=True)
    event = one(connection.feed(headers()))
    assert (event.kind, event.error) == (FrameEvent.FAILED, ErrorCode.STREAM_CLOSED)


def test_resets_are_remembered_for_a_while_only(connection):
    connection.feed(headers(1))
    connection.reset(1, ErrorCode.CANCEL)
    for stream in range(3, 3 + 2 * 128, 2):
        connection.feed(headers(stream, ends=True))
        connection.send_block(stream, b"\x88", ends=True)
    assert one(connection.feed(data(1))).error is ErrorCode.STREAM_CLOSED


def test_a_block_that_fails_its_stream_is_to_be_decoded(connection):
    connection.feed(headers())
    event = one(connection.feed(headers(block=b"again")))
    assert said(event) == (FrameEvent.DISCARDED, 1, b"again", False, ErrorCode.PROTOCOL_ERROR)
    assert connection.state(1) == CLOSED


def test_streams_over_the_limit_are_refused():
    connection = Http2Connection(streams=2)
    connection.feed(OPENING + headers(1) + headers(3))
    event = one(connection.feed(headers(5, b"third")))
    assert said(event) == (FrameEvent.DISCARDED, 5, b"third", False, ErrorCode.REFUSED_STREAM)
    assert one(connection.feed(data(5))).error == 0
    connection.feed(reset(1))
    assert one(connection.feed(headers(7))).kind is FrameEvent.REQUEST


def test_many_streams_are_told_apart():
    connection = Http2Connection(streams=1000)
    ids = range(1, 2001, 2)
    connection.feed(OPENING + b"".join(headers(stream) for stream in ids))
    gone = set(ids[::3]) | set(ids[100:200])
    for stream in gone:
        connection.reset(stream, ErrorCode.CANCEL)
    assert {stream for stream in ids if connection.state(stream) == CLOSED} == gone
    assert connection.open_streams == 1000 - len(gone)


def test_streams_whose_ids_collide_are_told_apart():
    connection = Http2Connection()
    ids = [1 + 4096 * number for number in range(60)]
    connection.feed(OPENING + b"".join(headers(stream) for stream in ids))
    for stream in ids[::2]:
        connection.reset(stream, ErrorCode.CANCEL)
    assert [connection.state(stream) for stream in ids] == [CLOSED, OPEN] * 30


def test_a_stream_is_found_when_one_before_it_is_gone():
    connection = Http2Connection()
    connection.feed(OPENING + headers(1) + headers(3) + headers(19))
    connection.reset(1, ErrorCode.CANCEL)
    assert (connection.state(3), connection.state(19)) == (OPEN, OPEN)


# ---- content-length, §8.1.1 ----


@pytest.mark.parametrize(
    "parts", [[data(content=b"abcde", ends=True)], [data(content=b"abc"), data(content=b"de", ends=True)]]
)
def test_content_as_long_as_it_said_is_taken(connection, parts):
    connection.feed(headers())
    assert connection.expect_content(1, 5) == 0
    assert [event.error for event in connection.feed(b"".join(parts))] == [0] * len(parts)


@pytest.mark.parametrize(
    "last",
    [
        data(content=b"abcdef"),
        data(content=b"abcd", ends=True),
        data(content=b"", ends=True),
        headers(block=b"trailers", ends=True),
    ],
)
def test_content_of_another_length_fails_the_stream(connection, last):
    connection.feed(headers())
    connection.expect_content(1, 5)
    event = one(connection.feed(last))
    assert (event.kind is not FrameEvent.FAILED, event.error) == (True, ErrorCode.PROTOCOL_ERROR)
    assert connection.state(1) == CLOSED


def test_padding_is_no_content(connection):
    connection.feed(headers())
    connection.expect_content(1, 2)
    event = one(connection.feed(frame(FrameType.DATA, b"\x03ab\0\0\0", stream=1, flags=PADDED | 1)))
    assert said(event) == (FrameEvent.CONTENT, 1, b"ab", True, 0)


@pytest.mark.parametrize(("length", "error"), [(0, 0), (5, ErrorCode.PROTOCOL_ERROR)])
def test_a_request_that_has_no_content_is_as_long_as_it_said(connection, length, error):
    connection.feed(headers(ends=True))
    assert connection.expect_content(1, length) == error


# ---- the end of a connection, §6.8 ----


def last_stream_and_code(sent):
    assert sent[:9] == b"\0\0\x08\x07\0\0\0\0\0"
    return struct.unpack("!II", sent[9:])


def test_the_first_goaway_names_no_stream(connection):
    connection.feed(headers())
    connection.warn()
    assert last_stream_and_code(connection.take()) == (2**31 - 1, 0)
    assert one(connection.feed(headers(3))).kind is FrameEvent.REQUEST


def test_the_last_goaway_names_the_last_stream(connection):
    connection.feed(headers())
    connection.warn()
    connection.take()
    connection.feed(headers(3))
    connection.leave()
    assert last_stream_and_code(connection.take()) == (3, 0)


def test_no_goaway_names_a_higher_stream_than_an_earlier_one(connection):
    connection.feed(headers(1))
    connection.leave()
    connection.feed(headers(3))
    connection.take()
    connection.leave(ErrorCode.INTERNAL_ERROR)
    assert last_stream_and_code(connection.take()) == (1, ErrorCode.INTERNAL_ERROR)


def test_streams_after_the_last_goaway_are_ignored_and_others_served(connection):
    connection.feed(headers(1))
    connection.leave()
    late = connection.feed(headers(3) + data(3) + window_update(3) + reset(3) + data(3))
    kinds = [FrameEvent.DISCARDED] + [FrameEvent.IGNORED] * 4
    assert [(event.kind, event.error) for event in late] == [(kind, 0) for kind in kinds]
    assert one(connection.feed(data(1))).kind is FrameEvent.CONTENT


def test_a_goaway_of_the_peers_is_told(connection):
    event = one(connection.feed(goaway(7, ErrorCode.INTERNAL_ERROR)))
    assert (event.kind, event.last, event.number) == (FrameEvent.PEER_LEAVES, 7, ErrorCode.INTERNAL_ERROR)


def test_a_ping_is_told_and_answered(connection):
    assert said(one(connection.feed(ping(b"abcdefgh")))) == (FrameEvent.PINGED, 0, b"abcdefgh", False, 0)
    connection.pong(b"abcdefgh")
    assert connection.take() == ping(b"abcdefgh", flags=ACK)
    assert one(connection.feed(ping(flags=ACK))).kind is FrameEvent.PONGED


# ---- mistakes of a session's ----


@pytest.mark.parametrize("stream", [1, 3])
def test_nothing_is_sent_on_a_stream_that_is_not_open(connection, stream):
    connection.feed(headers(1) + reset(1))
    for send in (connection.send_block, connection.send_data):
        with pytest.raises(LookupError, match=f"stream {stream} is not open"):
            send(stream, b"")
    assert connection.take() == b""


def test_a_pong_has_eight_bytes(connection):
    with pytest.raises(ValueError, match="8 bytes"):
        connection.pong(b"1234567")
