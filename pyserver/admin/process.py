"""The process that tells how the server is, from its first step to its last: connections, and nothing of what is told.

A connection has one request and one deadline. There are few at a time, and a new one takes the place of the oldest, so
that nobody who holds connections open keeps a probe from its answer.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import time
from typing import TYPE_CHECKING

from pyserver._http import Limits, RequestParser
from pyserver._process import die_with_parent, shorten_turns
from pyserver.admin.answers import Answers
from pyserver.admin.views import Site
from pyserver.errors import EXIT_OK
from pyserver.identity import become

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pyserver._http import Fault, Request
    from pyserver._scoreboard import Scoreboard
    from pyserver.ledger import Ledger
    from pyserver.log import ErrorLog
    from pyserver.settings.model import Settings

    Respond = Callable[[Request | tuple[Fault, int]], bytes]

_MOST_VISITS = 64
_VISIT_SECONDS = 5.0
_TURN_NS = 100_000  # the shortest that Linux gives; /livez takes about as long
_PRECEDENCE = 5  # over the workers, of nice(2)
_CHUNK = 65_536
_STEPS = 4  # as many as a request takes that is there, answer and end included
_LIMITS = Limits(line=1024, fields=100, field=8190, content=65_536)


def serve(
    listeners: Sequence[socket.socket],
    rope: int,
    ledger: Ledger,
    boards: Mapping[int, Scoreboard],
    settings: Settings,
    log: ErrorLog,
) -> None:
    """Answer until the arbiter lets go of the other end of `rope`, or ends.

    Args:
        listeners: where.
        rope: readable once this process is to leave.
        ledger: what the arbiter writes down.
        boards: what the workers do, by where each lies in memory.
        settings: of the server.
        log: its error log.
    """
    arbiter = os.getppid()
    _hurry()
    # What clients send is not read as root where that is not needed.
    become(settings)
    die_with_parent()
    log.debug("Booting admin with pid: %s", os.getpid())
    signal.signal(signal.SIGUSR1, lambda *_: log.reopen())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
    answers = Answers(Site(ledger, boards, arbiter), log)
    _Desk(listeners, rope, answers.respond, log).run()
    os._exit(EXIT_OK)


def _hurry() -> None:
    """Have the processor soon when workers use all there is: a probe waits, and needs it for very little."""
    shorten_turns(_TURN_NS)
    # Before this process is somebody who may not.
    with contextlib.suppress(OSError):
        os.nice(-_PRECEDENCE)


class _Visit:
    """One connection: a request is read, answered, and what the client still sends is dropped until it closes."""

    def __init__(self, connection: socket.socket, respond: Respond) -> None:
        connection.setblocking(False)
        self.connection = connection
        self.ends_at = time.monotonic() + _VISIT_SECONDS
        self._respond = respond
        self._parser = RequestParser(_LIMITS)
        self._unsent = b""
        self._is_answered = False

    def fileno(self) -> int:
        return self.connection.fileno()

    @property
    def interest(self) -> int:
        """What is waited for."""
        return select.POLLOUT if self._unsent else select.POLLIN

    def go_on(self) -> bool:
        """Do what can be done now; false when it is over."""
        try:
            # Not for as long as it can: others have their turn before one who sends without end.
            for _ in range(_STEPS):
                if not (self._send() if self._unsent else self._receive()):
                    return False
        except BlockingIOError:
            pass
        except OSError:
            return False
        return True

    def _receive(self) -> bool:
        data = self.connection.recv(_CHUNK)
        if data and not self._is_answered:
            found = self._parser.receive(data)
            if found:
                # The head, or a refusal of it; what follows is nobody's.
                self._is_answered = True
                self._unsent = self._respond(found[0])  # type: ignore[arg-type]
        return bool(data)

    def _send(self) -> bool:
        self._unsent = self._unsent[self.connection.send(self._unsent) :]
        if not self._unsent:
            # Closed with bytes unread it would be reset, and the answer perhaps lost; RFC 9112 §9.6.
            self.connection.shutdown(socket.SHUT_WR)
        return True


class _Desk:
    """Whoever connects, is answered."""

    def __init__(self, listeners: Sequence[socket.socket], rope: int, respond: Respond, log: ErrorLog) -> None:
        self._listeners = {listener.fileno(): listener for listener in listeners}
        self._rope = rope
        self._respond = respond
        self._log = log
        self._visits: dict[int, _Visit] = {}  # the oldest first
        self._poll = select.poll()
        for descriptor in (*self._listeners, rope):
            self._poll.register(descriptor, select.POLLIN)

    def run(self) -> None:
        """Until this process is to leave and nobody waits for an answer."""
        is_leaving = False
        while self._visits or not is_leaving:
            for descriptor, _ in self._poll.poll(self._wait_ms()):
                if descriptor == self._rope:
                    is_leaving = True
                    for watched in (*self._listeners, self._rope):
                        self._poll.unregister(watched)
                elif descriptor in self._listeners:
                    if not is_leaving:
                        self._admit(self._listeners[descriptor])
                elif descriptor in self._visits:
                    self._go_on(self._visits[descriptor])
            now = time.monotonic()
            for visit in [one for one in self._visits.values() if one.ends_at <= now]:
                self._end(visit)

    def _wait_ms(self) -> int | None:
        first = next(iter(self._visits.values()), None)
        return None if first is None else max(0, int((first.ends_at - time.monotonic()) * 1000) + 1)

    def _admit(self, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except BlockingIOError:
            return
        except OSError as error:
            # No descriptor is left, perhaps: one is as soon as somebody leaves.
            self._log.warning("The admin process cannot accept a connection: %s", error.strerror)
            self._end_oldest()
            return
        if len(self._visits) >= _MOST_VISITS:
            self._end_oldest()
        visit = _Visit(connection, self._respond)
        self._visits[visit.fileno()] = visit
        self._poll.register(visit, visit.interest)
        # It is there already, as a rule.
        self._go_on(visit)

    def _go_on(self, visit: _Visit) -> None:
        if visit.go_on():
            self._poll.modify(visit, visit.interest)
        else:
            self._end(visit)

    def _end_oldest(self) -> None:
        first = next(iter(self._visits.values()), None)
        if first is not None:
            self._end(first)

    def _end(self, visit: _Visit) -> None:
        self._poll.unregister(visit)
        del self._visits[visit.fileno()]
        with contextlib.suppress(OSError):
            visit.connection.close()
