# The contract of _doors: listeners that are closed while the application runs.
from libc.stdint cimport int64_t

from pyserver._system cimport sockaddr_storage


cdef enum:
    DOORS = 64          # listeners that can be guarded
    TAKEN = 4096        # connections that can be taken off their queues


cdef struct Taken:
    # A connection that was accepted in the handler.
    int fd
    int door            # the index of its listener
    sockaddr_storage peer


cdef int guard_doors(int poller, const int64_t *busy, const int64_t *is_last) except -1
cdef int add_door(int fd) except -1
cdef bint take_doors() noexcept nogil
cdef bint next_taken(Taken *taken) noexcept nogil
cdef size_t closer() noexcept nogil
