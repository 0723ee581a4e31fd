"""The asgi worker: an event loop waits on the engine, and each request runs as a task of it.

Neither asyncio nor uvloop is imported with this module, which the arbiter imports, too.
"""

from __future__ import annotations

import contextlib
import faulthandler
import importlib.util
import os
import re
import signal
import socket
import sys
import time
from typing import TYPE_CHECKING

from pyserver._scoreboard import Cell
from pyserver._signals import pass_on
from pyserver.errors import ConfigError, RequestTimeout
from pyserver.signals import STACKS_SIGNAL
from pyserver.workers.engine import EngineWorker, build_engine

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from types import FrameType

    from pyserver._asgi import ASGIGateway
    from pyserver._call import Call
    from pyserver._engine import Engine
    from pyserver.settings.model import Settings
    from pyserver.workers.app import Application
    from pyserver.workers.broken import Page
    from pyserver.workers.quic import QuicEndpoint

_LAST_SECONDS = 0.1  # that requests have to end when the worker quits, and then the application
_MOST_TOLD = 5  # slow requests at once
_BETWEEN_CLOSES = 0.01  # seconds between two WebSockets that are told to come back …
_CLOSING_SHARE = 0.5  # … unless there are so many that this part of the graceful timeout would not be enough
_STREAMING_SHARE = 0.75  # of the graceful timeout, after which streams are told that it ends
_LAST_WORD = 0.2  # seconds before the end of the graceful timeout, when clients of QUIC hear that it is over
_AIOQUIC_FROM, _AIOQUIC_BELOW = (1, 7), (2, 0)  # as pyproject.toml says


class ASGIWorker(EngineWorker):
    """Serves up to `worker_connections` requests at the same time, and any number of WebSockets."""

    interfaces = ("asgi",)
    protocols = ("h1", "h2", "h3")
    ends_requests = True
    _endpoint: QuicEndpoint | None = None  # where HTTP/3 is spoken

    @classmethod
    def check(cls, settings: Settings) -> None:
        """Raise ConfigError where the loop is missing or could not wait on the engine."""
        super().check(settings)
        cls.check_loop(settings)

    @classmethod
    def check_loop(cls, settings: Settings) -> None:
        """The part of `check` that no other class of the engine has."""
        if settings.asgi_loop == "uvloop" and importlib.util.find_spec("uvloop") is None:
            raise ConfigError("asgi_loop is uvloop, which is missing: pip install uvloop, or take --loop asyncio")
        if settings.poller == "poll" or sys.platform != "linux":
            raise ConfigError(
                "worker_class asgi needs poller epoll, which Linux has; elsewhere ASGI is served with -k uvicorn"
            )
        if settings.quic_bind:
            _check_aioquic()

    @classmethod
    def rows(cls, settings: Settings) -> int:
        """One for each request that runs."""
        return settings.worker_connections

    @classmethod
    def stand_in(cls, page: Page) -> Application:
        """What answers every request with the page, by ASGI."""
        from pyserver.workers.broken import asgi_application

        return asgi_application(page)

    def boot(self) -> None:
        """Load the application, have the loop wait on the engine, and complete the application's startup."""
        from pyserver.lifespan import Lifespan
        from pyserver.workers.turns import EngineTurns

        self._loop = _new_loop(self.settings.asgi_loop)
        self._failure: BaseException | None = None
        self._ending: asyncio.Task[None] | None = None
        super().boot()
        # While a task computes, nobody else obeys.
        self.react("retire", self._engine.guard_listeners())
        self._lifespan = Lifespan(self.application, self.log, self.settings.asgi_lifespan)
        self._loop.run_until_complete(self._lifespan.start())
        self.gateway.state = self._lifespan.state
        self._turns = EngineTurns(self._engine, self._loop, self._end, self.log)
        self._catch_stacks_signal()
        if self.quic is not None:
            # What few need is not imported for all.
            from pyserver.workers.quic import QuicEndpoint

            self._endpoint = QuicEndpoint(self, self.quic, self._engine, self._loop)

    def watch(self, fd: int, callback: Callable[[], None]) -> None:
        """Have the event loop call back."""
        self._loop.add_reader(fd, callback)

    def unwatch(self, fd: int) -> None:
        """Have it call back no more."""
        self._loop.remove_reader(fd)

    def run(self) -> None:
        """Let the loop serve until told to go, and tell the application."""
        import asyncio

        self._turns.start()
        if self._endpoint is not None:
            self._endpoint.start()
        self._loop.run_forever()
        if self._endpoint is not None:
            self._endpoint.close()
        if self._failure is not None:
            raise self._failure
        seconds: float | None = self.settings.lifespan_timeout or None
        if self.is_quitting:
            seconds = _LAST_SECONDS
            self._cancel_requests()
        self._ending = self._loop.create_task(self._lifespan.end(seconds))
        with contextlib.suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._ending)
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())

    def drain(self) -> None:
        """Have the engine accept no more, and tell who stays for long."""
        if self._endpoint is not None:
            self._endpoint.retire()
            # No end of a socket tells them.
            self._loop.call_later(max(self.settings.graceful_timeout - _LAST_WORD, 0), self._endpoint.close)
        super().drain()
        sockets = [call for call in self._engine.calls if call.is_websocket]
        window = self.settings.graceful_timeout * _CLOSING_SHARE
        gap = min(_BETWEEN_CLOSES, window / max(len(sockets), 1))
        for at, call in enumerate(sockets):
            # One after the other, so that clients do not all come back at once.
            self._loop.call_later(at * gap, call.leave)
        self._loop.call_later(self.settings.graceful_timeout * _STREAMING_SHARE, self._tell_streams)
        self._turns.wake()

    def quit(self) -> None:
        """Cut off what is open; requests that this cuts off are told as well."""
        super().quit()
        self._turns.stop()
        if self._ending is not None:
            self._ending.cancel()
        else:
            self._loop.stop()

    def relieve(self) -> None:
        """End the requests that are over their time, each by cancelling its task."""
        latest_ns = time.monotonic_ns() - self.scoreboard.read(self.slot, Cell.TIMEOUT_NS)
        for call in self._engine.calls:
            if call.busy_since_ns and call.alive_ns <= latest_ns:
                self.log.error("Request %s", self._described(call, "is ended, where it waits"))
                call.end(RequestTimeout())

    def _new_engine(self) -> Engine:
        self.gateway = self._new_gateway()
        return build_engine(
            self, self._access, self.gateway, capacity=self.settings.worker_connections, streams=True
        )

    def watched(self) -> Application:
        """The application, with the hooks of requests around it where there are any."""
        return self.application if self.hooks is None else self.hooks.watch_calls(self.application)

    def _new_gateway(self) -> ASGIGateway:
        from pyserver._asgi import ASGIGateway
        from pyserver._websocket import Deflate

        settings = self.settings
        return ASGIGateway(
            self.watched(),
            self._loop,
            # Those of HTTP/3 come behind.
            [_server(one) for one in (*self.listeners, *(self.quic.sockets if self.quic is not None else ()))],
            log=self.log,
            root_path=settings.root_path,
            keeps_underscores=settings.header_map == "dangerous",
            secure_scheme_headers=settings.secure_scheme_headers,
            sends_files=settings.sendfile,
            deflate=Deflate() if settings.ws_per_message_deflate else None,
            max_message=settings.websocket_max_message_size,
            max_queue=settings.ws_max_queue,
        )

    def _end(self, failure: BaseException | None) -> None:
        self._failure = failure
        self._loop.stop()

    def _tell_streams(self) -> None:
        for call in self._engine.calls:
            call.leave()

    def _cancel_requests(self) -> None:
        import asyncio

        tasks = [call.task for call in self._engine.calls if call.task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            self._loop.run_until_complete(asyncio.wait(tasks, timeout=_LAST_SECONDS))

    def _catch_stacks_signal(self) -> None:
        """Have the signal tell of tasks, too, after faulthandler has told of what runs."""
        faulthandler.unregister(STACKS_SIGNAL)
        signal.signal(STACKS_SIGNAL, self._tell_of_slow)
        faulthandler.register(STACKS_SIGNAL, self.log.fileno(), all_threads=True, chain=False)
        pass_on(STACKS_SIGNAL)

    def _tell_of_slow(self, _number: int, _frame: FrameType | None) -> None:
        latest_ns = time.monotonic_ns() - int(self.settings.slow_request * 1e9)
        slow = [call for call in self._engine.calls if 0 < call.busy_since_ns <= latest_ns and not call.cr_running]
        for call in slow[:_MOST_TOLD]:
            self.log.warning("Request %s", self._described(call, "waits"))

    def _described(self, call: Call, what: str) -> str:
        from pyserver.workers.turns import stack_of

        line, peer = (read(self.slot, call.number) for read in (self.scoreboard.request_line, self.scoreboard.peer))
        return f"{line} from {peer} {what} (most recent call last):\n{stack_of(call)}"


def _check_aioquic() -> None:
    """Raise ConfigError unless there is one of the versions whose inside is known."""
    if importlib.util.find_spec("aioquic") is None:
        raise ConfigError(
            "HTTP/3, which quic_bind asks for, needs aioquic, the extra http3: pip install aioquic, "
            "with Python 3.11 or later"
        )
    from importlib.metadata import version

    found = version("aioquic")
    if not _AIOQUIC_FROM <= tuple(int(part) for part in re.findall(r"\d+", found)[:2]) < _AIOQUIC_BELOW:
        raise ConfigError(
            f"HTTP/3, which quic_bind asks for, needs aioquic 1.7 or later, below 2, and {found} is installed: "
            "pip install 'aioquic>=1.7,<2'"
        )


def _new_loop(kind: str) -> asyncio.AbstractEventLoop:
    """An event loop, which the application finds as that of this thread."""
    import asyncio

    if kind == "uvloop" or (kind == "auto" and importlib.util.find_spec("uvloop") is not None):
        import uvloop

        loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    else:
        loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    return loop


def _server(listener: socket.socket) -> tuple[str, int | None]:
    """The server of a scope."""
    if listener.family == socket.AF_UNIX:
        return os.fsdecode(listener.getsockname()), None
    host, port, *_ = listener.getsockname()
    return host, port
