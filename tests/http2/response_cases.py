"""Responses, their content, what goes before and behind it, and requests that are too large: RFC 9113 §8.1, §10.5."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import wire
from .case import MALFORMED, OK, Case, NotApplicableError, stream_error
from .wire import Code, data, get, headers, pseudo

if TYPE_CHECKING:
    from collections.abc import Callable

    from .peer import Peer
    from .received import Response
    from .wire import Field


def answers(
    status: int,
    method: str = "GET",
    path: str = "/",
    holds: Callable[[Response], object] = bool,
    fields: tuple[Field, ...] = (),
) -> Callable[[Peer], None]:
    """Make a request whose response has this status, and holds what it should."""

    def play(peer: Peer) -> None:
        response = peer.exchange(method, path, fields)
        assert response.status == status, f"{response.status}, reset {response.reset}"
        assert holds(response), response

    return play


def has_no_content(response: Response) -> bool:
    return not response.content and response.is_complete


def has_length_of_its_get(response: Response) -> bool:
    return has_no_content(response) and response.values(b"content-length") in ([b"10"], [])


def has_no_length(response: Response) -> bool:
    """RFC 9110 §8.6."""
    return has_no_content(response) and not response.values(b"content-length")


def has_trailers(response: Response) -> bool:
    return response.trailers == [(b"x-trailer", b"a")] and response.content == b"abc"


def has_hints(response: Response) -> bool:
    return [status for status, _ in response.interim] == [103] and (
        (b"link", b"</style.css>; rel=preload") in response.interim[0][1]
    )


def is_of(status: int) -> frozenset[str]:
    return frozenset({f"STATUS {status}"})


CONTENT = [
    Case("head-has-no-content", "RFC 9110 §9.3.2", answers(200, "HEAD", "/bytes/10", has_length_of_its_get), OK,
         needs="app"),
    Case("head-of-what-has-a-length", "RFC 9110 §9.3.2", answers(200, "HEAD", "/length/10", has_length_of_its_get), OK,
         needs="app"),
    *(Case(f"{status}-has-no-content", "RFC 9110 §6.4.1", answers(status, path=f"/status/{status}", holds=holds),
           is_of(status),
           needs="app")
      for status, holds in ((204, has_no_length), (304, has_no_content))),
    Case("content-of-known-length", "RFC 9113 §8.1.1",
         answers(200, path="/length/1000", holds=lambda response: len(response.content) == 1000), OK, needs="app"),
    Case("content-of-unknown-length", "RFC 9113 §8.1",
         answers(200, path="/bytes/1000", holds=lambda response: len(response.content) == 1000), OK, needs="app"),
    Case("content-that-is-empty", "RFC 9113 §8.1",
         answers(200, path="/bytes/0", holds=lambda response: not response.content), OK, needs="app"),
    # An application that sets them may be told so.
    Case("fields-of-connections-are-not-sent", "RFC 9113 §8.2.2", get(1, b"/connection"), OK | is_of(500), needs="app"),
    Case("field-names-are-in-lower-case", "RFC 9113 §8.2.1",
         answers(200, path="/upper", holds=lambda response: response.values(b"x-upper") == [b"A"]), OK, needs="app"),
    Case("cookies-are-set-one-by-one", "RFC 6265 §3",
         answers(200, path="/cookies", holds=lambda response: response.values(b"set-cookie") == [b"a=b", b"c=d"]), OK,
         needs="app"),
    Case("an-error-of-the-application", "RFC 9110 §15.6.1", answers(500, path="/fail"), is_of(500), needs="app"),
    Case("trailers-of-a-response", "RFC 9113 §8.1",
         answers(200, path="/trailers", holds=has_trailers, fields=((b"te", b"trailers"),)), OK, needs="asgi"),
    Case("early-hints", "RFC 8297 §2", answers(200, path="/hints", holds=has_hints), OK, needs="asgi"),
]  # fmt: skip


def streams_end_by_themselves(peer: Peer) -> None:
    streams = [peer.request(path="/length/500") for _ in range(20)]
    for stream in streams:
        assert peer.response(stream).status == 200
        assert peer.responses[stream].is_complete


def an_unfinished_response_is_reset(peer: Peer) -> None:
    stream = peer.request(path="/break/3")
    response = peer.response(stream)
    assert response.reset not in (None,
    Code.NO_ERROR), f"RFC 9113 §8.1: a response that broke off looks whole: {response}"


def an_answer_before_the_content(peer: Peer) -> None:
    stream = peer.begin("POST", "/ignore")
    peer.send(data(stream, b"abc"))
    response = peer.response(stream)
    assert response.status == 200, response
    peer.settle()
    # RFC 9113 §8.1: what is still to be sent is not wanted, which is no error.
    assert response.reset in (None, Code.NO_ERROR), response
    if response.reset is None:
        peer.send(data(stream, b"", 1))


def expecting_100(peer: Peer) -> None:
    stream = peer.begin("POST", "/count", [(b"expect", b"100-continue")])
    response = peer.responses[stream]
    peer.wait_until(lambda: response.interim or response.status or response.reset is not None)
    assert [status for status, _ in response.interim] == [100], response
    peer.send_content(stream, b"abc")
    assert peer.response(stream).content == b"3", response


def expecting_100_and_not_waiting(peer: Peer) -> None:
    stream = peer.request("POST", "/count", [(b"expect", b"100-continue")], b"abc")
    response = peer.response(stream)
    assert response.content == b"3", response


def a_reset_in_the_middle(peer: Peer) -> None:
    peer.returns_windows = False
    peer.send(get(1, b"/bytes/200000"))
    peer.wait_until(lambda: 1 in peer.responses and len(peer.responses[1].content) >= 65535)
    peer.send(wire.reset(1) + wire.window_update(0, 200_000))
    peer.settle()
    peer.settle()
    # DATA that was on its way is discarded by the peer; none comes after the answers.
    seen = len(peer.frames)
    peer.settle()
    assert not [one for one in peer.frames[seen:] if one.kind == wire.DATA], "DATA on a stream that was reset"
    peer.send(get(3))


def many_requests_one_by_one(peer: Peer) -> None:
    for _ in range(50):
        assert peer.exchange().status == 200


def many_requests_at_once(peer: Peer) -> None:
    peer.wait_for(wire.SETTINGS)
    number = min(50, peer.server.get(wire.MAX_STREAMS, 50))
    for stream in [peer.request(path="/length/100") for _ in range(number)]:
        assert peer.response(stream).status == 200, f"stream {stream}: {peer.responses[stream]}"


EXCHANGES = [
    Case("streams-end-by-themselves", "RFC 9113 §8.1", streams_end_by_themselves, OK, needs="app"),
    Case("a-response-that-breaks-off-is-reset", "RFC 9113 §8.1", an_unfinished_response_is_reset,
         frozenset({"RST INTERNAL_ERROR", "RST CANCEL", "RST PROTOCOL_ERROR"}), needs="app"),
    # A server for WSGI may wait for so much content as it keeps in memory anyhow.
    Case("an-answer-before-the-content", "RFC 9113 §8.1", an_answer_before_the_content, OK | {"RST NO_ERROR"},
         needs="asgi"),
    Case("expecting-100-continue", "RFC 9110 §10.1.1", expecting_100, OK, needs="app"),
    Case("expecting-100-continue-and-not-waiting", "RFC 9110 §10.1.1", expecting_100_and_not_waiting, OK, needs="app"),
    Case("an-expectation-that-nobody-knows", "RFC 9110 §10.1.1", get(1, b"/", (b"expect", b"a-miracle")),
         OK | is_of(417) | MALFORMED),
    Case("a-reset-in-the-middle-of-a-response", "RFC 9113 §6.4", a_reset_in_the_middle, OK, stream=3, needs="app"),
    Case("many-requests-one-by-one", "RFC 9113 §9.1", many_requests_one_by_one, OK),
    Case("many-requests-at-once", "RFC 9113 §5", many_requests_at_once, OK, needs="app"),
]  # fmt: skip


def in_frames(block: bytes) -> bytes:
    parts = [block[at : at + 16000] for at in range(0, len(block), 16000)]
    last = len(parts) - 1
    return headers(1, parts[0], 1 | (0 if last else 4)) + b"".join(
        wire.continuation(1, part, 4 if at == last else 0) for at, part in enumerate(parts) if at
    )


def more_fields_than_allowed(many: bool) -> Callable[[Peer], None]:
    """Send a field section that is larger than the server has said."""

    def play(peer: Peer) -> None:
        peer.wait_for(wire.SETTINGS)
        limit = peer.server.get(wire.MAX_FIELDS)
        if limit is None or limit > 2**20:
            raise NotApplicableError(f"allows {limit} bytes of fields")
        number = limit // (32 + 104) + 1 if many else limit // 8000 + 1
        lines = [(b"x-%03d" % (at % 1000), b"a" * (99 if many else 8000)) for at in range(number)]
        peer.send(in_frames(pseudo() + wire.block(*lines)))

    return play


# RFC 9113 §10.5.1: a response, or whatever is done about what is taken for an attack.
TOO_LARGE = is_of(431) | is_of(400) | stream_error(Code.PROTOCOL_ERROR, Code.ENHANCE_YOUR_CALM, Code.REFUSED_STREAM)


def after_fields_too_large(peer: Peer) -> None:
    more_fields_than_allowed(many=False)(peer)
    response = peer.response(1)
    assert response.status == 431 or response.reset is not None, response
    peer.send(get(3))


LIMITS = [
    Case("fields-of-8000-bytes", "RFC 9113 §10.5.1", get(1, b"/", (b"x", b"a" * 4000), (b"y", b"b" * 4000)), OK),
    Case("fifty-fields", "RFC 9113 §10.5.1", get(1, b"/", *((b"x-%d" % at, b"a") for at in range(50))), OK),
    Case("larger-fields-than-allowed", "RFC 9113 §10.5.1", more_fields_than_allowed(many=False), TOO_LARGE),
    Case("more-fields-than-allowed", "RFC 9113 §10.5.1", more_fields_than_allowed(many=True), TOO_LARGE),
    Case("a-request-after-fields-too-large", "RFC 9113 §10.5.1", after_fields_too_large, OK | TOO_LARGE, stream=3),
    Case("a-long-path", "RFC 9110 §4.1", headers(1, pseudo(path=b"/" + b"a" * 4000)), OK | is_of(404) | is_of(414)),
    Case("a-path-that-is-too-long", "RFC 9110 §15.5.15", in_frames(pseudo(path=b"/" + b"a" * 30_000)),
         OK | is_of(404) | is_of(414) | TOO_LARGE),
    Case("a-long-method", "RFC 9110 §9.1", headers(1, pseudo(b"A" * 5000)),
         OK | is_of(405) | is_of(414) | is_of(501) | TOO_LARGE),
]  # fmt: skip

CASES = [*CONTENT, *EXCHANGES, *LIMITS]
