"""Requests of many clients at once do not touch one another: what they are given, what they answer, what is counted."""

import hashlib
import json
import re
import select
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from classes import each_class as worker_class
from sharing import Routes, server, serving, share
from support import eventually

__all__ = ["server", "serving", "share", "worker_class"]

PLAIN = [("Content-Type", "text/plain")]
CLIENTS = 16

application = Routes()


def pause():
    """Let other requests run."""
    select.select([], [], [], 0.0001)


def at_once(act, count=CLIENTS):
    """What `act(number)` gives in each of so many threads; raises what was raised in one of them."""
    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(act, range(count)))


# ---- what a request is given, and its answer ----


@application.route
def tell(environ, start_response):
    """All that says whose request this is, read bit by bit."""
    sys.setswitchinterval(1e-5)
    told = [environ["QUERY_STRING"]]
    pause()
    told += [environ["HTTP_X_NAME"], environ["HTTP_COOKIE"]]
    digest = hashlib.sha256()
    while part := environ["wsgi.input"].read(30_000):
        pause()
        digest.update(part)
    start_response("200 OK", [*PLAIN, ("X-Name", environ["HTTP_X_NAME"])])
    told += [environ["CONTENT_LENGTH"], environ["REMOTE_PORT"], environ["RAW_URI"], digest.hexdigest()]
    pause()
    yield json.dumps(told).encode()
    pause()
    yield environ["QUERY_STRING"].encode()


def content_of(name, number):
    """Of most requests little, of some none, of a few so much that it is kept in a file."""
    size = (0, 10, 1000, 10, 70_000, 200)[number % 6] if number % 60 else 600_000
    return (name.encode() * (size // len(name) + 1))[:size]


def request_of(name, content, is_chunked):
    framing = "Transfer-Encoding: chunked" if is_chunked else f"Content-Length: {len(content)}"
    head = [f"POST /tell?{name} HTTP/1.1", "Host: a", f"X-Name: {name}", f"Cookie: a={name}", framing, "", ""]
    if is_chunked:
        content = (b"%x\r\n%b\r\n" % (len(content), content) if content else b"") + b"0\r\n\r\n"
    return "\r\n".join(head).encode() + content


@pytest.mark.parametrize("pipelined", [1, 12], ids=["one by one", "pipelined"])
def test_what_a_request_is_given_and_its_answer_are_its_own(serving, pipelined):
    server = serving("--keep-alive", "60")

    def ask(client_number):
        with server.client(timeout=20) as client:
            port = client.socket.getsockname()[1]
            for first in range(0, 120, pipelined):
                numbers = range(first, first + pipelined)
                contents = {f"n{client_number}-{number}": content_of(f"n{client_number}", number) for number in numbers}
                sent = b"".join(request_of(*item, len(item[0]) % 2) for item in contents.items())
                sender = threading.Thread(target=client.send, args=(sent,))
                sender.start()
                for name, content in contents.items():
                    response = client.receive_response()
                    digest = hashlib.sha256(content).hexdigest()
                    told = [name, name, f"a={name}", str(len(content)), str(port), f"/tell?{name}", digest]
                    assert response.field("X-Name") == name
                    assert response.content.decode() == json.dumps(told) + name
                sender.join()

    at_once(ask)


# ---- what fails ----


class FailsInClose(list):
    def close(self):
        pause()
        raise RuntimeError("deliberately, in close()")


@application.route
def fail(environ, start_response):
    how = environ["QUERY_STRING"]
    pause()
    if how == "raise":
        raise RuntimeError("deliberately")
    if how == "exit":
        sys.exit("deliberately")
    start_response("200 OK", PLAIN)
    if how == "close":
        return FailsInClose([b"closed"])
    return fail_later(how)


def fail_later(how):
    yield b""
    pause()
    if how == "late-raise":
        raise RuntimeError("deliberately, late")
    if how == "late-exit":
        sys.exit("deliberately, late")
    yield how.encode()
    pause()
    yield b" and well"


FAILING = {
    "raise": (500, b"Internal Server Error\n"),
    "exit": (500, b"Internal Server Error\n"),
    "late-raise": (500, b"Internal Server Error\n"),
    "late-exit": (500, b"Internal Server Error\n"),
    "close": (200, b"closed"),
    "well": (200, b"well and well"),
}


def count_errors(server):
    told = r"\[ERROR\] Error (?:handling request|in close\(\) of the response to) GET /fail\?"
    return len(re.findall(told, server.log()))


def test_what_fails_in_one_request_leaves_the_others(server):
    ways = list(FAILING)
    workers = server.workers()
    told = count_errors(server)

    def ask(number):
        for at in range(40):
            how = ways[(at + number) % len(ways)]
            response = server.get(f"/fail?{how}")
            assert (response.status, response.content) == FAILING[how]

    at_once(ask)
    assert server.workers() == workers
    tried = Counter(ways[(at + number) % len(ways)] for number in range(CLIENTS) for at in range(40))
    assert count_errors(server) - told == sum(tried.values()) - tried["well"]


# ---- what is written down ----


def test_each_request_has_one_whole_line_in_the_access_log(serving):
    server = serving("--access-logfile", "access.log", "--access-logformat", "%(m)s %(q)s %(s)s %(B)s.")
    log = server.directory / "access.log"
    marks = {number: [f"{number}-{at}-" + "x" * (at % 2 * 3000) for at in range(60)] for number in range(CLIENTS)}

    def ask(number):
        with server.client(timeout=20) as client:
            for first in range(0, 60, 5):
                sent = "".join(f"GET /?{mark} HTTP/1.1\r\nHost: a\r\n\r\n" for mark in marks[number][first : first + 5])
                client.send(sent.encode())
                assert [client.receive_response().status for _ in range(5)] == [200] * 5

    at_once(ask)
    expected = sorted(f"GET {mark} 200 0." for several in marks.values() for mark in several)
    # One more was made before, without a mark.
    eventually(lambda: log.read_text().count("\n") > len(expected))
    assert sorted(line for line in log.read_text().splitlines() if "-" in line) == expected


def test_what_was_done_adds_up(serve):
    server = serve("""
        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"hello"]
    """)

    def ask(_number):
        for _ in range(10):
            with server.client(timeout=20) as client:
                client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 7)
                assert [client.receive_response().content for _ in range(7)] == [b"hello"] * 7

    at_once(ask)
    server.stop()
    said = f"{CLIENTS * 10} connections were accepted, {CLIENTS * 70} requests answered, 0 abandoned"
    assert said in server.log()
