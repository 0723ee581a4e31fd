"""What a worker whose class does not serve by the engine says of itself on the scoreboard."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from pyserver._scoreboard import Cell

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyserver._scoreboard import Scoreboard
    from pyserver.settings.model import Settings


class Counts:
    """The slot of one worker. Used by one thread at a time.

    Args:
        scoreboard, slot: where it is.
        settings: of the worker; max_requests is kept.
        on_spent: called when the worker has served so many requests.
    """

    def __init__(self, scoreboard: Scoreboard, slot: int, settings: Settings, on_spent: Callable[[], None]) -> None:
        self._scoreboard = scoreboard
        self._slot = slot
        self._on_spent = on_spent
        # Workers that were started together are not to be replaced together.
        jitter = int.from_bytes(os.urandom(8), "big") % (settings.max_requests_jitter + 1)
        self._most = settings.max_requests + jitter if settings.max_requests else 0
        self.requests = 0

    def begin(self) -> None:
        """A request runs from now on, and has `timeout` for it; for a class that runs one at a time."""
        self._write(Cell.BUSY_SINCE_NS, time.monotonic_ns())

    def end(self) -> None:
        """It is answered."""
        self._write(Cell.BUSY_SINCE_NS, 0)
        self.add()

    def add(self) -> None:
        """One request more was answered, or is; for a class that runs several at a time."""
        self.requests += 1
        self._write(Cell.REQUESTS, self.requests)
        if self.requests == self._most:
            self._on_spent()

    def show_connections(self, number: int) -> None:
        """So many are open."""
        self._write(Cell.CONNECTIONS, number)

    def _write(self, cell: Cell, value: int) -> None:
        self._scoreboard.write(self._slot, cell, value)


class CountedApplication:
    """An ASGI application, its requests counted.

    Attributes:
        failure: what it raised in its lifespan, if it did.
    """

    def __init__(self, application: Any, counts: Counts) -> None:
        self._application = application
        self._counts = counts
        self.failure: BaseException | None = None

    # Servers look whether it is asynchronous, to tell ASGI 3 from 2.
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
        else:
            self._counts.add()
            await self._application(scope, receive, send)

    async def _live(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await self._application(scope, receive, send)
        except BaseException as error:
            self.failure = error
            raise
