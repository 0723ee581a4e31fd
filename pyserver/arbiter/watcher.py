"""The process that watches source files. It has no part in serving: only while the arbiter lives does it run."""

from __future__ import annotations

import os
import select
import sys
import time
from typing import TYPE_CHECKING

from watchfiles import Change, DefaultFilter
from watchfiles._rust_notify import RustNotify

from pyserver.arbiter.sources import Sources, is_skipped, state_of
from pyserver.arbiter.spawn import set_title
from pyserver.arbiter.watch import Word, decode_words

if TYPE_CHECKING:
    from collections.abc import Iterable

_ARBITER = 0  # the descriptor of the socket to the arbiter
_CHUNK = 65_536
_STEP_MS = 50  # changes that follow each other faster belong together
_BURST_MS = 1_000  # though not for longer than this
_POLL_MS = 300
# File systems take the time from a clock that ticks a few hundred times a second.
_TICK_NS = 20_000_000

# What editors leave beside the files they save.
_is_no_scratch = DefaultFilter(ignore_dirs=())


def main() -> None:
    """Watch until the arbiter closes its end of the socket, or dies."""
    engine, since_ns, name = sys.argv[2:5]
    # A listener that the server was started with is open for every program it starts.
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    set_title("watcher", name)
    _Watch(polls=engine == "poll" or _has_to_poll(), since_ns=int(since_ns)).run()


class _Arbiter:
    """What the arbiter says. `is_set` makes it an event, one that ends the wait for changes."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._poll.register(_ARBITER, select.POLLIN)
        self._pending = b""

    def is_set(self, within_ms: int = 0) -> bool:
        """Whether it has said something, or is gone."""
        return bool(self._poll.poll(within_ms))

    def tell(self, word: Word, text: str) -> None:
        """Say something to it."""
        data = word.encoded(text)
        while data:
            data = data[os.write(_ARBITER, data) :]

    def take(self) -> list[tuple[Word, str]] | None:
        """What it has said; None when it is gone."""
        data = os.read(_ARBITER, _CHUNK)
        if not data:
            return None
        words, self._pending = decode_words(self._pending + data)
        return words


class _Poller:
    """Looks at the files again and again, with the interface of RustNotify.

    watchfiles can do that too, but compares times in whole seconds: it misses the second of two saves.
    """

    def __init__(self, sources: Sources, directories: Iterable[str]) -> None:
        self._sources = sources
        self._directories = list(directories)
        self._seen = self._look()

    def watch(self, burst_ms: int, step_ms: int, _timeout_ms: int, arbiter: _Arbiter) -> set[tuple[int, str]] | str:
        """What has changed, once there is a pause in it; "stop" when the arbiter has said something."""
        changes: set[tuple[int, str]] = set()
        for _ in range(burst_ms // step_ms):
            while not changes:
                if arbiter.is_set(_POLL_MS):
                    return "stop"
                changes = self._changes()
            arbiter.is_set(step_ms)
            more = self._changes()
            if not more:
                break
            changes |= more
        return changes

    def _changes(self) -> set[tuple[int, str]]:
        before, self._seen = self._seen, self._look()
        paths = {path for path, _ in before.items() ^ self._seen.items()}
        return {(Change.modified if path in before else Change.added, path) for path in paths}

    def _look(self) -> dict[str, object]:
        return {path: state for directory in self._directories for path, state in self._sources.look(directory)}


class _Watch:
    """Args: whether to look at the files again and again, and since when nobody has."""

    def __init__(self, *, polls: bool, since_ns: int) -> None:
        self._polls = polls
        self._since_ns = since_ns
        self._arbiter = _Arbiter()
        self._sources = Sources()
        self._watched: set[str] = set()
        self._told: dict[str, tuple[int, int] | None] = {}
        self._notify: RustNotify | _Poller

    def run(self) -> None:
        if not self._obey():
            return
        self._begin()
        changed = self._missed()
        while True:
            self._tell(changed)
            raw = self._notify.watch(_BURST_MS, _STEP_MS, 0, self._arbiter)
            if isinstance(raw, str):
                # With these changes come some that were noticed and not returned.
                if not self._obey():
                    return
                self._begin()
                changed = self._missed()
            else:
                changed = self._judged(raw)

    def _tell(self, changed: Iterable[str]) -> None:
        for path in sorted(changed):
            state = _state_of(path)
            # What happens as the watch begins is both noticed and found.
            if state is None or self._told.get(path) != state:
                self._told[path] = state
                self._arbiter.tell(Word.CHANGED, path)

    def _obey(self) -> bool:
        """Take what the arbiter has said; false when it is gone."""
        words = self._arbiter.take()
        known = {
            Word.TREE: self._sources.trees,
            Word.DIRECTORY: self._sources.directories,
            Word.EXTRA: self._sources.extras,
        }
        for word, text in words or ():
            known[word].add(text)
        return words is not None

    def _begin(self) -> None:
        """Watch what there is now."""
        self._watched = self._sources.to_watch()
        while not self._polls:
            try:
                # Not recursively: it is us who know which directories are to be left out.
                self._notify = RustNotify(sorted(self._watched), False, False, _POLL_MS, False, True)
                break
            except FileNotFoundError:
                # One was removed as we looked.
                self._watched = self._sources.to_watch()
            except (OSError, RuntimeError) as error:
                self._polls = True
                self._arbiter.tell(Word.TROUBLE, f"the system does not tell of changes ({error}), so files are polled")
        if self._polls:
            self._notify = _Poller(self._sources, self._watched)
        if self._sources.is_cut:
            some = f"only {len(self._watched)} directories are watched; start in the application's own"
            self._arbiter.tell(Word.TROUBLE, some)
        self._arbiter.tell(Word.WATCHING, f"directories watched: {len(self._watched)}")

    def _missed(self) -> set[str]:
        """What has changed while nothing was watched."""
        since_ns, self._since_ns = self._since_ns, time.time_ns() - _TICK_NS
        return set(filter(self._counts, self._sources.files(self._watched, since_ns)))

    def _judged(self, raw: set[tuple[int, str]]) -> set[str]:
        """Those changes that count, when directories come and go as well."""
        self._since_ns = time.time_ns() - _TICK_NS
        changed = {path for _, path in raw if self._counts(path) and not os.path.isdir(path)}
        before = self._watched
        if any(self._is_another_tree(kind, path) for kind, path in raw):
            self._begin()
            # What was moved with its directory has not changed itself.
            changed |= before - self._watched
            changed |= set(filter(self._counts, self._sources.files(self._watched - before)))
            changed |= self._missed()
        return changed

    def _is_another_tree(self, kind: int, path: str) -> bool:
        if os.path.isdir(path):
            return (kind == Change.added or path not in self._watched) and not is_skipped(path)
        return path in self._watched

    def _counts(self, path: str) -> bool:
        return self._sources.counts(path) and _is_no_scratch(Change.modified, path)


def _state_of(path: str) -> tuple[int, int] | None:
    try:
        return state_of(path)
    except OSError:
        return None  # It has gone.


def _has_to_poll() -> bool:
    """As watchfiles decides it where it is used as a whole."""
    asked = os.environ.get("WATCHFILES_FORCE_POLLING", "").lower()
    if asked:
        return asked not in ("false", "disable", "disabled")
    return "microsoft-standard" in os.uname().release.lower()
