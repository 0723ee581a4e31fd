# The contract of _carried: a stream of fields and content as a connection that speaks HTTP/1.1.
from libc.stdint cimport int64_t

from pyserver._channel cimport Carried
from pyserver._connection cimport Connection
from pyserver._http cimport NEED_MORE, Head, Out, Outcome, Span


cdef enum:
    HTTP_2 = 2                  # `Head.minor` of a request that was a stream of HTTP/2
    HTTP_3 = 3                  # … of HTTP/3


cdef enum Awaited:
    # What the text of the response goes on with.
    HEAD_TEXT
    COUNTED                     # content as long as Content-Length says
    CHUNK_SIZE
    CHUNK
    CHUNK_END                   # the CRLF behind a chunk
    TRAILER_TEXT                # what stands behind the last chunk
    OPEN_ENDED                  # content up to the end of the connection, or whatever a tunnel carries
    NOTHING                     # the response is complete


cdef class CarriedStream(Carried):
    cdef Connection *connection         # NULL once it is closed
    cdef Out _input                     # text of the request that is still to be received: from `_read` on
    cdef Py_ssize_t _read
    cdef Py_ssize_t _owed               # bytes of content in it whose room the peer is told of when they are received
    cdef int fault                      # for which the request is refused when its head is parsed; 0 for none
    cdef int minor                      # what its head is said to have
    cdef bint in_chunks                 # its content is given with the framing of chunks, for nobody knows its length
    cdef bint is_tunnel                 # what comes behind its head is no content
    cdef bint is_of_head                # its method is HEAD
    cdef bint has_all                   # the peer sends no more on the stream
    cdef bint is_lost                   # nothing can be said to the peer any more
    cdef int awaited                    # Awaited
    cdef int64_t _left                  # bytes of content, or of a chunk, still to come
    cdef Out _text                      # a head, or trailers, of which not all has come

    # What a version of HTTP does with a response.
    cdef bint has_room(self) except -1
    cdef int begin_fields(self, int status) except -1
    cdef int put_field(self, Span name, Span value) except -1
    cdef int end_fields(self, bint ends) except -1
    cdef Py_ssize_t put_data(self, const unsigned char *data, Py_ssize_t length, bint ends) except -1
    cdef int put_reset(self, bint is_complete) except -1
    cdef int note_given(self) except -1
    cdef int note_blocked(self) except -1
    cdef int note_received(self, Py_ssize_t content) except -1

    # What a session calls.
    cdef Connection *become_connection(self) except NULL
    cdef int take_content(self, Span content) except -1
    cdef int end_content(self) except -1
    cdef int lose(self) except -1

    cdef Py_ssize_t _go_on(self, const unsigned char *data, Py_ssize_t length) except -1
    cdef Py_ssize_t _take_head(self, const unsigned char *data, Py_ssize_t length) except -1
    cdef int _put_head(self, Span text) except -1
    cdef Py_ssize_t _take_size(self, const unsigned char *data, Py_ssize_t length) except -1
    cdef Py_ssize_t _take_content(self, const unsigned char *data, Py_ssize_t length) except -1
    cdef Py_ssize_t _take_trailers(self, const unsigned char *data, Py_ssize_t length) except -1
    cdef int _put_line(self, Span line, int64_t *length, bint *is_chunked) except -1


cdef struct Draft:
    # The text of a request, while its fields come; of what is a Span the memory is the caller's.
    Span method
    Span scheme
    Span path
    Span authority
    Span protocol               # RFC 8441 §4
    Span host
    Out lines
    Out cookies
    int64_t length              # that content-length says; -1 without
    bint has_lines              # so no pseudo-field may follow
    const char *wrong           # what is wrong with it; NULL while nothing is


cdef int begin_draft(Draft *draft) noexcept nogil
cdef int add_field(Draft *draft, Span name, Span value) except -1
cdef const char *wrong_in_trailer(Span name, Span value) noexcept nogil
cdef int finish_draft(Draft *draft, CarriedStream stream, bint ends, bint allows_connect) except -1
