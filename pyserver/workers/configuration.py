"""`cfg` in a hook, and of a logger: the settings as gunicorn has them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from pyserver.identity import identity_of
from pyserver.log import logger_of
from pyserver.sockets import parse_address

if TYPE_CHECKING:
    from pyserver.log import ErrorLog
    from pyserver.settings.model import Settings


class HookedSetting:
    """One of `cfg.settings`."""

    def __init__(self, name: str, value: object, default: object) -> None:
        self.name = name
        self.value = value
        self.default = default

    def get(self) -> object:
        """What it is."""
        return self.value


class Configuration:
    """`cfg` in a hook: each setting by its name, lists as lists, and what gunicorn computes of them.

    Args:
        settings: all of them.
        log: is told when a hook tries to change one.
    """

    def __init__(self, settings: Settings, log: ErrorLog | None = None) -> None:
        self._settings = settings
        self._log = log

    def __getattr__(self, name: str) -> Any:
        settings = self._settings
        if name.startswith("_") or (name not in settings.rows and name not in settings.absent):
            raise AttributeError(f"there is no setting {name} in this version")
        # A hook that looks at what is not there sees it unset.
        value = getattr(settings, name) if name in settings.rows else settings.absent[name]
        return list(value) if isinstance(value, tuple) else value

    @property
    def settings(self) -> dict[str, HookedSetting]:
        """Each by its name, as it was given."""
        rows, absent = self._settings.rows, self._settings.absent
        given = {name: HookedSetting(name, getattr(self._settings, name), row.default) for name, row in rows.items()}
        return {**given, **{name: HookedSetting(name, value, value) for name, value in absent.items()}}

    def set(self, name: str, value: object) -> None:
        """Nothing: the settings of a server that runs are what its config file says."""
        getattr(self, name.lower())
        if self._log is not None:
            self._log.warning("A hook sets %s to %r, which has no effect; write it in the config file", name, value)

    @property
    def address(self) -> list[tuple[str, int] | str | int]:
        """Where to listen: host and port, the path of a Unix socket, or a descriptor."""
        addresses = [parse_address(text) for text in self._settings.bind]
        return [one.path or (one.descriptor if one.descriptor >= 0 else (one.host, one.port)) for one in addresses]

    @property
    def is_ssl(self) -> bool:
        """Whether TLS is spoken."""
        return bool(self._settings.certfile)

    @property
    def user(self) -> int:
        """The number of the user that workers are."""
        found = identity_of(self._settings)
        return os.geteuid() if found is None else found.uid

    @property
    def group(self) -> int:
        """The number of their group."""
        found = identity_of(self._settings)
        return os.getegid() if found is None else found.gid

    uid, gid = user, group

    @property
    def env(self) -> dict[str, str]:
        """The variables of `raw_env`."""
        return dict(item.partition("=")[::2] for item in self._settings.raw_env)

    @property
    def chdir(self) -> str:
        """The start directory."""
        return str(self._settings.chdir or os.getcwd())

    @property
    def default_proc_name(self) -> str:
        """What the server is called without a name of its own."""
        return str(self._settings.default_proc_name or self._settings.wsgi_app)

    @property
    def proc_name(self) -> str:
        """What the server is called."""
        return str(self._settings.proc_name or self.default_proc_name)

    @property
    def worker_class_str(self) -> str:
        """The worker class by name; that which gunicorn would have where none is given."""
        name, threads = self._settings.worker_class, self._settings.threads
        return ("gthread" if threads > 1 else "sync") if name in ("auto", "sync") else name

    @property
    def worker_class(self) -> type:
        """The worker class."""
        from pyserver.workers import load_worker_class, worker_name

        return load_worker_class(worker_name(self._settings.worker_class, self._settings.threads))

    @property
    def logger_class(self) -> type:
        """The class that logs, or would."""
        from pyserver.loggers import load_logger_class

        return load_logger_class(logger_of(self._settings)[0])
