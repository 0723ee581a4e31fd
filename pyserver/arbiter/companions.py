"""What runs beside the workers, while there is any: another arbiter, in an upgrade, and the process that tells.

Most servers have neither, and what their workers would carry of it is imported only then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import select
    from collections.abc import Callable, Iterable

    from pyserver.arbiter.admin import Admin
    from pyserver.arbiter.crew import Crew
    from pyserver.arbiter.hooks import Hooks
    from pyserver.arbiter.intent import Intent
    from pyserver.arbiter.reload import Reloads
    from pyserver.arbiter.spawn import Closable
    from pyserver.arbiter.succession import Inheritance, Launch
    from pyserver.arbiter.upgrade import Upgrade
    from pyserver.signals import SignalInbox
    from pyserver.systemd import Notifier


class Companions:
    """The two of them.

    Args:
        poll: where another arbiter is listened to.
    """

    def __init__(
        self, reloads: Reloads, crew: Crew, intent: Intent, hooks: Hooks, poll: select.poll, notifier: Notifier
    ) -> None:
        self._reloads = reloads
        self._crew = crew
        self._intent = intent
        self._hooks = hooks
        self._poll = poll
        self._notifier = notifier
        self._upgrade: Upgrade | None = None
        self._admin: Admin | None = None

    # Another arbiter

    @property
    def other_serves(self) -> bool:
        """Whether another arbiter has workers that serve."""
        return self._upgrade is not None and self._upgrade.other_serves

    @property
    def other_takes(self) -> bool:
        """Whether its workers take the connections that ours give away."""
        return self._upgrade is not None and self._upgrade.other_serves and self._upgrade.other_takes

    def join(self, inheritance: Inheritance) -> None:
        """The arbiter before this one is beside it."""
        from pyserver.arbiter.upgrade import Upgrade

        self._upgrade = Upgrade.join(inheritance, self._reloads, self._poll, self._notifier)

    def begin_upgrade(self, launch: Callable[[], Launch], inbox: SignalInbox, target: int) -> None:
        """Start another arbiter beside this one, if there is none."""
        # The last one may have come to its end just now.
        self.note_upgrade(target)
        if self._upgrade is not None:
            self._upgrade.refuse_another()
            return
        try:
            # In here, because there may be no descriptor left to import it with.
            from pyserver.arbiter.upgrade import Upgrade

            prepared = launch()._replace(prepare=lambda: self._hooks.call("pre_exec"))
            self._upgrade = Upgrade.begin(
                prepared, inbox, self._reloads, self._crew.commons, self._poll, self._notifier
            )
        except OSError as error:
            self._reloads.current.log.error("A new arbiter cannot be started: %s", error.strerror)

    def note_upgrade(self, target: int) -> None:
        """Hear what the other arbiter says; there should be `target` workers here."""
        if self._upgrade is not None:
            self._upgrade.hear(is_complete=self._crew.roster.count_ready() >= max(1, target))
            if self._upgrade.is_over:
                self._upgrade = None

    def stand_back(self) -> bool:
        """This arbiter stops: whether the other one goes on in its place."""
        return self._upgrade is not None and self._upgrade.stand_back()

    # The process that tells how the server is

    @property
    def has_admin(self) -> bool:
        """Whether there is such a process, or should be."""
        return self._admin is not None or bool(self._reloads.admin_listeners.addresses())

    def turn_admin(self, now_ns: int, foreign: Iterable[Closable]) -> None:
        """Have it run, and write down what it tells; see `Admin.turn`."""
        if self._admin is None:
            try:
                from pyserver.arbiter.admin import Admin
            except (ImportError, OSError) as error:
                # No descriptor is left to import it with, perhaps; there may be by the next turn.
                self._reloads.current.log.error("The admin process cannot be started: %s", error)
                return
            self._admin = Admin(self._reloads, self._crew, self._intent)
        other_tells = self._upgrade is not None and self._upgrade.other_tells
        self._admin.turn(now_ns, foreign, other_tells=other_tells)

    def reopen(self) -> None:
        """Have the error log opened anew."""
        if self._admin is not None:
            self._admin.reopen()

    # Both

    def note_reaped(self, pid: int, status: int) -> bool:
        """Whether a process that has ended was one of them."""
        return any(one.note_reaped(pid, status) for one in self._present())

    def leave(self) -> None:
        """This arbiter ends."""
        if self._admin is not None:
            self._admin.end()
        if self._upgrade is not None:
            self._upgrade.leave()

    def close(self) -> None:
        """For a child: it has nothing to do with them."""
        for one in self._present():
            one.close()

    def _present(self) -> list[Upgrade | Admin]:
        return [one for one in (self._upgrade, self._admin) if one is not None]
