"""Valid connections at random: h2 is the client, and what each side understood has to be what the other meant."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import h2.config
import h2.connection
import h2.events
import h2.settings

from pyserver._frames import ErrorCode, FrameEvent, Http2Connection, Received

if TYPE_CHECKING:
    import random

FIELDS = [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "a")]
STATUS = b"\x88"  # 200
CODES = h2.settings.SettingCodes


class Conversation:
    """A client and a server that understand each other, or an AssertionError."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        self.server = Http2Connection(
            window=rng.choice((1000, 65535, 200000)),
            connection_window=rng.choice((0, 100000, 1 << 20)),
            frame=rng.choice((0, 20000, 1 << 20)),
            credit=1 << 30,
        )
        self.sent: dict[tuple[str, int], bytes] = defaultdict(bytes)
        self.received: dict[tuple[str, int], bytes] = defaultdict(bytes)
        self.client_ends: set[int] = set()
        self.server_ends: set[int] = set()
        self.seen: list[tuple[object, ...]] = []
        self.done: list[tuple[object, ...]] = []
        self.streams: list[int] = []
        self.client.initiate_connection()
        self.server.begin()
        self.exchange()

    def exchange(self) -> None:
        """Hand over what either has to say until neither has any more."""
        while (to_server := self.client.data_to_send()) or (to_client := self.server.take()):
            if to_server:
                cut = self.rng.randrange(len(to_server) + 1)
                for part in (to_server[:cut], to_server[cut:]):
                    for event in self.server.feed(part):
                        self._server_sees(event)
                to_client = self.server.take()
            for event in self.client.receive_data(to_client):
                self._client_sees(event)

    def _server_sees(self, event: Received) -> None:
        assert event.error is ErrorCode.NO_ERROR, event
        if event.kind is FrameEvent.SETTINGS_CHANGED:
            self.server.acknowledge()
        elif event.kind is FrameEvent.PINGED:
            self.server.pong(event.payload)
        elif event.kind is FrameEvent.CONTENT:
            self.received["to the server", event.stream] += event.payload
            self.server.consume(event.stream, len(event.payload))
        if event.kind in (FrameEvent.REQUEST, FrameEvent.TRAILERS, FrameEvent.STREAM_RESET):
            self.seen.append((event.kind, event.stream, event.number))
        if event.ends:
            self.seen.append(("end", event.stream))

    def _client_sees(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.DataReceived):
            self.received["to the client", event.stream_id] += event.data
            if event.flow_controlled_length:
                self.client.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.ResponseReceived):
            self.seen.append(("response", event.stream_id))
        elif isinstance(event, h2.events.StreamReset):
            self.seen.append(("reset by the server", event.stream_id, int(event.error_code)))
        elif isinstance(event, h2.events.StreamEnded):
            self.seen.append(("end of the response", event.stream_id))

    # ---- what may happen ----

    def request(self) -> None:
        stream = self.client.get_next_available_stream_id()
        if len(self.streams) > 20:
            return
        length = 40000 if self.rng.random() < 0.03 else self.rng.choice((1, 100))
        fields = [*FIELDS, ("x", "y" * length)]
        options = {}
        # With priorities h2 makes the first frame of a long block five bytes too long.
        if length < 1000 and self.rng.random() < 0.3:
            options = {"priority_weight": 5, "priority_depends_on": 0}
        ends = self.rng.random() < 0.3
        self.client.send_headers(stream, fields, end_stream=ends, **options)
        self.streams.append(stream)
        self.done.append((FrameEvent.REQUEST, stream, 0))
        if ends:
            self._end_request(stream)

    def _end_request(self, stream: int) -> None:
        self.client_ends.add(stream)
        self.done.append(("end", stream))

    def content(self) -> None:
        stream = self.rng.choice(self.streams)
        if stream in self.client_ends:
            return
        most = min(self.client.local_flow_control_window(stream), self.client.max_outbound_frame_size)
        padding = self.rng.choice((None, None, 0, 7)) if most > 8 else None
        length = self.rng.randrange(max(most - 8, 0) + 1)
        ends = self.rng.random() < 0.2
        self.client.send_data(stream, bytes(length), end_stream=ends, pad_length=padding)
        self.sent["to the server", stream] += bytes(length)
        if ends:
            self._end_request(stream)

    def trailers(self) -> None:
        stream = self.rng.choice(self.streams)
        if stream not in self.client_ends:
            self.client.send_headers(stream, [("checksum", "1")], end_stream=True)
            self.done.append((FrameEvent.TRAILERS, stream, 0))
            self._end_request(stream)

    def response(self) -> None:
        stream = self.rng.choice(self.streams)
        # For h2 a window below zero has no room for DATA without a byte either.
        if stream in self.server_ends or self.server.windows(stream)[0] < 0:
            return
        if ("response", stream) not in self.done:
            self.server.send_block(stream, STATUS)
            self.done.append(("response", stream))
        length = self.rng.randrange(self.server.sendable(stream) + 1)
        ends = self.rng.random() < 0.3
        self.server.send_data(stream, bytes(length), ends)
        self.sent["to the client", stream] += bytes(length)
        if ends:
            self.server_ends.add(stream)
            self.done.append(("end of the response", stream))

    def reset(self) -> None:
        stream = self.rng.choice(self.streams)
        if stream in self.client_ends & self.server_ends or self.rng.random() < 0.7:
            return
        if self.rng.random() < 0.5:
            self.client.reset_stream(stream, 8)
            self.done.append((FrameEvent.STREAM_RESET, stream, 8))
        else:
            self.server.reset(stream, ErrorCode.INTERNAL_ERROR)
            self.done.append(("reset by the server", stream, int(ErrorCode.INTERNAL_ERROR)))
        self.client_ends.add(stream)
        self.server_ends.add(stream)

    def settings(self) -> None:
        self.client.update_settings(
            {
                CODES.INITIAL_WINDOW_SIZE: self.rng.choice((0, 100, 65535, 1 << 20)),
                CODES.MAX_FRAME_SIZE: self.rng.choice((16384, 50000)),
            }
        )

    def control(self) -> None:
        self.client.ping(b"12345678")
        self.client.increment_flow_control_window(self.rng.choice((1, 5000)))

    def play(self, steps: int) -> None:
        """So many things at random, after each of which both sides have to be of one opinion."""
        self.request()
        self.exchange()
        actions = (self.request, self.content, self.content, self.trailers, self.response, self.response)
        for _ in range(steps):
            self.rng.choice((*actions, self.reset, self.settings, self.control))()
            self.exchange()
            self.compare()

    def compare(self) -> None:
        assert sorted(map(str, self.seen)) == sorted(map(str, self.done))
        assert {key: value for key, value in self.received.items() if value} == {
            key: value for key, value in self.sent.items() if value
        }
        for stream in self.streams:
            both_ended = stream in self.client_ends and stream in self.server_ends
            assert (self.server.state(stream) == "closed") is both_ended, stream
            if not both_ended:
                self._compare_windows(stream)

    def _compare_windows(self, stream: int) -> None:
        send, receive = map(min, zip(self.server.windows(), self.server.windows(stream), strict=True))
        if stream not in self.server_ends:
            assert send == self.client.remote_flow_control_window(stream), stream
        if stream not in self.client_ends:
            assert receive == self.client.local_flow_control_window(stream), stream
