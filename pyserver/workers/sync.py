"""The sync worker: its only thread waits on the engine and calls the application in place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyserver.workers.engine import EngineWorker

if TYPE_CHECKING:
    from collections.abc import Callable


class SyncWorker(EngineWorker):
    """Serves one request at a time."""

    def boot(self) -> None:
        """Have the listeners closed in time even while the application has the only thread."""
        if self.become_cooperative():
            return
        super().boot()
        self.react("retire", self._engine.guard_listeners())

    def watch(self, fd: int, callback: Callable[[], None]) -> None:
        """Have the engine call back between two requests."""
        self._engine.watch(fd, callback)

    def unwatch(self, fd: int) -> None:
        """Have it call back no more."""
        self._engine.unwatch(fd)

    def run(self) -> None:
        """Serve until told to go."""
        self._engine.run()

    def drop_copies(self) -> None:
        """Have the engine close what it has."""
        super().drop_copies()
        self._engine.drop_copies()
