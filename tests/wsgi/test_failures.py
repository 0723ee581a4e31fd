"""Errors of an application: what the client sees of them, what the log says, and that the worker goes on."""

import sys

import pytest
from sharing import Routes

application = Routes()
PLAIN = [("Content-Type", "text/plain")]


class Base(BaseException):
    pass


def raising(name, error):
    def handler(_environ, _start_response):
        raise error

    handler.__name__ = name
    application.route(handler)


RAISED = {
    "value": ValueError("a secret of the application"),
    "exit": SystemExit(3),
    "interrupt": KeyboardInterrupt(),
    "stop": StopIteration(),
    "base": Base("base"),
    "disconnected": BrokenPipeError("of a database"),
    "odd": UnicodeDecodeError("utf-8", b"\xff", 0, 1, "odd"),
}
for raised in RAISED.items():
    raising(*raised)


@application.route
def exits_in_a_generator(_environ, start_response):
    start_response("200 OK", PLAIN)
    yield b"first"
    sys.exit(1)


@application.route
def recurses(environ, start_response):
    return recurses(environ, start_response)


@application.route
def after_start_response(_environ, start_response):
    start_response("200 OK", [("X-Meant", "1")])
    raise ValueError("after start_response")


@application.route
def after_write(_environ, start_response):
    start_response("200 OK", PLAIN)(b"written")
    raise ValueError("after write")


@pytest.mark.parametrize("name", RAISED)
def test_what_an_application_raises_is_a_500(server, name):
    with server.client() as client:
        response = client.request("GET", f"/{name}")
        assert (response.status, response.content) == (500, b"Internal Server Error\n")
    assert f"Error handling request GET /{name}\nTraceback (most recent call last):" in server.log()


@pytest.mark.parametrize("name", RAISED)
def test_a_worker_goes_on_after_what_an_application_raises(server, name):
    workers = server.workers()
    server.get(f"/{name}")
    assert server.get("/").status == 200
    assert server.workers() == workers


def test_the_traceback_is_in_the_log_and_not_in_the_response(server):
    response = server.get("/value")
    assert b"secret" not in response.content
    assert "ValueError: a secret of the application" in server.log()


def test_the_answer_to_head_has_no_content_when_it_is_a_500(server):
    with server.client() as client:
        client.send(b"HEAD /value HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.receive_response("HEAD").status == 500
        assert client.is_closed_by_server()


def test_endless_recursion_is_a_500(server):
    assert server.get("/recurses").status == 500
    assert server.get("/").status == 200


def test_the_fields_of_a_response_that_failed_are_not_sent(server):
    response = server.get("/after_start_response")
    assert (response.status, response.values("X-Meant")) == (500, [])


def test_a_response_that_has_begun_is_cut(server):
    with server.client() as client:
        client.send(b"GET /after_write HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.read_until_closed().endswith(b"\r\n\r\n7\r\nwritten\r\n")
    assert "ValueError: after write" in server.log()


def test_an_exit_in_a_generator_cuts_the_response_alone(server):
    with server.client() as client:
        client.send(b"GET /exits_in_a_generator HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.read_until_closed().endswith(b"\r\n\r\n5\r\nfirst\r\n")
    assert server.get("/").status == 200


def test_a_500_ends_the_connection(server):
    with server.client() as client:
        client.send(b"GET /value HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.receive_response().status == 500
        assert client.is_closed_by_server()


# ---- wsgi.errors ----


@application.route
def says(environ, start_response):
    environ["wsgi.errors"].write("written by the application: \xe4\u20ac\udc80\n")
    environ["wsgi.errors"].writelines(["one ", "two\n"])
    environ["wsgi.errors"].flush()
    print("printed by the application", file=environ["wsgi.errors"])
    start_response("200 OK", PLAIN)
    return []


def test_wsgi_errors_is_the_error_log(server):
    server.get("/says")
    log = server.log()
    assert "written by the application: \xe4\u20ac\\udc80\n" in log
    assert "one two\n" in log
    assert "printed by the application\n" in log
