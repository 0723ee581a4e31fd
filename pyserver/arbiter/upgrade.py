"""The upgrade by USR2, as either of its two arbiters sees it: what they share, and what follows from the end of one.

The old one serves on until it is told to stop. Until one of them has gone, files that both use are removed by neither.
"""

from __future__ import annotations

import contextlib
import select
from typing import TYPE_CHECKING

from pyserver.arbiter.autopsy import how_it_ended
from pyserver.arbiter.reload import ADMIN_BACKLOG
from pyserver.arbiter.succession import start_successor
from pyserver.errors import BootError

if TYPE_CHECKING:
    from pyserver.arbiter.reload import Reloads
    from pyserver.arbiter.spawn import Closable
    from pyserver.arbiter.succession import Inheritance, Launch, OtherArbiter
    from pyserver.commons import Commons
    from pyserver.log import ErrorLog
    from pyserver.systemd import Notifier


class Upgrade:
    """There is another arbiter; made by `begin` in the old one and by `join` in the new one.

    Args:
        other: the other one.
        is_new: whether this is the new one.
        reloads: what this one has open.
        poll: what this one waits with; it learns of the other one.
        notifier: tells the service manager which of them is the server.
    """

    def __init__(
        self, other: OtherArbiter, *, is_new: bool, reloads: Reloads, poll: select.poll, notifier: Notifier
    ) -> None:
        self.is_over = False
        self._other = other
        self._is_new = is_new
        self._has_said_ready = False
        self._has_stood_back = False
        self._reloads = reloads
        self._poll = poll
        self._notifier = notifier
        poll.register(other, select.POLLIN)

    @classmethod
    def begin(
        cls,
        launch: Launch,
        inbox: Closable,
        reloads: Reloads,
        commons: Commons | None,
        poll: select.poll,
        notifier: Notifier,
    ) -> Upgrade:
        """Start a new arbiter, with the listeners and the commons of this one.

        Raises:
            OSError: the system has no room for another process.
        """
        log, passed = reloads.current.log, reloads.current.inherited.descriptors
        try:
            shared = reloads.listeners.share(), reloads.admin_listeners.share(), reloads.share_quic()
            other = start_successor(launch, *shared, commons, passed, inbox, log)
        except OSError:
            reloads.listeners.unshare()
            reloads.admin_listeners.unshare()
            raise
        log.info("The new arbiter (pid: %s) was started", other.pid)
        return cls(other, is_new=False, reloads=reloads, poll=poll, notifier=notifier)

    @classmethod
    def join(cls, inheritance: Inheritance, reloads: Reloads, poll: select.poll, notifier: Notifier) -> Upgrade:
        """Take what the old arbiter has given this one.

        Raises:
            BootError: that is not what it was said to be.
        """
        current = reloads.current
        reloads.listeners.adopt(inheritance.listeners, current.addresses, current.settings.backlog)
        reloads.admin_listeners.adopt(inheritance.admin, current.admin_addresses, ADMIN_BACKLOG)
        if inheritance.quic:
            reloads.adopt_quic(inheritance.quic, inheritance.quic_secret)
        reloads.is_successor = True
        return cls(inheritance.predecessor, is_new=True, reloads=reloads, poll=poll, notifier=notifier)

    @property
    def other_serves(self) -> bool:
        """Whether the other one has workers that take what this one leaves in the accept queues."""
        return self._other.is_ready and self._goes_on

    @property
    def other_takes(self) -> bool:
        """Whether its workers take what this one's put into the commons."""
        return self._other.takes

    @property
    def other_tells(self) -> bool:
        """Whether it is the other one that answers where both can be asked for their state: the old one until it stops.

        Of two that answer in turn nobody could tell what grows and what falls.
        """
        return self._goes_on and not self.is_over and (self._is_new or self._has_stood_back)

    def hear(self, *, is_complete: bool) -> None:
        """Take note of the other one.

        Args:
            is_complete: whether this one has all of its workers.
        """
        if self.is_over:
            return
        if is_complete and self._is_new and not self._has_said_ready:
            self._has_said_ready = True
            self._other.say_ready()
        pid, was_ready = self._other.pid, self._other.is_ready
        self._other.hear()
        if self._other.is_ready and not was_ready:
            self._log.info("The new arbiter (pid: %s) serves; this one does so, too, until it is told to stop", pid)
        if self._other.is_gone and self._is_new:
            self._succeed()
        elif self._other.is_gone:
            self._forget()  # What became of it is said when it is reaped.

    def refuse_another(self) -> None:
        """Say why there cannot be a third arbiter."""
        which = "the arbiter before this one" if self._is_new else "the new arbiter"
        self._log.warning("Another upgrade has to wait until %s (pid: %s) has gone", which, self._other.pid)

    def note_reaped(self, pid: int, status: int) -> bool:
        """A child has ended that is no worker; whether it was the new arbiter."""
        if pid != self._other.pid or self.is_over:
            return False
        log = self._log.error if status else self._log.info
        log("The new arbiter (pid: %s) %s; this one stays", pid, how_it_ended(status))
        if self._reloads.pidfiles is not None:
            self._reloads.pidfiles.clear_successor()
        self._end()
        return True

    def stand_back(self) -> bool:
        """This one stops; whether the service goes on with the other one, so that its manager is not told of an end."""
        self._other.say_stops()
        self._has_stood_back = True
        if self._goes_on and not self._is_new:
            self._notifier.handed_over(self._other.pid)
        return self._goes_on

    def leave(self) -> None:
        """This one ends before the other."""
        if not self._is_new and not self.is_over and self._reloads.pidfiles is not None:
            self._reloads.pidfiles.hand_over(self._other.pid)
        # Who finds the successor in the pid file may send it a signal at once; it shall know then.
        self._other.close()

    def close(self) -> None:
        """For a child: it has nothing to do with the other one."""
        self._other.close()

    @property
    def _goes_on(self) -> bool:
        return not (self._other.is_stopping or self._other.is_gone)

    @property
    def _log(self) -> ErrorLog:
        return self._reloads.current.log

    def _succeed(self) -> None:
        self._log.info("The arbiter before this one (pid: %s) has gone: this one takes its place", self._other.pid)
        self._reloads.is_successor = False
        self._notifier.took_over()
        if self._reloads.pidfiles is not None:
            try:
                self._reloads.pidfiles.succeed()
            except BootError as error:
                self._log.error("%s", error)
        self._end()

    def _end(self) -> None:
        self._forget()
        self._other.close()
        self._reloads.listeners.unshare()
        self._reloads.admin_listeners.unshare()
        self.is_over = True

    def _forget(self) -> None:
        with contextlib.suppress(KeyError):
            self._poll.unregister(self._other)
