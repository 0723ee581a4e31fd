# The contract of _statsd: datagrams that nobody waits for, and the metrics of requests in them.
from libc.stdint cimport int64_t

from pyserver._http cimport Span
from pyserver._system cimport iovec, sockaddr_storage, socklen_t


cdef enum:
    DATAGRAM_ROOM = 1432        # what fits into a packet of Ethernet, with the headers of IPv6
    STATUSES = 16               # different ones that are counted before they are sent


cdef class Datagrams:
    cdef sockaddr_storage _address
    cdef socklen_t _address_size
    cdef int _fd

    cdef bint send(self, iovec *parts, size_t count) noexcept nogil


cdef class Statsd:
    cdef readonly Datagrams target
    cdef bytes _prefix
    cdef bytes _tail                    # the tags, of every metric
    cdef list _texts                    # owns what the spans point to
    cdef Span _requests                 # what each metric begins with, up to its number
    cdef Span _duration
    cdef Span _status
    cdef Span _counter                  # … and what it ends with
    cdef Span _timer
    cdef char _packet[DATAGRAM_ROOM]
    cdef Py_ssize_t _used
    cdef int64_t _count                 # of requests since the last datagram
    cdef int _statuses[STATUSES]
    cdef int64_t _status_counts[STATUSES]
    cdef int _status_count

    cdef Span _lasting(self, bytes text) except *
    cdef void note(self, int status, int64_t duration_ns) noexcept nogil
    cdef void flush(self) noexcept nogil
    cdef void _count_status(self, int status) noexcept nogil
    cdef void _put(self, Span name, Span number, Span end) noexcept nogil
    cdef void _put_count(self, Span name, Span middle, int64_t count) noexcept nogil
    cdef void _send(self) noexcept nogil
