"""Look for input that _http gets wrong, for a bounded time: python tests/fuzz_http.py --seconds N [--seed S].

Requests are made at random and judged whole, in parts, and by h11; so are the response heads that are written. What is
looked at runs in a child process, so that a crash is a finding too. The seed of a finding makes the same input again.
"""

from __future__ import annotations

import argparse
import mmap
import os
import random
import re
import struct
import sys
import time
import traceback
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import h11
from conformance import grammar
from conformance.case import judge
from conformance.differences import difference_from_h11

from pyserver import _http, _response

if TYPE_CHECKING:
    from collections.abc import Callable

# h11 has limits of another kind.
LIFTED = {"line": 0, "fields": 0, "field": 0}
FOUND = 3  # the exit code of a child that has reported a finding itself
# What the server adds to the application's fields, in this order.
_ADDED = re.compile(
    rb"(Date: [A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4,} \d\d:\d\d:\d\d GMT\r\n)?(Server: [^\r\n]*\r\n)?"
    rb"(Content-Length: \d+\r\n|Transfer-Encoding: chunked\r\n)?(Connection: (close|keep-alive)\r\n)?\r\n"
)


class Finding(NamedTuple):
    """An input as a Python literal, and what is wrong with what is made of it."""

    literal: str
    complaint: str


def look_at_requests(rng: random.Random, seen: Counter[str]) -> Finding | None:
    """Whether a connection's bytes are judged the same in parts as whole, and as h11 judges them."""
    data = grammar.requests(rng)
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


def look_at_response(rng: random.Random, seen: Counter[str]) -> Finding | None:
    """Whether a response head is refused, or is what was given and no more."""
    status, fields, options = given = grammar.response(rng)
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


LOOKS: list[Callable[[random.Random, Counter[str]], Finding | None]] = [look_at_requests, look_at_response]


def look(seed: int, seen: Counter[str]) -> Finding | None:
    """Make the input of a seed and look at it."""
    rng = random.Random(seed)
    try:
        return rng.choices(LOOKS, (3, 1))[0](rng, seen)
    except Exception:  # Whatever it is, it is a finding, and the input has to be told.
        return Finding(input_of(seed), traceback.format_exc())


def input_of(seed: int) -> str:
    """The input of a seed as a literal, without looking at it."""
    rng = random.Random(seed)
    made: Any = grammar.requests(rng) if rng.choices(LOOKS, (3, 1))[0] is look_at_requests else grammar.response(rng)
    return repr(made)


def report(seed: int, finding: Finding) -> None:
    print(f"FOUND {finding.complaint}\n  input: {finding.literal}\n  again: --seed {seed} --seconds 0", flush=True)


def look_until(deadline: float, seed: int, place: mmap.mmap) -> int:
    """Look at one input after the other, the first in any case; returns an exit code."""
    seen: Counter[str] = Counter()
    first = seed
    while True:
        struct.pack_into("q", place, 0, seed)
        finding = look(seed, seen)
        if finding is not None:
            report(seed, finding)
            return FOUND
        seed += 1
        if time.monotonic() >= deadline:
            break
    print(
        f"{seed - first} inputs, nothing found;", ", ".join(f"{name} {count}" for name, count in sorted(seen.items()))
    )
    return 0


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seconds", type=float, required=True, help="how long to look; 0 looks at one input")
    options.add_argument("--seed", type=int, help="of the first input; otherwise it is drawn")
    chosen = options.parse_args()
    seed = chosen.seed if chosen.seed is not None else random.SystemRandom().randrange(1 << 40)
    print(f"fuzzing {_http.__file__} from --seed {seed}", flush=True)
    place = mmap.mmap(-1, 8)
    child = os.fork()
    if child == 0:
        code = FOUND
        try:
            code = look_until(time.monotonic() + chosen.seconds, seed, place)
            sys.stdout.flush()
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code not in (0, FOUND):
        (last,) = struct.unpack_from("q", place, 0)
        report(last, Finding(input_of(last), f"a crash: the exit code is {code}"))
    return 1 if code else 0


if __name__ == "__main__":
    sys.exit(main())
