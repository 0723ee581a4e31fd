# The contract of _giving: what a connection is given.
from libc.stdint cimport int64_t

from pyserver._connection cimport Connection
from pyserver._exchange cimport Transport
from pyserver._reactor cimport Reactor

cdef enum:
    COPY_LIMIT = 16384          # up to here a copy costs less than a second entry in the vector of a write


cdef class Giver(Transport):
    cdef Reactor reactor
    cdef int64_t now_ns
    cdef int64_t _stamp_until_ns
    cdef bint _is_in_application        # … and not in what comes before and after it

    cdef int tick(self, int64_t now_ns) except -1
    cdef int join_blocks(self, Connection *connection, bint wanted) except -1
    cdef int send(self, Connection *connection) except -1
    cdef int send_block(self, Connection *connection, object block, const unsigned char *data, Py_ssize_t length, bint lent, bint in_chunk) except -1
    cdef int send_file(self, Connection *connection, int file, int64_t offset, int64_t length) except -1
    cdef bint seize(self) noexcept nogil
    cdef int _flush(self, Connection *connection) except -1
    cdef int _give(self, Connection *connection, int more) except -1
    cdef int _trim_out(self) except -1
    cdef int _send_large(self, Connection *connection, object block, const unsigned char *data, Py_ssize_t length, bint lent, bint in_chunk) except -1
    cdef int _queue_lent(self, Connection *connection, object block, const unsigned char *data, Py_ssize_t length) except -1
    cdef int _queue(self, Connection *connection, const unsigned char *data, Py_ssize_t length) except -1
    cdef int64_t _put_in_file(self, Connection *connection, const unsigned char *data, Py_ssize_t length) except -1
    cdef int _queue_behind(self, Connection *connection, const unsigned char *data, Py_ssize_t length) except -1
    cdef int _wait_for_room(self, Connection *connection) except -1
    cdef int _await_room(self, Connection *connection, int64_t until_ns) except -1
    cdef int _yield_for_room(self, Connection *connection) except -1
    cdef int _make_room(self, Connection *connection) except -1
    cdef int _tell_room(self, Connection *connection) except -1
    cdef int _excuse(self) except -1
    cdef int _note_alive(self) except -1
    cdef int _drain(self, Connection *connection) except -1
    cdef int _send_range(self, Connection *connection, int file, int64_t offset, int64_t length) except -1
    cdef int _lose(self, Connection *connection) except -1
