"""Applications in which several requests are under way: what one of them does is its own affair."""

import contextlib
import os
import socket
import sys
import threading
from pathlib import Path

import pytest
from classes import AT_ONCE
from classes import each_concurrent_class as worker_class
from sharing import Routes, server, serving, share
from support import eventually

__all__ = ["server", "serving", "share", "worker_class"]

PLAIN = [("Content-Type", "text/plain")]

application = Routes()
# Reached by as many requests as run at once, so that each has a thread or a greenlet of its own.
together = threading.Barrier(AT_ONCE)


def ask_together(server, targets, content=b""):
    """The contents of the responses to requests that are sent at once, in their order."""
    clients = [server.client(timeout=10) for _ in targets]
    with contextlib.ExitStack() as stack:
        for client, target in zip(clients, targets, strict=True):
            stack.enter_context(client)
            head = f"POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(content)}\r\n\r\n"
            client.send(head.encode() + content)
        responses = [client.receive_response() for client in clients]
        assert [response.status for response in responses] == [200] * len(responses)
        assert all(response.field("X-Forged") is None for response in responses)
        return [response.content.decode() for response in responses]


# ---- what is kept ----

kept = []


@application.route
def keep(environ, start_response):
    kept.append((start_response, start_response("200 OK", PLAIN), environ))
    together.wait(10)
    return [environ["QUERY_STRING"].encode()]


@application.route
def use_kept(environ, start_response):
    together.wait(10)
    refused = 0
    for begin, write, _ in kept:
        for call in (lambda begin=begin: begin("200 OK", [("X-Forged", "1")]), lambda write=write: write(b"forged")):
            try:
                call()
            except Exception:
                refused += 1
    together.wait(10)
    start_response("200 OK", PLAIN)
    return [f"{environ['QUERY_STRING']}: {refused}".encode()]


@application.route
def forget(_environ, start_response):
    kept.clear()
    start_response("200 OK", PLAIN)
    return []


def test_callables_that_were_kept_do_not_speak_for_requests_that_run(server):
    server.get("/forget")
    names = [str(number) for number in range(AT_ONCE)]
    assert ask_together(server, [f"/keep?{name}" for name in names]) == names
    said = ask_together(server, [f"/use_kept?{name}" for name in names])
    assert said == [f"{name}: {2 * AT_ONCE}" for name in names]


@application.route
def lend(environ, start_response):
    """Have another request write, if it can, into this one's response."""
    kept[:] = [start_response("200 OK", PLAIN)]
    together.wait(10)
    together.wait(10)
    return [b"lent"]


@application.route
def borrow(_environ, start_response):
    together.wait(10)
    with contextlib.suppress(Exception):
        kept[0](b"borrowed ")
    together.wait(10)
    start_response("200 OK", PLAIN)
    return [b"own"]


def test_a_callable_of_a_request_that_runs_does_not_speak_for_the_one_that_calls_it(server):
    lent, *others = ask_together(server, ["/lend", *["/borrow"] * (AT_ONCE - 1)])
    assert lent in [f"{'borrowed ' * times}lent" for times in range(AT_ONCE)]
    assert others == ["own"] * (AT_ONCE - 1)


# ---- threads that outlive their request ----


@application.route
def leave_a_thread(environ, start_response):
    def outlive():
        eventually(Path("others-ran").exists)
        _, write, kept_environ = kept.pop()
        read = kept_environ["wsgi.input"].read()
        with contextlib.suppress(Exception):
            write(b"from a thread")
        Path("read.part").write_bytes(read)
        Path("read.part").rename("read")

    kept[:] = [(start_response, start_response("200 OK", PLAIN), environ)]
    threading.Thread(target=outlive).start()
    return [b"left"]


@application.route
def echo(environ, start_response):
    together.wait(10)
    start_response("200 OK", PLAIN)
    return [environ["wsgi.input"].read()]


def test_a_thread_that_outlives_its_request_has_nothing_of_another_one(serving):
    server = serving("--request-buffer", "1000")
    others_ran, read = server.directory / "others-ran", server.directory / "read"
    for content in (b"its own", b"its own, in a file" * 100):
        for path in (others_ran, read):
            path.unlink(missing_ok=True)
        with server.client() as client:
            assert client.request("POST", "/leave_a_thread", content=content).content == b"left"
        for number in range(5):
            sent = f"of another, {number}" * 20
            assert ask_together(server, ["/echo"] * AT_ONCE, sent.encode()) == [sent] * AT_ONCE
        others_ran.touch()
        eventually(read.exists)
        assert read.read_bytes() == content


# ---- what comes meanwhile ----


def waits(environ):
    Path(f"entered-{environ['QUERY_STRING']}").touch()
    eventually(Path("gate").exists)


@application.route
def wait(environ, start_response):
    waits(environ)
    start_response("200 OK", PLAIN)
    return [b"waited"]


def test_requests_are_answered_while_others_run(server, waiting):
    with server.client() as client:
        assert [client.request("GET", "/").status for _ in range(10)] == [200] * 10
    assert are_answered(waiting, server)


def test_a_request_that_comes_while_the_one_before_it_runs_is_answered(serving):
    server = serving("--keep-alive", "60")
    gate, entered = server.directory / "gate", server.directory / "entered-first"
    for path in (gate, entered):
        path.unlink(missing_ok=True)
    with server.client() as client:
        # Otherwise the second request would wait for the answer to the first one here.
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.request("GET", "/")
        client.send(b"GET /wait?first HTTP/1.1\r\nHost: a\r\n\r\n")
        eventually(entered.exists)
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        # By now somebody else has been told that there is something to be received.
        assert server.get("/").status == 200
        gate.touch()
        assert client.receive_response().content == b"waited"
        assert client.receive_response().status == 200


# ---- what ends in one of them ----


@application.route
def exits(environ, start_response):
    sys.exit("from a request")


@application.route
def interrupts(environ, start_response):
    raise KeyboardInterrupt


@pytest.fixture
def waiting(server):
    """Clients whose requests are under way, of all but one that can be."""
    gate = server.directory / "gate"
    gate.unlink(missing_ok=True)
    clients = [server.client(timeout=10) for _ in range(AT_ONCE - 1)]
    for number, client in enumerate(clients):
        entered = server.directory / f"entered-{number}"
        entered.unlink(missing_ok=True)
        client.send(f"GET /wait?{number} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        eventually(entered.exists)
    yield clients
    gate.touch()
    for client in clients:
        client.close()


def are_answered(clients, server):
    (server.directory / "gate").touch()
    return [client.receive_response().content for client in clients] == [b"waited"] * len(clients)


@pytest.mark.parametrize("target", ["/exits", "/interrupts"])
def test_an_exit_in_one_request_leaves_those_that_run(server, waiting, target):
    workers = server.workers()
    assert server.get(target).status == 500
    assert are_answered(waiting, server)
    assert server.workers() == workers


@application.route
def forks(environ, start_response):
    how = environ["QUERY_STRING"]
    child = os.fork()
    if child == 0:
        if how == "exit":
            sys.exit(7)
        if how == "raise":
            raise RuntimeError("in the child")
        if how == "leave":
            os._exit(0)
    start_response("200 OK", PLAIN)
    if child == 0:
        return [b"from the child"]
    return [str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])).encode()]


@pytest.mark.parametrize(("how", "code"), [("return", "0"), ("exit", "7"), ("raise", "1"), ("leave", "0")])
def test_a_fork_in_one_request_leaves_those_that_run(server, waiting, how, code):
    (worker,) = server.workers()
    for _ in range(10):
        assert server.get(f"/forks?{how}").content.decode() == code
    eventually(lambda: server.workers() == [worker])
    assert are_answered(waiting, server)
