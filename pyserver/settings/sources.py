"""Defaults ← platform variables ← config file ← PYSERVER_* ← …_CMD_ARGS ← command line: the settings and their origins.

What stands further right wins.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from pyserver.errors import ConfigError
from pyserver.settings.command_line import read_arguments
from pyserver.settings.files import default_file, read_file
from pyserver.settings.given import Given, near_miss
from pyserver.settings.model import ROWS, Settings
from pyserver.settings.unavailable import UNAVAILABLE

DEFAULT = "default"

_ARGUMENT_VARIABLES = ("GUNICORN_CMD_ARGS", "PYSERVER_CMD_ARGS")
_PREFIX = "PYSERVER_"


class Loaded(NamedTuple):
    """Settings, where each was set, and one line for each thing written that will have no effect."""

    settings: Settings
    origins: Mapping[str, str]
    warnings: tuple[str, ...]


def load_settings(
    arguments: Sequence[str],
    environ: Mapping[str, str],
    directory: str = ".",
    keywords: Mapping[str, object] | None = None,
) -> Loaded:
    """The settings that all sources together give.

    Args:
        arguments: the command line without the name of the program.
        environ: the environment that the server was started in.
        directory: the directory that it was started in.
        keywords: of `pyserver.run`; stronger than the command line.

    Raises:
        ConfigError: one line that names the origin, the value and the rule.
    """
    variables, warnings = _from_variables(environ)
    strong = [*variables, *_from_argument_variables(environ), *read_arguments(arguments).given]
    strong += _from_keywords(keywords or {})
    in_file, file_warnings = _from_file(strong, directory)
    given = {one.name: one for one in (*_from_platform(environ), *in_file, *strong)}
    # Typed as Any because the table, not the checker, knows that each value fits its field.
    values: dict[str, Any] = {name: _read(one) for name, one in given.items()}
    origins = {name: given[name].origin if name in given else DEFAULT for name in ROWS}
    return Loaded(Settings(**values), origins, (*file_warnings, *warnings))


def _read(one: Given) -> object:
    try:
        return ROWS[one.name].read(one.raw)
    except ValueError as error:
        raise ConfigError(f"{one.origin}: {error}") from None


def _from_file(strong: Iterable[Given], directory: str) -> tuple[tuple[Given, ...], tuple[str, ...]]:
    named = [one for one in strong if one.name == "config"]
    spec, origin = (_read(named[-1]), named[-1].origin) if named else (None, "")
    warnings: tuple[str, ...] = ()
    if not spec:
        spec, warnings = default_file(directory)
    if not spec:
        return (), ()
    contents = read_file(str(spec), directory, origin or "the start directory")
    # A file cannot name the file that is read instead of it.
    unread = tuple(f"{one.origin}: config has no effect in a config file" for one in contents.given if _is_config(one))
    given = tuple(one for one in contents.given if not _is_config(one))
    return given, (*warnings, *contents.warnings, *unread)


def _is_config(one: Given) -> bool:
    return one.name == "config"


def _from_platform(environ: Mapping[str, str]) -> list[Given]:
    """Variables that hosting platforms and gunicorn know, such as PORT."""
    given = []
    for row in ROWS.values():
        if row.facts.environment is None:
            continue
        variable, form = row.facts.environment
        text = environ.get(variable)
        # An empty PORT is no port; an empty FORWARDED_ALLOW_IPS is a list of nobody.
        if text or (text is not None and form == "{}" and row.takes_empty_text):
            given.append(Given(row.name, form.format(text), variable))
    return given


def _from_variables(environ: Mapping[str, str]) -> tuple[list[Given], tuple[str, ...]]:
    given, warnings = [], []
    for variable, text in environ.items():
        if not variable.startswith(_PREFIX) or variable in _ARGUMENT_VARIABLES:
            continue
        name = variable.removeprefix(_PREFIX).lower()
        row = ROWS.get(name)
        if row is not None and row.is_hook:
            warnings.append(f"{variable}: {name} is a function, which only a config file can give")
        elif row is not None:
            if text or row.takes_empty_text:
                given.append(Given(name, text, variable))
        elif name in UNAVAILABLE:
            warnings.append(f"{variable}: {name} has no effect in this version")
        else:
            # Not an error: for a service called pyserver, Kubernetes sets PYSERVER_PORT and more of the kind.
            meant = near_miss(name, ROWS)
            if meant:
                warnings.append(f"{variable}: there is no such setting; did you mean {ROWS[meant].variable}?")
    return given, tuple(warnings)


def _from_argument_variables(environ: Mapping[str, str]) -> list[Given]:
    given: list[Given] = []
    for variable in _ARGUMENT_VARIABLES:
        if variable not in environ:
            continue
        # Few have such a variable, and the arbiter and its workers would carry the module for ever.
        import shlex

        try:
            words = shlex.split(environ[variable])
        except ValueError as error:
            raise ConfigError(f"{variable}: {str(error).lower()}") from None
        given += read_arguments(words, variable).given
    return given


def _from_keywords(keywords: Mapping[str, object]) -> list[Given]:
    for name in keywords:
        if name not in ROWS:
            meant = near_miss(name, ROWS)
            hint = f"; did you mean {meant}?" if meant else ""
            raise ConfigError(f"run(): {name} is not a setting{hint}")
    return [Given(name, value, "run()") for name, value in keywords.items()]
