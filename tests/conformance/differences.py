"""Where this parser and h11 differ on purpose, with the reason; any other difference is a finding."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import h11

from pyserver._http import Fault

if TYPE_CHECKING:
    from collections.abc import Callable


def _always(data: bytes, offset: int) -> bool:
    return True


def _at(pattern: bytes) -> Callable[[bytes, int], bool]:
    """Whether what stands at the offset is of that form."""
    compiled = re.compile(pattern, re.DOTALL)
    return lambda data, offset: compiled.match(data, offset) is not None


def _in_chunk_size_line(pattern: bytes) -> Callable[[bytes, int], bool]:
    """Whether the line that the offset is in begins in that form."""
    compiled = re.compile(pattern, re.DOTALL)
    return lambda data, offset: compiled.match(data, data.rfind(b"\n", 0, offset) + 1) is not None


_FOLDED = _at(rb"[^\r\n]*\r\n[ \t]")


@dataclass(frozen=True)
class Stricter:
    """What is refused here and accepted by h11.

    Attributes:
        fault: what it is refused for.
        source: the rule that lets us.
        reason: what is wrong with it.
        where: whether the difference explains a fault at that offset of a message.
    """

    fault: Fault
    source: str
    reason: str
    where: Callable[[bytes, int], bool] = _always


STRICTER = [
    Stricter(Fault.TARGET, "RFC 9112 §3.2", "a target has no fragment", _at(b"#")),
    Stricter(Fault.TARGET_FORM, "RFC 9112 §3.2", "h11 takes any visible text for a target"),
    Stricter(Fault.TARGET_AUTHORITY, "RFC 9112 §3.2.2", "h11 does not compare the target with Host"),
    Stricter(Fault.CONNECT_UNSUPPORTED, "RFC 9110 §9.3.6", "an origin server makes no tunnels"),
    Stricter(Fault.VERSION_UNSUPPORTED, "RFC 9110 §15.6.6", "h11 leaves the version to its user"),
    Stricter(Fault.REQUEST_LINE_END, "RFC 9112 §2.2", "a bare LF may be accepted and need not", _at(b"\n")),
    Stricter(Fault.FIELD_LINE_END, "RFC 9112 §2.2", "a bare LF may be accepted and need not", _at(b"\n")),
    Stricter(Fault.FIELD_NAME, "RFC 9112 §2.2", "a bare LF that ends the head", _at(b"\n")),
    Stricter(Fault.FIELD_VALUE, "RFC 9110 §5.5", "h11 passes control characters on", _at(rb"[\x01-\x1f\x7f]")),
    Stricter(Fault.FIELD_FOLDED, "RFC 9112 §5.2", "a server may refuse obs-fold, and h11 unfolds it"),
    Stricter(Fault.CONTENT_LENGTH, "RFC 9112 §5.2", "the line is judged before it is seen to be folded", _FOLDED),
    Stricter(Fault.TRANSFER_ENCODING, "RFC 9112 §5.2", "the line is judged before it is seen to be folded", _FOLDED),
    Stricter(Fault.HOST, "RFC 9112 §3.2", "h11 does not judge the value of Host"),
    Stricter(Fault.CONTENT_LENGTH, "RFC 9112 §6.3", "a list of equal lengths may be refused", _at(rb"[0-9 \t,]+\r\n")),
    Stricter(Fault.CONTENT_LENGTH_REPEATED, "RFC 9112 §6.3", "equal lengths may be refused"),
    Stricter(Fault.CONTENT_LIMIT, "RFC 9110 §8.6", "a length of 19 digits is beyond what can be counted in"),
    Stricter(Fault.CONTENT_TYPE_REPEATED, "RFC 9110 §5.3", "Content-Type is no list"),
    Stricter(Fault.TRANSFER_ENCODING_WITH_LENGTH, "RFC 9112 §6.1", "ought to be handled as an error"),
    Stricter(Fault.TRANSFER_ENCODING_IN_1_0, "RFC 9112 §6.1", "to be treated as if its framing were faulty"),
    Stricter(Fault.EXPECTATION, "RFC 9110 §10.1.1", "an expectation that is not met may be answered 417"),
    Stricter(
        Fault.CHUNK_SIZE,
        "RFC 9112 §7.1",
        "h11 takes sizes of 20 digits, white space behind a size, and anything behind a semicolon",
        _in_chunk_size_line(rb"[0-9A-Fa-f]{16,20}|[0-9A-Fa-f]+[ \t]+\r\n|[0-9A-Fa-f]+;"),
    ),
    Stricter(Fault.CHUNK_EXTENSION, "RFC 9112 §7.1.1", "h11 takes anything behind a semicolon"),
    Stricter(Fault.CHUNK_EXTENSION_LIMIT, "RFC 9112 §7.1.1", "h11 limits the line, not all extensions together"),
    Stricter(Fault.TRAILER, "RFC 9112 §2.2", "bare LF, control characters and obs-fold", _at(rb"[\x01-\x20\x7f]")),
]


@dataclass(frozen=True)
class Laxer:
    """What is accepted here and refused by h11.

    Attributes:
        source: the rule that asks for it.
        reason: why h11 refuses it.
        says: what h11 says then.
        where: whether the difference explains a refusal of the message in those bytes.
    """

    source: str
    reason: str
    says: str
    where: Callable[[bytes, int], bool] = _always


LAXER = [
    Laxer("RFC 9112 §2.2", "h11 ignores no empty line", "no request line received|illegal request line", _at(b"\r")),
    Laxer(
        "RFC 9112 §7.1.2",
        "h11 judges trailers as if they framed the message",
        ".*(Content-Length|Transfer-Encoding).*",
        lambda data, offset: (
            re.search(rb"\n0+[^\n]*\r\n(.*\n)?(content-length|transfer-encoding):", data, re.I | re.S) is not None
        ),
    ),
]


@dataclass
class Opinion:
    """What h11 makes of the first message in some bytes.

    Attributes:
        request: what it understood, once the head is complete.
        raw_fields: name and value of each field line.
        content: as much of it as there is.
        is_complete: whether the whole message is there.
        refusal: why it is refused.
        rest: what is behind a complete message.
    """

    request: h11.Request | None = None
    raw_fields: list[tuple[bytes, bytes]] | None = None
    content: bytes = b""
    is_complete: bool = False
    refusal: str | None = None
    rest: bytes = b""


def opinion_of_h11(data: bytes) -> Opinion:
    """What h11 makes of the first message in `data`."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 30)
    opinion = Opinion()
    if not data:
        return opinion
    connection.receive_data(data)
    try:
        while not opinion.is_complete and (event := connection.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
            if isinstance(event, h11.Request):
                opinion.request = event
                opinion.raw_fields = [(bytes(name), bytes(value)) for name, value in event.headers.raw_items()]
            elif isinstance(event, h11.Data):
                opinion.content += event.data
            else:
                opinion.is_complete = True
                opinion.rest = bytes(connection.trailing_data[0])
    except h11.RemoteProtocolError as error:
        opinion.refusal = str(error)
    return opinion


def difference_from_h11(data: bytes, requests: list[dict], refusal: tuple[Fault, int] | None) -> str | None:
    """Where h11 understands `data` otherwise for no reason known here; None where both agree.

    Args:
        requests: the facts of the requests understood here.
        refusal: why the message behind or at the last of them is refused.
    """
    for place, facts in enumerate(requests):
        opinion = opinion_of_h11(data)
        is_last = place == len(requests) - 1
        fault = refusal if is_last and not facts["is_complete"] else None
        if opinion.refusal is not None:
            if fault is None and not _is_laxer(data, opinion.refusal):
                return f"request {place} is accepted here and refused by h11: {opinion.refusal}"
            return None
        if opinion.request is None:
            return f"the head of request {place} is complete here and not for h11"
        if (found := _different_facts(facts, opinion)) is not None:
            return f"request {place} differs in {found}"
        if fault is not None:
            return _unexplained(data, fault, opinion.is_complete)
        if facts["content"] != opinion.content or facts["is_complete"] != opinion.is_complete:
            return f"the content of request {place} differs: {facts['content']!r} here, {opinion.content!r} for h11"
        data = opinion.rest
    if requests and not requests[-1]["is_complete"]:
        return None
    opinion = opinion_of_h11(data)
    if refusal is not None:
        return _unexplained(data, refusal, opinion.request is not None)
    if opinion.refusal is not None and not _is_laxer(data, opinion.refusal):
        return f"h11 refuses a head that is waited for here: {opinion.refusal}"
    return "h11 has a whole head that is waited for here" if opinion.request is not None else None


def _unexplained(data: bytes, refusal: tuple[Fault, int], is_accepted: bool) -> str | None:
    fault, offset = refusal
    if is_accepted and not any(row.fault == fault and row.where(data, offset) for row in STRICTER):
        return f"h11 accepts what is refused here for {fault.name} at {offset}"
    return None


def _is_laxer(data: bytes, said: str) -> bool:
    return any(re.fullmatch(row.says, said, re.DOTALL) and row.where(data, 0) for row in LAXER)


def _different_facts(facts: dict, opinion: Opinion) -> str | None:
    request = opinion.request
    here = (facts["method"], facts["target"], b"1.%d" % facts["minor"])
    there = (bytes(request.method), bytes(request.target), bytes(request.http_version))
    if here != there:
        return f"its request line: {here!r} here, {there!r} for h11"
    # The only value that h11 changes: it is "chunked" in lower case.
    fields = [
        (name, value.lower() if name.lower() == b"transfer-encoding" else value) for name, value in facts["fields"]
    ]
    if fields != opinion.raw_fields:
        return f"its fields: {fields!r} here, {opinion.raw_fields!r} for h11"
    return None
