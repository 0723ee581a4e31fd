# The layout of a scoreboard slot, shared by whoever writes it and whoever reads it.
from libc.stdint cimport int64_t


cpdef enum Cell:
    # Words of a slot, 64 bits each. One writer each; the arbiter only reads.
    STATE = 0           # WorkerState; written by the worker base
    BUSY_SINCE_NS       # monotonic start of the current request; 0 while none runs
    REQUESTS            # requests answered by the application
    CONNECTIONS         # open now
    ACCEPTED            # connections taken from a listener
    REFUSED             # requests answered 4xx or 5xx without the application
    ERRORS              # requests whose application raised or broke PEP 3333
    BYTES_SENT          # content bytes given to clients
    STOPS               # 1 once the whole server stops; the arbiter's to write


cdef enum:
    LINE_AT = 256       # bytes from the start of a slot to the text of the request line
    LINE_SIZE = 256     # the text, cut to fit, ended by NUL
    SLOT_SIZE = 512     # a multiple of the cache line, so that no two workers share one


cdef struct Slot:
    int64_t cells[32]
    char line[256]
