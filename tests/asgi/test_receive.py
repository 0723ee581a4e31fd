"""What receive() gives of a request: the content as it comes, and only what is asked for."""

import asyncio
import contextlib
import hashlib
import select
import socket
import threading

import pytest
from calls import Calls, body, note, notes, read, respond, start
from support import cuts, eventually

application = Calls()


@application.route
async def events(scope, receive, send):
    """Note each event, and answer with all content."""
    content, more = b"", True
    while more:
        event = await receive()
        note(scope, event)
        content += event["body"]
        more = event["more_body"]
    await respond(send, content)


@application.route
async def content(_scope, receive, send):
    await respond(send, await read(receive))


@application.route
async def digest(_scope, receive, send):
    await respond(send, hashlib.sha256(await read(receive)).hexdigest().encode())


@application.route
async def reads_nothing(_scope, _receive, send):
    await respond(send)


@application.route
async def told(scope, receive, send):
    """Note the kinds of events up to the disconnect."""
    note(scope, "entered")
    kind = ""
    while kind != "http.disconnect":
        kind = (await receive())["type"]
        note(scope, kind)
    await respond(send)


@application.route
async def reads_later(scope, receive, send):
    note(scope, "entered")
    go_on[scope["query_string"]] = asyncio.Event()
    await go_on[scope["query_string"]].wait()
    length, more = 0, True
    while more:
        event = await receive()
        length += len(event["body"])
        more = event["more_body"]
    await respond(send, str(length).encode())


@application.route
async def streams_without_reading(scope, _receive, send):
    """Answer in blocks, and never ask for the content."""
    go_on[scope["query_string"]] = asyncio.Event()
    await send(start())
    await send(body(b"one", more=True))
    note(scope, "entered")
    await go_on[scope["query_string"]].wait()
    await send(body(b"two"))


@application.route
async def goes_on(scope, _receive, send):
    """Let the other request with that query read."""
    go_on[scope["query_string"]].set()
    await respond(send)


go_on = {}


@application.route
async def gives_up(scope, receive, send):
    """Cancel receive(), in two ways, before there is anything to receive."""
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(receive(), 0.01)
    waiting = asyncio.ensure_future(receive())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait({waiting})
    note(scope, "given up")
    await respond(send, await read(receive))


@application.route
async def two_receive(scope, receive, send):
    note(scope, "entered")
    events = await asyncio.gather(receive(), receive())
    note(scope, *sorted(event["type"] for event in events))
    await respond(send)


@application.route
async def after_the_response(scope, receive, send):
    await read(receive)
    await respond(send)
    note(scope, await receive(), await receive())


def post(target, *fields, content=b""):
    return "\r\n".join([f"POST {target} HTTP/1.1", "Host: a", *fields, "", ""]).encode() + content


def chunked(*parts, trailers=b""):
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n" + trailers + b"\r\n"


def test_a_request_without_content_is_one_event(server, key):
    with server.client() as client:
        assert client.request("GET", f"/events?{key}").status == 200
    assert notes(server, key) == [{"type": "http.request", "body": repr(b""), "more_body": False}]


def test_content_that_is_here_is_one_event(server, key):
    with server.client() as client:
        assert client.request("POST", f"/events?{key}", content=b"hello").content == b"hello"
    assert notes(server, key) == [{"type": "http.request", "body": repr(b"hello"), "more_body": False}]


def test_chunks_that_are_here_are_one_event(server, key):
    with server.client() as client:
        sent = chunked(b"he", b"llo", trailers=b"X-Sum: 1\r\n")
        client.send(post(f"/events?{key}", "Transfer-Encoding: chunked", content=sent))
        assert client.receive_response().content == b"hello"
    assert notes(server, key) == [{"type": "http.request", "body": repr(b"hello"), "more_body": False}]


@pytest.mark.parametrize("is_chunked", [False, True])
def test_content_is_given_as_it_comes(server, key, is_chunked):
    framing = "Transfer-Encoding: chunked" if is_chunked else "Content-Length: 4"
    parts = [b"2\r\nab\r\n", b"2\r\ncd\r\n0\r\n\r\n"] if is_chunked else [b"ab", b"cd"]
    with server.client() as client:
        client.send(post(f"/events?{key}", framing, content=parts[0]))
        eventually(lambda: notes(server, key))
        client.send(parts[1])
        assert client.receive_response().content == b"abcd"
    assert notes(server, key)[0] == {"type": "http.request", "body": repr(b"ab"), "more_body": True}
    assert [event["more_body"] for event in notes(server, key)[1:]][-1] is False


def test_content_may_be_cut_anywhere(server):
    sent = post("/content", "Transfer-Encoding: chunked", content=chunked(b"hello, ", b"world", trailers=b"A: b\r\n"))
    with server.client() as client:
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for first, second in cuts(sent):
            client.send(first)
            client.send(second)
            assert client.receive_response().content == b"hello, world"


@pytest.mark.parametrize("is_chunked", [False, True])
def test_long_content_is_whole(server, is_chunked):
    data = bytes(range(256)) * 12_000
    with server.client(timeout=20) as client:
        if is_chunked:
            parts = [data[at : at + 70_001] for at in range(0, len(data), 70_001)]
            client.send(post("/digest", "Transfer-Encoding: chunked", content=chunked(*parts)))
            response = client.receive_response()
        else:
            response = client.request("POST", "/digest", content=data)
    assert response.content == hashlib.sha256(data).hexdigest().encode()


def test_no_more_is_read_than_the_application_takes(server, key):
    data = bytes(64_000_000)
    with server.client(timeout=30) as client:
        client.send(post(f"/reads_later?{key}", f"Content-Length: {len(data)}"))
        eventually(lambda: notes(server, key))
        client.socket.setblocking(False)
        sent = 0
        while select.select([], [client.socket], [], 0.3)[1]:
            with contextlib.suppress(BlockingIOError):
                sent += client.socket.send(data[sent : sent + 1_000_000])
            # What the kernel keeps for both ends is a few megabytes.
            assert sent < 40_000_000
        client.socket.settimeout(30)
        assert server.get(f"/goes_on?{key}").status == 200
        client.send(data[sent:])
        assert client.receive_response().content == str(len(data)).encode()


def test_content_before_an_end_of_the_client_is_not_lost(server, key):
    """Some of it is not read before the application asks for more; the end is known by then."""
    data = bytes(200_000)
    with server.client() as client:
        client.send(post(f"/reads_later?{key}", f"Content-Length: {len(data)}", content=data))
        client.socket.shutdown(socket.SHUT_WR)
        eventually(lambda: notes(server, key))
        assert server.get(f"/goes_on?{key}").status == 200
        assert client.receive_response().content == str(len(data)).encode()


def test_content_that_is_held_back_is_asked_for_when_it_is_received(server):
    with server.client() as client:
        client.send(post("/content", "Content-Length: 5", "Expect: 100-continue"))
        assert client.receive_response().status == 100
        client.send(b"hello")
        assert client.receive_response().content == b"hello"


def test_content_that_is_held_back_is_not_asked_for_in_vain(server):
    with server.client() as client:
        client.send(post("/reads_nothing", "Content-Length: 5", "Expect: 100-continue"))
        assert client.receive_response().status == 200
        assert client.is_closed_by_server()


def test_content_that_comes_anyway_is_not_asked_for(server):
    with server.client() as client:
        client.send(post("/content", "Content-Length: 5", "Expect: 100-continue", content=b"hello"))
        assert client.receive_response().content == b"hello"


def test_content_that_nobody_reads_is_not_taken_for_a_request(server):
    with server.client() as client:
        client.send(post("/reads_nothing", "Content-Length: 100000", content=b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"))
        assert client.receive_response().status == 200
        assert client.is_closed_by_server()


def test_a_receive_that_was_cancelled_takes_nothing_with_it(server, key):
    with server.client() as client:
        client.send(post(f"/gives_up?{key}", "Content-Length: 5"))
        eventually(lambda: notes(server, key))
        client.send(b"hello")
        assert client.receive_response().content == b"hello"


def test_two_tasks_may_receive_at_the_same_time(server, key):
    with server.client() as client:
        client.send(post(f"/two_receive?{key}", "Content-Length: 5"))
        eventually(lambda: notes(server, key))
        client.send(b"hello")
        client.close()
        eventually(lambda: notes(server, key) == ["entered", "http.disconnect", "http.request"])


def test_after_the_response_there_is_a_disconnect_and_another(server, key):
    with server.client() as client:
        assert client.request("POST", f"/after_the_response?{key}", content=b"a").status == 200
        eventually(lambda: notes(server, key) == [{"type": "http.disconnect"}] * 2)
        assert client.request("GET").status == 200


def test_a_chunk_that_is_wrong_is_refused_and_the_application_is_told(server, key):
    with server.client() as client:
        client.send(post(f"/told?{key}", "Transfer-Encoding: chunked", content=b"2\r\nab\r\n"))
        eventually(lambda: notes(server, key) == ["entered", "http.request"])
        client.send(b"no size\r\n")
        assert client.receive_response().status == 400
        assert client.is_closed_by_server()
    eventually(lambda: notes(server, key) == ["entered", "http.request", "http.disconnect"])


@pytest.fixture
def strict(serving):
    """A server with tight limits."""
    return serving("--limit-request-body", "10", "--request-body-timeout", "0.3", "--limit-request-fields", "5")


def test_content_that_is_too_long_is_refused_before_the_application_is_called(strict, key):
    with strict.client() as client:
        assert client.request("POST", f"/events?{key}", content=bytes(11)).status == 413
        assert client.is_closed_by_server()
    assert notes(strict, key) == []


def test_chunks_that_are_too_long_together_are_refused_and_the_application_is_told(strict, key):
    with strict.client() as client:
        client.send(post(f"/told?{key}", "Transfer-Encoding: chunked", content=b"8\r\n12345678\r\n"))
        eventually(lambda: "http.request" in notes(strict, key))
        client.send(b"3\r\n123\r\n0\r\n\r\n")
        assert client.receive_response().status == 413
    eventually(lambda: notes(strict, key)[-1] == "http.disconnect")


def test_content_that_does_not_come_is_a_408_and_the_application_is_told(strict, key):
    with strict.client() as client:
        client.send(post(f"/told?{key}", "Content-Length: 9", content=b"ab"))
        assert client.receive_response().status == 408
        assert client.is_closed_by_server()
    eventually(lambda: notes(strict, key)[-1] == "http.disconnect")


def wait_for_the_timeout(server):
    """Return when another client, which begins later, has been cut."""
    with server.client() as client:
        client.send(post("/content", "Content-Length: 9"))
        assert client.receive_response().status == 408


@pytest.fixture
def hasty(serving):
    """A server that waits for content only shortly."""
    return serving("--request-body-timeout", "0.3")


def test_a_client_that_is_faster_than_the_application_is_not_slow(hasty, key):
    data = bytes(200_000)
    with hasty.client() as client:
        client.send(post(f"/reads_later?{key}", f"Content-Length: {len(data)}"))
        eventually(lambda: notes(hasty, key))
        client.send(data)
        wait_for_the_timeout(hasty)
        assert hasty.get(f"/goes_on?{key}").status == 200
        assert client.receive_response().content == str(len(data)).encode()


def test_a_client_is_not_slow_before_it_is_asked_for_its_content(hasty, key):
    with hasty.client() as client:
        client.send(post(f"/reads_later?{key}", "Content-Length: 5", "Expect: 100-continue"))
        eventually(lambda: notes(hasty, key))
        wait_for_the_timeout(hasty)
        assert hasty.get(f"/goes_on?{key}").status == 200
        assert client.receive_response().status == 100
        client.send(b"hello")
        assert client.receive_response().content == b"5"


def test_a_client_that_is_never_asked_for_its_content_gets_the_whole_response(hasty, key):
    with hasty.client() as client:
        client.send(post(f"/streams_without_reading?{key}", "Content-Length: 5", "Expect: 100-continue"))
        eventually(lambda: notes(hasty, key))
        wait_for_the_timeout(hasty)
        assert hasty.get(f"/goes_on?{key}").status == 200
        assert client.receive_response().content == b"onetwo"


def test_a_head_with_too_many_fields_is_refused(strict):
    with strict.client() as client:
        assert client.request("GET", "/", [(f"X-{number}", "1") for number in range(5)]).status == 431


def test_content_of_many_clients_at_once_is_their_own(server):
    failures = []

    def ask(number):
        data = bytes([number]) * (100_000 + number)
        with server.client(timeout=20) as client:
            for _ in range(3):
                if client.request("POST", "/content", content=data).content != data:
                    failures.append(number)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
