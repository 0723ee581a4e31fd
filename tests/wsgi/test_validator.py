"""Applications under wsgiref.validate, which checks our side of PEP 3333."""

from pathlib import Path
from wsgiref.validate import validator

import pytest
from sharing import Routes

from pyserver.demo import application as demo

plain = Routes()
PLAIN = [("Content-Type", "text/plain")]


def application(environ, start_response):
    if environ["PATH_INFO"].startswith("/demo"):
        environ["PATH_INFO"] = environ["PATH_INFO"].removeprefix("/demo")
        environ["SCRIPT_NAME"] = "/demo"
        return validator(demo)(environ, start_response)
    return validator(plain)(environ, start_response)


@plain.route
def echo(environ, start_response):
    start_response("200 OK", PLAIN)
    return [environ["wsgi.input"].read(10), environ["wsgi.input"].readline(), *environ["wsgi.input"]]


@plain.route
def written(_environ, start_response):
    start_response("200 OK", PLAIN)(b"written ")
    return [b"returned"]


@plain.route
def generated(_environ, start_response):
    start_response("200 OK", PLAIN)
    yield b"one "
    yield b"two"


@plain.route
def complains(environ, start_response):
    environ["wsgi.errors"].write("complaint\n")
    environ["wsgi.errors"].writelines(["one\n", "two\n"])
    environ["wsgi.errors"].flush()
    start_response("200 OK", PLAIN)
    return [b"done"]


@plain.route
def file(environ, start_response):
    Path("file").write_bytes(b"in a file")
    start_response("200 OK", [*PLAIN, ("Content-Length", "9")])
    return environ["wsgi.file_wrapper"](Path("file").open("rb"))


@plain.route
def nothing(_environ, start_response):
    start_response("204 No Content", [])
    return []


@pytest.fixture
def server(serving):
    server = serving("--request-buffer", "5", "-w", "1")
    yield server
    assert "AssertionError" not in server.log()


@pytest.mark.parametrize(
    ("target", "content"),
    [("/written", b"written returned"), ("/generated", b"one two"), ("/complains", b"done"), ("/file", b"in a file")],
)
def test_the_validator_is_content_with_a_response(server, target, content):
    with server.client() as client:
        assert client.request("GET", target).content == content
        assert client.request("HEAD", target).status == 200


@pytest.mark.parametrize("content", [b"", b"abc", b"a line\nand another\nand the last"])
def test_the_validator_is_content_with_the_input(server, content):
    with server.client() as client:
        assert client.request("POST", "/echo", content=content).content == content


def test_the_validator_is_content_with_no_content(server):
    assert server.get("/nothing").status == 204


def test_the_validator_is_content_with_options(server):
    with server.client() as client:
        client.send(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.receive_response().status == 500  # The path is none of ours; it passed the validator.
    assert "KeyError: ''" in server.log()


@pytest.mark.parametrize("target", ["/", "/health", "/nowhere", "/slow?seconds=0", "/%C3%A4?q=%20"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_the_validator_is_content_with_the_demo(server, method, target):
    with server.client() as client:
        assert client.request(method, f"/demo{target}").status in (200, 404, 405)


def test_the_validator_is_content_with_the_echo_of_the_demo(server):
    with server.client() as client:
        assert client.request("POST", "/demo/echo", content=b"hello" * 1000).content == b"hello" * 1000
