"""Worker classes of gunicorn's own kind, run by our arbiter, with real processes."""

import os
import signal
import sys

import pytest
from support import eventually

from pyserver.errors import ConfigError
from pyserver.workers import load_worker_class

pytest.importorskip("gunicorn")

WSGI = """
    import os, time

    def application(environ, start_response):
        if environ["PATH_INFO"] == "/hang":
            open("hanging", "w").close()
            time.sleep(60)
        if environ["PATH_INFO"] == "/wait":
            open("entered", "w").close()
            while not os.path.exists("go"):
                time.sleep(0.01)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [str(os.getpid()).encode()]
"""
ASGI = """
    import asyncio, os, time

    async def application(scope, receive, send):
        if scope["type"] == "lifespan":
            await receive()
            if os.path.exists("broken"):
                raise OSError("no database")
            if os.path.exists("gate"):
                open("gate").close()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        if scope["path"] == "/hang":
            open("hanging", "w").close()
            time.sleep(60)
        if scope["path"] == "/wait":
            open("entered", "w").close()
            while not os.path.exists("go"):
                await asyncio.sleep(0.01)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": str(os.getpid()).encode()})
"""
AIOHTTP = """
    import asyncio, os, time
    from aiohttp import web

    async def answer(request):
        if request.path == "/hang":
            open("hanging", "w").close()
            time.sleep(60)
        if request.path == "/wait":
            open("entered", "w").close()
            while not os.path.exists("go"):
                await asyncio.sleep(0.01)
        return web.Response(text=str(os.getpid()))

    async def application():
        made = web.Application()
        made.router.add_get("/{path:.*}", answer)
        return made
"""
CLASSES = {
    "gunicorn.workers.sync.SyncWorker": ("gunicorn", WSGI),
    "gunicorn.workers.gthread.ThreadWorker": ("gunicorn", WSGI),
    "uvicorn_worker.UvicornWorker": ("uvicorn_worker", ASGI),
    "aiohttp.worker.GunicornWebWorker": ("aiohttp", AIOHTTP),
}


@pytest.fixture(params=CLASSES)
def serve_with_it(request, serve):
    needed, application = CLASSES[request.param]
    pytest.importorskip(needed)

    def served(*arguments):
        server = serve(application, "-k", request.param, *arguments)
        assert server.get().status == 200
        return server

    return served


@pytest.fixture
def serve_with_uvicorns(serve):
    pytest.importorskip("uvicorn_worker")

    def served(*arguments):
        server = serve(ASGI, "-k", "uvicorn_worker.UvicornWorker", *arguments)
        assert server.get().status == 200
        return server

    return served


def test_it_serves_on_our_listeners_and_is_reloaded(serve_with_it):
    server = serve_with_it()
    before = server.workers()
    assert int(server.get().content) in before
    server.send_signal(signal.SIGHUP)
    eventually(lambda: server.workers() and not set(before) & set(server.workers()))
    assert int(server.get().content) in server.workers()
    assert "[ERROR]" not in server.log()


def test_it_is_replaced_after_max_requests(serve_with_it):
    server = serve_with_it("--max-requests", "5")
    first = server.workers()
    # One after the other, and no more than it takes: aiohttp does not answer who comes while it closes.
    for _ in range(5):
        server.get()
    eventually(lambda: not set(server.workers()) & set(first))


def test_term_lets_requests_finish(serve_with_it, tmp_path):
    server = serve_with_it()
    with server.client() as client:
        client.send(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
        eventually((tmp_path / "entered").exists)
        server.send_signal(signal.SIGTERM)
        eventually(lambda: "Handling signal: term" in server.log())
        (tmp_path / "go").touch()
        assert client.receive_response().status == 200
    assert server.wait() == 0
    assert "[ERROR]" not in server.log()


def test_int_stops_at_once(serve_with_it):
    assert serve_with_it("-w", "2").stop(signal.SIGINT) == 0


def test_one_that_hangs_is_ended_after_the_timeout(serve_with_uvicorns, tmp_path):
    server = serve_with_uvicorns("--timeout", "3")
    with server.client(timeout=20) as client:
        client.send(b"GET /hang HTTP/1.1\r\nHost: a\r\n\r\n")
        eventually((tmp_path / "hanging").exists)
        eventually(lambda: "in application" in server.log(), within=20)
    eventually(lambda: server.get().status == 200)


def test_it_is_ready_when_the_startup_is_complete(serve_with_uvicorns, tmp_path):
    server = serve_with_uvicorns()
    first = int(server.get().content)
    os.mkfifo(tmp_path / "gate")
    server.send_signal(signal.SIGHUP)
    eventually(lambda: server.log().count("Waiting for application startup") == 2)
    assert int(server.get().content) == first
    (tmp_path / "gate").write_text("")
    eventually(lambda: first not in server.workers())


def test_a_startup_that_fails_is_a_failed_boot(start, tmp_path):
    pytest.importorskip("uvicorn_worker")
    (tmp_path / "strict.py").write_text(
        "from uvicorn_worker import UvicornWorker\n"
        "class Strict(UvicornWorker):\n"
        "    CONFIG_KWARGS = {'lifespan': 'on'}\n"
    )
    (tmp_path / "broken").touch()
    server = start(ASGI, "-k", "strict.Strict")
    assert server.wait() == 3
    assert "OSError: no database" in server.log()
    assert "failed to boot: Strict has ended with exit code 3 before it was ready" in server.log()


def test_our_settings_and_hooks_are_its_own(serve, tmp_path):
    (tmp_path / "pyserver.conf.py").write_text(
        "worker_class = 'gunicorn.workers.sync.SyncWorker'\n"
        "accesslog = 'access.log'\n"
        "access_log_format = 'seen %(U)s'\n"
        "keepalive = 0.5\n"
        "def pre_request(worker, request):\n"
        "    worker.log.info('hooked %s of %s', request.path, worker.cfg.keepalive)\n"
    )
    server = serve(WSGI)
    assert server.get("/cart").status == 200
    eventually(lambda: (tmp_path / "access.log").read_text() == "seen /cart\n")
    assert "hooked /cart of 1" in server.log()


def test_hooks_get_its_own_worker(serve, tmp_path):
    (tmp_path / "pyserver.conf.py").write_text(
        "worker_class = 'gunicorn.workers.sync.SyncWorker'\n"
        "def pre_fork(server, worker): worker.token = 5\n"
        "def post_worker_init(worker): worker.log.info('begins as %s', worker.accept.__name__)\n"
        "def worker_exit(server, worker): worker.log.info('ends as %s with %s', worker.wsgi.__name__, worker.token)\n"
    )
    server = serve(WSGI)
    assert server.get().status == 200
    assert server.stop() == 0
    assert "begins as accept" in server.log()
    assert "ends as application with 5" in server.log()


def test_what_it_does_not_heed_is_one_warning(serve):
    server = serve(WSGI, "-k", "gunicorn.workers.sync.SyncWorker", "--health-path", "/healthz")
    assert server.log().count("[WARNING] health_path has no effect with the worker class SyncWorker") == 1


def test_it_ends_with_its_arbiter(serve_with_it):
    server = serve_with_it()
    os.kill(server.pid, signal.SIGKILL)
    server.wait()
    eventually(lambda: not server.processes())


def test_a_wsgi_application_is_told_which_class_serves_it(start):
    pytest.importorskip("uvicorn_worker")
    server = start(WSGI, "-k", "uvicorn_worker.UvicornWorker")
    assert server.wait() == 4
    assert "is a WSGI application, and UvicornWorker serves ASGI; serve it with -k sync" in server.log()


def test_without_gunicorn_it_says_what_is_missing(monkeypatch, tmp_path):
    (tmp_path / "class_for_gunicorn.py").write_text("from gunicorn.workers.base import Worker as Own\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "gunicorn"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "gunicorn", None)
    with pytest.raises(ConfigError, match="written for gunicorn, which is missing: pip install gunicorn"):
        load_worker_class("class_for_gunicorn.Own")
