"""Where the lines of the access log go: a file, standard output, another file after a rotation, a full disk."""

import os
import select
import signal
import socket
import sys
import threading

import pytest
from sharing import POLLERS, Routes
from support import Client, eventually

from pyserver._access import AccessLog
from pyserver._connection import Buffers, Durations
from pyserver._engine import Engine
from pyserver._http import Limits
from pyserver._wsgi import WSGIGateway
from pyserver.log import ErrorLog

application = Routes()


class Running:
    """An engine in a thread of this process, for what no signal asks of a server yet."""

    def __init__(self, access, log, poller):
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        self.address = listener.getsockname()
        gateway = WSGIGateway(application, [("localhost", "80")], log=log)
        self._engine = Engine(
            [listener], gateway, Limits(), Durations(), Buffers(), log=log, access=access, poller=poller
        )
        self._bell, self._rope = os.pipe()
        self._engine.watch(self._bell, self._engine.stop)
        self._thread = threading.Thread(target=self._engine.run)
        self._thread.start()
        self._listener = listener

    def get(self, target):
        with Client(self.address) as client:
            return client.request("GET", target)

    def stop(self):
        os.write(self._rope, b"!")
        self._thread.join(10)
        assert not self._thread.is_alive()
        self._engine.abandon()
        self._listener.close()
        os.close(self._bell)
        os.close(self._rope)


@pytest.fixture(params=POLLERS)
def run(request, tmp_path):
    """Run an engine that logs to a file: `run(name)` gives it and its access log."""
    running = []

    def started(name):
        log = ErrorLog(str(tmp_path / "error.log"))
        access = AccessLog(str(tmp_path / name), "%(r)s", log)
        running.append((Running(access, log, request.param), log))
        return running[-1][0], access

    yield started
    for engine, log in running:
        engine.stop()
        log.close()


def lines(path):
    return path.read_text().splitlines()


def test_lines_are_there_when_nothing_more_happens(run, tmp_path):
    engine, _ = run("access.log")
    engine.get("/?1")
    eventually(lambda: lines(tmp_path / "access.log") == ["GET /?1 HTTP/1.1"])


def test_lines_of_a_busy_engine_are_there_when_nothing_more_happens(run, tmp_path):
    engine, _ = run("access.log")
    with Client(engine.address) as client:
        for number in range(50):
            client.request("GET", f"/?{number}")
        eventually(lambda: lines(tmp_path / "access.log") == [f"GET /?{number} HTTP/1.1" for number in range(50)])


def test_lines_of_a_busy_worker_are_there_when_it_has_left(serve, tmp_path):
    server = serve(
        "def application(environ, start_response):\n    start_response('200 OK', [])\n    return []\n",
        *("--access-logfile", "left.log", "--access-logformat", "%(r)s"),
    )
    with Client(server.address) as client:
        for number in range(50):
            client.request("GET", f"/?{number}")
        assert server.stop(signal.SIGINT) == 0
    assert lines(tmp_path / "left.log") == [f"GET /?{number} HTTP/1.1" for number in range(50)]


def test_lines_are_appended_to_a_file_that_is_there(run, tmp_path):
    (tmp_path / "access.log").write_text("before\n")
    engine, _ = run("access.log")
    engine.get("/?1")
    eventually(lambda: lines(tmp_path / "access.log") == ["before", "GET /?1 HTTP/1.1"])


def test_a_file_that_was_moved_is_made_anew_when_it_is_reopened(run, tmp_path):
    engine, access = run("access.log")
    engine.get("/?1")
    eventually(lambda: lines(tmp_path / "access.log"))
    (tmp_path / "access.log").rename(tmp_path / "old.log")
    engine.get("/?2")
    eventually(lambda: len(lines(tmp_path / "old.log")) == 2)
    access.reopen()
    engine.get("/?3")
    eventually(lambda: (tmp_path / "access.log").exists() and lines(tmp_path / "access.log"))
    assert lines(tmp_path / "old.log") == ["GET /?1 HTTP/1.1", "GET /?2 HTTP/1.1"]
    assert lines(tmp_path / "access.log") == ["GET /?3 HTTP/1.1"]


def test_a_file_that_cannot_be_reopened_goes_on_and_is_told(run, tmp_path):
    (tmp_path / "logs").mkdir()
    engine, access = run("logs/access.log")
    (tmp_path / "logs").rename(tmp_path / "moved")
    access.reopen()
    engine.get("/?1")
    eventually(lambda: lines(tmp_path / "moved" / "access.log") == ["GET /?1 HTTP/1.1"])
    assert "the access log goes on in the file it has" in (tmp_path / "error.log").read_text()


def test_a_log_without_a_path_is_not_reopened(tmp_path):
    log = ErrorLog(str(tmp_path / "error.log"))
    AccessLog("-", "%(r)s", log).reopen()
    log.close()
    assert (tmp_path / "error.log").read_text() == ""


def test_a_dash_is_standard_output(serve):
    server = serve(
        "def application(environ, start_response):\n    start_response('200 OK', [])\n    return []\n",
        *("--access-logfile", "-", "--access-logformat", "seen %(r)s"),
    )
    server.get("/?1")
    eventually(lambda: "seen GET /?1 HTTP/1.1\n" in server.log())


def test_lines_of_several_workers_are_not_mixed_up(serve):
    server = serve(
        "def application(environ, start_response):\n    start_response('200 OK', [])\n    return []\n",
        *("--access-logfile", "access.log", "--access-logformat", "%(q)s.", "-w", "3"),
    )
    for number in range(300):
        server.get(f"/?{'x' * 500}-{number}")
    wanted = sorted(f"{'x' * 500}-{number}." for number in range(300))
    eventually(lambda: sorted(lines(server.directory / "access.log")) == wanted)


def test_a_reload_opens_the_file_anew(serve):
    server = serve(
        "def application(environ, start_response):\n    start_response('200 OK', [])\n    return []\n",
        *("--access-logfile", "access.log", "--access-logformat", "%(q)s"),
    )
    server.get("/?1")
    old, new = server.directory / "old.log", server.directory / "access.log"
    eventually(lambda: lines(new) == ["1"])
    new.rename(old)
    server.send_signal(signal.SIGHUP)
    eventually(new.exists)
    eventually(lambda: server.get("/?2") and "2" in lines(new))
    assert "1" not in lines(new)


needs_full = pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/full")


@needs_full
def test_a_full_disk_does_not_stop_serving(serving):
    server = serving("--access-logfile", "/dev/full")
    with server.client() as client:
        assert [client.request("GET", "/").status for _ in range(100)] == [200] * 100


@needs_full
def test_a_full_disk_is_told_once(serving):
    server = serving("--access-logfile", "/dev/full")
    for _ in range(10):
        assert server.get("/").status == 200
    assert server.log().count("cannot write the access log /dev/full: No space left on device") == 1


@needs_full
def test_lines_that_were_lost_are_counted_when_the_disk_has_room_again(run, tmp_path):
    (tmp_path / "access.log").symlink_to("/dev/full")
    engine, access = run("access.log")
    for number in range(3):
        engine.get(f"/?{number}")
    eventually(lambda: access.dropped == 3)
    (tmp_path / "access.log").unlink()
    access.reopen()
    engine.get("/?3")
    eventually(lambda: lines(tmp_path / "access.log") == ["GET /?3 HTTP/1.1"])
    eventually(lambda: "is written again; 3 lines are missing" in (tmp_path / "error.log").read_text())


def test_a_fifo_that_nobody_reads_is_refused_in_one_line(start, tmp_path):
    os.mkfifo(tmp_path / "fifo")
    server = start("def application(environ, start_response): pass\n", "--access-logfile", "fifo")
    assert server.wait() == 1
    assert "cannot open the access log fifo: nobody reads from it" in server.log()


def test_lines_go_into_a_fifo_that_somebody_reads(start, tmp_path):
    os.mkfifo(tmp_path / "fifo")
    reader = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    try:
        server = start("def application(environ, start_response):\n    start_response('200 OK', [])\n    return []\n",
                       "--access-logfile", "fifo")  # fmt: skip
        server.wait_until_listening()
        server.get("/here")
        eventually(lambda: select.select([reader], [], [], 0)[0])
        assert b"GET /here" in os.read(reader, 4096)
        server.stop()
    finally:
        os.close(reader)
