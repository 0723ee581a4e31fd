# The contract of _http_call: an HTTP request as ASGI has it.
from libc.stdint cimport int64_t

from pyserver._call cimport Call


cdef enum Phase:
    # Which event send() takes next.
    AWAIT_START
    AWAIT_BODY
    AWAIT_TRAILERS
    COMPLETED


cdef class HTTPCall(Call):
    cdef Phase _phase
    cdef bint takes_trailers            # the client has said so
    cdef bint _has_trailers             # the application will
    cdef bint has_ended                 # the client sends no more
    cdef bint is_told_to_leave          # the worker would like to, and the application is told
    cdef bint _was_told_all             # that the content is complete
    cdef list _content                  # blocks that receive() has not given yet
    cdef Py_ssize_t _held               # bytes in them

    cdef bytes _take_content(self)
    cdef object _start_response(self, object message)
    cdef object _respond(self, object message)
    cdef object _respond_with(self, bytes block, bint more)
    cdef object _end_content(self)
    cdef object _send_path(self, object message)
    cdef object _send_file(self, object message)
    cdef int _put_file(self, int file, int64_t offset, int64_t length) except -1
    cdef object _hint(self, object message)
    cdef object _trail(self, object message)
    cdef int _answer_for_it(self, object error) except -1
    cdef int _fail_with(self, int status=*, str why=*) except -1
