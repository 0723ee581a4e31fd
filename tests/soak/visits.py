"""What the clients of a soaked server do: one function a kind, and how often each is chosen."""

from __future__ import annotations

import contextlib
import socket
import time
from typing import TYPE_CHECKING

from soak.mixed_application import ERRORS, piece, pieces
from soak.requests import (
    CONTENT_LIMIT,
    HEAD_TIMEOUT,
    KEEPALIVE,
    REFUSED,
    RESPONSE_SPOOL,
    WRITE_TIMEOUT,
    Order,
    any_order,
    any_small_order,
    any_wait,
    request,
)
from soak.visit import reset

if TYPE_CHECKING:
    from collections.abc import Callable

    from soak.visit import Visit

    Kind = Callable[[Visit], None]

_WAYS = ["/block", "/blocks", "/stream", "/counted", "/written", "/file", "/file_in_memory"]


def _large(path: str, length: int, more: str = "") -> Order:
    """One that is answered with much; `more` ends its query."""
    in_one = path in ("/block", "/file", "/file_in_memory")
    content = piece(5, length) if in_one else b"".join(pieces(5, length, 20_000))
    return Order(request(f"{path}?at=5&length={length}&size=20000{more}"), content)


# ---- good ----


def keep_alive(visit: Visit) -> None:
    with visit.client() as client:
        for _ in range(visit.random.randint(1, 20)):
            visit.ask(client, any_order(visit.random))


def pipeline(visit: Visit) -> None:
    orders = [any_small_order(visit.random) for _ in range(visit.random.randint(2, 30))]
    with visit.client() as client:
        visit.send_in_parts(client, b"".join(order.data for order in orders), visit.random.choice([1, 1, 3]))
        for order in orders:
            visit.expect(client, order)


def pipeline_of_large_answers(visit: Visit) -> None:
    orders = [_large(path, visit.random.choice([65_536, 300_000])) for path in visit.random.choices(_WAYS, k=8)]
    with visit.client(receive_buffer=65_536) as client:
        client.send(b"".join(order.data for order in orders))
        for order in orders:
            visit.expect(client, order)


def long_pipeline(visit: Visit) -> None:
    """Answers that are gathered until they are more than the socket takes, and some that are not gathered."""
    paths = visit.random.choices(
        ["/block", "/file", "/stream", "/blocks"], [20, 1, 1, 1], k=visit.random.choice([30, 300])
    )
    orders = [_large(path, 16_000, any_wait(visit.random)) for path in paths]
    with visit.client(receive_buffer=65_536) as client:
        client.send(b"".join(order.data for order in orders))
        visit.pause(visit.random.choice([0.0, 0.02]))
        for order in orders:
            visit.expect(client, order)


def in_parts(visit: Visit) -> None:
    order = any_order(visit.random)
    with visit.client() as client:
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 20_000)
        visit.send_in_parts(client, order.data, 12)
        visit.expect(client, order)


def http_1_0(visit: Visit) -> None:
    kept = Order(request("/block?at=1&length=2000", "Connection: keep-alive", minor=0), piece(1, 2000))
    stream = _large("/stream", 100_000)
    with visit.client() as client:
        if visit.ask(client, kept).field("Connection") != "keep-alive":
            raise AssertionError("a persistent connection was not agreed to")
        client.send(stream.data.replace(b"HTTP/1.1", b"HTTP/1.0"))
        visit.expect_content(client, stream.content)
        visit.expect_end(client)


def asked_to_close(visit: Visit) -> None:
    with visit.client() as client:
        visit.ask(client, Order(request("/block?at=9&length=70000", "Connection: close"), piece(9, 70_000)))
        visit.expect_end(client)


def expecting(visit: Visit) -> None:
    content = piece(visit.random.randrange(1000), visit.random.choice([5, 100_000]))
    with visit.client() as client:
        client.send(request("/echo", "Expect: 100-continue", f"Content-Length: {len(content)}", method="POST"))
        visit.expect_content(client, b"", 100)
        client.send(content)
        visit.expect_content(client, content)


def half_closed(visit: Visit) -> None:
    order = any_order(visit.random)
    with visit.client() as client:
        client.send(order.data)
        client.socket.shutdown(socket.SHUT_WR)
        visit.expect(client, order)
        visit.expect_end(client)


def half_closed_too_early(visit: Visit) -> None:
    data = any_order(visit.random).data
    with visit.client() as client:
        client.send(data[: visit.random.randrange(len(data))])
        client.socket.shutdown(socket.SHUT_WR)
        visit.expect_end(client)


# ---- bad ----


def bad(visit: Visit) -> None:
    data, status = visit.random.choice(REFUSED)
    with visit.client() as client:
        if visit.random.random() < 0.3:
            order = any_small_order(visit.random)
            client.send(order.data + data)
            visit.expect(client, order)
        else:
            visit.send_in_parts(client, data, visit.random.choice([1, 1, 2, 5]))
        visit.expect_refusal(client, status)


def bad_and_talkative(visit: Visit) -> None:
    data, status = visit.random.choice(REFUSED)
    with visit.client() as client:
        client.send(data + piece(0, visit.random.choice([1, 1000, 300_000])))
        visit.expect_refusal(client, status)


def too_much_content(visit: Visit) -> None:
    with visit.client() as client:
        client.send(request("/echo", f"Content-Length: {CONTENT_LIMIT + 1}", method="POST") + piece(0, 2_000_000))
        visit.expect_refusal(client, 413)


def mutated(visit: Visit) -> None:
    """A request with some bytes changed: nobody knows what it means, but whatever comes back has to be HTTP."""
    data = bytearray(any_order(visit.random).data[:5000])
    for _ in range(visit.random.randint(1, 5)):
        data[visit.random.randrange(len(data))] = visit.random.choice([0, 10, 13, 32, 48, 58, 97, 255])
    with visit.client() as client:
        client.send(bytes(data))
        client.socket.shutdown(socket.SHUT_WR)
        answer = client.read_until_closed()
        if answer and not answer.startswith(b"HTTP/1.1 "):
            raise AssertionError(f"an answer that is not HTTP: {answer[:100]!r}")


# ---- aborted ----


def reset_in_head(visit: Visit) -> None:
    data = request("/block?at=0&length=10", "X: " + "a" * 200)
    with visit.client() as client:
        client.send(data[: visit.random.randrange(len(data))])
        reset(client)


def reset_in_content(visit: Visit) -> None:
    length = visit.random.choice([10_000, 200_000, 1_500_000])
    content = piece(0, visit.random.randrange(length))
    with visit.client() as client:
        if visit.random.random() < 0.5:
            client.send(request("/echo", f"Content-Length: {length}", method="POST") + content)
        else:
            client.send(request("/echo", "Transfer-Encoding: chunked", method="POST") + b"%x\r\n" % length + content)
        reset(client)


def reset_before_answer(visit: Visit) -> None:
    orders = [any_small_order(visit.random) for _ in range(visit.random.randrange(10))]
    with visit.client() as client:
        # A client that sends on and takes no answer may be given up before it has sent all: a Unix socket is full
        # after some hundred blocks, however small they are.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for order in [*orders, any_order(visit.random)]:
                client.send(order.data)
        reset(client)


def reset_in_answer(visit: Visit) -> None:
    with visit.client(receive_buffer=20_000) as client:
        client.send(_large(visit.random.choice(_WAYS), visit.random.choice([100_000, 3_000_000])).data)
        client.receive(visit.random.randint(1, 90_000))
        reset(client)


# ---- errors of the application ----


def application_error(visit: Visit) -> None:
    name = visit.random.choice(ERRORS).__name__
    with visit.client() as client:
        client.send(request(f"/{name}"))
        if name in ("raise_in_content", "raise_in_counted_content", "own_error_page_too_late", "too_short"):
            visit.expect_cut(client)
        elif name in ("raise_in_close", "too_long"):
            visit.expect_content(client, piece(0, 20_000))
        elif name == "own_error_page":
            if visit.expect_content(client, piece(0, 20_000), 503).values("X-Not-To-Be-Seen"):
                raise AssertionError("a field of the response that was given up was sent")
        else:
            visit.expect_refusal(client, 500)


def application_error_without_framing(visit: Visit) -> None:
    """Only a reset tells a client of HTTP/1.0 that the end is not the end; RFC 9112 §8."""
    behind = visit.random.choice([b"", b"\r\n", request("/fields")])
    with visit.tcp_client() as client:
        client.send(request("/raise_in_content", minor=0) + behind)
        try:
            client.receive_response()
        except ConnectionResetError:
            return
        raise AssertionError("a response that the application did not finish looks complete")


def kept_callable(visit: Visit) -> None:
    name = visit.random.getrandbits(64)
    with visit.client() as client:
        visit.ask(client, Order(request(f"/keep_callable?name={name}"), piece(0, 20_000)))
        visit.ask(client, Order(request(f"/use_kept_callable?name={name}"), piece(0, 20_000)))


# ---- slow ----


def slow_head(visit: Visit) -> None:
    order = any_small_order(visit.random)
    began = time.monotonic()
    with visit.client() as client:
        visit.send_in_parts(client, order.data, 15, pause=0.02)
        if time.monotonic() - began < HEAD_TIMEOUT / 2:
            visit.expect(client, order)
        else:
            # The machine had other things to do, and the server was right to lose its patience.
            client.read_until_closed()


def slow_content(visit: Visit) -> None:
    content = piece(0, visit.random.choice([1000, 200_000]))
    with visit.client() as client:
        client.send(request("/echo", f"Content-Length: {len(content)}", method="POST"))
        visit.send_in_parts(client, content, 15, pause=0.03)
        visit.expect_content(client, content)


def slow_reader(visit: Visit) -> None:
    order = _large(visit.random.choice(_WAYS), 3_000_000)
    behind = any_small_order(visit.random)
    with visit.slow_client(receive_buffer=20_000) as client:
        client.send(order.data + behind.data)
        visit.expect(client, order)
        visit.expect(client, behind)


def slow_reader_of_more_than_the_spool(visit: Visit) -> None:
    with visit.slow_client(receive_buffer=100_000) as client:
        visit.ask(client, _large(visit.random.choice(["/stream", "/counted"]), 3 * RESPONSE_SPOOL))


# ---- patient ----


def silent(visit: Visit) -> None:
    with visit.client() as client:
        visit.expect_end(client)


def half_a_head(visit: Visit) -> None:
    with visit.client() as client:
        if visit.random.random() < 0.5:
            visit.ask(client, any_small_order(visit.random))
        client.send(b"GET / HTTP/1.1\r\nHos")
        visit.expect_refusal(client, 408)


def half_a_content(visit: Visit) -> None:
    length = visit.random.choice([100, 100_000])
    content = piece(0, length // 2)
    with visit.client() as client:
        if visit.random.random() < 0.5:
            client.send(request("/echo", f"Content-Length: {length}", method="POST") + content)
        else:
            client.send(request("/echo", "Transfer-Encoding: chunked", method="POST") + b"%x\r\n" % length + content)
        visit.expect_refusal(client, 408)


def idle_for_too_long(visit: Visit) -> None:
    with visit.client() as client:
        visit.ask(client, any_order(visit.random))
        visit.expect_end(client)


def idle_crowd(visit: Visit) -> None:
    order = any_small_order(visit.random)
    answered_at = {}
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            client = stack.enter_context(visit.client())
            visit.ask(client, order)
            answered_at[client] = time.monotonic()
        visit.pause(KEEPALIVE / 2)
        for client, then in answered_at.items():
            # A request that leaves in time is answered, whatever the worker was busy with.
            if time.monotonic() - then < KEEPALIVE * 0.75:
                visit.ask(client, order)


def reads_nothing(visit: Visit) -> None:
    _read_nothing(visit, _large(visit.random.choice(["/block", "/blocks", "/stream", "/file"]), 3_500_000))


def reads_nothing_of_more_than_the_spool(visit: Visit) -> None:
    """The only one that holds what it is served by, a thread or all of the worker, for WRITE_TIMEOUT."""
    _read_nothing(visit, _large("/stream", 3 * RESPONSE_SPOOL))


def _read_nothing(visit: Visit, order: Order) -> None:
    with visit.client(receive_buffer=20_000) as client:
        client.send(order.data)
        visit.pause(2 * WRITE_TIMEOUT + 1)
        # What the sockets hold by themselves may be all of it.
        with contextlib.suppress(ConnectionResetError, EOFError):
            visit.expect(client, order)


# How often each is chosen among the clients that never wait for long; seldom, what holds the worker …
BRISK: dict[Kind, int] = {
    keep_alive: 90,
    pipeline: 30,
    pipeline_of_large_answers: 9,
    long_pipeline: 5,
    in_parts: 15,
    http_1_0: 9,
    asked_to_close: 9,
    expecting: 9,
    half_closed: 15,
    half_closed_too_early: 15,
    bad: 90,
    bad_and_talkative: 15,
    too_much_content: 3,
    mutated: 60,
    reset_in_head: 15,
    reset_in_content: 15,
    reset_before_answer: 30,
    reset_in_answer: 30,
    application_error: 60,
    application_error_without_framing: 6,
    kept_callable: 6,
    slow_head: 15,
    slow_content: 15,
    slow_reader: 15,
    slow_reader_of_more_than_the_spool: 1,
}
# … and among those that do.
PATIENT: dict[Kind, int] = {
    silent: 50,
    half_a_head: 50,
    half_a_content: 50,
    idle_for_too_long: 50,
    idle_crowd: 100,
    reads_nothing: 50,
    reads_nothing_of_more_than_the_spool: 1,
}
