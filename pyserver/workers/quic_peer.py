"""One connection of QUIC in a worker: aioquic's, with the limits and the names of this server, and its timers.

What aioquic keeps private is touched here and in `_http3`: where it gives room anew, whatever has become of what came
before, and what it has not yet had acknowledged.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from aioquic.quic import events
from aioquic.quic.connection import QuicConnection, QuicConnectionId, QuicConnectionState

from pyserver._http3 import HTTP3Session

if TYPE_CHECKING:
    import socket

    from pyserver.workers.quic import QuicEndpoint
    from pyserver.workers.quic_names import Names

STREAM_WINDOW = 262_144  # bytes of one request that are under way
CONNECTION_WINDOW = 1_048_576  # … and of all of a connection
IDLE_TIMEOUT = 30.0  # seconds without a word, after which QUIC takes a peer for gone
_OTHER_STREAMS = 16  # of a client that are no requests; RFC 9114 §6.2 wants three at least
_PING_AFTER = 10.0  # seconds that a client who waits for a response is silent, before it is asked whether it is there
_GRACE = 0.4  # seconds from the first GOAWAY to the last
_LOOK = 0.05  # seconds between two looks whether a client that is to leave has all
_LINGER = 5.0  # seconds that it may take to have it, after the last response was given


class Connection(QuicConnection):
    """The server's side, whose room follows what the application takes."""

    session: HTTP3Session

    def __init__(self, names: Names, streams: int, **told: Any) -> None:
        self._names = names
        super().__init__(**told)
        first = self._host_cids[0]
        first.cid = self.host_cid = self._local_initial_source_connection_id = names.new()
        first.stateless_reset_token = names.reset_token(first.cid)
        for limit, most in ((self._local_max_streams_bidi, streams), (self._local_max_streams_uni, _OTHER_STREAMS)):
            limit.value = limit.sent = most

    def _replenish_connection_ids(self) -> None:
        while len(self._host_cids) < min(8, self._remote_active_connection_id_limit):
            name = self._names.new()
            self._host_cids.append(
                QuicConnectionId(
                    cid=name,
                    sequence_number=self._host_cid_seq,
                    stateless_reset_token=self._names.reset_token(name),
                )
            )
            self._host_cid_seq += 1

    def _get_or_create_stream(self, frame_type: int, stream_id: int) -> Any:
        stream = super()._get_or_create_stream(frame_type, stream_id)
        if not stream_id & 3 and not stream.receiver._buffer_start and not stream.receiver.is_finished:
            # What comes first may lie behind a gap, and be no event yet.
            self.session.note_begun(stream_id)
        return stream

    def _write_connection_limits(self, builder: Any, space: Any) -> None:
        limit = self._local_max_data
        wanted = limit.used - self.session.all_owed + CONNECTION_WINDOW
        if wanted - limit.value >= CONNECTION_WINDOW // 4:
            # What lies behind a gap, or is half a frame, takes its room as well.
            limit.value = max(limit.value, wanted - self._undelivered() - self.session.all_kept)
        # It would be doubled otherwise, whatever is owed.
        used, limit.used = limit.used, 0
        try:
            super()._write_connection_limits(builder, space)
        finally:
            limit.used = used

    def _undelivered(self) -> int:
        """Bytes that have come, or have been passed over, and that nobody was given."""
        receivers = [stream.receiver for stream in self._streams.values()]
        return sum(one.highest_offset - one._buffer_start for one in receivers if not one.is_finished)

    def _write_stream_limits(self, builder: Any, space: Any, stream: Any) -> None:
        receiver = stream.receiver
        if receiver.is_finished:
            return
        wanted = receiver._buffer_start - self.session.credit(stream.stream_id) + STREAM_WINDOW
        if wanted - stream.max_stream_data_local >= STREAM_WINDOW // 4:
            stream.max_stream_data_local = wanted
        elif stream.max_stream_data_local_sent == stream.max_stream_data_local:
            return
        highest, receiver.highest_offset = receiver.highest_offset, 0
        try:
            super()._write_stream_limits(builder, space, stream)
        finally:
            receiver.highest_offset = highest


class Peer:
    """A connection, its session of HTTP/3, and when it is to be looked after."""

    def __init__(
        self, endpoint: QuicEndpoint, quic: Connection, bound: socket.socket, listener: int, settings: Any
    ) -> None:
        self.quic = quic
        self.names = {quic.host_cid}
        self._endpoint = endpoint
        self._loop = endpoint.loop
        self._bound = bound
        self._keepalive = settings.keepalive
        self._head_within = settings.request_head_timeout
        self._timer: Any = None
        self._due = 0.0
        self._heard_at = self._loop.time()
        self._linger_until = 0.0
        self._is_open = False
        self._is_terminated = False
        self._tls: dict[str, object] | None = None
        self.session = quic.session = HTTP3Session(
            endpoint.engine, quic, self, listener=listener, streams=settings.http2_max_concurrent_streams,
            field_list=settings.http2_max_header_list_size,
        )  # fmt: skip

    @property
    def tls(self) -> dict[str, object]:
        """The extension `tls` of an ASGI scope, version 0.2."""
        if self._tls is None:
            schedule = self.quic.tls.key_schedule
            self._tls = {
                "server_cert": self._endpoint.certificate,
                "client_cert_chain": [],
                "client_cert_name": None,
                "client_cert_error": None,
                "tls_version": 0x0304,
                "cipher_suite": int(schedule.cipher_suite) if schedule is not None else None,
            }
        return self._tls

    @property
    def is_idle(self) -> bool:
        """Whether it has asked for something, does not now, and was not told to go."""
        return self.session.has_asked and self.session.quiet_since_ns > 0 and not self.session.departing

    def receive(self, data: bytes, address: Any) -> bool:
        """Take a datagram; False when it was the first and is none of QUIC's."""
        try:
            now, closes_at = self._loop.time(), self.quic._close_at
            self.quic.receive_datagram(data, address, now=now)
            if self.quic._close_at != closes_at:
                # It is the client's, and not of somebody who has seen the name.
                self._heard_at = now
            if self.quic._state is QuicConnectionState.FIRSTFLIGHT:
                return False
            if not self._is_open:
                self._is_open = True
                self.session.begin()
            self._go_on()
        except Exception:
            # A datagram may be anything. It ends this connection and no other.
            self._endpoint.log.exception("A connection of QUIC is closed")
            self._give_up()
        return True

    def transmit(self) -> None:
        """Send what there is to be sent, and have a look at the time when there is more."""
        if not self.quic._network_paths:
            return
        for data, address in self.quic.datagrams_to_send(now=self._loop.time()):
            # What the system does not take is lost on the way, as far as QUIC knows.
            with contextlib.suppress(OSError):
                self._bound.sendto(data, address)
        self._set_timer()

    def note(self, event: Any) -> None:
        """What QUIC tells that is not HTTP/3's."""
        if isinstance(event, events.ConnectionIdIssued):
            self.names.add(event.connection_id)
            self._endpoint.peers[event.connection_id] = self
        elif isinstance(event, events.ConnectionIdRetired):
            self.names.discard(event.connection_id)
            self._endpoint.peers.pop(event.connection_id, None)
        elif isinstance(event, events.HandshakeCompleted):
            self._endpoint.half_open.discard(self)
            self._endpoint.note_room()

    def note_terminated(self, _: Any) -> None:
        """QUIC is done with it."""
        self._is_terminated = True
        if self._timer is not None:
            self._timer.cancel()
        self._endpoint.forget(self)

    def note_closed(self) -> None:
        """Nothing is served on it any more, though datagrams of it may still come."""
        self._endpoint.half_open.discard(self)
        self._endpoint.open.discard(self)
        self._endpoint.note_room()

    def note_departing(self) -> None:
        """The client was told that it is to go."""
        self._loop.call_later(_GRACE, self._leave)

    def _go_on(self) -> None:
        self.session.take()
        if self.quic._close_event is not None and not self.session.is_closed:
            # By the client, or over an error.
            self.session.close()

    def _leave(self) -> None:
        self.session.depart(at_once=True)
        self._settle()

    def _settle(self) -> None:
        """Close it as soon as the client has what it has asked for."""
        if self.session.is_closed:
            return
        now = self._loop.time()
        if self.session.carried:
            self._linger_until = 0.0
        elif not self._linger_until:
            self._linger_until = now + _LINGER
        if self.session.is_settled() or 0 < self._linger_until < now:
            self.session.close()
        else:
            self._loop.call_later(_LOOK, self._settle)

    def _give_up(self) -> None:
        with contextlib.suppress(Exception):
            self.session.close(0x102)
        self.note_terminated(None)

    # ---- time ----

    @property
    def _patience(self) -> float:
        """How long it may ask for nothing, seconds."""
        return self._keepalive if self.session.has_asked else self._head_within or IDLE_TIMEOUT

    def _set_timer(self) -> None:
        due = self.quic.get_timer()
        if due is None or self._is_terminated:
            return
        if not self.session.is_closed:
            quiet_since = self.session.quiet_since_ns
            if quiet_since and not self.session.departing:
                due = min(due, quiet_since / 1e9 + self._patience)
            elif self.session.carried:
                due = min(due, self._heard_at + _PING_AFTER)
            if self.session.oldest_head_ns and self._head_within:
                due = min(due, self.session.oldest_head_ns / 1e9 + self._head_within)
        if self._timer is not None:
            if self._due <= due:
                return  # It will be looked at then.
            self._timer.cancel()
        self._due = due
        self._timer = self._loop.call_at(due, self._look)

    def _look(self) -> None:
        self._timer = None
        now = max(self._loop.time(), self._due)
        try:
            due = self.quic.get_timer()
            if due is not None and due <= now:
                self.quic.handle_timer(now)
                self._go_on()
            if not self.session.is_closed:
                self._look_after(now)
        except Exception:
            # As above.
            self._endpoint.log.exception("A connection of QUIC is closed")
            self._give_up()
        if self._timer is None:
            self._set_timer()

    def _look_after(self, now: float) -> None:
        if self._head_within:
            self.session.expire_heads(int((now - self._head_within) * 1e9))
        quiet_since = self.session.quiet_since_ns
        if quiet_since and not self.session.departing and quiet_since / 1e9 + self._patience <= now:
            self.session.depart()
        elif self.session.carried and self._heard_at + _PING_AFTER <= now:
            self._heard_at = now
            self.quic.send_ping(0)
            self.session.take()
