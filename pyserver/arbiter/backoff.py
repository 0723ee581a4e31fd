"""How long to wait before the next worker is started, when workers end as fast as they start. Pure."""

from __future__ import annotations

_FIRST_NS = 100_000_000
_LONGEST_NS = 10_000_000_000
_QUIET_NS = 10_000_000_000  # so long after the last delay, a death is a first one again


class Backoff:
    """No delay at first, then one that doubles up to ten seconds, until there has been quiet for ten."""

    def __init__(self) -> None:
        self.spawn_not_before_ns = 0
        self._strikes = 0

    def strike(self, now_ns: int, workers: int) -> int:
        """A worker died young.

        Args:
            now_ns: monotonic instant.
            workers: how many there should be; so many deaths cost nothing, since they may have one cause.

        Returns:
            How long no worker is started, nanoseconds.
        """
        if now_ns > self.spawn_not_before_ns + _QUIET_NS:
            self._strikes = 0
        self._strikes += 1
        delay_ns = 0
        if self._strikes > workers:
            # The exponent is bounded: a crash loop may go on for a year.
            delay_ns = min(_FIRST_NS << min(self._strikes - workers - 1, 16), _LONGEST_NS)
        self.spawn_not_before_ns = now_ns + delay_ns
        return delay_ns

    def forget(self) -> None:
        """New code or settings: they get a fresh start."""
        self.spawn_not_before_ns = 0
        self._strikes = 0
