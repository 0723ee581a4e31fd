"""wsgi.input: the same for content in memory, in a file and in chunks; PEP 3333, "Input and Error Streams"."""

import pytest
from sharing import Routes

application = Routes()
CONTENT = b"first\nsecond\r\n\nlast without end"
LINES = [b"first\n", b"second\r\n", b"\n", b"last without end"]


def reading(name, read):
    """Have the path of that name answered with what `read` makes of wsgi.input, blocks joined with bars."""

    def handler(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"|".join(read(environ["wsgi.input"]))]

    handler.__name__ = name
    application.route(handler)


READERS = {
    "read_all": (lambda stream: [stream.read()], [CONTENT]),
    "read_minus_1": (lambda stream: [stream.read(-1)], [CONTENT]),
    "read_none": (lambda stream: [stream.read(None)], [CONTENT]),
    "read_more_than_there_is": (lambda stream: [stream.read(1000), stream.read(10)], [CONTENT, b""]),
    "read_parts": (lambda stream: [stream.read(5), stream.read(0), stream.read(3)], [CONTENT[:5], b"", CONTENT[5:8]]),
    "read_past_the_end": (lambda stream: [stream.read(), stream.read(), stream.read(1)], [CONTENT, b"", b""]),
    "readline": (lambda stream: [stream.readline() for _ in range(5)], [*LINES, b""]),
    "readline_with_size": (lambda stream: [stream.readline(3), stream.readline(100)], [b"fir", b"st\n"]),
    "readline_of_0": (lambda stream: [stream.readline(0), stream.readline()], [b"", b"first\n"]),
    "readline_minus_1": (lambda stream: [stream.readline(-1)], [b"first\n"]),
    "readlines": (lambda stream: stream.readlines(), LINES),
    "readlines_with_hint": (lambda stream: stream.readlines(7), LINES[:2]),
    "readlines_of_0": (lambda stream: stream.readlines(0), LINES),
    "iterate": (list, LINES),
    "iterate_after_read": (lambda stream: [stream.read(2), *stream], [b"fi", b"rst\n", *LINES[1:]]),
    "iterate_twice": (lambda stream: [*stream, *stream], LINES),
    "mixed": (lambda stream: [stream.readline(), stream.read(3), next(stream)], [b"first\n", b"sec", b"ond\r\n"]),
}
for reader in READERS.items():
    reading(reader[0], reader[1][0])


@pytest.fixture(params=["memory", "file", "chunks"])
def ask(request, serving):
    """Send CONTENT to a path, in one of the ways that content can come."""
    server = serving("--request-buffer", "0" if request.param == "file" else "10000")

    def asked(target):
        with server.client() as client:
            if request.param != "chunks":
                return client.request("POST", target, content=CONTENT).content
            chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (CONTENT[:4], CONTENT[4:], b""))
            client.send(f"POST {target} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".encode() + chunks)
            return client.receive_response().content

    return asked


@pytest.mark.parametrize("name", READERS)
def test_content_is_read(ask, name):
    assert ask(f"/{name}") == b"|".join(READERS[name][1])


@pytest.mark.parametrize("name", ["read_all", "readline", "readlines", "iterate"])
def test_without_content_the_stream_is_at_its_end(server, name):
    assert server.get(f"/{name}").content.strip(b"|") == b""


@application.route
def unread(_environ, start_response):
    start_response("200 OK", [])
    return [b""]


def test_content_that_nobody_reads_is_not_taken_for_a_request(serving):
    for buffer in ("0", "10000"):
        with serving("--request-buffer", buffer).client() as client:
            assert client.request("POST", "/unread", content=b"GET / HTTP/1.1\r\n\r\n").status == 200
            assert client.request("POST", "/read_all", content=b"next").content == b"next"


@application.route
def keeps(environ, start_response):
    kept.append(environ["wsgi.input"])
    start_response("200 OK", [])
    return []


@application.route
def read_kept(_environ, start_response):
    start_response("200 OK", [])
    return [kept.pop().read()]


kept = []


@pytest.mark.parametrize("buffer", ["0", "10000"])
def test_a_stream_that_was_kept_has_the_content_of_its_own_request(serving, buffer):
    with serving("--request-buffer", buffer).client() as client:
        client.request("POST", "/keeps", content=b"kept")
        client.request("POST", "/read_all", content=b"other")
        assert client.request("POST", "/read_kept", content=b"last").content == b"kept"
