"""The error log that the settings describe, and who else is told: syslog, statsd, a logger of the operator's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyserver.errors import BootError, ConfigError
from pyserver.log import ErrorLog, logger_of

if TYPE_CHECKING:
    from pyserver._access import AccessFile
    from pyserver.settings.model import Settings
    from pyserver.syslog import Syslog


def open_log(settings: Settings) -> ErrorLog:
    """The error log, as it is written, and told to others.

    Raises:
        BootError: the errorlog cannot be opened.
        ConfigError: a logger cannot be made of the settings, or a name is not known.
    """
    log = _with_logger(settings) or ErrorLog(settings.errorlog, settings.loglevel)
    try:
        if settings.syslog and log.logger is log:
            log.syslog = open_syslog(settings)
        _open_statsd(settings, log)
    except ConfigError:
        log.close()
        raise
    return log


def open_access_file(path: str, slots: int, before: AccessFile | None, log: ErrorLog) -> AccessFile:
    """The access log's file at that path, as workers inherit it.

    Args:
        path: "-" is standard output.
        slots: how many workers there can be.
        before: of the generation before. At the same path it goes on, and is opened anew if that can be done.
        log: is told when it cannot.

    Raises:
        ConfigError: the file cannot be opened.
        BootError: there is no memory for what workers gather.
    """
    # Who has no such log shall not carry what writes it.
    from pyserver._access import AccessFile

    if before is not None and before.is_at(path, slots):
        before.reopen(log)
        return before
    try:
        return AccessFile(path, slots)
    except MemoryError as error:
        raise BootError(str(error)) from None


def _with_logger(settings: Settings) -> ErrorLog | None:
    """The error log of a logger, if one is wanted."""
    named, origin = logger_of(settings)
    if not origin:
        return None
    # Who is content with the server's own logs shall not carry the standard library's.
    from pyserver.arbiter.logger import open_logger_log

    return open_logger_log(settings, named, origin)


def open_syslog(settings: Settings) -> Syslog:
    """The syslog of the settings; raises ConfigError."""
    from pyserver.syslog import Syslog, parse_place

    name = settings.syslog_prefix or str(settings.proc_name or settings.wsgi_app).replace(":", ".")
    return Syslog(parse_place(settings.syslog_addr), settings.syslog_facility.lower(), name)


def _open_statsd(settings: Settings, log: ErrorLog) -> None:
    if settings.statsd_host is None or getattr(log, "measures", False):
        return
    from pyserver._statsd import Datagrams, Statsd
    from pyserver.syslog import parse_statsd_host

    place = parse_statsd_host(settings.statsd_host)
    try:
        log.statsd = Statsd(Datagrams(place.host, place.port), settings.statsd_prefix, settings.dogstatsd_tags)
        if log.logger is not log:
            # Hooks tell of their own by it.
            for name in ("gauge", "increment", "decrement", "histogram", "timer"):
                if not hasattr(log.logger, name):
                    setattr(log.logger, name, getattr(log, name))
    except OSError as error:
        # As in gunicorn: no metrics are no reason not to serve.
        log.warning("statsd_host is %r, and there will be no metrics: %s", settings.statsd_host, error.strerror)
    except ValueError as error:
        raise ConfigError(f"statsd_prefix, dogstatsd_tags: {error}") from None
