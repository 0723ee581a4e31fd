"""start_response and write(): when they may be called, with what, and what the client gets; PEP 3333."""

import sys

import pytest
from sharing import Routes
from support import MalformedResponseError

application = Routes()
kept = []
PLAIN = [("Content-Type", "text/plain")]


def failing(message):
    """The exc_info of an error."""
    try:
        raise RuntimeError(message)
    except RuntimeError:
        return sys.exc_info()


# ---- exc_info ----


@application.route
def replaced_before_the_head(_environ, start_response):
    start_response("200 OK", [("X-First", "1"), ("Content-Length", "100")])
    start_response("503 Service Unavailable", [("X-Second", "2")], failing("replaced"))
    return [b"sorry"]


def test_exc_info_before_the_head_has_left_replaces_the_response(server):
    response = server.get("/replaced_before_the_head")
    assert (response.status, response.content) == (503, b"sorry")
    assert (response.values("X-First"), response.field("X-Second")) == ([], "2")
    assert response.field("Content-Length") == "5"


@application.route
def replaced_in_a_generator(_environ, start_response):
    start_response("200 OK", PLAIN)
    yield b""
    start_response("500 Oh", PLAIN, failing("late"))
    yield b"sorry"


def test_exc_info_before_the_first_block_replaces_the_response(server):
    response = server.get("/replaced_in_a_generator")
    assert (response.status, response.content) == (500, b"sorry")


@application.route
def replaced_after_the_head(_environ, start_response):
    start_response("200 OK", PLAIN)
    yield b"first"
    start_response("500 Oh", PLAIN, failing("raised again by exc_info"))
    yield b"never"


def test_exc_info_after_the_head_has_left_raises_it_again(server):
    with server.client() as client:
        client.send(b"GET /replaced_after_the_head HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.read_until_closed().endswith(b"\r\n\r\n5\r\nfirst\r\n")
    assert "RuntimeError: raised again by exc_info" in server.log()


@application.route
def survives_exc_info(_environ, start_response):
    start_response("200 OK", PLAIN)
    yield b"first"
    try:
        start_response("500 Oh", PLAIN, failing("caught"))
    except RuntimeError as error:
        yield str(error).encode()


def test_what_exc_info_raises_may_be_caught(server):
    assert server.get("/survives_exc_info").content == b"firstcaught"


# ---- how often, and when ----


@application.route
def twice(_environ, start_response):
    start_response("200 OK", PLAIN)
    start_response("200 OK", PLAIN)
    return [b"never"]


@application.route
def twice_and_content(_environ, start_response):
    start_response("200 OK", PLAIN)
    yield b"first"
    start_response("200 OK", PLAIN)
    yield b"never"


@application.route
def never(_environ, _start_response):
    return [b"content"]


@application.route
def never_and_nothing(_environ, _start_response):
    return []


@application.route
def never_in_a_generator(_environ, _start_response):
    yield b"content"


@application.route
def never_in_an_empty_generator(_environ, _start_response):
    yield from ()


@application.route
def returns_none(_environ, start_response):
    start_response("200 OK", PLAIN)


@application.route
def takes_too_little():
    return []


WRONG = {
    "/twice": "start_response() was called a second time without exc_info",
    "/never": "returned without calling start_response()",
    "/never_and_nothing": "returned without calling start_response()",
    "/never_in_a_generator": "yielded content before it called start_response()",
    "/never_in_an_empty_generator": "returned without calling start_response()",
    "/returns_none": "TypeError: 'NoneType' object is not iterable",
    "/takes_too_little": "TypeError: takes_too_little() takes 0 positional arguments but 2 were given",
}


@pytest.mark.parametrize(("target", "said"), WRONG.items())
def test_an_application_that_breaks_the_protocol_is_a_500(server, target, said):
    response = server.get(target)
    assert (response.status, response.content) == (500, b"Internal Server Error\n")
    lines = server.log().partition(f"Error handling request GET {target}\n")[2].splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert said in server.log()


def test_a_second_call_after_content_cuts_the_response(server):
    with server.client() as client, pytest.raises(EOFError):
        client.request("GET", "/twice_and_content")


@application.route
def late(_environ, start_response):
    yield b""
    start_response("200 OK", PLAIN)
    yield b"late"


def test_a_generator_may_call_it_as_late_as_its_first_block(server):
    assert server.get("/late").content == b"late"


@application.route
def late_in_close(_environ, start_response):
    return ClosesLate(start_response)


class ClosesLate:
    def __init__(self, start_response):
        start_response("200 OK", PLAIN)
        self.start_response = start_response

    def __iter__(self):
        return iter([b"content"])

    def close(self):
        self.start_response("500 Oh", PLAIN)


def test_a_call_in_close_is_too_late(server):
    with server.client() as client:
        assert client.request("GET", "/late_in_close").content == b"content"
        assert client.request("GET", "/").status == 200
    assert "Error in close() of the response to GET /late_in_close" in server.log()


@application.route
def keep(_environ, start_response):
    kept[:] = [start_response, start_response("200 OK", PLAIN)]
    return [b"kept"]


@application.route
def call_kept(environ, start_response):
    said = []
    for call in (lambda: kept[0]("200 OK", [("X-Forged", "1")]), lambda: kept[1](b"forged")):
        try:
            call()
            said.append("nothing")
        except Exception as error:
            said.append(f"{type(error).__name__}: {error}")
    start_response("200 OK", PLAIN)
    return ["\n".join(said).encode()]


def test_callables_that_were_kept_do_not_speak_for_another_request(server):
    with server.client() as client:
        assert client.request("GET", "/keep").content == b"kept"
        response = client.request("GET", "/call_kept")
        assert response.values("X-Forged") == []
        assert response.content.decode().splitlines() == [
            "LocalProtocolError: start_response() was called after the response was complete",
            "LocalProtocolError: write() was called after the response was complete",
        ]


# ---- write ----


@application.route
def writes(_environ, start_response):
    write = start_response("200 OK", PLAIN)
    write(b"one ")
    write(b"")
    write(b"two ")
    return [b"three"]


def test_what_is_written_comes_before_what_is_returned(server):
    assert server.get("/writes").content == b"one two three"


@application.route
def writes_with_a_length(_environ, start_response):
    write = start_response("200 OK", [*PLAIN, ("Content-Length", "7")])
    write(b"one ")
    write(b"two")
    return []


def test_what_is_written_may_have_a_length(server):
    with server.client() as client:
        assert client.request("GET", "/writes_with_a_length").content == b"one two"
        assert client.request("GET", "/").status == 200


@application.route
def writes_while_it_yields(_environ, start_response):
    write = start_response("200 OK", PLAIN)
    for number in (1, 3):
        write(b"%d" % number)
        yield b"%d" % (number + 1)


def test_write_and_yield_may_take_turns(server):
    assert server.get("/writes_while_it_yields").content == b"1234"


@application.route
def writes_text(_environ, start_response):
    start_response("200 OK", PLAIN)("text")
    return []


def test_text_that_is_written_is_a_500(server):
    assert server.get("/writes_text").status == 500
    assert "write() was given str, not bytes" in server.log()


# ---- status and fields ----

ANSWERS = {
    "fields_in_order": ("200 OK", [("X-B", "1"), ("X-A", "2"), ("X-B", "3")]),
    "no_reason": ("200", PLAIN),
    "a_long_reason": ("404 There Is No Such Thing", PLAIN),
    "latin_1": ("200 \xe4", [("X-A", "\xe4")]),
    "an_empty_value": ("200 OK", [("X-A", "")]),
}
BAD = {
    "a_bytes_status": (b"200 OK", PLAIN),
    "a_number_status": (200, PLAIN),
    "a_short_status": ("20 OK", PLAIN),
    "an_informational_status": ("100 Continue", PLAIN),
    "no_such_status": ("600 No", PLAIN),
    "a_status_with_a_line": ("200 OK\r\nX: 1", PLAIN),
    "text_beyond_latin_1": ("200 OK", [("X-A", "\u20ac")]),
    "a_line_in_a_value": ("200 OK", [("X-A", "1\r\nX-B: 2")]),
    "a_bare_lf_in_a_value": ("200 OK", [("X-A", "1\n2")]),
    "a_null_in_a_value": ("200 OK", [("X-A", "1\0")]),
    "a_line_in_a_name": ("200 OK", [("X-A\r\nX-B", "1")]),
    "a_space_in_a_name": ("200 OK", [("X A", "1")]),
    "an_empty_name": ("200 OK", [("", "1")]),
    "a_bytes_name": ("200 OK", [(b"X-A", "1")]),
    "a_bytes_value": ("200 OK", [("X-A", b"1")]),
    "a_number_value": ("200 OK", [("Content-Length", 5)]),
    "a_word_as_length": ("200 OK", [("Content-Length", "five")]),
    "two_lengths": ("200 OK", [("Content-Length", "7"), ("Content-Length", "7")]),
    "a_negative_length": ("200 OK", [("Content-Length", "-1")]),
    "a_transfer_coding": ("200 OK", [("Transfer-Encoding", "chunked")]),
    "an_upgrade": ("200 OK", [("Upgrade", "websocket")]),
    "fields_that_are_no_pairs": ("200 OK", ["X-A"]),
    "no_fields": ("200 OK", None),
}


def answering(name, status, fields):
    def handler(_environ, start_response):
        start_response(status, fields)
        return [b"content"]

    handler.__name__ = name
    return handler


for answer in [*ANSWERS.items(), *BAD.items()]:
    application.route(answering(answer[0], *answer[1]))


def test_fields_keep_their_order(server):
    fields = server.get("/fields_in_order").fields
    assert [field for field in fields if field[0].startswith("X-")] == ANSWERS["fields_in_order"][1]


@pytest.mark.parametrize(
    ("target", "status", "reason"),
    [("/no_reason", 200, ""), ("/a_long_reason", 404, "There Is No Such Thing"), ("/latin_1", 200, "\xe4")],
)
def test_the_reason_is_the_applications(server, target, status, reason):
    response = server.get(target)
    assert (response.status, response.reason) == (status, reason)


def test_fields_are_latin_1(server):
    assert server.get("/latin_1").field("X-A") == "\xe4"


def test_a_field_may_be_empty(server):
    assert server.get("/an_empty_value").field("X-A") == ""


@pytest.mark.parametrize("name", BAD)
def test_a_head_that_cannot_be_sent_is_a_500(server, name):
    with server.client() as client:
        client.send(f"GET /{name} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        try:
            response = client.receive_response()
        except MalformedResponseError as error:
            raise AssertionError("the head was sent") from error
        assert (response.status, response.content) == (500, b"Internal Server Error\n")
        assert response.values("X-A") == response.values("X-B") == []
        assert client.is_closed_by_server()
    assert f"Error handling request GET /{name}\n" in server.log()
    assert "LocalProtocolError" in server.log()
