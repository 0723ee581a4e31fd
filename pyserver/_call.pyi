import asyncio
from collections.abc import Iterator
from types import CodeType, FrameType, TracebackType
from typing import Any

from pyserver._exchange import Stream
from pyserver.errors import RequestEnded

class Done:
    """An awaitable that waits for nothing, and is None. Its methods are those of a coroutine."""

    def __await__(self) -> Iterator[None]: ...
    def send(self, value: object) -> None: ...
    def throw(self, kind: Any, value: Any = None, traceback: TracebackType | None = None) -> None: ...
    def close(self) -> None: ...

class Waiting:
    """Something that a call is awaited for. Its methods are those of a coroutine."""

    def __await__(self) -> Iterator[Any]: ...
    def send(self, value: object) -> Any: ...
    def throw(self, kind: Any, value: Any = None, traceback: TracebackType | None = None) -> None: ...
    def close(self) -> None: ...

class Receiving(Waiting):
    """The next event, awaited."""

class Sending(Waiting):
    """Room for more, awaited."""

class RequestTask(asyncio.Task[None]):
    """The task of a request."""

class UnbegunTask(RequestTask):
    """The task of a request in its first step, before anybody has used it for anything but its identity."""

def begin_task(task: RequestTask) -> None:
    """Make it a task like any other: the loop runs what is left of its request."""

class Call(Stream):
    """A request that an application has, and the coroutine that its task runs."""

    @property
    def task(self) -> asyncio.Task[None] | None:
        """That it runs in; None when the application has returned."""
    @property
    def cr_frame(self) -> FrameType | None:
        """Where the application is, for who prints the stack of the task."""
    @property
    def cr_await(self) -> object:
        """What the application waits for."""
    @property
    def cr_suspended(self) -> bool:
        """Whether it has begun, and waits."""
    @property
    def cr_code(self) -> CodeType | None:
        """The code of the application."""
    @property
    def cr_running(self) -> bool:
        """Whether it has its turn."""
    @property
    def number(self) -> int:
        """Of its row in the worker's slot on the scoreboard; -1 when it has none."""
    @property
    def is_websocket(self) -> bool:
        """Whether it is a WebSocket, or would be one."""
    @property
    def busy_since_ns(self) -> int:
        """When it began, monotonic, nanoseconds; 0 when it is no request under way any more."""
    @property
    def alive_ns(self) -> int:
        """When it began, or gave its client something last; monotonic, nanoseconds."""
    def end(self, reason: RequestEnded) -> None:
        """Cancel the application, and answer with `reason` when nothing was answered yet."""
    def leave(self) -> None:
        """Tell it that the worker would like to leave."""
    def send(self, value: object) -> Any:
        """Have the application go on until it waits for something."""
    def throw(self, kind: Any, value: Any = None, traceback: TracebackType | None = None) -> Any:
        """Raise an exception in the application, where it waits."""
    def close(self) -> None:
        """End the application without another turn of its own."""
    def receive(self) -> Receiving:
        """The receive of ASGI."""
    def answer_with(self, message: dict[str, Any]) -> Done | Sending:
        """The send of ASGI."""
