"""The admin address: who is told what, while workers are well and while they are not."""

import json
import os
import re
import signal
import socket
import sys
from pathlib import Path

import pytest
from sharing import descriptors
from support import Client, Server, eventually

from pyserver.arbiter.admin import delay_after

# A worker boots once there is a file "may_boot", and a request for /stuck is answered once there is one named "free".
CODE = """
import os, time

while not os.path.exists("may_boot"):
    time.sleep(0.01)

def application(environ, start_response):
    if environ["PATH_INFO"] == "/stuck":
        while not os.path.exists("free"):
            time.sleep(0.01)
    if environ["PATH_INFO"] == "/raise":
        raise ValueError
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return [b"hello"]
"""


class Site:
    """A server with an admin address."""

    def __init__(self, serve, directory):
        self.directory = directory
        self._serve = serve
        self.code(CODE)
        (directory / "may_boot").touch()

    def start(self, *arguments, admin="127.0.0.1:0", **options):
        more = ("--admin", admin) if admin else ()
        self.server = self._serve("site_of_admin:application", *more, *arguments, **options)
        if admin:
            eventually(self.addresses)
        return self

    def code(self, text):
        (self.directory / "site_of_admin.py").write_text(text)

    def config(self, **settings):
        lines = [f"{name} = {value!r}\n" for name, value in settings.items()]
        (self.directory / "pyserver.conf.py").write_text("".join(lines))

    def addresses(self):
        """Where it was said to be, the last one last."""
        return re.findall(r"Health and metrics at: (\S+)", self.server.log())

    def client(self, at=-1):
        where = self.addresses()[at]
        if where.startswith("unix:"):
            return Client(str(self.directory / where.removeprefix("unix:")))
        host, port = where.removeprefix("http://").split(":")
        return Client((host, int(port)))

    def ask(self, target, method="GET", at=-1, fields=()):
        with self.client(at) as client:
            return client.request(method, target, list(fields))

    def status(self, target):
        return self.ask(target).status

    def told(self):
        return json.loads(self.ask("/workers").content)

    def workers(self):
        return self.told()["workers"]

    def is_ready(self):
        return self.status("/readyz") == 200

    def metric(self, line):
        """The value of the sample that is written so."""
        text = self.ask("/metrics").content.decode()
        return float(next(row.split()[-1] for row in text.splitlines() if row.rpartition(" ")[0] == line))

    def admin_pids(self):
        known = {worker["pid"] for worker in self.workers()}
        return [pid for pid in self.server.processes() if pid not in {*known, self.server.pid}]


@pytest.fixture
def site(serve, tmp_path):
    site = Site(serve, tmp_path)
    yield site
    (tmp_path / "free").touch()


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One that has two workers, and whom nobody stops."""
    directory = tmp_path_factory.mktemp("admin")
    servers = []

    def serve(*arguments, **options):
        servers.append(Server(*arguments, directory=directory, **options))
        servers[0].wait_until_listening()
        return servers[0]

    site = Site(serve, directory)
    try:
        site.start("-w", "2")
        eventually(lambda: [worker["state"] for worker in site.workers()] == ["idle", "idle"])
        yield site
    finally:
        print(servers[0].log())
        servers[0].stop()


# What is told


def test_a_server_is_ready_when_its_first_worker_is(site):
    (site.directory / "may_boot").unlink()
    site.start()
    assert site.ask("/livez").content == b"ok\n"
    answer = site.ask("/readyz")
    assert (answer.status, answer.content) == (503, b"no worker is ready\n")
    assert [worker["state"] for worker in site.workers()] == ["booting"]
    (site.directory / "may_boot").touch()
    eventually(site.is_ready)


def test_it_is_live_and_told_what_it_does_while_every_worker_is_stuck(site):
    site.start("-w", "2")
    clients = [site.server.client(), site.server.client()]
    for client in clients:
        client.send(b"GET /stuck?secret HTTP/1.1\r\nHost: a\r\n\r\n")
    eventually(lambda: [worker["state"] for worker in site.workers()] == ["busy", "busy"])
    assert (site.status("/livez"), site.status("/readyz")) == (200, 200)
    assert [run["path"] for worker in site.workers() for run in worker["running"]] == ["/stuck", "/stuck"]
    assert site.metric('pyserver_workers{state="busy"}') == 2
    (site.directory / "free").touch()
    for client in clients:
        assert client.receive_response().content == b"hello"
        client.close()


def test_workers_are_told_of_by_what_they_have_done(shared):
    before = sum(worker["requests"] for worker in shared.workers())
    shared.server.get()
    eventually(lambda: sum(worker["requests"] for worker in shared.workers()) == before + 1)
    assert shared.told()["server"]["pid"] == shared.server.pid
    assert {worker["generation"] for worker in shared.workers()} == {1}
    assert all(worker["resident_bytes"] > 0 for worker in shared.workers())


def test_metrics_count_requests_failures_and_refusals(shared):
    names = ("pyserver_requests_total", "pyserver_requests_failed_total", "pyserver_requests_refused_total")
    counted = (*names, "pyserver_request_duration_seconds_count", 'pyserver_request_duration_seconds_bucket{le="+Inf"}')
    before = [shared.metric(name) for name in counted]
    shared.server.get()
    assert shared.server.get("/raise").status == 500
    with shared.server.client() as client:
        client.send(b"nonsense\r\n\r\n")
        assert client.receive_response().status == 400
    eventually(
        lambda: [shared.metric(name) for name in counted]
        == [count + more for count, more in zip(before, (2, 1, 1, 2, 2), strict=True)]
    )


@pytest.mark.parametrize(
    ("accepted", "kind"), [("application/openmetrics-text", "application/openmetrics-text"), ("*/*", "text/plain")]
)
def test_metrics_can_be_read_by_their_own_library(shared, accepted, kind):
    openmetrics = pytest.importorskip("prometheus_client.openmetrics.parser")
    plain = pytest.importorskip("prometheus_client.parser")
    from pyserver.metrics import METRICS

    answer = shared.ask("/metrics", fields=[("Accept", accepted)])
    assert answer.field("Content-Type").startswith(kind)
    parse = openmetrics if "openmetrics" in kind else plain
    families = {family.name: family for family in parse.text_string_to_metric_families(answer.content.decode())}
    expected = {metric.name.removesuffix("_total"): (metric.kind, metric.help) for metric in METRICS}
    assert {name: (family.type, family.documentation) for name, family in families.items()} == expected
    assert all(family.samples or name == "pyserver_worker_resident_bytes" for name, family in families.items())


def test_without_its_library_there_are_no_metrics_and_all_else(site):
    missing = "raise ModuleNotFoundError('no such module', name='prometheus_client')\n"
    (site.directory / "prometheus_client.py").write_text(missing)
    site.start()
    answer = site.ask("/metrics")
    assert answer.status == 501
    assert b"pip install prometheus_client" in answer.content
    assert site.status("/livez") == 200


# Strictness, and those who hold it up


@pytest.mark.parametrize(
    ("request_text", "status"),
    [
        ("GET /livez HTTP/1.1\r\n\r\n", 400),
        ("GET  /livez HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /livez HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (f"GET /{'a' * 2000} HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        ("GET /admin HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        ("POST /livez HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", 405),
        ("GET /livez?why HTTP/1.0\r\n\r\n", 200),
    ],
)
def test_requests_are_judged_as_by_a_worker(shared, request_text, status):
    with shared.client() as client:
        client.send(request_text.encode())
        answer = client.receive_response()
        assert (answer.status, answer.field("Connection")) == (status, "close")
        assert client.is_closed_by_server()


def test_head_has_no_content(shared):
    answer = shared.ask("/livez", "HEAD")
    assert (answer.status, answer.field("Content-Length"), answer.content) == (200, "3", b"")


@pytest.mark.skipif(sys.platform != "linux", reason="what is open is told by /proc")
def test_those_who_ask_nothing_make_room_for_those_who_do(shared):
    (pid,) = shared.admin_pids()
    idle = [shared.client() for _ in range(100)]
    assert shared.status("/livez") == 200
    # The listener is one of them.
    assert len([link for link in descriptors(pid) if "socket" in link]) <= 65
    assert idle[0].is_closed_by_server()
    for client in idle:
        client.close()


# A server that changes


def test_totals_stay_when_a_worker_goes_and_its_end_is_counted(site):
    site.start()
    with site.server.client() as client:
        for _ in range(5):
            client.request("GET")
    (worker,) = site.workers()
    os.kill(worker["pid"], signal.SIGKILL)
    eventually(lambda: site.is_ready() and [one["pid"] for one in site.workers()] != [worker["pid"]])
    site.server.get()
    eventually(lambda: site.metric("pyserver_requests_total") == 6)
    assert site.metric("pyserver_request_duration_seconds_count") == 6
    assert site.metric('pyserver_worker_deaths_total{reason="signal"}') == 1
    assert site.metric("pyserver_workers_started_total") == 2


def test_a_reload_leaves_it_ready_and_keeps_the_totals(site):
    site.start()
    site.server.get()
    (site.directory / "may_boot").unlink()
    site.server.send_signal(signal.SIGHUP)
    eventually(lambda: {worker["state"] for worker in site.workers()} == {"idle", "booting"})
    assert site.is_ready()
    (site.directory / "may_boot").touch()
    eventually(lambda: [worker["generation"] for worker in site.workers()] == [2])
    assert site.is_ready()
    assert site.metric("pyserver_requests_total") == 1
    assert site.metric('pyserver_reloads_total{outcome="applied"}') == 1


def test_a_reload_with_workers_of_another_shape_is_told_of(site):
    site.config(threads=1)
    site.start()
    site.config(threads=8)
    site.server.send_signal(signal.SIGHUP)
    eventually(lambda: [worker["generation"] for worker in site.workers()] == [2])
    site.server.get()
    eventually(lambda: [worker["requests"] for worker in site.workers()] == [1])


def test_a_reload_can_move_it_to_another_address_and_close_it(site):
    site.config(admin="127.0.0.1:0")
    site.start(admin=None)
    eventually(site.addresses)
    site.config(admin="unix:admin.sock")
    site.server.send_signal(signal.SIGHUP)
    eventually(lambda: site.addresses()[-1] == "unix:admin.sock")
    eventually(site.is_ready)
    eventually(lambda: refuses(site, at=0))
    assert (site.directory / "admin.sock").stat().st_mode & 0o777 == 0o660
    site.config()
    site.server.send_signal(signal.SIGHUP)
    eventually(lambda: not (site.directory / "admin.sock").exists())


def refuses(site, at=-1):
    try:
        site.client(at).close()
    except OSError:
        return True
    return False


def test_a_reload_to_an_address_that_is_taken_changes_nothing(site):
    site.config(admin="127.0.0.1:0")
    site.start(admin=None)
    eventually(site.addresses)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        site.config(admin=f"127.0.0.1:{taken.getsockname()[1]}")
        site.server.send_signal(signal.SIGHUP)
        eventually(lambda: "stop the other process or choose another --admin" in site.server.log())
    eventually(lambda: site.metric('pyserver_reloads_total{outcome="failed"}') == 1)
    # The reload may have been asked for before the first worker was there.
    eventually(site.is_ready)


def test_an_upgrade_hands_it_over_and_nobody_is_refused(site):
    site.start()
    site.server.send_signal(signal.SIGUSR2)
    eventually(lambda: "serves; this one does so, too" in site.server.log())
    new = int(re.search(r"The new arbiter \(pid: (\d+)\) was started", site.server.log())[1])
    assert site.told()["server"]["pid"] == site.server.pid
    assert len(site.addresses()) == 1
    site.server.send_signal(signal.SIGTERM)
    # Each of these connects, and is told that the server is ready.
    eventually(lambda: site.is_ready() and site.told()["server"]["pid"] == new)
    site.server.wait()
    assert site.is_ready()
    os.kill(new, signal.SIGTERM)
    eventually(lambda: not site.server.processes())


def test_a_server_that_drains_is_live_and_not_ready(site):
    site.start("--drain-delay", "60")
    eventually(site.is_ready)
    site.server.begin_to_stop()
    answer = site.ask("/readyz")
    assert (answer.status, answer.content) == (503, b"draining\n")
    assert site.status("/livez") == 200
    assert site.metric("pyserver_draining") == 1
    assert site.server.stop(signal.SIGINT) == 0


def test_a_server_that_finishes_its_requests_tells_so_to_the_end(site):
    site.start("--admin", "unix:admin.sock")
    with site.server.client() as client:
        client.send(b"GET /stuck HTTP/1.1\r\nHost: a\r\n\r\n")
        eventually(lambda: [worker["state"] for worker in site.workers()] == ["busy"])
        site.server.begin_to_stop()
        eventually(lambda: [worker["state"] for worker in site.workers()] == ["retiring"])
        assert (site.status("/livez"), site.status("/readyz")) == (200, 503)
        (site.directory / "free").touch()
        assert client.receive_response().content == b"hello"
    assert site.server.wait() == 0
    assert not (site.directory / "admin.sock").exists()


# The process


def test_when_it_dies_another_takes_its_place(site):
    site.start()
    (before,) = site.admin_pids()
    os.kill(before, signal.SIGKILL)
    # Whoever connects meanwhile waits, and is not refused.
    assert site.status("/livez") == 200
    (after,) = site.admin_pids()
    assert after != before
    assert "another is started" in site.server.log()


def test_a_probe_never_waits_long_for_another():
    second = 10**9
    delay_ns, delays = 0, []
    for lived in (0, 1, 1, 59, 61, 1):
        delay_ns = delay_after(lived * second, delay_ns)
        delays.append(delay_ns / second)
    assert delays == [1, 2, 2, 2, 0, 1]


def test_what_stops_the_arbiter_does_not_end_it_first(site):
    site.start()
    (pid,) = site.admin_pids()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        os.kill(pid, number)
    assert site.status("/livez") == 200
    assert site.admin_pids() == [pid]


def test_it_ends_when_its_arbiter_is_killed(site):
    site.start()
    site.server.stop(signal.SIGKILL)
    assert not site.server.processes()


def sockets_of(pid):
    return {link for link in descriptors(pid) if "socket" in link}


@pytest.mark.skipif(sys.platform != "linux", reason="what is open is told by /proc")
def test_nobody_else_has_its_sockets_and_it_has_nobody_elses(site):
    site.start()
    eventually(site.is_ready)
    (worker,) = [one["pid"] for one in site.workers()]
    (admin,) = site.admin_pids()
    # Connections of those who have just asked are there for a moment.
    eventually(lambda: len(sockets_of(admin)) == 1)
    assert not sockets_of(worker) & sockets_of(admin)


def linux_is_at_least(*version):
    return sys.platform == "linux" and tuple(map(int, re.findall(r"\d+", os.uname().release)[:2])) >= version


def turn_of(pid):
    """How long a process uses the processor at a time, nanoseconds; None where the kernel does not tell."""
    try:
        told = re.search(r"se\.slice +: +(\d+)", Path(f"/proc/{pid}/sched").read_text())
    except OSError:
        told = None
    return told and int(told[1])


@pytest.mark.skipif(not (linux_is_at_least(6, 12) and turn_of("self")), reason="the kernel does not tell, or has none")
def test_its_turns_are_short(shared):
    (pid,) = shared.admin_pids()
    assert turn_of(pid) == 100_000
    assert turn_of(shared.workers()[0]["pid"]) == turn_of(shared.server.pid) > 100_000


def may_hurry():
    """Whether processes of ours may raise their priority."""
    if sys.platform != "linux":
        return False
    effective = re.search(r"CapEff:\s+([0-9a-f]+)", Path("/proc/self/status").read_text())
    return bool(int(effective[1], 16) >> 23 & 1)


@pytest.mark.skipif(not may_hurry(), reason="needs CAP_SYS_NICE")
def test_it_precedes_the_workers_where_it_may(shared):
    (pid,) = shared.admin_pids()
    ours = os.getpriority(os.PRIO_PROCESS, shared.server.pid)
    assert os.getpriority(os.PRIO_PROCESS, pid) == max(ours - 5, -20)
    assert os.getpriority(os.PRIO_PROCESS, shared.workers()[0]["pid"]) == ours


@pytest.mark.skipif(sys.platform != "linux", reason="titles are read from /proc")
def test_it_is_named(site):
    site.start()
    (pid,) = site.admin_pids()
    assert Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"pyserver: admin [site_of_admin")


@pytest.mark.skipif(sys.platform != "linux", reason="what is open is told by /proc")
def test_it_lets_go_of_an_error_log_that_was_rotated(site):
    site.start("--error-logfile", "server.log")
    (pid,) = site.admin_pids()
    log = site.directory / "server.log"
    log.rename(site.directory / "old.log")
    assert str(log) not in descriptors(pid)
    site.server.send_signal(signal.SIGUSR1)
    eventually(lambda: str(log) in descriptors(pid))


# What is refused


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--admin", "fd://3"], "it must be HOST:PORT or unix:PATH"),
        (["--admin", "127.0.0.1:9180", "-b", "127.0.0.1:9180"], "which bind is, too"),
        (["--health-path", "healthz"], "it must begin with '/'"),
    ],
)
def test_an_address_or_a_path_that_cannot_be_is_refused(start, arguments, words):
    server = start("site:application", *arguments)
    assert server.wait() == 1
    assert words in server.log()
    assert "Traceback" not in server.log()


def test_an_address_that_is_taken_is_refused_before_anything_is_started(start):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = start("site:application", "--admin", f"127.0.0.1:{taken.getsockname()[1]}")
        assert server.wait() == 1
    assert "stop the other process or choose another --admin" in server.log()
