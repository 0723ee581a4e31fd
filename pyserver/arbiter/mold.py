"""The process that imports the application once and is the image of the workers: its own side.

It forks twice and the process in between exits, so that the worker becomes a child of the arbiter, which is a
subreaper; `pyserver.arbiter.molds` is the arbiter's side.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import signal
import socket
from posix import waitpid
from time import sleep
from typing import TYPE_CHECKING, NoReturn

from pyserver._process import die_with_parent, trim_malloc
from pyserver.arbiter.leftovers import leftovers, open_descriptors
from pyserver.arbiter.molds import DESCRIPTOR, ORDER, REOPEN, Event, EventKind, Mold
from pyserver.arbiter.spawn import flush, fork_process, live_as_worker, take_first_steps
from pyserver.errors import EXIT_OK
from pyserver.identity import become
from pyserver.signals import SIGNALS
from pyserver.workers.base import Worker
from pyserver.workers.messages import failure_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pyserver.arbiter.spawn import Closable
    from pyserver.workers.hooks import WorkerHooks
    from pyserver.workers.messages import Seat

# As `waitpid` and `sleep` from before the application is imported: gevent's would wait by its hub.
_Socket = socket.socket

_LONGEST_ORDER = 65_536
# A program that a worker starts must not have the channel of another one.
_FLAGS = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
_STEP = 0.001  # seconds


def fork_mold(
    worker_class: type[Worker],
    seat: Seat,
    not_its_own: Iterable[Closable],
    name: str,
    hooks_of: Callable[[int, int, bytes], WorkerHooks | None],
) -> Mold:
    """Start a mold.

    Args:
        worker_class: of the workers.
        seat: what each worker is given, but for its slot, its number, its channel, its hooks and the application.
        not_its_own: what this process has open, and neither the mold nor a worker must have.
        name: the server's name, for the titles.
        hooks_of: what calls the hooks in the worker of this slot and number, with their notes.

    Raises:
        OSError: the system has no room for another process, or no descriptor for its channel.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        life = _Life(worker_class, seat, name, theirs, hooks_of)
        pid = fork_process(lambda mask: life.begin((*not_its_own, ours, seat.channel), mask))
    except OSError:
        ours.close()
        raise
    finally:
        theirs.close()
    return Mold(pid, seat.generation, ours)


class _Life:
    """The mold's own side."""

    def __init__(
        self,
        worker_class: type[Worker],
        seat: Seat,
        name: str,
        channel: socket.socket,
        hooks_of: Callable[[int, int, bytes], WorkerHooks | None],
    ) -> None:
        self._hooks_of = hooks_of
        self._worker_class = worker_class
        self._seat = seat
        self._name = name
        self._channel = channel

    def begin(self, not_its_own: Iterable[Closable], mask: Iterable[int]) -> NoReturn:
        """The whole life of the process, from its first step to its last."""
        exit_code = EXIT_OK
        try:
            take_first_steps("mold", self._seat, not_its_own, self._name)
            self._ignore_signals(mask)
            exit_code = self._load()
            if exit_code == EXIT_OK:
                self._settle()
                self._obey()
        except BaseException:
            # Nothing may escape: what would go on is a second arbiter.
            self._seat.log.exception("The mold (pid: %s) crashed", os.getpid())
        finally:
            # Without what the application wants to be called at its end: that is for the workers.
            flush()
            os._exit(exit_code)

    def _load(self) -> int:
        self._before = open_descriptors()
        try:
            become(self._seat.settings)
            # Becoming somebody else takes it back.
            die_with_parent()
            application = self._worker_class.load(str(self._seat.settings.wsgi_app))
        except BaseException as error:
            # Whatever it was, the arbiter is told, and decides.
            failure = failure_of(error)
            self._tell(Event(EventKind.FAILED, number=failure.exit_code, text=failure.text))
            return failure.exit_code
        self._seat = self._seat._replace(application=application)
        self._seat.log.info("Mold (pid: %s) has loaded the application", os.getpid())
        self._warn()
        return EXIT_OK

    def _warn(self) -> None:
        datagrams = self._seat.quic.sockets if self._seat.quic is not None else ()
        own = {one.fileno() for one in (*self._seat.listeners, *datagrams, self._channel)} | {0, 1, 2}
        own |= {self._seat.log.fileno(), self._seat.lifeline} | self._worker_class.prepare_to_fork()
        known = {fd: what for fd, what in open_descriptors().items() if fd in own}
        for one in leftovers({**self._before, **known}):
            self._seat.log.warning("Preload: %s", one)

    def _settle(self) -> None:
        """Leave as little as can be that a worker would write to: each page it writes to becomes its own."""
        gc.collect()
        # The collector writes to the head of every object it looks at.
        gc.freeze()
        trim_malloc()

    def _obey(self) -> None:
        self._tell(Event(EventKind.LOADED, number=os.getpid()))
        while True:
            data, ancillary, _, _ = self._channel.recvmsg(_LONGEST_ORDER, socket.CMSG_SPACE(DESCRIPTOR.size), _FLAGS)
            if not data:
                return
            what, slot, number = ORDER.unpack_from(data)
            if what == REOPEN:
                self._seat.log.reopen()
                if self._seat.access_file is not None:
                    self._seat.access_file.reopen(self._seat.log)
                continue
            (descriptor,) = DESCRIPTOR.unpack(ancillary[0][2])
            with _Socket(fileno=descriptor) as channel:
                hooks = self._hooks_of(slot, number, data[ORDER.size :])
                seat = self._seat._replace(slot=slot, number=number, channel=channel, hooks=hooks)
                self._fork(seat)

    def _fork(self, seat: Seat) -> None:
        try:
            pid = fork_process(lambda mask: self._fork_again(seat, mask))
        except OSError as error:
            self._tell(Event(EventKind.REFUSED, seat.slot, error.errno or 0))
            return
        # An application that ignores the signal has the kernel reap it.
        with contextlib.suppress(ChildProcessError):
            if waitpid(pid, 0)[1]:
                self._tell(Event(EventKind.REFUSED, seat.slot, errno.ECHILD))

    def _fork_again(self, seat: Seat, mask: Iterable[int]) -> NoReturn:
        """In the process between the mold and the worker: its end makes the worker the arbiter's child."""
        try:
            parent = os.getpid()
            pid = fork_process(lambda _: self._become_worker(seat, mask, parent))
            self._tell(Event(EventKind.FORKED, seat.slot, pid))
        except OSError as error:
            self._tell(Event(EventKind.REFUSED, seat.slot, error.errno or 0))
        finally:
            os._exit(EXIT_OK)

    def _become_worker(self, seat: Seat, mask: Iterable[int], parent: int) -> NoReturn:
        _wait_for_the_end_of(parent)
        for row in SIGNALS:
            if signal.getsignal(row.number) is _ignore:
                signal.signal(row.number, signal.SIG_DFL)
        live_as_worker(
            self._worker_class, seat._replace(refork=self._refork), [self._channel], self._name, mask
        )

    def _refork(self, worker: Worker, descriptor: int) -> None:
        """In a worker, between two requests: fork a mold that has all that the worker has by now."""
        with _Socket(fileno=descriptor) as channel, contextlib.suppress(ChildProcessError):
            # What it is may be known to itself alone.
            if type(worker).drop_copies is Worker.drop_copies:
                self._seat.log.error("%s cannot refork: it has no drop_copies", type(worker).__name__)
                return
            try:
                pid = fork_process(lambda mask: self._refork_again(worker, channel, mask))
            except OSError as error:
                self._seat.log.error("A worker cannot refork: %s", error.strerror)
            else:
                waitpid(pid, 0)

    def _refork_again(self, worker: Worker, channel: socket.socket, mask: Iterable[int]) -> NoReturn:
        """In the process between the worker and the mold, as between a mold and its workers."""
        try:
            parent = os.getpid()
            fork_process(lambda _: self._begin_again(worker, channel, mask, parent))
        finally:
            os._exit(EXIT_OK)

    def _begin_again(self, worker: Worker, channel: socket.socket, mask: Iterable[int], parent: int) -> NoReturn:
        """The rest of a life that began as a worker's."""
        try:
            listeners = [listener.dup() for listener in worker.listeners]
            worker.drop_copies()
            self._channel = channel
            self._seat = self._seat._replace(listeners=listeners)
            take_first_steps("mold", self._seat, [], self._name)
            self._ignore_signals(mask)
            _wait_for_the_end_of(parent)
            die_with_parent()
            self._warn()
            self._settle()
            self._obey()
        except BaseException:
            # As above.
            self._seat.log.exception("The mold (pid: %s) crashed", os.getpid())
        finally:
            os._exit(EXIT_OK)

    def _ignore_signals(self, mask: Iterable[int]) -> None:
        """Let no terminal and no service manager that signals everybody take this process from the workers to come."""
        for row in SIGNALS:
            if row.number != signal.SIGCHLD:
                signal.signal(row.number, _ignore)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def _tell(self, event: Event) -> None:
        self._channel.send(event.encoded())


def _wait_for_the_end_of(parent: int) -> None:
    """Who asks to be told of its parent's death would take the end of the process in between for the arbiter's."""
    while os.getppid() == parent:
        sleep(_STEP)


def _ignore(number: int, frame: object) -> None:
    """A handler and not SIG_IGN, which the programs that the application starts would inherit."""
