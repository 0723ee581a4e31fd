"""Whether a worker class of somebody else can be what the arbiter takes it for, told before anything is forked."""

from __future__ import annotations

import inspect

from pyserver.workers.base import Worker

_INTERFACES = ("wsgi", "asgi")
# What a class may say, and what is called with how many arguments; the others are what it is given.
_METHODS = {
    "prepare": 0, "boot": 0, "run": 0, "drain": 0, "quit": 0, "watch": 2, "unwatch": 1, "answer": 0, "relieve": 0,
    "reopen": 0, "drop_copies": 0,
}  # fmt: skip
_CLASS_METHODS = {"check": 1, "rows": 1, "load": 1, "known_options": 0, "stand_in": 1, "prepare_to_fork": 0}
_FINAL = ("live", "retire", "note_ready")


def flaw_of(worker_class: type[Worker]) -> str:
    """What is wrong with the class, to be read after its name; "" when nothing is seen to be."""
    interfaces = worker_class.interfaces
    if not isinstance(interfaces, tuple) or not interfaces or any(one not in _INTERFACES for one in interfaces):
        return f"has interfaces {interfaces!r}, which is no tuple of 'wsgi' and 'asgi'"
    if worker_class.run is Worker.run:
        return "has no run(), which serves"
    taken = [name for name in _FINAL if getattr(worker_class, name) is not getattr(Worker, name)]
    if taken:
        return f"overrides {taken[0]}(), which is for Worker to have; there are boot(), run(), drain() and quit()"
    if (worker_class.watch is Worker.watch) is not (worker_class.unwatch is Worker.unwatch):
        return "has only one of watch() and unwatch()"
    flaws = (_flaw_of_method(worker_class, name) for name in (*_METHODS, *_CLASS_METHODS))
    return next(filter(None, flaws), "")


def _flaw_of_method(worker_class: type[Worker], name: str) -> str:
    found = inspect.getattr_static(worker_class, name)
    if name in _CLASS_METHODS:
        arguments = _CLASS_METHODS[name]
        if not isinstance(found, (classmethod, staticmethod)):
            return f"has a {name}() that is no class method"
        function = getattr(worker_class, name)
    else:
        # As it is called, which is with the object.
        arguments = _METHODS[name] + (not isinstance(found, (classmethod, staticmethod)))
        function = getattr(worker_class, name)
    if not callable(function):
        return f"has a {name} that is no method"
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        return f"has a {name}() that is asynchronous or a generator; it is called as a plain function"
    try:
        inspect.signature(function).bind(*range(arguments))
    except TypeError:
        expected = len(inspect.signature(getattr(Worker, name)).parameters) - (name in _METHODS)
        return f"has a {name}() that cannot be called with {expected} argument{'' if expected == 1 else 's'}"
    except ValueError:
        pass  # It is compiled, and does not say how it is called.
    return ""
