import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Any

from pyserver._access import AccessLog, RequestIds
from pyserver._channel import Version
from pyserver._connection import Buffers, Durations
from pyserver._exchange import Gateway
from pyserver._http import Limits
from pyserver._proxies import Proxies
from pyserver._steward import Stewarded
from pyserver.log import ErrorLog

class Engine(Stewarded):
    """Connections of one worker. Whoever waits on `fileno()` calls `run_ready()`; or run() or serve() does both.

    Args:
        listeners: bound, listening, non-blocking sockets.
        gateway: gets every complete request.
        limits: what a request may have.
        durations: what a connection may wait for.
        buffers: what is kept in memory.
        log: gets a line for each refusal and for what goes wrong.
        access: gets a record of every response.
        row: address of the worker's scoreboard slot; 0 for none. It has a row for each thread, or for each request that
            `capacity` allows.
        poller: "auto", "epoll" or "poll".
        server: value of the Server field, at most 64 bytes; empty for no such field.
        date: whether responses get a Date field.
        threads: how many call serve(); 0 for a worker with one thread.
        capacity: how many requests run at the same time, each in a greenlet of its own; 0 for one, in place.
        streams: whether they run as tasks of an event loop instead, and take their content as it comes.
        proxies: what is believed of whom; None for nothing of anybody but of who has a Unix socket.
        health: the path that is answered with how the server is, and not by the gateway; empty for none.
        logs_health: whether the access log has these answers.
        contexts: for each listener the ssl.SSLContext with which TLS is spoken there, or None; None for no TLS at all.
        http2: what a client may have of HTTP/2, where it asks for that in TLS; None for HTTP/1.1 alone.
        alternative: the line of Alt-Svc that responses over TLS have, with its CRLF; empty for none.

    Raises:
        ValueError: there is no such poller on this system.
    """

    max_requests: int
    """After how many requests `on_max_requests` is called, once; 0 for never."""
    on_max_requests: Callable[[], object] | None
    def __init__(
        self,
        listeners: Sequence[socket.socket],
        gateway: Gateway,
        limits: Limits,
        durations: Durations,
        buffers: Buffers,
        *,
        log: ErrorLog,
        access: AccessLog | None = None,
        ids: RequestIds | None = None,
        row: int = 0,
        poller: str = "auto",
        server: bytes = b"pyserver",
        date: bool = True,
        threads: int = 0,
        capacity: int = 0,
        streams: bool = False,
        commons: tuple[int, int] | None = None,
        moves_always: bool = False,
        siblings: tuple[int, int, int] | None = None,
        lifeline: int = -1,
        handoff_after: float = 0,
        proxies: Proxies | None = None,
        health: bytes = b"",
        logs_health: bool = False,
        contexts: list[ssl.SSLContext | None] | None = None,
        http2: Version | None = None,
        alternative: bytes = b"",
    ) -> None: ...
    @property
    def listeners(self) -> list[socket.socket]:
        """The sockets that connections are accepted from."""
    @property
    def is_done(self) -> bool:
        """Whether there is nothing left to serve: it was stopped, or retired and the last connection is closed."""
    @property
    def calls(self) -> list[Any]:
        """The requests that run as tasks, WebSockets among them, the oldest first."""
    def fileno(self) -> int:
        """A descriptor that is readable while run_ready() has something to do; OSError if the poller has none."""
    def run(self) -> None:
        """Serve until it is done."""
    def serve(self, thread: int) -> None:
        """Serve as one of several threads until the engine is done.

        Args:
            thread: which one, from 0; the number of its row on the scoreboard.

        Raises:
            ValueError: the engine was made without threads.
        """
    def stop(self) -> None:
        """Be done after the requests under way."""
    def run_ready(self, wait_ms: int = 0) -> None:
        """Wait at most `wait_ms` (-1: for ever), then serve what is ready and expire what is late."""
    def watch(self, fd: int, callback: Callable[[], object]) -> None:
        """Call `callback` from the loop whenever `fd` is readable or its other end is closed."""
    def unwatch(self, fd: int) -> None:
        """Call back no more; KeyError if it was not watched."""
    def guard_listeners(self) -> int:
        """The address of the C function that closes the listeners in a signal handler, if the application runs then.

        Only where the whole server stops: else others serve the accept queues, and there is no hurry.
        """
    def retire(
        self, idle_grace: float = 1.0, takes_queue: bool = True, moves: bool = False, stay_grace: float = 1.0
    ) -> None:
        """Empty the accept queues, then accept no more; answer with `Connection: close` from now on. From any thread.

        Without `takes_queue` one connection is taken from each where this engine may have been woken for it.
        Connections without a request under way are closed after `idle_grace` seconds; where `moves`, others get them,
        but for those that cannot move, which are closed after `stay_grace` seconds.
        """
    def reopen(self) -> None:
        """Open the access log anew, between two of its lines; from any thread."""
    def abandon(self) -> int:
        """Close everything at once; how many requests or responses that cuts off, those that run included."""
    def drop_copies(self) -> None:
        """For a child of this process that shall not serve: close its copies of all that the parent serves with.

        Nothing is said to the peers nor to the poller's set, which are the parent's, and nothing is logged; run() ends.
        """
