"""The threaded class: what is different where one process runs several requests at the same time."""

import contextlib
import os
import re
import signal
import sys
import textwrap

import pytest
from support import Client, eventually

# A request for /wait?NAME makes a file of that name, and is under way until somebody writes to the pipe `gate`.
APPLICATION = """
    import ctypes, os, signal, threading, time

    os.path.exists("gate") or os.mkfifo("gate")
    opened = threading.Event()
    own = threading.local()

    def wait_for_the_gate():
        with open("gate") as gate:
            gate.read()
        opened.set()

    threading.Thread(target=wait_for_the_gate, daemon=True).start()

    def hang_in_a_lock():
        threading.Event().wait()

    def hang_with_the_interpreter_lock():
        ctypes.PyDLL(None).sleep(3600)

    def until_somebody_is_over_time():
        while "REQUEST TIMEOUT" not in open("server.log").read():
            yield b"on and "
            time.sleep(0.05)
        yield b"over"

    def early():
        yield b"early"
        opened.wait()

    def application(environ, start_response):
        path, query = environ["PATH_INFO"], environ["QUERY_STRING"]
        text = str(os.getpid())
        if path.startswith("/hang"):
            open("hanging", "w").close()
            globals()[path[1:]]()
        elif path == "/wait":
            open(query, "w").close()
            opened.wait()
            text = query
        elif path == "/thread":
            own.requests = getattr(own, "requests", 0) + 1
            with open(f"/proc/self/task/{threading.get_native_id()}/comm") as file:
                text = f"{threading.current_thread().name} {file.read().strip()} {own.requests}"
        elif path == "/stream":
            start_response("200 OK", [("Content-Type", "text/plain")])
            return until_somebody_is_over_time()
        elif path == "/early":
            start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
            return early()
        elif path == "/multithread":
            text = str(environ["wsgi.multithread"])
        elif path == "/large":
            text = "x" * 4_000_000
        elif path == "/content":
            text = str(len(environ["wsgi.input"].read()))
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(text)))])
        return [text.encode()]
"""
GET = "GET {} HTTP/1.1\r\nHost: a\r\n\r\n"
INCOMPLETE = {
    "idle": b"",
    "half-a-head": b"GET / HTTP/1.1\r\nHost:",
    "a-slow-upload": b"POST /content HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nx",
}


@pytest.fixture
def gate(tmp_path):
    """Let the requests for /wait go on."""

    def open_gate():
        (tmp_path / "gate").write_text("")

    return open_gate


@pytest.fixture
def clients():
    """Connect so many clients, which are closed at the end."""
    with contextlib.ExitStack() as stack:
        yield lambda server, count, **options: [
            stack.enter_context(Client(server.address, **options)) for _ in range(count)
        ]


def serve_threads(serve, threads, *arguments, source=APPLICATION):
    return serve(source, "-k", "threaded", "--threads", str(threads), *arguments)


def begin_waiting(server, waiting):
    """Have a request of each client under way."""
    for number, client in enumerate(waiting):
        client.send(GET.format(f"/wait?waits-{number}").encode())
    eventually(lambda: len(list(server.directory.glob("waits-*"))) == len(waiting))


def answers(waiting):
    return [client.receive_response().content.decode() for client in waiting]


# How requests are run


def test_the_next_request_may_come_before_the_application_is_done_with_the_last(serve, clients, gate):
    server = serve_threads(serve, 2)
    early, other = clients(server, 2)
    early.request("GET")  # A new connection is watched behind its first request only.
    assert early.request("GET", "/early").content == b"early"
    early.send(GET.format("/content").encode())
    # The other thread has been told of it, too, when it answers this.
    assert other.request("GET").status == 200
    gate()
    assert early.receive_response().content == b"0"


def test_slow_requests_in_all_threads_but_one_do_not_hold_up_the_rest(serve, clients, gate):
    server = serve_threads(serve, 4)
    waiting = clients(server, 3)
    begin_waiting(server, waiting)
    assert [server.get().status for _ in range(20)] == [200] * 20
    (kept,) = clients(server, 1)
    assert [kept.request("GET").status for _ in range(20)] == [200] * 20
    gate()
    assert answers(waiting) == ["waits-0", "waits-1", "waits-2"]


def test_all_threads_run_requests_at_the_same_time(serve, clients, gate):
    server = serve_threads(serve, 4)
    waiting = clients(server, 4)
    begin_waiting(server, waiting)
    gate()
    assert answers(waiting) == [f"waits-{number}" for number in range(4)]


def test_what_finds_every_thread_busy_is_answered_afterwards(serve, clients, gate):
    server = serve_threads(serve, 2)
    begin_waiting(server, waiting := clients(server, 2))
    behind = clients(server, 10)
    for client in behind:
        client.send(GET.format("/").encode())
    gate()
    assert answers(waiting) == ["waits-0", "waits-1"]
    assert answers(behind) == [str(server.workers()[0])] * 10


@pytest.mark.parametrize("sent", INCOMPLETE.values(), ids=INCOMPLETE)
def test_a_connection_without_a_whole_request_occupies_no_thread(serve, clients, sent):
    server = serve_threads(serve, 2)
    slow = clients(server, 20)
    for client in slow:
        client.send(sent)
    assert [server.get().status for _ in range(20)] == [200] * 20
    if sent.startswith(b"POST"):
        for client in slow:
            client.send(b"x" * 999)
        assert answers(slow) == ["1000"] * 20


def test_a_client_that_reads_slowly_occupies_no_thread(serve, clients):
    server = serve_threads(serve, 2)
    slow = clients(server, 8, receive_buffer=4096)
    for client in slow:
        client.send(GET.format("/large").encode())
    assert [client.receive(1) for client in slow] == [b"H"] * 8
    assert [server.get().status for _ in range(20)] == [200] * 20


def test_a_pipeline_is_answered_in_its_order(serve, clients):
    server = serve_threads(serve, 3)
    (client,) = clients(server, 1)
    client.send(b"".join(b"POST /content HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s" % (n, b"x" * n)
                         for n in range(100)))
    assert [client.receive_response().content for _ in range(100)] == [b"%d" % n for n in range(100)]


@pytest.mark.parametrize(("threads", "several"), [(1, b"False"), (2, b"True")])
def test_wsgi_multithread_says_whether_there_are_several(serve, threads, several):
    assert serve_threads(serve, threads).get("/multithread").content == several


def test_threads_alone_choose_the_class(serve):
    server = serve(APPLICATION, "--threads", "2")
    assert server.get("/multithread").content == b"True"
    # The arbiter says it when it has heard of the worker, which may answer before.
    eventually(lambda: "Using worker: threaded" in server.log())


@pytest.mark.skipif(sys.platform != "linux", reason="names of threads are read in /proc")
def test_threads_have_names_and_storage_of_their_own(serve):
    server = serve_threads(serve, 3)
    found = [server.get("/thread").content.decode().split() for _ in range(30)]
    assert {name for name, _, _ in found} <= {"pyserver-0", "pyserver-1", "pyserver-2"}
    assert all(name == native for name, native, _ in found)
    counts = {}
    for name, _, count in found:
        counts[name] = counts.get(name, 0) + 1
        assert int(count) == counts[name]


def test_new_connections_are_spread_over_the_workers(serve):
    server = serve_threads(serve, 2, "-w", "3")
    eventually(lambda: len({server.get().content for _ in range(12)}) == 3)


# How a worker leaves


def test_term_waits_for_all_threads(serve, clients, gate):
    server = serve_threads(serve, 3)
    begin_waiting(server, waiting := clients(server, 3))
    server.send_signal(signal.SIGTERM)
    eventually(lambda: "Handling signal: term" in server.log())
    gate()
    assert answers(waiting) == ["waits-0", "waits-1", "waits-2"]
    assert server.wait() == 0


def test_term_closes_the_listeners_while_every_thread_runs_a_request(serve, clients, gate):
    server = serve_threads(serve, 2)
    begin_waiting(server, waiting := clients(server, 2))
    server.send_signal(signal.SIGTERM)

    def refuses():
        try:
            server.client().close()
        except ConnectionRefusedError:
            return True
        except ConnectionResetError:
            pass  # It was there just before the listener was closed.
        return False

    eventually(refuses)
    gate()
    assert answers(waiting) == ["waits-0", "waits-1"]
    assert server.wait() == 0


def test_a_quit_does_not_wait_for_a_thread_that_hangs(serve, clients):
    server = serve_threads(serve, 3)
    waiting = clients(server, 2)
    begin_waiting(server, waiting)
    server.send_signal(signal.SIGINT)
    assert server.wait() == 0
    assert "quits: 2 requests or responses are cut" in server.log()
    assert "is killed" not in server.log()


def test_recycling_loses_nothing_of_what_other_threads_run(serve, clients, gate):
    server = serve_threads(serve, 3, "--max-requests", "3")
    (first,) = eventually(server.workers)
    begin_waiting(server, waiting := clients(server, 2))
    assert [server.get().content for _ in range(3)] == [b"%d" % first] * 3
    eventually(lambda: server.get().content != b"%d" % first)
    gate()
    assert answers(waiting) == ["waits-0", "waits-1"]
    eventually(lambda: first not in server.workers())


def test_a_reload_lets_every_thread_finish(serve, clients, gate):
    server = serve_threads(serve, 2)
    (first,) = eventually(server.workers)
    begin_waiting(server, waiting := clients(server, 2))
    server.send_signal(signal.SIGHUP)
    eventually(lambda: "Generation 2 is ready" in server.log())
    eventually(lambda: server.get().content != b"%d" % first)
    gate()
    assert answers(waiting) == ["waits-0", "waits-1"]
    eventually(lambda: first not in server.workers())


def test_a_worker_whose_threads_hang_ends_with_its_arbiter(serve, clients):
    server = serve_threads(serve, 2, "--graceful-timeout", "1", "--timeout", "0")
    begin_waiting(server, clients(server, 2))
    os.kill(server.pid, signal.SIGKILL)
    server.wait()
    eventually(lambda: not server.processes())
    assert "The arbiter is gone" in server.log()


def test_what_goes_wrong_in_a_thread_of_ours_ends_the_worker(serve, tmp_path):
    (tmp_path / "fragile.py").write_text(textwrap.dedent("""
        from pyserver.workers.threaded import ThreadedWorker

        class Fragile(ThreadedWorker):
            def ask_for_replacement(self):
                raise OSError("the ladder broke")
    """))
    server = serve(APPLICATION, "-k", "fragile:Fragile", "--threads", "2", "--max-requests", "1")
    server.get()
    eventually(lambda: "exited with code 255" in server.log())
    assert "OSError: the ladder broke" in server.log()
    assert re.search(r"Worker \(pid: \d+\) crashed\nTraceback", server.log())
    assert server.get().status == 200


def test_a_worker_that_cannot_start_its_threads_does_not_boot(start):
    server = start("import threading\nthreading.stack_size(2**46)\n" + textwrap.dedent("""
        def application(environ, start_response):
            pass
    """), "-k", "threaded", "--threads", "4")
    assert server.wait() == 3
    assert re.search(r"failed to boot: only \d of 4 threads could be started", server.log())


# Signals, hooks and requests that hang


def test_a_signal_handler_of_the_application_runs_while_all_threads_are_busy(serve, clients, gate):
    server = serve_threads(serve, 2, source=APPLICATION + """
    def note_signal(number, frame):
        open("noted", "w").close()
        raise ValueError("not now")

    signal.signal(signal.SIGPROF, note_signal)
""")
    begin_waiting(server, waiting := clients(server, 2))
    (worker,) = server.workers()
    os.kill(worker, signal.SIGPROF)
    eventually((server.directory / "noted").exists)
    eventually(lambda: "ValueError: not now" in server.log())
    gate()
    assert answers(waiting) == ["waits-0", "waits-1"]
    assert server.workers() == [worker]


def test_hooks_of_requests_that_run_together_do_not_mix(serve, clients, gate, tmp_path):
    (tmp_path / "gunicorn.conf.py").write_text(textwrap.dedent("""
        def pre_request(worker, req):
            req.seen_first = req.query

        def post_request(worker, req, environ, resp):
            with open("record", "a") as file:
                file.write(f"{req.seen_first} {environ['QUERY_STRING']} {resp.status_code} {resp.sent}\\n")
    """))
    server = serve_threads(serve, 3)
    begin_waiting(server, waiting := clients(server, 2))
    record = tmp_path / "record"
    server.get("/?quick")
    # Its hook runs after its response.
    eventually(lambda: record.exists() and record.read_text().endswith("\n"))
    gate()
    assert answers(waiting) == ["waits-0", "waits-1"]
    eventually(lambda: record.exists() and len(record.read_text().splitlines()) == 3)
    quick, *others = record.read_text().splitlines()
    assert quick == f"quick quick 200 {len(str(server.workers()[0]))}"
    assert sorted(others) == ["waits-0 waits-0 200 7", "waits-1 waits-1 200 7"]


def test_hooks_of_the_process_run_while_every_thread_hangs(serve, clients, tmp_path):
    (tmp_path / "gunicorn.conf.py").write_text(textwrap.dedent("""
        def record(name):
            with open("record", "a") as file:
                file.write(name + "\\n")

        def worker_int(worker): record("int")
        def worker_abort(worker): record("abort")
        def worker_exit(server, worker): record("exit")
    """))
    server = serve_threads(serve, 2)
    record = tmp_path / "record"
    begin_waiting(server, clients(server, 2))
    (worker,) = server.workers()
    os.kill(worker, signal.SIGABRT)
    eventually(lambda: record.exists() and record.read_text() == "abort\nexit\n")
    eventually(lambda: server.workers() and worker not in server.workers())
    server.get()
    record.unlink()
    server.send_signal(signal.SIGINT)
    assert server.wait() == 0
    assert record.read_text() == "int\nexit\n"


@pytest.mark.parametrize("where", ["hang_in_a_lock", "hang_with_the_interpreter_lock"])
def test_a_request_that_hangs_is_answered_504_and_the_log_says_where(serve, clients, where):
    server = serve_threads(serve, 3, "--timeout", "1")
    (worker,) = eventually(server.workers)
    (client,) = clients(server, 1)
    client.send(GET.format(f"/{where}").encode())
    assert client.receive_response().status == 504
    eventually(lambda: worker not in server.workers())
    log = server.log()
    assert f"it was running GET /{where}" in log
    assert f"in {where}" in log
    assert server.get().status == 200


def test_what_other_threads_run_is_finished_when_one_hangs(serve, clients):
    server = serve_threads(serve, 3, "--timeout", "1")
    (worker,) = eventually(server.workers)
    hanging, streaming, kept = clients(server, 3)
    assert kept.request("GET").status == 200
    streaming.send(GET.format("/stream").encode())
    hanging.send(GET.format("/hang_in_a_lock").encode())
    assert streaming.receive_response().content.endswith(b"on and over")
    assert hanging.receive_response().status == 504
    eventually(lambda: worker not in server.workers())
    log = server.log()
    assert f"REQUEST TIMEOUT (pid:{worker})" in log
    assert "besides, 1 within that time" in log
    assert "in hang_in_a_lock" in log
    assert server.get().status == 200


def test_a_refork_is_refused_and_the_server_goes_on(serve):
    server = serve_threads(serve, 2, "--preload")
    before = server.get().content
    # The arbiter may hear later than we that the worker is ready.
    eventually(lambda: server.send_signal(signal.SIGRTMIN) or "ThreadedWorker cannot refork" in server.log())
    eventually(lambda: "The refork has failed" in server.log())
    assert server.get().content == before
    assert "Traceback" not in server.log()
