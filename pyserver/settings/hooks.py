"""The hooks: functions of the operator's that the server calls as it lives, one field each with what it is called with.

Names, arguments and moments are gunicorn's, so that the hooks of a gunicorn.conf.py work as they are. They have no flag
and no variable: only a config file, or `pyserver.run`, can give a function.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from pyserver.settings.fields import Hook, Table, setting


def _called_with(*parameters: str, fewest: int | None = None) -> dict[str, Any]:
    """The facts of a hook that is called with these; the last may be left out down to `fewest`."""
    signature = f"({', '.join(parameters)})"

    def read(raw: object) -> Hook | None:
        hook = _imported(raw) if isinstance(raw, str) else raw
        if hook is None:
            return None
        if not callable(hook):
            raise ValueError("not a function")
        # Only here and below, so that nobody without hooks has it in memory.
        import inspect

        if inspect.iscoroutinefunction(hook):
            raise ValueError("but it is asynchronous, and a hook is not awaited")
        count = _fitting_count(hook, len(parameters), fewest or len(parameters))
        if not count:
            raise ValueError(f"but it is called with {signature}")
        return hook if count == len(parameters) else _with_fewer(hook, count)

    return {"section": "Hooks", "metavar": signature, "read": read, "source": "gunicorn"}


def _fitting_count(hook: Callable[..., object], most: int, fewest: int) -> int:
    """With how many positional arguments a hook can be called, at most `most`; 0 when not even with `fewest`."""
    import inspect

    try:
        signature = inspect.signature(hook)
    except (TypeError, ValueError):
        return most  # Of what is written in C that cannot always be told.
    for count in range(most, fewest - 1, -1):
        try:
            signature.bind(*[None] * count)
        except TypeError:
            continue
        return count
    return 0


def _with_fewer(hook: Callable[..., object], count: int) -> Callable[..., object]:
    """The hook as one that is called with all arguments and takes the first of them."""

    @functools.wraps(hook)
    def taking_all(*arguments: object) -> object:
        return hook(*arguments[:count])

    return taking_all


def _imported(path: str) -> object:
    """What `package.module.function` names; gunicorn's rule, and what a TOML file needs."""
    module, _, name = path.replace(":", ".").rpartition(".")
    import importlib

    try:
        return getattr(importlib.import_module(module), name)
    except (Exception, SystemExit) as error:  # Any class: the code is the operator's.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"which cannot be imported: {reason}") from None


class Hooks(Table):
    """The part of `Settings` that is called instead of looked at, in the order of a server's life."""

    on_starting: Hook | None = setting(
        None, **_called_with("server"), reload="never",
        help="In the arbiter, before anything is opened. When it raises, nothing starts.",
    )
    when_ready: Hook | None = setting(
        None, **_called_with("server"), reload="never",
        help="In the arbiter, when it listens and before the first worker is forked.",
    )
    nworkers_changed: Hook | None = setting(
        None, **_called_with("server", "new_value", "old_value"), reload="arbiter",
        help="In the arbiter, when another number of workers is wanted. "
        "The first time, before on_starting, the old value is None.",
    )
    on_reload: Hook | None = setting(
        None, **_called_with("server"), reload="arbiter",
        help="In the arbiter, when the settings of a reload are accepted and none of their workers is forked yet.",
    )
    pre_fork: Hook | None = setting(
        None, **_called_with("server", "worker"),
        help="In the arbiter, before each worker is forked.",
    )
    post_fork: Hook | None = setting(
        None, **_called_with("server", "worker"),
        help="In the worker, before the application is loaded. When it raises, the worker has failed to boot.",
    )
    post_worker_init: Hook | None = setting(
        None, **_called_with("worker"),
        help="In the worker, when the application is loaded. When it raises, the worker has failed to boot.",
    )
    pre_request: Hook | None = setting(
        None, **_called_with("worker", "req"),
        help="In the worker, before the application is called. When it raises, the answer is 500.",
    )
    post_request: Hook | None = setting(
        None, **_called_with("worker", "req", "environ", "resp", fewest=2),
        help="In the worker, when the response is complete. It may take the first two, three or all four.",
    )
    worker_int: Hook | None = setting(
        None, **_called_with("worker"),
        help="In the worker, when INT or QUIT tells it to leave at once.",
    )
    worker_abort: Hook | None = setting(
        None, **_called_with("worker"),
        help="In the worker, when ABRT ends it, because its request is over the timeout.",
    )
    worker_exit: Hook | None = setting(
        None, **_called_with("server", "worker"),
        help="In the worker, as its last step.",
    )
    child_exit: Hook | None = setting(
        None, **_called_with("server", "worker"),
        help="In the arbiter, after a worker has ended, however it did.",
    )
    ssl_context: Hook | None = setting(
        None, **_called_with("config", "default_ssl_context_factory"),
        help="In the arbiter, when the settings are loaded, for each certificate that they name: makes the "
        "ssl.SSLContext of it, perhaps from the one that the factory makes of the settings.",
    )
    pre_exec: Hook | None = setting(
        None, **_called_with("server"), reload="arbiter",
        help="In the process that USR2 has made, before it becomes the new arbiter.",
    )
    on_exit: Hook | None = setting(
        None, **_called_with("server"), reload="arbiter",
        help="In the arbiter, as its last step, when on_starting has been called.",
    )

    @property
    def has_hooks(self) -> bool:
        """Whether there is anything to call."""
        return any(getattr(self, name) is not None for name in Hooks.rows)
