"""The watcher of source files, for development: a process of its own, and what it tells the arbiter.

watchfiles needs a thread, and the arbiter, which forks, may have none. So the arbiter only holds one end of a socket.
"""

from __future__ import annotations

import contextlib
import enum
import os
import select
import signal
import socket
import sys
import time
from importlib.util import find_spec
from typing import TYPE_CHECKING

from pyserver.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyserver.log import ErrorLog
    from pyserver.settings.model import Settings

_CHUNK = 65_536
# Before anything else is imported: the modules are to be found where the arbiter has found its own.
_PROGRAM = """\
import os, sys
sys.path[:] = sys.argv[1].split(os.pathsep)
from pyserver.arbiter.watcher import main
main()
"""
# For the arbiter to act on. The terminal's Ctrl-C reaches the watcher too, and it is to end without a word.
_BLOCKED = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP)


class Word(enum.Enum):
    """What is said on the socket; each is followed by a text and a zero byte."""

    TREE = b"t"  # to the watcher: watch this directory and those below it
    DIRECTORY = b"d"  # to the watcher: watch this directory
    EXTRA = b"x"  # to the watcher: this file, directory or pattern counts as well
    WATCHING = b"w"  # to the arbiter: changes are noticed from now on, in so many directories
    CHANGED = b"c"  # to the arbiter: this file has changed
    TROUBLE = b"!"  # to the arbiter: something for the log

    def encoded(self, text: str) -> bytes:
        """The message with this text."""
        return self.value + os.fsencode(text) + b"\0"


def decode_words(data: bytes) -> tuple[list[tuple[Word, str]], bytes]:
    """The messages at the beginning of `data`, and the bytes of one that is not complete yet."""
    *messages, rest = data.split(b"\0")
    return [(Word(message[:1]), os.fsdecode(message[1:])) for message in messages], rest


class Watcher:
    """The arbiter's end of the process that watches.

    Args:
        settings: which engine, and what is to be watched besides the application.
        name: the server's name, for the process title.
        poll: what the arbiter waits with; it learns of the socket.

    Raises:
        ConfigError: watchfiles is not installed, or the process cannot be started.
    """

    def __init__(self, settings: Settings, name: str, poll: select.poll) -> None:
        if find_spec("watchfiles") is None:
            raise ConfigError("--reload needs the package watchfiles, which is missing: pip install watchfiles")
        if settings.preload_app:
            raise ConfigError("--reload and --preload exclude each other: add --no-preload-app in development")
        self._known: set[tuple[Word, str]] = set()
        self._pending = b""
        self._is_watching = False
        self._socket, theirs = socket.socketpair()
        self._socket.setblocking(False)
        self._poll = poll
        poll.register(self, select.POLLIN)
        with theirs:
            self._say(Word.EXTRA, map(os.path.abspath, settings.reload_extra_files))
            self.watch_sources_of(settings)
            arguments = [sys.executable, "-c", _PROGRAM, os.pathsep.join(sys.path)]
            arguments += [settings.reload_engine, str(time.time_ns()), name]
            try:
                self.pid = os.posix_spawn(
                    sys.executable,
                    arguments,
                    os.environ,
                    file_actions=[(os.POSIX_SPAWN_DUP2, theirs.fileno(), 0)],
                    setsigmask=_BLOCKED,
                )
            except OSError as error:
                raise ConfigError(f"--reload: the watcher cannot be started: {error.strerror}") from None

    def fileno(self) -> int:
        """Readable when the watcher has said something, or has ended."""
        return self._socket.fileno()

    def watch_sources_of(self, settings: Settings) -> None:
        """Watch where the settings say that the application lies."""
        self.watch([os.getcwd(), *map(os.path.abspath, settings.pythonpath)], [])

    def watch(self, trees: Iterable[str], directories: Iterable[str]) -> None:
        """Watch these too: trees with all that is below them."""
        self._say(Word.TREE, trees)
        self._say(Word.DIRECTORY, directories)

    def changed(self, log: ErrorLog) -> list[str]:
        """The files that have changed since the last call; other news is put into the log."""
        if self.fileno() < 0:
            return []
        news, is_at_end = self._receive()
        changed = [_shown(text) for word, text in news if word is Word.CHANGED]
        for word, text in news:
            if word is Word.TROUBLE:
                log.warning("The watcher of --reload: %s", text)
            elif word is Word.WATCHING and not self._is_watching:
                self._is_watching = True
                log.warning("Reloading when a source file changes (--reload), which is for development only: %s", text)
        if is_at_end:
            log.error("The watcher of --reload has ended: send HUP to reload, or start the server again")
            self.close()
        return changed

    def close(self) -> None:
        """Let the watcher end, or, in a child of the arbiter, have nothing to do with it."""
        if self._socket.fileno() >= 0:
            self._poll.unregister(self)
            self._socket.close()

    def _say(self, word: Word, texts: Iterable[str]) -> None:
        new = dict.fromkeys((word, text) for text in texts)
        messages = [word.encoded(text) for word, text in new if (word, text) not in self._known]
        self._known.update(new)
        # It may have ended, which is seen when it is heard, or be closed.
        with contextlib.suppress(OSError):
            self._socket.sendall(b"".join(messages))

    def _receive(self) -> tuple[list[tuple[Word, str]], bool]:
        is_at_end = False
        try:
            while chunk := self._socket.recv(_CHUNK):
                self._pending += chunk
            is_at_end = True
        except BlockingIOError:
            pass
        except OSError:
            # One that was killed with something unread resets the socket.
            is_at_end = True
        words, self._pending = decode_words(self._pending)
        return words, is_at_end


def _shown(path: str) -> str:
    """The path as the log has it: from the current directory on, where it lies in it."""
    try:
        return path.removeprefix(os.path.join(os.getcwd(), ""))
    except OSError:
        return path  # The directory was removed.
