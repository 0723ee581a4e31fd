"""What each atom of access_log_format prints, and what of it cannot end a line or a quoted part."""

import itertools
import re
import time

import pytest
from sharing import Routes
from support import Client, eventually

application = Routes()
ATOMS = [
    *"hlutrsmUqHBbfaTMDLp",
    *("{X-Thing}i", "{x-thing}i", "{X-None}i", "{X-Made}o", "{x-made}o", "{Content-Length}o", "{X-None}o"),
    *("{PATH_INFO}e", "{path_info}e", "{wsgi.version}e", "{made.by.application}e", "{NONE}e"),
]
FORMAT = "|".join(f"%({atom})s" for atom in ATOMS)
numbers = itertools.count()
marks = (f"mark{number}" for number in itertools.count())


@application.route
def hello(environ, start_response):
    environ["made.by.application"] = "made"
    start_response("201 Created", [("Content-Type", "text/plain"), ("X-Made", 'by "it" \xe4')])
    return [b"hello"]


@application.route
def generated(_environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield b"hello "
    yield b"world"


@application.route
def empty(_environ, start_response):
    start_response("204 No Content", [])
    return []


@application.route
def repeated(_environ, start_response):
    start_response("200 OK", [("X-Made", "one"), ("X-Made", "two")])
    return []


@application.route
def untold(environ, start_response):
    environ["made.by.application"] = Untold(environ["QUERY_STRING"])
    start_response("200 OK", [])
    return []


class Untold:
    """What cannot be printed."""

    def __init__(self, name):
        self._name = name

    def __str__(self):
        raise {"exit": SystemExit, "error": ValueError}[self._name]


@application.route
def fails(_environ, _start_response):
    raise ValueError


@application.route
def unusual(environ, start_response):
    environ["made.by.application"] = 'a "quote", a\nline, \u20ac and \udc80'
    start_response("200 OK", [("Content-Type", "text/plain")])
    return []


@pytest.fixture
def atoms(logging):
    """Send a request, and read what its line has: `atoms(target, *fields)`."""

    def sent(target, *fields, method="GET", version="1.1", content=b""):
        server, log = logging(FORMAT)
        mark = next(marks)
        lines = [f"{method} {target} HTTP/{version}", "Host: a", *fields, f"X-Thing: {mark}", "", ""]
        with server.client() as client:
            client.send("\r\n".join(lines).encode("latin-1") + content)
            client.receive_response(method)
        return dict(zip(ATOMS, log.line_with(f"|{mark}|").split("|"), strict=True))

    return sent


@pytest.mark.parametrize(
    ("atom", "printed"),
    [
        ("h", "127.0.0.1"),
        ("l", "-"),
        ("u", "-"),
        ("r", "GET /hello?a=b&c HTTP/1.1"),
        ("s", "201"),
        ("m", "GET"),
        ("U", "/hello"),
        ("q", "a=b&c"),
        ("H", "HTTP/1.1"),
        ("B", "5"),
        ("b", "5"),
        ("f", "-"),
        ("a", "-"),
        ("T", "0"),
        ("{X-None}i", "-"),
        ("{Content-Length}o", "5"),
        ("{X-None}o", "-"),
        ("{PATH_INFO}e", "/hello"),
        ("{path_info}e", "/hello"),
        ("{wsgi.version}e", "(1, 0)"),
        ("{made.by.application}e", "made"),
        ("{NONE}e", "-"),
    ],
)
def test_an_atom_prints_what_it_stands_for(atoms, atom, printed):
    assert atoms("/hello?a=b&c")[atom] == printed


@pytest.mark.parametrize(
    ("atom", "pattern"),
    [("M", r"\d{1,4}"), ("D", r"\d{1,7}"), ("L", r"\d\.\d{6}"), ("T", r"\d")],
)
def test_a_duration_is_a_number(atoms, atom, pattern):
    assert re.fullmatch(pattern, atoms("/hello")[atom])


def test_durations_of_all_units_are_the_same(atoms):
    line = atoms("/hello")
    microseconds = int(line["D"])
    assert line["L"] == f"{microseconds / 1e6:.6f}"
    assert line["M"] == str(microseconds // 1000)


def test_the_time_is_local_with_its_zone(atoms):
    before = int(time.time())
    printed = atoms("/hello")["t"]
    moment = time.mktime(time.strptime(printed[:-7], "[%d/%b/%Y:%H:%M:%S"))
    assert before - 1 <= moment <= time.time()
    assert printed[-6:] == time.strftime("%z]")


def test_the_process_is_that_of_the_worker(atoms, logging):
    server, _ = logging(FORMAT)
    assert atoms("/hello")["p"] == f"<{server.workers()[0]}>"


def test_the_client_is_named_by_its_fields(atoms):
    line = atoms("/hello", "Referer: http://example.org/", "User-Agent: a test")
    assert (line["f"], line["a"]) == ("http://example.org/", "a test")


def test_fields_are_found_whatever_their_case(atoms):
    line = atoms("/hello", "USER-AGENT: a test")
    assert line["a"] == "a test"
    assert line["{X-Thing}i"] == line["{x-thing}i"]


def test_the_last_of_repeated_fields_is_printed(atoms):
    assert atoms("/hello", "User-Agent: one", "User-Agent: two")["a"] == "two"


def test_the_last_of_repeated_response_fields_is_printed(atoms):
    assert atoms("/repeated")["{X-Made}o"] == "two"


@pytest.mark.parametrize(
    ("credentials", "user"),
    [
        ("Basic dXNlcjpwYXNz", "user"),
        ("basic dXNlcjpwYXNz", "user"),
        ("Basic dXNlcg==", "user"),
        ("Basic OnBhc3M=", "-"),
        ("Basic !", "-"),
        ("Basic", "-"),
        ("Bearer dXNlcjpwYXNz", "-"),
        ("Basic eCJ5Og==", r"x\"y"),
    ],
)
def test_the_user_is_that_of_basic_authentication(atoms, credentials, user):
    assert atoms("/hello", f"Authorization: {credentials}")["u"] == user


def test_a_generated_response_is_counted_without_its_chunks(atoms):
    line = atoms("/generated")
    assert (line["B"], line["b"], line["{Content-Length}o"]) == ("11", "11", "-")


@pytest.mark.parametrize(("target", "method"), [("/empty", "GET"), ("/hello", "HEAD")])
def test_no_content_is_0(atoms, target, method):
    line = atoms(target, method=method)
    assert (line["B"], line["b"]) == ("0", "0")


def test_an_error_of_the_application_is_logged_as_it_was_answered(atoms):
    line = atoms("/fails")
    assert (line["s"], line["B"]) == ("500", str(len(b"Internal Server Error\n")))


def test_the_request_line_is_as_it_was_sent(atoms):
    line = atoms("/hello?", method="POST", version="1.0")
    assert (line["r"], line["m"], line["H"], line["U"], line["q"]) == (
        "POST /hello? HTTP/1.0",
        "POST",
        "HTTP/1.0",
        "/hello",
        "",
    )


def test_a_request_with_content_is_one_line(atoms):
    line = atoms("/hello", "Transfer-Encoding: chunked", method="POST", content=b"2\r\nhi\r\n0\r\n\r\n")
    assert (line["r"], line["s"]) == ("POST /hello HTTP/1.1", "201")


def test_the_whole_url_of_a_proxy_is_printed(atoms):
    line = atoms("http://a/hello?b")
    assert (line["r"], line["U"]) == ("GET http://a/hello?b HTTP/1.1", "/hello")


# ---- what a client cannot forge ----


@pytest.mark.parametrize(
    ("sent", "printed"),
    [
        ('a "quote"', r"a \"quote\""),
        ("back\\slash", r"back\\slash"),
        ('\\" both', r"\\\" both"),
        ("a\ttab", r"a\x09tab"),
        ("8-bit \xe4\xff", r"8-bit \xe4\xff"),
        ("%(h)s %s %n", "%(h)s %s %n"),
        ("'`$;", "'`$;"),
    ],
)
def test_what_a_client_sends_is_escaped(atoms, sent, printed):
    line = atoms("/hello", f"User-Agent: {sent}", f"Referer: {sent}")
    assert (line["a"], line["f"]) == (printed, printed)


def test_a_long_field_is_printed_whole(atoms):
    value = "\xe4" * 8000
    assert atoms("/hello", f"User-Agent: {value}")["a"] == r"\xe4" * 8000


def test_the_request_line_is_escaped(atoms):
    line = atoms('/hello?"\\')
    assert (line["r"], line["q"]) == (r"GET /hello?\"\\ HTTP/1.1", r"\"\\")


def test_a_response_field_is_escaped(atoms):
    assert atoms("/hello")["{X-Made}o"] == r"by \"it\" \xe4"


def test_a_variable_is_escaped(atoms):
    printed = atoms("/unusual")["{made.by.application}e"]
    assert printed == r"a \"quote\", a\x0aline, \xe2\x82\xac and \\udc80"


# ---- other peers ----


def test_an_ipv6_peer_is_named_by_its_address(logging):
    server, log = logging("%(h)s %(U)s", "-b", "[::1]:0")
    server.get("/hello")
    assert log.line_with("/hello") == "::1 /hello"


def test_a_peer_on_a_unix_socket_has_no_name(logging):
    server, log = logging("%(h)s %(U)s", "-b", "unix:socket")
    with Client(server.address) as client:
        client.request("GET", "/hello")
    assert log.line_with("/hello") == "- /hello"


def test_lines_of_a_pipeline_are_in_its_order(logging):
    server, log = logging("pipeline %(q)s")
    with server.client() as client:
        client.send(b"".join(b"GET /hello?%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(500)))
        for _ in range(500):
            client.receive_response()
    log.line_with("pipeline 499")
    assert [line for line in log.lines() if line[-1].isdigit()] == [f"pipeline {number}" for number in range(500)]


REFUSED = [
    ("GET /bad%d?q HTTP/1.1\r\n\r\n", "GET /bad%d?q HTTP/1.1|400|GET|HTTP/1.1|/bad%d|q|-"),
    ("GET /bad%d HTTP/1.0\r\nA: b\r\nC : d\r\n\r\n", "GET /bad%d HTTP/1.0|400|GET|HTTP/1.0|/bad%d||b"),
    ("GET /bad%d HTTP/2.0\r\n\r\n", "GET /bad%d HTTP/2.0|505|GET|-|/bad%d||-"),
    (
        "GET /bad%d HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx",
        "GET /bad%d HTTP/1.1|400|GET|HTTP/1.1|/bad%d||-",
    ),
    ("GET /?bad%d#fragment HTTP/1.1\r\n\r\n", "GET /?bad%d#fragment HTTP/1.1|400|GET|-|-||-"),
]


@pytest.mark.parametrize(("sent", "printed"), REFUSED)
def test_a_request_that_is_refused_has_a_line_of_what_was_read(logging, sent, printed):
    server, log = logging("%(r)s|%(s)s|%(m)s|%(H)s|%(U)s|%(q)s|%({A}i)s|%(B)s|%({X}o)s|%({X}e)s")
    mark = next(numbers)
    with server.client() as client:
        client.send(sent.replace("%d", str(mark)).encode())
        length = len(client.receive_response().content)
    assert log.line_with(f"bad{mark}") == printed.replace("%d", str(mark)) + f"|{length}|-|-"


@pytest.mark.parametrize("why", ["exit", "error"])
def test_a_line_that_cannot_be_made_is_told_and_harms_no_other(logging, why):
    server, log = logging(f"%(U)s%(q)s %({{made.by.application}}e)s {why}")
    with server.client() as client:
        for target in ("/hello?1", f"/untold?{why}", "/hello?2"):
            assert client.request("GET", target).status in (200, 201)
    log.line_with("/hello2")
    found = [line for line in log.lines() if line.startswith(("/hello", "/untold"))]
    assert found == [f"/hello1 made {why}", f"/hello2 made {why}"]
    assert f"Error in the access log of GET /untold?{why}" in server.log()


def test_the_server_as_a_whole_has_a_star_for_its_path(logging):
    server, log = logging("%(m)s|%(U)s|star")
    with server.client() as client:
        client.send(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")
        client.receive_response("OPTIONS")
    assert log.line_with("OPTIONS") == "OPTIONS|*|star"


def test_a_request_that_is_refused_before_its_target_has_a_line(logging):
    server, log = logging("%(r)s|%(s)s|%(m)s|%(U)s unread")
    with server.client() as client:
        client.send(b"G\x00T / HTTP/1.1\r\n\r\n")
        assert client.receive_response().status == 400
    assert log.line_with("|400|") == "-|400|-|- unread"


def test_the_default_format_is_the_combined_one_of_other_servers(serving):
    server = serving("--access-logfile", "default.log")
    with server.client() as client:
        client.request("GET", "/hello?x", [("Referer", "r"), ("User-Agent", "u"), ("Authorization", "Basic dTpw")])
    pattern = (
        r"127\.0\.0\.1 - u \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "
        r'"GET /hello\?x HTTP/1\.1" 201 5 "r" "u"'
    )
    log = server.directory / "default.log"
    assert eventually(lambda: [line for line in log.read_text().splitlines() if re.fullmatch(pattern, line)])
