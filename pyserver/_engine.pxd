# The contract of _engine: the connections of one worker, and one request in flight.
from libc.stdint cimport int64_t, uint8_t

from pyserver._access cimport AccessLog
from pyserver._connection cimport Buffers, Connection, Content, DeadlineList, Durations, Reader, Source
from pyserver._exchange cimport Exchange, Gateway, Transport
from pyserver._http cimport Bounds, Head, Limits, Out, Span
from pyserver._poller cimport Poller
from pyserver._response cimport Response
from pyserver._scoreboard cimport Slot
from pyserver._system cimport sockaddr_storage


cdef struct Listener:
    Source source
    int index


cdef class Engine(Transport):
    cdef readonly list listeners
    cdef Gateway _gateway
    cdef Poller _poller
    cdef Bounds _bounds
    cdef Buffers _buffers
    cdef DeadlineList _lists[8]
    cdef Listener *_listeners
    cdef int _listener_count
    cdef dict _watches
    cdef list _unwatched
    cdef Reader _scratch                # what is received before it is known to be incomplete
    cdef int64_t _out_since_ns
    cdef Slot _own_slot
    cdef int64_t _stamp_until_ns
    cdef bytes _server
    cdef bint _with_date
    cdef int64_t _now_ns
    cdef int64_t _looked_ns             # when the watches were looked at last
    cdef int64_t _seen_ns               # what the peers sent until then has been reported; later deadlines have time
    cdef int64_t _full_since_ns         # the first of several reports that had no room for all
    cdef int _full_waits                # … and how many they are
    cdef Connection *_dead              # closed in this round; their events may still be under way
    cdef Connection **_again            # connections with more to read than one turn allows
    cdef int _again_count
    cdef int _again_capacity
    cdef int64_t _accept_again_ns       # when accepting goes on after descriptors ran out; 0: it goes on now
    cdef int64_t _said_exhausted_ns
    cdef int64_t _said_unspooled_ns
    cdef readonly int connections
    cdef readonly int64_t requests
    cdef readonly bint is_retiring
    cdef bint _is_stopped
    cdef bint _accepts
    cdef int _forks                     # of this process, when the engine was made
    cdef int _most_connections          # that the descriptors were found to be enough for; 0: not found yet
    cdef int _last_descriptor           # connections beyond it wait until there are fewer
    cdef public int64_t max_requests
    cdef public object on_max_requests

    cdef int _run_signal_handlers(self) except -1
    cdef int _look_around(self) except -1
    cdef int _note_seen(self, int count, int64_t seen_ns) noexcept
    cdef int _tick(self, int64_t now_ns) except -1
    cdef int _dispatch(self, Source *source, int events) except -1
    cdef int _tend(self, Connection *connection, int events) except -1
    cdef int _give_up(self, Connection *connection) except -1
    cdef int _go_on_reading(self, Connection *connection, bint is_broken) except -1
    cdef int _go_on_writing(self, Connection *connection) except -1
    cdef int _go_on_later(self, Connection *connection) except -1
    cdef int _run_again(self, int count) except -1
    cdef int _accept(self, Listener *listener, bint serves) except -1
    cdef int _adopt(self, int fd, const sockaddr_storage *address, int listener, bint serves) except -1
    cdef int _pause_accepting(self, int reason) except -1
    cdef int _resume_accepting(self) except -1
    cdef int _drop_copy(self, Connection *connection) except -1
    cdef int _receive(self, Connection *connection, bint to_the_end) except -1
    cdef int _ended(self, Connection *connection) except -1
    cdef int _received_in_place(self, Connection *connection, Content *content, Py_ssize_t got) except -1
    cdef int _received(self, Connection *connection, Py_ssize_t got) except -1
    cdef int _advance(self, Connection *connection, Reader *reader) except -1
    cdef int _leave(self, Connection *connection, Reader *reader) except -1
    cdef int _begin_content(self, Connection *connection, Reader *reader) except? -1
    cdef int _feed(self, Connection *connection, const Reader *reader, unsigned char *base, Py_ssize_t length, Py_ssize_t *consumed) except? -1
    cdef bint _keep(self, Connection *connection, const Reader *reader, Span data) except -1
    cdef int _run(self, Connection *connection, Reader *reader) except -1
    cdef int _refuse(self, Connection *connection, const Reader *reader, int fault, Py_ssize_t at=*) except -1
    cdef int _answer(self, Connection *connection, const Reader *reader, int status, str words) except -1
    cdef int join_blocks(self, Connection *connection, bint wanted) except -1
    cdef int send(self, Connection *connection) except -1
    cdef int _give(self, Connection *connection, int more) except -1
    cdef int _trim_out(self) except -1
    cdef int send_block(self, Connection *connection, object block, const unsigned char *data, Py_ssize_t length, bint lent, bint in_chunk) except -1
    cdef int _queue_lent(self, Connection *connection, object block, const unsigned char *data, Py_ssize_t length) except -1
    cdef int _queue(self, Connection *connection, const unsigned char *data, Py_ssize_t length) except -1
    cdef int _wait_for_room(self, Connection *connection) except -1
    cdef int _drain(self, Connection *connection) except -1
    cdef int send_file(self, Connection *connection, int file, int64_t offset, int64_t length) except -1
    cdef int _lose(self, Connection *connection) except -1
    cdef int _settle(self, Connection *connection) except -1
    cdef int _watch(self, Connection *connection, int interest) except -1
    cdef int _finish(self, Connection *connection) except -1
    cdef int _discard(self, Connection *connection) except -1
    cdef int _close(self, Connection *connection) except -1
    cdef int _free_dead(self) noexcept
    cdef int _expire(self) except -1
    cdef int _expire_one(self, Connection *connection, int reason) except -1
