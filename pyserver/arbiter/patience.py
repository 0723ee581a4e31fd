"""Listening where somebody else still listens, who may be about to leave: tried again a few times, as gunicorn does.

Imported when that is so, and not before.
"""

from __future__ import annotations

import select
import time
from typing import TYPE_CHECKING

from pyserver.sockets import AddressInUseError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyserver.log import ErrorLog
    from pyserver.signals import SignalInbox
    from pyserver.sockets import Address

_TRIES = 5
_PAUSE = 1.0  # between them, seconds


def open_patiently(open_all: Callable[[], None], inbox: SignalInbox, log: ErrorLog, pause: float = _PAUSE) -> bool:
    """Whether the addresses are open; otherwise a signal has said to stop.

    Args:
        open_all: opens them, or raises and leaves everything as it was.
        inbox: where signals come; what does not stop the server has no effect before it listens.
        log: is told of each try.
        pause: between two tries, seconds.

    Raises:
        BootError: one of them cannot be had; AddressInUseError after the last try.
    """
    for left in range(_TRIES - 1, -1, -1):
        try:
            open_all()
        except AddressInUseError as error:
            log.error("Connection in use: %s", _as_gunicorn_has_it(error.address))
            if not left:
                raise
            log.info("Retrying in %g s", pause)
            if _is_told_to_stop(inbox, log, pause):
                return False
        else:
            return True
    raise AssertionError("the last try has returned or raised")


def _is_told_to_stop(inbox: SignalInbox, log: ErrorLog, seconds: float) -> bool:
    """Whether that is said within the time, which has passed otherwise."""
    poll = select.poll()
    poll.register(inbox, select.POLLIN)
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        poll.poll(left * 1000)
        for noted in inbox.take():
            if noted.verb != "reap":
                log.info("Handling signal: %s", noted)
            if noted.verb in ("quit", "retire"):
                return True
    return False


def _as_gunicorn_has_it(address: Address) -> object:
    # What looks for its line in a log finds ours.
    return address.path or (address.host, address.port)
