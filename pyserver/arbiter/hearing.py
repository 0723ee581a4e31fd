"""What follows from what workers say."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from pyserver._scoreboard import Cell
from pyserver.arbiter.actions import Kill, Reason, Spent
from pyserver.errors import EXIT_OK
from pyserver.workers import CHOICES
from pyserver.workers.messages import ReportKind

if TYPE_CHECKING:
    from pyserver.arbiter.crew import Crew
    from pyserver.arbiter.narration import Narrator
    from pyserver.arbiter.reload import Reloads
    from pyserver.arbiter.roster import Member
    from pyserver.daemon import Starter
    from pyserver.log import ErrorLog


class Hearing:
    """Hears workers out.

    Args:
        crew: the workers.
        reloads: learns which generation has proved itself, and where source files lie.
        narrator: tells who is replaced.
        starter: of a daemon, which waits for the first worker that is ready.
    """

    def __init__(self, crew: Crew, reloads: Reloads, narrator: Narrator, starter: Starter) -> None:
        self._crew = crew
        self._reloads = reloads
        self._narrator = narrator
        self._starter = starter

    def hear_all(self, now_ns: int) -> None:
        """Take note of all that workers have said."""
        for member in self._crew.roster:
            self.hear(member, now_ns)

    def hear(self, member: Member, now_ns: int) -> None:
        """Take note of all that a worker has said; one that talks nonsense is killed."""
        try:
            self._note_reports(member, now_ns)
        except (ValueError, KeyError) as error:
            self._crew.mute(member)
            self._log.error("Worker (pid:%s) says what no worker says, and is killed: %s", member.pid, error)
            member.note_told(Kill(member.slot, Reason.INCOHERENT), now_ns)
            self._crew.tell(member, signal.SIGKILL)

    @property
    def _log(self) -> ErrorLog:
        return self._reloads.current.log

    def _note_reports(self, member: Member, now_ns: int) -> None:
        for report in self._crew.hear(member):
            member.note_report(report, now_ns)
            if report.kind is ReportKind.LOADED:
                self._log.debug("Worker (pid:%s) is ready", member.pid)
                self._note_ready(member)
                if report.text:
                    self._reloads.note_explained(member.generation, report.text)
            elif report.kind is ReportKind.SOURCES:
                self._reloads.note_sources(report.text)
            elif report.kind is ReportKind.REPLACE_ME:
                self._narrator.tell_replaced(self._log, member, Spent.REQUESTS)

    def _note_ready(self, member: Member) -> None:
        generation = member.generation
        if not self._reloads.note_ready(generation):
            return
        chosen = member.scoreboard.read(member.slot, Cell.CHOSEN)
        if chosen:
            self._narrator.tell_class(self._log, CHOICES[chosen])
        self._starter.tell(EXIT_OK)
        if generation > 1:
            self._log.info("Generation %s is ready: the workers before it retire", generation)
