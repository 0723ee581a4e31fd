"""What a sync or threaded worker becomes when the application, or the config file, has patched the standard library.

Threads are greenlets then, and nothing that waits in one goes on unless the hub has its turn: neither what the
application does beside its requests, nor the threads of a threaded worker.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyserver.settings.model import Settings
    from pyserver.workers.gevent import GeventWorker


def threads_are_greenlets() -> bool:
    """Whether gevent has replaced threads in this process."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("threading"))


def hub_worker(settings: Settings) -> type[GeventWorker] | None:
    """The class that serves in this process as many requests at once as there are threads, if they are greenlets."""
    if not threads_are_greenlets() or settings.poller == "poll" or sys.platform != "linux":
        return None
    # Most servers never need it.
    from pyserver.workers.gevent import GeventWorker

    class PatchedWorker(GeventWorker):
        """Serves in greenlets what was to be served by threads."""

        @classmethod
        def rows(cls, settings: Settings) -> int:
            """One for each thread."""
            return settings.threads

    return PatchedWorker
