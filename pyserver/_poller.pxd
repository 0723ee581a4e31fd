# The contract of _poller: which of many descriptors can be read or written.
from pyserver._connection cimport Source


cdef enum Interest:
    READABLE = 1
    WRITABLE = 2
    BROKEN = 4                  # reported, never asked for: an error, or the peer has gone
    EXCLUSIVE = 8               # wake one of the processes that wait for it, where the system can


cdef enum:
    READY_LIMIT = 128           # sources reported by one wait


cdef struct Ready:
    Source *source
    int events                  # Interest


cdef class Poller:
    # Whether a source is reported once for each change, so that there is never anything to change() for it.
    cdef readonly bint is_edge_triggered
    cdef Ready ready[READY_LIMIT]

    cdef int add(self, Source *source, int interest) except -1
    cdef int change(self, Source *source, int interest) except -1
    cdef int remove(self, Source *source) except -1
    cdef int begin_wait(self) except -1
    cdef int wait(self, int timeout_ms) noexcept nogil
    cdef void close(self) noexcept


cdef Poller new_poller(str name)
cdef void unwatch_natively(int epoll, int fd) noexcept nogil
cdef int look_natively(int epoll, Ready *ready) noexcept nogil
