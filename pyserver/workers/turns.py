"""An engine on an event loop of asyncio: what calls it when there is something to do, and where its requests wait.

Imported by workers that have such a loop.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import math
import traceback
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any

from pyserver.errors import PollerError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyserver._engine import Engine
    from pyserver.log import ErrorLog


class EngineTurns:
    """Has the loop call the engine when there is something to do for it.

    Args:
        engine: to be called.
        loop: that watches it.
        end: called in the loop when the engine is done, or with the error that it cannot go on after.
        log: gets what signal handlers of the application raise.
    """

    def __init__(
        self,
        engine: Engine,
        loop: asyncio.AbstractEventLoop,
        end: Callable[[BaseException | None], None],
        log: ErrorLog,
    ) -> None:
        self._engine = engine
        self._loop = loop
        self._end = end
        self._log = log
        self._is_awaited = False  # a turn is to come by itself
        self._is_over = False
        self._due = math.inf  # when the timer ends, by the loop's clock
        self._timer: asyncio.TimerHandle | None = None
        # A turn may be asked for by a request, and what it brings is none of that one's.
        self._context = contextvars.copy_context()
        engine.on_wake = self.wake

    def start(self) -> None:
        """Begin."""
        self._loop.add_reader(self._engine.fileno(), self._turn)
        self.wake()

    def wake(self) -> None:
        """Call the engine soon, though its descriptor may show nothing."""
        if not self._is_awaited and not self._is_over:
            self._is_awaited = True
            self._loop.call_soon(self._awaited_turn, context=self._context)

    def stop(self) -> None:
        """Call it no more."""
        if self._is_over:
            return
        self._is_over = True
        self._loop.remove_reader(self._engine.fileno())
        if self._timer is not None:
            self._timer.cancel()

    def _awaited_turn(self) -> None:
        self._is_awaited = False
        self._turn()

    def _turn(self) -> None:
        if self._is_over:
            return
        engine, error = self._engine, None
        try:
            engine.run_ready(0)
            self._set_timer(engine.next_wait_ms())
            if not engine.is_done:
                return
        except PollerError as caught:
            error = caught
        except Exception:
            # Of a signal handler that the application installed: here is where Python runs it in a busy worker.
            self._log.exception("A signal handler raised an exception")
            self.wake()
            return
        self.stop()
        self._end(error)

    def _set_timer(self, wait_ms: int) -> None:
        """Have another turn in so many milliseconds; -1: there is no need for one."""
        if wait_ms == 0:
            self.wake()
        elif wait_ms > 0:
            due = self._loop.time() + wait_ms / 1000
            # Most deadlines are never reached. A timer that ends too early finds the next one, and is not set anew for
            # each request.
            if due < self._due:
                if self._timer is not None:
                    self._timer.cancel()
                self._due = due
                self._timer = self._loop.call_at(due, self._end_wait, context=self._context)

    def _end_wait(self) -> None:
        self._due, self._timer = math.inf, None
        self._turn()


def stack_of(awaited: Any) -> str:
    """Where a coroutine waits, the last call last: through all that it awaits, also in tasks of their own."""
    frames = [(frame, frame.f_lineno) for frame in _frames(awaited)]
    return "".join(traceback.StackSummary.extract(iter(frames)).format()).rstrip()


def _frames(awaited: Any) -> Iterator[FrameType]:
    seen: set[int] = set()
    while awaited is not None and id(awaited) not in seen:
        seen.add(id(awaited))
        if isinstance(awaited, asyncio.Task):
            awaited = awaited.get_coro()
        for kind in ("cr", "gi", "ag"):
            frame = getattr(awaited, f"{kind}_frame", None)
            if frame is not None:
                yield frame
                awaited = getattr(awaited, "gi_yieldfrom" if kind == "gi" else f"{kind}_await", None)
                break
        else:
            # The iterator of a future does not say whose it is, but the collector knows.
            awaited = next((one for one in gc.get_referents(awaited) if isinstance(one, asyncio.Task)), None)
