"""Defaults ← platform variables ← config file ← PYSERVER_* ← …_CMD_ARGS ← command line: settings and their origins.

What stands further right wins.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pyserver.errors import ConfigError
from pyserver.settings.command_line import read_arguments
from pyserver.settings.contradictions import contradictions
from pyserver.settings.fields import quoted
from pyserver.settings.files import default_file, read_file
from pyserver.settings.given import DEFAULT, Given, near_miss
from pyserver.settings.model import ROWS, Settings
from pyserver.settings.names import hint_for
from pyserver.settings.unavailable import UNAVAILABLE

# The first that is set is read, so that a machine with both servers can tell them apart.
_ARGUMENT_VARIABLES = ("PYSERVER_CMD_ARGS", "GUNICORN_CMD_ARGS")
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
    in_arguments, argument_warnings = _from_argument_variables(environ)
    strong = [*variables, *in_arguments, *read_arguments(arguments).given, *_from_keywords(keywords or {})]
    in_file, file_warnings = _from_file(strong, directory)
    given = {one.name: one for one in (*_from_platform(environ), *in_file, *strong)}
    without_effect = tuple(_without_effect(given.values()))
    # Typed as Any because the table, not the checker, knows that each value fits its field.
    values: dict[str, Any] = {name: _read(one) for name, one in given.items() if name in ROWS}
    origins = {name: given[name].origin if name in given else DEFAULT for name in ROWS}
    settings = Settings(**values)
    warnings = (*file_warnings, *argument_warnings, *warnings, *without_effect, *contradictions(settings, origins))
    return Loaded(settings, origins, warnings)


def _without_effect(given: Iterable[Given]) -> Iterator[str]:
    """A line for each setting of gunicorn that asks for what is not there; ConfigError if that is needed."""
    for one in given:
        row = UNAVAILABLE.get(one.name)
        if row is None or not row.is_wanted(one.raw):
            continue
        if row.is_refused:
            raise ConfigError(f"{one.origin}: {one.name} is {quoted(one.raw)}, but {row.why}")
        yield f"{one.origin}: {one.name} has no effect: {row.why}"


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
                given.append(Given(name, row.raw_of(text), variable))
        elif name in UNAVAILABLE:
            given.append(Given(name, text, variable))
        else:
            # Not an error: for a service called pyserver, Kubernetes sets PYSERVER_PORT and more of the kind.
            meant = near_miss(name, ROWS)
            if meant:
                warnings.append(f"{variable}: there is no such setting; did you mean {ROWS[meant].variable}?")
    return given, tuple(warnings)


def _from_argument_variables(environ: Mapping[str, str]) -> tuple[tuple[Given, ...], tuple[str, ...]]:
    there = [variable for variable in _ARGUMENT_VARIABLES if variable in environ]
    if not there:
        return (), ()
    # Few have such a variable, and the arbiter and its workers would carry the module for ever.
    import shlex

    variable, *others = there
    try:
        words = shlex.split(environ[variable])
    except ValueError as error:
        raise ConfigError(f"{variable}: {str(error).lower()}") from None
    unread = tuple(f"{other}: not read, because {variable} is set" for other in others)
    return read_arguments(words, variable).given, unread


def _from_keywords(keywords: Mapping[str, object]) -> list[Given]:
    for name in keywords:
        if name not in ROWS and name not in UNAVAILABLE:
            raise ConfigError(f"run(): {name} is not a setting{hint_for(name)}")
    return [Given(name, value, "run()") for name, value in keywords.items()]
