"""Whose mistake it was: the exceptions of pyserver and the exit codes of its processes.

What a peer sends wrong is data (`refusals`) and never one of these.
"""

from __future__ import annotations

# The codes are gunicorn's, so that unit files and supervisors that look at them go on working.
EXIT_OK = 0
EXIT_CONFIG = 1
EXIT_WORKER_BOOT = 3
EXIT_APP_LOAD = 4
EXIT_WORKER_CRASHED = 255

# What each says, for docs/exit-codes.md.
EXIT_CODES = {
    EXIT_OK: "The server was told to stop and has stopped, or what it was asked for instead of serving was done.",
    EXIT_CONFIG: "A setting is wrong, an address, a log or the pid file cannot be had, on_starting has raised, or "
    "--check-config has found something.",
    EXIT_WORKER_BOOT: "The first workers could not start, for another reason than the next one.",
    EXIT_APP_LOAD: "The application could not be loaded; the log has its traceback.",
    EXIT_WORKER_CRASHED: "Of a worker only, as the log has it: its own code has raised, and not the application's.",
}


class PyserverError(Exception):
    """The root of what pyserver raises on purpose."""


class ConfigError(PyserverError):
    """The operator: a setting is wrong. The message says where it was set, the value and the rule, in one line."""

    exit_code = EXIT_CONFIG


class BootError(PyserverError):
    """The application or a listener could not be brought up.

    Args:
        message: one line for the operator.
        exit_code: what the process that gives up exits with, one of the codes above.
    """

    def __init__(self, message: str, exit_code: int = EXIT_WORKER_BOOT) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class LocalProtocolError(PyserverError):
    """The application broke PEP 3333 or ASGI. Answered with 500 and logged with its traceback."""


class Disconnected(PyserverError, OSError):  # noqa: N818 - It is no error that the peer may leave.
    """The application read or wrote after its peer had left.

    An OSError too, because the ASGI specification wants that of `send`, and because frameworks expect that
    of anything that reads from a connection.
    """


class PollerError(PyserverError, OSError):
    """The system does not say any more which connections are ready; a worker cannot go on after it."""


class RequestEnded(BaseException):
    """Raised in the application by the server, wherever it is, to end the request that it works for.

    No Exception, so that who handles any error of the application's does not take it for one. Whoever raises it has it
    in the log.

    Attributes:
        status: what the client gets when nothing was sent yet.
        why: the same in words.
    """

    status = 500
    why = "the server has ended the request"


class RequestTimeout(RequestEnded):
    """The request is over `timeout`. The application has a second for its `finally` clauses, or its worker is aborted.

    Raised where the worker can end one of its requests and go on, which is with gevent.
    """

    status = 504
    why = "the application took longer than the server allows"
