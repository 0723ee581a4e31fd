"""The lifespan of an ASGI application: it is told before its first request and after its last one.

Source: the ASGI lifespan protocol 2.0. Imported by workers that have an event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, MutableMapping
from typing import TYPE_CHECKING, Any

from pyserver.errors import BootError, LocalProtocolError

if TYPE_CHECKING:
    from pyserver.log import ErrorLog

_Event = MutableMapping[str, Any]

_LAST_WORD = 1.0  # seconds that an application which has failed may take to raise what its failure was


class Lifespan:
    """The one call of the application that lasts as long as its worker.

    Args:
        application: of ASGI 3.
        log: gets what goes wrong.
        mode: "auto" takes an application that raises for one without a lifespan; "on" does not; "off" tells it nothing.

    Attributes:
        state: what the application leaves for its requests.
    """

    def __init__(self, application: Callable[..., Any], log: ErrorLog, mode: str = "auto") -> None:
        self._application = application
        self._log = log
        self._mode = mode
        self._task: asyncio.Task[None] | None = None
        self._events: asyncio.Queue[_Event] = asyncio.Queue()
        self._answers: asyncio.Queue[_Event] = asyncio.Queue()
        self._awaits = ""  # whose answer is awaited: that of "startup" or of "shutdown"
        self.state: dict[str, Any] = {}

    async def start(self) -> None:
        """Tell the application that it starts, and wait until it has.

        Raises:
            BootError: it says that it has failed; or in the mode "on", it has no lifespan.
        """
        if self._mode == "off":
            return
        self._task = asyncio.create_task(self._run(), name="lifespan")
        answer = await self._told("startup")
        if answer is None:
            self._note_unsupported(self._task)
        elif answer["type"] == "lifespan.startup.failed":
            failure = await self._failure(self._task)
            raise BootError(_in_one_line("the application's startup failed", answer.get("message", ""))) from failure

    async def end(self, seconds: float | None) -> None:
        """Tell the application that it ends, and wait until it has; what goes wrong is logged.

        Args:
            seconds: how long; None for any time.
        """
        if self._task is None or self._task.done():
            return
        try:
            answer = await asyncio.wait_for(self._told("shutdown"), seconds)
        except asyncio.TimeoutError:
            self._log.error("The application's shutdown takes longer than %g s: it is not waited for", seconds)
            self._task.cancel()
            return
        if answer is not None and answer["type"] == "lifespan.shutdown.failed":
            self._log.error(_in_one_line("The application's shutdown failed", answer.get("message", "")))
        elif answer is None:
            try:
                self._task.result()
            except BaseException:
                self._log.exception("The application's shutdown failed")

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        await self._application(scope, self._receive, self._send)

    async def _told(self, what: str) -> _Event | None:
        """The answer to an event; None when the application ends without one."""
        assert self._task is not None
        self._awaits = what
        self._events.put_nowait({"type": f"lifespan.{what}"})
        answer = asyncio.create_task(self._answers.get())
        try:
            await asyncio.wait({self._task, answer}, return_when=asyncio.FIRST_COMPLETED)
            return answer.result() if answer.done() else None
        finally:
            answer.cancel()

    async def _receive(self) -> _Event:
        return await self._events.get()

    async def _send(self, message: _Event) -> None:
        if message["type"] not in (f"lifespan.{self._awaits}.complete", f"lifespan.{self._awaits}.failed"):
            raise LocalProtocolError(
                f"send() was given {message['type']!r} where 'lifespan.{self._awaits}.complete' was expected"
            )
        self._answers.put_nowait(message)

    def _note_unsupported(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if self._mode == "on":
            said = f": {type(error).__name__}: {error}" if error is not None else ""
            raise BootError(_in_one_line("the application has no lifespan, and asgi_lifespan is on", said)) from error
        why = f"it raised {type(error).__name__}: {error}" if error is not None else "it returned"
        self._log.debug("The application has no lifespan: %s", why)
        self._task = None

    async def _failure(self, task: asyncio.Task[None]) -> BaseException | None:
        """What the application raises after it has said that its startup failed, if it does."""
        await asyncio.wait({task}, timeout=_LAST_WORD)
        if not task.done():
            task.cancel()
            return None
        return None if task.cancelled() else task.exception()


def _in_one_line(what: str, message: str) -> str:
    # Frameworks send the whole traceback, whose last line says most; the exception itself follows in the log.
    lines = str(message).strip().splitlines()
    last = lines[-1].lstrip(": ") if lines else ""
    return f"{what}: {last}" if last else what
