"""What the cases make requests to, for WSGI: the path says what is answered. See asgi_application for the other."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    Answer = tuple[str, list[tuple[str, str]], Iterable[bytes]]

TEXT = [("Content-Type", "text/plain")]
BLOCK = bytes(range(256)) * 32


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    path = environ["PATH_INFO"]
    if path != "/ignore":
        if path == "/hold":
            time.sleep(0.3)
        content = environ["wsgi.input"].read()
    _, name, *argument = path.split("/", 2) if path.startswith("/") else ("", "")  # OPTIONS has "*"
    if name == "echo":
        return answer(start_response, "200 OK", TEXT, [json.dumps(told(environ, content)).encode()])
    if name in ("count", "hold"):
        return answer(start_response, "200 OK", TEXT, [b"%d" % len(content)])
    if name in PLAIN:
        return answer(start_response, *PLAIN[name])
    if name in NUMBERED:
        return answer(start_response, *NUMBERED[name](int(argument[0])))
    if name == "fail":
        raise RuntimeError("as it was told to")
    return answer(start_response, "404 Not Found", TEXT, [b"none\n"])


def answer(
    start_response: Callable[..., Any], status: str, fields: list[tuple[str, str]], content: Iterable[bytes]
) -> Iterable[bytes]:
    start_response(status, fields)
    return content


def told(environ: dict[str, Any], content: bytes) -> dict[str, Any]:
    """What this request was, for /echo."""
    names = {name: name[5:] for name in environ if name.startswith("HTTP_")}
    names |= {name: name for name in ("CONTENT_TYPE", "CONTENT_LENGTH") if environ.get(name)}
    return {
        "method": environ["REQUEST_METHOD"],
        "path": environ["PATH_INFO"],
        "query": environ["QUERY_STRING"],
        "version": environ["SERVER_PROTOCOL"],
        "fields": [(own.lower().replace("_", "-"), environ[name]) for name, own in names.items()],
        "content": content.decode("latin-1"),
    }


def pattern(length: int) -> Iterator[bytes]:
    """So many bytes, a block at a time."""
    while length > 0:
        yield BLOCK[:length]
        length -= len(BLOCK)


def breaks_off(length: int) -> Iterator[bytes]:
    yield from pattern(length)
    raise RuntimeError("in the middle, as it was told to")


PLAIN: dict[str, Answer] = {
    "": ("200 OK", TEXT, [b"hello\n"]),
    "ignore": ("200 OK", TEXT, [b"ignored\n"]),
    "connection": ("200 OK", [*TEXT, ("Connection", "close"), ("Keep-Alive", "timeout=5")], [b"a"]),
    "upper": ("200 OK", [*TEXT, ("X-Upper", "A")], [b"a"]),
    "cookies": ("200 OK", [*TEXT, ("Set-Cookie", "a=b"), ("Set-Cookie", "c=d")], [b"a"]),
}
NUMBERED: dict[str, Callable[[int], Answer]] = {
    "bytes": lambda length: ("200 OK", TEXT, pattern(length)),
    "length": lambda length: ("200 OK", [*TEXT, ("Content-Length", str(length))], pattern(length)),
    "status": lambda status: (f"{status} A", [], []),
    "break": lambda length: ("200 OK", TEXT, breaks_off(length)),
}
