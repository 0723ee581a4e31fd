"""The ways between workers, on which a worker passes on what it has received by QUIC and another one has to have."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
import termios
from typing import TYPE_CHECKING, Any

from pyserver.errors import BootError
from pyserver.workers.quic_names import Names

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

_ON_THE_WAY = 4 * 1024 * 1024  # bytes from one worker to another, of which the system gives as many as it allows
_IN_A_ROW = 64  # messages, before others have their turn
_EACH = 4  # to a worker, from each there may be: more than two generations have
_PAUSE = 1.0  # seconds until others are accepted again
_PATIENCE = 0.1  # seconds that a worker may leave lying what it is given
_CREDENTIALS = struct.Struct("iII")  # process, user, group: unix(7)
_INTEGER = struct.Struct("i")


class Ways:
    """A worker's mailbox, and what it sends to those of others.

    Sockets of a stream of messages: those of datagrams keep ten, in most containers, whatever their size.

    Args:
        secret: that all workers know.
        workers: how many there may be.
        size: bytes of a message, at most.
        receive: is given each message that comes.
        loop: that watches the sockets.

    Raises:
        BootError: the system refuses such sockets.
    """

    def __init__(
        self, secret: bytes, workers: int, size: int, receive: Callable[[bytes], None], loop: asyncio.AbstractEventLoop
    ) -> None:
        self.number, self.names, self._mailbox = _mailbox(secret)
        self._key = self.names.key("forward")
        self._most_in = workers * _EACH
        self._size = size
        self._receive = receive
        self._loop = loop
        self._in: set[socket.socket] = set()
        self._out: dict[int, _Way] = {}  # by the numbers of workers

    def start(self) -> None:
        """Take what comes."""
        if self._mailbox.fileno() >= 0:
            self._loop.add_reader(self._mailbox.fileno(), self._accept)

    def close(self) -> None:
        """Take nothing more."""
        for one in (self._mailbox, *self._in, *(way.socket for way in self._out.values())):
            self._loop.remove_reader(one.fileno())

    def send(self, number: int, message: bytes) -> bool:
        """Give a message to a worker; whether there is one of that number."""
        try:
            self._to(number).send(self._key + message, self._loop.time())
        except BlockingIOError:
            pass  # It is busy. The datagram is lost, as one may be on its way.
        except OSError:
            self._drop(number)
            return False
        return True

    def is_stuck(self, number: int) -> bool:
        """Whether a worker has not looked for a while at what it was given, and is not to be given more at will."""
        way = self._out.get(number)
        return way is not None and way.is_stuck(self._loop.time())

    def _to(self, number: int) -> _Way:
        way = self._out.get(number)
        if way is None:
            way = self._out[number] = _Way(self.names.mailbox(number))
            self._loop.add_reader(way.socket.fileno(), self._drop, number)
        return way

    def _drop(self, number: int) -> None:
        """The other one has gone, or says something, which it never does."""
        way = self._out.pop(number, None)
        if way is not None:
            self._loop.remove_reader(way.socket.fileno())
            way.socket.close()

    def _accept(self) -> None:
        try:
            way, _ = self._mailbox.accept()
        except BlockingIOError:
            return
        except OSError:
            # Descriptors have run out: it is not to be told so again and again.
            self._loop.remove_reader(self._mailbox.fileno())
            self._loop.call_later(_PAUSE, self.start)
            return
        if len(self._in) >= self._most_in or not _is_of_ours(way):
            way.close()
            return
        way.setblocking(False)
        self._in.add(way)
        self._loop.add_reader(way.fileno(), self._read, way)

    def _read(self, way: socket.socket) -> None:
        for _ in range(_IN_A_ROW):
            try:
                message = way.recv(self._size + len(self._key))
            except BlockingIOError:
                return
            except OSError:
                message = b""
            if not message.startswith(self._key):
                # The other one has gone, or is whoever has found the address.
                self._loop.remove_reader(way.fileno())
                self._in.discard(way)
                way.close()
                return
            self._receive(message[len(self._key) :])


class _Way:
    """To one other worker; OSError where there is none."""

    def __init__(self, mailbox: bytes) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lies_since = 0.0
        try:
            self.socket.setblocking(False)
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _ON_THE_WAY)
            self.socket.connect(mailbox)
        except OSError:
            self.socket.close()
            raise

    def send(self, message: bytes, now: float) -> None:
        if not self._lies():
            self._lies_since = now
        self.socket.send(message)

    def is_stuck(self, now: float) -> bool:
        return now - self._lies_since > _PATIENCE and self._lies()

    def _lies(self) -> bool:
        """Whether something that was sent has not been received."""
        answer: Any = fcntl.ioctl(self.socket, termios.TIOCOUTQ, bytes(_INTEGER.size))
        return bool(_INTEGER.unpack(answer)[0])


def _is_of_ours(way: socket.socket) -> bool:
    """Whether the other end is a process of this user, or of root: a name of this kind is anybody's to find."""
    credentials = way.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return _CREDENTIALS.unpack(credentials)[1] in (0, os.geteuid())


def _mailbox(secret: bytes) -> tuple[int, Names, socket.socket]:
    """A number that no other worker has, what connections are called by it, and where others put what is for it."""
    mailbox = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    mailbox.setblocking(False)
    while True:
        number = int.from_bytes(os.urandom(4), "big") or 1
        names = Names(secret, number)
        try:
            mailbox.bind(names.mailbox(number))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                continue  # Somebody else has it.
            raise BootError(f"HTTP/3 needs abstract Unix sockets between workers: {error}") from None
        mailbox.listen(128)
        return number, names, mailbox
