"""The commons: a queue of open connections, which any worker takes from as from a listener.

The arbiter makes it before the first fork and holds both ends, so that nothing in it is lost with a worker. It never
puts anything there, nor takes anything.
"""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pyserver.log import ErrorLog

VERSION = 2  # of what is said of a connection there; two versions of pyserver meet in an upgrade
_ROOM = 4 * 1024 * 1024  # bytes, of which the system gives as many as it allows


class Commons(NamedTuple):
    """Two sockets, which do not block and are the same in all workers."""

    taken_from: socket.socket
    put_into: socket.socket

    @property
    def descriptors(self) -> tuple[int, int]:
        """Of the two."""
        return self.taken_from.fileno(), self.put_into.fileno()

    def close(self) -> None:
        """For a process that does not move connections."""
        self.taken_from.close()
        self.put_into.close()

    def encoded(self) -> str:
        """As `adopted` reads it, in another process that has inherited the descriptors."""
        return ",".join(map(str, (VERSION, *self.descriptors)))


def new_commons(log: ErrorLog) -> Commons | None:
    """An empty one; None, and one line in the log, where the system has no such thing."""
    try:
        taken_from, put_into = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    except OSError as error:
        log.info("Connections cannot move here (%s): a reload closes those that are idle", error.strerror)
        return None
    for end in (taken_from, put_into):
        end.setblocking(False)
        with contextlib.suppress(OSError):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _ROOM)
    return Commons(taken_from, put_into)


def adopted(text: str) -> Commons | None:
    """That of the arbiter before this one; None where the two would not understand each other, or it is none."""
    try:
        version, *descriptors = map(int, text.split(","))
        sockets = [socket.socket(fileno=number) for number in descriptors]
    except (OSError, ValueError):
        return None
    for one in sockets:
        one.set_inheritable(False)
    if version != VERSION or len(sockets) != len(Commons._fields):
        for one in sockets:
            one.close()
        return None
    return Commons(*sockets)
