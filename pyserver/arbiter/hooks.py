"""The operator's functions, called in the arbiter: none of them ends it, and a slow one is named in the log."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from pyserver.errors import EXIT_CONFIG, BootError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyserver.arbiter.reload import Reloads
    from pyserver.arbiter.roster import Member, Roster
    from pyserver.arbiter.server import Server
    from pyserver.settings.model import Settings
    from pyserver.workers.hooks import WorkerHooks

_SLOW = 1.0  # seconds; while a hook runs, no signal is heard and no timeout is seen


class Hooks:
    """Calls the hooks of the current settings. Without any, nothing is imported and nothing done.

    Args:
        reloads: the current settings, log and listeners.
        roster: the workers.
        target: how many workers there should be.

    Attributes:
        held_ns: how long hooks have held the arbiter up altogether.
    """

    def __init__(self, reloads: Reloads, roster: Roster, target: Callable[[], int]) -> None:
        self._reloads = reloads
        self._roster = roster
        self._target = target
        self._told_target: int | None = None
        self._pid = 0
        self.held_ns = 0
        self._server_object: Server | None = None

    def start(self) -> None:
        """The server is about to be started.

        Raises:
            BootError: on_starting raised something; with its traceback.
        """
        self._pid = os.getpid()
        self.note_target()
        if self._settings.on_starting is None:
            return
        from pyserver.workers.app import own_traceback
        from pyserver.workers.hooks import booting

        try:
            with booting("on_starting"):
                self._settings.on_starting(self._server)
        except BootError as error:
            cause = error.__cause__ or error
            raise BootError(f"{error}\n{own_traceback(cause)}", EXIT_CONFIG) from cause

    def call(self, name: str, *arguments: object) -> None:
        """Call the hook of that name, if there is one, with the server and these."""
        hook = getattr(self._settings, name)
        if hook is None:
            return
        # Here, as everywhere in this file: who has no hooks shall not carry what is only for them.
        from pyserver.workers.hooks import surviving

        log, began = self._reloads.current.log, time.monotonic()
        with surviving(name, log):
            hook(self._server, *arguments)
        took = time.monotonic() - began
        self.held_ns += int(took * 1e9)
        if took > _SLOW:
            log.warning("The hook %s took %.1f s", name, took)

    def note_target(self) -> None:
        """Another number of workers may be wanted."""
        target = self._target()
        if target != self._told_target:
            old, self._told_target = self._told_target, target
            self.call("nworkers_changed", target, old)

    def note_fork(self, slot: int, number: int) -> WorkerHooks | None:
        """A worker is about to be forked; what calls the hooks in it, if there are any."""
        hooks = self.of_worker(slot, number)
        if hooks is not None:
            self.call("pre_fork", self._server.worker_in(slot))
        return hooks

    def of_worker(self, slot: int, number: int, notes: bytes = b"") -> WorkerHooks | None:
        """What calls the hooks in a worker, if there are any; with the notes of the arbiter's in a mold."""
        if not self._settings.has_hooks:
            return None
        from pyserver.workers.hooks import WorkerHooks

        return WorkerHooks(self._settings, self._server, self._server.new_worker(slot, number), notes)

    def note_end(self, member: Member) -> None:
        """A worker has ended and is off the roster."""
        if self._server_object is None and self._settings.child_exit is None:
            return
        worker = self._server.forget(member)
        # A mold may have died before it had forked it: there has been no child.
        if member.pid:
            self.call("child_exit", worker)

    @property
    def _settings(self) -> Settings:
        return self._reloads.current.settings

    @property
    def _server(self) -> Server:
        if self._server_object is None:
            from pyserver.arbiter.server import Server

            self._server_object = Server(self._pid, self._reloads, self._roster, self._target)
        return self._server_object
