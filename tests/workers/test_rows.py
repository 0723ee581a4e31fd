"""Workers that run several requests at once, across a reload that changes how many."""

import os
import shutil
import signal
from pathlib import Path

import pytest
from support import eventually

APPLICATION = """
    def application(environ, start_response): ...
"""


@pytest.fixture
def server(serve, tmp_path):
    """Reloaded, so that each new worker runs four requests at once; the old one is in a request for `/wait`."""
    os.mkfifo(tmp_path / "gate")
    for name in ("plain_worker.py", "rows_worker.py"):
        shutil.copy(Path(__file__).with_name(name), tmp_path)
    config = tmp_path / "pyserver.conf.py"
    config.write_text("threads = 1\n")
    server = serve(APPLICATION, "-k", "rows_worker:RowsWorker")
    rows, old = server.get().content.split()
    assert rows == b"1"
    # Writable from the start, so that nobody waits to open it, and at its end when the test is.
    with open(tmp_path / "gate", "r+b", buffering=0), server.client() as client:
        client.send(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
        eventually((tmp_path / "entered1").exists)
        config.write_text("threads = 4\n")
        server.send_signal(signal.SIGHUP)
        eventually(lambda: "Generation 2 is ready" in server.log())
        server.old = int(old)
        yield server


def test_new_workers_have_a_row_for_each_request(server):
    assert server.get().content.split()[0] == b"4"


def test_of_the_old_and_the_new_is_known_what_they_do(server):
    new = int(server.get().content.split()[1])
    with server.client() as client:
        client.send(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
        eventually((server.directory / "entered2").exists)
        for pid in (server.old, new):
            os.kill(pid, signal.SIGKILL)
            eventually(lambda pid=pid: f"Worker (pid:{pid}) was ended by SIGKILL" in server.log())
    server.stop()
    assert "2 abandoned" in server.log()
