"""What the thread sanitizer reports, with an interpreter that was built without it: only then is silence a result."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from soak.served import HAS_THREAD_SANITIZER, SANITIZER

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(not HAS_THREAD_SANITIZER, reason="servers run without the thread sanitizer"),
]

# ctypes holds the interpreter lock while it calls a function of a PyDLL, and releases it for one of a CDLL.
PROGRAM = """
import ctypes, os, sys, threading

library, kind, name = sys.argv[1:]
count = getattr(getattr(ctypes, kind)(library), name)
both = threading.Barrier(2)

def run():
    both.wait()
    for _ in range(100):
        count(10_000)

# As a worker is, this is a child of the process that was started.
if not (pid := os.fork()):
    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os._exit(0)
os.waitpid(pid, 0)
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`race.c`, compiled as the core is."""
    path = tmp_path_factory.mktemp("race") / "race.so"
    source = Path(__file__).with_name("race.c")
    command = ["gcc", "-shared", "-fPIC", "-O1", "-g", "-fsanitize=thread", source, "-o", path]
    subprocess.run(command, check=True)
    return path


def reported(*arguments: object) -> str:
    program = [sys.executable, "-c", PROGRAM, *map(str, arguments)]
    variables = {**os.environ, **SANITIZER}
    return subprocess.run(program, check=True, capture_output=True, text=True, timeout=120, env=variables).stderr


def test_a_race_in_a_child_is_reported_with_both_stacks(library: Path) -> None:
    report = reported(library, "CDLL", "count")
    assert "WARNING: ThreadSanitizer: data race" in report
    assert report.count(" count ") >= 2


def test_what_the_interpreter_lock_guards_is_no_race(library: Path) -> None:
    assert reported(library, "PyDLL", "count") == ""


def test_what_a_lock_guards_is_no_race(library: Path) -> None:
    assert reported(library, "CDLL", "count_locked") == ""
