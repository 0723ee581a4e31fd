"""What `--check-config` looks at beside the settings themselves. It opens and makes nothing that a server would use."""

from __future__ import annotations

import configparser
import logging.config

# Before the user changes: that one may not be able to read the standard library of this Python.
import traceback  # noqa: F401
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from pyserver.arbiter.generations import tls_context
from pyserver.errors import EXIT_CONFIG, BootError, ConfigError
from pyserver.glogging import configuration_of, place_of
from pyserver.identity import become
from pyserver.log import logger_of, try_to_append, try_to_make
from pyserver.loggers import load_logger_class, reason_of
from pyserver.sockets import parse_address
from pyserver.workers import load_worker_class, worker_name

if TYPE_CHECKING:
    from pyserver.settings.model import Settings

_SECTIONS = ("loggers", "handlers", "formatters")  # that fileConfig wants


def check(settings: Settings) -> None:
    """Try what a server would need of the system, and import the application; this process then is the workers' user.

    Raises:
        BootError, ConfigError: what a start would say.
    """
    worker_class = load_worker_class(worker_name(settings.worker_class, settings.threads))
    worker_class.check(settings)
    tls_context(settings)
    _check_logger(settings)
    for what, path, try_it in _places(settings):
        try:
            try_it(path)
        except OSError as error:
            raise BootError(f"{what}: {error.strerror}", EXIT_CONFIG) from None
    # What is imported to be tried is given no more than it has when it serves.
    become(settings)
    worker_class.load(str(settings.wsgi_app))


def _places(settings: Settings) -> Iterator[tuple[str, str, Callable[[str], None]]]:
    if settings.errorlog != "-":
        yield f"cannot open the error log {settings.errorlog!r}", settings.errorlog, try_to_append
    if settings.pidfile:
        yield f"cannot write the pid file {settings.pidfile!r}", settings.pidfile, try_to_make
    for address in map(parse_address, [*settings.bind, *filter(None, [settings.admin])]):
        if address.path:
            yield f"cannot listen on {address}", address.path, try_to_make


class _Trial(logging.config.DictConfigurator):
    """Finds what a handler is made of, and makes another that opens nothing."""

    def configure_handler(self, config: Any) -> logging.Handler:
        named = config.get("()") or config["class"]
        if isinstance(named, str):
            self.resolve(named)
        formatter = config.get("formatter")
        if formatter and formatter not in self.config.get("formatters", {}):
            raise ValueError(f"there is no formatter {formatter!r}")
        # What the application logs when it is imported is seen as without a configuration.
        handler = logging.StreamHandler()
        handler.setLevel(config.get("level", logging.WARNING))
        return handler


def _check_logger(settings: Settings) -> None:
    named, origin = logger_of(settings)
    if not origin:
        return
    load_logger_class(named)
    if named is not None:
        return  # What it makes of a configuration is its own affair.
    try:
        configuration = configuration_of(settings)
        if configuration:
            _Trial(configuration).configure()
        elif settings.logconfig:
            _check_sections(settings.logconfig)
    except Exception as error:  # Any class: the configuration is the operator's.
        raise ConfigError(f"{origin}: {reason_of(error)}") from None


def _check_sections(path: str) -> None:
    parser = configparser.ConfigParser(place_of(path))
    with open(path, encoding=None) as file:
        parser.read_file(file)
    for name in _SECTIONS:
        parser.get(name, "keys")
