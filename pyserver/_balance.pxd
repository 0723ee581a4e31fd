# The contract of _balance: whether a worker does more than its share.
from libc.stdint cimport int64_t

from pyserver._scoreboard cimport Slot


cdef class Balance:
    cdef char *_first                   # the slots of all workers
    cdef Py_ssize_t _stride
    cdef int _count
    cdef Slot *_own
    cdef int64_t *_before               # what each had served when it was looked at last
    cdef int64_t _looked_ns
    # Since then, of this worker:
    cdef int64_t _busy_ns               # how long it did not wait
    cdef int _surplus                   # what it has to give, as soon as somebody waits
    cdef int64_t _worked_ns             # the processor's time of this thread, so far

    cdef Slot *_slot(self, int at) noexcept nogil
    cdef bint somebody_takes(self) noexcept nogil
    cdef bint somebody_waits(self, int64_t now_ns, int64_t for_ns) noexcept nogil
    cdef bint somebody_has_fewer(self, int64_t connections) noexcept nogil
    cdef int surplus(self, int64_t now_ns, int64_t busy_ns, int connections) noexcept nogil
    cdef bint _note_busy(self, int64_t now_ns, bint is_known) noexcept nogil
    cdef int _weigh(self, int connections) noexcept nogil
