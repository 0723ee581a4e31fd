# The contract of _websocket: frames and messages of one WebSocket. Bytes in, events out; events in, bytes out.
from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint64_t


cpdef enum Event:
    # What receive() found; the numbers are those of the opcodes, RFC 6455 §11.8.
    NOTHING = 0                 # all was consumed, more is needed
    TEXT = 1                    # a str
    BINARY = 2                  # bytes
    CLOSE = 8                   # a code, and a str as the reason
    PING = 9                    # bytes
    PONG = 10                   # bytes
    FAIL = 16                   # what came breaks a rule: a code to close with, and a str that says which


cdef struct Frame:
    # A frame to be sent: its head, then `length` bytes of `data`, which somebody else owns.
    unsigned char head[10]
    int head_length
    const unsigned char *data
    Py_ssize_t length


cdef struct FrameHead:
    uint64_t length             # of the payload
    uint8_t first               # FIN, the reserved bits, the opcode
    uint8_t key[4]


cdef struct Utf8:
    # Between two bytes of a character: how many are missing, and the bounds of the next.
    uint8_t missing
    uint8_t low
    uint8_t high


cdef class Deflate:
    cdef readonly int server_bits
    cdef readonly int client_bits
    cdef readonly bint server_no_context_takeover
    cdef readonly bint client_no_context_takeover
    cdef readonly int level
    cdef readonly int mem_level
    cdef readonly bytes response
    cdef Deflate _answer(self, list parameters)


cdef class Handshake:
    cdef readonly int status
    cdef readonly str reason
    cdef readonly list refusal_fields
    cdef readonly bytes accept
    cdef readonly list subprotocols
    cdef readonly list offers
    cpdef Deflate agree(self, Deflate wanted)
    cdef int _read(self, bytes method, list fields) except -1
    cdef int _refuse(self, int status, str reason) except -1


cpdef read_handshake(bytes method, int minor, list fields)
cpdef bytes accept_key(bytes key)


cdef class WebSocket:
    cdef readonly bint close_sent
    cdef readonly bint close_received
    cdef readonly bint is_failed
    cdef readonly int code              # of the CLOSE or FAIL

    cdef Deflate _deflate
    cdef object _deflater               # there while it has a history that may be used
    cdef object _inflater
    cdef uint64_t _max_message

    cdef uint8_t _partial[14]           # a frame's head, while it arrives
    cdef uint8_t _partial_length
    cdef bint _in_payload
    cdef FrameHead _frame
    cdef uint64_t _left                 # bytes of the frame's payload still to come
    cdef object _control                # payload of a control frame that came in parts

    cdef int _kind                      # TEXT or BINARY within a message, else NOTHING
    cdef bint _is_deflated
    cdef Utf8 _utf8
    cdef int _final_blocks              # DEFLATE blocks of the message that ended a stream
    cdef bytes _block                   # the message so far, while it is a single inflated block
    cdef PyObject *_memory              # … and once it is more: bytes of `_capacity`, being filled; owned
    cdef Py_ssize_t _used
    cdef Py_ssize_t _capacity
    cdef object _payload                # what take() gives

    cdef int receive(self, const unsigned char *data, Py_ssize_t length, Py_ssize_t *consumed) except -1
    cdef object take(self)
    cdef object frame_text(self, str text, Frame *frame)
    cdef object frame_binary(self, bytes data, Frame *frame)
    cpdef bytes text(self, str text)
    cpdef bytes binary(self, bytes data)
    cpdef bytes ping(self, bytes data=*)
    cpdef bytes pong(self, bytes data=*)
    cpdef bytes close(self, int code=*, str reason=*)
    cpdef rest(self)

    cdef Py_ssize_t _take_head(self, const unsigned char *data, Py_ssize_t length, int *event) except -1
    cdef int _begin_frame(self) except -1
    cdef int _take_payload(self, const unsigned char *data, Py_ssize_t length) except -1
    cdef int _take_control(self, const unsigned char *data, Py_ssize_t length) except -1
    cdef int _end_control(self, bytes payload) except -1
    cdef int _take_whole(self, const unsigned char *data, Py_ssize_t length) except -1
    cdef int _take_part(self, const unsigned char *data, Py_ssize_t length) except -1
    cdef int _take_deflated(self, const unsigned char *data, Py_ssize_t length, bint is_last) except -1
    cdef int _inflate(self, bytes data) except -1
    cdef uint64_t _room_left(self) noexcept
    cdef int _keep_block(self, bytes block) except -1
    cdef int _make_room(self, Py_ssize_t more, Py_ssize_t expected) except -1
    cdef int _end_message(self) except -1
    cdef int _decode_text(self, const unsigned char *text, Py_ssize_t length) except -1
    cdef int _fail(self, int code, str reason) except -1
    cdef int _drop_message(self) except -1
    cdef int _check_open(self) except -1
    cdef object _frame_data(self, int kind, bytes data, Frame *frame)
    cdef bytes _compress(self, bytes data)


cdef bint is_token(bytes text)
