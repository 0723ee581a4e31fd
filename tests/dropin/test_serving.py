"""Settings of gunicorn's that show in what is served: each has a server, and does what it does there."""

import sys

import pytest
from calls import ASGI
from classes import DEFAULT
from support import Client

WSGI_APPLICATION = """
    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [f"{environ['REQUEST_METHOD']} {environ.get('HTTP_X')}".encode()]
    """
ASGI_APPLICATION = """
    async def application(scope, receive, send):
        if scope["type"] == "http":
            said = f"{scope['method']} {dict(scope['headers']).get(b'x', b'None').decode()}"
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": said.encode()})
    """
FOLDED = b"%s / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX: b\r\n c\r\n\r\n"
with_both = pytest.mark.parametrize(
    "worker_class",
    [
        DEFAULT,
        pytest.param(ASGI, marks=pytest.mark.skipif(sys.platform != "linux", reason="the asgi class waits with epoll")),
    ],
    ids=lambda row: row.name,
    indirect=True,
)


@with_both
def test_methods_are_put_in_upper_case_and_lines_unfolded_where_that_is_asked_for(serve, worker_class):
    application = ASGI_APPLICATION if worker_class is ASGI else WSGI_APPLICATION
    server = serve(application, "--casefold-http-method", "--permit-obsolete-folding")
    with server.client() as client:
        client.send(FOLDED % b"get")
        assert client.receive_response().content == b"GET b   c"
    with server.client() as client:
        # Each byte by itself, so that the server meets the line end before it can tell whether the value goes on.
        for byte in FOLDED % b"get":
            client.send(bytes([byte]))
        assert client.receive_response().content == b"GET b   c"
    with server.client() as client:
        client.send(FOLDED % b"head")
        # No content, which the client would take for the next response.
        assert client.receive_response("HEAD").status == 200


def test_a_folded_line_is_refused_otherwise(serve):
    server = serve(WSGI_APPLICATION)
    with server.client() as client:
        client.send(FOLDED % b"GET")
        assert client.receive_response().status == 400


def test_two_servers_can_share_a_port(serve):
    first = serve(WSGI_APPLICATION, "--reuse-port")
    host, port = first.address
    second = serve(WSGI_APPLICATION, "--reuse-port", "-b", f"{host}:{port}")
    assert first.stop() == 0
    with Client(second.address) as client:
        assert client.request("GET").content == b"GET None"


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is where titles are seen")
@pytest.mark.parametrize(
    ("arguments", "name"), [((), b"[application_0:application]"), (("--default-proc-name", "shop"), b"[shop]")]
)
def test_a_title_has_the_name_that_there_is(serve, arguments, name):
    server = serve(WSGI_APPLICATION, *arguments)
    with open(f"/proc/{server.pid}/cmdline", "rb") as title:
        assert name in title.read()
