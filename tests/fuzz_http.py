"""Look for input that _http gets wrong, for a bounded time: python tests/fuzz_http.py --seconds N [--seed S].

Requests are made at random and judged whole, in parts, and by h11; so are the response heads that are written.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any

import h11
from conformance import grammar
from conformance.case import judge
from conformance.differences import difference_from_h11
from fuzzing import Finding, Fuzzer, Kind

from pyserver import _http, _response

if TYPE_CHECKING:
    import random
    from collections import Counter

# h11 has limits of another kind.
LIFTED = {"line": 0, "fields": 0, "field": 0}
# What the server adds to the application's fields, in this order.
_ADDED = re.compile(
    rb"(Date: [A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4,} \d\d:\d\d:\d\d GMT\r\n)?(Server: [^\r\n]*\r\n)?"
    rb"(Content-Length: \d+\r\n|Transfer-Encoding: chunked\r\n)?(Connection: (close|keep-alive)\r\n)?\r\n"
)


def look_at_requests(data: bytes, rng: random.Random, seen: Counter[str]) -> Finding | None:
    """Whether a connection's bytes are judged the same in parts as whole, and as h11 judges them."""
    for limits in (LIFTED, grammar.limits(rng)):
        parts = grammar.cut(rng, data)
        whole = judge([data], limits)
        if judge(parts, limits) != whole:
            return Finding(repr((data, limits, parts)), "is judged otherwise in these parts than whole")
        if limits is LIFTED:
            complaint = difference_from_h11(data, whole.requests, whole.refusal)
            if complaint is not None:
                return Finding(repr(data), complaint)
        seen["requests"] += len(whole.requests)
        seen[whole.refusal[0].name if whole.refusal else "accepted"] += 1
    return None


def look_at_response(given: tuple[Any, Any, dict[str, Any]], _: random.Random, seen: Counter[str]) -> Finding | None:
    """Whether a response head is refused, or is what was given and no more."""
    status, fields, options = given
    try:
        head, _ = _response.format_response_head(status, fields, **options)
    except (TypeError, ValueError):
        seen["responses refused"] += 1
        return None
    seen["responses written"] += 1
    complaint = complaint_about_head(head, status, fields) or complaint_of_h11(head)
    return Finding(repr(given), f"{complaint}: {head!r}") if complaint else None


def is_kept(name: str, value: str) -> bool:
    """Whether a field is sent as it was given; the server writes these itself."""
    return name.lower() != "content-length" and (name.lower(), value.lower()) != ("connection", "close")


def complaint_about_head(head: bytes, status: str, fields: list[tuple[str, str]]) -> str | None:
    """What is in a head besides what was given and what a server adds."""
    reason = status if len(status) > 3 else f"{status} "
    own = [f"HTTP/1.1 {reason}", *(f"{name}: {value}" for name, value in fields if is_kept(name, value))]
    begin = "".join(f"{line}\r\n" for line in own).encode("latin-1")
    if not head.startswith(begin):
        return "the head does not begin with what was given"
    if not _ADDED.fullmatch(head, len(begin)):
        return "the head holds what neither the application nor the server gives"
    return None


def complaint_of_h11(head: bytes) -> str | None:
    """What h11 as a client has against a head: it must read each line of it as one field."""
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(head)
    try:
        event = connection.next_event()
    except h11.RemoteProtocolError as error:
        return f"h11 refuses the head: {error}"
    if not isinstance(event, h11.Response):
        return f"h11 takes the head for {event!r}"
    lines = [line.partition(b":") for line in head.split(b"\r\n")[1:-2]]
    sent = [(name, value.strip(b" \t")) for name, _, value in lines]
    read = [(bytes(name), bytes(value)) for name, value in event.headers.raw_items()]
    return None if read == sent else f"h11 reads other fields: {read!r}"


FUZZER = Fuzzer(
    __doc__,
    _http.__file__,
    [Kind(3, grammar.requests, look_at_requests), Kind(1, grammar.response, look_at_response)],
)

if __name__ == "__main__":
    sys.exit(FUZZER.main())
