"""What the cases make requests to, for ASGI: what wsgi_application answers, and trailers and early hints."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any

from wsgi_application import NUMBERED, PLAIN

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    Receive = Callable[[], Awaitable[dict[str, Any]]]
    Send = Callable[[dict[str, Any]], Awaitable[None]]

TEXT = [("content-type", "text/plain")]


class Gone(Exception):  # noqa: N818 - it is told by the server and no error
    """Nobody is there any more."""


async def application(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
    elif scope["type"] == "http":
        with contextlib.suppress(Gone):
            await _respond(scope, receive, send)


async def _respond(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    _, name, *argument = scope["path"].split("/", 2) if scope["path"].startswith("/") else ("", "")
    if name == "hold":
        await asyncio.sleep(0.3)
    content = b"" if name == "ignore" else await _content(receive)
    if name == "echo":
        await _answer(send, 200, TEXT, [json.dumps(_told(scope, content)).encode()])
    elif name in ("count", "hold"):
        await _answer(send, 200, TEXT, [b"%d" % len(content)])
    elif name in PLAIN or name in NUMBERED:
        status, fields, parts = PLAIN[name] if name in PLAIN else NUMBERED[name](int(argument[0]))
        await _answer(send, int(status[:3]), fields, parts)
    elif name in ("trailers", "hints"):
        await {"trailers": _trailers, "hints": _hints}[name](send)
    elif name == "fail":
        raise RuntimeError("as it was told to")
    else:
        await _answer(send, 404, TEXT, [b"none\n"])


async def _content(receive: Receive) -> bytes:
    content = bytearray()
    while True:
        event = await receive()
        if event["type"] == "http.disconnect":
            raise Gone
        content += event.get("body", b"")
        if not event.get("more_body"):
            return bytes(content)


async def _start(send: Send, status: int, fields: list[tuple[str, str]], **more: Any) -> None:
    lines = [(name.lower().encode(), value.encode("latin-1")) for name, value in fields]
    await send({"type": "http.response.start", "status": status, "headers": lines, **more})


async def _answer(send: Send, status: int, fields: list[tuple[str, str]], parts: Iterable[bytes]) -> None:
    await _start(send, status, fields)
    for part in parts:
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body"})


async def _trailers(send: Send) -> None:
    await _start(send, 200, [*TEXT, ("trailer", "x-trailer")], trailers=True)
    await send({"type": "http.response.body", "body": b"abc"})
    await send({"type": "http.response.trailers", "headers": [(b"x-trailer", b"a")]})


async def _hints(send: Send) -> None:
    await send({"type": "http.response.early_hint", "links": [b"</style.css>; rel=preload"]})
    await _answer(send, 200, TEXT, [b"abc"])


def _told(scope: dict[str, Any], content: bytes) -> dict[str, Any]:
    return {
        "method": scope["method"],
        "path": scope["path"],
        "query": scope["query_string"].decode("latin-1"),
        "version": scope["http_version"],
        "fields": [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]],
        "content": content.decode("latin-1"),
    }
