"""How a server ends: gracefully, quickly, and when its arbiter is killed."""

import os
import signal
import sys

import pytest
from classes import each_class as worker_class
from classes import with_each_poller
from support import Client, eventually

__all__ = ["worker_class"]

# A request for /wait is under way until there is a file named "gate"; one for /block until somebody writes to the pipe
# "lock", and lets nothing else of its thread run.
GATED = """
    import os, time

    def application(environ, start_response):
        if environ["PATH_INFO"] == "/block":
            open("entered", "w").close()
            with open("lock") as lock:
                lock.read()
        if environ["PATH_INFO"] == "/wait":
            open("entered", "w").close()
            while not os.path.exists("gate"):
                time.sleep(0.01)
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
        return [b"hello"]
"""


@pytest.fixture
def gate(tmp_path):
    """Let the request for /wait go on."""
    return (tmp_path / "gate").touch


@pytest.fixture
def lock(tmp_path):
    """Let the request for /block go on."""
    os.mkfifo(tmp_path / "lock")
    return lambda: (tmp_path / "lock").write_text("")


def begin_waiting(server, path="/wait"):
    """A client whose request is under way."""
    client = server.client()
    client.send(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    eventually((server.directory / "entered").exists)
    return client


def refuses(server):
    try:
        Client(server.address).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:
        pass  # It was there just before the listener was closed.
    return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_an_idle_server_ends_with_code_0(serve, number):
    server = serve(GATED, "-w", "2")
    server.get()
    assert server.stop(number) == 0
    assert "Shutting down: Arbiter" in server.log()


def test_term_answers_the_request_under_way(serve, gate):
    server = serve(GATED)
    with begin_waiting(server) as client:
        server.send_signal(signal.SIGTERM)
        eventually(lambda: "Handling signal: term" in server.log())
        gate()
        assert client.receive_response().content == b"hello"
    assert server.wait() == 0


def test_term_refuses_new_connections_as_soon_as_nothing_runs(serve, gate):
    server = serve(GATED)
    with begin_waiting(server) as client:
        server.send_signal(signal.SIGTERM)
        gate()
        client.receive_response()
        eventually(lambda: refuses(server))
    assert server.wait() == 0


@with_each_poller
def test_term_refuses_new_connections_while_every_worker_is_held_up(serve, lock):
    server = serve(GATED)
    with begin_waiting(server, "/block") as client:
        server.send_signal(signal.SIGTERM)
        eventually(lambda: refuses(server))
        lock()
        assert client.receive_response().content == b"hello"
    assert server.wait() == 0


@with_each_poller
def test_term_answers_those_that_wait_behind_a_request(serve, lock):
    server = serve(GATED)
    with begin_waiting(server, "/block") as client:
        behind = [server.client() for _ in range(20)]
        for one in behind:
            one.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        server.send_signal(signal.SIGTERM)
        eventually(lambda: refuses(server))
        lock()
        assert client.receive_response().content == b"hello"
        assert [one.receive_response().content for one in behind] == [b"hello"] * 20
        for one in behind:
            one.close()
    assert server.wait() == 0


def test_a_file_that_the_application_opens_while_the_server_stops_is_its_own(serve, gate):
    server = serve("""
        import os, time

        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            yield b"begun "
            while not os.path.exists("gate"):
                time.sleep(0.01)
            kept.append(open("kept", "w"))
            yield str(kept[0].fileno()).encode()
            import atexit
            atexit.register(lambda: (kept[0].write("still open"), kept[0].close()))

        kept = []
    """)
    with server.client() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        received = b""
        while b"begun" not in received:
            received += client.receive(1)
        server.send_signal(signal.SIGTERM)
        eventually(lambda: refuses(server))
        gate()
        assert server.wait() == 0
    assert (server.directory / "kept").read_text() == "still open"


def test_term_does_not_wait_beyond_the_graceful_timeout(serve):
    server = serve(GATED, "--graceful-timeout", "0.2")
    with begin_waiting(server):
        server.send_signal(signal.SIGTERM)
        assert server.wait() == 0
    assert "has not finished within the graceful timeout of 0.2 s and is killed" in server.log()


def test_a_graceful_timeout_of_many_years_is_waited_for(serve, gate):
    server = serve(GATED, "--graceful-timeout", "1000000000", "--timeout", "0")
    with begin_waiting(server) as client:
        server.send_signal(signal.SIGTERM)
        eventually(lambda: "Handling signal: term" in server.log())
        gate()
        assert client.receive_response().content == b"hello"
    assert server.wait() == 0
    assert "Traceback" not in server.log()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_a_quick_stop_does_not_wait_for_a_request(serve, number):
    server = serve(GATED)
    with begin_waiting(server):
        server.send_signal(number)
        assert server.wait() == 0


def test_a_graceful_stop_can_be_made_quick(serve):
    server = serve(GATED)
    with begin_waiting(server):
        server.send_signal(signal.SIGTERM)
        eventually(lambda: "Handling signal: term" in server.log())
        server.send_signal(signal.SIGINT)
        assert server.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_terminal_that_signals_all_processes_at_once_is_no_error(serve, number):
    server = serve(GATED, "-w", "4")
    server.get()
    os.killpg(server.pid, number)
    assert server.wait() == 0
    assert "ERROR" not in server.log()


def test_a_reload_while_the_server_stops_is_ignored(serve, gate):
    server = serve(GATED)
    with begin_waiting(server) as client:
        server.send_signal(signal.SIGTERM)
        server.send_signal(signal.SIGHUP)
        eventually(lambda: "Handling signal: hup" in server.log())
        gate()
        client.receive_response()
    assert server.wait() == 0
    assert "Hang up" not in server.log()


def test_the_file_of_a_unix_socket_is_gone_afterwards(serve):
    server = serve(GATED, "-b", "unix:a.sock")
    assert (server.directory / "a.sock").exists()
    server.stop()
    assert not (server.directory / "a.sock").exists()


def test_what_the_application_registered_for_its_end_is_done(serve):
    server = serve("""
        import atexit, threading
        atexit.register(lambda: open("said goodbye", "w").close())
        job = threading.Event()
        threading.Thread(target=lambda: (job.wait(), open("finished the job", "w").close())).start()
        atexit.register(job.set)

        def application(environ, start_response):
            job.set()
            start_response("200 OK", [("Content-Length", "0")])
            return []
    """)
    server.get()
    assert server.stop() == 0
    assert (server.directory / "said goodbye").exists()
    assert (server.directory / "finished the job").exists()


def test_workers_end_when_their_arbiter_is_killed(serve):
    server = serve(GATED, "-w", "2")
    server.get()
    eventually(lambda: len(server.workers()) == 2)
    os.kill(server.pid, signal.SIGKILL)
    server.wait()
    eventually(lambda: not server.processes())
    assert "The arbiter is gone" in server.log()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells nobody of its parent's death here")
@pytest.mark.parametrize("arguments", [(), ("--preload",)])
def test_a_worker_that_hangs_ends_when_its_arbiter_was_killed(serve, arguments):
    server = serve(GATED, "--graceful-timeout", "1", "--timeout", "0", *arguments)
    with begin_waiting(server):
        os.kill(server.pid, signal.SIGKILL)
        server.wait()
        eventually(lambda: not server.processes())


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells nobody of its parent's death here")
def test_a_worker_that_hangs_at_import_ends_when_its_arbiter_was_killed(start):
    server = start("open('importing', 'w').close()\nimport time; time.sleep(1000)\n", "--graceful-timeout", "1")
    eventually((server.directory / "importing").exists)
    os.kill(server.pid, signal.SIGKILL)
    server.wait()
    eventually(lambda: not server.processes())


def test_a_request_under_way_is_answered_when_the_arbiter_is_killed(serve, gate):
    server = serve(GATED)
    with begin_waiting(server) as client:
        os.kill(server.pid, signal.SIGKILL)
        server.wait()
        gate()
        assert client.receive_response().content == b"hello"
    eventually(lambda: not server.processes())
