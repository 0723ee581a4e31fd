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
    int minor                   # HTTP/1.minor; -1 where the request line was not read to its end
    int status
    int64_t sent                # content bytes
    int64_t duration_ns
    int64_t queue_ns            # how long it has waited before


cdef struct Step:
    int atom                    # Atom
    const unsigned char *text   # of TEXT: what to print; of a field: its name in lower case
    Py_ssize_t length


cdef struct Own:
    # What lines tell of the process and the moment, ready to be copied.
    char time[40]
    int time_length
    char pid[24]
    int pid_length


cdef class AccessLog:
    cdef readonly bint wants_response_head
    cdef readonly bint wants_environ
    cdef readonly str path
    cdef readonly int64_t dropped       # lines that could not be written
    cdef object _log
    cdef int _fd
    cdef Out _lines                     # gathered
    cdef Py_ssize_t _written            # bytes of them that the file has
    cdef int64_t _line_count
    cdef int64_t _oldest_ns
    cdef Step *_steps
    cdef int _step_count
    cdef list _texts                    # owns what the steps point to
    cdef Own _own
    cdef long _zone_offset              # seconds that local time is ahead of UTC
    cdef int64_t _time_until_ns
    cdef bint _is_failing
    cdef bint _may_block        # it is a pipe or a terminal

    cdef int record(self, const Facts *facts, bytes response_head, dict environ, int64_t now_ns) except -1
    cdef void record_last(self, const Facts *facts) noexcept nogil
    cdef void forget(self) noexcept
    cdef int flush_lines(self) except -1
    cdef Py_ssize_t _write(self, const unsigned char *data, Py_ssize_t length) noexcept nogil
    cdef int _note_time(self, int64_t now_ns) noexcept
    cdef int _print_found(self, const Step *step, const Facts *facts, bytes response_head, dict environ) except -1
    cdef int _print_object(self, object value) except -1
    cdef int _print_user(self, const Facts *facts) except -1
