"""Going into the background: the command that was typed ends when the server serves, or with why it does not."""

from __future__ import annotations

import contextlib
import os
import signal
import sys

from pyserver.errors import EXIT_CONFIG

_LONGEST = 4_000  # so that a message fits in the pipe


class Starter:
    """The process that was started, as the daemon sees it: it waits to be told how the start has ended.

    Args:
        write_end: of the pipe that it reads; without one, nobody waits.
    """

    def __init__(self, write_end: int = -1) -> None:
        self._write_end = write_end

    def tell(self, exit_code: int, reason: str = "") -> None:
        """Let it exit with this code, after saying why when that is no success. The first time counts."""
        if self._write_end < 0:
            return
        # It may have been killed: the server goes on without it.
        with contextlib.suppress(OSError):
            line = " ".join(reason.split())[:_LONGEST]
            os.write(self._write_end, f"{exit_code} {line}\n".encode("utf-8", "replace"))
        self.close()

    def close(self) -> None:
        """For a worker, too: the starter has nothing to hear from it."""
        if self._write_end >= 0:
            os.close(self._write_end)
        self._write_end = -1


def detach(*, keeps_output: bool) -> Starter:
    """Go on as a daemon; returns in the daemon only.

    It has a session of its own without a terminal, the directory stays, and nobody but the user may write what it
    makes. The standard descriptors lead to the null device.

    Args:
        keeps_output: leave standard output and standard error alone where they are no terminal.

    Raises:
        OSError: the system has no room for another process.
    """
    for stream in (sys.stdout, sys.stderr):
        # What is still in a buffer would be written twice.
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    read_end, write_end = os.pipe()
    child = os.fork()
    if child:
        os.close(write_end)
        os._exit(_wait(child, read_end))
    os.close(read_end)
    os.setsid()
    # The leader of a session could be given a terminal by opening one; its child cannot.
    if os.fork():
        os._exit(0)
    os.umask(os.umask(0o22) | 0o22)
    _let_go(keeps_output)
    os.write(write_end, b"%d\n" % os.getpid())
    return Starter(write_end)


def _let_go(keeps_output: bool) -> None:
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for descriptor in range(3):
        if descriptor == 0 or not keeps_output or os.isatty(descriptor):
            os.dup2(null, descriptor)
    os.close(null)


def _wait(child: int, read_end: int) -> int:
    """The exit code of the process that was started. How long a boot may take is the daemon's to watch."""
    daemon = 0
    try:
        os.waitpid(child, 0)
        with open(read_end, "rb") as news:
            daemon = int(news.readline() or 0)
            told = news.readline()
    except KeyboardInterrupt:
        # Nobody wants a server whose start was interrupted.
        if daemon:
            with contextlib.suppress(ProcessLookupError):
                os.kill(daemon, signal.SIGINT)
        return 128 + signal.SIGINT
    code, _, reason = told.strip().partition(b" ")
    if not code:
        code, reason = b"%d" % EXIT_CONFIG, b"the server ended before it was ready"
    if reason:
        with contextlib.suppress(OSError):
            os.write(2, b"pyserver: " + reason + b"\n")
    return int(code)
