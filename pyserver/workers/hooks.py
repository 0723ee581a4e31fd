"""The operator's functions in a worker: what they see of it, and how they are called.

A hook is not given what the server works with. Its `worker` is an object beside it that shows what gunicorn's hooks
use, and keeps what a hook sets on it from the arbiter's `pre_fork` on.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Any, NoReturn

from pyserver._scoreboard import Cell
from pyserver.errors import BootError
from pyserver.workers.app import own_traceback
from pyserver.workers.configuration import Configuration
from pyserver.workers.messages import WorkerState

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from socket import socket
    from types import FrameType

    from pyserver.log import ErrorLog
    from pyserver.settings.model import Settings
    from pyserver.workers.app import Application
    from pyserver.workers.base import Worker
    from pyserver.workers.requests import WatchedApplication


_LONGEST_NOTES = 32_768


class HookedApp:
    """`app` in a hook: the settings, and in a worker that has loaded it, the application."""

    def __init__(self, cfg: Configuration, application: Application | None = None) -> None:
        self.cfg = cfg
        self.callable = application

    def wsgi(self) -> Application | None:
        """The application."""
        return self.callable


class Life:
    """What changes about a worker; this is one that has not been forked yet."""

    pid: Any = "[booting]"  # gunicorn's
    alive: Any = True
    booted: Any = False
    nr: Any = 0
    application: Any = None


class HookedWorker:
    """`worker` in a hook. What a hook sets on it is its own affair, but `alive = False` has the worker replaced."""

    def __init__(
        self, settings: Settings, log: ErrorLog, sockets: Sequence[socket], *, age: int, ppid: int, number: int
    ) -> None:
        self.cfg = Configuration(settings, log)
        self.log: Any = log.logger
        self.error_log = log
        self.sockets = list(sockets)
        self.age = age
        self.ppid = ppid
        self.number = number
        self.max_requests = settings.max_requests or sys.maxsize
        self.tmp = _Heartbeat()
        self.timeout = settings.timeout / 2  # gunicorn's: how often it has to be heard of
        self.aborted = False
        self.reloader = None
        self._life = Life()
        self._own = frozenset(vars(self))

    def kept(self) -> dict[str, object]:
        """What hooks have set on it beside what was there."""
        return {name: value for name, value in vars(self).items() if name not in self._own and name != "_own"}

    def lead(self, life: Life) -> None:
        """Show this life from now on."""
        self._life = life

    @property
    def pid(self) -> int | str:
        """Its process id, once it has one."""
        pid: int | str = self._life.pid
        return pid

    @property
    def alive(self) -> bool:
        """Whether it serves, and will go on."""
        return bool(self._life.alive)

    @alive.setter
    def alive(self, value: bool) -> None:
        self._life.alive = value

    @property
    def booted(self) -> bool:
        """Whether it has loaded the application."""
        return bool(self._life.booted)

    @property
    def nr(self) -> int:
        """How many requests it has answered; 0 in the arbiter."""
        return int(self._life.nr)

    @property
    def app(self) -> HookedApp:
        """What it serves."""
        return HookedApp(self.cfg, self._life.application)

    @property
    def wsgi(self) -> Application | None:
        """The application; what is set here in its place, by post_worker_init say, is served."""
        application: Application | None = self._life.application
        return application

    @wsgi.setter
    def wsgi(self, application: Application) -> None:
        self._life.application = application

    def notify(self) -> None:
        """Nothing has to be said."""

    def __repr__(self) -> str:
        return f"<Worker {self.pid}>"


class WorkerHooks:
    """Calls the hooks of one worker, in its process.

    Args:
        settings: that the worker was forked with.
        server: what a hook gets as `server`.
        worker: what it gets as `worker`.
        notes: what hooks have set on `worker` in the arbiter, where the process is no copy of the arbiter.
    """

    def __init__(self, settings: Settings, server: object, worker: HookedWorker, notes: bytes = b"") -> None:
        self._settings = settings
        self._server = server
        self._worker = worker
        self._notes = notes
        self._shown: Any = worker  # what hooks get

    def show(self, worker: Any) -> None:
        """Give hooks this one from now on, of a class of gunicorn's kind, with what they have set on the other."""
        vars(worker).update(self._worker.kept())
        self._shown = worker

    def notes(self) -> bytes:
        """What hooks have set on `worker`, for a worker that is forked by somebody else."""
        kept = self._worker.kept()
        if not kept:
            return b""
        import pickle

        notes: dict[str, object] = {}
        for name, value in kept.items():
            try:
                length = len(pickle.dumps({**notes, name: value}))
                if length > _LONGEST_NOTES:
                    raise ValueError(f"it takes {length} bytes with the others, more than {_LONGEST_NOTES}")
                notes[name] = value
            except Exception as error:  # Any class: what a hook has set there may be anything.
                self._worker.error_log.error("worker.%s of a hook cannot be given to the worker: %s", name, error)
        return pickle.dumps(notes)

    def note_fork(self, worker: Worker) -> None:
        """The process is there; raises BootError when post_fork does."""
        self._worker.lead(_Served(worker))
        if self._notes:
            import pickle

            vars(self._worker).update(pickle.loads(self._notes))
        if self._settings.post_fork is not None:
            with booting("post_fork"):
                self._settings.post_fork(self._server, self._worker)

    def note_boot(self) -> None:
        """The application is there; raises BootError when post_worker_init does."""
        if self._settings.post_worker_init is not None:
            with booting("post_worker_init"):
                self._settings.post_worker_init(self._shown)

    def watch_calls(self, application: Application) -> Application:
        """An ASGI application with the hooks of requests around it; itself without any."""
        before, after = self._settings.pre_request, self._settings.post_request
        if before is None and after is None:
            return application
        from pyserver.workers.asgi_hooks import WatchedASGIApplication

        return WatchedASGIApplication(application, self._worker, before, after)

    def watch_requests(self, application: Application) -> WatchedApplication | None:
        """The application with the hooks of requests around it; None without any."""
        before, after = self._settings.pre_request, self._settings.post_request
        if before is None and after is None:
            return None
        from pyserver.workers.requests import WatchedApplication

        return WatchedApplication(application, self._worker, before, after)

    def note_quit(self) -> None:
        """It was told to leave at once."""
        if self._settings.worker_int is not None:
            with surviving("worker_int", self._worker.error_log):
                self._settings.worker_int(self._shown)

    def note_exit(self) -> None:
        """It leaves."""
        if self._settings.worker_exit is not None:
            with surviving("worker_exit", self._worker.error_log):
                self._settings.worker_exit(self._server, self._shown)

    def catch_abort(self) -> None:
        """Have the hooks called when ABRT comes, if the interpreter can run then; who catches it in C goes first."""
        if self._settings.worker_abort is not None or self._settings.worker_exit is not None:
            self._pid = os.getpid()
            signal.signal(signal.SIGABRT, self._abort)

    def _note_abort(self) -> None:
        if self._settings.worker_abort is not None:
            with surviving("worker_abort", self._worker.error_log):
                self._settings.worker_abort(self._shown)

    def _abort(self, number: int, _frame: FrameType | None) -> NoReturn:
        # A process that the application forks has the handler too, and is no worker.
        if os.getpid() == self._pid:
            self._note_abort()
            self.note_exit()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError, AttributeError):
                stream.flush()
        # So that the arbiter sees what the process has died of.
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        os._exit(1)


@contextlib.contextmanager
def booting(name: str) -> Iterator[None]:
    """Turn whatever the hook of that name raises into a BootError."""
    try:
        yield
    except BaseException as error:
        # SystemExit too: a hook does not know what its server does with it.
        raise BootError(f"the {_what(name, error)}") from error


@contextlib.contextmanager
def surviving(name: str, log: ErrorLog) -> Iterator[None]:
    """Log whatever the hook of that name raises, and go on."""
    try:
        yield
    except BaseException as error:
        log.error("The %s\n%s", _what(name, error), own_traceback(error))


def _what(name: str, error: BaseException) -> str:
    try:
        text = str(error).partition("\n")[0]
    except Exception:
        text = ""  # The hook's own class cannot describe itself; the traceback follows.
    return f"hook {name} raised {type(error).__name__}{': ' if text else ''}{text}"


class _Served(Life):
    """The life of a worker, seen from within."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    @property
    def pid(self) -> int:
        return os.getpid()

    @property
    def alive(self) -> bool:
        return not (self._worker.is_retiring or self._worker.is_quitting)

    @alive.setter
    def alive(self, value: bool) -> None:
        if not value:
            # In gunicorn it leaves after the request and another is started; here the other is started first.
            self._worker.ask_for_replacement()

    @property
    def booted(self) -> bool:
        return self._worker.scoreboard.read(self._worker.slot, Cell.STATE) != WorkerState.BOOTING

    @property
    def nr(self) -> int:
        return self._worker.scoreboard.read(self._worker.slot, Cell.REQUESTS)

    @property
    def application(self) -> Application | None:
        return getattr(self._worker, "application", None)

    @application.setter
    def application(self, value: Application) -> None:
        self._worker.replace_application(value)


class _Heartbeat:
    """`worker.tmp` in a hook. There is no heartbeat file: a worker that waits, or works, need not say so."""

    def notify(self) -> None:
        """Nothing has to be said."""

    def last_update(self) -> float:
        """When it was heard of: now."""
        return time.monotonic()
