"""The extensions of HTTP: early hints, trailers, and files by path or by descriptor."""

import os
import pathlib

import pytest
from calls import Calls, Interrupted, body, notes, respond, start
from support import eventually

application = Calls()

DATA = bytes(range(256)) * 1000
RANGES = {
    "all of it": ({}, DATA),
    "from an offset": ({"offset": 1000}, DATA[1000:]),
    "a part": ({"offset": 1000, "count": 500}, DATA[1000:1500]),
    "more than there is": ({"offset": 255_990, "count": 500}, DATA[255_990:]),
    "nothing": ({"offset": 10, "count": 0}, b""),
}


def path():
    """A file of DATA, in the directory of the server."""
    if not os.path.exists("data"):
        pathlib.Path("data").write_bytes(DATA)
    return os.path.abspath("data")


@application.route
async def hints(_scope, _receive, send):
    await send({"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload", b"</b.js>; rel=preload"]})
    await respond(send, b"hello")


@application.route
async def wrong_hints(scope, _receive, send):
    links = [["</a.css>"], [b"</a>\r\nX-A: 1"]][int(scope["query_string"])]
    await send({"type": "http.response.early_hint", "links": links})


@application.route
async def hints_too_late(_scope, _receive, send):
    await send(start())
    try:
        await send({"type": "http.response.early_hint", "links": [b"</a>"]})
    except Exception as error:
        await send(body(type(error).__name__.encode()))


@application.route
async def trailers(_scope, _receive, send):
    await send(start(trailers=True))
    await send(body(b"hello", more=True))
    await send(body(b" world"))
    await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"1")], "more_trailers": True})
    await send({"type": "http.response.trailers", "headers": [(b"x-more", b"2")]})


@application.route
async def trailers_that_do_not_come(_scope, _receive, send):
    await send(start(trailers=True))
    await send(body(b"hello"))


@application.route
async def trailers_behind_too_little(_scope, _receive, send):
    await send(start(headers=[(b"content-length", b"9")], trailers=True))
    await send(body(b"hello"))
    await send({"type": "http.response.trailers", "headers": []})


interrupted = Interrupted()
application.route(interrupted.waits)


@application.route
async def interrupts_with_its_trailers(_scope, _receive, send):
    await send(start(trailers=True))
    await send(body(b"of the second"))
    await send({"type": "http.response.trailers", "headers": interrupted.fields()})


@application.route
async def sends_a_path(_scope, _receive, send):
    await send(start(headers=[(b"content-type", b"application/octet-stream")]))
    await send({"type": "http.response.pathsend", "path": path()})


@application.route
async def sends_a_wrong_path(scope, _receive, send):
    await send(start())
    await send({"type": "http.response.pathsend", "path": wrong_paths()[int(scope["query_string"])]})


def wrong_paths():
    if not os.path.exists("pipe"):
        os.mkfifo("pipe")
    return ["missing", ".", "pipe"]


@application.route
async def sends_a_path_and_trailers(_scope, _receive, send):
    await send(start(trailers=True))
    await send({"type": "http.response.pathsend", "path": path()})
    await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"1")]})


@application.route
async def sends_a_file(scope, _receive, send):
    options = list(RANGES.values())[int(scope["query_string"])][0]
    with open(path(), "rb") as file:
        await send(start())
        await send({"type": "http.response.zerocopysend", "file": file, **options})


@application.route
async def sends_a_file_from_where_it_is(_scope, _receive, send):
    with open(path(), "rb") as file:
        file.seek(300)
        await send(start())
        await send({"type": "http.response.zerocopysend", "file": file.fileno()})


@application.route
async def sends_files_between_blocks(_scope, _receive, send):
    with open(path(), "rb") as file:
        await send(start())
        await send(body(b"begin ", more=True))
        await send({"type": "http.response.zerocopysend", "file": file, "offset": 0, "count": 9, "more_body": True})
        await send({"type": "http.response.zerocopysend", "file": file, "offset": 9, "more_body": True})
        await send(body(b" end"))


@application.route
async def sends_a_wrong_range(_scope, _receive, send):
    with open(path(), "rb") as file:
        await send(start())
        await send({"type": "http.response.zerocopysend", "file": file, "offset": len(DATA) + 1})


def ask(client, target, *fields, version="1.1"):
    client.send("\r\n".join([f"GET {target} HTTP/{version}", "Host: a", *fields, "", ""]).encode())


def test_hints_are_a_response_before_the_response(server):
    with server.client() as client:
        ask(client, "/hints")
        early = client.receive_response()
        assert (early.status, early.values("Link")) == (103, ["</a.css>; rel=preload", "</b.js>; rel=preload"])
        final = client.receive_response()
        assert (final.status, final.content, final.values("Link")) == (200, b"hello", [])


def test_a_client_that_knows_no_hints_gets_none(server):
    with server.client() as client:
        ask(client, "/hints", version="1.0")
        assert client.receive_response().status == 200


@pytest.mark.parametrize("number", [0, 1], ids=["text", "two lines"])
def test_links_that_are_none_are_refused(server, number):
    with server.client() as client:
        ask(client, f"/wrong_hints?{number}")
        assert client.receive_response().status == 500


def test_hints_after_the_start_are_refused(server):
    assert server.get("/hints_too_late").content == b"LocalProtocolError"


def test_trailers_are_sent_to_a_client_that_wants_them(server):
    with server.client() as client:
        ask(client, "/trailers", "TE: gzip, Trailers", "Connection: TE, close")
        assert client.receive_head().status == 200
        assert client.read_until_closed().endswith(b"\r\n0\r\nx-sum: 1\r\nx-more: 2\r\n\r\n")


def test_trailers_are_not_sent_to_a_client_that_does_not_want_them(server):
    with server.client() as client:
        ask(client, "/trailers", "Connection: close")
        client.receive_head()
        content = client.read_until_closed()
    assert content.endswith(b"\r\n0\r\n\r\n")
    assert b"x-sum" not in content


def test_trailers_are_not_sent_to_a_client_that_knows_no_chunks(server):
    with server.client() as client:
        ask(client, "/trailers", "TE: trailers", version="1.0")
        assert client.receive_response().content == b"hello world"


def test_the_connection_goes_on_behind_trailers(server):
    with server.client() as client:
        ask(client, "/trailers", "TE: trailers", "Connection: TE")
        assert client.receive_response().content == b"hello world"
        assert client.request("GET").status == 200


def test_a_response_whose_trailers_do_not_come_is_cut(server):
    with server.client() as client, pytest.raises(EOFError):
        client.request("GET", "/trailers_that_do_not_come")
    assert "The response to GET /trailers_that_do_not_come is not complete" in server.log()


def test_fields_of_trailers_that_send_for_another_request_are_kept_apart(server, key):
    with server.client() as first, server.client() as second:
        ask(first, f"/waits?{key}")
        eventually(lambda: notes(server, key) == ["waits"])
        ask(second, "/interrupts_with_its_trailers", "TE: trailers", "Connection: TE, close")
        assert second.receive_head().field("X-First") is None
        assert second.read_until_closed().endswith(b"\r\n0\r\nx-second: 1\r\nx-second: 2\r\n\r\n")
        response = first.receive_response()
        assert (response.values("X-First"), response.values("X-Second")) == (["1"], [])


def test_a_response_that_is_too_short_is_cut_behind_its_trailers_too(server):
    with server.client() as client:
        # Of another response its content would be taken for the rest of this one.
        client.send(b"GET /trailers_behind_too_little HTTP/1.1\r\nHost: a\r\n\r\n" * 2)
        with pytest.raises(EOFError, match="hello"):
            client.receive_response()


def test_a_file_is_sent_by_its_path(server):
    with server.client() as client:
        response = client.request("GET", "/sends_a_path")
        assert (response.field("Content-Length"), response.content) == (str(len(DATA)), DATA)
        assert client.request("GET").status == 200


def test_a_file_is_not_sent_to_head_but_its_length_is(server):
    with server.client() as client:
        assert client.request("HEAD", "/sends_a_path").field("Content-Length") == str(len(DATA))
        assert client.request("GET").status == 200


@pytest.mark.parametrize("number", [0, 1, 2], ids=["none", "a directory", "a pipe"])
def test_a_path_that_is_no_file_is_a_500(server, number):
    assert server.get(f"/sends_a_wrong_path?{number}").status == 500
    assert server.get().status == 200


def test_a_file_may_be_followed_by_trailers(server):
    with server.client() as client:
        ask(client, "/sends_a_path_and_trailers", "TE: trailers", "Connection: TE, close")
        head = client.receive_head()
        content = client.read_until_closed()
    assert head.field("Transfer-Encoding") == "chunked"
    assert content.endswith(b"\r\n0\r\nx-sum: 1\r\n\r\n")


@pytest.mark.parametrize("number", range(len(RANGES)), ids=list(RANGES))
def test_a_range_of_an_open_file_is_sent(server, number):
    with server.client() as client:
        expected = list(RANGES.values())[number][1]
        response = client.request("GET", f"/sends_a_file?{number}")
        assert (response.field("Content-Length"), response.content) == (str(len(expected)), expected)
        assert client.request("GET").status == 200


def test_a_file_is_sent_from_where_it_is(server):
    assert server.get("/sends_a_file_from_where_it_is").content == DATA[300:]


def test_files_may_stand_between_blocks(server):
    with server.client() as client:
        assert client.request("GET", "/sends_files_between_blocks").content == b"begin " + DATA + b" end"
        assert client.request("GET").status == 200


def test_a_range_that_is_not_in_the_file_is_a_500(server):
    assert server.get("/sends_a_wrong_range").status == 500
