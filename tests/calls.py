"""An ASGI application whose handlers stand beside the tests, what they leave for those, and the loops that run it.

A module that defines `application = Calls()` is a test module and the application at once, as with `sharing.Routes`.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from classes import WorkerClass

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator

    from support import Server

    Message = dict[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    Handler = Callable[[Message, Receive, Send], Awaitable[None]]

ASGI = WorkerClass("asgi", ("-k", "asgi"), pollers=("epoll",))
_LOOPS = [
    pytest.param(
        WorkerClass("asgi", ("-k", "asgi", "--loop", loop), pollers=("epoll",)),
        id=loop,
        marks=[pytest.mark.skipif(importlib.util.find_spec(loop) is None, reason=f"{loop} is not installed")],
    )
    for loop in ("asyncio", "uvloop")
]


@pytest.fixture(scope="module", params=_LOOPS)
def each_loop(request: pytest.FixtureRequest) -> WorkerClass:
    """The asgi class with each event loop in turn."""
    return request.param


class Calls:
    """An ASGI application without a lifespan: the path names the handler that answers, "/" is empty."""

    def __init__(self) -> None:
        self._handlers: dict[str, Handler] = {"/": _empty}

    def route(self, handler: Handler) -> Handler:
        """Have the handler answer the path of its name."""
        self._handlers[f"/{handler.__name__}"] = handler
        return handler

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await self._handlers[scope["path"]](scope, receive, send)


async def _empty(_scope: Message, _receive: Receive, send: Send) -> None:
    await respond(send)


def start(status: int = 200, headers: Iterable[Any] = (), **more: Any) -> Message:
    """The event that begins a response."""
    return {"type": "http.response.start", "status": status, "headers": headers, **more}


def body(data: bytes = b"", more: bool = False) -> Message:
    """The event of a block of its content."""
    return {"type": "http.response.body", "body": data, "more_body": more}


async def respond(send: Send, content: bytes = b"", status: int = 200) -> None:
    """Answer in two events."""
    await send(start(status))
    await send(body(content))


async def read(receive: Receive) -> bytes:
    """All content of a request."""
    blocks, more = [], True
    while more:
        event = await receive()
        assert event["type"] == "http.request", event
        blocks.append(event["body"])
        more = event["more_body"]
    return b"".join(blocks)


class Interrupted:
    """A request whose response another one begins, in the middle of an event of its own.

    Its `waits` is the handler that is answered so; `fields` are the headers of the other one's event.
    """

    def __init__(self) -> None:
        self._send: Send | None = None
        self._begun = asyncio.Event()

    async def waits(self, scope: Message, _receive: Receive, send: Send) -> None:
        """Send the content when the start has been sent."""
        self._send = send
        note(scope, "waits")
        await self._begun.wait()
        self._begun.clear()
        await send(body(b"of the first"))

    def fields(self) -> Iterator[tuple[bytes, bytes]]:
        """Two fields, between which the response of the one that waits is begun."""
        assert self._send is not None
        yield b"x-second", b"1"
        self._send(start(headers=[(b"x-first", b"1")]))
        self._begun.set()
        yield b"x-second", b"2"


def note(scope: Message, *values: object) -> None:
    """Leave something for the test that sent the request, whose query is the name that it is found by."""
    with _notes_path(scope["query_string"].decode()).open("a", encoding="utf-8") as file:
        for value in values:
            file.write(json.dumps(value, default=repr) + "\n")


def notes(server: Server, name: str) -> list[Any]:
    """What requests with that query have noted so far."""
    path = server.directory / _notes_path(name)
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []


def _notes_path(name: str) -> Path:
    return Path(f"{name}.notes")
