"""The commons: a queue of open connections, from which any worker takes one as if it had been accepted.

A message is a descriptor and what its worker knew of it, the bytes included that were read of a request. Whoever puts
one there has nothing of it any more.
"""
from cpython.object cimport PyObject
from libc.errno cimport EINTR, EMFILE, ENFILE, errno
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset
from posix.unistd cimport close

from pyserver._connection cimport (
    Connection, Content, Reader, free_connection, is_peer_in, is_way_trusted, keep_in_memory, new_connection,
    new_content, new_reader,
)
from pyserver._http cimport COMPLETE, Bounds, Chunks, Span, parse_head, reset_head
from pyserver._proxies cimport Origin, Proxies
from pyserver._system cimport iovec, pyserver_memory_file, pyserver_receive, pyserver_send

from pyserver.commons import VERSION as _VERSION

cdef extern from "Python.h":
    char *bytes_of "PyBytes_AS_STRING" (PyObject *bytes) nogil

cdef enum:
    CARRIED = 65536             # bytes of a request at most that are in a message
    FILES = 2                   # the connection, and what it has sent of its content


cdef uint32_t VERSION = _VERSION


cdef struct Message:
    # Also read by another version of pyserver, during an upgrade: it begins with its version.
    uint32_t version
    uint32_t requests
    uint64_t listener           # the inode of the socket that it was accepted from, which is the same in all processes
    int64_t since_ns
    int64_t deadline_ns
    uint8_t address[16]
    uint16_t port
    uint8_t family
    uint8_t waits_for
    uint8_t has_content         # that began to arrive
    uint8_t is_complete
    uint8_t is_in_file          # the second descriptor
    uint8_t has_copies          # a child of an application has the connection, too
    uint8_t awaits_proxy
    uint8_t has_origin
    uint8_t hops
    Origin origin
    uint32_t read               # bytes behind the message: from the head on, without that content
    uint32_t kept               # … and behind those the content
    uint64_t received
    uint64_t expected
    Chunks chunks


cdef bint put_connection(int commons, const Connection *connection, uint64_t listener, int64_t since_ns) noexcept nogil:
    """Pass a connection on whose request does not run; False when there is no room, or the system does not take it now.

    Nothing is changed here; the caller closes its descriptor, and frees what it has of the connection.
    """
    cdef Message message
    cdef const Reader *reader = connection.reader
    cdef const Content *content = connection.content
    cdef iovec parts[3]
    cdef int files[FILES]
    cdef int copy = -1
    cdef Py_ssize_t length = sizeof(Message)
    cdef bint is_put
    memset(&message, 0, sizeof(Message))
    memset(parts, 0, sizeof(parts))
    message.version = VERSION
    message.requests = connection.requests
    message.listener = listener
    message.since_ns = since_ns
    message.deadline_ns = connection.deadline_ns
    memcpy(message.address, connection.address, 16)
    message.port = connection.port
    message.family = connection.family
    message.waits_for = connection.waits_for
    message.has_copies = connection.has_copies
    message.awaits_proxy = connection.awaits_proxy
    message.hops = connection.hops
    if connection.origin != NULL:
        message.has_origin = True
        message.origin = connection.origin[0]
    files[0] = connection.source.fd
    files[1] = -1
    if reader != NULL:
        message.read = <uint32_t> (reader.length - reader.begin)
        parts[1].iov_base = reader.data + reader.begin
        parts[1].iov_len = message.read
    if content != NULL:
        message.has_content = True
        message.is_complete = content.is_complete
        message.received = content.received
        message.expected = content.expected
        message.chunks = content.chunks
        files[1] = content.file
        if content.file < 0 and content.used and message.read + content.used > CARRIED:
            files[1] = copy = pyserver_memory_file(bytes_of(content.memory), <size_t> content.used)
            if copy < 0:
                return False
        elif content.file < 0 and content.used:
            message.kept = <uint32_t> content.used
            parts[2].iov_base = bytes_of(content.memory)
            parts[2].iov_len = message.kept
        message.is_in_file = files[1] >= 0
    if message.read > CARRIED:
        return False
    length += message.read + message.kept
    parts[0].iov_base = &message
    parts[0].iov_len = sizeof(Message)
    is_put = pyserver_send(commons, parts, 3, files, 2 if message.is_in_file else 1) == length
    if copy >= 0:
        close(copy)
    return is_put


cdef int take_connection(
    int commons, Arrival *arrival, const Bounds *bounds, const Bounds *trusted_bounds, Proxies proxies
) except -1:
    """Take a connection that somebody has put there; whether its peer is trusted is judged anew."""
    cdef Message message
    cdef int files[FILES]
    cdef unsigned char *carried = <unsigned char *> malloc(CARRIED)
    cdef iovec parts[2]
    cdef Py_ssize_t got
    memset(arrival, 0, sizeof(Arrival))
    if carried == NULL:
        raise MemoryError()
    parts[0].iov_base = &message
    parts[0].iov_len = sizeof(Message)
    parts[1].iov_base = carried
    parts[1].iov_len = CARRIED
    got = pyserver_receive(commons, parts, 2, files, FILES)
    try:
        if got < 0:
            arrival.was_interrupted = errno == EINTR
            arrival.is_short = errno in (EMFILE, ENFILE)
            return 0
        if not is_understood(&message, got, files):
            # Of nothing, the end of it, there is no more.
            arrival.was_lost = got > 0
            return 0
        arrival.connection = new_connection(files[0])
        files[0] = -1
        arrival.listener = message.listener
        arrival.since_ns = message.since_ns
        arrival.deadline_ns = message.deadline_ns
        arrival.reason = message.waits_for
        note_way(arrival.connection, &message, proxies)
        if is_way_trusted(arrival.connection, proxies.trusted):
            bounds = trusted_bounds
        fill(arrival.connection, &message, carried, files, bounds)
    except Exception:
        if arrival.connection != NULL:
            close(arrival.connection.source.fd)
            free_connection(arrival.connection)
            arrival.connection = NULL
        raise
    finally:
        free(carried)
        for file in files:
            if file >= 0:
                close(file)
    return 0


cdef bint is_understood(const Message *message, Py_ssize_t got, const int *files) noexcept:
    return (
        got >= <Py_ssize_t> sizeof(Message)
        and message.version == VERSION
        and got == <Py_ssize_t> sizeof(Message) + message.read + message.kept
        and files[0] >= 0
        and (files[1] >= 0) == message.is_in_file
    )


cdef int note_way(Connection *connection, const Message *message, Proxies proxies) except -1:
    """Give the connection who is at its other end."""
    memcpy(connection.address, message.address, 16)
    connection.port = message.port
    connection.family = message.family
    connection.awaits_proxy = message.awaits_proxy
    if message.has_origin:
        connection.origin = <Origin *> calloc(1, sizeof(Origin))
        if connection.origin == NULL:
            raise MemoryError()
        connection.origin[0] = message.origin
    connection.is_trusted = is_peer_in(connection, proxies.trusted)
    return 0


cdef int fill(
    Connection *connection, const Message *message, unsigned char *carried, int *files, const Bounds *bounds
) except -1:
    """Give the connection what is known of it, and the bytes that were read."""
    cdef Content *content
    connection.requests = connection.arrived = message.requests
    connection.has_copies = message.has_copies
    connection.hops = message.hops
    if message.read:
        connection.reader = new_reader(carried, message.read)
    if not message.has_content:
        return 0
    if parse_head(&connection.reader.head, connection.reader.data, message.read, bounds) != COMPLETE:
        # The limits are others here, and it is refused as soon as it is looked at.
        reset_head(&connection.reader.head)
        return 0
    content = connection.content = new_content(&connection.reader.head)
    content.is_complete = message.is_complete
    content.received = message.received
    content.chunks = message.chunks
    content.expected = message.expected
    if message.is_in_file:
        content.file = files[1]
        files[1] = -1
    elif message.kept:
        keep_in_memory(content, Span(carried + message.read, message.kept), CARRIED)
    return 0

