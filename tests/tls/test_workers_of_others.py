"""TLS with worker classes that are not ours."""

import pytest
from classes import DEFAULT
from support import Client


@pytest.fixture(scope="module")
def worker_class():
    """The one that each server here chooses."""
    return DEFAULT


ASGI = """
async def application(scope, receive, send):
    if scope["type"] != "lifespan":
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": scope["scheme"].encode()})
"""

def test_uvicorn_does_not_speak_it_at_some_binds_only(start, certificate):
    binds = ("-b", "127.0.0.1:0", "-b", "http://127.0.0.2:0")
    server = start(ASGI, *certificate, "-k", "uvicorn", *binds, "--check-config")
    assert server.wait() == 1
    assert "uvicorn speaks TLS at every bind or at none" in server.log()


@pytest.mark.parametrize(
    ("worker", "source"),
    [
        ("uvicorn", ASGI),
        ("uvicorn_worker.UvicornWorker", ASGI),
        ("gunicorn.workers.sync.SyncWorker", None),
        ("gunicorn.workers.gthread.ThreadWorker", None),
    ],
)
def test_workers_of_others_speak_it(serve, certificate, authority, worker, source):
    source = source or (
        "def application(environ, start_response):\n"
        "    start_response('200 OK', [])\n"
        "    return [environ['wsgi.url_scheme'].encode()]\n"
    )
    server = serve(source, *certificate, "-k", worker)
    with Client(server.address, tls=authority.client()) as client:
        assert client.request("GET", "/").content == b"https"
