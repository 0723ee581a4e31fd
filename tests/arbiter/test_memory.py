"""What is read about memory: a process's own, and the kernel's count of those it has killed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pyserver.arbiter.autopsy import OutOfMemory
from pyserver.arbiter.memory import OutOfMemoryKills, peak_bytes, private_bytes

MEGABYTE = 1024 * 1024
SECOND_NS = 1_000_000_000

linux = pytest.mark.skipif(sys.platform != "linux", reason="it is read from /proc")


# Prints the pid of a process that has 32 MB to itself and uses 32 MB that it shares with its parent.
SHARING = """
import mmap, os, signal, sys
shared = mmap.mmap(-1, 1 << 25)
shared.write(b"x" * (1 << 25))
pid = os.fork()
if pid == 0:
    own = bytearray(b"x" * (1 << 25))
    shared.seek(0)
    if len(shared.read()) == len(own):
        print(os.getpid(), flush=True)
        signal.pause()
sys.stdin.read()
os.kill(pid, signal.SIGKILL)
"""


@pytest.fixture
def sharing():
    """The pid of such a process."""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", SHARING], stdin=pipe, stdout=pipe) as parent:
        yield int(parent.stdout.readline())


@linux
def test_the_private_memory_of_a_process_is_told(sharing):
    assert 32 * MEGABYTE <= private_bytes(sharing) < 60 * MEGABYTE


@linux
def test_while_it_is_little_a_bound_is_told(sharing):
    assert private_bytes(sharing) <= private_bytes(sharing, 2**40) < 100 * MEGABYTE


@linux
def test_the_memory_of_a_process_that_is_gone_is_not_told():
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert private_bytes(gone.pid) is None


@linux
def test_a_zombie_has_no_memory():
    dead = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, dead.pid, os.WEXITED | os.WNOWAIT)
    assert not private_bytes(dead.pid)
    dead.wait()


def test_the_peak_is_in_bytes():
    assert peak_bytes(2048) in (2048, 2 * MEGABYTE)


class Machine:
    """Where /proc and /sys of a machine are made up."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, path: str, text: str) -> None:
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def kills(self) -> OutOfMemoryKills:
        return OutOfMemoryKills(str(self.root))


@pytest.fixture
def machine(tmp_path):
    made = Machine(tmp_path)
    made.write("/proc/vmstat", "nr_free_pages 1\noom_kill 7\ndrop_pagecache 0\n")
    return made


EVENTS = "low 0\nhigh 0\nmax 9\noom 3\noom_kill {}\noom_group_kill 0\n"
CONTROL = "oom_kill_disable 0\nunder_oom 0\noom_kill {}\n"
V2 = "0::/system.slice/shop.service\n"
V1 = "9:name=systemd:/\n5:cpu,memory:/docker/1f:2e\n0::/\n"


@pytest.mark.parametrize(
    ("groups", "counter", "text"),
    [
        (V2, "/sys/fs/cgroup/system.slice/shop.service/memory.events", EVENTS),
        # The group has no memory controller, but the one above it has.
        (V2, "/sys/fs/cgroup/system.slice/memory.events", EVENTS),
        # A container that sees its own group at the top.
        (V2, "/sys/fs/cgroup/memory.events", EVENTS),
        ("0::/\n", "/sys/fs/cgroup/memory.events", EVENTS),
        (V1, "/sys/fs/cgroup/memory/docker/1f:2e/memory.oom_control", CONTROL),
        (V1, "/sys/fs/cgroup/memory/memory.oom_control", CONTROL),
    ],
)
def test_the_count_of_the_own_cgroup_is_looked_at(machine, groups, counter, text):
    machine.write("/proc/self/cgroup", groups)
    machine.write(counter, text.format(2))
    kills = machine.kills()
    assert kills.explain_one(SECOND_NS) is OutOfMemory.NOT_COUNTED
    machine.write(counter, text.format(3))
    assert kills.explain_one(SECOND_NS) is OutOfMemory.COUNTED
    assert kills.explain_one(SECOND_NS) is OutOfMemory.NOT_COUNTED


@pytest.mark.parametrize("groups", ["", V2, V1, "rubbish\n::\n"])
def test_without_such_a_count_that_of_the_machine_is_looked_at(machine, groups):
    machine.write("/proc/self/cgroup", groups)
    kills = machine.kills()
    machine.write("/proc/vmstat", "oom_kill 8\n")
    assert kills.explain_one(SECOND_NS) is OutOfMemory.ON_THE_MACHINE


def test_a_kernel_before_the_count_was_added_has_that_of_the_machine(machine):
    machine.write("/proc/self/cgroup", V1)
    machine.write("/sys/fs/cgroup/memory/docker/1f:2e/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\n")
    kills = machine.kills()
    machine.write("/proc/vmstat", "oom_kill 8\n")
    assert kills.explain_one(SECOND_NS) is OutOfMemory.ON_THE_MACHINE


def test_as_many_deaths_are_explained_as_kills_were_counted(machine):
    kills = machine.kills()
    machine.write("/proc/vmstat", "oom_kill 9\n")
    explained = [kills.explain_one(SECOND_NS) for _ in range(3)]
    assert explained == [OutOfMemory.ON_THE_MACHINE, OutOfMemory.ON_THE_MACHINE, OutOfMemory.NOT_COUNTED]


def test_a_kill_of_somebody_else_explains_no_later_death(machine):
    kills = machine.kills()
    machine.write("/proc/vmstat", "oom_kill 9\n")
    assert kills.explain_one(SECOND_NS) is OutOfMemory.ON_THE_MACHINE
    assert kills.explain_one(60 * SECOND_NS) is OutOfMemory.NOT_COUNTED


def test_a_system_without_any_of_it_is_known_as_such(tmp_path):
    assert OutOfMemoryKills(str(tmp_path)).explain_one(SECOND_NS) is OutOfMemory.UNKNOWN


def test_a_count_that_can_no_longer_be_read_explains_nothing(machine):
    kills = machine.kills()
    (machine.root / "proc/vmstat").unlink()
    assert kills.explain_one(SECOND_NS) is OutOfMemory.NOT_COUNTED
    machine.write("/proc/vmstat", "oom_kill\n")
    assert kills.explain_one(SECOND_NS) is OutOfMemory.NOT_COUNTED


@linux
def test_the_count_of_this_machine_is_found():
    assert OutOfMemoryKills().explain_one(SECOND_NS) is not OutOfMemory.UNKNOWN
