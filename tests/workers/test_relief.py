"""A worker with requests over their time and others that are not: what the arbiter tells it, and what follows."""

import shutil
import time
from pathlib import Path

import pytest
from support import eventually

TESTS = Path(__file__).parents[1]
APPLICATION = """
    def application(environ, start_response): ...
"""
# Two requests run on its scoreboard as soon as it was sent one: the first is over its time soon, the other never.
SOURCE = """
import time

from plain_worker import PlainWorker
from scoreboards import row_of

class Rows(PlainWorker):
    @classmethod
    def rows(cls, settings):
        return 2

    def _answer(self, request):
        for number, line, more_s in ((0, b"GET /stuck", 0), (1, b"GET /other", 3600)):
            row = row_of(self.scoreboard, self.slot, number)
            row.line, row.busy_since_ns = line, time.monotonic_ns()
            row.alive_ns = row.busy_since_ns + more_s * 10**9
        return b"HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n"

    def _accept(self, listener):
        connection, _ = listener.accept()
        with connection:
            connection.sendall(self._answer(connection.recv(65536)))

class Ending(Rows):
    ends_requests = True

    def relieve(self):
        row_of(self.scoreboard, self.slot, 0).busy_since_ns = 0
        open("relieved", "w").close()

class Deaf(Rows):
    def relieve(self):
        open("relieved", "w").close()
"""


@pytest.fixture
def busy(serve, tmp_path):
    """Start a server with the class of that name, and have its worker run both; with the worker's pid."""
    for source in (TESTS / "workers" / "plain_worker.py", TESTS / "scoreboards.py"):
        shutil.copy(source, tmp_path)
    (tmp_path / "relieved_worker.py").write_text(SOURCE)

    def start(name):
        server = serve(APPLICATION, "-k", f"relieved_worker:{name}", "--timeout", "0.5")
        (pid,) = eventually(server.workers)
        assert server.get().status == 200
        return server, pid

    return start


def test_a_worker_that_ends_the_request_lives_on(busy):
    server, pid = busy("Ending")
    eventually((server.directory / "relieved").exists)
    # Longer than it had been given.
    until = time.monotonic() + 1.5
    eventually(lambda: time.monotonic() > until)
    assert server.workers() == [pid]
    assert f"[ERROR] REQUEST TIMEOUT (pid:{pid}): with a timeout of 0.5 s, it was running GET /stuck" in server.log()
    assert "; besides, 1 within that time" in server.log()
    assert "WORKER TIMEOUT" not in server.log()


def test_a_worker_that_cannot_end_the_request_retires(busy):
    server, pid = busy("Rows")
    eventually(lambda: server.workers() and pid not in server.workers())
    assert f"REQUEST TIMEOUT (pid:{pid})" in server.log()
    assert f"Worker exiting (pid: {pid})" in server.log()
    assert "WORKER TIMEOUT" not in server.log()


def test_a_worker_in_which_the_request_goes_on_is_aborted(busy):
    server, pid = busy("Deaf")
    eventually(lambda: server.workers() and pid not in server.workers())
    before, aborted, _ = server.log().partition(f"WORKER TIMEOUT (pid:{pid}): with a timeout of 0.5 s, it was running")
    assert aborted
    assert f"REQUEST TIMEOUT (pid:{pid})" in before
    assert (server.directory / "relieved").exists()
