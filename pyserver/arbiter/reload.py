"""From one load of the settings to the next: merged, checked, proposed; dropped when it does not boot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyserver.arbiter.generations import Generation, Generations, Verdict, load_generation
from pyserver.arbiter.listeners import Listeners
from pyserver.errors import BootError, ConfigError

if TYPE_CHECKING:
    import select
    from collections.abc import Callable, Mapping

    from pyserver.arbiter.pidfile import PidFiles
    from pyserver.arbiter.quic import QuicSockets
    from pyserver.arbiter.spawn import Closable
    from pyserver.arbiter.succession import QuicShare
    from pyserver.arbiter.watch import Watcher
    from pyserver.log import ErrorLog
    from pyserver.settings.model import Settings
    from pyserver.sockets import Address
    from pyserver.systemd import Notifier

ADMIN_BACKLOG = 64
_MERGE_NS = 500_000_000  # reloads that are asked for within this time are one


class Reloads:
    """The generations, the listeners and pid files they need, and the reload that somebody has asked for.

    Args:
        first: what the server starts with.
        listeners: opened and closed as the generations need them.
        load: reads the settings again; raises ConfigError, and then has changed nothing.
        most_workers: that there can be while the server runs.
        notifier: of the service manager.
    """

    def __init__(
        self,
        first: Generation,
        listeners: Listeners,
        load: Callable[[], Settings],
        most_workers: int,
        notifier: Notifier,
    ) -> None:
        self.generations = Generations(first)
        self.listeners = listeners
        self.admin_listeners = Listeners("--admin")  # open in no worker
        self.quic: QuicSockets | None = None  # as long as there is no HTTP/3
        self.proved = 0  # reloads
        self.failed = 0
        self.pidfiles: PidFiles | None = None  # as long as there is no setting that names one
        self.is_successor = False  # the arbiter before this one is still there
        self.at_ns: int | None = None  # when the reload that was asked for is due
        self.watcher: Watcher | None = None  # for development
        self._load = load
        self._most_workers = most_workers
        self._notifier = notifier
        self._not_before_ns = 0

    @property
    def current(self) -> Generation:
        """What new workers are forked from."""
        return self.generations.current

    def not_for_workers(self) -> list[Closable]:
        """What is open here and of no use to a worker of the current generation."""
        mine: list[Closable] = [one for one in (self.pidfiles, self.watcher) if one is not None]
        listeners = [*self.listeners.not_at(self.current.addresses), *self.admin_listeners.not_at(())]
        if self.quic is not None:
            listeners += self.quic.not_at(self.current.quic_addresses)
        return [*listeners, *self.generations.other_logs(), *mine]

    def open(self, generation: Generation) -> None:
        """Open what a generation needs besides its workers.

        Raises:
            BootError: something cannot be had; then everything is as before.
        """
        before, before_admin = self.listeners.addresses(), self.admin_listeners.addresses()
        settings = generation.settings
        self.listeners.open(generation.addresses, settings.backlog, generation.socket_access, settings.reuse_port)
        try:
            self.admin_listeners.open(generation.admin_addresses, ADMIN_BACKLOG, generation.admin_access)
            self._open_quic(generation)
            self._open_pidfile(generation.pidfile)
        except (BootError, ConfigError):
            self.listeners.keep(before)
            self.admin_listeners.keep(before_admin)
            if self.quic is not None:
                self.quic.keep(self._quic_in_use())
            raise

    def close(self) -> None:
        """The server ends."""
        self.listeners.close()
        self.admin_listeners.close()
        if self.quic is not None:
            self.quic.close()
        if self.pidfiles is not None:
            self.pidfiles.keep(())

    def ask(self, now_ns: int) -> None:
        """Somebody wants a reload; those that wait are one."""
        self.at_ns = max(now_ns, self._not_before_ns)

    def forget(self) -> None:
        """The server stops: nothing is reloaded any more."""
        self.at_ns = None
        if self.watcher is not None:
            self.watcher.close()

    def watch(self, poll: select.poll) -> None:
        """Have a reload whenever a source file changes, if that is wanted; raises ConfigError when it cannot be had."""
        if self.current.settings.reload:
            # Only for development.
            from pyserver.arbiter.watch import Watcher

            self.watcher = Watcher(self.current.settings, self.current.name, poll)

    def next_look_ns(self) -> int | None:
        """When the files of certificates are looked at; None where nobody does."""
        return self.current.certificates.next_ns if self.current.certificates is not None else None

    def note_changes(self, now_ns: int) -> None:
        """Ask for a reload when a source file has changed, or one of a certificate."""
        changed = self.watcher.changed(self._log) if self.watcher is not None else []
        if self.current.certificates is not None:
            changed += self.current.certificates.changed(now_ns)
        if changed:
            self._log.info("%s: reloading", describe_changes(changed))
            self.ask(now_ns)

    def note_sources(self, text: str) -> None:
        """A worker has said where the application's source files lie."""
        if self.watcher is not None:
            packages, _, directories = text.partition("\0\0")
            self.watcher.watch(filter(None, packages.split("\0")), filter(None, directories.split("\0")))

    def run(self, now_ns: int) -> bool:
        """Read the settings, and propose a new generation; false when everything stays as it is."""
        self.at_ns = None
        self._not_before_ns = now_ns + _MERGE_NS
        before = self.current
        # With what hooks have done since: a variable that one has set is not the doing of the reload that is given up.
        before.surroundings = before.surroundings.renewed()
        self._log.info("Hang up: Arbiter")
        self._notifier.reload_began()
        try:
            generation = self._prepared(self._load())
        except (ConfigError, BootError) as error:
            self._refuse(error)
            self._log.error("The reload is refused and nothing has changed: %s", error)
            self._note_failure(f"the reload is refused: {error}")
            return False
        except Exception as error:
            # The config file is a program, and whatever it raises must not end the server.
            self._refuse(error)
            self._log.exception("The reload has failed and nothing has changed")
            self._note_failure(f"the reload has failed: {type(error).__name__}")
            return False
        self.generations.propose(generation)
        if self.watcher is not None:
            self.watcher.watch_sources_of(generation.settings)
        self._release()
        return True

    def _refuse(self, error: Exception) -> None:
        """Have everything as it was."""
        before = self.current
        before.surroundings.restore()
        before.log.resume()
        if before.certificates is not None:
            before.certificates.note_refusal(error)

    def note_ready(self, number: int) -> bool:
        """A worker of that generation is ready; whether that has proved a new one."""
        if not self.generations.note_ready(number):
            return False
        self.proved += number > 1
        self._release()
        return True

    def note_explained(self, number: int, failure: str) -> None:
        """A worker of that generation serves a page that says why it could not load the application."""
        if number == self.current.number and not self.current.last_failure:
            self.current.last_failure = failure
            self._log.error("The application does not load; a page says so until a change repairs it: %s", failure)

    def note_failed_boot(self, number: int) -> Verdict | None:
        """A worker of that generation could not boot; None when the generation no longer matters."""
        verdict = self.generations.note_failed_boot(number)
        if verdict is Verdict.DROP:
            dropped = self.current
            self._log.error("The reload is given up after %s failed boots", dropped.failed_boots)
            self.generations.drop()
            self._release()
            self._log.error("The workers of generation %s serve on", self.current.number)
            reason = dropped.last_failure.partition("\n")[0]
            self._note_failure(f"generation {dropped.number} does not boot: {reason}")
        return verdict

    def _note_failure(self, why: str) -> None:
        self.failed += 1
        self._notifier.reload_failed(f"{why}; generation {self.current.number} serves on")

    @property
    def _log(self) -> ErrorLog:
        return self.current.log

    def _prepared(self, settings: Settings) -> Generation:
        """The next generation, with everything it needs besides its workers; raises when that cannot be had."""
        if settings.workers > self._most_workers:
            most = self._most_workers
            raise ConfigError(f"workers is {settings.workers}; for more than {most} the server must be restarted")
        before = self.current
        generation = load_generation(
            self.generations.next_number(), settings, before.inherited, before.scoreboard, before.access_file
        )
        try:
            self.open(generation)
        except (BootError, ConfigError):
            generation.log.close()
            raise
        return generation

    def share_quic(self) -> QuicShare | None:
        """What another arbiter can go on with HTTP/3 by."""
        if self.quic is None:
            return None
        # Loaded by whoever starts one.
        from pyserver.arbiter.succession import QuicShare

        return QuicShare(self.quic.share(), self.quic.secret)

    def adopt_quic(self, given: Mapping[Address, int], secret: bytes) -> None:
        """Take over what another arbiter shares."""
        from pyserver.arbiter.quic import QuicSockets

        self.quic = QuicSockets(secret)
        self.quic.adopt(given, self.current.quic_addresses, 0)

    def _open_quic(self, generation: Generation) -> None:
        if not generation.settings.quic_bind:
            return
        if self.quic is None:
            # Few serve HTTP/3.
            from pyserver.arbiter.quic import QuicSockets

            self.quic = QuicSockets()
        self.quic.open(generation.quic_addresses, 0)
        generation.quic = self.quic.seat(generation)

    def _quic_in_use(self) -> set[Address]:
        return {address for one in self.generations.in_use() for address in one.quic_addresses}

    def _open_pidfile(self, path: str) -> None:
        if not path:
            return
        if self.pidfiles is None:
            # Most servers have none, and their workers need not carry the module.
            from pyserver.arbiter.pidfile import PidFiles

            self.pidfiles = PidFiles(is_successor=self.is_successor)
        self.pidfiles.open(path)

    def _release(self) -> None:
        """Close what belongs to no generation that counts."""
        self.generations.release()
        in_use = {address for one in self.generations.in_use() for address in one.addresses}
        self.listeners.keep(in_use)
        self.admin_listeners.keep({address for one in self.generations.in_use() for address in one.admin_addresses})
        if self.quic is not None:
            self.quic.keep(self._quic_in_use())
        if self.pidfiles is not None:
            self.pidfiles.keep([one.pidfile for one in self.generations.in_use()])


def describe_changes(paths: list[str]) -> str:
    """Which files have changed, as the subject of a sentence, and its verb."""
    first, others = paths[0], len(set(paths)) - 1
    if not others:
        return f"{first} has changed"
    return f"{first} and {others} more {'file' if others == 1 else 'files'} have changed"
