"""Why a worker died is told in one line: what it exited with, who sent the signal, what it was doing, what it had."""

import contextlib
import os
import re
import signal
import sys
from pathlib import Path

import pytest
from classes import each_class as worker_class
from support import eventually

__all__ = ["worker_class"]

APPLICATION = """
    import ctypes, os, signal, sys, threading

    def crash_in_c():
        ctypes.string_at(0)

    def die(environ):
        path = environ["PATH_INFO"]
        if path == "/exit":
            os._exit(int(environ["QUERY_STRING"]))
        if path == "/sys.exit":
            sys.exit(5)
        if path == "/segfault":
            crash_in_c()
        if path == "/abort":
            ctypes.PyDLL(None).abort()
        if path == "/hang":
            open("hanging", "w").close()
            threading.Event().wait()
        if path == "/orphan":
            if os.fork() == 0:
                if os.fork() == 0:
                    os._exit(77)
                os._exit(0)
            os.wait()
        if path == "/grow":
            globals()["heap"] = bytearray(b"x") * (int(environ["QUERY_STRING"]) << 20)

    def application(environ, start_response):
        die(environ)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [str(os.getpid()).encode()]
"""


@pytest.fixture
def server(serve):
    started = serve(APPLICATION)
    assert started.get().status == 200
    return started


def ask_for_death(server, target):
    """Send a request that ends its worker, and wait until it has."""
    (pid,) = eventually(server.workers)
    with server.client() as client, contextlib.suppress(EOFError, OSError):
        client.request("GET", target)
    eventually(lambda: pid not in server.workers())
    return obituary(server, pid)


def obituary(server, pid):
    """The one line about the death of the worker."""

    def lines():
        return [line for line in server.log().splitlines() if f"[ERROR] Worker (pid:{pid}) " in line]

    (line,) = eventually(lines)
    return line.partition(f"Worker (pid:{pid}) ")[2]


@pytest.mark.parametrize("code", [0, 1, 9])
def test_an_application_that_ends_its_process_is_told_from_a_crash(server, code):
    line = ask_for_death(server, f"/exit?{code}")
    assert line.startswith(f"exited with code {code} while it served: the application ended its process; ")
    assert re.search(rf"; it was running GET /exit\?{code} from 127\.0\.0\.1:[0-9]+ for [0-9.]+ s[^;]*; ", line)
    assert " MB of memory at most" in line
    assert server.get().status == 200


def test_sys_exit_in_a_request_ends_only_the_request(server):
    workers = server.workers()
    assert server.get("/sys.exit").status == 500
    assert server.workers() == workers


@pytest.mark.parametrize(("target", "name"), [("/segfault", "SIGSEGV"), ("/abort", "SIGABRT")])
def test_a_crash_is_told_below_its_stack(server, target, name):
    line = ask_for_death(server, target)
    assert line.startswith(f"crashed with {name}")
    assert "while it served: its stack stands above; " in line
    before = server.log().partition(f"crashed with {name}")[0]
    assert "Fatal Python error: " in before
    assert "in die" in before


def test_a_kill_by_somebody_else_is_not_called_a_lack_of_memory(server):
    (pid,) = server.workers()
    os.kill(pid, signal.SIGKILL)
    line = obituary(server, pid)
    assert line.startswith("was ended by SIGKILL while it served, not sent by the arbiter, and ")
    if sys.platform == "linux":
        assert "and no out-of-memory kill was counted; its last request was GET /" in line


def test_the_stage_of_a_worker_that_dies_while_it_retires_is_told(server):
    (pid,) = server.workers()
    with server.client() as client:
        client.send(b"GET /hang HTTP/1.1\r\nHost: a\r\n\r\n")
        eventually((server.directory / "hanging").exists)
        server.send_signal(signal.SIGHUP)
        eventually(lambda: "the workers before it retire" in server.log())
        # It cannot say itself that it retires.
        eventually(lambda: len(server.workers()) == 2)
        os.kill(pid, signal.SIGKILL)
        assert obituary(server, pid).startswith("was ended by SIGKILL while it retired, ")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT])
def test_who_stopped_a_worker_is_told_and_is_no_error(server, number):
    (pid,) = server.workers()
    os.kill(pid, number)
    eventually(lambda: server.workers() and pid not in server.workers())
    name = number.name.removeprefix("SIG").lower()
    assert f"Worker (pid: {pid}) was sent a signal: {name} (from pid {os.getpid()})" in server.log()
    assert server.get().status == 200
    assert "ERROR" not in server.log()


def test_what_the_arbiter_sends_is_told_by_the_arbiter_alone(server):
    (pid,) = server.workers()
    server.send_signal(signal.SIGHUP)
    eventually(lambda: server.workers() and pid not in server.workers())
    assert "was sent a signal" not in server.log()


@pytest.mark.parametrize(
    ("source", "exit_code", "reason"),
    [
        ("import os\nos.kill(os.getpid(), 9)\n", 3, "failed to boot: it was ended by SIGKILL, not sent by the arbiter"),
        ("import os\nos._exit(0)\n", 3, "failed to boot: it exited with code 0"),
        ("import sys\nsys.exit('no database')\n", 4, "cannot be imported: SystemExit: no database"),
        ("raise KeyboardInterrupt\n", 4, "cannot be imported: KeyboardInterrupt"),
        ("raise BaseException('odd')\n", 4, "cannot be imported: BaseException: odd"),
    ],
)
def test_whatever_ends_the_first_boot_ends_the_server_and_is_told_once(start, source, exit_code, reason):
    server = start(source, "-w", "2")
    assert server.wait() == exit_code
    assert server.processes() == []
    assert reason in server.log()
    assert server.log().count(") failed to boot") == 1
    assert "/pyserver/" not in server.log()


def test_a_crash_of_the_first_boot_ends_the_server_and_is_told_below_its_stack(start):
    server = start("import ctypes\ndef crash():\n    ctypes.string_at(0)\ncrash()\n")
    assert server.wait() == 3
    before, _, after = server.log().partition("failed to boot: it crashed with SIGSEGV")
    assert after
    assert "in crash\n" in before


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process be the parent of orphans")
def test_orphans_that_the_arbiter_inherits_are_reaped_in_silence(serve, tmp_path):
    # As process 1 of a container would be.
    subreaper = "import ctypes\nPR_SET_CHILD_SUBREAPER = 36\nctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)\n"
    (tmp_path / "pyserver.conf.py").write_text(subreaper)
    server = serve(APPLICATION)
    workers = eventually(server.workers)
    assert server.get().status == 200
    log = server.log()
    for _ in range(5):
        assert server.get("/orphan").status == 200
    eventually(lambda: not server.zombies() and server.workers() == workers)
    assert server.log() == log


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_a_worker_that_has_grown_too_large_is_replaced(serve):
    server = serve(APPLICATION, "--max-worker-memory", "100M")
    pid = int(server.get().content)
    assert server.get("/grow?20").status == 200
    assert int(server.get().content) == pid
    assert server.get("/grow?150").status == 200
    eventually(lambda: server.workers() and pid not in server.workers(), within=10)
    assert f"Worker (pid:{pid}) has more than max_worker_memory and is replaced" in server.log()
    assert server.get().status == 200


def memory_cgroup():
    """A memory cgroup that the tests may put groups into: what the variable of that name says, and nothing else.

    None is looked for: the group that the tests run in belongs to whoever started them.
    """
    given = os.environ.get("MEMORY_CGROUP")
    return Path(given) if given else None


@pytest.mark.skipif(memory_cgroup() is None, reason="MEMORY_CGROUP names no memory cgroup to put groups into")
def test_a_worker_that_the_kernel_kills_for_want_of_memory_is_told_as_that(serve, tmp_path):
    group = memory_cgroup() / f"pyserver-{os.getpid()}"
    group.mkdir()
    try:
        limit = next(name for name in ("memory.max", "memory.limit_in_bytes") if (group / name).exists())
        (group / limit).write_text("200000000")
        # The arbiter enters it while it reads its settings.
        entry = str(group / "cgroup.procs")
        (tmp_path / "pyserver.conf.py").write_text(f"import os\nprint(os.getpid(), file=open({entry!r}, 'w'))\n")
        server = serve(APPLICATION)
        line = ask_for_death(server, "/grow?400")
        assert line.startswith("was ended by SIGKILL while it served, sent by the kernel: out of memory; ")
        assert "it was running GET /grow?400" in line
        server.stop()
    finally:
        eventually(lambda: not (group / "cgroup.procs").read_text())
        group.rmdir()
