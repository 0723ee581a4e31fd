# The contract of _response: response heads and their framing. Facts in, bytes out.
from libc.stdint cimport int64_t, uint32_t

from pyserver._http cimport Out


cdef enum:
    DATE_LENGTH = 37            # of a Date line with its CRLF


cdef enum Framing:
    UNDECIDED = 0
    NO_CONTENT                  # HEAD, 204, 304: the head is all there is
    BY_LENGTH
    BY_CHUNKS
    BY_CLOSE


cdef struct Response:
    int status
    Framing framing
    bint is_started             # start_response_head() has been called
    bint is_head_done           # the head is complete and may be on the wire
    bint to_head_request
    bint has_length
    bint has_date
    bint has_server
    bint has_alternative        # Alt-Svc
    bint says_close
    bint drops_hop_by_hop       # what is the server's to send is left out, where WSGI has it refused
    Py_ssize_t head_at          # where its head begins in Out
    int64_t length              # declared content bytes
    int64_t sent                # content bytes given to Out or to the socket


cdef struct Stamp:
    # The field lines that are the same for every response of a second.
    char text[160]
    int length                  # of both together
    int date_length             # Date comes first


cdef void reset_response(Response *response, bint to_head_request) noexcept nogil
cdef int start_response_head(Response *response, Out *out, object status, object fields) except -1
cdef int start_message_head(Response *response, Out *out, object status, object fields) except -1
cdef int append_fields(Response *response, Out *out, object fields) except -1
cdef int finish_response_head(Response *response, Out *out, const Stamp *stamp, int64_t known, uint32_t minor, bint *persists) except -1
cdef int append_stamp(Response *response, Out *out, const Stamp *stamp) except -1
cdef int append_chunk_size(Out *out, Py_ssize_t size) except -1
cdef int put_date(char *to, int64_t unix_time) noexcept nogil
cdef int set_stamp(Stamp *stamp, int64_t unix_time, bytes server, bint with_date) except -1
