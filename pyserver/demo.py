"""What can be tried without writing an application: a WSGI demo, `pyserver.demo:application`."""

from __future__ import annotations

import html
import os
import platform
import time
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qs

from pyserver._version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from _typeshed.wsgi import StartResponse, WSGIEnvironment

    Handler = Callable[[WSGIEnvironment, StartResponse], Iterable[bytes]]

LONGEST_PAUSE = 10.0  # seconds; below the default timeout of a request

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>pyserver is running</title>
<style>
  :root {{ color-scheme: light dark; --line: #8883; --soft: #888; --accent: #2a7d5f; }}
  body {{ font: 16px/1.6 system-ui, sans-serif; max-width: 44rem; margin: 12vh auto; padding: 0 1.5rem; }}
  h1 {{ font-size: 2rem; margin: 0; letter-spacing: -.02em; }}
  h1::before {{ content: ""; display: inline-block; width: .6em; height: .6em; margin-right: .5em;
               border-radius: 50%; background: var(--accent); }}
  h2 {{ font-size: .8rem; text-transform: uppercase; letter-spacing: .08em; color: var(--soft);
       margin: 2.5rem 0 .5rem; }}
  p {{ margin: .5rem 0 0; }}
  table {{ border-collapse: collapse; width: 100%; }}
  th, td {{ text-align: left; vertical-align: top; padding: .45rem 1rem .45rem 0;
           border-bottom: 1px solid var(--line); }}
  th {{ font-weight: 500; white-space: nowrap; width: 9rem; }}
  a {{ color: var(--accent); }}
  code, a {{ font-family: ui-monospace, monospace; font-size: .9em; }}
</style>
<h1>pyserver is running</h1>
<p>This page is answered by the bundled demo application, <code>pyserver.demo:application</code>.</p>
<h2>What is running</h2>
<table>{facts}</table>
<h2>What to try</h2>
<table>{routes}</table>
<h2>Your own application</h2>
<p><code>pyserver --workers 4 --bind 127.0.0.1:8000 module:application</code></p>
</html>
"""


class Route(NamedTuple):
    """One row of ROUTES: what answers a path, the methods it takes, and what the page says of it."""

    handler: Handler
    methods: tuple[str, ...]
    example: str
    summary: str


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer with the route of ROUTES that the path names; 404 and 405 otherwise."""
    route = ROUTES.get(environ["PATH_INFO"] or "/")
    if route is None:
        return _text(start_response, "404 Not Found", f"There is no such path. Try one of: {' '.join(ROUTES)}\n")
    if environ["REQUEST_METHOD"] not in route.methods:
        allowed = ", ".join(route.methods)
        return _text(start_response, "405 Method Not Allowed", f"Use {allowed}.\n", ("Allow", allowed))
    return route.handler(environ, start_response)


def _home(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    facts = {
        "Server": f"pyserver {__version__}",
        "Python": f"{platform.python_implementation()} {platform.python_version()} on {platform.system()}",
        "Worker process": str(os.getpid()),
        "Interface": "WSGI {}.{}".format(*environ["wsgi.version"]),
        "Protocol": environ["SERVER_PROTOCOL"],
        "Your address": environ.get("REMOTE_ADDR") or "a Unix socket",
    }
    page = PAGE.format(
        facts="".join(f"<tr><th>{name}</th><td>{html.escape(value)}</td></tr>" for name, value in facts.items()),
        routes="".join(
            f'<tr><th><a href="{html.escape(route.example)}">{path}</a></th><td>{route.summary}</td></tr>'
            for path, route in ROUTES.items()
        ),
    ).encode()
    fields = [("Content-Type", "text/html; charset=utf-8"), ("Content-Length", str(len(page)))]
    start_response("200 OK", fields)
    return [page]


def _stream(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    return _ticks(count=10, pause=0.2)


def _ticks(count: int, pause: float) -> Iterable[bytes]:
    for number in range(1, count + 1):
        yield f"line {number} of {count}\n".encode()
        time.sleep(pause)


def _echo(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    # Never the type that the client claims: a page that reflects HTML runs what a stranger wrote.
    start_response("200 OK", [("Content-Type", "application/octet-stream"), ("X-Content-Type-Options", "nosniff")])
    return iter(lambda: environ["wsgi.input"].read(65536), b"")


def _slow(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    wanted = parse_qs(environ.get("QUERY_STRING", "")).get("seconds", ["2"])[-1]
    try:
        seconds = min(max(0.0, float(wanted)), LONGEST_PAUSE)
    except ValueError:
        return _text(start_response, "400 Bad Request", "seconds is a number, for example /slow?seconds=2\n")
    time.sleep(seconds)
    return _text(start_response, "200 OK", f"This took {seconds:g} s and kept one worker busy.\n")


def _error(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    raise RuntimeError("/error was asked for: the client gets a 500, the error log gets this traceback")


def _health(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    return _text(start_response, "200 OK", "ok\n")


def _text(start_response: StartResponse, status: str, text: str, *fields: tuple[str, str]) -> Iterable[bytes]:
    content = text.encode()
    own = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(content)))]
    start_response(status, [*own, *fields])
    return [content]


READ = ("GET", "HEAD")
ROUTES = {
    "/": Route(_home, READ, "/", "This page."),
    "/stream": Route(_stream, READ, "/stream", "Ten lines, one every 0.2 s, each sent as it is made."),
    "/echo": Route(_echo, (*READ, "POST", "PUT"), "/echo", "Sends back what it is sent: "
                   "<code>curl --data-binary @file http://127.0.0.1:8000/echo</code>"),
    "/slow": Route(_slow, READ, "/slow?seconds=2", "Waits before it answers, 10 s at most."),
    "/error": Route(_error, READ, "/error", "Raises an exception: a 500 here, the traceback in the log."),
    "/health": Route(_health, READ, "/health", "<code>ok</code>, for a load balancer."),
}  # fmt: skip
