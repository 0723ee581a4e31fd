"""A connection that speaks HTTP/2, RFC 9113: its frames and fields, and the streams that it carries as connections.

What a client may send is judged by _frames, and fields are decoded by _hpack. Each request becomes a connection of its
own without a socket (_carried), which has its turns as all others. What it gives becomes frames here, as far as the
windows of stream and connection are open and the socket takes them; what a client sends is given room anew when who
serves the request has received it. So neither side can make the other keep more than it has agreed to.

All is done with the engine's lock held.
"""
cimport cython
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcmp, memcpy, memmove, memset, strlen
from posix.unistd cimport close as close_descriptor, pipe, write

from pyserver._carried cimport HTTP_2, CarriedStream, Draft, add_field, begin_draft, finish_draft, wrong_in_trailer
from pyserver._channel cimport Channel, Session, Version, give, receive
from pyserver._connection cimport (
    AWAIT_FIRST_BYTE, AWAIT_HEAD, AWAIT_NEXT_REQUEST, AWAIT_PING, AWAIT_PONG, AWAIT_WRITE, Connection, Reader, delist,
    enlist_until, peer_of,
)
from pyserver._frames cimport (
    CONTENT, DISCARDED, ENHANCE_YOUR_CALM, HALF_CLOSED_LOCAL, INTERNAL_ERROR, NO_ERROR, PEER_LEAVES, PINGED, PONGED,
    PROTOCOL_ERROR, REFUSED_STREAM, REQUEST, SETTINGS_ACKNOWLEDGED, SETTINGS_CHANGED, STREAM_FAILED, STREAM_RESET,
    TRAILERS, H2Event, H2Stream, begin_connection, begin_upgraded, earn_credit, expect_content, find_stream,
    free_connection, let_rest_come, read_preface, receive_frame, return_window, sendable, write_block,
    write_data_head, write_frame_head, write_goaway, write_goaway_warning, write_ping_ack, write_reset,
    write_settings, write_settings_ack,
)
from pyserver._frames cimport COMPRESSION_ERROR as COMPRESSION_FAILED, DATA, PING
from pyserver._hpack cimport (
    ABANDONED, COMPRESSION_ERROR, OUT_OF_MEMORY, OVER_LIMIT, BlockOutcome, FieldLine, Fields, begin_block,
    decode_block, encode_field, encode_status, free_decoder, free_encoder, init_decoder, init_encoder, limit_encoder,
    reset_fields,
)
from pyserver._http cimport HAS_CHUNKED, NEED_MORE, REFUSED, Fault, Field, Head, Out, Outcome, Span, append
from pyserver._poller cimport BROKEN, READABLE, WRITABLE
from pyserver._proxies cimport Origin
from pyserver._reactor cimport LINGER_MOST_SECONDS, LINGER_SECONDS, Reactor
from pyserver._scoreboard cimport Cell
from pyserver._system cimport EWOULDBLOCK, POLLIN, POLLOUT, poll, pollfd, pyserver_now_ns, pyserver_unsent

import base64 as _base64

from pyserver._frames import ErrorCode as _ErrorCode

cdef enum:
    BLOCK = 65536               # bytes that are received at once
    TURNS = 8                   # … in a row, before others have their turn
    OUT_LIMIT = 65536           # bytes of frames beyond which no more content is taken
    OUT_CEILING = 262144        # … and nothing is read any more that would have to be answered
    OUT_KEPT = 16384            # bytes of memory that are kept for the next frames
    QUANTUM = 65536             # bytes of one response, where others wait
    SMALL = 1024                # bytes of content that are worth a frame
    HELD_MS = 10                # how long less than that waits for more
    FRAME_HEAD = 9
    TABLE = 4096                # bytes of the encoder's table
    FIELDS = 4096               # of one block at most, whatever is made of them
    ABANDONED_TIMES = 4         # the limit of a block is exceeded so often: no more of it is decoded
    LEAST_CEILING = 262144      # … however low that limit is
    LEAST_BLOCK = 65536         # bytes of a block, encoded, that are taken for the sake of the table in any case
    # What a client with good manners may need: it returns room for each small block of content, and where windows are
    # nearly shut blocks are small.
    CREDIT_A_SECOND = 1000
    OWN_RESET_COST = 5          # of a request that is refused by a reset
    REQUEST_FIELD_LIMIT = 65536
    MOST_REST = 16777216        # bytes of content that nobody wants, and are taken all the same
    UNTOLD_REST = 1048576       # … where it was not said how many there are

cdef int64_t SECOND = 1000000000
cdef int64_t HELD_NS = HELD_MS * 1000000
cdef const char *SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
cdef const char *UNTOLD = b"GET / HTTP/1.1\r\nhost: unknown\r\n\r\n"
cdef const char *OUR_PING = b"pyserver"

# Used with the engine's lock, by one connection at a time.
cdef unsigned char *incoming = NULL         # what is received: the beginning of a frame, and a block
cdef Py_ssize_t incoming_room = 0
cdef Fields fields
cdef Draft draft
cdef Out block                              # fields of a response, encoded


cdef class HTTP2Limits(Version):
    """What a client may have of HTTP/2. Immutable.

    Args:
        streams: requests of one connection at the same time.
        window: bytes of content of a request that are under way, RFC 9113 §6.9.2.
        connection_window: … and of all requests of a connection.
        frame: bytes of a frame's payload, RFC 9113 §4.2.
        field_list: bytes of a request's fields, counted as RFC 9113 §6.5.2 does.
        in_clear: whether a trusted client may begin without TLS, knowing that HTTP/2 is spoken (§3.3).
        by_upgrade: whether it may go over to it with a request of HTTP/1.1, RFC 7540 §3.2.
        websockets: whether WebSockets are served, so that RFC 8441 is announced.
    """

    def __cinit__(
        self, *, streams=100, window=65535, connection_window=1048576, frame=16384, field_list=65536, in_clear=False,
        by_upgrade=False, websockets=False,
    ):
        global incoming, incoming_room
        self.limits.streams = streams
        self.limits.window = window
        self.limits.connection_window = max(window, connection_window)
        self.limits.frame = frame
        self.limits.field_list = field_list
        # What is longer gets 431, and only what is much longer ends the connection.
        self.limits.block = max(2 * field_list, LEAST_BLOCK)
        self.limits.allows_connect = websockets
        self.in_clear = in_clear
        self.by_upgrade = by_upgrade
        if incoming_room < frame + FRAME_HEAD + BLOCK:
            incoming = <unsigned char *> realloc(incoming, <size_t> (frame + FRAME_HEAD + BLOCK))
            if incoming == NULL:
                raise MemoryError()
            incoming_room = frame + FRAME_HEAD + BLOCK

    cdef Outcome look(self, const unsigned char *data, Py_ssize_t length) noexcept:
        return read_preface(data, length)

    cdef int begin(
        self, Connection *connection, object reactor, const unsigned char *data, Py_ssize_t length, int64_t now_ns
    ) except -1:
        return self._session(connection, reactor).begin(data, length, now_ns)

    cdef HTTP2Session _session(self, Connection *connection, object reactor):
        cdef HTTP2Session session = HTTP2Session(reactor)
        session.carrier = connection
        Py_INCREF(session)
        connection.session = <PyObject *> session
        connection.stays = True
        connection.awaits_preface = False
        session.reactor.sessions.add(session)
        return session

    cdef bint upgrade(self, Connection *connection, object reactor, Reader *reader, int64_t now_ns) except -1:
        cdef const Head *head = &reader.head
        cdef const unsigned char *base = reader.data + reader.begin
        cdef bytes settings
        # With content of its own it may stay what it is: RFC 9110 §7.8.
        if connection.channel != NULL or head.minor != 1 or head.content_length or head.flags & HAS_CHUNKED:
            return False
        settings = settings_in(head, base)
        if settings is None:
            return False
        self._session(connection, reactor).begin_upgraded(reader, settings, now_ns)
        reader.begin = reader.length
        return True


@cython.no_gc_clear
cdef class HTTP2Session(Session):
    """The server's side of one connection."""

    def __cinit__(self, Reactor reactor not None):
        cdef HTTP2Limits wanted = <HTTP2Limits> reactor.http2
        self.reactor = reactor
        begin_connection(&self.frames, &wanted.limits)
        init_decoder(&self.decoder)
        init_encoder(&self.encoder, TABLE)
        self.field_limits.list_size = self.frames.limits.field_list
        self.field_limits.ceiling = max(<uint64_t> ABANDONED_TIMES * self.frames.limits.field_list, <uint64_t> LEAST_CEILING)
        self.field_limits.count = FIELDS
        self.field_limits.field = REQUEST_FIELD_LIMIT
        self._waiting = []
        self._blocked = []
        self._rests = {}

    def __dealloc__(self):
        free_connection(&self.frames)
        free_decoder(&self.decoder)
        free_encoder(&self.encoder)
        free(self.out.data)
        free(self._kept)

    cdef int begin(self, const unsigned char *data, Py_ssize_t length, int64_t now_ns) except -1:
        self._now_ns = self._earned_ns = now_ns
        write_settings(&self.frames, &self.out)
        self._has_heard = True
        if length > incoming_room:
            raise ValueError("HTTP/2 begins with more than is received at once")
        memcpy(incoming, data, <size_t> length)
        self._take(length)
        # There may be more to be read.
        self.carrier.is_readable = True
        self.reactor.go_on_later(self.carrier)
        return self.warn(now_ns) if self.reactor.is_retiring else self.mark()

    cdef int begin_upgraded(self, Reader *reader, bytes settings, int64_t now_ns) except -1:
        """Answer 101, and the request in HTTP/2."""
        cdef const unsigned char *base = reader.data + reader.begin
        cdef Py_ssize_t length = <Py_ssize_t> reader.head.position
        cdef HTTP2Stream stream = HTTP2Stream(self)
        append(&self.out, SWITCHING, <Py_ssize_t> strlen(SWITCHING))
        self.begin(base + length, reader.length - reader.begin - length, now_ns)
        if self._is_ending:
            return 0                # what came behind it is no HTTP/2, and the request is not looked at
        if begin_upgraded(&self.frames, Span(settings, len(settings))) == NULL:
            return self._fail(PROTOCOL_ERROR, "HTTP2-Settings is none")
        self._limit_table()
        stream.id = 1
        stream.is_of_head = reader.head.method_length == 4 and memcmp(base + reader.head.method, b"HEAD", 4) == 0
        stream.has_all = True
        put_without_upgrade(&stream._input, &reader.head, base)
        return self._carry(stream)

    # ---- a turn ----

    cdef int tend(self, int events, int64_t now_ns) except -1:
        cdef Connection *carrier = self.carrier
        self._now_ns = now_ns
        if self.pending() and events & (WRITABLE | BROKEN):
            self.send_some()
        if carrier.is_readable and not self._is_ending and not self.has_ended and not carrier.is_gone:
            self._read()
        return self.flush()

    cdef int flush(self) except -1:
        self.is_waiting_to_flush = False
        if self.carrier == NULL:
            return 0
        # Requests may have run for long since its turn.
        self._now_ns = pyserver_now_ns()
        if self._rests:
            self._end_rests()
        self.send_some()
        if self.carrier.is_gone:
            return self.reactor.close(self.carrier)
        if self._is_ending:
            return self._await() if self.pending() else self._end()
        if self._blocked:
            self._wake_blocked()
        if self.has_ended and self.carried == 0:
            return self.reactor.close(self.carrier)
        if self.carried == 0 and (self.leaving == LEAVES or (self._peer_leaves and not self._rests)):
            self._is_ending = True
            if not self.pending():
                return self._end()
        return self._await()

    cdef int mark(self) except -1:
        """Have what is gathered leave at the end of the round."""
        if not self.is_waiting_to_flush:
            self.is_waiting_to_flush = True
            self.reactor.unflushed.append(self)
            if self.reactor.batches and self.reactor.is_waiting:
                self.reactor.nudge()
        return 0

    cdef Py_ssize_t pending(self) noexcept:
        """Bytes of frames that the socket has not taken."""
        return self.out.used - self._sent

    cdef bint send_some(self) except -1:
        """Send what the socket takes; whether that was all."""
        cdef Py_ssize_t sent
        while self._sent < self.out.used:
            if self.carrier == NULL or self.carrier.is_gone:
                self._sent = self.out.used
                break
            sent = give(self.carrier, self.out.data + self._sent, self.out.used - self._sent, 0)
            if sent > 0:
                self._sent += sent
                self._has_given = True
            elif errno in (EAGAIN, EWOULDBLOCK):
                # It may go on for long without ever being empty.
                memmove(self.out.data, self.out.data + self._sent, <size_t> self.pending())
                self.out.used -= self._sent
                self._sent = 0
                return False
            elif errno != EINTR:
                self.carrier.is_gone = True
        self._sent = self.out.used = 0
        if self.out.capacity > OUT_KEPT and not self.carried:
            free(self.out.data)
            memset(&self.out, 0, sizeof(Out))
        return True

    # ---- what the client sends ----

    cdef int _read(self) except -1:
        cdef Connection *carrier = self.carrier
        cdef Py_ssize_t got
        cdef int turn
        self._earn()
        for turn in range(TURNS):
            if self.pending() > OUT_CEILING:
                return 0                # the client is to take answers before it asks for others
            carrier.is_readable = False
            if self._kept_length:
                memcpy(incoming, self._kept, <size_t> self._kept_length)
            got = receive(carrier, incoming + self._kept_length, BLOCK)
            if got > 0:
                self._has_heard = True
                self._take(self._kept_length + got)
                if self._is_ending or (got < BLOCK and not carrier.is_broken):
                    return 0
            elif got == 0:
                return self._note_end()
            elif errno in (EAGAIN, EWOULDBLOCK):
                return 0
            elif errno != EINTR:
                carrier.is_gone = True
                return 0
        carrier.is_readable = True
        return self.reactor.go_on_later(carrier)

    cdef int _earn(self) except -1:
        """Time gives back what a client has spent."""
        cdef int64_t earned = (self._now_ns - self._earned_ns) * CREDIT_A_SECOND // SECOND
        if earned > 0:
            earn_credit(&self.frames, <int32_t> min(earned, <int64_t> 1000000))
            self._earned_ns = self._now_ns
        return 0

    cdef int _note_end(self) except -1:
        """The client sends no more: requests that are complete are answered all the same."""
        cdef HTTP2Stream stream
        self.has_ended = True
        for stream in self._streams():
            self._tell(stream)
        return 0

    cdef list _streams(self):
        """Those that are open."""
        cdef uint32_t at
        cdef list found = []
        for at in range(self.frames.capacity):
            if self.frames.slots[at].id and self.frames.slots[at].owner != NULL:
                found.append(<HTTP2Stream> <PyObject *> self.frames.slots[at].owner)
        return found

    cdef int _take(self, Py_ssize_t length) except -1:
        """Act on the frames in what was received, and keep what is not one yet."""
        cdef Py_ssize_t consumed, at = 0
        cdef H2Event event
        cdef Outcome outcome
        while at < length and not self._is_ending:
            outcome = receive_frame(&self.frames, incoming + at, length - at, &consumed, &event)
            if outcome == NEED_MORE:
                break
            if outcome == REFUSED:
                if event.owner != NULL:
                    # Its frame was the last straw, and has ended it before.
                    self._lose(<HTTP2Stream> <PyObject *> event.owner)
                self._fail(
                    event.error,
                    "it makes work without asking for anything" if event.error == ENHANCE_YOUR_CALM else "its frames break a rule",
                )
                break
            at += consumed
            self._act(&event)
        return_window(&self.frames, 0, 0, &self.out)
        length = 0 if self._is_ending else length - at
        if length > self._kept_length:
            free(self._kept)
            self._kept = <unsigned char *> malloc(<size_t> length)
            if self._kept == NULL:
                self._kept_length = 0
                raise MemoryError()
        elif length == 0 and self._kept != NULL:
            free(self._kept)
            self._kept = NULL
        if length:
            memcpy(self._kept, incoming + at, <size_t> length)
        self._kept_length = length
        return 0

    cdef int _act(self, H2Event *event) except -1:
        """Do what a frame asks for."""
        cdef HTTP2Stream stream = None
        if event.kind in (REQUEST, TRAILERS, DISCARDED):
            return self._act_on_block(event)
        if event.owner != NULL:
            stream = <HTTP2Stream> <PyObject *> event.owner
        if event.kind == CONTENT:
            self._take_content(event, stream)
        elif event.kind == STREAM_RESET or event.kind == STREAM_FAILED:
            if stream is not None:
                self._lose(stream)
        elif event.kind == SETTINGS_CHANGED:
            self._limit_table()
            write_settings_ack(&self.out)
        elif event.kind == SETTINGS_ACKNOWLEDGED:
            # Windows may have become smaller, and what was consumed of them be worth returning.
            for stream in self._streams():
                return_window(&self.frames, stream.id, 0, &self.out)
        elif event.kind == PINGED:
            write_ping_ack(event.payload.start, &self.out)
        elif event.kind == PONGED and self.leaving == WARNED and memcmp(event.payload.start, OUR_PING, 8) == 0:
            self._leave()
        elif event.kind == PEER_LEAVES:
            self._peer_leaves = True
        if event.error != NO_ERROR:
            write_reset(&self.frames, event.stream, event.error, &self.out)
        return 0

    cdef int _limit_table(self) except -1:
        """What the client has said of the table of fields; RFC 7541 §4.2 has it told of the smallest size as well."""
        limit_encoder(&self.encoder, self.frames.peer.least_table_size)
        limit_encoder(&self.encoder, self.frames.peer.header_table_size)
        return 0

    cdef int _take_content(self, H2Event *event, HTTP2Stream stream) except -1:
        """Have who serves the request receive content, or drop what nobody receives."""
        if stream is None:
            if event.ends:
                self._rests.pop(event.stream, None)
            elif event.payload.length and event.stream in self._rests:
                latest_ns, _ = self._rests[event.stream]
                self._rests[event.stream] = latest_ns, self._now_ns + LINGER_SECONDS * SECOND
            return return_window(&self.frames, event.stream, <uint32_t> event.payload.length, &self.out)
        if event.payload.length == 0 and not event.ends:
            return 0                # nobody waits for that
        stream.take_content(event.payload)
        if event.ends:
            stream.end_content()
        return self._tell(stream)

    cdef int let_end(self, H2Stream *slot) except -1:
        """Take what a client still sends of a request that is answered, before it is reset.

        RFC 9113 §8.1 lets it be reset at once. But there are clients that drop the response then.
        """
        cdef int64_t now_ns = pyserver_now_ns()
        if not let_rest_come(&self.frames, slot, MOST_REST if slot.expected >= 0 else UNTOLD_REST, &self.out):
            return write_reset(&self.frames, slot.id, NO_ERROR, &self.out)
        self._rests[slot.id] = now_ns + LINGER_MOST_SECONDS * SECOND, now_ns + LINGER_SECONDS * SECOND
        return self.reactor.flush_later(self, now_ns + LINGER_SECONDS * SECOND)

    cdef int _end_rests(self) except -1:
        """Reset the streams that have taken too long to end."""
        cdef int64_t until_ns, first_ns = 0
        for id, ends in list(self._rests.items()):
            until_ns = min(ends)
            if find_stream(&self.frames, id) == NULL:
                del self._rests[id]
            elif until_ns <= self._now_ns:
                del self._rests[id]
                write_reset(&self.frames, id, NO_ERROR, &self.out)
            elif first_ns == 0 or until_ns < first_ns:
                first_ns = until_ns
        return self.reactor.flush_later(self, first_ns) if first_ns else 0

    cdef int _tell(self, HTTP2Stream stream) except -1:
        """Give a stream a turn."""
        if stream.connection != NULL:
            stream.connection.is_readable = True
            if stream.is_let or stream.is_lost:
                self.reactor.go_on_later(stream.connection)
        return stream.ring()

    cdef int _lose(self, HTTP2Stream stream) except -1:
        """Nothing is said on a stream any more, of which who serves it is to learn."""
        stream.lose()
        return self._tell(stream)

    cdef int _act_on_block(self, H2Event *event) except -1:
        """Decode fields, for the sake of the table in any case, and do with them what they are for."""
        cdef BlockOutcome outcome
        reset_fields(&fields)
        outcome = decode_block(&self.decoder, event.payload.start, event.payload.length, &fields, &self.field_limits)
        if outcome == ABANDONED:
            return self._fail(ENHANCE_YOUR_CALM, "a block of fields is too large")
        if outcome == OUT_OF_MEMORY:
            return self._fail(INTERNAL_ERROR, "there is no memory for a block of fields")
        if outcome == COMPRESSION_ERROR:
            return self._fail(COMPRESSION_FAILED, "a block of fields cannot be decoded")
        if event.kind == REQUEST:
            return self._open(event, outcome == OVER_LIMIT)
        if event.kind == TRAILERS:
            return self._take_trailers(event, outcome == OVER_LIMIT)
        if event.owner != NULL:
            self._lose(<HTTP2Stream> <PyObject *> event.owner)
        if event.error != NO_ERROR:
            write_reset(&self.frames, event.stream, event.error, &self.out)
        return 0

    cdef int _open(self, H2Event *event, bint is_over_limit) except -1:
        """A request begins."""
        cdef HTTP2Stream stream
        cdef FieldLine *line
        cdef uint32_t at
        cdef int code
        if self.alive >= <int> (2 * self.frames.limits.streams):
            # Requests that were taken back may run on.
            return self._refuse(event.stream, REFUSED_STREAM, b"too many that were reset still run")
        begin_draft(&draft)
        for at in range(fields.count):
            line = &fields.lines[at]
            add_field(
                &draft, Span(fields.text + line.name, line.name_length), Span(fields.text + line.value, line.value_length)
            )
        stream = HTTP2Stream(self)
        stream.id = event.stream
        finish_draft(&draft, stream, event.ends, self.frames.limits.allows_connect)
        if is_over_limit:
            stream.fault = Fault.FIELD_LIMIT
            if draft.wrong != NULL:
                # What says which request it is may be among the fields that are left out.
                stream.has_all = event.ends
                append(&stream._input, UNTOLD, <Py_ssize_t> strlen(UNTOLD))
        elif draft.wrong != NULL:
            return self._refuse(event.stream, PROTOCOL_ERROR, draft.wrong)
        elif stream.is_tunnel and event.ends:
            return self._refuse(event.stream, PROTOCOL_ERROR, b"a WebSocket ends with its handshake")
        elif draft.length >= 0 and not stream.is_tunnel:
            code = expect_content(&self.frames, event.stream, draft.length)
            if code != NO_ERROR:
                return self._refuse(event.stream, code, b"content-length is not the length of the content")
        return self._carry(stream)

    cdef int _carry(self, HTTP2Stream stream) except -1:
        """Have the stream be a connection, and give it a turn."""
        cdef Connection *carrier = self.carrier
        cdef Connection *connection
        cdef H2Stream *slot = find_stream(&self.frames, stream.id)
        cdef Origin *origin = NULL
        if carrier.origin != NULL:
            origin = <Origin *> malloc(sizeof(Origin))
            if origin == NULL:
                raise MemoryError()
            origin[0] = carrier.origin[0]
        connection = stream.become_connection()
        connection.origin = origin
        connection.listener = carrier.listener
        connection.is_trusted = carrier.is_trusted
        connection.family = carrier.family
        connection.port = carrier.port
        memcpy(connection.address, carrier.address, 16)
        connection.since_ns = self._now_ns
        stream.is_secure = carrier.channel != NULL
        slot.owner = <void *> <PyObject *> stream
        carrier.requests += 1
        self._has_asked = True
        self.carried += 1
        self.reactor.carried += 1
        if self._may_begin():
            return self._let_begin(stream)
        self._waiting.append(stream)
        return 0

    cdef bint _may_begin(self) noexcept:
        """Whether another request may have its first turn."""
        if self.reactor.capacity:
            # However many run, others find room.
            return self._begun < max(self.reactor.capacity // 2, 1)
        # Each turn is a call of the application: one for each client, and not a hundred for one.
        return not self._has_next

    cdef int _let_begin(self, HTTP2Stream stream) except -1:
        self._has_next = True
        self._begun += 1
        stream.is_let = True
        return self.reactor.go_on_later(stream.connection)

    cdef int begin_next(self) except -1:
        """A request has its turn, or has ended: the next one is to have one."""
        cdef HTTP2Stream stream
        self._has_next = False
        while self._waiting and self._may_begin():
            stream = self._waiting.pop(0)
            if stream.connection != NULL:
                self._let_begin(stream)
        return 0

    cdef int _take_trailers(self, H2Event *event, bint is_over_limit) except -1:
        """They are judged, and nobody gets them."""
        cdef FieldLine *line
        cdef uint32_t at
        cdef const char *wrong = NULL
        cdef HTTP2Stream stream = None
        if event.owner != NULL:
            stream = <HTTP2Stream> <PyObject *> event.owner
        if stream is not None and stream.is_tunnel:
            wrong = b"a WebSocket has no trailers"
        elif is_over_limit:
            wrong = b"trailers are larger than the limits of a head allow"
        for at in range(fields.count):
            line = &fields.lines[at]
            if wrong == NULL:
                wrong = wrong_in_trailer(
                    Span(fields.text + line.name, line.name_length), Span(fields.text + line.value, line.value_length)
                )
        if stream is not None:
            if wrong == NULL:
                stream.end_content()
            else:
                stream.lose()
            self._tell(stream)
        return self._refuse(event.stream, PROTOCOL_ERROR, wrong) if wrong != NULL else 0

    cdef int _refuse(self, uint32_t id, int code, const char *why) except -1:
        """Reset a stream of which the application sees nothing; RFC 9113 §8.1.1."""
        self.reactor.log.warning(
            "refused a request from %s over HTTP/2: %s (RFC 9113 section 8)", peer_of(self.carrier), (<bytes> why).decode()
        )
        self.reactor.slot.cells[<int> Cell.REFUSED] += 1
        earn_credit(&self.frames, -OWN_RESET_COST)
        return write_reset(&self.frames, id, code, &self.out)

    cdef int _fail(self, int code, str why) except -1:
        """Say GOAWAY, and close; RFC 9113 §5.4.1."""
        self.reactor.log.warning(
            "the HTTP/2 connection of %s is closed with %s: %s", peer_of(self.carrier), _ErrorCode(code).name, why
        )
        self.reactor.slot.cells[<int> Cell.REFUSED] += 1
        write_goaway(&self.frames, code, &self.out)
        self._is_ending = True
        return self._lose_streams()

    cdef int _lose_streams(self) except -1:
        cdef HTTP2Stream stream
        for stream in self._streams():
            self._lose(stream)
        for stream in self._blocked:
            stream.is_blocked = False
        self._blocked = []
        return 0

    # ---- what is given ----

    cdef int _wake_blocked(self) except -1:
        """Give those a turn that may give more."""
        cdef HTTP2Stream stream
        cdef H2Stream *slot
        cdef list still = []
        if self.pending() >= OUT_LIMIT:
            return 0
        for stream in self._blocked:
            slot = find_stream(&self.frames, stream.id) if not stream.is_lost else NULL
            if slot != NULL and stream.awaited != 0 and self.room_on(slot, QUANTUM) == 0:
                if not self.has_ended:
                    still.append(stream)
                    continue
                # Nobody is there any more who could open its window.
                stream.lose()
            stream.is_blocked = False
            stream.quantum = QUANTUM
            if stream.connection != NULL:
                self.reactor.go_on_later(stream.connection)
            stream.ring()
        self._blocked = still
        return 0

    cdef int64_t room_on(self, const H2Stream *slot, int64_t wanted) except -1:
        """How many of `wanted` bytes of content a stream may be given.

        What little is left of a window waits a moment for more. Else, once that was used up, each block would be as
        small as what a client returns of the one before; RFC 1122 §4.2.3.4 knows this of TCP.
        """
        cdef int64_t room = sendable(&self.frames, slot)
        cdef int64_t now_ns
        if room >= SMALL or room >= wanted:
            return room
        if slot.send_window <= room and self.frames.peer.initial_window < 2 * SMALL:
            return room             # there never is more
        if room == 0:
            return 0
        now_ns = pyserver_now_ns()
        if self._held_until_ns == 0:
            self._held_until_ns = now_ns + HELD_NS
        if now_ns >= self._held_until_ns:
            return room
        self.reactor.flush_later(self, self._held_until_ns)
        return 0

    # ---- how long ----

    cdef int _await(self) except -1:
        """Decide what the connection waits for, and watch for it."""
        cdef int interest = READABLE if self.pending() <= OUT_CEILING else 0
        if self.pending():
            interest |= WRITABLE
            if self.carrier.waits_for != AWAIT_WRITE or self._has_given:
                self.carrier.unsent = pyserver_unsent(self.carrier.source.fd)
                self.reactor.wait_for(self.carrier, AWAIT_WRITE, self._now_ns)
        elif self.leaving == WARNED:
            if self.carrier.waits_for != AWAIT_NEXT_REQUEST:
                enlist_until(
                    self.reactor.lists, self.carrier, AWAIT_NEXT_REQUEST, self._now_ns + self.reactor.idle_grace_ns
                )
        elif not self.frames.has_settings or self.frames.block_stream or (
            self._kept_length > 3 and self._kept[3] != DATA
        ):
            # Its time runs from its first byte, however many follow.
            if self.carrier.waits_for != AWAIT_HEAD:
                self.reactor.wait_for(self.carrier, AWAIT_HEAD, self._now_ns)
        elif self.carried or self._rests:
            self._wait_for(AWAIT_PING)
        else:
            self._wait_for(AWAIT_NEXT_REQUEST if self.carrier.requests else AWAIT_FIRST_BYTE)
        self._has_heard = self._has_given = self._has_asked = False
        return self.reactor.watch_connection(self.carrier, interest)

    cdef int _wait_for(self, int reason) except -1:
        cdef int now = self.carrier.waits_for
        # Frames that ask for nothing show that somebody is there, and prolong nothing else.
        cdef bint begins_anew = self._has_heard if reason == AWAIT_PING else self._has_asked
        if reason != AWAIT_PING and now == AWAIT_HEAD and self._idle_until_ns and not self._has_asked:
            # Only the rest of a frame was waited for, which asks for nothing either.
            enlist_until(self.reactor.lists, self.carrier, reason, self._idle_until_ns)
            return 0
        if begins_anew or (now != reason and not (now == AWAIT_PONG and reason == AWAIT_PING)):
            self.reactor.wait_for(self.carrier, reason, self._now_ns)
            self.carrier.unsent = pyserver_unsent(self.carrier.source.fd)
            self._idle_until_ns = self.carrier.deadline_ns if reason != AWAIT_PING else 0
        return 0

    cdef int expire(self, int reason, int64_t now_ns) except -1:
        cdef int unsent
        self._now_ns = now_ns
        if reason == AWAIT_WRITE or (reason == AWAIT_NEXT_REQUEST and self.leaving == STAYS):
            # A client may be taking what the system has for it, and has no reason to ask for more.
            unsent = pyserver_unsent(self.carrier.source.fd)
            if 0 <= unsent < self.carrier.unsent:
                self.carrier.unsent = unsent
                return self.reactor.wait_for(self.carrier, reason, now_ns)
        if reason == AWAIT_WRITE:
            self.reactor.log.info("%s took nothing of what it asked for in write_timeout: closed", peer_of(self.carrier))
            self.carrier.is_gone = True
            return self.reactor.close(self.carrier)
        if reason == AWAIT_PING:
            self._ping()
            self.reactor.wait_for(self.carrier, AWAIT_PONG, now_ns)
            return self.mark()
        if reason == AWAIT_PONG:
            self.reactor.log.info("%s does not answer a PING of HTTP/2: closed", peer_of(self.carrier))
            return self.reactor.close(self.carrier)
        if reason == AWAIT_HEAD:
            self._fail(ENHANCE_YOUR_CALM, "a request head, or what comes before the first, has not come in time")
        elif self.leaving == WARNED:
            delist(self.reactor.lists, self.carrier)
            self._leave()
        else:
            # Nobody has asked for anything.
            write_goaway(&self.frames, NO_ERROR, &self.out)
            self._is_ending = True
        return self.flush()

    cdef int _ping(self) except -1:
        write_frame_head(&self.out, 8, PING, 0, 0)
        return append(&self.out, OUR_PING, 8)

    cdef int warn(self, int64_t now_ns) except -1:
        """RFC 9113 §6.8: what is under way when the client hears of it is still served."""
        if self.leaving != STAYS or self._is_ending:
            return 0
        self._now_ns = now_ns
        self.leaving = WARNED
        write_goaway_warning(&self.frames, &self.out)
        self._ping()
        delist(self.reactor.lists, self.carrier)
        return self.flush()

    cdef int _leave(self) except -1:
        """It has heard, or has had the time to."""
        self.leaving = LEAVES
        self._has_heard = True
        write_goaway(&self.frames, NO_ERROR, &self.out)
        return 0

    cdef int _end(self) except -1:
        """All is said: the connection is closed by who has its next turn."""
        cdef Connection *carrier = self.carrier
        delist(self.reactor.lists, carrier)
        # A client that takes what was said returns its room, and would be reset for that before it has read the end.
        carrier.closes = carrier.lingers = True
        self._lose_streams()
        self.carrier = NULL
        self.reactor.end_session(carrier)
        return self.reactor.go_on_later(carrier)

    cdef int note_closed(self) except -1:
        self.carrier.is_gone = True
        self._lose_streams()
        self.carrier = NULL
        self._is_ending = True
        self._sent = self.out.used
        return 0


cdef int put_without_upgrade(Out *out, const Head *head, const unsigned char *base) except -1:
    """Put the text of a request, but for the fields that have asked for HTTP/2: they mean nothing there."""
    cdef const Field *field
    cdef uint32_t at
    append(out, base + head.method, <Py_ssize_t> (head.target + head.target_length - head.method))
    append(out, b" HTTP/1.1\r\n", 11)
    for at in range(head.count):
        field = &head.fields[at]
        if base[field.name:field.name + field.name_length].lower() in (b"connection", b"upgrade", b"http2-settings"):
            continue
        append(out, base + field.name, field.name_length)
        append(out, b": ", 2)
        append(out, base + field.value, <Py_ssize_t> field.value_length)
        append(out, b"\r\n", 2)
    return append(out, b"\r\n", 2)


cdef bytes settings_in(const Head *head, const unsigned char *base):
    """What HTTP2-Settings says in a request that asks for an upgrade to h2c; None where it does not. RFC 7540 §3.2."""
    cdef bint asks = False, says_upgrade = False, says_settings = False
    cdef list settings = []
    cdef uint32_t at
    for at in range(head.count):
        name = base[head.fields[at].name:head.fields[at].name + head.fields[at].name_length].lower()
        if name not in (b"upgrade", b"connection", b"http2-settings"):
            continue
        value = base[head.fields[at].value:head.fields[at].value + head.fields[at].value_length]
        members = [member.strip(b" \t").lower() for member in value.split(b",")]
        if name == b"upgrade":
            asks = asks or b"h2c" in members
        elif name == b"connection":
            says_upgrade = says_upgrade or b"upgrade" in members
            says_settings = says_settings or b"http2-settings" in members
        else:
            settings.append(value)
    if not (asks and says_upgrade and says_settings and len(settings) == 1):
        return None
    try:
        decoded = _base64.b64decode(settings[0] + b"=" * (-len(settings[0]) % 4), b"-_", validate=True)
    except ValueError:
        return None
    return decoded if len(decoded) % 6 == 0 else None


@cython.no_gc_clear
cdef class HTTP2Stream(CarriedStream):
    """One stream."""

    def __cinit__(self, HTTP2Session session not None):
        self.session = self.http2 = session
        self.minor = HTTP_2
        self.quantum = QUANTUM
        self.bell = -1
        session.alive += 1

    def __dealloc__(self):
        self.http2.alive -= 1

    cdef bint has_room(self) except -1:
        if find_stream(&self.http2.frames, self.id) == NULL:
            self.lose()
            return False
        return self.http2.pending() < OUT_LIMIT or self.http2.send_some()

    cdef int begin_fields(self, int status) except -1:
        block.used = 0
        begin_block(&self.http2.encoder, &block)
        return encode_status(&self.http2.encoder, &block, status) if status else 0

    cdef int put_field(self, Span name, Span value) except -1:
        return encode_field(&self.http2.encoder, &block, name, value, False)

    cdef int end_fields(self, bint ends) except -1:
        cdef H2Stream *slot = find_stream(&self.http2.frames, self.id)
        if slot == NULL:
            raise ValueError("a response is given for a stream that is closed")
        return write_block(&self.http2.frames, slot, Span(block.data, block.used), ends, &self.http2.out)

    cdef Py_ssize_t put_data(self, const unsigned char *data, Py_ssize_t length, bint ends) except -1:
        cdef HTTP2Session http2 = self.http2
        cdef H2Stream *slot = find_stream(&http2.frames, self.id)
        cdef Py_ssize_t some, taken = 0
        if slot == NULL:
            return length
        while True:
            if http2.pending() >= OUT_LIMIT and not http2.send_some():
                break
            if self.quantum <= 0 and http2._blocked:
                break
            some = <Py_ssize_t> min(<int64_t> (length - taken), http2.room_on(slot, length - taken))
            if some == 0 and length:
                break
            write_data_head(&http2.frames, slot, <uint32_t> some, ends and taken + some == length, &http2.out)
            append(&http2.out, data + taken, some)
            http2._held_until_ns = 0
            http2.given += <uint64_t> some
            taken += some
            self.quantum -= some
            if taken == length:
                break
        return taken

    cdef int put_reset(self, bint is_complete) except -1:
        """RFC 9113 §8.1: a request of which the rest is not wanted is reset without an error."""
        cdef H2Stream *slot = find_stream(&self.http2.frames, self.id)
        if slot == NULL or (is_complete and slot.expected >= 0 and slot.received == <uint64_t> slot.expected):
            return 0                # its end is to come, and costs nobody anything
        if is_complete and slot.state == HALF_CLOSED_LOCAL:
            return self.http2.let_end(slot)
        return write_reset(
            &self.http2.frames, self.id, NO_ERROR if is_complete else INTERNAL_ERROR, &self.http2.out
        )

    cdef int end(self, Connection *connection) except -1:
        cdef H2Stream *slot
        CarriedStream.end(self, connection)
        slot = find_stream(&self.http2.frames, self.id)
        if slot != NULL and slot.owner == <void *> <PyObject *> self:
            slot.owner = NULL
        if self.is_blocked:
            self.is_blocked = False
            self.http2._blocked.remove(self)
        self.http2._has_asked = True
        self.http2._begun -= self.is_let
        if self.is_let and (not self.has_begun or self.http2._waiting):
            self.has_begun = True
            self.http2.begin_next()
        self.http2.carried -= 1
        self.http2.reactor.carried -= 1
        return self.http2.mark()

    cdef bint has_ended(self) noexcept:
        return CarriedStream.has_ended(self) or (self.http2.has_ended and self._input.used == 0)

    cdef bint is_excused(self) noexcept:
        # Whether the client takes anything at all is judged by what the socket takes.
        cdef H2Stream *slot = find_stream(&self.http2.frames, self.id)
        if slot == NULL:
            return False
        if self.http2.pending():
            return True
        if slot.send_window <= 0 or self.http2.given == self.given_then:
            return False
        self.given_then = self.http2.given
        return True

    cdef Py_ssize_t receive(self, Connection *connection, unsigned char *into, Py_ssize_t room) except? -2:
        if not self.has_begun:
            self.has_begun = True
            self.http2.begin_next()
        if self.http2.has_ended and not self.is_lost and self._input.used == 0:
            return 0
        return CarriedStream.receive(self, connection, into, room)

    cdef int note_given(self) except -1:
        self.ring()
        return self.http2.mark()

    cdef int note_blocked(self) except -1:
        if not self.is_blocked:
            self.is_blocked = True
            self.given_then = self.http2.given
            self.http2._blocked.append(self)
        # Whose turn it is then is decided when all is sent that can be.
        return self.http2.mark()

    cdef int note_received(self, Py_ssize_t content) except -1:
        cdef Py_ssize_t before = self.http2.out.used
        if content:
            return_window(&self.http2.frames, self.id, <uint32_t> content, &self.http2.out)
            if self.http2.out.used != before:
                self.http2.mark()
        return 0

    cdef dict variables(self):
        cdef Connection *carrier = self.http2.carrier
        return (<Channel> carrier.channel).variables() if carrier != NULL and carrier.channel != NULL else {}

    cdef dict extension(self):
        cdef Connection *carrier = self.http2.carrier
        return (<Channel> carrier.channel).extension() if carrier != NULL and carrier.channel != NULL else {}

    # ---- an application that waits for room in a thread ----

    cdef int ring(self) except -1:
        """Wake the thread that waits for room, if one does."""
        if self.bell >= 0:
            write(self.bell, b"\0", 1)
        return 0

    cdef bint wait_for_room(self, Connection *connection, int wait_ms) except -1:
        cdef HTTP2Session http2 = self.http2
        cdef pollfd watched[2]
        cdef int ends[2]
        cdef int found
        cdef bint is_one_of_many = http2.reactor.leadership is not None
        http2.flush()
        if self.is_lost or not self.is_blocked:
            return True
        if http2._held_until_ns:
            wait_ms = min(wait_ms, HELD_MS)
        watched[0] = pollfd(http2.carrier.source.fd, POLLIN | (POLLOUT if http2.pending() else 0), 0)
        if is_one_of_many:
            # The thread that leads may receive what makes room.
            if pipe(ends) < 0:
                # Descriptors have run out, perhaps: look now and then.
                is_one_of_many = False
                wait_ms = min(wait_ms, HELD_MS)
            else:
                self.bell = ends[1]
                watched[1] = pollfd(ends[0], POLLIN, 0)
        http2.reactor.unlock()
        with nogil:
            found = poll(watched, 2 if is_one_of_many else 1, wait_ms)
        http2.reactor.lock()
        if is_one_of_many:
            self.bell = -1
            close_descriptor(ends[0])
            close_descriptor(ends[1])
        if watched[0].revents and http2.carrier != NULL:
            http2.carrier.is_readable = True
            http2.tend(READABLE | WRITABLE, pyserver_now_ns())
        return found > 0
