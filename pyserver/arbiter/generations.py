"""One load of the settings and what belongs to it; and which of two loads the server stands on."""

from __future__ import annotations

import contextlib
import enum
import os
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

from pyserver._scoreboard import Scoreboard
from pyserver._version import __version__
from pyserver.arbiter.logs import open_access_file, open_log
from pyserver.errors import BootError, ConfigError
from pyserver.identity import hand_over, identity_of
from pyserver.lending import lend
from pyserver.sockets import FileAccess, parse_address, scheme_of
from pyserver.workers import load_worker_class, worker_name

if TYPE_CHECKING:
    import ssl

    from pyserver._access import AccessFile
    from pyserver.arbiter.certificates import Files
    from pyserver.log import ErrorLog
    from pyserver.settings.model import Settings
    from pyserver.sockets import Address
    from pyserver.systemd import Inherited
    from pyserver.workers.base import Worker
    from pyserver.workers.messages import QuicSeat

_MOST_FAILED_BOOTS = 3
_ADMIN_UMASK = 0o117


class Verdict(enum.Enum):
    """What follows from a worker that could not boot."""

    HALT = "halt"  # no worker has ever served: the server has nothing to offer
    TRY_AGAIN = "try again"
    DROP = "drop"  # the settings before these serve on


class Surroundings(NamedTuple):
    """What a load of the settings does to this process, and what workers inherit from it."""

    directory: str
    environ: dict[str, str]
    path: list[str]

    @classmethod
    def now(cls) -> Surroundings:
        """As they are; OSError when the directory was removed."""
        return cls(os.getcwd(), dict(os.environ), list(sys.path))

    def renewed(self) -> Surroundings:
        """As they are now. A directory that a deployment has removed keeps its name: there may be another by now."""
        try:
            return self.now()
        except OSError:
            return Surroundings(self.directory, dict(os.environ), list(sys.path))

    def restore(self) -> None:
        """Go back to them, after a later load was given up."""
        # A release that was removed in the meantime: its workers serve on, and so must we.
        with contextlib.suppress(OSError):
            os.chdir(self.directory)
        for name in os.environ.keys() - self.environ.keys():
            del os.environ[name]
        os.environ.update(self.environ)
        sys.path[:] = self.path


class Generation:
    """All workers forked from one load of the settings."""

    def __init__(
        self,
        number: int,
        settings: Settings,
        worker_class: type[Worker],
        log: ErrorLog,
        surroundings: Surroundings,
        inherited: Inherited,
        scoreboard: Scoreboard,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self.number = number
        self.settings = settings
        self.worker_class = worker_class
        self.log = log
        self.surroundings = surroundings
        self.inherited = inherited
        self.scoreboard = scoreboard
        self._context = context
        self.certificates: Files | None = None  # whose changes are looked for
        self.quic: QuicSeat | None = None  # once its sockets are open, if there is HTTP/3
        self.access_file: AccessFile | None = None  # None where the server writes no access log itself
        self.is_proven = False  # one of its workers has been ready
        self.failed_boots = 0
        self.last_failure = ""  # what the log has already been told in full

    @property
    def addresses(self) -> list[Address]:
        """Where it listens, each once; raises BootError when a socket that `bind` names was not passed to us."""
        return self.inherited.replace(self._binds)

    @property
    def contexts(self) -> list[ssl.SSLContext | None] | None:
        """With which TLS is spoken at each of them, None where it is not; None for no TLS at all."""
        if self._context is None:
            return None
        plain = [parse_address(text) for text in self.settings.bind if scheme_of(text) == "http"]
        in_the_clear = set() if self.ignores_bind or not plain else set(self.inherited.replace(plain))
        return [None if address in in_the_clear else self._context for address in self.addresses]

    @property
    def ignores_bind(self) -> bool:
        """Whether it listens on the sockets that were passed to us instead."""
        return self.inherited.take_the_place_of(self._binds)

    @property
    def _binds(self) -> list[Address]:
        return list(map(parse_address, self.settings.bind))

    @property
    def socket_access(self) -> FileAccess:
        """Who may connect to its Unix sockets."""
        workers = identity_of(self.settings)
        if workers is None:
            return FileAccess(self.settings.umask)
        return FileAccess(self.settings.umask, workers.uid, workers.gid)

    @property
    def admin_addresses(self) -> list[Address]:
        """Where its state is told; one at most."""
        return [parse_address(self.settings.admin)] if self.settings.admin else []

    @property
    def quic_addresses(self) -> list[Address]:
        """Where HTTP/3 is served, each once."""
        return list(dict.fromkeys(map(parse_address, self.settings.quic_bind)))

    @property
    def admin_access(self) -> FileAccess:
        """Who may connect there, if it is a Unix socket: the server's user and group, unless a umask says otherwise."""
        return FileAccess(self.settings.umask or _ADMIN_UMASK)

    @property
    def pidfile(self) -> str:
        """The path of the pid file, whatever directory a later load changes to; "" without one."""
        path = self.settings.pidfile
        return os.path.realpath(os.path.join(self.surroundings.directory, path)) if path else ""

    @property
    def worker_name(self) -> str:
        """Of the worker class."""
        return worker_name(self.settings.worker_class, self.settings.threads)

    @property
    def name(self) -> str:
        """The server's name in process titles."""
        return str(self.settings.proc_name or self.settings.default_proc_name or self.settings.wsgi_app)

    def hand_over_logs(self) -> None:
        """Let the workers open the log files, which they do when logs are rotated; the arbiter does it before them."""
        for path in (self.settings.errorlog, self.settings.accesslog):
            if path and path != "-":
                hand_over(path, self.settings)

    def told_once(self, failure: str) -> str:
        """What the log says about a failed boot: all of it at first, then, while it is the same, one line."""
        is_known, self.last_failure = failure == self.last_failure, failure
        return failure.partition("\n")[0] if is_known else failure


def load_generation(
    number: int,
    settings: Settings,
    inherited: Inherited,
    scoreboard: Scoreboard,
    access_file: AccessFile | None = None,
) -> Generation:
    """What the settings name, found and opened, except for the listeners.

    Args:
        number: that no generation has had.
        settings: of all its workers.
        inherited: the sockets that this process was started with.
        scoreboard: of the generation before; it is taken over when its slots have as many rows as the workers want.
        access_file: of the generation before; it is taken over when it is at the same path.

    Raises:
        ConfigError: the worker class or a logger cannot be loaded, or cannot serve with the settings, or the access
            log cannot be opened.
        BootError: the error log cannot be opened, or there is no memory for the scoreboard or the access log.
    """
    worker_class = load_worker_class(worker_name(settings.worker_class, settings.threads))
    worker_class.check(settings)
    if settings.admin in settings.bind and not str(settings.admin).endswith(":0"):
        raise ConfigError(f"admin is {settings.admin!r}, which bind is, too: one of the two needs another address")
    # What is written while it is read has changed since.
    certificates = _certificates(settings)
    context = tls_context(settings)
    scoreboard = _with_rows(worker_class.rows(settings), scoreboard)
    log, file = _open_logs(worker_class.access_path(settings), settings, scoreboard.slots, access_file)
    if log.logger is log:
        lend(log)
    # As applications ask for what serves them; the name is what those look for that were written for gunicorn.
    os.environ.setdefault("SERVER_SOFTWARE", f"pyserver/{__version__} (like gunicorn)")
    generation = Generation(number, settings, worker_class, log, Surroundings.now(), inherited, scoreboard, context)
    generation.access_file = file
    generation.certificates = certificates
    generation.hand_over_logs()
    if settings.capture_output:
        log.capture()
    _warn_of_unheeded(worker_class, settings, log)
    return generation


def _open_logs(
    path: str | None, settings: Settings, slots: int, before: AccessFile | None
) -> tuple[ErrorLog, AccessFile | None]:
    """The error log, and the file of the access log at that path."""
    log = open_log(settings)
    try:
        return log, open_access_file(path, slots, before, log) if path else None
    except (ConfigError, BootError):
        log.close()
        raise


def _warn_of_unheeded(worker_class: type[Worker], settings: Settings, log: ErrorLog) -> None:
    for name in worker_class.unheeded:
        if getattr(settings, name) != settings.rows[name].default:
            log.warning("%s has no effect with the worker class %s", name, worker_class.__name__)


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """With which TLS is spoken; None where it is not.

    Raises:
        ConfigError: a certificate or a key cannot be loaded.
    """
    # Before any module of TLS is loaded, which most servers do without.
    if not (settings.certfile or settings.keyfile or settings.sni):
        return None
    from pyserver.arbiter.certificates import context_of

    return context_of(settings)


def _certificates(settings: Settings) -> Files | None:
    """Their files as they are now, where it is looked whether they change."""
    if not (settings.certificate_check and (settings.certfile or settings.sni)):
        return None
    from pyserver.arbiter.certificates import Files

    return Files(settings, time.monotonic_ns())


def _with_rows(rows: int, scoreboard: Scoreboard) -> Scoreboard:
    if rows == scoreboard.rows:
        return scoreboard
    try:
        return Scoreboard(scoreboard.slots, rows)
    except MemoryError as error:
        raise BootError(f"{error}, each with room for {rows} requests") from None


class Generations:
    """The current generation, and the one to go back to while the current one has not proved itself."""

    def __init__(self, first: Generation) -> None:
        self.current = first
        self.fallback: Generation | None = None
        self._last_number = first.number
        self._loaded = [first]

    def next_number(self) -> int:
        """A number that no generation has had."""
        self._last_number += 1
        return self._last_number

    def propose(self, generation: Generation) -> None:
        """Try another; the last one that proved itself stays as the fallback."""
        if self.current.is_proven:
            self.fallback = self.current
        self.current = generation
        self._loaded.append(generation)

    def note_ready(self, number: int) -> bool:
        """A worker of that generation is ready; whether that is what the current one had to prove."""
        if number != self.current.number or self.current.is_proven:
            return False
        self.current.is_proven = True
        self.fallback = None
        return True

    def note_failed_boot(self, number: int) -> Verdict | None:
        """A worker of that generation could not boot; None when the generation no longer matters."""
        if number != self.current.number:
            return None
        if self.current.is_proven:
            return Verdict.TRY_AGAIN
        self.current.failed_boots += 1
        if self.fallback is None:
            return Verdict.HALT
        return Verdict.DROP if self.current.failed_boots >= _MOST_FAILED_BOOTS else Verdict.TRY_AGAIN

    def drop(self) -> None:
        """Give the current generation up and go back to the fallback, and to its surroundings."""
        if self.fallback is None:
            raise LookupError("there is no generation to go back to")
        self.current, self.fallback = self.fallback, None
        self.current.surroundings.restore()
        self.current.log.resume()

    def in_use(self) -> list[Generation]:
        """Those whose listeners must stay open."""
        return [self.current] if self.fallback is None else [self.fallback, self.current]

    def other_logs(self) -> list[ErrorLog | AccessFile]:
        """Those that a worker of the current generation has no use for."""
        others = [one for one in self._loaded if one is not self.current]
        files = [one.access_file for one in others if one.access_file is not self.current.access_file]
        return [*(one.log for one in others), *(file for file in files if file is not None)]

    def release(self) -> None:
        """Close the logs of those that are not in use any more."""
        for generation in self._loaded:
            if generation not in self.in_use():
                generation.log.close()
        self._loaded = self.in_use()
