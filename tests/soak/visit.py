"""One client of a soaked server: its connections, its chances, and what it makes of the answers."""

from __future__ import annotations

import collections
import dataclasses
import itertools
import socket
import struct
import time
from typing import TYPE_CHECKING

from support import Client

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from random import Random

    from soak.requests import Order
    from support import Address, Response

_NO_LINGER = struct.pack("ii", 1, 0)
_GRACE = 0.3  # seconds; a worker that leaves waits a little longer for another request
_PATIENCE = 60.0  # for one operation, seconds; more than anything takes on a machine that has other work


class Moved(Exception):  # noqa: N818 - not an error
    """The server is about to close this connection, or has closed it while it was idle, and is allowed to."""


class SlowClient(Client):
    """One that pauses before it reads, each time.

    Args:
        pause: called before every read.
    """

    def __init__(self, address: Address, timeout: float, receive_buffer: int, pause: Callable[[], None]) -> None:
        super().__init__(address, timeout, receive_buffer)
        self._pause = pause

    def _receive_more(self) -> None:
        self._pause()
        super()._receive_more()


@dataclasses.dataclass
class Visit:
    """What one client is given, and the answers it has counted.

    Attributes:
        addresses: where the server listens.
        random: decides what is asked for.
        over: set when the load is over.
        moves: whether workers are replaced under the load, and may end persistent connections.
        answers: how many there were of each status.
    """

    addresses: list[Address]
    random: Random
    over: threading.Event
    moves: bool = False
    answers: collections.Counter[int] = dataclasses.field(default_factory=collections.Counter)
    _used_at: float = 0.0  # when the newest connection was made, or the last order sent on it; monotonic seconds

    def client(self, receive_buffer: int | None = None) -> Client:
        """A new connection to one of the addresses."""
        self._used_at = time.monotonic()
        return Client(self.random.choice(self.addresses), _PATIENCE, receive_buffer)

    def tcp_client(self) -> Client:
        """A new connection that is no Unix socket."""
        self._used_at = time.monotonic()
        return Client(next(one for one in self.addresses if isinstance(one, tuple)), _PATIENCE)

    def slow_client(self, receive_buffer: int) -> Client:
        """A new connection that is read from a little at a time, while the load goes on."""
        address = self.random.choice(self.addresses)
        self._used_at = time.monotonic()
        return SlowClient(address, _PATIENCE, receive_buffer, lambda: self.pause(0.005))

    def pause(self, seconds: float) -> None:
        """Let time pass, unless the load is over."""
        self.over.wait(seconds)

    def send_in_parts(self, client: Client, data: bytes, parts: int, pause: float = 0.0) -> None:
        """Send the data cut at random places, with a pause of so many seconds behind each part."""
        cuts = sorted(self.random.choices(range(len(data) + 1), k=parts - 1))
        for begin, end in itertools.pairwise([0, *cuts, len(data)]):
            if begin < end:
                client.send(data[begin:end])
            if pause:
                self.pause(pause)

    def ask(self, client: Client, order: Order) -> Response:
        """Send an order and receive the answer to it.

        Raises:
            Moved: the connection was closed while it was idle for so long that the server may not have waited.
        """
        # The server may have answered the last order long before its answer was received: this process is busy.
        idle_since, self._used_at = self._used_at, time.monotonic()
        sent_at = 0.0
        try:
            client.send(order.data)
            sent_at = time.monotonic()
            return self.expect(client, order)
        except (EOFError, ConnectionError):
            if self.moves and (sent_at or time.monotonic()) - idle_since > _GRACE:
                raise Moved from None
            raise

    def expect(self, client: Client, order: Order) -> Response:
        """The answer to an order, which has to be right to the last byte."""
        return self.expect_content(client, order.content, order.status, order.method)

    def expect_content(self, client: Client, content: bytes, status: int = 200, method: str = "GET") -> Response:
        """The next answer, which has to have this content.

        Raises:
            Moved: it was right, and the last of a worker that leaves.
        """
        response = client.receive_response(method)
        self.answers[response.status] += 1
        if response.status != status:
            raise AssertionError(f"{response.status} instead of {status}: {response.content[:300]!r}")
        if response.content != content:
            raise AssertionError(_difference(response.content, content))
        if self.moves and response.field("Connection") == "close":
            raise Moved
        return response

    def expect_refusal(self, client: Client, status: int) -> None:
        """An error response, and then the end of the connection."""
        response = client.receive_response()
        self.answers[response.status] += 1
        if (response.status, response.field("Connection")) != (status, "close"):
            closes = response.values("Connection")
            raise AssertionError(f"{response.status} instead of {status}, {closes}: {response.content[:300]!r}")
        self.expect_end(client)

    def expect_end(self, client: Client) -> None:
        """The end of the connection, and nothing before it."""
        if rest := client.read_until_closed():
            raise AssertionError(f"{len(rest)} bytes instead of the end of the connection: {rest[:300]!r}")

    def expect_cut(self, client: Client) -> None:
        """An answer that ends too early, and tells so by its framing."""
        try:
            response = client.receive_response()
        except EOFError:
            return
        raise AssertionError(f"a response of {len(response.content)} bytes that was cut looks complete")


def reset(client: Client) -> None:
    """Close in a way that no server can overlook; on a Unix socket it is an ordinary close."""
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    client.close()


def _difference(got: bytes, wanted: bytes) -> str:
    pairs = enumerate(zip(got, wanted, strict=False))
    at = next((at for at, (one, other) in pairs if one != other), min(len(got), len(wanted)))
    return (
        f"{len(got)} bytes of content instead of {len(wanted)}; they differ from byte {at}: "
        f"{got[at : at + 60]!r} instead of {wanted[at : at + 60]!r}"
    )
