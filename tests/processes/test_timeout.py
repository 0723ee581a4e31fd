"""A request over its time: its worker is ended, and the log says where it hung."""

import os
import signal
import sys
import time

import pytest
from classes import each_class as worker_class
from support import eventually

__all__ = ["worker_class"]

APPLICATION = """
    import ctypes, os, sys

    def hang_in_a_read():
        # Not in a lock, which some classes make cooperative.
        os.read(os.pipe()[0], 1)

    def hang_in_a_loop():
        while True:
            pass

    def hang_with_the_interpreter_lock():
        ctypes.PyDLL(None).sleep(3600)

    def application(environ, start_response):
        hang = globals().get("hang_" + environ["PATH_INFO"][1:])
        if hang:
            hang()
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [str(os.getpid()).encode()]
"""


@pytest.mark.parametrize("where", ["in_a_read", "in_a_loop", "with_the_interpreter_lock"])
def test_a_request_that_hangs_is_ended_and_the_log_says_where(serve, where):
    server = serve(APPLICATION, "--timeout", "0.5")
    (pid,) = eventually(server.workers)
    with server.client() as client:
        client.send(f"GET /{where} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        eventually(lambda: pid not in server.workers())
    assert server.get().status == 200
    log = server.log()
    assert f"[CRITICAL] WORKER TIMEOUT (pid:{pid})" in log
    assert f"it was running GET /{where}" in log
    assert f"in hang_{where}" in log


def test_other_workers_serve_on_meanwhile(serve):
    server = serve(APPLICATION, "--timeout", "3", "-w", "2", "--log-level", "debug")
    # One that still boots would not answer in time.
    eventually(lambda: server.log().count(") is ready") == 2)
    with server.client() as client:
        client.send(b"GET /in_a_read HTTP/1.1\r\nHost: a\r\n\r\n")
        assert [server.get().status for _ in range(10)] == [200] * 10
        assert "WORKER TIMEOUT" not in server.log()
        eventually(lambda: "WORKER TIMEOUT" in server.log())


def test_a_worker_that_cannot_be_aborted_is_killed(serve):
    server = serve(
        APPLICATION.replace("import ctypes", "import faulthandler, signal, ctypes")
        + """
    faulthandler.disable()
    signal.signal(signal.SIGABRT, signal.SIG_IGN)
""",
        "--timeout",
        "0.5",
    )
    (pid,) = eventually(server.workers)
    with server.client() as client:
        client.send(b"GET /in_a_read HTTP/1.1\r\nHost: a\r\n\r\n")
        eventually(lambda: pid not in server.workers())
    assert f"Worker (pid:{pid}) did not die of its timeout and is killed" in server.log()
    assert server.get().status == 200


@pytest.mark.skipif(sys.platform != "linux", reason="a stopped process group is Linux's to test")
def test_a_pause_of_the_whole_machine_ends_no_worker(serve):
    server = serve(APPLICATION.replace("hang = ", "open('entered', 'w').close(); hang = "), "--timeout", "2")
    (pid,) = eventually(server.workers)
    with server.client(timeout=10) as client:
        client.send(b"GET /in_a_read HTTP/1.1\r\nHost: a\r\n\r\n")
        eventually((server.directory / "entered").exists)
        processes = server.processes()
        for process in processes:
            os.kill(process, signal.SIGSTOP)
        # The time that passes is what is tested.
        until = time.monotonic() + 3
        eventually(lambda: time.monotonic() > until)
        for process in processes:
            os.kill(process, signal.SIGCONT)
        until = time.monotonic() + 0.4
        eventually(lambda: time.monotonic() > until)
        assert server.workers() == [pid]
        eventually(lambda: "WORKER TIMEOUT" in server.log())
