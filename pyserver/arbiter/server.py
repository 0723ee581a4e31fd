"""`server` in a hook: what gunicorn's hooks use of the arbiter, to be looked at.

Imported when the settings have a hook, and not before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyserver.workers.configuration import Configuration
from pyserver.workers.hooks import HookedApp, HookedWorker, Life
from pyserver.workers.messages import WorkerState

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from pyserver.arbiter.reload import Reloads
    from pyserver.arbiter.roster import Member, Roster


class Server:
    """The whole server. What a hook sets on it stays there, also over reloads, and concerns only hooks.

    Args:
        pid: of the arbiter, whose copy this may be in a process of its own.
        reloads: the current settings, log and listeners.
        roster: the workers.
        target: how many workers there should be.
    """

    def __init__(self, pid: int, reloads: Reloads, roster: Roster, target: Callable[[], int]) -> None:
        self.pid = pid
        self._reloads = reloads
        self._roster = roster
        self._target = target
        self._age = 0
        self._workers: dict[int, HookedWorker] = {}  # by slot

    @property
    def log(self) -> Any:
        """The error log, or the logger that writes it."""
        return self._reloads.current.log.logger

    @property
    def cfg(self) -> Configuration:
        """The settings that new workers get."""
        return Configuration(self._reloads.current.settings, self._reloads.current.log)

    @property
    def app(self) -> HookedApp:
        """The settings once more; the arbiter never loads the application."""
        return HookedApp(self.cfg)

    @property
    def proc_name(self) -> str:
        """The server's name."""
        return self._reloads.current.name

    @property
    def num_workers(self) -> int:
        """How many workers there should be."""
        return self._target()

    @property
    def address(self) -> list[tuple[str, int] | str | int]:
        """Where it listens, as written: host and port, the path of a Unix socket, or a descriptor."""
        return [
            one.path or (one.descriptor if one.descriptor >= 0 else (one.host, one.port))
            for one in self._reloads.current.addresses
        ]

    @property
    def LISTENERS(self) -> list[socket.socket]:  # noqa: N802 - gunicorn's name.
        """The sockets it listens on."""
        return self._reloads.listeners.not_at(())

    @property
    def WORKERS(self) -> dict[int, HookedWorker]:  # noqa: N802 - gunicorn's name.
        """The workers by process id, oldest first."""
        return {member.pid: self.worker_of(member) for member in self._roster if member.pid}

    def new_worker(self, slot: int, number: int) -> HookedWorker:
        """The worker that is about to be forked."""
        self._age += 1
        current = self._reloads.current
        worker = HookedWorker(
            current.settings, current.log, self.LISTENERS, age=self._age, ppid=self.pid, number=number
        )
        self._workers[slot] = worker
        return worker

    def worker_in(self, slot: int) -> HookedWorker:
        """The worker that was or will be forked for the slot."""
        return self._workers[slot]

    def worker_of(self, member: Member) -> HookedWorker:
        """What hooks get for this worker; always the same object."""
        # One that was forked before there were hooks is met here for the first time.
        worker = self._workers.get(member.slot) or self.new_worker(member.slot, member.number)
        worker.lead(_Supervised(member))
        return worker

    def forget(self, member: Member) -> HookedWorker:
        """What hooks get for this worker, for the last time."""
        worker = self.worker_of(member)
        del self._workers[member.slot]
        return worker


class _Supervised(Life):
    """The life of a worker, seen by the arbiter."""

    def __init__(self, member: Member) -> None:
        self._member = member

    @property
    def pid(self) -> int | str:
        # 0 while a mold forks it, which to os.kill is everybody.
        return self._member.pid or str(Life.pid)

    @property
    def alive(self) -> bool:
        member = self._member
        return member.state in (WorkerState.BOOTING, WorkerState.READY) and not (member.is_dying or member.spent)

    @property
    def booted(self) -> bool:
        return self._member.ready_at_ns != 0
