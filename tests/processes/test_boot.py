"""A server that cannot start says why, once, and leaves nothing behind."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from subprocess import PIPE

import pytest
from support import Client, eventually

import pyserver

HELLO = """
    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"hello"]
"""


def assert_gone(server, exit_code):
    assert server.wait() == exit_code
    assert server.processes() == []


@pytest.mark.parametrize("workers", ["1", "4"])
@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import no_such_thing\n", "ModuleNotFoundError: No module named 'no_such_thing'"),
        ("1 / 0\n", "ZeroDivisionError: division by zero"),
        ("def application(:\n", "SyntaxError: "),
        ("import sys\nsys.exit(0)\n", "SystemExit: 0"),
    ],
)
def test_an_application_that_cannot_be_imported_ends_the_server_with_its_traceback(start, workers, source, reason):
    server = start(source, "-w", workers)
    assert_gone(server, 4)
    log = server.log()
    assert f"failed to boot: module 'application_0' cannot be imported: {reason}" in log
    assert log.count(") failed to boot") == 1
    # A syntax error has no frames, so Python shows it without that line.
    assert log.count("Traceback (most recent call last)") == ("SyntaxError" not in reason)
    assert "/pyserver/" not in log


@pytest.mark.parametrize(
    ("application", "reason"),
    [
        ("nowhere:app", "module 'nowhere' cannot be found in "),
        ("pyserver.demo:missing", "module 'pyserver.demo' has no attribute 'missing'"),
        ("pyserver.demo:LONGEST_PAUSE", "'pyserver.demo:LONGEST_PAUSE' is of type float, which cannot be called"),
    ],
)
def test_an_application_that_is_not_there_is_told_in_one_line(start, application, reason):
    server = start(application)
    assert_gone(server, 4)
    assert reason in server.log()
    assert "Traceback" not in server.log()


def test_an_asgi_application_is_told_in_one_line(start):
    server = start("async def application(scope, receive, send): ...\n", "-k", "sync")
    assert_gone(server, 4)
    assert "'application_0:application' is an ASGI application" in server.log()
    assert "Traceback" not in server.log()


def test_an_application_that_ends_its_process_ends_the_server(start):
    server = start("import os\nos._exit(7)\n")
    assert_gone(server, 3)
    assert "failed to boot: it exited with code 7" in server.log()


def test_a_thread_that_a_failed_import_has_started_does_not_hold_up_the_end(start):
    server = start("import threading\nthreading.Thread(target=threading.Event().wait).start()\n1 / 0\n")
    assert_gone(server, 4)


def test_a_port_in_use_is_told_in_one_line(start):
    with socket.create_server(("127.0.0.1", 0)) as other:
        server = start(HELLO, "-b", f"127.0.0.1:{other.getsockname()[1]}")
        assert_gone(server, 1)
    assert server.log().count("Connection in use: ('127.0.0.1', ") == 5
    assert server.log().splitlines()[-1].startswith("pyserver: cannot listen on 127.0.0.1:")
    assert "the port is in use; stop the other process or choose another --bind" in server.log()
    assert "Traceback" not in server.log()


def test_a_port_that_is_given_free_while_the_server_waits_for_it_is_taken(start):
    with socket.create_server(("127.0.0.1", 0)) as other:
        server = start(HELLO, "-b", f"127.0.0.1:{other.getsockname()[1]}")
        eventually(lambda: "Retrying in 1 s" in server.log())
    server.wait_until_listening()
    assert server.get().status == 200
    assert server.stop() == 0


def test_a_server_that_waits_for_a_unix_socket_leaves_it_and_can_be_stopped(start, serve):
    first = serve(HELLO, "-b", "unix:a.sock")
    second = start(HELLO, "-b", "unix:a.sock")
    eventually(lambda: "Connection in use: a.sock" in second.log())
    assert second.stop() == 0
    assert "Shutting down: Arbiter" in second.log()
    assert first.get().status == 200


def test_an_unknown_worker_class_is_told_in_one_line(start):
    server = start(HELLO, "-k", "swift")
    assert_gone(server, 1)
    assert server.log().count("\n") == 1
    assert "worker_class 'swift' is not known; there are: asgi, auto, gevent, sync, threaded" in server.log()


def test_a_server_says_where_it_listens_and_with_what(serve):
    server = serve(HELLO, "-w", "2")
    eventually(lambda: server.log().count("Booting worker with pid: ") == 2)
    assert "[INFO] Starting pyserver " in server.log()
    assert f"({server.pid})\n" in server.log()
    # A worker says it, which chooses for itself.
    eventually(lambda: "[INFO] Using worker: sync" in server.log())


def test_an_access_log_that_cannot_be_opened_is_told_in_one_line(start):
    server = start(HELLO, "--access-logfile", "/no/such/directory/access.log")
    assert_gone(server, 1)
    assert "/no/such/directory/access.log" in server.log()
    assert "Traceback" not in server.log()


def test_an_inherited_listener_is_served(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as given:
        command = [sys.executable, "-m", "pyserver", "-b", f"fd://{given.fileno()}", "pyserver.demo:application"]
        environ = {**os.environ, "PYTHONPATH": str(Path(pyserver.__file__).parents[1])}
        with subprocess.Popen(command, cwd=tmp_path, env=environ, pass_fds=[given.fileno()], stderr=PIPE) as process:
            try:
                with Client(given.getsockname()) as client:
                    assert client.request("GET").status == 200
            finally:
                process.terminate()
                process.communicate()
        assert process.returncode == 0


def test_the_arbiter_never_imports_the_application(serve):
    server = serve("""
        import os
        where = os.getpid()

        def application(environ, start_response):
            start_response("200 OK", [])
            return [str(where).encode()]
    """)
    pid = int(server.get().content)
    assert pid != server.pid
    assert pid in server.workers()


def test_an_import_that_never_ends_does_not_hold_up_a_stop(serve):
    server = serve("import threading\nthreading.Event().wait()\n")
    eventually(server.workers)
    assert server.stop(signal.SIGTERM) == 0
