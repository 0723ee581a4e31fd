"""Worker classes that were written for gunicorn, run as they are: they get from us what gunicorn's arbiter gives them.

This module is imported when such a class was, and so gunicorn is there.
"""

from __future__ import annotations

import faulthandler
import math
import os
import signal
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from gunicorn.config import Config

from pyserver._abort import install_abort_handler
from pyserver._access import is_json
from pyserver.errors import BootError, ConfigError
from pyserver.lending import withdraw
from pyserver.sockets import scheme_of
from pyserver.workers.app import check_interface, interface_of, load_application
from pyserver.workers.base import Worker
from pyserver.workers.counting import CountedApplication
from pyserver.workers.hooks import HookedApp

if TYPE_CHECKING:
    from pyserver.settings.model import Settings
    from pyserver.workers.app import Application

# What such a class may look at. The others are the arbiter's affair, and done.
_TAKEN = (
    "bind", "backlog", "workers", "threads", "worker_connections", "max_requests", "max_requests_jitter", "timeout",
    "graceful_timeout", "keepalive", "limit_request_line", "limit_request_fields", "limit_request_field_size",
    "proc_name", "forwarded_allow_ips", "secure_scheme_headers", "forwarder_headers", "header_map", "proxy_protocol",
    "proxy_allow_ips", "accesslog", "access_log_format", "errorlog", "loglevel", "syslog", "syslog_addr",
    "syslog_prefix", "syslog_facility", "disable_redirect_access_to_syslog", "statsd_host", "statsd_prefix",
    "dogstatsd_tags", "sendfile", "tmp_upload_dir",
    "certfile", "keyfile", "ca_certs", "cert_reqs", "ciphers", "ssl_context",
    "pre_request", "post_request", "worker_int",
)  # fmt: skip
# Those whose classes serve ASGI. What others want, such as an application of aiohttp, they say themselves.
_ASGI_PACKAGES = {"uvicorn", "uvicorn_worker"}
# Those that gunicorn has as one text, whatever is in it.
_TEXTS = {"forwarded_allow_ips", "forwarder_headers", "proxy_allow_ips"}
# Those that gunicorn ends workers with.
_ENDS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


def adapted(foreign: type[Any]) -> type[Worker]:
    """A class of ours that runs that one, a subclass of `gunicorn.workers.base.Worker`."""
    return type(foreign.__name__, (GunicornWorker,), {"foreign": foreign})


class GunicornWorker(Worker):
    """Gives a class of gunicorn's kind what it expects.

    The class has its own signal handlers, as under gunicorn, so what the arbiter tells reaches it directly. It is ready
    when it calls notify() for the first time, which it has to do every now and then; from then on it has `timeout`
    seconds from one call to the next.
    """

    foreign: ClassVar[Any]
    gets_ready_in_run = True
    unheeded = (
        "health_path", "forwarded_fields", "proxy_protocol_required", "request_id", "access_log_exclude",
        "access_log_sample", "tls_minimum", "http2_cleartext",
    )  # fmt: skip

    @classmethod
    def check(cls, settings: Settings) -> None:
        """Raise ConfigError for what would be served otherwise than it was asked for."""
        cls.check_protocols(settings)
        for name in ("sni", "keyfile_password"):
            if getattr(settings, name):
                raise ConfigError(f"{name} is not known to {cls.__name__}, which would do without")
        if settings.certfile and any(scheme_of(text) == "http" for text in settings.bind):
            raise ConfigError(f"{cls.__name__} speaks TLS at every bind or at none: http:// cannot be beside others")

    @classmethod
    def load(cls, spec: str) -> Application:
        """The application, if the class can call it as far as that is known; raises BootError."""
        application = load_application(spec)
        modules = [one.__module__.partition(".")[0] for one in cls.foreign.__mro__]
        if _ASGI_PACKAGES & set(modules):
            check_interface(application, spec, ("asgi",), cls.__name__)
        return application

    def boot(self) -> None:
        """Make the worker, as gunicorn does before it forks."""
        super().boot()
        self._told_ns = 0
        settings, application = self.settings, self.application
        counts_itself = True
        if interface_of(application) == "asgi" and _takes_three(application):
            application, counts_itself = CountedApplication(application, self.counts), False
        elif interface_of(application) == "wsgi":
            counts_itself = False
        # Who counts for us has a successor started first, and does not leave before that is ready.
        config = _configuration(settings, settings.max_requests if counts_itself else 0)
        log = self._own_log(config) if self.log.logger is self.log else self.log.logger
        if hasattr(self.foreign, "setup"):
            self.foreign.setup()
        if hasattr(self.foreign, "check_config"):
            self.foreign.check_config(config, log)
        make, app = _subclass(self.foreign, self), HookedApp(config, application)
        self._worker = make(self.number + 1, os.getppid(), self.listeners, app, settings.timeout / 2, config, log)
        self._worker.tmp = _Heartbeat(self._worker.tmp, self)
        if self.hooks is not None:
            self._worker.pid = os.getpid()
            self.hooks.show(self._worker)

    def run(self) -> int:
        """Let it live its life, which ends the process in gunicorn."""
        self._worker.pid = os.getpid()
        exit_code = 0
        try:
            self._worker.init_process()
        except SystemExit as error:
            exit_code = error.code if isinstance(error.code, int) else int(error.code is not None)
        if not self._told_ns and not (self.is_retiring or self.is_quitting):
            name = self.foreign.__name__
            raise BootError(f"{name} has ended with exit code {exit_code} before it was ready; what it logged says why")
        self.note_leaving()
        return exit_code

    def drain(self) -> None:
        """Send it what gunicorn would."""
        os.kill(os.getpid(), signal.SIGTERM)

    def quit(self) -> None:
        """Send it what gunicorn would."""
        os.kill(os.getpid(), signal.SIGQUIT)

    def answer(self) -> None:
        """Nothing: the thread that is asked knows nothing of what serves, which says itself that it is alive."""

    def note_heartbeat(self) -> None:
        """The worker has called notify()."""
        now_ns = time.monotonic_ns()
        if not self._told_ns:
            self.note_ready()
        elif now_ns - self._told_ns < self.settings.timeout * 1e9 / 8:
            return
        else:
            self.note_alive()
        self._told_ns = now_ns

    def note_requests(self, number: int) -> None:
        """It has counted so many."""
        while self.counts.requests < number:
            self.counts.add()

    def mend_signals(self) -> None:
        """The worker has its handlers: have the others do what they do in our workers.

        ABRT writes the stacks before it ends the process. What ends a worker and is left to the system would end it
        once more when it has done as it was told: uvicorn raises what it has handled a second time.
        """
        for number in _ENDS:
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, self._leave)
        faulthandler.disable()
        signal.signal(signal.SIGABRT, signal.SIG_DFL)
        if self.hooks is not None:
            self.hooks.catch_abort()
        install_abort_handler(self.settings.timeout)
        faulthandler.enable(self.log.fileno(), all_threads=True)

    def _own_log(self, config: Config) -> Any:
        # It gives the logger handlers of its own.
        withdraw()
        return config.logger_class(config)

    def _leave(self, _number: int, _frame: object) -> None:
        if not self._told_ns:
            raise SystemExit


class _Heartbeat:
    """`worker.tmp`: the file that gunicorn's arbiter looks at, and that nobody does here."""

    def __init__(self, file: Any, adapter: GunicornWorker) -> None:
        self._file = file
        self._adapter = adapter

    def notify(self) -> None:
        self._adapter.note_heartbeat()

    def last_update(self) -> float:
        return time.monotonic()

    def fileno(self) -> int:
        return int(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def _subclass(foreign: Any, adapter: GunicornWorker) -> Any:
    """The class, with what gunicorn's arbiter does not do to it and we do."""

    class Adapted(foreign):  # type: ignore[misc]
        _nr = 0
        _alive = True

        @property
        def nr(self) -> int:
            return self._nr

        @nr.setter
        def nr(self, value: int) -> None:
            self._nr = value
            adapter.note_requests(value)

        @property
        def alive(self) -> bool:
            return self._alive

        @alive.setter
        def alive(self, value: bool) -> None:
            self._alive = value
            if not value:
                # It may have decided that itself, and then its successor starts while it still cleans up.
                adapter.note_leaving()

        def init_signals(self) -> None:
            super().init_signals()
            adapter.mend_signals()

        def handle_usr1(self, sig: int, frame: Any) -> None:
            adapter.reopen()
            super().handle_usr1(sig, frame)

    Adapted.__name__, Adapted.__qualname__ = foreign.__name__, foreign.__qualname__
    return Adapted


def _configuration(settings: Settings, max_requests: int) -> Config:
    """gunicorn's object for the settings, with those of ours that it has."""
    config = Config()
    for name in _TAKEN:
        value = getattr(settings, name)
        if name == "access_log_format" and is_json(value):
            continue  # gunicorn's loggers know no such thing.
        if value is not None and name in config.settings:
            config.set(name, _as_gunicorn_has_it(name, value))
    config.set("max_requests", max_requests)
    # The process has become who it is to be; the defaults are those of the arbiter.
    config.set("user", os.geteuid())
    config.set("group", os.getegid())
    return config


def _as_gunicorn_has_it(name: str, value: Any) -> Any:
    if isinstance(value, float):
        return math.ceil(value)
    if isinstance(value, tuple):
        return ",".join(value) if name in _TEXTS else list(value)
    return dict(value) if isinstance(value, Mapping) else value


def _takes_three(application: Application) -> bool:
    """Whether it is called as ASGI has it; a coroutine function without parameters makes an application of aiohttp."""
    import inspect

    try:
        return len(inspect.signature(application).parameters) == 3
    except (TypeError, ValueError):
        return False
