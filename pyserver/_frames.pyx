"""HTTP/2 as frames and streams: what a client may send, when, and how much of it. No sockets, no clock, no fields.

The side of a server that pushes nothing, RFC 9113 §3.4 to §6. What breaks a rule is either an error of the connection,
after which nothing is taken, or one of a stream, which is reset. A peer has a credit for frames that serve no request;
whoever spends it all is told ENHANCE_YOUR_CALM (§10.5).
"""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset

from pyserver._http cimport COMPLETE, NEED_MORE, REFUSED, Outcome, Out, Span, append

cdef enum:
    FRAME_HEAD = 9                      # bytes, RFC 9113 §4.1
    PREFACE_LENGTH = 24                 # §3.4
    LARGEST_ID = 0x7FFFFFFF
    LARGEST_WINDOW = 0x7FFFFFFF         # §6.9.1
    DEFAULT_WINDOW = 65535              # §6.9.2
    SMALLEST_FRAME_LIMIT = 16384        # §4.2
    LARGEST_FRAME_LIMIT = 16777215
    FIRST_SLOTS = 8

    # What a frame costs, where it does not serve a request: by the work it makes, and what it makes us send.
    RESET_COST = 5
    STREAM_ERROR_COST = 5
    SETTINGS_COST = 10
    PING_COST = 2
    EMPTY_COST = 5
    IDLE_FRAME_COST = 1                 # nothing comes of it, or little of what one before could have brought
    SMALL_DATA = 256                    # bytes of DATA that are worth a frame whatever has made it so short
    SMALL_FRAGMENT = 64                 # bytes of a field block: a CONTINUATION of fewer has its price
    CONTINUATIONS = 128                 # … and so many a block may have beside those that its length takes
    SMALL_UPDATE = 1024                 # bytes: a WINDOW_UPDATE by less has its price
    FINISHED_CREDIT = 5                 # what a request gives back that came to its end
    SENT_CREDIT = 2                     # … and DATA sent, which a peer may answer with two WINDOW_UPDATEs

    # How a stream was closed, above half its id.
    HALF_ID = 0x3FFFFFFF
    ENDED = 0x40000000
    RESET_BY_US = 0x80000000
    RESET_BY_PEER = 0xC0000000

cdef const char *PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


# ---- bytes of frames ----

cdef inline uint32_t read_32(const unsigned char *at) noexcept nogil:
    return <uint32_t> at[0] << 24 | <uint32_t> at[1] << 16 | <uint32_t> at[2] << 8 | at[3]


cdef Outcome read_preface(const unsigned char *base, Py_ssize_t length) noexcept nogil:
    """Whether the bytes begin with the client's preface, RFC 9113 §3.4; it is refused at the first other byte."""
    if memcmp(base, PREFACE, <size_t> min(length, PREFACE_LENGTH)) != 0:
        return REFUSED
    return COMPLETE if length >= PREFACE_LENGTH else NEED_MORE


cdef int fault_of_head(const H2Frame *frame, uint32_t limit) noexcept nogil:
    """The ErrorCode that a frame's head asks for; all but a PRIORITY's length concerns the connection."""
    cdef uint32_t length = frame.length
    cdef int type = frame.type
    if length > limit:
        return FRAME_SIZE_ERROR     # §4.2
    if type > CONTINUATION:
        return NO_ERROR             # §5.5: what is unknown is ignored
    # §6.5, §6.7 and §6.8 are about the connection; §6.9 about either; all others about a stream.
    if type != WINDOW_UPDATE and (frame.stream == 0) != (type == SETTINGS or type == PING or type == GOAWAY):
        return PROTOCOL_ERROR
    if type == PUSH_PROMISE:
        return PROTOCOL_ERROR       # §8.4: a client cannot push
    if type == PRIORITY:
        return NO_ERROR if length == 5 else FRAME_SIZE_ERROR        # §6.3
    if type == RST_STREAM or type == WINDOW_UPDATE:
        return NO_ERROR if length == 4 else FRAME_SIZE_ERROR        # §6.4, §6.9
    if type == PING:
        return NO_ERROR if length == 8 else FRAME_SIZE_ERROR        # §6.7
    if type == GOAWAY:
        return NO_ERROR if length >= 8 else FRAME_SIZE_ERROR        # §6.8
    if type == SETTINGS:
        # §6.5: an acknowledgement is empty
        return FRAME_SIZE_ERROR if length % 6 or (frame.flags & ACK and length) else NO_ERROR
    return NO_ERROR


cdef int strip_payload(H2Frame *frame) noexcept nogil:
    """Take padding and priority off DATA and HEADERS; the ErrorCode where they leave less than nothing.

    Source: RFC 9113 §6.1 and §6.2. Priorities are deprecated (§5.3.2), so that a stream may well depend on itself.
    """
    cdef uint32_t before = 0, padding = 0
    if frame.type != DATA and frame.type != HEADERS:
        return NO_ERROR
    if frame.flags & PADDED:
        before = 1
    if frame.type == HEADERS and frame.flags & WITH_PRIORITY:
        before += 5
    if frame.length < before:
        return FRAME_SIZE_ERROR     # §4.2: too small for what has to be in it
    if frame.flags & PADDED:
        padding = frame.payload.start[0]
    if padding > frame.length - before:
        return PROTOCOL_ERROR
    frame.payload.start += before
    frame.payload.length -= <Py_ssize_t> (before + padding)
    return NO_ERROR


cdef Outcome read_frame(H2Frame *frame, const unsigned char *base, Py_ssize_t length, uint32_t limit) noexcept nogil:
    """Read the frame that `base` begins with, and judge what can be without knowing the connection.

    A fault of the connection in the frame's head is told without waiting for the payload. One of a stream is when the
    frame is complete, which is to be skipped then.
    """
    frame.is_stream_error = False
    if length < FRAME_HEAD:
        return NEED_MORE
    frame.length = read_32(base) >> 8
    frame.type = base[3]
    frame.flags = base[4]
    frame.stream = read_32(base + 5) & LARGEST_ID       # §4.1: the reserved bit is ignored
    frame.payload = Span(base + FRAME_HEAD, <Py_ssize_t> frame.length)
    frame.error = fault_of_head(frame, limit)
    if frame.error == FRAME_SIZE_ERROR and frame.type == PRIORITY and frame.length <= limit:
        frame.is_stream_error = True                    # §6.3
    elif frame.error != NO_ERROR:
        return REFUSED
    if length - FRAME_HEAD < <Py_ssize_t> frame.length:
        return NEED_MORE
    if frame.is_stream_error:
        return REFUSED
    frame.error = strip_payload(frame)
    if frame.type == WINDOW_UPDATE and not read_32(frame.payload.start) & LARGEST_WINDOW:
        frame.error = PROTOCOL_ERROR                    # §6.9
        frame.is_stream_error = frame.stream != 0
    return COMPLETE if frame.error == NO_ERROR else REFUSED


# ---- streams ----

cdef inline uint32_t slot_of(const H2Connection *connection, uint32_t id) noexcept nogil:
    # Ids come in order. Who chooses them to collide makes a search as long as there are streams open, no longer.
    return id >> 1 & (connection.capacity - 1)


cdef H2Stream *find_stream(const H2Connection *connection, uint32_t id) noexcept nogil:
    """The stream, or NULL while it is idle or once it is closed. Dead as soon as another opens or is closed."""
    cdef uint32_t at
    if connection.count == 0 or id == 0:
        return NULL
    at = slot_of(connection, id)
    while connection.slots[at].id:
        if connection.slots[at].id == id:
            return &connection.slots[at]
        at = (at + 1) & (connection.capacity - 1)
    return NULL


cdef H2Stream *free_slot(const H2Connection *connection, uint32_t id) noexcept nogil:
    cdef uint32_t at = slot_of(connection, id)
    while connection.slots[at].id:
        at = (at + 1) & (connection.capacity - 1)
    return &connection.slots[at]


cdef bint make_room(H2Connection *connection) noexcept nogil:
    """Have slots for one more stream, half of them free; False without memory."""
    cdef H2Stream *old = connection.slots
    cdef uint32_t slots = connection.capacity, at
    cdef uint32_t wanted = <uint32_t> max(2 * slots, FIRST_SLOTS)
    if 2 * (connection.count + 1) <= slots:
        return True
    connection.slots = <H2Stream *> calloc(wanted, sizeof(H2Stream))
    if connection.slots == NULL:
        connection.slots = old
        return False
    connection.capacity = wanted
    for at in range(slots):
        if old[at].id:
            free_slot(connection, old[at].id)[0] = old[at]
    free(old)
    return True


cdef H2Stream *add_stream(H2Connection *connection, uint32_t id, int state) noexcept nogil:
    """A stream in its first state; NULL without memory."""
    cdef H2Stream *stream
    if not make_room(connection):
        return NULL
    stream = free_slot(connection, id)
    memset(stream, 0, sizeof(H2Stream))
    stream.id = id
    stream.state = state
    stream.send_window = connection.peer.initial_window
    stream.receive_window = connection.window
    stream.expected = -1
    connection.count += 1
    return stream


cdef void remember_closed(H2Connection *connection, uint32_t id, uint32_t how) noexcept nogil:
    connection.closed[connection.closed_at] = id >> 1 | how
    connection.closed_at = (connection.closed_at + 1) % CLOSED_REMEMBERED


cdef uint32_t how_closed(const H2Connection *connection, uint32_t id) noexcept nogil:
    """How a stream came to its end; 0 where that is long ago, or where its id was passed over."""
    cdef uint32_t at
    for at in range(<uint32_t> CLOSED_REMEMBERED):
        if connection.closed[at] & HALF_ID == id >> 1 and connection.closed[at] & ~<uint32_t> HALF_ID:
            return connection.closed[at] & ~<uint32_t> HALF_ID
    return 0


cdef void drop_stream(H2Connection *connection, H2Stream *stream, uint32_t how) noexcept nogil:
    """Free the slot, and move those behind it that would not be found any more."""
    cdef uint32_t mask = connection.capacity - 1
    cdef uint32_t hole = <uint32_t> (stream - connection.slots)
    cdef uint32_t at = (hole + 1) & mask
    remember_closed(connection, stream.id, how)
    connection.count -= 1
    while connection.slots[at].id:
        if ((at - slot_of(connection, connection.slots[at].id)) & mask) >= ((at - hole) & mask):
            connection.slots[hole] = connection.slots[at]
            hole = at
        at = (at + 1) & mask
    memset(&connection.slots[hole], 0, sizeof(H2Stream))


cdef void finish_stream(H2Connection *connection, H2Stream *stream) noexcept nogil:
    drop_stream(connection, stream, ENDED)
    earn_credit(connection, FINISHED_CREDIT)


cdef void end_request(H2Connection *connection, H2Stream *stream) noexcept nogil:
    """END_STREAM came."""
    if stream.state == HALF_CLOSED_LOCAL:
        finish_stream(connection, stream)
    else:
        stream.state = HALF_CLOSED_REMOTE


cdef void end_stream(H2Connection *connection, H2Stream *stream) noexcept nogil:
    """END_STREAM is sent with a field block; write_data_head() does it by itself."""
    if stream.state == HALF_CLOSED_REMOTE:
        finish_stream(connection, stream)
    else:
        stream.state = HALF_CLOSED_LOCAL


cdef inline bint is_idle(const H2Connection *connection, uint32_t id) noexcept nogil:
    """RFC 9113 §5.1.1: ids rise, and those of ours, the even ones, are never used."""
    return id > connection.last_stream or not id & 1


cdef inline bint is_unseen(const H2Connection *connection, uint32_t id) noexcept nogil:
    """Whether nothing but HEADERS may come; RFC 9113 §6.8 has those ignored that came after the last GOAWAY."""
    return is_idle(connection, id) and id <= connection.leaves_after


cdef void earn_credit(H2Connection *connection, int32_t credit) noexcept nogil:
    """Give credit back, never beyond what a peer begins with: for a finished request, or for time that has passed."""
    connection.credit = <int32_t> min(<int64_t> connection.credit + credit, <int64_t> connection.limits.credit)


cdef int expect_content(H2Connection *connection, uint32_t id, int64_t length) noexcept nogil:
    """Say what content-length a request has; the ErrorCode to reset it with where it is complete and has another.

    Source: RFC 9113 §8.1.1.
    """
    cdef H2Stream *stream = find_stream(connection, id)
    if stream == NULL:
        return NO_ERROR
    stream.expected = length
    return PROTOCOL_ERROR if stream.state == HALF_CLOSED_REMOTE and has_wrong_length(stream, True) else NO_ERROR


cdef inline bint has_wrong_length(const H2Stream *stream, bint ends) noexcept nogil:
    if stream.expected < 0 or stream.received == <uint64_t> stream.expected:
        return False
    return ends or stream.received > <uint64_t> stream.expected


# ---- what a client sends ----

cdef void begin_connection(H2Connection *connection, const H2Limits *limits) noexcept nogil:
    """The state of a connection of which nothing was received."""
    memset(connection, 0, sizeof(H2Connection))
    connection.limits = limits[0]
    connection.limits.streams = limits.streams or 100
    connection.limits.frame = max(min(limits.frame, <uint32_t> LARGEST_FRAME_LIMIT), <uint32_t> SMALLEST_FRAME_LIMIT)
    connection.limits.window = min(limits.window or DEFAULT_WINDOW, <uint32_t> LARGEST_WINDOW)
    connection.limits.connection_window = max(
        min(limits.connection_window, <uint32_t> LARGEST_WINDOW), <uint32_t> DEFAULT_WINDOW
    )
    connection.limits.field_list = limits.field_list or 65536
    connection.limits.block = limits.block or connection.limits.field_list
    connection.limits.continuations = <uint32_t> (
        limits.continuations or (connection.limits.block >> 14) + CONTINUATIONS
    )
    connection.limits.credit = limits.credit or 1000
    connection.credit = connection.limits.credit
    connection.peer.header_table_size = connection.peer.least_table_size = 4096
    connection.peer.initial_window = DEFAULT_WINDOW
    connection.peer.max_frame = SMALLEST_FRAME_LIMIT
    connection.peer.max_field_list = <uint32_t> -1
    # §6.5.3: until ours are acknowledged the peer goes by the defaults.
    connection.max_frame = SMALLEST_FRAME_LIMIT
    connection.window = DEFAULT_WINDOW
    connection.send_window = DEFAULT_WINDOW
    connection.receive_window = DEFAULT_WINDOW
    connection.leaves_after = LARGEST_ID


cdef H2Stream *begin_upgraded(H2Connection *connection, Span settings) noexcept nogil:
    """Have the request of an upgrade be the first stream, and the settings that came with it be in force; RFC 7540 §3.2.

    Returns:
        The stream; NULL where the settings are none, or there is no memory.
    """
    cdef Py_ssize_t at
    for at in range(0, settings.length - 5, 6):
        if take_setting(
            connection, <uint32_t> settings.start[at] << 8 | settings.start[at + 1], read_32(settings.start + at + 2)
        ) != NO_ERROR:
            return NULL
    if settings.length % 6:
        return NULL
    connection.last_stream = 1
    return add_stream(connection, 1, HALF_CLOSED_REMOTE)


cdef void free_connection(H2Connection *connection) noexcept nogil:
    """Give back all memory; the connection can be begun again."""
    free(connection.slots)
    free(connection.block)
    connection.slots = NULL
    connection.block = NULL
    connection.capacity = connection.count = 0


cdef Outcome fail(H2Connection *connection, H2Event *event, int error) noexcept nogil:
    connection.failure = error
    event.kind = FAILED
    event.error = error
    return REFUSED


cdef Outcome receive_frame(
    H2Connection *connection, const unsigned char *base, Py_ssize_t length, Py_ssize_t *consumed, H2Event *event
) noexcept nogil:
    """Take the preface or one frame.

    Returns:
        NEED_MORE; COMPLETE with what came of the frame, `consumed` bytes long; REFUSED when the connection has failed.
    """
    cdef H2Frame frame
    cdef Outcome outcome
    cdef int error
    consumed[0] = 0
    memset(event, 0, sizeof(H2Event))
    if connection.failure != NO_ERROR:
        return fail(connection, event, connection.failure)
    if connection.block != NULL and connection.block_stream == 0:
        drop_block(connection)
    if not connection.has_preface:
        return take_preface(connection, base, length, consumed, event)
    outcome = read_frame(&frame, base, length, connection.max_frame)
    if outcome == NEED_MORE:
        return NEED_MORE
    event.stream = frame.stream
    error = fault_of_order(connection, &frame)
    if error == NO_ERROR and outcome == COMPLETE:
        error = take_frame(connection, &frame, event)
    elif error == NO_ERROR:
        error = take_stream_error(connection, &frame, event) if frame.is_stream_error else frame.error
    if error == NO_ERROR and connection.credit < 0:
        error = ENHANCE_YOUR_CALM
    if error != NO_ERROR:
        return fail(connection, event, error)
    consumed[0] = FRAME_HEAD + <Py_ssize_t> frame.length
    return COMPLETE


cdef Outcome take_preface(
    H2Connection *connection, const unsigned char *base, Py_ssize_t length, Py_ssize_t *consumed, H2Event *event
) noexcept nogil:
    cdef Outcome outcome = read_preface(base, length)
    if outcome == REFUSED:
        return fail(connection, event, PROTOCOL_ERROR)
    if outcome == COMPLETE:
        connection.has_preface = True
        consumed[0] = PREFACE_LENGTH
    return outcome


cdef int fault_of_order(H2Connection *connection, const H2Frame *frame) noexcept nogil:
    """The ErrorCode where this frame may not come now."""
    if not connection.has_settings and (frame.type != SETTINGS or frame.flags & ACK):
        return PROTOCOL_ERROR       # §3.4
    # §4.3 and §6.10: from HEADERS to END_HEADERS there is nothing else, not even what is unknown (§5.5)
    if (frame.type == CONTINUATION) != (connection.block_stream != 0):
        return PROTOCOL_ERROR
    if connection.block_stream and frame.stream != connection.block_stream:
        return PROTOCOL_ERROR
    return NO_ERROR


cdef int take_stream_error(H2Connection *connection, const H2Frame *frame, H2Event *event) noexcept nogil:
    if is_idle(connection, frame.stream):
        return frame.error          # §6.4: RST_STREAM is not sent for a stream that is idle
    fail_stream(connection, find_stream(connection, frame.stream), event, frame.error)
    return NO_ERROR


cdef int take_frame(H2Connection *connection, const H2Frame *frame, H2Event *event) noexcept nogil:
    """What comes of a frame that is well-formed; the ErrorCode that the connection fails with."""
    if frame.type == DATA:
        return take_data(connection, frame, event)
    if frame.type == HEADERS or frame.type == CONTINUATION:
        return take_fragment(connection, frame, event)
    if frame.type == WINDOW_UPDATE:
        return take_window_update(connection, frame, event)
    if frame.type == RST_STREAM:
        return take_reset(connection, frame, event)
    if frame.type == SETTINGS:
        return take_settings_ack(connection, event) if frame.flags & ACK else take_settings(connection, frame, event)
    if frame.type == PING:
        event.kind = PONGED if frame.flags & ACK else PINGED
        event.payload = frame.payload
        connection.credit -= PING_COST
    elif frame.type == GOAWAY:
        event.kind = PEER_LEAVES
        event.last = read_32(frame.payload.start) & LARGEST_ID
        event.number = read_32(frame.payload.start + 4)
        connection.credit -= PING_COST
    else:
        connection.credit -= IDLE_FRAME_COST
    return NO_ERROR


cdef void fail_stream(H2Connection *connection, H2Stream *stream, H2Event *event, int error) noexcept nogil:
    """The stream, which may be closed already, is to be reset; that it makes us send something has its price."""
    event.error = error
    connection.credit -= STREAM_ERROR_COST
    if event.kind == IGNORED:
        event.kind = STREAM_FAILED
    if stream != NULL:
        event.owner = stream.owner
        drop_stream(connection, stream, RESET_BY_US)


cdef int take_on_closed(H2Connection *connection, H2Event *event, int otherwise) noexcept nogil:
    """DATA or a field block on a closed stream: the ErrorCode that the connection fails with.

    RFC 9113 §5.1: after a reset of ours it may have been under way; after one of the peer's it is an error of the
    stream, and after END_STREAM one of the connection.
    """
    cdef uint32_t how = how_closed(connection, event.stream)
    if how == RESET_BY_US or event.stream > connection.leaves_after:
        return NO_ERROR
    if how == RESET_BY_PEER:
        fail_stream(connection, NULL, event, STREAM_CLOSED)
        return NO_ERROR
    return STREAM_CLOSED if how == ENDED else otherwise


cdef int take_data(H2Connection *connection, const H2Frame *frame, H2Event *event) noexcept nogil:
    cdef H2Stream *stream = find_stream(connection, frame.stream)
    cdef bint ends = frame.flags & END_STREAM
    cdef int error = NO_ERROR
    if is_unseen(connection, frame.stream):
        return PROTOCOL_ERROR       # §5.1
    if connection.receive_window < <int64_t> frame.length:
        return FLOW_CONTROL_ERROR   # §6.9.1
    connection.receive_window -= frame.length
    if stream == NULL:
        # §5.1 and §6.9: it counts all the same, and nobody will consume it
        connection.unreturned += frame.length
        if frame.payload.length == 0:
            # Others are free: however small they are, there may be a window full of them under way.
            connection.credit -= EMPTY_COST
        return take_on_closed(connection, event, STREAM_CLOSED)
    stream.received += <uint64_t> frame.payload.length
    if stream.state == HALF_CLOSED_REMOTE:
        error = STREAM_CLOSED       # §5.1
    elif stream.receive_window < <int64_t> frame.length:
        error = FLOW_CONTROL_ERROR
    elif has_wrong_length(stream, ends):
        error = PROTOCOL_ERROR      # §8.1.1
    if error != NO_ERROR:
        connection.unreturned += frame.length
        fail_stream(connection, stream, event, error)
        return NO_ERROR
    accept_data(connection, stream, frame, event)
    return NO_ERROR


cdef void accept_data(
    H2Connection *connection, H2Stream *stream, const H2Frame *frame, H2Event *event
) noexcept nogil:
    cdef uint32_t padding = frame.length - <uint32_t> frame.payload.length
    stream.receive_window -= frame.length
    stream.unreturned += padding
    connection.unreturned += padding
    event.kind = CONTENT
    event.payload = frame.payload
    event.ends = frame.flags & END_STREAM
    event.owner = stream.owner
    if event.ends:
        end_request(connection, stream)
    elif frame.payload.length == 0:
        connection.credit -= EMPTY_COST


cdef int take_reset(H2Connection *connection, const H2Frame *frame, H2Event *event) noexcept nogil:
    cdef H2Stream *stream = find_stream(connection, frame.stream)
    if stream == NULL:
        connection.credit -= IDLE_FRAME_COST
        # §5.1: on a closed stream it may have been under way
        return PROTOCOL_ERROR if is_unseen(connection, frame.stream) else NO_ERROR
    connection.credit -= RESET_COST
    event.kind = STREAM_RESET
    event.number = read_32(frame.payload.start)
    event.owner = stream.owner
    drop_stream(connection, stream, RESET_BY_PEER)
    return NO_ERROR


cdef int take_window_update(H2Connection *connection, const H2Frame *frame, H2Event *event) noexcept nogil:
    cdef uint32_t increment = read_32(frame.payload.start) & LARGEST_WINDOW
    cdef H2Stream *stream = NULL
    cdef int64_t *window = &connection.send_window
    if increment < SMALL_UPDATE:
        connection.credit -= IDLE_FRAME_COST
    if frame.stream:
        stream = find_stream(connection, frame.stream)
        if stream == NULL:
            connection.credit -= IDLE_FRAME_COST
            return PROTOCOL_ERROR if is_unseen(connection, frame.stream) else NO_ERROR
        window = &stream.send_window
        event.owner = stream.owner
    if window[0] + increment > LARGEST_WINDOW:
        # §6.9.1
        if stream == NULL:
            return FLOW_CONTROL_ERROR
        fail_stream(connection, stream, event, FLOW_CONTROL_ERROR)
        return NO_ERROR
    window[0] += increment
    event.kind = WINDOW_OPENED
    event.number = increment
    return NO_ERROR


# ---- field blocks ----

cdef void drop_block(H2Connection *connection) noexcept nogil:
    free(connection.block)
    connection.block = NULL
    connection.block_length = 0


cdef int take_fragment(H2Connection *connection, const H2Frame *frame, H2Event *event) noexcept nogil:
    """HEADERS or CONTINUATION. A block in one frame stays where it is; what comes in several is gathered."""
    cdef Span block = frame.payload
    if frame.type == HEADERS:
        connection.block_ends = frame.flags & END_STREAM
        connection.continuations = 0
    else:
        connection.continuations += 1
        if block.length == 0:
            connection.credit -= EMPTY_COST
        elif block.length < SMALL_FRAGMENT:
            connection.credit -= IDLE_FRAME_COST
        if connection.continuations > connection.limits.continuations:
            return ENHANCE_YOUR_CALM
    if <uint64_t> connection.block_length + <uint64_t> block.length > connection.limits.block:
        # Without decoding it the table would be another than the peer's, so there is no going on (§4.3).
        return ENHANCE_YOUR_CALM
    if frame.type == HEADERS and frame.flags & END_HEADERS:
        return take_block(connection, block, event)
    connection.block_stream = frame.stream
    if not keep_fragment(connection, block):
        return INTERNAL_ERROR
    if not frame.flags & END_HEADERS:
        return NO_ERROR
    connection.block_stream = 0
    return take_block(connection, Span(connection.block, <Py_ssize_t> connection.block_length), event)


cdef bint keep_fragment(H2Connection *connection, Span fragment) noexcept nogil:
    """Add to the block that is under way; False without memory."""
    cdef size_t length = connection.block_length + <size_t> fragment.length
    cdef unsigned char *block
    if fragment.length == 0:
        return True
    block = <unsigned char *> realloc(connection.block, length)
    if block == NULL:
        return False
    memcpy(block + connection.block_length, fragment.start, <size_t> fragment.length)
    connection.block = block
    connection.block_length = <uint32_t> length
    return True


cdef int take_block(H2Connection *connection, Span block, H2Event *event) noexcept nogil:
    """A complete field block on `event.stream`; the ErrorCode that the connection fails with."""
    cdef H2Stream *stream = find_stream(connection, event.stream)
    event.kind = DISCARDED
    event.payload = block
    event.ends = connection.block_ends
    if stream != NULL:
        take_trailers(connection, stream, event)
        return NO_ERROR
    if not event.stream & 1:
        return PROTOCOL_ERROR       # §5.1.1
    if event.stream > connection.leaves_after:
        connection.credit -= IDLE_FRAME_COST
        return NO_ERROR             # §6.8
    if event.stream <= connection.last_stream:
        connection.credit -= IDLE_FRAME_COST
        # §5.1.1: what is lower than the last one is closed, whether it was used or not
        return take_on_closed(connection, event, PROTOCOL_ERROR)
    open_stream(connection, event)
    return NO_ERROR


cdef void open_stream(H2Connection *connection, H2Event *event) noexcept nogil:
    connection.last_stream = event.stream
    # §5.1.2; without memory as well the client may try again.
    if connection.count >= connection.limits.streams or add_stream(
        connection, event.stream, HALF_CLOSED_REMOTE if event.ends else OPEN
    ) == NULL:
        remember_closed(connection, event.stream, RESET_BY_US)
        fail_stream(connection, NULL, event, REFUSED_STREAM)
        return
    event.kind = REQUEST


cdef void take_trailers(H2Connection *connection, H2Stream *stream, H2Event *event) noexcept nogil:
    """A field block on a stream that has had one."""
    if stream.state == HALF_CLOSED_REMOTE:
        fail_stream(connection, stream, event, STREAM_CLOSED)       # §5.1
    elif not event.ends or has_wrong_length(stream, True):
        fail_stream(connection, stream, event, PROTOCOL_ERROR)      # §8.1, §8.1.1
    else:
        event.kind = TRAILERS
        event.owner = stream.owner
        end_request(connection, stream)


# ---- settings ----

cdef int take_settings(H2Connection *connection, const H2Frame *frame, H2Event *event) noexcept nogil:
    cdef const unsigned char *at = frame.payload.start
    cdef const unsigned char *end = at + frame.payload.length
    cdef int64_t before = connection.peer.initial_window
    cdef int error
    connection.peer.least_table_size = connection.peer.header_table_size
    while at < end:
        error = take_setting(connection, <uint32_t> at[0] << 8 | at[1], read_32(at + 2))
        if error != NO_ERROR:
            return error
        at += 6
    if connection.has_settings:
        connection.credit -= SETTINGS_COST
    connection.has_settings = True
    event.kind = SETTINGS_CHANGED
    # Once for the frame: a frame of thousands would else have every stream changed as often.
    return move_send_windows(connection, connection.peer.initial_window - before)


cdef int take_setting(H2Connection *connection, uint32_t name, uint32_t value) noexcept nogil:
    """RFC 9113 §6.5.2; a name that is unknown is ignored."""
    cdef H2Peer *peer = &connection.peer
    if name == HEADER_TABLE_SIZE:
        peer.header_table_size = value
        peer.least_table_size = min(peer.least_table_size, value)
    elif name == ENABLE_PUSH:
        return PROTOCOL_ERROR if value > 1 else NO_ERROR
    elif name == INITIAL_WINDOW_SIZE:
        if value > LARGEST_WINDOW:
            return FLOW_CONTROL_ERROR
        peer.initial_window = value
    elif name == MAX_FRAME_SIZE:
        if not SMALLEST_FRAME_LIMIT <= value <= LARGEST_FRAME_LIMIT:
            return PROTOCOL_ERROR
        peer.max_frame = value
    elif name == MAX_HEADER_LIST_SIZE:
        peer.max_field_list = value
    elif name == ENABLE_CONNECT_PROTOCOL:
        # RFC 8441 §3: it is not taken back
        if value > 1 or (peer.enables_connect and not value):
            return PROTOCOL_ERROR
        peer.enables_connect = value == 1
    elif name == NO_RFC7540_PRIORITIES:
        # RFC 9218 §2.1: it does not change after the first SETTINGS
        if value > 1 or (connection.has_settings and peer.no_priorities != (value == 1)):
            return PROTOCOL_ERROR
        peer.no_priorities = value == 1
    return NO_ERROR


cdef int move_send_windows(H2Connection *connection, int64_t change) noexcept nogil:
    """RFC 9113 §6.9.2: what a stream may send changes by as much, below zero or not."""
    cdef uint32_t at
    cdef H2Stream *stream
    if change == 0:
        return NO_ERROR
    for at in range(connection.capacity):
        stream = &connection.slots[at]
        if stream.id:
            stream.send_window += change
            if stream.send_window > LARGEST_WINDOW:
                return FLOW_CONTROL_ERROR
    return NO_ERROR


cdef int take_settings_ack(H2Connection *connection, H2Event *event) noexcept nogil:
    """Ours are in force from here on; RFC 9113 §6.5.3."""
    cdef int64_t change = <int64_t> connection.limits.window - connection.window
    cdef uint32_t at
    if connection.unacknowledged == 0:
        return PROTOCOL_ERROR
    connection.unacknowledged -= 1
    connection.max_frame = connection.limits.frame
    connection.window = connection.limits.window
    for at in range(connection.capacity):
        if connection.slots[at].id:
            connection.slots[at].receive_window += change
    event.kind = SETTINGS_ACKNOWLEDGED
    return NO_ERROR


# ---- what is sent ----

cdef inline void put_32(unsigned char *to, uint32_t number) noexcept nogil:
    to[0] = <unsigned char> (number >> 24)
    to[1] = <unsigned char> (number >> 16)
    to[2] = <unsigned char> (number >> 8)
    to[3] = <unsigned char> number


cdef int write_frame_head(Out *out, uint32_t length, int type, int flags, uint32_t stream) except -1:
    """RFC 9113 §4.1."""
    cdef unsigned char head[FRAME_HEAD]
    put_32(head, length << 8 | <uint32_t> type)
    head[4] = <unsigned char> flags
    put_32(head + 5, stream)
    return append(out, head, FRAME_HEAD)


cdef int write_numbers(Out *out, int type, uint32_t stream, uint32_t first, uint32_t second, uint32_t count) except -1:
    """A frame whose payload is one number or two."""
    cdef unsigned char payload[8]
    put_32(payload, first)
    put_32(payload + 4, second)
    write_frame_head(out, 4 * count, type, 0, stream)
    return append(out, payload, <Py_ssize_t> (4 * count))


cdef int64_t sendable(const H2Connection *connection, const H2Stream *stream) noexcept nogil:
    """How many bytes the next DATA of the stream may have; RFC 9113 §6.9.1."""
    cdef int64_t window = min(connection.send_window, stream.send_window)
    return max(min(window, <int64_t> connection.peer.max_frame), <int64_t> 0)


cdef int write_data_head(H2Connection *connection, H2Stream *stream, uint32_t length, bint ends, Out *out) except -1:
    """The head of DATA with `length` bytes, at most what is sendable(); with `ends` the stream may be gone after it."""
    write_frame_head(out, length, DATA, END_STREAM if ends else 0, stream.id)
    connection.send_window -= length
    stream.send_window -= length
    if length >= SMALL_DATA or (length and connection.send_window > 0 and stream.send_window > 0):
        # Not so where the window was the reason for its length: a peer could open it byte by byte.
        earn_credit(connection, SENT_CREDIT)
    earn_credit(connection, <int32_t> (length // SMALL_UPDATE))
    if ends:
        end_stream(connection, stream)
    return 0


cdef int write_block(H2Connection *connection, H2Stream *stream, Span block, bint ends, Out *out) except -1:
    """A field block as HEADERS and as many CONTINUATIONs as it takes; with `ends` the stream may be gone after it.

    Source: RFC 9113 §4.3.
    """
    cdef Py_ssize_t limit = <Py_ssize_t> connection.peer.max_frame
    cdef Py_ssize_t length = min(block.length, limit)
    cdef uint32_t id = stream.id
    cdef int type = HEADERS, flags = END_STREAM if ends else 0
    while True:
        if length == block.length:
            flags |= END_HEADERS
        write_frame_head(out, <uint32_t> length, type, flags, id)
        append(out, block.start, length)
        block = Span(block.start + length, block.length - length)
        if block.length == 0:
            break
        length = min(block.length, limit)
        type = CONTINUATION
        flags = 0
    if ends:
        end_stream(connection, stream)
    return 0


cdef int write_settings(H2Connection *connection, Out *out) except -1:
    """Our preface: SETTINGS, and a WINDOW_UPDATE where the connection is given more than it begins with.

    Source: RFC 9113 §3.4 and §6.5.
    """
    cdef H2Limits *limits = &connection.limits
    cdef uint32_t more = limits.connection_window - DEFAULT_WINDOW
    write_frame_head(out, 36 if limits.allows_connect else 30, SETTINGS, 0, 0)
    write_setting(out, MAX_CONCURRENT_STREAMS, limits.streams)
    write_setting(out, INITIAL_WINDOW_SIZE, limits.window)
    write_setting(out, MAX_FRAME_SIZE, limits.frame)
    write_setting(out, MAX_HEADER_LIST_SIZE, limits.field_list)
    write_setting(out, NO_RFC7540_PRIORITIES, 1)
    if limits.allows_connect:
        write_setting(out, ENABLE_CONNECT_PROTOCOL, 1)
    connection.unacknowledged += 1
    if more:
        write_window_update(0, more, out)
        connection.receive_window += more
    return 0


cdef int write_setting(Out *out, int name, uint32_t value) except -1:
    cdef unsigned char setting[6]
    setting[0] = 0
    setting[1] = <unsigned char> name
    put_32(setting + 2, value)
    return append(out, setting, 6)


cdef int write_settings_ack(Out *out) except -1:
    return write_frame_head(out, 0, SETTINGS, ACK, 0)


cdef int write_ping_ack(const unsigned char *data, Out *out) except -1:
    """The 8 bytes of a PING on their way back; RFC 9113 §6.7."""
    write_frame_head(out, 8, PING, ACK, 0)
    return append(out, data, 8)


cdef int write_window_update(uint32_t stream, uint32_t increment, Out *out) except -1:
    return write_numbers(out, WINDOW_UPDATE, stream, increment, 0, 1)


cdef int write_reset(H2Connection *connection, uint32_t stream, int code, Out *out) except -1:
    """RST_STREAM; what the peer had sent before it heard of it is ignored. RFC 9113 §6.4."""
    cdef H2Stream *open = find_stream(connection, stream)
    if open != NULL:
        drop_stream(connection, open, RESET_BY_US)
    return write_numbers(out, RST_STREAM, stream, <uint32_t> code, 0, 1)


cdef int write_goaway_warning(H2Connection *connection, Out *out) except -1:
    """The first of two GOAWAYs: streams that are under way are still served. RFC 9113 §6.8."""
    connection.warned = True
    return write_numbers(out, GOAWAY, 0, LARGEST_ID, NO_ERROR, 2)


cdef int write_goaway(H2Connection *connection, int code, Out *out) except -1:
    """The last GOAWAY: streams that open from now on are ignored. RFC 9113 §6.8.

    It names no higher stream than an earlier one.
    """
    connection.leaves_after = connection.last_stream     # which rises no more
    return write_numbers(out, GOAWAY, 0, connection.leaves_after, <uint32_t> code, 2)


cdef int return_window(H2Connection *connection, uint32_t stream, uint32_t consumed, Out *out) except -1:
    """Say that `consumed` bytes of the stream's content were taken; WINDOW_UPDATE once it is half a window.

    To be called with 0 as well: padding, and DATA on streams that are closed, is consumed by nobody.
    """
    cdef H2Stream *open = find_stream(connection, stream)
    cdef int64_t paid
    connection.unreturned += consumed
    paid = min(connection.prepaid, <int64_t> connection.unreturned)
    connection.prepaid -= paid
    connection.unreturned -= <uint32_t> paid
    if connection.unreturned * 2 >= connection.limits.connection_window:
        write_window_update(0, connection.unreturned, out)
        connection.receive_window += connection.unreturned
        connection.unreturned = 0
    if open == NULL:
        return 0
    open.unreturned += consumed
    # A client that has sent all needs no room.
    if open.unreturned and open.unreturned * 2 >= connection.window and open.state != HALF_CLOSED_REMOTE:
        write_window_update(stream, open.unreturned, out)
        open.receive_window += open.unreturned
        open.unreturned = 0
    return 0


cdef bint let_rest_come(H2Connection *connection, H2Stream *stream, int64_t most, Out *out) except -1:
    """Make room for all that is still to come of a request; False where that is more than `most`.

    At once, for there are clients that look for no more room when they have the response. Of a length that nobody has
    told, it is `most`.
    """
    cdef int64_t rest = stream.expected - <int64_t> stream.received if stream.expected >= 0 else most
    cdef int64_t room
    if rest > most:
        return False
    room = min(rest, <int64_t> LARGEST_WINDOW - connection.receive_window)
    if room > 0:
        write_window_update(0, <uint32_t> room, out)
        connection.receive_window += room
        connection.prepaid += room
    room = min(rest, <int64_t> LARGEST_WINDOW) - stream.receive_window
    if room > 0:
        write_window_update(stream.id, <uint32_t> room, out)
        stream.receive_window += room
    return True


# ---- the same for Python: a connection for tests and fuzzers ----

cdef class Received:
    """What came of one frame."""

    cdef readonly object kind
    cdef readonly uint32_t stream
    cdef readonly bytes payload
    cdef readonly bint ends
    cdef readonly uint32_t number
    cdef readonly uint32_t last
    cdef readonly object error

    def __repr__(self):
        return f"<{self.kind.name} of {self.stream}: {self.payload!r} {self.ends} {self.number} {self.error.name}>"


cdef Received as_received(const H2Event *event):
    cdef Received received = Received.__new__(Received)
    received.kind = FrameEvent(event.kind)
    received.error = ErrorCode(event.error)
    received.stream = event.stream
    received.payload = event.payload.start[:event.payload.length] if event.payload.length else b""
    received.ends = event.ends
    received.number = event.number
    received.last = event.last
    return received


cdef H2Stream *open_or_raise(const H2Connection *connection, uint32_t stream) except NULL:
    cdef H2Stream *found = find_stream(connection, stream)
    if found == NULL:
        raise LookupError(f"stream {stream} is not open")
    return found


cdef class Http2Connection:
    """A server's side of a connection, as a session drives it but without field blocks being understood."""

    cdef H2Connection _connection
    cdef Out _out
    cdef bytes _rest        # received, and not a frame yet

    def __cinit__(
        self, *, streams=0, frame=0, window=0, connection_window=0, field_list=0, block=0, continuations=0, credit=0,
        allows_connect=False,
    ):
        cdef H2Limits limits
        limits.streams = streams
        limits.frame = frame
        limits.window = window
        limits.connection_window = connection_window
        limits.field_list = field_list
        limits.block = block
        limits.continuations = continuations
        limits.credit = credit
        limits.allows_connect = allows_connect
        begin_connection(&self._connection, &limits)
        self._rest = b""

    def __dealloc__(self):
        free_connection(&self._connection)
        free(self._out.data)

    def feed(self, bytes data not None) -> list:
        """Take the next bytes of the connection."""
        cdef bytes text = self._rest + data
        cdef Py_ssize_t length = len(text)
        cdef unsigned char *copy
        if self._connection.failure != NO_ERROR:
            return []
        # In memory of just that size, so that a sanitizer sees whoever reads beyond it.
        copy = <unsigned char *> malloc(<size_t> max(length, 1))
        if copy == NULL:
            raise MemoryError()
        try:
            memcpy(copy, <const char *> text, <size_t> length)
            return self._receive(copy, length, text)
        finally:
            free(copy)

    cdef list _receive(self, const unsigned char *copy, Py_ssize_t length, bytes text):
        cdef list events = []
        cdef Py_ssize_t at = 0, consumed = 0
        cdef H2Event event
        cdef Outcome outcome = COMPLETE
        cdef bint is_preface
        while outcome == COMPLETE:
            is_preface = not self._connection.has_preface
            outcome = receive_frame(&self._connection, copy + at, length - at, &consumed, &event)
            at += consumed
            if outcome == REFUSED or (outcome == COMPLETE and not is_preface):
                events.append(as_received(&event))
        self._rest = text[at:]
        return events

    def take(self) -> bytes:
        """What is to be sent, once."""
        cdef bytes data = self._out.data[:self._out.used] if self._out.used else b""
        self._out.used = 0
        return data

    def begin(self):
        write_settings(&self._connection, &self._out)

    def acknowledge(self):
        write_settings_ack(&self._out)

    def pong(self, bytes data not None):
        if len(data) != 8:
            raise ValueError("a PING has 8 bytes")
        write_ping_ack(<const unsigned char *> <const char *> data, &self._out)

    def reset(self, uint32_t stream, int code):
        write_reset(&self._connection, stream, code, &self._out)

    def warn(self):
        write_goaway_warning(&self._connection, &self._out)

    def leave(self, int code=NO_ERROR):
        write_goaway(&self._connection, code, &self._out)

    def consume(self, uint32_t stream, uint32_t length):
        return_window(&self._connection, stream, length, &self._out)

    def earn(self, int32_t credit):
        earn_credit(&self._connection, credit)

    def expect_content(self, uint32_t stream, int64_t length):
        return ErrorCode(expect_content(&self._connection, stream, length))

    def sendable(self, uint32_t stream):
        return sendable(&self._connection, open_or_raise(&self._connection, stream))

    def send_block(self, uint32_t stream, bytes block not None, bint ends=False):
        cdef Span span = Span(<const unsigned char *> <const char *> block, len(block))
        write_block(&self._connection, open_or_raise(&self._connection, stream), span, ends, &self._out)

    def send_data(self, uint32_t stream, bytes data not None, bint ends=False):
        cdef H2Stream *found = open_or_raise(&self._connection, stream)
        cdef Py_ssize_t length = len(data)
        if length > sendable(&self._connection, found):
            raise ValueError("the peer's window is smaller")
        write_data_head(&self._connection, found, <uint32_t> length, ends, &self._out)
        append(&self._out, <const char *> data, length)

    def windows(self, uint32_t stream=0):
        cdef H2Stream *found
        if stream == 0:
            return self._connection.send_window, self._connection.receive_window
        found = open_or_raise(&self._connection, stream)
        return found.send_window, found.receive_window

    def state(self, uint32_t stream):
        cdef H2Stream *found = find_stream(&self._connection, stream)
        if found != NULL:
            return ("open", "half-closed (remote)", "half-closed (local)")[found.state - OPEN]
        return "idle" if is_idle(&self._connection, stream) else "closed"

    @property
    def peer(self) -> dict:
        cdef H2Peer *peer = &self._connection.peer
        return {
            Setting.HEADER_TABLE_SIZE: peer.header_table_size,
            Setting.INITIAL_WINDOW_SIZE: peer.initial_window,
            Setting.MAX_FRAME_SIZE: peer.max_frame,
            Setting.MAX_HEADER_LIST_SIZE: peer.max_field_list,
            Setting.ENABLE_CONNECT_PROTOCOL: int(peer.enables_connect),
        }

    @property
    def credit(self) -> int:
        return self._connection.credit

    @property
    def open_streams(self) -> int:
        return self._connection.count
