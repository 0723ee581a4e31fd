"""The setting `worker_options`: what a worker class is told beside the settings, judged by what the class knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from pyserver.errors import ConfigError

_TRUE = ("true", "yes", "y", "on", "1")
_FALSE = ("false", "no", "n", "off", "0")

Reader = Callable[[str], object]


class Several(NamedTuple):
    """For an option that may be given several times: what reads each; the value is the list of them."""

    read: Reader


def read_options(given: Mapping[str, object], known: Mapping[str, Reader | Several], whose: str) -> dict[str, object]:
    """The options with their values.

    Args:
        given: of the setting. Text is read, whatever else a config file has is taken as it is.
        known: what reads the text of each; it raises ValueError with a clause that says what the text is not.
        whose: the name of the worker class.

    Raises:
        ConfigError: one is not known, or its text cannot be read.
    """
    return {name: _read(name, value, _reader(name, known, whose)) for name, value in given.items()}


def read_switch(text: str) -> bool:
    """True or false, in the words that settings have for it; raises ValueError."""
    word = text.lower()
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    raise ValueError("neither true nor false")


def _reader(name: str, known: Mapping[str, Reader | Several], whose: str) -> Reader | Several:
    if name in known:
        return known[name]
    if not known:
        raise ConfigError(f"worker_options has {name}, and workers of the class {whose} take no options")
    # Only for a mistake.
    import difflib

    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(sorted(known))}"
    raise ConfigError(f"worker_options has {name}, which {whose} does not know; {hint}")


def _read(name: str, value: object, reader: Reader | Several) -> object:
    try:
        if isinstance(reader, Several):
            return _read_several(value, reader.read)
        if isinstance(value, tuple) and all(isinstance(one, str) for one in value):
            raise ValueError("and may be given only once")
        return _read_text(reader, value) if isinstance(value, str) else value
    except ValueError as error:
        raise ConfigError(f"worker_options: {name} is {value!r}, {error}") from None


def _read_several(value: object, read: Reader) -> object:
    texts = (value,) if isinstance(value, str) else value
    if not isinstance(texts, (tuple, list)):
        return value
    return [_read_text(read, one) if isinstance(one, str) else one for one in texts]


def _read_text(read: Reader, text: str) -> object:
    try:
        return read(text)
    except ValueError as error:
        # What int() and float() say repeats the text.
        name = {int: "not a whole number", float: "not a number"}.get(read) if isinstance(read, type) else None
        raise ValueError(name or str(error)) from None
