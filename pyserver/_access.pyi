from collections.abc import Callable, Iterable
from typing import Any

from pyserver._statsd import Statsd
from pyserver.log import ErrorLog
from pyserver.syslog import Syslog

FIELDS: dict[str, tuple[int, str, str, str]]
"""What stands between "%(" and ")s": what it prints, of which field, its name in JSON, and what it is."""
VARIABLES: dict[str, tuple[int, str]]
"""The same for "%({name}x)s", by its last letter: what it prints, and what it is."""
JSON_FIELDS: tuple[str, ...]
"""The members of a line in JSON, where the format names none."""

def compile_format(text: str) -> list[tuple[int, str]]:
    """The steps of a format: pairs of what to print and its text or name.

    Raises:
        ConfigError: it names something that is not in FIELDS.
    """

def is_json(format: str) -> bool:  # noqa: A002 - as it is compiled
    """Whether lines are JSON objects: the format is json, or json: and the names of their members."""

def matches(path: bytes, pattern: bytes) -> bool:
    """Whether a path is meant: the pattern's own or one below it, or where it has * or ?, one that these stand for."""


class RequestIds:
    """Gives each request an id: that of its field X-Request-ID, where the peer is a trusted proxy, or else a new one.

    Args:
        is_told: whether the application gets it.
    """

    def __init__(self, is_told: bool) -> None: ...
    @property
    def is_told(self) -> bool:
        """Whether the application gets it."""

class AccessFile:
    """The file of the access log, and what workers have gathered for it, in memory that is there when they are not.

    Made before the first fork; pages of the memory that were never written to take none.

    Args:
        path: a file, which is created when missing; "-" is standard output, and None no file at all.
        slots: how many workers there can be at the same time.

    Raises:
        ConfigError: the file cannot be opened.
        MemoryError: the memory cannot be mapped.
    """

    def __init__(self, path: str | None, slots: int = 1) -> None: ...
    @property
    def path(self) -> str | None:
        """As it was given."""
    @property
    def slots(self) -> int:
        """How many workers there can be at the same time."""
    def is_at(self, path: str, slots: int) -> bool:
        """Whether it is the file that the path names now, for as many workers."""
    def close(self) -> None:
        """For a process that has no use for it."""
    def reopen(self, log: ErrorLog) -> bool:
        """Open the path again, for log rotation; whether that has led to another file.

        When it cannot be opened, the log goes on with the file it has, and `log` is told.
        """
    def bury(self, slot: int) -> int:
        """Write the lines that a dead worker has left, and make its slot free; how many could not be written."""

class AccessLog:
    """One line for each response.

    Args:
        path: a file, which is created when missing; "-" is standard output, and None no file at all.
        format: as gunicorn's access_log_format, or json.
        log: where trouble with this log is told, once.
        exclude: paths without a line, see `matches`; but for responses of 500 and more.
        sample: which part of the lines is written; those of responses of 400 and more, and slow ones, all are.
        slow: from how many seconds on a response is slow.
        worker: its number.
        statsd: is told of each response.
        syslog: gets each line, as well.
        file: that of the path, which is open already; its slot is the next argument.

    Raises:
        ConfigError: the format is wrong, or the file cannot be opened.
    """

    def __init__(
        self,
        path: str | None,
        format: str,  # noqa: A002 - as it is compiled
        log: ErrorLog,
        *,
        exclude: Iterable[str] = (),
        sample: float = 1.0,
        slow: float = 1.0,
        worker: int = 0,
        statsd: Statsd | None = None,
        syslog: Syslog | None = None,
        file: AccessFile | None = None,
        slot: int = 0,
    ) -> None: ...
    @property
    def path(self) -> str | None:
        """Where the lines go."""
    @property
    def dropped(self) -> int:
        """How many lines could not be written."""
    @property
    def wants_response_head(self) -> bool:
        """Whether the format names a field of the response."""
    @property
    def wants_environ(self) -> bool:
        """Whether the format names a variable of environ."""
    @property
    def wants_phases(self) -> bool:
        """Whether the format tells when the response began."""
    @property
    def wants_ids(self) -> bool:
        """Whether the format names the id of the request."""
    def reopen(self) -> None:
        """Open the path again, for log rotation; what was gathered goes to the old file."""
    def flush(self) -> None:
        """Write what was gathered."""
    def leave_to_parent(self) -> None:
        """In a child of the process that gathers: leave alone what that one has gathered."""

class LoggerAccess(AccessLog):
    """Hands each response to a logger of Python's, which makes the line.

    Args:
        put: called with the head of the request and of the response, environ (either None where there is none), the
            address of the peer, the status, the length of the content and how long it took, nanoseconds; has to
            return at once.
        others: as those of AccessLog.
    """

    def __init__(
        self,
        put: Callable[[tuple[bytes, bytes | None, dict[str, Any] | None, str, int, int, int]], object],
        log: ErrorLog,
        *,
        exclude: Iterable[str] = (),
        sample: float = 1.0,
        slow: float = 1.0,
        statsd: Statsd | None = None,
    ) -> None: ...
