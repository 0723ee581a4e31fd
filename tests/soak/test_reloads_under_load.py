"""Good, bad, slow and aborted requests while workers are replaced, over and over: nobody notices.

Workers are replaced for a reload as soon as the last is over, and by themselves after some hundred requests.
SOAK_SECONDS is how long the load lasts with each class of workers, at most two minutes.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from typing import TYPE_CHECKING

import pytest
from soak.load import Tally, crowd
from soak.served import end_of_log, races, serve_mixed, unexpected
from soak.visits import BRISK
from support import eventually

if TYPE_CHECKING:
    import threading
    from pathlib import Path

    from support import Server

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc"),
]

SECONDS = min(120.0, float(os.environ.get("SOAK_SECONDS") or 600))
CLIENTS = 30


@pytest.mark.parametrize("worker_class", ["sync", "threaded", "gevent"])
def test_replacing_workers_fails_nobody(worker_class: str, tmp_path: Path) -> None:
    server = serve_mixed(tmp_path, worker_class, "--workers=2", "--max-requests=1000", "--max-requests-jitter=500")
    tally = Tally()
    reloads = 0
    try:
        server.wait_until_listening()
        with crowd(server, tally, [(BRISK, CLIENTS)], moves=True) as over:
            deadline = time.monotonic() + SECONDS
            while time.monotonic() < deadline and not tally.has_failed:
                reload(server, over)
                reloads += 1
    finally:
        code = server.stop(within=60)
    print(f"{worker_class}: {reloads} reloads, {sum(tally.visits.values())} visits, {dict(tally.answers)}", flush=True)
    log = server.log()
    assert not races(log), "\n".join(races(log))
    assert not tally.failures, "\n".join(tally.failures)
    assert not unexpected(log), "\n".join(map(str, unexpected(log)[:50]))
    assert (code, list((tmp_path / "uploads").iterdir())) == (os.EX_OK, []), end_of_log(log)


def reload(server: Server, over: threading.Event) -> None:
    """Have all workers replaced, and return when the last of those before has gone."""
    over.wait(1.0)  # Each generation is to be under the full load for a while.
    before = set(server.workers())
    server.send_signal(signal.SIGHUP)
    with contextlib.suppress(AssertionError):
        eventually(lambda: not before & set(server.workers()), within=30)
