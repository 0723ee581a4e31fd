# The contract of _connection: what is known of one connection. No system calls, no HTTP syntax.
from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from pyserver._http cimport Bounds, Chunks, Head, Outcome, Span
from pyserver._proxies cimport Origin, Peers, ProxyHeader
from pyserver._system cimport sockaddr_storage

cdef extern from "<stdatomic.h>" nogil:
    ctypedef int atomic_int

cdef enum SourceKind:
    # What an event of the poller is about.
    LISTENER_SOURCE
    CONNECTION_SOURCE
    WATCH_SOURCE
    BELL_SOURCE
    COMMONS_SOURCE


cdef struct Source:
    # The first member of everything a poller reports.
    int kind
    int fd                      # -1 once closed; an event may still be under way


cdef enum:
    # What a connection is waiting for, and so how long it may; one list each.
    AWAIT_FIRST_BYTE
    AWAIT_HEAD
    AWAIT_CONTENT
    AWAIT_NEXT_REQUEST
    AWAIT_WRITE
    AWAIT_ROOM                  # the application's greenlet waits for the socket to take what is queued
    AWAIT_PING                  # a WebSocket was silent for less than the interval of pings
    AWAIT_PONG                  # … for longer, and was sent one
    AWAIT_CLOSE_FRAME           # … and was told that the WebSocket is closed
    AWAIT_CLOSE
    AWAIT_TURN                  # as many requests run as may: no deadline
    RUNNING                     # it has its turn, or the application has it: no deadline of the connection's
    DEADLINES


cdef struct Reader:
    # Bytes received and not yet consumed, and the parser of the message that begins in them.
    Head head
    unsigned char *data
    Py_ssize_t begin            # of the current message
    Py_ssize_t length
    Py_ssize_t capacity


cdef struct Content:
    # Content of the current request, while it arrives.
    bint is_chunked
    bint is_complete
    Chunks chunks
    uint64_t expected           # bytes still to come, where Content-Length tells
    uint64_t received
    PyObject *memory            # a bytes object of `capacity` bytes, being filled; owned
    Py_ssize_t used
    Py_ssize_t capacity
    int file                    # an unlinked temporary file, once there is more than memory may hold; else -1
    PyObject *blocks            # … in its place Blocks of a file, of a connection that another one carries; owned


cdef enum SegmentKind:
    COPIED                      # bytes behind the segment itself
    BORROWED                    # bytes of `owner`
    SPOOLED                     # a range of the connection's own temporary file, or of its blocks
    FROM_FILE                   # a range of a file, of which `owner` has a descriptor


cdef struct Segment:
    Segment *next
    int kind
    int file
    PyObject *owner
    const unsigned char *data
    int64_t offset              # in `file`
    int64_t length              # still to be sent
    Py_ssize_t capacity         # of a COPIED segment


cdef struct Output:
    # What the socket has not taken yet, in order.
    Segment *first
    Segment *last
    int64_t in_memory           # bytes in COPIED segments
    int64_t spooled             # bytes in the temporary file
    int64_t spool_end
    int64_t given               # bytes the socket has taken of it
    int spool                   # descriptor of the temporary file, or -1
    PyObject *blocks            # … in its place Blocks of a file, of a connection that another one carries; owned


cdef struct Connection:
    Source source
    uint8_t waits_for           # one of AWAIT_FIRST_BYTE … RUNNING
    uint8_t listener
    bint is_watched
    bint is_readable            # the poller said so while reading had to wait
    bint is_held                # complete requests wait in its reader for another turn
    bint is_again               # it has asked for another turn
    bint is_running             # a request of it is with the application, in another thread or greenlet perhaps
    bint has_ended              # the peer has sent its last byte
    atomic_int is_gone          # the peer takes no more: what is written is dropped; asked without the mutex, too
    bint is_broken              # the poller has said that an end or an error follows what is to be received
    bint keeps_deadline         # that of the worker before, until something is received
    bint closes                 # once all output is written
    bint lingers                # … and then what the peer still sends is read and dropped
    bint has_copies             # a child of an application may hold it open, in this worker or one before
    bint resets                 # … or ends in a reset, for nothing else tells that the response is cut
    uint8_t interest            # what a level-triggered poller was asked for
    bint is_trusted             # the peer is one of those whose fields are believed
    bint awaits_proxy           # its first bytes may be a PROXY header
    bint awaits_tls             # … and then a handshake begins
    bint awaits_preface         # … and then HTTP/2 may
    uint8_t hops                # how often it was passed on before it began
    bint is_carried             # another connection carries it: it has no socket of its own
    bint is_by_quic             # … and that is QUIC's
    bint stays                  # what was agreed on with its peer is in this process, so it cannot move
    Origin *origin              # NULL unless it has begun with one, which has named the client
    uint8_t family              # of the peer's address, or the client's: 4, 6, or 0 for a Unix socket
    uint16_t port
    uint8_t address[16]
    uint32_t requests           # begun on this connection
    uint32_t arrived            # … of those, by workers that had it before
    int64_t first_ns            # when the first bytes of a message came that was not complete then; 0 for none
    int64_t since_ns            # when the request was there that it brought from one of those; 0 for none
    Connection *earlier
    Connection *later
    int unsent                  # bytes in the socket's buffer when it began to wait for a write
    int64_t deadline_ns
    int64_t linger_until_ns
    int64_t linger_left         # bytes that are read and dropped until then; 0: as many as come
    Reader *reader              # NULL while no byte is waiting
    Content *content            # NULL while no content is arriving
    Output *output              # NULL while the socket takes everything
    PyObject *channel           # a Channel, through which all goes; NULL where that is its socket alone
    PyObject *session           # a Session, which serves it and those it carries; NULL where it is served itself
    PyObject *waiting           # the lane whose greenlet waits in AWAIT_ROOM; borrowed
    PyObject *stream            # the Stream that runs, where requests run beside others; its lane owns it


cdef struct DeadlineList:
    # Connections that wait for the same thing, the one that waits longest first: all have the same time.
    Connection *first
    Connection *last
    int64_t duration_ns


cdef int64_t NO_LIMIT_NS


cdef inline int64_t take_receive_ns(Connection *connection, int64_t complete_ns) noexcept nogil:
    """How long the message took to arrive that begins to be served, and was complete at that instant."""
    cdef int64_t first_ns = connection.first_ns
    if first_ns == 0:
        return 0
    connection.first_ns = 0
    return max(complete_ns - first_ns, <int64_t> 0)


cdef inline bint is_way_trusted(const Connection *connection, Peers peers) noexcept nogil:
    # Whether both are one of them, who is connected and whom a PROXY header names as the client: a proxy that speaks
    # of connections passes fields on as it gets them.
    return connection.is_trusted and (connection.origin == NULL or peers.has(connection.family, connection.address))


cdef Connection *new_connection(int fd) except NULL
cdef void free_connection(Connection *connection) noexcept
cdef void free_held(Connection *connection) noexcept
cdef void note_peer(Connection *connection, const sockaddr_storage *address) noexcept nogil
cdef bint is_peer_in(const Connection *connection, Peers peers) noexcept nogil
cdef int note_proxied(Connection *connection, const ProxyHeader *header) except -1
cdef str peer_of(const Connection *connection)

cdef void enlist(DeadlineList *lists, Connection *connection, int reason, int64_t now_ns) noexcept nogil
cdef void enlist_until(DeadlineList *lists, Connection *connection, int reason, int64_t deadline_ns) noexcept nogil
cdef void delist(DeadlineList *lists, Connection *connection) noexcept nogil

cdef int make_room(Reader *reader, Py_ssize_t room) except -1
cdef Reader *new_reader(const unsigned char *data, Py_ssize_t length) except NULL
cdef Reader *detach(const Reader *reader) except NULL
cdef void free_reader(Reader *reader) noexcept nogil
cdef void drop_after_head(Reader *reader, Py_ssize_t length) noexcept nogil

cdef Content *new_content(const Head *head) except NULL
cdef void free_content(Content *content) noexcept
cdef Outcome next_content(
    Content *content, const unsigned char *base, Py_ssize_t length, Py_ssize_t *consumed, Span *data, const Bounds *bounds
) noexcept nogil
cdef int keep_in_memory(Content *content, Span data, Py_ssize_t limit) except -1
cdef object take_memory(Content *content)

cdef Output *new_output() except NULL
cdef void free_output(Output *output) noexcept
cdef int add_copy(Output *output, const unsigned char *data, Py_ssize_t length) except -1
cdef int add_borrowed(Output *output, object owner, const unsigned char *data, Py_ssize_t length) except -1
cdef int add_spooled(Output *output, int64_t offset, int64_t length) except -1
cdef int add_file(Output *output, int file, int64_t offset, int64_t length) except -1
cdef Py_ssize_t send_segment(int fd, Output *output, Segment *segment) noexcept nogil
cdef void note_sent(Output *output, Segment *segment, Py_ssize_t sent) noexcept nogil
cdef void drop_first(Output *output) noexcept


cdef class Durations:
    cdef int64_t head_ns
    cdef int64_t content_ns
    cdef int64_t idle_ns
    cdef int64_t write_ns
    cdef int64_t ping_ns
    cdef int64_t pong_ns


cdef class Buffers:
    cdef Py_ssize_t request
    cdef int64_t response
    cdef int64_t spool
    cdef bytes directory
