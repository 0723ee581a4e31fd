"""The threaded worker: each of its threads waits on the engine and calls the application in place."""

from __future__ import annotations

import os
import select
import threading
from typing import TYPE_CHECKING

from pyserver._process import name_thread
from pyserver.errors import BootError
from pyserver.workers.engine import EngineWorker, build_engine, wsgi_gateway

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyserver._engine import Engine
    from pyserver.settings.model import Settings


class ThreadedWorker(EngineWorker):
    """Serves one request in each of its threads at the same time.

    The main thread serves nothing. It waits for verbs, for what the arbiter says and for signals that the application
    handles, so it can answer whatever becomes of the others. It has no drop_copies: a fork has one thread of all.
    """

    @classmethod
    def rows(cls, settings: Settings) -> int:
        """One for each thread."""
        return settings.threads

    def boot(self) -> None:
        """Start the threads, too: what cannot start them is no successor to anybody."""
        if self.become_cooperative():
            return
        self._poll = select.poll()
        self._callbacks: dict[int, Callable[[], None]] = {}
        self._failure: BaseException | None = None
        super().boot()
        self._left, self._leaves = os.pipe()
        self._serving = self.settings.threads
        self._gate = threading.Event()
        for row in range(self._serving):
            try:
                threading.Thread(target=self._serve, args=(row,), name=f"pyserver-{row}", daemon=True).start()
            except RuntimeError as error:
                raise BootError(f"only {row} of {self._serving} threads could be started: {error}") from None

    def watch(self, fd: int, callback: Callable[[], None]) -> None:
        """Have the main thread call back."""
        self._callbacks[fd] = callback
        self._poll.register(fd, select.POLLIN)

    def unwatch(self, fd: int) -> None:
        """Have it call back no more."""
        del self._callbacks[fd]
        self._poll.unregister(fd)

    def run(self) -> None:
        """Let the threads serve until told to go; those that the application holds do not hold up a quit."""
        self.watch(self._left, self._note_left)
        self._gate.set()
        while self._serving and not self.is_quitting and self._failure is None:
            self._look_around()
        if self._failure is not None:
            raise self._failure

    def _look_around(self) -> None:
        try:
            ready = self._poll.poll()
        except Exception:
            # Of a signal handler that the application installed; there is nobody else to raise it in.
            self.log.exception("A signal handler raised an exception")
            return
        for fd, _ in ready:
            # Another callback may have stopped watching it.
            if fd in self._callbacks:
                self._callbacks[fd]()

    def _new_engine(self) -> Engine:
        threads = self.settings.threads
        return build_engine(self, self._access, wsgi_gateway(self, multithread=threads > 1), threads=threads)

    def _serve(self, row: int) -> None:
        """The life of a thread."""
        name_thread(f"pyserver-{row}")
        self._gate.wait()
        try:
            self._engine.serve(row)
        except BaseException as error:
            # What the application raises does not come here. The main thread ends the process with this, rather than
            # serve on with a thread less.
            self._failure = error
        finally:
            os.write(self._leaves, b"\0")

    def _note_left(self) -> None:
        self._serving -= len(os.read(self._left, 4096))
