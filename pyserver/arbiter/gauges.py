"""What statsd is told by the arbiter: how many workers there are, and how many connections wait to be accepted."""

from __future__ import annotations

import socket
import struct
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyserver.log import ErrorLog
    from pyserver.settings.model import Settings

_SECOND_NS = 1_000_000_000
# tcpi_unacked in struct tcp_info of linux/tcp.h: of a listener, it is the length of its queue.
_UNACKED = struct.Struct("=8x16xI")


class Gauges:
    """Tells as much as the settings want, and the number of workers only when it has changed."""

    def __init__(self) -> None:
        self._workers = -1
        self._looked_ns = 0

    def note(
        self, settings: Settings, log: ErrorLog, workers: int, listeners: Iterable[socket.socket], now_ns: int
    ) -> None:
        """A turn of the arbiter is over, with so many workers there."""
        meter = _meter(log)
        if meter is None:
            return
        if workers != self._workers:
            self._workers = workers
            meter.gauge("gunicorn.workers", workers)
        if settings.enable_backlog_metric and now_ns - self._looked_ns >= _SECOND_NS:
            self._looked_ns = now_ns
            waiting = [backlog for one in listeners if (backlog := backlog_of(one)) is not None]
            if waiting:
                meter.histogram("gunicorn.backlog", sum(waiting))

    def next_ns(self, settings: Settings, log: ErrorLog) -> int | None:
        """When there is something to tell that nothing else wakes the arbiter for."""
        return self._looked_ns + _SECOND_NS if settings.enable_backlog_metric and _meter(log) is not None else None


def backlog_of(listener: socket.socket) -> int | None:
    """How many connections wait in the queue of a listener; None where that cannot be known."""
    if sys.platform != "linux" or listener.family not in (socket.AF_INET, socket.AF_INET6):
        return None
    try:
        (waiting,) = _UNACKED.unpack(listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _UNACKED.size))
    except (OSError, struct.error):
        return None
    return int(waiting)


def _meter(log: ErrorLog) -> Any:
    """Who takes metrics: statsd, or a logger that knows how to tell it; None without either."""
    return log.statsd or (log.logger if hasattr(log.logger, "histogram") else None)
