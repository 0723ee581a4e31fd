# The layout of a scoreboard slot, shared by whoever writes it and whoever reads it.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint64_t
from libc.string cimport memcpy

from pyserver._system cimport pyserver_bit_length


cpdef enum Cell:
    # Words of a slot, 64 bits each. One writer each, the worker unless it says something else; docs/scoreboard.md is
    # made of these lines.
    STATE = 0           # 1 while it boots, 2 while it serves, 3 while it leaves
    BUSY_SINCE_NS       # when the oldest of its requests began; 0 while none runs
    REQUESTS            # requests answered by the application
    CONNECTIONS         # connections that are open now
    ACCEPTED            # connections taken from a listener
    REFUSED             # requests answered 4xx or 5xx without the application
    ERRORS              # requests whose application raised or broke PEP 3333
    BYTES_SENT          # content bytes given to clients
    STOPS               # 1 once the whole server stops; the arbiter's to write
    TIMEOUT_NS          # which requests were over when the worker was last told so; the arbiter's to write
    DISMISSED           # 1 when a worker that boots is not to serve any more; the arbiter's to write
    ENDS_REQUESTS       # 1 when the class of the worker can end one request and go on
    CHOSEN              # which of the built-in classes the worker is, where it chose itself
    TAKES               # 1 when the worker takes connections that others pass on
    MOVES               # 1 when one that leaves may pass on those that it has; the arbiter's to write
    GIVEN_LEAVING       # connections passed on because the worker leaves
    GIVEN_BUSY          # connections passed on because the application kept the worker from them
    GIVEN_UNEVEN        # connections passed on because the worker had more to do than others
    GIVEN_ALWAYS        # connections passed on because each is, after each response
    TAKEN               # connections that others have passed on
    QUEUE_NS            # how long requests that were here have waited for the worker, all together
    QUEUE_MOST_NS       # how long that one has waited that waited longest
    WAITS_SINCE_NS      # since when the worker has had nothing to do; 0 while it has
    DRAINS              # 1 once the server is to stop, which who asks for its health is told; the arbiter's to write
    DURATION_NS         # how long the requests that were answered have taken, all together
    QUIC                # by which number other workers find it that connections of QUIC come to; 0 where it takes none
    ROWS                # how many rows have ever been used; those behind them are never looked at. 0 counts as 1


cdef enum:
    CELLS = 32
    BUCKETS = 32        # of the histogram: the one of index n counts requests of n binary digits of microseconds
    LINE_SIZE = 277     # the text, cut to fit, ended by NUL; fills the row to five cache lines of 64 bytes


cdef struct Row:
    # What one thread or greenlet is doing; a multiple of the cache line, so that no two share one.
    int64_t busy_since_ns       # monotonic start of its current request; 0 while none runs
    int64_t alive_ns            # when that request began, or last gave a block of its response: its time runs from here
    uint64_t thread             # pthread_self() of who runs it, as faulthandler names it; 0 where that is not known
    uint8_t address[16]         # of the peer of that request, or of the last one
    uint16_t port
    uint8_t family              # of the address: 4, 6, or 0 for a Unix socket
    char line[LINE_SIZE]        # method and target


cdef struct Slot:
    int64_t cells[CELLS]
    int64_t latencies[BUCKETS]
    Row rows[1]                 # as many as the scoreboard has


cdef inline void note_latency(Slot *slot, int64_t duration_ns) noexcept nogil:
    """Count a request that took so long."""
    slot.cells[<int> Cell.DURATION_NS] += duration_ns
    slot.latencies[min(pyserver_bit_length(<unsigned long long> duration_ns // 1000), BUCKETS - 1)] += 1


cdef inline void note_request_line(Row *row, const unsigned char *text, Py_ssize_t length) noexcept nogil:
    """Leave method and target where the arbiter can read them."""
    length = min(length, <Py_ssize_t> LINE_SIZE - 1)
    memcpy(row.line, text, <size_t> length)
    row.line[length] = 0


cdef str peer_name(int family, const uint8_t *address, int port)
