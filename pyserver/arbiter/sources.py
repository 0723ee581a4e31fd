"""Which directories have to be watched, and which files in them count. For development, in the watcher's process."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections import deque
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_MOST_DIRECTORIES = 10_000
_SKIPPED = frozenset({"__pycache__", "node_modules", "site-packages", "dist-packages"})
_WILD = frozenset("*?[")


@dataclasses.dataclass(slots=True)
class Sources:
    """The source files of an application, by where they lie and how they are named.

    Attributes:
        trees: directories whose Python files count, with all below them but what is no source: hidden directories,
            virtual environments, installed packages.
        directories: those whose own Python files count, and nothing below them.
        extras: absolute paths of files and directories, or patterns of paths, that count whatever they are named. `**`
            stands for any number of directories.
    """

    trees: set[str] = dataclasses.field(default_factory=set)
    directories: set[str] = dataclasses.field(default_factory=set)
    extras: set[str] = dataclasses.field(default_factory=set)
    is_cut: bool = False  # there are too many directories to watch all of them

    def to_watch(self) -> set[str]:
        """The directories there are now in which something could count."""
        trees = [*self.trees]
        found = {path for path in self.directories if os.path.isdir(path)}
        for extra in self.extras:
            base, is_tree = _base(extra)
            if is_tree and os.path.isdir(base):
                trees.append(base)
            else:
                found.add(_existing(base))
        for path in _below(trees):
            if len(found) >= _MOST_DIRECTORIES:
                self.is_cut = True
                break
            found.add(path)
        return found

    def counts(self, path: str) -> bool:
        """Whether a change of the file means a reload."""
        if path in self.extras:
            return True
        name = os.path.basename(path)
        if name.startswith("."):
            # Editors keep locks and copies under such names, next to the file.
            return any(_is_hidden(extra) and _matches(path, extra) for extra in self.extras)
        return name.endswith(".py") or any(_matches(path, extra) for extra in self.extras)

    def files(self, directories: Iterable[str], since_ns: int = 0) -> Iterator[str]:
        """The files in these directories that count and were written, renamed or otherwise changed since then.

        Args:
            since_ns: nanoseconds of the system's clock, as file systems use.
        """
        for directory in directories:
            for path, state in self.look(directory):
                if state is not None and state[0] >= since_ns:
                    yield path

    def look(self, directory: str) -> Iterator[tuple[str, tuple[int, int] | None]]:
        """What is in a directory: the files that count, with what a change of them changes; directories with None."""
        for entry in _entries(directory):
            # What a broken link names is neither.
            with contextlib.suppress(OSError):
                if entry.is_dir():
                    yield entry.path, None
                elif self.counts(entry.path):
                    yield entry.path, state_of(entry.path)


def state_of(path: str) -> tuple[int, int]:
    """When a file was changed last, and its size; OSError when it is not there."""
    status = os.stat(path)
    return status.st_ctime_ns, status.st_size


def is_skipped(directory: str) -> bool:
    """Whether a directory below a tree, and all below it, holds no source of the application."""
    name = os.path.basename(directory)
    return name.startswith(".") or name in _SKIPPED or os.path.exists(os.path.join(directory, "pyvenv.cfg"))


def _below(trees: Sequence[str]) -> Iterator[str]:
    """The directories of the trees, the uppermost first; each once, although links may lead to it again."""
    waiting = deque(path for path in trees if os.path.isdir(path))
    seen = set()
    while waiting:
        directory = waiting.popleft()
        try:
            status = os.stat(directory)
        except OSError:
            continue
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        yield directory
        waiting.extend(entry.path for entry in _entries(directory) if entry.is_dir() and not is_skipped(entry.path))


def _entries(directory: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            return list(entries)
    except OSError:
        return []  # It has gone, or is not for us to read.


def _base(extra: str) -> tuple[str, bool]:
    """The directory in which all that `extra` names lies, and whether it may lie deeper than in that directory."""
    if os.path.isdir(extra):
        return extra, True
    head, wild = extra, []
    while _WILD & set(head):
        head, name = os.path.split(head)
        wild.append(name)
    if not wild:
        return os.path.dirname(extra), False
    return head, len(wild) > 1 or wild == ["**"]


def _existing(directory: str) -> str:
    """The directory, or where it would have to be made."""
    while not os.path.isdir(directory):
        directory = os.path.dirname(directory)
    return directory


def _is_hidden(extra: str) -> bool:
    return os.path.basename(extra).startswith(".")


def _matches(path: str, extra: str) -> bool:
    if not _WILD & set(extra):
        return path.startswith(os.path.join(extra, ""))
    return _parts_match(path.split(os.sep), extra.split(os.sep))


def _parts_match(parts: list[str], patterns: list[str]) -> bool:
    if not patterns:
        return not parts
    if patterns[0] == "**":
        return any(_parts_match(parts[at:], patterns[1:]) for at in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], patterns[0]) and _parts_match(parts[1:], patterns[1:])
