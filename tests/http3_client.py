"""A client of HTTP/3: aioquic's connection, and requests on it that can be waited for."""

import asyncio
import contextlib
from dataclasses import dataclass, field

from aioquic.asyncio import QuicConnectionProtocol, connect
from aioquic.h3.connection import H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, StreamDataReceived, StreamReset

WITHIN = 15.0


@dataclass
class Response:
    """What has come of one so far."""

    done: asyncio.Future
    fields: list = field(default_factory=list)
    trailers: list = field(default_factory=list)
    hints: list = field(default_factory=list)
    content: bytearray = field(default_factory=bytearray)
    begun: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def status(self):
        return int(dict(self.fields)[b":status"])

    def take(self, headers):
        if dict(headers).get(b":status", b"").startswith(b"1"):
            self.hints.append(headers)
        elif self.fields:
            self.trailers = headers
        else:
            self.fields = headers
            self.begun.set()


class Reset(Exception):  # noqa: N818 - it is what the server does
    """The server has reset the stream; with the code."""


class Closed(Exception):  # noqa: N818 - likewise
    """The server has closed the connection; with the code."""


class Client(QuicConnectionProtocol):
    """One connection."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http = H3Connection(self._quic)
        self.responses = {}
        self.said = b""  # on the server's control stream
        self.is_told_to_go = False
        self.closed = None  # the code

    def ask(self, path, method="GET", content=None, fields=(), ends=True, pseudo=None):
        """Begin a request; its Response."""
        number = self._quic.get_next_available_stream_id()
        response = self.responses[number] = Response(asyncio.get_running_loop().create_future())
        response.number = number
        head = pseudo or [
            (b":method", method.encode()), (b":scheme", b"https"), (b":authority", b"localhost"),
            (b":path", path.encode()),
        ]  # fmt: skip
        self.http.send_headers(number, [*head, *fields], end_stream=ends and content is None)
        if content is not None:
            self.http.send_data(number, content, end_stream=ends)
        self.transmit()
        return response

    def put(self, data, lost=0):
        """Begin a request by the bytes of its stream, of which the first so many are always lost; its Response."""
        number = self._quic.get_next_available_stream_id()
        response = self.responses[number] = Response(asyncio.get_running_loop().create_future())
        self._quic.send_stream_data(number, data)
        if lost:
            self._quic._streams[number].sender._pending.subtract(0, lost)
        self.transmit()
        return response

    async def fetch(self, path, *args, **kwargs):
        """The whole response to a request; raises Reset or Closed."""
        response = self.ask(path, *args, **kwargs)
        return await asyncio.wait_for(response.done, WITHIN)

    def cancel(self, response):
        self._quic.reset_stream(response.number, 0x10C)
        self._quic.stop_stream(response.number, 0x10C)
        self.transmit()

    def send(self, response, data, ends=False):
        self.http.send_data(response.number, data, end_stream=ends)
        self.transmit()

    def quic_event_received(self, event):
        if isinstance(event, StreamDataReceived) and event.stream_id == 3:
            self.said += event.data
            self.is_told_to_go = b"\x07" in self.said[8:]
        if isinstance(event, StreamReset) and event.stream_id in self.responses:
            self._fail(self.responses[event.stream_id], Reset(event.error_code))
        if isinstance(event, ConnectionTerminated):
            self.closed = event.error_code
            for response in self.responses.values():
                self._fail(response, Closed(event.error_code))
        for told in self.http.handle_event(event):
            response = self.responses.get(told.stream_id)
            if isinstance(told, HeadersReceived):
                response.take(told.headers)
            elif isinstance(told, DataReceived):
                response.content += told.data
            if told.stream_ended and not response.done.done():
                response.done.set_result(response)

    @staticmethod
    def _fail(response, error):
        if not response.done.done():
            response.done.set_exception(error)
            response.done.exception()


@contextlib.asynccontextmanager
async def connected(port, authority):
    """A connection to a server on a port, with a certificate that this authority has issued."""
    async with connect("127.0.0.1", port, create_protocol=Client, configuration=configuration(authority)) as client:
        yield client


def configuration(authority):
    told = QuicConfiguration(is_client=True, alpn_protocols=["h3"], server_name="localhost")
    told.load_verify_locations(authority)
    return told


def run(coroutine):
    """Run a test, and leave nothing behind."""
    return asyncio.run(coroutine)
