"""A server whose connections move, who visits it, and requests that keep a worker until a test lets them go."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sharing import descriptors
from support import Client, eventually

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Sequence

    from classes import WorkerClass
    from support import Response, Server

HERE = Path(__file__).parent
PATIENT = 6.0  # seconds; of clients, on a busy machine
VISITORS = 12
_NUMBERS = itertools.count(1)


class Visitor(Client):
    """A client that stays connected, and knows which worker has answered it last."""

    worker = 0

    def ask(self, target: str = "/", method: str = "GET", content: bytes = b"") -> dict[str, Any]:
        """What the application tells about a request; its connection persists."""
        return self.told(self.request(method, target, content=content))

    def begin(self, target: str = "/") -> None:
        """Send a request."""
        self.send(f"GET {target} HTTP/1.1\r\nHost: test\r\n\r\n".encode())

    def hear(self) -> dict[str, Any]:
        """What the application tells about a request that was sent."""
        while (response := self.receive_response()).status < 200:
            assert response.status == 100
        return self.told(response)

    def told(self, response: Response) -> dict[str, Any]:
        assert response.status == 200, response
        assert response.field("Connection") != "close"
        told: dict[str, Any] = json.loads(response.content)
        self.worker = told["pid"]
        return told


class Held(NamedTuple):
    """A request that keeps a thread."""

    visitor: Visitor
    name: str
    worker: int


class Site:
    """A server, and who visits it."""

    def __init__(self, server: Server, worker_class: WorkerClass) -> None:
        self.server = server
        self._class = worker_class
        self._stack = contextlib.ExitStack()
        self.held: list[Held] = []
        self.visitors: list[Visitor] = []

    # ---- who visits ----

    def visitor(self, **options: Any) -> Visitor:
        """A new one, who has not asked for anything yet."""
        return self._stack.enter_context(Visitor(self.server.address, **{"timeout": PATIENT, **options}))

    def invite(self, count: int = VISITORS) -> list[Visitor]:
        """Others, each of whom has been answered once."""
        fresh = [self.visitor() for _ in range(count)]
        for one in fresh:
            one.ask()
        self.visitors += fresh
        return fresh

    # ---- requests that are held ----

    def hold(self, visitor: Visitor, path: str = "/hold") -> Held:
        """A request of the visitor's has begun, and keeps the thread that it runs in."""
        name = f"held{next(_NUMBERS)}"
        os.mkfifo(self.server.directory / f"{name}.gate")
        visitor.begin(f"{path}?{name}")
        entered = self.server.directory / f"{name}.entered"
        eventually(entered.exists, within=PATIENT)
        self.held.append(Held(visitor, name, int(entered.read_text())))
        return self.held[-1]

    def keep_busy(self, path: str = "/hold", before: Callable[[Visitor], object] | None = None) -> Visitor:
        """Keep all threads of one worker; a visitor, whose connection it has beside those.

        Args:
            path: what they are kept with.
            before: what that visitor does just before.
        """
        for _ in range(30):
            fresh = self.invite()
            busiest = Counter(one.worker for one in fresh).most_common(1)[0][0]
            stays, *theirs = (one for one in fresh if one.worker == busiest)
            if before is not None:
                before(stays)
            while theirs and self._missing(busiest):
                self.hold(theirs.pop(), path)
            if not self._missing(busiest) and self.worker_of(stays) == busiest:
                return stays
            # The machine was slow, and connections have moved before they should.
            self.let_go()
        raise AssertionError("no worker can be kept busy")

    def keep_all_busy(self, path: str = "/hold") -> None:
        """Keep all threads of all workers."""
        fresh = self.invite(4 * VISITORS)
        while any(map(self._missing, self.server.workers())):
            self.hold(fresh.pop(), path)

    @property
    def busy(self) -> int:
        """The worker that was kept busy last."""
        return self.held[-1].worker

    def _missing(self, worker: int) -> int:
        return max(0, self._class.threads - sum(one.worker == worker for one in self.held))

    def let_go(self, chosen: list[Held] | None = None, *, closes: bool = False) -> None:
        """Let what is held go on, all of it if nothing is chosen, and hear what it is answered.

        Args:
            chosen: what.
            closes: whether the connections may end with that.
        """
        chosen = self.held[:] if chosen is None else chosen
        for one in chosen:
            # It waits until somebody reads.
            gate = self.server.directory / f"{one.name}.gate"
            gate.write_text("")
            gate.unlink()
        for one in chosen:
            response = one.visitor.receive_response()
            told = json.loads(response.content) if closes else one.visitor.told(response)
            assert told["query"] == one.name
            self.held.remove(one)

    # ---- the server ----

    def worker_of(self, visitor: Client) -> int:
        """The process that has accepted the connection, or was passed it; 0 while that has not happened."""
        (worker,) = self.workers_of([visitor])
        return worker

    def workers_of(self, visitors: Sequence[Client]) -> list[int]:
        """The same for each of several."""
        # proc(5): who is at the other end of the sockets of this machine, and the inodes of those.
        rows = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
        inodes = {row[2].rpartition(":")[2]: f"socket:[{row[9]}]" for row in rows if row[9] != "0"}
        # Of a worker and its children, the worker.
        owners = {link: pid for pid in sorted(self.server.workers(), reverse=True) for link in _held_by(pid)}
        ports = [f"{one.socket.getsockname()[1]:04X}" for one in visitors]
        return [owners.get(inodes.get(port, ""), 0) for port in ports]

    def says(self, text: str, within: float = PATIENT) -> None:
        """Wait until it does."""
        eventually(lambda: text in self.server.log(), within)

    def changes_workers(self, by: Callable[[], object], count: int) -> None:
        """Have it get `count` workers that are all ready and all others than before."""
        before = set(self.server.workers())
        by()
        eventually(lambda: len(self.server.workers()) == count and not before & set(self.server.workers()), PATIENT)

    def signal(self, number: signal.Signals) -> None:
        """Send it to the arbiter."""
        self.server.send_signal(number)

    def leave(self) -> None:
        """Open what is shut, whether somebody waits there or not, and leave."""
        for gate in self.server.directory.glob("*.gate"):
            with contextlib.suppress(OSError):
                os.close(os.open(gate, os.O_RDWR | os.O_NONBLOCK))
            gate.unlink()
        self._stack.close()
        self.held.clear()
        self.visitors.clear()


def _held_by(pid: int) -> list[str]:
    """What each descriptor of a worker refers to; nothing where it has ended meanwhile."""
    try:
        return descriptors(pid)
    except (FileNotFoundError, ProcessLookupError):
        return []
