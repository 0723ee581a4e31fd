"""What signals have asked for: how many workers there should be, and whether the server goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyserver.arbiter.policy import Stop, Wanted

if TYPE_CHECKING:
    from pyserver.settings.model import Settings

_SECOND_NS = 1_000_000_000


class Intent:
    """The settings say what there should be, and signals have changed it since.

    Args:
        most_workers: that there can be while the server runs.
    """

    def __init__(self, most_workers: int) -> None:
        self.stop = Stop.NO
        self.stop_at_ns: int | None = None  # when a stop that was asked for begins, after drain_delay
        self._most_workers = most_workers
        self._added = 0  # workers, by TTIN and TTOU, since the settings were read
        self._added_since = 0  # of those, the ones since a reload was asked for last
        self._is_dismissed = False  # no workers, until a reload

    @property
    def may_go_on(self) -> bool:
        """Whether no stop has begun."""
        return self.stop is Stop.NO

    @property
    def goes_on(self) -> bool:
        """Whether nobody has asked for a stop."""
        return self.stop is Stop.NO and self.stop_at_ns is None

    def workers(self, settings: Settings) -> int:
        """How many there should be."""
        return 0 if self._is_dismissed else settings.workers + self._added

    def add(self, count: int, settings: Settings) -> bool:
        """So many workers more, or fewer; false when it is not that many.

        There is at least one, and there are no more than there is room for.
        """
        before = self.workers(settings)
        asked = before + count
        workers = max(1, min(asked, self._most_workers))
        self._is_dismissed = False
        self._added_since += workers - before
        self._added = workers - settings.workers
        return workers == asked

    def dismiss(self) -> None:
        """No workers, until a reload."""
        self._is_dismissed = True

    def note_asked(self) -> None:
        """A reload was asked for, and is to come: it leaves alone what is asked for after it."""
        self._added_since = 0

    def note_reload(self, settings: Settings) -> None:
        """The settings have been read again, and say how many workers there are."""
        self._added = max(1, min(settings.workers + self._added_since, self._most_workers)) - settings.workers
        self._added_since = 0
        self._is_dismissed = False

    def plan_stop(self, at_ns: int) -> None:
        """Stop gracefully at that instant."""
        self.stop_at_ns = at_ns

    def stop_is_due(self, now_ns: int) -> bool:
        """Whether the delay of a stop is over."""
        return self.stop_at_ns is not None and now_ns >= self.stop_at_ns

    def begin_stop(self, stop: Stop) -> None:
        """Stop now."""
        self.stop = stop
        self.stop_at_ns = None

    def wanted(self, generation: int, settings: Settings, spawn_not_before_ns: int, clock_ns: int) -> Wanted:
        """All that the policy has to know."""
        return Wanted(
            generation=generation,
            workers=self.workers(settings),
            timeout_ns=int(settings.timeout * _SECOND_NS),
            graceful_ns=int(settings.graceful_timeout * _SECOND_NS),
            boot_ns=int(settings.boot_timeout * _SECOND_NS),
            slow_ns=int(settings.slow_request * _SECOND_NS),
            lifetime_ns=int(settings.max_worker_lifetime * _SECOND_NS),
            memory_bytes=settings.max_worker_memory,
            stop=self.stop,
            spawn_not_before_ns=spawn_not_before_ns,
            clock_ns=clock_ns,
        )
