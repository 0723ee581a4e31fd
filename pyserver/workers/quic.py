"""The datagrams of QUIC in a worker: which connection each belongs to, and which worker has that.

All workers receive from the same sockets. Who gets a datagram of a connection that another worker has passes it on,
by the connection id that this one has chosen; of a new connection, by the one that the client has. So a connection
stays where it is when its worker leaves and others come, and when its client has another address.

Imported by workers that speak HTTP/3.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import struct
from typing import TYPE_CHECKING, Any

from aioquic.buffer import Buffer
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.packet import (
    QuicPacketType,
    encode_quic_retry,
    encode_quic_version_negotiation,
    pull_quic_header,
)
from aioquic.quic.retry import QuicRetryTokenHandler
from aioquic.tls import load_pem_private_key, load_pem_x509_certificates
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pyserver._scoreboard import Cell
from pyserver.errors import BootError
from pyserver.workers.quic_names import LENGTH
from pyserver.workers.quic_peer import CONNECTION_WINDOW, IDLE_TIMEOUT, STREAM_WINDOW, Connection, Peer
from pyserver.workers.quic_ways import Ways

if TYPE_CHECKING:
    import asyncio

    from pyserver._engine import Engine
    from pyserver.log import ErrorLog
    from pyserver.settings.model import Settings
    from pyserver.workers.base import Worker
    from pyserver.workers.messages import QuicSeat

_ROOM = 9216  # bytes of a datagram; more than any network carries
_IN_A_ROW = 64  # datagrams, before others have their turn
_LEAST_INITIAL = 1200  # bytes, RFC 9000 §14.1
_LEAST_NAME = 8  # bytes of the id that a client makes up for a server, RFC 9000 §7.2
_RETRY_FROM = 64  # handshakes under way, from which on a client has to show that its address is its own
_MOST_HALF_OPEN = 1024
_ROOMY = 7 / 8  # of `worker_connections`: beyond that idle clients make room
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_HEAD = struct.Struct("!BBHI16s")  # listener, family, port, scope, address


class QuicEndpoint:
    """What a worker receives by QUIC, and sends.

    Args:
        worker: whose it is.
        seat: what the arbiter has given it for that.
        engine: that serves the requests.
        loop: that watches the sockets.

    Raises:
        BootError: certificate or key are none that QUIC can be spoken with.
    """

    def __init__(self, worker: Worker, seat: QuicSeat, engine: Engine, loop: asyncio.AbstractEventLoop) -> None:
        self.engine = engine
        self.loop = loop
        self.log: ErrorLog = worker.log
        self.peers: dict[bytes, Peer] = {}  # by connection id
        self.open: set[Peer] = set()
        self.half_open: set[Peer] = set()
        self.certificate = _first(seat.certificate)
        self._settings: Settings = worker.settings
        self._first_listener = len(worker.listeners)
        self._sockets = seat.sockets
        self._board, self._slot = worker.scoreboard, worker.slot
        self._is_retiring = False
        self._told = 0  # what others find of it on the scoreboard
        self._configuration = _configuration(seat)
        self._ways = Ways(seat.secret, self._board.slots, _HEAD.size + _ROOM, self._take_forwarded, loop)
        self._number, self._names = self._ways.number, self._ways.names
        self._retry = QuicRetryTokenHandler()
        # The client's next datagram may be another worker's.
        self._retry._aead = AESGCM(self._names.key("retry"))
        _silence()

    def start(self) -> None:
        """Take connections."""
        for at, bound in enumerate(self._sockets):
            self.loop.add_reader(bound.fileno(), self._read, at)
        self._ways.start()
        self.note_room()

    def retire(self) -> None:
        """Take no new ones. It goes on receiving: perhaps there is nobody else."""
        self._is_retiring = True
        self.note_room()

    def note_room(self) -> None:
        """Tell the others whether it takes connections."""
        told = 0 if self._is_retiring or self._is_full() else self._number
        if told != self._told:
            self._board.write(self._slot, Cell.QUIC, told)
        self._told = told

    def _is_full(self) -> bool:
        return len(self.open) >= self._settings.worker_connections or len(self.half_open) >= _MOST_HALF_OPEN

    def close(self) -> None:
        """Tell all clients that it is over, and receive nothing more."""
        self.retire()
        for peer in list(self.open):
            peer.session.close()
        for bound in self._sockets:
            self.loop.remove_reader(bound.fileno())
        self._ways.close()

    def forget(self, peer: Peer) -> None:
        """QUIC is done with it."""
        for name in peer.names:
            self.peers.pop(name, None)
        peer.note_closed()

    # ---- receiving ----

    def _read(self, at: int) -> None:
        receive = self._sockets[at].recvfrom
        for _ in range(_IN_A_ROW):
            try:
                data, address = receive(_ROOM)
            except OSError:
                # Nothing more, or what the network has to say of something that was sent.
                return
            self._dispatch(at, data, address, is_forwarded=False)

    def _take_forwarded(self, message: bytes) -> None:
        """What another worker has received."""
        at, family, port, scope, packed = _HEAD.unpack_from(message)
        if at >= len(self._sockets):
            return  # Of a reload that has changed quic_bind.
        if family == 4:
            address: Any = (socket.inet_ntop(socket.AF_INET, packed[:4]), port)
        else:
            address = (socket.inet_ntop(socket.AF_INET6, packed), port, 0, scope)
        self._dispatch(at, message[_HEAD.size :], address, is_forwarded=True)

    def _dispatch(self, at: int, data: bytes, address: Any, *, is_forwarded: bool) -> None:
        if not data:
            return
        name = _destination(data)
        peer = self.peers.get(name)
        if peer is not None:
            peer.receive(data, address)
            return
        owner = self._names.number_of(name)
        if owner not in (0, self._number) and not is_forwarded:
            if not self._forward(owner, at, data, address):
                self._reset(at, name, data, address)
        elif not data[0] & 0x80:
            if owner:
                self._reset(at, name, data, address)
        elif len(data) >= _LEAST_INITIAL and not owner:
            self._begin(at, data, address, is_forwarded=is_forwarded)

    def _forward(self, owner: int, at: int, data: bytes, address: Any) -> bool:
        """Give a datagram to the worker that has its connection; whether there is one."""
        family = 6 if len(address) == 4 else 4
        host = address[0].partition("%")[0]
        packed = socket.inet_pton(_FAMILIES[family], host)
        head = _HEAD.pack(at, family, address[1], address[3] if family == 6 else 0, packed)
        return self._ways.send(owner, head + data)

    def _reset(self, at: int, name: bytes, data: bytes, address: Any) -> None:
        """Tell a client that its connection is no more; RFC 9000 §10.3."""
        if data[0] & 0x80 or len(data) < 43:
            return
        size = min(len(data) - 1, 60)
        noise = bytearray(os.urandom(size - 16))
        noise[0] = noise[0] & 0x3F | 0x40
        with contextlib.suppress(OSError):
            self._sockets[at].sendto(bytes(noise) + self._names.reset_token(name), address)

    # ---- a connection begins ----

    def _begin(self, at: int, data: bytes, address: Any, *, is_forwarded: bool) -> None:
        try:
            header = pull_quic_header(Buffer(data=data), host_cid_length=LENGTH)
        except ValueError:
            return
        if header.packet_type is QuicPacketType.VERSION_NEGOTIATION or len(header.destination_cid) < _LEAST_NAME:
            return
        if header.version not in self._configuration.supported_versions:
            self._send(at, address, encode_quic_version_negotiation(
                source_cid=header.destination_cid, destination_cid=header.source_cid,
                supported_versions=self._configuration.supported_versions,
            ))  # fmt: skip
            return
        if header.packet_type not in (QuicPacketType.INITIAL, QuicPacketType.ZERO_RTT):
            return
        has_room = not (self._is_retiring or self._is_full())
        if not (is_forwarded and has_room) and self._is_of_another(at, data, address, header.destination_cid):
            return
        if has_room and header.packet_type is QuicPacketType.INITIAL:
            self._open(at, data, address, header)

    def _is_of_another(self, at: int, data: bytes, address: Any, name: bytes) -> bool:
        """Whether another worker takes the connection, and was given the datagram."""
        takers = [self._board.read(slot, Cell.QUIC) for slot in range(self._board.slots)]
        takers = [number for number in takers if number]
        while takers:
            owner = self._names.chosen(name, takers)
            if owner == self._number:
                return False
            # A client asks again, and need not wait for a worker that does nothing, as it would not with TCP.
            if not self._ways.is_stuck(owner) and self._forward(owner, at, data, address):
                return True
            takers.remove(owner)
        return False

    def _open(self, at: int, data: bytes, address: Any, header: Any) -> None:
        original, retried = header.destination_cid, None
        # One of another server, or of long ago, is as good as none; RFC 9000 §8.1.3.
        with contextlib.suppress(ValueError):
            original = self._retry.validate_token(
                address=address, destination_cid=header.destination_cid, token=header.token, now=self.loop.time()
            )
            retried = header.destination_cid
        if retried is None and len(self.half_open) >= _RETRY_FROM:
            self._ask_to_retry(at, address, header)
            return
        quic = Connection(
            self._names, self._settings.http2_max_concurrent_streams, configuration=self._configuration,
            original_destination_connection_id=original, retry_source_connection_id=retried,
        )  # fmt: skip
        peer = Peer(self, quic, self._sockets[at], self._first_listener + at, self._settings)
        peer.names.add(header.destination_cid)
        self.peers.update((name, peer) for name in peer.names)
        self.half_open.add(peer)
        self.open.add(peer)
        self.note_room()
        self._make_room()
        if not peer.receive(data, address):
            self.forget(peer)

    def _make_room(self) -> None:
        """Have one leave that asks for nothing, before there is no room for others."""
        if len(self.open) > self._settings.worker_connections * _ROOMY:
            idle = [peer for peer in self.open if peer.is_idle]
            if idle:
                min(idle, key=lambda peer: peer.session.quiet_since_ns).session.depart()

    def _ask_to_retry(self, at: int, address: Any, header: Any) -> None:
        """Have the client show that it receives what is sent to its address; RFC 9000 §8.1.2."""
        # It names no worker: that one may have gone when the client asks again, and each reads what another has sealed.
        name = os.urandom(LENGTH)
        token = self._retry.create_token(
            address=address, original_destination_connection_id=header.destination_cid,
            retry_source_connection_id=name, now=self.loop.time(),
        )  # fmt: skip
        self._send(at, address, encode_quic_retry(
            version=header.version, source_cid=name, destination_cid=header.source_cid,
            original_destination_cid=header.destination_cid, retry_token=token,
        ))  # fmt: skip

    def _send(self, at: int, address: Any, data: bytes) -> None:
        with contextlib.suppress(OSError):
            self._sockets[at].sendto(data, address)


def _destination(data: bytes) -> bytes:
    """The connection id that a datagram is for; RFC 9000 §17."""
    if not data:
        return b""
    if data[0] & 0x80:
        return data[6 : 6 + data[5]] if len(data) > 6 else b""
    return data[1 : 1 + LENGTH]


def _configuration(seat: QuicSeat) -> QuicConfiguration:
    password = None if seat.password is None else seat.password.encode()
    try:
        first, *others = load_pem_x509_certificates(_certificates(seat.certificate))
        key = load_pem_private_key(_key_in(seat.key), password)
    except ValueError as error:
        raise BootError(f"HTTP/3 cannot be spoken with certfile and keyfile: {error}") from None
    return QuicConfiguration(
        is_client=False, alpn_protocols=["h3"], certificate=first, certificate_chain=others, private_key=key,
        connection_id_length=LENGTH, idle_timeout=IDLE_TIMEOUT, max_data=CONNECTION_WINDOW,
        max_stream_data=STREAM_WINDOW,
    )  # fmt: skip


def _certificates(text: bytes) -> bytes:
    """What of a PEM file is certificates."""
    begin, end = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"
    parts = (part.partition(end)[0] for part in text.split(begin)[1:])
    return b"".join(begin + part + end + b"\n" for part in parts)


def _key_in(text: bytes) -> bytes:
    """What of a PEM file is its first private key."""
    for block in text.split(b"-----BEGIN ")[1:]:
        if block.partition(b"-----")[0].endswith(b"PRIVATE KEY"):
            body, end, rest = block.partition(b"-----END ")
            return b"-----BEGIN " + body + end + rest.partition(b"\n")[0] + b"\n"
    return text


def _first(text: bytes) -> str:
    return _certificates(text).partition(b"-----END CERTIFICATE-----\n")[0].decode("ascii", "replace") + (
        "-----END CERTIFICATE-----\n"
    )


def _silence() -> None:
    """What aioquic says of a connection that breaks a rule is of no use in our log, unless it is asked for."""
    logger = logging.getLogger("quic")
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.CRITICAL)
