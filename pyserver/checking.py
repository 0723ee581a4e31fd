"""What `--check-config` looks at beside the settings themselves. It opens and makes nothing that a server would use."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from pyserver.arbiter.generations import tls_context
from pyserver.errors import EXIT_CONFIG, BootError
from pyserver.identity import become
from pyserver.log import logger_of, try_to_append, try_to_make
from pyserver.sockets import parse_address
from pyserver.workers import load_worker_class, worker_name

if TYPE_CHECKING:
    from pyserver.settings.model import Settings


def check(settings: Settings) -> None:
    """Try what a server would need of the system, and import the application; this process then is the workers' user.

    Raises:
        BootError, ConfigError: what a start would say.
    """
    worker_class = load_worker_class(worker_name(settings.worker_class, settings.threads))
    worker_class.check(settings)
    tls_context(settings)
    named, origin = logger_of(settings)
    if origin:
        # What is imported here is there for the application, too, whose user may not be able to read it.
        from pyserver.trial import check_logger

        check_logger(settings, named, origin)
    for what, path, try_it in _places(settings):
        try:
            try_it(path)
        except OSError as error:
            raise BootError(f"{what}: {error.strerror}", EXIT_CONFIG) from None
    # What is imported to be tried is given no more than it has when it serves.
    become(settings)
    worker_class.load(str(settings.wsgi_app))


def _places(settings: Settings) -> Iterator[tuple[str, str, Callable[[str], None]]]:
    if settings.errorlog != "-":
        yield f"cannot open the error log {settings.errorlog!r}", settings.errorlog, try_to_append
    path = load_worker_class(worker_name(settings.worker_class, settings.threads)).access_path(settings)
    if path and path != "-":
        yield f"cannot open the access log {path}", path, _try_log
    if settings.pidfile:
        yield f"cannot write the pid file {settings.pidfile!r}", settings.pidfile, try_to_make
    for address in map(parse_address, [*settings.bind, *filter(None, [settings.admin])]):
        if address.path:
            yield f"cannot listen on {address}", address.path, try_to_make


def _try_log(path: str) -> None:
    # Of a FIFO the reader would take the end of this for the end of all.
    if not (os.path.exists(path) and stat.S_ISFIFO(os.stat(path).st_mode)):
        try_to_append(path)
