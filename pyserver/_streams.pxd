# The contract of _streams: connections whose requests run beside others.
from cpython.object cimport PyObject
from libc.stdint cimport int64_t

from pyserver._connection cimport Connection, Reader
from pyserver._exchange cimport Exchange, Stream
from pyserver._http cimport Head
from pyserver._lane cimport Lane
from pyserver._scoreboard cimport Row


cdef class StreamLane(Lane):
    cdef PyObject *_first               # those that run, the oldest first; each is owned
    cdef PyObject *_last
    cdef PyObject *_holder              # the one whose bytes `out` holds; borrowed, NULL while `out` is empty
    cdef list _begun                    # in this round, and not yet told to the application
    cdef int *_free_places              # of rows that were used before
    cdef int _free_count
    cdef int _free_capacity
    cdef int _places                    # rows that were ever used

    # What a stream calls.
    cdef int hold_out(self, Stream stream) except -1
    cdef bint give(self, Stream stream) except -1
    cdef int end_step(self, Stream stream) except -1
    cdef int go_on(self, Stream stream) except -1
    cdef int say_continue(self, Stream stream) except -1
    cdef int wait(self, Stream stream, int reason) except -1
    cdef int complete(self, Stream stream) except -1
    cdef int release(self, Stream stream) except -1
    cdef int stop_counting(self, Stream stream) except -1
    cdef int stand_aside(self, Stream stream) except -1
    cdef int come_back(self, Stream stream) except -1
    cdef int leave_list(self, Stream stream) except -1
    cdef int free_place(self, Stream stream) except -1

    cdef int launch_begun(self) except -1
    cdef bint _launch(self, Stream stream) except -1
    cdef int unread(self, Connection *connection) except -1
    cdef int abandon(self) except -1
    cdef list streams(self)

    cdef bint _give_out(self, Connection *connection, Stream stream) except -1
    cdef int _complete(self, Connection *connection, Stream stream) except -1
    cdef int _record(self, Stream stream) except -1
    cdef int _go_on_behind(self, Connection *connection) except -1
    cdef int _put_aside(self) except -1
    cdef int _begin(self, Connection *connection, Reader *reader) except -1
    cdef int _keep_head(self, Stream stream, const Head *head, const unsigned char *base) except -1
    cdef bint _begin_with_content(self, Connection *connection, Reader *reader, Stream stream, Py_ssize_t *used) except -1
    cdef int _end_content(self, Connection *connection, Stream stream) except -1
    cdef int _take_place(self, Stream stream) except -1
    cdef int _enter_list(self, Stream stream) except -1
    cdef int _answer_for(self, Connection *connection, Reader *reader, Stream stream) except -1
    cdef int _read_stream(self, Connection *connection, bint to_the_end) except -1
    cdef int _take(self, Connection *connection, Stream stream, Py_ssize_t got) except -1
    cdef int _keep_behind(self, Connection *connection, const unsigned char *data, Py_ssize_t length) except -1
    cdef int _read_ahead(self, Connection *connection, Stream stream, bint to_the_end) except -1
    cdef int _look_for_end(self, Connection *connection, Stream stream) except -1
    cdef int _watch_stream(self, Connection *connection, Stream stream) except -1
    cdef int _write_stream(self, Connection *connection, Stream stream) except -1
