from collections.abc import Callable
from typing import Any

class Reactor:
    """What the lanes of a worker share. Its methods are compiled parts' alone."""

    # With a capacity, what the one who waits has to set; each but the last is called with a lane.
    on_request: Callable[[Any], object]
    """Called by run_ready() when a request is complete; has `lane.serve()` run in a new greenlet."""
    on_full: Callable[[Any], object]
    """Called by that greenlet, which then waits until on_room is called; may raise what ends the request."""
    on_room: Callable[[Any], object]
    """Called by run_ready() when the socket has taken what on_full was called for."""
    on_wake: Callable[[], object]
    """Called when there is something for run_ready() to do that fileno() does not show."""
    @property
    def connections(self) -> int:
        """How many are open."""
    @property
    def requests(self) -> int:
        """How many were answered."""
    @property
    def running(self) -> int:
        """How many requests other threads or greenlets have with the application."""
    @property
    def listed(self) -> int:
        """The same with WebSockets and what runs on behind its response, where requests run as tasks."""
    @property
    def is_retiring(self) -> bool:
        """Whether retire() was called."""
    @property
    def capacity(self) -> int:
        """How many requests may run at the same time; 0: as many as there are threads."""
    def next_wait_ms(self) -> int:
        """How long the wait may last before a deadline passes, milliseconds; -1 if there is none."""
