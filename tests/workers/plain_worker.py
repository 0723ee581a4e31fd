"""A worker class of somebody else that has a loop of its own: over plain sockets, one request a connection."""

from __future__ import annotations

import select
import socket
import sys
from typing import TYPE_CHECKING

from pyserver.workers import Worker

if TYPE_CHECKING:
    from collections.abc import Callable


class PlainWorker(Worker):
    interfaces = ("wsgi",)

    def boot(self) -> None:
        super().boot()
        self._callbacks: dict[int, Callable[[], None]] = {}
        self._poll = select.poll()
        for listener in self.listeners:
            self.watch(listener.fileno(), lambda listener=listener: self._accept(listener))

    def watch(self, fd: int, callback: Callable[[], None]) -> None:
        self._callbacks[fd] = callback
        self._poll.register(fd, select.POLLIN)

    def unwatch(self, fd: int) -> None:
        del self._callbacks[fd]
        self._poll.unregister(fd)

    def run(self) -> None:
        while not (self.is_retiring or self.is_quitting):
            for fd, _ in self._poll.poll():
                self._callbacks[fd]()

    def _accept(self, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except BlockingIOError:
            return  # another worker was quicker
        with connection:
            connection.settimeout(5)
            request = connection.recv(65536)
            self.counts.begin()
            try:
                connection.sendall(self._answer(request))
            finally:
                self.counts.end()

    def _answer(self, request: bytes) -> bytes:
        method, target, _ = request.decode("latin-1").split("\r\n", 1)[0].split(" ")
        environ = {"REQUEST_METHOD": method, "PATH_INFO": target, "wsgi.errors": sys.stderr}
        head: list[str] = []

        def start_response(status: str, headers: list[tuple[str, str]], exc_info: object = None) -> None:
            head[:] = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers), "Connection: close"]

        content = b"".join(self.application(environ, start_response))
        if not any(line.lower().startswith("content-length:") for line in head):
            head.append(f"Content-Length: {len(content)}")
        return "\r\n".join([*head, "", ""]).encode("latin-1") + content
