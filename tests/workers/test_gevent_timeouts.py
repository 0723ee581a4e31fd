"""Requests over their time in a gevent worker: the greenlet is ended that runs one, and others go on."""

import importlib.util

import pytest
from support import eventually

pytestmark = pytest.mark.skipif(importlib.util.find_spec("gevent") is None, reason="gevent is not installed")

APPLICATION = """
    import os, time

    def sleep_for_ever():
        time.sleep(3600)

    def compute_for_ever():
        while True:
            pass

    def wait_for_a_file():
        open("entered", "w").close()
        while not os.path.exists("gate"):
            time.sleep(0.01)

    def clean_up():
        open("cleaned up", "w").close()

    def application(environ, start_response):
        match environ["PATH_INFO"]:
            case "/sleep":
                try:
                    sleep_for_ever()
                except Exception:
                    pass
                finally:
                    clean_up()
            case "/begun":
                start_response("200 OK", [("Content-Type", "text/plain")])(b"begun")
                sleep_for_ever()
            case "/stubborn":
                while True:
                    try:
                        sleep_for_ever()
                    except BaseException:
                        pass
            case "/compute":
                compute_for_ever()
            case "/gate":
                wait_for_a_file()
            case "/stream":
                start_response("200 OK", [("Content-Type", "text/plain")])
                return stream()
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [str(os.getpid()).encode()]

    def stream():
        while not os.path.exists("gate"):
            time.sleep(0.1)
            yield b"block"
"""


@pytest.fixture
def server(serve):
    return serve(APPLICATION, "-k", "gevent", "--timeout", "0.5", "--access-logfile", "access.log")


def send(server, target):
    client = server.client()
    client.send(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    return client


def test_the_greenlet_is_ended_and_its_client_is_told(server):
    (pid,) = eventually(server.workers)
    with send(server, "/sleep") as client:
        assert client.receive_response().status == 504
        assert client.is_closed_by_server()
    assert (server.directory / "cleaned up").exists()
    assert server.get().content == str(pid).encode()
    eventually(lambda: '"GET /sleep HTTP/1.1" 504' in (server.directory / "access.log").read_text())


def test_the_log_has_the_stack_of_the_right_greenlet(server):
    with send(server, "/stream") as other, send(server, "/sleep") as client:
        assert client.receive_response().status == 504
        (server.directory / "gate").touch()
        # A response that goes on is not over its time, however long it takes.
        assert other.receive_response().content.startswith(b"block")
    log = server.log()
    assert "REQUEST TIMEOUT" in log
    _, named, stack = log.partition("[ERROR] Request GET /sleep from 127.0.0.1:")
    assert named
    assert "in sleep_for_ever" in stack
    assert "in stream" not in stack
    assert "Traceback" not in log


def test_a_slow_request_is_told_of_with_the_stack_of_its_greenlet(serve):
    server = serve(APPLICATION, "-k", "gevent", "--slow-request", "0.5")
    (pid,) = eventually(server.workers)
    with send(server, "/gate") as client:
        eventually(lambda: "in wait_for_a_file" in server.log())
        assert f"Slow request in worker (pid:{pid})" in server.log()
        assert "[WARNING] Request GET /gate from 127.0.0.1:" in server.log()
        (server.directory / "gate").touch()
        assert client.receive_response().content == str(pid).encode()


def test_a_response_that_has_begun_is_cut(server):
    # Without its last chunk.
    with send(server, "/begun") as client, pytest.raises((EOFError, ConnectionResetError)):
        client.receive_response()
    assert server.get().status == 200


def test_what_does_not_end_takes_its_worker_with_it(server):
    (pid,) = eventually(server.workers)
    with send(server, "/stubborn") as client:
        assert client.receive_response().status == 504
    eventually(lambda: server.workers() and pid not in server.workers())
    assert f"WORKER TIMEOUT (pid:{pid})" in server.log()


def test_a_greenlet_that_computes_is_aborted_with_its_stack(server):
    (pid,) = eventually(server.workers)
    with send(server, "/gate") as other, server.client() as client:
        eventually((server.directory / "entered").exists)
        client.send(b"GET /compute HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.receive_response().status == 504
        assert other.receive_response().status in (500, 504)
    eventually(lambda: server.workers() and pid not in server.workers())
    log = server.log()
    assert f"WORKER TIMEOUT (pid:{pid})" in log
    assert "in compute_for_ever" in log
