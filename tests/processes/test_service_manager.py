"""A service manager: what it is told in the life of a server, and the sockets that it opens for it."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from support import Client, eventually

import pyserver

APPLICATION = """
import os

def application(environ, start_response):
    if environ["PATH_INFO"] == "/wait":
        open("entered", "w").close()
        with open("gate") as gate:
            gate.read()
    about_manager = [name for name in os.environ if name.startswith(("NOTIFY_", "LISTEN_", "WATCHDOG_"))]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [(os.environ.get("RUN", "") + ",".join(about_manager)).encode()]
"""


class Manager:
    """Listens to what the server says."""

    def __init__(self, path):
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(path)
        self._socket.setblocking(False)
        self._heard = []

    def lines(self):
        try:
            while True:
                self._heard += self._socket.recv(4096).decode().split("\n")
        except BlockingIOError:
            return self._heard

    def hears(self, line, times=1):
        eventually(lambda: self.lines().count(line) >= times)

    def forget(self):
        self.lines()
        self._heard.clear()

    def close(self):
        self._socket.close()


@pytest.fixture
def manager(tmp_path):
    opened = Manager(str(tmp_path / "notify"))
    yield opened
    opened.close()


@pytest.fixture
def managed(serve, manager, tmp_path):
    """Start a server that tells the manager."""

    def started(*arguments, **env):
        (tmp_path / "site_under_test.py").write_text(APPLICATION)
        env = {"NOTIFY_SOCKET": manager.path, **env}
        return serve("site_under_test:application", "--log-level", "debug", *arguments, env=env)

    return started


@pytest.fixture
def listener():
    """A socket that a manager has opened, and keeps."""
    with socket.create_server(("127.0.0.1", 0)) as opened:
        yield opened


def test_ready_is_said_when_a_worker_serves_and_not_before(serve, manager, tmp_path):
    os.mkfifo(tmp_path / "loading")
    server = serve("open('loading').read()\n" + APPLICATION, env={"NOTIFY_SOCKET": manager.path})
    manager.hears("STATUS=generation 1 boots")
    assert "READY=1" not in manager.lines()
    (tmp_path / "loading").write_text("")
    manager.hears("READY=1")
    manager.hears("STATUS=1 worker serves, generation 1")
    assert server.get("/").status == 200


def test_an_application_does_not_learn_of_the_manager(managed):
    server = managed(WATCHDOG_USEC="60000000", LISTEN_PID="1", LISTEN_FDS="1", LISTEN_FDNAMES="x")
    assert server.get("/").content == b""


def test_a_reload_is_said_and_its_end(managed, manager):
    server = managed("-w", "2")
    manager.hears("STATUS=2 workers serve, generation 1")
    manager.forget()
    server.send_signal(signal.SIGHUP)
    manager.hears("STATUS=2 workers serve, generation 2")
    lines = [line.partition("=")[0] for line in manager.lines() if not line.startswith("STATUS=")]
    assert lines == ["RELOADING", "MONOTONIC_USEC", "READY"]


def test_a_reload_of_code_that_does_not_boot_is_said_with_the_reason(managed, manager, tmp_path):
    server = managed()
    manager.hears("READY=1")
    (tmp_path / "site_under_test.py").write_text("import no_such_module\n")
    server.send_signal(signal.SIGHUP)
    manager.hears("READY=1", times=2)
    said = [line for line in manager.lines() if line.startswith("STATUS=generation 2 does not boot")]
    assert "No module named 'no_such_module'" in said[0]
    assert said[0].endswith("; generation 1 serves on")


def test_a_reload_of_settings_that_are_wrong_is_said_with_the_reason(managed, manager, tmp_path):
    server = managed()
    manager.hears("READY=1")
    (tmp_path / "pyserver.conf.py").write_text("workers = -1\n")
    server.send_signal(signal.SIGHUP)
    manager.hears("READY=1", times=2)
    said = [line for line in manager.lines() if line.startswith("STATUS=the reload is refused: ")]
    assert "workers is -1" in said[0]


def test_a_first_start_that_fails_is_said_with_the_reason(start, manager):
    server = start("import no_such_module\n" + APPLICATION, env={"NOTIFY_SOCKET": manager.path})
    assert server.wait() != 0
    assert "READY=1" not in manager.lines()
    assert [line for line in manager.lines() if "No module named 'no_such_module'" in line]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_is_said(managed, manager, number):
    server = managed()
    manager.hears("READY=1")
    assert server.stop(number) == 0
    manager.hears("STOPPING=1")


def test_a_stop_is_said_before_the_drain_delay(managed, manager):
    server = managed("--drain-delay", "60")
    manager.hears("READY=1")
    server.send_signal(signal.SIGTERM)
    manager.hears("STOPPING=1")
    assert server.get("/").status == 200
    assert server.stop(signal.SIGINT) == 0


def test_the_watchdog_is_told_again_and_again_by_a_server_that_is_idle(managed, manager):
    managed("-t", "0", WATCHDOG_USEC="100000")
    manager.hears("WATCHDOG=1", times=5)


def test_the_watchdog_is_not_told_when_no_worker_serves(managed, manager, tmp_path):
    server = managed(WATCHDOG_USEC="100000")
    manager.hears("WATCHDOG=1")
    (tmp_path / "site_under_test.py").write_text("import os\nos._exit(1)\n")
    os.kill(server.workers()[0], signal.SIGKILL)
    eventually(lambda: "Workers end as fast as they start" in server.log())
    manager.forget()
    eventually(lambda: server.log().count("Workers end as fast as they start") > 2)
    assert "WATCHDOG=1" not in manager.lines()


def test_a_socket_that_was_passed_takes_the_place_of_bind(serve, listener):
    server = serve(APPLICATION, passed={"web": listener})
    assert server.address == listener.getsockname()
    assert server.get("/").content == b""
    assert "Sockets that were passed to us take the place of bind: fd://3 (web)" in server.log()


def test_a_socket_is_picked_by_its_name(serve, listener):
    with socket.create_server(("127.0.0.1", 0)) as other:
        server = serve(APPLICATION, "--bind", "systemd:admin", passed={"web": other, "admin": listener})
        assert server.addresses == [listener.getsockname()]
        assert "take the place of bind" not in server.log()


def test_a_name_that_was_not_passed_is_one_line(start, listener):
    server = start(APPLICATION, "--bind", "systemd:shop", passed={"web": listener})
    assert server.wait() == 1
    assert server.log() == (
        "pyserver: cannot listen on systemd:shop: no socket of that name was passed; there are fd://3 (web)\n"
    )


def test_a_socket_that_does_not_listen_is_one_line(start):
    with socket.socket() as silent:
        server = start(APPLICATION, passed={"web": silent})
        assert server.wait() == 1
    assert server.log() == "pyserver: cannot listen on fd://3: the descriptor is not a listening stream socket\n"


def test_a_reload_leaves_the_sockets_that_were_passed(serve, listener, tmp_path):
    (tmp_path / "pyserver.conf.py").write_text("bind = 'systemd:web'\n")
    server = serve(APPLICATION, bind=None, passed={"web": listener})
    for bind in ("127.0.0.1:0", "systemd:web"):
        before = server.workers()
        (tmp_path / "pyserver.conf.py").write_text(f"bind = {bind!r}\n")
        server.send_signal(signal.SIGHUP)
        eventually(lambda before=before: server.workers() and not set(before) & set(server.workers()))
        assert server.get("/").status == 200


def occupy(server, tmp_path):
    """The only worker is busy; what it waits for, and its client."""
    client = server.client()
    client.send(b"GET /wait HTTP/1.1\r\nHost: test\r\n\r\n")
    eventually((tmp_path / "entered").exists)
    return client


@pytest.mark.parametrize("is_kept", [True, False])
def test_what_waits_for_a_server_that_stops_is_answered(serve, listener, tmp_path, is_kept):
    """By either where the manager keeps the socket, by this one where nobody says that he does."""
    os.mkfifo(tmp_path / "gate")
    kept = {"SYSTEMD_EXEC_PID": "1"} if is_kept else {}
    first = serve(APPLICATION, passed={"web": listener}, env={"RUN": "first", **kept})
    busy = occupy(first, tmp_path)
    waiting = first.client(timeout=20)
    waiting.send(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
    first.begin_to_stop()
    (tmp_path / "gate").write_text("")
    assert busy.receive_response().content == b"first"
    assert first.wait() == 0
    serve(APPLICATION, passed={"web": listener}, env={"RUN": "second", **kept})
    # The worker may see who waits before it sees that it shall stop.
    assert waiting.receive_response().content in ((b"first", b"second") if is_kept else (b"first",))
    busy.close()
    waiting.close()


@pytest.mark.skipif(not shutil.which("systemd-socket-activate"), reason="systemd is not installed here")
def test_systemds_own_activation_is_understood(tmp_path):
    (tmp_path / "app.py").write_text(APPLICATION)
    path = str(tmp_path / "web.sock")
    command = ["systemd-socket-activate", "-l", path, "--fdname=web", "-E", "PYTHONPATH"]
    server = [sys.executable, "-m", "pyserver", "--bind", "systemd:web", "app:application"]
    env = {**os.environ, "PYTHONPATH": str(Path(pyserver.__file__).parents[1])}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([*command, *server], cwd=tmp_path, env=env, stdin=subprocess.DEVNULL, stderr=log)
    try:
        eventually(lambda: "Listening on" in (tmp_path / "log").read_text())
        with Client(path, timeout=20) as client:
            assert client.request("GET", "/").status == 200
    finally:
        process.terminate()
        process.wait(10)
