"""pyserver: an application server for Python with gunicorn's surface and a compiled core."""

from __future__ import annotations

from pyserver._version import __version__
from pyserver.errors import BootError, ConfigError, Disconnected, LocalProtocolError, PyserverError

__all__ = [
    "BootError",
    "ConfigError",
    "Disconnected",
    "LocalProtocolError",
    "PyserverError",
    "__version__",
    "run",
]


def run(application: str, **settings: object) -> None:
    """Serve `application`, as the command line does, until the server is told to stop.

    Args:
        application: "module:attribute" or "module:factory()".
        settings: any setting by its name; they take the place of the command line, so they win over the
            environment and the config file.

    Raises:
        SystemExit: with the exit code, after one line on standard error, when the server could not start
            or did not end well. A script that forgets to look at a result still fails.
    """
    # Only here: a process that imports the package for one of its parts shall not load the whole server.
    from pyserver.cli import serve

    exit_code = serve(application, settings)
    if exit_code:
        raise SystemExit(exit_code)
