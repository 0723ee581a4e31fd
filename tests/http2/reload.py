"""How many requests are lost while workers are replaced: `PYTHONPATH=tests python -m http2.reload --signal HUP --tls`.

It starts a server, puts load on it with clients that follow GOAWAY, sends it signals, and counts. USR2 is followed by
TERM for the old arbiter when the new one has workers, and TERM by a new server at the same address.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from support import eventually

from .load import Tally, crowd
from .peer import tls_context
from .served import CLASSES, issue, serve

if TYPE_CHECKING:
    from collections.abc import Callable

    from support import Server

def reload_once(server: Server) -> None:
    """Have all workers replaced by HUP."""
    before = set(server.workers())
    server.send_signal(signal.SIGHUP)
    eventually(lambda: server.workers() and not before & set(server.workers()), within=40)


def upgrade_once(server: Server, pid: int) -> int:
    """Have the arbiter replaced by USR2, and TERM for the old one; the pid of the new one."""
    before = server.log().count("Booting worker with pid")
    workers = max(1, len(server.workers()) // 2 if pid != server.pid else len(server.workers()))
    os.kill(pid, signal.SIGUSR2)
    eventually(lambda: server.log().count("Booting worker with pid") >= before + workers, within=40)
    started = re.findall(r"\[(\d+)\] \[INFO\] Starting pyserver", server.log())
    os.kill(pid, signal.SIGTERM)
    eventually(lambda: not _is_alive(pid), within=40)
    return int(started[-1])


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text("latin-1").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def under_load(
    server: Server, act: Callable[[], object], *, seconds: float, clients: int, tls: bool, pause: float = 0.7
) -> tuple[Tally, int]:
    """What was lost while `act` was repeated for so long, and how often it was."""
    tally = Tally()
    times = 0
    with crowd(server.address, tally, clients, tls_context("h2") if tls else None) as over:
        deadline = time.monotonic() + seconds
        over.wait(pause)
        while time.monotonic() < deadline:
            act()
            times += 1
            over.wait(pause)
    return tally, times


def terminated(server: Server, *, clients: int, tls: bool, after: float = 1.0) -> Tally:
    """What was lost when the server was told to stop under load: nobody may be cut off, and nobody gets in any more."""
    tally = Tally()
    with crowd(server.address, tally, clients, tls_context("h2") if tls else None) as over:
        over.wait(after)
        server.send_signal(signal.SIGTERM)
        eventually(lambda: not server.is_running(), within=60)
    return tally


def run(worker_class: str, kind: str, *, seconds: float, clients: int, tls: bool, workers: int) -> Tally:
    """A server, load, and signals; prints what came of it."""
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        directory = Path(name)
        more = (*issue(directory), "--workers", str(workers)) if tls else ("--workers", str(workers))
        server = serve(worker_class, directory, *more, "--graceful-timeout", "30")
        stack.callback(server.stop)
        times, pid = 1, server.pid
        if kind == "TERM":
            tally = terminated(server, clients=clients, tls=tls)
        elif kind == "HUP":
            tally, times = under_load(server, lambda: reload_once(server), seconds=seconds, clients=clients, tls=tls)
        else:

            def act() -> None:
                nonlocal pid
                pid = upgrade_once(server, pid)

            tally, times = under_load(server, act, seconds=seconds, clients=clients, tls=tls)
            os.kill(pid, signal.SIGTERM)
            eventually(lambda: not _is_alive(pid), within=40)
        print(f"{worker_class:9} {kind:4} {'tls' if tls else 'clear':5} {times:3} times: {tally}", flush=True)
        for what in sorted(set(tally.lost))[:8]:
            print(f"    {what}")
        telling = ("[ERROR]", "Traceback", "is closed with")
        for line in [line for line in server.log().splitlines() if any(words in line for words in telling)][:5]:
            print(f"    log: {line}")
    return tally


def main() -> int:
    parser = argparse.ArgumentParser(description="Count what is lost while workers are replaced.")
    parser.add_argument("--signal", choices=["HUP", "USR2", "TERM"], action="append",
    help="those of them; all without it")
    parser.add_argument("--class", dest="worker_class", choices=[*CLASSES], action="append")
    parser.add_argument("--tls", action="store_true", help="with TLS only; without this both ways")
    parser.add_argument("--clear", action="store_true", help="in the clear only")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--clients", type=int, default=6)
    parser.add_argument("--workers", type=int, default=2)
    chosen = parser.parse_args()
    ways = [True] if chosen.tls else [False] if chosen.clear else [False, True]
    lost = 0
    for worker_class in chosen.worker_class or CLASSES:
        for kind in chosen.signal or ("HUP", "USR2", "TERM"):
            for tls in ways:
                told = {"seconds": chosen.seconds, "clients": chosen.clients, "workers": chosen.workers}
                lost += len(run(worker_class, kind, tls=tls, **told).lost)
    return 1 if lost else 0


if __name__ == "__main__":
    threading.excepthook = lambda told: print(f"a client failed: {told.exc_value!r}", flush=True)
    sys.exit(main())
