"""An HTTP/2 client that sends what it is told, and reads what comes strictly. RFC 9113.

It acknowledges SETTINGS, answers PING and returns windows, as long as it is not told to leave that.
"""

from __future__ import annotations

import socket
import ssl
import struct
import time
from typing import TYPE_CHECKING

import hpack

from . import wire
from .received import Allowance, Frames, Response, ViolationError, parsed_settings, require, unpadded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .wire import Field, Frame

    Address = tuple[str, int] | str


class Closed(EOFError):  # noqa: N818 - it is no error where it is waited for
    """The server has closed the connection, or reset it."""


class AnsweredInHttp1(Closed):
    """The server took the connection for HTTP/1; `status` is what it answered."""

    def __init__(self, status: int) -> None:
        super().__init__(f"answered in HTTP/1 with {status}")
        self.status = status


def tls_context(*protocols: str) -> ssl.SSLContext:
    """A context that trusts whatever certificate it is shown and offers these protocols."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(list(protocols or ("h2",)))
    return context


def connected(address: Address, timeout: float, tls: ssl.SSLContext | None, receive_buffer: int = 0) -> socket.socket:
    """A connection, with TLS where there is a context for it."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    plain = socket.socket(family, socket.SOCK_STREAM)
    try:
        plain.settimeout(timeout)
        if receive_buffer:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        plain.connect(address)
        if family != socket.AF_UNIX:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return tls.wrap_socket(plain, server_hostname="localhost") if tls else plain
    except BaseException:
        plain.close()
        raise


class Peer:
    """A connection to a server.

    Args:
        address: host and port, or the path of a Unix socket.
        timeout: how long each wait may take, seconds.
        tls: the context that TLS is spoken with; None for none.
        greets: whether the preface and a SETTINGS frame are sent at once.
        settings: what this SETTINGS frame says.
        pieces: bytes that are sent at once; 0 for all there are.
        receive_buffer: SO_RCVBUF, bytes; 0 for that of the system.
        taken_over: a connection that is there, and what it has brought; None for a new one.

    Attributes:
        acknowledges, answers_pings, returns_windows: what it does by itself.
        server: what the server has set.
        responses: by stream.
        goaways: last stream and code of each GOAWAY.
        pongs: payloads of the PINGs that were acknowledged.
        window, windows: what may be sent, on the connection and on each stream.
        is_established: whether SETTINGS of the server have come.
        broken: why what was sent last could not be sent.
    """

    def __init__(
        self,
        address: Address,
        timeout: float = 5.0,
        tls: ssl.SSLContext | None = None,
        *,
        greets: bool = True,
        settings: Iterable[tuple[int, int]] = (),
        pieces: int = 0,
        receive_buffer: int = 0,
        taken_over: tuple[socket.socket, bytes] | None = None,
    ) -> None:
        self.timeout = timeout
        self.acknowledges = self.answers_pings = self.returns_windows = True
        self.server: dict[int, int] = {}
        self.responses: dict[int, Response] = {}
        self.goaways: list[tuple[int, int]] = []
        self.pongs: list[bytes] = []
        self.frames: list[Frame] = []
        self.window = wire.DEFAULT_WINDOW
        self.windows: dict[int, int] = {}
        self.is_established = False
        self.broken: Exception | None = None
        self.allowed = Allowance()
        self.next_stream = 1
        self._pieces = pieces
        self._sent, self._received = Frames(), Frames()
        self._decoder = hpack.Decoder(max_header_list_size=2**24)
        self._encoder = hpack.Encoder()
        self._block: tuple[int, int, bytearray] | None = None
        if taken_over is None:
            self.socket = connected(address, timeout, tls, receive_buffer)
        else:
            self.socket, arrived = taken_over
            self._received.add(arrived)
        if greets:
            self.send(wire.PREFACE + wire.settings(*settings))

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def send(self, sent: bytes, is_frames: bool = True) -> None:
        """Send bytes; what there is in them of SETTINGS and WINDOW_UPDATE is what the server is held to.

        When the server has closed, `broken` says so, and what it had sent before can still be read.
        """
        if is_frames:
            self._note_sent(sent.removeprefix(wire.PREFACE))
        try:
            for at in range(0, len(sent), self._pieces or max(1, len(sent))):
                self.socket.sendall(sent[at : at + self._pieces] if self._pieces else sent)
        except (ConnectionError, ssl.SSLError) as error:
            self.broken = self.broken or error

    def _note_sent(self, sent: bytes) -> None:
        self._sent.add(sent)
        while part := self._sent.next():
            self.allowed.note_sent(part)
            if part.kind == wire.RST_STREAM:
                self.responses.setdefault(part.stream, Response()).is_abandoned = True
            elif part.kind == wire.SETTINGS and not part.flags and len(part.payload) % 6 == 0:
                size = dict(struct.iter_unpack(">HI", part.payload)).get(wire.TABLE_SIZE, 0)
                self._decoder.max_allowed_table_size = max(self._decoder.max_allowed_table_size, size)

    # What arrives.

    def read(self, deadline: float | None = None) -> Frame:
        """The next frame, after it has been dealt with.

        Raises:
            Closed: there is none.
            TimeoutError: none has come.
            ViolationError: it breaks RFC 9113.
        """
        deadline = time.monotonic() + self.timeout if deadline is None else deadline
        while not (arrived := self._received.next(self.allowed.frame_limit)):
            self._receive(deadline)
        require(self.is_established or arrived.kind == wire.SETTINGS, "RFC 9113 §3.4: not SETTINGS first", arrived)
        require(
            self._block is None or (arrived.kind, arrived.stream) == (wire.CONTINUATION, self._block[0]),
            "RFC 9113 §4.3: a frame within a field block",
            arrived,
        )
        self.frames.append(arrived)
        if handle := _HANDLERS.get(arrived.kind):
            handle(self, arrived)
        return arrived

    def _receive(self, deadline: float, is_http1: bool = False) -> None:
        self.socket.settimeout(max(0.001, deadline - time.monotonic()))
        try:
            received = self.socket.recv(65536)
        except (ConnectionError, ssl.SSLError) as error:
            raise Closed(str(error)) from error
        finally:
            self.socket.settimeout(self.timeout)
        if not received:
            raise Closed("closed")
        self._received.add(received)
        if not (is_http1 or self.is_established) and self._received.bytes.startswith(b"HTTP/1."):
            self._read_http1(deadline)

    def _read_http1(self, deadline: float) -> None:
        while len(self._received.bytes) < 12:
            self._receive(deadline, is_http1=True)
        raise AnsweredInHttp1(int(self._received.bytes[9:12]))

    def wait_until(self, condition: Callable[[], object], within: float | None = None) -> None:
        """Read until the condition holds; raises as read() does."""
        deadline = time.monotonic() + (self.timeout if within is None else within)
        while not condition():
            self.read(deadline)

    def wait_for(self, kind: int, stream: int | None = None, within: float | None = None) -> Frame:
        """The next frame of that kind, and stream."""
        deadline = time.monotonic() + (self.timeout if within is None else within)
        while True:
            arrived = self.read(deadline)
            if arrived.kind == kind and stream in (None, arrived.stream):
                return arrived

    def receive_head(self) -> bytes:
        """The head of a response in HTTP/1.1, before there are frames."""
        received = self._received.bytes
        deadline = time.monotonic() + self.timeout
        while (end := received.find(b"\r\n\r\n")) < 0:
            self._receive(deadline, is_http1=True)
        head = bytes(received[:end])
        del received[: end + 4]
        return head

    def settle(self) -> None:
        """Return when the server has answered all that was sent before, as far as it does that at once."""
        payload = struct.pack(">Q", time.monotonic_ns())
        self.send(wire.ping(payload))
        self.wait_until(lambda: payload in self.pongs)

    def _take_settings(self, arrived: Frame) -> None:
        require(arrived.stream == 0, "RFC 9113 §6.5: SETTINGS on a stream", arrived)
        if arrived.flags & wire.ACK:
            require(not arrived.payload, "RFC 9113 §6.5: an acknowledgement with settings", arrived)
            changed = self.allowed.note_acknowledged()
            if wire.TABLE_SIZE in changed:
                # Had the server a larger table, it has to say in its next block that it is smaller: RFC 7541 §4.2.
                self._decoder.max_allowed_table_size = changed[wire.TABLE_SIZE]
            return
        before = self.server.get(wire.INITIAL_WINDOW, wire.DEFAULT_WINDOW)
        self.server.update(parsed_settings(arrived.payload))
        change = self.server.get(wire.INITIAL_WINDOW, wire.DEFAULT_WINDOW) - before
        self.windows = {stream: window + change for stream, window in self.windows.items()}
        self.is_established = True
        if self.acknowledges:
            self.send(wire.SETTINGS_ACK)

    def _take_ping(self, arrived: Frame) -> None:
        require(arrived.stream == 0 and len(arrived.payload) == 8, "RFC 9113 §6.7: PING", arrived)
        if arrived.flags & wire.ACK:
            self.pongs.append(arrived.payload)
        elif self.answers_pings:
            self.send(wire.ping(arrived.payload, wire.ACK))

    def _take_goaway(self, arrived: Frame) -> None:
        require(arrived.stream == 0 and len(arrived.payload) >= 8, "RFC 9113 §6.8: GOAWAY", arrived)
        last, code = struct.unpack(">II", arrived.payload[:8])
        if self.goaways:
            require(last <= self.goaways[-1][0], "RFC 9113 §6.8: the last stream of GOAWAY rises", last)
        self.goaways.append((last, code))

    def _take_window_update(self, arrived: Frame) -> None:
        require(len(arrived.payload) == 4, "RFC 9113 §6.9: WINDOW_UPDATE", arrived)
        increment = int.from_bytes(arrived.payload, "big")
        require(0 < increment <= wire.MAX_WINDOW, "RFC 9113 §6.9: increment", increment)
        if arrived.stream:
            self.windows[arrived.stream] = self.window_of(arrived.stream) + increment
        else:
            self.window += increment
        window = self.windows[arrived.stream] if arrived.stream else self.window
        require(window <= wire.MAX_WINDOW, "RFC 9113 §6.9.1: a window of more than 2^31-1", window)

    def window_of(self, stream: int) -> int:
        return self.windows.get(stream, self.server.get(wire.INITIAL_WINDOW, wire.DEFAULT_WINDOW))

    def _response_on(self, arrived: Frame) -> Response:
        require(arrived.stream % 2, "RFC 9113 §5.1.1: not a stream of a client", arrived)
        return self.responses.setdefault(arrived.stream, Response())

    def _take_data(self, arrived: Frame) -> None:
        response = self._response_on(arrived)
        self.allowed.note_received(arrived.stream, len(arrived.payload))
        require(response.reset is None, "RFC 9113 §5.1: DATA after RST_STREAM", arrived)
        if not response.is_abandoned:
            response.take_content(unpadded(arrived, wire.PADDED), bool(arrived.flags & wire.END_STREAM))
        if self.returns_windows and arrived.payload:
            returned = wire.window_update(0, len(arrived.payload))
            if not response.is_complete and not response.is_abandoned:
                returned += wire.window_update(arrived.stream, len(arrived.payload))
            self.send(returned)

    def _take_headers(self, arrived: Frame) -> None:
        self._response_on(arrived)
        payload = unpadded(arrived, wire.PADDED, wire.WITH_PRIORITY)
        self._block = arrived.stream, arrived.flags, bytearray(payload)
        self._end_block(arrived.flags)

    def _take_continuation(self, arrived: Frame) -> None:
        require(self._block, "RFC 9113 §6.10: CONTINUATION without HEADERS", arrived)
        if self._block:
            self._block[2].extend(arrived.payload)
        self._end_block(arrived.flags)

    def _end_block(self, flags: int) -> None:
        if self._block is None or not flags & wire.END_HEADERS:
            return
        stream, first_flags, block = self._block
        self._block = None
        try:
            fields = [(bytes(name), bytes(value)) for name, value in self._decoder.decode(bytes(block), raw=True)]
        except hpack.HPACKError as error:
            raise ViolationError(f"RFC 7541: {error!r} in {bytes(block)!r}") from error
        response = self.responses[stream]
        require(response.reset is None, "RFC 9113 §5.1: HEADERS after RST_STREAM", stream)
        if not response.is_abandoned:
            response.take_fields(fields, bool(first_flags & wire.END_STREAM))

    def _take_reset(self, arrived: Frame) -> None:
        require(len(arrived.payload) == 4, "RFC 9113 §6.4: RST_STREAM", arrived)
        response = self._response_on(arrived)
        require(response.reset is None, "RFC 9113 §5.4.2: RST_STREAM twice", arrived)
        response.reset = int.from_bytes(arrived.payload, "big")

    def _take_promise(self, arrived: Frame) -> None:
        raise ViolationError(f"RFC 9113 §8.4: {arrived}")

    # Requests as they should be.

    def request(
        self, method: str = "GET", path: str = "/", fields: Iterable[Field] = (), content: bytes | None = None
    ) -> int:
        """The stream of a request that has been sent with all its content, as windows allowed it."""
        stream = self.begin(method, path, fields, ends=content is None)
        if content is not None:
            self.send_content(stream, content)
        return stream

    def begin(self, method: str = "POST", path: str = "/", fields: Iterable[Field] = (), ends: bool = False) -> int:
        """The stream of a request whose content is still to be sent."""
        stream, self.next_stream = self.next_stream, self.next_stream + 2
        own = [(b":method", method.encode()), (b":scheme", b"http"), (b":path", path.encode()), (b":authority",
        b"test")]
        self._encoder.header_table_size = min(4096, self.server.get(wire.TABLE_SIZE, 4096))
        block = self._encoder.encode([*own, *fields])
        self.responses[stream] = Response(method)
        self.send(wire.headers(stream, block, wire.END_HEADERS | (wire.END_STREAM if ends else 0)))
        return stream

    def send_content(self, stream: int, content: bytes, ends: bool = True) -> None:
        """Send content; reads what comes while the windows are too small for it."""
        view = memoryview(content)
        while view or ends:
            room = min(self.window, self.window_of(stream), self.server.get(wire.MAX_FRAME, wire.DEFAULT_FRAME))
            if view and room <= 0:
                self.read()
                if self.responses[stream].is_complete or self.responses[stream].reset is not None:
                    return
                continue
            part, view = bytes(view[:room]), view[room:]
            self.window -= len(part)
            self.windows[stream] = self.window_of(stream) - len(part)
            self.send(wire.data(stream, part, wire.END_STREAM if ends and not view else 0))
            if not view:
                return

    def response(self, stream: int) -> Response:
        """The whole response on a stream, or what came of it before it was reset."""
        response = self.responses.setdefault(stream, Response())
        self.wait_until(lambda: response.is_complete or response.reset is not None)
        return response

    def exchange(
        self, method: str = "GET", path: str = "/", fields: Iterable[Field] = (), content: bytes | None = None
    ) -> Response:
        """The response to a request."""
        return self.response(self.request(method, path, fields, content))


_HANDLERS: dict[int, Callable[[Peer, Frame], None]] = {
    wire.DATA: Peer._take_data,
    wire.HEADERS: Peer._take_headers,
    wire.RST_STREAM: Peer._take_reset,
    wire.SETTINGS: Peer._take_settings,
    wire.PUSH_PROMISE: Peer._take_promise,
    wire.PING: Peer._take_ping,
    wire.GOAWAY: Peer._take_goaway,
    wire.WINDOW_UPDATE: Peer._take_window_update,
    wire.CONTINUATION: Peer._take_continuation,
}
