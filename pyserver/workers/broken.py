"""What is served in development instead of an application that could not be loaded: why it could not."""

from __future__ import annotations

import dataclasses
import linecache
import traceback
from html import escape
from typing import TYPE_CHECKING, Any

from pyserver.workers.app import own_frames, own_traceback

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pyserver.workers.app import Application

_AROUND = 4  # lines shown before and after the one that matters

_HTML = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --line: #8884; --mark: #f004; }}
body {{ margin: 2rem auto; max-width: 60rem; padding: 0 1rem; font: 1rem/1.5 system-ui, sans-serif; }}
h1 {{ font-size: 1.4rem; overflow-wrap: anywhere; }}
h2 {{ font-size: 1rem; margin: 2rem 0 0; overflow-wrap: anywhere; }}
h3 {{ font: 0.9rem ui-monospace, monospace; margin: 1.5rem 0 0.3rem; overflow-wrap: anywhere; }}
pre {{ margin: 0; padding: 0.5rem; border: 1px solid var(--line); overflow-x: auto; }}
pre {{ font: 0.85rem ui-monospace, monospace; }}
mark {{ background: var(--mark); color: inherit; display: inline-block; min-width: 100%; }}
</style>
</head>
<body>
<h1>{title}</h1>
<p>pyserver runs with --reload and answers every request with this page until a change makes the application load.</p>
{places}
<h2>Traceback</h2>
<pre>{text}</pre>
</body>
</html>
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Page:
    """A failure, described for people."""

    text: bytes  # text/plain, UTF-8
    html: bytes  # text/html, UTF-8

    def for_client(self, accept: str) -> tuple[str, bytes]:
        """Content type and content of the answer.

        Args:
            accept: the Accept field of the request. Browsers ask for HTML by its name, and who does not gets text.
        """
        for media_range in accept.lower().split(","):
            name, *parameters = (part.replace(" ", "") for part in media_range.split(";"))
            # RFC 9110 §12.4.2: a weight of 0 means "not acceptable".
            if name == "text/html" and not {"q=0", "q=0.0", "q=0.00", "q=0.000"} & set(parameters):
                return "text/html; charset=utf-8", self.html
        return "text/plain; charset=utf-8", self.text


def describe_failure(error: BaseException) -> Page:
    """The page about what kept the application from being loaded.

    Args:
        error: says in one line what failed; its cause, if it has one, is what the application's code raised.
    """
    cause = error.__cause__
    text = str(error) if cause is None else f"{error}\n\n{own_traceback(cause)}"
    places = "" if cause is None else "\n".join(_rendered(one) for one in _chain(cause))
    html = _HTML.format(title=escape(str(error)), places=places, text=escape(text))
    return Page(_encoded(text + "\n"), _encoded(html))


def wsgi_application(page: Page) -> Application:
    """A WSGI application that answers every request with the page."""

    def application(environ: dict[str, str], start_response: Callable[..., object]) -> Iterable[bytes]:
        content_type, content = page.for_client(environ.get("HTTP_ACCEPT", ""))
        start_response("500 Internal Server Error", _fields(content_type, content))
        return [content]

    return application


def asgi_application(page: Page) -> Application:
    """An ASGI application that answers every request with the page."""

    async def application(scope: dict[str, Any], receive: Callable[[], Any], send: Callable[..., Any]) -> None:
        if scope["type"] == "lifespan":
            for what in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{what}.complete"})
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close"})
        else:
            accept = b",".join(value for name, value in scope["headers"] if name == b"accept").decode("latin-1")
            content_type, content = page.for_client(accept)
            fields = [(name.lower().encode(), value.encode()) for name, value in _fields(content_type, content)]
            await send({"type": "http.response.start", "status": 500, "headers": fields})
            await send({"type": "http.response.body", "body": content})

    return application


def _fields(content_type: str, content: bytes) -> list[tuple[str, str]]:
    return [
        ("Content-Type", content_type),
        ("Content-Length", str(len(content))),
        ("Cache-Control", "no-store"),
        ("Vary", "Accept"),
    ]


def _chain(error: BaseException) -> list[BaseException]:
    """The exception after those that led to it, in the order of a traceback."""
    chain: list[BaseException] = []
    at: BaseException | None = error
    while at is not None and at not in chain:
        chain.insert(0, at)
        at = at.__cause__ or (None if at.__suppress_context__ else at.__context__)
    return chain


def _rendered(error: BaseException) -> str:
    summary = "".join(traceback.format_exception_only(type(error), error)).strip().splitlines()[-1]
    places = "\n".join(
        f"<h3>{escape(file)}, line {line}{escape(where)}</h3>\n{_excerpt(file, line)}"
        for file, line, where in _places(error)
    )
    return f"<h2>{escape(summary)}</h2>\n{places}"


def _places(error: BaseException) -> Iterator[tuple[str, int, str]]:
    """File, line and function of each frame, and of the place that a syntax error names."""
    for frame in traceback.extract_tb(own_frames(error)):
        # The import system's own frames say nothing about the application.
        if not frame.filename.startswith("<frozen "):
            yield frame.filename, frame.lineno or 1, f", in {frame.name}"
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        yield error.filename, error.lineno, ""


def _excerpt(file: str, line: int) -> str:
    """The lines around that one, which is marked; empty when they cannot be had."""
    lines = linecache.getlines(file)
    first = max(1, line - _AROUND)
    shown = []
    for number, source in enumerate(lines[first - 1 : line + _AROUND], first):
        text = escape(f"{number:5}  {source.rstrip()}")
        shown.append(f"<mark>{text}</mark>" if number == line else text)
    return f"<pre>{chr(10).join(shown)}</pre>" if shown else ""


def _encoded(text: str) -> bytes:
    # Names of files need not be UTF-8.
    return text.encode("utf-8", "backslashreplace")
