"""What the figures were measured on, as far as it matters to them."""

from __future__ import annotations

import datetime
import os
import platform
import re
import resource
import time
from pathlib import Path

from .servers import versions


def facts() -> dict[str, str]:
    """The machine, the interpreter and the versions, in words for a reader."""
    return {
        "Date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d"),
        "Processor": f"{_processor()}, {len(os.sched_getaffinity(0))} logical processors for all, the clients too",
        "Memory": f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB",
        "System": f"Linux {platform.release().partition('-')[0]}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "Versions": ", ".join(f"{name} {version}" for name, version in versions().items()),
    }


class Neighbours:
    """How busy others have kept the machine since this was made: its processor time without that of this process and
    of those it has started and waited for.
    """

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._used = _used_by_others()

    def share(self) -> float:
        """A part of all that the processors could have done, from 0 to 1."""
        passed = (time.monotonic() - self._began) * (os.cpu_count() or 1)
        return max(0.0, (_used_by_others() - self._used) / passed) if passed else 0.0


def _used_by_others() -> float:
    # proc_stat(5): user, nice, system, idle, iowait, irq, softirq, steal, in ticks.
    user, nice, system, _, _, *others = map(int, Path("/proc/stat").read_text("utf-8").split("\n", 1)[0].split()[1:9])
    own = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    everything = (user + nice + system + sum(others)) / os.sysconf("SC_CLK_TCK")
    return everything - sum(use.ru_utime + use.ru_stime for use in own)


def _processor() -> str:
    try:
        found = re.search(r"(?m)^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text("utf-8"))
    except OSError:
        found = None
    return found[1] if found else platform.machine()
