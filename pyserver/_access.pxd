# The contract of _access: one line for each answered request.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t

from pyserver._http cimport Head, Out


cdef struct Facts:
    # What an access-log line can tell; borrowed for the call.
    const Head *head
    const unsigned char *base   # where the offsets of `head` begin
    const unsigned char *address
    uint8_t family              # 4, 6, or 0 for a Unix socket
    uint16_t port
    int status
    int64_t sent                # content bytes
    int64_t duration_ns


cdef struct Step:
    int atom                    # Atom
    const unsigned char *text   # of TEXT: what to print; of a field: its name in lower case
    Py_ssize_t length


cdef class AccessLog:
    cdef readonly bint wants_response_head
    cdef readonly bint wants_environ
    cdef readonly str path
    cdef readonly int64_t dropped       # lines that could not be written
    cdef object _log
    cdef int _fd
    cdef Out _lines                     # gathered, not yet written
    cdef int64_t _line_count
    cdef int64_t _oldest_ns
    cdef Step *_steps
    cdef int _step_count
    cdef list _texts                    # owns what the steps point to
    cdef int64_t _now_ns
    cdef int64_t _time_until_ns
    cdef char _time[40]
    cdef int _time_length
    cdef char _pid[24]
    cdef int _pid_length
    cdef bint _is_failing
    cdef bint _may_block        # it is a pipe or a terminal

    cdef int record(self, const Facts *facts, bytes response_head, dict environ, int64_t now_ns) except -1
    cdef int flush_lines(self) except -1
    cdef Py_ssize_t _write(self, Py_ssize_t done) noexcept
    cdef int _print(self, const Step *step, const Facts *facts, bytes response_head, dict environ) except -1
    cdef int _print_text(self, const unsigned char *text, Py_ssize_t length) except -1
    cdef int _print_object(self, object value) except -1
    cdef int _print_number(self, int atom, const Facts *facts) except -1
    cdef int _print_address(self, const Facts *facts) except -1
    cdef int _print_time(self) except -1
    cdef int _print_pid(self) except -1
    cdef int _print_user(self, const Facts *facts) except -1
