from pyserver.log import ErrorLog

FIELDS: dict[str, tuple[int, str]]
"""What stands between "%(" and ")s": what it prints, and of which field."""
VARIABLES: dict[str, int]
"""The same for "%({name}x)s", by its last letter."""

def compile_format(text: str) -> list[tuple[int, str]]:
    """The steps of a format: pairs of what to print and its text or name.

    Raises:
        ConfigError: it names something that is not in FIELDS.
    """

def check_access_log(path: str | None, format: str) -> None:  # noqa: A002 - as it is compiled
    """Raise ConfigError where an AccessLog could not be made of the two; the file is created when it is missing."""

def step_named(name: str) -> tuple[int, str]:
    """The step for what stands between "%(" and ")s"; ConfigError for an unknown name."""

class AccessLog:
    """One line for each response.

    Args:
        path: a file, which is created when missing; "-" is standard output.
        format: as gunicorn's access_log_format.
        log: where trouble with this log is told, once.

    Raises:
        ConfigError: the format is wrong, or the file cannot be opened.
    """

    def __init__(self, path: str, format: str, log: ErrorLog) -> None: ...  # noqa: A002 - as it is compiled
    @property
    def path(self) -> str:
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
    def reopen(self) -> None:
        """Open the path again, for log rotation; what was gathered goes to the old file."""
    def flush(self) -> None:
        """Write what was gathered."""
