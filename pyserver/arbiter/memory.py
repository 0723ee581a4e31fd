"""What the system says about memory: how much a worker has, and whether somebody was killed for want of it."""

from __future__ import annotations

import os
import sys

from pyserver.arbiter.autopsy import OutOfMemory

_CGROUPS = "/sys/fs/cgroup"
_SECOND_NS = 1_000_000_000
_PAGE = os.sysconf("SC_PAGE_SIZE")
# A struct rusage has kibibytes everywhere but on macOS.
_RUSAGE_UNIT = 1 if sys.platform == "darwin" else 1024


def private_bytes(pid: int, most_bytes: int = 0) -> int | None:
    """The memory that a process shares with no other; None when it cannot be told, or the process is gone.

    Args:
        pid: the process.
        most_bytes: as long as it has certainly no more than this, what is told may be too much. The exact number costs
            a walk over its page tables, which stops the process for about a millisecond for each gigabyte.
    """
    try:
        # proc(5): size, resident and shared, in pages. What is shared with the process it was forked from is not
        # among the shared ones, which are those of files.
        _, resident, shared, *_ = map(int, _read(f"/proc/{pid}/statm").split())
    except (OSError, ValueError):
        return None
    bound = max(0, resident - shared) * _PAGE
    if bound <= most_bytes:
        return bound
    try:
        return _sum_of_private(_read(f"/proc/{pid}/smaps_rollup"))
    except (OSError, ValueError):
        return bound  # It belongs to another user, or this kernel has no such file.


def peak_bytes(max_rss: int) -> int:
    """The most memory that a process had at a time, by the `ru_maxrss` of `os.wait4`."""
    return max_rss * _RUSAGE_UNIT


class OutOfMemoryKills:
    """The kernel's count of processes that it has killed for want of memory.

    Looked at when a worker has died of SIGKILL, and at no other time. It never raises.

    Args:
        root: where /proc and /sys are.
    """

    def __init__(self, root: str = "") -> None:
        self._path = next((path for path in _counters(root) if _count(path) is not None), None)
        self._seen = self._count()
        self._unexplained = 0
        self._looked_at_ns = 0

    def explain_one(self, now_ns: int) -> OutOfMemory:
        """Whether one more was counted than deaths were explained by it.

        A kill explains a death only within a second of being seen first: it may have been another's.
        """
        count = self._count()
        if count > self._seen:
            self._unexplained, self._looked_at_ns = count - self._seen, now_ns
            self._seen = count
        elif now_ns - self._looked_at_ns > _SECOND_NS:
            self._unexplained = 0
        if self._path is None:
            return OutOfMemory.UNKNOWN
        if not self._unexplained:
            return OutOfMemory.NOT_COUNTED
        self._unexplained -= 1
        return OutOfMemory.ON_THE_MACHINE if self._path.endswith("vmstat") else OutOfMemory.COUNTED

    def _count(self) -> int:
        return _count(self._path) or 0 if self._path is not None else 0


def _counters(root: str) -> list[str]:
    """Where the count may be, the most exact one first."""
    found = []
    try:
        lines = _read(f"{root}/proc/self/cgroup").splitlines()
    except (OSError, ValueError):
        lines = []
    # cgroups(7): ID:CONTROLLERS:PATH, where version 2 has neither id nor controllers.
    for controllers, path in (line.split(":", 2)[1:] for line in lines if line.count(":") >= 2):
        if not controllers:
            found += [f"{group}/memory.events" for group in _upwards(f"{root}{_CGROUPS}", path)]
        elif "memory" in controllers.split(","):
            found += [f"{group}/memory.oom_control" for group in _upwards(f"{root}{_CGROUPS}/memory", path)]
    return [*found, f"{root}/proc/vmstat"]


def _upwards(base: str, path: str) -> list[str]:
    """The group and those above it: a container may see its own at the top, under another name than it has."""
    parts = path.strip("/").split("/") if path.strip("/") else []
    return ["/".join([base, *parts[:length]]) for length in range(len(parts), -1, -1)]


def _count(path: str) -> int | None:
    try:
        for line in _read(path).splitlines():
            name, _, value = line.partition(" ")
            if name == "oom_kill":
                return int(value)
    except (OSError, ValueError):
        pass
    return None


def _sum_of_private(rollup: str) -> int:
    kilobytes = [int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Private_")]
    if not kilobytes:
        raise ValueError("no private memory is told")
    return sum(kilobytes) * 1024


def _read(path: str) -> str:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        # The kernel gives such files in pieces of about a page.
        return b"".join(iter(lambda: os.read(descriptor, 65_536), b"")).decode("ascii", "replace")
    finally:
        os.close(descriptor)
