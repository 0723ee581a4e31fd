"""Makes the standard library of a gevent worker cooperative, and tells who was imported too early to notice.

gevent replaces what waits (sockets, locks, `time.sleep`, …) in the modules of the standard library. A package that has
taken such a thing out of its module before goes on with the one that holds up the whole process.
"""

from __future__ import annotations

import functools
import os
import sys
import warnings
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pyserver.log import ErrorLog

_WAITING = (
    "_thread", "_threading_local", "queue", "select", "selectors", "socket", "ssl", "subprocess", "threading", "time",
)  # fmt: skip
# gevent looks after the standard library itself, and pyserver means what it says.
_EXEMPT = frozenset({*sys.stdlib_module_names, "pyserver", "gevent", "greenlet"})

# One byte, for the first of all the processes that come from this one.
_to_be_first, _other_end = os.pipe()
os.write(_other_end, b"\0")
os.close(_other_end)

_early: list[str] = []


@functools.cache
def patch() -> None:
    """Replace what waits by what lets other greenlets go on, in this process and those forked from it."""
    loaded = list(sys.modules)
    from gevent import monkey

    from pyserver.workers.precise import choose_loop

    choose_loop()
    # Who has done it already, in the config file say, may have chosen what.
    if not monkey.is_module_patched("socket"):
        with warnings.catch_warnings():
            # Some of the packages that are looked for below, but from each process.
            warnings.simplefilter("ignore", monkey.MonkeyPatchWarning)
            monkey.patch_all()
    _early.extend(_holders(loaded, {name: monkey.saved.get(name, {}) for name in _WAITING}))


def warn_of_early_imports(log: ErrorLog) -> None:
    """Name the packages that were imported before patch(); one process does it for all."""
    if _early and os.read(_to_be_first, 1):
        log.warning(
            "imported before gevent could make them cooperative, so that they may hold up all requests of a worker: "
            "%s; import them in the application, and not in the config file or when Python starts",
            ", ".join(_early),
        )


def _holders(loaded: Iterable[str], replaced: Mapping[str, Mapping[str, object]]) -> list[str]:
    """The packages among the modules `loaded` that hold one of the objects `replaced`, or what is made of them."""
    originals = {id(item): item for items in replaced.values() for item in items.values() if callable(item)}
    packages = set()
    for name in loaded:
        package = name.partition(".")[0]
        if package not in _EXEMPT and package not in packages:
            held = list(getattr(sys.modules.get(name), "__dict__", {}).values())
            if any(id(one) in originals for value in held for one in _behind(value)):
                packages.add(package)
    return sorted(packages)


def _behind(value: object) -> Iterator[object]:
    """The object, and the classes that it is an instance or a subclass of."""
    # Not isinstance(): some objects in modules are proxies, and compute what they say of themselves.
    yield value
    kind = type(value)
    yield from type.mro(cast(type, value)) if issubclass(kind, type) else kind.__mro__
