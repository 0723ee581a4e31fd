"""The pid file. Whether a server has it is told by the lock on it, never by the number in it.

The lock belongs to the open file, so it ends with the arbiter, however that ends: workers close the descriptor, and
programs that are executed do not get it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import time
from typing import TYPE_CHECKING

from pyserver.errors import EXIT_CONFIG, BootError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_MOST_TRIES = 16  # others come and go between two looks
_PAUSE = 0.002  # between two tries to get a lock, seconds
_SUCCESSOR = ".2"  # gunicorn's: what a successor adds to the path until its predecessor has gone
_LONGEST = 64  # more than a process id and a newline have


class PidFile:
    """The file at `path`, which holds the id of this process and a newline, and is locked by it.

    Who reads it finds a whole number or no file, at any time.

    Raises:
        BootError: another server has it, or it cannot be written; then it is as it was.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        with _refusals(path):
            self._descriptor = _claimed(path)

    @property
    def is_in_place(self) -> bool:
        """Whether the file at the path is still this one."""
        return _is_at(self._path, self._descriptor)

    def move(self, path: str) -> None:
        """Have it at another path.

        Raises:
            BootError: another server has that one, or it cannot be replaced.
        """
        with _refusals(path):
            # Perhaps whoever had that path has put ours there.
            if not _is_at(path, self._descriptor):
                _put(self._path, path)
        self._path = path

    def remove(self) -> None:
        """Give up the lock, and remove the file unless somebody has put another one there."""
        with contextlib.suppress(OSError):
            if self.is_in_place:
                os.unlink(self._path)
        self.close()

    def close(self) -> None:
        """For a child: be none of those that have it."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class PidFiles:
    """The pid files that the settings name: one as a rule, two until a reload that moves it has proved itself.

    Args:
        is_successor: the path itself is that of another arbiter, whose place this one will take.
    """

    def __init__(self, *, is_successor: bool = False) -> None:
        self._suffix = _SUCCESSOR if is_successor else ""
        self._held: dict[str, PidFile] = {}

    def open(self, path: str) -> None:
        """Have the file at `path`; one that was removed under us is made again.

        Raises:
            BootError: as `PidFile` does; then everything is as before.
        """
        held = self._held.get(path)
        if held is not None and held.is_in_place:
            return
        self._held[path] = PidFile(path + self._suffix)
        if held is not None:
            held.close()

    def keep(self, paths: Collection[str]) -> None:
        """Remove the files at all other paths."""
        for path in [path for path in self._held if path not in paths]:
            self._held.pop(path).remove()

    def succeed(self) -> None:
        """The arbiter that had the paths has gone: take them.

        Raises:
            BootError: somebody else has one of them by now.
        """
        self._suffix = ""
        for path, held in self._held.items():
            held.move(path)

    def hand_over(self, successor: int) -> None:
        """Put the files of the process `successor` in the place of ours.

        Systemd reads the file as soon as the process that was in it has ended, and takes the service for ended when
        there is none.
        """
        for path, held in self._held.items():
            with contextlib.suppress(OSError):
                if held.is_in_place and _content(path + _SUCCESSOR) == b"%d\n" % successor:
                    os.rename(path + _SUCCESSOR, path)

    def clear_successor(self) -> None:
        """Remove what a successor that was killed has left."""
        for path in self._held:
            with contextlib.suppress(OSError, BootError), _left_behind(path + _SUCCESSOR):
                os.unlink(path + _SUCCESSOR)

    def close(self) -> None:
        """For a child: be none of those that have them."""
        for held in self._held.values():
            held.close()


def _claimed(path: str) -> int:
    """The descriptor of a file that is written, locked, and then put at `path`."""
    name = f"{path}.{os.urandom(4).hex()}"
    descriptor = os.open(name, _CREATE, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # As gunicorn has it: whoever may see the directory may read the number.
        os.fchmod(descriptor, 0o644)
        os.write(descriptor, b"%d\n" % os.getpid())
        _put(name, path)
    except BaseException:
        os.close(descriptor)
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
    return descriptor


def _put(name: str, path: str) -> None:
    """Move a file of ours to `path`, if nobody has that one."""
    for _ in range(_MOST_TRIES):
        try:
            # Unlike a rename it fails when there is one, so of two servers that start at once one is refused.
            os.link(name, path)
        except FileExistsError:
            with contextlib.suppress(FileNotFoundError), _left_behind(path):
                os.rename(name, path)
                return
        else:
            os.unlink(name)
            return
    raise FileExistsError(f"{path!r} changes all the time")


@contextlib.contextmanager
def _left_behind(path: str) -> Iterator[None]:
    """Hold the lock of the pid file at `path`, which nobody else has.

    Raises:
        BootError: somebody has it, or it is no pid file.
        FileNotFoundError: there is none, or another one by now.
    """
    descriptor = os.open(path, _READ)
    try:
        content = os.read(descriptor, _LONGEST) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b"?"
        if not _is_locked(descriptor):
            holder = content.decode("ascii", "replace").strip()
            reason = f"a running server (pid {holder}) has it; stop that one or choose another --pid"
            raise _refusal(path, reason)
        if not _is_at(path, descriptor):
            raise FileNotFoundError(path)
        # Somebody's source file must not go for a slip on the command line.
        if content.strip() and not content.strip().isdigit():
            raise _refusal(path, "the file exists and is no pid file")
        yield
    finally:
        os.close(descriptor)


def _is_locked(descriptor: int) -> bool:
    """Whether the lock could be had. A process that is just ending may still have it when its end is seen elsewhere."""
    for _ in range(_MOST_TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(_PAUSE)
    return False


def _is_at(path: str, descriptor: int) -> bool:
    try:
        there, ours = os.stat(path), os.fstat(descriptor)
    except FileNotFoundError:
        return False
    return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)


def _content(path: str) -> bytes:
    descriptor = os.open(path, _READ)
    try:
        return os.read(descriptor, _LONGEST)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _refusals(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _refusal(path, error.strerror or str(error)) from None


def _refusal(path: str, reason: str) -> BootError:
    return BootError(f"cannot take the pid file {path!r}: {reason}", EXIT_CONFIG)
