"""The worker class of a server that was not told which: what it is, it sees when it has loaded the application.

The arbiter never imports the application, so it cannot know before it forks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyserver._scoreboard import Cell
from pyserver.workers import CHOICES
from pyserver.workers.app import interface_of
from pyserver.workers.asgi import ASGIWorker
from pyserver.workers.sync import SyncWorker
from pyserver.workers.threaded import ThreadedWorker

if TYPE_CHECKING:
    from pyserver.settings.model import Settings


_NAMES: dict[type[SyncWorker | ThreadedWorker | ASGIWorker], str] = {
    SyncWorker: "sync", ThreadedWorker: "threaded", ASGIWorker: "asgi",
}  # fmt: skip


class AutoWorker(SyncWorker):
    """An asgi worker for an ASGI application; for a WSGI one a threaded worker, or with a single thread a sync one."""

    interfaces = ("wsgi", "asgi")

    @classmethod
    def rows(cls, settings: Settings) -> int:
        """As many as it may need."""
        return max(kind.rows(settings) for kind in _NAMES)

    def boot(self) -> None:
        """Load the application, and become what it needs."""
        self._preloaded = self.find_application()
        kind: type[SyncWorker | ThreadedWorker | ASGIWorker] = SyncWorker
        if interface_of(self._preloaded) == "asgi":
            kind = ASGIWorker
            kind.check_loop(self.settings)
        elif self.settings.threads > 1:
            kind = ThreadedWorker
        self.scoreboard.write(self.slot, Cell.CHOSEN, CHOICES.index(_NAMES[kind]))
        # They differ in their methods alone, and none of those has been called that would have left something.
        self.__class__ = kind  # type: ignore[assignment]
        self.boot()
