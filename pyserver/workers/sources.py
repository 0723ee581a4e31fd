"""Where the application's source files lie, for the watcher of `--reload`."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

_PYSERVER = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_LIBRARY = os.path.dirname(os.__file__)
_INSTALLED = frozenset({"site-packages", "dist-packages"})


def source_places(error: BaseException | None) -> tuple[list[str], list[str]]:
    """The packages, and the directories of modules that belong to none, that were loaded from source files.

    Those that were installed, and Python's own, are left out.

    Args:
        error: why the application could not be loaded; the files that it tells of are not among the loaded ones.
    """
    packages: set[str] = set()
    directories: set[str] = set()
    for name, module in list(sys.modules.items()):
        if "." not in name and name != "__main__" and module is not None:
            packages.update(_paths_of(module))
            directories.update(_directory_of(module))
    for file in _files_of(error):
        package = _package_around(file)
        if package:
            packages.add(package)
        else:
            directories.add(os.path.dirname(file))
    return sorted(filter(_is_own, packages)), sorted(filter(_is_own, directories))


def _paths_of(module: ModuleType) -> Iterator[str]:
    try:
        # A namespace package has several.
        yield from map(os.path.abspath, vars(module).get("__path__", ()))
    except (OSError, TypeError):
        return  # Modules may be replaced by any object, with any attribute.


def _directory_of(module: ModuleType) -> Iterator[str]:
    own = getattr(module, "__dict__", {})
    file = own.get("__file__")
    if isinstance(file, str) and "__path__" not in own:
        yield os.path.dirname(os.path.abspath(file))


def _files_of(error: BaseException | None) -> Iterator[str]:
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, SyntaxError) and error.filename:
            yield os.path.abspath(error.filename)
        at = error.__traceback__
        while at is not None:
            yield os.path.abspath(at.tb_frame.f_code.co_filename)
            at = at.tb_next
        error = error.__cause__ or error.__context__


def _package_around(file: str) -> str:
    """The uppermost directory around the file that is a package; empty when there is none."""
    package, directory = "", os.path.dirname(file)
    while os.path.exists(os.path.join(directory, "__init__.py")):
        package, directory = directory, os.path.dirname(directory)
    return package


def _is_own(directory: str) -> bool:
    if not os.path.isdir(directory) or _INSTALLED & set(directory.split(os.sep)):
        return False
    return not any(directory == one or directory.startswith(one + os.sep) for one in (_PYSERVER, _LIBRARY))
