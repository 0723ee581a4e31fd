"""One attack, over and over, as a process of its own: it shall not take the time of the client that behaves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from .attacks import ATTACKS, Ground
from .peer import tls_context


def attacked(attack: str, ground: Ground) -> tuple[str, int]:
    """What the first attempt came to, and how many there were."""
    assert not isinstance(ground.address, str), "a Unix socket"
    host, port = ground.address
    told = [attack, host, str(port), str(int(ground.tls is not None)), str(ground.seconds), str(ground.most)]
    root = str(Path(__file__).parents[1])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-m", "http2.attacker", *told],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        timeout=10 * ground.seconds + 60,
        check=True,
    )
    first, times = json.loads(done.stdout)
    return str(first), int(times)


def repeated(attack: str, ground: Ground) -> tuple[str, int]:
    """The same in this process: whoever attacks connects again, as long as it is to last."""
    deadline = time.monotonic() + ground.seconds
    told, times = ATTACKS[attack](ground), 1
    while time.monotonic() < deadline:
        try:
            ATTACKS[attack](ground)
        except OSError as error:
            told += f"; then {error}"
            break
        times += 1
    return told, times


def main() -> None:
    attack, host, port, has_tls, seconds, most = sys.argv[1:]
    tls = tls_context("h2") if int(has_tls) else None
    print(json.dumps(repeated(attack, Ground((host, int(port)), tls, float(seconds), int(most)))))


if __name__ == "__main__":
    main()
