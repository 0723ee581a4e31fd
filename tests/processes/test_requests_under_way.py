"""A worker in which several requests run is stopped, reloaded, recycled and aborted with all of them."""

import os
import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from classes import AT_ONCE
from classes import each_concurrent_class as worker_class
from support import Client, eventually

__all__ = ["worker_class"]

# A request for /wait is under way until there is a file named "gate".
APPLICATION = """
    import os, time

    def wait_for(name):
        while not os.path.exists(name):
            time.sleep(0.01)

    def application(environ, start_response):
        path = environ["PATH_INFO"]
        if path == "/wait":
            open("entered-" + environ["QUERY_STRING"], "w").close()
            wait_for("gate")
        if path == "/hang":
            open("hanging", "w").close()
            wait_for("never")
        if path == "/nap":
            time.sleep(0.3)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [str(os.getpid()).encode()]
"""


@pytest.fixture
def hold():
    """Have requests under way in a server: `hold(server, count)` gives their clients."""
    clients = []

    def held(server, count=AT_ONCE - 1):
        for number in range(count):
            clients.append(server.client(timeout=10))
            clients[-1].send(f"GET /wait?{number} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            eventually((server.directory / f"entered-{number}").exists)
        return clients

    yield held
    for client in clients:
        client.close()


def release(server):
    (server.directory / "gate").touch()


def are_answered_by(clients):
    """The pids of the workers that answered."""
    responses = [client.receive_response() for client in clients]
    assert [response.status for response in responses] == [200] * len(clients)
    return {int(response.content) for response in responses}


def test_a_graceful_stop_waits_for_all_that_run(serve, hold):
    server = serve(APPLICATION)
    clients = hold(server, AT_ONCE)
    (pid,) = server.workers()
    server.send_signal(signal.SIGTERM)
    eventually(lambda: "Handling signal: term" in server.log())
    release(server)
    assert are_answered_by(clients) == {pid}
    assert server.wait() == os.EX_OK
    assert f"{AT_ONCE} requests answered, 0 abandoned" in server.log()


def test_a_quick_stop_says_how_many_are_cut(serve, hold):
    server = serve(APPLICATION)
    hold(server)
    server.send_signal(signal.SIGINT)
    assert server.wait() == os.EX_OK
    assert f"quits: {AT_ONCE - 1} requests or responses are cut" in server.log()
    assert f", {AT_ONCE - 1} abandoned" in server.log()


def test_a_graceful_stop_ends_at_its_timeout(serve, hold):
    server = serve(APPLICATION, "--graceful-timeout", "0.2")
    hold(server, AT_ONCE)
    server.send_signal(signal.SIGTERM)
    assert server.wait() == os.EX_OK


def test_a_reload_lets_all_that_run_finish(serve, hold):
    server = serve(APPLICATION)
    clients = hold(server, AT_ONCE)
    (pid,) = server.workers()
    server.send_signal(signal.SIGHUP)
    eventually(lambda: int(server.get().content) != pid)
    release(server)
    assert are_answered_by(clients) == {pid}
    eventually(lambda: pid not in server.workers())


def test_a_worker_that_is_recycled_lets_all_that_run_finish(serve, hold):
    server = serve(APPLICATION, "--max-requests", "5")
    clients = hold(server)
    (pid,) = server.workers()
    eventually(lambda: int(server.get().content) != pid)
    release(server)
    assert are_answered_by(clients) == {pid}
    eventually(lambda: pid not in server.workers())


def test_no_request_is_lost_while_workers_are_recycled_under_load(serve):
    server = serve(APPLICATION, "--max-requests", "50")

    pids = set()

    def ask(_number):
        until = time.monotonic() + 20
        while len(pids) < 4 and time.monotonic() < until:
            with Client(server.address, timeout=10) as client:
                persists = True
                while persists and len(pids) < 4:
                    response = client.request("GET", "/")
                    assert response.status == 200
                    pids.add(int(response.content))
                    persists = response.field("Connection") is None

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(ask, range(16)))
    assert len(pids) >= 4
    replaced = re.findall(r"\(pid:(\d+)\) has served its number of requests and is replaced", server.log())
    # Each of them once, however many requests ended at once.
    assert len(replaced) == len(set(replaced))
    assert pids - {int(pid) for pid in replaced} <= set(server.workers())


def test_a_request_over_its_time_is_told_and_others_have_a_moment_to_finish(serve, hold):
    server = serve(APPLICATION, "--timeout", "2")
    with server.client(timeout=10) as late:
        late.send(b"GET /hang HTTP/1.1\r\nHost: a\r\n\r\n")
        eventually((server.directory / "hanging").exists)
        # The other ones have time left when this one has none.
        until = time.monotonic() + 1
        eventually(lambda: time.monotonic() > until)
        clients = hold(server, AT_ONCE - 2)
        eventually(lambda: "REQUEST TIMEOUT" in server.log())
        release(server)
        are_answered_by(clients)
        assert late.receive_response().status == 504
    assert server.get().status == 200


def test_requests_that_follow_one_another_are_not_one_long_one(serve):
    server = serve(APPLICATION, "--timeout", "1")
    (pid,) = eventually(server.workers)
    until = time.monotonic() + 2.5
    with ThreadPoolExecutor(4) as threads:

        def ask(_number):
            while time.monotonic() < until:
                assert int(server.get("/nap").content) == pid

        list(threads.map(ask, range(4)))
    assert "WORKER TIMEOUT" not in server.log()
