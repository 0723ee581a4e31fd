"""A loop for gevent whose short timers end in time.

libev waits for whole milliseconds, and for one at least. So greenlets that sleep equally long come to wake together,
are in each other's way, and sleep together again: `time.sleep(0.01)` takes 11 ms to 12 when 64 requests do it.

Imported by processes that are gevent workers, or their mold.
"""

from __future__ import annotations

import os
from heapq import heappop, heappush
from time import monotonic_ns
from typing import Any

import gevent
from gevent.libev import corecext

from pyserver._alarm import new_alarm, set_alarm

_READ = 1
_SHORT = 0.05  # seconds; to what lasts longer, a millisecond makes no difference
_STEP_NS = 25_000  # timers that end within it end together
_START_NS = 10_000  # between the making of a timer and its start


class PreciseLoop(corecext.loop):  # type: ignore[misc]
    """As libev's, but that its wait ends when a short timer does."""

    alarm: Alarm | None = None

    def timer(self, after: float, repeat: float = 0.0, ref: bool = True, priority: int | None = None) -> Any:
        """A watcher that ends after so many seconds, and as often as it is told."""
        if self.alarm is not None and 0 < after < _SHORT:
            self.alarm.note(after)
        return corecext.timer(self, after, repeat, ref, priority)

    def lose_alarm(self) -> None:
        """End timers as libev does from now on."""
        if self.alarm is not None:
            self.alarm.is_over, self.alarm = True, None


class Alarm:
    """A descriptor that the loop watches, and that can be read whenever a short timer ends.

    Args:
        loop: of this process.
    """

    def __init__(self, loop: PreciseLoop) -> None:
        self._fd = new_alarm()
        self._steps: list[int] = []  # a heap of those in which timers end
        self._last = 0
        self.is_over = False
        self._io = loop.io(self._fd, _READ, ref=False)
        self._io.start(self._ring)

    def note(self, after: float) -> None:
        """A timer ends in so many seconds, unless it is stopped; then the loop turns once for nothing."""
        step = (monotonic_ns() + int(after * 1e9) + _START_NS) // _STEP_NS + 1
        if step != self._last:
            self._last = step
            if not self._steps or step < self._steps[0]:
                set_alarm(self._fd, step * _STEP_NS)
            heappush(self._steps, step)

    def _ring(self) -> None:
        if self.is_over:
            # The loop still watches it, and it is the parent's.
            self._io.stop()
            return
        now = monotonic_ns() // _STEP_NS
        while self._steps and self._steps[0] <= now:
            heappop(self._steps)
        # It cannot be read again before.
        set_alarm(self._fd, self._steps[0] * _STEP_NS if self._steps else 0)


def choose_loop() -> None:
    """Have hubs made with a PreciseLoop, unless somebody has chosen another than gevent does by itself."""
    if gevent.config.loop is corecext.loop:
        gevent.config.loop = PreciseLoop


def give_alarm(loop: object) -> None:
    """Let a PreciseLoop have its alarm in this process; a child of it has none, because they would share it."""
    if isinstance(loop, PreciseLoop):
        loop.alarm = Alarm(loop)
        os.register_at_fork(after_in_child=loop.lose_alarm)
