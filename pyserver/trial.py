"""Whether a logger could be made, of which none is: no file is opened."""

from __future__ import annotations

import configparser
import logging.config
from typing import Any

from pyserver.errors import ConfigError
from pyserver.glogging import configuration_of, place_of
from pyserver.loggers import load_logger_class, reason_of

_SECTIONS = ("loggers", "handlers", "formatters")  # that fileConfig wants


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


def check_logger(settings: Any, named: str | type | None, origin: str) -> None:
    """Raise ConfigError where a logger could not be made.

    Args:
        settings: all of them.
        named: the class, or None for that of this package.
        origin: which of the settings is why there is a logger.
    """
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
