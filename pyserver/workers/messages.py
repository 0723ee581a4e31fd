"""What a worker is given by the arbiter, and what the two tell each other: states, questions, reports."""

from __future__ import annotations

import enum
import struct
from typing import TYPE_CHECKING, NamedTuple

from pyserver.errors import EXIT_OK, EXIT_WORKER_BOOT, BootError, ConfigError
from pyserver.workers.app import own_traceback

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable, Sequence

    from pyserver._access import AccessFile
    from pyserver._scoreboard import Scoreboard
    from pyserver.log import ErrorLog
    from pyserver.settings.model import Settings
    from pyserver.workers.app import Application
    from pyserver.workers.base import Worker
    from pyserver.workers.hooks import WorkerHooks


class WorkerState(enum.IntEnum):
    """Where a worker is in its life; stored in its scoreboard slot."""

    BOOTING = 1  # forked, the application is loading
    READY = 2  # accepting connections
    RETIRING = 3  # accepting nothing, finishing what cannot move
    EXITED = 4  # reaped; the slot is free


_S = WorkerState
NEXT_STATE = {
    (_S.BOOTING, "loaded"): _S.READY,
    (_S.READY, "retire"): _S.RETIRING,
    (_S.RETIRING, "reaped"): _S.EXITED,
    (_S.READY, "reaped"): _S.EXITED,  # crashed, or killed over its request timeout
    (_S.BOOTING, "reaped"): _S.EXITED,  # could not load: the generation is suspect
}


class ReportKind(enum.IntEnum):
    """What a worker tells the arbiter."""

    LOADED = 1  # the application is there; connections are accepted from now on. `text`: why a page is in its place
    FAILED = 2  # it could not boot; with the exit code and the reason
    RETIRING = 3  # it retires, whoever said so
    REPLACE_ME = 4  # it has served enough; it goes on until its replacement is ready
    ALIVE = 5  # it was asked whether it is there
    ABANDONED = 6  # it quits, and cuts off as many requests as `text` says
    SOURCES = 7  # where the application's source files lie, for development


ARE_YOU_THERE = b"p"
"""What the arbiter writes on the channel of a worker that it has not heard of for a while."""
RELIEVE = b"t"
"""What it writes when requests are over their time while others, that the worker runs as well, are not."""
REFORK = b"m"
"""What it writes, with a descriptor, to have a worker become the image of the next mold."""

REPORT_HEAD = struct.Struct("!BBI")
"""Kind, exit code and length of the text, which follows."""
# Small enough that the whole message fits in an empty channel, so sending it never waits.
LONGEST_TEXT = 32_768


class Report(NamedTuple):
    """One message on the report pipe."""

    kind: ReportKind
    exit_code: int = EXIT_OK
    text: str = ""

    def encoded(self) -> bytes:
        """The bytes that `pyserver.arbiter.reports` reads; of a long text, the end is kept."""
        text = self.text.encode("utf-8", "backslashreplace")[-LONGEST_TEXT:]
        return REPORT_HEAD.pack(self.kind, self.exit_code, len(text)) + text


def failure_of(error: BaseException) -> Report:
    """What the arbiter is told when the application could not be loaded, or not be served with."""
    expected = isinstance(error, (BootError, ConfigError))
    reason = str(error) if expected else f"{type(error).__name__}: {error}"
    cause = error.__cause__ if expected else error
    exit_code = error.exit_code if isinstance(error, (BootError, ConfigError)) else EXIT_WORKER_BOOT
    return Report(ReportKind.FAILED, exit_code, f"{reason}\n{own_traceback(cause)}" if cause is not None else reason)


class QuicSeat(NamedTuple):
    """What the arbiter gives a worker that speaks HTTP/3."""

    sockets: Sequence[socket.socket]  # of UDP, bound, non-blocking, the same in all workers
    secret: bytes  # by which connections are found and reset, whoever has them
    certificate: bytes  # in PEM, behind it those of its issuers
    key: bytes  # in PEM
    password: str | None  # of the key


class Seat(NamedTuple):
    """What the arbiter gives a worker."""

    slot: int
    generation: int
    number: int  # 0 … workers-1, and stable: a successor has the number of its predecessor
    settings: Settings
    listeners: Sequence[socket.socket]
    scoreboard: Scoreboard
    log: ErrorLog
    lifeline: int  # the read end of a pipe whose other end only the arbiter holds
    channel: socket.socket  # reports go out, questions come in
    contexts: Sequence[ssl.SSLContext | None] | None = None  # for TLS at each of the listeners; None for none at all
    commons: tuple[int, int] | None = None  # descriptors: where connections are taken from, and where they are put
    access_file: AccessFile | None = None  # with room for what each slot has gathered
    quic: QuicSeat | None = None  # None without HTTP/3
    hooks: WorkerHooks | None = None  # what calls the operator's functions; None without any
    application: Application | None = None  # when the process that forked this one has loaded it
    refork: Callable[[Worker, int], None] | None = None  # how to fork a mold that is given the descriptor
