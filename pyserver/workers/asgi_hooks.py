"""The hooks `pre_request` and `post_request` around an ASGI application. Imported where there are such hooks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyserver.workers.hooks import surviving
from pyserver.workers.requests import HookedRequest, put_fields, unquoted

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    from pyserver.workers.app import Application
    from pyserver.workers.hooks import HookedWorker

    _Event = MutableMapping[str, Any]


class ASGIResponse:
    """`resp` in a hook of an ASGI application, where gunicorn has the number as its status."""

    def __init__(self) -> None:
        self.status = 500  # unless the application says otherwise
        self.headers: list[tuple[str, str]] = []
        self.sent = 0

    @property
    def status_code(self) -> int:
        """The same."""
        return self.status

    def note(self, event: _Event) -> None:
        """The application has sent this."""
        if event["type"] == "http.response.start":
            self.status = event["status"]
            self.headers = [(_text(name), _text(value)) for name, value in event.get("headers", ())]
        elif event["type"] == "http.response.body":
            self.sent += len(event.get("body", b""))


class ASGIRequest(HookedRequest):
    """`req` in a hook of an ASGI application.

    Args:
        scope: of the request.
        environ: what there would be of it with WSGI.
    """

    def __init__(self, scope: _Event, environ: dict[str, Any]) -> None:
        super().__init__(environ, scope["scheme"])
        self._received = scope["headers"]

    def change_scope(self, scope: _Event) -> None:
        """Have the application see what a hook has changed."""
        changed = {
            "method": self.method,
            "scheme": self.scheme,
            "query_string": _encoded(self.query),
            "http_version": f"{self.version[0]}.{self.version[1]}",
        }
        scope.update({name: value for name, value in changed.items() if scope[name] != value})
        if self.has_other_path:
            scope["raw_path"] = _encoded(self.path)
            scope["path"] = unquoted(self.path).decode("utf-8", "replace")
        if self.has_other_fields:
            scope["headers"] = [(_encoded(name.lower()), _encoded(value)) for name, value in self.headers]

    def _read_fields(self) -> list[tuple[str, str]]:
        return [(_text(name).upper(), _text(value)) for name, value in self._received]


class WatchedASGIApplication:
    """An application of ASGI 3 that calls the hooks for each request; WebSockets have none, as with gunicorn.

    Args:
        application: what is served.
        worker: what a hook gets as `worker`.
        before, after: the hooks; one may be None.
    """

    def __init__(
        self,
        application: Application,
        worker: HookedWorker,
        before: Callable[..., object] | None,
        after: Callable[..., object] | None,
    ) -> None:
        self._application = application
        self._worker = worker
        self._before = before
        self._after = after

    async def __call__(
        self, scope: _Event, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
    ) -> None:
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        # Made before the application changes the scope, as routers do.
        environ = _environ(scope)
        request, response = ASGIRequest(scope, environ), ASGIResponse()

        async def sending(event: _Event) -> None:
            await send(event)
            response.note(event)

        try:
            if self._before is not None:
                self._before(self._worker, request)
                request.change_scope(scope)
            await self._application(scope, receive, sending)
        finally:
            if self._after is not None:
                with surviving("post_request", self._worker.log):
                    self._after(self._worker, request, environ, response)


def _environ(scope: _Event) -> dict[str, Any]:
    """What a hook may want of environ; a request that has no WSGI application has no more."""
    query = scope["query_string"].decode("latin-1")
    target = scope["raw_path"].decode("latin-1")
    client = scope["client"] or ("", 0)
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope["method"],
        "RAW_URI": f"{target}?{query}" if query else target,
        "PATH_INFO": scope["path"],
        "QUERY_STRING": query,
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "REMOTE_ADDR": client[0],
    }
    if client[1]:
        environ["REMOTE_PORT"] = str(client[1])
    put_fields(environ, ((_text(name), _text(value)) for name, value in scope["headers"]))
    return environ


def _encoded(text: str) -> bytes:
    return text.encode("latin-1")


def _text(value: bytes | str) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value
