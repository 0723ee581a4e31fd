"""What follows from the death of a worker or a mold: what is said, who is waited for, whether the server can go on."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pyserver.arbiter.actions import Reason
from pyserver.arbiter.autopsy import OutOfMemory, how_it_ended, is_told_to_stop
from pyserver.arbiter.backoff import Backoff
from pyserver.arbiter.generations import Verdict
from pyserver.errors import EXIT_OK, EXIT_WORKER_BOOT

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyserver.arbiter.crew import Crew
    from pyserver.arbiter.hooks import Hooks
    from pyserver.arbiter.intent import Intent
    from pyserver.arbiter.molds import Mold
    from pyserver.arbiter.narration import Narrator
    from pyserver.arbiter.reload import Reloads
    from pyserver.arbiter.roster import Member
    from pyserver.log import ErrorLog

_SECOND_NS = 1_000_000_000
# By what name a death is counted, where it has another than the reason for it.
_END = {
    Reason.NOTHING_TO_LOSE: "expected",
    Reason.QUICK: "quit",
    Reason.GRACEFUL: "graceful_timeout",
}
_YOUNG_NS = _SECOND_NS  # a worker that dies sooner after it was ready may be part of a crash loop


class Deaths:
    """Buries who has died.

    Args:
        hear: called with a worker that is dead, for what it has said at last.
        halt: called with a reason when the server has nothing to offer: no worker has ever served.

    Attributes:
        exit_code: of the server.
        failure: why it has ended without ever having served, in one line.
    """

    def __init__(
        self, crew: Crew, reloads: Reloads, intent: Intent, narrator: Narrator, hooks: Hooks,
        *, hear: Callable[[Member, int], None], halt: Callable[[str], None],
    ) -> None:  # fmt: skip
        self.exit_code = EXIT_OK
        self.failure = ""
        self.backoff = Backoff()
        self._crew = crew
        self._reloads = reloads
        self._intent = intent
        self._narrator = narrator
        self._hooks = hooks
        self._hear = hear
        self._halt = halt

    def reap(self, now_ns: int) -> None:
        """Take note of all that have died, and give free what they had."""
        for member, status in self._crew.dead(now_ns):
            self._hear(member, now_ns)
            why = "expected" if member.end is None else _END.get(member.end, member.end.value)
            if member.ready_at_ns:
                why = self._note_death(member, status, now_ns) or why
            elif self._intent.may_go_on and member.end is not Reason.NOTHING_TO_LOSE:
                self._note_failed_boot(member, status, now_ns)
                why = "boot"
            self._bury(member)
            self._crew.ledger.count_death(why)
        for mold in self._crew.molds.dead(now_ns):
            self._note_mold_death(mold, now_ns)
        for member in self._crew.lost():
            if member.end is Reason.BOOT:
                self._note_failed_boot(member, 0, now_ns)
            elif member.failure is not None:
                self._log.error("A worker cannot be started: %s", member.failure.text)
                self.strike(now_ns)
            self._bury(member)

    def strike(self, now_ns: int) -> None:
        """A worker died young, or could not be started."""
        delay_ns = self.backoff.strike(now_ns, self._intent.workers(self._reloads.current.settings))
        if delay_ns:
            self._log.warning("Workers end as fast as they start: none is started for %.1f s", delay_ns / _SECOND_NS)

    @property
    def _log(self) -> ErrorLog:
        return self._reloads.current.log

    def _bury(self, member: Member) -> None:
        lost = self._crew.bury(member)
        if lost:
            self._log.warning("%s lines of the access log are lost with worker (pid: %s)", lost, member.pid)
        self._hooks.note_end(member)

    def _note_death(self, member: Member, status: int, now_ns: int) -> str:
        """What it died of, where nobody has told it to."""
        if member.end is not None:
            return ""  # It was said when it was done.
        if status == 0 and (member.retired_at_ns or member.quit_at_ns or not self._intent.may_go_on):
            return ""  # It did as it was told, by us or by the terminal that told us.
        out_of_memory = self._narrator.tell_died(self._log, member, status, now_ns)
        if not member.retired_at_ns and now_ns - member.ready_at_ns < _YOUNG_NS:
            self.strike(now_ns)
        if out_of_memory in (OutOfMemory.COUNTED, OutOfMemory.ON_THE_MACHINE):
            return "memory"
        return "signal" if os.WIFSIGNALED(status) else "exit"

    def _note_mold_death(self, mold: Mold, now_ns: int) -> None:
        if mold.end is Reason.NOTHING_TO_LOSE or not self._intent.may_go_on:
            return
        if not mold.loaded_at_ns and mold.is_refork:
            # It had nothing to load, and what its generation is worth is known.
            self._log.error("The refork has failed: workers come from where they came from before")
            return
        if not mold.loaded_at_ns:
            self._note_failed_boot(mold, mold.status, now_ns)
            return
        self._narrator.tell_mold_died(self._log, mold, now_ns)
        if now_ns - mold.loaded_at_ns < _YOUNG_NS:
            self.strike(now_ns)

    def _note_failed_boot(self, member: Member | Mold, status: int, now_ns: int) -> None:
        failure, role = member.failure, type(member).role
        if failure is None and member.end is None and is_told_to_stop(status):
            self._log.info("%s (pid:%s) %s", role, member.pid, how_it_ended(status, when="while it booted"))
            self.strike(now_ns)
            return
        generation = self._reloads.current
        if member.generation == generation.number:
            text = generation.told_once(self._narrator.failed_boot(member, status, now_ns))
            self._log.error("%s (pid:%s) failed to boot: %s", role, member.pid, text)
        verdict = self._reloads.note_failed_boot(member.generation)
        if verdict is Verdict.HALT:
            self.exit_code = failure.exit_code if failure is not None else EXIT_WORKER_BOOT
            reason = generation.last_failure.partition("\n")[0]
            self.failure = f"the server cannot start: {reason}"
            self._halt(f"generation {generation.number} does not boot: {reason}")
        elif verdict is Verdict.TRY_AGAIN and generation.is_proven:
            self.strike(now_ns)
