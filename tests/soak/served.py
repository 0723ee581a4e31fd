"""The server that is soaked: what it is started with, and what its log may say afterwards."""

from __future__ import annotations

import importlib.util
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from soak import requests
from soak.mixed_application import PATTERN
from support import Server

if TYPE_CHECKING:
    from collections.abc import Iterator


def _variables() -> dict[str, str]:
    """Those of the file that SOAK_ENVIRONMENT names: for servers only, since clients are slow enough without them."""
    path = os.environ.get("SOAK_ENVIRONMENT")
    variables = dict(pair.split("=", 1) for pair in Path(path).read_text().split()) if path else {}
    if "PYTHONPATH" in variables:
        variables["PYTHONPATH"] = str(Path(variables["PYTHONPATH"]).absolute())
    return variables


SANITIZER = _variables()
HAS_THREAD_SANITIZER = "TSAN_OPTIONS" in SANITIZER

# The address sanitizer keeps what was freed from being used again, so that a late access to it is found. With its
# usual 256 MiB it would still be filling up when the warm-up is over.
QUARANTINE_MIB = 64
if "ASAN_OPTIONS" in SANITIZER:
    SANITIZER["ASAN_OPTIONS"] += f":quarantine_size_mb={QUARANTINE_MIB}"
if HAS_THREAD_SANITIZER and (_suppressions := os.environ.get("SOAK_SUPPRESSIONS")):
    SANITIZER["TSAN_OPTIONS"] += f":suppressions={Path(_suppressions).absolute()}"

# What glibc keeps for each thread would take hours to fill up, and would hide what is held.
_PLAIN_HEAP = {"GLIBC_TUNABLES": "glibc.malloc.arena_max=1:glibc.malloc.tcache_count=0"}

_CLASSES = {
    "sync": ["--worker-class=sync"],
    "threaded": ["--worker-class=threaded", "--threads=8"],
    "gevent": ["--worker-class=gevent"],
}
_ARGUMENTS = [
    "--bind=127.0.0.1:0",
    "--bind=unix:socket",
    "--tmp-upload-dir=uploads",
    "--access-logfile=access.log",
    '--access-logformat=%(h)s %(t)s "%(r)s" %(s)s %(b)s %(D)s "%(a)s" %({content-type}o)s %({RAW_URI}e)s',
    f"--pythonpath={Path(__file__).parent}",
    f"--request-head-timeout={requests.HEAD_TIMEOUT}",
    f"--request-body-timeout={requests.CONTENT_TIMEOUT}",
    f"--write-timeout={requests.WRITE_TIMEOUT}",
    f"--keep-alive={requests.KEEPALIVE}",
    f"--request-buffer={requests.REQUEST_BUFFER}",
    f"--response-buffer={requests.RESPONSE_BUFFER}",
    f"--response-spool={requests.RESPONSE_SPOOL}",
    f"--limit-request-body={requests.CONTENT_LIMIT}",
]

_RECORD = re.compile(r"\[[^]]+\] \[\d+\] \[(\w+)\] (.*)")
_EXPECTED_RECORDS = re.compile(
    r"refused a request from \S+( Unix socket)? with (400|408|413|414|417|431|501|505): "
    r"|(\S+|a Unix socket) took nothing of a response for write_timeout: closed$"
    r"|Error handling request \S+ /"
    r"|Error in close\(\) of the response to (GET|HEAD|POST) /raise_in_close$"
    r"|the response to \S+ /too_(long|short) "
)
_TRACEBACK = "Traceback (most recent call last):"
_EXPECTED_ERRORS = re.compile(r"(mixed_application\.DeliberateError|pyserver\.errors\.LocalProtocolError|SystemExit): ")
_RACE = re.compile(r"^WARNING: ThreadSanitizer: .*?^SUMMARY: ThreadSanitizer: (.*?)$", re.MULTILINE | re.DOTALL)


def serve_mixed(directory: Path, worker_class: str, *arguments: str) -> Server:
    """A server of the mixed application in an empty directory; skips what cannot be served, or shows nothing new."""
    if HAS_THREAD_SANITIZER and worker_class != "threaded":
        pytest.skip("one thread has no races")
    if worker_class == "gevent" and not importlib.util.find_spec("gevent"):
        pytest.skip("gevent is not installed")
    (directory / "uploads").mkdir()
    (directory / "pattern").write_bytes(PATTERN)
    return Server(
        "mixed_application:application",
        *_ARGUMENTS,
        *_CLASSES[worker_class],
        *arguments,
        directory=directory,
        env={"PYTHONFAULTHANDLER": "1", **(SANITIZER or _PLAIN_HEAP)},
    )


def end_of_log(log: str) -> str:
    """Where the log tells of a crash, or its end."""
    crash = re.search(r"ERROR: AddressSanitizer|runtime error: |Fatal Python error", log)
    begin = max(0, crash.start() - 2000) if crash else max(0, len(log) - 5000)
    return log[begin : begin + 20_000]


def races(log: str) -> list[str]:
    """What the thread sanitizer has reported, once for each place."""
    return list({report[1]: report[0] for report in _RACE.finditer(log)}.values())


def unexpected(log: str) -> list[tuple[str, str, list[str]]]:
    """Level, message and further lines of each record that no client has provoked."""
    return [record for record in _records(log) if not _is_expected(record)]


def _records(log: str) -> Iterator[tuple[str, str, list[str]]]:
    level, message = "INFO", ""
    more: list[str] = []
    for line in log.splitlines():
        if record := _RECORD.fullmatch(line):
            yield level, message, more
            level, message, more = record[1], record[2], []
        else:
            more.append(line)
    yield level, message, more


def _is_expected(record: tuple[str, str, list[str]]) -> bool:
    level, message, more = record
    is_known = level == "INFO" or _EXPECTED_RECORDS.match(message)
    return bool(is_known and (not more or (more[0] == _TRACEBACK and _EXPECTED_ERRORS.match(more[-1]))))
