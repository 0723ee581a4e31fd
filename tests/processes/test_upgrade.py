"""USR2: a new arbiter beside the old one, and either way out of it."""

import contextlib
import os
import re
import resource
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from support import Client, Server, eventually

import pyserver

CODE = """
import os

def application(environ, start_response):
    if environ["PATH_INFO"] == "/wait":
        open("entered", "w").close()
        with open("gate") as gate:
            gate.read()
    text = f"old {os.getppid()}"
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(text)))])
    return [text.encode()]
"""
NEW_CODE = CODE.replace('f"old', 'f"new')


class Site:
    """A server that is upgraded, and the arbiter that it starts."""

    def __init__(self, serve, directory):
        self.directory = directory
        self._serve = serve
        self.new = 0
        self.pidfile = directory / "pid"

    def start(self, *arguments, **options):
        self.code(CODE)
        self.server = self._serve("site_under_test:application", "-p", "pid", *arguments, **options)
        self.old = self.server.pid
        self.server.get()
        return self.server

    def code(self, text):
        (self.directory / "site_under_test.py").write_text(text)

    def config(self, text):
        (self.directory / "pyserver.conf.py").write_text(text)

    def begin(self):
        """Send USR2 and learn who the new arbiter is."""
        before = self._started()
        self.server.send_signal(signal.SIGUSR2)
        eventually(lambda: len(self._started()) > len(before))
        self.new = self._started()[-1]

    def upgrade(self):
        """Send USR2 and wait until the new arbiter serves."""
        self.code(NEW_CODE)
        self.begin()
        self.says(f"The new arbiter (pid: {self.new}) serves", within=10)

    def says(self, text, within=5.0):
        eventually(lambda: text in self.server.log(), within)

    def answers(self):
        """What answers there are, and which arbiters they come from."""
        return {self.server.get().content.decode() for _ in range(8)}

    def everything_from(self, code, arbiter):
        eventually(lambda: self.answers() == {f"{code} {arbiter}"})

    def end_new(self, number=signal.SIGTERM):
        os.kill(self.new, number)
        eventually(lambda: self.new not in self.server.processes())

    def _started(self):
        return [int(pid) for pid in re.findall(r"The new arbiter \(pid: (\d+)\) was started", self.server.log())]


class Manager:
    """A service manager that listens; called, it says what it has heard."""

    def __init__(self, path):
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(path)
        self._socket.setblocking(False)
        self._heard = []

    def __call__(self):
        with contextlib.suppress(BlockingIOError):
            while True:
                self._heard += self._socket.recv(4096).decode().split("\n")
        return self._heard

    def clear(self):
        self()
        self._heard.clear()

    def close(self):
        self._socket.close()


@pytest.fixture
def manager(tmp_path):
    with contextlib.closing(Manager(str(tmp_path / "notify"))) as listening:
        yield listening


@pytest.fixture
def site(serve, tmp_path):
    site = Site(serve, tmp_path)
    yield site
    # The fixture of the server knows the old arbiter only.
    if site.new and site.new in site.server.processes():
        site.end_new()


def children_of(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_the_new_arbiter_serves_the_new_code_beside_the_old_one(site):
    site.start()
    os.mkfifo(site.directory / "gate")
    site.upgrade()
    with site.server.client() as client:
        client.send(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
        eventually((site.directory / "entered").exists)
        answers = site.answers()
        (site.directory / "gate").write_text("")
        answers.add(client.receive_response().content.decode())
    assert answers == {f"old {site.old}", f"new {site.new}"}
    assert site.pidfile.read_text() == f"{site.old}\n"
    assert site.pidfile.with_name("pid.2").read_text() == f"{site.new}\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT, signal.SIGINT])
def test_the_new_arbiter_takes_the_place_of_the_old_one(site, number):
    server = site.start("-w", "2")
    site.upgrade()
    server.send_signal(number)
    assert server.wait() == 0
    # Before it has ended, so that whoever reads the file then finds the successor.
    assert site.pidfile.read_text() == f"{site.new}\n"
    site.everything_from("new", site.new)
    site.says(f"The arbiter before this one (pid: {site.old}) has gone: this one takes its place")
    site.end_new()
    assert list(site.directory.glob("pid*")) == []


def test_an_upgrade_and_a_stop_that_come_together_leave_the_new_arbiter(site):
    server = site.start()
    site.code(NEW_CODE)
    server.send_signal(signal.SIGSTOP)
    server.send_signal(signal.SIGTERM)
    server.send_signal(signal.SIGUSR2)
    server.send_signal(signal.SIGCONT)
    assert server.wait() == 0
    site.says("this one takes its place")
    eventually(site.pidfile.exists)
    site.new = int(site.pidfile.read_text())
    assert site.new != site.old
    site.everything_from("new", site.new)


def test_the_new_arbiter_takes_the_place_of_one_that_is_killed(site):
    server = site.start()
    site.upgrade()
    os.kill(site.old, signal.SIGKILL)
    server.wait()
    eventually(lambda: site.pidfile.read_text() == f"{site.new}\n")
    site.everything_from("new", site.new)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT])
def test_a_request_of_the_old_arbiter_is_finished(site, number):
    os.mkfifo(site.directory / "gate")
    server = site.start()
    with server.client() as client:
        client.send(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
        eventually((site.directory / "entered").exists)
        site.upgrade()
        server.send_signal(number)
        site.says(f"Handling signal: {number.name.removeprefix('SIG').lower()}")
        (site.directory / "gate").write_text("")
        assert client.receive_response().content == f"old {site.old}".encode()
    assert server.wait() == 0


def test_when_both_stop_what_waits_to_be_accepted_is_served(site):
    os.mkfifo(site.directory / "gate")
    entered = site.directory / "entered"
    server = site.start()

    def asks(target):
        client = clients.enter_context(server.client())
        client.send(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        return client

    with contextlib.ExitStack() as clients:
        at_old = asks("/wait")
        eventually(entered.exists)
        entered.unlink()
        site.upgrade()
        server.send_signal(signal.SIGTERM)
        eventually(lambda: server.log().count("Handling signal: term") == 1)
        at_new = asks("/wait")
        eventually(entered.exists)
        in_queue = asks("/")
        os.kill(site.new, signal.SIGTERM)
        eventually(lambda: server.log().count("Handling signal: term") == 2)
        (site.directory / "gate").write_text("")
        answers = [client.receive_response().content.decode() for client in (at_old, at_new, in_queue)]
    assert answers == [f"old {site.old}", f"new {site.new}", f"new {site.new}"]
    assert server.wait() == 0


def test_a_second_quit_does_not_wait(site):
    os.mkfifo(site.directory / "gate")
    server = site.start()
    with server.client() as client:
        client.send(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
        eventually((site.directory / "entered").exists)
        site.upgrade()
        server.send_signal(signal.SIGQUIT)
        site.says("Handling signal: quit")
        server.send_signal(signal.SIGQUIT)
        assert server.wait() == 0


def test_an_upgraded_server_can_be_upgraded_as_soon_as_the_pid_file_names_it(site):
    server = site.start()
    site.upgrade()
    first = site.new
    server.send_signal(signal.SIGTERM)
    eventually(lambda: site.pidfile.read_text() == f"{first}\n")
    os.kill(first, signal.SIGUSR2)
    eventually(lambda: site._started()[-1] != first)
    site.new = site._started()[-1]
    site.says(f"The new arbiter (pid: {site.new}) serves", within=10)
    os.kill(first, signal.SIGTERM)
    eventually(lambda: first not in server.processes())
    assert site.pidfile.read_text() == f"{site.new}\n"
    site.everything_from("new", site.new)


def test_the_old_arbiter_can_be_gone_back_to(site):
    server = site.start("-w", "2")
    site.upgrade()
    server.send_signal(signal.SIGWINCH)
    site.everything_from("new", site.new)
    site.code(CODE)
    server.send_signal(signal.SIGHUP)
    site.says("Generation 2 is ready")
    site.end_new()
    site.says(f"The new arbiter (pid: {site.new}) exited with code 0; this one stays")
    site.everything_from("old", site.old)
    assert site.pidfile.read_text() == f"{site.old}\n"
    assert not site.pidfile.with_name("pid.2").exists()


def test_code_that_does_not_boot_leaves_the_old_arbiter(site):
    server = site.start()
    site.code("1 / 0\n")
    site.begin()
    site.says(f"The new arbiter (pid: {site.new}) exited with code 4; this one stays")
    assert site.answers() == {f"old {site.old}"}
    assert not site.pidfile.with_name("pid.2").exists()
    site.upgrade()
    server.send_signal(signal.SIGTERM)
    server.wait()
    site.everything_from("new", site.new)


def test_settings_that_are_wrong_leave_the_old_arbiter(site):
    site.config("workers = 1\n")
    site.start()
    site.config("workers = 'many'\n")
    site.begin()
    site.says(f"The new arbiter (pid: {site.new}) exited with code 1; this one stays")
    assert site.answers() == {f"old {site.old}"}


def test_a_killed_new_arbiter_leaves_the_old_one_and_no_pid_file(site):
    site.start()
    site.upgrade()
    site.end_new(signal.SIGKILL)
    site.says("this one stays")
    eventually(lambda: not site.pidfile.with_name("pid.2").exists())
    site.everything_from("old", site.old)


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="limits of another process are set on Linux only")
def test_an_upgrade_without_a_descriptor_left_is_refused(site):
    site.start()
    before = resource.prlimit(site.old, resource.RLIMIT_NOFILE)
    lowest_free = min(set(range(1000)) - set(map(int, os.listdir(f"/proc/{site.old}/fd"))))
    resource.prlimit(site.old, resource.RLIMIT_NOFILE, (lowest_free, before[1]))
    site.server.send_signal(signal.SIGUSR2)
    site.says("A new arbiter cannot be started: Too many open files")
    resource.prlimit(site.old, resource.RLIMIT_NOFILE, before)
    site.upgrade()


def test_a_second_upgrade_is_refused_on_either_side(site):
    server = site.start()
    site.upgrade()
    server.send_signal(signal.SIGUSR2)
    site.says(f"has to wait until the new arbiter (pid: {site.new}) has gone")
    os.kill(site.new, signal.SIGUSR2)
    site.says(f"has to wait until the arbiter before this one (pid: {site.old}) has gone")
    assert len(site._started()) == 1


@pytest.mark.parametrize("stays", ["old", "new"])
def test_a_unix_socket_stays_with_the_arbiter_that_stays(site, stays):
    path = site.directory / "a.sock"
    server = site.start("-b", "unix:a.sock")
    inode = path.stat().st_ino
    site.upgrade()
    if stays == "new":
        server.send_signal(signal.SIGTERM)
        server.wait()
        site.says("takes its place")
        assert path.stat().st_ino == inode
        site.everything_from("new", site.new)
        site.end_new()
    else:
        site.end_new()
        site.says("this one stays")
        assert path.stat().st_ino == inode
        site.everything_from("old", site.old)
        server.stop()
    assert not path.exists()


def test_new_addresses_are_opened_and_those_of_no_use_closed(site):
    ports = free_port(), free_port()
    site.config(f"bind = ['127.0.0.1:{ports[0]}', 'unix:a.sock']\n")
    server = site.start(bind=None)
    site.config(f"bind = ['127.0.0.1:{ports[0]}', '127.0.0.1:{ports[1]}']\n")
    site.upgrade()
    assert (site.directory / "a.sock").exists()
    server.send_signal(signal.SIGTERM)
    server.wait()
    site.everything_from("new", site.new)
    with Client(("127.0.0.1", ports[1])) as client:
        assert client.request("GET").content == f"new {site.new}".encode()
    eventually(lambda: not (site.directory / "a.sock").exists())


@pytest.mark.skipif(sys.platform != "linux", reason="children are seen in /proc")
def test_connections_that_wait_are_served_by_the_new_arbiter(site):
    server = site.start()
    site.code(NEW_CODE)
    site.upgrade()
    server.send_signal(signal.SIGWINCH)
    site.everything_from("new", site.new)
    os.kill(site.new, signal.SIGWINCH)
    eventually(lambda: not children_of(site.new))
    with server.client() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        server.send_signal(signal.SIGTERM)
        assert server.wait() == 0
        os.kill(site.new, signal.SIGHUP)
        assert client.receive_response().content == f"new {site.new}".encode()


def test_the_new_arbiter_has_the_environment_and_the_directory_of_the_start(site):
    site.code(CODE)
    (site.directory / "elsewhere").mkdir()
    site.config("chdir = 'elsewhere'\nraw_env = ['SHOP=set by the settings']\nimport os\nos.environ['LEFT'] = 'x'\n")
    (site.directory / "elsewhere" / "site_under_test.py").write_text(CODE)
    server = site._serve("site_under_test:application", env={"SHOP": "set at the start"})
    site.server, site.old = server, server.pid
    server.get()
    site.config("import os\nassert 'LEFT' not in os.environ\nassert os.environ['SHOP'] == 'set at the start'\n")
    site.code(NEW_CODE.replace("os.getppid()", "sorted(n for n in os.environ if n.startswith('PYSERVER_'))"))
    site.begin()
    site.says(f"The new arbiter (pid: {site.new}) serves", within=10)
    server.send_signal(signal.SIGTERM)
    server.wait()
    eventually(lambda: site.answers() == {"new ['PYSERVER_SLOT']"})


def test_a_start_directory_that_is_a_link_is_followed_again(tmp_path):
    for name, code in (("one", CODE), ("two", NEW_CODE)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "site_under_test.py").write_text(code)
    current = tmp_path / "current"
    current.symlink_to("one")
    server = Server("site_under_test:application", directory=current, env={"PWD": str(current)})
    try:
        server.wait_until_listening()
        assert server.get().content == f"old {server.pid}".encode()
        current.unlink()
        current.symlink_to("two")
        # Its log is in the directory that the link led to.
        server.send_signal(signal.SIGHUP)
        eventually(lambda: server.get().content == f"new {server.pid}".encode())
    finally:
        server.stop()


def descriptors_of(pid):
    """What a process has open, by kind."""
    kinds = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            target = os.readlink(entry)
            kinds.append("file" if target.startswith("/") else target.partition(":")[0])
    return sorted(kinds)


def test_a_server_that_a_script_runs_is_upgraded_by_running_the_script_again(site):
    (site.directory / "main.py").write_text(
        "import pyserver, sys\npyserver.run(sys.argv[-1], bind='127.0.0.1:0', pidfile='pid')\n"
    )
    server = site.start(through=[sys.executable, "-X", "utf8", "main.py"])
    site.upgrade()
    server.send_signal(signal.SIGTERM)
    assert server.wait() == 0
    site.everything_from("new", site.new)


@pytest.mark.skipif(sys.platform != "linux", reason="a mold needs a subreaper")
def test_a_preloaded_application_is_imported_anew(site):
    server = site.start("--preload")
    site.upgrade()
    server.send_signal(signal.SIGTERM)
    assert server.wait() == 0
    site.everything_from("new", site.new)


def test_a_daemon_is_upgraded_in_the_background(tmp_path):
    (tmp_path / "site_under_test.py").write_text(CODE)
    log, pidfile, second = tmp_path / "error.log", tmp_path / "pid", tmp_path / "pid.2"
    arguments = ["-D", "-p", "pid", "-b", "unix:a.sock", "--error-logfile", "error.log", "site_under_test:application"]
    root = str(Path(pyserver.__file__).parents[1])
    subprocess.run(
        [sys.executable, "-m", "pyserver", *arguments],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": root}, check=True, timeout=30,
    )  # fmt: skip
    old, new = int(pidfile.read_text()), 0
    try:
        (tmp_path / "site_under_test.py").write_text(NEW_CODE)
        os.kill(old, signal.SIGUSR2)
        eventually(lambda: ") serves; " in log.read_text(), within=10)
        new = int(second.read_text())
        os.kill(old, signal.SIGTERM)
        eventually(lambda: not second.exists())
        assert int(pidfile.read_text()) == new
        eventually(lambda: "takes its place" in log.read_text())
        with Client(str(tmp_path / "a.sock")) as client:
            assert client.request("GET").content == f"new {new}".encode()
    finally:
        os.kill(new or old, signal.SIGTERM)
        eventually(lambda: not pidfile.exists())


def test_a_service_manager_is_told_who_the_server_is_and_of_no_end(site, manager):
    server = site.start(env={"NOTIFY_SOCKET": str(site.directory / "notify")})
    site.upgrade()
    manager.clear()
    server.send_signal(signal.SIGTERM)
    server.wait()
    site.says("takes its place")
    eventually(lambda: f"MAINPID={site.new}" in manager() and "READY=1" in manager())
    assert "STOPPING=1" not in manager()
    site.end_new()
    eventually(lambda: "STOPPING=1" in manager())


def test_a_service_manager_is_not_told_of_the_way_back(site, manager):
    server = site.start(env={"NOTIFY_SOCKET": str(site.directory / "notify")})
    site.upgrade()
    site.end_new()
    site.says("this one stays")
    assert not {line for line in manager() if line.startswith(("STOPPING", "MAINPID"))}
    server.stop()
    eventually(lambda: "STOPPING=1" in manager())


def test_sockets_that_were_passed_are_passed_on_used_or_not(site):
    with socket.create_server(("127.0.0.1", 0)) as web, socket.create_server(("127.0.0.1", 0)) as admin:
        site.config("bind = 'systemd:web'\n")
        server = site.start(bind=None, passed={"web": web, "admin": admin})
        site.upgrade()
        server.send_signal(signal.SIGTERM)
        server.wait()
        site.everything_from("new", site.new)
        site.config("bind = 'systemd:admin'\n")
        os.kill(site.new, signal.SIGHUP)
        site.says("Generation 2 is ready")
        with Client(admin.getsockname()) as client:
            assert client.request("GET").content == f"new {site.new}".encode()


@pytest.mark.skipif(sys.platform != "linux", reason="what is open is seen in /proc")
@pytest.mark.parametrize("arguments", [(), ("--preload",)])
def test_no_descriptor_is_passed_on_that_is_of_no_use(site, arguments):
    server = site.start(*arguments)
    before = descriptors_of(site.old)
    for _ in range(2):
        site.upgrade()
        old_child, new_child = children_of(site.old)[0], children_of(site.new)[0]
        eventually(lambda: descriptors_of(new_child) == descriptors_of(old_child))  # noqa: B023 - Called here.
        site.end_new()
        site.says(f"(pid: {site.new}) exited with code 0")
    eventually(lambda: descriptors_of(site.old) == before)
    site.upgrade()
    server.send_signal(signal.SIGTERM)
    server.wait()
    site.says("takes its place")
    eventually(lambda: descriptors_of(site.new) == before)
