"""Why a worker died, in words. Pure: what was found out is handed in."""

from __future__ import annotations

import enum
import os
import signal
from typing import NamedTuple

from pyserver.errors import EXIT_WORKER_CRASHED
from pyserver.workers.messages import WorkerState

# faulthandler writes the stacks of these, and they come from the process itself.
_CRASHES = frozenset((signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT))
_STAGES = {
    WorkerState.BOOTING: "while it booted",
    WorkerState.READY: "while it served",
    WorkerState.RETIRING: "while it retired",
}
_MEGABYTE = 1024 * 1024


class OutOfMemory(enum.Enum):
    """Whether the kernel has killed somebody for want of memory when a worker died of SIGKILL."""

    COUNTED = "its cgroup has counted an out-of-memory kill"
    ON_THE_MACHINE = "the machine has counted an out-of-memory kill"
    NOT_COUNTED = "no out-of-memory kill was counted"
    UNKNOWN = "whether memory was out cannot be told on this system"


class Findings(NamedTuple):
    """What is known about a worker that died without our killing it."""

    status: int  # as `os.waitpid` has it
    state: WorkerState  # when it died
    out_of_memory: OutOfMemory = OutOfMemory.UNKNOWN
    request: str = ""  # what it was doing or did last, as the end of a sentence
    peak_bytes: int = 0  # the most memory it had; 0: not known
    private_bytes: int = 0  # what it had to itself when it was looked at last; 0: not known


def how_it_ended(status: int, out_of_memory: OutOfMemory = OutOfMemory.UNKNOWN, when: str = "") -> str:
    """How a process ended and who did it, as the rest of a sentence about it.

    Args:
        status: as `os.waitpid` has it.
        out_of_memory: looked at for SIGKILL only.
        when: words that are put where they belong, "while it served".
    """
    code = os.waitstatus_to_exitcode(status)
    space = f" {when}" if when else ""
    if code == EXIT_WORKER_CRASHED:
        return f"exited with code {code}{space}: an error that stands above"
    if code >= 0:
        return f"exited with code {code}{space}"
    name = _signal_name(-code)
    dump = " and left a core dump" if os.WCOREDUMP(status) else ""
    if -code in _CRASHES:
        return f"crashed with {name}{dump}{space}: its stack stands above"
    if code != -signal.SIGKILL:
        return f"was ended by {name}{dump}{space}, not sent by the arbiter"
    if out_of_memory is OutOfMemory.COUNTED:
        return f"was ended by SIGKILL{space}, sent by the kernel: out of memory"
    return f"was ended by SIGKILL{space}, not sent by the arbiter, and {out_of_memory.value}"


def cause_of_death(findings: Findings) -> str:
    """All of it in one line, as the rest of a sentence that begins with the worker."""
    parts = [how_it_ended(findings.status, findings.out_of_memory, _STAGES.get(findings.state, ""))]
    if os.WIFEXITED(findings.status) and os.WEXITSTATUS(findings.status) != EXIT_WORKER_CRASHED:
        # Nothing of ours does that, and what is called from a request is caught there.
        parts[0] += ": the application ended its process"
    if findings.request:
        parts.append(findings.request)
    if findings.peak_bytes:
        parts.append(f"it had {_megabytes(findings.peak_bytes)} of memory at most")
    if findings.private_bytes:
        parts.append(f"{_megabytes(findings.private_bytes)} to itself when it was last looked at")
    return "; ".join(parts)


def is_told_to_stop(status: int) -> bool:
    """Whether a process ended because somebody sent it a signal that asks for that."""
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


def _megabytes(count: int) -> str:
    return f"{count / _MEGABYTE:.0f} MB"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
