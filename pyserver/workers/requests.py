"""The hooks `pre_request` and `post_request`: the application with them around it, and what they see."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyserver.workers.hooks import surviving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pyserver.workers.app import Application
    from pyserver.workers.hooks import HookedWorker


# The header fields whose variables have no prefix.
_PLAIN = ("CONTENT_TYPE", "CONTENT_LENGTH")
# What a hook can change of a request → where an application finds it.
_VARIABLES = {
    "method": ("REQUEST_METHOD",),
    "uri": ("RAW_URI", "REQUEST_URI"),
    "query": ("QUERY_STRING",),
    "scheme": ("wsgi.url_scheme",),
}


class HookedRequest:
    """`req` in a hook: the request, as gunicorn has it, out of environ.

    Args:
        environ: of the request.
        scheme: of its URL.
    """

    def __init__(self, environ: Mapping[str, Any], scheme: str) -> None:
        self._environ = environ
        self._fields: list[tuple[str, str]] | None = None
        self._sent_fields: list[tuple[str, str]] = []
        # The application may change these; a router does.
        self.method: str = environ["REQUEST_METHOD"]
        self.uri: str = environ["RAW_URI"]
        self.query: str = environ["QUERY_STRING"]
        self.scheme = scheme
        rest, _, self.fragment = self.uri.partition("#")
        self.path: str = rest.partition("?")[0]
        self._sent_path: str = self.path
        self.version = self._sent_version = _version(environ["SERVER_PROTOCOL"])

    @property
    def headers(self) -> list[tuple[str, str]]:
        """Names in upper case, and values; of WSGI, those that were sent several times are one."""
        if self._fields is None:
            self._fields = self._read_fields()
            self._sent_fields = list(self._fields)
        return self._fields

    @headers.setter
    def headers(self, fields: Iterable[tuple[str, str]]) -> None:
        self._fields = list(fields)

    @property
    def peer_addr(self) -> tuple[str, int] | str:
        """Address and port of who is connected; "" where it has none."""
        port = self._environ.get("REMOTE_PORT")
        return (self._environ["REMOTE_ADDR"], int(port)) if port else ""

    remote_addr = peer_addr

    @property
    def has_other_fields(self) -> bool:
        """Whether a hook has changed the headers."""
        return self._fields is not None and self._fields != self._sent_fields

    @property
    def has_other_path(self) -> bool:
        """Whether a hook has changed the path."""
        return self.path != self._sent_path

    def change(self, environ: dict[str, Any]) -> None:
        """Have the application see what a hook has changed."""
        for name, variables in _VARIABLES.items():
            value = getattr(self, name)
            for variable in variables:
                if environ[variable] != value:
                    environ[variable] = value
        if self.version != self._sent_version:
            environ["SERVER_PROTOCOL"] = f"HTTP/{self.version[0]}.{self.version[1]}"
        if self.has_other_path:
            environ["PATH_INFO"] = unquoted(self.path.removeprefix(environ["SCRIPT_NAME"])).decode("latin-1")
        if self.has_other_fields:
            for variable in [one for one in environ if one.startswith("HTTP_") or one in _PLAIN]:
                del environ[variable]
            put_fields(environ, self.headers)

    def _read_fields(self) -> list[tuple[str, str]]:
        named = {name.removeprefix("HTTP_"): value for name, value in self._environ.items() if name[:5] == "HTTP_"}
        plain = {name: self._environ.get(name) for name in _PLAIN}
        fields = {**named, **{name: value for name, value in plain.items() if value}}
        return [(name.replace("_", "-"), value) for name, value in fields.items()]


def put_fields(environ: dict[str, Any], fields: Iterable[tuple[str, str]]) -> None:
    """Put header fields into environ; the values of a name that comes several times are joined by commas."""
    for name, value in fields:
        key = name.upper().replace("-", "_")
        key = key if key in _PLAIN else f"HTTP_{key}"
        environ[key] = f"{environ[key]},{value}" if key in environ else value


def unquoted(path: str) -> bytes:
    """The path without percent-encoding."""
    # Few hooks change a path.
    from urllib.parse import unquote_to_bytes

    return unquote_to_bytes(path)


def _version(protocol: str) -> tuple[int, int]:
    major, _, minor = protocol.removeprefix("HTTP/").partition(".")
    return int(major), int(minor)


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
        request, response = HookedRequest(environ, environ["wsgi.url_scheme"]), HookedResponse()
        self._open[id(environ)] = request, environ, response
        if self._before is not None:
            self._before(self._worker, request)
            request.change(environ)

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
