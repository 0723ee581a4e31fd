"""Both logs through an object of `logger_class`: what the server says to it, and what it is told of requests.

Imported only where there is such an object, as pyserver.glogging is.
"""

from __future__ import annotations

import datetime
import importlib
import queue
import threading
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple

from pyserver.errors import ConfigError
from pyserver.lending import withdraw
from pyserver.log import ErrorLog

if TYPE_CHECKING:
    from collections.abc import Mapping

_MOST_WAITING = 10_000  # requests that are not logged yet; more are dropped and counted
_LAST_SECONDS = 2.0  # that there are for them at the end of a worker

Answered = tuple[bytes, bytes | None, dict[str, Any] | None, str, int, int, int]


def load_logger_class(named: str | type | None) -> type:
    """The class that a setting names; without one, that of this package.

    Raises:
        ConfigError: it cannot be imported, or is no class.
    """
    if isinstance(named, type):
        return named
    if named is None:
        from pyserver.glogging import Logger

        return Logger
    module, _, name = named.replace(":", ".").rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (Exception, SystemExit) as error:  # Any class: the module is the operator's.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(f"logger_class is {named!r}, which cannot be imported: {reason}") from None
    if not isinstance(found, type):
        raise ConfigError(f"logger_class is {named!r}, which is no class")
    return found


def reason_of(error: BaseException) -> str:
    """In one line, why a logger cannot be made."""
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    cause = error.__cause__ or error.__context__
    # What logging says by itself is only which handler it is.
    why = " ".join(str(cause).split()) if cause is not None else ""
    return reason if why in reason else f"{reason} ({why})"


class LoggerLog(ErrorLog):
    """The error log as the server sees it, where a logger writes it.

    Stacks that are written by signal handlers, and what applications write to `wsgi.errors`, go to the errorlog
    itself.

    Args:
        path, level: as those of ErrorLog.
        logger_class: with the methods of pyserver.glogging.Logger.
        configuration: what the class is given.

    Raises:
        BootError: the errorlog cannot be opened.
        ConfigError: the logger cannot be made.
    """

    __slots__ = ("_configuration", "_logger", "_said_failure")

    def __init__(self, path: str, level: str, logger_class: type, configuration: Any) -> None:
        super().__init__(path, level)
        self._configuration = configuration
        self._said_failure = False
        withdraw()
        try:
            if hasattr(logger_class, "install"):
                logger_class.install()
            self._logger = logger_class(configuration)
        except ConfigError as error:
            self.close()
            raise ConfigError(f"{configuration.logging_origin}: {error}") from None
        except Exception as error:  # Any class: it is the operator's, and so is the configuration.
            self.close()
            raise ConfigError(f"{configuration.logging_origin}: {reason_of(error)}") from None

    @property
    def logger(self) -> Any:
        """What hooks get."""
        return self._logger

    @property
    def measures(self) -> bool:
        """Whether the logger tells statsd of requests itself."""
        return hasattr(self._logger, "increment")

    def reopen(self) -> None:
        """Have the logger open its files anew."""
        super().reopen()
        self._call(self._logger.reopen_files)

    def resume(self) -> None:
        """Be the log again: another may have given the loggers other handlers since."""
        withdraw()
        self._call(self._logger.setup, self._configuration)

    def log_access(self, answered: Answered) -> None:
        """Have a request logged."""
        try:
            self._call(self._logger.access, *_told(answered))
        except BaseException:
            # SystemExit, say. The thread that calls this is the only one: without it nothing would be logged any more.
            self._note_failure()

    def _record(
        self, level: str, counted: str, message: object, args: tuple[object, ...], keywords: Mapping[str, Any]
    ) -> None:
        if self.statsd is not None:
            self._measure(counted, keywords.get("extra"))
        if counted:
            self._call(getattr(self._logger, counted), message, *args, **_without(keywords, counted))
        else:
            self._call(self._logger.log, level, message, *args, **keywords)

    def _call(self, method: Any, *args: Any, **keywords: Any) -> None:
        try:
            method(*args, **keywords)
        except Exception:
            self._note_failure()

    def _note_failure(self) -> None:
        """The server has to live on, whatever its logger does; and to say so once is enough."""
        if not self._said_failure:
            self._said_failure = True
            super()._record("error", "", "The logger_class has failed", (), {"exc_info": True})


class AccessQueue:
    """Answered requests on their way to a logger, which a thread waits for: handlers may do what takes long.

    Args:
        log: whose logger it is.
    """

    def __init__(self, log: LoggerLog) -> None:
        self._log = log
        # By its module: gevent has put another in its place, in which greenlets wait.
        self._waiting: queue.SimpleQueue[Answered | None] = queue.SimpleQueue()
        self._dropped = 0
        self._thread = threading.Thread(target=self._run, name="pyserver-access", daemon=True)
        self._thread.start()

    def put(self, answered: Answered) -> None:
        """Have a request logged soon."""
        if self._waiting.qsize() < _MOST_WAITING:
            self._waiting.put(answered)
        else:
            self._dropped += 1

    def finish(self) -> None:
        """Return when all are logged, or some seconds have passed."""
        self._waiting.put(None)
        self._thread.join(_LAST_SECONDS)

    def _run(self) -> None:
        while (answered := self._waiting.get()) is not None:
            self._log.log_access(answered)
            if self._dropped and self._waiting.empty():
                self._dropped, dropped = 0, self._dropped
                self._log.warning("%s requests were not logged, because the logger takes too long", dropped)


class LoggedRequest(NamedTuple):
    """`req`: a request as far as it was read."""

    method: str
    uri: str
    path: str
    query: str
    version: tuple[int, int]
    headers: list[tuple[str, str]]
    remote_addr: str


class LoggedResponse(NamedTuple):
    """`resp`: the response to it."""

    status: str
    status_code: int
    headers: list[tuple[str, str]]
    sent: int


def _told(answered: Answered) -> tuple[LoggedResponse, LoggedRequest, dict[str, Any], datetime.timedelta]:
    head, response_head, environ, address, status, sent, duration_ns = answered
    request = _request(head, address)
    response = _response(response_head, status, sent)
    if environ is None:
        environ = _environ(request)
    return response, request, environ, datetime.timedelta(microseconds=duration_ns // 1000)


def _request(head: bytes, address: str) -> LoggedRequest:
    line, *fields = head.decode("latin-1").split("\r\n")
    method, _, rest = line.partition(" ")
    uri, _, protocol = rest.partition(" ")
    path, _, query = uri.partition("#")[0].partition("?")
    minor = protocol.removeprefix("HTTP/1.")
    version = (1, int(minor) if minor in ("0", "1") else 1)
    return LoggedRequest(method, uri, path, query, version, _fields(fields, upper=True), address)


def _response(head: bytes | None, status: int, sent: int) -> LoggedResponse:
    line, *fields = (head or b"").decode("latin-1").split("\r\n")
    said = line.partition(" ")[2]
    if not said.startswith(str(status)):
        # The answer is ours: the application has failed, or was not asked.
        try:
            said = f"{status} {HTTPStatus(status).phrase}"
        except ValueError:
            said = str(status)
    return LoggedResponse(said, status, _fields(fields), sent)


def _fields(lines: list[str], *, upper: bool = False) -> list[tuple[str, str]]:
    pairs = [(name, value.strip()) for name, colon, value in (line.partition(":") for line in lines) if colon]
    return [(name.upper(), value) for name, value in pairs] if upper else pairs


def _environ(request: LoggedRequest) -> dict[str, Any]:
    """environ of a request that no WSGI application was called with, as far as logs look at it."""
    fields: dict[str, Any] = {f"HTTP_{name.replace('-', '_')}": value for name, value in request.headers}
    return {
        **fields,
        "REMOTE_ADDR": request.remote_addr,
        "REQUEST_METHOD": request.method,
        "RAW_URI": request.uri,
        "PATH_INFO": request.path,
        "QUERY_STRING": request.query,
        "SERVER_PROTOCOL": f"HTTP/{request.version[0]}.{request.version[1]}",
    }


def _without(keywords: Mapping[str, Any], counted: str) -> Mapping[str, Any]:
    """The logger's own `exception` knows that there is one."""
    if counted != "exception":
        return keywords
    return {name: value for name, value in keywords.items() if name != "exc_info" or value is not True}
