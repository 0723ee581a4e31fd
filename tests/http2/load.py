"""Clients that keep to the rules for connections that end, and count what they lose all the same: RFC 9113 §6.8, §8.7.

A request is repeated only where the server has said that it has not been looked at: by a GOAWAY whose last stream is
lower, or by RST_STREAM with REFUSED_STREAM. Whatever else gets no whole and right response is lost.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import random
import threading
import time
from typing import TYPE_CHECKING

from . import wire
from .peer import Closed, Peer
from .received import Response
from .wsgi_application import pattern

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

    from .peer import Address

_BIG = bytes(range(256)) * 400
# Method, path, content and what is to come of it: the status and the content.
KINDS: tuple[tuple[str, str, bytes | None, bytes], ...] = (
    ("GET", "/", None, b"hello\n"),
    ("GET", "/length/300", None, b"".join(pattern(300))),
    ("GET", "/bytes/100000", None, b"".join(pattern(100_000))),
    ("POST", "/count", b"", b"0"),
    ("POST", "/count", _BIG[:5000], b"5000"),
    ("POST", "/count", _BIG, b"%d" % len(_BIG)),
    ("HEAD", "/length/300", None, b""),
)


@dataclasses.dataclass
class Tally:
    """What the clients have seen; the counters are their own, for each has a tally of its own.

    Attributes:
        answered: requests whose response was right.
        repeated: those that were repeated since the server had not looked at them.
        lost: what was wrong with the others.
        connections, refused: how many were made, and could not be made.
        goaways: how many connections ended with one GOAWAY, with two, with none, and by the client itself.
        latencies: of the responses, seconds.
    """

    answered: int = 0
    repeated: int = 0
    lost: list[str] = dataclasses.field(default_factory=list)
    connections: int = 0
    refused: int = 0
    goaways: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    latencies: list[float] = dataclasses.field(default_factory=list)

    def add(self, other: Tally) -> None:
        self.answered += other.answered
        self.repeated += other.repeated
        self.lost += other.lost
        self.connections += other.connections
        self.refused += other.refused
        self.goaways += other.goaways
        self.latencies += other.latencies

    def __str__(self) -> str:
        return (
            f"{self.answered} answered, {self.repeated} repeated, {len(self.lost)} lost, "
            f"{self.connections} connections, {self.refused} refused, ended with {dict(self.goaways)}, "
            f"p99 {percentile(self.latencies, 99) * 1e3:.1f} ms"
        )


def percentile(values: list[float], percent: int) -> float:
    """So many percent of the values are not larger; 0 where there are none."""
    return sorted(values)[min(len(values) - 1, len(values) * percent // 100)] if values else 0.0


@dataclasses.dataclass
class _Request:
    kind: tuple[str, str, bytes | None, bytes]
    began: float = 0.0


class Visitor:
    """A client that makes requests on one connection after the other.

    Args:
        over: set when there shall be no further requests; those under way are waited for.
        at_once: how many streams it has open.
        most: requests on a connection, before the client leaves by itself.
        seed: what its choices come from.
    """

    def __init__(
        self,
        address: Address,
        over: threading.Event,
        tls: ssl.SSLContext | None = None,
        *,
        at_once: int = 8,
        most: int = 500,
        seed: int = 0,
    ) -> None:
        self._address, self._over, self._tls = address, over, tls
        self._at_once, self._most = at_once, most
        self._random = random.Random(seed)
        self._again: list[_Request] = []
        self._flying: dict[int, _Request] = {}
        self.tally = Tally()

    def run(self) -> None:
        """Make requests until it is over, and then those that are still to be repeated."""
        while not self._over.is_set() or self._again:
            try:
                peer = Peer(self._address, 20.0, self._tls)
            except OSError:
                self.tally.refused += 1
                if self._over.is_set():
                    break
                self._over.wait(0.05)
                continue
            self.tally.connections += 1
            with peer:
                self._use(peer)
        # Nobody is there to repeat them to; they were never looked at.

    def _use(self, peer: Peer) -> None:
        """Make requests on a connection until it ends."""
        reason = "closed"
        try:
            peer.wait_for(wire.SETTINGS)
            while self._fill(peer) or self._flying:
                peer.read()
                self._collect(peer)
            reason = "left"
        except Closed as closed:
            reason = f"closed: {closed}" if str(closed) != "closed" else "closed"
        except (TimeoutError, AssertionError) as error:
            reason = f"{type(error).__name__}: {error}"
            self.tally.lost.extend([] if self._flying else [reason])
        self._collect(peer)
        self._judge_the_rest(peer, reason)
        by_itself = "left" if reason == "left" else "none"
        self.tally.goaways[(by_itself, "one", "two")[min(2, len(peer.goaways))]] += 1

    def _fill(self, peer: Peer) -> bool:
        """Begin so many requests as may be; whether there may be more of them later on."""
        may_begin = not peer.goaways and peer.next_stream < 2 * self._most
        limit = min(self._at_once, peer.server.get(wire.MAX_STREAMS, self._at_once))
        while may_begin and len(self._flying) < limit and (self._again or not self._over.is_set()):
            request = self._again.pop() if self._again else _Request(self._random.choice(KINDS))
            request.began = time.monotonic()
            method, path, content, _ = request.kind
            stream = peer.begin(method, path, ends=content is None)
            self._flying[stream] = request
            if content is not None:
                peer.send_content(stream, content)
            may_begin = not peer.goaways
        return may_begin and not self._over.is_set()

    def _collect(self, peer: Peer) -> None:
        """Judge the responses that are there."""
        for stream, request in list(self._flying.items()):
            response = peer.responses[stream]
            if response.is_complete:
                del self._flying[stream]
                self._judge(request, response)
            elif response.reset == wire.Code.REFUSED_STREAM:
                self._repeat(stream)
            elif response.reset is not None:
                self._lose(stream, f"reset with {wire.name_of(response.reset)}")
            elif peer.goaways and stream > peer.goaways[-1][0]:
                self._repeat(stream)

    def _judge(self, request: _Request, response: Response) -> None:
        expected = request.kind[3]
        if response.status == 200 and response.content == expected:
            self.tally.answered += 1
            self.tally.latencies.append(time.monotonic() - request.began)
        else:
            got = f"{response.status} with {len(response.content)} bytes"
            self.tally.lost.append(f"{request.kind[0]} {request.kind[1]}: {got} in place of {len(expected)}")

    def _repeat(self, stream: int) -> None:
        self._again.append(self._flying.pop(stream))
        self.tally.repeated += 1

    def _lose(self, stream: int, why: str) -> None:
        method, path, *_ = self._flying.pop(stream).kind
        self.tally.lost.append(f"{method} {path} on stream {stream}: {why}")

    def _judge_the_rest(self, peer: Peer, reason: str) -> None:
        told = f"{reason}, after GOAWAY of {peer.goaways}" if peer.goaways else f"{reason}, without GOAWAY"
        for stream in list(self._flying):
            self._lose(stream, told)


@contextlib.contextmanager
def crowd(
    address: Address, tally: Tally, number: int, tls: ssl.SSLContext | None = None, *, at_once: int = 8, most: int = 500
) -> Iterator[threading.Event]:
    """So many clients at work, until the event is set; their tally is added up when all are done."""
    over = threading.Event()
    visitors = [Visitor(address, over, tls, at_once=at_once, most=most, seed=seed) for seed in range(number)]
    threads = [threading.Thread(target=visitor.run, daemon=True) for visitor in visitors]
    for thread in threads:
        thread.start()
    try:
        yield over
    finally:
        over.set()
        for thread in threads:
            thread.join(60)
        for visitor in visitors:
            tally.add(visitor.tally)
        if stuck := sum(thread.is_alive() for thread in threads):
            tally.lost.append(f"{stuck} clients have not come to an end")
