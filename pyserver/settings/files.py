"""A config file → what it gives: Python executed as gunicorn does, a Python module, or TOML; and which one is read."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, NamedTuple

from pyserver.errors import ConfigError
from pyserver.settings.given import Given, near_miss
from pyserver.settings.model import ROWS
from pyserver.settings.names import meant_by
from pyserver.settings.toml import PROJECT_FILE, has_table, read_toml
from pyserver.settings.unavailable import UNAVAILABLE

if TYPE_CHECKING:
    import ast

# Ours first: a project that has come from gunicorn may still have the file of that.
DEFAULT_FILES = ("pyserver.conf.py", "pyserver.toml", PROJECT_FILE, "gunicorn.conf.py")
CONFIG_MODULE = "__config__"  # by which the code of a config file goes

_LONGEST_REASON = 300
_HOOKS = [row.name for row in ROWS.values() if row.is_hook]


class FileContents(NamedTuple):
    """What a config file gives, and one line for each name in it that was probably meant to be a setting."""

    given: tuple[Given, ...]
    warnings: tuple[str, ...]


def default_file(directory: str) -> tuple[str, tuple[str, ...]]:
    """The config file that is read when none is named, or nothing; and what to warn of."""
    found = [name for name in DEFAULT_FILES if _is_for_us(os.path.join(directory, name))]
    if not found:
        return "", ()
    return found[0], tuple(f"{name}: not read, because there is a {found[0]}" for name in found[1:])


def _is_for_us(path: str) -> bool:
    return os.path.isfile(path) and (os.path.basename(path) != PROJECT_FILE or has_table(path))


def read_file(spec: str, directory: str, origin: str) -> FileContents:
    """What the file or module named by `spec` gives.

    Args:
        spec: PATH, file:PATH or python:MODULE.
        directory: where relative paths start.
        origin: where the spec was given, for messages.

    Raises:
        ConfigError: when it cannot be read, or when its code is wrong or raises; names the line where that is known.
    """
    kind, separator, rest = spec.partition(":")
    if separator and kind == "python":
        return _contents_of_python(_import_module(rest, origin), rest, {})
    path = rest if separator and kind == "file" else spec
    try:
        with open(os.path.join(directory, path), "rb") as file:
            source = file.read()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(f"{origin}: cannot read the config file {path!r}: {reason}") from None
    if path.endswith(".toml"):
        return FileContents(read_toml(source, path), ())
    tree, code = _compile(source, path)
    module = ModuleType(CONFIG_MODULE)
    module.__file__ = os.path.abspath(os.path.join(directory, path))
    _execute(code, module, path)
    return _contents_of_python(module, path, dict(_assignments(tree.body)))


def _compile(source: bytes, path: str) -> tuple[ast.Module, CodeType]:
    # Here and below, so that a start without a config file does not pay for it.
    import ast

    try:
        tree = ast.parse(source, path)
        return tree, compile(tree, path, "exec", dont_inherit=True)
    except SyntaxError as error:
        line = f":{error.lineno}" if error.lineno else ""
        raise ConfigError(f"{path}{line}: {_reason(error)}") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise ConfigError(f"{path}: {_reason(error)}") from None


def _execute(code: CodeType, module: ModuleType, path: str) -> None:
    # Registered, because dataclasses and pickles in a config file look their module up.
    sys.modules[CONFIG_MODULE] = module
    try:
        exec(code, module.__dict__)
    except (Exception, SystemExit) as error:  # Any class: the code is the operator's, and a reload must survive it.
        raise ConfigError(f"{path}{_line_of(error, path)}: {_reason(error)}") from None


def _import_module(name: str, origin: str) -> ModuleType:
    # A reload shall see what the module says now.
    sys.modules.pop(name, None)
    try:
        __import__(name)
    except (Exception, SystemExit) as error:  # As in _execute.
        raise ConfigError(f"{origin}: cannot import the config module {name!r}: {_reason(error)}") from None
    return sys.modules[name]


def _contents_of_python(module: ModuleType, path: str, lines: Mapping[str, int]) -> FileContents:
    names = {name: value for name, value in vars(module).items() if not name.startswith("_")}
    given, warnings = [], []
    for name, value in names.items():
        origin = f"{path}:{lines[name]}" if name in lines else path
        if name in ROWS or name in UNAVAILABLE:
            given.append(Given(name, value, origin))
        elif not isinstance(value, (ModuleType, type)):
            meant = near_miss(name, _HOOKS) if isinstance(value, FunctionType) else meant_by(name)
            # log_file = "…"; errorlog = log_file is not a slip.
            if meant and meant not in names:
                warnings.append(f"{origin}: {name} is not a setting and has no effect; did you mean {meant}?")
    return FileContents(tuple(given), tuple(warnings))


def _assignments(body: list[ast.stmt]) -> Iterator[tuple[str, int]]:
    """Every name bound at the top level and the line of it; the last one is the one that counts."""
    import ast

    for statement in body:
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield statement.name, statement.lineno
            continue
        for node in ast.iter_child_nodes(statement):
            if isinstance(node, ast.stmt):
                yield from _assignments([node])
            else:
                yield from _names(node)


def _names(node: ast.AST) -> Iterator[tuple[str, int]]:
    import ast

    if isinstance(node, ast.alias):
        yield node.asname or node.name, node.lineno
    yield from ((n.id, n.lineno) for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))


def _line_of(error: BaseException, path: str) -> str:
    """ ":LINE" of the config file that the error came through last; empty when none did."""
    line = ""
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == path:
            line = f":{trace.tb_lineno}"
        trace = trace.tb_next
    return line


def _reason(error: BaseException) -> str:
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    one_line = " ".join(str(text).split())[:_LONGEST_REASON]
    return f"{type(error).__name__}: {one_line}" if one_line else type(error).__name__
