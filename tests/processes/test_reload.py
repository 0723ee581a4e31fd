"""HUP: the new is proven before the old goes, and when it cannot be proven nothing changes."""

import os
import shutil
import signal
import socket
import textwrap

import pytest
from classes import each_class as worker_class
from support import Client, eventually

__all__ = ["worker_class"]

CODE = """
import os

def application(environ, start_response):
    if environ["PATH_INFO"] == "/wait":
        open("entered", "w").close()
        with open("gate") as gate:
            gate.read()
    text = os.environ.get("SHOP", "") if environ["PATH_INFO"] == "/shop" else "old"
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(text)))])
    return [text.encode()]
"""


class Site:
    """A server whose code and configuration are changed under it."""

    def __init__(self, serve, directory):
        self.directory = directory
        self._serve = serve

    def start(self, *arguments, **options):
        self.code(CODE)
        self.server = self._serve("site_under_test:application", "--log-level", "debug", *arguments, **options)
        # All of them: one that is still loading would take the code of the reload for its own.
        workers = int(arguments[arguments.index("-w") + 1]) if "-w" in arguments else 1
        eventually(lambda: self.server.log().count(") is ready") == workers)
        return self.server

    def code(self, text):
        (self.directory / "site_under_test.py").write_text(textwrap.dedent(text))

    def config(self, text):
        (self.directory / "pyserver.conf.py").write_text(text)

    def hup(self):
        self.server.send_signal(signal.SIGHUP)

    def says(self, text, within=5.0):
        eventually(lambda: text in self.server.log(), within)

    def content(self, target="/"):
        return self.server.get(target).content.decode()


@pytest.fixture
def site(serve, tmp_path):
    return Site(serve, tmp_path)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def can_connect(port):
    try:
        Client(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return False
    except ConnectionResetError:
        pass  # It was there just before the listener was closed.
    return True


def test_hup_serves_the_new_code_and_ends_the_old_workers(site):
    server = site.start("-w", "2")
    before = set(server.workers())
    site.code(CODE.replace('"old"', '"new"'))
    site.hup()
    eventually(lambda: not before & set(server.workers()))
    assert [site.content() for _ in range(5)] == ["new"] * 5
    assert len(server.workers()) == 2


def test_the_old_code_serves_while_the_new_one_loads(site):
    server = site.start()
    os.mkfifo(site.directory / "loading")
    site.code("open('loading').read()\n" + CODE.replace('"old"', '"new"'))
    site.hup()
    eventually(lambda: len(server.workers()) == 2)
    assert [site.content() for _ in range(5)] == ["old"] * 5
    (site.directory / "loading").write_text("")
    eventually(lambda: site.content() == "new")


@pytest.mark.parametrize("code", ["1 / 0\n", "def broken(:\n", "import sys\nsys.exit()\n", "import os\nos._exit(1)\n"])
def test_hup_with_a_broken_application_keeps_the_old_workers(site, code):
    server = site.start("-w", "2")
    before = set(server.workers())
    site.code(code)
    site.hup()
    site.says("The reload is given up after 3 failed boots")
    eventually(lambda: set(server.workers()) == before)
    assert site.content() == "old"
    assert server.log().count('File "') == (0 if "_exit" in code else 1)


def test_after_a_broken_reload_the_next_good_one_is_taken(site):
    site.start()
    site.code("1 / 0\n")
    site.hup()
    site.says("The reload is given up")
    site.code(CODE.replace('"old"', '"new"'))
    site.hup()
    eventually(lambda: site.content() == "new")


def test_a_reload_that_hangs_is_superseded_by_the_next(site):
    server = site.start()
    site.code("import threading\nthreading.Event().wait()\n")
    site.hup()
    eventually(lambda: len(server.workers()) == 2)
    site.code(CODE.replace('"old"', '"new"'))
    site.hup()
    eventually(lambda: site.content() == "new")
    eventually(lambda: len(server.workers()) == 1)


def test_hup_with_a_broken_config_file_changes_nothing(site):
    site.config("workers = 1\n")
    server = site.start()
    before = server.workers()
    site.config("workers = 'many'\n")
    site.hup()
    site.says("The reload is refused and nothing has changed: ")
    assert "workers" in server.log().splitlines()[-1]
    assert server.workers() == before
    assert site.content() == "old"


def test_hup_reads_the_number_of_workers_again(site):
    site.config("workers = 1\n")
    server = site.start()
    site.config("workers = 3\n")
    site.hup()
    site.says("Generation 2 is ready")
    eventually(lambda: len(server.workers()) == 3)


def test_hup_gives_the_application_its_new_environment(site):
    site.config("raw_env = ['SHOP=one']\n")
    site.start()
    assert site.content("/shop") == "one"
    site.config("raw_env = ['SHOP=two']\n")
    site.hup()
    eventually(lambda: site.content("/shop") == "two")


def test_a_reload_that_is_given_up_leaves_the_environment_to_the_old_code(site):
    site.config("raw_env = ['SHOP=one']\n")
    server = site.start()
    site.config("raw_env = ['SHOP=two']\n")
    site.code("1 / 0\n")
    site.hup()
    site.says("The reload is given up")
    site.code(CODE)
    (pid,) = server.workers()
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: server.workers() not in ([pid], []))
    assert site.content("/shop") == "one"


def test_hup_after_a_deployment_has_replaced_the_directory_takes_the_new_code(serve, tmp_path):
    directory = tmp_path / "shop"
    directory.mkdir()
    (directory / "site_under_test.py").write_text(CODE)
    server = serve("site_under_test", "--chdir", str(directory))
    assert server.get().content == b"old"
    shutil.rmtree(directory)
    directory.mkdir()
    (directory / "site_under_test.py").write_text(CODE.replace('"old"', '"new"'))
    server.send_signal(signal.SIGHUP)
    eventually(lambda: server.get().content == b"new")


@pytest.mark.parametrize("config", ["1 / 0\n", "raw_env = ['SHOP=two']\n"], ids=["refused", "given up"])
def test_a_failed_reload_survives_that_its_directory_was_removed(serve, tmp_path, config):
    directory = tmp_path / "release"
    directory.mkdir()
    (directory / "site_under_test.py").write_text(CODE)
    (tmp_path / "pyserver.conf.py").write_text(f"chdir = {str(directory)!r}\n")
    server = serve("site_under_test")
    assert server.get().content == b"old"
    shutil.rmtree(directory)
    (tmp_path / "site_under_test.py").write_text("1 / 0\n")
    (tmp_path / "pyserver.conf.py").write_text(config)
    server.send_signal(signal.SIGHUP)
    eventually(lambda: "nothing has changed" in server.log() or "serve on" in server.log())
    assert server.get().content == b"old"


def test_new_addresses_are_open_and_old_ones_closed(site):
    ports = free_port(), free_port()
    site.config(f"bind = '127.0.0.1:{ports[0]}'\n")
    site.start(bind=None)
    site.config(f"bind = '127.0.0.1:{ports[1]}'\n")
    site.hup()
    eventually(lambda: can_connect(ports[1]))
    eventually(lambda: not can_connect(ports[0]))
    assert f"http://127.0.0.1:{ports[1]}" in site.server.log()


def test_an_address_that_cannot_be_had_changes_nothing(site):
    port = free_port()
    site.config(f"bind = '127.0.0.1:{port}'\n")
    site.start(bind=None)
    with socket.create_server(("127.0.0.1", 0)) as other:
        site.config(f"bind = ['127.0.0.1:{port}', '127.0.0.1:{other.getsockname()[1]}']\n")
        site.hup()
        site.says("The reload is refused and nothing has changed: cannot listen on")
    assert site.content() == "old"


def test_the_addresses_of_a_reload_that_is_given_up_are_closed(site):
    ports = free_port(), free_port()
    site.config(f"bind = '127.0.0.1:{ports[0]}'\n")
    site.start(bind=None)
    site.config(f"bind = '127.0.0.1:{ports[1]}'\n")
    site.code("1 / 0\n")
    site.hup()
    site.says("The reload is given up")
    eventually(lambda: not can_connect(ports[1]))
    assert site.content() == "old"


def test_a_request_under_way_is_answered_by_the_old_worker(site):
    os.mkfifo(site.directory / "gate")
    server = site.start()
    with server.client() as client:
        client.send(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
        eventually((site.directory / "entered").exists)
        site.code(CODE.replace('"old"', '"new"'))
        site.hup()
        site.says("Generation 2 is ready")
        (site.directory / "gate").write_text("")
        assert client.receive_response().content == b"old"
    eventually(lambda: len(server.workers()) == 1)
    assert site.content() == "new"


def test_a_worker_that_gets_ready_during_a_reload_finishes_its_requests(serve, tmp_path):
    for name in ("import", "config", "gate"):
        os.mkfifo(tmp_path / name)
    config = "import os\nif os.path.exists('reloads'):\n    open('reads', 'w').close()\n    open('config').read()\n"
    (tmp_path / "pyserver.conf.py").write_text(config)
    wait = "import os\nif not os.path.exists('imports'):\n    open('imports', 'w').close()\n    open('import').read()\n"
    server = serve(wait + CODE)
    eventually((tmp_path / "imports").exists)
    (first,) = server.workers()
    (tmp_path / "reloads").touch()
    server.send_signal(signal.SIGHUP)
    eventually((tmp_path / "reads").exists)
    (tmp_path / "import").write_text("")
    with server.client() as client:
        client.send(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
        eventually((tmp_path / "entered").exists)
        (tmp_path / "config").write_text("")
        eventually(lambda: "Generation 2 is ready" in server.log())
        assert first in server.workers()
        (tmp_path / "gate").write_text("")
        assert client.receive_response().content == b"old"


def test_many_reloads_at_once_are_few(site):
    server = site.start()
    for _ in range(50):
        site.hup()
        server.send_signal(signal.SIGCHLD)
    site.says("Generation 2 is ready")
    site.code(CODE.replace('"old"', '"new"'))
    site.hup()
    eventually(lambda: site.content() == "new", within=20)
    assert server.log().count("Hang up") < 25
    eventually(lambda: len(server.workers()) == 1, within=20)


def test_a_stop_during_a_reload_is_obeyed(site):
    server = site.start()
    site.code("import threading\nthreading.Event().wait()\n")
    site.hup()
    eventually(lambda: len(server.workers()) == 2)
    assert server.stop() == 0


def test_an_error_log_that_was_moved_is_opened_again(start, tmp_path):
    log = tmp_path / "error.log"

    def says(text):
        return log.exists() and text in log.read_text()

    server = start(CODE, "--log-level", "debug", "--error-logfile", str(log))
    eventually(lambda: says("is ready"))
    log.rename(tmp_path / "error.log.1")
    server.send_signal(signal.SIGHUP)
    eventually(lambda: says("Generation 2 is ready"))
