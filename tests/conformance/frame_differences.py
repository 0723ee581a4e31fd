"""Where this decoder of WebSockets and wsproto differ on purpose, with the reason; any other one is a finding."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from conformance.frames import OFFER
from wsproto import events, extensions, frame_protocol
from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.frame_protocol import CloseReason, RsvBits

from pyserver._websocket import Event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# Enough for wsproto to judge any head: it looks at none before it is complete, and at no order before there is payload.
REST_OF_HEAD = bytes(15)


class _Deflate(extensions.PerMessageDeflate):
    """wsproto's, which forgets that a message is compressed when a control frame comes within it."""

    has_ended = False

    def frame_inbound_header(self, proto: Any, opcode: Any, rsv: RsvBits, payload_length: int) -> CloseReason | RsvBits:
        if not opcode.iscontrol():
            return super().frame_inbound_header(proto, opcode, rsv, payload_length)
        self._inbound_is_compressible = False
        return CloseReason.PROTOCOL_ERROR if rsv.rsv1 else RsvBits(True, False, False)

    def frame_inbound_payload_data(self, proto: Any, data: bytes) -> bytes | CloseReason:
        return self._noting_ends(super().frame_inbound_payload_data, proto, data)

    def frame_inbound_complete(self, proto: Any, fin: bool) -> bytes | CloseReason | None:
        if not self._inbound_is_compressible:
            return None
        return self._noting_ends(super().frame_inbound_complete, proto, fin)

    def _noting_ends(self, function: Callable[..., Any], *arguments: Any) -> Any:
        inflater = self._decompressor
        result = function(*arguments)
        self.has_ended |= inflater is not None and inflater.eof
        return result


@dataclass
class Opinion:
    """What is made of some bytes.

    Attributes:
        events: what is understood, in order.
        refusal: the code, once something is refused.
        reason: why.
        is_waiting: whether the bytes end within a frame.
        has_ended: whether a compressed stream has ended, from where on wsproto inflates nothing.
    """

    events: list[tuple[Any, ...]] = field(default_factory=list)
    refusal: int | None = None
    reason: str = ""
    is_waiting: bool = False
    has_ended: bool = False


def opinion_of_wsproto(data: bytes, deflate: bool) -> Opinion:
    """What wsproto makes of what a client sends."""
    extension = _Deflate()
    if deflate:
        extension.accept(OFFER.decode())
    connection = Connection(ConnectionType.SERVER, [extension])
    connection.receive_data(data)
    opinion = Opinion()
    message: list[Any] = []
    for event in connection.events():
        if isinstance(event, events.Message):
            message.append(event.data)
            if event.message_finished:
                kind = Event.TEXT if isinstance(event, events.TextMessage) else Event.BINARY
                opinion.events.append((kind, type(event.data)().join(message)))
                message = []
        elif isinstance(event, events.CloseConnection):
            if connection.state is ConnectionState.OPEN:
                opinion.refusal, opinion.reason = int(event.code), event.reason or ""
            else:
                opinion.events.append((Event.CLOSE, int(event.code), event.reason or ""))
        elif isinstance(event, events.Ping | events.Pong):
            kind = Event.PING if isinstance(event, events.Ping) else Event.PONG
            opinion.events.append((kind, bytes(event.payload)))
    decoder = connection._proto._frame_decoder
    opinion.is_waiting = decoder.header is not None or len(decoder.buffer) > 0
    opinion.has_ended = extension.has_ended
    return opinion


def opinion_of_ours(found: Iterable[tuple[Any, ...]]) -> Opinion:
    opinion = Opinion()
    for event in found:
        assert opinion.refusal is None, f"{event!r} came after a refusal"
        if event[0] is Event.FAIL:
            opinion.refusal, opinion.reason = event[1:]
        else:
            opinion.events.append(event)
    return opinion


@dataclass(frozen=True)
class Difference:
    """What is judged otherwise here than by wsproto, behind the same events.

    Attributes:
        source: the rule that asks for it, or lets us.
        reason: what wsproto does.
        theirs: what wsproto says of its refusal.
        ours: what we say of ours, or the event that we have then.
    """

    source: str
    reason: str
    theirs: str
    ours: str

    def explains(self, ours: Opinion, theirs: Opinion) -> bool:
        count = len(theirs.events)
        begins_alike = ours.events[:count] == theirs.events
        said = ours.reason if ours.refusal else repr(ours.events[count:])
        return begins_alike and bool(re.match(self.theirs, theirs.reason)) and bool(re.match(self.ours, said))


DIFFERENCES = [
    Difference(
        "RFC 6455 §5.4",
        "wsproto inflates or decodes what is in a frame before it judges whether the frame may be there",
        "error in extension|'utf-8' codec",
        "a message begins within another|a continuation frame continues nothing",
    ),
    Difference(
        "RFC 6455 §11.7",
        "wsproto knows the codes of 2012, and 1014 was registered later",
        "CLOSE with unknown reserved code",
        r"\[\(<Event.CLOSE: 8>, 1014, .*\)\]$|the reason of a close frame",
    ),
]


def difference_from_wsproto(data: bytes, deflate: bool, found: Iterable[tuple[Any, ...]]) -> str | None:
    """What wsproto makes otherwise of these bytes than the events that we found; None if nothing that is not known."""
    ours = opinion_of_ours(found)
    theirs = opinion_of_wsproto(data, deflate)
    if ours.refusal and not theirs.refusal and theirs.is_waiting:
        theirs = opinion_of_wsproto(data + REST_OF_HEAD, deflate)
    if theirs.has_ended:
        return None
    if (ours.events, ours.refusal) == (theirs.events, theirs.refusal):
        return None
    if any(row.explains(ours, theirs) for row in DIFFERENCES):
        return None
    return f"wsproto: {theirs!r}\n  ours: {ours!r}"


def opinion_of_a_client(data: bytes, deflate: bool, response: str = "") -> Opinion:
    """What wsproto as a client makes of what the server sends."""
    extension = extensions.PerMessageDeflate()
    if deflate:
        extension.finalize(response)
    protocol = frame_protocol.FrameProtocol(True, [extension])
    protocol.receive_bytes(data)
    opinion = Opinion()
    message: list[Any] = []
    for received in protocol.received_frames():
        message.append(received.payload)
        if received.message_finished and received.frame_finished:
            joined = message[0] if received.opcode.iscontrol() else type(received.payload)().join(message)
            opinion.events.append((received.opcode, joined))
            message = []
    return opinion
