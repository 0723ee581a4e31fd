"""The example of docs/plugins.md, run as it stands there."""

import re
import signal
from pathlib import Path

import pytest
from support import eventually

PAGE = Path(__file__).parents[2] / "docs" / "plugins.md"
APPLICATION = """
    import os, time

    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        if environ["PATH_INFO"] == "/hang":
            open("hanging", "w").close()
            time.sleep(60)
        return [str(os.getpid()).encode()]
"""


@pytest.fixture
def start_with_it(start, tmp_path):
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    (tmp_path / "wsgiref_worker.py").write_text(example, "utf-8")
    return lambda *arguments: start(APPLICATION, "-k", "wsgiref_worker:WsgirefWorker", *arguments)


@pytest.fixture
def serve_with_it(start_with_it):
    def served(*arguments):
        server = start_with_it(*arguments)
        server.wait_until_listening()
        assert server.get().status == 200
        return server

    return served


def test_it_takes_its_option(serve_with_it):
    server = serve_with_it("--worker-option", "slowest=0.1")
    with server.client() as client:
        # It waits for the rest of the request no longer than that.
        client.send(b"GET / HTTP/1.1\r\n")
        assert client.is_closed_by_server()


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ("slowset=1", "worker_options has slowset, which WsgirefWorker does not know; did you mean slowest?"),
        ("colour=red", "worker_options has colour, which WsgirefWorker does not know; there are: slowest"),
        ("slowest=soon", "worker_options: slowest is 'soon', not a number"),
    ],
)
def test_an_option_that_it_does_not_take_is_refused_in_one_line(start_with_it, option, reason):
    server = start_with_it("--worker-option", option)
    assert server.wait() == 1
    assert server.log() == f"pyserver: {reason}\n"


def test_it_is_reloaded(serve_with_it):
    server = serve_with_it()
    before = server.workers()
    server.send_signal(signal.SIGHUP)
    eventually(lambda: server.workers() and not set(before) & set(server.workers()))
    assert server.get().status == 200


def test_it_is_replaced_after_max_requests(serve_with_it):
    server = serve_with_it("--max-requests", "5")
    first = server.get().content
    eventually(lambda: server.get().content != first)


def test_its_requests_have_their_timeout(serve_with_it, tmp_path):
    server = serve_with_it("--timeout", "0.5")
    with server.client() as client:
        client.send(b"GET /hang HTTP/1.1\r\nHost: a\r\n\r\n")
        eventually((tmp_path / "hanging").exists)
        eventually(lambda: "in application" in server.log())
    eventually(lambda: server.get().status == 200)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_obeys(serve_with_it, number):
    server = serve_with_it("-w", "2")
    assert server.stop(number) == 0
    assert "Worker exiting" in server.log()
