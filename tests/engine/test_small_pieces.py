"""Content in the smallest pieces there are, and fields in the greatest number: all of it arrives, in order."""

import random

import pytest
from sharing import Routes

application = Routes()


@application.route
def echo(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    return [environ["wsgi.input"].read()]


def chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


def chunks(content, sizes):
    """`content` in chunks of these sizes, over and over."""
    at = 0
    while at < len(content):
        for size in sizes:
            if piece := content[at : at + size]:
                yield chunk(piece)
            at += size


CONTENT = random.Random(20).randbytes(200_000)
SIZES = {"one byte": [1], "one and many": [1, 30_000, 1, 2], "growing": list(range(1, 600)), "many": [70_000]}
IN_A_FILE = ("--request-buffer", "1000")


@pytest.mark.parametrize("arguments", [IN_A_FILE, ()], ids=["in a file", "in memory"])
@pytest.mark.parametrize("sizes", list(SIZES.values()), ids=list(SIZES))
def test_chunks_of_any_size_are_put_together(serving, arguments, sizes):
    head = b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    sent = head + b"".join(chunks(CONTENT, sizes)) + b"0\r\n\r\n"
    with serving(*arguments).client() as client:
        # Twice, so that there is something behind the chunks which must not be taken with them.
        client.send(sent * 2)
        assert client.receive_response().content == CONTENT
        assert client.receive_response().content == CONTENT


@pytest.mark.parametrize("arguments", [IN_A_FILE, ()], ids=["in a file", "in memory"])
def test_chunks_cut_anywhere_are_put_together(serving, arguments):
    content = CONTENT[:3000]
    coded = b"".join(chunks(content, [1, 2, 300])) + b"0\r\n\r\n"
    with serving(*arguments).client() as client:
        for step in (1, 2, 3, 5, 7, 100):
            client.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
            for at in range(0, len(coded), step):
                client.send(coded[at : at + step])
            assert client.receive_response().content == content


LINES = 8000


@application.route
def joined(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ[environ["QUERY_STRING"]].encode("latin-1")]


@pytest.mark.parametrize(
    ("name", "variable", "between"), [("X-Many", "HTTP_X_MANY", ","), ("Cookie", "HTTP_COOKIE", "; ")]
)
def test_thousands_of_repeated_fields_are_joined_in_their_order(serving, name, variable, between):
    values = [f"value-{number}" for number in range(LINES)]
    with serving("--limit-request-fields", "0").client() as client:
        fields = [field for value in values for field in ((name, value), ("X-Other", "1"))]
        assert client.request("GET", f"/joined?{variable}", fields).content.decode() == between.join(values)
        assert client.request("GET", "/joined?HTTP_X_OTHER", fields).content.decode() == ",".join(["1"] * LINES)
