"""What uvicorn is told: its options, the settings of ours that mean the same, and where its logs go."""

from __future__ import annotations

import inspect
import logging
import sys
from typing import TYPE_CHECKING, Any

from uvicorn.config import Config

from pyserver.errors import BootError, ConfigError
from pyserver.workers.options import Several, read_switch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pyserver.log import ErrorLog
    from pyserver.settings.model import Settings
    from pyserver.workers.options import Reader

# What the arbiter does, and the setting that says so.
_OURS = {
    "app": "wsgi_app", "host": "bind", "port": "bind", "uds": "bind", "fd": "bind", "backlog": "backlog",
    "workers": "workers", "limit_max_requests": "max_requests", "limit_max_requests_jitter": "max_requests_jitter",
    "timeout_worker_healthcheck": "timeout", "reload": "reload", "reload_dirs": "reload_extra_files",
    "reload_delay": "reload", "reload_includes": "reload_extra_files", "reload_excludes": "reload",
}  # fmt: skip

_HEAD_LIMITS = ("limit_request_line", "limit_request_fields", "limit_request_field_size")


def known_options() -> dict[str, Reader | Several]:
    """The parameters of uvicorn's Config, by their annotations."""
    parameters = inspect.signature(Config).parameters
    readers = {name: _reader(str(parameter.annotation)) for name, parameter in parameters.items()}
    return {**readers, "interface": _read_interface}


def build_config(settings: Settings, options: Mapping[str, object], application: Any) -> Config:
    """The Config of a worker. What the options say is stronger than what the settings say.

    Raises:
        ConfigError: an option is not uvicorn's to have here.
    """
    for name in options:
        if name in _OURS:
            raise ConfigError(f"worker_options has {name}, which the setting {_OURS[name]} says")
    told: dict[str, object] = {
        "log_config": None,
        "log_level": settings.loglevel,
        "access_log": bool(settings.accesslog) or "log_config" in options,
        "forwarded_allow_ips": list(settings.forwarded_allow_ips),
        "root_path": settings.root_path,
        "server_header": settings.server_header,
        "date_header": settings.date_header,
        "timeout_keep_alive": settings.keepalive,
        "timeout_graceful_shutdown": _time_of_requests(settings.graceful_timeout),
        "backlog": settings.backlog,
        # Or uvicorn would look at WEB_CONCURRENCY.
        "workers": 1,
        **_head_limit(settings),
        **options,
    }
    known = inspect.signature(Config).parameters
    return Config(application, **{name: value for name, value in told.items() if name in known})  # type: ignore[arg-type]


def direct_logs(settings: Settings, options: Mapping[str, object], log: ErrorLog) -> Callable[[], None]:
    """Have uvicorn log where we do, unless it is told otherwise; returns what opens the access log anew.

    Raises:
        BootError: the access log cannot be opened.
    """
    if options.get("log_config") is not None:
        return lambda: None
    errors = logging.getLogger("uvicorn")
    errors.handlers = [_ToErrorLog(log)]
    errors.propagate = False
    if not settings.accesslog:
        return lambda: None
    handler = _access_handler(settings.accesslog)
    handler.setFormatter(_AccessLine())
    if settings.health_path and not settings.health_log:
        handler.addFilter(lambda record: _target_of(record).partition("?")[0] != settings.health_path)
    access = logging.getLogger("uvicorn.access")
    access.handlers = [handler]
    access.propagate = False
    # It is opened by the next record. Standard output stays what it is.
    return handler.close if isinstance(handler, logging.FileHandler) else lambda: None


class _ToErrorLog(logging.Handler):
    """Passes records on to the error log."""

    def __init__(self, log: ErrorLog) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        level = min(max(record.levelno // 10, 1), 5)
        self._log.log(("debug", "info", "warning", "error", "critical")[level - 1], self.format(record))


class _AccessLine(logging.Formatter):
    """What uvicorn knows of a request, in the order of the common log format."""

    def format(self, record: logging.LogRecord) -> str:
        client, method, target, version, status = record.args  # type: ignore[misc]
        host = str(client).rpartition(":")[0] or "-"
        instant = self.formatTime(record, "%d/%b/%Y:%H:%M:%S %z")
        return f'{host} - - [{instant}] "{method} {target} HTTP/{version}" {status} -'


def _target_of(record: logging.LogRecord) -> str:
    _, _, target, *_ = record.args  # type: ignore[misc]
    return str(target)


def _access_handler(path: str) -> logging.StreamHandler[Any]:
    if path in ("-", "/dev/stdout"):
        return logging.StreamHandler(sys.stdout)
    try:
        return logging.FileHandler(path)
    except OSError as error:
        raise BootError(f"cannot open the access log {path!r}: {error.strerror}") from None


def _time_of_requests(graceful: float) -> float:
    """How much of graceful_timeout requests have: what is left is for uvicorn to notice, and for the shutdown."""
    return graceful * 0.9 - min(0.4, graceful * 0.4)


def _head_limit(settings: Settings) -> dict[str, object]:
    """What h11 has for our three limits: one for the whole head. Where they are not set, it is uvicorn's own."""
    line, fields, field = (int(getattr(settings, name)) for name in _HEAD_LIMITS)
    is_default = all(getattr(settings, name) == settings.rows[name].default for name in _HEAD_LIMITS)
    if is_default or 0 in (line, fields, field):
        return {}
    return {"h11_max_incomplete_event_size": line + fields * field}


def _reader(annotation: str) -> Reader | Several:
    kinds = annotation.split(" | ")
    if "list[tuple[str, str]]" in kinds:
        return Several(_read_header)
    read: Reader = str
    if "str" not in kinds:
        read = next((reader for kind, reader in _READERS.items() if kind in kinds), str)
    return _or_none(read) if "None" in kinds else read


_READERS: dict[str, Reader] = {"bool": read_switch, "int": int, "float": float}


def _or_none(read: Reader) -> Reader:
    def reader(text: str) -> object:
        return None if text.lower() == "none" else read(text)

    return reader


def _read_header(text: str) -> tuple[str, str]:
    name, separator, value = text.partition(":")
    if not separator or not name:
        raise ValueError("not of the form NAME:VALUE")
    return name.strip(), value.strip()


def _read_interface(text: str) -> str:
    if text == "wsgi":
        raise ValueError("which the classes sync, threaded and gevent serve")
    return text
