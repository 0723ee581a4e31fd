"""The process that tells how the server is: when there has to be one, and what the arbiter writes down for it.

The arbiter answers nobody: it speaks no HTTP, and no client of it can keep it from its work. It opens the listener,
so that none is refused while one such process takes the place of another.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from pyserver.arbiter.autopsy import how_it_ended
from pyserver.arbiter.spawn import fork_process, set_title
from pyserver.errors import EXIT_WORKER_CRASHED
from pyserver.ledger import Entry, Phase, Word
from pyserver.sockets import listener_url

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable

    from pyserver._scoreboard import Scoreboard
    from pyserver.arbiter.crew import Crew
    from pyserver.arbiter.generations import Generation
    from pyserver.arbiter.intent import Intent
    from pyserver.arbiter.reload import Reloads
    from pyserver.arbiter.roster import Member
    from pyserver.arbiter.spawn import Closable

_SECOND_NS = 1_000_000_000
_YOUNG_NS = 60 * _SECOND_NS  # one that ends sooner may do so again and again
_LONGEST_DELAY_NS = 2 * _SECOND_NS


def delay_after(lived_ns: int, delay_ns: int) -> int:
    """How long to wait before another one is started, nanoseconds; meanwhile a probe has no answer.

    Args:
        lived_ns: how long the last one has lived; it is replaced at once when that was a minute.
        delay_ns: how long it was waited for the last one.
    """
    return 0 if lived_ns > _YOUNG_NS else min(max(_SECOND_NS, 2 * delay_ns), _LONGEST_DELAY_NS)


class _Process(NamedTuple):
    """One that runs; it leaves when its pipe ends."""

    pid: int
    rope: int  # the end of that pipe which nobody but the arbiter has
    knows: tuple[object, ...]  # what it was started with
    boards: frozenset[int]  # where the scoreboards lie that it can read
    forked_at_ns: int

    def close(self) -> None:
        os.close(self.rope)


class Admin:
    """The arbiter's side.

    Args:
        reloads: the current settings, and the listeners.
        crew: the workers.
        intent: whether the server goes on.
    """

    def __init__(self, reloads: Reloads, crew: Crew, intent: Intent) -> None:
        self._reloads = reloads
        self._crew = crew
        self._intent = intent
        self._process: _Process | None = None
        self._delay_ns = 0
        self._not_before_ns = 0
        self._said_urls = ""

    def turn(self, now_ns: int, foreign: Iterable[Closable], *, other_tells: bool) -> None:
        """Write down what has changed, and have the process run that can tell of it.

        Args:
            now_ns: the monotonic clock.
            foreign: what is open here besides listeners and what the crew has.
            other_tells: another arbiter answers at the addresses that it has, too.
        """
        listeners = self._reloads.admin_listeners
        told_at = listeners.own() if other_tells else listeners.not_at(())
        if not told_at:
            if other_tells:
                self._crew.ledger.set(Word.PHASE, Phase.SUCCEEDED)
            self._dismiss()
            return
        self._write_down(now_ns)
        self._say_where(told_at)
        current = self._reloads.current
        boards = self._boards()
        knows = (current.number, *(listener.fileno() for listener in told_at))
        process = self._process
        if process is not None and process.knows == knows and boards.keys() <= process.boards:
            return
        if now_ns < self._not_before_ns:
            return
        try:
            self._process = self._started(current, told_at, boards, foreign, knows)
        except OSError as error:
            current.log.error("The admin process cannot be started: %s", error.strerror)
            self._put_off(now_ns)
            return
        if process is not None:
            process.close()

    def close(self) -> None:
        """For a child: it has nothing to do with the process."""
        if self._process is not None:
            self._process.close()

    def reopen(self) -> None:
        """Have it open the error log anew."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGUSR1)

    def end(self) -> None:
        """The server ends: nobody is answered any more."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGKILL)
        self._dismiss()

    def note_reaped(self, pid: int, status: int) -> bool:
        """A child has ended that is no worker; whether it was the one that is needed."""
        process = self._process
        if process is None or pid != process.pid:
            return False
        self._reloads.current.log.error("Admin (pid:%s) %s; another is started", pid, how_it_ended(status))
        self._dismiss()
        now_ns = time.monotonic_ns()
        self._put_off(now_ns, now_ns - process.forked_at_ns)
        return True

    def _put_off(self, now_ns: int, lived_ns: int = 0) -> None:
        self._delay_ns = delay_after(lived_ns, self._delay_ns)
        self._not_before_ns = now_ns + self._delay_ns

    def _dismiss(self) -> None:
        """Have it leave when it has answered."""
        process, self._process = self._process, None
        if process is not None:
            process.close()

    def _say_where(self, listeners: Iterable[socket.socket]) -> None:
        urls = ",".join(map(listener_url, listeners))
        if urls != self._said_urls:
            self._said_urls = urls
            self._reloads.current.log.info("Health and metrics at: %s", urls)

    def _boards(self) -> dict[int, Scoreboard]:
        boards = [member.scoreboard for member in self._crew.roster]
        return {board.extent[0]: board for board in (*boards, self._reloads.current.scoreboard)}

    def _write_down(self, now_ns: int) -> None:
        ledger, intent, current = self._crew.ledger, self._intent, self._reloads.current
        phase = Phase.SERVING if intent.goes_on else Phase.DRAINING if intent.may_go_on else Phase.STOPPING
        ledger.set(Word.TURNED_NS, now_ns)
        ledger.set(Word.PHASE, phase)
        ledger.set(Word.GENERATION, current.number)
        ledger.set(Word.WANTED, intent.workers(current.settings) if intent.may_go_on else 0)
        ledger.set(Word.RELOADS, self._reloads.proved)
        ledger.set(Word.RELOADS_FAILED, self._reloads.failed)
        ledger.show({member.slot: _entry(member) for member in self._crew.roster})

    def _started(
        self,
        current: Generation,
        listeners: list[socket.socket],
        boards: dict[int, Scoreboard],
        foreign: Iterable[Closable],
        knows: tuple[object, ...],
    ) -> _Process:
        watched, rope = os.pipe()
        open_here = (*foreign, *self._crew.not_for_others(), *self._reloads.listeners.not_at(()))
        # The log of requests is not its either.
        files = [] if current.access_file is None else [current.access_file]
        not_its_own = [*(one for one in open_here if one not in listeners), *files]
        try:
            # The mask stays as it is then, with all blocked that the arbiter obeys: a terminal and a service manager
            # send their signals to every process, and this one has to tell of the end until it has come.
            pid = fork_process(lambda _: self._live(current, listeners, (watched, rope), boards, not_its_own))
        except OSError:
            os.close(rope)
            raise
        finally:
            os.close(watched)
        return _Process(pid, rope, knows, frozenset(boards), time.monotonic_ns())

    def _live(
        self,
        current: Generation,
        listeners: list[socket.socket],
        pipe: tuple[int, int],
        boards: dict[int, Scoreboard],
        not_its_own: list[Closable],
    ) -> NoReturn:
        try:
            for item in not_its_own:
                item.close()
            watched, rope = pipe
            os.close(rope)
            set_title("admin", current.name)
            # In here, because it speaks HTTP.
            from pyserver.admin.process import serve

            serve(listeners, watched, self._crew.ledger, boards, current.settings, current.log)
        except BaseException:
            # Nothing may escape: what would go on is a second arbiter.
            current.log.exception("Admin (pid:%s) crashed", os.getpid())
        finally:
            os._exit(EXIT_WORKER_CRASHED)


def _entry(member: Member) -> Entry:
    return Entry(
        pid=member.pid,
        number=member.number,
        generation=member.generation,
        board=member.scoreboard.extent[0],
        forked_at_ns=member.forked_at_ns,
        ready_at_ns=member.ready_at_ns,
        state=member.state,
        serves=member.serves,
    )
