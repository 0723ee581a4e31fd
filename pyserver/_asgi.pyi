import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pyserver._exchange import Gateway
from pyserver._websocket import Deflate
from pyserver.log import ErrorLog

class ASGIGateway(Gateway):
    """Calls an ASGI application for each request.

    Args:
        application: the callable of ASGI 3.
        loop: the event loop that its tasks run in.
        servers: (host, port) of each listener of the engine, in its order; (path, None) for a Unix socket.
        log: gets what the application raises.
        root_path: where the application is mounted.
        keeps_underscores: whether field names with an underscore reach the application.
        secure_scheme_headers: field names and the values with which a proxy says https.
        sends_files: whether the application may have the server send files.
        deflate: how the messages of WebSockets are compressed, for clients that can; None for not at all.
        max_message: bytes that a message of a WebSocket may have; 0 for no limit.
        max_queue: messages of a WebSocket that may wait for the application.
    """

    application: Callable[..., Any]
    state: dict[str, Any] | None
    """Of the lifespan, copied for each request."""
    def __init__(
        self,
        application: Callable[..., Any],
        loop: asyncio.AbstractEventLoop,
        servers: Sequence[tuple[str, int | None]],
        *,
        log: ErrorLog,
        root_path: str = "",
        keeps_underscores: bool = False,
        secure_scheme_headers: Mapping[str, str] | None = None,
        sends_files: bool = True,
        deflate: Deflate | None = None,
        max_message: int = 16777216,
        max_queue: int = 32,
    ) -> None: ...
