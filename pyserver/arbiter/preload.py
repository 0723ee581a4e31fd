"""What the arbiter decides about molds: which are wanted, and when one is made of a worker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyserver.arbiter.actions import Spent
from pyserver.workers.messages import WorkerState

if TYPE_CHECKING:
    from pyserver.arbiter.crew import Crew
    from pyserver.arbiter.narration import Narrator
    from pyserver.arbiter.policy import Wanted
    from pyserver.arbiter.reload import Reloads
    from pyserver.arbiter.roster import Member


class Preload:
    """The molds of the generations in use.

    Args:
        crew: has the molds and the workers.
        reloads: knows which generations are in use.
        narrator: tells.
    """

    def __init__(self, crew: Crew, reloads: Reloads, narrator: Narrator) -> None:
        self._crew = crew
        self._reloads = reloads
        self._narrator = narrator

    def tend(self, wanted: Wanted, now_ns: int, *, goes_on: bool) -> None:
        """End the molds that nothing comes of, and put those in their place that are better."""
        log, molds = self._reloads.current.log, self._crew.molds
        for mold in molds.end_overdue(wanted.boot_ns, wanted.clock_ns, now_ns):
            self._narrator.tell_mold_aborted(log, mold.pid, self._reloads.current.settings)
        in_use = self._reloads.generations.in_use() if goes_on else []
        molds.keep([generation.number for generation in in_use])
        for mold in molds.promoted():
            log.info("Mold (pid:%s) takes over: the workers that come from another are replaced", mold.pid)
            for member in self._serving(mold.generation):
                member.spent = member.spent or Spent.IMAGE

    def refork(self) -> None:
        """Have a warm worker become the next mold."""
        current, log = self._reloads.current, self._reloads.current.log
        if not current.settings.preload_app or self._crew.molds.is_reforking(current.number):
            log.warning("Nothing is reforked: %s", "one is under way" if current.settings.preload_app else "no preload")
            return
        ready = [member for member in self._serving(current.number) if member.state is WorkerState.READY]
        # One that is idle does it at once; the oldest is the warmest.
        chosen = min(ready, key=lambda member: (bool(member.busy_since_ns), member.forked_at_ns), default=None)
        if chosen is None or not self._crew.refork(chosen):
            log.warning("Nothing is reforked: no worker is ready")
        else:
            log.info("Worker (pid:%s) becomes the image of the next mold", chosen.pid)

    def _serving(self, generation: int) -> list[Member]:
        mine = [member for member in self._crew.roster if member.generation == generation and not member.is_dying]
        return [member for member in mine if member.state in (WorkerState.BOOTING, WorkerState.READY)]
