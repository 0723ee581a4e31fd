"""Forking a worker, and the first and last steps of the child."""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import os
import signal
import sys
from importlib.machinery import PathFinder
from importlib.util import find_spec, module_from_spec
from posix import fork  # gevent replaces that of `os`, and what we fork is not its affair.
from typing import TYPE_CHECKING, NoReturn, Protocol

from pyserver._abort import install_abort_handler
from pyserver.errors import EXIT_OK, EXIT_WORKER_CRASHED
from pyserver.signals import SIGNALS, STACKS_SIGNAL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pyserver.workers.base import Worker
    from pyserver.workers.messages import Seat


class Closable(Protocol):
    """What a child may have to close."""

    def close(self) -> object:
        """Give it up."""


class Lifeline:
    """A pipe that nobody writes to: when it ends, the arbiter, which alone holds it open, has died."""

    def __init__(self) -> None:
        self.read_end, self._write_end = os.pipe()

    def close(self) -> None:
        """For a worker: be one of those that watch."""
        os.close(self._write_end)


def set_title(role: str, name: str) -> None:
    """Name this process in `ps`: `pyserver: worker [shop]`."""
    # A name from the command line may hold bytes that are not UTF-8.
    _setproctitle(f"pyserver: {role} [{name.encode('utf-8', 'replace').decode()}]")


def _title_setter() -> Callable[[str], None]:
    """The compiled function of setproctitle, without its package: that one imports logging, and with it 0.7 MB."""
    package = find_spec("setproctitle")
    found = package and PathFinder.find_spec("setproctitle._setproctitle", package.submodule_search_locations)
    if found is None or found.loader is None:
        # On a platform that it was not compiled for, processes keep the titles they have.
        return lambda title: None
    module = module_from_spec(found)
    found.loader.exec_module(module)
    setter: Callable[[str], None] = module.setproctitle
    return setter


_setproctitle = _title_setter()


def fork_worker(worker_class: type[Worker], seat: Seat, not_its_own: Iterable[Closable], name: str) -> int:
    """Start a worker process.

    Args:
        worker_class: what serves in it.
        seat: what it is given.
        not_its_own: what this process has open and the worker must not have, the signal inbox included.
        name: the server's name, for the title.

    Returns:
        The process id of the child.

    Raises:
        OSError: the system has no room for another process.
    """
    return fork_process(lambda mask: live_as_worker(worker_class, seat, not_its_own, name, mask))


def fork_process(live: Callable[[Iterable[int]], NoReturn]) -> int:
    """Fork, and have the child do nothing but `live`, which gets the signal mask that it sets when it is ready for it.

    Raises:
        OSError: the system has no room for another process.
    """
    # What is still in a buffer would be written twice.
    flush()
    # A signal that comes before the child has handlers of its own must not end up in a copy of ours.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [row.number for row in SIGNALS])
    try:
        pid = fork()
        if pid == 0:
            live(mask)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    return pid


def live_as_worker(
    worker_class: type[Worker], seat: Seat, not_its_own: Iterable[Closable], name: str, mask: Iterable[int]
) -> NoReturn:
    """The child, from its first step to its last; never returns into the frames of the process that forked it."""
    exit_code, has_time = EXIT_WORKER_CRASHED, False
    try:
        take_first_steps("worker", seat, not_its_own, name)
        worker = worker_class(seat)
        # It has its handlers now: what was sent to it in the meantime must not end it.
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        exit_code = worker.live()
        has_time = exit_code == EXIT_OK and not worker.is_quitting
    except BaseException:
        # Nothing may escape: what would go on is a second arbiter.
        seat.log.exception("Worker (pid: %s) crashed", os.getpid())
    finally:
        if seat.hooks is not None:
            seat.hooks.note_exit()
        _leave(exit_code, has_time)


def take_first_steps(role: str, seat: Seat, not_its_own: Iterable[Closable], name: str) -> None:
    """Give up what is the arbiter's, and be a process of its own.

    That the arbiter has died is seen at `seat.lifeline`, once the worker serves. Randomness needs no step: `random`
    and `ssl` seed themselves anew in a forked child.
    """
    # The inbox is among it, so the handlers of the arbiter go too.
    for item in not_its_own:
        item.close()
    if seat.application is None:
        # Those of the arbiter. With an application from a mold they are the application's.
        atexit._clear()
    set_title(role, name)
    _prepare_for_hanging(seat)
    seat.log.info("Booting %s with pid: %s", role, os.getpid())


def _prepare_for_hanging(seat: Seat) -> None:
    """Have what the arbiter sends over a request that takes long handled natively, even with the interpreter lock held.

    STACKS_SIGNAL writes the Python stack of every thread to the error log. ABRT writes it too, then the client is
    answered and the process ends.
    """
    # Each handler calls the one that was there before it: the stacks come first, what hooks have to do comes last.
    # It may be enabled already: by the mold, or by PYTHONFAULTHANDLER.
    faulthandler.disable()
    if seat.hooks is not None:
        seat.hooks.catch_abort()
    install_abort_handler(seat.settings.timeout)
    faulthandler.enable(seat.log.fileno(), all_threads=True)
    faulthandler.register(STACKS_SIGNAL, seat.log.fileno(), all_threads=True, chain=False)


def _leave(exit_code: int, has_time: bool) -> NoReturn:
    """The last steps, as the interpreter's own end has them, without unwinding the frames of the arbiter.

    Args:
        exit_code: of the process.
        has_time: whether threads that the application has started are waited for.
    """
    try:
        threading = sys.modules.get("threading")
        if has_time and threading is not None:
            threading._shutdown()
        if exit_code == EXIT_OK:
            atexit._run_exitfuncs()
        flush()
    finally:
        os._exit(exit_code)


def flush() -> None:
    """Write what has been printed and is still in a buffer."""
    for stream in (sys.stdout, sys.stderr):
        # Closed, or on a full disk: no reason not to go on.
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
