"""Applications that do what they should not: their own response suffers, and the worker goes on."""

import os
import signal
import subprocess
import sys

import pytest
from sharing import Routes, descriptors, is_idle
from support import eventually

application = Routes()
PLAIN = [("Content-Type", "text/plain")]
kept = []
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")


# ---- start_response ----


@application.route
def writes_without_a_head(_environ, start_response):
    write = start_response("200 OK", PLAIN)
    try:
        start_response("500 Oh", [("X-Bad\n", "1")], (ValueError, ValueError(), None))
    except Exception:
        write(b"content without a head")
    return []


def test_what_is_written_after_start_response_has_failed_is_not_sent(server):
    with server.client() as client:
        response = client.request("GET", "/writes_without_a_head", [("Connection", "close")])
        assert (response.status, response.content) == (500, b"Internal Server Error\n")
        assert client.is_closed_by_server()
    assert "write() was called although start_response() has failed" in server.log()


@application.route
def keeps_self(_environ, start_response):
    kept[:] = [start_response.__self__]
    start_response("200 OK", PLAIN)
    return [b"kept"]


@application.route
def writes_to_kept_self(_environ, start_response):
    start_response("200 OK", PLAIN)
    try:
        kept[0].write(b"from an earlier request")
    except Exception as error:
        return [str(error).encode()]
    return [b"written"]


def test_what_start_response_is_bound_to_does_not_speak_for_another_request(server):
    with server.client() as client:
        assert client.request("GET", "/keeps_self").content == b"kept"
        response = client.request("GET", "/writes_to_kept_self")
        assert response.content == b"write() was called after the response was complete"


# ---- environ ----


class Unprintable:
    def __str__(self):
        raise RuntimeError("has no text")


@application.route
def unprintable(environ, start_response):
    environ["x"] = Unprintable()
    start_response("200 OK", PLAIN)
    return [b"content"]


@application.route
def number_as_a_key(environ, start_response):
    environ[1] = 2
    start_response("200 OK", PLAIN)
    return [b"content"]


ACCESS = ("--access-logfile", "access.log", "--access-logformat", "%(U)s %({x}e)s")


def test_a_variable_that_cannot_be_printed_is_an_entry_in_the_error_log(serving):
    server = serving(*ACCESS)
    with server.client() as client:
        for _ in range(2):
            assert client.request("GET", "/unprintable").content == b"content"
    eventually(lambda: server.log().count("Error in the access log of GET /unprintable") == 2)
    assert "RuntimeError: has no text" in server.log()


def test_a_variable_with_a_number_for_its_name_is_none_of_those_that_are_printed(serving):
    server = serving(*ACCESS)
    with server.client() as client:
        assert client.request("GET", "/number_as_a_key").content == b"content"
        assert client.request("GET", "/").status == 200
    eventually(lambda: "/number_as_a_key -\n" in (server.directory / "access.log").read_text())
    assert "/number_as_a_key" not in server.log()


# ---- signals and processes ----


class AlarmError(Exception):
    pass


def raise_alarm(_number, _frame):
    raise AlarmError("of the application")


if "PYSERVER_SLOT" in os.environ:
    # In a worker, by the only thread that may.
    signal.signal(signal.SIGALRM, raise_alarm)


@linux_only
def test_a_signal_handler_that_raises_between_requests_is_an_entry_in_the_error_log(server):
    (worker,) = server.workers()
    with server.client() as client:
        client.request("GET", "/")
        eventually(lambda: is_idle(worker))
        os.kill(worker, signal.SIGALRM)
        eventually(lambda: "AlarmError: of the application" in server.log())
        assert client.request("GET", "/").status == 200
    assert server.workers() == [worker]


@application.route
def starts_a_program(_environ, start_response):
    listing = subprocess.run(["ls", "-l", "/proc/self/fd"], stdout=subprocess.PIPE, close_fds=False).stdout
    start_response("200 OK", PLAIN)
    counts = ["\n".join(descriptors(os.getpid())).count("/pyserver-"), listing.count(b"/pyserver-")]
    return [repr(counts).encode()]


@linux_only
def test_a_program_that_the_application_starts_gets_no_temporary_file(serving):
    server = serving("--request-buffer", "10")
    with server.client() as uploading:
        uploading.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\ncontent of another client")
        eventually(lambda: server.get("/starts_a_program").content == b"[1, 0]")
