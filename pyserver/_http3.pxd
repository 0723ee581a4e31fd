# The contract of _http3: a connection of QUIC that speaks HTTP/3.
from libc.stdint cimport int64_t, uint8_t, uint64_t

from pyserver._carried cimport CarriedStream
from pyserver._channel cimport Session
from pyserver._connection cimport Connection
from pyserver._http cimport Span
from pyserver._reactor cimport Reactor


cdef enum Departing:
    STAYS
    WARNED                      # the client has been told that no more is to be asked; it may not have heard
    LEAVES                      # … and of what it asks now nothing is done


cdef enum Stage:
    # What comes next on the stream of a request; RFC 9114 §4.1.
    BEFORE_HEAD
    IN_CONTENT
    BEHIND_TRAILERS
    REFUSED_WHOLE               # whatever it is, nobody wants it


cdef class HTTP3Session(Session):
    cdef Reactor reactor
    cdef object quic                    # its QuicConnection
    cdef object peer                    # what has it sent, in Python
    cdef object decoder                 # of QPACK
    cdef object encoder
    cdef dict streams                   # of requests, by their numbers
    cdef dict _heads                    # since when requests have begun whose heads have not come, the oldest first
    cdef list _blocked                  # those that have more to give than there is room for
    cdef dict _kept                     # beginnings of frames on other streams, by their numbers
    cdef dict _kinds                    # what other streams are for, by their numbers
    cdef uint64_t _control_left         # of a frame on the control stream that means nothing to us
    cdef bint _has_settings
    cdef uint64_t _goes_from            # the push from which on the client takes none; what it has said last
    cdef uint64_t _pushes_below         # … and which it allows
    cdef bint _in_cancellation          # an instruction on its decoder's stream goes on
    cdef int _control                   # the number of our control stream
    cdef int listener
    cdef int most_streams
    cdef int64_t field_list
    cdef int _family                    # of the client's address, which may change
    cdef int _port
    cdef uint8_t _address[16]
    cdef object _seen_address
    cdef readonly int carried           # connections that are open
    cdef int alive                      # streams that somebody still has
    cdef int64_t owed                   # bytes of content that nobody has received yet
    cdef int64_t _next                  # the number of the next request stream
    cdef int _grudge                    # against a client that costs more than it asks for
    cdef readonly int departing         # Departing
    cdef readonly bint is_closed
    cdef readonly bint has_asked        # for anything
    cdef readonly int64_t quiet_since_ns    # since when nothing has been asked; 0 while something is

    cdef int mark(self) except -1
    cdef Py_ssize_t room(self) noexcept
    cdef int _begin(self) except -1
    cdef int _act(self, object event) except -1
    cdef int _take_data(self, int64_t number, bytes data, bint ends) except -1
    cdef HTTP3Stream _stream(self, int64_t number)
    cdef int _take_other(self, int64_t number, bytes data, bint ends) except -1
    cdef bytes _take_kind(self, int64_t number, bytes data)
    cdef int _take_control(self, int64_t number, bytes data) except -1
    cdef int _take_decoder(self, bytes data) except -1
    cdef int _take_push_id(self, uint64_t kind, uint64_t number) except -1
    cdef int _take_control_frame(self, uint64_t kind, bytes payload) except -1
    cdef int _take_frames(self, HTTP3Stream stream, bytes data, bint ends) except -1
    cdef Py_ssize_t _take_frame_head(self, HTTP3Stream stream, const uint8_t *data, Py_ssize_t length) except -1
    cdef int _take_end(self, HTTP3Stream stream, bint is_cut) except -1
    cdef int _take_content(self, HTTP3Stream stream, Span content) except -1
    cdef int _take_block(self, HTTP3Stream stream, bytes block, bint ends) except -1
    cdef int _open(self, HTTP3Stream stream, list fields, bint ends) except -1
    cdef int _take_trailers(self, HTTP3Stream stream, list fields) except -1
    cdef int _carry(self, HTTP3Stream stream) except -1
    cdef int _note_address(self) except -1
    cdef int _note_reset(self, int64_t number, bint stops) except -1
    cdef int _tell(self, HTTP3Stream stream) except -1
    cdef int _refuse(self, HTTP3Stream stream, int code, const char *why) except -1
    cdef int _fail(self, int code, str why) except -1
    cdef int _bear(self, int grudge) except -1
    cdef int _forget(self, HTTP3Stream stream) except -1
    cdef int _wake_blocked(self) except -1
    cdef int _goaway(self, object number) except -1
    cdef int _close(self) except -1
    cdef str _who(self)


cdef class HTTP3Stream(CarriedStream):
    cdef HTTP3Session http3             # its session, which is also `session`
    cdef int64_t number
    cdef object sender                  # what QUIC has yet to send of it, and to hear that it has come
    cdef int stage                      # Stage
    cdef bint in_frame
    cdef uint64_t frame_kind
    cdef uint64_t frame_left
    cdef bytes kept                     # the beginning of a frame
    cdef int64_t expected               # bytes of content, where content-length tells; -1 else
    cdef int64_t received
    cdef bint has_input_ended           # nothing more comes from QUIC
    cdef bint is_blocked
    cdef bint is_open                   # it counts as a connection
    cdef list fields                    # of the head, or of trailers, that is being said

    cdef Py_ssize_t backlog(self) except -1
    cdef int put_frame(self, int kind, bytes payload, bint ends) except -1
    cdef int put(self, bytes data, bint ends) except -1
