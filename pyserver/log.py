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
from typing import TYPE_CHECKING

from pyserver.errors import EXIT_CONFIG, BootError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}

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

    Args:
        path: a file, which is created when missing; "-" is standard error.
        level: the lowest level that is written, one of `LEVELS`.

    Raises:
        BootError: the file cannot be opened.
    """

    __slots__ = ("_descriptor", "_dropped", "_is_cut", "_longest", "_path", "_send", "_threshold")

    def __init__(self, path: str = "-", level: str = "info") -> None:
        self._path = path
        self._threshold = LEVELS[level]
        self._dropped = 0
        self._is_cut = False  # the last write ended within a line
        # A descriptor of its own: an application that closes standard error must not have a connection take its place.
        self._descriptor = _standard_error() if path == "-" else _open(path)
        self._send, self._longest = _way_to_write(self._descriptor)

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
        self._send, self._longest = _way_to_write(self._descriptor)

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


def offer(descriptor: int, text: str) -> None:
    """Write what the descriptor takes now, of a text that is worth no wait."""
    send, longest = _way_to_write(descriptor)
    with contextlib.suppress(OSError):
        for piece in _pieces(text.encode("utf-8", "backslashreplace"), longest):
            send(descriptor, piece)


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
