#!/usr/bin/env python3
"""How a server treats a quick client while thousands of slow ones are connected, and what each of those costs it.

    loadtests/slow_clients.py 'pyserver -k threaded --threads 4' 'gunicorn -k gthread --threads 4'

Each server is started with the application below, visited by the quick client alone, and then again while every slow
client sends one byte a second. Memory is that of all of the server's processes, by share (PSS) and resident (RSS).
"""

from __future__ import annotations

import argparse
import contextlib
import math
import multiprocessing
import os
import resource
import shlex
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

BEGUN_HEAD = b"GET / HTTP/1.1\r\nHost: test\r\nX: "
BEGUN_CONTENT = b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1000000\r\n\r\n"
REQUEST = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"
QUICK_PAUSE = 0.01  # seconds between two requests
PATIENCE = 5.0  # seconds that the quick client waits for an answer
WARM_UP = 500  # requests of the quick client


def application(environ, start_response):
    """What the servers serve."""
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "3")])
    return [b"ok\n"]


class Memory(NamedTuple):
    """What all processes of a server hold, in bytes."""

    pss: int
    rss: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("server", nargs="+", help="a command line; --bind and the application are added to it")
    parser.add_argument("--clients", type=int, default=2000, help="how many slow ones (%(default)s)")
    parser.add_argument("--bodies", action="store_true", help="they are slow in the content, and not in the head")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long the quick one is served (%(default)g)")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    print(f"{options.clients} clients send a {'body' if options.bodies else 'head'} at one byte a second")
    print(" p50 ms   p99 ms   max ms  answers  failed  PSS/client  RSS/client")
    for command in options.server:
        measure(command, options)


def measure(command: str, options: argparse.Namespace) -> None:
    """Start a server, print a row for it, and stop it."""
    address = ("127.0.0.1", options.port)
    own = ["--bind", f"{address[0]}:{address[1]}", "slow_clients:application"]
    with running([*shlex.split(command), *own], address) as pid:
        visit(address, count=WARM_UP)
        before = memory(pid)
        with slow_clients(address, options.clients, BEGUN_CONTENT if options.bodies else BEGUN_HEAD) as hung_up:
            took, failed = visit(address, seconds=options.seconds)
            after = memory(pid)
    ordered = sorted(took) or [math.nan]
    milliseconds = [one * 1e3 for one in (statistics.median(ordered), ordered[int(len(took) * 0.99)], ordered[-1])]
    each = [(one - other) / options.clients for one, other in zip(after, before, strict=True)]
    print(
        "{:7.2f}  {:7.2f}  {:7.2f}".format(*milliseconds),
        "{:8} {:7} {:9.0f} B {:9.0f} B ".format(len(took), failed, *each),
        f"{command} (hung up {hung_up.value} times)",
        flush=True,
    )


@contextlib.contextmanager
def running(command: list[str], address: tuple[str, int]):
    """A server in a session of its own, which answers when the block begins; gives its pid."""
    with tempfile.TemporaryFile() as log, subprocess.Popen(
        command, cwd=Path(__file__).parent, start_new_session=True, stdout=log, stderr=log
    ) as process:
        try:
            deadline = time.monotonic() + 20
            while not visit(address, count=1)[0]:
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    sys.exit(f"it does not answer: {shlex.join(command)}\n{log.read().decode(errors='replace')}")
                time.sleep(0.1)
            yield process.pid
        finally:
            process.send_signal(signal.SIGQUIT)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


def memory(session: int) -> Memory:
    """What the processes of a session hold."""
    pss = rss = 0
    for directory in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if directory.name.isdigit() and os.getsid(int(directory.name)) == session:
                lines = (directory / "smaps_rollup").read_text().splitlines()[1:]
                kib = {name: int(size) for name, size, _ in map(str.split, lines)}
                pss += kib["Pss:"] * 1024
                rss += kib["Rss:"] * 1024
    return Memory(pss, rss)


def visit(address: tuple[str, int], seconds: float = 600.0, count: int | None = None) -> tuple[list[float], int]:
    """How long each request took, and how many were not answered; every other one is on a connection of its own."""
    took: list[float] = []
    failed = 0
    kept = None
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and (count is None or len(took) + failed < count):
        began = time.perf_counter()
        try:
            if len(took) % 2:
                kept = kept or socket.create_connection(address, PATIENCE)
                kept = kept if ask(kept) else None
            else:
                with socket.create_connection(address, PATIENCE) as fresh:
                    ask(fresh)
            took.append(time.perf_counter() - began)
        except OSError:
            failed += 1
            kept = None
        time.sleep(QUICK_PAUSE)
    return took, failed


def ask(connection: socket.socket) -> bool:
    """Send a request and receive the answer; whether the connection persists."""
    connection.settimeout(PATIENCE)
    connection.sendall(REQUEST)
    answer = b""
    while not answer.endswith(b"\r\n\r\nok\n"):
        part = connection.recv(4096)
        if not part:
            raise ConnectionResetError("closed before the end of an answer")
        answer += part
    return b"\r\nconnection: close\r\n" not in answer.lower()


@contextlib.contextmanager
def slow_clients(address: tuple[str, int], number: int, begun: bytes):
    """So many slow clients, all connected when the block begins; gives a count of those that the server hung up on."""
    hung_up = multiprocessing.Value("q", 0)
    connected = multiprocessing.Event()
    process = multiprocessing.Process(target=be_slow, args=(address, number, begun, connected, hung_up), daemon=True)
    process.start()
    try:
        connected.wait(60)
        yield hung_up
    finally:
        process.terminate()
        process.join()


def be_slow(address: tuple[str, int], number: int, begun: bytes, connected, hung_up) -> None:
    """Send a byte on each connection every second, evenly over the second; connect anew where the server hangs up."""
    connections: list[socket.socket] = []
    turn = 0
    began = time.monotonic()
    while True:
        while turn < (time.monotonic() - began) * number:
            if turn < number:
                connections.append(begin(address, begun))
            else:
                at = turn % number
                if not goes_on(connections[at]):
                    hung_up.value += 1
                    connections[at] = begin(address, begun)
            turn += 1
        if turn >= 3 * number:
            connected.set()
        time.sleep(0.005)


def begin(address: tuple[str, int], begun: bytes) -> socket.socket:
    """A connection on which a request has begun, as far as the server takes it now."""
    connection = socket.socket()
    connection.settimeout(0.2)
    with contextlib.suppress(OSError):
        connection.connect(address)
        connection.sendall(begun)
    connection.setblocking(False)
    return connection


def goes_on(connection: socket.socket) -> bool:
    """Send one more byte; whether the server still listens."""
    try:
        connection.send(b"a")
        return bool(connection.recv(4096))
    except BlockingIOError:
        return True
    except OSError:
        return False


if __name__ == "__main__":
    main()
