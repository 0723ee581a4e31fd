"""Rounds of mixed load on a server, and what its worker is like after each, when all is quiet again."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import json
import os
import threading
import time
import traceback
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from sharing import descriptors
from soak.visit import Moved, Visit
from soak.visits import BRISK, PATIENT
from support import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from soak.visits import Kind
    from support import Server

BRISK_CLIENTS = 28
PATIENT_CLIENTS = 12
_FAILURES_AT_MOST = 20
_COUNTING = threading.Lock()  # guards the counters of a tally
_QUIET_WITHIN = 45.0  # seconds; a connection that lingers may take 30


@dataclasses.dataclass(frozen=True)
class Figures:
    """What a worker holds.

    Attributes:
        rss: resident bytes.
        heap_bytes: bytes that malloc() has given and not got back; 0 where nobody tells.
        blocks: those of Python's own allocator; 0 where it is not used.
        objects: those that the garbage collector tracks.
        tracked: how many of these there are of each type.
        descriptors: open ones, and what they refer to.
    """

    rss: int
    heap_bytes: int
    blocks: int
    objects: int
    tracked: dict[str, int]
    descriptors: list[str]


@dataclasses.dataclass(repr=False)
class Tally:
    """What the clients of a server have seen.

    Attributes:
        visits: how many there were of each kind.
        answers: how many there were of each status.
        failures: what was wrong, in the eyes of a client.
    """

    visits: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    answers: collections.Counter[int] = dataclasses.field(default_factory=collections.Counter)
    failures: list[str] = dataclasses.field(default_factory=list)

    @property
    def has_failed(self) -> bool:
        """Whether more load would tell nothing new."""
        return len(self.failures) > _FAILURES_AT_MOST


@dataclasses.dataclass(repr=False, kw_only=True)
class Course(Tally):
    """What happened to a server under load.

    Attributes:
        pid: of its only worker, before the load.
        before: its figures then.
        rounds: its figures after each round.
        peaks: the most resident bytes in each round.
        workers: the pids that were seen last.
        log: all of the server's log, once it has stopped.
        exit_code: that of the server.
        left: names of temporary files that were still there.
    """

    pid: int
    before: Figures
    rounds: list[Figures] = dataclasses.field(default_factory=list)
    peaks: list[int] = dataclasses.field(default_factory=list)
    workers: list[int] = dataclasses.field(default_factory=list)
    log: str = ""
    exit_code: int = -1
    left: list[str] = dataclasses.field(default_factory=list)

    def told(self) -> str:
        """The last figures, on one line."""
        if not self.rounds:
            return "no figures"
        last = self.rounds[-1]
        return (
            f"{sum(self.visits.values())} visits, {sum(self.answers.values())} answers, {len(self.failures)} failures; "
            f"RSS {last.rss / 1e6:.1f} MB (peak {self.peaks[-1] / 1e6:.1f}), heap {last.heap_bytes} bytes, "
            f"{last.blocks} blocks, {last.objects} objects, {len(last.descriptors)} descriptors"
        )

    @property
    def has_failed(self) -> bool:
        """Whether more load would tell nothing new."""
        return self.workers != [self.pid] or super().has_failed


def begin_course(server: Server) -> Course:
    """The course of a server that has just come up with one worker."""
    [pid] = eventually(server.workers)
    return Course(pid=pid, before=_quiet_figures(server, pid, None), workers=[pid])


def run_round(server: Server, course: Course, number: int, seconds: float) -> None:
    """Have all clients busy for some seconds, wait until the last has left, and take the figures."""
    kinds = [(BRISK, BRISK_CLIENTS), (PATIENT, PATIENT_CLIENTS)]
    with crowd(server, course, kinds, number) as over:
        course.peaks.append(_watch(server, course, over, seconds))
    if course.workers == [course.pid]:
        course.rounds.append(_quiet_figures(server, course.pid, len(course.before.descriptors)))


@contextlib.contextmanager
def crowd(
    server: Server, tally: Tally, kinds: Sequence[tuple[dict[Kind, int], int]], number: int = 0, *, moves: bool = False
) -> Iterator[threading.Event]:
    """Clients that visit the server until the end of the block, so many of each set of kinds; gives what ends them.

    Args:
        tally: what they add to.
        number: of the round; each goes differently, and the first has all kinds.
        moves: whether the server may close persistent connections because its workers are replaced.
    """
    over = threading.Event()
    clients = [
        threading.Thread(target=_be_client, args=(tally, schedule, Visit(server.addresses, random, over, moves)))
        for chosen, count in kinds
        for client in range(count)
        # The same in each run, as far as the order in which threads and sockets have their turn allows.
        for random in [Random(f"{number} {client}")]
        for schedule in [_schedule(chosen, random, client if number == 0 else None)]
    ]
    for client in clients:
        client.start()
    try:
        yield over
    finally:
        over.set()
        for client in clients:
            client.join()


def _watch(server: Server, course: Course, over: threading.Event, seconds: float) -> int:
    """The most resident bytes that the worker has in so many seconds; ends early when the course has failed."""
    peak = 0
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not course.has_failed:
        peak = max(peak, _rss(course.pid))
        over.wait(0.5)
        course.workers = server.workers()
    return peak


def _schedule(kinds: dict[Kind, int], random: Random, first: int | None) -> Iterator[Kind]:
    """Kinds of visits without end, by their weights; the first by its number, so that none is left out by chance."""
    if first is not None:
        yield list(kinds)[first % len(kinds)]
    while True:
        yield from random.choices(list(kinds), list(kinds.values()))


def _be_client(tally: Tally, schedule: Iterator[Kind], visit: Visit) -> None:
    visits: collections.Counter[str] = collections.Counter()
    for kind in schedule:
        if visit.over.is_set() or tally.has_failed:
            break
        try:
            kind(visit)
        except Moved:
            visits["(ended by the server, which may)"] += 1
        except Exception:
            # Whatever it was, it is a failure of the server until somebody has looked at it.
            tally.failures.append(f"{kind.__name__}: {traceback.format_exc()}")
        visits[kind.__name__] += 1
    with _COUNTING:
        tally.visits += visits
        tally.answers += visit.answers


def _quiet_figures(server: Server, pid: int, quiet: int | None) -> Figures:
    """Figures of a worker without connections: once it has as few descriptors as `quiet`, or does not come to it."""
    _await_quiet(pid, quiet)
    _ask(server)  # What the asking itself needs is there the second time.
    told = json.loads(_ask(server))
    _await_quiet(pid, quiet)
    return Figures(
        _rss(pid), told["heap_bytes"], told["blocks"], told["objects"], told["tracked"], sorted(descriptors(pid))
    )


def _await_quiet(pid: int, quiet: int | None) -> None:
    if quiet is not None:
        with contextlib.suppress(AssertionError):
            eventually(lambda: len(descriptors(pid)) <= quiet, _QUIET_WITHIN)


def _ask(server: Server) -> bytes:
    with server.client() as client:
        content: bytes = client.request("GET", "/figures", [("Connection", "close")]).content
        # By this end, the worker has given up the descriptor.
        client.read_until_closed()
        return content


def _rss(pid: int) -> int:
    """Resident bytes; 0 of a process that is gone."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
