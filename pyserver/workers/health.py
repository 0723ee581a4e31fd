"""The health path for a worker that serves ASGI by another server's connections; the engine has its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_CONTENT = (b"content-length", b"transfer-encoding")


class WithHealthPath:
    """An ASGI application, and in its place the answers at the health path.

    Args:
        application: gets all else.
        path: where it is asked for.
        drains: whether the server was told to stop.
    """

    def __init__(self, application: Any, path: str, drains: Callable[[], bool]) -> None:
        self._application = application
        self._path = path
        self._drains = drains

    # Servers look whether it is asynchronous, to tell ASGI 3 from 2.
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and self._is_probe(scope):
            await self._answer(send)
        else:
            await self._application(scope, receive, send)

    def _is_probe(self, scope: Any) -> bool:
        return (
            scope["path"] == scope.get("root_path", "") + self._path
            and scope["method"] in ("GET", "HEAD")
            and not any(name in _CONTENT for name, _ in scope["headers"])
        )

    async def _answer(self, send: Any) -> None:
        status, content = (503, b"draining\n") if self._drains() else (200, b"ok\n")
        fields = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", str(len(content)).encode()),
            (b"cache-control", b"no-store"),
        ]
        await send({"type": "http.response.start", "status": status, "headers": fields})
        await send({"type": "http.response.body", "body": content})
