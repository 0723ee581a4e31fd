# The contract of _commons: what is said of a connection that moves to another worker.
from libc.stdint cimport int64_t, uint64_t

from pyserver._connection cimport Connection
from pyserver._http cimport Bounds
from pyserver._proxies cimport Proxies


cdef struct Arrival:
    Connection *connection      # NULL: there is none now, or none that is understood
    uint64_t listener           # the inode of the socket that it was accepted from
    int64_t since_ns            # when its request was there, as far as is known; 0 for none
    int64_t deadline_ns         # of what it waits for
    int reason                  # … which is this
    bint was_lost               # there was something that was not understood
    bint was_interrupted
    bint is_short               # descriptors are, so that what is there has been left


cdef bint put_connection(int commons, const Connection *connection, uint64_t listener, int64_t since_ns) noexcept nogil
cdef int take_connection(
    int commons, Arrival *arrival, const Bounds *bounds, const Bounds *trusted_bounds, Proxies proxies
) except -1
