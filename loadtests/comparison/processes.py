"""A server as the processes of one session: started, looked at in /proc, told to reload, ended."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

_TICKS = os.sysconf("SC_CLK_TCK")
_BOOT = 30.0  # seconds that a server may take until it answers
_STOP = 40.0  # seconds that it may take to stop; gunicorn gives its workers 30


class StartError(Exception):
    """A server does not come up; has the end of its log."""


class Use(NamedTuple):
    """What the processes of a session have used and hold.

    Args:
        processor: seconds, user and system, of all that are or were there.
        memory: bytes, by share (PSS).
    """

    processor: float
    memory: int


def free_port() -> int:
    """A port of the loopback address that nobody listens at now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running(
    command: Sequence[str], directory: Path, log: Path, port: int, target: str, variables: Mapping[str, str]
) -> Iterator[int]:
    """A server that answers a GET of the target when the block begins; gives its pid, which is its session's id.

    Raises:
        StartError: it ends, or does not answer in time.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=directory,
            env={**os.environ, **variables},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + _BOOT
        while not _answers(port, target):
            if process.poll() is not None or time.monotonic() > deadline:
                said = " / ".join(log.read_text("utf-8", "replace").splitlines()[-3:])
                raise StartError(f"it does not answer: {' '.join(command)}: {said}")
            time.sleep(0.1)
        yield process.pid
    finally:
        _stop(process)


def _answers(port: int, target: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", target)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STOP)
    for pid in _session(process.pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def use_of(session: int) -> Use:
    """What the processes of a session use; it never shrinks when one of them ends and is waited for."""
    processor = 0.0
    memory = 0
    for pid, fields in _session(session).items():
        # proc_pid_stat(5): cutime and cstime, of children that were waited for, are fields 16 and 17; the first is 3.
        processor += sum(map(int, fields[13:15])) / _TICKS
        with contextlib.suppress(OSError, StopIteration):
            # clock_getcpuclockid(3): the clock of another process, which counts nanoseconds where stat counts ticks.
            processor += time.clock_gettime(~pid << 3 | 2)
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text("latin-1").splitlines()
            memory += int(next(line for line in lines if line.startswith("Pss:")).split()[1]) * 1024
    return Use(processor, memory)


def _session(number: int) -> dict[int, list[str]]:
    """The processes of a session: the fields of each in /proc/PID/stat, from the state on."""
    found = {}
    for directory in Path("/proc").iterdir():
        if directory.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (directory / "stat").read_text("latin-1").rpartition(")")[2].split()
                if int(fields[3]) == number:
                    found[int(directory.name)] = fields
    return found


def require_proc() -> None:
    """Exit where there is no /proc to look at."""
    if not sys.platform.startswith("linux"):
        sys.exit("loadtests/compare.py: processor time and memory are read in /proc: this needs Linux")
