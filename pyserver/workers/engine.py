"""From the settings to the engine and its gateway, the same for every worker class that uses them."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from pyserver._abort import answer_for
from pyserver._access import AccessLog, check_access_log
from pyserver._connection import Buffers, Durations
from pyserver._engine import Engine
from pyserver._http import Limits
from pyserver._wsgi import WatchedGateway, WSGIGateway
from pyserver.workers.peers import TrustedPeers

if TYPE_CHECKING:
    from pyserver.settings.model import Settings
    from pyserver.workers.base import Worker

_SOFTWARE = "pyserver"


def check_engine_settings(settings: Settings) -> None:
    """Raise ConfigError where an engine could not be built from the settings."""
    check_access_log(settings.accesslog, settings.access_log_format)


def open_access_log(worker: Worker) -> AccessLog | None:
    """The access log of the worker, if there shall be one.

    Raises:
        ConfigError: it cannot be opened, or its format is wrong.
    """
    settings = worker.settings
    if not settings.accesslog:
        return None
    # To open the pipe of somebody else, as a container's standard output is, a worker that is not root has no right.
    path = "-" if settings.accesslog == "/dev/stdout" else settings.accesslog
    return AccessLog(path, settings.access_log_format, worker.log)


def build_engine(worker: Worker, access: AccessLog | None, *, multithread: bool) -> Engine:
    """An engine that serves the worker's application on its listeners.

    Args:
        worker: booted, so that its application is there.
        access: where each response is recorded.
        multithread: whether the application can be called by two threads of this process at once.
    """
    settings = worker.settings
    engine = Engine(
        worker.listeners,
        _gateway(worker, multithread),
        _limits(settings),
        Durations(
            head=settings.request_head_timeout,
            content=settings.request_body_timeout,
            idle=settings.keepalive,
            write=settings.write_timeout,
        ),
        Buffers(
            request=settings.request_buffer,
            response=settings.response_buffer,
            spool=settings.response_spool,
            # Absolute, because the application may change its directory.
            directory=os.path.abspath(settings.tmp_upload_dir or os.environ.get("TMPDIR") or "/tmp"),
        ),
        log=worker.log,
        access=access,
        row=worker.scoreboard.address(worker.slot),
        poller=settings.poller,
        server=_SOFTWARE.encode() if settings.server_header else b"",
        date=settings.date_header,
    )
    answer_for(engine)
    return engine


def _limits(settings: Settings) -> Limits:
    return Limits(
        line=settings.limit_request_line,
        fields=settings.limit_request_fields,
        field=settings.limit_request_field_size,
        content=settings.limit_request_body,
        refuse_underscores=settings.header_map == "refuse",
    )


def _gateway(worker: Worker, multithread: bool) -> WSGIGateway:
    settings = worker.settings
    watched = worker.hooks.watch_requests(worker.application) if worker.hooks is not None else None
    make = WSGIGateway if watched is None else WatchedGateway
    return make(
        watched or worker.application,
        [_server(listener) for listener in worker.listeners],
        log=worker.log,
        software=_SOFTWARE,
        root_path=settings.root_path,
        multithread=multithread,
        multiprocess=settings.workers > 1,
        keeps_underscores=settings.header_map == "dangerous",
        sends_files=settings.sendfile,
        secure_scheme_headers=settings.secure_scheme_headers,
        trusts=TrustedPeers(settings.forwarded_allow_ips),
        variables={"pyserver.slot": worker.number},
    )


def _server(listener: socket.socket) -> tuple[str, str]:
    """SERVER_NAME and SERVER_PORT, which PEP 3333 wants to be never empty."""
    if listener.family == socket.AF_UNIX:
        return "localhost", "80"
    host, port, *_ = listener.getsockname()
    return host, str(port)
