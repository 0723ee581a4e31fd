"""Command-line arguments → what was given. Every flag comes from the table; there is no list of them here.

Not argparse, for two reasons: its messages cannot name the rule that a value broke, and workers would inherit its
memory. As with it, a flag may be given by its beginning, where no other option begins so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pyserver.errors import ConfigError
from pyserver.settings.given import Given, near_miss
from pyserver.settings.model import ROWS
from pyserver.settings.unavailable import UNAVAILABLE

# What is done instead of serving; these are no settings, because they have no value to keep.
ACTIONS = {"-h": "help", "--help": "help", "-v": "version", "--version": "version", "--completion": "completion"}
SHELLS = ("bash", "zsh", "fish")

_ON = {flag: row for row in ROWS.values() for flag in row.flags}
_OFF = {row.negative_flag: row for row in ROWS.values() if row.is_switch}
_WITHOUT_EFFECT = {flag: name for name, row in UNAVAILABLE.items() for flag in row.flags}
_MOST_NAMED = 8  # of the options that a beginning may mean


class CommandLine(NamedTuple):
    """What the arguments say: settings in their order, and an action of `ACTIONS` with its value, or nothing."""

    given: tuple[Given, ...]
    action: str = ""
    shell: str = ""


def read_arguments(arguments: Sequence[str], variable: str = "") -> CommandLine:
    """What `arguments` give.

    Args:
        arguments: without the name of the program.
        variable: the environment variable that they come from, for the origins; empty for the command line.

    Raises:
        ConfigError: for an unknown flag, or a value that is missing or too many.
    """
    where = f" in {variable}" if variable else ""
    given: list[Given] = []
    options_ended = False
    rest = list(reversed(arguments))
    while rest:
        token = rest.pop()
        if options_ended or token == "-" or not token.startswith("-"):
            given.append(_application(token, given, variable or "the command line"))
        elif token == "--":
            options_ended = True
        else:
            flag, value = _split(token)
            flag = _in_full(flag, where)
            if flag in ACTIONS:
                if variable:
                    raise ConfigError(f"{flag}{where}: only the command line can ask for that")
                return _action(flag, value, rest)
            given.append(_option(flag, value, rest, where))
    return CommandLine(_with_items_joined(given))


def _application(spec: str, given: list[Given], origin: str) -> Given:
    for at, earlier in enumerate(given):
        if earlier.origin == origin:
            _refuse_unknown_word(given[:at], str(earlier.raw))
            raise ConfigError(f"{origin}: one application can be served, and {earlier.raw!r} is followed by {spec!r}")
    return Given("wsgi_app", spec, origin)


def _refuse_unknown_word(before: list[Given], spec: str) -> None:
    """Raise ConfigError when what was taken for the application was to be the value of an option that needs none."""
    option = before[-1] if before else None
    if option is None or option.name not in ROWS:
        return
    facts = ROWS[option.name].facts
    if facts.bare and option.raw == facts.bare:
        raise ConfigError(f"{option.origin}: {spec!r} is not one of {', '.join(facts.choices)}")


def _in_full(flag: str, where: str) -> str:
    """The only flag that begins so, or what is given where none does; raises ConfigError where several do."""
    known = {**_WITHOUT_EFFECT, **ACTIONS, **{on: row.name for on, row in _ON.items()}, **{off: off for off in _OFF}}
    if flag in known or not flag.startswith("--"):
        return flag
    meant: dict[str, str] = {}
    for one, name in known.items():
        if one.startswith(flag):
            meant.setdefault(name, one)
    if len(meant) > 1:
        first, others = list(meant.values())[:_MOST_NAMED], len(meant) - _MOST_NAMED
        names = ", ".join(first) + (f" and {others} more" if others > 0 else "")
        raise ConfigError(f"{flag}{where}: more than one option begins so: {names}")
    return next(iter(meant.values()), flag)


def _action(flag: str, value: str | None, rest: list[str]) -> CommandLine:
    action = ACTIONS[flag]
    if action != "completion":
        _refuse_value(flag, value)
        return CommandLine((), action)
    shell = _value(flag, value, rest)
    if shell not in SHELLS:
        raise ConfigError(f"{flag}: {shell!r} is not one of {', '.join(SHELLS)}")
    return CommandLine((), action, shell)


def _option(flag: str, value: str | None, rest: list[str], where: str) -> Given:
    row = _ON.get(flag) or _OFF.get(flag)
    name = row.name if row is not None else _WITHOUT_EFFECT.get(flag)
    if name is None:
        raise ConfigError(f"{flag}{where}: {_why_unknown(flag)}")
    if row.is_switch if row is not None else UNAVAILABLE[name].is_switch:
        _refuse_value(flag + where, value)
        return Given(name, flag not in _OFF, flag + where)
    if value is None and row is not None and row.facts.bare and not (rest and rest[-1].lower() in row.facts.choices):
        # What follows is another option, or the application.
        return Given(name, row.facts.bare, flag + where)
    return Given(name, _value(flag + where, value, rest), flag + where)


def _refuse_value(origin: str, value: str | None) -> None:
    if value is not None:
        raise ConfigError(f"{origin}: the option takes no value, and {value!r} was given")


def _value(origin: str, value: str | None, rest: list[str]) -> str:
    if value is None:
        value = rest.pop() if rest else None
        # "-" is a file and "-1" a number: only what can be an option shows that the value was forgotten.
        if value is None or value.startswith("--") or value in _ON or value in ACTIONS:
            raise ConfigError(f"{origin}: the option needs a value")
    return value


def _split(token: str) -> tuple[str, str | None]:
    if token.startswith("--"):
        flag, separator, value = token.partition("=")
        return flag, value if separator else None
    return token[:2], token[2:].removeprefix("=") if len(token) > 2 else None


def _why_unknown(flag: str) -> str:
    known = [*_ON, *_OFF, *ACTIONS, *_WITHOUT_EFFECT]
    meant = near_miss(flag, known)
    return f"there is no such option; did you mean {meant}?" if meant else "there is no such option; see --help"


def _with_items_joined(given: list[Given]) -> tuple[Given, ...]:
    joined: dict[str, Given] = {}
    for one in given:
        if one.name in ROWS and ROWS[one.name].facts.repeatable:
            items = [each.raw for each in given if each.name == one.name]
            joined[one.name] = Given(one.name, items, one.origin)
        else:
            joined[one.name] = one
    return tuple(joined.values())
