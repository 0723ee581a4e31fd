"""The table of what is compared: servers, each as a command, and applications."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
from typing import NamedTuple

_PYTHON = (sys.executable, "-m")
_PYSERVER = (*_PYTHON, "pyserver", "--workers", "{workers}", "--bind", "127.0.0.1:{port}")
_GUNICORN = (*_PYTHON, "gunicorn", "--workers", "{workers}", "--bind", "127.0.0.1:{port}")
_UVICORN = (*_PYTHON, "uvicorn", "--workers", "{workers}", "--host", "127.0.0.1", "--port", "{port}")


class Server(NamedTuple):
    """A server with its worker class.

    Args:
        interface: "wsgi" or "asgi".
        command: with places for workers and port; the application is its last word.
        needs: the modules that have to be installed.
        colour: of its line in the plots.
    """

    interface: str
    command: tuple[str, ...]
    needs: tuple[str, ...]
    colour: str

    def words(self, workers: int, port: int, application: str) -> list[str]:
        return [word.format(workers=workers, port=port) for word in (*self.command, application)]


class Demo(NamedTuple):
    """A demo application: its interface, where it is, and what it needs."""

    interface: str
    application: str
    needs: tuple[str, ...]


SERVERS = {
    "pyserver sync": Server("wsgi", (*_PYSERVER, "-k", "sync"), (), "#1f8a5f"),
    "pyserver threaded": Server("wsgi", (*_PYSERVER, "-k", "threaded", "--threads", "4"), (), "#2f7fd0"),
    "gunicorn sync": Server("wsgi", (*_GUNICORN, "-k", "sync"), ("gunicorn",), "#d9822b"),
    "gunicorn gthread": Server("wsgi", (*_GUNICORN, "-k", "gthread", "--threads", "4"), ("gunicorn",), "#c43d6b"),
    "pyserver asgi": Server("asgi", (*_PYSERVER, "-k", "asgi", "--loop", "uvloop"), ("uvloop",), "#1f8a5f"),
    "pyserver asgi, asyncio": Server("asgi", (*_PYSERVER, "-k", "asgi", "--loop", "asyncio"), (), "#2f7fd0"),
    # No access log, as the others have none unless they are asked.
    "uvicorn": Server(
        "asgi",
        (*_UVICORN, "--loop", "uvloop", "--http", "httptools", "--no-access-log"),
        ("uvicorn", "uvloop", "httptools", "websockets"),
        "#d9822b",
    ),
    "gunicorn uvicorn-worker": Server(
        "asgi",
        (*_GUNICORN, "-k", "uvicorn_worker.UvicornWorker"),
        ("gunicorn", "uvicorn_worker", "uvloop", "httptools", "websockets"),
        "#c43d6b",
    ),
}

_OF_FASTAPI = ("fastapi", "jinja2", "itsdangerous", "python_multipart")
DEMOS = {
    "flask": Demo("wsgi", "demos.flask_shop:application", ("flask",)),
    "django": Demo("wsgi", "demos.django_shop:application", ("django",)),
    "fastapi": Demo("asgi", "demos.fastapi_shop:application", _OF_FASTAPI),
}

_PACKAGES = ("pyserver", "gunicorn", "uvicorn", "uvicorn-worker", "uvloop", "flask", "django", "fastapi", "locust")


def missing(needs: set[str]) -> list[str]:
    """Those of the modules that are not installed."""
    return sorted(name for name in needs if importlib.util.find_spec(name) is None)


def versions() -> dict[str, str]:
    """The version of each package that is measured or measures, where it is installed."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
