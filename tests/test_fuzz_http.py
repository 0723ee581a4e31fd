"""Whether the fuzzer finds what is there to be found, and says how to see it again."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import fuzz_http
import pytest

import pyserver

GOOD = b"HTTP/1.1 200 OK\r\nX: b\r\nContent-Length: 5\r\n\r\n"
SCRIPT = Path(fuzz_http.__file__)


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run Python with the pyserver that the tests import."""
    path = os.pathsep.join([str(Path(pyserver.__file__).parents[1]), str(SCRIPT.parent)])
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, env=environment, timeout=60)


def fuzz(*arguments: str, code: str = "") -> subprocess.CompletedProcess[str]:
    """Run the fuzzer, after `code` has changed it."""
    return run("-c", f"import os, sys, fuzz_http\n{code}\nsys.exit(fuzz_http.FUZZER.main())", *arguments)


def test_a_hundred_inputs_have_nothing_to_be_found():
    seen: Counter[str] = Counter()
    assert [finding for seed in range(100) if (finding := fuzz_http.FUZZER.look(seed, seen))] == []


def test_a_seed_makes_the_same_input_again():
    assert fuzz_http.FUZZER.input_of(7) == fuzz_http.FUZZER.input_of(7)


def test_what_is_looked_at_is_the_input_of_the_seed():
    seed = next(seed for seed in range(100) if fuzz_http.FUZZER.input_of(seed).startswith("b"))
    rng = random.Random(seed)
    rng.random()
    assert repr(fuzz_http.grammar.requests(rng)) == fuzz_http.FUZZER.input_of(seed)


def test_the_seed_is_told_where_nothing_is_found():
    done = run(str(SCRIPT), "--seconds", "0", "--seed", "1")
    assert (done.returncode, "from --seed 1\n" in done.stdout, done.stderr) == (0, True, "")


def test_a_seed_is_drawn_where_none_is_given():
    assert "from --seed " in fuzz("--seconds", "0").stdout


FAULTY = "fuzz_http.difference_from_h11 = lambda data, requests, refusal: 'is odd'"
CRASHING = "fuzz_http.judge = lambda parts, limits: os.abort()"
RAISING = "fuzz_http.judge = lambda parts, limits: 1 / 0"


@pytest.mark.parametrize(
    ("code", "complaint"),
    [(FAULTY, "is odd"), (CRASHING, "a crash: the exit code is -6"), (RAISING, "ZeroDivisionError")],
)
def test_a_finding_ends_the_run_with_its_input_and_seed(code, complaint):
    done = fuzz("--seconds", "60", "--seed", "1", code=code)
    assert done.returncode == 1
    seed = int(done.stdout.rpartition("again: --seed ")[2].split()[0])
    assert complaint in done.stdout
    assert f"  input: {fuzz_http.FUZZER.input_of(seed)}\n" in done.stdout


def test_a_good_head_has_no_complaint():
    assert fuzz_http.complaint_about_head(GOOD, "200 OK", [("X", "b")]) is None
    assert fuzz_http.complaint_of_h11(GOOD) is None


@pytest.mark.parametrize(
    ("status", "fields"),
    [("200 OK", []), ("200 OK", [("X", "b"), ("Y", "c")]), ("200 OK", [("X", "c")]), ("200 O", [("X", "b")])],
)
def test_a_head_with_other_lines_than_given_has_a_complaint(status, fields):
    assert fuzz_http.complaint_about_head(GOOD, status, fields)


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nX: b\nY: c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: b\r\n Y: c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n: b\r\n\r\n",
        b"HTTP/1.1 100 A\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: b\r\n",
    ],
)
def test_a_head_that_h11_reads_otherwise_has_a_complaint(head):
    assert fuzz_http.complaint_of_h11(head)
