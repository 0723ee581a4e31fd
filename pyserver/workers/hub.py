"""An engine on gevent's hub: what waits on it, and the greenlets that its requests run in.

Imported by workers, after patch().
"""

from __future__ import annotations

import math
import os
import time
from typing import TYPE_CHECKING, Any

import gevent
from gevent import GreenletExit
from gevent.exceptions import LoopExit
from gevent.hub import Waiter
from gevent.queue import Queue

from pyserver.errors import PollerError, RequestEnded

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyserver._engine import Engine
    from pyserver._lane import Lane
    from pyserver.log import ErrorLog

_READ = 1
# How long the engine is asked for more, seconds, before the hub has its turn: that takes more system calls.
_SPELL = 0.002


class _Process:
    """Whether this process is the worker, or one that the application has forked: what is here is the worker's then."""

    is_child = False
    forked: Any = None  # the greenlet whose process the child is

    @classmethod
    def note_fork(cls) -> None:
        cls.is_child, cls.forked = True, gevent.getcurrent()


os.register_at_fork(after_in_child=_Process.note_fork)


def stay_out() -> None:
    """In a forked child, return to the greenlet that forked only: the others are copies, and end nothing."""
    while gevent.getcurrent() is not _Process.forked:
        gevent.get_hub().switch()


class MainGreenlet:
    """Calls back from the main greenlet, which may wait, what is noticed in the hub, where nothing may.

    Args:
        log: gets what signal handlers and greenlets of the application raise there.
    """

    def __init__(self, log: ErrorLog) -> None:
        self._log = log
        self._loop = gevent.get_hub().loop
        self._watched: dict[int, tuple[Any, Callable[[], None]]] = {}
        self._noticed = Queue()
        self._is_over = False
        self._failure: BaseException | None = None

    def watch(self, fd: int, callback: Callable[[], None]) -> None:
        """Call back whenever `fd` can be read."""
        watcher = self._loop.io(fd, _READ)
        self._watched[fd] = watcher, callback
        watcher.start(self._notice, fd)

    def unwatch(self, fd: int) -> None:
        """Call back no more."""
        self._watched.pop(fd)[0].close()

    def run(self) -> None:
        """Call back until end(); in the main greenlet."""
        while not self._is_over:
            fd = self._wait()
            if fd in self._watched:
                watcher, callback = self._watched[fd]
                callback()
                if self._watched.get(fd, ())[:1] == (watcher,):
                    watcher.start(self._notice, fd)
        if self._failure is not None:
            raise self._failure

    def end(self, failure: BaseException | None = None) -> None:
        """Have run() return, or raise `failure`."""
        self._is_over, self._failure = True, failure
        self._noticed.put(-1)

    def _notice(self, fd: int) -> None:
        # It can be read until the main greenlet has done so.
        self._watched[fd][0].stop()
        if not _Process.is_child:
            self._noticed.put(fd)

    def _wait(self) -> int:
        try:
            fd: int = self._noticed.get()
        except (LoopExit, GreenletExit):
            raise
        except BaseException:
            # It is here that gevent raises what nobody else is there for.
            self._log.exception("A signal handler, or what runs beside the requests, has failed")
            return -1
        return fd


class EngineWatcher:
    """Has the hub call the engine when there is something to do for it.

    Args:
        engine: to be called.
        requests: which the engine has brought.
        end: called, in the hub, when the engine is done, or with the error that it cannot go on after.
        log: gets what signal handlers of the application raise.
    """

    def __init__(
        self, engine: Engine, requests: Requests, end: Callable[[BaseException | None], None], log: ErrorLog
    ) -> None:
        self._engine = engine
        self._log = log
        self._requests = requests
        self._end = end
        self._loop = gevent.get_hub().loop
        self._io = self._loop.io(engine.fileno(), _READ)
        self._timer = self._loop.timer(0)
        self._due = math.inf  # when the timer ends
        self._awaited: Any = None  # the callback that is to come
        engine.on_wake = self.wake

    def start(self) -> None:
        """Begin."""
        self._io.start(self._turn)
        self.wake()

    def wake(self) -> None:
        """Call the engine soon, though its descriptor may show nothing."""
        if self._awaited is None or not self._awaited.pending:
            self._awaited = self._loop.run_callback(self._turn)

    def _turn(self) -> None:
        """In the hub."""
        if _Process.is_child:
            # Its hub is a copy, and what waits at the engine are the clients of its parent.
            self._io.stop()
            self._timer.stop()
            return
        is_done, error = False, None
        try:
            self._serve_for(_SPELL)
            self._set_timer(self._engine.next_wait_ms())
            is_done = self._engine.is_done
        except PollerError as caught:
            is_done, error = True, caught
        except BaseException:
            # Of a signal handler that the application installed: here is where Python runs it in a busy worker.
            self._log.exception("A signal handler raised an exception")
            self.wake()
        if is_done:
            self._io.stop()
            self._timer.stop()
            self._end(error)

    def _serve_for(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while self._requests.begin(until):
            before = self._engine.running
            self._engine.run_ready(0)
            # Of several requests at once, others are likely to have followed.
            if self._engine.running < before + 2:
                break
        if not self._requests.begin(until):
            self.wake()

    def _set_timer(self, wait_ms: int) -> None:
        """Have another turn in so many milliseconds; -1: there is no need for one."""
        if wait_ms == 0:
            self.wake()
        elif wait_ms > 0:
            due = time.monotonic() + wait_ms / 1000
            # Most deadlines are never reached. A timer that ends too early finds the next one, and is not set anew for
            # each request.
            if due < self._due:
                self._due = due
                self._timer.close()
                self._timer = self._loop.timer(wait_ms / 1000)
                self._timer.start(self._end_wait, update=True)

    def _end_wait(self) -> None:
        self._due = math.inf
        self._turn()


class Request(gevent.Greenlet):  # type: ignore[misc]
    """What a request runs in. It is begun by the hub, whose stack tells nobody anything."""

    spawning_stack_limit = 0

    def stack(self) -> str:
        """Where it waits, the last call last."""
        import traceback

        return "".join(traceback.format_stack(self.gr_frame)).rstrip()


class RequestCut(GreenletExit, RequestEnded):  # type: ignore[misc]
    """The worker was told to quit."""

    why = "the server was told to quit"


class Requests:
    """The greenlets of the requests that run.

    Args:
        engine: which has them run.
        log: gets what is wrong with us; what is wrong with the application is logged already.
    """

    def __init__(self, engine: Engine, log: ErrorLog) -> None:
        self._log = log
        self._running: dict[Lane, Request] = {}
        self._ready: list[Request] = []
        self._waiting: dict[Lane, Waiter] = {}
        self._loop = gevent.get_hub().loop
        engine.on_request = self._note_request
        engine.on_full = self._wait_for_room
        engine.on_room = self._note_room

    def begin(self, until: float) -> bool:
        """Begin those that the engine had in its last turn; whether time has not run out, with some of them left.

        Called in the hub, which goes on here whenever one has to wait, or ends. The engine has no other turn before all
        have begun.

        If requests hang that have come for whatever reason, the rest of them are here as well when a new worker begins,
        and were here before those that others have sent since. So the last come first, and what hangs takes the others
        of its kind with it instead of one worker after the other.
        """
        while self._ready and not _Process.is_child:
            if time.monotonic() > until:
                return False
            self._ready.pop().switch()
        return not _Process.is_child

    def begun(self) -> list[tuple[Lane, Request]]:
        """Those that run, the oldest first, each with its lane."""
        begun = [(lane, one) for lane, one in self._running.items() if lane.busy_since_ns]
        return sorted(begun, key=lambda pair: pair[0].busy_since_ns)

    def kill(self, seconds: float) -> None:
        """End all of them, and wait at most so long for what they have to do yet."""
        running = list(self._running.values())
        gevent.killall(running, RequestCut, block=False)
        gevent.joinall(running, timeout=seconds)

    def _note_request(self, lane: Lane) -> None:
        request = self._running[lane] = Request(self._serve, lane)
        self._ready.append(request)

    def _serve(self, lane: Lane) -> None:
        try:
            lane.serve()
        except BaseException:
            # The hub would print it.
            self._log.exception("A request could not be served")
        finally:
            del self._running[lane]

    def _wait_for_room(self, lane: Lane) -> None:
        waiter = self._waiting[lane] = Waiter()
        try:
            waiter.get()
        finally:
            del self._waiting[lane]

    def _note_room(self, lane: Lane) -> None:
        waiter = self._waiting.get(lane)
        if waiter is not None:
            # Not at once: the engine is in the middle of this connection's turn.
            self._loop.run_callback(waiter.switch, None)
