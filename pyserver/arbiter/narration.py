"""What is said about workers: why one is killed, how one has died, how many serve."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from pyserver._scoreboard import Cell
from pyserver.arbiter.actions import Reason, Spent
from pyserver.arbiter.autopsy import Findings, OutOfMemory, cause_of_death, how_it_ended
from pyserver.arbiter.crew import MOVED
from pyserver.arbiter.memory import OutOfMemoryKills
from pyserver.arbiter.requests import activity, requests_of, running
from pyserver.ledger import Word
from pyserver.systemd import Condition

if TYPE_CHECKING:
    from pyserver.arbiter.crew import Crew
    from pyserver.arbiter.generations import Generation
    from pyserver.arbiter.molds import Mold
    from pyserver.arbiter.roster import Member
    from pyserver.log import ErrorLog
    from pyserver.settings.model import Settings

_SECOND_NS = 1_000_000_000


class Narrator:
    """Tells in one line each what happens to workers.

    Args:
        crew: knows what they were doing.
    """

    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        self._kills = OutOfMemoryKills()
        self._said_class = ""

    def tell_aborted(self, log: ErrorLog, member: Member, reason: Reason, settings: Settings, now_ns: int) -> None:
        """Its stacks follow, and its end."""
        match reason:
            case Reason.BOOT:
                log.critical(
                    "WORKER BOOT TIMEOUT (pid:%s): it has not loaded the application within the boot_timeout of %g s",
                    member.pid, settings.boot_timeout,
                )  # fmt: skip
            case Reason.SILENT:
                log.critical(
                    "WORKER TIMEOUT (pid:%s): it does not answer since %.1f s, and %s",
                    member.pid, (now_ns - member.seen_at_ns) / _SECOND_NS,
                    activity(member, now_ns) if member.busy_since_ns else "runs no request",
                )  # fmt: skip
            case _:
                log.critical(
                    "WORKER TIMEOUT (pid:%s): with a timeout of %g s, %s",
                    member.pid, settings.timeout, _overdue(member, settings, now_ns),
                )  # fmt: skip

    def tell_class(self, log: ErrorLog, name: str) -> None:
        """What kind of workers serve, when that is another than before."""
        if name != self._said_class:
            self._said_class = name
            log.info("Using worker: %s", name)

    def tell_relieved(self, log: ErrorLog, member: Member, settings: Settings, now_ns: int) -> None:
        """It goes on without requests that are over their time, or finishes the others and goes."""
        log.error(
            "REQUEST TIMEOUT (pid:%s): with a timeout of %g s, %s",
            member.pid, settings.timeout, _overdue(member, settings, now_ns),
        )  # fmt: skip

    def tell_mold_aborted(self, log: ErrorLog, pid: int, settings: Settings) -> None:
        """Its stack follows, and its end."""
        log.critical(
            "MOLD BOOT TIMEOUT (pid:%s): it has not loaded the application within the boot_timeout of %g s",
            pid, settings.boot_timeout,
        )  # fmt: skip

    def tell_slow(self, log: ErrorLog, member: Member, limit_ns: int, now_ns: int) -> None:
        """Requests have taken so long, and nobody has told of them; its stacks follow, and it goes on."""
        slow = [one for one in requests_of(member) if member.told_slow_ns < one.since_ns <= now_ns - limit_ns]
        words = running(slow, now_ns) if slow else activity(member, now_ns)
        log.warning("Slow request in worker (pid:%s): %s", member.pid, words)

    def tell_killed(self, log: ErrorLog, member: Member, reason: Reason, settings: Settings, now_ns: int) -> None:
        """It is killed because of what it did not do."""
        connections = self._crew.connections_of(member)
        cut = f"{connections} connections are cut, {activity(member, now_ns)}"
        match reason:
            case Reason.NOTHING_TO_LOSE:
                log.debug("Worker (pid:%s) is killed while it boots", member.pid)
            case Reason.QUICK:
                log.warning("Worker (pid:%s) did not quit at once and is killed: %s", member.pid, cut)
            case Reason.GRACEFUL:
                log.warning(
                    "Worker (pid:%s) has not finished within the graceful timeout of %g s and is killed: %s",
                    member.pid, settings.graceful_timeout, cut,
                )  # fmt: skip
            case _:
                log.warning("Worker (pid:%s) did not die of its timeout and is killed", member.pid)

    def tell_replaced(self, log: ErrorLog, member: Member, spent: Spent) -> None:
        """It is well, and another takes its place."""
        self._crew.ledger.count_replaced(spent.name.lower())
        log.info("Worker (pid:%s) %s and is replaced", member.pid, spent.value)

    def tell_died(self, log: ErrorLog, member: Member, status: int, now_ns: int) -> OutOfMemory:
        """It ended, and not because it was told to; whether it was killed for want of memory."""
        findings = Findings(
            status=status,
            state=member.state,
            out_of_memory=self._out_of_memory(status, now_ns),
            request=activity(member, now_ns),
            peak_bytes=member.peak_bytes,
            private_bytes=member.memory_bytes,
        )
        log.error("Worker (pid:%s) %s", member.pid, cause_of_death(findings))
        return findings.out_of_memory

    def tell_mold_died(self, log: ErrorLog, mold: Mold, now_ns: int) -> None:
        """It ended, and its workers go on."""
        how = how_it_ended(mold.status, self._out_of_memory(mold.status, now_ns))
        log.error("Mold (pid:%s) %s; another is made when a worker is needed", mold.pid, how)

    def failed_boot(self, member: Member | Mold, status: int, now_ns: int) -> str:
        """Why it could not boot, in its own words if it had any."""
        if member.failure is not None:
            return member.failure.text
        return f"it {how_it_ended(status, self._out_of_memory(status, now_ns))}"

    def _out_of_memory(self, status: int, now_ns: int) -> OutOfMemory:
        if not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGKILL:
            return OutOfMemory.UNKNOWN  # Nobody has asked.
        return self._kills.explain_one(now_ns)

    def condition(self, current: Generation, target: int) -> Condition:
        """How the server is, for the service manager; there should be `target` workers of that generation."""
        serving = [member.generation for member in self._crew.roster if member.serves]
        return Condition(
            generation=current.number,
            is_proven=current.is_proven,
            serving=len(serving),
            outdated=len(serving) - serving.count(current.number),
            is_well=bool(serving) or not target,
        )

    def tell_stopped(self, log: ErrorLog) -> None:
        """All have gone: what they did altogether."""
        ledger = self._crew.ledger
        answered = ledger.gone(Cell.REQUESTS) + ledger.gone(Cell.REFUSED)
        log.info(
            "%s connections were accepted, %s requests answered, %s abandoned",
            ledger.gone(Cell.ACCEPTED), answered, ledger.get(Word.ABANDONED),
        )  # fmt: skip
        moved = {words: ledger.gone(cell) for cell, words in MOVED.items()}
        if any(moved.values()):
            reasons = (f"{count} {words}" for words, count in moved.items() if count)
            log.info("Connections were passed on: %s", ", ".join(reasons))


def _overdue(member: Member, settings: Settings, now_ns: int) -> str:
    """Which requests are over their time, and how many more the worker runs."""
    requests = requests_of(member)
    overdue = [one for one in requests if now_ns - one.alive_ns >= settings.timeout * _SECOND_NS]
    if not overdue:
        return activity(member, now_ns)  # They have ended just now.
    others = len(requests) - len(overdue)
    return running(overdue, now_ns) + (f"; besides, {others} within that time" if others else "")
