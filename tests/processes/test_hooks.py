"""Hooks of an unchanged gunicorn.conf.py: each runs when and where it does with gunicorn, and none ends the server."""

import os
import re
import signal
import subprocess
import sys
import textwrap

import pytest
from classes import only, with_each_class
from support import eventually

APPLICATION = """
    import os, time

    def application(environ, start_response):
        if environ["PATH_INFO"] == "/hang":
            open("hanging", "w").close()
            while True:
                time.sleep(0.05)
        if environ["PATH_INFO"] == "/spin":
            while True:
                pass
        text = os.environ.get(environ["PATH_INFO"].strip("/"), "none")
        if environ["PATH_INFO"] == "/fork":
            pid = os.fork()
            if pid == 0:
                os.kill(os.getpid(), 6)
                time.sleep(60)
            text = f"ended by {os.waitpid(pid, 0)[1] & 127}"
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [text.encode()]
"""
# Every hook says who it is and where it runs, in the order of the server's life.
RECORDER = """
    import os

    def record(*words):
        with open("record", "a") as file:
            file.write(" ".join(map(str, words)) + "\\n")

    def where(server):
        return "arbiter" if os.getpid() == server.pid else "worker"
"""


class Site:
    """A server in a directory with a gunicorn.conf.py that is changed under it."""

    def __init__(self, serve, start, directory):
        self.directory = directory
        self._serve = serve
        self._start = start

    def configure(self, *sources):
        text = "\n".join(textwrap.dedent(source) for source in sources)
        (self.directory / "gunicorn.conf.py").write_text(text)

    def serve(self, *arguments, **options):
        self.server = self._serve(APPLICATION, *arguments, **options)
        return self.server

    def start(self, *arguments):
        self.server = self._start(APPLICATION, *arguments)
        return self.server

    def serve_until_ready(self, *arguments):
        self.serve(*arguments)
        assert self.server.get().status == 200
        return self.server

    def record(self):
        path = self.directory / "record"
        return path.read_text().splitlines() if path.exists() else []

    def says(self, text, within=10.0):
        eventually(lambda: text in self.server.log(), within)


@pytest.fixture
def site(serve, start, tmp_path):
    return Site(serve, start, tmp_path)


@with_each_class
@pytest.mark.parametrize("preload", ["--preload", "--no-preload-app"])
def test_each_hook_runs_in_its_process_and_in_the_order_of_gunicorn(site, preload):
    site.configure(
        RECORDER,
        """
        def on_starting(server):
            record("on_starting", where(server))
        def when_ready(server):
            record("when_ready", where(server), len(server.LISTENERS))
        def nworkers_changed(server, new_value, old_value):
            record("nworkers_changed", where(server), new_value, old_value)
        def pre_fork(server, worker):
            record("pre_fork", where(server), worker.pid, worker.booted)
        def post_fork(server, worker):
            record("post_fork", where(server), worker.pid == os.getpid(), worker.booted)
        def post_worker_init(worker):
            record("post_worker_init", worker.pid == os.getpid(), worker.app.callable.__name__)
        def worker_exit(server, worker):
            record("worker_exit", where(server), worker.pid == os.getpid(), worker.nr)
        def child_exit(server, worker):
            record("child_exit", where(server), worker.pid in server.WORKERS)
        def on_exit(server):
            record("on_exit", where(server))
        """,
    )
    server = site.serve(preload)
    assert server.get().status == 200
    assert server.stop() == 0
    assert site.record() == [
        "nworkers_changed arbiter 1 None",
        "on_starting arbiter",
        "when_ready arbiter 1",
        "pre_fork arbiter [booting] False",
        "post_fork worker True False",
        "post_worker_init True application",
        "worker_exit worker True 1",
        "child_exit arbiter False",
        "on_exit arbiter",
    ]


def test_hooks_can_be_given_to_run(site):
    (site.directory / "start.py").write_text(
        "import pyserver\npyserver.run('app:app', bind='127.0.0.1:0', on_starting=lambda server: 1 / 0)\n"
    )
    finished = subprocess.run([sys.executable, "start.py"], cwd=site.directory, capture_output=True, text=True)
    assert finished.returncode == 1
    assert finished.stderr.startswith("pyserver: the hook on_starting raised ZeroDivisionError: division by zero\n")


def test_a_hook_that_cannot_be_called_stops_the_start(site):
    site.configure("workers = 1\ndef when_ready(): ...")
    assert site.start().wait() == 1
    line = "pyserver: gunicorn.conf.py:2: when_ready is the function when_ready, but it is called with (server)\n"
    assert site.server.log() == line


@pytest.mark.parametrize("raised", ["ValueError('no disk')", "SystemExit('no disk')"])
def test_on_starting_can_refuse_the_start(site, raised):
    site.configure(
        RECORDER,
        f"""
        def on_starting(server):
            raise {raised}
        def when_ready(server):
            record("when_ready")
        def on_exit(server):
            record("on_exit")
        """,
    )
    assert site.start().wait() == 1
    log = site.server.log().splitlines()
    kind = raised.partition("(")[0]
    assert log[0] == f"pyserver: the hook on_starting raised {kind}: no disk"
    assert log[2].startswith('  File "gunicorn.conf.py", line ')
    assert log[-1] == f"{kind}: no disk"
    assert site.record() == []


def test_on_exit_takes_back_what_on_starting_did_when_nothing_can_be_opened(site):
    site.configure(
        RECORDER,
        """
        def on_starting(server):
            record("on_starting")
        def on_exit(server):
            record("on_exit")
        """,
    )
    assert site.start("-b", "unix:no/such/directory").wait() == 1
    assert site.record() == ["on_starting", "on_exit"]


@with_each_class
@pytest.mark.parametrize("hook", ["post_fork(server, worker)", "post_worker_init(worker)"])
@pytest.mark.parametrize("raised", ["KeyError('DSN')", "SystemExit(0)"])
def test_a_hook_of_the_worker_that_raises_is_a_failed_boot(site, hook, raised):
    site.configure(
        RECORDER,
        f"""
        def {hook}:
            raise {raised}
        def worker_exit(server, worker):
            record("worker_exit", worker.booted)
        def child_exit(server, worker):
            record("child_exit", worker.booted)
        """,
    )
    assert site.start().wait() == 3
    log = site.server.log()
    name, kind = hook.partition("(")[0], raised.partition("(")[0]
    assert f"failed to boot: the hook {name} raised {kind}: " in log
    assert 'File "gunicorn.conf.py"' in log
    assert "pyserver/workers" not in log
    assert site.record() == ["worker_exit False", "child_exit False"]


@pytest.mark.parametrize("raised", ["ValueError", "SystemExit"])
@pytest.mark.parametrize(
    "hook", ["nworkers_changed(server, new_value, old_value)", "when_ready(server)", "pre_fork(server, worker)"]
)
def test_a_hook_of_the_arbiter_that_raises_is_logged_and_the_server_goes_on(site, hook, raised):
    site.configure(f"def {hook}:\n    raise {raised}('no luck')")
    site.serve_until_ready()
    name = hook.partition("(")[0]
    site.says(f"The hook {name} raised {raised}: no luck\nTraceback")


def test_a_hook_that_raises_what_cannot_be_described_ends_no_server(site):
    site.configure(
        """
        class Speechless(Exception):
            def __str__(self):
                return self.missing
        def when_ready(server):
            raise Speechless
        """
    )
    site.serve_until_ready()
    site.says("The hook when_ready raised Speechless\nTraceback")


def test_hooks_that_raise_do_not_hinder_a_reload_or_a_stop(site):
    site.configure(
        *(
            f"def {hook}:\n    raise SystemExit(7)"
            for hook in (
                "on_reload(server)",
                "child_exit(server, worker)",
                "worker_int(worker)",
                "worker_exit(server, worker)",
                "on_exit(server)",
            )
        )
    )
    server = site.serve_until_ready()
    before = server.workers()
    server.send_signal(signal.SIGHUP)
    eventually(lambda: server.workers() and not set(before) & set(server.workers()), 10)
    assert server.get().status == 200
    assert server.stop(signal.SIGINT) == 0
    for hook in ("on_reload", "child_exit", "worker_int", "worker_exit", "on_exit"):
        assert f"The hook {hook} raised SystemExit: 7" in server.log()


def test_a_hook_that_holds_the_arbiter_up_is_named(site):
    site.configure("import time\ndef when_ready(server):\n    time.sleep(1.1)")
    server = site.serve()
    eventually(lambda: re.search(r"The hook when_ready took [1-9][0-9]*\.[0-9] s", server.log()))


def test_on_reload_runs_when_the_new_settings_are_accepted(site):
    text = """
        def on_reload(server):
            record("on_reload", server.cfg.proc_name)
        """
    site.configure(RECORDER, text, "proc_name = 'one'")
    server = site.serve()
    site.configure(RECORDER, text, "workers = 0")
    server.send_signal(signal.SIGHUP)
    site.says("The reload is refused")
    site.configure(RECORDER, text, "proc_name = 'two'")
    server.send_signal(signal.SIGHUP)
    eventually(site.record, 10)
    assert site.record() == ["on_reload two"]


def test_a_new_generation_has_the_hooks_of_its_settings(site):
    server = site.serve()
    site.configure("import os\ndef post_fork(server, worker):\n    os.environ['HOOKED'] = 'yes'")
    server.send_signal(signal.SIGHUP)
    eventually(lambda: server.get("/HOOKED").content == b"yes", 10)
    site.configure("")
    server.send_signal(signal.SIGHUP)
    eventually(lambda: server.get("/HOOKED").content == b"none", 10)


def test_hooks_that_come_with_a_reload_know_the_workers_before_it(site):
    server = site.serve("-w", "2")
    eventually(lambda: len(server.workers()) == 2)
    before = server.workers()
    site.configure(
        RECORDER,
        """
        def on_reload(server):
            record(*sorted(server.WORKERS))
        def child_exit(server, worker):
            record("child_exit", worker.pid)
        """,
    )
    server.send_signal(signal.SIGHUP)
    eventually(lambda: len(site.record()) == 3, 10)
    workers, *exits = site.record()
    assert workers == " ".join(map(str, sorted(before)))
    assert sorted(exits) == [f"child_exit {pid}" for pid in sorted(before)]


def test_what_a_hook_puts_into_the_environment_survives_a_refused_reload(site):
    source = "import os\ndef when_ready(server):\n    os.environ['FROM_A_HOOK'] = 'kept'\n"
    site.configure(source)
    server = site.serve_until_ready()
    site.configure(source, "workers = 0")
    server.send_signal(signal.SIGHUP)
    site.says("The reload is refused")
    server.get("/")
    (before,) = server.workers()
    os.kill(before, signal.SIGKILL)
    eventually(lambda: server.workers() not in ([], [before]))
    assert server.get("/FROM_A_HOOK").content == b"kept"


def test_nworkers_changed_is_told_of_each_number_that_is_wanted(site):
    site.configure(
        RECORDER,
        """
        workers = 2
        def nworkers_changed(server, new_value, old_value):
            record(old_value, new_value, server.num_workers)
        """,
    )
    server = site.serve()
    server.send_signal(signal.SIGTTIN)
    eventually(lambda: len(site.record()) == 2)
    server.send_signal(signal.SIGTTOU)
    eventually(lambda: len(site.record()) == 3)
    assert site.record() == ["None 2 2", "2 3 3", "3 2 2"]


@only("sync", "threaded")
def test_worker_int_can_print_the_stacks_of_all_threads(site):
    site.configure(
        """
        def worker_int(worker):
            worker.log.info("worker received INT or QUIT signal")
            import threading, sys, traceback
            id2name = {th.ident: th.name for th in threading.enumerate()}
            code = []
            for threadId, stack in sys._current_frames().items():
                code.append("\\n# Thread: %s(%d)" % (id2name.get(threadId, ""), threadId))
                for filename, lineno, name, line in traceback.extract_stack(stack):
                    code.append('File: "%s", line %d, in %s' % (filename, lineno, name))
            worker.log.info("\\n".join(code))
        """
    )
    server = site.serve_until_ready()
    assert server.stop(signal.SIGINT) == 0
    assert "worker received INT or QUIT signal" in server.log()
    assert "# Thread: MainThread(" in server.log()


@with_each_class
def test_worker_abort_runs_in_a_worker_whose_request_is_over_its_time(site):
    site.configure(
        RECORDER,
        """
        timeout = 1
        def worker_abort(worker):
            worker.log.info("worker received SIGABRT signal")
            record("worker_abort", os.getpid() == worker.pid)
        def worker_exit(server, worker):
            record("worker_exit", where(server))
        def child_exit(server, worker):
            record("child_exit", worker.pid)
        """,
    )
    server = site.serve_until_ready()
    (before,) = server.workers()
    with server.client() as client:
        client.send(b"GET /spin HTTP/1.1\r\nHost: a\r\n\r\n")
        eventually(lambda: len(site.record()) == 3, 10)
    assert site.record() == ["worker_abort True", "worker_exit worker", f"child_exit {before}"]
    assert "worker received SIGABRT signal" in server.log()
    # The stack of every thread is there all the same.
    assert "in application" in server.log()
    eventually(lambda: server.get().status == 200)


@with_each_class
def test_a_process_that_the_application_forks_calls_no_hooks(site):
    site.configure(
        RECORDER,
        """
        def worker_abort(worker):
            record("worker_abort")
        def worker_exit(server, worker):
            record("worker_exit", os.getpid() == worker.pid)
        """,
    )
    server = site.serve()
    assert server.get("/fork").content == b"ended by 6"
    assert server.get("/fork").content == b"ended by 6"
    server.stop()
    assert site.record() == ["worker_exit True"]


def test_child_exit_runs_for_a_worker_that_was_killed(site):
    # As prometheus_client asks for it.
    (site.directory / "multiprocess.py").write_text(
        "import os\ndef mark_process_dead(pid):\n    os.unlink(f'gauge_live_{pid}.db')\n"
    )
    site.configure(
        """
        import multiprocess
        def post_fork(server, worker):
            open(f"gauge_live_{worker.pid}.db", "w").close()
        def child_exit(server, worker):
            multiprocess.mark_process_dead(worker.pid)
        """
    )
    server = site.serve_until_ready()
    (before,) = server.workers()
    gauge = site.directory / f"gauge_live_{before}.db"
    eventually(gauge.exists)
    os.kill(before, signal.SIGKILL)
    eventually(lambda: not gauge.exists())
    eventually(lambda: server.workers() not in ([], [before]))
    (after,) = server.workers()
    eventually((site.directory / f"gauge_live_{after}.db").exists)


@pytest.mark.parametrize("preload", ["--preload", "--no-preload-app"])
def test_worker_ids_that_are_handed_out_by_hooks(site, preload):
    # A recipe that many have copied, unchanged.
    site.configure(
        """
        import os
        def on_starting(server):
            server._worker_id_overload = set()
        def nworkers_changed(server, new_value, old_value):
            server._worker_id_current_workers = new_value
        def _next_worker_id(server):
            if server._worker_id_overload:
                return server._worker_id_overload.pop()
            in_use = set(w._worker_id for w in tuple(server.WORKERS.values()) if w.alive)
            free = set(range(1, server._worker_id_current_workers + 1)) - in_use
            return free.pop()
        def on_reload(server):
            server._worker_id_overload = set(range(1, server.cfg.workers + 1))
        def pre_fork(server, worker):
            worker._worker_id = _next_worker_id(server)
        def post_fork(server, worker):
            os.environ["APP_WORKER_ID"] = str(worker._worker_id)
        """
    )
    server = site.serve(preload, "-w", "2", "--max-requests", "3")

    def ids():
        return {server.get("/APP_WORKER_ID").content for _ in range(8)}

    # Each is replaced while it still serves, several times.
    for _ in range(3):
        eventually(lambda: ids() == {b"1", b"2"}, 10)
    server.send_signal(signal.SIGHUP)
    site.says("Generation 2 is ready")
    eventually(lambda: ids() == {b"1", b"2"}, 10)
    assert "raised" not in server.log()


REQUEST_HOOKS = """
    def pre_request(worker, req):
        record("pre", worker.nr, req.method, req.uri, req.path, req.query, req.version, dict(req.headers).get("X-A"))
        assert req.path != "/refused", "no"
    def post_request(worker, req, environ, resp):
        record("post", req.path, environ["PATH_INFO"], resp.status, resp.status_code, resp.sent, len(resp.headers))
    """


@with_each_class
def test_hooks_of_a_request_see_it_and_its_response(site):
    site.configure(RECORDER, REQUEST_HOOKS)
    server = site.serve()
    with server.client() as client:
        assert client.request("GET", "/a%20b?c=d", [("X-A", "1")]).status == 200
        assert client.request("HEAD", "/PYSERVER_SLOT").status == 200
    eventually(lambda: len(site.record()) == 4)
    assert site.record() == [
        "pre 0 GET /a%20b?c=d /a%20b c=d (1, 1) 1",
        "post /a%20b /a b 200 OK 200 4 1",
        "pre 1 HEAD /PYSERVER_SLOT /PYSERVER_SLOT  (1, 1) None",
        "post /PYSERVER_SLOT /PYSERVER_SLOT 200 OK 200 0 1",
    ]


def test_an_application_sees_what_pre_request_has_changed(site, serve):
    site.configure(
        """
        def pre_request(worker, req):
            assert (req.scheme, req.fragment) == ("http", "")
            req.headers.append(("X-ADDED", "1"))
            req.headers.append(("X-SENT", "2"))
            req.headers.remove(("X-SECRET", "s"))
            req.scheme, req.method, req.query, req.version = "https", "PUT", "changed", (1, 0)
            req.path = req.path + "/to%20here"
        def post_request(worker, req, environ, resp):
            assert dict(req.headers)["X-ADDED"] == environ["HTTP_X_ADDED"]
        """
    )
    server = serve(
        """
        NAMES = (
            "HTTP_X_ADDED", "HTTP_X_SENT", "HTTP_X_SECRET", "CONTENT_TYPE", "wsgi.url_scheme", "REQUEST_METHOD",
            "SCRIPT_NAME", "PATH_INFO", "QUERY_STRING", "SERVER_PROTOCOL",
        )
        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [" ".join(str(environ.get(name)) for name in NAMES).encode()]
        """,
        "--root-path", "/shop",
    )  # fmt: skip
    with server.client() as client:
        fields = [("X-Sent", "1"), ("X-Secret", "s"), ("Content-Type", "a/b")]
        content = client.request("GET", "/shop/x?sent", fields).content
    assert content == b"1 1,2 None a/b https PUT /shop /x/to here changed HTTP/1.0"
    assert "raised" not in server.log()


@with_each_class
def test_pre_request_that_raises_is_answered_with_500(site):
    site.configure(RECORDER, REQUEST_HOOKS)
    server = site.serve()
    assert server.get("/refused").status == 500
    assert server.get().status == 200
    assert "AssertionError: no" in server.log()
    # It runs after the response.
    eventually(lambda: "post /refused /refused 500 500 22 0" in site.record())


@with_each_class
def test_post_request_that_raises_is_logged_after_the_response(site):
    site.configure("def post_request(worker, req):\n    raise SystemExit(1)")
    server = site.serve()
    with server.client() as client:
        assert [client.request("GET").status for _ in range(3)] == [200, 200, 200]
    eventually(lambda: server.log().count("The hook post_request raised SystemExit: 1") == 3)


@with_each_class
def test_a_worker_that_is_told_to_be_alive_no_more_is_replaced(site):
    site.configure("def post_request(worker, req):\n    worker.alive = False")
    server = site.serve()
    before = server.workers()
    assert server.get().status == 200
    eventually(lambda: server.workers() and not set(before) & set(server.workers()), 10)


@with_each_class
def test_a_worker_that_is_told_so_at_each_request_asks_for_its_replacement_once(site):
    site.configure(
        """
        def post_request(worker, req):
            worker.alive = False
        def post_worker_init(worker):
            if worker.age > 1:
                import threading
                threading.Event().wait()
        """
    )
    server = site.serve()
    with server.client() as client:
        assert [client.request("GET").status for _ in range(5)] == [200] * 5
    site.says("is replaced")
    server.send_signal(signal.SIGUSR1)
    site.says("Handling signal: usr1")
    assert server.log().count("is replaced") == 1


def test_what_a_hook_sets_on_a_worker_stays_there_and_harms_nothing(site):
    site.configure(
        RECORDER,
        """
        def pre_fork(server, worker):
            worker.slot, worker.number, worker.settings, worker.listeners = "a", "b", "c", "d"
        def post_fork(server, worker):
            record(worker.slot, worker.number, worker.settings, worker.listeners)
        def child_exit(server, worker):
            record(worker.slot, worker.number, worker.settings, worker.listeners)
        """,
    )
    server = site.serve()
    assert server.get("/PYSERVER_SLOT").content == b"0"
    server.stop()
    assert site.record() == ["a b c d", "a b c d"]


@pytest.mark.parametrize("preload", ["--preload", "--no-preload-app"])
def test_a_worker_knows_the_arbiter_although_no_hook_has_run_there(site, preload):
    site.configure(
        RECORDER,
        """
        def post_fork(server, worker):
            record(server.pid, worker.ppid)
        """,
    )
    server = site.serve(preload)
    assert server.get().status == 200
    assert site.record() == [f"{server.pid} {server.pid}"]


def test_post_fork_can_open_a_connection_for_the_application(site):
    site.directory.joinpath("shop.py").write_text(
        textwrap.dedent(
            """
            database = None

            def application(environ, start_response):
                (count,) = database.execute("SELECT count(*) FROM orders").fetchone()
                start_response("200 OK", [("Content-Type", "text/plain")])
                return [str(count).encode()]
            """
        )
    )
    site.configure(
        """
        import os, sqlite3
        def on_starting(server):
            os.makedirs("data", exist_ok=True)
            with sqlite3.connect("data/shop.db") as database:
                database.execute("CREATE TABLE orders (name)")
        def post_fork(server, worker):
            import shop
            shop.database = sqlite3.connect("data/shop.db")
        def worker_exit(server, worker):
            import shop
            shop.database.close()
        """
    )
    site.server = site._serve("shop:application", "-w", "2")
    assert site.server.get().content == b"0"
    assert site.server.stop() == 0
    assert "raised" not in site.server.log()


@pytest.mark.skipif(sys.platform != "linux", reason="a mold needs a subreaper")
def test_what_cannot_be_given_to_a_preloaded_worker_is_named(site):
    site.configure(
        """
        import threading
        def pre_fork(server, worker):
            worker.token, worker.lock, worker.other = 5, threading.Lock(), 6
        def post_fork(server, worker):
            worker.log.info("has %s %s %s", worker.token, hasattr(worker, "lock"), worker.other)
        """
    )
    assert site.serve("--preload").get().status == 200
    site.says("worker.lock of a hook cannot be given to the worker: cannot pickle")
    site.says("has 5 False 6")


def test_the_settings_are_those_that_gunicorn_computes(site):
    site.configure(
        RECORDER,
        """
        raw_env = ["A=1"]
        def when_ready(server):
            cfg = server.cfg
            record(cfg.worker_class_str, cfg.worker_class.__name__, cfg.logger_class.__name__, cfg.is_ssl)
            record(cfg.uid == cfg.user == os.getuid(), cfg.gid == cfg.group == os.getgid(), cfg.chdir == os.getcwd())
            record(cfg.proc_name == cfg.default_proc_name == cfg.wsgi_app, cfg.env, cfg.address)
            record(cfg.settings["workers"].get(), cfg.settings["timeout"].default)
            cfg.set("workers", 2)
        def post_fork(server, worker):
            record(worker.timeout, worker.cfg.worker_class_str)
        """,
    )
    site.serve_until_ready("-k", "gthread", "--threads", "2")
    assert site.record() == [
        "gthread ThreadedWorker Logger False",
        "True True True",
        "True {'A': '1'} [('127.0.0.1', 0)]",
        "1 30.0",
        "15.0 gthread",
    ]
    site.says("[WARNING] A hook sets workers to 2, which has no effect; write it in the config file")


def test_when_ready_can_start_a_thread(site):
    site.configure(
        """
        import threading
        def when_ready(server):
            threading.Thread(target=lambda: open("ready", "w").close()).start()
        """
    )
    assert site.serve().get().status == 200
    eventually((site.directory / "ready").exists)


@pytest.mark.parametrize("ending", ["", "raise SystemExit('not today')"])
def test_pre_exec_runs_in_the_process_that_becomes_the_new_arbiter(site, ending):
    site.configure(RECORDER, f"def pre_exec(server):\n    record('pre_exec', server.pid, os.getppid())\n    {ending}")
    server = site.serve_until_ready()
    server.send_signal(signal.SIGUSR2)
    site.says(") serves; this one does so, too")
    assert site.record() == [f"pre_exec {server.pid} {server.pid}"]
    assert ("The hook pre_exec raised SystemExit: not today" in server.log()) == bool(ending)
    (new,) = re.findall(r"The new arbiter \(pid: (\d+)\) serves", server.log())
    os.kill(int(new), signal.SIGTERM)
    site.says("; this one stays")


def test_hooks_see_what_those_of_gunicorn_use(site):
    site.configure(
        RECORDER,
        """
        workers = 2
        raw_env = ["A=1"]
        max_requests = 500
        def when_ready(server):
            host, port = server.LISTENERS[0].getsockname()
            record("server", server.pid == os.getpid(), server.num_workers, server.address, host, server.WORKERS)
            record("cfg", server.cfg.bind, server.cfg.workers, server.cfg.raw_env, server.cfg.loglevel)
            for level in ("debug", "info", "warning", "error", "critical"):
                getattr(server.log, level)("at level %s", level)
        def pre_fork(server, worker):
            record("pre_fork", worker.age, worker.number, worker.nr, worker.alive, worker.max_requests, worker)
        def post_fork(server, worker):
            record("post_fork", worker.age, worker.ppid == server.pid == os.getppid(), len(worker.sockets))
            worker.tmp.notify()
            server.log.info("Worker spawned (pid: %s)", worker.pid)
        """,
    )
    server = site.serve("-b", "127.0.0.1:0")
    eventually(lambda: len(site.record()) == 6)
    record = site.record()
    assert record[0] == "server True 2 [('127.0.0.1', 0)] 127.0.0.1 {}"
    assert record[1] == "cfg ['127.0.0.1:0'] 2 ['A=1'] info"
    assert [line for line in record if "pre_fork" in line] == [
        "pre_fork 1 0 0 True 500 <Worker [booting]>",
        "pre_fork 2 1 0 True 500 <Worker [booting]>",
    ]
    assert sorted(line for line in record if "post_fork" in line) == ["post_fork 1 True 1", "post_fork 2 True 1"]
    assert "[CRITICAL] at level critical" in server.log()
    # The hook says it after its line in the record.
    for pid in server.workers():
        site.says(f"Worker spawned (pid: {pid})")


def test_a_name_that_is_none_is_said_to_be_none(site):
    site.configure("def when_ready(server):\n    server.cfg.certificate")
    site.serve()
    site.says("AttributeError: there is no setting certificate in this version")


def test_without_hooks_nothing_of_theirs_is_loaded(site):
    site.directory.joinpath("what_is_loaded.py").write_text(
        textwrap.dedent(
            """
            import sys

            def application(environ, start_response):
                start_response("200 OK", [("Content-Type", "text/plain")])
                return [" ".join(sys.modules).encode()]
            """
        )
    )
    site.server = site._serve("what_is_loaded:application")
    modules = site.server.get().content.decode().split()
    assert "pyserver.arbiter.hooks" in modules
    assert not {"pyserver.arbiter.server", "pyserver.workers.hooks", "pyserver.workers.requests"} & set(modules)


def test_hooks_that_hold_the_arbiter_up_suspend_no_timeout(site):
    site.configure("""
        import time
        def nworkers_changed(server, new_value, old_value):
            old_value and time.sleep(1.6)
    """)
    server = site.serve("--timeout", "2")
    with server.client() as client:
        client.send(b"GET /hang HTTP/1.1\r\nHost: a\r\n\r\n")
        eventually((site.directory / "hanging").exists)
        for number in (signal.SIGTTIN, signal.SIGTTOU) * 3:
            told = server.log().count("The hook nworkers_changed took")
            server.send_signal(number)
            eventually(lambda told=told: server.log().count("The hook nworkers_changed took") > told)
        assert "WORKER TIMEOUT" in server.log()
