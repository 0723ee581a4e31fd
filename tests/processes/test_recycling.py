"""max_requests: a worker is replaced after so many, and its successor is ready before it goes."""

from classes import each_class as worker_class
from classes import only
from support import eventually

__all__ = ["worker_class"]

APPLICATION = """
    import os

    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [str(os.getpid()).encode()]
"""

# The second import waits until somebody writes to the pipe `gate`.
GATED = """
    import os

    try:
        os.mkfifo("gate")
    except FileExistsError:
        with open("gate") as gate:
            gate.read()
"""


def test_a_worker_is_replaced_after_so_many_requests(serve):
    server = serve(APPLICATION, "--max-requests", "3")
    first = server.get().content
    eventually(lambda: server.get().content != first)
    assert f"Worker (pid:{int(first)}) has served its number of requests and is replaced" in server.log()
    eventually(lambda: int(first) not in server.workers())


def test_without_the_setting_a_worker_stays(serve):
    server = serve(APPLICATION)
    assert len({server.get().content for _ in range(20)}) == 1


def test_no_request_is_lost_while_workers_are_replaced(serve):
    server = serve(APPLICATION, "--max-requests", "5", "-w", "2")
    assert [server.get().status for _ in range(60)] == [200] * 60


def test_a_worker_serves_until_its_successor_is_ready(serve, tmp_path):
    server = serve(GATED + APPLICATION, "--max-requests", "2")
    first = server.get().content
    server.get()
    eventually(lambda: len(server.workers()) == 2)
    assert {server.get().content for _ in range(5)} == {first}
    (tmp_path / "gate").write_text("")
    eventually(lambda: server.get().content != first)


def test_a_limit_that_fresh_workers_exceed_is_said_and_slowed_down(serve):
    server = serve(APPLICATION, "--max-worker-memory", "1M")
    eventually(lambda: "Workers end as fast as they start" in server.log(), within=15)
    assert server.get().content


@only("sync")
def test_a_short_lifetime_is_no_crash_loop(serve):
    server = serve(APPLICATION, "--max-worker-lifetime", "600ms")
    eventually(lambda: server.log().count("has served for max_worker_lifetime and is replaced") > 2, within=20)
    assert "Workers end as fast as they start" not in server.log()
