"""The life of asgi workers: boots, reloads, stops, and requests that take too long."""

import os
import re
import signal
import sys

import pytest
from support import eventually
from websocket_client import WebSocketClient, handshake

from pyserver.signals import STACKS_SIGNAL

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the asgi class waits with epoll")

APPLICATION = """
    import asyncio, os, sys, time

    VERSION = "one"

    def say(what):
        print("told", what, flush=True)

    async def application(scope, receive, send):
        if scope["type"] == "lifespan":
            return await live(receive, send)
        if scope["type"] == "websocket":
            return await chat(scope, receive, send)
        await globals()[scope["path"][1:] or "version"](scope, receive, send)

    async def live(receive, send):
        await receive()
        if os.path.exists("broken"):
            return await send({"type": "lifespan.startup.failed", "message": "no database"})
        await send({"type": "lifespan.startup.complete"})
        await receive()
        say("the shutdown")
        await send({"type": "lifespan.shutdown.complete"})

    async def chat(scope, receive, send):
        await receive()
        if scope["path"] == "/late":
            open("entered", "w").close()
            await wait_for("gate")
        await send({"type": "websocket.accept"})
        while (event := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": f"{VERSION} {os.getpid()}"})
        say(f"the WebSocket {event['code']}")

    async def answer(send, content):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": str(content).encode()})

    async def version(scope, receive, send):
        await answer(send, VERSION)

    async def pid(scope, receive, send):
        await answer(send, os.getpid())

    async def loop(scope, receive, send):
        await answer(send, type(asyncio.get_running_loop()).__module__)

    async def gate(scope, receive, send):
        with open("entered", "a") as file:
            file.write("x")
        await wait_for("gate")
        await answer(send, os.getpid())

    async def wait_for(name):
        while not os.path.exists(name):
            await asyncio.sleep(0.01)

    async def stream(scope, receive, send):
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        say((await receive())["type"])
        await send({"type": "http.response.body", "body": b"ended"})

    async def long_stream(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(10):
            await send({"type": "http.response.body", "body": b".", "more_body": True})
            await asyncio.sleep(0.15)
        await send({"type": "http.response.body"})

    async def large(scope, receive, send):
        await answer(send, "x" * 20_000_000)
        open("entered", "w").close()

    async def sleeps(scope, receive, send):
        open("entered", "w").close()
        try:
            await deep_inside()
        except asyncio.CancelledError:
            say("the cancellation")
            raise

    async def deep_inside():
        await asyncio.ensure_future(in_a_task_of_its_own())

    async def in_a_task_of_its_own():
        await asyncio.sleep(3600)

    async def waits_in_receive(scope, receive, send):
        await receive()
        open("entered", "w").close()
        await receive()

    async def stubborn(scope, receive, send):
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                pass

    async def hangs(scope, receive, send):
        open("hanging", "w").close()
        block_the_loop()

    async def hangs_after_its_response(scope, receive, send):
        await answer(send, "hello")
        block_the_loop()

    def block_the_loop():
        while True:
            time.sleep(0.01)
"""
WSGI_APPLICATION = """
    import os

    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [str(environ["wsgi.multithread"]).encode()]
"""


@pytest.fixture
def site(serve, tmp_path):
    """Start a server of the application, which may be changed: `site(*arguments)`."""

    def started(*arguments):
        write(tmp_path, "one")
        server = serve("shop:application", "-k", "asgi", *arguments)
        assert server.get().content == b"one"
        return server

    return started


def write(directory, version):
    lines = (line.removeprefix("    ") for line in APPLICATION.splitlines())
    (directory / "shop.py").write_text("\n".join(lines).replace('"one"', f'"{version}"'))


def send(server, target, timeout=15.0):
    client = server.client(timeout)
    client.send(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    return client


def said(server, what):
    return f"told {what}\n" in server.log()


# ---- boots and reloads ----


def test_a_startup_that_fails_is_a_failed_boot(start, tmp_path):
    (tmp_path / "broken").touch()
    server = start(APPLICATION, "-k", "asgi")
    assert server.wait() == 3
    assert "failed to boot: the application's startup failed: no database" in server.log()


def test_a_reload_whose_startup_fails_keeps_the_workers(site, tmp_path):
    server = site()
    workers = server.workers()
    (tmp_path / "broken").touch()
    server.send_signal(signal.SIGHUP)
    eventually(lambda: "failed to boot: the application's startup failed" in server.log())
    eventually(lambda: server.workers() == workers)
    assert server.get().content == b"one"


def test_a_reload_serves_the_new_code_and_tells_websockets_to_come_back(site, tmp_path):
    server = site()
    with WebSocketClient(server, "/chat") as client:
        client.send("hello")
        first = client.receive_message().split()
        write(tmp_path, "two")
        server.send_signal(signal.SIGHUP)
        assert client.end() == (1012, "")
    eventually(lambda: said(server, "the WebSocket 1012"))
    with WebSocketClient(server, "/chat") as client:
        client.send("hello")
        second = client.receive_message().split()
    assert (first[0], second[0]) == ("one", "two")
    eventually(lambda: int(first[1]) not in server.workers())


def test_a_reload_lets_a_stream_go_on_with_the_old_code(site, tmp_path):
    server = site("--graceful-timeout", "20")
    with send(server, "/long_stream") as client:
        client.receive_head()
        assert client.receive_chunk() == b"."
        write(tmp_path, "two")
        server.send_signal(signal.SIGHUP)
        eventually(lambda: server.get().content == b"two")
        assert [client.receive_chunk() for _ in range(10)] == [b"."] * 9 + [b""]


def test_requests_that_run_finish_during_a_reload(site, tmp_path):
    server = site()
    (pid,) = server.workers()
    with send(server, "/gate") as client:
        eventually((tmp_path / "entered").exists)
        write(tmp_path, "two")
        server.send_signal(signal.SIGHUP)
        eventually(lambda: server.get().content == b"two")
        (tmp_path / "gate").touch()
        assert int(client.receive_response().content) == pid
    assert "abandoned" not in server.log()


# ---- stops ----


def test_a_request_that_runs_finishes_when_the_server_stops(site, tmp_path):
    server = site()
    with send(server, "/gate") as client:
        eventually((tmp_path / "entered").exists)
        server.begin_to_stop()
        (tmp_path / "gate").touch()
        response = client.receive_response()
        assert (response.status, response.field("Connection")) == (200, "close")
    assert server.wait() == 0
    assert said(server, "the shutdown")
    assert "0 abandoned" in server.log()


def test_all_websockets_are_told_to_come_back_when_the_server_stops(site):
    server = site()
    clients = [WebSocketClient(server, "/chat") for _ in range(5)]
    try:
        server.send_signal(signal.SIGTERM)
        assert [client.end() for client in clients] == [(1012, "")] * 5
    finally:
        for client in clients:
            client.client.close()
    assert server.wait() == 0
    assert server.log().count("told the WebSocket 1012\n") == 5


def test_a_websocket_whose_client_says_nothing_does_not_hold_up_a_stop(site):
    server = site("--graceful-timeout", "1")
    with WebSocketClient(server, "/chat"):
        assert server.stop() == 0


def test_a_websocket_that_is_accepted_while_the_server_stops_is_told_at_once(site, tmp_path):
    server = site()
    with server.client() as client:
        client.send(handshake("/late"))
        eventually((tmp_path / "entered").exists)
        server.begin_to_stop()
        (tmp_path / "gate").touch()
        assert client.receive_response().status == 101
        assert client.receive(4) == b"\x88\x02\x03\xf4"
    assert server.wait() == 0


def test_a_response_that_is_being_taken_is_whole_when_the_server_stops(site):
    server = site()
    with send(server, "/large") as client:
        client.receive_head()
        server.send_signal(signal.SIGTERM)
        eventually(lambda: "Handling signal: term" in server.log())
        assert client.receive(20_000_000) == b"x" * 20_000_000
    assert server.wait() == 0
    assert "0 abandoned" in server.log()


def test_a_stream_is_told_late_that_the_server_stops_and_may_end(site):
    server = site("--graceful-timeout", "4")
    with send(server, "/stream") as client:
        client.receive_head()
        assert client.receive_chunk() == b"begun"
        server.send_signal(signal.SIGTERM)
        assert [client.receive_chunk(), client.receive_chunk()] == [b"ended", b""]
    assert server.wait() == 0
    assert said(server, "http.disconnect")
    assert "0 abandoned" in server.log()


def test_requests_over_the_graceful_timeout_are_cut(site):
    server = site("--graceful-timeout", "0.5")
    with send(server, "/sleeps") as client:
        eventually((server.directory / "entered").exists)
        assert server.stop() == 0
        with pytest.raises((EOFError, ConnectionResetError)):
            client.receive_response()
    assert "1 abandoned" in server.log()


def test_a_quick_stop_cancels_requests_and_tells_the_application(site):
    server = site()
    with send(server, "/sleeps"):
        eventually((server.directory / "entered").exists)
        assert server.stop(signal.SIGINT) == 0
    assert said(server, "the cancellation")
    assert said(server, "the shutdown")


def test_it_ends_with_its_arbiter(site):
    server = site()
    os.kill(server.pid, signal.SIGKILL)
    server.wait()
    eventually(lambda: not server.processes())


# ---- time ----


def test_a_request_over_its_time_is_a_504_and_others_go_on(site):
    server = site("--timeout", "1")
    workers = server.workers()
    with send(server, "/long_stream") as other, send(server, "/sleeps") as client:
        assert client.receive_response().status == 504
        assert client.is_closed_by_server()
        assert other.receive_response().content == b"." * 10
    assert server.workers() == workers
    log = server.log()
    _, found, stack = log.partition("[ERROR] Request GET /sleeps from 127.0.0.1:")
    assert found
    assert "is ended, where it waits (most recent call last):" in stack
    places = [stack.index(f"in {name}\n") for name in ("sleeps", "deep_inside", "in_a_task_of_its_own")]
    assert places == sorted(places)
    assert "in long_stream" not in stack
    assert said(server, "the cancellation")


def test_a_request_that_cannot_be_ended_takes_its_worker_with_it(site):
    server = site("--timeout", "0.5")
    (pid,) = server.workers()
    with send(server, "/stubborn") as client:
        assert client.receive_response().status == 504
    eventually(lambda: server.workers() and pid not in server.workers())
    assert f"WORKER TIMEOUT (pid:{pid})" in server.log()
    assert server.get().content == b"one"


def test_a_loop_that_hangs_is_aborted_with_its_stack_and_replaced(site):
    server = site("--timeout", "0.5")
    (pid,) = server.workers()
    with send(server, "/hangs") as client:
        assert client.receive_response().status == 504
    eventually(lambda: server.workers() and pid not in server.workers())
    assert f"WORKER TIMEOUT (pid:{pid})" in server.log()
    assert "in block_the_loop" in server.log()
    assert server.get().content == b"one"


def test_a_loop_that_hangs_without_a_request_is_aborted_with_its_stack(site):
    server = site("--timeout", "0.5")
    (pid,) = server.workers()
    with send(server, "/hangs_after_its_response") as client:
        assert client.receive_response().content == b"hello"
        eventually(lambda: server.workers() and pid not in server.workers())
    assert "in block_the_loop" in server.log()
    assert server.get().content == b"one"


def test_open_websockets_are_not_over_any_time(site):
    server = site("--timeout", "0.3")
    with WebSocketClient(server, "/chat") as idle, send(server, "/sleeps") as client:
        # When the request has been ended, the WebSocket is older than that.
        assert client.receive_response().status == 504
        idle.send("hello")
        assert idle.receive_message().startswith("one")


def test_a_slow_request_is_told_of_with_where_its_task_waits(site):
    server = site("--slow-request", "0.3", "--graceful-timeout", "0.2")
    (pid,) = server.workers()
    with send(server, "/sleeps"):
        eventually(lambda: "in in_a_task_of_its_own\n" in server.log())
        assert f"Slow request in worker (pid:{pid}): " in server.log()
        assert "[WARNING] Request GET /sleeps from 127.0.0.1:" in server.log()


def test_a_slow_request_that_waits_for_an_event_is_told_of(site):
    server = site("--slow-request", "0.3", "--graceful-timeout", "0.2")
    with send(server, "/waits_in_receive"):
        eventually(lambda: "waits (most recent call last)" in server.log())
        assert "in waits_in_receive\n" in server.log()


def test_stacks_that_are_asked_for_while_a_worker_cannot_run_end_no_worker(site):
    server = site()
    (pid,) = server.workers()
    os.kill(pid, signal.SIGSTOP)
    for _ in range(20):
        os.kill(pid, STACKS_SIGNAL)
    os.kill(pid, signal.SIGCONT)
    eventually(lambda: server.log().count("(most recent call first):") >= 20)
    assert server.get().content == b"one"
    assert server.workers() == [pid]


# ---- how much ----


def test_a_worker_is_replaced_after_max_requests(site):
    server = site("--max-requests", "5")
    first = server.get("/pid").content
    eventually(lambda: server.get("/pid").content != first)
    assert "abandoned" not in server.log()


def test_websockets_count_as_requests(site):
    server = site("--max-requests", "3")
    first = server.get("/pid").content
    for _ in range(3):
        with WebSocketClient(server, "/chat") as client:
            client.send_close()
            client.receive_close()
    eventually(lambda: server.get("/pid").content != first)


def test_a_worker_that_is_replaced_tells_its_websockets_to_come_back(site):
    server = site("--max-requests", "5")
    with WebSocketClient(server, "/chat") as client:
        client.send("hello")
        pid = client.receive_message().split()[1]
        eventually(lambda: server.get("/pid").content != pid.encode())
        assert client.end() == (1012, "")


def test_no_more_requests_run_than_it_may_have_connections(site, tmp_path):
    server = site("--worker-connections", "3")
    clients = [send(server, "/gate") for _ in range(5)]
    try:
        eventually(lambda: (tmp_path / "entered").exists() and len((tmp_path / "entered").read_text()) == 3)
        (tmp_path / "gate").touch()
        assert [client.receive_response().status for client in clients] == [200] * 5
    finally:
        for client in clients:
            client.close()
    assert len((tmp_path / "entered").read_text()) == 5


def test_several_workers_serve(site):
    server = site("-w", "2")
    eventually(lambda: len({server.get("/pid").content for _ in range(20)}) == 2)
    server.send_signal(signal.SIGTTOU)
    eventually(lambda: len(server.workers()) == 1)
    assert server.get().content == b"one"


# ---- which class, and with what ----


@pytest.mark.parametrize(
    ("application", "arguments", "answer"),
    [
        (APPLICATION, (), b"one"),
        (APPLICATION, ("-k", "auto", "--threads", "4"), b"one"),
        (WSGI_APPLICATION, (), b"False"),
        (WSGI_APPLICATION, ("--threads", "4"), b"True"),
    ],
)
def test_the_class_is_that_of_the_application(serve, application, arguments, answer):
    server = serve(application, *arguments)
    assert server.get().content == answer
    assert server.stop() == 0
    assert said(server, "the shutdown") is (answer == b"one")


def test_an_application_that_becomes_asynchronous_is_reloaded(serve, tmp_path):
    def code(text):
        (tmp_path / "shop.py").write_text("\n".join(line.removeprefix("    ") for line in text.splitlines()))

    code(WSGI_APPLICATION)
    server = serve("shop:application")
    assert server.get().content == b"False"
    code(APPLICATION)
    server.send_signal(signal.SIGHUP)
    eventually(lambda: server.get().content == b"one")


def test_a_wsgi_application_is_told_which_class_serves_it(start):
    server = start(WSGI_APPLICATION, "-k", "asgi")
    assert server.wait() == 4
    assert "is a WSGI application, and ASGIWorker serves ASGI; serve it with -k sync" in server.log()


def test_an_asgi_application_is_told_which_class_serves_it(start):
    server = start(APPLICATION, "-k", "sync")
    assert server.wait() == 4
    assert "is an ASGI application, and SyncWorker serves WSGI; serve it with -k asgi" in server.log()


def test_another_poller_is_refused_in_one_line(start):
    server = start(APPLICATION, "-k", "asgi", "--poller", "poll")
    assert server.wait() == 1
    (line,) = server.log().splitlines()
    assert re.search("worker_class asgi needs poller epoll, .* -k uvicorn", line)


def test_an_asgi_application_with_another_poller_is_refused_where_the_class_is_chosen(start):
    server = start(APPLICATION, "--poller", "poll")
    assert server.wait() == 1
    assert "worker_class asgi needs poller epoll" in server.log()
    assert "Traceback" not in server.log()


@pytest.mark.parametrize(
    ("arguments", "module"),
    [(("--loop", "asyncio"), b"asyncio.unix_events"), (("--loop", "uvloop"), b"uvloop"), ((), b"uvloop")],
)
def test_the_loop_is_the_one_that_was_chosen(site, arguments, module):
    if module == b"uvloop":
        pytest.importorskip("uvloop")
    assert site(*arguments).get("/loop").content == module


def test_a_loop_that_is_not_known_is_refused(start):
    server = start(APPLICATION, "-k", "asgi", "--loop", "trio")
    assert server.wait() == 1
    assert "asgi_loop" in server.log()


def test_it_can_be_preloaded(site):
    server = site("--preload", "-w", "2")
    eventually(lambda: len({server.get("/pid").content for _ in range(20)}) == 2)
    with WebSocketClient(server, "/chat") as client:
        client.send("hello")
        assert client.receive_message().startswith("one")
    assert server.stop() == 0
    assert server.log().count("told the shutdown\n") == 2


def test_the_class_of_a_preloaded_application_is_chosen(serve):
    server = serve(APPLICATION, "--preload")
    assert server.get().content == b"one"


@pytest.mark.parametrize("arguments", [("-k", "asgi"), ()], ids=["asgi", "auto"])
def test_a_page_explains_what_keeps_the_application_from_loading(serve, tmp_path, arguments):
    write(tmp_path, "one")
    server = serve("shop:application", "--reload", *arguments)
    eventually(lambda: server.get().content == b"one", within=10)
    (tmp_path / "shop.py").write_text("import nothing_of_that_name\n")
    page = eventually(lambda: server.get().status == 500 and server.get(), within=10)
    assert b"No module named 'nothing_of_that_name'" in page.content
    write(tmp_path, "two")
    eventually(lambda: server.get().content == b"two", within=10)
