"""A TOML config file → what it gives. In pyproject.toml that is the table [tool.pyserver], elsewhere the whole file."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from pyserver.errors import ConfigError
from pyserver.settings.given import Given
from pyserver.settings.model import ROWS
from pyserver.settings.names import hint_for
from pyserver.settings.unavailable import UNAVAILABLE

PROJECT_FILE = "pyproject.toml"

_PROJECT_TABLE = "tool.pyserver"
_LONGEST_REASON = 300


def has_table(path: str) -> bool:
    """Whether a pyproject.toml has settings; one that cannot be read has none.

    Most projects have such a file, and a server that is not configured there shall not carry a TOML parser.
    """
    try:
        with open(path, "rb") as file:
            source = file.read()
    except OSError:
        return False
    if not _may_have_table(source):
        return False
    try:
        tool = _parsed(source, path).get("tool")
    except ConfigError:
        return True  # Whoever reads it says what is wrong.
    return isinstance(tool, Mapping) and "pyserver" in tool


def _may_have_table(source: bytes) -> bool:
    """Whether it looks like it, however it is written but for escapes in keys: as a header or with dots, or inline."""
    table = b""
    for line in source.splitlines():
        words = line.translate(None, b" \t\"'")
        if words.startswith(b"["):
            table = words.lstrip(b"[").partition(b"]")[0] + b"."
            words = b""
        if (table + words).startswith((b"tool.pyserver.", b"tool.pyserver=")):
            return True
        if words.startswith(b"tool=") and b"pyserver" in words:
            return True
    return False


def read_toml(source: bytes, path: str) -> tuple[Given, ...]:
    """What the file gives.

    Args:
        source: of the file.
        path: its name, for messages and the choice of the table.

    Raises:
        ConfigError: it is no TOML, this Python cannot read TOML, or a key in it is no setting; names the line of that.
    """
    table, prefix = _parsed(source, path), ""
    if os.path.basename(path) == PROJECT_FILE:
        prefix = f"{_PROJECT_TABLE}."
        for part in _PROJECT_TABLE.split("."):
            table = table.get(part, {})
            if not isinstance(table, Mapping):
                raise ConfigError(f"{path}: {_PROJECT_TABLE} is not a table")
    # The first line of each key: a table has several.
    lines = dict(reversed(list(_lines(source.decode(), prefix))))
    given = []
    for name, value in table.items():
        origin = f"{path}:{lines[name]}" if name in lines else path
        if name not in ROWS and name not in UNAVAILABLE:
            # Unlike Python, TOML has no helper variables: a key that is no setting is a mistake.
            raise ConfigError(f"{origin}: {name} is not a setting{hint_for(name)}")
        given.append(Given(name, value, origin))
    return tuple(given)


def _parsed(source: bytes, path: str) -> Mapping[str, Any]:
    try:
        import tomllib  # type: ignore[import-not-found,unused-ignore]  # The standard library has it from 3.11 on.
    except ModuleNotFoundError:
        try:
            import tomli as tomllib  # type: ignore[import-not-found,no-redef,unused-ignore]
        except ModuleNotFoundError:
            raise ConfigError(
                f"{path}: TOML cannot be read by this Python; take 3.11 or later, or: pip install tomli"
            ) from None
    try:
        parsed: Mapping[str, Any] = tomllib.loads(source.decode())
    except ValueError as error:
        reason = " ".join(str(error).split())[:_LONGEST_REASON]
        raise ConfigError(f"{path}: {type(error).__name__}: {reason}") from None
    return parsed


def _lines(text: str, prefix: str) -> Iterator[tuple[str, int]]:
    """The keys of the table of that name, which ends in a dot, and their lines, as far as they are written plainly.

    A line within a text of several lines may be taken for a key; then a message names the wrong line of the right file.
    """
    table = ""
    for number, line in enumerate(text.splitlines(), 1):
        words = "".join(line.split())
        if words.startswith("["):
            table = words.lstrip("[").partition("]")[0] + "."
            name = table
        else:
            key, separator, _ = words.partition("=")
            if not separator:
                continue
            name = (table + key).replace('"', "").replace("'", "") + "."
        if name.startswith(prefix):
            yield name[len(prefix) :].partition(".")[0], number
