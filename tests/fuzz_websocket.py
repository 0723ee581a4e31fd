"""Look for input that _websocket gets wrong, for a bounded time: python tests/fuzz_websocket.py --seconds N [--seed S].

What clients send is made at random and judged whole, in parts, with limits, and by wsproto; what is sent to them is
read by wsproto.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from conformance import frame_grammar
from conformance.frame_differences import difference_from_wsproto, opinion_of_a_client
from conformance.frames import agreed, judge
from fuzzing import Finding, Fuzzer, Kind

from pyserver import _websocket
from pyserver._websocket import Event, WebSocket

if TYPE_CHECKING:
    import random
    from collections import Counter

# So that windows, and what is held, are small and large.
OFFERS = [
    b"permessage-deflate; server_max_window_bits=9",
    b"permessage-deflate; server_max_window_bits=15",
    b"permessage-deflate; server_no_context_takeover",
]


def options(deflate: bool, limit: int) -> dict[str, Any]:
    return {"max_message": limit, "deflate": agreed() if deflate else None}


def outcome(events: list[tuple[Any, ...]], deflate: bool) -> list[tuple[Any, ...]]:
    """What must not depend on how bytes arrive.

    Of a compressed message that breaks two rules zlib finds the one or the other first, for it keeps what it has
    inflated to itself when it finds one.
    """
    return [((Event.FAIL,) if deflate else event[:2]) if event[0] is Event.FAIL else event for event in events]


def look_at_connection(made: tuple[bytes, bool], rng: random.Random, seen: Counter[str]) -> Finding | None:
    """Whether what a client sends is judged the same in parts as whole, and as wsproto judges it."""
    data, deflate = made
    for limit in (0, rng.choice((1, 5, 125, 300, 70000))):
        parts = frame_grammar.cut(rng, data)
        whole = judge([data], **options(deflate, limit))
        if outcome(judge(parts, **options(deflate, limit)), deflate) != outcome(whole, deflate):
            return Finding(repr((data, deflate, limit, parts)), "is judged otherwise in these parts than whole")
        if limit == 0:
            complaint = difference_from_wsproto(data, deflate, whole)
            if complaint is not None:
                return Finding(repr(made), complaint)
        elif any(len(event[1]) > limit for event in whole if event[0] is Event.BINARY):
            return Finding(repr(made), f"a message is beyond the limit of {limit}")
        for event in whole:
            seen[f"{event[0].name} {event[1]}" if event[0] is Event.FAIL else event[0].name] += 1
    return None


def messages(rng: random.Random) -> tuple[list[str | bytes], bytes]:
    """What an application sends, and what was offered by the client."""
    return [frame_grammar.message(rng) for _ in range(rng.choice((1, 2, 5)))], rng.choice((b"", *OFFERS))


def look_at_messages(made: tuple[list[str | bytes], bytes], rng: random.Random, seen: Counter[str]) -> Finding | None:
    """Whether wsproto as a client reads what was sent."""
    sent, offer = made
    deflate = agreed(offer, server_bits=rng.choice((9, 15)), level=rng.randrange(-1, 10)) if offer else None
    socket = WebSocket(deflate=deflate)
    data = b""
    for message in sent:
        data += socket.text(message) if isinstance(message, str) else socket.binary(message)
        data += socket.ping(b"p")
        if rng.random() < 0.1:
            socket.rest()
    read = opinion_of_a_client(data, deflate is not None, deflate.response.decode() if deflate else "").events
    seen["sent"] += len(sent)
    expected = [(1 if isinstance(message, str) else 2, message) for message in sent]
    if read[::2] != expected or read[1::2] != [(9, b"p")] * len(sent):
        return Finding(repr(made), f"a client reads {read!r}")
    return None


FUZZER = Fuzzer(
    __doc__,
    _websocket.__file__,
    [Kind(4, frame_grammar.connection, look_at_connection), Kind(1, messages, look_at_messages)],
)

if __name__ == "__main__":
    sys.exit(FUZZER.main())
