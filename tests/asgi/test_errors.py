"""Applications that raise, return too early, or are no coroutines: what their clients get, and the log."""

import asyncio
import os
import textwrap

import pytest
from calls import Calls, body, note, notes, read, respond, start
from support import eventually

application = Calls()


class NoError(BaseException):
    """What no handler of errors expects."""


RAISED = {
    "an error": ValueError("no such shop"),
    "an exit": SystemExit(3),
    "an interrupt": KeyboardInterrupt(),
    "another base": NoError(),
    "the end of a generator": StopAsyncIteration(),
}


@application.route
async def raises(scope, receive, send):
    await read(receive)
    raise list(RAISED.values())[int(scope["query_string"])]


@application.route
async def raises_after_a_wait(scope, receive, send):
    await asyncio.sleep(0.001)
    raise list(RAISED.values())[int(scope["query_string"])]


@application.route
async def raises_after_start(_scope, _receive, send):
    await send(start(headers=[(b"x-a", b"1")]))
    raise ValueError("after the start")


@application.route
async def raises_in_the_middle(_scope, _receive, send):
    await send(start())
    await send(body(b"begun", more=True))
    raise ValueError("in the middle")


@application.route
async def raises_in_the_middle_of_a_length(_scope, _receive, send):
    await send(start(headers=[(b"content-length", b"9")]))
    await send(body(b"begun", more=True))
    raise ValueError("in the middle")


@application.route
async def raises_while_another_task_listens(scope, receive, _send):
    await read(receive)

    async def listen():
        note(scope, "listens", (await receive())["type"])

    listening.append(asyncio.ensure_future(listen()))
    await asyncio.sleep(0.001)
    raise ValueError("while another task listens")


listening = []


@application.route
async def raises_after_the_response(_scope, _receive, send):
    await respond(send, b"hello")
    raise ValueError("after the response")


@application.route
async def returns_at_once(_scope, _receive, _send):
    return None


@application.route
async def returns_after_start(_scope, _receive, send):
    await send(start())


@application.route
async def returns_in_the_middle(_scope, _receive, send):
    await send(start())
    await send(body(b"begun", more=True))


@application.route
async def cancels_itself(_scope, _receive, _send):
    raise asyncio.CancelledError


@application.route
async def is_cancelled_by_a_task(_scope, _receive, _send):
    asyncio.get_running_loop().call_soon(asyncio.current_task().cancel)
    await asyncio.sleep(60)


@application.route
async def goes_on_after_the_response(scope, _receive, send):
    await respond(send, b"hello")
    await asyncio.sleep(0.01)
    note(scope, "went on")


@application.route
async def forks(scope, _receive, send):
    """The child does what the query says, and the parent tells what became of it."""
    child = os.fork()
    if child == 0:
        if scope["query_string"] == b"raises":
            raise ValueError("in the child")
        if scope["query_string"] == b"exits":
            raise SystemExit(7)
        return
    _, status = os.waitpid(child, 0)
    await respond(send, str(os.waitstatus_to_exitcode(status)).encode())


def ask(server, target):
    with server.client() as client:
        client.send(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        response = client.receive_response()
        assert client.is_closed_by_server()
        return response


@pytest.mark.parametrize("handler", ["raises", "raises_after_a_wait"])
@pytest.mark.parametrize("number", range(len(RAISED)), ids=list(RAISED))
def test_what_the_application_raises_is_a_500_and_in_the_log(server, handler, number):
    assert ask(server, f"/{handler}?{number}").status == 500
    _, found, traceback = server.log().partition(f"[ERROR] Error handling request GET /{handler}?{number}\nTraceback")
    assert found
    assert f", in {handler}\n" in traceback
    assert server.get().status == 200


def test_what_is_raised_after_the_start_is_a_500_without_its_fields(server):
    response = ask(server, "/raises_after_start")
    assert (response.status, response.field("X-A")) == (500, None)
    assert "ValueError: after the start" in server.log()


@pytest.mark.parametrize("target", ["/raises_in_the_middle", "/raises_in_the_middle_of_a_length"])
def test_what_is_raised_in_the_middle_cuts_the_response(server, target):
    with server.client() as client, pytest.raises(EOFError):
        client.request("GET", target)
    assert "ValueError: in the middle" in server.log()


def test_a_response_that_ends_with_its_connection_is_cut_by_a_reset(server):
    with server.client() as client:
        client.send(b"GET /raises_in_the_middle HTTP/1.0\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            client.receive_response()


def test_a_task_that_listens_is_told_when_the_application_raises(server, key):
    assert ask(server, f"/raises_while_another_task_listens?{key}").status == 500
    eventually(lambda: notes(server, key) == ["listens", "http.disconnect"])


def test_what_is_raised_after_the_response_is_in_the_log_only(server):
    with server.client() as client:
        assert client.request("GET", "/raises_after_the_response").content == b"hello"
        assert client.request("GET").status == 200
    eventually(lambda: "[ERROR] Error after the response to GET /raises_after_the_response" in server.log())


@pytest.mark.parametrize("target", ["/returns_at_once", "/returns_after_start"])
def test_an_application_that_does_not_answer_is_a_500(server, target):
    assert ask(server, target).status == 500
    assert f"{target} is not complete" in server.log() or f"has not answered GET {target}: it returned" in server.log()


def test_an_application_that_returns_in_the_middle_cuts_its_response(server):
    with server.client() as client, pytest.raises(EOFError):
        client.request("GET", "/returns_in_the_middle")
    assert "The response to GET /returns_in_the_middle is not complete" in server.log()


@pytest.mark.parametrize("target", ["/cancels_itself", "/is_cancelled_by_a_task"])
def test_an_application_that_is_cancelled_is_a_500(server, target):
    assert ask(server, target).status == 500
    assert f"The request GET {target} was cancelled" in server.log()
    assert server.get().status == 200


def test_an_application_may_go_on_after_its_response(server, key):
    with server.client() as client:
        assert client.request("GET", f"/goes_on_after_the_response?{key}").content == b"hello"
        assert client.request("GET").status == 200
    eventually(lambda: notes(server, key) == ["went on"])


@pytest.mark.parametrize(("act", "code"), [("returns", b"0"), ("raises", b"1"), ("exits", b"7")])
def test_a_child_that_was_forked_ends_where_its_call_does(server, act, code):
    with server.client() as client:
        assert client.request("GET", f"/forks?{act}").content == code
        assert client.request("GET").status == 200


APPLICATIONS = {
    "returns nothing": "def application(scope, receive, send):\n    return None\n",
    "raises when called": "def application(scope, receive, send):\n    raise ValueError('no coroutine')\n",
    "returns a number": "class application:\n    def __init__(self, scope, receive, send):\n        pass\n",
}


@pytest.mark.parametrize("source", list(APPLICATIONS.values()), ids=list(APPLICATIONS))
def test_an_application_that_gives_nothing_to_await_is_a_500(serve, source):
    server = serve(source, "-k", "asgi")
    for _ in range(2):
        assert ask(server, "/").status == 500
    assert server.log().count("[ERROR] Error handling request GET /\nTraceback") == 2


AWAITABLES = {
    "an object": """
        class Answer:
            def __init__(self, send):
                self.send = send
            def __await__(self):
                yield from asyncio.sleep(0.001).__await__()
                return (yield from respond(self.send).__await__())

        def application(scope, receive, send):
            return Answer(send)
    """,
    "a future": """
        def application(scope, receive, send):
            return asyncio.ensure_future(respond(send))
    """,
    "a generator": """
        @types.coroutine
        def application(scope, receive, send):
            yield from asyncio.sleep(0.001).__await__()
            return (yield from respond(send).__await__())
    """,
    "a partial": """
        async def named(name, scope, receive, send):
            await respond(send)

        application = functools.partial(named, "shop")
    """,
    "a method": """
        class Site:
            async def serve(self, scope, receive, send):
                await respond(send)

        application = Site().serve
    """,
}
RESPOND = """
import asyncio, functools, types

async def respond(send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})

"""


@pytest.mark.parametrize("source", list(AWAITABLES.values()), ids=list(AWAITABLES))
def test_an_application_may_return_anything_that_can_be_awaited(serve, source):
    server = serve(RESPOND + textwrap.dedent(source), "-k", "asgi", "--lifespan", "off")
    for _ in range(2):
        assert server.get().content == b"hello"
