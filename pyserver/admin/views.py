"""What there is to tell: the ledger and the scoreboards, looked at together."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, NamedTuple

from pyserver._scoreboard import Cell
from pyserver.ledger import SUMMED, Phase, Word
from pyserver.workers.messages import WorkerState

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pyserver._scoreboard import Scoreboard
    from pyserver.ledger import Entry, Ledger

_NS = 1e-9
_STALE_SECONDS = 30.0  # a config file, or a hook, may hold the arbiter up for a while
_MOST_SHOWN = 100  # requests of one worker
_PAGE = os.sysconf("SC_PAGE_SIZE")
_ENDING = (Phase.DRAINING, Phase.STOPPING)


class Running(NamedTuple):
    """A request that the application has."""

    method: str
    path: str  # without the query, which may hold what nobody else shall see; cut to fit the scoreboard
    seconds: float  # since it began
    silent_seconds: float  # since it began, or gave a block of its response last


class WorkerView(NamedTuple):
    """One worker."""

    slot: int
    number: int
    pid: int
    generation: int
    state: str  # "booting", "idle", "busy" or "retiring"
    serves: bool
    age_seconds: float
    cells: Mapping[Cell, int]
    latencies: tuple[int, ...]
    queue_longest_ns: int
    connections: int
    busy: int  # how many requests run
    running: tuple[Running, ...]  # the oldest first, and not more than a hundred


class View(NamedTuple):
    """The server at one moment."""

    phase: Phase
    generation: int
    wanted: int
    spawned: int
    abandoned: int
    reloads: int
    reloads_failed: int
    uptime_seconds: float
    deaths: Mapping[str, int]
    replaced: Mapping[str, int]
    totals: Mapping[Cell, int]  # of workers that there are and have been
    latencies: tuple[int, ...]  # likewise
    workers: tuple[WorkerView, ...]

    @property
    def is_ready(self) -> bool:
        """Whether the server is a good address for requests: a worker serves, and it is not to stop."""
        return _is_ready(self.phase, self.workers)

    @property
    def is_draining(self) -> bool:
        """Whether it was told to stop."""
        return self.phase in _ENDING


class Site:
    """Where it is looked at.

    Args:
        ledger: what the arbiter writes down.
        boards: what the workers do, by where each lies in memory.
        pid: of the arbiter.
    """

    def __init__(self, ledger: Ledger, boards: Mapping[int, Scoreboard], pid: int) -> None:
        self.pid = pid
        self._ledger = ledger
        self._boards = boards

    def stale_seconds(self) -> float:
        """For how long the arbiter has not done its work; 0 while it does."""
        seconds = (time.monotonic_ns() - self._ledger.get(Word.TURNED_NS)) * _NS
        return seconds if seconds > _STALE_SECONDS else 0.0

    def is_ready(self) -> bool:
        """As `View.is_ready`, at less cost."""
        return self._ledger.read(lambda: _is_ready(self._phase(), self._ledger.entries().values()))

    def is_draining(self) -> bool:
        """Whether the server was told to stop."""
        return self._phase() in _ENDING

    def view(self) -> View:
        """All there is to tell."""
        return self._ledger.read(self._view)

    def _phase(self) -> Phase:
        return Phase(self._ledger.get(Word.PHASE))

    def _view(self) -> View:
        ledger, now_ns = self._ledger, time.monotonic_ns()
        workers = tuple(self._worker(slot, entry, now_ns) for slot, entry in ledger.entries().items())
        latencies = [ledger.latencies(), *(worker.latencies for worker in workers)]
        return View(
            phase=self._phase(),
            generation=ledger.get(Word.GENERATION),
            wanted=ledger.get(Word.WANTED),
            spawned=ledger.get(Word.SPAWNED),
            abandoned=ledger.get(Word.ABANDONED),
            reloads=ledger.get(Word.RELOADS),
            reloads_failed=ledger.get(Word.RELOADS_FAILED),
            uptime_seconds=(now_ns - ledger.get(Word.STARTED_NS)) * _NS,
            deaths=ledger.deaths(),
            replaced=ledger.replaced(),
            totals={cell: ledger.gone(cell) + sum(worker.cells[cell] for worker in workers) for cell in SUMMED},
            latencies=tuple(map(sum, zip(*latencies, strict=True))),
            workers=workers,
        )

    def _worker(self, slot: int, entry: Entry, now_ns: int) -> WorkerView:
        # One on a scoreboard that is newer than this process is shown as it will be a moment later.
        board = self._boards.get(entry.board)
        rows = board.rows_busy(slot) if board is not None else []
        state = "busy" if rows else "idle"
        if entry.state != WorkerState.READY:
            state = WorkerState(entry.state).name.lower()
        return WorkerView(
            slot=slot,
            number=entry.number,
            pid=entry.pid,
            generation=entry.generation,
            state=state,
            serves=bool(entry.serves),
            age_seconds=(now_ns - entry.forked_at_ns) * _NS,
            cells={cell: board.read(slot, cell) if board is not None else 0 for cell in SUMMED},
            latencies=tuple(board.latencies(slot) if board is not None else [0] * 32),
            queue_longest_ns=board.read(slot, Cell.QUEUE_MOST_NS) if board is not None else 0,
            connections=board.read(slot, Cell.CONNECTIONS) if board is not None else 0,
            busy=len(rows),
            running=tuple(_running(board, slot, rows[:_MOST_SHOWN], now_ns)) if board is not None else (),
        )


def _is_ready(phase: Phase, workers: Iterable[WorkerView | Entry]) -> bool:
    # Whoever has just connected to the process of an arbiter that was succeeded, asks for the server, which goes on.
    is_serving = phase is Phase.SERVING and any(worker.serves for worker in workers)
    return is_serving or phase is Phase.SUCCEEDED


def _running(board: Scoreboard, slot: int, rows: list[int], now_ns: int) -> list[Running]:
    found = []
    for row in rows:
        since_ns, alive_ns = board.busy_since_ns(slot, row), board.alive_ns(slot, row)
        method, _, target = board.request_line(slot, row).partition(" ")
        if since_ns:  # else it has ended while we looked
            seconds, silent = (now_ns - since_ns) * _NS, max(0, now_ns - alive_ns) * _NS
            found.append(Running(method, target.partition("?")[0], seconds, silent))
    return found


def resident_bytes(pid: int) -> int | None:
    """How much memory a process has, what it shares with others included; None where it cannot be told."""
    try:
        descriptor = os.open(f"/proc/{pid}/statm", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return int(os.read(descriptor, 256).split()[1]) * _PAGE
        finally:
            os.close(descriptor)
    except (OSError, ValueError, IndexError):
        return None
