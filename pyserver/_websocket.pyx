"""WebSockets as bytes: the handshake's fields, frames, messages, permessage-deflate. No sockets, no clock.

The side of the server, RFC 6455 and RFC 7692. What a client sent is judged byte by byte as it comes, and nothing of it
is repaired: the first wrong byte is a FAIL with the code to close with, and nothing behind it is looked at.
"""
cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF, Py_XDECREF
from cpython.unicode cimport PyUnicode_AsUTF8String, PyUnicode_DATA, PyUnicode_DecodeUTF8, PyUnicode_GET_LENGTH
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy

cdef extern from "Python.h":
    const Py_ssize_t PY_SSIZE_T_MAX
    int _PyBytes_Resize(PyObject **bytes, Py_ssize_t length) except -1
    object PyUnicode_New(Py_ssize_t size, Py_UCS4 largest)
    bint PyUnicode_IS_ASCII(object text)

cdef enum:
    # RFC 6455 §5.2
    FIN = 0x80
    RSV1 = 0x40
    RSV2_RSV3 = 0x30
    OPCODE = 0x0F
    CONTINUATION = 0
    MASKED = 0x80
    LENGTH_IN_2 = 126
    LENGTH_IN_8 = 127
    CONTROL_LIMIT = 125         # §5.5

    # RFC 6455 §7.4.1
    NORMAL_CLOSURE = 1000
    PROTOCOL_ERROR = 1002
    NO_STATUS = 1005
    INVALID_PAYLOAD = 1007
    TOO_BIG = 1009

    # What a message is given first, when it doesn't come whole.
    FIRST_ROOM = 4096
    # At most so much is inflated at once, and from so much: zlib copies what it has not come to with every block.
    INFLATED_BLOCK = 32768
    DEFLATED_PIECE = 16384
    # RFC 7692 §7.2.3.5 lets a block be final, and every one makes zlib begin a new stream.
    FINAL_BLOCKS_LIMIT = 64
    # A shorter message is not worth the time: it is less than the packet's own heads.
    DEFLATE_FROM = 64


# ---- the handshake ----

cdef bytes ALPHANUMERIC = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
cdef bytes TOKEN = b"!#$%&'*+-.^_`|~" + ALPHANUMERIC                        # RFC 9110 §5.6.2
cdef bytes BASE64 = b"+/" + ALPHANUMERIC                                    # RFC 4648 §4
cdef dict WINDOW_BITS = {b"%d" % bits: bits for bits in range(8, 16)}       # RFC 7692 §7.1.2: no leading zeroes
cdef object extension_part = None
cdef object zlib = None         # imported for the first WebSocket that compresses


cpdef bytes accept_key(bytes key):
    """The value of Sec-WebSocket-Accept that answers a Sec-WebSocket-Key; RFC 6455 §4.2.2."""
    from binascii import b2a_base64
    from hashlib import sha1
    digest = sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11", usedforsecurity=False).digest()
    return b2a_base64(digest, newline=False)


cdef list values_of(list fields, bytes name):
    return [value for key, value in fields if key == name]


cdef list members_of(list fields, bytes name):
    """The members of a list-based field, however many lines it has; RFC 9110 §5.6.1."""
    cdef list members = [member.strip(b" \t") for value in values_of(fields, name) for member in value.split(b",")]
    return [member for member in members if member]


cdef bint has_option(list fields, bytes name, bytes option):
    return option in [member.lower() for member in members_of(fields, name)]


cpdef read_handshake(bytes method, int minor, list fields):
    """What a request says of becoming a WebSocket; None where it is plain HTTP.

    It is where a field that only concerns the next hop was passed on by one that didn't know it: with Upgrade and
    without Connection (RFC 9110 §7.8), or in HTTP/1.0, where Upgrade is ignored.

    Args:
        minor: the minor version of HTTP/1.
        fields: pairs of name, in lower case, and value.
    """
    if minor and has_option(fields, b"upgrade", b"websocket") and has_option(fields, b"connection", b"upgrade"):
        return Handshake(method, fields)
    return None


cdef class Handshake:
    """A request to become a WebSocket: what it asks for, or why it is refused; RFC 6455 §4.2.1."""

    def __cinit__(self, bytes method not None, list fields not None):
        self.status = 101
        self.refusal_fields = []
        self.subprotocols = []
        self.offers = []
        self._read(method, fields)

    cdef int _refuse(self, int status, str reason) except -1:
        self.status = status
        self.reason = reason
        if status == 426:
            # RFC 6455 §4.4: which version would do; RFC 9110 §15.5.22: which protocol it is of.
            self.refusal_fields = [(b"Upgrade", b"websocket"), (b"Sec-WebSocket-Version", b"13")]
        return 0

    cdef int _read(self, bytes method, list fields) except -1:
        cdef list versions = values_of(fields, b"sec-websocket-version")
        cdef list keys = values_of(fields, b"sec-websocket-key")
        if method != b"GET":
            return self._refuse(400, "the method of a WebSocket handshake is GET")
        if len(versions) > 1 or len(keys) > 1:
            return self._refuse(400, "Sec-WebSocket-Version or Sec-WebSocket-Key is repeated")
        if versions != [b"13"]:
            return self._refuse(426, "Sec-WebSocket-Version is not 13")
        if not keys or not is_key(keys[0]):
            return self._refuse(400, "Sec-WebSocket-Key is not base64 of 16 bytes")
        for name in members_of(fields, b"sec-websocket-protocol"):
            if not is_token(name):
                return self._refuse(400, "Sec-WebSocket-Protocol is not a list of tokens")
            self.subprotocols.append(name.decode("ascii"))
        for value in values_of(fields, b"sec-websocket-extensions"):
            if not read_extensions(value, self.offers):
                return self._refuse(400, "Sec-WebSocket-Extensions breaks its grammar")
        self.accept = accept_key(keys[0])
        return 0

    cpdef Deflate agree(self, Deflate wanted):
        """What the first offer of permessage-deflate that can be met comes to; None if there is none.

        Source: RFC 7692 §5.1 and §7.1.
        """
        cdef Deflate agreed
        for name, parameters in self.offers:
            if name == b"permessage-deflate":
                agreed = wanted._answer(parameters)
                if agreed is not None:
                    return agreed
        return None


cdef bint is_key(bytes key):
    """Whether this is base64 of 16 bytes: 22 digits and the padding."""
    return len(key) == 24 and key.endswith(b"==") and not key[:22].translate(None, BASE64)


cdef bint is_token(bytes text):
    return not text.translate(None, TOKEN)


cdef bint read_extensions(bytes value, list offers) except -1:
    """Add (name, [(parameter, its value or None), ...]) for each extension of a field; False if it is no list of them.

    Source: RFC 6455 §9.1.
    """
    global extension_part
    cdef list parameters = None
    cdef Py_ssize_t at = 0
    cdef bytes follows = b","
    if extension_part is None:
        import re
        # A quoted value has to be a token once it is unquoted.
        pattern = rb"[ \t]*(T+)[ \t]*(?:=[ \t]*(?:(T+)|\"((?:\\?T)+)\")[ \t]*)?"
        extension_part = re.compile(pattern.replace(b"T", b"[" + re.escape(TOKEN) + b"]")).match
    while True:
        # RFC 9110 §5.6.1.2: a recipient ignores empty members.
        while follows == b"," and value[at:at + 1] in (b" ", b"\t", b","):
            at += 1
        if follows == b"," and at == len(value):
            return True
        part = extension_part(value, at)
        if part is None:
            return False
        name, plain, quoted = part.groups()
        if follows == b";":
            parameters.append((name, quoted.replace(b"\\", b"") if quoted else plain))
        elif plain or quoted:
            return False
        else:
            parameters = []
            offers.append((name, parameters))
        at = part.end()
        follows = value[at:at + 1] or b","
        if follows not in (b",", b";"):
            return False
        at += 1 if at < len(value) else 0


cdef class Deflate:
    """How messages are compressed: what the server wants, or what was agreed with a client. Immutable.

    Args:
        server_bits: the base-2 logarithm of the server's window, 9 to 15: zlib has no smaller one for this format.
        client_bits: likewise of the client's, 8 to 15, where the client can limit it.
        server_no_context_takeover: whether the compressor is dropped after every message.
        client_no_context_takeover: whether clients have to drop theirs, and so the server its decompressor.
        level: of zlib, -1 to 9.
        mem_level: of zlib, 1 to 9; the compressor takes 2 ** (server_bits + 2) + 2 ** (mem_level + 9) bytes.

    Raises:
        ValueError: a number is outside of its bounds.
    """

    def __cinit__(
        self, *, int server_bits=12, int client_bits=12, bint server_no_context_takeover=False,
        bint client_no_context_takeover=False, int level=-1, int mem_level=5,
    ):
        for name, number, low, high in (
            ("server_bits", server_bits, 9, 15), ("client_bits", client_bits, 8, 15),
            ("level", level, -1, 9), ("mem_level", mem_level, 1, 9),
        ):
            if not low <= number <= high:
                raise ValueError(f"{name} is {number}, not {low} to {high}")
        self.server_bits = server_bits
        self.client_bits = client_bits
        self.server_no_context_takeover = server_no_context_takeover
        self.client_no_context_takeover = client_no_context_takeover
        self.level = level
        self.mem_level = mem_level
        self.response = b""

    cdef Deflate _answer(self, list parameters):
        """What an offer with these parameters comes to; None to decline it."""
        cdef dict given = dict(parameters)
        cdef int server_bits = self.server_bits
        cdef int client_bits = 15
        cdef bint drops_server = b"server_no_context_takeover" in given or self.server_no_context_takeover
        cdef bint drops_client = b"client_no_context_takeover" in given or self.client_no_context_takeover
        response = b"permessage-deflate"
        if not can_be_met(parameters):
            return None
        if drops_server:
            response += b"; server_no_context_takeover"
        if drops_client:
            response += b"; client_no_context_takeover"
        if b"server_max_window_bits" in given:
            server_bits = min(server_bits, <int> WINDOW_BITS[given[b"server_max_window_bits"]])
            response += b"; server_max_window_bits=%d" % server_bits
        if b"client_max_window_bits" in given:
            # RFC 7692 §7.1.2.2: only a client that says so can be told to.
            client_bits = min(self.client_bits, <int> WINDOW_BITS[given[b"client_max_window_bits"] or b"15"])
            response += b"; client_max_window_bits=%d" % client_bits
        agreed = Deflate(
            server_bits=server_bits, client_bits=client_bits, server_no_context_takeover=drops_server,
            client_no_context_takeover=drops_client, level=self.level, mem_level=self.mem_level,
        )
        agreed.response = response
        return agreed


cdef bint can_be_met(list parameters) except -1:
    """Whether each parameter of an offer is known, not repeated, and has a value that it may have; RFC 7692 §7.1."""
    cdef bint is_good
    if len(dict(parameters)) < len(parameters):
        return False
    for name, value in parameters:
        if name in (b"server_no_context_takeover", b"client_no_context_takeover"):
            is_good = value is None
        elif name == b"server_max_window_bits":
            # zlib has no window of 8 bits for this format.
            is_good = value in WINDOW_BITS and value != b"8"
        else:
            is_good = name == b"client_max_window_bits" and (value is None or value in WINDOW_BITS)
        if not is_good:
            return False
    return True


# ---- bytes of frames ----

cdef const char *fault_of_first_byte(uint8_t first, bint in_message, bint may_deflate) noexcept nogil:
    """Why a frame with that first byte is refused, or NULL; RFC 6455 §5.2, §5.4 and §5.5, RFC 7692 §6."""
    cdef uint8_t opcode = first & OPCODE
    if 3 <= opcode <= 7 or opcode > PONG:
        return b"the opcode is a reserved one"
    if first & RSV2_RSV3:
        return b"a reserved bit is set"
    if first & RSV1 and (not may_deflate or opcode == CONTINUATION or opcode >= CLOSE):
        return b"the bit of a compressed message is set where it may not be"
    if opcode >= CLOSE and not first & FIN:
        return b"a control frame is fragmented"
    if opcode == CONTINUATION and not in_message:
        return b"a continuation frame continues nothing"
    if 0 < opcode < CLOSE and in_message:
        return b"a message begins within another"
    return NULL


cdef const char *fault_of_length(FrameHead *head, const unsigned char *base, Py_ssize_t size) noexcept nogil:
    """Read the payload length that takes `size` bytes, and why it is refused, or NULL; RFC 6455 §5.2 and §5.5."""
    cdef Py_ssize_t at
    if not size:
        return NULL
    head.length = 0
    for at in range(size):
        head.length = head.length << 8 | base[at]
    if head.length >> 63:
        return b"the payload length has its most significant bit set"
    if head.length < <uint64_t> (LENGTH_IN_2 if size == 2 else 0x10000):
        return b"the payload length is not in its shortest form"
    return NULL


cdef Py_ssize_t read_frame_head(
    const unsigned char *base, Py_ssize_t length, bint in_message, bint may_deflate, FrameHead *head, const char **fault
) noexcept nogil:
    """Read a frame's head and return its size; 0 while it is not all there, -1 where `fault` says why it is refused.

    Each part is judged as soon as it is there, in order, so that the outcome does not depend on how the bytes arrive.
    """
    cdef Py_ssize_t size = 0
    if length < 1:
        return 0
    head.first = base[0]
    fault[0] = fault_of_first_byte(head.first, in_message, may_deflate)
    if fault[0] != NULL:
        return -1
    if length < 2:
        return 0
    head.length = base[1] & 0x7F
    if not base[1] & MASKED:
        fault[0] = b"the frame is not masked"
        return -1
    if head.first & OPCODE >= CLOSE and head.length > CONTROL_LIMIT:
        fault[0] = b"a control frame has more than 125 bytes"
        return -1
    if head.length >= LENGTH_IN_2:
        size = 2 if head.length == LENGTH_IN_2 else 8
    if length < 2 + size:
        return 0
    fault[0] = fault_of_length(head, base + 2, size)
    if fault[0] != NULL:
        return -1
    if length < size + 6:
        return 0
    memcpy(head.key, base + 2 + size, 4)
    return size + 6


cdef bint unmask(
    unsigned char *to, const unsigned char *text, Py_ssize_t length, const unsigned char *key, uint64_t offset
) noexcept nogil:
    """Write the text behind `offset` bytes of a payload unmasked; whether it is ASCII. RFC 6455 §5.3."""
    cdef uint8_t turned[8]
    cdef uint64_t mask, word
    cdef uint64_t seen = 0
    cdef uint8_t byte
    cdef Py_ssize_t words = length >> 3
    cdef Py_ssize_t at
    for at in range(8):
        turned[at] = key[(offset + <uint64_t> at) & 3]
    memcpy(&mask, turned, 8)
    # The compiler makes vectors of it.
    for at in range(words):
        memcpy(&word, text + 8 * at, 8)
        word ^= mask
        seen |= word
        memcpy(to + 8 * at, &word, 8)
    for at in range(8 * words, length):
        byte = text[at] ^ turned[at & 7]
        seen |= byte
        to[at] = byte
    return seen & <uint64_t> 0x8080808080808080 == 0


cdef bint take_utf8(Utf8 *state, const unsigned char *text, Py_ssize_t length) noexcept nogil:
    """Go on judging a text that comes in parts; False at the first byte that can't be of UTF-8.

    Source: RFC 3629 §4, whose bounds leave out surrogates, overlong forms and what is above U+10FFFF.
    """
    cdef Py_ssize_t at = 0
    cdef uint64_t word
    cdef unsigned char c
    while at < length:
        if not state.missing:
            while at + 8 <= length:
                memcpy(&word, text + at, 8)
                if word & <uint64_t> 0x8080808080808080:
                    break
                at += 8
            while at < length and text[at] < 0x80:
                at += 1
            if at == length:
                return True
        c = text[at]
        at += 1
        if state.missing:
            if not state.low <= c <= state.high:
                return False
            state.missing -= 1
            state.low = 0x80
            state.high = 0xBF
            continue
        if not 0xC2 <= c <= 0xF4:
            return False
        state.missing = 1 + (c >= 0xE0) + (c >= 0xF0)
        state.low = 0xA0 if c == 0xE0 else 0x90 if c == 0xF0 else 0x80
        state.high = 0x9F if c == 0xED else 0x8F if c == 0xF4 else 0xBF
    return True


cdef void put_frame_head(Frame *frame, int first, const unsigned char *data, Py_ssize_t length) noexcept nogil:
    """Make `data` the payload of a frame, whose head it is given; a server's frames aren't masked. RFC 6455 §5.1."""
    cdef int bytes_of_length = 0
    cdef int at
    frame.head[0] = <unsigned char> first
    if length <= CONTROL_LIMIT:
        frame.head[1] = <unsigned char> length
    elif length <= 0xFFFF:
        frame.head[1] = LENGTH_IN_2
        bytes_of_length = 2
    else:
        frame.head[1] = LENGTH_IN_8
        bytes_of_length = 8
    for at in range(bytes_of_length):
        frame.head[2 + at] = <unsigned char> (length >> 8 * (bytes_of_length - 1 - at) & 0xFF)
    frame.head_length = 2 + bytes_of_length
    frame.data = data
    frame.length = length


cdef bytes as_bytes(const Frame *frame):
    cdef bytes whole = PyBytes_FromStringAndSize(NULL, frame.head_length + frame.length)
    memcpy(PyBytes_AS_STRING(whole), frame.head, <size_t> frame.head_length)
    memcpy(PyBytes_AS_STRING(whole) + frame.head_length, frame.data, <size_t> frame.length)
    return whole


cdef bytes control_frame(int opcode, bytes payload):
    cdef Frame frame
    if len(payload) > CONTROL_LIMIT:
        raise ValueError(f"a control frame takes at most 125 bytes, not {len(payload)}")
    put_frame_head(&frame, FIN | opcode, <const unsigned char *> PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload))
    return as_bytes(&frame)


cdef bint is_close_code(int code) noexcept nogil:
    """Whether a close frame may have that code; RFC 6455 §7.4, and IANA's registry for 1012 to 1014."""
    return 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999


# ---- one WebSocket ----

@cython.no_gc  # It refers to nothing that could refer to it.
cdef class WebSocket:
    """The protocol of one open WebSocket, as the server speaks it.

    Args:
        max_message: bytes that a message may have, inflated; 0 for no limit.
        deflate: what was agreed with the client; None for no compression.
    """

    def __cinit__(self, *, Py_ssize_t max_message=16777216, Deflate deflate=None):
        global zlib
        if max_message < 0:
            raise ValueError(f"max_message is {max_message}, below 0")
        self._max_message = <uint64_t> (max_message or PY_SSIZE_T_MAX)
        self._deflate = deflate
        if deflate is not None:
            import zlib

    def __dealloc__(self):
        Py_XDECREF(self._memory)

    def feed(self, data) -> list:
        """Take the next bytes of the connection; the events in them, as tuples of an Event and what comes with it."""
        cdef Py_buffer view
        cdef Py_ssize_t at = 0
        cdef Py_ssize_t consumed
        cdef int event
        cdef list events = []
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            while at < view.len:
                event = self.receive(<const unsigned char *> view.buf + at, view.len - at, &consumed)
                at += consumed
                if event in (CLOSE, FAIL):
                    events.append((Event(event), self.code, self.take()))
                elif event != NOTHING:
                    events.append((Event(event), self.take()))
        finally:
            PyBuffer_Release(&view)
        return events

    cdef int receive(self, const unsigned char *data, Py_ssize_t length, Py_ssize_t *consumed) except -1:
        """Take bytes up to the end of the first event in them.

        Returns:
            An Event, and in `consumed` how many bytes were taken: with NOTHING all of them. What comes with the event
            is there for take(), a code in `code`. After a CLOSE or a FAIL everything is taken and means nothing.
        """
        cdef Py_ssize_t at = 0
        cdef Py_ssize_t piece
        cdef int event = NOTHING
        while event == NOTHING and at < length:
            if self.is_failed or self.close_received:
                # RFC 6455 §7.1.7 and §5.5.1
                at = length
                break
            if not self._in_payload:
                at += self._take_head(data + at, length - at, &event)
                if not self._in_payload:
                    continue
            piece = <Py_ssize_t> min(self._left, <uint64_t> (length - at))
            if self._is_deflated:
                piece = min(piece, <Py_ssize_t> DEFLATED_PIECE)
            if piece or not self._left:
                event = self._take_payload(data + at, piece)
                at += piece
        consumed[0] = at
        return event

    cdef object take(self):
        """What came with the event, once: the message, the payload of a PING or PONG, the reason of a CLOSE or FAIL."""
        cdef object payload = self._payload
        self._payload = None
        return payload

    cdef Py_ssize_t _take_head(self, const unsigned char *data, Py_ssize_t length, int *event) except -1:
        """Take what is there of a frame's head, and begin the frame once it is complete; how many bytes that were."""
        cdef const char *fault = NULL
        cdef const unsigned char *base = data
        cdef Py_ssize_t before = self._partial_length
        cdef Py_ssize_t there = length
        cdef Py_ssize_t size
        if before:
            there = min(before + length, <Py_ssize_t> sizeof(self._partial))
            memcpy(self._partial + before, data, <size_t> (there - before))
            base = self._partial
        size = read_frame_head(base, there, self._kind != NOTHING, self._deflate is not None, &self._frame, &fault)
        if size < 0:
            event[0] = self._fail(PROTOCOL_ERROR, (<bytes> fault).decode("ascii"))
            return length
        if size == 0:
            if not before:
                memcpy(self._partial, data, <size_t> length)
            self._partial_length = <uint8_t> there
            return length
        self._partial_length = 0
        event[0] = self._begin_frame()
        return size - before

    cdef int _begin_frame(self) except -1:
        cdef uint8_t opcode = self._frame.first & OPCODE
        if opcode < CLOSE:
            if opcode != CONTINUATION:
                self._kind = opcode
                self._is_deflated = self._frame.first & RSV1 != 0
            # How much a compressed message comes to is seen when it is inflated.
            if not self._is_deflated and not self.close_sent and self._frame.length > self._room_left():
                return self._fail(TOO_BIG, "the message is too big")
        self._left = self._frame.length
        self._in_payload = True
        return NOTHING

    cdef int _take_payload(self, const unsigned char *data, Py_ssize_t length) except -1:
        cdef bint is_begun = self._left < self._frame.length
        cdef bint is_last
        cdef int event = NOTHING
        if self._frame.first & OPCODE >= CLOSE:
            return self._take_control(data, length)
        self._in_payload = <uint64_t> length < self._left
        is_last = not self._in_payload and self._frame.first & FIN
        if self.close_sent:
            # RFC 6455 §5.5.1: the client may be sending yet, but nobody waits for it.
            self._left -= <uint64_t> length
            if is_last:
                self._drop_message()
            return NOTHING
        if self._is_deflated:
            event = self._take_deflated(data, length, is_last)
        elif is_last and not is_begun and self._frame.first & OPCODE != CONTINUATION:
            return self._take_whole(data, length)
        else:
            event = self._take_part(data, length)
        if event == NOTHING:
            self._left -= <uint64_t> length
            if is_last:
                event = self._end_message()
        return event

    cdef int _take_control(self, const unsigned char *data, Py_ssize_t length) except -1:
        """Control frames may stand within a message: their payload has a place of its own. RFC 6455 §5.4."""
        cdef Py_ssize_t done = <Py_ssize_t> (self._frame.length - self._left)
        cdef bytes payload = self._control
        if payload is None:
            payload = PyBytes_FromStringAndSize(NULL, <Py_ssize_t> self._frame.length)
        unmask(
            <unsigned char *> PyBytes_AS_STRING(payload) + done, data, length, self._frame.key, <uint64_t> done
        )
        self._left -= <uint64_t> length
        if self._left:
            self._control = payload
            return NOTHING
        self._control = None
        self._in_payload = False
        return self._end_control(payload)

    cdef int _end_control(self, bytes payload) except -1:
        cdef int opcode = self._frame.first & OPCODE
        cdef const unsigned char *text = <const unsigned char *> PyBytes_AS_STRING(payload)
        cdef Utf8 utf8 = Utf8(0, 0, 0)
        if opcode != CLOSE:
            self._payload = payload
            return opcode
        # RFC 6455 §5.5.1 and §7.1.5
        if len(payload) == 1:
            return self._fail(PROTOCOL_ERROR, "a close frame has half a code")
        self.code = text[0] << 8 | text[1] if payload else NO_STATUS
        if payload and not is_close_code(self.code):
            return self._fail(PROTOCOL_ERROR, f"a close frame has the code {self.code}")
        if payload and not (take_utf8(&utf8, text + 2, len(payload) - 2) and utf8.missing == 0):
            return self._fail(INVALID_PAYLOAD, "the reason of a close frame is not UTF-8")
        self.close_received = True
        self._drop_message()
        self._inflater = None
        self._payload = payload[2:].decode("utf-8")
        return CLOSE

    cdef int _take_whole(self, const unsigned char *data, Py_ssize_t length) except -1:
        """A message in one frame that is all there: unmasked to where it stays."""
        cdef bint is_text = self._kind == TEXT
        cdef object payload
        cdef unsigned char *to
        self._left = 0
        self._kind = NOTHING
        if not is_text:
            payload = PyBytes_FromStringAndSize(NULL, length)
            unmask(<unsigned char *> PyBytes_AS_STRING(payload), data, length, self._frame.key, 0)
            self._payload = payload
            return BINARY
        # Most texts are ASCII, and then this is the str itself; otherwise it holds what is decoded.
        payload = PyUnicode_New(length, 127)
        to = <unsigned char *> PyUnicode_DATA(payload)
        if unmask(to, data, length, self._frame.key, 0):
            self._payload = payload
            return TEXT
        return self._decode_text(to, length)

    cdef int _take_part(self, const unsigned char *data, Py_ssize_t length) except -1:
        """A part of a message: unmasked to behind what there is of it."""
        cdef unsigned char *to
        cdef bint is_ascii
        if not length:
            return NOTHING
        # Of a last frame it is told how much comes, but not whether: room is made for what is there, and as much again.
        self._make_room(length, self._used + <Py_ssize_t> self._left if self._frame.first & FIN else 0)
        to = <unsigned char *> PyBytes_AS_STRING(<object> self._memory) + self._used
        is_ascii = unmask(to, data, length, self._frame.key, self._frame.length - self._left)
        self._used += length
        if self._kind == TEXT and not (is_ascii and not self._utf8.missing) and not take_utf8(&self._utf8, to, length):
            return self._fail(INVALID_PAYLOAD, "a text message is not UTF-8")
        return NOTHING

    cdef int _take_deflated(self, const unsigned char *data, Py_ssize_t length, bint is_last) except -1:
        """A part of a compressed message, with what its sender left off at the end; RFC 7692 §7.2.2."""
        cdef bytes piece = PyBytes_FromStringAndSize(NULL, length + 4 if is_last else length)
        cdef unsigned char *to = <unsigned char *> PyBytes_AS_STRING(piece)
        unmask(to, data, length, self._frame.key, self._frame.length - self._left)
        if is_last:
            memcpy(to + length, b"\x00\x00\xff\xff", 4)
        return self._inflate(piece)

    cdef int _inflate(self, bytes data) except -1:
        cdef int event
        cdef bytes block
        while True:
            if self._inflater is None:
                # zlib takes a window of 8 bits for one of 9.
                self._inflater = zlib.decompressobj(-max(self._deflate.client_bits, 9))
            try:
                block = self._inflater.decompress(data, INFLATED_BLOCK)
            except zlib.error:
                return self._fail(INVALID_PAYLOAD, "a compressed message cannot be inflated")
            if <uint64_t> len(block) > self._room_left():
                return self._fail(TOO_BIG, "the message is too big")
            event = self._keep_block(block)
            if event != NOTHING:
                return event
            data = self._inflater.unconsumed_tail
            if self._inflater.eof:
                # A final block, RFC 7692 §7.2.3.5. There is another stream behind it, with a window of its own.
                data = self._inflater.unused_data
                self._inflater = None
                self._final_blocks += 1
                if self._final_blocks > FINAL_BLOCKS_LIMIT:
                    return self._fail(PROTOCOL_ERROR, "a compressed message has too many final blocks")
                if not data:
                    return NOTHING
            elif not data and len(block) < INFLATED_BLOCK:
                return NOTHING

    cdef uint64_t _room_left(self) noexcept:
        """Bytes that the message under way may still have."""
        return self._max_message - <uint64_t> (self._used if self._block is None else PyBytes_GET_SIZE(self._block))

    cdef int _keep_block(self, bytes block) except -1:
        """Add inflated bytes to the message; most messages are a single block, which is not copied."""
        cdef bytes first = self._block
        if not block:
            return NOTHING
        if self._kind == TEXT and not take_utf8(
            &self._utf8, <const unsigned char *> PyBytes_AS_STRING(block), PyBytes_GET_SIZE(block)
        ):
            return self._fail(INVALID_PAYLOAD, "a text message is not UTF-8")
        if first is None and not self._used:
            self._block = block
            return NOTHING
        self._block = None
        for part in (first, block):
            if part is not None:
                self._make_room(len(part), 0)
                memcpy(PyBytes_AS_STRING(<object> self._memory) + self._used, PyBytes_AS_STRING(part), len(part))
                self._used += len(part)
        return NOTHING

    cdef int _make_room(self, Py_ssize_t more, Py_ssize_t expected) except -1:
        """Have room for `more` bytes of the message: as much again as there was, but not beyond what is `expected`."""
        cdef Py_ssize_t needed = self._used + more
        cdef Py_ssize_t capacity = max(FIRST_ROOM, 2 * self._capacity)
        if needed <= self._capacity:
            return 0
        if expected:
            capacity = min(capacity, expected)
        capacity = max(needed, <Py_ssize_t> min(<uint64_t> capacity, self._max_message))
        if self._memory == NULL:
            memory = PyBytes_FromStringAndSize(NULL, capacity)
            Py_INCREF(memory)
            self._memory = <PyObject *> memory
        else:
            self._capacity = 0  # Without memory the old one is gone.
            _PyBytes_Resize(&self._memory, capacity)
        self._capacity = capacity
        return 0

    cdef int _end_message(self) except -1:
        """The last frame of a message is complete; whether a text ends between characters is seen now."""
        cdef int kind = self._kind
        cdef object message = b"" if self._block is None else self._block
        if kind == TEXT and self._utf8.missing:
            return self._fail(INVALID_PAYLOAD, "a text message is not UTF-8")
        if self._memory != NULL:
            if self._used < self._capacity and kind == BINARY:
                _PyBytes_Resize(&self._memory, self._used)
            message = <object> self._memory
        if kind == TEXT:
            kind = self._decode_text(
                <const unsigned char *> PyBytes_AS_STRING(message), self._used or PyBytes_GET_SIZE(message)
            )
        else:
            self._payload = message
        self._drop_message()
        if self._deflate is not None and self._deflate.client_no_context_takeover:
            self._inflater = None
        return kind

    cdef int _decode_text(self, const unsigned char *text, Py_ssize_t length) except -1:
        try:
            self._payload = PyUnicode_DecodeUTF8(<const char *> text, length, NULL)
        except UnicodeDecodeError:
            return self._fail(INVALID_PAYLOAD, "a text message is not UTF-8")
        return TEXT

    cdef int _fail(self, int code, str reason) except -1:
        """RFC 6455 §7.1.7: nothing of the client's is looked at any more."""
        self.is_failed = True
        self.code = code
        self._payload = reason
        self._in_payload = False
        self._inflater = None
        self._drop_message()
        return FAIL

    cdef int _drop_message(self) except -1:
        """There is no message under way, and no memory held for one."""
        cdef PyObject *memory = self._memory
        self._memory = NULL
        self._used = self._capacity = 0
        self._block = None
        self._kind = NOTHING
        self._is_deflated = False
        self._utf8.missing = 0
        self._final_blocks = 0
        Py_XDECREF(memory)
        return 0

    cdef object frame_text(self, str text, Frame *frame):
        """Make a text message the frame to be sent.

        Returns:
            The owner of `frame.data`, to be kept until that was sent; ASCII stays where it is.

        Raises:
            UnicodeEncodeError: the text holds a surrogate.
            RuntimeError: a close has been sent; RFC 6455 §5.5.1.
        """
        cdef bytes data
        if self._deflate is None and PyUnicode_IS_ASCII(text):
            self._check_open()
            put_frame_head(frame, FIN | TEXT, <const unsigned char *> PyUnicode_DATA(text), PyUnicode_GET_LENGTH(text))
            return text
        data = PyUnicode_AsUTF8String(text)
        return self._frame_data(TEXT, data, frame)

    cdef object frame_binary(self, bytes data, Frame *frame):
        """Make a binary message the frame to be sent; see frame_text()."""
        return self._frame_data(BINARY, data, frame)

    cdef object _frame_data(self, int kind, bytes data, Frame *frame):
        cdef int first = FIN | kind
        cdef Py_ssize_t length = PyBytes_GET_SIZE(data)
        self._check_open()
        if self._deflate is not None and length >= DEFLATE_FROM:
            data = self._compress(data)
            first |= RSV1
            # RFC 7692 §7.2.1: without the 00 00 FF FF that it ends in.
            length = PyBytes_GET_SIZE(data) - 4
        put_frame_head(frame, first, <const unsigned char *> PyBytes_AS_STRING(data), length)
        return data

    cdef int _check_open(self) except -1:
        if self.close_sent:
            raise RuntimeError("a close frame has been sent, and no message may follow it")
        return 0

    cdef bytes _compress(self, bytes data):
        cdef Deflate agreed = self._deflate
        cdef bytes begin, end
        if self._deflater is None:
            self._deflater = zlib.compressobj(agreed.level, zlib.DEFLATED, -agreed.server_bits, agreed.mem_level)
        begin = self._deflater.compress(data)
        end = self._deflater.flush(zlib.Z_SYNC_FLUSH)
        if agreed.server_no_context_takeover:
            self._deflater = None
        return begin + end if begin else end

    cpdef bytes text(self, str text):
        """A text message as bytes; see frame_text()."""
        cdef Frame frame
        owner = self.frame_text(text, &frame)
        return as_bytes(&frame)

    cpdef bytes binary(self, bytes data):
        """A binary message as bytes; see frame_text()."""
        cdef Frame frame
        owner = self.frame_binary(data, &frame)
        return as_bytes(&frame)

    cpdef bytes ping(self, bytes data=b""):
        """A ping frame; ValueError above 125 bytes."""
        return control_frame(PING, data)

    cpdef bytes pong(self, bytes data=b""):
        """A pong frame; ValueError above 125 bytes."""
        return control_frame(PONG, data)

    cpdef bytes close(self, int code=NORMAL_CLOSURE, str reason=""):
        """A close frame. From now on no message is sent, and those that come are dropped.

        Args:
            code: 1005 for a frame without code and reason.
            reason: what is beyond 123 bytes of UTF-8 is left off, at the end of a character.

        Raises:
            ValueError: the code may not be sent; RFC 6455 §7.4.
            UnicodeEncodeError: the reason holds a surrogate.
        """
        cdef bytes payload = b""
        cdef int kind
        if code != NO_STATUS:
            if not is_close_code(code):
                raise ValueError(f"{code} is not a code that a close frame may have")
            payload = reason.encode("utf-8")
            if len(payload) > CONTROL_LIMIT - 2:
                payload = payload[:CONTROL_LIMIT - 2].decode("utf-8", "ignore").encode("utf-8")
            payload = code.to_bytes(2, "big") + payload
        self.close_sent = True
        self.rest()
        self._inflater = None
        # A message under way goes on, but nobody waits for it.
        kind = self._kind
        self._drop_message()
        self._kind = kind
        return control_frame(CLOSE, payload)

    cpdef rest(self):
        """Give the compressor's memory back; the next message does not refer to earlier ones, as it need not."""
        self._deflater = None
