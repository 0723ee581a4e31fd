"""Requests over their time, and slow ones, in a worker that runs several at once: each is judged by its own."""

import functools
import os
import re
import signal
import time

import pytest
from support import eventually

APPLICATION = """
    import os, threading, time

    def hang():
        threading.Event().wait()

    def stream(until):
        while not until():
            yield b"."
            time.sleep(0.05)

    def log_says(text):
        with open("server.log", encoding="utf-8") as log:
            return text in log.read()

    def application(environ, start_response):
        path, entered = environ["PATH_INFO"], time.monotonic()
        open("entered_" + path[1:], "w").close()
        if path.startswith("/hang"):
            hang()
        start_response("200 OK", [("Content-Type", "text/plain")])
        if path == "/until_relief":
            return stream(lambda: log_says("REQUEST TIMEOUT"))
        if path == "/stream":
            return stream(lambda: time.monotonic() > entered + 2)
        return [str(os.getpid()).encode()]
"""


@pytest.fixture
def asked(serve):
    """Start a server of one worker; its `ask` sends it requests, and waits until the application has them."""
    clients = []

    def start(*arguments):
        server = serve(APPLICATION, *arguments)

        def ask(*targets):
            asking = [server.client(timeout=10) for _ in targets]
            clients.extend(asking)
            for client, target in zip(asking, targets, strict=True):
                client.send(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            for target in targets:
                eventually((server.directory / f"entered_{target[1:]}").exists)
            return asking

        server.ask = ask
        return server

    yield start
    for client in clients:
        client.close()


@pytest.fixture
def threaded(asked):
    """The same with three threads."""
    return functools.partial(asked, "--threads", "3")


def test_a_request_that_hangs_in_a_thread_is_named_with_it(threaded):
    server = threaded("--timeout", "1")
    (pid,) = eventually(server.workers)
    (client,) = server.ask("/hang")
    assert client.receive_response().status == 504
    eventually(lambda: server.workers() and pid not in server.workers())
    log = server.log()
    named = re.search(rf"WORKER TIMEOUT \(pid:{pid}\).* GET /hang from [0-9.:]+ for [0-9.]+ s in Thread (0x\w+)", log)
    # Nothing else ran, so nobody was given time.
    assert "REQUEST TIMEOUT" not in log
    _, stack = log.split(f"hread {named[1]}", 2)[1:]
    assert "in hang\n" in stack.partition("\n\n")[0].partition("Thread 0x")[0]


def test_of_several_requests_that_hang_each_is_named(threaded):
    server = threaded("--timeout", "1")
    clients = server.ask("/hang1", "/hang2")
    assert [client.receive_response().status for client in clients] == [504, 504]
    (line,) = [line for line in server.log().splitlines() if "WORKER TIMEOUT" in line]
    assert (line.count("GET /hang1"), line.count("GET /hang2")) == (1, 1)


def test_other_requests_of_the_worker_have_time_to_finish(threaded):
    server = threaded("--timeout", "1")
    (pid,) = eventually(server.workers)
    other, hung = server.ask("/until_relief", "/hang")
    assert other.receive_response().content.endswith(b".")
    assert hung.receive_response().status == 504
    eventually(lambda: server.workers() and pid not in server.workers())
    relieved, aborted = (server.log().index(f"{word} TIMEOUT (pid:{pid})") for word in ("REQUEST", "WORKER"))
    assert relieved < aborted
    assert server.get().status == 200


def test_a_response_that_goes_on_longer_than_the_timeout_is_left_alone(threaded):
    server = threaded("--timeout", "1")
    workers = server.workers()
    (client,) = server.ask("/stream")
    assert client.receive_response().content.endswith(b".")
    assert server.workers() == workers
    assert "TIMEOUT" not in server.log()


def test_after_a_reload_that_brings_threads_every_request_has_its_time(asked, tmp_path):
    config = tmp_path / "pyserver.conf.py"
    config.write_text("threads = 1\n")
    server = asked("--timeout", "2")
    clients = server.ask("/hang1")
    config.write_text("threads = 3\n")
    server.send_signal(signal.SIGHUP)
    eventually(lambda: "Generation 2 is ready" in server.log())
    clients += server.ask("/hang2", "/hang3")
    assert [client.receive_response().status for client in clients] == [504] * 3
    overdue = "".join(line for line in server.log().splitlines() if "WORKER TIMEOUT" in line)
    assert [overdue.count(f"GET /hang{number} ") for number in (1, 2, 3)] == [1, 1, 1]


def test_each_of_several_slow_requests_is_reported_once(threaded):
    server = threaded("--slow-request", "0.2")
    (pid,) = eventually(server.workers)
    for target in ("/hang1", "/hang2"):
        server.ask(target)
        eventually(lambda target=target: f"GET {target}" in server.log())
    until = time.monotonic() + 1.5
    eventually(lambda: time.monotonic() > until)
    lines = [line for line in server.log().splitlines() if "Slow request in worker" in line]
    assert [(line.count("GET /hang1"), line.count("GET /hang2")) for line in lines] == [(1, 0), (0, 1)]
    os.kill(pid, signal.SIGKILL)


def test_a_slow_request_is_reported_once_with_its_stack(serve):
    server = serve(APPLICATION, "--slow-request", "0.2")
    (pid,) = eventually(server.workers)
    with server.client() as client:
        client.send(b"GET /hang HTTP/1.1\r\nHost: a\r\n\r\n")
        eventually(lambda: "in hang\n" in server.log())
        until = time.monotonic() + 1.5
        eventually(lambda: time.monotonic() > until)
        assert server.log().count(f"[WARNING] Slow request in worker (pid:{pid}): it was running GET /hang") == 1
        os.kill(pid, signal.SIGKILL)
