"""What was measured of one server under load, second by second, and the file that it is kept in."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any


class RecordingError(Exception):
    """A file does not hold what was measured; says which one, and in which line."""


@dataclass
class Second:
    """One second of a run.

    Args:
        at: since the epoch, whole seconds.
        quick: how long each request took that waits for nothing, milliseconds.
        waiting: the same of those that wait for something in the application.
        names: how many there were, by what was asked for.
        failures: how many failed, by kind.
        processor: what the server's processes have used since they were started, seconds.
        memory: what they hold, by share (PSS), bytes.
    """

    at: int
    quick: list[float] = field(default_factory=list)
    waiting: list[float] = field(default_factory=list)
    names: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    processor: float | None = None
    memory: int | None = None

    @property
    def requests(self) -> int:
        return len(self.quick) + len(self.waiting)


@dataclass
class Recording:
    """A run: what was served by what, its seconds, and when it was told to reload, seconds since the epoch."""

    facts: dict[str, Any]
    seconds: list[Second]
    reloaded_at: float

    @property
    def server(self) -> str:
        return str(self.facts["server"])

    @property
    def demo(self) -> str:
        return str(self.facts["demo"])

    def failures(self) -> Counter[str]:
        """How many requests failed, by kind."""
        total: Counter[str] = Counter()
        for second in self.seconds:
            total.update(second.failures)
        return total

    def names(self) -> Counter[str]:
        """How many requests there were, by what was asked for."""
        total: Counter[str] = Counter()
        for second in self.seconds:
            total.update(second.names)
        return total

    def requests(self) -> int:
        return sum(second.requests for second in self.seconds)

    def quick(self) -> list[float]:
        """How long the requests took that wait for nothing, milliseconds, in order of length."""
        return sorted(took for second in self.seconds for took in second.quick)

    def processor_per_request(self) -> float | None:
        """Processor time of all of the server's processes for each request, seconds; None when it was not seen."""
        seen = [second for second in self.seconds if second.processor is not None]
        if len(seen) < 2:
            return None
        first, last = seen[0], seen[-1]
        answered = sum(second.requests for second in self.seconds if first.at < second.at <= last.at)
        assert first.processor is not None
        assert last.processor is not None
        return (last.processor - first.processor) / answered if answered else None

    def processor_rates(self) -> list[tuple[int, float]]:
        """The same for each second, with its instant."""
        seen = [second for second in self.seconds if second.processor is not None]
        return [
            (after.at, ((after.processor or 0) - (before.processor or 0)) / after.requests)
            for before, after in itertools.pairwise(seen)
            if after.requests and after.at == before.at + 1
        ]


class SecondsWriter:
    """Appends a line to a file for each second in which something was noted."""

    def __init__(self, path: Path) -> None:
        self._file: IO[str] = path.open("w", encoding="utf-8")
        self._second: Second | None = None

    def add(self, now: float, name: str, took: float, waits: bool, failure: str) -> None:
        """Note a request.

        Args:
            now: when it was over, seconds since the epoch.
            name: what was asked for.
            took: milliseconds.
            waits: whether the application waits for something before it answers.
            failure: of what kind; empty for none.
        """
        if self._second is None or self._second.at != int(now):
            self._flush()
            self._second = Second(int(now))
        (self._second.waiting if waits else self._second.quick).append(round(took, 2))
        self._second.names[name] += 1
        if failure:
            self._second.failures[failure] += 1

    def sample(self, now: float, processor: float, memory: int) -> None:
        """Note what the server's processes use."""
        self._flush()
        self._second = Second(int(now), processor=round(processor, 3), memory=memory)

    def close(self) -> None:
        self._flush()
        self._file.close()

    def _flush(self) -> None:
        if self._second is not None:
            self._file.write(json.dumps(_row(self._second), separators=(",", ":")) + "\n")
            self._file.flush()
            self._second = None


def _row(second: Second) -> dict[str, Any]:
    return {name: value for name, value in vars(second).items() if value not in ([], {}, None)}


def _second(row: dict[str, Any]) -> Second:
    return Second(**{**row, **{name: Counter(row.get(name, {})) for name in ("names", "failures")}})


def read_seconds(path: Path) -> list[Second]:
    """The seconds of a file.

    Raises:
        RecordingError: a line is not one of a second.
    """
    seconds = []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        try:
            seconds.append(_second(json.loads(line)))
        except (ValueError, TypeError, AttributeError) as error:
            raise RecordingError(f"{path}, line {number}: {error}") from None
    return seconds


def merge(*parts: list[Second]) -> list[Second]:
    """What the parts say of each second together, without the first and the last one, which are not whole."""
    merged: dict[int, Second] = {}
    for second in (second for part in parts for second in part):
        known = merged.setdefault(second.at, Second(second.at))
        known.quick += second.quick
        known.waiting += second.waiting
        known.names.update(second.names)
        known.failures.update(second.failures)
        known.processor = second.processor if second.processor is not None else known.processor
        known.memory = second.memory if second.memory is not None else known.memory
    with_requests = [at for at, second in merged.items() if second.requests]
    if not with_requests:
        return []
    first, last = min(with_requests), max(with_requests)
    return [merged.get(at) or Second(at) for at in range(first + 1, last)]


def write(path: Path, recording: Recording) -> None:
    """Keep a recording, under a name that is there only when all of it is."""
    rows = [_row(second) for second in recording.seconds]
    content = {"facts": recording.facts, "reloaded_at": recording.reloaded_at, "seconds": rows}
    part = path.with_suffix(".part")
    part.write_text(json.dumps(content, separators=(",", ":")), "utf-8")
    part.replace(path)


def read(path: Path) -> Recording:
    """A recording that was written.

    Raises:
        RecordingError: the file holds something else.
    """
    with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError):
        content = json.loads(path.read_text("utf-8"))
        rows = [_second(row) for row in content["seconds"]]
        facts = content["facts"]
        if {"server", "demo", "others"} <= facts.keys():
            return Recording(facts, rows, float(content["reloaded_at"]))
    raise RecordingError(f"{path} is not a recording: remove it, and run the comparison again")
