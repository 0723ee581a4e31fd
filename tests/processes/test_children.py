"""What a worker gets of the arbiter's descriptors, and what the arbiter does for children that are not its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from support import eventually

HELLO = """
    def application(environ, start_response):
        start_response("200 OK", [("Content-Length", "5")])
        return [b"hello"]
"""
# Each request leaves a grandchild to whoever adopts orphans, and is answered when that one has died.
ORPHANING = """
    import os

    def application(environ, start_response):
        read_end, write_end = os.pipe()
        child = os.fork()
        if child == 0:
            os.fork()
            os._exit(0)
        os.waitpid(child, 0)
        os.close(write_end)
        assert os.read(read_end, 1) == b""
        os.close(read_end)
        start_response("200 OK", [("Content-Length", "5")])
        return [b"hello"]
"""
IN_A_PID_NAMESPACE = ("unshare", "--pid", "--fork")

needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="descriptors are seen in /proc")


def can_unshare():
    return shutil.which("unshare") is not None and not subprocess.run(
        [*IN_A_PID_NAMESPACE, "true"], stderr=subprocess.DEVNULL, check=False
    ).returncode


def opened(pid):
    """The sockets, pipes and files that a process has open beside its standard descriptors."""
    links = [os.readlink(link) for link in sorted(Path(f"/proc/{pid}/fd").iterdir()) if int(link.name) > 2]
    return {link for link in links if not link.startswith(("anon_inode:", "/dev/"))}


def children(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def state(pid):
    return Path(f"/proc/{pid}/stat").read_text("latin-1").rpartition(")")[2].split()[0]


@needs_proc
def test_a_worker_has_nothing_of_its_siblings_and_nothing_of_the_arbiter_alone(serve, tmp_path):
    server = serve(HELLO, "--workers", "3", "--pid", "pid", "--error-logfile", "-")
    server.send_signal(signal.SIGHUP)
    eventually(lambda: "Generation 2 is ready" in server.log() and len(server.workers()) == 3)
    eventually(lambda: server.get().status == 200)
    arbiter, *workers = [opened(pid) for pid in (server.pid, *server.workers())]
    log = str(tmp_path / "server.log")
    for worker in workers:
        siblings = set().union(*(other for other in workers if other is not worker))
        # The listener, the commons, the pipe whose end says that the arbiter has died, and the log.
        kinds = sorted(link.partition(":")[0] for link in worker & siblings)
        assert kinds == sorted([log, "pipe", "socket", "socket", "socket"])
        assert worker & arbiter == worker & siblings


@pytest.mark.skipif(not can_unshare(), reason="this machine gives no PID namespace to put a server in")
def test_as_process_1_the_arbiter_buries_the_orphans_of_others(start):
    server = start(ORPHANING, through=IN_A_PID_NAMESPACE)
    server.wait_until_listening()
    (arbiter,) = children(server.pid)
    (worker,) = eventually(lambda: children(arbiter))
    for _ in range(3):
        assert server.get().content == b"hello"
    eventually(lambda: children(arbiter) == [worker])
    assert state(worker) != "Z"
    os.kill(arbiter, signal.SIGTERM)
    assert server.wait() == 0
