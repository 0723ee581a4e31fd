"""What hooks are given: each attribute that those of a gunicorn.conf.py look at is there, in each hook and class."""

from __future__ import annotations

import os
import re
import signal
import sys
import textwrap

import pytest
from calls import ASGI
from classes import with_each_class
from support import eventually

from pyserver.settings.hooks import Hooks

APPLICATION = """
    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"hello"]
    """
ASGI_APPLICATION = """
    async def application(scope, receive, send):
        if scope["type"] == "lifespan":
            raise RuntimeError("none")
        if scope["path"] == "/raises":
            raise RuntimeError("broken")
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": b"hello"})
    """
# What gunicorn has of each, and what kind of thing it is there. Each hook writes down what is missing or another kind.
HOOKS = """
    import os

    SERVER = dict(pid=int, num_workers=int, WORKERS=dict, LISTENERS=list, address=list, proc_name=str)
    WORKER = dict(age=int, nr=int, alive=bool, booted=bool, ppid=int, sockets=list, max_requests=int)
    REQUEST = dict(
        method=str, uri=str, path=str, query=str, headers=list, version=tuple, peer_addr=tuple, remote_addr=tuple
    )
    RESPONSE = dict(headers=list, sent=int, status_code=int)
    ALL = dict(server=SERVER, worker=WORKER, req=REQUEST, resp=RESPONSE)

    def check(hook, **given):
        wrong = [
            f"{what}.{name}"
            for what, thing in given.items()
            for name, kind in ALL[what].items()
            if not isinstance(getattr(thing, name, None), kind)
        ]
        for what in ("server", "worker"):
            if what in given:
                given[what].log.info("%s: %s", hook, what)
                given[what].log.debug("not logged")
                assert given[what].cfg.bind == ["127.0.0.1:0"]
                assert given[what].cfg.workers == given[what].app.cfg.workers == 1
                # Settings that are not there are unset.
                assert not given[what].cfg.dirty_workers
        if "worker" in given:
            worker = given["worker"]
            worker.tmp.notify()
            assert worker.pid == "[booting]" or worker.pid > 1
        if "resp" in given:
            assert str(given["resp"].status).startswith("200")
        with open("record", "a") as file:
            file.write(" ".join([hook, *wrong]) + "\\n")

    def on_starting(server):
        check("on_starting", server=server)
    def nworkers_changed(server, new_value, old_value):
        check("nworkers_changed", server=server)
    def when_ready(server):
        check("when_ready", server=server)
    def pre_fork(server, worker):
        check("pre_fork", server=server, worker=worker)
    def post_fork(server, worker):
        check("post_fork", server=server, worker=worker)
    def post_worker_init(worker):
        assert callable(worker.app.callable) and worker.wsgi is worker.app.wsgi()
        check("post_worker_init", worker=worker)
    def pre_request(worker, req):
        check("pre_request", worker=worker, req=req)
    def post_request(worker, req, environ, resp):
        assert environ["RAW_URI"] == req.uri
        check("post_request", worker=worker, req=req, resp=resp)
    def worker_abort(worker):
        check("worker_abort", worker=worker)
    def worker_int(worker):
        check("worker_int", worker=worker)
    def worker_exit(server, worker):
        check("worker_exit", server=server, worker=worker)
    def child_exit(server, worker):
        check("child_exit", server=server, worker=worker)
    def on_reload(server):
        check("on_reload", server=server)
    def pre_exec(server):
        check("pre_exec", server=server)
    def on_exit(server):
        check("on_exit", server=server)
    """
REQUEST_HOOKS = """
    def record(*words):
        with open("record", "a") as file:
            file.write(" ".join(map(str, words)) + "\\n")
    def pre_request(worker, req):
        record("pre", worker.nr, req.method, req.uri, req.path, req.query, req.version, dict(req.headers).get("X-A"))
        assert req.path != "/refused", "no"
    def post_request(worker, req, environ, resp):
        record("post", req.path, environ["PATH_INFO"], resp.status, resp.sent, len(resp.headers))
    """


with_every_class = pytest.mark.parametrize(
    "worker_class",
    [
        *with_each_class.args[1],
        pytest.param(
            ASGI, id="asgi", marks=pytest.mark.skipif(sys.platform != "linux", reason="the asgi class waits with epoll")
        ),
    ],
    indirect=True,
)
with_asgi = pytest.mark.parametrize("worker_class", [ASGI], indirect=True)


@pytest.fixture
def site(serve, tmp_path, worker_class):
    """Serve with these hooks: `site(source)`; `site.record()` is what they have written down."""

    def served(source):
        (tmp_path / "gunicorn.conf.py").write_text("bind = '127.0.0.1:0'\n" + textwrap.dedent(source))
        return serve(ASGI_APPLICATION if worker_class is ASGI else APPLICATION, bind=None)

    def record():
        path = tmp_path / "record"
        return path.read_text().splitlines() if path.exists() else []

    served.record = record
    return served


@with_every_class
def test_each_hook_finds_what_gunicorn_gives_it(site):
    server = site(HOOKS)

    def wait_for(*hooks):
        eventually(lambda: {line.split()[0] for line in site.record()} >= set(hooks))

    assert server.get("/a?b=c").status == 200
    wait_for("post_request")
    (first,) = server.workers()
    os.kill(first, signal.SIGABRT)
    wait_for("worker_abort", "worker_exit", "child_exit")
    eventually(lambda: server.workers() not in ([], [first]))
    server.send_signal(signal.SIGHUP)
    wait_for("on_reload")
    eventually(lambda: "Generation 2 is ready" in server.log())
    server.send_signal(signal.SIGUSR2)
    eventually(lambda: ") serves; this one does so, too" in server.log())
    (new,) = re.findall(r"The new arbiter \(pid: (\d+)\) serves", server.log())
    os.kill(int(new), signal.SIGTERM)
    eventually(lambda: "; this one stays" in server.log())
    assert server.stop(signal.SIGINT) == 0
    wait_for("worker_int", "pre_exec", "on_exit")
    assert {line.split()[0] for line in site.record()} == set(Hooks.rows) - {"ssl_context"}
    # Nothing but the names: no attribute was missing or of another kind.
    assert [line for line in site.record() if " " in line] == []
    assert "raised" not in server.log()


@with_asgi
def test_hooks_of_a_request_see_that_of_an_asgi_application(site):
    server = site(REQUEST_HOOKS)
    with server.client() as client:
        assert client.request("GET", "/a%20b?c=d", [("X-A", "1"), ("X-A", "2")]).status == 200
    assert [server.get(target).status for target in ("/raises", "/refused", "/")] == [500, 500, 200]
    eventually(lambda: len(site.record()) == 8)
    assert site.record() == [
        "pre 0 GET /a%20b?c=d /a%20b c=d (1, 1) 2",
        "post /a%20b /a b 200 5 1",
        "pre 1 GET /raises /raises  (1, 1) None",
        "post /raises /raises 500 0 0",
        "pre 2 GET /refused /refused  (1, 1) None",
        "post /refused /refused 500 0 0",
        "pre 3 GET / /  (1, 1) None",
        "post / / 200 5 1",
    ]
    assert "AssertionError: no" in server.log()


@with_asgi
def test_an_asgi_application_sees_what_pre_request_has_changed(serve, tmp_path):
    (tmp_path / "gunicorn.conf.py").write_text(
        "def pre_request(worker, req):\n"
        "    assert req.headers.count(('X-SENT', '1')) == 2\n"
        "    req.headers.append(('X-ADDED', '2'))\n"
        "    req.scheme, req.method, req.query = 'https', 'PUT', 'changed'\n"
        "    req.path += '/%C3%A9'\n"
    )
    server = serve(
        """
        async def application(scope, receive, send):
            fields = b" ".join(name + b"=" + value for name, value in scope["headers"] if name[:1] == b"x")
            told = [scope[name] for name in ("scheme", "method", "query_string", "path", "raw_path")]
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b" ".join([repr(told).encode(), fields])})
        """
    )
    with server.client() as client:
        content = client.request("GET", "/x?sent", [("X-Sent", "1"), ("X-Sent", "1")]).content
    assert content.decode() == "['https', 'PUT', b'changed', '/x/é', b'/x/%C3%A9'] x-sent=1 x-sent=1 x-added=2"


@with_every_class
@pytest.mark.parametrize("hook", ["", "def pre_request(worker, req): pass\n"], ids=["alone", "watched"])
def test_an_application_that_a_hook_has_wrapped_is_served(site, hook):
    server = site(
        hook + "def post_worker_init(worker):\n"
        "    whole = worker.wsgi\n"
        "    def wrapped(*arguments):\n"
        "        open('wrapped', 'a').write('.')\n"
        "        return whole(*arguments)\n"
        "    worker.wsgi = wrapped\n"
    )
    assert server.get().status == 200
    assert (server.directory / "wrapped").read_text() == "."


@with_asgi
def test_post_request_that_raises_is_logged_after_the_response_of_an_asgi_application(site):
    server = site("def post_request(worker, req):\n    raise SystemExit(1)")
    with server.client() as client:
        assert [client.request("GET").status for _ in range(3)] == [200, 200, 200]
    eventually(lambda: server.log().count("The hook post_request raised SystemExit: 1") == 3)
