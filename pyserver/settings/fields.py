"""What one setting is: the facts declared with it, and how a raw value becomes a value of its type.

A raw value is text (command line, environment) or an object (Python and TOML files); both are read by `Row.read`, so
that a value is accepted or refused alike wherever it was written.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Mapping
from types import FunctionType, MappingProxyType, MethodType
from typing import Any, ClassVar, NamedTuple

from pyserver.settings.quantities import read_duration, read_float, read_int, read_size

Hook = Callable[..., object]
Value = str | int | float | bool | None | type | tuple[str, ...] | Mapping[str, str] | Mapping[str, object] | Hook

_QUOTED_LENGTH = 120
_TRUE = ("true", "yes", "y", "on", "1")
_FALSE = ("false", "no", "n", "off", "0")


class Facts(NamedTuple):
    """What is declared with a setting beside its name, type and default.

    Attributes:
        help: sentences; the first says what it does, the rest why.
        section: the heading it stands under in `--help` and in the docs.
        flags: spellings beside the one that follows from the name; the first long one is shown in messages.
        unit: "s" or "bytes", which may be given as 1m30s and 512M; empty for counts and text.
        minimum, maximum: inclusive bounds of a number.
        choices: the only words a text may be; compared without regard to case.
        required: whether empty text or an empty list is refused.
        repeatable: on the command line each occurrence adds one item, and commas separate in variables only.
        environment: a variable that platforms set, and the text its value is put into; weaker than the config file.
        check: called with each text or item; raises ValueError with a sentence that names the rule that was broken.
        bare: what the flag stands for without a value; empty where it needs one.
        read: makes the value of a raw one, where the type alone does not say how; raises ValueError like `check`.
        metavar: what stands for the value in `--help`.
        source: the specification or the server whose meaning it has.
        reload: who must take a changed value up: "worker", "listener", "arbiter" or "never".
    """

    help: str
    section: str
    flags: tuple[str, ...] = ()
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    required: bool = False
    repeatable: bool = False
    environment: tuple[str, str] | None = None
    check: Callable[[str], object] | None = None
    bare: str = ""
    read: Callable[[object], Value] | None = None
    metavar: str = ""
    source: str = ""
    reload: str = "worker"


class Row(NamedTuple):
    """One setting as the sources and the reference see it."""

    name: str
    kind: str
    default: Value
    facts: Facts

    @property
    def flags(self) -> tuple[str, ...]:
        """Every spelling of the flag: those declared, then the name with hyphens; none for a hook."""
        if self.is_hook:
            return ()
        derived = "--" + self.name.replace("_", "-")
        return self.facts.flags if derived in self.facts.flags else (*self.facts.flags, derived)

    @property
    def negative_flag(self) -> str:
        """The flag that turns a boolean off; empty for other types."""
        return "--no-" + self.name.replace("_", "-") if self.is_switch else ""

    @property
    def variable(self) -> str:
        """The environment variable of this setting; empty for a hook."""
        return "" if self.is_hook else "PYSERVER_" + self.name.upper()

    @property
    def is_switch(self) -> bool:
        """Whether the flag stands alone instead of taking a value."""
        return self.kind == "bool"

    @property
    def is_hook(self) -> bool:
        """Whether the value is a function, so that only a file or a keyword can give it."""
        return self.kind == "Hook | None"

    @property
    def takes_empty_text(self) -> bool:
        """Whether empty text is a value. Where it is not, an empty variable counts as one that is not set."""
        return self.kind not in ("bool", "int", "float") and not self.facts.choices and not self.facts.required

    def raw_of(self, text: str) -> object:
        """What the text of a variable stands for: several items can only be told there by commas."""
        return [item for item in text.split(",") if item.strip()] if self._has_items else text

    @property
    def _has_items(self) -> bool:
        return self.facts.repeatable and isinstance(self.default, tuple)

    def read(self, raw: object) -> Value:
        """The value of this setting that `raw` stands for.

        Raises:
            ValueError: with a sentence that names the setting, the value and the rule.
        """
        if raw is None and (self.is_switch or isinstance(self.default, (tuple, Mapping))):
            return self.default  # As gunicorn has it.
        try:
            value = self._reader(raw)
            return self._checked(value)
        except ValueError as error:
            raise ValueError(f"{self.name} is {quoted(raw)}, {error}") from None

    @property
    def _reader(self) -> Callable[[object], Value]:
        if self.facts.read is not None:
            return self.facts.read
        if self._has_items:
            return _read_items
        return _UNIT_READERS.get(self.facts.unit) or _READERS[self.kind]

    def _checked(self, value: Value) -> Value:
        facts = self.facts
        if facts.required and not value:
            raise ValueError("which is empty")
        if isinstance(value, (int, float)):
            if facts.minimum is not None and value < facts.minimum:
                raise ValueError(f"below its minimum {facts.minimum}")
            if facts.maximum is not None and value > facts.maximum:
                raise ValueError(f"above its maximum {facts.maximum}")
        if isinstance(value, str) and facts.choices:
            value = value.lower()
            if value not in facts.choices:
                raise ValueError(f"not one of {', '.join(facts.choices)}")
        if facts.check is not None:
            for item in (value,) if isinstance(value, str) else value if isinstance(value, tuple) else ():
                _check(item, facts.check)
        return value


def setting(default: Value, **facts: Any) -> Any:
    """A field of a `Table`; the keywords are those of `Facts`."""
    # The table knows the name and the kind.
    return Row("", "", default, Facts(**facts))


class Table:
    """A frozen record whose fields are made by `setting`: given by keyword, and otherwise the default.

    Not a dataclass: `dataclasses` brings `inspect` along, and a third of the time to the first answer was theirs.

    Attributes:
        rows: the fields by name, in their order; those of a base class come first.
    """

    rows: ClassVar[dict[str, Row]] = {}

    def __init_subclass__(cls) -> None:
        own = {name: row for name, row in vars(cls).items() if isinstance(row, Row)}
        # The annotation is text because of the postponed evaluation in the modules that have tables.
        kinds = cls.__annotations__
        cls.rows = cls.rows | {name: row._replace(name=name, kind=kinds[name]) for name, row in own.items()}
        for name in own:
            delattr(cls, name)

    def __init__(self, **given: Any) -> None:
        for name in given:
            if name not in self.rows:
                raise TypeError(f"{type(self).__name__} has no field {name!r}")
        vars(self).update({name: row.default for name, row in self.rows.items()} | given)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    __hash__ = None  # type: ignore[assignment]  # Nothing keeps them by value.

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{name} cannot be changed: {type(self).__name__} is frozen")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{name} cannot be changed: {type(self).__name__} is frozen")


def read_account(raw: object) -> int | str | None:
    """A user or a group: a name as text, a number as an integer; raises ValueError."""
    if isinstance(raw, int) and not isinstance(raw, bool):
        return raw
    text = None if raw is None else _read_text(raw)
    if text == "":
        # Of a variable that is not set, perhaps: workers of a server that root has started would be root.
        raise ValueError("which is empty; leave it out where workers shall be what the server is")
    return int(text) if text is not None and text.isascii() and text.isdecimal() else text


def read_class(raw: object) -> str:
    """The name of a class, or the class itself, as a config file in Python can have it; raises ValueError."""
    raw = _called(raw)
    if isinstance(raw, type):
        return f"{raw.__module__}:{raw.__qualname__}"
    # The way in which distributions named the classes of gunicorn.
    return _read_text(raw).removeprefix("egg:gunicorn#")


def read_errorlog(raw: object) -> str:
    """A file; for None, as of gunicorn where there shall be no error log, the one that keeps nothing."""
    return os.devnull if raw is None else _read_text(raw)


def read_level(raw: object) -> str:
    """A level of the log, also by a name that other loggers have for it; raises ValueError."""
    word = _read_text(raw).lower()
    return {"warn": "warning", "fatal": "critical", "trace": "debug", "notset": "debug"}.get(word, word)


def read_logger_class(raw: object) -> str | type | None:
    """A class, or text that names one; raises ValueError."""
    raw = _called(raw)
    return raw if isinstance(raw, type) else _read_optional_text(raw)


def read_tree(raw: object) -> Mapping[str, object]:
    """A mapping with anything in it, or such a one as JSON; raises ValueError."""
    if isinstance(raw, str):
        # Nobody but who writes it on a command line needs the module.
        import json

        try:
            raw = json.loads(raw) if raw.strip() else {}
        except ValueError as error:
            raise ValueError(f"which is no JSON: {error}") from None
    if not isinstance(raw, Mapping):
        raise ValueError("not a mapping")
    return MappingProxyType(dict(raw))


def read_bits(raw: object) -> int:
    """Permissions: an integer, or text in octal or with a prefix; raises ValueError."""
    if isinstance(raw, str):
        with contextlib.suppress(ValueError):
            # gunicorn's rule: the prefix tells the base, and a leading zero is octal, which Python has given up.
            text = raw.strip()
            return int(text, 8 if text.isdecimal() and text.startswith("0") else 0)
        raise ValueError("not a number such as 0o22, 022 or 18")
    return read_int(raw)


def quoted(raw: object) -> str:
    """A value for a message, in one line and not too long."""
    # A repr may fail (it is the operator's object) or be as long as a file; the line stays readable.
    try:
        # Where a function lies in memory helps nobody.
        text = f"the function {raw.__name__}" if isinstance(raw, FunctionType) else " ".join(repr(raw).split())
    except Exception as error:  # Any class: the object is not ours, and the refusal must still be told.
        text = f"an object whose repr raises {type(error).__name__}"
    return text if len(text) <= _QUOTED_LENGTH else text[:_QUOTED_LENGTH] + "…"


def _check(item: str, rule: Callable[[str], object]) -> None:
    try:
        rule(item)
    except ValueError as error:
        raise ValueError(f"but {error}") from None


def _called(raw: object) -> object:
    """What a function gives that stands in the place of a class, as gunicorn has it."""
    if not isinstance(raw, (FunctionType, MethodType)):
        return raw
    try:
        return raw()
    except Exception as error:  # Any class: the code is the operator's.
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValueError(f"which is called for a class and raises {reason}") from None


def _read_bool(raw: object) -> bool:
    word = raw.strip().lower() if isinstance(raw, str) else raw
    if isinstance(word, bool):
        return word
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    raise ValueError("neither true nor false")


def _read_text(raw: object) -> str:
    if not isinstance(raw, str):
        raise ValueError("not text")
    if "\0" in raw:
        raise ValueError("text with a NUL in it")
    try:
        os.fsencode(raw)
    except UnicodeEncodeError:
        raise ValueError("text that no file name can have") from None
    return raw.strip()


def _read_optional_text(raw: object) -> str | None:
    return None if raw is None else _read_text(raw) or None


def _read_items(raw: object) -> tuple[str, ...]:
    # gunicorn's rule: one text is one item, whatever is in it, and anything else that has texts a list.
    if isinstance(raw, str):
        return (_read_text(raw),) if raw.strip() else ()
    if isinstance(raw, (bytes, Mapping)) or not isinstance(raw, Iterable):
        raise ValueError("neither text nor a list of texts")
    return tuple(map(_read_text, raw))


def _read_texts(raw: object) -> tuple[str, ...]:
    # gunicorn's rule for the others: one text is a list with commas.
    if isinstance(raw, str):
        return tuple(item.strip() for item in _read_text(raw).split(",") if item.strip())
    if not isinstance(raw, (list, tuple)):
        raise ValueError("neither text nor a list of texts")
    return tuple(_read_text(item) for item in raw)


def _read_mapping(raw: object) -> Mapping[str, str]:
    if isinstance(raw, str):
        pairs = [item.partition("=") for item in _read_texts(raw)]
        if any(not separator for _, separator, _ in pairs):
            raise ValueError("not NAME=VALUE pairs separated by commas")
        return MappingProxyType({name.strip(): value.strip() for name, _, value in pairs})
    if not isinstance(raw, Mapping):
        raise ValueError("not a mapping of text to text")
    return MappingProxyType({_read_text(name): _read_text(value) for name, value in raw.items()})


def _read_options(raw: object) -> Mapping[str, object]:
    # What the values mean is known to who takes them. A name that is given several times has all its texts.
    if isinstance(raw, Mapping):
        return MappingProxyType({_option_name(name): value for name, value in raw.items()})
    found: dict[str, object] = {}
    for item in _read_texts(raw):
        name, separator, value = item.partition("=")
        if not separator or not name:
            raise ValueError("not of the form NAME=VALUE")
        name, value = _option_name(name), value.strip()
        earlier = found.get(name, ())
        found[name] = (*(earlier if isinstance(earlier, tuple) else (earlier,)), value) if name in found else value
    return MappingProxyType(found)


def _option_name(raw: object) -> str:
    return _read_text(raw).replace("-", "_")


# By the annotation of the field, which is text because of the postponed evaluation in model.py.
_READERS: dict[str, Callable[[object], Value]] = {
    "bool": _read_bool,
    "int": read_int,
    "float": read_float,
    "str": _read_text,
    "str | None": _read_optional_text,
    "tuple[str, ...]": _read_texts,
    "Mapping[str, str]": _read_mapping,
    "Mapping[str, object]": _read_options,
}
_UNIT_READERS: dict[str, Callable[[object], Value]] = {"bytes": read_size, "s": read_duration}
