"""What the servers of these tests serve, by WSGI and by ASGI: the same paths have the same answers."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import json
import os
import resource
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    Message = dict[str, Any]

taken: list[int] = []
LIMITS = resource.getrlimit(resource.RLIMIT_NOFILE)
tasks: list[asyncio.Task[None]] = []
LARGE = 12_000_000  # bytes, more than sockets hold


def hold(name: str) -> None:
    """Tell which process this is, and keep the thread, whatever runs in it, until the gate of that name is opened."""
    new = Path(f"{name}.new")
    new.write_text(str(os.getpid()))
    new.rename(f"{name}.entered")
    gate = os.open(f"{name}.gate", os.O_RDONLY)
    while os.read(gate, 64):
        pass
    os.close(gate)


def hold_when_told(name: str) -> None:
    """Wait as greenlets do, and then keep the thread of all of them."""
    import gevent

    while not Path(f"{name}.go").exists():
        gevent.sleep(0.01)
    hold(name)


async def task_that_holds_when_told(name: str) -> None:
    """The same for tasks."""
    while not Path(f"{name}.go").exists():
        await asyncio.sleep(0.01)
    hold(name)


def leave_child(name: str) -> None:
    """Have a child that goes on until the gate of that name is opened, with all that is open here."""
    if os.fork() == 0:
        with open(f"{name}.gate") as gate:
            gate.read()
        os._exit(0)


def fork() -> None:
    """Have a child that ends at once, and a program."""
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    subprocess.run(["true"], check=True)


@functools.cache
def large() -> bytes:
    """Content that differs all over."""
    return b"".join(hashlib.sha256(b"%d" % number).digest() for number in range(LARGE // 32))


class Holding:
    """Keeps the thread in which nobody needs it any more."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __del__(self) -> None:
        hold(self._name)


def exhaust() -> None:
    """Leave no descriptor to this process."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, LIMITS[0]), LIMITS[1]))
    with contextlib.suppress(OSError):
        while True:
            taken.append(os.open("/dev/null", os.O_RDONLY))


def release() -> None:
    """Give them back."""
    while taken:
        os.close(taken.pop())
    resource.setrlimit(resource.RLIMIT_NOFILE, LIMITS)


def answer(path: str, query: str, content: bytes, waited: float) -> bytes:
    """The content of the response; who gave it, and to what."""
    if path == "/large":
        return large()
    if path == "/hold":
        hold(query)
    if path == "/fork":
        fork()
    if path == "/exhaust":
        exhaust()
    if path == "/release":
        release()
    if path == "/hold-when-told":
        import gevent

        gevent.spawn(hold_when_told, query)
    if path == "/leave-child":
        leave_child(query)
    told = {"pid": os.getpid(), "query": query, "waited": waited}
    return json.dumps({**told, "length": len(content), "sum": hashlib.sha256(content).hexdigest()}).encode()


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """By WSGI."""
    content = environ["wsgi.input"].read()
    if environ["PATH_INFO"] == "/holding":
        environ["holding"] = Holding(environ["QUERY_STRING"])
    told = answer(environ["PATH_INFO"], environ["QUERY_STRING"], content, environ["pyserver.queue_time"])
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(told)))])
    return [told]


async def asgi(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    """By ASGI; /hold-later blocks when it has waited for something."""
    if scope["type"] == "lifespan":
        return
    content, more = b"", True
    while more:
        event = await receive()
        content += event.get("body", b"")
        more = event.get("more_body", False)
    path = scope["path"]
    if path == "/hold-later":
        await asyncio.sleep(0.001)
        path = "/hold"
    if path == "/hold-when-told":
        path = "/"
        tasks.append(asyncio.create_task(task_that_holds_when_told(scope["query_string"].decode())))
    waited = scope["extensions"]["pyserver"]["queue_time"]
    told = answer(path, scope["query_string"].decode(), content, waited)
    fields = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(told))]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    await send({"type": "http.response.body", "body": told})
