"""Workers that die are replaced and their death is explained; workers are processes of their own."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from classes import each_class as worker_class
from classes import only
from support import eventually

__all__ = ["worker_class"]

APPLICATION = """
    import gc, os, random, sys

    IS_COLLECTING = gc.isenabled()  # while it is imported

    def application(environ, start_response):
        path = environ["PATH_INFO"]
        if path == "/exit":
            os._exit(9)
        if path == "/segfault":
            import ctypes
            ctypes.string_at(0)
        text = {
            "/modules": "\\n".join(sorted(sys.modules)),
            "/random": str(random.random()),
            "/collecting": str([IS_COLLECTING, gc.isenabled()]),
        }
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [text.get(path, str(os.getpid())).encode()]
"""


@pytest.fixture
def server(serve):
    started = serve(APPLICATION)
    assert started.get().status == 200
    return started


def is_replaced(server, pid):
    eventually(lambda: server.workers() and pid not in server.workers())
    return server.get().status == 200


def title(pid):
    return Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0")


@pytest.mark.parametrize(
    ("number", "how"),
    [(signal.SIGKILL, "was ended by SIGKILL"), (signal.SIGSEGV, "crashed with SIGSEGV")],
)
def test_a_worker_that_is_killed_is_replaced_and_its_death_explained(server, number, how):
    (pid,) = server.workers()
    os.kill(pid, number)
    assert is_replaced(server, pid)
    assert f"[ERROR] Worker (pid:{pid}) {how}" in server.log()


def test_the_death_of_a_worker_names_the_request_it_was_running(server):
    (pid,) = server.workers()
    with server.client() as client:
        client.send(b"GET /exit HTTP/1.1\r\nHost: a\r\n\r\n")
        assert is_replaced(server, pid)
    (line,) = [line for line in server.log().splitlines() if f"Worker (pid:{pid}) exited with code 9" in line]
    assert "it was running GET /exit from 127.0.0.1:" in line


def test_a_crash_writes_the_stack_of_the_application(server):
    (pid,) = server.workers()
    with server.client() as client:
        client.send(b"GET /segfault HTTP/1.1\r\nHost: a\r\n\r\n")
        assert is_replaced(server, pid)
    assert "Fatal Python error: Segmentation fault" in server.log()
    assert "in application" in server.log()


def test_a_worker_that_is_told_to_stop_is_replaced(server):
    (pid,) = server.workers()
    os.kill(pid, signal.SIGTERM)
    assert is_replaced(server, pid)
    assert f"Worker exiting (pid: {pid})" in server.log()
    assert "ERROR" not in server.log()


def test_a_reload_sent_to_a_worker_by_mistake_does_nothing(server):
    (pid,) = server.workers()
    os.kill(pid, signal.SIGHUP)
    assert server.get().content == str(pid).encode()


def test_workers_that_die_as_fast_as_they_start_are_started_ever_more_slowly(serve):
    server = serve("""
        import os, threading
        threading.Timer(0.05, os._exit, [5]).start()

        def application(environ, start_response): ...
    """)
    eventually(lambda: "Workers end as fast as they start: none is started for 0.4 s" in server.log(), within=10)
    assert server.is_running()
    assert server.stop() == 0


def test_a_server_that_has_worked_never_ends_because_its_workers_do(serve):
    server = serve(APPLICATION)
    server.get()
    (server.directory / "application_0.py").write_text("1 / 0\n")
    (pid,) = server.workers()
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: server.log().count("failed to boot") >= 3, within=10)
    assert server.is_running()
    assert server.log().count("Traceback") == 1


@pytest.mark.skipif(not Path("/proc").exists(), reason="titles are read from /proc")
def test_processes_are_named(serve):
    server = serve(APPLICATION, "-n", "shop")
    eventually(server.workers)
    assert title(server.pid) == "pyserver: arbiter [shop]"
    eventually(lambda: title(server.workers()[0]) == "pyserver: worker [shop]")


@pytest.mark.skipif(not Path("/proc").exists(), reason="descriptors are read from /proc")
def test_a_replacement_holds_no_more_descriptors_than_the_first_worker(serve):
    server = serve(APPLICATION)

    def descriptors(pid):
        return sorted(os.readlink(link).split(":")[0] for link in Path(f"/proc/{pid}/fd").iterdir())

    def settled(pid):
        # The listener, the channel and the commons, without the connection of a request that is about to be closed.
        return eventually(lambda: (found := descriptors(pid)).count("socket") == 4 and found)

    server.get()
    (pid,) = server.workers()
    before = settled(pid)
    os.kill(pid, signal.SIGKILL)
    assert is_replaced(server, pid)
    assert settled(server.workers()[0]) == before


def test_workers_do_not_draw_the_same_random_numbers(serve):
    server = serve(APPLICATION, "-w", "2", "--max-requests", "1")
    drawn = {server.get("/random").content for _ in range(8)}
    assert len(drawn) == 8


def test_garbage_of_the_application_is_collected(server):
    assert server.get("/collecting").content == b"[True, True]"


@only("sync", "threaded")
def test_a_worker_imports_nothing_that_it_does_not_need(server):
    loaded = set(server.get("/modules").content.decode().split())
    heavy = {
        "logging",
        "ast",
        "asyncio",
        "dataclasses",
        "inspect",
        "ssl",
        "email",
        "http",
        "urllib",
        "multiprocessing",
        "tempfile",
        "ctypes",
        "socketserver",
    }
    # An editable installation loads some of them before anything of ours runs.
    bare = subprocess.run(
        [sys.executable, "-c", "import sys; print(*sys.modules)"], capture_output=True, text=True, check=True
    )
    assert (loaded - set(bare.stdout.split())) & heavy == set()


def test_a_worker_that_writes_nonsense_to_the_arbiter_is_killed_and_harms_no_other(serve):
    server = serve("""
        import os

        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            if environ["PATH_INFO"] == "/foul":
                for fd in range(3, 64):
                    try:
                        if os.readlink(f"/proc/self/fd/{fd}").startswith("socket:"):
                            os.write(fd, b"\\xff\\0\\0\\0\\0\\0")
                    except OSError:
                        pass
            return [b"well"]
    """)
    server.get()
    (pid,) = server.workers()
    with server.client() as client:
        client.send(b"GET /foul HTTP/1.1\r\nHost: a\r\n\r\n")
        eventually(lambda: "says what no worker says, and is killed" in server.log())
    assert is_replaced(server, pid)
    assert server.get().content == b"well"
