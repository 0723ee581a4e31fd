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
    cdef int64_t _busy_ns               # since then, of this worker

    cdef Slot *_slot(self, int at) noexcept nogil
    cdef bint somebody_waits(self, int64_t now_ns) noexcept nogil
    cdef int surplus(self, int64_t now_ns, int64_t busy_ns, int connections) noexcept nogil
    cdef int _weigh(self, int connections) noexcept nogil
