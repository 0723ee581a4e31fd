"""One connection: what has come in, what has to go out, and what it waits for.

Who owns what: a connection owns its reader, content and output; each is there only while it holds something, so that
an idle connection is one small struct. There are two system calls: a segment is sent, and freeing closes files, which
are opened and written by the engine.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF, Py_XDECREF
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, memmove
from posix.unistd cimport close

from pyserver._http cimport (
    COMPLETE,
    HAS_CHUNKED,
    NEED_MORE,
    Bounds,
    Head,
    Outcome,
    Span,
    copy_head,
    decode_chunks,
    free_head,
    reset_head,
)
from pyserver._proxies cimport Origin, Peers, ProxyHeader
from pyserver._scoreboard cimport peer_name
from pyserver._spool cimport SharedFile, let_file_go, share_file
from pyserver._system cimport (
    AF_INET, AF_INET6, MSG_MORE, MSG_NOSIGNAL, ntohs, pyserver_sendfile, send, sockaddr_in, sockaddr_in6, sockaddr_storage,
)

cdef extern from "Python.h":
    int _PyBytes_Resize(PyObject **bytes, Py_ssize_t length) except -1

cdef enum:
    # A copied segment has room for what is likely to follow it.
    SEGMENT_ROOM = 16384


cdef Connection *new_connection(int fd) except NULL:
    """A connection that waits for nothing yet."""
    cdef Connection *connection = <Connection *> calloc(1, sizeof(Connection))
    if connection == NULL:
        raise MemoryError()
    connection.source.kind = CONNECTION_SOURCE
    connection.source.fd = fd
    connection.waits_for = RUNNING
    return connection


cdef void free_connection(Connection *connection) noexcept:
    """Give back the connection and all it holds; its socket is closed already."""
    free_held(connection)
    free(connection)


cdef void free_held(Connection *connection) noexcept:
    """Give back all that the connection holds."""
    if connection.reader != NULL:
        free_reader(connection.reader)
    if connection.content != NULL:
        free_content(connection.content)
    if connection.output != NULL:
        free_output(connection.output)
    free(connection.origin)
    Py_XDECREF(connection.channel)
    Py_XDECREF(connection.session)
    connection.channel = connection.session = NULL
    connection.reader = NULL
    connection.content = NULL
    connection.output = NULL
    connection.origin = NULL


cdef void note_peer(Connection *connection, const sockaddr_storage *address) noexcept nogil:
    """Keep who is at the other end; nothing for a Unix socket."""
    if address.ss_family == AF_INET:
        connection.family = 4
        connection.port = ntohs((<sockaddr_in *> address).sin_port)
        memcpy(connection.address, &(<sockaddr_in *> address).sin_addr, 4)
    elif address.ss_family == AF_INET6:
        connection.family = 6
        connection.port = ntohs((<sockaddr_in6 *> address).sin6_port)
        memcpy(connection.address, &(<sockaddr_in6 *> address).sin6_addr, 16)


cdef bint is_peer_in(const Connection *connection, Peers peers) noexcept nogil:
    """Whether who is connected is one of them, whomever a PROXY header names as the client."""
    if connection.origin != NULL:
        return peers.has(connection.origin.peer.family, connection.origin.peer.bytes)
    return peers.has(connection.family, connection.address)


cdef int note_proxied(Connection *connection, const ProxyHeader *header) except -1:
    """Have it be the client's whom a PROXY header names, if it names one."""
    cdef Origin *origin = <Origin *> calloc(1, sizeof(Origin))
    if origin == NULL:
        raise MemoryError()
    origin.relayed = header.relayed
    origin.destination = header.destination
    origin.peer.family = connection.family
    origin.peer.port = connection.port
    memcpy(origin.peer.bytes, connection.address, 16)
    connection.origin = origin
    if header.client.family:
        connection.family = header.client.family
        connection.port = header.client.port
        memcpy(connection.address, header.client.bytes, 16)
    return 0


cdef class Buffers:
    """How much is kept in memory, and where the rest goes. Immutable.

    Args:
        request: bytes of content kept in memory; longer content is in an unlinked temporary file.
        response: bytes of a response kept in memory for a client that takes them slowly; then likewise.
        spool: bytes of that file; past them the application waits for the client.
        directory: where temporary files are made.
    """

    def __cinit__(self, *, request=524288, response=65536, spool=1073741824, directory="/tmp"):
        self.request = request
        self.response = response
        self.spool = spool
        self.directory = directory.encode()


cdef str peer_of(const Connection *connection):
    """The peer as a log line names it."""
    return peer_name(connection.family, connection.address, connection.port)


# ---- deadlines ----

# A century stands for "no limit": nothing overflows, nothing is compared with a special value.
cdef int64_t NO_LIMIT_NS = 3000000000 * <int64_t> 1000000000


cdef int64_t as_ns(seconds) except -1:
    return int(min(seconds, 3e9) * 1e9) if seconds > 0 else NO_LIMIT_NS


cdef class Durations:
    """How long a connection may wait for what. Immutable.

    Args:
        head: seconds for a request head, from its first byte (or from the accept) to its last.
        content: seconds without a byte of awaited content.
        idle: seconds a persistent connection is kept between requests; 0 closes after each response.
        write: seconds in which the peer takes no byte of a response.
        ping: seconds that a WebSocket may be silent before it is asked whether it is there; 0 for no limit.
        pong: seconds that it may then take to say anything.

    0 is no limit, except for `idle`.
    """

    def __cinit__(self, *, head=10.0, content=30.0, idle=2.0, write=60.0, ping=20.0, pong=20.0):
        self.head_ns = as_ns(head)
        self.content_ns = as_ns(content)
        self.idle_ns = as_ns(idle) if idle > 0 else 0
        self.write_ns = as_ns(write)
        self.ping_ns = as_ns(ping)
        self.pong_ns = as_ns(pong)


cdef void enlist(DeadlineList *lists, Connection *connection, int reason, int64_t now_ns) noexcept nogil:
    """Have the connection wait for `reason` from now on. Each list has one duration, so its end is the latest."""
    cdef DeadlineList *there = &lists[reason]
    delist(lists, connection)
    connection.waits_for = <uint8_t> reason
    connection.deadline_ns = now_ns + there.duration_ns
    connection.later = NULL
    connection.earlier = there.last
    if there.last != NULL:
        there.last.later = connection
    else:
        there.first = connection
    there.last = connection


cdef void enlist_until(DeadlineList *lists, Connection *connection, int reason, int64_t deadline_ns) noexcept nogil:
    """Have it wait for `reason`, as it has begun to elsewhere; few others have a later deadline."""
    cdef DeadlineList *there = &lists[reason]
    cdef Connection *before
    enlist(lists, connection, reason, 0)
    connection.deadline_ns = deadline_ns
    before = connection.earlier
    if before == NULL or before.deadline_ns <= deadline_ns:
        return
    there.last = before
    before.later = NULL
    while before != NULL and before.deadline_ns > deadline_ns:
        connection.later = before
        before = before.earlier
    connection.earlier = before
    connection.later.earlier = connection
    if before != NULL:
        before.later = connection
    else:
        there.first = connection


cdef void delist(DeadlineList *lists, Connection *connection) noexcept nogil:
    """Have the connection wait for nothing."""
    cdef DeadlineList *here
    if connection.waits_for == RUNNING:
        return
    here = &lists[connection.waits_for]
    if connection.earlier != NULL:
        connection.earlier.later = connection.later
    else:
        here.first = connection.later
    if connection.later != NULL:
        connection.later.earlier = connection.earlier
    else:
        here.last = connection.earlier
    connection.waits_for = RUNNING


# ---- what has come in ----

cdef int make_room(Reader *reader, Py_ssize_t room) except -1:
    """Have at least `room` bytes free behind those received."""
    cdef Py_ssize_t capacity
    cdef unsigned char *data
    if reader.capacity - reader.length >= room:
        return 0
    capacity = max(reader.length + room, min(reader.capacity * 2, reader.capacity + 65536))
    data = <unsigned char *> realloc(reader.data, <size_t> capacity)
    if data == NULL:
        raise MemoryError()
    reader.data = data
    reader.capacity = capacity
    return 0


cdef Reader *new_reader(const unsigned char *data, Py_ssize_t length) except NULL:
    """A reader with bytes that nobody has looked at yet."""
    cdef Reader rest
    reset_head(&rest.head)
    rest.head.fields = NULL
    rest.head.capacity = 0
    rest.data = <unsigned char *> data
    rest.begin = 0
    rest.length = rest.capacity = length
    return detach(&rest)


cdef Reader *detach(const Reader *reader) except NULL:
    """A reader of its own for the bytes that are left in a shared one, no larger than they need."""
    cdef Py_ssize_t length = reader.length - reader.begin
    cdef Reader *own = <Reader *> malloc(sizeof(Reader))
    if own == NULL:
        raise MemoryError()
    own.data = <unsigned char *> malloc(<size_t> length + 1)
    if own.data == NULL or copy_head(&own.head, &reader.head) < 0:
        free(own.data)
        free(own)
        raise MemoryError()
    memcpy(own.data, reader.data + reader.begin, <size_t> length)
    own.begin = 0
    own.length = length
    own.capacity = length + 1
    return own


cdef void free_reader(Reader *reader) noexcept nogil:
    free_head(&reader.head)
    free(reader.data)
    free(reader)


cdef void drop_after_head(Reader *reader, Py_ssize_t length) noexcept nogil:
    """Take out `length` bytes behind the head of the current message: its content has moved elsewhere."""
    cdef Py_ssize_t at = reader.begin + reader.head.position
    reader.length -= length
    memmove(reader.data + at, reader.data + at + length, <size_t> (reader.length - at))


cdef Content *new_content(const Head *head) except NULL:
    """Content to be received, framed as the head says; RFC 9112 §6.3."""
    cdef Content *content = <Content *> calloc(1, sizeof(Content))
    if content == NULL:
        raise MemoryError()
    content.file = -1
    content.is_chunked = (head.flags & HAS_CHUNKED) != 0
    content.expected = head.content_length
    return content


cdef void free_content(Content *content) noexcept:
    Py_XDECREF(content.memory)
    Py_XDECREF(content.blocks)
    if content.file >= 0:
        close(content.file)
    free(content)


cdef Outcome next_content(
    Content *content, const unsigned char *base, Py_ssize_t length, Py_ssize_t *consumed, Span *data, const Bounds *bounds
) noexcept nogil:
    """Take the next run of content bytes from `base`; see decode_chunks() for what comes back."""
    cdef Outcome outcome
    if content.is_chunked:
        outcome = decode_chunks(&content.chunks, base, length, consumed, data, bounds)
    else:
        data.start = base
        data.length = consumed[0] = <Py_ssize_t> min(content.expected, <uint64_t> length)
        content.expected -= <uint64_t> data.length
        outcome = COMPLETE if content.expected == 0 else NEED_MORE
    content.received += <uint64_t> data.length
    content.is_complete = outcome == COMPLETE
    return outcome


cdef int keep_in_memory(Content *content, Span data, Py_ssize_t limit) except -1:
    """Append to the bytes object that the application will get.

    Where Content-Length tells the size, all of it is reserved at once, so that the rest can be received in place;
    pages that no byte arrives for are never touched.
    """
    cdef Py_ssize_t capacity
    if content.capacity - content.used < data.length:
        if content.is_chunked:
            capacity = min(max(content.capacity * 2, content.used + data.length), limit)
        else:
            capacity = content.used + data.length + <Py_ssize_t> content.expected
        if content.memory == NULL:
            fresh = PyBytes_FromStringAndSize(NULL, capacity)
            Py_INCREF(fresh)
            content.memory = <PyObject *> fresh
        else:
            _PyBytes_Resize(&content.memory, capacity)
        content.capacity = capacity
    memcpy(PyBytes_AS_STRING(<object> content.memory) + content.used, data.start, <size_t> data.length)
    content.used += data.length
    return 0


cdef object take_memory(Content *content):
    """The content received, as the bytes object it was received into."""
    cdef object result
    if content.memory == NULL:
        return b""
    if content.capacity != content.used:
        _PyBytes_Resize(&content.memory, content.used)
    result = <object> content.memory
    Py_XDECREF(content.memory)
    content.memory = NULL
    return result


# ---- what has to go out ----

cdef Output *new_output() except NULL:
    """An empty queue."""
    cdef Output *output = <Output *> calloc(1, sizeof(Output))
    if output == NULL:
        raise MemoryError()
    output.spool = -1
    return output


cdef void free_output(Output *output) noexcept:
    while output.first != NULL:
        drop_first(output)
    if output.spool >= 0:
        close(output.spool)
    Py_XDECREF(output.blocks)
    free(output)


cdef Segment *add_segment(Output *output, int kind, Py_ssize_t capacity) except NULL:
    cdef Segment *segment = <Segment *> malloc(sizeof(Segment) + <size_t> capacity)
    if segment == NULL:
        raise MemoryError()
    segment.next = NULL
    segment.kind = kind
    segment.file = -1
    segment.owner = NULL
    segment.data = NULL
    segment.offset = segment.length = 0
    segment.capacity = capacity
    if output.last != NULL:
        output.last.next = segment
    else:
        output.first = segment
    output.last = segment
    return segment


cdef int add_copy(Output *output, const unsigned char *data, Py_ssize_t length) except -1:
    """Queue a copy of `length` bytes, behind the last copy if there is room."""
    cdef Segment *segment = output.last
    cdef Py_ssize_t used
    if length == 0:
        return 0
    used = 0
    if segment != NULL and segment.kind == COPIED:
        used = segment.data + segment.length - <unsigned char *> (segment + 1)
    if segment == NULL or segment.kind != COPIED or segment.capacity - used < length:
        segment = add_segment(output, COPIED, length if output.first == NULL else max(length, <Py_ssize_t> SEGMENT_ROOM))
        segment.data = <unsigned char *> (segment + 1)
        used = 0
    memcpy(<unsigned char *> (segment + 1) + used, data, <size_t> length)
    segment.length += length
    output.in_memory += length
    return 0


cdef int add_borrowed(Output *output, object owner, const unsigned char *data, Py_ssize_t length) except -1:
    """Queue bytes of `owner`, which is kept alive until they are sent."""
    cdef Segment *segment = add_segment(output, BORROWED, 0)
    Py_INCREF(owner)
    segment.owner = <PyObject *> owner
    segment.data = data
    segment.length = length
    return 0


cdef int add_spooled(Output *output, int64_t offset, int64_t length) except -1:
    """Queue a range of the temporary file, or of the blocks in its place."""
    cdef Segment *segment = output.last
    if segment != NULL and segment.kind == SPOOLED and segment.offset + segment.length == offset:
        segment.length += length
    else:
        segment = add_segment(output, SPOOLED, 0)
        segment.file = output.spool
        segment.offset = offset
        segment.length = length
    output.spooled += length
    return 0


cdef int add_file(Output *output, int file, int64_t offset, int64_t length) except -1:
    """Queue a range of a file, which may be closed; OSError where there is no descriptor left for it."""
    cdef Segment *segment
    cdef SharedFile shared = share_file(file)
    try:
        segment = add_segment(output, FROM_FILE, 0)
    except MemoryError:
        let_file_go(shared)
        raise
    Py_INCREF(shared)
    segment.owner = <PyObject *> shared
    segment.file = shared.file
    segment.offset = offset
    segment.length = length
    return 0


cdef Py_ssize_t send_segment(int fd, Output *output, Segment *segment) noexcept nogil:
    """Send what the socket takes of a segment of `output`: bytes, 0 where its file has become shorter, -1 with errno."""
    cdef Py_ssize_t sent
    if segment.kind == COPIED or segment.kind == BORROWED:
        sent = send(fd, segment.data, <size_t> segment.length, MSG_NOSIGNAL | (MSG_MORE if segment.next != NULL else 0))
    else:
        sent = pyserver_sendfile(fd, segment.file, segment.offset, <size_t> segment.length)
    if sent > 0:
        note_sent(output, segment, sent)
    return sent


cdef void note_sent(Output *output, Segment *segment, Py_ssize_t sent) noexcept nogil:
    """So many bytes of a segment of `output` have left."""
    output.given += sent
    if segment.kind == COPIED:
        output.in_memory -= sent
    elif segment.kind == SPOOLED:
        output.spooled -= sent
    if segment.kind == COPIED or segment.kind == BORROWED:
        segment.data += sent
    segment.offset += sent
    segment.length -= sent


cdef void drop_first(Output *output) noexcept:
    """Forget the first segment, sent or not."""
    cdef Segment *segment = output.first
    output.first = segment.next
    if output.first == NULL:
        output.last = NULL
    if segment.kind == FROM_FILE:
        let_file_go(<SharedFile> segment.owner)
    Py_XDECREF(segment.owner)
    free(segment)
