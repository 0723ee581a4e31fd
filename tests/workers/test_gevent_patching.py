"""What of the standard library is cooperative in a gevent worker, from when on, and who was too early for it."""

import importlib.util
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from support import eventually

import pyserver

pytestmark = pytest.mark.skipif(importlib.util.find_spec("gevent") is None, reason="gevent is not installed")

QUICK = """
    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"quick"]
"""
# What replaced it says so.
WHERE_FROM = """
    import socket

    at_import = socket.socket.__module__.partition(".")[0]

    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [at_import.encode()]
"""


def test_clients_in_python_wait_without_holding_up_others(serve):
    server = serve(
        """
        import http.client, queue, select, socket, threading

        def ask(environ, target):
            connection = http.client.HTTPConnection(environ["SERVER_NAME"], int(environ["SERVER_PORT"]))
            connection.request("GET", target)
            content = connection.getresponse().read()
            connection.close()
            return content

        def round_trip(environ):
            with socket.create_connection((environ["SERVER_NAME"], int(environ["SERVER_PORT"]))) as connection:
                connection.sendall(b"GET /quick HTTP/1.0\\r\\n\\r\\n")
                select.select([connection], [], [])
                with connection.makefile("rb") as file:
                    return file.read().rpartition(b"\\r\\n")[2]

        def application(environ, start_response):
            match environ["PATH_INFO"]:
                case "/http":
                    content = ask(environ, "/socket")
                case "/socket":
                    found = queue.Queue()
                    threading.Thread(target=lambda: found.put(round_trip(environ))).start()
                    content = found.get()
                case _:
                    content = b"quick"
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [content]
        """,
        "-k", "gevent",
    )  # fmt: skip
    # The only worker asks itself, twice.
    assert server.get("/http").content == b"quick"


def test_the_application_finds_a_cooperative_library_when_it_is_imported(serve):
    server = serve(WHERE_FROM, "-k", "gevent")
    assert server.get().content == b"gevent"


def test_hooks_in_the_worker_find_it_too(serve, tmp_path):
    (tmp_path / "hooked.conf.py").write_text(
        "import socket\n"
        "def on_starting(server): open('arbiter', 'w').write(socket.socket.__module__)\n"
        "def post_fork(server, worker): open('worker', 'w').write(socket.socket.__module__)\n"
    )
    server = serve(QUICK, "-k", "gevent", "-c", "hooked.conf.py")
    assert server.get().content == b"quick"
    assert (tmp_path / "worker").read_text().startswith("gevent")
    # Who supervises is not concerned.
    assert (tmp_path / "arbiter").read_text() == "socket"


@pytest.mark.skipif(sys.platform != "linux", reason="a mold needs a subreaper")
def test_a_mold_patches_before_it_preloads_and_each_of_its_workers_has_a_hub_that_runs(serve):
    server = serve(
        """
        import os, socket, time
        import gevent

        at_import = socket.socket.__module__.partition(".")[0]
        # The mold has a hub from here on, and a thread.
        socket.getaddrinfo("localhost", 80)
        rounds = 0

        def count():
            global rounds
            while True:
                rounds += 1
                time.sleep(0.001)

        gevent.spawn(count)

        def application(environ, start_response):
            seen = rounds
            while rounds == seen:
                time.sleep(0.001)
            socket.getaddrinfo("localhost", 80)
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [f"{at_import} {os.getpid()}".encode()]
        """,
        "-k", "gevent", "--preload", "-w", "2",
    )  # fmt: skip
    answers = set()
    eventually(lambda: answers.add(server.get().content) or len(answers) == 2)
    assert {answer.partition(b" ")[0] for answer in answers} == {b"gevent"}
    assert server.stop() == 0
    assert "Preload:" not in server.log()


@pytest.mark.skipif(sys.platform != "linux", reason="a mold needs a subreaper")
def test_a_refork_is_refused_and_the_server_goes_on(serve):
    server = serve(QUICK, "-k", "gevent", "--preload")
    assert server.get().content == b"quick"
    # The arbiter may hear later than we that the worker is ready.
    eventually(lambda: server.send_signal(signal.SIGRTMIN) or "GeventWorker cannot refork" in server.log())
    eventually(lambda: "The refork has failed" in server.log())
    assert server.get().content == b"quick"
    assert "Traceback" not in server.log()


def test_a_library_that_is_imported_too_early_is_named_once(serve, tmp_path):
    (tmp_path / "early_library.py").write_text("from socket import create_connection\n")
    (tmp_path / "early_package").mkdir()
    (tmp_path / "early_package" / "__init__.py").touch()
    (tmp_path / "early_package" / "locks.py").write_text("import threading\nguard = threading.Lock()\n")
    (tmp_path / "harmless_library.py").write_text("import threading, time\nnow = time.monotonic\n")
    (tmp_path / "early.conf.py").write_text("import early_library, early_package.locks, harmless_library\n")
    server = serve(QUICK, "-k", "gevent", "-w", "3", "-c", "early.conf.py")
    eventually(lambda: server.log().count(") is ready") == 3 or len(server.workers()) == 3)
    server.send_signal(signal.SIGHUP)
    eventually(lambda: "the workers before it retire" in server.log())
    assert server.get().content == b"quick"
    assert server.stop() == 0
    (line,) = [line for line in server.log().splitlines() if "imported before gevent" in line]
    assert "[WARNING]" in line
    assert ": early_library, early_package; " in line
    assert "MonkeyPatchWarning" not in server.log()


def test_nothing_is_said_where_nothing_was_imported_too_early(serve):
    server = serve(QUICK, "-k", "gevent")
    assert server.get().content == b"quick"
    assert "imported before gevent" not in server.log()


def test_a_config_file_that_patches_the_arbiter_does_no_harm(serve, tmp_path):
    (tmp_path / "patching.conf.py").write_text("from gevent import monkey\nmonkey.patch_all()\n")
    server = serve(WHERE_FROM, "-k", "gevent", "-w", "2", "-c", "patching.conf.py")
    assert server.get().content == b"gevent"
    server.send_signal(signal.SIGHUP)
    eventually(lambda: "the workers before it retire" in server.log())
    assert server.get().content == b"gevent"
    assert server.stop() == 0


def refusal(*arguments, directory):
    """What a server says that does not start."""
    directory.joinpath("quick.py").write_text(textwrap.dedent(QUICK))
    command = [sys.executable, *arguments, "--check-config", "quick:application"]
    environment = {"PYTHONPATH": str(Path(pyserver.__file__).parents[1]), "PATH": ""}
    done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    return done.stderr


def test_a_missing_gevent_is_named_with_the_remedy(tmp_path):
    said = refusal("-S", "-m", "pyserver", "-k", "gevent", directory=tmp_path)
    assert "pip install gevent" in said


def test_a_poller_without_a_descriptor_is_refused(tmp_path):
    said = refusal("-m", "pyserver", "-k", "gevent", "--poller", "poll", directory=tmp_path)
    assert "needs poller epoll" in said


PATCH = "from gevent import monkey; monkey.patch_all()\n"
# It says how many turns a thread beside the requests has had.
BESIDE = """
    {patch}
    import threading, time

    turns = []

    def turn():
        while True:
            turns.append(1)
            time.sleep(0.01)

    threading.Thread(target=turn, daemon=True).start()

    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [str(len(turns)).encode()]
"""
with_patch_of_application = pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["-k", "sync"], id="sync"),
        pytest.param(["--threads", "2"], id="auto"),
        pytest.param(["-k", "gthread", "--threads", "2", "--preload"], id="preload"),
    ],
)


@with_patch_of_application
def test_an_application_that_patches_is_served_by_the_hub(serve, arguments):
    server = serve(BESIDE.format(patch=PATCH.strip()), *arguments)
    # Nothing but time passes between two requests.
    eventually(lambda: int(server.get().content) > 20)
    assert server.stop() == 0
    assert "killed" not in server.log()


def test_workers_with_threads_of_a_config_file_that_patches_end_in_order(serve, tmp_path):
    (tmp_path / "patching.conf.py").write_text(PATCH + "def worker_exit(server, worker): open('left', 'w')\n")
    server = serve(QUICK, "-k", "gthread", "--threads", "4", "-c", "patching.conf.py")
    assert server.get().content == b"quick"
    (old,) = server.workers()
    server.send_signal(signal.SIGHUP)
    eventually(lambda: server.workers() not in ([], [old]) and old not in server.workers())
    assert (tmp_path / "left").exists()
    assert server.stop() == 0
    assert "killed" not in server.log()


@pytest.mark.parametrize("poller", ["epoll", "poll"])
def test_a_logger_in_a_patched_process_is_told_at_once(serve, tmp_path, poller):
    (tmp_path / "logger.conf.py").write_text("from pyserver.glogging import Logger as logger_class\n")
    arguments = ["-k", "sync", "--poller", poller, "-c", "logger.conf.py", "--access-logfile", "access.log"]
    server = serve(PATCH + textwrap.dedent(QUICK), *arguments)
    assert server.get("/logged").content == b"quick"
    eventually(lambda: "GET /logged" in (tmp_path / "access.log").read_text())
