"""The error log: whole lines to one descriptor, in gunicorn's format.

The standard library's logging is not used: it would cost every worker about a megabyte, and it takes a lock that
a fork can leave locked.
"""

from __future__ import annotations

import os
import sys
import time

from pyserver.errors import EXIT_CONFIG, BootError

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}

_STDERR = 2
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC


class ErrorLog:
    """A log that never raises once it is open, and never mixes two lines.

    A record is one write to a descriptor in append mode, so several processes can share the file. When the disk is
    full or the reader has gone, records are counted instead of written, and the next one that can be written is
    preceded by a line with their number.

    Args:
        path: a file, which is created when missing; "-" is standard error.
        level: the lowest level that is written, one of `LEVELS`.

    Raises:
        BootError: the file cannot be opened.
    """

    __slots__ = ("_descriptor", "_dropped", "_path", "_threshold")

    def __init__(self, path: str = "-", level: str = "info") -> None:
        self._path = path
        self._threshold = LEVELS[level]
        self._dropped = 0
        # A descriptor of its own: an application that closes standard error must not have a connection take its place.
        self._descriptor = _standard_error() if path == "-" else _open(path)

    def debug(self, message: str, *args: object) -> None:
        """Write a record of level debug; `args` are put into `message` with the % operator."""
        self.log("debug", message, *args)

    def info(self, message: str, *args: object) -> None:
        """Write a record of level info."""
        self.log("info", message, *args)

    def warning(self, message: str, *args: object) -> None:
        """Write a record of level warning."""
        self.log("warning", message, *args)

    def error(self, message: str, *args: object) -> None:
        """Write a record of level error."""
        self.log("error", message, *args)

    def critical(self, message: str, *args: object) -> None:
        """Write a record of level critical."""
        self.log("critical", message, *args)

    def exception(self, message: str, *args: object) -> None:
        """Write a record of level error, followed by the traceback of the exception that is being handled."""
        self.log("error", "%s\n%s", _formatted(message, args), _traceback())

    def log(self, level: str, message: str, *args: object) -> None:
        """Write a record of the level of that name, when the log is open for it."""
        if LEVELS[level] >= self._threshold:
            self._write(_line(level, _formatted(message, args)))

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
            record = _line("warning", lost) + record
        try:
            # A second turn only when a signal cut a write to a pipe, or the disk filled up in the middle of it.
            while record:
                record = record[os.write(self._descriptor, record) :]
        except OSError:
            self._dropped += 1
        else:
            self._dropped = 0


def _standard_error() -> int:
    try:
        return os.dup(_STDERR)
    except OSError:
        return _STDERR  # It is closed: records are dropped.


def _open(path: str) -> int:
    try:
        return os.open(path, _FLAGS, 0o666)
    except OSError as error:
        raise BootError(f"cannot open the error log {path!r}: {error.strerror}", EXIT_CONFIG) from None


def _formatted(message: str, args: tuple[object, ...]) -> str:
    if not args:
        return message
    try:
        return message % args
    except Exception:
        # The log must survive a record with the wrong arguments, or an argument whose __str__ raises.
        return f"{message} (this record's arguments do not fit it: {sys.exc_info()[1]!r})"


def _line(level: str, message: str) -> bytes:
    stamp = time.strftime("%Y-%m-%d %H:%M:%S %z")
    return f"[{stamp}] [{os.getpid()}] [{level.upper()}] {message}\n".encode("utf-8", "backslashreplace")


def _traceback() -> str:
    """The traceback of the exception that is being handled; without its source lines where they cannot be had."""
    try:
        # Most processes never need it, and it is half a megabyte with what it imports.
        import traceback

        return traceback.format_exc().rstrip()
    except Exception:
        # No descriptor is left to import or read with, perhaps; that may be what is to be logged.
        error = sys.exc_info()[1]
        while error is not None and error.__context__ is not None:
            error = error.__context__
        lines = []
        at = error.__traceback__ if error is not None else None
        while at is not None:
            code = at.tb_frame.f_code
            lines.append(f'  File "{code.co_filename}", line {at.tb_lineno}, in {code.co_name}')
            at = at.tb_next
        return "\n".join(["Traceback (most recent call last):", *lines, f"{type(error).__name__}: {error}"])
