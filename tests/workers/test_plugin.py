"""A worker class of somebody else, run by the arbiter: what the base promises to plugins."""

import os
import re
import shutil
import signal
from pathlib import Path

import pytest
from support import eventually

APPLICATION = """
    import os

    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [str(os.getpid()).encode()]
"""


@pytest.fixture
def server(serve, tmp_path):
    """With a class that serves by plain sockets, importable from the start directory."""
    shutil.copy(Path(__file__).with_name("plain_worker.py"), tmp_path)
    started = serve(APPLICATION, "-k", "plain_worker:PlainWorker", "--max-requests", "20")
    assert started.get().status == 200
    return started


def test_it_serves_on_our_listeners(server):
    assert int(server.get().content) in server.workers()
    assert "Using worker: plain_worker:PlainWorker" in server.log()


def test_it_is_reloaded(server):
    before = server.workers()
    server.send_signal(signal.SIGHUP)
    eventually(lambda: server.workers() and not set(before) & set(server.workers()))
    assert server.get().status == 200


def test_a_reload_can_bring_another_class(serve, tmp_path):
    shutil.copy(Path(__file__).with_name("plain_worker.py"), tmp_path)
    config = tmp_path / "pyserver.conf.py"
    config.write_text("worker_class = 'sync'\n")
    server = serve(APPLICATION)
    config.write_text("worker_class = 'plain_worker:PlainWorker'\n")
    server.send_signal(signal.SIGHUP)
    eventually(lambda: "Generation 2 is ready" in server.log())
    assert server.log().count("Using worker: sync") == 1
    assert server.log().count("Using worker: plain_worker:PlainWorker") == 1
    eventually(lambda: server.get().values("Connection") == ["close"])


def test_a_worker_that_is_dismissed_while_it_boots_serves_nobody(serve, tmp_path):
    (tmp_path / "dismissed_worker.py").write_text(
        "import os\n"
        "from pyserver._scoreboard import Cell\n"
        "from pyserver.workers.sync import SyncWorker\n"
        "class Dismissed(SyncWorker):\n"
        "    def boot(self):\n"
        "        super().boot()\n"
        "        if not os.path.exists('booted'):\n"
        "            open('booted', 'w').close()\n"
        "            self.scoreboard.write(self.slot, Cell.DISMISSED, 1)\n"
    )
    server = serve(APPLICATION, "-k", "dismissed_worker:Dismissed")
    answering = server.get().content.decode()
    first, second = re.findall(r"Booting worker with pid: (\d+)", server.log())
    assert answering == second
    assert f"Worker exiting (pid: {first})" in server.log()
    assert "ERROR" not in server.log()


def test_it_asks_for_its_replacement(server):
    first = server.get().content
    eventually(lambda: server.get().content != first)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_obeys_the_verbs(server, number):
    assert server.stop(number) == 0
    assert "Worker exiting" in server.log()


def test_it_ends_with_its_arbiter(server):
    os.kill(server.pid, signal.SIGKILL)
    server.wait()
    eventually(lambda: not server.processes())


def test_a_worker_class_that_raises_while_it_boots_ends_the_server_with_code_3(start, tmp_path):
    (tmp_path / "broken_worker.py").write_text(
        "from pyserver.workers import Worker\n"
        "class Broken(Worker):\n"
        "    def boot(self): raise OSError('no device')\n"
        "    def run(self): pass\n"
    )
    server = start(APPLICATION, "-k", "broken_worker:Broken")
    assert server.wait() == 3
    assert "failed to boot: OSError: no device" in server.log()


def test_a_worker_class_that_gets_ready_in_run_can_fail_to_boot_there(start, tmp_path):
    (tmp_path / "late_worker.py").write_text(
        "from pyserver.workers import Worker\n"
        "class Late(Worker):\n"
        "    gets_ready_in_run = True\n"
        "    def run(self): raise OSError('no device')\n"
    )
    server = start(APPLICATION, "-k", "late_worker:Late")
    assert server.wait() == 3
    assert "failed to boot: OSError: no device" in server.log()


def test_a_worker_that_gets_ready_in_run_replaces_another_only_then(serve, tmp_path):
    config = tmp_path / "pyserver.conf.py"
    config.write_text("worker_class = 'sync'\n")
    (tmp_path / "late_worker.py").write_text(
        "import os\n"
        "from plain_worker import PlainWorker\n"
        "class Late(PlainWorker):\n"
        "    gets_ready_in_run = True\n"
        "    def run(self):\n"
        "        open('gate').close()\n"
        "        self.note_ready()\n"
        "        super().run()\n"
    )
    shutil.copy(Path(__file__).with_name("plain_worker.py"), tmp_path)
    os.mkfifo(tmp_path / "gate")
    server = serve(APPLICATION)
    first = int(server.get().content)
    config.write_text("worker_class = 'late_worker:Late'\n")
    server.send_signal(signal.SIGHUP)
    eventually(lambda: len(server.workers()) == 2)
    assert int(server.get().content) == first
    (tmp_path / "gate").write_bytes(b"")
    eventually(lambda: server.workers() and first not in server.workers())
    assert int(server.get().content) in server.workers()


def test_a_worker_class_that_raises_while_it_serves_is_replaced(start, tmp_path):
    (tmp_path / "broken_worker.py").write_text(
        "from pyserver.workers import Worker\n"
        "class Broken(Worker):\n"
        "    def run(self): raise OSError('device lost')\n"
    )
    # None of them lives long enough to be seen.
    server = start(APPLICATION, "-k", "broken_worker:Broken")
    eventually(lambda: server.log().count("OSError: device lost") >= 2)
    assert "exited with code 255" in server.log()
    assert server.is_running()
