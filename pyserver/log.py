"""The error log: whole lines to one descriptor, in gunicorn's format.

The standard library's logging is not used: it would cost every worker about a megabyte, and it takes a lock that
a fork can leave locked.
"""

from __future__ import annotations

import _socket
import contextlib
import errno
import os
import select
import stat
import sys
import time
from typing import TYPE_CHECKING, Any

from pyserver.errors import EXIT_CONFIG, BootError
from pyserver.lending import lend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import TracebackType

    from pyserver._statsd import Statsd
    from pyserver.settings.model import Settings
    from pyserver.syslog import Syslog

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}

# In gunicorn these names stand for what there is without a class of one's own.
_DEFAULT_CLASSES = (None, "simple", "gunicorn.glogging.Logger", "gunicorn.instrument.statsd.Statsd")
_CONFIGURATIONS = ("logconfig_dict", "logconfig_json", "logconfig")

_STDERR = 2
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
_UNBOUNDED = sys.maxsize
# Before gevent puts one in its place that gives others their turn: a record is written at once.
_poll = select.poll


class ErrorLog:
    """A log that never raises once it is open, never waits, and never mixes two lines.

    A record is one write to a descriptor in append mode, so several processes can share the file; to a pipe, a socket
    or a terminal a long record goes in pieces of whole lines. When the disk is full, or the reader has gone or does
    not read, records are counted instead of written, and the next one that can be written is preceded by a line with
    their number.

    Its methods take the keywords of those of the standard library: `exc_info` has a traceback added, and `extra` may
    hold a metric for statsd, as it may in gunicorn.

    Args:
        path: a file, which is created when missing; "-" is standard error.
        level: the lowest level that is written, one of `LEVELS`.

    Attributes:
        statsd: is told of metrics, and how many records there are of level warning and above.
        syslog: gets each record, too.
        logger: what hooks get; an object of `logger_class` where there is one.

    Raises:
        BootError: the file cannot be opened.
    """

    __slots__ = (
        "_captures", "_descriptor", "_dropped", "_is_cut", "_longest", "_path", "_send", "_threshold", "statsd",
        "syslog",
    )  # fmt: skip

    def __init__(self, path: str = "-", level: str = "info") -> None:
        self.statsd: Statsd | None = None
        self.syslog: Syslog | None = None
        self._captures = False
        self._path = path
        self._threshold = LEVELS[level]
        self._dropped = 0
        self._is_cut = False  # the last write ended within a line
        # A descriptor of its own: an application that closes standard error must not have a connection take its place.
        self._descriptor = _standard_error() if path == "-" else _open(path)
        self._send, self._longest = _way_to_write(self._descriptor)

    @property
    def logger(self) -> object:
        """What hooks get."""
        return self

    @property
    def loglevel(self) -> int:
        """The lowest level that is written, as the standard library numbers it."""
        return self._threshold

    @property
    def error_log(self) -> Any:
        """The standard library's logger whose records come here."""
        import logging

        return logging.getLogger("gunicorn.error")

    @property
    def access_log(self) -> Any:
        """The standard library's logger that gunicorn logs requests by."""
        import logging

        return logging.getLogger("gunicorn.access")

    def debug(self, message: object, *args: object, **keywords: Any) -> None:
        """Write a record of level debug; `args` are put into `message` with the % operator."""
        self._record("debug", "debug", message, args, keywords)

    def info(self, message: object, *args: object, **keywords: Any) -> None:
        """Write a record of level info."""
        self._record("info", "info", message, args, keywords)

    def warning(self, message: object, *args: object, **keywords: Any) -> None:
        """Write a record of level warning."""
        self._record("warning", "warning", message, args, keywords)

    def error(self, message: object, *args: object, **keywords: Any) -> None:
        """Write a record of level error."""
        self._record("error", "error", message, args, keywords)

    def critical(self, message: object, *args: object, **keywords: Any) -> None:
        """Write a record of level critical."""
        self._record("critical", "critical", message, args, keywords)

    def exception(self, message: object, *args: object, **keywords: Any) -> None:
        """Write a record of level error, followed by the traceback of the exception that is being handled."""
        self._record("error", "exception", message, args, {"exc_info": True, **keywords})

    def log(self, level: str | int, message: object, *args: object, **keywords: Any) -> None:
        """Write a record of that level, by its name or by the number that it has in the standard library."""
        name = level.lower() if isinstance(level, str) else _level_of(level)
        self._record(name if name in LEVELS else "info", "", message, args, keywords)

    def gauge(self, name: str, value: object) -> None:
        """Tell statsd, if there is one, what something is."""
        self._tell(name, value, "gauge")

    def increment(self, name: str, value: object = 1, sampling_rate: float = 1.0) -> None:
        """Tell statsd how many more there are; always."""
        self._tell(name, value, "counter")

    def decrement(self, name: str, value: Any = 1, sampling_rate: float = 1.0) -> None:
        """Tell statsd how many fewer there are; always."""
        self._tell(name, -value, "counter")

    def histogram(self, name: str, value: object) -> None:
        """Tell statsd one of many values."""
        self._tell(name, value, "histogram")

    def timer(self, name: str, value: object) -> None:
        """Tell statsd how long something took, milliseconds."""
        self._tell(name, value, "timer")

    def _tell(self, name: str, value: object, kind: str) -> None:
        if self.statsd is not None:
            self.statsd.tell(name, value, kind)

    def _record(
        self, level: str, counted: str, message: object, args: tuple[object, ...], keywords: Mapping[str, Any]
    ) -> None:
        if self.statsd is not None:
            self._measure(counted, keywords.get("extra"))
            if not message:
                return
        if LEVELS[level] >= self._threshold:
            text = _formatted(str(message), args)
            if keywords.get("exc_info"):
                text = f"{text}\n{_traceback(keywords['exc_info'])}"
            self._write(_line(level, text))
            if self.syslog is not None:
                self.syslog.send_error(level, text)

    def take(self, level: int, line: str) -> None:
        """Write a line as it is, of a record of that level as the standard library numbers it."""
        self._write(f"{line}\n".encode("utf-8", "backslashreplace"))
        if self.syslog is not None:
            self.syslog.send_error(_level_of(level), line)

    def _measure(self, counted: str, extra: object) -> None:
        assert self.statsd is not None
        if counted not in ("", "debug", "info"):
            self.statsd.increment(f"gunicorn.log.{counted}")
        if isinstance(extra, dict) and extra.get("metric") and extra.get("value") is not None:
            self.statsd.tell(str(extra["metric"]), extra["value"], str(extra.get("mtype")))

    def capture(self) -> None:
        """Have what this process and its children print go to the file, if there is one."""
        if self._path == "-":
            return
        self._captures = True
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError, AttributeError):
                stream.flush()
        try:
            # Not the log's own descriptor: who prints may want to wait. There is somebody who reads, so this does not.
            fresh = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOCTTY)
        except OSError as error:
            self.error("cannot capture standard output in %s: %s", self._path, error.strerror)
            return
        for standard in (1, _STDERR):
            os.dup2(fresh, standard)
        os.close(fresh)

    def resume(self) -> None:
        """Be the log again, after a reload that had another was given up."""
        lend(self)
        if self._captures:
            self.capture()

    def reopen(self) -> None:
        """Open the path again, for log rotation; the descriptor keeps its number.

        When the path cannot be opened, the log goes on with the file it has and says so in it.
        """
        if self._path == "-":
            return
        try:
            fresh = _open(self._path)
        except BootError as error:
            self.error("%s; going on with the file that is open", error)
            return
        # The number stays: faulthandler of the workers writes to it from a signal handler.
        os.dup2(fresh, self._descriptor, inheritable=False)
        os.close(fresh)
        self._send, self._longest = _way_to_write(self._descriptor)
        if self._captures:
            self.capture()

    def close(self) -> None:
        """Close the file, if it is one; what is logged afterwards is dropped."""
        if self._descriptor not in (_STDERR, -1):
            os.close(self._descriptor)
        self._descriptor = -1

    def fileno(self) -> int:
        """The descriptor that records are written to."""
        return self._descriptor

    def _write(self, record: bytes) -> None:
        if self._dropped:
            lost = f"{self._dropped} log records could not be written and were dropped"
            if self._put(_line("warning", lost)):
                self._dropped = 0
        if self._dropped or not self._put(record):
            self._dropped += 1

    def _put(self, record: bytes) -> bool:
        """Write the record; false when not all of it is taken now."""
        if self._is_cut:
            record = b"\n" + record
        try:
            for piece in _pieces(record, self._longest):
                rest = piece
                # A second turn only when the disk filled up in the middle of it, or a terminal took a part.
                while rest:
                    written = self._send(self._descriptor, rest)
                    self._is_cut = not rest[:written].endswith(b"\n")
                    rest = rest[written:]
        except OSError:
            return False
        return True


def logger_of(settings: Settings) -> tuple[str | type | None, str]:
    """Who is to do all logging in the server's place.

    Returns:
        A class or its name, None for pyserver.glogging.Logger; and the setting that asks for it, empty without any.
    """
    named = None if settings.logger_class in _DEFAULT_CLASSES else settings.logger_class
    asking = "logger_class" if named is not None else ""
    return named, asking or next((name for name in _CONFIGURATIONS if getattr(settings, name)), "")


def offer(descriptor: int, text: str) -> None:
    """Write what the descriptor takes now, of a text that is worth no wait."""
    send, longest = _way_to_write(descriptor)
    with contextlib.suppress(OSError):
        for piece in _pieces(text.encode("utf-8", "backslashreplace"), longest):
            send(descriptor, piece)


def try_to_append(path: str) -> None:
    """Raise the OSError that opening it for a log would, as far as that can be told without making the file."""
    try:
        os.close(os.open(path, _FLAGS))
    except FileNotFoundError:
        try_to_make(path)


def try_to_make(path: str) -> None:
    """Raise OSError when there is no directory for this file, or none that can be written."""
    # A link that leads to nothing is followed by who makes the file.
    directory = os.path.join(os.path.dirname(os.path.realpath(path)), "")
    os.stat(directory)
    if not os.access(directory, os.W_OK | os.X_OK):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES), path)


def _pieces(record: bytes, longest: int) -> Iterator[bytes]:
    """The record in parts of at most `longest` bytes, which end where a line does unless the line itself is longer."""
    at = 0
    while len(record) - at > longest:
        end = record.rfind(b"\n", at, at + longest) + 1 or at + longest
        yield record[at:end]
        at = end
    yield record[at:]


def _way_to_write(descriptor: int) -> tuple[Callable[[int, bytes], int], int]:
    """What writes to the descriptor without waiting, and how much it is given at once."""
    try:
        mode, waits = os.fstat(descriptor).st_mode, os.get_blocking(descriptor)
    except OSError:
        return os.write, _UNBOUNDED  # It is closed: records are dropped.
    if stat.S_ISREG(mode):
        return os.write, _UNBOUNDED
    if stat.S_ISSOCK(mode):
        return _send_now, select.PIPE_BUF
    return _write_if_there_is_room if waits else os.write, select.PIPE_BUF


def _send_now(descriptor: int, data: bytes) -> int:
    # Of the module below `socket`: gevent replaces the class there, and its own would make the descriptor non-blocking
    # for others too.
    channel = _socket.socket(fileno=descriptor)
    try:
        return channel.send(data, _socket.MSG_DONTWAIT)
    finally:
        channel.detach()


def _write_if_there_is_room(descriptor: int, data: bytes) -> int:
    """For a descriptor that is shared with others, who may want to wait: it is left as it is, and asked first.

    A pipe that can be written to takes `PIPE_BUF` bytes whole.
    """
    room = _poll()
    room.register(descriptor, select.POLLOUT)
    if not room.poll(0):
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return os.write(descriptor, data)


def _standard_error() -> int:
    try:
        mode = os.fstat(_STDERR).st_mode
        if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
            try:
                # On Linux that opens the same pipe or terminal once more, so that not to wait is our affair alone.
                return os.open(f"/dev/fd/{_STDERR}", _FLAGS)
            except OSError:
                pass  # It belongs to another user, perhaps, or nobody reads from it.
        return os.dup(_STDERR)
    except OSError:
        return _STDERR  # It is closed: records are dropped.


def _open(path: str) -> int:
    try:
        return os.open(path, _FLAGS | os.O_CREAT, 0o666)
    except OSError as error:
        reason = "nobody reads from it" if error.errno == errno.ENXIO else error.strerror
        raise BootError(f"cannot open the error log {path!r}: {reason}", EXIT_CONFIG) from None


def _level_of(number: int) -> str:
    """The name of the highest level that is not above this number."""
    return next((name for name in reversed(LEVELS) if LEVELS[name] <= number), "debug")


def _formatted(message: str, args: tuple[object, ...]) -> str:
    if not args:
        return message
    # The rule of the standard library.
    values = args[0] if len(args) == 1 and isinstance(args[0], dict) else args
    try:
        return message % values
    except Exception:
        # The log must survive a record with the wrong arguments, or an argument whose __str__ raises.
        return f"{message} (this record's arguments do not fit it: {sys.exc_info()[1]!r})"


def _line(level: str, message: str) -> bytes:
    stamp = time.strftime("%Y-%m-%d %H:%M:%S %z")
    return f"[{stamp}] [{os.getpid()}] [{level.upper()}] {message}\n".encode("utf-8", "backslashreplace")


def _traceback(which: object = True) -> str:
    """The traceback of an exception, or of that which is handled; without source lines where they cannot be had."""
    try:
        # Most processes never need it, and it is half a megabyte with what it imports.
        import traceback

        if isinstance(which, tuple):
            which = which[1]
        if isinstance(which, BaseException):
            return "".join(traceback.format_exception(type(which), which, which.__traceback__)).rstrip()
        return traceback.format_exc().rstrip()
    except Exception:
        # No descriptor is left to import or read with, perhaps; that may be what is to be logged.
        error = sys.exc_info()[1]
        while error is not None and error.__context__ is not None:
            error = error.__context__
        return "" if error is None else without_source(error, error.__traceback__)


def without_source(error: BaseException, at: TracebackType | None) -> str:
    """The traceback of an exception from one of its frames on, for which nothing has to be imported or read."""
    lines = []
    while at is not None:
        code = at.tb_frame.f_code
        lines.append(f'  File "{code.co_filename}", line {at.tb_lineno}, in {code.co_name}')
        at = at.tb_next
    return "\n".join(["Traceback (most recent call last):", *lines, f"{type(error).__name__}: {error}"])
