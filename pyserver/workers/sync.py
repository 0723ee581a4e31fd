"""The sync worker: its only thread waits on the engine and calls the application in place."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pyserver.workers.base import Worker
from pyserver.workers.engine import build_engine, check_engine_settings, open_access_log

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyserver.settings.model import Settings

# How long a retiring worker answers once more on a connection that is idle, seconds. Long enough for a request that
# was sent before its client could know; short enough that idle connections hold up a stop for less than half a second.
_IDLE_GRACE = 0.4


class SyncWorker(Worker):
    """Serves one request at a time; slow clients wait in the engine, not in the application."""

    @classmethod
    def check(cls, settings: Settings) -> None:
        """Raise ConfigError for settings that the engine cannot be built from."""
        check_engine_settings(settings)

    def boot(self) -> None:
        """Load the application and put the engine before it."""
        super().boot()
        self._access = open_access_log(self)
        self._engine = build_engine(self, self._access, multithread=False)
        self.react("retire", self._engine.guard_listeners())
        if self.settings.max_requests:
            # Workers that were started together are not to be replaced together.
            jitter = int.from_bytes(os.urandom(8), "big") % (self.settings.max_requests_jitter + 1)
            self._engine.max_requests = self.settings.max_requests + jitter
            self._engine.on_max_requests = self.ask_for_replacement

    def watch(self, fd: int, callback: Callable[[], None]) -> None:
        """Have the engine call back between two requests."""
        self._engine.watch(fd, callback)

    def unwatch(self, fd: int) -> None:
        """Have it call back no more."""
        self._engine.unwatch(fd)

    def reopen(self) -> None:
        """Open both logs anew."""
        super().reopen()
        if self._access is not None:
            self._access.reopen()

    def drop_copies(self) -> None:
        """Have the engine close what it has."""
        super().drop_copies()
        self._engine.drop_copies()

    def serve(self) -> None:
        """Serve until told to go."""
        self._engine.run()

    def wake(self) -> None:
        """Pass on to the engine what the worker was told."""
        if self.is_quitting:
            cut = self._engine.abandon()
            if cut:
                self.report_abandoned(cut)
                self.log.warning("Worker (pid: %s) quits: %s requests or responses are cut", os.getpid(), cut)
        else:
            self._engine.retire(_IDLE_GRACE, self.is_last)
