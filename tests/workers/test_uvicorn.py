"""The uvicorn worker: the real uvicorn on our listeners, with real processes."""

import os
import signal
import sys

import pytest
from support import eventually

from pyserver.errors import ConfigError
from pyserver.settings.model import Settings
from pyserver.workers import load_worker_class

pytest.importorskip("uvicorn")

APPLICATION = """
    import asyncio, os, time

    async def application(scope, receive, send):
        if scope["type"] == "lifespan":
            await live(receive, send)
            return
        if scope["path"] == "/hang":
            open("hanging", "w").close()
            time.sleep(60)
        if scope["path"] == "/wait":
            open("entered", "w").close()
            while not os.path.exists("go"):
                await asyncio.sleep(0.01)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        content = f"{scope['root_path']}{os.getpid()}"
        await send({"type": "http.response.body", "body": content.encode()})

    async def live(receive, send):
        await receive()
        if os.path.exists("broken"):
            raise OSError("no database")
        if os.path.exists("gate"):
            open("gate").close()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        print("the application shuts down", flush=True)
        await send({"type": "lifespan.shutdown.complete"})
"""
WSGI_APPLICATION = "def application(environ, start_response):\n    return []\n"


@pytest.fixture
def serve_with_uvicorn(serve):
    def served(*arguments):
        server = serve(APPLICATION, "-k", "uvicorn", *arguments)
        assert server.get().status == 200
        return server

    return served


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("bind", ["127.0.0.1:0", "unix:web.sock"])
def test_it_serves_on_our_listeners(serve_with_uvicorn, loop, bind):
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    server = serve_with_uvicorn("-w", "2", "-b", bind, "--worker-option", f"loop={loop}")
    eventually(lambda: server.log().count("Application startup complete") == 2)
    assert int(server.get().content) in server.workers()
    assert server.stop() == 0
    assert server.log().count("the application shuts down") == 2
    assert "2 requests answered, 0 abandoned" in server.log()


def test_our_settings_are_its_own(serve_with_uvicorn, tmp_path):
    server = serve_with_uvicorn("--root-path", "/shop", "--no-server-header", "--access-logfile", "access.log")
    response = server.get("/cart?id=1")
    assert response.content.startswith(b"/shop")
    assert not response.values("Server")
    assert '"GET /shop/cart?id=1 HTTP/1.1" 200 -' in (tmp_path / "access.log").read_text()


def test_it_opens_its_access_log_anew(serve_with_uvicorn, tmp_path):
    server = serve_with_uvicorn("--access-logfile", "access.log")
    (tmp_path / "access.log").rename(tmp_path / "old.log")
    server.send_signal(signal.SIGUSR1)
    eventually(lambda: server.get("/new").status == 200 and (tmp_path / "access.log").exists())


def test_it_takes_uvicorns_options(serve_with_uvicorn):
    options = ["http=h11", "headers=X-Shop:1", "headers=X-Till: 2", "date-header=off"]
    server = serve_with_uvicorn(*(word for one in options for word in ("--worker-option", one)))
    response = server.get()
    assert (response.field("X-Shop"), response.field("X-Till"), response.field("Date")) == ("1", "2", None)


def test_a_config_file_gives_options_as_objects(serve, tmp_path):
    (tmp_path / "pyserver.conf.py").write_text(
        "worker_class = 'uvicorn'\nworker_options = {'headers': [('X-Shop', '1')], 'ws': 'none'}\n"
    )
    assert serve(APPLICATION).get().field("X-Shop") == "1"


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ("tiemout_keep_alive=1", "worker_options has tiemout_keep_alive, which UvicornWorker does not know"),
        ("host=0.0.0.0", "worker_options has host, which the setting bind says"),
        ("ws_max_size=big", "worker_options: ws_max_size is 'big', not a whole number"),
        ("interface=wsgi", "worker_options: interface is 'wsgi', which the classes sync, threaded and gevent serve"),
        ("http=h4", "worker_options: uvicorn does not take them: ImportFromStringError"),
        ("access_log=perhaps", "worker_options: access_log is 'perhaps', neither true nor false"),
        ("headers=shop", "worker_options: headers is 'shop', not of the form NAME:VALUE"),
    ],
)
def test_an_option_that_uvicorn_does_not_take_is_refused_in_one_line(start, option, reason):
    server = start(APPLICATION, "-k", "uvicorn", "--worker-option", option)
    assert server.wait() == 1
    (line,) = server.log().splitlines()
    assert line.startswith(f"pyserver: {reason}")


def test_without_uvicorn_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(ConfigError, match=r"pip install uvicorn"):
        load_worker_class("uvicorn").check(Settings())


def test_a_wsgi_application_is_told_which_class_serves_it(start):
    server = start(WSGI_APPLICATION, "-k", "uvicorn")
    assert server.wait() == 4
    assert "is a WSGI application, and UvicornWorker serves ASGI; serve it with -k sync" in server.log()


def test_a_worker_is_ready_when_the_startup_is_complete(serve_with_uvicorn, tmp_path):
    server = serve_with_uvicorn()
    first = int(server.get().content)
    os.mkfifo(tmp_path / "gate")
    server.send_signal(signal.SIGHUP)
    eventually(lambda: server.log().count("Waiting for application startup") == 2)
    assert int(server.get().content) == first
    (tmp_path / "gate").write_text("")
    eventually(lambda: first not in server.workers())
    assert int(server.get().content) in server.workers()


def test_a_startup_that_fails_is_a_failed_boot(start, tmp_path):
    (tmp_path / "broken").touch()
    server = start(APPLICATION, "-k", "uvicorn", "--worker-option", "lifespan=on")
    assert server.wait() == 3
    log = server.log()
    assert "failed to boot: the application's startup failed\nTraceback" in log
    assert "in live" in log
    assert "OSError: no database" in log


def test_a_reload_whose_startup_fails_keeps_the_workers(serve_with_uvicorn, tmp_path):
    server = serve_with_uvicorn("--worker-option", "lifespan=on")
    first = server.workers()
    (tmp_path / "broken").touch()
    server.send_signal(signal.SIGHUP)
    eventually(lambda: server.log().count("failed to boot") >= 3)
    eventually(lambda: server.workers() == first)
    assert server.get().status == 200


def test_it_is_replaced_after_max_requests(serve_with_uvicorn):
    server = serve_with_uvicorn("--max-requests", "5")
    first = server.get().content
    eventually(lambda: server.get().content != first)


def test_workers_come_and_go(serve_with_uvicorn):
    server = serve_with_uvicorn()
    server.send_signal(signal.SIGTTIN)
    eventually(lambda: server.log().count("Application startup complete") == 2 and len(server.workers()) == 2)
    server.send_signal(signal.SIGTTOU)
    eventually(lambda: len(server.workers()) == 1)


def test_term_lets_requests_finish(serve_with_uvicorn, tmp_path):
    server = serve_with_uvicorn()
    with server.client() as client:
        client.send(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
        eventually((tmp_path / "entered").exists)
        server.send_signal(signal.SIGTERM)
        eventually(lambda: "Shutting down" in server.log())
        (tmp_path / "go").touch()
        assert client.receive_response().status == 200
    assert server.wait() == 0


def test_int_cuts_requests(serve_with_uvicorn, tmp_path):
    server = serve_with_uvicorn()
    with server.client() as client:
        client.send(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
        eventually((tmp_path / "entered").exists)
        assert server.stop(signal.SIGINT) == 0
    assert "1 abandoned" in server.log()


def test_requests_over_the_graceful_timeout_are_cut(serve_with_uvicorn, tmp_path):
    server = serve_with_uvicorn("--graceful-timeout", "1")
    with server.client() as client:
        client.send(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
        eventually((tmp_path / "entered").exists)
        assert server.stop() == 0
    assert "timeout graceful shutdown exceeded" in server.log()


def test_a_loop_that_hangs_is_ended_after_the_timeout(serve_with_uvicorn, tmp_path):
    server = serve_with_uvicorn("--timeout", "1")
    with server.client() as client:
        client.send(b"GET /hang HTTP/1.1\r\nHost: a\r\n\r\n")
        eventually((tmp_path / "hanging").exists)
        eventually(lambda: "in application" in server.log())
    eventually(lambda: server.get().status == 200)


def test_it_can_be_preloaded(serve_with_uvicorn):
    server = serve_with_uvicorn("--preload", "-w", "2")
    assert int(server.get().content) in server.workers()


def test_it_ends_with_its_arbiter(serve_with_uvicorn):
    server = serve_with_uvicorn()
    os.kill(server.pid, signal.SIGKILL)
    server.wait()
    eventually(lambda: not server.processes())
