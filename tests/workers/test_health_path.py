"""The health path: answered by every class that serves by the engine, without the application."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest
from calls import ASGI
from classes import CLASSES, WorkerClass
from support import Server, eventually

HERE = Path(__file__)
_UVICORN = WorkerClass("uvicorn", ("-k", "uvicorn"))
_NAMES = ["sync", "threaded", "gevent", "uvicorn", *(["asgi"] if sys.platform == "linux" else [])]


def application(environ, start_response):
    """For WSGI: the method and the path, and the content."""
    text = f"application {environ['REQUEST_METHOD']} {environ['PATH_INFO']} ".encode() + environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(text)))])
    return [text]


async def asgi_application(scope, receive, send):
    """The same for ASGI."""
    if scope["type"] != "http":
        return
    content, more = b"", True
    while more:
        message = await receive()
        content, more = content + message["body"], message.get("more_body", False)
    text = f"application {scope['method']} {scope['path']} ".encode() + content
    fields = [(b"content-type", b"text/plain"), (b"content-length", str(len(text)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    await send({"type": "http.response.body", "body": text})


@pytest.fixture(scope="module", params=_NAMES)
def worker_class(request):
    if request.param in ("gevent", "uvicorn"):
        pytest.importorskip(request.param)
    return _UVICORN if request.param == "uvicorn" else CLASSES.get(request.param, ASGI)


def arguments_of(worker_class):
    path = ("--pythonpath", f"{HERE.parents[1]},{HERE.parent}", "--health-path", "/healthz")
    return (*worker_class.arguments, *path, "--access-logfile", "access.log")


def name_of(worker_class):
    return f"{HERE.stem}:{'asgi_application' if worker_class in (ASGI, _UVICORN) else 'application'}"


@pytest.fixture(scope="module")
def shared(worker_class, tmp_path_factory):
    server = Server(name_of(worker_class), *arguments_of(worker_class), directory=tmp_path_factory.mktemp("health"))
    try:
        server.wait_until_listening()
        yield server
    finally:
        print(server.log())
        server.stop()


@pytest.fixture
def client(shared):
    with shared.client() as client:
        yield client


def logged(server):
    return (server.directory / "access.log").read_text()


def test_the_health_path_is_answered_without_the_application(client):
    answer = client.request("GET", "/healthz")
    assert (answer.status, answer.content, answer.field("Content-Length")) == (200, b"ok\n", "3")
    assert answer.field("Cache-Control") == "no-store"


def test_a_query_makes_no_difference_and_head_has_no_content(client):
    assert client.request("GET", "/healthz?now").content == b"ok\n"
    answer = client.request("HEAD", "/healthz")
    assert (answer.status, answer.field("Content-Length"), answer.content) == (200, "3", b"")


@pytest.mark.parametrize(
    ("method", "target", "content"),
    [("GET", "/healthz/", b""), ("GET", "/health", b""), ("OPTIONS", "/healthz", b""), ("GET", "/healthz", b"a")],
)
def test_everything_else_is_the_applications(client, method, target, content):
    answer = client.request(method, target, content=content)
    assert answer.content == f"application {method} {target} ".encode() + content


def test_probes_in_a_pipeline_are_answered_in_their_turn(client):
    requests = ["/healthz", "/a", "/healthz", "/healthz", "/b", "/healthz"]
    client.send("".join(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n" for target in requests).encode())
    contents = [client.receive_response().content.decode() for _ in requests]
    assert contents == ["ok\n", "application GET /a ", "ok\n", "ok\n", "application GET /b ", "ok\n"]


def test_a_probe_may_come_in_pieces_and_ask_for_the_end(client):
    client.send(b"GET /hea")
    client.send(b"lthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    answer = client.receive_response()
    assert (answer.content, answer.field("Connection")) == (b"ok\n", "close")
    assert client.is_closed_by_server()


def test_the_access_log_has_no_probe(shared, client):
    client.request("GET", "/healthz?unseen")
    client.request("GET", "/seen")
    eventually(lambda: "/seen" in logged(shared))
    assert "/healthz?unseen" not in logged(shared)


def test_once_the_server_is_to_stop_the_health_path_says_so(serve, worker_class):
    # The fixture adds what chooses the class.
    arguments = arguments_of(worker_class)[len(worker_class.arguments) :]
    server = serve(name_of(worker_class), *arguments, "--drain-delay", "60", "--health-log")
    with server.client() as client:
        assert client.request("GET", "/healthz").status == 200
        server.begin_to_stop()
        answer = client.request("GET", "/healthz")
        assert (answer.status, answer.content) == (503, b"draining\n")
        assert client.request("GET", "/").content == b"application GET / "
    eventually(lambda: '"GET /healthz HTTP/1.1" 503 ' in logged(server))
    assert '"GET /healthz HTTP/1.1" 200 ' in logged(server)
    assert server.stop(signal.SIGINT) == 0
