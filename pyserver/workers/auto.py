"""The worker class of a server that was not told which: what it is, it sees when it has loaded the application.

The arbiter never imports the application, so it cannot know before it forks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyserver.workers.app import interface_of
from pyserver.workers.asgi import ASGIWorker
from pyserver.workers.sync import SyncWorker

if TYPE_CHECKING:
    from pyserver.settings.model import Settings


class AutoWorker(SyncWorker):
    """A sync worker, unless its application is an ASGI one."""

    interfaces = ("wsgi", "asgi")

    @classmethod
    def rows(cls, settings: Settings) -> int:
        """As many as it may need."""
        return max(SyncWorker.rows(settings), ASGIWorker.rows(settings))

    def boot(self) -> None:
        """Load the application, and become what it needs."""
        self._preloaded = self.find_application()
        if interface_of(self._preloaded) == "asgi":
            ASGIWorker.check(self.settings)
            # Both are told apart by their methods alone, and nothing but the seat was needed so far.
            self.__class__ = ASGIWorker  # type: ignore[assignment]
            self.boot()
        else:
            super().boot()
