"""The thread that hears the arbiter and the signals in a worker whose class has no loop to do so."""

from __future__ import annotations

import select
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyserver.log import ErrorLog


class Listener:
    """Calls back, one after the other, whenever a descriptor can be read.

    It ends with the process.

    Args:
        log: learns of a callback that raises; the next are called all the same.
    """

    def __init__(self, log: ErrorLog) -> None:
        self._log = log
        self._poll = select.poll()
        self._callbacks: dict[int, Callable[[], None]] = {}

    def watch(self, fd: int, callback: Callable[[], None]) -> None:
        """Call back whenever `fd` can be read; called before `start`, or in a callback."""
        self._callbacks[fd] = callback
        self._poll.register(fd, select.POLLIN)

    def start(self) -> None:
        """Begin to listen."""
        threading.Thread(target=self._listen, name="pyserver-verbs", daemon=True).start()

    def unwatch(self, fd: int) -> None:
        """Call back no more."""
        del self._callbacks[fd]
        self._poll.unregister(fd)

    def _listen(self) -> None:
        while True:
            for fd, _ in self._poll.poll():
                # Another callback may have stopped watching it.
                callback = self._callbacks.get(fd)
                if callback is not None:
                    self._call(callback)

    def _call(self, callback: Callable[[], None]) -> None:
        try:
            callback()
        except Exception:
            # Of a class of somebody else: without this thread nobody could stop the worker any more.
            self._log.exception("What a worker was told has raised an exception")
