from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Protocol

from pyserver._exchange import Gateway
from pyserver.log import ErrorLog

class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...

_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]

class Input:
    """wsgi.input over content that is all there; PEP 3333, "Input and Error Streams"."""

    def __init__(self, content: bytes = b"") -> None: ...
    def read(self, size: int | None = -1) -> bytes:
        """At most `size` bytes; all that are left without one. b"" at the end."""
    def readline(self, size: int | None = -1) -> bytes:
        """The next line with its LF, or what is left; at most `size` bytes of it."""
    def readlines(self, hint: int | None = -1) -> list[bytes]:
        """The lines that are left; with a positive `hint`, no more after the one that reaches so many bytes."""
    def __iter__(self) -> Input: ...
    def __next__(self) -> bytes: ...

class FileWrapper:
    """wsgi.file_wrapper: a file-like object as an iterable, sent by the kernel where it can be; PEP 3333.

    Args:
        filelike: has read(), perhaps close() and fileno().
        block_size: bytes of a block, where it has to be read.
    """

    def __init__(self, filelike: _Readable, block_size: int = 8192) -> None: ...
    @property
    def filelike(self) -> _Readable:
        """What is wrapped."""
    @property
    def block_size(self) -> int:
        """Bytes of a block."""
    def __iter__(self) -> FileWrapper: ...
    def __next__(self) -> bytes: ...
    def close(self) -> None:
        """Close what is wrapped, if it can be closed."""

class ErrorStream:
    """wsgi.errors: text straight into the error log; PEP 3333, "Input and Error Streams"."""

    def __init__(self, log: ErrorLog) -> None: ...
    def write(self, text: str) -> int:
        """Write `text` as it is."""
    def writelines(self, lines: Iterable[str]) -> None:
        """Write each of `lines`."""
    def flush(self) -> None:
        """Nothing is held back."""

class StartResponse:
    """start_response and the write callable of one request; PEP 3333, "The start_response() Callable"."""

    def begin(
        self, status: str, headers: list[tuple[str, str]], exc_info: _ExcInfo | None = None
    ) -> Callable[[bytes], None]:
        """Take status and header fields, and return the write callable.

        Raises:
            LocalProtocolError: it was called before, or too late, or with what cannot be sent.
        """
    def write(self, block: bytes) -> None:
        """Send a block of content at once; LocalProtocolError when the response is complete."""

class WSGIGateway(Gateway):
    """Calls a WSGI application for each request.

    Args:
        application: the callable of PEP 3333.
        servers: (SERVER_NAME, SERVER_PORT) of each listener of the engine, in its order; ("", "") for a Unix socket,
            which has those of Host, or else localhost and 80.
        log: gets what the application raises, and what it writes to wsgi.errors.
        software: SERVER_SOFTWARE.
        root_path: where the application is mounted; becomes SCRIPT_NAME and is taken off PATH_INFO.
        multithread, multiprocess: wsgi.multithread, wsgi.multiprocess.
        keeps_underscores: whether field names with an underscore reach the application.
        sends_files: whether wsgi.file_wrapper is answered by the kernel.
        secure_scheme_headers: field names and the values with which a proxy says https.
        variables: more of environ, the same for every request.
        before_leaving: called where a request comes to an end in a child that the application has forked, which then
            ends.
    """

    application: Callable[..., Any]
    def __init__(
        self,
        application: Callable[..., Any],
        servers: Sequence[tuple[str, str]],
        *,
        log: ErrorLog,
        software: str = "pyserver",
        root_path: str = "",
        multithread: bool = False,
        multiprocess: bool = False,
        keeps_underscores: bool = False,
        sends_files: bool = True,
        secure_scheme_headers: Mapping[str, str] | None = None,
        variables: Mapping[str, object] | None = None,
        before_leaving: Callable[[], object] | None = None,
    ) -> None: ...

class WatchedGateway(WSGIGateway):
    """A gateway that tells its application when a response is complete; its arguments are those of WSGIGateway.

    The application has a method note_end(environ, status, sent): the status code, and how many bytes the content has.
    """
