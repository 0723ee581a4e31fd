"""The lifespan of an application: told of the start before the first request, and of the end after the last."""

import ast
import signal
import textwrap

import pytest
from support import eventually

RESPOND = """
import asyncio, os, sys

async def respond(send, content=b""):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": content})

"""
# It tells what it is told, in the log and in its responses.
TOLD = """
async def application(scope, receive, send):
    if scope["type"] != "lifespan":
        state = repr(scope["state"])
        scope["state"]["left"] = True
        scope["state"].get("shared", []).append("request")
        return await respond(send, state.encode())
    told = {**scope, "state": dict(scope["state"])}
    scope["state"].update(pool="open", shared=[])
    told["events"] = [await receive()]
    await send({"type": "lifespan.startup.complete"})
    told["events"].append(await receive())
    await send({"type": "lifespan.shutdown.complete"})
    print("told", told, scope["state"], flush=True)
"""
STARTS = {
    "raises": "raise KeyError('path')",
    "asserts": "assert scope['type'] == 'http'",
    "returns": "pass",
    "raises after receive": "await receive(); raise NotImplementedError",
    "sends what has no place": "await receive(); await send({'type': 'http.response.start', 'status': 200})",
    "is cancelled": "raise asyncio.CancelledError",
}


def source(startup, shutdown="pass", before="pass"):
    """An application with that lifespan, which does something before it serves."""
    return RESPOND + textwrap.dedent(
        f"""
        async def application(scope, receive, send):
            if scope["type"] == "http":
                {before}
                return await respond(send, b"served")
            {startup}
            {shutdown}
        """
    )


@pytest.fixture
def run(serve):
    """Start a server with that source."""

    def started(text, *arguments):
        return serve(text, "-k", "asgi", *arguments)

    return started


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_it_is_told_of_both_and_its_state_is_copied_for_each_request(run, loop):
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    server = run(RESPOND + TOLD, "--loop", loop)
    for requests in range(2):
        expected = {"pool": "open", "shared": ["request"] * requests}
        assert ast.literal_eval(server.get().content.decode()) == expected
    assert server.stop() == 0
    (line,) = [line for line in server.log().splitlines() if line.startswith("told ")]
    told = {
        "type": "lifespan",
        "asgi": {"version": "3.0", "spec_version": "2.0"},
        "state": {},
        "events": [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}],
    }
    shared = {"pool": "open", "shared": ["request", "request"]}
    assert line == f"told {told} {shared}"


def test_no_request_is_served_before_the_startup_is_complete(run, tmp_path):
    startup = """await receive()
            open("entered", "w").close()
            while not os.path.exists("gate"):
                await asyncio.sleep(0.01)
            await send({"type": "lifespan.startup.complete"})
            await receive()"""
    server = run(source(startup, before="assert os.path.exists('gate')"))
    with server.client() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        eventually((tmp_path / "entered").exists)
        (tmp_path / "gate").touch()
        assert client.receive_response().content == b"served"


@pytest.mark.parametrize("startup", list(STARTS.values()), ids=list(STARTS))
def test_an_application_without_a_lifespan_serves(run, startup):
    server = run(source(startup), "--log-level", "debug")
    assert server.get().content == b"served"
    assert server.stop() == 0
    assert "The application has no lifespan: it r" in server.log()
    assert "[ERROR]" not in server.log()


@pytest.mark.parametrize(
    ("startup", "reason"),
    [
        ("raise ValueError('no database')", "and asgi_lifespan is on: ValueError: no database\nTraceback"),
        ("pass", "and asgi_lifespan is on"),
    ],
)
def test_where_there_has_to_be_one_its_lack_is_a_failed_boot(start, startup, reason):
    server = start(source(startup), "-k", "asgi", "--lifespan", "on")
    assert server.wait() == 3
    assert f"failed to boot: the application has no lifespan, {reason}" in server.log()


def test_an_application_that_is_not_to_be_told_is_not(run):
    server = run(source("print('called', flush=True)"), "--lifespan", "off")
    assert server.get().content == b"served"
    assert server.stop() == 0
    assert "called" not in server.log()


def test_a_startup_that_fails_is_told_in_one_line_with_its_traceback(start):
    startup = """await receive()
            await send({"type": "lifespan.startup.failed", "message": "Traceback:\\n  in shop\\nno database"})
            raise OSError("of the database")"""
    server = start(source(startup), "-k", "asgi")
    assert server.wait() == 3
    assert "failed to boot: the application's startup failed: no database\nTraceback" in server.log()
    assert "OSError: of the database" in server.log()


def test_a_startup_that_fails_without_a_word_is_told(start):
    startup = """await receive()
            await send({"type": "lifespan.startup.failed"})"""
    server = start(source(startup), "-k", "asgi")
    assert server.wait() == 3
    assert "failed to boot: the application's startup failed\n" in server.log()


STARTED = "await receive(); await send({'type': 'lifespan.startup.complete'}); await receive()"
ENDS = {
    "raises": ("raise OSError('of the pool')", "The application's shutdown failed\nTraceback"),
    "says that it failed": (
        "await send({'type': 'lifespan.shutdown.failed', 'message': 'the pool leaks'})",
        "The application's shutdown failed: the pool leaks",
    ),
}


@pytest.mark.parametrize(("shutdown", "said"), list(ENDS.values()), ids=list(ENDS))
def test_a_shutdown_that_fails_is_in_the_log_and_the_server_stops(run, shutdown, said):
    server = run(source(STARTED, shutdown))
    assert server.get().content == b"served"
    assert server.stop() == 0
    assert f"[ERROR] {said}" in server.log()


def test_a_shutdown_is_not_waited_for_for_ever(run):
    server = run(source(STARTED, "await asyncio.sleep(60)"), "--lifespan-timeout", "0.2")
    assert server.get().content == b"served"
    assert server.stop() == 0
    assert "The application's shutdown takes longer than 0.2 s: it is not waited for" in server.log()


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_shutdown_ends_when_the_server_is_told_to_quit(run, tmp_path, loop):
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    shutdown = """open("entered", "w").close()
            await asyncio.sleep(60)"""
    server = run(source(STARTED, shutdown), "--loop", loop)
    assert server.get().content == b"served"
    server.send_signal(signal.SIGTERM)
    eventually((tmp_path / "entered").exists)
    assert server.stop(signal.SIGQUIT) == 0
    assert "Traceback" not in server.log()
    assert "exited with code" not in server.log()


def test_a_shutdown_that_returns_without_an_answer_is_none(run):
    server = run(source(STARTED))
    assert server.get().content == b"served"
    assert server.stop() == 0
    assert "[ERROR]" not in server.log()


def test_a_lifespan_that_ends_before_its_time_is_not_missed(run):
    server = run(source("await receive(); await send({'type': 'lifespan.startup.complete'})"))
    assert server.get().content == b"served"
    assert server.stop() == 0
    assert "[ERROR]" not in server.log()


def test_the_requests_end_before_the_lifespan_does(run, tmp_path):
    before = """open("entered", "w").close()
                while not os.path.exists("gate"):
                    await asyncio.sleep(0.01)
                print("the request ends", flush=True)"""
    server = run(source(STARTED, "print('the lifespan ends', flush=True)", before))
    with server.client() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        eventually((tmp_path / "entered").exists)
        server.send_signal(signal.SIGTERM)
        eventually(lambda: "Handling signal: term" in server.log())
        (tmp_path / "gate").touch()
        assert client.receive_response().content == b"served"
    assert server.wait() == 0
    log = server.log()
    assert log.index("the request ends") < log.index("the lifespan ends")


def test_generators_that_were_left_are_closed_at_the_end(run):
    text = RESPOND + textwrap.dedent(
        """
        async def rows():
            try:
                yield 1
            finally:
                print("closed", flush=True)

        kept = []

        async def application(scope, receive, send):
            kept.append(rows())
            await kept[-1].__anext__()
            await respond(send)
        """
    )
    server = run(text, "--lifespan", "off")
    assert server.get().status == 200
    assert server.stop() == 0
    assert server.log().count("closed\n") == 1
