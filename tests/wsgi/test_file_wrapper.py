"""wsgi.file_wrapper around everything that can be read; PEP 3333, "Optional Platform-Specific File Handling"."""

import gzip
import io
import os
import socket
import tempfile
from pathlib import Path

import pytest
from sharing import Routes
from support import eventually

application = Routes()
CONTENT = bytes(range(256)) * 400


def stored(name="stored", content=CONTENT):
    path = Path(name)
    path.write_bytes(content)
    return path


def wrapping(name, make, *fields, status="200 OK"):
    """Have the path of that name answered with what `make` opens."""

    def handler(environ, start_response):
        start_response(status, [("Content-Type", "application/octet-stream"), *fields])
        return environ["wsgi.file_wrapper"](make())

    handler.__name__ = name
    application.route(handler)


class Recording:
    """A file-like object of an application's own, which records that it was closed."""

    def __init__(self, file):
        self._file = file
        self.read = file.read

    def close(self):
        self._file.close()
        with open("closed", "a") as record:
            record.write("closed ")


class RecordingWithDescriptor(Recording):
    def __init__(self, file):
        super().__init__(file)
        self.fileno = file.fileno
        self.tell = file.tell


class OnlyRead:
    def __init__(self, content):
        self.read = io.BytesIO(content).read


def advanced(file, offset):
    file.seek(offset)
    return file


def read_from(file, length):
    file.read(length)
    return file


def filled(file):
    file.write(CONTENT)
    return advanced(file, 0)


def gzip_file():
    with gzip.open("stored.gz", "wb") as file:
        file.write(CONTENT)
    return gzip.open("stored.gz", "rb")


def pipe():
    read_end, write_end = os.pipe()
    # Not by os.close(), which gevent does later.
    with open(write_end, "wb") as file:
        file.write(b"through a pipe")
    return os.fdopen(read_end, "rb")


def stream():
    one, other = socket.socketpair()
    one.sendall(b"through a socket")
    one.close()
    with other:
        return other.makefile("rb")


WHOLE = {
    "a_file": lambda: stored().open("rb"),
    "an_unbuffered_file": lambda: stored().open("rb", buffering=0),
    "a_file_open_for_writing": lambda: stored().open("r+b"),
    "in_memory": lambda: io.BytesIO(CONTENT),
    "only_read": lambda: OnlyRead(CONTENT),
    "spooled_file": lambda: filled(tempfile.SpooledTemporaryFile(max_size=10)),  # noqa: SIM115 - the server closes it
    "temporary_file": lambda: filled(tempfile.NamedTemporaryFile()),  # noqa: SIM115 - likewise
    "gzip_file": gzip_file,
    "of_its_own": lambda: Recording(stored().open("rb")),
    "of_its_own_with_descriptor": lambda: RecordingWithDescriptor(stored().open("rb")),
}
for one in WHOLE.items():
    wrapping(*one)
wrapping("offset", lambda: advanced(stored().open("rb"), 1000))
wrapping("offset_in_memory", lambda: advanced(io.BytesIO(CONTENT), 1000))
wrapping("offset_by_reading", lambda: read_from(stored().open("rb"), 1000))
wrapping("beyond_the_end", lambda: advanced(stored().open("rb"), len(CONTENT) + 10))
wrapping("a_part", lambda: advanced(stored().open("rb"), 10), ("Content-Length", "20"))
wrapping("a_part_in_memory", lambda: advanced(io.BytesIO(CONTENT), 10), ("Content-Length", "20"))
wrapping("text", lambda: io.StringIO("text"))
wrapping("a_text_file", lambda: stored("text", b"text").open("r"))
wrapping("pipe", pipe)
wrapping("stream", stream)
wrapping("closed", lambda: RecordingWithDescriptor(stored().open("rb")))
wrapping("closed_in_memory", lambda: Recording(io.BytesIO(CONTENT)))
wrapping("not_modified", lambda: RecordingWithDescriptor(stored().open("rb")), status="304 Not Modified")


@pytest.fixture(params=[(), ("--no-sendfile",)], ids=["sendfile", "no-sendfile"])
def server(request, serving):
    return serving(*request.param)


@pytest.mark.parametrize("name", WHOLE)
def test_what_is_wrapped_is_sent_whole(server, name):
    with server.client() as client:
        assert client.request("GET", f"/{name}").content == CONTENT
        assert client.request("GET", "/").status == 200


@pytest.mark.parametrize("target", ["/offset", "/offset_in_memory", "/offset_by_reading"])
def test_a_file_is_sent_from_where_it_stands(server, target):
    assert server.get(target).content == CONTENT[1000:]


def test_a_file_that_stands_beyond_its_end_is_empty(server):
    with server.client() as client:
        assert client.request("GET", "/beyond_the_end").content == b""
        assert client.request("GET", "/").status == 200


@pytest.mark.parametrize("target", ["/a_part", "/a_part_in_memory"])
def test_no_more_than_content_length_is_sent(server, target):
    with server.client() as client:
        assert client.request("GET", target).content == CONTENT[10:30]
        assert client.request("GET", "/").status == 200


@pytest.mark.parametrize(("target", "content"), [("/pipe", b"through a pipe"), ("/stream", b"through a socket")])
def test_a_descriptor_that_is_no_file_is_read(server, target, content):
    assert server.get(target).content == content


@pytest.mark.parametrize("target", ["/text", "/a_text_file"])
def test_text_is_a_500(server, target):
    assert server.get(target).status == 500
    assert "LocalProtocolError: the application yielded str, not bytes" in server.log()


@pytest.mark.parametrize("target", ["/a_file", "/in_memory", "/a_part"])
def test_head_sends_no_content(server, target):
    with server.client() as client:
        client.request("HEAD", target)
        assert client.request("GET", "/").status == 200


def test_head_tells_the_length_of_a_file(serving):
    with serving().client() as client:
        assert client.request("HEAD", "/a_file").field("Content-Length") == str(len(CONTENT))


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("target", ["/closed", "/closed_in_memory", "/not_modified"])
def test_what_is_wrapped_is_closed_once(server, target, method):
    record = server.directory / "closed"
    record.unlink(missing_ok=True)
    with server.client() as client:
        client.request(method, target)
    eventually(lambda: record.exists() and record.read_text())
    assert server.get("/").status == 200
    assert record.read_text().split() == ["closed"]


@application.route
def iterated(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    wrapper = environ["wsgi.file_wrapper"](io.BytesIO(CONTENT), 1000)
    return [b"%d" % len(block) for block in wrapper]


def test_an_application_may_iterate_the_wrapper(server):
    assert server.get("/iterated").content == b"1000" * 102 + b"400"


@application.route
def iterated_in_part(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    wrapper = environ["wsgi.file_wrapper"](stored().open("rb"), 1000)
    next(wrapper)
    return wrapper


def test_what_an_application_took_itself_is_not_sent_again(server):
    assert server.get("/iterated_in_part").content == CONTENT[1000:]


@application.route
def after_write(environ, start_response):
    write = start_response("200 OK", [("Content-Type", "application/octet-stream")])
    write(b"before ")
    return environ["wsgi.file_wrapper"](stored().open("rb"))


def test_a_file_may_follow_what_was_written(server):
    assert server.get("/after_write").content == b"before " + CONTENT


@application.route
def late_start(environ, _start_response):
    return environ["wsgi.file_wrapper"](stored().open("rb"))


def test_a_file_without_start_response_is_a_500(server):
    assert server.get("/late_start").status == 500


def test_a_file_is_sent_to_http_1_0_too(server):
    with server.client() as client:
        client.send(b"GET /a_file HTTP/1.0\r\n\r\n")
        assert client.receive_response().content == CONTENT
