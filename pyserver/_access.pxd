# The contract of _access: one line for each answered request.
from libc.stdint cimport int64_t, uint64_t

from pyserver._atoms cimport Facts, Own, Step
from pyserver._http cimport Out
from pyserver._statsd cimport Datagrams, Statsd


cdef class RequestIds:
    cdef readonly bint is_told          # to the application
    cdef uint64_t _state[2]

    cdef bytes new(self, const Facts *facts, bint is_believed)


cdef struct Gathered:
    # The head of a slot, which the lines follow; the worker's to write.
    int64_t complete            # bytes of whole lines
    int64_t written             # of them, how many the file has
    int64_t torn                # in the first slot, of the file: who writes to it now, or has the rest of its last line
    char filling[40]            # to a cache line


cdef struct Outlet:
    # Who writes, and where.
    int fd                      # -1 where there is no file
    bint is_file                # and no pipe or terminal
    unsigned char *memory       # the slots
    int slots
    int64_t *torn
    int64_t owner               # 1 + its slot


cdef class AccessFile:
    cdef readonly str path
    cdef readonly int slots
    cdef str _directory                 # that the path was meant from
    cdef str _place
    cdef int _fd                        # -1 where there is no file
    cdef unsigned char *_memory

    cdef Gathered *gathered(self, int slot) except NULL
    cdef Outlet outlet(self, int slot) except *


cdef class AccessLog:
    cdef readonly bint wants_response_head
    cdef readonly bint wants_environ
    cdef readonly bint wants_phases
    cdef readonly bint wants_ids
    cdef readonly str path
    cdef readonly int64_t dropped       # lines that could not be written
    cdef object _log
    cdef AccessFile _file
    cdef AccessFile _memory             # where lines are gathered, if not in that of the file
    cdef Outlet _outlet
    cdef Statsd _statsd
    cdef object _syslog                 # to whom lines are sent, as well
    cdef Datagrams _datagrams           # … where it takes each by itself
    cdef bytes _syslog_head
    cdef const char *_syslog_start
    cdef size_t _syslog_length
    cdef bint _has_datagrams
    cdef bint _has_statsd
    cdef bint _has_lines                # there is somebody to read them
    cdef list _excluded                 # paths without a line
    cdef bint _samples
    cdef uint64_t _sampled              # … of 2**64, how many are recorded
    cdef uint64_t _random
    cdef int64_t _slow_ns
    cdef Gathered *_gathered
    cdef Out _lines                     # gathered
    cdef Py_ssize_t _complete           # bytes of whole lines
    cdef Py_ssize_t _written            # bytes of them that the file has
    cdef Py_ssize_t _rest               # bytes at their beginning that belong to a line of which the file has a part
    cdef unsigned char *_spilled        # where they are while one does not fit in the slot, else NULL
    cdef int64_t _oldest_ns
    cdef Step *_steps
    cdef int _step_count
    cdef list _texts                    # owns what the steps point to
    cdef Py_ssize_t _room               # that a line takes, but for what clients and the application choose
    cdef bint _is_quick                 # the last response was
    cdef Own _own
    cdef long _zone_offset              # seconds that local time is ahead of UTC
    cdef int64_t _time_until_ns
    cdef bint _is_failing

    cdef int _gather_in(self, AccessFile file, int slot) except -1
    cdef list _with_constants(self, list steps)
    cdef int _take_steps(self, list steps) except -1
    cdef int record(self, const Facts *facts, bytes response_head, dict environ, int64_t now_ns) except -1
    cdef int settle(self, int64_t now_ns, bint is_pressed, bint is_never_held_up) except -1
    cdef int64_t due_ns(self) noexcept
    cdef int _make_room(self, Py_ssize_t more) except -1
    cdef int _spill(self, Py_ssize_t more) except -1
    cdef int _append(self, bytes data) except -1
    cdef int _print_line(self, const Facts *facts, bytes response_head, dict environ) except -1
    cdef bint _leaves_out(self, const Facts *facts) except -1
    cdef void record_last(self, const Facts *facts) noexcept nogil
    cdef void forget(self) noexcept
    cdef int flush_lines(self) except -1
    cdef int _flush_file(self) except -1
    cdef void _put_lines(self) noexcept nogil
    cdef int _give_up(self, int number) except -1
    cdef void _send_lines(self, const unsigned char *line, const unsigned char *end) noexcept nogil
    cdef int _note_time(self, int64_t now_ns) noexcept
    cdef int _print_found(self, const Step *step, const Facts *facts, bytes response_head, dict environ) except -1
    cdef int _print_object(self, object value) except -1
    cdef int _print_user(self, const Facts *facts) except -1


cdef class LoggerAccess(AccessLog):
    cdef object _put
