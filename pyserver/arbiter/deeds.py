"""How what was decided is done to a worker: it is started, told, relieved or killed, and the log says so."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from pyserver.arbiter.actions import Abort, Ask, Kill, Quit, Reason, Relieve, Replace, ReportSlow, Retire, Spawn, Spent
from pyserver.arbiter.policy import Wanted, stays
from pyserver.signals import STACKS_SIGNAL, worker_signal

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyserver.arbiter.actions import Action
    from pyserver.arbiter.crew import Crew
    from pyserver.arbiter.deaths import Deaths
    from pyserver.arbiter.hooks import Hooks
    from pyserver.arbiter.narration import Narrator
    from pyserver.arbiter.reload import Reloads
    from pyserver.arbiter.roster import Member
    from pyserver.arbiter.spawn import Closable

_FRESH_NS = 10_000_000_000  # a worker that is spent sooner was so from its start
_SHORT_LIFE_NS = 500_000_000  # a lifetime that was chosen is no such sign, unless hardly anything is served within it


class Deeds:
    """Does what the policy has decided.

    Args:
        foreign: tells what is open here and of no use to a child.
        others_take: tells whether workers of another arbiter take the connections that ours give away.
    """

    def __init__(
        self, crew: Crew, reloads: Reloads, narrator: Narrator, deaths: Deaths, hooks: Hooks,
        *, foreign: Callable[[], list[Closable]], others_take: Callable[[], bool],
    ) -> None:  # fmt: skip
        self._crew = crew
        self._reloads = reloads
        self._narrator = narrator
        self._deaths = deaths
        self._hooks = hooks
        self._foreign = foreign
        self._others_take = others_take

    def do(self, action: Action, wanted: Wanted, now_ns: int) -> None:
        """Do one action; `wanted` is what the decision was made for."""
        if isinstance(action, Spawn):
            self._spawn(action.number, now_ns)
            return
        member = self._crew.roster.at(action.slot)
        settings, log = self._reloads.current.settings, self._reloads.current.log
        match action:
            case Retire():
                self._let_move(member, wanted)
                self._crew.tell(member, worker_signal("retire"))
            case Quit():
                self._crew.tell(member, worker_signal("quit"))
            case Ask():
                self._crew.ask(member)
            case Replace(_, spent):
                self._narrator.tell_replaced(log, member, spent)
                if now_ns - member.ready_at_ns < (_SHORT_LIFE_NS if spent is Spent.LIFETIME else _FRESH_NS):
                    # A limit that fresh workers exceed would have them replaced for ever, as fast as they boot.
                    self._deaths.strike(now_ns)
            case ReportSlow(_, limit_ns):
                self._narrator.tell_slow(log, member, limit_ns, now_ns)
                self._crew.tell(member, STACKS_SIGNAL)
            case Relieve():
                self._narrator.tell_relieved(log, member, settings, now_ns)
                self._crew.note_timeout(member, settings.timeout)
                # It may retire for that.
                self._let_move(member, wanted)
                self._crew.relieve(member)
            case Abort(_, reason):
                self._narrator.tell_aborted(log, member, reason, settings, now_ns)
                self._crew.note_timeout(member, settings.timeout)
                self._crew.tell(member, signal.SIGABRT)
            case Kill(_, Reason.NOTHING_TO_LOSE) if not self._crew.dismiss(member):
                return  # It has become ready since we have heard of it; the next turn hears that.
            case Kill(_, reason):
                self._narrator.tell_killed(log, member, reason, settings, now_ns)
                self._crew.tell(member, signal.SIGKILL)
        # After it was told of: of two slow requests, the second is told of alone.
        member.note_told(action, now_ns)

    def _let_move(self, member: Member, wanted: Wanted) -> None:
        staying = [one for one in self._crew.roster if stays(wanted, one)]
        self._crew.let_move(member, staying, others_take=self._others_take())

    def _spawn(self, number: int, now_ns: int) -> None:
        current = self._reloads.current
        listeners = self._reloads.listeners.at(current.addresses)
        try:
            if not self._crew.spawn(current, number, listeners, self._foreign(), self._hooks):
                current.log.debug("No slot is free for another worker")
        except OSError as error:
            current.log.error("A worker cannot be started: %s", error.strerror)
            self._deaths.strike(now_ns)
