"""A connection that speaks HTTP/3, RFC 9114: its frames and fields, and the streams that it carries as connections.

QUIC is aioquic's, QPACK is pylsqpack's, and without the dynamic table: its memory would be a client's to fill. Each
request becomes a connection of its own without a socket (_carried), as it does with HTTP/2. What is given is kept by
QUIC until the client has it, and only so much is taken as it may keep; what a client sends is given room anew when who
serves the request has received it.

All but what is called by name from Python is done with the engine's lock held.
"""
cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memcpy, memset

from pyserver._carried cimport (
    HTTP_3, NOTHING, CarriedStream, Draft, add_field, begin_draft, finish_draft, wrong_in_trailer,
)
from pyserver._channel cimport Session
from pyserver._connection cimport Connection, is_peer_in
from pyserver._http cimport Fault, Span
from pyserver._reactor cimport Reactor
from pyserver._scoreboard cimport Cell, peer_name
from pyserver._system cimport pyserver_now_ns

import socket as _socket

import pylsqpack as _pylsqpack
from aioquic.quic.events import (
    ConnectionTerminated as _ConnectionTerminated, ProtocolNegotiated as _ProtocolNegotiated,
    StopSendingReceived as _StopSendingReceived, StreamDataReceived as _StreamDataReceived, StreamReset as _StreamReset,
)

cdef enum:
    # RFC 9114 §7.2, §11.2.1
    DATA = 0x0
    HEADERS = 0x1
    HTTP2_PRIORITY = 0x2
    CANCEL_PUSH = 0x3
    SETTINGS = 0x4
    PUSH_PROMISE = 0x5
    HTTP2_PING = 0x6
    GOAWAY = 0x7
    HTTP2_WINDOW_UPDATE = 0x8
    HTTP2_CONTINUATION = 0x9
    MAX_PUSH_ID = 0xD

cdef enum:
    # RFC 9114 §6.2, RFC 9204 §4.2
    CONTROL_STREAM = 0
    PUSH_STREAM = 1
    ENCODER_STREAM = 2
    DECODER_STREAM = 3
    OTHER_STREAM = 4            # whatever a client may open that means nothing to us

cdef enum:
    # RFC 9114 §8.1, RFC 9204 §8.3
    NO_ERROR = 0x100
    INTERNAL_ERROR = 0x102
    STREAM_CREATION_ERROR = 0x103
    CLOSED_CRITICAL_STREAM = 0x104
    FRAME_UNEXPECTED = 0x105
    FRAME_ERROR = 0x106
    EXCESSIVE_LOAD = 0x107
    ID_ERROR = 0x108
    SETTINGS_ERROR = 0x109
    MISSING_SETTINGS = 0x10A
    REQUEST_REJECTED = 0x10B
    REQUEST_CANCELLED = 0x10C
    REQUEST_INCOMPLETE = 0x10D
    MESSAGE_ERROR = 0x10E
    DECOMPRESSION_FAILED = 0x200
    ENCODER_STREAM_ERROR = 0x201
    DECODER_STREAM_ERROR = 0x202

cdef enum:
    MAX_FIELD_SECTION_SIZE = 0x6
    LEAST_ROOM = 16384          # bytes of a response that QUIC keeps at least, however many there are
    MOST_ROOM = 1048576         # … and of all responses of a connection
    QUANTUM = 65536             # … of which so much is taken at once, so that a slow client is seen to take something
    CONTROL_FRAME = 4096        # bytes of a frame on the control stream, at most
    OWN_RESET_COST = 5          # of a request that is refused, in the currency of those that are taken back
    MOST_GRUDGE = 200

cdef int64_t MOST_ID = (<int64_t> 1 << 62) - 4
cdef bytes NO_FIELDS = b"\0\0"              # RFC 9204 §4.5.1, and no more

# Used with the engine's lock, by one connection at a time.
cdef Draft draft


@cython.no_gc_clear
cdef class HTTP3Session(Session):
    """The server's side of one connection of QUIC.

    Args:
        reactor: the engine.
        quic: the connection of aioquic, of which no event has been taken.
        peer: has `transmit()`, which sends what QUIC has to send.
        listener: which of the gateway's servers the client is connected to.
        streams: requests at the same time.
        field_list: bytes of a request's fields, counted as RFC 9114 §4.2.2 does.
    """

    def __cinit__(self, Reactor reactor not None, quic, peer, *, int listener, int streams, int64_t field_list):
        self.reactor = reactor
        self.quic = quic
        self.peer = peer
        self.listener = listener
        self.most_streams = streams
        self.field_list = field_list
        self.decoder = _pylsqpack.Decoder(0, 0)
        self.encoder = _pylsqpack.Encoder()
        self.streams = {}
        self._heads = {}
        self._blocked = []
        self._kept = {}
        self._kinds = {}
        self._control = -1
        self._goes_from = MOST_ID + 3
        self.quiet_since_ns = pyserver_now_ns()

    # ---- what is called from Python ----

    def begin(self) -> None:
        """It is one of the worker's connections from now on."""
        self.reactor.lock()
        try:
            self.reactor.sessions.add(self)
            self.reactor.connections += 1
            self.reactor.slot.cells[<int> Cell.ACCEPTED] += 1
            self.reactor.slot.cells[<int> Cell.CONNECTIONS] = self.reactor.connections
        finally:
            self.reactor.unlock()

    def take(self) -> None:
        """Act on what QUIC has to tell, and have sent what follows from it."""
        self.reactor.lock()
        try:
            while True:
                event = self.quic.next_event()
                if event is None:
                    break
                self._act(event)
            if self._blocked:
                self._wake_blocked()
            self.mark()
        finally:
            self.reactor.unlock()

    def depart(self, bint at_once=False) -> None:
        """Say GOAWAY: first that nothing more is to be asked, then, or `at_once`, what is not answered any more."""
        self.reactor.lock()
        try:
            if self.departing == STAYS and not at_once:
                self.warn(pyserver_now_ns())
            elif self.departing != LEAVES and not self.is_closed:
                self.departing = LEAVES
                self._goaway(self._next)
                self.mark()
        finally:
            self.reactor.unlock()

    def close(self, int code=NO_ERROR, str why="") -> None:
        """Have the client told that all is over; then it is none of the worker's connections any more."""
        self.reactor.lock()
        try:
            if not self.is_closed:
                self.quic.close(code, None, why)
                self._close()
                self.peer.transmit()
        finally:
            self.reactor.unlock()

    def note_begun(self, int64_t number) -> None:
        """Something has come of a request whose head has not."""
        cdef HTTP3Stream stream = self.streams.get(number)
        if stream is None or stream.stage == BEFORE_HEAD:
            self._heads.setdefault(number, pyserver_now_ns())

    def expire_heads(self, int64_t latest_ns) -> None:
        """Refuse the requests that have begun by then, and whose heads have not come."""
        cdef int64_t number, since_ns
        if not self._heads or self.oldest_head_ns > latest_ns:
            return
        self.reactor.lock()
        try:
            for number, since_ns in list(self._heads.items()):
                if since_ns > latest_ns or self.is_closed:
                    break
                self._refuse(self._stream(number), REQUEST_INCOMPLETE, b"its head has taken request_head_timeout")
            self.mark()
        finally:
            self.reactor.unlock()

    @property
    def oldest_head_ns(self) -> int:
        """When the oldest request has begun whose head has not come; 0 where there is none."""
        return next(iter(self._heads.values()), 0)

    def is_settled(self) -> bool:
        """Whether nothing is asked, and the client has all that was answered."""
        if self.carried:
            return False
        for number, stream in self.quic._streams.items():
            if number & 3 == 0 and not stream.sender.is_finished and stream.sender._buffer_fin is not None:
                return False
        return True

    def credit(self, int64_t number) -> int:
        """Bytes of content of a stream of QUIC that nobody has received yet."""
        cdef HTTP3Stream stream = self.streams.get(number)
        return stream._owed if stream is not None else 0

    @property
    def all_owed(self) -> int:
        """The same of all streams."""
        return self.owed

    @property
    def all_kept(self) -> int:
        """Bytes of frames of which not all has come."""
        cdef HTTP3Stream stream
        cdef Py_ssize_t kept = 0
        for stream in self.streams.values():
            if stream.kept is not None:
                kept += PyBytes_GET_SIZE(stream.kept)
        return kept

    # ---- what the reactor calls ----

    cdef int tend(self, int events, int64_t now_ns) except -1:
        return 0

    cdef int flush(self) except -1:
        self.is_waiting_to_flush = False
        if self.is_closed:
            return 0
        try:
            if self._blocked:
                self._wake_blocked()
            self.peer.transmit()
        except Exception:
            # Of aioquic's, perhaps: it ends this connection and no other.
            self.reactor.log.exception("A connection of QUIC is closed")
            self._close()
            self.peer.note_terminated(None)
        return 0

    cdef int expire(self, int reason, int64_t now_ns) except -1:
        return 0

    cdef int warn(self, int64_t now_ns) except -1:
        """RFC 9114 §5.2: what is under way when the client hears of it is still served."""
        if self.departing != STAYS or self.is_closed:
            return 0
        self.departing = WARNED
        self._goaway(MOST_ID)
        self.peer.note_departing()
        return self.mark()

    cdef int note_closed(self) except -1:
        return 0

    cdef int mark(self) except -1:
        """Have what is gathered leave at the end of the round."""
        if not self.is_waiting_to_flush and not self.is_closed:
            self.is_waiting_to_flush = True
            self.reactor.unflushed.append(self)
            if self.reactor.is_waiting:
                self.reactor.nudge()
        return 0

    cdef Py_ssize_t room(self) noexcept:
        """Bytes of one response that QUIC may keep."""
        return max(<Py_ssize_t> LEAST_ROOM, <Py_ssize_t> MOST_ROOM // max(self.carried, 1))

    # ---- what QUIC tells ----

    cdef int _act(self, object event) except -1:
        kind = type(event)
        if kind is _StreamDataReceived:
            if not self.is_closed:
                self._take_data(event.stream_id, event.data, event.end_stream)
        elif kind is _StreamReset:
            self._note_reset(event.stream_id, False)
        elif kind is _StopSendingReceived:
            self._note_reset(event.stream_id, True)
        elif kind is _ProtocolNegotiated:
            self._begin()
        elif kind is _ConnectionTerminated:
            self._close()
            self.peer.note_terminated(event)
        else:
            self.peer.note(event)
        return 0

    cdef int _begin(self) except -1:
        """Say SETTINGS; RFC 9114 §6.2.1, §7.2.4."""
        cdef bytes settings = varint(MAX_FIELD_SECTION_SIZE) + varint(self.field_list)
        self._control = self.quic.get_next_available_stream_id(is_unidirectional=True)
        self.quic.send_stream_data(
            self._control, varint(CONTROL_STREAM) + varint(SETTINGS) + varint(len(settings)) + settings
        )
        return 0

    cdef int _note_reset(self, int64_t number, bint stops) except -1:
        """The client takes a request back, or wants no response."""
        cdef HTTP3Stream stream
        self._heads.pop(number, None)
        if number == self._control or number in self._kinds and self._kinds[number] < OTHER_STREAM:
            return self._fail(CLOSED_CRITICAL_STREAM, "a stream is closed that is needed to the end")
        stream = self.streams.get(number)
        if stream is None:
            return 0
        if not stops:
            stream.has_input_ended = True
            if stream.stage != REFUSED_WHOLE and not stream.has_all:
                self.quic.reset_stream(number, REQUEST_CANCELLED)
                stops = True
        if stops and stream.connection != NULL:
            stream.lose()
            self._tell(stream)
            self._bear(1)
        return self._forget(stream)

    cdef int _take_data(self, int64_t number, bytes data, bint ends) except -1:
        cdef HTTP3Stream stream
        if number & 2:
            return self._take_other(number, data, ends)
        stream = self._stream(number)
        stream.has_input_ended = ends
        if stream.stage != REFUSED_WHOLE:
            self._take_frames(stream, data, ends)
        return self._forget(stream)

    cdef HTTP3Stream _stream(self, int64_t number):
        """The one of that number, from its beginning."""
        cdef HTTP3Stream stream = self.streams.get(number)
        if stream is None:
            stream = HTTP3Stream(self)
            stream.number = number
            self.streams[number] = stream
            if self.departing == LEAVES and number >= self._next:
                self._refuse(stream, REQUEST_REJECTED, NULL)
            self._next = max(self._next, number + 4)
        return stream

    # ---- streams that are no request's ----

    cdef int _take_other(self, int64_t number, bytes data, bint ends) except -1:
        """RFC 9114 §6.2."""
        if self._kinds.get(number) is None:
            data = self._take_kind(number, data)
            if self.is_closed or data is None:
                if ends:
                    self._kept.pop(number, None)
                return 0
        kind = self._kinds[number]
        if kind == OTHER_STREAM:
            if ends:
                del self._kinds[number]
            return 0
        if ends:
            return self._fail(CLOSED_CRITICAL_STREAM, "a stream is closed that is needed to the end")
        if kind == CONTROL_STREAM:
            return self._take_control(number, data)
        if kind == ENCODER_STREAM and data:
            try:
                self.decoder.feed_encoder(data)
            except Exception:
                # There are several, and each says the same.
                return self._fail(ENCODER_STREAM_ERROR, "it speaks of a table of QPACK that there is not")
        if kind == DECODER_STREAM:
            return self._take_decoder(data)
        return 0

    cdef int _take_decoder(self, bytes data) except -1:
        """RFC 9204 §4.4: of what uses no table, nothing can be acknowledged; that a stream is cancelled changes nothing."""
        cdef uint8_t byte
        for byte in data:
            if self._in_cancellation:
                self._in_cancellation = byte & 0x80
            elif byte & 0xC0 == 0x40:
                self._in_cancellation = byte & 0x3F == 0x3F
            else:
                return self._fail(DECODER_STREAM_ERROR, "it acknowledges what was never said by QPACK")
        return 0

    cdef bytes _take_kind(self, int64_t number, bytes data):
        """Note what a stream is for; what stands behind that, None while that is not known."""
        cdef uint64_t kind
        cdef Py_ssize_t length
        data = self._kept.pop(number, b"") + data
        length = read_varint(<const uint8_t *> PyBytes_AS_STRING(data), len(data), &kind)
        if length == 0:
            self._kept[number] = data
            return None
        if kind == PUSH_STREAM or (kind <= DECODER_STREAM and <int> kind in self._kinds.values()):
            self._fail(STREAM_CREATION_ERROR, "a stream is opened that is not a client's to open, or is there already")
            return None
        self._kinds[number] = <int> min(kind, <uint64_t> OTHER_STREAM)
        return data[length:]

    cdef int _take_control(self, int64_t number, bytes data) except -1:
        """RFC 9114 §6.2.1."""
        cdef uint64_t kind, size
        cdef Py_ssize_t first, second, at = 0
        cdef const uint8_t *text
        data = self._kept.pop(number, b"") + data
        text = <const uint8_t *> PyBytes_AS_STRING(data)
        while not self.is_closed:
            if self._control_left:
                size = min(self._control_left, <uint64_t> (len(data) - at))
                self._control_left -= size
                at += <Py_ssize_t> size
                if self._control_left:
                    break
            first = read_varint(text + at, len(data) - at, &kind)
            second = read_varint(text + at + first, len(data) - at - first, &size) if first else 0
            if second == 0:
                break
            if not self._has_settings and kind != SETTINGS:
                return self._fail(MISSING_SETTINGS, "the control stream does not begin with SETTINGS")
            if kind not in (SETTINGS, GOAWAY, MAX_PUSH_ID, CANCEL_PUSH) and not is_of_others(kind):
                self._control_left = size
                at += first + second
                continue
            if is_of_others(kind) or size > CONTROL_FRAME:
                return self._fail(FRAME_UNEXPECTED, "a frame is not one of the control stream, or much too long")
            if <uint64_t> (len(data) - at - first - second) < size:
                break
            at += first + second
            self._take_control_frame(kind, data[at:at + <Py_ssize_t> size])
            at += <Py_ssize_t> size
        if at < len(data):
            self._kept[number] = data[at:]
        return 0

    cdef int _take_control_frame(self, uint64_t kind, bytes payload) except -1:
        """Judge a frame; nothing in any of them changes what is done here. RFC 9114 §7.2."""
        cdef const uint8_t *text = <const uint8_t *> PyBytes_AS_STRING(payload)
        cdef uint64_t name, value
        cdef Py_ssize_t length, at = 0
        cdef set seen = set()
        if kind != SETTINGS:
            if read_varint(text, len(payload), &value) != len(payload) or not payload:
                return self._fail(FRAME_ERROR, "a frame of the control stream has another length than its number")
            return self._take_push_id(kind, value)
        if self._has_settings:
            return self._fail(FRAME_UNEXPECTED, "SETTINGS are said twice")
        self._has_settings = True
        while at < len(payload):
            length = read_varint(text + at, len(payload) - at, &name)
            at += length
            if length:
                length = read_varint(text + at, len(payload) - at, &value)
                at += length
            if length == 0:
                return self._fail(FRAME_ERROR, "SETTINGS end within a setting")
            if name in (0x0, 0x2, 0x3, 0x4, 0x5) or name in seen:
                return self._fail(SETTINGS_ERROR, "SETTINGS have one of HTTP/2, or one twice")
            seen.add(name)
        return 0

    cdef int _take_push_id(self, uint64_t kind, uint64_t number) except -1:
        """Nothing is ever pushed, but the numbers have an order; RFC 9114 §7.2.3, §7.2.6, §7.2.7."""
        if kind == CANCEL_PUSH or (kind == GOAWAY and number > self._goes_from) or (
            kind == MAX_PUSH_ID and number < self._pushes_below
        ):
            return self._fail(ID_ERROR, "a frame of the control stream names what was never promised, or goes back")
        if kind == GOAWAY:
            self._goes_from = number
        else:
            self._pushes_below = number
        return 0

    # ---- streams of requests ----

    cdef int _take_frames(self, HTTP3Stream stream, bytes data, bint ends) except -1:
        """RFC 9114 §4.1."""
        cdef const uint8_t *text
        cdef Py_ssize_t length, some, at = 0
        cdef bint brings = ends
        if stream.kept is not None:
            data = stream.kept + data
            stream.kept = None
        text = <const uint8_t *> PyBytes_AS_STRING(data)
        length = PyBytes_GET_SIZE(data)
        while stream.stage != REFUSED_WHOLE and not self.is_closed:
            if not stream.in_frame:
                some = self._take_frame_head(stream, text + at, length - at)
                if some == 0:
                    break
                at += some
                continue
            some = <Py_ssize_t> min(stream.frame_left, <uint64_t> (length - at))
            if stream.frame_kind == HEADERS:
                if <uint64_t> some < stream.frame_left:
                    break
                stream.in_frame = False
                at += some
                self._take_block(stream, data[at - some:at], ends and at == length)
                brings = True
                continue
            if stream.frame_kind == DATA and some:
                self._take_content(stream, Span(text + at, some))
                brings = True
            at += some
            stream.frame_left -= <uint64_t> some
            if stream.frame_left:
                break
            stream.in_frame = False
        if stream.stage == REFUSED_WHOLE or self.is_closed:
            return 0
        if at < length:
            stream.kept = data[at:]
        if ends:
            self._take_end(stream, stream.in_frame or at < length)
        # Whoever waits for content waits for no other frames.
        return self._tell(stream) if brings and stream.connection != NULL else 0

    cdef Py_ssize_t _take_frame_head(self, HTTP3Stream stream, const uint8_t *data, Py_ssize_t length) except -1:
        """Take kind and length of a frame, and judge whether it may come now; 0 while not all of it is there."""
        cdef uint64_t kind, size
        cdef Py_ssize_t first = read_varint(data, length, &kind)
        cdef Py_ssize_t second = read_varint(data + first, length - first, &size) if first else 0
        if second == 0:
            return 0
        if kind == DATA and stream.stage != IN_CONTENT or kind == HEADERS and stream.stage == BEHIND_TRAILERS:
            self._fail(FRAME_UNEXPECTED, "a frame of a request comes before its head, or behind its end")
        elif kind in (SETTINGS, GOAWAY, MAX_PUSH_ID, CANCEL_PUSH) or kind > HEADERS and is_of_others(kind):
            self._fail(FRAME_UNEXPECTED, "a frame is not one of a request")
        elif kind == HEADERS and size > <uint64_t> self.field_list:
            self._refuse(stream, EXCESSIVE_LOAD, b"a block of fields is too large")
        stream.in_frame = True
        stream.frame_kind = kind
        stream.frame_left = size
        return first + second

    cdef int _take_end(self, HTTP3Stream stream, bint is_cut) except -1:
        if is_cut:
            return self._fail(FRAME_ERROR, "a stream ends within a frame")
        if stream.stage == BEFORE_HEAD:
            return self._refuse(stream, REQUEST_INCOMPLETE, b"it ends before its head")
        if stream.expected >= 0 and stream.received != stream.expected:
            return self._refuse(stream, MESSAGE_ERROR, b"content-length is not the length of the content")
        return stream.end_content() if not stream.has_all else 0

    cdef int _take_content(self, HTTP3Stream stream, Span content) except -1:
        stream.received += content.length
        if stream.expected >= 0 and stream.received > stream.expected:
            return self._refuse(stream, MESSAGE_ERROR, b"content-length is not the length of the content")
        if stream.connection == NULL or stream.is_lost:
            return 0                # it has been answered: nobody receives it
        self.owed += content.length
        return stream.take_content(content)

    cdef int _take_block(self, HTTP3Stream stream, bytes block, bint ends) except -1:
        """Decode fields, and do with them what they are for."""
        try:
            # Without fields a section is none to pylsqpack.
            _, fields = self.decoder.feed_header(stream.number, block) if block != NO_FIELDS else (b"", [])
        except Exception:
            # pylsqpack's own, of which there are two: what is blocked waits for a table that there is not.
            return self._fail(DECOMPRESSION_FAILED, "a block of fields cannot be decoded")
        if stream.stage == BEFORE_HEAD:
            stream.stage = IN_CONTENT
            self._heads.pop(stream.number, None)
            return self._open(stream, fields, ends)
        stream.stage = BEHIND_TRAILERS
        return self._take_trailers(stream, fields)

    cdef int _open(self, HTTP3Stream stream, list fields, bint ends) except -1:
        """A request begins."""
        cdef int64_t size = 0
        cdef bytes name, value
        stream.sender = self.quic._streams[stream.number].sender
        if stream.sender._reset_error_code is not None:
            # The client has said first that it wants no response.
            return self._refuse(stream, REQUEST_CANCELLED, NULL)
        if self.alive >= 2 * self.most_streams:
            # Requests that were taken back may run on.
            return self._refuse(stream, REQUEST_REJECTED, b"too many that were taken back still run")
        begin_draft(&draft)
        for name, value in fields:
            size += len(name) + len(value) + 32
            add_field(&draft, span_of(name), span_of(value))
        finish_draft(&draft, stream, ends, False)
        if draft.wrong == NULL and ends and draft.length > 0:
            draft.wrong = b"content-length is not the length of the content"
        if (draft.authority.start != NULL and draft.authority.length == 0) or (
            draft.host.start != NULL and draft.host.length == 0
        ):
            draft.wrong = b":authority or host is empty"    # RFC 9114 §4.3.1
        if draft.wrong != NULL:
            return self._refuse(stream, MESSAGE_ERROR, draft.wrong)
        stream.expected = draft.length
        if size > self.field_list:
            stream.fault = Fault.FIELD_LIMIT
        return self._carry(stream)

    cdef int _carry(self, HTTP3Stream stream) except -1:
        """Have the stream be a connection, and give it a turn."""
        cdef Connection *connection = stream.become_connection()
        connection.is_by_quic = True
        connection.listener = <uint8_t> self.listener
        self._note_address()
        connection.family = <uint8_t> self._family
        connection.port = <unsigned short> self._port
        memcpy(connection.address, self._address, 16)
        connection.is_trusted = is_peer_in(connection, self.reactor.proxies.trusted)
        connection.since_ns = pyserver_now_ns()
        stream.is_secure = True
        stream.is_open = True
        self.carried += 1
        self.reactor.carried += 1
        self.quiet_since_ns = 0
        self.has_asked = True
        return self.reactor.go_on_later(connection)

    cdef int _note_address(self) except -1:
        """Who the client is by now: it may have moved, RFC 9000 §9."""
        address = self.quic.get_peer_address()
        if address is self._seen_address:
            return 0
        self._seen_address = address
        host, self._port = address[0].partition("%")[0], address[1]
        packed = _socket.inet_pton(_socket.AF_INET6 if ":" in host else _socket.AF_INET, host)
        memset(self._address, 0, 16)
        memcpy(self._address, PyBytes_AS_STRING(packed), <size_t> len(packed))
        self._family = 6 if len(packed) == 16 else 4
        return 0

    cdef int _take_trailers(self, HTTP3Stream stream, list fields) except -1:
        """They are judged, and nobody gets them."""
        cdef const char *wrong = NULL
        cdef bytes name, value
        for name, value in fields:
            if wrong == NULL:
                wrong = wrong_in_trailer(span_of(name), span_of(value))
        return self._refuse(stream, MESSAGE_ERROR, wrong) if wrong != NULL else 0

    cdef int _tell(self, HTTP3Stream stream) except -1:
        """Give a stream a turn."""
        if stream.connection != NULL:
            stream.connection.is_readable = True
            self.reactor.go_on_later(stream.connection)
        return 0

    cdef int _forget(self, HTTP3Stream stream) except -1:
        """Forget a stream on which nothing comes, nor is to be said, any more."""
        if stream.has_input_ended and stream.connection == NULL and self.streams.get(stream.number) is stream:
            del self.streams[stream.number]
        return 0

    # ---- what goes wrong ----

    cdef int _refuse(self, HTTP3Stream stream, int code, const char *why) except -1:
        """Reset a stream, of which the application sees nothing more; RFC 9114 §4.1.2."""
        if why != NULL:
            self.reactor.log.warning(
                "refused a request from %s over HTTP/3: %s (RFC 9114 section 4)", self._who(), (<bytes> why).decode()
            )
            self.reactor.slot.cells[<int> Cell.REFUSED] += 1
        stream.stage = REFUSED_WHOLE
        stream.kept = None
        self._heads.pop(stream.number, None)
        stop(self.quic, stream.number, code)
        if stream.connection != NULL:
            stream.lose()
            self._tell(stream)
        return self._bear(1 if code == REQUEST_REJECTED or code == REQUEST_CANCELLED else OWN_RESET_COST)

    cdef int _fail(self, int code, str why) except -1:
        """Close the connection with an error; RFC 9114 §8."""
        if self.is_closed:
            return 0
        self.reactor.log.warning("the HTTP/3 connection of %s is closed with 0x%x: %s", self._who(), code, why)
        self.reactor.slot.cells[<int> Cell.REFUSED] += 1
        self.quic.close(code, None, why)
        self._close()
        self.peer.transmit()
        return 0

    cdef int _bear(self, int grudge) except -1:
        self._grudge += grudge
        if self._grudge > MOST_GRUDGE:
            return self._fail(EXCESSIVE_LOAD, "too many requests are taken back or refused")
        return 0

    cdef int _goaway(self, object number) except -1:
        cdef bytes payload = varint(number)
        if self._control >= 0:
            self.quic.send_stream_data(self._control, varint(GOAWAY) + varint(len(payload)) + payload)
        return 0

    cdef int _close(self) except -1:
        """It carries nothing any more, and is none of the worker's connections."""
        cdef HTTP3Stream stream
        if self.is_closed:
            return 0
        self.is_closed = True
        for stream in list(self.streams.values()):
            if stream.connection != NULL:
                stream.lose()
                self._tell(stream)
        self._blocked = []
        self._kept.clear()
        self._heads.clear()
        if self in self.reactor.sessions:
            # It has begun.
            self.reactor.sessions.discard(self)
            self.reactor.connections -= 1
            self.reactor.slot.cells[<int> Cell.CONNECTIONS] = self.reactor.connections
        self.peer.note_closed()
        return self.reactor.nudge()

    cdef str _who(self):
        self._note_address()
        return peer_name(self._family, self._address, self._port)

    # ---- what is given ----

    cdef int _wake_blocked(self) except -1:
        """Give those a turn that may give more."""
        cdef HTTP3Stream stream
        cdef list still = []
        cdef Py_ssize_t room = self.room()
        cdef Py_ssize_t enough = max(room // 2, room - QUANTUM)
        for stream in self._blocked:
            if not stream.is_lost and stream.backlog() > enough:
                still.append(stream)
                continue
            stream.is_blocked = False
            if stream.connection != NULL:
                self.reactor.go_on_later(stream.connection)
        self._blocked = still
        return 0


cdef inline bint is_of_others(uint64_t kind) noexcept nogil:
    """Whether a frame is of requests, or was of HTTP/2 and must not be of HTTP/3; RFC 9114 §7.2.8."""
    return kind in (DATA, HEADERS, PUSH_PROMISE, HTTP2_PRIORITY, HTTP2_PING, HTTP2_WINDOW_UPDATE, HTTP2_CONTINUATION)


cdef inline Span span_of(bytes text):
    return Span(<const unsigned char *> PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))


cdef Py_ssize_t read_varint(const uint8_t *data, Py_ssize_t length, uint64_t *value) noexcept nogil:
    """Read a number, RFC 9000 §16; how long it is, 0 while not all of it is there."""
    cdef Py_ssize_t size, at
    if length < 1:
        return 0
    size = (<Py_ssize_t> 1) << (data[0] >> 6)
    if length < size:
        return 0
    value[0] = data[0] & 63
    for at in range(1, size):
        value[0] = value[0] << 8 | data[at]
    return size


cdef bytes varint(uint64_t value):
    """RFC 9000 §16."""
    if value < 64:
        return (<object> value).to_bytes(1, "big")
    if value < 16384:
        return (<object> (value | 0x4000)).to_bytes(2, "big")
    if value < 1 << 30:
        return (<object> (value | 0x80000000)).to_bytes(4, "big")
    return (<object> (value | (<uint64_t> 3 << 62))).to_bytes(8, "big")


cdef int stop(quic, int64_t number, int code) except -1:
    """End both directions of a stream, as far as they have not ended."""
    stream = quic._streams.get(number)
    if stream is None:
        return 0
    quic.reset_stream(number, code)
    if not stream.receiver.is_finished:
        quic.stop_stream(number, code)
    return 0


@cython.no_gc_clear
cdef class HTTP3Stream(CarriedStream):
    """One stream."""

    def __cinit__(self, HTTP3Session session not None):
        self.session = self.http3 = session
        self.minor = HTTP_3
        self.expected = -1
        session.alive += 1

    def __dealloc__(self):
        self.http3.alive -= 1

    cdef Py_ssize_t backlog(self) except -1:
        """Bytes that QUIC keeps for the client, sent or not."""
        return self.sender._buffer_stop - self.sender._buffer_start

    cdef bint has_room(self) except -1:
        return self.backlog() < self.http3.room()

    cdef int begin_fields(self, int status) except -1:
        self.fields = [(b":status", b"%d" % status)] if status else []
        return 0

    cdef int put_field(self, Span name, Span value) except -1:
        self.fields.append((
            PyBytes_FromStringAndSize(<const char *> name.start, name.length),
            PyBytes_FromStringAndSize(<const char *> value.start, value.length),
        ))
        return 0

    cdef int end_fields(self, bint ends) except -1:
        # The first would fill the client's table, which it has not been asked for.
        _, block = self.http3.encoder.encode(self.number, self.fields)
        self.fields = None
        return self.put_frame(HEADERS, block, ends)

    cdef Py_ssize_t put_data(self, const unsigned char *data, Py_ssize_t length, bint ends) except -1:
        cdef Py_ssize_t some = min(length, self.http3.room() - self.backlog())
        if some <= 0 and length:
            return 0
        if length:
            self.put_frame(DATA, PyBytes_FromStringAndSize(<const char *> data, some), ends and some == length)
        elif ends:
            self.put(b"", True)
        return some if length else 0

    cdef int put_frame(self, int kind, bytes payload, bint ends) except -1:
        return self.put(varint(kind) + varint(len(payload)) + payload, ends)

    cdef int put(self, bytes data, bint ends) except -1:
        try:
            self.http3.quic.send_stream_data(self.number, data, ends)
        except (RuntimeError, ValueError) as error:
            # Reset by the client, as we shall hear.
            self.http3.reactor.log.debug("A stream of HTTP/3 takes nothing more: %s", error)
            self.lose()
        return 0

    cdef int put_reset(self, bint is_complete) except -1:
        """RFC 9114 §4.1: of a request that is answered, the rest is stopped without an error."""
        stream = self.http3.quic._streams.get(self.number)
        if stream is None:
            return 0
        if not is_complete:
            self.http3.quic.reset_stream(self.number, INTERNAL_ERROR)
        if not stream.receiver.is_finished:
            self.http3.quic.stop_stream(self.number, NO_ERROR if is_complete else INTERNAL_ERROR)
        return 0

    cdef int end(self, Connection *connection) except -1:
        cdef HTTP3Session http3 = self.http3
        CarriedStream.end(self, connection)
        self.sender = None
        if self.is_blocked:
            self.is_blocked = False
            if self in http3._blocked:
                http3._blocked.remove(self)
        if self.is_open:
            self.is_open = False
            http3.carried -= 1
            http3.reactor.carried -= 1
            if http3.carried == 0:
                http3.quiet_since_ns = pyserver_now_ns()
        if self.awaited == NOTHING and http3._grudge:
            http3._grudge -= 1
        http3._forget(self)
        return http3.mark()

    cdef int note_given(self) except -1:
        return self.http3.mark()

    cdef int note_blocked(self) except -1:
        if not self.is_blocked:
            self.is_blocked = True
            self.http3._blocked.append(self)
        return self.http3.mark()

    cdef int note_received(self, Py_ssize_t content) except -1:
        if content:
            self.http3.owed -= content
            self.http3.mark()
        return 0

    cdef dict variables(self):
        return {}

    cdef dict extension(self):
        return self.http3.peer.tls
