"""Completion of the command line in a shell, from the table of the settings: `pyserver --completion bash`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from pyserver.settings.command_line import ACTIONS, SHELLS
from pyserver.settings.fields import Row
from pyserver.settings.model import ROWS
from pyserver.workers import WORKERS

_FILES, _DIRECTORIES = "files", "directories"
_LONGEST = 80


class _Option(NamedTuple):
    """What a shell is told about one setting or action.

    Attributes:
        flags: its spellings.
        summary: the beginning of its help.
        value: what stands for its value, "" where it takes none.
        words: those that the value may be; or one of the two kinds of paths.
        repeats: whether it may be given several times.
    """

    flags: tuple[str, ...]
    summary: str
    value: str = ""
    words: tuple[str, ...] | str = ()
    repeats: bool = False


def render_completion(shell: str) -> str:
    """The script for "bash", "zsh" or "fish"."""
    return _RENDERERS[shell](list(_options()))


def _options() -> Iterator[_Option]:
    for action in dict.fromkeys(ACTIONS.values()):
        flags = tuple(flag for flag, name in ACTIONS.items() if name == action)
        if action == "completion":
            yield _Option(flags, "Print the script that completes options in a shell", "SHELL", SHELLS)
        else:
            yield _Option(flags, f"Show the {action}")
    for row in ROWS.values():
        if row.is_switch:
            yield _Option(row.flags, _summary(row))
            yield _Option((row.negative_flag,), f"Turn {row.name} off")
        elif not row.is_hook:
            yield _Option(row.flags, _summary(row), row.facts.metavar or "VALUE", _words(row), row.facts.repeatable)


def _summary(row: Row) -> str:
    text = row.facts.help
    # As much as a list has room for.
    for end in (". ", "; ", ": "):
        text = text.partition(end)[0] if len(text) > _LONGEST else text
    return text.rstrip(".")


def _words(row: Row) -> tuple[str, ...] | str:
    if row.name == "worker_class":
        return tuple(WORKERS)
    if row.facts.choices:
        return row.facts.choices
    return {"FILE": _FILES, "DIRECTORY": _DIRECTORIES, "DIRECTORIES": _DIRECTORIES}.get(row.facts.metavar, ())


def _bash(options: list[_Option]) -> str:
    cases = [f"        {'|'.join(one.flags)}) {_bash_value(one)} return ;;" for one in options if one.value]
    flags = " ".join(flag for one in options for flag in one.flags)
    return f"""\
_pyserver() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}}
    COMPREPLY=()
    # The "=" of --option=value is a word of its own.
    if [[ $word == = ]]; then
        word= before=${{COMP_WORDS[COMP_CWORD-1]}}
    elif [[ $before == = ]]; then
        before=${{COMP_WORDS[COMP_CWORD-2]}}
    fi
    case $before in
{chr(10).join(cases)}
    esac
    if [[ $word == -* ]]; then
        COMPREPLY=($(compgen -W "{flags}" -- "$word"))
    fi
}}
complete -F _pyserver pyserver
"""


def _bash_value(option: _Option) -> str:
    if option.words == _FILES:
        generated = "-f"
    elif option.words == _DIRECTORIES:
        generated = "-d"
    elif option.words:
        generated = f'-W "{" ".join(option.words)}"'
    else:
        return ""
    names = "compopt -o filenames 2>/dev/null; " if isinstance(option.words, str) else ""
    return f'{names}COMPREPLY=($(compgen {generated} -- "$word"));'


def _zsh(options: list[_Option]) -> str:
    specs = [f"    {_zsh_spec(one, flag)} \\" for one in options for flag in one.flags]
    return "\n".join(["#compdef pyserver", "_arguments \\", *specs, "    '*:application:'", ""])


def _zsh_spec(option: _Option, flag: str) -> str:
    # Of another spelling, too, once is enough.
    others = "*" if option.repeats else f"({' '.join(option.flags)})"
    text = "".join(f"\\{c}" if c in "[]:\\" else c for c in option.summary)
    form = f"{flag}=" if option.value and flag.startswith("--") else f"{flag}+" if option.value else flag
    spec = f"{others}{form}[{text}]"
    if option.value:
        action = {_FILES: "_files", _DIRECTORIES: "_files -/"}.get(str(option.words), f"({' '.join(option.words)})")
        spec += f":{option.value.lower().replace(':', ' ')}:{action if option.words else ''}"
    return "'" + spec.replace("'", "'\\''") + "'"


def _fish(options: list[_Option]) -> str:
    return "".join(f"complete -c pyserver {_fish_spec(one)}\n" for one in options)


def _fish_spec(option: _Option) -> str:
    flags = " ".join(f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}" for flag in option.flags)
    text = option.summary.replace("\\", "\\\\").replace("'", "\\'")
    value = ""
    if option.words == _FILES:
        value = " -rF"
    elif option.words == _DIRECTORIES:
        value = " -xa '(__fish_complete_directories)'"
    elif option.value:
        value = f" -xa '{' '.join(option.words)}'" if option.words else " -x"
    return f"{flags}{value} -d '{text}'"


_RENDERERS: dict[str, Callable[[list[_Option]], str]] = {"bash": _bash, "zsh": _zsh, "fish": _fish}
