"""The logger `gunicorn.error` where the server writes its logs itself: what others log there goes to the error log.

Applications take its handlers and its level for their own loggers. The standard library's logging is imported for
nobody who does not import it: the logger is made when somebody does.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyserver.log import ErrorLog

_OWN = "_pyserver"  # as in glogging
_FORMAT = "%(asctime)s [%(process)d] [%(levelname)s] %(message)s"
_DATE = "[%Y-%m-%d %H:%M:%S %z]"


class _Lent:
    """What there is one of in a process."""

    log: ErrorLog | None = None
    handler: Any = None


def lend(log: ErrorLog) -> None:
    """Have what is logged by `gunicorn.error` go to that log, now and in processes that are forked from this one."""
    _Lent.log = log
    if "logging" in sys.modules:
        _attach()
    elif _Watch not in sys.meta_path:
        sys.meta_path.insert(0, _Watch)


def withdraw() -> None:
    """Leave the loggers to somebody else."""
    _Lent.log = None
    if _Lent.handler is not None:
        import logging

        logging.getLogger("gunicorn.error").removeHandler(_Lent.handler)


def is_access_configured() -> bool:
    """Whether somebody has given the logger `gunicorn.access` filters or handlers."""
    logging = sys.modules.get("logging")
    if logging is None:
        return False
    access = logging.getLogger("gunicorn.access")
    return bool(access.filters or access.handlers)


class _Watch:
    """Among what finds modules: waits for logging to be imported."""

    @classmethod
    def find_spec(cls, name: str, path: Any = None, target: Any = None) -> Any:
        if name != "logging":
            return None
        found = (one.find_spec(name, path, target) for one in sys.meta_path if one is not cls)
        spec = next((one for one in found if one is not None), None)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)  # type: ignore[assignment]
        return spec


class _Loader:
    """Loads logging as its own loader does, and makes the logger."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def exec_module(self, module: Any) -> None:
        module.__loader__ = module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        if _Watch in sys.meta_path:
            sys.meta_path.remove(_Watch)
        if _Lent.log is not None:
            _attach()


def _attach() -> None:
    import logging

    assert _Lent.log is not None
    if _Lent.handler is None:

        class Handler(logging.StreamHandler):  # type: ignore[type-arg]
            """Whoever has it writes to the log that is lent at the time."""

            def emit(self, record: logging.LogRecord) -> None:
                try:
                    if _Lent.log is not None:
                        _Lent.log.take(record.levelno, self.format(record))
                except Exception:
                    self.handleError(record)

        _Lent.handler = Handler()
        _Lent.handler.setFormatter(logging.Formatter(_FORMAT, _DATE))
        setattr(_Lent.handler, _OWN, True)
    errors, access = logging.getLogger("gunicorn.error"), logging.getLogger("gunicorn.access")
    if _Lent.handler not in errors.handlers:
        for handler in [one for one in errors.handlers if hasattr(one, _OWN)]:
            errors.removeHandler(handler)
        errors.addHandler(_Lent.handler)
        errors.propagate = access.propagate = False
        access.setLevel(logging.INFO)
    errors.setLevel(_Lent.log.loglevel)
