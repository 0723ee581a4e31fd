"""Frames that break a rule, or look as if they did: every row of the table, whole and in parts."""

import pytest
from conformance.http2_frames import CASES, OPENING, PREFACE, error_of, frame, ping, settings

from pyserver._frames import ErrorCode, FrameEvent, Http2Connection


@pytest.fixture(params=CASES.values(), ids=CASES.keys())
def case(request):
    return request.param


def seen(events):
    """All that the events say, to be compared."""
    return [(e.kind, e.stream, e.payload, e.ends, e.number, e.last, e.error) for e in events]


def test_a_row_is_judged_as_it_says(case):
    assert error_of(case.judge([case.send])) == (case.error, case.stream)


def test_nothing_before_the_last_frame_is_wrong(case):
    assert {event.error for event in case.judge([case.send])[:-1]} <= {ErrorCode.NO_ERROR}


def test_a_row_is_judged_the_same_byte_by_byte(case):
    # A frame of thousands of bytes is copied with each of them.
    step = 1 if len(case.send) < 1000 else 997
    parts = [case.send[at : at + step] for at in range(0, len(case.send), step)]
    assert seen(case.judge(parts)) == seen(case.judge([case.send]))


def test_a_row_is_judged_the_same_in_any_two_parts(case):
    whole = seen(case.judge([case.send]))
    for at in range(1, len(case.send), 1 if len(case.send) < 1000 else 997):
        assert seen(case.judge([case.send[:at], case.send[at:]])) == whole, at


def test_a_preface_is_refused_at_its_first_wrong_byte():
    connection = Http2Connection()
    assert connection.feed(PREFACE[:4]) == []
    (event,) = connection.feed(b"x")
    assert (event.kind, event.error) == (FrameEvent.FAILED, ErrorCode.PROTOCOL_ERROR)


def test_a_frame_over_the_limit_is_refused_by_its_head():
    connection = Http2Connection()
    connection.feed(OPENING)
    (event,) = connection.feed(frame(0, stream=1, length=16385))
    assert event.error is ErrorCode.FRAME_SIZE_ERROR


def test_nothing_is_looked_at_behind_a_failure():
    connection = Http2Connection()
    connection.feed(OPENING + ping(b"short"))
    assert connection.feed(ping()) == []


def test_the_larger_frames_that_we_allow_come_after_the_acknowledgement():
    connection = Http2Connection(frame=20000)
    connection.begin()
    connection.feed(OPENING + settings(flags=1))
    (event,) = connection.feed(frame(77, bytes(20000)))
    assert event.kind is FrameEvent.IGNORED
    (event,) = connection.feed(frame(77, bytes(20001)))
    assert event.error is ErrorCode.FRAME_SIZE_ERROR
