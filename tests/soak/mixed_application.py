"""What a soaked server serves: content that its clients can compute too, errors of every kind, and its own figures."""

from __future__ import annotations

import collections
import ctypes
import gc
import io
import json
import os
import random
import select
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    Environ = dict[str, Any]
    StartResponse = Callable[..., Callable[[bytes], object]]
    Handler = Callable[[Environ, StartResponse, dict[str, str]], Iterable[bytes]]

PATTERN = random.Random(2024).randbytes(4_000_000)
BINARY = ("Content-Type", "application/octet-stream")
_KEPT: dict[str, Callable[[bytes], object]] = {}  # write callables of earlier requests, by the client's name for them


class DeliberateError(Exception):
    """What the application raises because a client asked for it."""


def piece(at: int, length: int) -> bytes:
    """A part of the pattern; a byte that is lost, doubled or out of its place shows in it."""
    return PATTERN[at : at + length]


def pieces(at: int, length: int, size: int) -> Iterator[bytes]:
    """Parts of `size` bytes, `length` bytes together, each from another place of the pattern."""
    for done in range(0, length, max(size, 1)):
        yield piece((at + done) % (len(PATTERN) - size), min(size, length - done))


def described(environ: Environ) -> bytes:
    """What the environ says of a request, as `fields` answers it."""
    own = sorted(f"{key}: {value}" for key, value in environ.items() if key.startswith("HTTP_"))
    return "\n".join([environ["PATH_INFO"], environ["QUERY_STRING"], *own]).encode("latin-1")


# ---- good answers ----


def block(_environ: Environ, start: StartResponse, query: dict[str, str]) -> Iterable[bytes]:
    start("200 OK", [BINARY])
    return [piece(int(query["at"]), int(query["length"]))]


def blocks(_environ: Environ, start: StartResponse, query: dict[str, str]) -> Iterable[bytes]:
    start("200 OK", [BINARY])
    return list(_asked_for(query))


def stream(_environ: Environ, start: StartResponse, query: dict[str, str]) -> Iterable[bytes]:
    start("200 OK", [BINARY])
    return _asked_for(query)


def counted(_environ: Environ, start: StartResponse, query: dict[str, str]) -> Iterable[bytes]:
    start("200 OK", [BINARY, ("Content-Length", query["length"])])
    return _asked_for(query)


def written(_environ: Environ, start: StartResponse, query: dict[str, str]) -> Iterable[bytes]:
    write = start("200 OK", [BINARY])
    for one in _asked_for(query):
        write(one)
    return []


def file(environ: Environ, start: StartResponse, query: dict[str, str]) -> Iterable[bytes]:
    stored = Path("pattern").open("rb")  # noqa: SIM115 - closed by the wrapper
    stored.seek(int(query["at"]))
    start("200 OK", [BINARY, ("Content-Length", query["length"])])
    wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](stored)
    return wrapped


def file_in_memory(environ: Environ, start: StartResponse, query: dict[str, str]) -> Iterable[bytes]:
    start("200 OK", [BINARY])
    wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](
        io.BytesIO(piece(int(query["at"]), int(query["length"]))), 20_000
    )
    return wrapped


def trickle(_environ: Environ, start: StartResponse, query: dict[str, str]) -> Iterable[bytes]:
    """Blocks that come more slowly than anybody reads them."""
    start("200 OK", [BINARY])
    return (_wait(1) or one for one in _asked_for(query))


def echo(environ: Environ, start: StartResponse, _query: dict[str, str]) -> Iterable[bytes]:
    start("200 OK", [BINARY])
    return [environ["wsgi.input"].read()]


def echo_by_lines(environ: Environ, start: StartResponse, _query: dict[str, str]) -> Iterable[bytes]:
    start("200 OK", [BINARY])
    return environ["wsgi.input"].readlines()


def echo_as_read(environ: Environ, start: StartResponse, _query: dict[str, str]) -> Iterable[bytes]:
    start("200 OK", [BINARY])
    return iter(lambda: environ["wsgi.input"].read(30_000), b"")


def fields(environ: Environ, start: StartResponse, _query: dict[str, str]) -> Iterable[bytes]:
    start("200 OK", [BINARY])
    return [described(environ)]


def _unknown(_environ: Environ, start: StartResponse, _query: dict[str, str]) -> Iterable[bytes]:
    start("404 Not Found", [])
    return []


def nothing(_environ: Environ, start: StartResponse, _query: dict[str, str]) -> Iterable[bytes]:
    start("204 No Content", [])
    return []


def _asked_for(query: dict[str, str]) -> Iterator[bytes]:
    return pieces(int(query["at"]), int(query["length"]), int(query["size"]))


# ---- errors ----


def raise_at_once(_environ: Environ, _start: StartResponse, _query: dict[str, str]) -> NoReturn:
    raise DeliberateError("at once")


def raise_after_start(_environ: Environ, start: StartResponse, _query: dict[str, str]) -> NoReturn:
    start("200 OK", [BINARY, ("Content-Length", "5"), ("X-Not-To-Be-Seen", "1")])
    raise DeliberateError("after start_response()")


def raise_before_content(_environ: Environ, start: StartResponse, _query: dict[str, str]) -> Iterable[bytes]:
    start("200 OK", [BINARY])
    yield b""
    raise DeliberateError("before the first block")


def raise_in_content(_environ: Environ, start: StartResponse, _query: dict[str, str]) -> Iterable[bytes]:
    start("200 OK", [BINARY])
    yield piece(0, 20_000)
    raise DeliberateError("after the first block")


def raise_in_counted_content(_environ: Environ, start: StartResponse, _query: dict[str, str]) -> Iterable[bytes]:
    start("200 OK", [BINARY, ("Content-Length", "20001")])
    yield piece(0, 20_000)
    raise DeliberateError("before the last byte")


class _Unclosable:
    def __iter__(self) -> Iterator[bytes]:
        return iter([piece(0, 20_000)])

    def close(self) -> None:
        raise DeliberateError("in close()")


def raise_in_close(_environ: Environ, start: StartResponse, _query: dict[str, str]) -> Iterable[bytes]:
    start("200 OK", [BINARY])
    return _Unclosable()


def too_short(_environ: Environ, start: StartResponse, _query: dict[str, str]) -> Iterable[bytes]:
    start("200 OK", [BINARY, ("Content-Length", "20001")])
    return [piece(0, 20_000)]


def too_long(_environ: Environ, start: StartResponse, _query: dict[str, str]) -> Iterable[bytes]:
    start("200 OK", [BINARY, ("Content-Length", "20000")])
    return pieces(0, 40_000, 20_000)


def text(_environ: Environ, start: StartResponse, _query: dict[str, str]) -> Iterable[Any]:
    start("200 OK", [BINARY])
    return iter(["text"])


def no_start(_environ: Environ, _start: StartResponse, _query: dict[str, str]) -> Iterable[bytes]:
    return [b"content"]


def bad_field(_environ: Environ, start: StartResponse, _query: dict[str, str]) -> Iterable[bytes]:
    start("200 OK", [BINARY, ("X-Split", "a\r\nX-Injected: 1")])
    return []


def leave(_environ: Environ, _start: StartResponse, _query: dict[str, str]) -> NoReturn:
    sys.exit("an application has no say in this")


def own_error_page(_environ: Environ, start: StartResponse, _query: dict[str, str]) -> Iterable[bytes]:
    start("200 OK", [BINARY, ("X-Not-To-Be-Seen", "1")])
    try:
        raise DeliberateError("before anything was sent")
    except DeliberateError:
        start("503 Service Unavailable", [BINARY], sys.exc_info())
    return [piece(0, 20_000)]


def own_error_page_too_late(_environ: Environ, start: StartResponse, _query: dict[str, str]) -> Iterable[bytes]:
    write = start("200 OK", [BINARY])
    write(piece(0, 20_000))
    try:
        raise DeliberateError("after a block was sent")
    except DeliberateError:
        start("503 Service Unavailable", [BINARY], sys.exc_info())
    return []


# ---- callables that outlive their requests ----


def keep_callable(_environ: Environ, start: StartResponse, query: dict[str, str]) -> Iterable[bytes]:
    """Keep the write callable of this request."""
    _KEPT[query["name"]] = start("200 OK", [BINARY])
    return [piece(0, 20_000)]


def use_kept_callable(_environ: Environ, start: StartResponse, query: dict[str, str]) -> Iterable[bytes]:
    """Use the write callable of an earlier request, which must have no effect, whoever is answered meanwhile."""
    try:
        _KEPT.pop(query["name"])(b"spoken for another request")
    except Exception as error:
        if type(error).__name__ != "LocalProtocolError":
            raise
    else:
        raise AssertionError("the write callable of an earlier request still works")
    start("200 OK", [BINARY])
    return [piece(0, 20_000)]


# ---- figures ----


def figures(_environ: Environ, start: StartResponse, _query: dict[str, str]) -> Iterable[bytes]:
    """What this process holds, as JSON, after it has given back what it can."""
    gc.collect()
    if hasattr(_LIBC, "malloc_trim"):
        # The allocator keeps up to twice the largest block that was ever freed, which would hide what is held.
        _LIBC.malloc_trim(0)
    tracked = collections.Counter(type(one).__name__ for one in gc.get_objects())
    told = {
        "pid": os.getpid(),
        "objects": sum(tracked.values()),
        "blocks": sys.getallocatedblocks(),
        "heap_bytes": _heap_bytes(),
        "tracked": tracked,
    }
    start("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(told).encode()]


class _MallInfo(ctypes.Structure):
    """What mallinfo2(3) tells."""

    _fields_ = [(name, ctypes.c_size_t) for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd")]
    _fields_ += [(name, ctypes.c_size_t) for name in ("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")]


_LIBC = ctypes.CDLL(None)


def _heap_bytes() -> int:
    """Bytes that malloc() has given and not got back, of this process; 0 where nobody tells."""
    if hasattr(_LIBC, "__sanitizer_get_current_allocated_bytes"):
        ask = _LIBC.__sanitizer_get_current_allocated_bytes
        ask.restype = ctypes.c_size_t
        return int(ask())
    if hasattr(_LIBC, "mallinfo2"):
        _LIBC.mallinfo2.restype = _MallInfo
        info = _LIBC.mallinfo2()
        return int(info.uordblks + info.hblkhd)
    return 0


ERRORS: list[Handler] = [
    raise_at_once,
    raise_after_start,
    raise_before_content,
    raise_in_content,
    raise_in_counted_content,
    raise_in_close,
    too_short,
    too_long,
    text,
    no_start,
    bad_field,
    leave,
    own_error_page,
    own_error_page_too_late,
]
GOOD: list[Handler] = [
    block,
    blocks,
    stream,
    counted,
    written,
    file,
    file_in_memory,
    trickle,
    echo,
    echo_by_lines,
    echo_as_read,
    fields,
    nothing,
    keep_callable,
    use_kept_callable,
    figures,
]
_HANDLERS = {f"/{handler.__name__}": handler for handler in [*GOOD, *ERRORS]}


def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Answer by the handler that the path names, so many milliseconds later as `wait` or `work` in the query say."""
    pairs = [pair.split("=", 1) for pair in environ["QUERY_STRING"].split("&") if "=" in pair]
    query = dict(pairs)
    handler = _HANDLERS.get(environ["PATH_INFO"], _unknown)
    try:
        _wait(int(query.get("wait", 0)))
        _work(int(query.get("work", 0)))
        return handler(environ, start_response, query)
    except (KeyError, ValueError) as error:
        # Of a mutated request, the query may be anything.
        raise DeliberateError("a query that no client sends on purpose") from error


def _wait(milliseconds: int) -> None:
    """Leave the processor, and with it the interpreter lock, to others."""
    if milliseconds:
        select.select([], [], [], milliseconds / 1000)


def _work(milliseconds: int) -> None:
    """Compute, which others can do only when the interpreter takes its lock away."""
    until = time.thread_time() + milliseconds / 1000
    while milliseconds and time.thread_time() < until:
        sum(range(1000))
