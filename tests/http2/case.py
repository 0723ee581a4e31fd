"""What a row of the conformance tables is: what a peer sends, and what a server may make of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import wire
from .wire import Code

if TYPE_CHECKING:
    from collections.abc import Callable

    from .peer import Peer
    from .received import Response

    Play = Callable[[Peer], None]

CLOSED = "CLOSED"


class NotApplicableError(Exception):
    """The server has nothing that the case could be about."""


@dataclass(frozen=True)
class Case:
    """What a peer sends on a connection of its own, and the outcomes that the standard allows.

    Attributes:
        name: what the row shows.
        source: where the rule is written.
        send: bytes behind the preface and an empty SETTINGS frame; or a function that does more than to send, which
            raises AssertionError when the server has broken a rule.
        expect: what may come of the stream or the connection, each as `outcome` of the runner says it.
        stream: the stream that it is about.
        greets: whether preface and SETTINGS are sent before.
        settings: what this SETTINGS frame says.
        needs: "app" where the application of the tests has to be served, "asgi" where it has to be that for ASGI.
        probe: a stream that the connection's survival can be shown with; 0 where it ends well in another way.
    """

    name: str
    source: str
    send: bytes | Play
    expect: frozenset[str]
    stream: int = 1
    greets: bool = True
    settings: tuple[tuple[int, int], ...] = ()
    needs: str = ""
    probe: int = 1001


def connection_error(*codes: Code) -> frozenset[str]:
    """GOAWAY and the end of the connection, RFC 9113 §5.4.1; or its end alone, for GOAWAY is only a SHOULD."""
    return frozenset({*(f"GOAWAY {code.name}" for code in codes), CLOSED})


def stream_error(*codes: Code) -> frozenset[str]:
    """RST_STREAM, RFC 9113 §5.4.2; or a connection error, which one of a stream may be treated as: §5.4.1."""
    return frozenset(f"RST {code.name}" for code in codes) | connection_error(*codes)


PROTOCOL = connection_error(Code.PROTOCOL_ERROR)
SIZE = connection_error(Code.FRAME_SIZE_ERROR)
FLOW = connection_error(Code.FLOW_CONTROL_ERROR)
COMPRESSION = connection_error(Code.COMPRESSION_ERROR)
# RFC 9113 §8.1.1: a malformed request is a stream error, before which a server may respond.
MALFORMED = stream_error(Code.PROTOCOL_ERROR) | {"STATUS 400"}
REFUSED = frozenset({"STATUS 400"})
OK = frozenset({"STATUS 200"})


def echoed(response: Response) -> dict[str, Any]:
    """What the application was given, as /echo tells it."""
    assert response.status == 200, f"/echo answered {response.status}, reset {response.reset}"
    told: dict[str, Any] = json.loads(bytes(response.content))
    return told


def sent(first: bytes, *more: bytes) -> bytes:
    return b"".join((first, *more))


def then_get(*before: bytes, stream: int = 1) -> bytes:
    """Frames that are to be ignored or taken as they are, and a request that shows it."""
    return b"".join(before) + wire.get(stream)
