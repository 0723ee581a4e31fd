"""Plays the conformance cases to a server: `python -m tests.http2.conformance HOST PORT [--tls] [--only WORD]`.

Cases that need the application of the tests are left out where /echo does not answer as it does.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import dataclasses
import sys
import time
from typing import TYPE_CHECKING

from . import wire
from .case import CLOSED, Case, NotApplicableError, echoed
from .cases import CASES
from .peer import AnsweredInHttp1, Closed, Peer, tls_context
from .received import Response, ViolationError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

    from .peer import Address

SKIPPED = "SKIPPED"


@dataclasses.dataclass(frozen=True)
class Target:
    """A server, and how it is spoken to.

    Attributes:
        strict: whether a connection error takes GOAWAY, which is only a SHOULD in RFC 9113 §5.4.1.
        pieces: bytes that are sent at once; 0 for all there are.
        offers: what `needs` of a case may be.
    """

    address: Address
    tls: ssl.SSLContext | None = None
    strict: bool = False
    pieces: int = 0
    offers: frozenset[str] = frozenset({"", "app", "asgi"})
    timeout: float = 5.0

    def peer(self, *, greets: bool = True, settings: tuple[tuple[int, int], ...] = ()) -> Peer:
        return Peer(
            self.address, self.timeout, self.tls, greets=greets, settings=settings, pieces=self.pieces
        )


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What came of a case; `complaint` is empty when that is allowed."""

    case: Case
    outcome: str
    complaint: str = ""


def judge(case: Case, target: Target) -> Verdict:
    """Play a case to a server."""
    if case.needs not in target.offers:
        return Verdict(case, SKIPPED)
    with target.peer(greets=case.greets, settings=case.settings) as peer:
        try:
            played = _play(case, peer)
            outcome = _outcome(case, peer)
        except NotApplicableError as reason:
            return Verdict(case, f"{SKIPPED}: {reason}")
        except AssertionError as error:
            return Verdict(case, "VIOLATION" if isinstance(error, ViolationError) else "WRONG", str(error))
    complaint = _complaint(case, outcome, target.strict)
    return Verdict(case, outcome, f"{complaint}; {played}" if complaint and played else complaint)


def _play(case: Case, peer: Peer) -> str:
    """Send what is to be sent; tells of a play that could not be finished, which its outcome may explain."""
    if isinstance(case.send, bytes):
        peer.send(case.send)
        return ""
    try:
        case.send(peer)
    except Closed as closed:
        return f"{closed} before it was over"
    except TimeoutError:
        return "nothing came that it waits for"
    return ""


def _outcome(case: Case, peer: Peer) -> str:
    response = peer.responses.setdefault(case.stream, Response())
    try:
        peer.wait_until(lambda: _is_decided(response) or _error_of(peer))
        if not _error_of(peer) and case.probe:
            _survive(case.probe, peer)
        if code := _error_of(peer):
            return _ended_with(code, peer)
    except AnsweredInHttp1 as answer:
        return f"HTTP1 {answer.status}"
    except Closed:
        if code := _error_of(peer):
            return f"GOAWAY {wire.name_of(code)}"
        if case.probe or not _is_decided(response):
            return CLOSED
    except TimeoutError:
        return "NOTHING" if not _is_decided(response) else f"{_said(response)}, NOTHING MORE"
    return _said(response)


def _is_decided(response: Response) -> bool:
    return response.is_complete or response.reset is not None


def _said(response: Response) -> str:
    """A reset for an error counts for more than a response before it."""
    if response.reset is not None and (response.reset or not response.is_complete):
        return f"RST {wire.name_of(response.reset)}"
    return f"STATUS {response.status}"


def _error_of(peer: Peer) -> int:
    """The code of a GOAWAY that is for an error."""
    return max((code for _, code in peer.goaways), default=0)


def _ended_with(code: int, peer: Peer) -> str:
    """What a connection error came to: RFC 9113 §5.4.1 has the connection closed as well."""
    try:
        peer.wait_until(lambda: False)
    except TimeoutError:
        return f"GOAWAY {wire.name_of(code)}, LEFT OPEN"
    except Closed:
        return f"GOAWAY {wire.name_of(code)}"
    raise AssertionError("unreachable")


def _survive(stream: int, peer: Peer) -> None:
    """Make another request, that shows what else has come of what was sent."""
    peer.send(wire.get(stream))
    if peer.allowed.stream(stream) < 1000:
        peer.send(wire.window_update(stream, 10_000))
    if peer.allowed.connection < 1000:
        peer.send(wire.window_update(0, 10_000))
    peer.settle()
    response = peer.responses.setdefault(stream, Response())
    peer.wait_until(lambda: _is_decided(response) or _error_of(peer))
    if not _error_of(peer):
        if response.status != 200:
            raise AssertionError(f"the next request was answered {_said(response)}")
        peer.wait_until(lambda: not peer.allowed.unacknowledged or _error_of(peer))


def _complaint(case: Case, outcome: str, strict: bool) -> str:
    expected = set(case.expect)
    if strict and any(one.startswith("GOAWAY") for one in expected) and case.greets:
        expected.discard(CLOSED)
    return "" if outcome in expected else f"expected {' or '.join(sorted(expected))}"


def offers_of(target: Target) -> frozenset[str]:
    """What can be asked of the application that the server has."""
    offered = {""}
    with contextlib.suppress(AssertionError, ValueError, EOFError, OSError), target.peer() as peer:
        echoed(peer.exchange(path="/echo"))
        offered.add("app")
        if peer.exchange(path="/trailers", fields=[(b"te", b"trailers")]).trailers:
            offered.add("asgi")
    return frozenset(offered)


def play_all(target: Target, word: str = "") -> Iterator[tuple[str, Verdict]]:
    """The verdicts on all cases whose name or source holds the word."""
    for name, case in CASES.items():
        if word in name or word in case.source:
            try:
                yield name, judge(case, target)
            except OSError as error:
                yield name, Verdict(case, "UNREACHABLE", str(error))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Play cases of RFC 9113 to a server.")
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--tls", action="store_true", help="speak TLS, and choose h2 by ALPN")
    parser.add_argument("--strict", action="store_true", help="take GOAWAY for a must, before a connection is closed")
    parser.add_argument("--pieces", type=int, default=0, help="send so many bytes at once")
    parser.add_argument("--only", default="", metavar="WORD", help="play those cases whose name or section holds it")
    parser.add_argument("--timeout", type=float, default=2.0, help="seconds that are waited for an answer")
    parser.add_argument("--all", action="store_true", help="show what was right as well")
    chosen = parser.parse_args(arguments)
    tls = tls_context("h2") if chosen.tls else None
    target = Target((chosen.host, chosen.port), tls, chosen.strict, chosen.pieces, timeout=chosen.timeout)
    target = dataclasses.replace(target, offers=offers_of(target))
    counts: collections.Counter[str] = collections.Counter()
    began = time.monotonic()
    for name, verdict in play_all(target, chosen.only):
        kind = "wrong" if verdict.complaint else "skipped" if verdict.outcome.startswith(SKIPPED) else "right"
        counts[kind] += 1
        if verdict.complaint or chosen.all:
            row = f"{kind:8} {verdict.case.source:18} {name:70} {verdict.outcome}"
            print(f"{row}: {verdict.complaint}" if verdict.complaint else row, flush=True)
    took = time.monotonic() - began
    print(f"{counts['right']} right, {counts['wrong']} wrong, {counts['skipped']} skipped in {took:.1f} s")
    return 1 if counts["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
