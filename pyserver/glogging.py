"""A logger as gunicorn has it: both logs through the standard library's logging, for configurations written for that.

Imported only where `logger_class`, `logconfig`, `logconfig_dict` or `logconfig_json` is set: logging costs each process
about a megabyte, and a record some ten microseconds. A class of your own extends `Logger`:

    class MyLogger(pyserver.glogging.Logger):
        def access(self, resp, req, environ, request_time):
            if req.path != "/health":
                super().access(resp, req, environ, request_time)
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
import logging.config
import os
import sys
import time
from typing import TYPE_CHECKING, Any, ClassVar

from pyserver.errors import ConfigError

if TYPE_CHECKING:
    import datetime
    from collections.abc import Iterable, Mapping

_ERROR_LINE = "%(asctime)s [%(process)d] [%(levelname)s] %(message)s"
_DATE = "[%Y-%m-%d %H:%M:%S %z]"
_OWN = "_pyserver"  # marks handlers that setup() has made, and may take away

# What a configuration does not say: by key of the top level, as gunicorn has it.
CONFIG_DEFAULTS: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "root": {"level": "INFO", "handlers": ["console"]},
    "loggers": {
        name: {"level": "INFO", "handlers": [handler], "propagate": True, "qualname": name}
        for name, handler in (("gunicorn.error", "error_console"), ("gunicorn.access", "console"))
    },
    "handlers": {
        name: {"class": "logging.StreamHandler", "formatter": "generic", "stream": f"ext://sys.{stream}"}
        for name, stream in (("console", "stdout"), ("error_console", "stderr"))
    },
    "formatters": {"generic": {"format": _ERROR_LINE, "datefmt": _DATE, "class": "logging.Formatter"}},
}


class SafeAtoms(dict[str, Any]):
    """The atoms of a line: a quote in one cannot end what stands in quotes; names in braces have no case."""

    def __init__(self, atoms: Mapping[str, Any]) -> None:
        super().__init__(
            (name, value.replace('"', '\\"') if isinstance(value, str) else value) for name, value in atoms.items()
        )

    def __getitem__(self, name: str) -> Any:
        return self.get(name.lower() if name.startswith("{") else name, "-")


class Logger:
    """Writes both logs by the loggers `gunicorn.error` and `gunicorn.access`.

    Args:
        cfg: the settings by their names.

    Raises:
        ConfigError, or what logging.config raises: the configuration is wrong.
    """

    LOG_LEVELS: ClassVar[dict[str, int]] = {
        "critical": logging.CRITICAL, "error": logging.ERROR, "warning": logging.WARNING, "info": logging.INFO,
        "debug": logging.DEBUG,
    }  # fmt: skip
    loglevel = logging.INFO
    error_fmt = _ERROR_LINE
    datefmt = _DATE
    access_fmt = "%(message)s"
    syslog_fmt = "[%(process)d] %(message)s"
    atoms_wrapper_class: type[dict[str, Any]] = SafeAtoms

    def __init__(self, cfg: Any) -> None:
        self.error_log = logging.getLogger("gunicorn.error")
        self.access_log = logging.getLogger("gunicorn.access")
        for log in (self.error_log, self.access_log):
            log.propagate = False
        self.cfg = cfg
        self.setup(cfg)

    def setup(self, cfg: Any) -> None:
        """Give the loggers their levels and handlers."""
        self.cfg = cfg
        self.loglevel = self.LOG_LEVELS.get(cfg.loglevel.lower(), logging.INFO)
        self.error_log.setLevel(self.loglevel)
        self.access_log.setLevel(logging.INFO)
        for log in (self.error_log, self.access_log):
            for handler in [one for one in log.handlers if hasattr(one, _OWN)]:
                log.removeHandler(handler)
        self._add_handler(self.error_log, cfg.errorlog, sys.stderr, logging.Formatter(self.error_fmt, self.datefmt))
        if cfg.accesslog is not None:
            self._add_handler(self.access_log, cfg.accesslog, sys.stdout, logging.Formatter(self.access_fmt))
        if cfg.syslog:
            self._add_syslog(self.error_log, "error")
            if not cfg.disable_redirect_access_to_syslog:
                self._add_syslog(self.access_log, "access")
        self._configure()

    def critical(self, msg: object, *args: object, **kwargs: Any) -> None:
        """Log a record of level critical."""
        self.error_log.critical(msg, *args, **kwargs)

    def error(self, msg: object, *args: object, **kwargs: Any) -> None:
        """Log a record of level error."""
        self.error_log.error(msg, *args, **kwargs)

    def warning(self, msg: object, *args: object, **kwargs: Any) -> None:
        """Log a record of level warning."""
        self.error_log.warning(msg, *args, **kwargs)

    def info(self, msg: object, *args: object, **kwargs: Any) -> None:
        """Log a record of level info."""
        self.error_log.info(msg, *args, **kwargs)

    def debug(self, msg: object, *args: object, **kwargs: Any) -> None:
        """Log a record of level debug."""
        self.error_log.debug(msg, *args, **kwargs)

    def exception(self, msg: object, *args: object, **kwargs: Any) -> None:
        """Log a record of level error with the traceback of the exception that is being handled."""
        self.error_log.exception(msg, *args, **kwargs)

    def log(self, lvl: int | str, msg: object, *args: object, **kwargs: Any) -> None:
        """Log a record of that level, by its number or name."""
        number = self.LOG_LEVELS.get(lvl.lower(), logging.INFO) if isinstance(lvl, str) else lvl
        self.error_log.log(number, msg, *args, **kwargs)

    def access(self, resp: Any, req: Any, environ: Mapping[str, Any], request_time: datetime.timedelta) -> None:
        """Log an answered request; the arguments of the record are its atoms."""
        if not self.access_log_enabled:
            return
        try:
            atoms = self.atoms_wrapper_class(self.atoms(resp, req, environ, request_time))
            self.access_log.info(self.cfg.access_log_format, atoms)
        except Exception:  # Any class: atoms and handlers are the operator's.
            self.exception("Error in the access log")

    @property
    def access_log_enabled(self) -> bool:
        """Whether anybody may want to know of requests."""
        cfg = self.cfg
        configured = cfg.accesslog or cfg.logconfig or cfg.logconfig_dict or cfg.logconfig_json
        return bool(configured or (cfg.syslog and not cfg.disable_redirect_access_to_syslog))

    def atoms(
        self, resp: Any, req: Any, environ: Mapping[str, Any], request_time: datetime.timedelta
    ) -> dict[str, Any]:
        """What can be said about a request, by what stands between "%(" and ")s"."""
        microseconds = request_time.days * 86_400_000_000 + request_time.seconds * 1_000_000 + request_time.microseconds
        sent = getattr(resp, "sent", None)
        return {
            "h": environ.get("REMOTE_ADDR", "-"),
            "l": "-",
            "u": _user(environ) or "-",
            "t": self.now(),
            "r": " ".join(str(environ.get(name)) for name in ("REQUEST_METHOD", "RAW_URI", "SERVER_PROTOCOL")),
            "s": resp.status.split(None, 1)[0] if isinstance(resp.status, str) else resp.status,
            "m": environ.get("REQUEST_METHOD"),
            "U": environ.get("PATH_INFO"),
            "q": environ.get("QUERY_STRING"),
            "H": environ.get("SERVER_PROTOCOL"),
            "b": "-" if sent is None else str(sent),
            "B": sent,
            "f": environ.get("HTTP_REFERER", "-"),
            "a": environ.get("HTTP_USER_AGENT", "-"),
            "T": microseconds // 1_000_000,
            "D": microseconds,
            "M": microseconds // 1000,
            "L": f"{microseconds // 1_000_000}.{microseconds % 1_000_000:06}",
            "p": f"<{os.getpid()}>",
            **_variables("i", getattr(req, "headers", req)),
            **_variables("o", resp.headers),
            **_variables("e", environ),
        }

    def now(self) -> str:
        """The time, as logs of web servers have it."""
        return time.strftime("[%d/%b/%Y:%H:%M:%S %z]")

    def reopen_files(self) -> None:
        """Open all files that loggers write to anew, after they were renamed."""
        for handler in _file_handlers():
            handler.acquire()
            try:
                # It is opened by the next record; at once, so that what is wrong is known now.
                handler.close()
                handler.stream = handler._open()
            finally:
                handler.release()

    def close_on_exec(self) -> None:
        """Nothing has to be done: Python opens files so that no program that is started gets them."""

    def _add_handler(self, log: logging.Logger, output: str, stream: Any, formatter: logging.Formatter) -> None:
        try:
            handler = logging.StreamHandler(stream) if output == "-" else logging.FileHandler(output)
        except OSError as error:
            raise ConfigError(f"cannot open the log {output!r}: {error.strerror}") from None
        handler.setFormatter(formatter)
        setattr(handler, _OWN, True)
        log.addHandler(handler)

    def _add_syslog(self, log: logging.Logger, name: str) -> None:
        handler = _SyslogHandler(self.cfg.open_syslog(), name)
        setattr(handler, _OWN, True)
        log.addHandler(handler)

    def _configure(self) -> None:
        cfg = self.cfg
        configuration = configuration_of(cfg)
        if configuration:
            logging.config.dictConfig(configuration)
        elif cfg.logconfig:
            if not os.path.exists(cfg.logconfig):
                raise ConfigError("there is no such file")
            logging.config.fileConfig(cfg.logconfig, defaults=place_of(cfg.logconfig), disable_existing_loggers=False)


def configuration_of(cfg: Any) -> dict[str, Any]:
    """What dictConfig is given for `logconfig_dict` or `logconfig_json`; empty without them.

    Raises:
        OSError, ValueError: the file cannot be read, or is no JSON.
    """
    if cfg.logconfig_dict:
        return {**CONFIG_DEFAULTS, **cfg.logconfig_dict}
    if not cfg.logconfig_json:
        return {}
    with open(cfg.logconfig_json, encoding="utf-8") as file:
        return {**CONFIG_DEFAULTS, **json.load(file)}


def place_of(path: str) -> dict[str, str]:
    """The names that a `logconfig` can use for where it is."""
    return {"__file__": path, "here": os.path.dirname(path)}


class _SyslogHandler(logging.Handler):
    """Passes records on to syslog as the server's own logs do, and without waiting."""

    def __init__(self, syslog: Any, name: str) -> None:
        super().__init__()
        self._syslog = syslog
        self._name = name

    def emit(self, record: logging.LogRecord) -> None:
        level = ("debug", "info", "warning", "error", "critical")[min(max(record.levelno // 10, 1), 5) - 1]
        self._syslog.send(level, self._name, self.format(record))


def _variables(letter: str, pairs: Any) -> dict[str, Any]:
    items: Iterable[tuple[str, Any]] = pairs.items() if hasattr(pairs, "items") else pairs
    return {f"{{{name.lower()}}}{letter}": value for name, value in items}


def _file_handlers() -> list[logging.FileHandler]:
    names = list(logging.root.manager.loggerDict)
    logs = [logging.root, *(logging.getLogger(name) for name in names)]
    handlers = {id(one): one for log in logs for one in log.handlers}.values()
    return [one for one in handlers if isinstance(one, logging.FileHandler) and one.stream]


def _user(environ: Mapping[str, Any]) -> str | None:
    """The user of Basic authentication; RFC 7617 §2."""
    scheme, _, credentials = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        return base64.b64decode(credentials.strip()).split(b":", 1)[0].decode()
    except (binascii.Error, ValueError):
        return None
