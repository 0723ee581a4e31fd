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

from aioquic.buffer import Buffer  # type: ignore[attr-defined]
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
from pyserver.workers.quic_names import LENGTH, Names
from pyserver.workers.quic_peer import CONNECTION_WINDOW, IDLE_TIMEOUT, STREAM_WINDOW, Connection, Peer

if TYPE_CHECKING:
    import asyncio

    from pyserver._engine import Engine
    from pyserver.log import ErrorLog
    from pyserver.settings.model import Settings
    from pyserver.workers.base import Worker
    from pyserver.workers.messages import QuicSeat

_ROOM = 9216  # bytes of a datagram; more than any network carries
_ON_THE_WAY = 4 * 1024 * 1024  # bytes from one worker to another, of which the system gives as many as it allows
_IN_A_ROW = 64  # datagrams, before others have their turn
_LEAST_INITIAL = 1200  # bytes, RFC 9000 §14.1
_LEAST_NAME = 8  # bytes of the id that a client makes up for a server, RFC 9000 §7.2
_RETRY_FROM = 64  # handshakes under way, from which on a client has to show that its address is its own
_MOST_HALF_OPEN = 1024
_WAYS_EACH = 4  # to a worker, from each there may be: more than two generations have
_PAUSE = 1.0  # seconds until others are accepted again
_CREDENTIALS = struct.Struct("iII")  # process, user, group: unix(7)
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_HEAD = struct.Struct("!16sBBHI16s")  # key, listener, family, port, scope, address


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
        self._number, self._names, self._mailbox = _mailbox(seat.secret)
        self._key = self._names.key("forward")
        self._ways_in: set[socket.socket] = set()  # from other workers
        self._ways_out: dict[int, socket.socket] = {}  # to them, by their numbers
        self._retry = QuicRetryTokenHandler()
        # The client's next datagram may be another worker's.
        self._retry._aead = AESGCM(self._names.key("retry"))
        _silence()

    def start(self) -> None:
        """Take connections."""
        for at, bound in enumerate(self._sockets):
            self.loop.add_reader(bound.fileno(), self._read, at)
        self._listen()
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
        for one in (*self._sockets, self._mailbox, *self._ways_in, *self._ways_out.values()):
            self.loop.remove_reader(one.fileno())

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

    def _accept(self) -> None:
        try:
            way, _ = self._mailbox.accept()
        except BlockingIOError:
            return
        except OSError:
            # Descriptors have run out: it is not to be told so again and again.
            self.loop.remove_reader(self._mailbox.fileno())
            self.loop.call_later(_PAUSE, self._listen)
            return
        if len(self._ways_in) >= self._board.slots * _WAYS_EACH or not _is_of_ours(way):
            way.close()
            return
        way.setblocking(False)
        self._ways_in.add(way)
        self.loop.add_reader(way.fileno(), self._read_way, way)

    def _listen(self) -> None:
        if self._mailbox.fileno() >= 0:
            self.loop.add_reader(self._mailbox.fileno(), self._accept)

    def _read_way(self, way: socket.socket) -> None:
        for _ in range(_IN_A_ROW):
            try:
                message = way.recv(_ROOM + _HEAD.size)
            except BlockingIOError:
                return
            except OSError:
                message = b""
            # The other one has gone, or is whoever has found the address.
            if len(message) < _HEAD.size or not message.startswith(self._key):
                self.loop.remove_reader(way.fileno())
                self._ways_in.discard(way)
                way.close()
                return
            _, at, family, port, scope, packed = _HEAD.unpack_from(message)
            if at >= len(self._sockets):
                continue  # Of a reload that has changed quic_bind.
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
        elif len(data) >= _LEAST_INITIAL:
            self._begin(at, data, address, owner, is_forwarded=is_forwarded)

    def _forward(self, owner: int, at: int, data: bytes, address: Any) -> bool:
        """Give a datagram to the worker that has its connection; whether there is one."""
        family = 6 if len(address) == 4 else 4
        host = address[0].partition("%")[0]
        packed = socket.inet_pton(_FAMILIES[family], host)
        head = _HEAD.pack(self._key, at, family, address[1], address[3] if family == 6 else 0, packed)
        try:
            self._way_to(owner).send(head + data)
        except BlockingIOError:
            pass  # It is busy. The datagram is lost, as one may be on its way.
        except OSError:
            self._drop_way(owner)
            return False
        return True

    def _drop_way(self, owner: int) -> None:
        """The other one has gone, or says something, which it never does."""
        way = self._ways_out.pop(owner, None)
        if way is not None:
            self.loop.remove_reader(way.fileno())
            way.close()

    def _way_to(self, owner: int) -> socket.socket:
        """Not a socket of datagrams: those keep ten, in most containers, whatever their size."""
        way = self._ways_out.get(owner)
        if way is None:
            way = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            way.setblocking(False)
            way.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _ON_THE_WAY)
            try:
                way.connect(self._names.mailbox(owner))
            except OSError:
                way.close()
                raise
            self._ways_out[owner] = way
            self.loop.add_reader(way.fileno(), self._drop_way, owner)
        return way

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

    def _begin(self, at: int, data: bytes, address: Any, owner: int, *, is_forwarded: bool) -> None:
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
        if not owner and not is_forwarded and self._is_of_another(at, data, address, header.destination_cid):
            return
        if header.packet_type is QuicPacketType.INITIAL and not (self._is_retiring or self._is_full()):
            self._open(at, data, address, header)

    def _is_of_another(self, at: int, data: bytes, address: Any, name: bytes) -> bool:
        """Whether another worker takes the connection, and was given the datagram."""
        takers = [self._board.read(slot, Cell.QUIC) for slot in range(self._board.slots)]
        takers = [number for number in takers if number]
        while takers:
            owner = self._names.chosen(name, takers)
            if owner == self._number:
                return False
            if self._forward(owner, at, data, address):
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
        if not peer.receive(data, address):
            self.forget(peer)

    def _ask_to_retry(self, at: int, address: Any, header: Any) -> None:
        """Have the client show that it receives what is sent to its address; RFC 9000 §8.1.2."""
        name = self._names.new()
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


def _is_of_ours(way: socket.socket) -> bool:
    """Whether the other end is a process of this user, or of root: a name of this kind is anybody's to find."""
    credentials = way.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return _CREDENTIALS.unpack(credentials)[1] in (0, os.geteuid())


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


def _mailbox(secret: bytes) -> tuple[int, Names, socket.socket]:
    """A number that no other worker has, what connections are called by it, and where others put what is for it."""
    mailbox = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    mailbox.setblocking(False)
    while True:
        number = int.from_bytes(os.urandom(4), "big") or 1
        names = Names(secret, number)
        # Somebody else may have it: another one, then.
        with contextlib.suppress(OSError):
            mailbox.bind(names.mailbox(number))
            mailbox.listen(128)
            return number, names, mailbox


def _silence() -> None:
    """What aioquic says of a connection that breaks a rule is of no use in our log, unless it is asked for."""
    logger = logging.getLogger("quic")
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.CRITICAL)
