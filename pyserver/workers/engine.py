"""The base of the worker classes that serve by the engine: what leads from the settings, and from the verbs, to it."""

from __future__ import annotations

import atexit
import os
import socket
from typing import TYPE_CHECKING, Any, ClassVar

from pyserver._access import JSON_FIELDS, AccessLog, LoggerAccess, RequestIds, compile_format, is_json
from pyserver._connection import Buffers, Durations
from pyserver._engine import Engine
from pyserver._http import Limits
from pyserver._proxies import Proxies
from pyserver._scoreboard import Cell
from pyserver._wsgi import WatchedGateway, WSGIGateway
from pyserver.lending import is_access_configured
from pyserver.log import logger_of
from pyserver.workers.base import Worker
from pyserver.workers.patched import hub_worker, threads_are_greenlets

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyserver._exchange import Gateway
    from pyserver._http2 import HTTP2Limits
    from pyserver.settings.model import Settings
    from pyserver.workers.app import Application

_SOFTWARE = "pyserver"

# How long a retiring worker answers once more on a connection that is idle, seconds. Long enough for a request that
# was sent before its client could know; short enough that idle connections hold up a stop for less than half a second.
_IDLE_GRACE = 0.4
# The same of a connection that cannot go on with another worker, as long as it would be kept without a reload: seconds,
# and the part of the graceful timeout, at most. Who asks for something now and then hears that it is to go.
_STAYING_GRACE = 5.0
_STAYING_SHARE = 0.5

# How long clients keep in mind where HTTP/3 is, seconds.
_ALTERNATIVE_AGE = 86_400

# From how many seconds on a request is in the access log however few are, where slow_request does not say it.
_SLOW = 1.0


class EngineWorker(Worker):
    """Slow clients wait in the engine, not in the application; a subclass says who waits on the engine."""

    takes_connections = True
    protocols: ClassVar[tuple[str, ...]] = ("h1", "h2")
    # Whether gevent's hub has its turn while the worker waits.
    runs_hub: ClassVar[bool] = False
    _access: AccessLog | None = None
    gateway: Any  # to the application

    @classmethod
    def check(cls, settings: Settings) -> None:
        """Raise ConfigError for settings that the engine cannot be built from."""
        cls.check_protocols(settings)
        if not settings.accesslog and not _tells_syslog(settings):
            return  # A format that nothing is written in may be for another server.
        if _writes_lines(settings):
            # A logger class may have atoms of its own.
            compile_format(settings.access_log_format)

    @classmethod
    def access_path(cls, settings: Settings) -> str | None:
        """The file of the access log, where the server writes it itself."""
        if not settings.accesslog or not _writes_lines(settings):
            return None
        # To open the pipe of somebody else, as a container's standard output is, who is not root has no right.
        return "-" if settings.accesslog == "/dev/stdout" else settings.accesslog

    @classmethod
    def prepare_to_fork(cls) -> set[int]:
        """What the class does that the workers become."""
        if not threads_are_greenlets():
            return set()
        from pyserver.workers.gevent import GeventWorker

        return GeventWorker.prepare_to_fork()

    def end(self) -> None:
        """Write what the access log has gathered."""
        if self._access is not None:
            self._access.flush()

    def boot(self) -> None:
        """Load the application and put the engine before it."""
        super().boot()
        self._access = self._open_access_log()
        self._engine = self._new_engine()
        if self.settings.max_requests:
            # Workers that were started together are not to be replaced together.
            jitter = int.from_bytes(os.urandom(8), "big") % (self.settings.max_requests_jitter + 1)
            self._engine.max_requests = self.settings.max_requests + jitter
            self._engine.on_max_requests = self.ask_for_replacement
        try:
            self._engine.start_steward()
        except OSError as error:
            self.log.warning("No steward can be started, so requests may wait for a busy worker: %s", error.strerror)

    def look_over(self) -> None:
        """Tell the operator what is without effect on the access log."""
        if self._access is not None and self.log.logger is self.log and is_access_configured():
            self.log.warning(
                "The logger gunicorn.access was given filters or handlers, which the access log does not heed; "
                "with logger_class = 'pyserver.glogging.Logger' it does"
            )

    def reopen(self) -> None:
        """Open both logs anew."""
        super().reopen()
        self._engine.reopen()

    def drain(self) -> None:
        """Have the engine accept no more."""
        settings = self.settings
        staying = min(_STAYING_GRACE, settings.keepalive, settings.graceful_timeout * _STAYING_SHARE)
        moves = self.scoreboard.read(self.slot, Cell.MOVES) != 0
        self._engine.retire(_IDLE_GRACE, self.is_last, moves, max(_IDLE_GRACE, staying))

    def quit(self) -> None:
        """Have the engine cut off what is open."""
        cut = self._engine.abandon()
        if cut:
            self.report_abandoned(cut)
            self.log.warning("Worker (pid: %s) quits: %s requests or responses are cut", os.getpid(), cut)

    def replace_application(self, application: Application) -> None:
        """Serve this one from now on."""
        super().replace_application(application)
        self.gateway.application = self.watched()

    def watched(self) -> Application:
        """The application, with the hooks of requests around it where there are any."""
        if self.hooks is None:
            return self.application
        return self.hooks.watch_requests(self.application) or self.application

    def become_cooperative(self) -> bool:
        """Load the application; whether threads are greenlets, and the worker is now one of gevent's, and booted."""
        self._preloaded = self.find_application()
        # A class of somebody else that extends one of ours has methods that would be lost.
        kind = hub_worker(self.settings) if type(self).__module__.startswith("pyserver.") else None
        if kind is None:
            return False
        # They differ in their methods alone, and none of those has been called that would have left something.
        self.__class__ = kind
        self.boot()
        return True

    def _open_access_log(self) -> AccessLog | None:
        """What is told of each response, if there is anything; ConfigError when a file cannot be opened."""
        settings, log = self.settings, self.log
        told: dict[str, Any] = {
            "exclude": settings.access_log_exclude,
            "sample": settings.access_log_sample,
            "slow": settings.slow_request or _SLOW,
            "statsd": log.statsd,
        }
        is_own = log.logger is log
        if not is_own and not (settings.accesslog and is_json(settings.access_log_format)):
            # As in arbiter.logs: only who has a logger shall have this.
            from pyserver.loggers import AccessQueue, LoggerLog

            assert isinstance(log, LoggerLog)
            if threads_are_greenlets() and not self.runs_hub:
                # A thread for it would never have its turn.
                return LoggerAccess(log.log_access, log, **told)
            queue = AccessQueue(log)
            # The last requests are logged before the process ends.
            atexit.register(queue.finish)
            return LoggerAccess(queue.put, log, **told)
        syslog = log.syslog if is_own and _tells_syslog(settings) else None
        if not settings.accesslog and syslog is None and log.statsd is None:
            return None
        file, slot, path = self._access_file, self.slot, self.access_path(settings)
        text = _format(settings) if path or syslog is not None else ""
        access = AccessLog(path, text, log, worker=self.number, syslog=syslog, file=file, slot=slot, **told)
        # What is gathered lies in memory that a process of the application's would share.
        os.register_at_fork(after_in_child=access.leave_to_parent)
        return access

    def _new_engine(self) -> Engine:
        """The engine; a subclass in which several requests run at once says so."""
        return build_engine(self, self._access, wsgi_gateway(self))


def build_engine(
    worker: Worker,
    access: AccessLog | None,
    gateway: Gateway,
    *,
    threads: int = 0,
    capacity: int = 0,
    streams: bool = False,
) -> Engine:
    """An engine that serves on the listeners of a worker.

    Args:
        worker: whose settings, log and slot it has.
        access: where each response is recorded.
        gateway: to the worker's application.
        threads, capacity, streams: how many requests run at once, and in what; see `Engine`.
    """
    settings = worker.settings
    # Where there is nobody else, there is nobody to hand anything to.
    is_alone = max(settings.workers, worker.number + 1) == 1
    return Engine(
        worker.listeners,
        gateway,
        _limits(settings),
        Durations(
            head=settings.request_head_timeout,
            content=settings.request_body_timeout,
            idle=settings.keepalive,
            write=settings.write_timeout,
            ping=settings.ws_ping_interval,
            pong=settings.ws_ping_timeout,
        ),
        Buffers(
            request=settings.request_buffer,
            response=settings.response_buffer,
            # A greenlet can wait for its client, and so can a task.
            spool=0 if capacity else settings.response_spool,
            # Absolute, because the application may change its directory.
            directory=os.path.abspath(settings.tmp_upload_dir or os.environ.get("TMPDIR") or "/tmp"),
        ),
        log=worker.log,
        access=access,
        ids=_request_ids(settings, access),
        row=worker.scoreboard.address(worker.slot),
        poller=settings.poller,
        server=_SOFTWARE.encode() if settings.server_header else b"",
        date=settings.date_header,
        threads=threads,
        capacity=capacity,
        streams=streams,
        commons=worker.commons,
        moves_always=settings.move_connections == "always",
        siblings=None if is_alone else worker.scoreboard.extent,
        lifeline=worker.lifeline,
        handoff_after=0 if is_alone else settings.handoff_after,
        proxies=_proxies(settings),
        health=settings.health_path.encode(),
        logs_health=settings.health_log,
        contexts=None if worker.contexts is None else list(worker.contexts),
        http2=_http2(settings, streams),
        alternative=_alternative(worker),
    )


def _alternative(worker: Worker) -> bytes:
    """Where clients over TLS find HTTP/3: at the same host, and this port; RFC 7838 §3."""
    if worker.quic is None:
        return b""
    return b'Alt-Svc: h3=":%d"; ma=%d\r\n' % (worker.quic.sockets[0].getsockname()[1], _ALTERNATIVE_AGE)


def _http2(settings: Settings, streams: bool) -> HTTP2Limits | None:
    """What a client may have of HTTP/2, where that is spoken at all."""
    in_clear = settings.http2_cleartext
    if in_clear == "off" and "h2" not in settings.http_protocols:
        return None
    # What few need is not imported for all.
    from pyserver._http2 import HTTP2Limits

    return HTTP2Limits(
        streams=settings.http2_max_concurrent_streams,
        window=settings.http2_initial_window_size,
        frame=settings.http2_max_frame_size,
        field_list=settings.http2_max_header_list_size,
        in_clear=in_clear in ("prior-knowledge", "both"),
        by_upgrade=in_clear in ("upgrade", "both"),
        websockets=streams,
    )


def _tells_syslog(settings: Settings) -> bool:
    return settings.syslog and not settings.disable_redirect_access_to_syslog


def _writes_lines(settings: Settings) -> bool:
    """Whether the access log is written by the server, and not by a logger."""
    return is_json(settings.access_log_format) or not logger_of(settings)[1]


def _format(settings: Settings) -> str:
    """The format of the access log. JSON has the id of the request, where there is one."""
    if settings.access_log_format == "json" and settings.request_id:
        return "json:" + ",".join((*JSON_FIELDS, "request_id"))
    return settings.access_log_format


def _request_ids(settings: Settings, access: AccessLog | None) -> RequestIds | None:
    """What gives requests their ids, if anybody looks at them."""
    if not settings.request_id and (access is None or not access.wants_ids):
        return None
    return RequestIds(settings.request_id)


def _limits(settings: Settings) -> Limits:
    return Limits(
        line=settings.limit_request_line,
        fields=settings.limit_request_fields,
        field=settings.limit_request_field_size,
        content=settings.limit_request_body,
        refuse_underscores=settings.header_map == "refuse",
        casefold_method=settings.casefold_http_method,
        unfold=settings.permit_obsolete_folding,
    )


def _proxies(settings: Settings) -> Proxies:
    return Proxies(
        trusted=settings.forwarded_allow_ips,
        forwarder_headers=settings.forwarder_headers,
        forwarded_fields=settings.forwarded_fields,
        forwarded_hops=settings.forwarded_hops,
        proxy_protocol=settings.proxy_protocol,
        proxy_allow_ips=settings.proxy_allow_ips,
        proxy_protocol_required=settings.proxy_protocol_required,
    )


def wsgi_gateway(
    worker: EngineWorker, *, multithread: bool = False, before_leaving: Callable[[], object] | None = None
) -> WSGIGateway:
    """The gateway to the WSGI application of a worker.

    Args:
        worker: booted, so that its application is there.
        multithread: whether the application can be called by two threads of this process at once.
        before_leaving: see `WSGIGateway`.
    """
    settings = worker.settings
    watched = worker.watched()
    make = WSGIGateway if watched is worker.application else WatchedGateway
    gateway = worker.gateway = make(
        watched,
        [_server(listener) for listener in worker.listeners],
        log=worker.log,
        software=_SOFTWARE,
        root_path=settings.root_path,
        multithread=multithread,
        multiprocess=settings.workers > 1,
        keeps_underscores=settings.header_map == "dangerous",
        sends_files=settings.sendfile,
        secure_scheme_headers=settings.secure_scheme_headers,
        variables={"pyserver.slot": worker.number},
        before_leaving=before_leaving,
    )
    return gateway


def _server(listener: socket.socket) -> tuple[str, str]:
    """SERVER_NAME and SERVER_PORT; a Unix socket has none."""
    if listener.family == socket.AF_UNIX:
        return "", ""
    host, port, *_ = listener.getsockname()
    return host, str(port)
