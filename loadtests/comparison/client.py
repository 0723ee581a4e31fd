"""A client that costs little: it keeps some connections busy with one request, whose answer it knows the length of."""

from __future__ import annotations

import contextlib
import re
import select
import socket
import time
from typing import NamedTuple

_PATIENCE = 10.0  # seconds
_OK = b"HTTP/1.1 200 "


class AnswerError(Exception):
    """An answer is not what can be counted: neither 200, nor of a known length."""


class Known(NamedTuple):
    """What all answers to a request look like."""

    length: int
    closes: bool


def learn(port: int, request: bytes) -> Known:
    """Ask once, and read the answer with care.

    Raises:
        AnswerError: it is not a 200 that is framed by Content-Length or by chunks (RFC 9112 §6).
    """
    with socket.create_connection(("127.0.0.1", port), _PATIENCE) as connection:
        connection.sendall(request)
        received = b""
        while b"\r\n\r\n" not in received:
            received += _more(connection)
        head, _, content = received.partition(b"\r\n\r\n")
        if not head.startswith(_OK):
            raise AnswerError(f"answered with {head.partition(b'%c%c' % (13, 10))[0]!r}")
        fields = head.lower() + b"\r\n"
        if found := re.search(rb"\r\ncontent-length: *([0-9]+)\r\n", fields):
            length = int(found[1])
        elif b"\r\ntransfer-encoding: chunked\r\n" in fields:
            while not content.endswith(b"0\r\n\r\n"):
                content += _more(connection)
            length = len(content)
        else:
            raise AnswerError("the answer ends with the connection")
        return Known(len(head) + 4 + length, b"\r\nconnection: close\r\n" in fields)


def _more(connection: socket.socket) -> bytes:
    data = connection.recv(262144)
    if not data:
        raise AnswerError("closed before the end of an answer")
    return data


class ClosedLoop:
    """Connections on each of which the next request follows an answer at once."""

    def __init__(self, port: int, request: bytes, connections: int) -> None:
        self._address = ("127.0.0.1", port)
        self._request = request
        self._known = learn(port, request)
        self._poller = select.epoll()
        self._connections: dict[int, socket.socket] = {}
        self._received: dict[int, int] = {}
        self.failures = 0
        for _ in range(connections):
            self._connect()

    def close(self) -> None:
        for connection in self._connections.values():
            connection.close()
        self._poller.close()

    def run(self, seconds: float) -> int:
        """How many answers came in so many seconds; those that were wrong are added to `failures`.

        Raises:
            AnswerError: nothing comes any more, or hardly anything is right.
        """
        answered = 0
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            ready = self._poller.poll(_PATIENCE)
            if not ready:
                raise AnswerError(f"no answer within {_PATIENCE:g} s")
            for number, _ in ready:
                answered += self._receive(number)
            if self.failures > 1000:
                raise AnswerError("more than 1000 answers were wrong")
        return answered

    def _receive(self, number: int) -> int:
        """Take what has come; 1 when it was the rest of a right answer."""
        connection = self._connections[number]
        try:
            data = connection.recv(262144)
        except BlockingIOError:
            return 0
        except OSError:
            data = b""
        received = self._received[number]
        total = received + len(data)
        if not data or (not received and not data.startswith(_OK)) or total > self._known.length:
            self.failures += 1
            self._replace(number)
            return 0
        if total < self._known.length:
            self._received[number] = total
            return 0
        if self._known.closes:
            self._replace(number)
        else:
            self._received[number] = 0
            self._ask(number, connection)
        return 1

    def _replace(self, number: int) -> None:
        self._poller.unregister(number)
        self._connections.pop(number).close()
        del self._received[number]
        self._connect()

    def _connect(self) -> None:
        connection = socket.create_connection(self._address, _PATIENCE)
        connection.setblocking(False)
        number = connection.fileno()
        self._connections[number] = connection
        self._received[number] = 0
        self._poller.register(number, select.EPOLLIN)
        self._ask(number, connection)

    def _ask(self, number: int, connection: socket.socket) -> None:
        # A connection that was closed meanwhile is noticed, and counted, by the next recv().
        with contextlib.suppress(OSError):
            connection.send(self._request)
