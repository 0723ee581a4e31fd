"""The gevent worker: the hub waits on the engine, and each request runs in a greenlet of its own.

Nothing of gevent is imported with this module, which the arbiter imports, too.
"""

from __future__ import annotations

import faulthandler
import importlib.util
import signal
import sys
import time
from typing import TYPE_CHECKING

from pyserver._scoreboard import Cell
from pyserver._signals import pass_on
from pyserver.errors import ConfigError, RequestTimeout
from pyserver.signals import STACKS_SIGNAL
from pyserver.workers.engine import EngineWorker, build_engine, wsgi_gateway
from pyserver.workers.patching import patch, warn_of_early_imports

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from pyserver._engine import Engine
    from pyserver._lane import Lane
    from pyserver.settings.model import Settings
    from pyserver.workers.app import Application
    from pyserver.workers.hub import Request

_LAST_SECONDS = 0.2  # that requests have to end when the worker quits
_KEPT_STACKS = 128  # 2 MB
_MOST_TOLD = 5  # slow requests at once


class GeventWorker(EngineWorker):
    """Serves up to `worker_connections` requests at the same time.

    The main greenlet waits for verbs, for what the arbiter says and for its end. What it calls may wait, as a hook
    does; in the hub nothing may.
    """

    ends_requests = True
    runs_hub = True

    @classmethod
    def check(cls, settings: Settings) -> None:
        """Raise ConfigError where gevent is missing or could not wait on the engine, too."""
        super().check(settings)
        if importlib.util.find_spec("gevent") is None:
            raise ConfigError("worker_class gevent needs the package gevent, which is missing: pip install gevent")
        if settings.poller == "poll" or sys.platform != "linux":
            raise ConfigError("worker_class gevent needs poller epoll: gevent cannot wait on any other that is here")

    @classmethod
    def rows(cls, settings: Settings) -> int:
        """One for each request that runs."""
        return settings.worker_connections

    @classmethod
    def load(cls, spec: str) -> Application:
        """The application, which finds a cooperative standard library; raises BootError."""
        patch()
        return super().load(spec)

    @classmethod
    def prepare_to_fork(cls) -> set[int]:
        """End the threads that names were looked up in; the hub's descriptor."""
        import gevent

        hub = gevent.get_hub()
        hub.threadpool.kill()
        # Both are made anew when they are needed.
        del hub.threadpool, hub.resolver
        return {hub.loop.fileno()}

    def prepare(self) -> None:
        """Have hooks and application find a cooperative standard library."""
        patch()
        warn_of_early_imports(self.log)

    def boot(self) -> None:
        """Have the hub wait on the engine."""
        import gevent

        from pyserver._stacks import keep_stacks
        from pyserver.workers.hub import EngineWatcher, MainGreenlet, Requests
        from pyserver.workers.precise import give_alarm

        # The mold, of which this process may be a copy, may have used its hub.
        gevent.reinit()
        keep_stacks(_KEPT_STACKS)
        give_alarm(gevent.get_hub().loop)
        # With the first child it would come too late for one that ends at once.
        gevent.get_hub().loop.install_sigchld()
        self._main = MainGreenlet(self.log)
        super().boot()
        # While a greenlet computes, nobody else obeys.
        self.react("retire", self._engine.guard_listeners())
        self._requests = Requests(self._engine, self.log)
        self._watcher = EngineWatcher(self._engine, self._requests, self._main.end, self.log)
        self._catch_stacks_signal()

    def watch(self, fd: int, callback: Callable[[], None]) -> None:
        """Have the main greenlet call back."""
        self._main.watch(fd, callback)

    def unwatch(self, fd: int) -> None:
        """Have it call back no more."""
        self._main.unwatch(fd)

    def run(self) -> None:
        """Let the hub serve until told to go."""
        self._watcher.start()
        self._main.run()

    def drain(self) -> None:
        """Pass on what the worker was told."""
        super().drain()
        self._watcher.wake()

    def quit(self) -> None:
        """Pass on what the worker was told; requests that it cuts off are told as well."""
        super().quit()
        self._requests.kill(_LAST_SECONDS)
        self._watcher.wake()

    def relieve(self) -> None:
        """End the requests that are over their time, each by an exception in its greenlet."""
        latest_ns = time.monotonic_ns() - self.scoreboard.read(self.slot, Cell.TIMEOUT_NS)
        for lane, request in self._requests.begun():
            if lane.alive_ns <= latest_ns:
                self.log.error("Request %s", self._described(lane, request, "is ended, where it waits"))
                request.kill(RequestTimeout, block=False)

    def _catch_stacks_signal(self) -> None:
        """Have the signal tell of greenlets, too, after faulthandler has told of what runs."""
        faulthandler.unregister(STACKS_SIGNAL)
        signal.signal(STACKS_SIGNAL, self._tell_of_slow)
        faulthandler.register(STACKS_SIGNAL, self.log.fileno(), all_threads=True, chain=False)
        pass_on(STACKS_SIGNAL)

    def _tell_of_slow(self, _number: int, _frame: FrameType | None) -> None:
        latest_ns = time.monotonic_ns() - int(self.settings.slow_request * 1e9)
        slow = [(lane, request) for lane, request in self._requests.begun() if lane.busy_since_ns <= latest_ns]
        for lane, request in slow[:_MOST_TOLD]:
            # One that does not wait is what faulthandler has seen.
            if request.gr_frame is not None:
                self.log.warning("Request %s", self._described(lane, request, "waits"))

    def _described(self, lane: Lane, request: Request, what: str) -> str:
        line, peer = (read(self.slot, lane.number) for read in (self.scoreboard.request_line, self.scoreboard.peer))
        return f"{line} from {peer} {what} (most recent call last):\n{request.stack()}"

    def _new_engine(self) -> Engine:
        from pyserver.workers.hub import stay_out

        capacity = self.rows(self.settings)
        gateway = wsgi_gateway(self, multithread=capacity > 1, before_leaving=stay_out)
        return build_engine(self, self._access, gateway, capacity=capacity)
