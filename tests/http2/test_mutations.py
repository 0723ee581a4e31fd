"""Frames made at random: what is told does not depend on how they arrive, and nothing leaves its bounds."""

import random

import pytest
from conformance.http2_frames import OPEN, frame

from pyserver._frames import ErrorCode, FrameEvent, Http2Connection

WINDOWS = range(-(2**31), 2**31)


def frames(rng):
    """Frames that are well-formed rather often, on few streams."""
    lengths = {2: 5, 3: 4, 4: 6, 6: 8, 7: 8, 8: 4}
    block = 0  # the stream whose field block is under way
    for _ in range(rng.randrange(1, 60)):
        kind = rng.choice((0, 0, 0, 1, 1, 1, 2, 3, 4, 6, 7, 8, 8, 99)) if rng.random() < 0.98 else rng.choice((5, 9))
        if block and rng.random() < 0.98:
            kind = 9
        length = lengths.get(kind, rng.choice((0, 1, 6, 30))) if rng.random() < 0.98 else rng.randrange(20)
        stream = 0 if kind in (4, 6, 7) else block or rng.choice((1, 1, 3, 5, 7, 9, 2 * rng.randrange(20) + 1))
        if rng.random() < 0.01:
            stream = rng.choice((0, 2, 2**31 + 1, 2**32 - 1))
        flags = rng.choice((0, 0, 1, 4)) if kind not in (1, 9) else rng.choice((0, 4, 4, 4, 5, 5, 44, 255))
        if kind in (1, 9):
            block = 0 if flags & 4 else stream
        yield frame(kind, bytes(rng.choice((0, 0, 0, 1, 4)) for _ in range(length)), stream=stream, flags=flags)


def parts_of(rng, sent):
    while sent:
        length = rng.choice((1, 2, 9, 40, 400))
        yield sent[:length]
        sent = sent[length:]


def judge(parts):
    """What is told; and whether the bounds are kept."""
    connection = Http2Connection(streams=5, block=100, credit=300)
    connection.begin()
    told = []
    for part in parts:
        for event in connection.feed(part):
            told.append(repr(event))
            assert (event.kind is FrameEvent.FAILED) <= (event.error is not ErrorCode.NO_ERROR)
            if event.error and event.kind is not FrameEvent.FAILED:
                assert connection.state(event.stream) != "open"
        assert connection.open_streams <= 5
        for stream in range(1, 101, 2):
            if connection.state(stream) in ("open", "half-closed (remote)"):
                assert all(window in WINDOWS for window in connection.windows(stream))
    return told


@pytest.mark.parametrize("seed", range(10))
def test_nothing_depends_on_how_frames_arrive(seed):
    rng = random.Random(seed)
    for _ in range(60):
        sent = OPEN + b"".join(frames(rng))
        assert judge(parts_of(rng, sent)) == judge([sent])
