# The contract of _websocket_call: a WebSocket as ASGI has it.
from pyserver._call cimport Call
from pyserver._websocket cimport Deflate, Handshake, WebSocket


cdef enum Phase:
    CONNECTING                  # until the application has accepted or refused it
    DENYING                     # … while it answers with a response
    OPEN
    CLOSED


cdef class WebSocketCall(Call):
    cdef Phase _phase
    cdef Handshake handshake
    cdef Deflate wanted                 # the compression that the server would like; None for none
    cdef WebSocket _socket
    cdef Py_ssize_t max_message
    cdef int max_queue
    cdef bint _was_connected            # the application has been told of it
    cdef bint _was_told_end
    cdef list _messages                 # that receive() has not given yet
    cdef Py_ssize_t _held               # bytes in them
    cdef bytes _early                   # what the client has sent before the WebSocket was accepted
    cdef bytes _owed                    # the last ping that is not answered yet
    cdef int _code                      # why it is closed, 0 while it is not
    cdef str _reason

    cdef int _take_frames(self, const unsigned char *data, Py_ssize_t length) except -1
    cdef int _take_event(self, int event) except -1
    cdef int _answer_close(self, str reason) except -1
    cdef int _note_closed(self, int code, str reason) except -1
    cdef object _accept(self, object message)
    cdef bytes _handshake_lines(self, object subprotocol, Deflate agreed)
    cdef object _begin_frames(self)
    cdef object _refuse(self)
    cdef object _deny(self, object message)
    cdef object _deny_with(self, object message)
    cdef object _send(self, object message)
    cdef object _close(self, object message)
    cdef int _put_frame(self, bytes frame) except -1
    cdef int _say_close(self, int code, str reason) except -1
    cdef int _hang_up(self) except -1
