# The contract of _frames: HTTP/2 frames, streams and flow control of one connection. Bytes in, events out.
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from pyserver._http cimport Outcome, Out, Span


cpdef enum ErrorCode:
    # RFC 9113 §7
    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12
    HTTP_1_1_REQUIRED = 13


cpdef enum FrameType:
    # RFC 9113 §6
    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


cdef enum FrameFlag:
    END_STREAM = 0x01
    ACK = 0x01
    END_HEADERS = 0x04
    PADDED = 0x08
    WITH_PRIORITY = 0x20


cpdef enum Setting:
    # RFC 9113 §6.5.2, RFC 8441 §3, RFC 9218 §2.1
    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6
    ENABLE_CONNECT_PROTOCOL = 8
    NO_RFC7540_PRIORITIES = 9


cpdef enum FrameEvent:
    # What receive_frame() found. Where `error` is set, RST_STREAM with it is owed, and the stream is over.
    IGNORED = 0                 # nothing to be done
    REQUEST = 1                 # a field block that opens a stream
    TRAILERS = 2                # a field block that ends one
    DISCARDED = 3               # a field block to be decoded for the sake of the table alone; RFC 9113 §4.3
    CONTENT = 4                 # bytes of DATA
    STREAM_RESET = 5            # by the peer; `number` is its code
    STREAM_FAILED = 6           # what came on the stream breaks a rule
    SETTINGS_CHANGED = 7        # ACK is owed
    SETTINGS_ACKNOWLEDGED = 8   # ours are in force
    PINGED = 9                  # 8 bytes; the same are owed with ACK
    PONGED = 10
    PEER_LEAVES = 11            # GOAWAY: `number` is its code, `last` the last stream it acted on
    WINDOW_OPENED = 12          # of the stream, or of the connection where it is 0
    FAILED = 13                 # GOAWAY with `error` is owed, and nothing more is taken


cdef enum StreamState:
    # RFC 9113 §5.1, of a server that pushes nothing. An idle stream is one not seen; a closed one is forgotten.
    OPEN = 1
    HALF_CLOSED_REMOTE          # the request is complete
    HALF_CLOSED_LOCAL           # the response is complete


cdef struct H2Frame:
    uint32_t length             # of the payload as it was sent, which is what flow control counts
    uint32_t stream
    uint8_t type
    uint8_t flags
    bint is_stream_error        # once read_frame() said REFUSED: whether the connection may go on behind this frame
    int error                   # … and the ErrorCode
    Span payload                # without padding and the fields of priority


cdef struct H2Stream:
    uint32_t id                 # 0 in a slot that is free
    int state                   # StreamState
    int64_t send_window         # below 0 after the peer took from it by SETTINGS; RFC 9113 §6.9.2
    int64_t receive_window
    uint32_t unreturned         # bytes that were consumed and are owed as WINDOW_UPDATE
    int64_t expected            # bytes that content-length says; -1 without
    uint64_t received           # bytes of content so far
    void *owner                 # whatever the session keeps for the stream


cdef struct H2Limits:
    # What a peer is told and given. What is 0 has its default.
    uint32_t streams            # open at once
    uint32_t frame              # bytes of a payload, 16,384 to 16,777,215
    uint32_t window             # bytes of content in flight, of a stream
    uint32_t connection_window  # … and of all; 65,535 at least
    uint32_t field_list         # bytes of fields, as SETTINGS_MAX_HEADER_LIST_SIZE counts them
    uint32_t block              # bytes of a compressed field block
    uint32_t continuations      # frames that it may go on in
    int32_t credit              # what may be spent on frames that do not serve a request
    bint allows_connect         # whether SETTINGS_ENABLE_CONNECT_PROTOCOL is 1


cdef struct H2Peer:
    # The settings in force of the other side, RFC 9113 §6.5.2.
    uint32_t header_table_size
    uint32_t least_table_size   # that the last SETTINGS have named, or that was in force before them
    uint32_t initial_window
    uint32_t max_frame
    uint32_t max_field_list
    bint enables_connect
    bint no_priorities


cdef enum:
    CLOSED_REMEMBERED = 128


cdef struct H2Connection:
    H2Limits limits
    H2Peer peer
    bint has_preface
    bint has_settings           # the peer's first
    int failure                 # ErrorCode, once nothing more is taken
    uint32_t unacknowledged     # SETTINGS frames of ours
    uint32_t max_frame          # that a peer may send now
    uint32_t window             # that a stream has now when it opens
    int64_t send_window
    int64_t receive_window
    uint32_t unreturned
    int64_t prepaid             # of what is consumed from now on, for which there was made room before
    uint32_t last_stream        # the highest id seen
    uint32_t leaves_after       # the last stream to be served, once the second GOAWAY is sent; else 2^31-1
    bint warned                 # the first GOAWAY is sent
    int32_t credit

    H2Stream *slots             # a hash table with linear probing; a power of two
    uint32_t capacity
    uint32_t count              # streams that are not closed

    uint32_t closed[CLOSED_REMEMBERED]      # a ring: half the id and, in the upper two bits, how it came to its end
    uint32_t closed_at

    uint32_t block_stream       # whose field block is under way; 0 for none
    bint block_ends             # … with END_STREAM
    uint32_t continuations
    unsigned char *block
    uint32_t block_length


cdef struct H2Event:
    int kind                    # FrameEvent
    uint32_t stream
    int error                   # ErrorCode owed to the peer; NO_ERROR for none
    bint ends                   # END_STREAM
    uint32_t number
    uint32_t last
    Span payload                # borrowed: dead after the next receive_frame() or change of the bytes
    void *owner                 # of the stream, when it was open


# Bytes
cdef Outcome read_preface(const unsigned char *base, Py_ssize_t length) noexcept nogil
cdef Outcome read_frame(H2Frame *frame, const unsigned char *base, Py_ssize_t length, uint32_t limit) noexcept nogil

# The connection
cdef void begin_connection(H2Connection *connection, const H2Limits *limits) noexcept nogil
cdef void free_connection(H2Connection *connection) noexcept nogil
cdef H2Stream *begin_upgraded(H2Connection *connection, Span settings) noexcept nogil
cdef Outcome receive_frame(
    H2Connection *connection, const unsigned char *base, Py_ssize_t length, Py_ssize_t *consumed, H2Event *event
) noexcept nogil
cdef H2Stream *find_stream(const H2Connection *connection, uint32_t id) noexcept nogil
cdef int expect_content(H2Connection *connection, uint32_t id, int64_t length) noexcept nogil
cdef void earn_credit(H2Connection *connection, int32_t credit) noexcept nogil

# What is sent
cdef int64_t sendable(const H2Connection *connection, const H2Stream *stream) noexcept nogil
cdef void end_stream(H2Connection *connection, H2Stream *stream) noexcept nogil
cdef int write_frame_head(Out *out, uint32_t length, int type, int flags, uint32_t stream) except -1
cdef int write_data_head(H2Connection *connection, H2Stream *stream, uint32_t length, bint ends, Out *out) except -1
cdef int write_block(H2Connection *connection, H2Stream *stream, Span block, bint ends, Out *out) except -1
cdef int write_settings(H2Connection *connection, Out *out) except -1
cdef int write_settings_ack(Out *out) except -1
cdef int write_ping_ack(const unsigned char *data, Out *out) except -1
cdef int write_window_update(uint32_t stream, uint32_t increment, Out *out) except -1
cdef int write_reset(H2Connection *connection, uint32_t stream, int code, Out *out) except -1
cdef int write_goaway_warning(H2Connection *connection, Out *out) except -1
cdef int write_goaway(H2Connection *connection, int code, Out *out) except -1
cdef bint let_rest_come(H2Connection *connection, H2Stream *stream, int64_t most, Out *out) except -1
cdef int return_window(H2Connection *connection, uint32_t stream, uint32_t consumed, Out *out) except -1
