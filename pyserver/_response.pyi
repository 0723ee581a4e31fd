from collections.abc import Iterable

def format_response_head(
    status: str,
    fields: Iterable[tuple[str, str]],
    *,
    known: int = -1,
    to_head_request: bool = False,
    minor: int = 1,
    persists: bool = True,
    unix_time: int = 0,
    server: bytes = b"",
    date: bool = True,
) -> tuple[bytes, bool]:
    """A response head as the engine writes it, and whether the connection persists after it.

    Args:
        status: "200 OK", as PEP 3333 has it.
        fields: a list of (name, value) pairs of native strings.
        known: the length of the content if it is known, else -1.

    Raises:
        TypeError, ValueError: the application broke a rule; see start_response_head().
    """
