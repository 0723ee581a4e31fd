# The contract of _http2: a connection that speaks HTTP/2.
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

from pyserver._carried cimport CarriedStream
from pyserver._channel cimport Session, Version
from pyserver._connection cimport Connection, Reader
from pyserver._frames cimport H2Connection, H2Event, H2Limits, H2Stream
from pyserver._hpack cimport BlockOutcome, Decoder, Encoder, FieldLimits
from pyserver._http cimport Out, Span
from pyserver._reactor cimport Reactor


cdef enum Leaving:
    STAYS
    WARNED                      # the client has been told that no more is to be asked; it may not have heard
    LEAVES                      # … and of what it asks now nothing is done


cdef class HTTP2Session(Session):
    cdef Reactor reactor
    cdef H2Connection frames
    cdef Decoder decoder
    cdef Encoder encoder
    cdef FieldLimits field_limits
    cdef Out out                        # frames that the socket has not taken: from `_sent` on
    cdef Py_ssize_t _sent
    cdef unsigned char *_kept           # the beginning of a frame
    cdef Py_ssize_t _kept_length
    cdef list _waiting                  # streams whose requests are to begin after the one that has its turn first
    cdef bint _has_next                 # there is one that has
    cdef int _begun                     # streams that have had a turn, or are to have one now
    cdef list _blocked                  # streams that have more to give than there is room for
    cdef int carried                    # connections that are open
    cdef int alive                      # streams that somebody still has
    cdef Leaving leaving
    cdef bint has_ended                 # the client sends no more
    cdef bint _peer_leaves              # … or asks for nothing more
    cdef uint64_t given                 # bytes of content, to all streams
    cdef bint _is_ending                # once `out` has left, the connection is closed
    cdef bint _has_heard                # something was received since it was decided how long to wait
    cdef bint _has_given                # … or taken by the socket
    cdef bint _has_asked                # … or a request has begun or ended
    cdef int64_t _idle_until_ns         # unless something is asked for before; 0 while nothing has been idle
    cdef dict _rests                    # until when content is still taken that nobody wants, by streams
    cdef int64_t _now_ns
    cdef int64_t _held_until_ns         # what little room there is may become more until then; 0 while there is enough
    cdef int64_t _earned_ns             # until when credit was given for the time

    cdef int begin(self, const unsigned char *data, Py_ssize_t length, int64_t now_ns) except -1
    cdef int begin_upgraded(self, Reader *reader, bytes settings, int64_t now_ns) except -1
    cdef Py_ssize_t pending(self) noexcept
    cdef bint send_some(self) except -1
    cdef int mark(self) except -1

    cdef int _read(self) except -1
    cdef int _earn(self) except -1
    cdef int _note_end(self) except -1
    cdef list _streams(self)
    cdef int _tell(self, HTTP2Stream stream) except -1
    cdef int _lose(self, HTTP2Stream stream) except -1
    cdef int _ping(self) except -1
    cdef int _take(self, Py_ssize_t length) except -1
    cdef int _act(self, H2Event *event) except -1
    cdef int _limit_table(self) except -1
    cdef int _take_content(self, H2Event *event, HTTP2Stream stream) except -1
    cdef int let_end(self, H2Stream *slot) except -1
    cdef int _end_rests(self) except -1
    cdef int _act_on_block(self, H2Event *event) except -1
    cdef int _open(self, H2Event *event, bint is_over_limit) except -1
    cdef int _carry(self, HTTP2Stream stream) except -1
    cdef bint _may_begin(self) noexcept
    cdef int _let_begin(self, HTTP2Stream stream) except -1
    cdef int begin_next(self) except -1
    cdef int _take_trailers(self, H2Event *event, bint is_over_limit) except -1
    cdef int _refuse(self, uint32_t id, int code, const char *why) except -1
    cdef int _fail(self, int code, str why) except -1
    cdef int _lose_streams(self) except -1
    cdef int _wake_blocked(self) except -1
    cdef int64_t room_on(self, const H2Stream *slot, int64_t wanted) except -1
    cdef int _await(self) except -1
    cdef int _wait_for(self, int reason) except -1
    cdef int _end(self) except -1
    cdef int _leave(self) except -1


cdef class HTTP2Stream(CarriedStream):
    cdef HTTP2Session http2             # its session, which is also `session`
    cdef uint32_t id
    cdef bint is_let                    # it is to have its first turn
    cdef bint has_begun                 # … and has had it
    cdef bint is_blocked
    cdef uint64_t given_then            # what the session had given of content when it was looked at last
    cdef int64_t quantum                # bytes that it may give before others that wait have their turn
    cdef int bell                       # written to when there is room, by another thread; -1 for none

    cdef int ring(self) except -1


cdef class HTTP2Limits(Version):
    cdef H2Limits limits

    cdef HTTP2Session _session(self, Connection *connection, object reactor)

