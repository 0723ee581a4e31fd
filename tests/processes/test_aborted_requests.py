"""What the client, the access log and the error log get of a request whose worker is aborted."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from classes import each_class as worker_class
from support import Client, eventually

import pyserver
from pyserver.signals import STACKS_SIGNAL

__all__ = ["worker_class"]

APPLICATION = """
    import ctypes, os, re

    def hang_in_a_read():
        # Not in a sleep, which some classes make cooperative.
        os.read(os.pipe()[0], 1)

    def hang_in_a_loop():
        while True:
            pass

    def hang_with_the_interpreter_lock():
        ctypes.PyDLL(None).sleep(3600)

    def hang_in_a_match():
        re.match("(a+)+$", "a" * 64 + "b")

    def abort():
        os.abort()

    def abort_a_child():
        pid = os.fork()
        if pid == 0:
            os.abort()
        os.waitpid(pid, 0)

    class HangsInClose(list):
        def __iter__(self):
            return iter(["whole".encode()])

        def close(self):
            hang_in_a_read()

    def streamed():
        yield "begun".encode()
        hang_in_a_read()

    def fields():
        yield ("Content-Type", "text/plain")
        hang_in_a_read()

    def application(environ, start_response):
        name = environ["PATH_INFO"][1:]
        if name == "in_fields":
            start_response("200 OK", fields())
        if name == "headless":
            start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
            hang_in_a_read()
        do = globals().get(name)
        if name.startswith(("hang", "abort")):
            do()
        start_response("200 OK", [("Content-Type", "text/plain")])
        if name == "streamed":
            return streamed()
        if name == "large":
            return [bytes(8_000_000)]
        if name == "in_close":
            return HangsInClose()
        return [b"hello"]
"""
HANGING = ["hang_in_a_read", "hang_in_a_loop", "hang_with_the_interpreter_lock", "hang_in_a_match"]
LINE = "%(h)s %(r)s %(s)s %(B)s %({X-A}i)s %(u)s %({X}o)s %({X}e)s"


@pytest.fixture
def hurried(serve):
    """A server whose requests may take half a second."""
    return lambda *arguments, **options: serve(APPLICATION, "--timeout", "0.5", *arguments, **options)


def get(server, name, method="GET"):
    with server.client(timeout=10) as client:
        response = client.request(method, f"/{name}")
        assert client.is_closed_by_server()
        return response


def lines_of(server, count):
    """The access log, as soon as it has so many lines."""
    log = server.directory / "access.log"
    return eventually(lambda: (text := log.read_text()).count("\n") >= count and text.splitlines())


def test_the_client_is_told_that_it_took_too_long(hurried):
    response = get(hurried(), "hang_in_a_read")
    assert (response.status, response.reason) == (504, "Gateway Timeout")
    assert response.content == b"504 Gateway Timeout: the application took longer than the server allows\n"
    assert response.field("Connection") == "close"
    assert response.field("Server") == "pyserver"
    assert re.fullmatch(r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT", response.field("Date"))


@pytest.mark.parametrize("name", HANGING)
def test_whatever_it_hangs_in_the_client_is_answered_and_the_log_says_where(hurried, name):
    server = hurried()
    assert get(server, name).status == 504
    eventually(lambda: "WORKER TIMEOUT" in server.log())
    source = (server.directory / "application_0.py").read_text().splitlines()
    found = re.findall(rf'File ".*/application_0\.py", line (\d+) in {name}\n', server.log())
    # Of the function itself: it was the last one that was called.
    assert source.index(f"def {name}():") < int(found[0]) - 1 <= source.index(f"def {name}():") + 2


def test_the_log_says_who_sent_the_request(hurried):
    server = hurried()
    with server.client(timeout=10) as client:
        client.send(b"GET /hang_in_a_read HTTP/1.1\r\nHost: a\r\n\r\n")
        client.receive_response()
        host, port = client.socket.getsockname()
    (line,) = [line for line in server.log().splitlines() if "WORKER TIMEOUT" in line]
    assert f"it was running GET /hang_in_a_read from {host}:{port}" in line


def test_what_of_the_stack_is_not_the_applications_comes_after_it(hurried):
    server = hurried()
    get(server, "hang_in_a_read")
    # Of several threads one runs it.
    stacks = eventually(lambda: [stack for stack in server.log().split("\n\n") if "in hang_in_a_read" in stack])
    frames = re.findall(r'File "(.*)", line', stacks[0])
    assert [Path(frame).name for frame in frames[:2]] == ["application_0.py"] * 2
    assert "/pyserver/workers/" in frames[2]


def test_a_head_request_gets_no_content(hurried):
    with hurried().client(timeout=10) as client:
        client.send(b"HEAD /hang_in_a_read HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.receive_response("HEAD").status == 504
        assert client.is_closed_by_server()


def test_fields_that_were_turned_off_are_not_sent(hurried):
    response = get(hurried("--no-server-header", "--no-date-header"), "hang_in_a_read")
    assert (response.values("Server"), response.values("Date")) == ([], [])


@pytest.mark.parametrize("name", ["in_fields", "headless"])
def test_a_head_of_which_nothing_was_sent_is_replaced(hurried, name):
    assert get(hurried(), name).status == 504


def test_requests_before_it_in_a_pipeline_are_answered(hurried):
    server = hurried("--access-logfile", "access.log", "--access-logformat", f"%(T)s {LINE}")
    with server.client(timeout=10) as client:
        request = b"GET /%s HTTP/1.1\r\nHost: a\r\nX-A: b\r\n\r\n"
        client.send(request % b"first" + request % b"hang_with_the_interpreter_lock" + request % b"never")
        assert client.receive_response().content == b"hello"
        assert client.receive_response().status == 504
        assert client.is_closed_by_server()
    first, aborted = lines_of(server, 2)
    assert first == "0 127.0.0.1 GET /first HTTP/1.1 200 5 b - - -"
    # Not at once where somebody else might be about to finish.
    assert re.fullmatch(r"[0-9] 127\.0\.0\.1 GET /hang_with_the_interpreter_lock HTTP/1\.1 504 72 b - - -", aborted)


def test_a_response_that_had_begun_is_cut(hurried):
    server = hurried("--access-logfile", "access.log", "--access-logformat", LINE)
    with server.client(timeout=10) as client:
        client.send(b"GET /streamed HTTP/1.1\r\nHost: a\r\n\r\n")
        received = client.read_until_closed()
    assert received.startswith(b"HTTP/1.1 200 OK\r\n")
    assert received.endswith(b"5\r\nbegun\r\n")
    assert lines_of(server, 1) == ["127.0.0.1 GET /streamed HTTP/1.1 200 5 - - - -"]


def test_a_response_that_ends_with_its_connection_is_reset(hurried):
    with hurried().client(timeout=10) as client:
        client.send(b"GET /streamed HTTP/1.0\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            client.read_until_closed()


def test_a_response_that_was_whole_is_sent(hurried):
    server = hurried("--access-logfile", "access.log", "--access-logformat", LINE)
    assert get(server, "in_close").content == b"whole"
    assert lines_of(server, 1) == ["127.0.0.1 GET /in_close HTTP/1.1 200 5 - - - -"]


def test_a_large_response_before_it_is_sent_whole(serve):
    server = serve(APPLICATION, "--timeout", "2")
    with Client(server.address, timeout=10, receive_buffer=4096) as client:
        request = b"GET /%s HTTP/1.1\r\nHost: a\r\n\r\n"
        # More than the sockets hold, so that the second request begins when most of the first answer was read.
        client.send(request % b"large" + request % b"hang_in_a_read")
        assert len(client.receive_response().content) == 8_000_000
        assert client.receive_response().status == 504


def test_a_worker_that_is_aborted_in_time_answers_otherwise(serve):
    server = serve(APPLICATION, "--timeout", "30")
    response = get(server, "abort")
    assert (response.status, response.content) == (500, b"500 Internal Server Error: the worker was aborted\n")
    assert "in abort\n" in server.log()


def test_a_child_of_the_application_does_not_answer(serve):
    assert get(serve(APPLICATION), "abort_a_child?").content == b"hello"


def test_the_order_is_the_same_where_python_was_told_to_dump_stacks(hurried):
    server = hurried(env={"PYTHONFAULTHANDLER": "1"})
    assert get(server, "hang_in_a_read").status == 504
    assert "in hang_in_a_read\n" in server.log()


def test_a_long_line_is_cut_and_ends(hurried):
    server = hurried(
        "--access-logfile", "access.log", "--access-logformat", f"{'%({X-A}i)s ' * 20}end", "--timeout", "0.5"
    )
    with server.client(timeout=10) as client:
        client.send(b"GET /hang_in_a_read HTTP/1.1\r\nHost: a\r\nX-A: " + b"\xff" * 8000 + b"\r\n\r\n")
        assert client.receive_response().status == 504
    (line,) = lines_of(server, 1)
    assert len(line) < 65536
    assert line.startswith("\\xff" * 8000 + " " + "\\xff" * 8000 + " ")


def test_a_handler_that_was_set_before_keeps_the_process(tmp_path):
    script = """
import faulthandler, os, signal
from pyserver._abort import install_abort_handler

signal.signal(signal.SIGABRT, lambda *_: print("handled", flush=True))
install_abort_handler(1)
faulthandler.enable()
os.kill(os.getpid(), signal.SIGABRT)
print("alive")
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(pyserver.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == "handled\nalive\n"
    assert "Fatal Python error: Aborted" in done.stderr


@pytest.mark.parametrize("name", ["hang_in_a_match", "hang_in_a_loop"])
def test_the_stacks_can_be_had_from_a_worker_that_lives_on(serve, name):
    server = serve(APPLICATION, "--graceful-timeout", "0.1")
    assert server.get().status == 200
    (pid,) = server.workers()
    with Client(server.address) as client:
        client.send(f"GET /{name} HTTP/1.1\r\nHost: a\r\n\r\n".encode())

        def tells():
            os.kill(pid, STACKS_SIGNAL)
            return f"in {name}\n" in server.log()

        eventually(tells)
        assert server.workers() == [pid]


def test_stacks_that_are_asked_for_while_a_worker_cannot_run_end_no_worker(serve):
    server = serve(APPLICATION)
    assert server.get().status == 200
    (pid,) = server.workers()
    os.kill(pid, signal.SIGSTOP)
    for _ in range(20):
        os.kill(pid, STACKS_SIGNAL)
    os.kill(pid, signal.SIGCONT)
    # Threads that are interrupted together tell once.
    eventually(lambda: "(most recent call first):" in server.log())
    assert server.get().status == 200
    assert server.workers() == [pid]


def test_stacks_are_written_to_the_file_that_was_reopened(start):
    server = start(APPLICATION, "--error-logfile", "error.log")
    log = server.directory / "error.log"
    eventually(lambda: log.exists() and "Booting worker" in log.read_text())
    (pid,) = eventually(server.workers)
    log.rename(server.directory / "error.log.1")
    server.send_signal(signal.SIGUSR1)
    eventually(log.exists)

    def tells():
        os.kill(pid, STACKS_SIGNAL)
        return "(most recent call first):" in log.read_text()

    eventually(tells)
