"""--preload: a mold imports the application once, and the workers that it forks are the arbiter's."""

import os
import re
import signal
import socket
import sys
import textwrap
import threading
from pathlib import Path

import pytest
from classes import only, with_each_class
from support import eventually

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a mold needs a subreaper")

CODE = """
import os
with open("imports", "a") as file:
    print(os.getpid(), file=file)
importer = os.getpid()

def application(environ, start_response):
    if environ["PATH_INFO"] == "/held":
        open("entered", "w").close()
        open("gate").close()
    about = {
        "/": "old",
        "/pids": f"{importer} {os.getpid()} {os.getppid()}",
        "/slot": os.environ["PYSERVER_SLOT"],
        "/held": os.environ["PYSERVER_SLOT"],
    }
    text = about[environ["PATH_INFO"]]
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(text)))])
    return [text.encode()]
"""


class Site:
    """A server with --preload, whose code is changed under it."""

    def __init__(self, serve, directory):
        self.directory = directory
        self._serve = serve

    def start(self, *arguments, code=CODE, workers=1, **options):
        self.code(code)
        more = ("--preload", "--log-level", "debug", "-w", str(workers))
        self.server = self._serve("site_under_test:application", *more, *arguments, **options)
        self.is_ready(workers)
        return self.server

    def code(self, text):
        (self.directory / "site_under_test.py").write_text(textwrap.dedent(text))

    def hup(self):
        self.server.send_signal(signal.SIGHUP)

    def says(self, text, within=10.0):
        eventually(lambda: text in self.server.log(), within)

    def is_ready(self, times):
        eventually(lambda: self.server.log().count(") is ready") == times, 10.0)

    def content(self, target="/"):
        return self.server.get(target).content.decode()

    def imports(self):
        return [int(pid) for pid in (self.directory / "imports").read_text().split()]

    def mold(self):
        """The pid of the last one."""
        return int(re.findall(r"Booting mold with pid: (\d+)", self.server.log())[-1])

    def workers(self):
        """The pids of those that were forked, oldest first."""
        return list(map(int, re.findall(r"Booting worker with pid: (\d+)", self.server.log())))

    def kill(self, pid):
        os.kill(pid, signal.SIGKILL)


@pytest.fixture
def site(serve, tmp_path):
    return Site(serve, tmp_path)


@with_each_class
def test_the_application_is_imported_once_and_the_workers_are_the_arbiters(site):
    server = site.start(workers=3)
    assert site.imports() == [site.mold()]
    importer, worker, parent = map(int, site.content("/pids").split())
    assert importer == site.mold()
    assert worker in site.workers()
    assert parent == server.pid
    # Nothing is left of the processes in between.
    eventually(lambda: sorted(server.workers()) == sorted([site.mold(), *site.workers()]))


def test_each_worker_has_a_number_of_its_own(site):
    os.mkfifo(site.directory / "gate")
    server = site.start(workers=2)
    with server.client() as client:
        client.send(b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n")
        eventually((site.directory / "entered").exists)
        slot = site.content("/slot")
        (site.directory / "gate").write_text("")
        assert sorted([slot, client.receive_response().content.decode()]) == ["0", "1"]


def descriptors(pid):
    """What a process has open besides files, by kind."""
    names = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
    return sorted(name.partition(":[")[0] for name in names if not name.startswith("/"))


@with_each_class
def test_a_worker_has_no_descriptor_of_another_one(site):
    site.start(workers=3)
    first, *others = map(descriptors, site.workers())
    assert others == [first, first]
    # A listener, its own channel, and the two ends of the commons.
    assert first.count("socket") == 4


@with_each_class
def test_hup_makes_a_new_mold_with_the_new_code_and_ends_the_old_one(site):
    server = site.start(workers=2)
    old = site.mold()
    site.code(CODE.replace('"old"', '"new"'))
    site.hup()
    site.says("Generation 2 is ready")
    eventually(lambda: len(server.workers()) == 3 and site.content() == "new", 10.0)
    assert old not in server.workers()
    assert site.mold() in server.workers()
    assert site.imports() == [old, site.mold()]


def test_an_application_that_cannot_be_imported_ends_the_server_with_its_traceback(start):
    server = start("1 / 0\n", "--preload", "-w", "4")
    assert server.wait() == 4
    assert server.processes() == []
    log = server.log()
    assert "failed to boot: module 'application_0' cannot be imported: ZeroDivisionError: division by zero" in log
    assert log.count(") failed to boot") == log.count("Traceback (most recent call last)") == 1
    assert "/pyserver/" not in log


def test_what_an_import_prints_before_it_fails_is_not_lost(start):
    server = start("print('no database', end='')\nraise SystemExit(1)\n", "--preload")
    assert server.wait() == 4
    assert "no database" in server.log()


@pytest.mark.parametrize("code", ["1 / 0\n", "import sys\nsys.exit()\n", "import os\nos._exit(1)\n"])
def test_hup_with_a_broken_application_keeps_the_old_workers_and_their_mold(site, code):
    server = site.start(workers=2)
    before = {site.mold(), *site.workers()}
    site.code(code)
    site.hup()
    site.says("The reload is given up after 3 failed boots")
    eventually(lambda: set(server.workers()) == before)
    site.kill(site.workers()[0])
    site.is_ready(3)
    assert site.content() == "old"


def test_an_import_that_takes_too_long_is_ended_with_its_stack(start):
    server = start("import threading\nthreading.Event().wait()\n", "--preload", "--boot-timeout", "1")
    assert server.wait() == 3
    log = server.log()
    assert "MOLD BOOT TIMEOUT" in log
    assert 'application_0.py", line 2 in <module>' in log
    assert "failed to boot: it crashed with SIGABRT" in log


def test_workers_are_replaced_without_another_import(site):
    site.start(workers=2)
    site.kill(site.workers()[0])
    site.is_ready(3)
    assert site.imports() == [site.mold()]


@with_each_class
def test_max_requests_replaces_workers_without_another_import(site):
    site.start("--max-requests", "3")
    eventually(lambda: site.content() == "old" and len(site.workers()) > 3)
    assert site.imports() == [site.mold()]


def test_a_mold_that_was_killed_is_made_anew_when_a_worker_is_needed(site):
    server = site.start(workers=2)
    old = site.mold()
    site.kill(old)
    site.says(f"Mold (pid:{old}) was ended by SIGKILL")
    eventually(lambda: sorted(server.workers()) == sorted(site.workers()))
    site.kill(site.workers()[0])
    site.is_ready(3)
    assert site.imports() == [old, site.mold()]
    eventually(lambda: len(server.workers()) == 3)


def test_nothing_is_lost_when_the_mold_is_killed_under_load(site):
    server = site.start("--max-requests", "20", workers=2)
    statuses, failures, killed = [], [], set()

    def visit():
        try:
            while len(killed) < 3:
                statuses.append(server.get().status)
        except (OSError, EOFError) as error:
            failures.append(error)

    def kill_the_next():
        mold = site.mold()
        if mold not in killed:
            killed.add(mold)
            site.kill(mold)
        return len(killed) == 3

    visitors = [threading.Thread(target=visit) for _ in range(4)]
    for visitor in visitors:
        visitor.start()
    try:
        eventually(kill_the_next, 30.0)
    finally:
        killed.update(range(3))
        for visitor in visitors:
            visitor.join()
    assert failures == []
    assert set(statuses) == {200}


@only("sync", "threaded")
def test_threads_and_connections_that_the_import_leaves_are_named(site):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        site.start(
            code=f"import socket, threading\nconnection = socket.create_connection(('127.0.0.1', {port}))\n"
             "threading.Thread(target=threading.Event().wait, name='reporter', daemon=True).start()\n"
            + CODE,
            workers=2,
        )
    log = site.server.log()
    assert log.count("the application has a thread that will not exist in workers: reporter") == 1
    assert log.count(f"a connection to 127.0.0.1:{port} is shared by all workers: open it after the fork") == 1


def test_a_worker_that_dies_before_anybody_knows_it_is_missed(site):
    # The first child is the process between mold and worker, the second the worker.
    site.start(
        code="""
        import os
        depth = 0

        def note_fork():
            global depth
            depth += 1
            if depth == 2 and os.path.exists("fatal"):
                os._exit(9)

        os.register_at_fork(after_in_child=note_fork)
        """
        + textwrap.indent(CODE, " " * 8)
    )
    (site.directory / "fatal").touch()
    site.kill(site.workers()[0])
    site.says("failed to boot: it exited with code 9")
    (site.directory / "fatal").unlink()
    eventually(lambda: site.server.log().count(") is ready") == 2, 20.0)
    assert site.content() == "old"


def test_a_mold_that_does_not_fork_is_replaced(site):
    # Stopped, it takes orders and does not answer: the worker is missed when its time to boot is over.
    server = site.start("--boot-timeout", "3", workers=2)
    old = site.mold()
    os.kill(old, signal.SIGSTOP)
    site.kill(site.workers()[0])
    site.says("failed to boot: its mold has not forked it")
    site.is_ready(3)
    assert site.mold() != old
    eventually(lambda: old not in server.processes())


def test_what_the_import_prints_is_printed_once(site):
    server = site.start(code="print('imported', end='')\n" + CODE, workers=2)
    assert server.stop() == 0
    assert server.log().count("imported") == 1


def test_what_the_application_does_at_its_end_is_done_by_workers_only(site):
    server = site.start(
        code="import atexit, os\natexit.register(lambda: open(f'ended-{os.getpid()}', 'w').close())\n" + CODE, workers=2
    )
    assert server.stop() == 0
    ended = {int(path.name.partition("-")[2]) for path in site.directory.glob("ended-*")}
    assert ended == set(site.workers())


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH])
def test_a_mold_survives_what_is_sent_to_everybody(site, number):
    site.start()
    os.kill(site.mold(), number)
    site.kill(site.workers()[0])
    site.is_ready(2)
    assert site.imports() == [site.mold()]


def test_workers_of_a_mold_log_to_the_file_that_was_opened_again(start, tmp_path):
    log = tmp_path / "error.log"

    def says(text):
        return log.exists() and text in log.read_text()

    server = start(CODE, "--preload", "--log-level", "debug", "--error-logfile", str(log))
    eventually(lambda: says(") is ready"))
    (worker,) = map(int, re.findall(r"Booting worker with pid: (\d+)", log.read_text()))
    log.rename(tmp_path / "error.log.1")
    server.send_signal(signal.SIGUSR1)
    eventually(log.exists)
    os.kill(worker, signal.SIGKILL)
    eventually(lambda: says("Booting worker with pid: "))


def test_a_stop_while_the_mold_loads_is_obeyed(start):
    server = start("open('loading', 'w').close()\nimport threading\nthreading.Event().wait()\n", "--preload")
    eventually((server.directory / "loading").exists)
    assert server.stop() == 0


@pytest.mark.parametrize("code", [CODE, "import threading\nthreading.Event().wait()\n"])
def test_a_mold_ends_with_its_arbiter(start, code):
    server = start(code, "--preload")
    eventually(lambda: "Booting " in server.log() and server.workers())
    server.send_signal(signal.SIGKILL)
    server.wait()
    eventually(lambda: not server.processes(), 10.0)


def test_a_server_without_preload_has_no_mold(serve):
    server = serve(CODE, "-w", "2")
    eventually(lambda: server.log().count("Booting worker") == 2)
    assert "mold" not in server.log()


WARM = CODE.replace("importer = os.getpid()", "importer = os.getpid()\nseen = []").replace(
    '    text = about', '    seen.append(os.getpid())\n    about["/seen"] = str(len(set(seen)))\n    text = about'
)


def refork(site, times=1):
    site.server.send_signal(signal.SIGRTMIN)
    eventually(lambda: site.server.log().count("takes over") == times, 10.0)


def test_a_warm_worker_becomes_the_next_mold_and_all_workers_come_from_it(site):
    server = site.start(code=WARM, workers=2)
    (old,) = site.imports()
    workers = site.workers()
    assert site.content() == "old"
    refork(site)
    # What a worker has done before is there in its successors.
    eventually(lambda: server.workers() and not {old, *workers} & set(server.workers()), 15.0)
    eventually(lambda: len(server.workers()) == 3)
    assert site.content("/seen") == "2"
    assert site.imports() == [old]
    assert int(site.content("/pids").split()[2]) == server.pid


def test_a_reforked_mold_is_the_arbiters_and_can_be_reforked_again(site):
    server = site.start(code=WARM)
    for times in (1, 2):
        before = set(server.workers())
        assert site.content() == "old"
        refork(site, times)
        eventually(lambda before=before: not before & set(server.workers()) and len(server.workers()) == 2, 15.0)
    assert site.content() == "old"
    status = Path(f"/proc/{site.mold()}/status").read_text()
    assert f"PPid:\t{server.pid}\n" in status


def test_no_request_is_lost_by_a_refork(site):
    server = site.start(workers=2)
    statuses, failures = [], []

    def visit():
        try:
            with server.client() as client:
                for _ in range(300):
                    response = client.request("GET")
                    statuses.append(response.status)
                    if response.field("Connection") == "close":
                        client.close()
                        client.__init__(server.address)
        except (OSError, EOFError) as error:
            failures.append(error)

    visitors = [threading.Thread(target=visit) for _ in range(3)]
    for visitor in visitors:
        visitor.start()
    refork(site)
    for visitor in visitors:
        visitor.join()
    assert failures == []
    assert statuses == [200] * 900


def test_a_reforked_mold_holds_nothing_of_the_worker(site):
    server = site.start()
    before = eventually(lambda: descriptors(site.mold()))
    with server.client() as client:
        assert client.request("GET").content == b"old"
        refork(site)
        # But for a moment the end of the channel of a worker that it forks.
        eventually(lambda: descriptors(site.mold()) == before)
        assert "is shared by all workers" not in server.log()
        assert client.request("GET").content == b"old"


def test_a_refork_without_preload_is_refused(serve):
    server = serve(CODE)
    server.send_signal(signal.SIGRTMIN)
    eventually(lambda: "Nothing is reforked: no preload" in server.log())
    assert server.get().status == 200


def test_a_connection_that_a_warm_worker_has_opened_is_named(site):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        opening = f"    import socket\n    kept.append(socket.create_connection(('127.0.0.1', {port})))\n"
        site.start(code="kept = []\n" + CODE.replace("    text = about", opening + "    text = about"))
        assert site.content() == "old"
        refork(site)
    site.says(f"a connection to 127.0.0.1:{port} is shared by all workers")


def test_hup_after_a_refork_imports_the_application_anew(site):
    server = site.start()
    refork(site)
    site.code(CODE.replace('"old"', '"new"'))
    site.hup()
    site.says("Generation 2 is ready")
    eventually(lambda: len(server.workers()) == 2 and site.content() == "new", 10.0)


def test_a_stop_after_a_refork_leaves_nothing(site):
    server = site.start()
    refork(site)
    assert server.stop() == 0
    assert server.processes() == []


def test_a_worker_that_was_killed_while_it_should_become_a_mold_changes_nothing(site):
    os.mkfifo(site.directory / "gate")
    server = site.start(workers=1)
    old = site.mold()
    with server.client() as client:
        client.send(b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n")
        eventually((site.directory / "entered").exists)
        server.send_signal(signal.SIGRTMIN)
        site.says("becomes the image of the next mold")
        site.kill(site.workers()[0])
    site.says("The refork has failed")
    site.is_ready(2)
    assert site.mold() == old
    assert site.content() == "old"
