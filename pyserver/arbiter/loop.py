"""The arbiter's one loop: wait, note, decide, act. Nothing else in it waits."""

from __future__ import annotations

import gc
import os
import select
import signal
import time
from typing import TYPE_CHECKING

from pyserver._version import __version__
from pyserver.arbiter.actions import Abort, Kill, Quit, Reason, Retire, Spawn
from pyserver.arbiter.backoff import Backoff
from pyserver.arbiter.crew import Crew
from pyserver.arbiter.generations import Generation, Generations, Verdict, load_generation
from pyserver.arbiter.listeners import Listeners
from pyserver.arbiter.policy import Stop, Wanted, next_actions, next_deadline_ns
from pyserver.arbiter.reports import describe_exit, is_told_to_stop
from pyserver.arbiter.spawn import set_title
from pyserver.errors import EXIT_OK, EXIT_WORKER_BOOT, BootError, ConfigError
from pyserver.signals import SignalInbox, arbiter_verbs, worker_signal
from pyserver.sockets import listener_url
from pyserver.workers.base import ReportKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyserver.arbiter.actions import Action
    from pyserver.arbiter.roster import Member
    from pyserver.arbiter.spawn import Closable
    from pyserver.log import ErrorLog
    from pyserver.settings.model import Settings

_SECOND_NS = 1_000_000_000
_TICK_NS = _SECOND_NS  # how often the requests under way are looked at, at least
_GAP_NS = _SECOND_NS // 2  # a wait that took so much longer than asked for: the whole machine has paused
_MERGE_NS = _SECOND_NS // 2  # reloads that are asked for within this time are one
_LONGEST_WAIT_MS = 3_600_000  # poll(2) takes no more than 31 bits
_YOUNG_NS = _SECOND_NS  # a worker that dies sooner after it was ready may be part of a crash loop


class Arbiter:
    """Supervises the workers until it is told to stop.

    Args:
        settings: what the server was told to do.
        load: reads the settings again, for a reload; raises ConfigError, and then has changed nothing.

    Raises:
        ConfigError: the worker class cannot be loaded.
        BootError: the error log cannot be opened.
    """

    def __init__(self, settings: Settings, *, load: Callable[[], Settings]) -> None:
        self._load = load
        self._generations = Generations(load_generation(1, settings))
        self._listeners = Listeners()
        self._poll = select.poll()
        # Room for two generations, and for workers of older ones that still have requests to finish.
        self._crew = Crew(max(64, 4 * settings.workers), self._poll)
        self._backoff = Backoff()
        self._stop = Stop.NO
        self._exit_code = EXIT_OK
        self._clock_ns = 0
        self._reload_at_ns: int | None = None
        self._reload_not_before_ns = 0

    def run(self) -> int:
        """Serve until the server is stopped; returns the exit code of the process.

        Raises:
            BootError: a listener cannot be opened; nothing was started.
        """
        self._start()
        try:
            while True:
                now_ns = time.monotonic_ns()
                self._note(now_ns)
                for action in next_actions(self._wanted(), self._crew.look(), now_ns):
                    self._act(action, now_ns)
                if self._stop is not Stop.NO and not self._crew.roster:
                    break
                self._wait(now_ns)
        except Exception:
            # A bug of ours. The workers see the end of the lifeline, finish what they have, and go.
            self._log.exception("The arbiter has failed")
            raise
        self._log.info("Shutting down: Arbiter")
        if self._exit_code != EXIT_OK:
            self._log.error("Reason: Worker failed to boot.")
        return self._exit_code

    @property
    def _log(self) -> ErrorLog:
        return self._generations.current.log

    def _start(self) -> None:
        current = self._generations.current
        self._listeners.open(current.addresses, current.settings.backlog)
        # Before anything is said: who reads that we listen may send a signal at once.
        self._inbox = SignalInbox(arbiter_verbs())
        self._poll.register(self._inbox, select.POLLIN)
        set_title("arbiter", current.name)
        self._log.info("Starting pyserver %s", __version__)
        self._say_where()
        self._log.info("Using worker: %s", current.settings.worker_class)
        # What there is now is left alone by the workers' collectors, so its pages stay shared.
        gc.freeze()

    def _say_where(self) -> None:
        urls = map(listener_url, self._listeners.at(self._generations.current.addresses))
        self._log.info("Listening at: %s (%s)", ",".join(urls), os.getpid())

    # Wait

    def _wait(self, now_ns: int) -> None:
        wanted = self._wanted()
        instants = [next_deadline_ns(wanted, self._crew.look(), now_ns), self._reload_at_ns]
        if wanted.timeout_ns:
            # A request begins without our being told.
            instants.append(now_ns + min(_TICK_NS, wanted.timeout_ns))
        limit_ns = min((at_ns for at_ns in instants if at_ns is not None), default=None)
        self._poll.poll(None if limit_ns is None else _wait_ms(limit_ns - time.monotonic_ns()))
        if limit_ns is not None and time.monotonic_ns() - limit_ns > _GAP_NS:
            # The machine or the arbiter was stopped, and probably so were the workers: everybody's time begins anew.
            self._clock_ns = time.monotonic_ns()

    def _wanted(self) -> Wanted:
        current = self._generations.current
        return Wanted(
            generation=current.number,
            workers=current.settings.workers,
            timeout_ns=int(current.settings.timeout * _SECOND_NS),
            graceful_ns=int(current.settings.graceful_timeout * _SECOND_NS),
            stop=self._stop,
            spawn_not_before_ns=self._backoff.spawn_not_before_ns,
            clock_ns=self._clock_ns,
        )

    # Note

    def _note(self, now_ns: int) -> None:
        for number, verb in self._inbox.take():
            if verb == "reap":
                self._reap(now_ns)
                continue
            self._log.info("Handling signal: %s", number.name.removeprefix("SIG").lower())
            if verb == "quit":
                self._begin_stop(Stop.QUICK)
            elif verb == "retire" and self._stop is Stop.NO:
                self._begin_stop(Stop.GRACEFUL)
            elif verb == "reload" and self._stop is Stop.NO:
                self._reload_at_ns = max(now_ns, self._reload_not_before_ns)
        for member in self._crew.roster:
            self._hear(member, now_ns)
        if self._reload_at_ns is not None and now_ns >= self._reload_at_ns:
            self._reload(now_ns)

    def _begin_stop(self, stop: Stop) -> None:
        self._stop = stop
        self._reload_at_ns = None
        self._crew.announce_stop()
        # Ours first: the workers' are the last ones then, and each empties the queue before it closes.
        self._listeners.close()

    def _hear(self, member: Member, now_ns: int) -> None:
        for report in self._crew.hear(member):
            member.note_report(report, now_ns)
            if report.kind is ReportKind.LOADED:
                self._log.debug("Worker (pid:%s) is ready", member.pid)
                self._note_ready(member.generation)
            elif report.kind is ReportKind.REPLACE_ME:
                self._log.info("Worker (pid:%s) has served its number of requests and is replaced", member.pid)

    def _note_ready(self, generation: int) -> None:
        if self._generations.note_ready(generation):
            self._release()
            if generation > 1:
                self._log.info("Generation %s is ready: the workers before it retire", generation)

    def _reap(self, now_ns: int) -> None:
        for member, status in self._crew.dead():
            self._hear(member, now_ns)
            if member.killed_at_ns or member.aborted_at_ns:
                pass  # It was said when it was done.
            elif member.ready_at_ns:
                self._note_death(member, status, now_ns)
            elif self._stop is Stop.NO:
                self._note_failed_boot(member, status, now_ns)
            self._crew.bury(member)

    def _note_death(self, member: Member, status: int, now_ns: int) -> None:
        if status == 0 and (member.retired_at_ns or member.quit_at_ns or self._stop is not Stop.NO):
            return  # It did as it was told, by us or by the terminal that told us.
        request = self._crew.request_of(member)
        self._log.error("Worker (pid:%s) %s; %s", member.pid, describe_exit(status), request)
        if not member.retired_at_ns and now_ns - member.ready_at_ns < _YOUNG_NS:
            self._strike(now_ns)

    def _note_failed_boot(self, member: Member, status: int, now_ns: int) -> None:
        how, failure = describe_exit(status), member.failure
        if failure is None and is_told_to_stop(status):
            self._log.info("Worker (pid:%s) %s while it booted", member.pid, how)
            self._strike(now_ns)
            return
        verdict = self._generations.note_failed_boot(member.generation)
        if verdict is None:
            return
        text = failure.text if failure is not None else f"it {how}"
        self._log.error("Worker (pid:%s) failed to boot: %s", member.pid, self._generations.current.told_once(text))
        if verdict is Verdict.HALT:
            self._exit_code = failure.exit_code if failure is not None else EXIT_WORKER_BOOT
            self._begin_stop(Stop.QUICK)
        elif verdict is Verdict.DROP:
            self._drop()
        elif self._generations.current.is_proven:
            self._strike(now_ns)

    def _strike(self, now_ns: int) -> None:
        delay_ns = self._backoff.strike(now_ns, self._generations.current.settings.workers)
        if delay_ns:
            self._log.warning("Workers die as fast as they start: none is started for %.1f s", delay_ns / _SECOND_NS)

    # Reload

    def _reload(self, now_ns: int) -> None:
        self._reload_at_ns = None
        self._reload_not_before_ns = now_ns + _MERGE_NS
        self._log.info("Hang up: Arbiter")
        before = self._generations.current
        try:
            generation = self._prepared(self._load())
        except (ConfigError, BootError) as error:
            before.surroundings.restore()
            self._log.error("The reload is refused and nothing has changed: %s", error)
        except Exception:
            # The config file is a program, and whatever it raises must not end the server.
            before.surroundings.restore()
            self._log.exception("The reload has failed and nothing has changed")
        else:
            self._backoff.forget()
            self._generations.propose(generation)
            self._release()
            if generation.addresses != before.addresses:
                self._say_where()

    def _prepared(self, settings: Settings) -> Generation:
        """The next generation, with everything it needs besides its workers; raises when that cannot be had."""
        most = self._crew.roster.slots // 2
        if settings.workers > most:
            raise ConfigError(f"workers is {settings.workers}; for more than {most} the server must be restarted")
        generation = load_generation(self._generations.next_number(), settings)
        try:
            self._listeners.open(generation.addresses, settings.backlog)
        except BootError:
            generation.log.close()
            raise
        return generation

    def _drop(self) -> None:
        dropped = self._generations.current
        self._log.error("The reload is given up after %s failed boots", dropped.failed_boots)
        self._generations.drop()
        self._release()
        self._log.error("The workers of generation %s serve on", self._generations.current.number)

    def _release(self) -> None:
        """Close what belongs to no generation that counts."""
        self._generations.release()
        in_use = {address for one in self._generations.in_use() for address in one.addresses}
        self._listeners.keep(in_use)

    # Act

    def _act(self, action: Action, now_ns: int) -> None:
        match action:
            case Spawn():
                self._spawn(now_ns)
                return
            case Retire(slot):
                verb = worker_signal("retire")
            case Quit(slot):
                verb = worker_signal("quit")
            case Abort(slot):
                verb = signal.SIGABRT
                self._say_overdue(self._crew.roster.at(slot), now_ns)
            case Kill(slot, reason):
                verb = signal.SIGKILL
                self._say_killed(self._crew.roster.at(slot), reason)
        member = self._crew.roster.at(slot)
        member.note_told(action, now_ns)
        self._crew.tell(member, verb)

    def _spawn(self, now_ns: int) -> None:
        current = self._generations.current
        other_listeners = self._listeners.not_at(current.addresses)
        foreign: list[Closable] = [self._inbox, *other_listeners, *self._generations.other_logs()]
        try:
            if not self._crew.spawn(current, self._listeners.at(current.addresses), foreign):
                self._log.debug("No slot is free for another worker")
        except OSError as error:
            self._log.error("A worker cannot be started: %s", error.strerror)
            self._strike(now_ns)

    def _say_overdue(self, member: Member, now_ns: int) -> None:
        age = (now_ns - member.busy_since_ns) / _SECOND_NS
        limit = self._generations.current.settings.timeout
        self._log.critical(
            "WORKER TIMEOUT (pid:%s): after %.1f s, with a timeout of %g s, %s",
            member.pid, age, limit, self._crew.request_of(member),
        )  # fmt: skip

    def _say_killed(self, member: Member, reason: Reason) -> None:
        connections = self._crew.connections_of(member)
        cut = f"{connections} connections are cut, {self._crew.request_of(member)}"
        match reason:
            case Reason.NOTHING_TO_LOSE:
                self._log.debug("Worker (pid:%s) is killed while it boots", member.pid)
            case Reason.QUICK:
                self._log.warning("Worker (pid:%s) did not quit at once and is killed: %s", member.pid, cut)
            case Reason.GRACEFUL:
                limit = self._generations.current.settings.graceful_timeout
                self._log.warning(
                    "Worker (pid:%s) has not finished within the graceful timeout of %g s and is killed: %s",
                    member.pid, limit, cut,
                )  # fmt: skip
            case Reason.TIMEOUT:
                self._log.warning("Worker (pid:%s) did not die of its timeout and is killed", member.pid)


def _wait_ms(wait_ns: int) -> int:
    """Rounded up: a wait that ends a moment too early is a turn for nothing."""
    return max(0, min(wait_ns // 1_000_000 + 1, _LONGEST_WAIT_MS))
