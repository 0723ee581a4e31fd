"""A server whose standard descriptors are closed, full, or closed later by its application."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support import eventually

APPLICATION = """
    import os

    def application(environ, start_response):
        if environ["PATH_INFO"] == "/close":
            for number in range(3):
                os.close(number)
        if environ["PATH_INFO"] == "/error":
            raise ValueError("in the application")
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"hello"]
"""


ROOT = Path(__file__).parents[2]
ENVIRON = {**os.environ, "PYTHONPATH": str(ROOT)}


def run(*arguments, **options):
    command = [sys.executable, "-m", "pyserver", *arguments]
    return subprocess.run(command, stderr=subprocess.PIPE, timeout=30, check=False, env=ENVIRON, **options)


def test_an_error_after_the_application_closed_standard_error_reaches_no_client(serve):
    server = serve(APPLICATION)
    assert server.get("/close").status == 200
    clients = [server.client() for _ in range(4)]
    for client in clients:
        client.request("GET", "/")
    assert server.get("/error").status == 500
    eventually(lambda: "in the application" in server.log())
    for client in clients:
        assert client.request("GET", "/").content == b"hello"
        client.close()


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="what a descriptor is open for is seen in /proc")
def test_standard_descriptors_that_are_closed_become_the_null_device(tmp_path):
    (tmp_path / "app.py").write_text("def application(environ, start_response): ...")
    arguments = [sys.executable, "-m", "pyserver", "-b", "127.0.0.1:0", "--error-logfile", "log", "app:application"]
    code = "import os, sys; [os.close(n) for n in range(3)]; os.execv(sys.argv[1], sys.argv[1:])"
    process = subprocess.Popen([sys.executable, "-c", code, *arguments], cwd=tmp_path, env=ENVIRON)
    try:
        eventually(lambda: (tmp_path / "log").exists() and "Booting worker" in (tmp_path / "log").read_text())
        assert [os.readlink(f"/proc/{process.pid}/fd/{number}") for number in range(3)] == [os.devnull] * 3
    finally:
        process.terminate()
        process.wait(10)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
def test_a_full_standard_output_is_one_line():
    with open("/dev/full", "w") as full:
        finished = run("--version", stdout=full)
    assert (finished.returncode, finished.stderr.count(b"\n")) == (1, 1)


def test_an_argument_that_is_no_utf_8_gives_no_traceback():
    finished = run("-b", b"\xff:80", "app:application")
    assert finished.returncode == 1
    assert b"Traceback" not in finished.stderr


@pytest.mark.parametrize("used", [["--access-logfile", "-"], ["--log-syslog"], []])
def test_a_wrong_log_format_is_found_by_the_check_where_it_is_used(tmp_path, used):
    (tmp_path / "app.py").write_text("def application(environ, start_response): ...")
    finished = run("--check-config", *used, "--access-logformat", "%(zz)s", "app:application", cwd=tmp_path)
    assert finished.returncode == bool(used)
    assert (b"zz" in finished.stderr) == bool(used)


def test_a_pipe_that_nobody_empties_does_not_hold_the_server(serve, tmp_path):
    pipe = tmp_path / "access.log"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        server = serve(APPLICATION, "--access-logfile", str(pipe))
        with server.client() as client:
            for _ in range(2_000):
                assert client.request("GET", "/" + "x" * 50).status == 200
        assert "cannot write the access log" in server.log()
    finally:
        os.close(reading)


@pytest.fixture
def full_pipe():
    """The write end of a pipe that takes nothing more, and that nobody reads."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    for size in (4096, 1):
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(writing, b"-" * size)
    os.set_blocking(writing, True)
    yield writing
    os.close(reading)
    os.close(writing)


def test_a_standard_error_that_nobody_reads_holds_neither_the_arbiter_nor_its_workers(start, full_pipe, tmp_path):
    server = start(APPLICATION, "--log-level", "debug", "-w", "2", "-b", "unix:site", stderr=full_pipe)
    server.addresses = [str(tmp_path / "site")]
    eventually(lambda: len(server.workers()) == 2 and (tmp_path / "site").exists())
    before = set(server.workers())
    assert server.get("/error").status == 500
    (tmp_path / "pyserver.conf.py").write_text("worker_tmp_dirr = '/tmp'\n")  # A warning.
    server.send_signal(signal.SIGHUP)
    eventually(lambda: len(server.workers()) == 2 and not before & set(server.workers()))
    assert server.get("/").content == b"hello"
    assert server.stop() == 0
