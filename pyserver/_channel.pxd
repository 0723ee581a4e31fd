# The contract of _channel: what goes between a connection and its socket, where that is not the socket's alone.
from libc.stdint cimport int64_t

from pyserver._connection cimport Connection, Output, Reader, Segment
from pyserver._http cimport NEED_MORE, Head, Outcome
from pyserver._spool cimport Blocks, Spool
from pyserver._system cimport iovec


cdef enum:
    NO_DESCRIPTOR = 0x7FFFFFFF  # of a connection that another one carries: the system knows none of that number


cdef class Channel:
    # Reads and writes as a non-blocking socket does.
    cdef bint is_secure                 # what goes through it is encrypted on its way

    cdef Py_ssize_t receive(self, Connection *connection, unsigned char *into, Py_ssize_t room) except? -2
    cdef Py_ssize_t give(self, Connection *connection, const unsigned char *data, Py_ssize_t length) except? -2
    cdef int end(self, Connection *connection) except -1
    cdef dict variables(self)
    cdef dict extension(self)


cdef class Carried(Channel):
    # Of a connection that is one stream of another.
    cdef Session session

    cdef Outcome note_head(self, Head *head, Outcome outcome) except? NEED_MORE
    cdef bint has_ended(self) noexcept
    cdef bint is_excused(self) noexcept
    cdef int flush(self) except -1
    cdef bint wait_for_room(self, Connection *connection, int wait_ms) except -1


cdef class Session:
    # Of a connection that carries others.
    cdef Connection *carrier            # NULL once it is closed
    cdef bint is_waiting_to_flush
    cdef bint is_held                   # … until a time comes
    cdef Spool spool                    # what its streams keep in a file; None until one does

    cdef int tend(self, int events, int64_t now_ns) except -1
    cdef int flush(self) except -1
    cdef int expire(self, int reason, int64_t now_ns) except -1
    cdef int warn(self, int64_t now_ns) except -1
    cdef int note_closed(self) except -1


cdef Blocks new_blocks(Connection *connection, bytes directory)
cdef class Version:
    # Of HTTP, beside 1.1; its module is imported by who asks for it.
    cdef readonly bint in_clear         # whether a client that is trusted may begin without TLS
    cdef readonly bint by_upgrade       # … or go over to it with a request of HTTP/1.1

    cdef Outcome look(self, const unsigned char *data, Py_ssize_t length) noexcept
    cdef bint upgrade(self, Connection *connection, object reactor, Reader *reader, int64_t now_ns) except -1
    cdef int begin(self, Connection *connection, object reactor, const unsigned char *data, Py_ssize_t length, int64_t now_ns) except -1


cdef Py_ssize_t receive(Connection *connection, unsigned char *into, Py_ssize_t room) except? -2
cdef Py_ssize_t give(Connection *connection, const void *data, Py_ssize_t length, int flags) except? -2
cdef Py_ssize_t give_parts(Connection *connection, iovec *parts, size_t count) except? -2
cdef Py_ssize_t give_range(Connection *connection, int file, int64_t offset, int64_t length) except? -2
cdef Py_ssize_t give_segment(Connection *connection, Output *output, Segment *segment) except? -2
