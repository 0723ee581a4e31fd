"""One server after the other under the same journeys at the same rate, each told to reload in the middle."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from . import machine, processes, recording
from .servers import DEMOS, SERVERS

_LOADTESTS = Path(__file__).parents[1]
USERS = 40
_GRACE = 60.0  # seconds that locust has for its start and its end


class Course(NamedTuple):
    """How long, how hard, and with how many workers."""

    seconds: int
    rate: int
    workers: int


class DriveError(Exception):
    """Locust has ended too early; has the end of its log."""


def run(demo: str, server: str, course: Course, results: Path) -> recording.Recording:
    """Serve a demo, drive it, and keep what was measured among the results.

    Raises:
        StartError: the server does not come up.
        DriveError: locust does not.
    """
    name = file_name(demo, server)
    neighbours = machine.Neighbours()
    port = processes.free_port()
    command = SERVERS[server].words(course.workers, port, DEMOS[demo].application)
    with tempfile.TemporaryDirectory() as scratch:
        variables = {"SHOP_DATABASE": f"{scratch}/shop.sqlite"}
        log = results / f"{name}.server.log"
        with processes.running(command, _LOADTESTS, log, port, "/", variables) as pid:
            locust_log = results / f"{name}.locust.log"
            reloaded_at = _drive(pid, port, DEMOS[demo].interface, course, Path(scratch), locust_log)
        parts = [recording.read_seconds(Path(scratch) / part) for part in ("requests", "samples")]
    made = recording.Recording(
        {"demo": demo, "server": server, **course._asdict(), "machine": machine.facts(), "others": neighbours.share()},
        recording.merge(*parts),
        reloaded_at,
    )
    recording.write(results / f"{name}.json", made)
    return made


def file_name(demo: str, server: str) -> str:
    return "-".join([demo, *server.replace(",", "").split()])


def _drive(pid: int, port: int, interface: str, course: Course, scratch: Path, log: Path) -> float:
    """Look at the server every second while locust drives it; the instant of the HUP."""
    begun = time.monotonic()
    reloaded_at = 0.0
    samples = recording.SecondsWriter(scratch / "samples")
    with contextlib.closing(samples), _locust(port, interface, course, scratch / "requests", log) as locust:
        while locust.poll() is None:
            passed = time.monotonic() - begun
            if passed > course.seconds + _GRACE:
                break
            if not reloaded_at and passed > course.seconds / 2:
                reloaded_at = time.time()
                os.kill(pid, signal.SIGHUP)
            samples.sample(time.time(), *processes.use_of(pid))
            # Until the middle of the next second, so that none has two samples and none has none.
            time.sleep((0.5 - time.time()) % 1 or 1.0)
    if not reloaded_at or not (scratch / "requests").exists() or not (scratch / "requests").stat().st_size:
        said = " / ".join(log.read_text("utf-8", "replace").splitlines()[-3:])
        raise DriveError(f"locust has not driven the server to the end: {said}")
    return reloaded_at


@contextlib.contextmanager
def _locust(port: int, interface: str, course: Course, record: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "locust", "-f", str(_LOADTESTS / "locustfile.py"), "--headless", "--only-summary"]
    command += ["--host", f"http://127.0.0.1:{port}", "--run-time", f"{course.seconds}s", "--stop-timeout", "5"]
    command += ["--users", str(USERS), "--spawn-rate", str(USERS)]
    variables = {"LOAD_RATE": str(course.rate), "LOAD_RECORD": str(record)}
    variables["LOAD_WEBSOCKETS"] = "1" if interface == "asgi" else "0"
    with log.open("wb") as output:
        locust = subprocess.Popen(command, env={**os.environ, **variables}, stdout=output, stderr=output)
    try:
        yield locust
    finally:
        if locust.poll() is None:
            locust.kill()
        locust.wait()
