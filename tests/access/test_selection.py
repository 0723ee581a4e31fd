"""Which requests have a line, and what else a line can tell: phases, the worker, the id of the request."""

import itertools
import json
import time

import pytest
from classes import only
from sharing import Routes
from support import eventually

from pyserver._access import matches
from pyserver.errors import ConfigError
from pyserver.settings.sources import load_settings

application = Routes()
numbers = itertools.count()


@application.route
def health(_environ, start_response):
    start_response("200 OK", [])
    return []


@application.route
def missing(_environ, start_response):
    start_response("404 Not Found", [])
    return []


@application.route
def broken(_environ, start_response):
    start_response("503 Service Unavailable", [])
    return []


@application.route
def end(_environ, start_response):
    start_response("400 Bad Request", [])
    return []


@application.route
def slow(_environ, start_response):
    until = time.monotonic() + 0.06
    while time.monotonic() < until:
        pass
    start_response("200 OK", [])
    return []


@application.route
def streams(_environ, start_response):
    start_response("200 OK", [])
    yield b"begun"
    until = time.monotonic() + 0.03
    while time.monotonic() < until:
        pass
    yield b"ended"


@application.route
def told(environ, start_response):
    start_response("200 OK", [])
    return [environ.get("pyserver.request_id", "none").encode()]


@pytest.mark.parametrize(
    ("pattern", "path", "meant"),
    [
        ("/health", "/health", True),
        ("/health", "/health/live", True),
        ("/health", "/healthy", False),
        ("/health", "/", False),
        ("/static/", "/static/a.css", True),
        ("/static/", "/static", False),
        ("/", "/anything", True),
        ("*.css", "/static/a.css", True),
        ("*.css", "/a.css/b", False),
        ("/a/*/c", "/a/b/d/c", True),
        ("/a/*/c", "/a/c", False),
        ("/v?/ok", "/v1/ok", True),
        ("/v?/ok", "/v10/ok", False),
        ("*", "", True),
        ("/*a*b", "/xaxxabxb", True),
        ("/*a*b", "/xaxxabxc", False),
    ],
)
def test_a_pattern_means_these_paths(pattern, path, meant):
    assert matches(path.encode(), pattern.encode()) is meant


@pytest.fixture
def logged(logging):
    """The targets that have a line, of those that are asked for: `logged(targets, *arguments)`."""

    def answered(targets, *arguments):
        server, log = logging("%(U)s?%(q)s", *arguments)
        mark = f"m{next(numbers)}"
        with server.client() as client:
            for target in targets:
                client.request("GET", f"{target}?{mark}")
            # Which no sample leaves out.
            client.request("GET", f"/end?end-{mark}")
        log.line_with(f"end-{mark}")
        return [line.partition("?")[0] for line in log.lines() if line.endswith(f"?{mark}")]

    return answered


def test_excluded_paths_have_no_line(logged):
    targets = ["/health", "/told", "/missing", "/health"]
    arguments = ["--access-log-exclude", "/health", "--access-log-exclude", "/miss*ng?"]
    assert logged(targets, *arguments) == ["/told", "/missing"]


@only("sync")
def test_a_failure_of_an_excluded_path_has_a_line(logged):
    assert logged(["/broken", "/missing"], "--access-log-exclude", "/broken", "--access-log-exclude", "/missing") == [
        "/broken"
    ]


@only("sync")
def test_a_sample_has_all_errors_and_slow_ones(logged):
    targets = ["/health"] * 50 + ["/slow", "/missing", "/broken"]
    found = logged(targets, "--access-log-sample", "0", "--slow-request", "0.05")
    assert found == ["/slow", "/missing", "/broken"]


@only("sync")
def test_a_sample_has_about_so_many(logged):
    # 400 of a half: ten standard deviations to each side.
    assert 100 < len(logged(["/health"] * 400, "--access-log-sample", "0.5")) < 300


@pytest.mark.parametrize(
    "arguments",
    [["--access-log-sample", "1.5"], ["--access-log-sample", "-1"], ["--access-log-exclude", "health"]],
)
def test_what_cannot_be_meant_is_refused(arguments, tmp_path):
    with pytest.raises(ConfigError, match=arguments[0]):
        load_settings(arguments, {}, str(tmp_path))


def test_phases_add_up(logging):
    server, log = logging("%(q)s %(A)s %(S)s %(L)s %(w)s")
    mark = f"m{next(numbers)}"
    with server.client() as client:
        client.request("GET", f"/streams?{mark}")
    _, application_time, send_time, duration, worker = log.line_with(mark).split()
    assert float(send_time) >= 0.03
    assert abs(float(application_time) + float(send_time) - float(duration)) < 0.000003
    assert worker == "0"


def test_the_time_to_arrive_is_told(logging):
    server, log = logging("%(q)s %(R)s")
    mark = f"m{next(numbers)}"
    with server.client() as client:
        client.request("GET", f"/health?whole-{mark}")
        client.send(f"POST /health?parts-{mark} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n".encode())
        sent = time.monotonic()
        # So long that no accident takes so long, and that no clock says otherwise.
        eventually(lambda: time.monotonic() > sent + 0.05)
        client.send(b"\r\nhi")
        client.receive_response()
    assert float(log.line_with(f"parts-{mark}").split()[1]) > 0.02
    assert float(log.line_with(f"whole-{mark}").split()[1]) == 0


def test_a_request_has_the_id_of_a_trusted_proxy_or_a_new_one(logging):
    server, log = logging("%(q)s %(i)s", "--request-id")
    mark = f"m{next(numbers)}"
    with server.client() as client:
        given = client.request("GET", f"/told?given-{mark}", [("X-Request-ID", "its-own.id/1")]).content.decode()
        made = [client.request("GET", f"/told?made{at}-{mark}").content.decode() for at in range(2)]
        many = [("X-Request-ID", "forged"), ("X-Request-ID", "the-proxys")]
        assert client.request("GET", f"/told?many-{mark}", many).content == b"the-proxys"
        odd = client.request("GET", f"/told?odd-{mark}", [("X-Request-ID", "with space")]).content.decode()
    assert given == "its-own.id/1"
    assert len({*made, odd}) == 3
    assert all(len(one) == 32 and int(one, 16) for one in [*made, odd])
    for name, said in [("given", given), ("made0", made[0]), ("made1", made[1]), ("odd", odd)]:
        assert log.line_with(f"{name}-{mark}").split()[1] == said


@only("sync")
def test_an_id_is_not_believed_from_just_anybody(logging):
    server, log = logging("%(q)s %(i)s", "--forwarded-allow-ips", "192.0.2.1")
    mark = f"m{next(numbers)}"
    with server.client() as client:
        response = client.request("GET", f"/told?{mark}", [("X-Request-ID", "forged")])
    assert response.content == b"none"
    assert int(log.line_with(mark).split()[1], 16)


@only("sync")
def test_json_has_the_id_where_there_is_one(logging):
    server, log = logging("json", "--request-id")
    mark = f"m{next(numbers)}"
    with server.client() as client:
        said = client.request("GET", f"/told?{mark}").content.decode()
    assert json.loads(log.line_with(mark))["request_id"] == said
