# What is noted of the signals that have come. Handlers write it, on whatever thread a signal finds.
from libc.stdint cimport int64_t


cdef enum:
    NUMBERS = 65        # one more than the highest signal there is


cpdef enum Sender:
    UNKNOWN = -1        # a process outside of our namespace, or one that was not told
    KERNEL = 0


ctypedef void (*Reaction)() noexcept nogil


cdef struct Note:
    # Each word is changed by atomic operations only.
    int64_t by_processes    # how often a process has sent it since it was last taken
    int64_t by_kernel       # how often the kernel has
    int64_t sender          # the last process that did, or UNKNOWN
