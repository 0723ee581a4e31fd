"""The gevent worker: what runs at the same time, and who waits for whom."""

import contextlib
import importlib.util
import os
import signal

import pytest
from support import eventually

pytestmark = pytest.mark.skipif(importlib.util.find_spec("gevent") is None, reason="gevent is not installed")

# Requests for /gate go on as soon as there is a file of that name; `entered` says how many have begun.
APPLICATION = """
    import os, threading, time

    entered = running = most = 0
    barrier = threading.Barrier(8)

    def wait_for_a_file(name):
        while not os.path.exists(name):
            time.sleep(0.01)

    def application(environ, start_response):
        content = b"done"
        match environ["PATH_INFO"]:
            case "/barrier":
                barrier.wait()
            case "/gate":
                global entered, running, most
                entered, running = entered + 1, running + 1
                most = max(most, running)
                open(f"entered{entered}", "w").close()
                wait_for_a_file("gate")
                running -= 1
            case "/state":
                content = f"{entered} {most} {environ['wsgi.multithread']}".encode()
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(content)))])
        return [content]
"""


@pytest.fixture
def serve_with_gevent(serve):
    return lambda application, *arguments, **options: serve(application, "-k", "gevent", *arguments, **options)


def send(server, target):
    """A client whose request is on its way."""
    client = server.client()
    client.send(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    return client


@contextlib.contextmanager
def sent(server, target, times):
    """Clients of which each has a request on its way."""
    with contextlib.ExitStack() as clients:
        yield [clients.enter_context(send(server, target)) for _ in range(times)]


def is_there(server, name):
    return (server.directory / name).exists()


def open_gate(server):
    (server.directory / "gate").touch()


def test_requests_that_wait_run_at_the_same_time(serve_with_gevent):
    server = serve_with_gevent(APPLICATION)
    # Each of them waits for the others.
    with sent(server, "/barrier", 8) as clients:
        assert [client.receive_response().content for client in clients] == [b"done"] * 8
    assert server.get("/state").content.endswith(b"True")


def test_no_more_than_worker_connections_run_and_the_rest_is_answered_later(serve_with_gevent):
    server = serve_with_gevent(APPLICATION, "--worker-connections", "2")
    with sent(server, "/gate", 5) as clients:
        eventually(lambda: is_there(server, "entered2"))
        open_gate(server)
        assert [client.receive_response().content for client in clients] == [b"done"] * 5
    assert server.get("/state").content.startswith(b"5 2 ")


def test_pipelined_requests_are_answered_in_their_order(serve_with_gevent):
    server = serve_with_gevent(APPLICATION)
    with server.client() as client:
        client.send(b"GET /gate HTTP/1.1\r\nHost: a\r\n\r\nGET /state HTTP/1.1\r\nHost: a\r\n\r\n")
        eventually(lambda: is_there(server, "entered1"))
        open_gate(server)
        assert client.receive_response().content == b"done"
        assert client.receive_response().content.startswith(b"1 ")


def test_a_slow_reader_holds_up_nobody_and_gets_all_of_a_stream(serve_with_gevent):
    server = serve_with_gevent(
        """
        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            if environ["PATH_INFO"] == "/stream":
                def blocks():
                    for number in range(500):
                        yield b"%06d" % number * 10000
                    open("given", "w").close()
                return blocks()
            return [b"quick"]
        """
    )
    with send(server, "/stream") as slow:
        assert [server.get().content for _ in range(20)] == [b"quick"] * 20
        # It waits in its greenlet, with what the client has not taken.
        assert not is_there(server, "given")
        content = slow.receive_response().content
    assert content == b"".join(b"%06d" % number * 10000 for number in range(500))


def test_what_is_local_to_a_greenlet_or_a_thread_is_fresh_in_each_request(serve_with_gevent):
    server = serve_with_gevent(
        """
        import contextvars, threading
        import gevent.local

        variable = contextvars.ContextVar("variable", default="fresh")
        of_thread, of_greenlet = threading.local(), gevent.local.local()

        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "17")])
            found = [variable.get(), *(getattr(one, "value", "fresh") for one in (of_thread, of_greenlet))]
            variable.set("stale")
            of_thread.value = of_greenlet.value = "stale"
            return [" ".join(found).encode()]
        """
    )
    with server.client() as client:
        assert [client.request("GET").content for _ in range(3)] == [b"fresh fresh fresh"] * 3


def test_what_an_application_does_with_gevent_works(serve_with_gevent):
    server = serve_with_gevent(
        """
        import subprocess, threading
        import gevent, gevent.lock

        def application(environ, start_response):
            results = []
            gevent.joinall([gevent.spawn(results.append, number) for number in range(3)])
            with gevent.Timeout(0.01, False):
                gevent.sleep(60)
                results.append("late")
            with gevent.lock.BoundedSemaphore(1), threading.Lock():
                gevent.sleep(0)
            thread = threading.Thread(target=results.append, args=("thread",))
            thread.start()
            thread.join()
            results.append(subprocess.run(["echo", "child"], capture_output=True, text=True).stdout.strip())
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [" ".join(map(str, results)).encode()]
        """
    )
    assert server.get().content == b"0 1 2 thread child"


def test_a_timeout_ends_a_response_that_its_client_does_not_read(serve_with_gevent):
    server = serve_with_gevent(
        """
        import gevent

        def application(environ, start_response):
            if environ["PATH_INFO"] == "/":
                start_response("200 OK", [("Content-Type", "text/plain")])
                return [b"quick"]
            write = start_response("200 OK", [("Content-Type", "text/plain")])
            try:
                with gevent.Timeout(0.2):
                    while True:
                        write(b"x" * 65536)
            finally:
                open("timed out", "w").close()
        """
    )
    with send(server, "/endless") as client:
        eventually(lambda: is_there(server, "timed out"))
        # Cut, and not ended: a last chunk would say that this is all.
        with pytest.raises((ConnectionResetError, EOFError)):
            client.receive_response()
    assert server.get().content == b"quick"


def test_a_greenlet_that_is_killed_releases_its_connection(serve_with_gevent):
    server = serve_with_gevent(
        """
        import gevent

        waiting = []

        def application(environ, start_response):
            if environ["PATH_INFO"] == "/wait":
                waiting.append(gevent.getcurrent())
                open("entered1", "w").close()
                gevent.sleep(60)
            for greenlet in waiting:
                greenlet.kill()
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"%d" % sum(greenlet.dead for greenlet in waiting)]
        """
    )
    with send(server, "/wait") as client:
        eventually(lambda: is_there(server, "entered1"))
        assert server.get().content == b"1"
        assert client.receive_response().status == 500
        assert client.is_closed_by_server()


def test_the_content_of_a_request_is_not_kept_until_the_next_one(serve_with_gevent):
    server = serve_with_gevent(
        """
        import os

        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            links = [os.readlink(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")[:-1]]
            return [str(sum("(deleted)" in link for link in links)).encode()]
        """,
        "--request-buffer", "10000", "--access-logfile", "access.log", "--access-logformat", "%({wsgi.version}e)s",
    )  # fmt: skip
    content = b"a" * 20_000
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(content)
    # Two at once, so that each has a lane.
    with server.client() as one, server.client() as other:
        for client in (one, other):
            client.send(head + content)
        for client in (one, other):
            client.receive_response()
    eventually(lambda: server.get().content == b"0")


def test_term_answers_what_is_under_way(serve_with_gevent):
    server = serve_with_gevent(APPLICATION)
    with sent(server, "/gate", 3) as clients:
        eventually(lambda: is_there(server, "entered3"))
        server.send_signal(signal.SIGTERM)
        eventually(lambda: "Handling signal: term" in server.log())
        open_gate(server)
        assert [client.receive_response().content for client in clients] == [b"done"] * 3
    assert server.wait() == 0
    assert "0 abandoned" in server.log()


def test_quit_lets_requests_clean_up_and_cuts_them_off(serve_with_gevent):
    server = serve_with_gevent(
        """
        import time

        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            if environ["PATH_INFO"] == "/":
                return []
            try:
                open("entered1", "w").close()
                time.sleep(60)
            finally:
                open("cleaned up", "w").close()
        """
    )
    with send(server, "/wait") as client:
        eventually(lambda: is_there(server, "entered1"))
        assert server.stop(signal.SIGINT) == 0
        assert client.receive_response().status == 500
        assert client.is_closed_by_server()
    assert is_there(server, "cleaned up")
    assert "quits: 1 requests or responses are cut" in server.log()
    assert "Traceback" not in server.log()


def test_signal_handlers_of_the_application_run_while_its_worker_is_idle(serve_with_gevent):
    server = serve_with_gevent(
        """
        import signal

        def handle(number, frame):
            open("handled", "w").close()
            raise ValueError("of the handler")

        signal.signal(signal.SIGUSR2, handle)

        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"quick"]
        """
    )
    assert server.get().content == b"quick"
    (pid,) = server.workers()
    os.kill(pid, signal.SIGUSR2)
    eventually(lambda: is_there(server, "handled"))
    assert server.get().content == b"quick"
    assert server.workers() == [pid]


def test_a_process_that_the_application_forks_runs_no_requests(serve_with_gevent):
    server = serve_with_gevent(
        """
        import os, time

        def application(environ, start_response):
            content = b"done"
            if environ["PATH_INFO"] == "/fork":
                pid = os.fork()
                if not pid:
                    # By the copy of the hub.
                    while not os.path.exists("gate"):
                        time.sleep(0.01)
                    os._exit(0)
                os.waitpid(pid, 0)
            elif environ["PATH_INFO"] == "/hold":
                open("entered1", "w").close()
                while not os.path.exists("go"):
                    pass
            else:
                content = str(os.getpid()).encode()
                with open("run", "ab") as file:
                    file.write(content + b"\\n")
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [content]
        """
    )
    (pid,) = eventually(server.workers)
    with send(server, "/hold"):
        eventually(lambda: is_there(server, "entered1"))
        # What comes together with it, and what comes later.
        with sent(server, "/", 3) as clients, send(server, "/fork") as forking:
            (server.directory / "go").touch()
            assert [client.receive_response().content for client in clients] == [str(pid).encode()] * 3
            assert [server.get().content for _ in range(20)] == [str(pid).encode()] * 20
            open_gate(server)
            assert forking.receive_response().content == b"done"
    assert set((server.directory / "run").read_text().split()) == {str(pid)}


def test_what_runs_beside_the_requests_cannot_end_the_worker(serve_with_gevent):
    server = serve_with_gevent(
        """
        import sys
        import gevent

        def application(environ, start_response):
            if environ["PATH_INFO"] == "/exit":
                gevent.spawn(sys.exit, "of a greenlet").join()
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"quick"]
        """
    )
    (pid,) = eventually(server.workers)
    assert server.get("/exit").content == b"quick"
    assert server.get().content == b"quick"
    assert server.workers() == [pid]
