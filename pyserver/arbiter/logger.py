"""The error log of a logger of the operator's, and what that logger is given as its `cfg`.

Imported only where the settings want one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyserver._access import is_json
from pyserver.arbiter.logs import open_syslog
from pyserver.loggers import LoggerLog, load_logger_class
from pyserver.syslog import parse_statsd_host
from pyserver.workers.configuration import Configuration

if TYPE_CHECKING:
    from pyserver.settings.model import Settings
    from pyserver.syslog import Syslog


def open_logger_log(settings: Settings, named: str | type | None, origin: str) -> LoggerLog:
    """The error log of that class, or without one of our own, with its loggers configured.

    Args:
        settings: all of them.
        named: the class.
        origin: which of the settings is why there is a logger, for messages.

    Raises:
        BootError: the errorlog cannot be opened.
        ConfigError: the logger cannot be made of the settings.
    """
    configuration = _LoggerConfiguration(settings, origin)
    return LoggerLog(settings.errorlog, settings.loglevel, load_logger_class(named), configuration)


class _LoggerConfiguration(Configuration):
    """`cfg` of a logger: each setting by its name, of the kind that gunicorn's loggers want.

    Args:
        settings: all of them.
        origin: which of them is why there is a logger, for messages.
    """

    def __init__(self, settings: Settings, origin: str) -> None:
        super().__init__(settings)
        self.logging_origin = origin

    def __getattr__(self, name: str) -> Any:
        value = super().__getattr__(name)
        if name == "logconfig_dict":
            return dict(value)
        if name == "syslog_prefix":
            return value or str(self.proc_name).replace(":", ".")
        return value

    @property
    def statsd_host(self) -> Any:
        """Host and port, or the path of a Unix socket."""
        if self._settings.statsd_host is None:
            return None
        place = parse_statsd_host(self._settings.statsd_host)
        return (place.host, place.port) if place.port else place.host

    @property
    def access_log_format(self) -> str:
        """The format in text; lines in JSON are the server's own."""
        text = self._settings.access_log_format
        if is_json(text):
            return str(self._settings.rows["access_log_format"].default)
        return text

    def open_syslog(self) -> Syslog:
        """The syslog of the settings."""
        return open_syslog(self._settings)
