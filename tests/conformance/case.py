"""What a row of the conformance tables is, and how the parser is asked about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pyserver._http import Fault, Limits, Request, RequestParser

if TYPE_CHECKING:
    from collections.abc import Iterable

HOST = b"Host: a\r\n"


@dataclass(frozen=True)
class Case:
    """Bytes of a connection, and what the parser has to make of them.

    Attributes:
        name: what the row shows.
        source: where the rule is written.
        send: all bytes; of a refused message, those before the offset of the fault.
        accept: the requests understood, in order, each as the facts that matter; see facts_of().
        refuse: why the message behind the accepted ones is refused.
        then: the bytes of the refused message from the offset of the fault on.
        first: whole messages before `send`, from which the offset does not count.
        waits: whether the bytes end within a message that is not refused.
        limits: what the parser's Limits are made of.
        stride: bytes between two cuts; more than 1 where a message is too long for every cut.
    """

    name: str
    source: str
    send: bytes
    accept: list[dict[str, Any]] = field(default_factory=list)
    refuse: Fault | None = None
    then: bytes = b""
    first: bytes = b""
    waits: bool = False
    limits: dict[str, Any] = field(default_factory=dict)
    stride: int = 1

    @property
    def data(self) -> bytes:
        return self.first + self.send + self.then

    def parts(self) -> list[bytes]:
        """The bytes one by one, or `stride` by `stride`."""
        return [self.data[at : at + self.stride] for at in range(0, len(self.data), self.stride)]

    def cuts(self) -> Iterable[tuple[bytes, bytes]]:
        """Every way to receive the bytes in two parts, `stride` apart."""
        data = self.data
        return ((data[:at], data[at:]) for at in range(1, len(data), self.stride))


@dataclass
class Outcome:
    """What the parser made of some bytes."""

    requests: list[dict[str, Any]]
    refusal: tuple[Fault, int] | None
    is_between_requests: bool


def facts_of(request: Request) -> dict[str, Any]:
    """All that the parser says of a request, before its content."""
    return {
        "method": request.method,
        "target": request.target,
        "path": request.path,
        "query": request.query,
        "minor": request.minor,
        "fields": request.fields,
        "persists": request.persists,
        "is_chunked": request.is_chunked,
        "content_length": request.content_length,
        "expects_continue": request.expects_continue,
        "content": b"",
        "is_complete": False,
    }


def judge(parts: Iterable[bytes], limits: dict[str, Any]) -> Outcome:
    """What the parser makes of bytes that arrive in these parts; how content is divided is left out."""
    parser = RequestParser(Limits(**limits))
    outcome = Outcome([], None, True)
    for part in parts:
        for event in parser.receive(part):
            assert outcome.refusal is None, f"{event!r} came after a refusal"
            if isinstance(event, Request):
                outcome.requests.append(facts_of(event))
            elif isinstance(event, bytes):
                assert event, "content came without a byte"
                outcome.requests[-1]["content"] += event
            elif event is None:
                outcome.requests[-1]["is_complete"] = True
            else:
                outcome.refusal = event
    outcome.is_between_requests = parser.is_between_requests
    assert parser.is_refused == (outcome.refusal is not None)
    return outcome
