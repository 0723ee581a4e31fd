"""What one request may cost: system calls and calls of Python functions, counted and not timed."""

import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from classes import each_class_and_poller as worker_class
from classes import only
from sharing import share
from support import eventually

__all__ = ["share", "worker_class"]

REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: a test\r\nAccept: */*\r\nX-Thing: 1\r\n\r\n"
REQUESTS = 20
PATIENT = 30  # seconds: with a tracer, on a machine that has much else to do
# A wait that a tracer or a signal interrupts is resumed under a name of its own.
WAITING = {"epoll": {"epoll_wait", "epoll_pwait"}, "poll": {"poll", "ppoll", "restart_syscall"}}
# What a class does beside requests, and how often, is not decided by their number alone: threads wake one another, and
# look for new connections between two turns; the hub's loop asks who it is each time round, and how long a request has
# waited is asked where nobody has looked for a while.
BESIDE = {"sync": set(), "threaded": {"futex", "accept4", "restart_syscall"}, "gevent": {"getpid", "getsockopt"}}
# A hub waits for the engine's poller, and then the engine asks that.
WAITS = {"sync": 1, "threaded": 1, "gevent": 2}
# Calls of Python functions for a request, besides those of the application; gevent has two of its own.
PYTHON_CALLS = {"sync": 0, "threaded": 0, "gevent": 9}
CALL = re.compile(r"(\w+)\(")


class Application:
    """Answers with "hello"; /calls begins to count calls of Python functions, /called answers with what was called."""

    def __init__(self):
        self.called = []

    def __call__(self, environ, start_response):
        path = environ["PATH_INFO"]
        content = b"hello"
        if path == "/calls":
            self.called.clear()
            sys.setprofile(self.note)
        elif path == "/called":
            sys.setprofile(None)
            content = "\n".join(self.called).encode()
        elif path == "/slow":
            until = time.monotonic() + 0.01
            while time.monotonic() < until:
                pass
        elif path == "/generated":
            return self.generated(start_response)
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(content)))])
        return [content]

    def generated(self, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        yield b"one"
        yield b"two"

    def note(self, frame, event, _argument):
        if event == "call":
            self.called.append(f"{frame.f_code.co_filename}:{frame.f_code.co_name}")


application = Application()


@pytest.fixture
def serving(share):
    # Without a timeout nobody asks an idle worker whether it is there.
    return lambda *arguments: share("--keep-alive", "60", "--timeout", "0", *arguments)


class Trace:
    """The system calls that a process makes between two moments."""

    def __init__(self, pid, path):
        self._path = path
        self._strace = subprocess.Popen(
            ["strace", "-f", "-qq", "-o", str(path), "-p", str(pid)],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        status = Path(f"/proc/{pid}/status")
        eventually(lambda: f"TracerPid:\t{self._strace.pid}\n" in status.read_text() or self._strace.poll() is not None)

    def stop(self):
        """The names of the calls in their order; the test is skipped where processes cannot be traced."""
        if self._strace.poll() is None:
            self._strace.send_signal(signal.SIGINT)
        _, said = self._strace.communicate(timeout=10)
        if "Operation not permitted" in said.decode():
            pytest.skip(f"processes cannot be traced here: {said.decode().strip()}")
        lines = [line.partition(" ")[2].lstrip() for line in self._path.read_text().splitlines()]
        # A call that was under way when the trace began or ended is no call of the requests.
        return [match[1] for line in lines if (match := CALL.match(line)) and "resumed" not in line]


@pytest.fixture
def calls(tmp_path, worker_class):
    """Count the system calls that a worker makes while `send()` runs, without its waiting."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not here")

    def counted(server, send):
        trace = Trace(server.workers()[0], tmp_path / "trace")
        try:
            send()
        finally:
            made = trace.stop()
        return Counter(name for name in made if name not in WAITING[worker_class.poller] | BESIDE[worker_class.name])

    return counted


def test_a_keep_alive_request_is_one_receive_and_one_send(serving, calls):
    server = serving()
    with server.client() as client:

        def send():
            for _ in range(REQUESTS):
                client.send(REQUEST)
                assert client.receive_response().content == b"hello"

        send()
        # Again, when the machine was so busy that between two requests the engine has looked around.
        eventually(lambda: calls(server, send) == {"recvfrom": REQUESTS, "sendto": REQUESTS}, PATIENT)


def test_a_wait_serves_at_least_one_request(serving, tmp_path, worker_class):
    if shutil.which("strace") is None:
        pytest.skip("strace is not here")
    server = serving()
    with server.client() as client:
        client.request("GET", "/")
        trace = Trace(server.workers()[0], tmp_path / "trace")
        for _ in range(REQUESTS):
            client.request("GET", "/")
        # Two more: the waits in which the trace began and ended.
        waits = sum(name in WAITING[worker_class.poller] for name in trace.stop())
        assert waits <= WAITS[worker_class.name] * REQUESTS + 2


@only("sync", "threaded", each_poller=True)  # each greenlet writes its own answer
def test_a_pipeline_is_one_receive_and_one_send(serving, calls):
    server = serving()
    with server.client() as client:

        def send():
            client.send(REQUEST * REQUESTS)
            for _ in range(REQUESTS):
                assert client.receive_response().content == b"hello"

        send()
        # Again, when this machine was so busy that a response waited long enough.
        eventually(lambda: calls(server, send) == {"recvfrom": 1, "sendto": 1}, PATIENT)


@only("sync", "threaded", each_poller=True)  # each greenlet writes its own answer
def test_a_slow_request_does_not_part_those_behind_it(serving, calls):
    server = serving()
    with server.client() as client:

        def send():
            client.send(REQUEST.replace(b"GET /", b"GET /slow") + REQUEST * REQUESTS)
            for _ in range(REQUESTS + 1):
                assert client.receive_response().content == b"hello"

        send()
        def is_cheap(made):
            # After the slow one others have their turn, and then the socket is looked at again.
            return made["sendto"] == 2 and made["recvfrom"] <= 3

        eventually(lambda: is_cheap(calls(server, send)), PATIENT)


def test_a_request_with_content_is_one_receive_and_one_send(serving, calls):
    server = serving()
    with server.client() as client:

        def send():
            client.request("POST", "/", content=bytes(1000))

        send()
        eventually(lambda: calls(server, send) == {"recvfrom": 1, "sendto": 1}, PATIENT)


def test_each_block_of_a_generator_is_one_send(serving, calls):
    server = serving()
    with server.client() as client:

        def send():
            client.request("GET", "/generated")

        def is_cheap(made):
            # Two blocks, and the last chunk. The kernel may be told once, and told back, that the blocks are a burst.
            return made.pop("setsockopt", 0) <= 2 and made == {"recvfrom": 1, "sendto": 3}

        send()
        eventually(lambda: is_cheap(calls(server, send)), PATIENT)


@only("sync", "threaded", each_poller=True)  # each greenlet writes its own answer
def test_the_lines_of_a_pipeline_are_one_write(serving, calls, worker_class):
    server = serving("--access-logfile", "access.log")
    log = server.directory / "access.log"
    marks = iter(range(1000))

    def is_one_write(made):
        # Another one tells a thread that waits until when the lines may be held.
        return made["recvfrom"] == made["sendto"] == 1 and made["write"] in (1, 1 + (worker_class.threads > 1))

    with server.client() as client:

        def send():
            mark = b"%d " % next(marks)
            client.send(REQUEST * (REQUESTS - 1) + REQUEST.replace(b"GET / ", b"GET /?" + mark))
            eventually(lambda: b"GET /?" + mark in log.read_bytes())

        send()
        eventually(lambda: is_one_write(calls(server, send)), PATIENT)


def test_a_request_of_its_own_connection_needs_no_wait_for_it(serving, calls):
    server = serving()

    def send():
        with server.client() as client:
            client.send(REQUEST.replace(b"X-Thing: 1", b"Connection: close"))
            client.read_until_closed()

    def is_cheap(made):
        # One more accept finds that there is no other; one more receive, that the connection came before its request.
        # Only where the application forked may others hold the socket open, and it has to be shut down.
        cheap = made["close"] == made["sendto"] == 1 and made["accept4"] <= 2 and made["recvfrom"] <= 2
        return cheap and made["shutdown"] == 0

    send()
    # The client hears of the close while the call is still being made, and may be done before it is counted.
    eventually(lambda: is_cheap(calls(server, send)), PATIENT)


@pytest.mark.parametrize("target", ["/", "/generated"])
@pytest.mark.parametrize("arguments", [(), ("--access-logfile", "calls.log")])
def test_the_calls_of_python_functions_for_a_request_are_few_or_none(serving, worker_class, target, arguments):
    # The profile is that of one thread.
    server = serving(*arguments, "--threads", "1")
    with server.client() as client:
        client.request("GET", "/calls")
        for _ in range(REQUESTS):
            client.request("GET", target, [("Cookie", "a=b"), ("Accept", "*/*")])
        called = client.request("GET", "/called").content.decode().splitlines()
    assert len(called) >= REQUESTS
    beside = [name for name in called if Path(__file__).name not in name]
    # Of the two requests that begin and end it, a part of each counts.
    # On a machine that is slow enough, a timer that writes the log ends between two of them.
    assert len(beside) <= PYTHON_CALLS[worker_class.name] * (REQUESTS + 2) + REQUESTS * bool(arguments), Counter(beside)
