"""What attacks cost a server and those beside it: `python -m tests.http2.abuse HOST PORT --pid PID [--tls]`.

For each attack it says what became of it, how much the memory of the server's processes has grown, and how a client
that behaves has fared meanwhile.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from .attacker import attacked
from .attacks import ATTACKS, Ground
from .load import percentile
from .peer import Closed, Peer, tls_context

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclasses.dataclass
class Report:
    """What an attack came to.

    Attributes:
        told: what the attack says itself, when it was made first.
        times: how often it was made.
        before, peak, after: resident bytes of the server's processes.
        latencies: of the requests of a client that behaves, seconds.
        failures: what went wrong with others of them.
        cpu: seconds of processor time that the server has used.
    """

    attack: str
    told: str = ""
    times: int = 0
    before: int = 0
    peak: int = 0
    after: int = 0
    latencies: list[float] = dataclasses.field(default_factory=list)
    failures: list[str] = dataclasses.field(default_factory=list)
    cpu: float = 0.0

    def __str__(self) -> str:
        peak, left = (self.peak - self.before) / 1e6, (self.after - self.before) / 1e6
        p50, p99 = (percentile(self.latencies, percent) * 1e3 for percent in (50, 99))
        return (
            f"{self.attack:26} +{peak:6.1f} MB, then +{left:6.1f} MB; cpu {self.cpu:5.2f} s; "
            f"beside it {len(self.latencies):5} right, {len(self.failures)} failed, "
            f"p50 {p50:6.1f} ms, p99 {p99:7.1f} ms; {self.times} times: {self.told}"
        )


def family(pid: int) -> list[int]:
    """A process and its descendants; Linux."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text("latin-1").rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found


def resident(pid: int) -> int:
    """Resident bytes of a process and its descendants together."""
    return sum(int(fields[1]) * PAGE for fields in _read(pid, "statm"))


def processor_time(pid: int) -> float:
    """What they have used, seconds."""
    ticks = sum(int(fields[11]) + int(fields[12]) for fields in _read(pid, "stat"))
    return ticks / os.sysconf("SC_CLK_TCK")


def _read(pid: int, name: str) -> Iterator[list[str]]:
    for one in family(pid):
        try:
            # proc(5): the command in parentheses may itself hold any character.
            yield Path(f"/proc/{one}/{name}").read_text("latin-1").rpartition(")")[2].split()
        except OSError:
            continue


class Neighbour:
    """A client that behaves: one request after the other, on one connection as long as that lasts."""

    def __init__(self, ground: Ground, report: Report) -> None:
        self._ground, self._report = ground, report
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Neighbour:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._thread.join(30)

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                with Peer(self._ground.address, 15.0, self._ground.tls) as peer:
                    for _ in range(400):
                        self._ask(peer)
                        if self._over.wait(0.002) or peer.goaways:
                            break
            except (Closed, OSError, AssertionError) as error:
                self._report.failures.append(f"{type(error).__name__}: {error}")
                self._over.wait(0.05)

    def _ask(self, peer: Peer) -> None:
        began = time.monotonic()
        response = peer.exchange("POST", "/count", content=b"x" * 1000)
        assert (response.status, response.content) == (200, b"1000"), response
        self._report.latencies.append(time.monotonic() - began)


def measure(attack: str, ground: Ground, pid: int = 0) -> Report:
    """Attack a server, and see what that does to it and a client beside."""
    report = Report(attack)
    _warm_up(ground)
    report.before = report.peak = resident(pid) if pid else 0
    used = processor_time(pid) if pid else 0.0
    over = threading.Event()

    def watch() -> None:
        while pid and not over.wait(0.05):
            report.peak = max(report.peak, resident(pid))

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    with Neighbour(ground, report):
        report.told, report.times = attacked(attack, ground)
    over.set()
    watching.join()
    report.cpu = processor_time(pid) - used if pid else 0.0
    report.after = resident(pid) if pid else 0
    return report


def _warm_up(ground: Ground) -> None:
    with Peer(ground.address, 15.0, ground.tls) as peer:
        for _ in range(20):
            peer.exchange("POST", "/count", content=b"x" * 1000)


def main() -> int:
    parser = argparse.ArgumentParser(description="Attack a server of the tests' application over HTTP/2.")
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--pid", type=int, default=0, help="of the server, for its memory and that of its children")
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--seconds", type=float, default=4, help="that an attack may last")
    parser.add_argument("--megabytes", type=float, default=8, help="that an attack may send on a connection")
    parser.add_argument("--only", default="", metavar="WORD")
    chosen = parser.parse_args()
    tls = tls_context("h2") if chosen.tls else None
    ground = Ground((chosen.host, chosen.port), tls, chosen.seconds, int(chosen.megabytes * 1e6))
    failed = 0
    for attack in ATTACKS:
        if chosen.only in attack:
            report = measure(attack, ground, chosen.pid)
            print(report, flush=True)
            for failure in sorted(set(report.failures))[:3]:
                print(f"    {failure}")
            failed += bool(report.failures)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
