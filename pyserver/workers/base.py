"""The base of every worker class: a child process that loads the application, obeys verbs and reports to the arbiter.

A class of your own, given with `-k package.module:Class`, says how requests are served:

    class MyWorker(Worker):
        interfaces = ("wsgi",)

        def prepare(self):                # optional: before anything of the application is called or imported
        def boot(self):                   # optional: after super().boot() there is self.application
        def run(self):                    # serve on self.listeners, until is_retiring and nothing is left
        def drain(self):                  # is_retiring has become true: accept no more
        def quit(self):                   # is_quitting has become true: leave run() now

Everything else (signals, readiness, exit codes, the end of the arbiter) is done here. docs/plugins.md
has an example, and what else a class may say.
"""

from __future__ import annotations

import contextlib
import math
import os
import select
import signal
import socket
import struct
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar

from pyserver._scoreboard import Cell
from pyserver.errors import EXIT_OK, BootError, ConfigError
from pyserver.identity import become
from pyserver.signals import SignalInbox, worker_verbs
from pyserver.workers.app import Application, check_interface, load_application
from pyserver.workers.messages import ARE_YOU_THERE, NEXT_STATE, RELIEVE, Report, ReportKind, WorkerState, failure_of

if TYPE_CHECKING:
    from pyserver.settings.model import Settings
    from pyserver.workers.broken import Page
    from pyserver.workers.counting import Counts
    from pyserver.workers.listening import Listener
    from pyserver.workers.messages import Seat
    from pyserver.workers.options import Reader, Several

_DESCRIPTOR = struct.Struct("i")
_FLAGS = socket.MSG_DONTWAIT | getattr(socket, "MSG_CMSG_CLOEXEC", 0)


class Worker:
    """A child process. A subclass says who waits and how a ready request runs.

    What a subclass finds: `settings`, `options`, `listeners` (bound, listening, non-blocking sockets), `contexts`
    (for TLS at each of them), `log`, `counts` (its slot on the scoreboard), `number` (which of the workers it is,
    from 0), `application` (after `boot`), `is_retiring`, `is_quitting`, `is_last`, `commons` (two descriptors: of
    which to take connections, into which to put them), `lifeline` (a descriptor that is readable once the arbiter
    is gone).
    """

    interfaces: ClassVar[tuple[str, ...]] = ("wsgi",)
    # The versions of HTTP that it speaks.
    protocols: ClassVar[tuple[str, ...]] = ("h1",)
    # Settings that have no effect with it; each that is set is one warning.
    unheeded: ClassVar[tuple[str, ...]] = ()
    # Whether `run` calls `note_ready` itself, because there is more to do than `boot` can.
    gets_ready_in_run: ClassVar[bool] = False
    # Whether it takes connections that other workers pass on.
    takes_connections: ClassVar[bool] = False
    # Whether `relieve` ends just the requests that are over their time: then it is always tried before an abort.
    ends_requests: ClassVar[bool] = False

    def __init__(self, seat: Seat) -> None:
        self.settings = seat.settings
        self.listeners = list(seat.listeners)
        self.contexts = seat.contexts
        self.log = seat.log
        self.scoreboard = seat.scoreboard
        self.slot = seat.slot
        self._access_file = seat.access_file
        self.number = seat.number
        self.generation = seat.generation
        self.is_retiring = False
        self.is_quitting = False
        self._is_orphan = False
        self._is_spent = False
        self.application: Application
        self._explanation = ""  # why a page is served in the application's place
        self.lifeline = seat.lifeline
        self._channel = seat.channel
        self.commons = seat.commons
        self.quic = seat.quic
        self.hooks = seat.hooks
        self._preloaded = seat.application
        self._counts: Counts | None = None
        self._thread: Listener | None = None
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
        self.application = self.find_application()

    def look_over(self) -> None:
        """It has booted, and hooks have done what they do: the time to say what will not be as it was meant."""

    def end(self) -> None:
        """Whatever has ended it: write what waits to be written. A boot that failed may have had no time to begin."""

    def run(self) -> int | None:
        """Serve until `is_quitting`, or until `is_retiring` and no request is left; what comes back is the exit code.

        Called by the main thread. What is raised before the worker is ready is a failed boot.
        """
        raise NotImplementedError

    def drain(self) -> None:
        """`is_retiring` has become true: accept no more, and let `run` return when nothing is left.

        Called, as `quit` and `relieve` are, in a callback of `watch`.
        """

    def quit(self) -> None:
        """`is_quitting` has become true: have `run` return now, and abandon what is open."""

    def watch(self, fd: int, callback: Callable[[], None]) -> None:
        """Have `callback` called during `run` whenever `fd` can be read or its peer has closed.

        Unless a class has a loop of its own to do so, a thread does, and `run` may block in whatever it wants; such
        a class watches in `boot` or in a callback.
        """
        if self._thread is None:
            # Most classes have a loop, and threads are not for all of them.
            from pyserver.workers.listening import Listener

            self._thread = Listener(self.log)
        self._thread.watch(fd, callback)

    def unwatch(self, fd: int) -> None:
        """Watch `fd` no more; may be called from its callback."""
        if self._thread is not None:
            self._thread.unwatch(fd)

    def answer(self) -> None:
        """The arbiter, which has not heard of it for a quarter of `timeout`, asks whether it is there.

        After `timeout` without an answer the worker is aborted. A class whose callbacks run beside what serves says
        `note_alive` when that is well, instead.
        """
        self.note_alive()

    def relieve(self) -> None:
        """Verb: requests are over their time, while others are not or `ends_requests`.

        A second later, or as soon as no other request runs, the worker is aborted if one is still over its time. So
        this one retires it: others have a moment to finish, and a successor starts. A class that can end single
        requests does that instead.
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
        cls.check_protocols(settings)
        cls._read_options(settings)

    @classmethod
    def check_protocols(cls, settings: Settings) -> None:
        """Raise ConfigError where a version of HTTP is asked for that this class does not speak."""
        unspoken = [protocol for protocol in settings.http_protocols if protocol not in cls.protocols]
        if settings.quic_bind and "h3" not in cls.protocols:
            raise ConfigError(f"quic_bind is for HTTP/3, which {cls.__name__} does not speak; asgi workers do: -k asgi")
        if unspoken:
            raise ConfigError(f"http_protocols asks for {', '.join(unspoken)}, which {cls.__name__} does not speak")

    @classmethod
    def known_options(cls) -> Mapping[str, Reader | Several]:
        """The options that a class of this kind has beside the settings, and what reads the text of each."""
        return {}

    @classmethod
    def rows(cls, settings: Settings) -> int:
        """How many requests a worker runs at the same time, at most; its slot on the scoreboard has so many rows."""
        return 1

    @classmethod
    def access_path(cls, settings: Settings) -> str | None:
        """The file of the access log that the arbiter is to open for the workers; None for none."""
        return None

    @classmethod
    def load(cls, spec: str) -> Application:
        """The application that `spec` names, when this class can serve it; raises BootError."""
        application = load_application(spec)
        check_interface(application, spec, cls.interfaces, cls.__name__)
        return application

    @classmethod
    def prepare_to_fork(cls) -> set[int]:
        """In a mold that has loaded: give up what a fork breaks; which descriptors each worker opens anew."""
        return set()

    @classmethod
    def stand_in(cls, page: Page) -> Application:
        """What answers every request with a page, for `reload`; a class that does not serve WSGI has its own."""
        from pyserver.workers.broken import wsgi_application

        return wsgi_application(page)

    def find_application(self) -> Application:
        """The application that the settings name; it may have been loaded before the worker was forked.

        Raises:
            BootError: it cannot be loaded.
        """
        if self._preloaded is not None:
            return self._preloaded
        load = self._load_or_explain if self.settings.reload else self.load
        return load(str(self.settings.wsgi_app))

    def replace_application(self, application: Application) -> None:
        """A hook has put this one in the place of the other: serve it, if that is possible yet."""
        self.application = application

    def retire(self) -> None:
        """Verb: accept no more connections and leave when nothing is left."""
        if not self.is_retiring:
            self.is_retiring = True
            self.note_leaving()
            self.drain()

    @property
    def options(self) -> dict[str, object]:
        """Those of `known_options` that are given, as they were read."""
        return self._read_options(self.settings)

    @property
    def counts(self) -> Counts:
        """Where a class that does not serve by the engine says what it does; `max_requests` follows from it."""
        if self._counts is None:
            # The engine writes what it does itself.
            from pyserver.workers.counting import Counts

            self._counts = Counts(self.scoreboard, self.slot, self.settings, self.ask_for_replacement)
        return self._counts

    @property
    def is_last(self) -> bool:
        """Whether the whole server stops, so that nobody else will serve what waits to be accepted."""
        return self._is_orphan or self.scoreboard.read(self.slot, Cell.STOPS) != 0

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

    def note_ready(self) -> None:
        """Tell the arbiter, once, that requests are served from now on: an older worker may go."""
        if self._state is WorkerState.BOOTING and not (self.is_retiring or self.is_quitting):
            self.scoreboard.write(self.slot, Cell.ENDS_REQUESTS, self.ends_requests)
            self.scoreboard.write(self.slot, Cell.TAKES, self.takes_connections and self.commons is not None)
            self._advance("loaded")
            self._report(Report(ReportKind.LOADED, text=self._explanation))
            if self.scoreboard.read(self.slot, Cell.DISMISSED):
                self.retire()  # A reload has taken its place, and it may be killed at any moment.

    def note_leaving(self) -> None:
        """Tell the arbiter that it serves nobody new, whoever wanted that: its end is no accident."""
        # One that boots has nothing to leave.
        if self._state is WorkerState.READY:
            self.scoreboard.write(self.slot, Cell.TAKES, 0)
            self._advance("retire")
            self._report(Report(ReportKind.RETIRING))

    def note_alive(self) -> None:
        """Tell the arbiter that the worker does not hang."""
        self._report(Report(ReportKind.ALIVE))

    def live(self) -> int:
        """The whole life of the process; called once, by the arbiter's child. Returns the exit code."""
        try:
            return self._live()
        finally:
            self.end()

    def _live(self) -> int:
        # Before the application is loaded, which may hang.
        self._inbox.end_when_orphaned(self._last_seconds)
        if select.select([self.lifeline], [], [], 0)[0]:
            self.log.error("The arbiter is gone; worker (pid: %s) does not start", os.getpid())
            return EXIT_OK
        os.environ["PYSERVER_SLOT"] = str(self.number)
        try:
            self.prepare()
            if self.hooks is not None:
                self.hooks.note_fork(self)
            become(self.settings)
            if self.settings.spew:
                from pyserver.workers.spew import spew

                spew()
            self.boot()
            if self.hooks is not None:
                self.hooks.note_boot()
            self.look_over()
            self.watch(self._inbox.fileno(), self._obey)
            self.watch(self.lifeline, self._orphaned)
            self.watch(self._channel.fileno(), self._hear)
            if self._thread is not None:
                self._thread.start()
            if not self.gets_ready_in_run:
                self.note_ready()
            exit_code = self.run()
            if self._state is WorkerState.BOOTING and not (self.is_retiring or self.is_quitting):
                raise BootError(f"run() of {type(self).__name__} has returned before the worker was ready")
        except BaseException as error:
            if self._state is not WorkerState.BOOTING:
                raise
            # Whatever it was, the arbiter is told, and decides.
            failure = failure_of(error)
            self._report(failure)
            return failure.exit_code
        self.log.info("Worker exiting (pid: %s)", os.getpid())
        return exit_code or EXIT_OK

    @classmethod
    def _read_options(cls, settings: Settings) -> dict[str, object]:
        if not settings.worker_options:
            return {}
        # Most servers give none.
        from pyserver.workers.options import read_options

        return read_options(settings.worker_options, cls.known_options(), cls.__name__)

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
                    self.note_leaving()
                    if not self.is_quitting:
                        self.is_quitting = True
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
            self.answer()
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
        self.unwatch(self.lifeline)
        self.unwatch(self._channel.fileno())
        self._is_orphan = True
        self.log.error("The arbiter is gone; worker (pid: %s) stops", os.getpid())
        # With nobody left to end a worker that hangs, the kernel does: the alarm's default action needs no Python.
        with contextlib.suppress(ValueError):
            # In a thread that is not the main one the application's handler, if it has one, stays.
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
