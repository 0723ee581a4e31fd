"""The hooks `pre_request` and `post_request`: the application with them around it, and what they see."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyserver.workers.hooks import surviving

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pyserver.workers.app import Application
    from pyserver.workers.hooks import HookedWorker


class HookedRequest:
    """`req` in a hook: the request, as gunicorn has it, out of environ."""

    def __init__(self, environ: Mapping[str, Any]) -> None:
        self._environ = environ
        # The application may change these; a router does.
        self.method: str = environ["REQUEST_METHOD"]
        self.uri: str = environ["RAW_URI"]
        self.query: str = environ["QUERY_STRING"]

    @property
    def path(self) -> str:
        """The path of the target, as it was sent."""
        return self.uri.partition("#")[0].partition("?")[0]

    @property
    def version(self) -> tuple[int, int]:
        """Of HTTP."""
        major, _, minor = self._environ["SERVER_PROTOCOL"].removeprefix("HTTP/").partition(".")
        return int(major), int(minor)

    @property
    def headers(self) -> list[tuple[str, str]]:
        """Names in upper case, and values; those that were sent several times are one."""
        named = {name.removeprefix("HTTP_"): value for name, value in self._environ.items() if name[:5] == "HTTP_"}
        plain = {name: self._environ.get(name) for name in ("CONTENT_TYPE", "CONTENT_LENGTH")}
        fields = {**named, **{name: value for name, value in plain.items() if value}}
        return [(name.replace("_", "-"), value) for name, value in fields.items()]

    @property
    def peer_addr(self) -> tuple[str, int] | str:
        """Address and port of who is connected; "" where it has none."""
        port = self._environ.get("REMOTE_PORT")
        return (self._environ["REMOTE_ADDR"], int(port)) if port else ""

    remote_addr = peer_addr


class HookedResponse:
    """`resp` in a hook: the response, when it is complete."""

    def __init__(self) -> None:
        self.status: str | None = None
        self.headers: list[tuple[str, str]] = []
        self.status_code = 0
        self.sent = 0


class WatchedApplication:
    """An application of PEP 3333 that calls the hooks, for a WatchedGateway.

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
        # By the identity of its environ: what is about to be answered.
        self._open: dict[int, tuple[HookedRequest, dict[str, Any], HookedResponse]] = {}

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        request, response = HookedRequest(environ), HookedResponse()
        self._open[id(environ)] = request, environ, response
        if self._before is not None:
            self._before(self._worker, request)

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            write = start_response(status, headers, exc_info)
            response.status, response.headers = status, headers
            return write

        return self._application(environ, start)

    def note_end(self, environ: dict[str, Any], status: int, sent: int) -> None:
        """The response to the request of `environ` is complete; with its status code and the length of its content."""
        found = self._open.pop(id(environ), None)
        if found is None or self._after is None:
            return
        request, _, response = found
        response.status_code, response.sent = status, sent
        if response.status is None or not response.status.startswith(str(status)):
            # The application has failed, and the answer is ours.
            response.status, response.headers = str(status), []
        with surviving("post_request", self._worker.error_log):
            self._after(self._worker, request, environ, response)
