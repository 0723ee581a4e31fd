"""Which worker classes there are, and how a name given with `-k` becomes a class."""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, NamedTuple

from pyserver.errors import ConfigError
from pyserver.workers.base import Worker

__all__ = ["CHOICES", "WORKERS", "Kind", "Worker", "load_worker_class", "worker_name"]

if TYPE_CHECKING:
    from collections.abc import Iterator


class Kind(NamedTuple):
    """A built-in worker class.

    Attributes:
        target: "module:Class".
        unheeded: settings that have no effect with it.
        aliases: other names; those that gunicorn has.
        interfaces: what the application may be; that of the class, which is not imported for a hint.
    """

    target: str
    unheeded: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    interfaces: tuple[str, ...] = ("wsgi",)


# What uvicorn has not, does in its own way, or is told as an option.
_NOT_UVICORNS = (
    "threads", "worker_connections", "slow_request", "request_head_timeout", "request_body_timeout", "write_timeout",
    "limit_request_body", "request_buffer", "response_buffer", "response_spool", "tmp_upload_dir",
    "secure_scheme_headers", "forwarder_headers", "forwarded_fields", "forwarded_hops", "proxy_protocol",
    "proxy_allow_ips", "proxy_protocol_required", "header_map", "sendfile", "access_log_format", "access_log_exclude",
    "access_log_sample", "request_id", "poller", "pre_request", "post_request", "casefold_http_method",
    "permit_obsolete_folding",
)  # fmt: skip

# What an application that takes content as it comes, and waits for its clients itself, has no use for.
_NOT_ASGIS = (
    "threads", "worker_options", "request_buffer", "response_buffer", "response_spool", "tmp_upload_dir",
)  # fmt: skip

# What is about event loops and WebSockets.
_NOT_WSGIS = (
    "worker_options", "asgi_loop", "asgi_lifespan", "lifespan_timeout", "ws_ping_interval", "ws_ping_timeout",
    "websocket_max_message_size", "ws_max_queue", "ws_per_message_deflate",
)  # fmt: skip

WORKERS = {
    "auto": Kind(
        "pyserver.workers.auto:AutoWorker",
        unheeded=("worker_options",),
        aliases=("tornado",),
        interfaces=("wsgi", "asgi"),
    ),
    "sync": Kind("pyserver.workers.sync:SyncWorker", unheeded=("worker_connections", *_NOT_WSGIS)),
    "threaded": Kind(
        "pyserver.workers.threaded:ThreadedWorker",
        unheeded=("worker_connections", *_NOT_WSGIS),
        aliases=("gthread",),
    ),
    "gevent": Kind(
        "pyserver.workers.gevent:GeventWorker",
        unheeded=("threads", *_NOT_WSGIS),
        aliases=("gevent_wsgi", "gevent_pywsgi"),
    ),
    "asgi": Kind(
        "pyserver.workers.asgi:ASGIWorker",
        unheeded=_NOT_ASGIS,
        interfaces=("asgi",),
    ),
    "uvicorn": Kind("pyserver.workers.uvicorn:UvicornWorker", unheeded=_NOT_UVICORNS, interfaces=("asgi",)),
}

# Dotted paths that stand in files written for gunicorn → what they stand for where gunicorn is not installed.
_GUNICORNS = {
    "gunicorn.workers.sync.SyncWorker": "sync",
    "gunicorn.workers.gthread.ThreadWorker": "threaded",
    "gunicorn.workers.ggevent.GeventWorker": "gevent",
    "gunicorn.workers.ggevent.GeventPyWSGIWorker": "gevent",
    "gunicorn.workers.gasgi.ASGIWorker": "asgi",
    "uvicorn.workers.UvicornWorker": "uvicorn",
    "uvicorn.workers.UvicornH11Worker": "uvicorn",
    "uvicorn_worker.UvicornWorker": "uvicorn",
    "uvicorn_worker.UvicornH11Worker": "uvicorn",
}

# What a class that chooses itself may be; on the scoreboard, their numbers.
CHOICES = ("", "sync", "threaded", "asgi")

_GROUP = "pyserver.workers"
_ALIASES = {alias: name for name, kind in WORKERS.items() for alias in kind.aliases}


def worker_name(worker_class: str, threads: int) -> str:
    """The name of the class that the settings `worker_class` and `threads` choose; of an alias, what it stands for."""
    worker_class = _ours(worker_class)
    if worker_class == "sync" and threads > 1:
        return "threaded"
    return _ALIASES.get(worker_class, worker_class)


def load_worker_class(name: str) -> type[Worker]:
    """The class of that name.

    Args:
        name: a key or an alias of `WORKERS`, an entry point of the group `pyserver.workers`, or a dotted path:
            `package.module:Class` or `package.module.Class`.

    Raises:
        ConfigError: there is none of that name or more than one, it cannot be imported, or it is no `Worker`; or in
            its module's own words what it wants.
    """
    name = _ours(name)
    built_in = WORKERS.get(_ALIASES.get(name, name))
    found = [built_in.target] if built_in is not None else []
    found += dict.fromkeys(target for entry, target in _entry_points() if entry == name)
    if len(found) > 1:
        raise ConfigError(f"worker_class {name!r} is ambiguous, it is the name of: {', '.join(found)}")
    if not found and "." not in name and ":" not in name:
        known = sorted({*WORKERS, *(entry for entry, _ in _entry_points())})
        raise ConfigError(f"worker_class {name!r} is not known; there are: {', '.join(known)}")
    return _imported(name, found[0] if found else name)


def _ours(name: str) -> str:
    ours = _GUNICORNS.get(name.replace(":", "."))
    if ours is None:
        return name
    from importlib.util import find_spec

    return ours if find_spec("gunicorn") is None else name


def _imported(name: str, target: str) -> type[Worker]:
    module_name, colon, class_name = target.partition(":")
    if not colon:
        module_name, _, class_name = target.rpartition(".")
    try:
        worker_class = getattr(importlib.import_module(module_name), class_name)
    except ConfigError:
        raise
    except ModuleNotFoundError as error:
        # What is missing further down is only not there in the gunicorn that is.
        if error.name not in ("gunicorn", "gunicorn.workers"):
            raise ConfigError(f"worker_class {name!r} cannot be loaded: ModuleNotFoundError: {error}") from error
        reason = "it was written for gunicorn, which is missing: pip install gunicorn"
        raise ConfigError(f"worker_class {name!r} cannot be loaded: {reason}") from error
    except (Exception, SystemExit) as error:
        # Whatever a module of someone else raises, the operator is told that this setting is why.
        raise ConfigError(f"worker_class {name!r} cannot be loaded: {type(error).__name__}: {error}") from error
    if _is_gunicorns(worker_class):
        from pyserver.workers.gunicorn import adapted

        return adapted(worker_class)
    if not (isinstance(worker_class, type) and issubclass(worker_class, Worker)):
        raise ConfigError(f"worker_class {name!r} is not a subclass of pyserver.workers.Worker")
    if not target.startswith("pyserver."):
        # Ours are known to be sound.
        from pyserver.workers.soundness import flaw_of

        flaw = flaw_of(worker_class)
        if flaw:
            raise ConfigError(f"worker_class {name!r} {flaw}")
    return worker_class


def _is_gunicorns(worker_class: object) -> bool:
    base = sys.modules.get("gunicorn.workers.base")
    return base is not None and isinstance(worker_class, type) and issubclass(worker_class, base.Worker)


def _entry_points() -> Iterator[tuple[str, str]]:
    """Names and targets of the group, from all installed distributions.

    Not by importlib.metadata: it imports email, zipfile and csv, which every worker would then carry.
    """
    for directory in dict.fromkeys(map(os.path.abspath, sys.path)):
        try:
            names = os.listdir(directory)
        except OSError:
            continue
        for name in sorted(names):
            if name.endswith((".dist-info", ".egg-info")):
                yield from _group_of(os.path.join(directory, name, "entry_points.txt"))


def _group_of(path: str) -> Iterator[tuple[str, str]]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = [line.strip() for line in file]
    except OSError:
        return
    section = ""
    for line in lines:
        if line.startswith("["):
            section = line.strip("[]").strip()
        elif section == _GROUP and "=" in line and not line.startswith(("#", ";")):
            entry, _, target = line.partition("=")
            yield entry.strip(), target.partition("[")[0].strip()
