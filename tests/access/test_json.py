"""Lines that are JSON objects: their members, the types of these, and that whatever a client sends is valid."""

import itertools
import json
import os
import re
import time

import pytest
from sharing import Routes

from pyserver._access import compile_format
from pyserver.errors import ConfigError

application = Routes()
marks = (f"mark{number}" for number in itertools.count())
MEMBERS = [
    "time", "remote_addr", "user", "method", "path", "query", "protocol", "status", "bytes", "duration", "queue",
    "referer", "user_agent", "worker", "pid",
]  # fmt: skip
SELECTED = "json: status, {X-Thing}i,{content-type}o,{made.by.application}e, application,send,receive,request"


@application.route
def hello(environ, start_response):
    environ["made.by.application"] = 7
    start_response("201 Created", [("Content-Type", "text/plain")])
    return [b"hello"]


@pytest.fixture
def line_of(logging):
    """Send a request, and read the object of its line: `line_of(target, *fields, of=format)`."""

    def sent(target, *fields, of="json"):
        server, log = logging(of)
        mark = next(marks)
        # In what both formats have.
        name = "User-Agent" if of == "json" else "X-Thing"
        lines = [f"GET {target} HTTP/1.1", "Host: a", f"{name}: {mark}", *fields, "", ""]
        with server.client() as client:
            client.send("\r\n".join(lines).encode("latin-1"))
            client.receive_response()
        return json.loads(log.line_with(f'"{mark}"'))

    return sent


@pytest.fixture
def line(line_of):
    return line_of("/hello?a=b", "Referer: there", "Authorization: Basic dTpw")


def test_a_line_has_these_members(line):
    assert list(line) == MEMBERS


def test_numbers_are_numbers(line):
    assert (line["status"], line["bytes"], line["worker"]) == (201, 5, 0)
    assert isinstance(line["duration"], float)
    assert isinstance(line["queue"], float)
    assert line["pid"] != os.getpid()


def test_text_is_text(line):
    texts = [line[name] for name in ("remote_addr", "user", "method", "path", "query", "protocol", "referer")]
    assert texts == ["127.0.0.1", "u", "GET", "/hello", "a=b", "HTTP/1.1", "there"]


def test_the_time_is_that_of_the_internet(line):
    matched = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\.\d{3}Z", line["time"])
    instant = time.strptime(matched[1] + "+0000", "%Y-%m-%dT%H:%M:%S%z")
    assert abs(time.time() - (time.mktime(instant) - time.timezone)) < 3600


def test_what_is_not_there_is_null(line_of):
    line = line_of("/hello")
    assert (line["user"], line["referer"], line["query"]) == (None, None, "")


def test_members_can_be_chosen(line_of):
    line = line_of("/hello", of=SELECTED)
    assert list(line) == [
        "status", "X-Thing", "content-type", "made.by.application", "application", "send", "receive", "request",
    ]  # fmt: skip
    assert line["content-type"] == "text/plain"
    assert line["made.by.application"] == 7
    assert line["request"] == "GET /hello HTTP/1.1"


@pytest.mark.parametrize(
    ("sent", "printed"),
    [
        ('a "quote" and a \\', 'a "quote" and a \\'),
        ("a\ttab", "a\ttab"),
        ('","status":200,"x":"', '","status":200,"x":"'),
        ("\u20ac and \U0001f600 \u00e4".encode().decode("latin-1"), "\u20ac and \U0001f600 \u00e4"),
        ("latin \xe4\xff", "latin \ufffd\ufffd"),
        # Longer than need be, half a pair of UTF-16, beyond the last character, cut.
        ("\xc0\xafx", "\ufffd\ufffdx"),
        ("\xed\xa0\x80x", "\ufffd\ufffd\ufffdx"),
        ("\xf4\x90\x80\x80", "\ufffd" * 4),
        ("\xe2\x82", "\ufffd\ufffd"),
        ("\xe4" * 7000, "\ufffd" * 7000),
    ],
)
def test_whatever_a_client_sends_is_valid(line_of, sent, printed):
    assert line_of("/hello", f"Referer: {sent}")["referer"] == printed


def test_a_request_that_is_refused_has_a_line(logging):
    server, log = logging("json")
    with server.client() as client:
        client.send(b"GET /refused HTTP/1.1\r\nUser-Agent: it\r\n\r\n")
        assert client.receive_response().status == 400
    line = json.loads(log.line_with("/refused"))
    assert (line["status"], line["method"], line["path"], line["user_agent"]) == (400, "GET", "/refused", "it")


def test_a_request_that_was_not_read_has_a_line(logging):
    server, log = logging("json:request,method,path,protocol,status")
    with server.client() as client:
        client.send(b"G\x00T / HTTP/1.1\r\n\r\n")
        assert client.receive_response().status == 400
    assert json.loads(log.line_with(":400}")) == {
        "request": None, "method": None, "path": None, "protocol": None, "status": 400,
    }  # fmt: skip


def test_no_member_is_there_twice(line_of):
    line = line_of("/hello", of="json:status,{X-Thing}i,{x-made}i,{x-made}o,{status}i")
    assert list(line) == ["status", "X-Thing", "x-made", "{x-made}o", "{status}i"]


@pytest.mark.parametrize(
    "line", ["json:status,status", "json:nothing", "json:", "json:status,{x}y", "json:status,,path"]
)
def test_a_member_that_there_is_not_is_refused(line):
    with pytest.raises(ConfigError, match="access_log_format: "):
        compile_format(line)
