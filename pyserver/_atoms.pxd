# The contract of _atoms: what a line of the access log can tell, and how that is printed.
from libc.stdint cimport int64_t, uint8_t, uint16_t
from libc.string cimport memcpy

from pyserver._http cimport Head, Span

cdef enum:
    ATOM_ROOM = 64              # what an atom may take that is no text of the client's
    GROWTH = 6                  # how many bytes one of a client's becomes at most: \ufffd
    BLOCK = 16                  # bytes that a copy of a step's own text takes at once
    SECOND = 1000000000         # nanoseconds


cdef const unsigned char *HEXADECIMAL   # its digits


cdef enum Atom:
    # What a step prints; from USER on, what takes Python to find out.
    TEXT
    REMOTE_ADDRESS
    TIME
    REQUEST_LINE
    STATUS
    METHOD
    PATH
    QUERY
    PROTOCOL
    SENT
    SECONDS
    MILLISECONDS
    MICROSECONDS
    DECIMAL_SECONDS
    QUEUE_SECONDS
    RECEIVE_SECONDS
    APPLICATION_SECONDS
    SEND_SECONDS
    PID
    WORKER
    REQUEST_ID
    REQUEST_FIELD
    USER
    RESPONSE_FIELD
    ENVIRON_VARIABLE


cdef struct Facts:
    # What an access-log line can tell; borrowed for the call.
    const Head *head
    const unsigned char *base   # where the offsets of `head` begin
    const unsigned char *address
    uint8_t family              # 4, 6, or 0 for a Unix socket
    uint16_t port
    int minor                   # as in Head; -1 where the request line was not read to its end
    Py_ssize_t line_length      # of the request line as far as it was received, where `minor` is -1
    int status
    int64_t sent                # content bytes
    int64_t duration_ns
    int64_t queue_ns            # how long it has waited before
    int64_t receive_ns          # … and before that, for the rest of it to arrive
    int64_t headed_ns           # when its response began; 0 where that is not known
    int64_t ended_ns            # when it was complete
    const char *request_id      # NULL for none
    Py_ssize_t request_id_length


cdef struct Step:
    int atom                    # Atom
    const unsigned char *text   # of TEXT: what to print; of a field: its name in lower case
    Py_ssize_t length


cdef struct Own:
    # What lines tell of the process and the moment, ready to be copied.
    char time[40]
    int time_length
    int64_t second_ns           # when the second of `time` began, by the clock that instants are of
    char date[24]               # UTC, for JSON
    char pid[24]
    int pid_length
    char worker[12]
    int worker_length
    bint in_json


cdef inline unsigned char *put_own(unsigned char *to, const Step *step) noexcept nogil:
    """The text of a step, in blocks of which the last one may reach beyond its end, as the room does."""
    cdef Py_ssize_t at = 0
    while at < step.length:
        memcpy(to + at, step.text + at, BLOCK)
        at += BLOCK
    return to + step.length


cdef Span text_of(const Step *step, const Facts *facts) noexcept nogil
cdef unsigned char *put_atom(
    unsigned char *to, const Step *step, Span text, const Facts *facts, const Own *own
) noexcept nogil
cdef unsigned char *put_text(unsigned char *to, Span text) noexcept nogil
cdef unsigned char *put_json(unsigned char *to, Span text) noexcept nogil
cdef unsigned char *put_address(unsigned char *to, const Facts *facts) noexcept nogil
cdef void put_time(Own *own, int64_t unix_time, long zone_offset) noexcept nogil
cdef Span request_field(const Facts *facts, const unsigned char *name, Py_ssize_t length) noexcept nogil
cdef const unsigned char *put_last_line(
    const Step *steps, int count, const Facts *facts, const Own *own, Py_ssize_t *length
) noexcept nogil
