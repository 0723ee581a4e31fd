"""The base of every worker class: a child process that loads the application, obeys verbs and reports to the arbiter.

A class of your own, given with `-k package.module:Class`, says how it waits and how a request is run:

    class MyWorker(Worker):
        interfaces = ("wsgi",)

        def prepare(self):                # optional: before anything of the application is called or imported
        def boot(self):                   # optional: after super().boot() there is self.application
        def watch(self, fd, callback):    # call `callback` in serve() whenever `fd` can be read
        def unwatch(self, fd):
        def serve(self):                  # accept on self.listeners, until is_retiring and nothing is left
        def wake(self):                   # is_retiring or is_quitting has become true
        def rows(cls, settings):          # optional, a class method: how many requests run at the same time
        def relieve(self):                # optional, where that is more than one: end those that are over their time
        def drop_copies(self):            # optional: close what is open, without a word to peers; needed to refork

Everything else (signals, readiness, exit codes, the end of the arbiter) is done here.
"""

from __future__ import annotations

import enum
import math
import os
import select
import signal
import socket
import struct
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from pyserver._scoreboard import Cell, Scoreboard
from pyserver.errors import EXIT_OK, EXIT_WORKER_BOOT, BootError, ConfigError
from pyserver.identity import become
from pyserver.signals import SignalInbox, worker_verbs
from pyserver.workers.app import Application, check_interface, load_application, own_traceback

if TYPE_CHECKING:
    from pyserver.log import ErrorLog
    from pyserver.settings.model import Settings
    from pyserver.workers.broken import Page
    from pyserver.workers.hooks import WorkerHooks


class WorkerState(enum.IntEnum):
    """Where a worker is in its life; stored in its scoreboard slot."""

    BOOTING = 1  # forked, the application is loading
    READY = 2  # accepting connections
    RETIRING = 3  # accepting nothing, finishing what cannot move
    EXITED = 4  # reaped; the slot is free


_S = WorkerState
NEXT_STATE = {
    (_S.BOOTING, "loaded"): _S.READY,
    (_S.READY, "retire"): _S.RETIRING,
    (_S.RETIRING, "reaped"): _S.EXITED,
    (_S.READY, "reaped"): _S.EXITED,  # crashed, or killed over its request timeout
    (_S.BOOTING, "reaped"): _S.EXITED,  # could not load: the generation is suspect
}


class ReportKind(enum.IntEnum):
    """What a worker tells the arbiter."""

    LOADED = 1  # the application is there; connections are accepted from now on. `text`: why a page is in its place
    FAILED = 2  # it could not boot; with the exit code and the reason
    RETIRING = 3  # it retires, whoever said so
    REPLACE_ME = 4  # it has served enough; it goes on until its replacement is ready
    ALIVE = 5  # it was asked whether it is there
    ABANDONED = 6  # it quits, and cuts off as many requests as `text` says
    SOURCES = 7  # where the application's source files lie, for development


_DESCRIPTOR = struct.Struct("i")
_FLAGS = socket.MSG_DONTWAIT | getattr(socket, "MSG_CMSG_CLOEXEC", 0)

ARE_YOU_THERE = b"p"
"""What the arbiter writes on the channel of a worker that it has not heard of for a while."""
RELIEVE = b"t"
"""What it writes when requests are over their time while others, that the worker runs as well, are not."""
REFORK = b"m"
"""What it writes, with a descriptor, to have a worker become the image of the next mold."""

REPORT_HEAD = struct.Struct("!BBI")
"""Kind, exit code and length of the text, which follows."""
# Small enough that the whole message fits in an empty channel, so sending it never waits.
LONGEST_TEXT = 32_768


class Report(NamedTuple):
    """One message on the report pipe."""

    kind: ReportKind
    exit_code: int = EXIT_OK
    text: str = ""

    def encoded(self) -> bytes:
        """The bytes that `pyserver.arbiter.reports` reads; of a long text, the end is kept."""
        text = self.text.encode("utf-8", "backslashreplace")[-LONGEST_TEXT:]
        return REPORT_HEAD.pack(self.kind, self.exit_code, len(text)) + text


def failure_of(error: BaseException) -> Report:
    """What the arbiter is told when the application could not be loaded, or not be served with."""
    expected = isinstance(error, (BootError, ConfigError))
    reason = str(error) if expected else f"{type(error).__name__}: {error}"
    cause = error.__cause__ if expected else error
    exit_code = error.exit_code if isinstance(error, (BootError, ConfigError)) else EXIT_WORKER_BOOT
    return Report(ReportKind.FAILED, exit_code, f"{reason}\n{own_traceback(cause)}" if cause is not None else reason)


class Seat(NamedTuple):
    """What the arbiter gives a worker."""

    slot: int
    generation: int
    number: int  # 0 … workers-1, and stable: a successor has the number of its predecessor
    settings: Settings
    listeners: Sequence[socket.socket]
    scoreboard: Scoreboard
    log: ErrorLog
    lifeline: int  # the read end of a pipe whose other end only the arbiter holds
    channel: socket.socket  # reports go out, questions come in
    hooks: WorkerHooks | None = None  # what calls the operator's functions; None without any
    application: Application | None = None  # when the process that forked this one has loaded it
    refork: Callable[[Worker, int], None] | None = None  # how to fork a mold that is given the descriptor


class Worker:
    """A child process. A subclass says who waits and how a ready request runs.

    What a subclass finds: `settings`, `listeners` (bound, listening, non-blocking sockets), `log`, `scoreboard` and
    `slot` (its row there), `number` (which of the workers it is, from 0), `application` (after `boot`), `is_retiring`,
    `is_quitting`.
    """

    interfaces: ClassVar[tuple[str, ...]] = ("wsgi",)
    # Whether `relieve` ends just the requests that are over their time: then it is always tried before an abort.
    ends_requests: ClassVar[bool] = False

    def __init__(self, seat: Seat) -> None:
        self.settings = seat.settings
        self.listeners = list(seat.listeners)
        self.log = seat.log
        self.scoreboard = seat.scoreboard
        self.slot = seat.slot
        self.number = seat.number
        self.generation = seat.generation
        self.is_retiring = False
        self.is_quitting = False
        self._is_orphan = False
        self._is_spent = False
        self.application: Application
        self._explanation = ""  # why a page is served in the application's place
        self._lifeline = seat.lifeline
        self._channel = seat.channel
        self.hooks = seat.hooks
        self._preloaded = seat.application
        self._refork = seat.refork
        # Before the application is loaded: what it does with signals on its own is left to it, as gunicorn does.
        self._inbox = SignalInbox(worker_verbs())
        self._advance_to(WorkerState.BOOTING)

    # What a subclass fills in.

    def prepare(self) -> None:
        """Before any hook is called and anything of the application imported; may raise what boot() may."""

    def boot(self) -> None:
        """Load the application; a subclass extends it with what it serves with.

        Raises:
            BootError, ConfigError: what failed, in one line, and the exit code.
        """
        load = self._load_or_explain if self.settings.reload else self.load
        preloaded = self._preloaded
        self.application = load(str(self.settings.wsgi_app)) if preloaded is None else preloaded

    def watch(self, fd: int, callback: Callable[[], None]) -> None:
        """Have `callback` called in `serve`, by the main thread, whenever `fd` can be read or its peer has closed."""
        raise NotImplementedError

    def unwatch(self, fd: int) -> None:
        """Watch `fd` no more; may be called from its callback."""
        raise NotImplementedError

    def serve(self) -> None:
        """Serve until `is_quitting`, or until `is_retiring` and no request is left."""
        raise NotImplementedError

    def wake(self) -> None:
        """`is_retiring` or `is_quitting` has become true; called by the main thread, in a callback of `watch`."""

    def relieve(self) -> None:
        """Verb: requests are over their time, while others are not or `ends_requests`.

        A second later, or as soon as no other request runs, the worker is aborted if one is still over its time. So
        this one retires it: others have a moment to finish, and a successor starts. A class that can end single
        requests does that instead. Called by the main thread, in a callback of `watch`.
        """
        self.retire()

    def drop_copies(self) -> None:
        """In a child that shall not serve: close the connections and listeners, which are those of its parent.

        A class that does not extend this one cannot refork.
        """
        self._inbox.close()
        self._channel.close()

    # What a subclass is given.

    @classmethod
    def check(cls, settings: Settings) -> None:
        """Raise ConfigError for settings that this class cannot serve with; called before anything is started."""

    @classmethod
    def rows(cls, settings: Settings) -> int:
        """How many requests a worker runs at the same time, at most; its slot on the scoreboard has so many rows."""
        return 1

    @classmethod
    def load(cls, spec: str) -> Application:
        """The application that `spec` names, when this class can serve it; raises BootError."""
        application = load_application(spec)
        check_interface(application, spec, cls.interfaces, cls.__name__)
        return application

    @classmethod
    def descriptors(cls) -> set[int]:
        """Those that loading has opened in this process, a mold, and that each worker forked from it opens anew."""
        return set()

    @classmethod
    def stand_in(cls, page: Page) -> Application:
        """What answers every request with a page, for `reload`; a class that does not serve WSGI has its own."""
        from pyserver.workers.broken import wsgi_application

        return wsgi_application(page)

    def retire(self) -> None:
        """Verb: accept no more connections and leave when nothing is left."""
        if not self.is_retiring:
            self.is_retiring = True
            self._advance("retire")
            self._report(Report(ReportKind.RETIRING))
            self.wake()

    @property
    def is_last(self) -> bool:
        """Whether the whole server stops, so that nobody else will serve what waits to be accepted."""
        return self._is_orphan or self.scoreboard.read(self.slot, Cell.STOPS) != 0

    def quit(self) -> None:
        """Verb: leave now, and abandon what is open."""
        if not self.is_quitting:
            self.is_quitting = True
            self.wake()

    def reopen(self) -> None:
        """Verb: open the log files anew, after they were renamed; a subclass adds its own."""
        self.log.reopen()

    def react(self, verb: str, function: int) -> None:
        """Have the signal handler of a verb call the C function at that address, whatever the main thread does."""
        self._inbox.react(verb, function)

    def ask_for_replacement(self) -> None:
        """Tell the arbiter, once, to start a successor; it retires this worker when that one is ready."""
        if not self._is_spent:
            self._is_spent = True
            self._report(Report(ReportKind.REPLACE_ME))

    def report_abandoned(self, requests: int) -> None:
        """Tell the arbiter how many requests are cut off because this worker quits."""
        self._report(Report(ReportKind.ABANDONED, text=str(requests)))

    def run(self) -> int:
        """The whole life of the process; called once, by the arbiter's child. Returns the exit code."""
        # Before the application is loaded, which may hang.
        self._inbox.end_when_orphaned(self._last_seconds)
        if select.select([self._lifeline], [], [], 0)[0]:
            self.log.error("The arbiter is gone; worker (pid: %s) does not start", os.getpid())
            return EXIT_OK
        os.environ["PYSERVER_SLOT"] = str(self.number)
        try:
            self.prepare()
            if self.hooks is not None:
                self.hooks.note_fork(self)
            become(self.settings)
            self.boot()
            if self.hooks is not None:
                self.hooks.note_boot()
        except BaseException as error:
            # Whatever it was, the arbiter is told, and decides.
            failure = failure_of(error)
            self._report(failure)
            return failure.exit_code
        self.watch(self._inbox.fileno(), self._obey)
        self.watch(self._lifeline, self._orphaned)
        self.watch(self._channel.fileno(), self._hear)
        self._advance("loaded")
        self._report(Report(ReportKind.LOADED, text=self._explanation))
        self.serve()
        self.log.info("Worker exiting (pid: %s)", os.getpid())
        return EXIT_OK

    def _load_or_explain(self, spec: str) -> Application:
        """For `reload`: the application, or a page that says why it cannot be loaded."""
        # Needed only in development.
        from pyserver.workers.sources import source_places

        if self.generation > 1:
            # Python takes a .pyc for that of a file which was saved again within the second, at the same size.
            sys.dont_write_bytecode = True
        failure = None
        try:
            application = self.load(spec)
        except BootError as error:
            from pyserver.workers.broken import describe_failure

            failure = error
            self._explanation = failure_of(error).text
            application = self.stand_in(describe_failure(error))
        packages, directories = source_places(failure)
        self._report(Report(ReportKind.SOURCES, text="\0".join(packages) + "\0\0" + "\0".join(directories)))
        return application

    def _obey(self) -> None:
        for noted in self._inbox.take():
            if noted.sender > 0 and noted.sender != os.getppid():
                self.log.info("Worker (pid: %s) was sent a signal: %s", os.getpid(), noted)
            match noted.verb:
                case "retire":
                    self.retire()
                case "quit":
                    if self.hooks is not None:
                        self.hooks.note_quit()
                    if not self.is_retiring:
                        # Whoever said so: that it ends now is no accident.
                        self._report(Report(ReportKind.RETIRING))
                    self.quit()
                case "reopen":
                    self.reopen()

    def _hear(self) -> None:
        """What the arbiter has to say."""
        try:
            said, ancillary, _, _ = self._channel.recvmsg(64, socket.CMSG_SPACE(_DESCRIPTOR.size), _FLAGS)
        except BlockingIOError:
            return
        except OSError:
            said, ancillary = b"", []
        for _, _, data in ancillary:
            (descriptor,) = _DESCRIPTOR.unpack(data)
            if self._refork is not None:
                self._refork(self, descriptor)
            else:
                os.close(descriptor)
        if ARE_YOU_THERE in said:
            self._report(Report(ReportKind.ALIVE))
        if RELIEVE in said:
            self.relieve()
        if not said:
            # The arbiter has gone, or has given this worker up, which comes to the same.
            self._orphaned()

    @property
    def _last_seconds(self) -> int:
        """How long it may serve on when the arbiter has died."""
        return max(1, math.ceil(self.settings.graceful_timeout))

    def _orphaned(self) -> None:
        """The arbiter died: nobody will replace, reload or stop this worker, so it goes, and frees the port."""
        if self._is_orphan:
            return  # Both ends are seen at once.
        self.unwatch(self._lifeline)
        self.unwatch(self._channel.fileno())
        self._is_orphan = True
        self.log.error("The arbiter is gone; worker (pid: %s) stops", os.getpid())
        # With nobody left to end a worker that hangs, the kernel does: the alarm's default action needs no Python.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(self._last_seconds)
        self.retire()

    def _advance(self, event: str) -> None:
        self._advance_to(NEXT_STATE[self._state, event])

    def _advance_to(self, state: WorkerState) -> None:
        self._state = state
        self.scoreboard.write(self.slot, Cell.STATE, state)

    def _report(self, report: Report) -> None:
        try:
            self._channel.sendall(report.encoded())
        except OSError as error:
            # The arbiter died; the lifeline says so too, and what is asked of the worker then is done there.
            self.log.debug("A report could not be sent: %s", error)
