"""What the access log has of a worker that dies, and what becomes of a log that can be opened no more."""

import os
import resource
import signal

import pytest
from classes import only
from support import Client, eventually

pytestmark = only("sync")

APPLICATION = """
    import os, time

    def application(environ, start_response):
        path = environ["PATH_INFO"]
        while path == "/wait" and not os.path.exists("go"):
            time.sleep(0.01)
        if path == "/exit":
            os._exit(3)
        if path == "/fork" and os.fork() == 0:
            os._exit(0)
        start_response("200 OK", [])
        return [b"%d" % os.getpid()]
"""
LOGGED = ("--access-logfile", "access.log", "--access-logformat", "%(U)s%(q)s")


def lines(path):
    return path.read_text().splitlines()


def answered_until_exit(server):
    """Have one turn of the worker answer several clients, and end in the last one's request; who was answered."""
    targets = ["/wait", *(f"/{number}" for number in range(8)), "/exit"]
    clients = [Client(server.address) for _ in targets]
    try:
        for client, target in zip(clients, targets, strict=True):
            client.send(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        (server.directory / "go").touch()
        return [target for client, target in zip(clients, targets, strict=True) if is_answered(client)]
    finally:
        for client in clients:
            client.close()


def is_answered(client):
    try:
        return client.receive_response().status == 200
    except (EOFError, ConnectionError):
        return False


@pytest.mark.parametrize("arguments", [(), ("--preload",)], ids=["forked", "from a mold"])
def test_lines_of_requests_that_were_answered_outlive_the_worker(serve, arguments):
    server = serve(APPLICATION, *LOGGED, *arguments)
    answered = answered_until_exit(server)
    assert answered
    assert "/exit" not in answered
    eventually(lambda: sorted(lines(server.directory / "access.log")) == sorted(answered))
    assert server.get("/after").status == 200
    eventually(lambda: sorted(lines(server.directory / "access.log")) == sorted([*answered, "/after"]))


def test_lines_are_written_once_whatever_the_application_forks(serve):
    server = serve(APPLICATION, *LOGGED)
    with server.client() as client:
        for number in range(10):
            client.request("GET", "/fork")
            client.request("GET", f"/{number}")
    wanted = [line for number in range(10) for line in ("/fork", f"/{number}")]
    eventually(lambda: len(lines(server.directory / "access.log")) >= len(wanted))
    os.kill(server.workers()[0], signal.SIGKILL)
    eventually(lambda: "SIGKILL" in server.log())
    assert lines(server.directory / "access.log") == wanted


def test_a_worker_goes_on_in_a_file_that_can_be_opened_no_more(serve, tmp_path):
    (tmp_path / "logs").mkdir()
    server = serve(APPLICATION, "--access-logfile", "logs/access.log")
    assert server.get("/").status == 200
    (tmp_path / "logs").rename(tmp_path / "moved")
    os.kill(server.workers()[0], signal.SIGKILL)
    assert server.get("/").status == 200
    eventually(lambda: len(lines(tmp_path / "moved" / "access.log")) == 2)


def test_a_reload_goes_on_in_a_file_that_can_be_opened_no_more(serve, tmp_path):
    (tmp_path / "logs").mkdir()
    server = serve(APPLICATION, "--access-logfile", "logs/access.log")
    (tmp_path / "logs").rename(tmp_path / "moved")
    before = server.workers()
    server.send_signal(signal.SIGHUP)
    eventually(lambda: server.workers() and not {*before} & {*server.workers()})
    assert server.get("/").status == 200
    eventually(lambda: len(lines(tmp_path / "moved" / "access.log")) == 1)
    assert "the access log goes on in the file it has" in server.log()


def test_a_worker_starts_while_nobody_reads_its_pipe(serve, tmp_path):
    os.mkfifo(tmp_path / "fifo")
    reader = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    server = serve(APPLICATION, "--access-logfile", "fifo", *LOGGED[2:])
    assert server.get("/").status == 200
    os.close(reader)
    os.kill(server.workers()[0], signal.SIGKILL)
    assert server.get("/lost").status == 200
    eventually(lambda: "cannot write the access log fifo: Broken pipe" in server.log())
    reader = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert server.get("/read").status == 200
        eventually(lambda: _read_now(reader).endswith(b"/read\n"))
    finally:
        os.close(reader)


def _read_now(descriptor):
    try:
        return os.read(descriptor, 4096)
    except BlockingIOError:
        return b""


# ---- lines that are torn ----


class Disk:
    """Room for the files of one process, as if on a disk that fills up."""

    def __init__(self, pid):
        self._pid = pid

    def leave_room(self, path, size):
        resource.prlimit(self._pid, resource.RLIMIT_FSIZE, (path.stat().st_size + size, resource.RLIM_INFINITY))

    def grow(self):
        resource.prlimit(self._pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def clients_of_two_workers(server, clients):
    """Two clients, each of another worker, and the process ids of these."""
    found = {}
    while len(found) < 2:
        clients.append(Client(server.address))
        found.setdefault(int(clients[-1].request("GET", "/pid").content), clients[-1])
    return tuple(found.items())


LONG = "?" + "x" * 1000


def test_a_torn_line_is_ended_when_the_disk_has_room_again(serve):
    server = serve(APPLICATION, *LOGGED)
    path, disk = server.directory / "access.log", Disk(server.workers()[0])
    with server.client() as client:
        for number in range(3):
            client.request("GET", f"/{number}{LONG}")
        eventually(lambda: len(lines(path)) == 3)
        disk.leave_room(path, 500)
        client.request("GET", f"/torn{LONG}")
        eventually(lambda: "File too large" in server.log())
        disk.grow()
        client.request("GET", "/after")
    eventually(lambda: len(lines(path)) == 5)
    assert [line.partition("x")[0] for line in lines(path)] == ["/0", "/1", "/2", "/torn", "/after"]
    assert len(lines(path)[3]) == len(lines(path)[0]) + 3
    eventually(lambda: "is written again; 0 lines are missing" in server.log())


def test_a_torn_line_is_ended_by_the_worker_that_writes_next(serve):
    server = serve(APPLICATION, *LOGGED, "-w", "2", "--keep-alive", "60")
    path, clients = server.directory / "access.log", []
    try:
        (one, first), (_, second) = clients_of_two_workers(server, clients)
        for number in range(3):
            second.request("GET", f"/{number}{LONG}")
        eventually(lambda: "/2" in path.read_text())
        disk = Disk(one)
        disk.leave_room(path, 500)
        first.request("GET", f"/torn{LONG}")
        eventually(lambda: "File too large" in server.log())
        second.request("GET", "/second")
        disk.grow()
        eventually(lambda: lines(path)[-1] == "/second")
        first.request("GET", "/first")
        eventually(lambda: lines(path)[-1] == "/first")
        assert len(lines(path)[-3]) == len(f"/torn{LONG}") - 1  # The query is logged without its "?".
    finally:
        for client in clients:
            client.close()


def test_long_lines_of_several_workers_are_whole_in_a_pipe(serve, tmp_path):
    os.mkfifo(tmp_path / "fifo")
    reader = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    logged = ("--access-logfile", "fifo", "--access-logformat", "<%(a)s>")
    server = serve(APPLICATION, *logged, "-w", "2", "--keep-alive", "60")
    data, clients = bytearray(), []
    try:
        pair = [client for _, client in clients_of_two_workers(server, clients)]
        for _ in range(30):
            for client in pair:
                client.send(b"GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: %s\r\n\r\n" % (b"x" * 7000))
            data += _read_now(reader)
            for client in pair:
                client.receive_response()
        eventually(lambda: not data.extend(block := _read_now(reader)) and not block)
    finally:
        os.close(reader)
        for client in clients:
            client.close()
    found = set(data.decode().splitlines()[:-1])
    assert found <= {f"<{'x' * 7000}>", "<->"}
    assert len(found) == 2
