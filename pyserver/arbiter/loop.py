"""The arbiter's one loop: wait, note, decide, act. Nothing else in it waits."""

from __future__ import annotations

import gc
import os
import select
import signal
import time
from typing import TYPE_CHECKING

from pyserver._scoreboard import Scoreboard
from pyserver._version import __version__
from pyserver.arbiter.companions import Companions
from pyserver.arbiter.crew import Crew
from pyserver.arbiter.deaths import Deaths
from pyserver.arbiter.deeds import Deeds
from pyserver.arbiter.gauges import Gauges
from pyserver.arbiter.generations import load_generation
from pyserver.arbiter.hearing import Hearing
from pyserver.arbiter.hooks import Hooks
from pyserver.arbiter.intent import Intent
from pyserver.arbiter.listeners import Listeners
from pyserver.arbiter.narration import Narrator
from pyserver.arbiter.policy import Stop, Wanted, next_actions, next_deadline_ns
from pyserver.arbiter.preload import Preload
from pyserver.arbiter.reload import Reloads
from pyserver.arbiter.spawn import set_title
from pyserver.commons import new_commons
from pyserver.daemon import Starter
from pyserver.errors import EXIT_OK
from pyserver.signals import SignalInbox, arbiter_verbs, worker_signal
from pyserver.sockets import AddressInUseError, listener_url
from pyserver.systemd import Notifier

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from pyserver.arbiter.spawn import Closable
    from pyserver.arbiter.succession import Inheritance, Launch
    from pyserver.log import ErrorLog
    from pyserver.settings.model import Settings
    from pyserver.signals import Noted
    from pyserver.systemd import Inherited

_SECOND_NS = 1_000_000_000
_TICK_NS = _SECOND_NS  # how often the requests under way are looked at, at least
_GAP_NS = _SECOND_NS // 2  # a wait that took so much longer than asked for: the whole machine has paused
_LONGEST_WAIT_MS = 3_600_000  # poll(2) takes no more than 31 bits


class Arbiter:
    """Supervises the workers until it is told to stop.

    Args:
        settings: what the server was told to do.
        load: reads the settings again, for a reload; raises ConfigError, and then has changed nothing.
        inherited: the sockets that this process was started with.
        starter: of a daemon, which waits to be told that the server serves.
        launch: tells how this process was started, for an upgrade.
        inheritance: what the arbiter before this one has given it.

    Raises:
        ConfigError: the worker class cannot be loaded.
        BootError: the error log cannot be opened.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        load: Callable[[], Settings],
        inherited: Inherited,
        launch: Callable[[], Launch],
        inheritance: Inheritance | None = None,
        starter: Starter | None = None,
    ) -> None:
        # First of all: what comes after keeps the environment for the workers.
        self._notifier = Notifier(os.environ, os.getpid())
        # Room for two generations, and for workers of older ones that still have requests to finish.
        slots = max(64, 4 * settings.workers)
        first = load_generation(1, settings, inherited, Scoreboard(slots))
        self._reloads = Reloads(first, Listeners(), load, slots // 2, self._notifier)
        self._poll = select.poll()
        self._crew = Crew(slots, self._poll)
        self._narrator = Narrator(self._crew)
        self._intent = Intent(slots // 2)
        self._preload = Preload(self._crew, self._reloads, self._narrator)
        self._starter = starter or Starter()
        self._clock_ns = 0
        self._held_ns = 0  # by reloads
        self._excused_ns = 0  # what reloads and hooks had held us up for when the last turn ended
        self._said_urls = ""
        self._said_quic = ""
        self._launch = launch
        self._inheritance = inheritance
        self._gauges = Gauges()
        self._hooks = Hooks(self._reloads, self._crew.roster, lambda: self.target)
        self._companions = Companions(
            self._reloads, self._crew, self._intent, self._hooks, self._poll, self._notifier
        )
        self._crew.note_stranger = self._companions.note_reaped
        self._hearing = Hearing(self._crew, self._reloads, self._narrator, self._starter)
        self._deaths = Deaths(
            self._crew, self._reloads, self._intent, self._narrator, self._hooks,
            hear=self._hearing.hear, halt=lambda why: self._begin_stop(Stop.QUICK, why),
        )  # fmt: skip
        self._deeds = Deeds(
            self._crew, self._reloads, self._narrator, self._deaths, self._hooks,
            foreign=self._foreign, others_take=lambda: self._companions.other_takes,
        )  # fmt: skip

    def run(self) -> int:
        """Serve until the server is stopped; returns the exit code of the process.

        Raises:
            BootError: a listener cannot be opened, or a hook does not want it; nothing was started.
        """
        self._hooks.start()
        try:
            return self._run()
        finally:
            self._hooks.call("on_exit")

    def _run(self) -> int:
        if not self._open():
            self._companions.leave()
            self._reloads.forget()
            self._reloads.close()
            self._log.info("Shutting down: Arbiter")
            return EXIT_OK
        self._start()
        try:
            while True:
                now_ns = time.monotonic_ns()
                self._note(now_ns)
                self._hooks.note_target()
                wanted = self._wanted()
                for action in next_actions(wanted, self._crew.look(now_ns), now_ns):
                    self._deeds.do(action, wanted, now_ns)
                if not self._intent.may_go_on and not self._crew.roster:
                    break
                self._gauges.note(self._settings, self._log, len(self._crew.roster), self._listening, now_ns)
                if self._companions.has_admin:
                    self._companions.turn_admin(now_ns, self._foreign())
                if self._notifier:
                    self._notifier.turned(now_ns, self._narrator.condition(self._reloads.current, self.target))
                self._wait(now_ns)
        except Exception:
            # A bug of ours. The workers see the end of the lifeline, finish what they have, and go.
            self._log.exception("The arbiter has failed")
            raise
        self._companions.leave()
        self._reloads.close()
        self._narrator.tell_stopped(self._log)
        self._log.info("Shutting down: Arbiter")
        if self._deaths.exit_code != EXIT_OK:
            self._log.error("Reason: Worker failed to boot.")
        return self._deaths.exit_code

    @property
    def target(self) -> int:
        """How many workers there should be."""
        return self._intent.workers(self._settings)

    @property
    def failure(self) -> str:
        """Why the server has ended without ever having served, in one line."""
        return self._deaths.failure

    @property
    def _settings(self) -> Settings:
        return self._reloads.current.settings

    @property
    def _log(self) -> ErrorLog:
        return self._reloads.current.log

    @property
    def _listening(self) -> list[socket.socket]:
        return self._reloads.listeners.not_at(())

    def _open(self) -> bool:
        """Listen; false when that could not be done before somebody has said to stop."""
        current = self._reloads.current
        self._reloads.watch(self._poll)
        if self._inheritance is not None:
            self._companions.join(self._inheritance)
            if current.settings.move_connections == "off":
                self._inheritance.refuse_commons()
            else:
                self._crew.commons = self._inheritance.commons
        # Before anything is said: who reads that we listen may send a signal at once.
        self._inbox = SignalInbox(arbiter_verbs())
        self._poll.register(self._inbox, select.POLLIN)
        try:
            self._reloads.open(current)
        except AddressInUseError:
            # Rare, and not for the workers to carry along.
            from pyserver.arbiter.patience import open_patiently

            return open_patiently(lambda: self._reloads.open(current), self._inbox, self._log)
        return True

    def _start(self) -> None:
        current = self._reloads.current
        if self._crew.commons is None and current.settings.move_connections != "off":
            self._crew.commons = new_commons(self._log)
        set_title("arbiter", current.name)
        self._log.info("Starting pyserver %s", __version__)
        if current.ignores_bind:
            self._log.info("Sockets that were passed to us take the place of bind: %s", current.inherited)
        self._say_where()
        self._say_with_what()
        self._hooks.call("when_ready")
        # What there is now is left alone by the workers' collectors, so its pages stay shared.
        gc.freeze()

    def _say_where(self) -> None:
        current = self._reloads.current
        contexts = current.contexts or [None] * len(current.addresses)
        listeners = zip(self._reloads.listeners.at(current.addresses), contexts, strict=True)
        urls = ",".join(listener_url(listener, context is not None) for listener, context in listeners)
        if urls != self._said_urls:
            self._said_urls = urls
            self._log.info("Listening at: %s (%s)", urls, os.getpid())
        if self._reloads.quic is not None and current.quic_addresses:
            where = self._reloads.quic.where(current.quic_addresses)
            if where != self._said_quic:
                self._said_quic = where
                self._log.info("Listening for HTTP/3 at: %s", where)

    def _say_with_what(self) -> None:
        name = self._reloads.current.worker_name
        # Which of others that is, its workers see when they have loaded the application.
        if name != "auto":
            self._narrator.tell_class(self._log, name)

    # Wait

    def _wait(self, now_ns: int) -> None:
        wanted = self._wanted()
        instants = [
            next_deadline_ns(wanted, list(self._crew.roster), now_ns),
            self._crew.molds.deadline_ns(wanted.boot_ns, self._clock_ns),
            self._reloads.at_ns,
            self._reloads.next_look_ns(),
            self._intent.stop_at_ns,
            self._notifier.next_turn_ns(now_ns),
            self._gauges.next_ns(self._settings, self._log),
        ]
        limits = [limit_ns for limit_ns in (wanted.timeout_ns, wanted.slow_ns) if limit_ns]
        if limits or wanted.memory_bytes:
            # A request begins, and a worker grows, without our being told.
            instants.append(now_ns + min([_TICK_NS, *limits]))
        if self._companions.has_admin:
            # It tells how long ago the last turn was.
            instants.append(now_ns + _TICK_NS)
        limit_ns = min((at_ns for at_ns in instants if at_ns is not None), default=None)
        held_ns = self._held_ns + self._hooks.held_ns
        self._poll.poll(None if limit_ns is None else _wait_ms(limit_ns - time.monotonic_ns()))
        if limit_ns is not None and time.monotonic_ns() - limit_ns - (held_ns - self._excused_ns) > _GAP_NS:
            # The machine or the arbiter was stopped, and probably so were the workers: everybody's time begins anew.
            self._clock_ns = time.monotonic_ns()
        self._excused_ns = held_ns

    def _wanted(self) -> Wanted:
        current = self._reloads.current
        return self._intent.wanted(
            current.number, current.settings, self._deaths.backoff.spawn_not_before_ns, self._clock_ns
        )

    # Note

    def _note(self, now_ns: int) -> None:
        for noted in self._inbox.take():
            if noted.verb == "reap":
                self._deaths.reap(now_ns)
            else:
                self._log.info("Handling signal: %s", noted)
                self._obey(noted, now_ns)
        if any(self._crew.molds):
            # What a mold says may be about a worker that has died before.
            self._deaths.reap(now_ns)
        self._hearing.hear_all(now_ns)
        if self._settings.max_worker_memory:
            self._crew.weigh(now_ns, self._settings.max_worker_memory)
        self._reloads.note_changes(now_ns)
        self._companions.note_upgrade(self.target)
        if self._intent.stop_is_due(now_ns):
            self._begin_stop(Stop.GRACEFUL)
        if self._reloads.at_ns is not None and now_ns >= self._reloads.at_ns:
            self._reload(now_ns)
        self._preload.tend(self._wanted(), now_ns, goes_on=self._intent.may_go_on)

    def _obey(self, noted: Noted, now_ns: int) -> None:
        match noted.verb:
            case "quit":
                # Nobody waits for the port while another arbiter serves on it: there is time to finish.
                has_time = noted.number == signal.SIGQUIT and self._companions.other_serves and self._intent.may_go_on
                self._begin_stop(Stop.GRACEFUL if has_time else Stop.QUICK)
            case "retire":
                self._plan_stop(now_ns)
            case "reopen":
                self._reopen()
            case _ if not self._intent.goes_on:
                self._log.info("The signal is ignored, because the server stops")
            case "reload":
                self._reloads.ask(now_ns)
                self._intent.note_asked()
            case "add" | "remove":
                if not self._intent.add(noted.times if noted.verb == "add" else -noted.times, self._settings):
                    self._log.warning("There are %s workers: fewer or more there cannot be", self.target)
            case "refork":
                self._preload.refork()
            case "dismiss":
                self._intent.dismiss()
            case "upgrade":
                self._companions.begin_upgrade(self._launch, self._inbox, self.target)

    def _plan_stop(self, now_ns: int) -> None:
        delay_ns = int(self._settings.drain_delay * _SECOND_NS)
        if not self._intent.may_go_on:
            return
        if self._intent.goes_on and delay_ns and not self._companions.other_serves:
            self._intent.plan_stop(now_ns + delay_ns)
            self._crew.announce_drain()
            self._reloads.forget()
            self._notifier.stop_began("serves on for a while, and stops then")
            self._log.info("Serving on for the drain_delay of %g s", self._settings.drain_delay)
        else:
            self._begin_stop(Stop.GRACEFUL)

    def _begin_stop(self, stop: Stop, why: str = "") -> None:
        self._intent.begin_stop(stop)
        self._reloads.forget()
        # The other arbiter may just have said that it stops, too.
        self._companions.note_upgrade(self.target)
        if not self._companions.stand_back():
            self._notifier.stop_began(why or "stops")
            self._crew.announce_drain()
        current = self._reloads.current
        if not (self._companions.other_serves or current.inherited.keeps(current.addresses)):
            self._crew.announce_stop()
        # Ours first: the workers' are the last ones then, and each empties the queue before it closes.
        self._reloads.listeners.close()

    def _reopen(self) -> None:
        for generation in self._reloads.generations.in_use():
            generation.log.reopen()
            if generation.access_file is not None:
                generation.access_file.reopen(generation.log)
            # Before the workers are told: their user may be unable to make a file there.
            generation.hand_over_logs()
        for member in self._crew.roster:
            self._crew.tell(member, worker_signal("reopen"))
        for mold in self._crew.molds:
            mold.reopen()
        self._companions.reopen()

    def _reload(self, now_ns: int) -> None:
        began_ns, hooks_ns = time.monotonic_ns(), self._hooks.held_ns
        if self._reloads.run(now_ns):
            self._note_reload()
        # The config file is a program; its time is ours, as that of a hook, and no pause of the machine.
        self._held_ns += time.monotonic_ns() - began_ns - (self._hooks.held_ns - hooks_ns)

    def _note_reload(self) -> None:
        self._deaths.backoff.forget()
        self._intent.note_reload(self._settings)
        self._say_where()
        self._say_with_what()
        self._hooks.note_target()
        self._hooks.call("on_reload")

    def _foreign(self) -> list[Closable]:
        """What is open here and of no use to a child."""
        return [self._inbox, self._starter, self._companions, *self._reloads.not_for_workers()]


def _wait_ms(wait_ns: int) -> int:
    """Rounded up: a wait that ends a moment too early is a turn for nothing."""
    return max(0, min(wait_ns // 1_000_000 + 1, _LONGEST_WAIT_MS))
