"""What is answered to whom: the paths, and the content of each."""

from __future__ import annotations

import json
import time
from importlib.util import find_spec
from typing import TYPE_CHECKING, NamedTuple

from pyserver._http import Request
from pyserver._scoreboard import Cell
from pyserver._version import __version__
from pyserver.admin.views import resident_bytes
from pyserver.refusals import REASONS, REFUSALS

if TYPE_CHECKING:
    from pyserver._http import Fault
    from pyserver.admin.views import Site, WorkerView
    from pyserver.log import ErrorLog

_TEXT = "text/plain; charset=utf-8"
_JSON = "application/json"
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_NS = 1e-9
_NO_CLIENT = "the metrics need the package prometheus_client: pip install prometheus_client"


class Answer(NamedTuple):
    """A response, but for what every one has."""

    status: int
    content: bytes
    kind: str = _TEXT
    fields: tuple[tuple[str, str], ...] = ()


class Answers:
    """Args: what is told of, and the log for what goes wrong."""

    def __init__(self, site: Site, log: ErrorLog) -> None:
        self._site = site
        self._log = log
        self._paths = {
            b"/livez": self._livez, b"/readyz": self._readyz, b"/metrics": self._metrics, b"/workers": self._workers,
        }  # fmt: skip
        if find_spec("prometheus_client") is None:
            log.info("No metrics: %s", _NO_CLIENT)

    def respond(self, asked: Request | tuple[Fault, int]) -> bytes:
        """The whole response to a request, or to what was refused as one; the connection is closed after it."""
        if not isinstance(asked, Request):
            status, _, words = REFUSALS[asked[0]]
            return _encoded(_says(status, words))
        answer = self._answer(asked)
        return _encoded(answer, is_of_head=asked.method == b"HEAD")

    def _answer(self, request: Request) -> Answer:
        tell = self._paths.get(request.path)
        if tell is None:
            return _says(404, f"there are {', '.join(path.decode() for path in self._paths)}")
        if request.method not in (b"GET", b"HEAD"):
            return _says(405, "only GET and HEAD are allowed")._replace(fields=(("Allow", "GET, HEAD"),))
        try:
            return tell(request)
        except Exception:
            # The next one may be answered.
            self._log.exception("The admin process cannot answer %s", request.path.decode("latin-1"))
            return _says(500, "the error log has the reason")

    def _livez(self, _request: Request) -> Answer:
        """The arbiter does its work; what the workers do has no part in it."""
        stale = self._site.stale_seconds()
        return _says(503, f"the arbiter has done nothing for {stale:.0f} s") if stale else Answer(200, b"ok\n")

    def _readyz(self, _request: Request) -> Answer:
        if self._site.is_ready():
            return Answer(200, b"ok\n")
        return Answer(503, b"draining\n" if self._site.is_draining() else b"no worker is ready\n")

    def _metrics(self, request: Request) -> Answer:
        try:
            from pyserver.admin.exposition import exposed
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] != "prometheus_client":
                raise
            return _says(501, _NO_CLIENT)
        accepted = ", ".join(value.decode("latin-1") for name, value in request.fields if name.lower() == b"accept")
        content, kind = exposed(self._site.view(), accepted)
        return Answer(200, content, kind)

    def _workers(self, _request: Request) -> Answer:
        view = self._site.view()
        told = {
            "server": {
                "version": __version__,
                "pid": self._site.pid,
                "phase": view.phase.name.lower(),
                "is_ready": view.is_ready,
                "generation": view.generation,
                "workers_wanted": view.wanted,
                "uptime_seconds": round(view.uptime_seconds, 3),
            },
            "workers": [_worker(worker) for worker in sorted(view.workers, key=lambda one: (one.number, one.slot))],
        }
        return Answer(200, json.dumps(told, indent=1).encode() + b"\n", _JSON)


def _worker(worker: WorkerView) -> dict[str, object]:
    cells = worker.cells
    return {
        "worker": worker.number,
        "slot": worker.slot,
        "pid": worker.pid,
        "generation": worker.generation,
        "state": worker.state,
        "age_seconds": round(worker.age_seconds, 3),
        "requests": cells[Cell.REQUESTS],
        "requests_failed": cells[Cell.ERRORS],
        "requests_refused": cells[Cell.REFUSED],
        "requests_in_progress": worker.busy,
        "connections": worker.connections,
        "connections_accepted": cells[Cell.ACCEPTED],
        "response_content_bytes": cells[Cell.BYTES_SENT],
        "queue_seconds": round(cells[Cell.QUEUE_NS] * _NS, 6),
        "queue_longest_seconds": round(worker.queue_longest_ns * _NS, 6),
        "resident_bytes": resident_bytes(worker.pid) if worker.pid else None,
        "running": [
            {
                "method": one.method, "path": one.path, "seconds": round(one.seconds, 3),
                "silent_seconds": round(one.silent_seconds, 3),
            }
            for one in worker.running
        ],
    }  # fmt: skip


def _says(status: int, words: str) -> Answer:
    return Answer(status, f"{status} {REASONS[status]}: {words}\n".encode())


def _encoded(answer: Answer, *, is_of_head: bool = False) -> bytes:
    fields = [
        ("Date", _date()),
        ("Content-Type", answer.kind),
        ("Content-Length", str(len(answer.content))),
        ("Cache-Control", "no-store"),
        *answer.fields,
        ("Connection", "close"),
    ]
    lines = [f"HTTP/1.1 {answer.status} {REASONS[answer.status]}", *(f"{name}: {value}" for name, value in fields)]
    head = "\r\n".join([*lines, "", ""]).encode()
    return head if is_of_head else head + answer.content


def _date() -> str:
    """RFC 9110 §5.6.7, whatever the locale."""
    now = time.gmtime()
    clock = time.strftime("%H:%M:%S", now)
    return f"{_DAYS[now.tm_wday]}, {now.tm_mday:02} {_MONTHS[now.tm_mon - 1]} {now.tm_year} {clock} GMT"
