"""The uvicorn worker: the real uvicorn serves an ASGI application on our listeners, and the arbiter looks after it.

Neither uvicorn nor asyncio is imported with this module, which the arbiter imports, too.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
from typing import TYPE_CHECKING, Any

from pyserver._scoreboard import Cell
from pyserver.errors import BootError, ConfigError
from pyserver.identity import ask_as_worker
from pyserver.sockets import scheme_of
from pyserver.workers.base import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pyserver.settings.model import Settings
    from pyserver.workers.app import Application
    from pyserver.workers.broken import Page
    from pyserver.workers.options import Reader, Several

_LAST_SECONDS = 0.1  # that requests have to end when the worker quits
_BETWEEN_COUNTS = 1.0  # seconds


class UvicornWorker(Worker):
    """Serves with uvicorn's own server and protocols; its signal handlers and its supervisor are left out."""

    interfaces = ("asgi",)

    @classmethod
    def check(cls, settings: Settings) -> None:
        """Raise ConfigError where uvicorn is missing, or does not take its options or serve at all binds."""
        cls.check_protocols(settings)
        if importlib.util.find_spec("uvicorn") is None:
            raise ConfigError("worker_class uvicorn needs the package uvicorn, which is missing: pip install uvicorn")
        schemes = {scheme_of(text) for text in settings.bind}
        if (settings.certfile or settings.sni) and "http" in schemes and schemes != {"http"}:
            raise ConfigError("uvicorn speaks TLS at every bind or at none: http:// cannot be beside others")
        if settings.worker_options:
            # In a process of its own: it is asyncio and ten megabytes more, which are not for the arbiter.
            trouble = ask_as_worker(settings, lambda: _trouble_with(settings), is_apart=True)
            if trouble:
                raise ConfigError(trouble)

    @classmethod
    def known_options(cls) -> Mapping[str, Reader | Several]:
        """All that uvicorn has and that is not ours to say."""
        from pyserver.workers.uvicorn_config import known_options

        return known_options()

    @classmethod
    def stand_in(cls, page: Page) -> Application:
        """What answers every request with the page, by ASGI."""
        from pyserver.workers.broken import asgi_application

        return asgi_application(page)

    def boot(self) -> None:
        """Load the application and complete its startup."""
        import asyncio

        from uvicorn.server import Server

        from pyserver.workers.counting import CountedApplication
        from pyserver.workers.uvicorn_config import build_config, direct_logs

        super().boot()
        config = build_config(self.settings, self.options, self.application)
        self._reopen_access_log = direct_logs(self.settings, self.options, self.log)
        self._loop = (config.get_loop_factory() or asyncio.new_event_loop)()
        asyncio.set_event_loop(self._loop)
        try:
            config.load()
        except SystemExit:
            raise BootError("uvicorn cannot be set up; what it has logged says why") from None
        if self.contexts is not None:
            if len(set(self.contexts)) > 1:
                raise BootError("uvicorn speaks TLS at every bind or at none: http:// cannot be beside others")
            config.ssl = self.contexts[0]
        self._watched = CountedApplication(config.loaded_app, self.counts)
        config.loaded_app = self._watched
        if self.settings.health_path:
            from pyserver.workers.health import WithHealthPath

            config.loaded_app = WithHealthPath(self._watched, self.settings.health_path, self._drains)
        self._server = Server(config)
        self._server.lifespan = config.lifespan_class(config)
        self._loop.run_until_complete(self._start())

    def watch(self, fd: int, callback: Callable[[], None]) -> None:
        """Have the event loop call back."""
        self._loop.add_reader(fd, callback)

    def unwatch(self, fd: int) -> None:
        """Have it call back no more."""
        self._loop.remove_reader(fd)

    def run(self) -> None:
        """Let uvicorn serve until told to go."""
        import asyncio

        self._main = self._loop.create_task(self._serve())
        self._count_connections()
        with contextlib.suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._main)
        tasks = self._server.server_state.tasks
        if tasks:
            for task in tasks:
                task.cancel()
            self._loop.run_until_complete(asyncio.wait(tasks, timeout=_LAST_SECONDS))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())

    def _drains(self) -> bool:
        return self.scoreboard.read(self.slot, Cell.DRAINS) != 0

    def drain(self) -> None:
        """Have uvicorn accept no more, finish its requests and tell the application."""
        self._server.should_exit = True

    def quit(self) -> None:
        """Cut off what runs; the application's shutdown is not waited for."""
        cut = len(self._server.server_state.tasks)
        if cut:
            self.report_abandoned(cut)
            self.log.warning("Worker (pid: %s) quits: %s requests are cut", os.getpid(), cut)
        self._main.cancel()

    def reopen(self) -> None:
        """Open both logs anew."""
        super().reopen()
        self._reopen_access_log()

    async def _start(self) -> None:
        # Clients may come while it starts, and it takes the fields that all responses have from here.
        await self._server.on_tick(0)
        try:
            await self._server.startup(sockets=self.listeners)
        except SystemExit:
            raise BootError("the application's startup failed") from self._watched.failure

    async def _serve(self) -> None:
        await self._server.main_loop()
        await self._server.shutdown(sockets=self.listeners)

    def _count_connections(self) -> None:
        self.counts.show_connections(len(self._server.server_state.connections))
        self._loop.call_later(_BETWEEN_COUNTS, self._count_connections)


def _trouble_with(settings: Settings) -> str:
    """Why uvicorn does not take its options, in one line; asked in a process of its own."""
    from pyserver.workers.uvicorn_config import build_config

    async def application(scope: Any, receive: Any, send: Any) -> None:
        """Stands in for the one that is not loaded yet."""

    try:
        config = build_config(settings, UvicornWorker._read_options(settings), application)
        config.load()
        config.get_loop_factory()
    except ConfigError as error:
        return str(error)
    except (Exception, SystemExit) as error:
        # Whatever uvicorn raises, the operator is told that this setting is why.
        what = " ".join(str(error).split())
        return f"worker_options: uvicorn does not take them: {type(error).__name__}: {what}"
    return ""
