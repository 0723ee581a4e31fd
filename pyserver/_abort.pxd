# The contract of _abort: whose requests are ended with the process.
from pyserver._exchange cimport Transport


cdef int answer_for(Transport transport) except -1
cdef void forget(Transport transport) noexcept
cdef void bequeath_by(void (*will)() noexcept nogil) noexcept
