"""A stream of fields and content as a connection that speaks HTTP/1.1: on our side text, on the peer's what is in it.

So a request of HTTP/2 is parsed, limited, kept, run, logged and timed by what does so for HTTP/1.1, and its response
waits for room as any other. The text of a request is written by its session; that of the response is taken apart here,
as it comes, and nothing in it is judged: it is ours.
"""
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from libc.errno cimport EAGAIN, ECONNRESET, EPIPE
from libc.stdint cimport INT64_MAX, int64_t, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport free
from libc.string cimport memchr, memcmp, memcpy, memmove, memset, strlen

from pyserver._channel cimport NO_DESCRIPTOR, Carried
from pyserver._connection cimport Connection, new_connection
from pyserver._http cimport (
    COMPLETE, HAS_CHUNKED, NEED_MORE, REFUSED, Fault, Head, Out, Outcome, Span, append, is_field_name, parse_decimal, reserve,
    same_text,
)
from pyserver._system cimport pyserver_set_errno as set_errno

cdef enum:
    STATUS_AT = 9               # in a status line, behind "HTTP/1.1 "
    INPUT_KEPT = 4096           # bytes of memory that an empty input keeps

cdef int64_t LARGEST = INT64_MAX
cdef const char *LAST_CHUNK = b"\r\n0\r\n\r\n"      # behind the data of the chunk before

# The name of a field in lower case; used with the engine's lock.
cdef Out lower


cdef class CarriedStream(Carried):
    """One request and its response."""

    def __dealloc__(self):
        free(self._input.data)
        free(self._text.data)

    # ---- the request ----

    cdef Outcome note_head(self, Head *head, Outcome outcome) except? NEED_MORE:
        head.minor = <uint32_t> self.minor
        if outcome != COMPLETE:
            return outcome
        if self.fault:
            head.fault = self.fault
            return REFUSED
        if self.in_chunks:
            head.flags |= HAS_CHUNKED
        return COMPLETE

    cdef int take_content(self, Span content) except -1:
        """Have content, or what goes through a tunnel, be received."""
        cdef char size[20]
        if content.length == 0:
            return 0
        if self._read:
            # What was received before is in nobody's way, but for its memory.
            self._input.used -= self._read
            memmove(self._input.data, self._input.data + self._read, <size_t> self._input.used)
            self._read = 0
        if self.in_chunks:
            append(&self._input, size, snprintf(size, sizeof(size), b"%zx\r\n", <size_t> content.length))
        append(&self._input, content.start, content.length)
        if self.in_chunks:
            append(&self._input, b"\r\n", 2)
        self._owed += content.length
        return 0

    cdef Connection *become_connection(self) except NULL:
        """Be a connection of the worker, which has no socket and cannot move; it is to be given a turn."""
        cdef Connection *connection = new_connection(NO_DESCRIPTOR)
        connection.is_carried = connection.stays = connection.is_readable = True
        Py_INCREF(self)
        connection.channel = <PyObject *> self
        self.connection = connection
        return connection

    cdef int end_content(self) except -1:
        """The peer sends no more."""
        self.has_all = True
        if self.in_chunks:
            append(&self._input, b"0\r\n\r\n", 5)
        return 0

    cdef Py_ssize_t receive(self, Connection *connection, unsigned char *into, Py_ssize_t room) except? -2:
        cdef Py_ssize_t got = min(room, self._input.used - self._read)
        cdef Py_ssize_t content
        if self.is_lost:
            set_errno(ECONNRESET)
            return -1
        if got == 0:
            # The end of a request is none of its connection: what is not a tunnel waits for the response.
            if self.has_all and self.is_tunnel:
                return 0
            set_errno(EAGAIN)
            return -1
        memcpy(into, self._input.data + self._read, <size_t> got)
        self._read += got
        if self._read == self._input.used:
            self._read = self._input.used = 0
            if self._input.capacity > INPUT_KEPT:
                free(self._input.data)
                memset(&self._input, 0, sizeof(Out))
        # The head and the framing of chunks come first: what is told late is told in the end.
        content = min(self._owed, got if self._input.used else self._owed)
        self._owed -= content
        self.note_received(content)
        return got

    cdef bint has_ended(self) noexcept:
        return self.is_lost or (self.is_tunnel and self.has_all and self._input.used == 0)

    # ---- the response ----

    cdef Py_ssize_t give(self, Connection *connection, const unsigned char *data, Py_ssize_t length) except? -2:
        cdef Py_ssize_t step, taken = 0
        if self.is_lost:
            set_errno(EPIPE)
            return -1
        while taken < length:
            step = self._go_on(data + taken, length - taken)
            if step == 0:
                break
            taken += step
        if taken:
            self.note_given()
        if taken < length:
            self.note_blocked()
        if taken == 0:
            set_errno(EAGAIN)
            return -1
        return taken

    cdef Py_ssize_t _go_on(self, const unsigned char *data, Py_ssize_t length) except -1:
        """Take the next piece of text; 0 while there is no room for it."""
        if self.awaited == COUNTED or self.awaited == CHUNK or self.awaited == OPEN_ENDED:
            return self._take_content(data, length)
        if self.awaited == CHUNK_SIZE or self.awaited == CHUNK_END:
            return self._take_size(data, length)
        if self.awaited == HEAD_TEXT:
            return self._take_head(data, length) if self.has_room() else 0
        if self.awaited == TRAILER_TEXT:
            return self._take_trailers(data, length) if self.has_room() else 0
        return length

    cdef Py_ssize_t _take_head(self, const unsigned char *data, Py_ssize_t length) except -1:
        """Take a head, or as much as is there."""
        cdef Py_ssize_t taken
        cdef bint is_whole
        if self._text.used == 0:
            taken = length_of_head(data, length)
            if taken:
                self._put_head(Span(data, taken))
                return taken
        taken = gather(&self._text, data, length, &is_whole)
        if is_whole:
            self._put_head(Span(self._text.data, self._text.used))
            drop_text(&self._text)
        return taken

    cdef int _put_head(self, Span text) except -1:
        """Say the head to the peer, and note what is to follow it."""
        cdef const unsigned char *status_at = text.start + STATUS_AT
        cdef int status = (status_at[0] - c"0") * 100 + (status_at[1] - c"0") * 10 + status_at[2] - c"0"
        cdef int64_t length = -1
        cdef bint is_chunked = False
        cdef Span line
        self.is_tunnel = self.is_tunnel and status == 101
        self.begin_fields(200 if status == 101 else status)
        next_line(&text, &line)
        while next_line(&text, &line) and line.length:
            self._put_line(line, &length, &is_chunked)
        if status == 101 or (status >= 200 and not is_chunked and length < 0):
            self.awaited = OPEN_ENDED
        elif status >= 200:
            self.awaited = CHUNK_SIZE if is_chunked else COUNTED
            self._left = max(length, <int64_t> 0)
        if status >= 200 and (self.is_of_head or status == 204 or status == 304 or (length == 0 and not is_chunked)):
            self.awaited = NOTHING
        return self.end_fields(self.awaited == NOTHING)

    cdef int _put_line(self, Span line, int64_t *length, bint *is_chunked) except -1:
        """Say a field, unless it is about the connection; RFC 9113 §8.2.2."""
        cdef const unsigned char *colon = <const unsigned char *> memchr(line.start, c":", <size_t> line.length)
        cdef Py_ssize_t at
        cdef Span name, value
        if colon == NULL:
            return 0
        name = Span(line.start, colon - line.start)
        value = Span(colon + 1, line.length - name.length - 1)
        while value.length and (value.start[0] == c" " or value.start[0] == c"\t"):
            value = Span(value.start + 1, value.length - 1)
        while value.length and (value.start[value.length - 1] == c" " or value.start[value.length - 1] == c"\t"):
            value.length -= 1
        lower.used = 0
        reserve(&lower, name.length)
        for at in range(name.length):
            lower.data[at] = name.start[at] | 0x20 if c"A" <= name.start[at] <= c"Z" else name.start[at]
        name.start = lower.data
        if is_of_connection(name):
            is_chunked[0] = is_chunked[0] or name.length == 17
            return 0
        if name.length == 14 and memcmp(name.start, b"content-length", 14) == 0:
            length[0] = number_in(value)
        elif self.is_tunnel and name.length == 20 and memcmp(name.start, b"sec-websocket-accept", 20) == 0:
            return 0                # RFC 8441 §5
        return self.put_field(name, value)

    cdef Py_ssize_t _take_size(self, const unsigned char *data, Py_ssize_t length) except -1:
        """Take what stands between two chunks, byte by byte."""
        cdef Py_ssize_t at
        for at in range(length):
            if data[at] == c"\n":
                if self.awaited == CHUNK_END:
                    self.awaited = CHUNK_SIZE
                    self._left = 0
                else:
                    self.awaited = CHUNK if self._left else TRAILER_TEXT
                return at + 1
            if data[at] != c"\r" and self.awaited == CHUNK_SIZE:
                self._left = self._left * 16 + (data[at] & 15) + (9 if data[at] & 64 else 0)
        return length

    cdef Py_ssize_t _take_content(self, const unsigned char *data, Py_ssize_t length) except -1:
        cdef Py_ssize_t offered = length
        cdef Py_ssize_t taken
        cdef bint ends = False
        if self.awaited != OPEN_ENDED:
            offered = <Py_ssize_t> min(<int64_t> length, self._left)
            if offered == self._left:
                ends = self.awaited == COUNTED or (
                    length - offered >= 7 and memcmp(data + offered, LAST_CHUNK, 7) == 0
                )
        taken = self.put_data(data, offered, ends)
        if self.awaited == OPEN_ENDED:
            return taken
        self._left -= taken
        if taken < offered or self._left:
            return taken
        if ends:
            taken += 7 if self.awaited == CHUNK else 0
            self.awaited = NOTHING
        else:
            self.awaited = CHUNK_END
        return taken

    cdef Py_ssize_t _take_trailers(self, const unsigned char *data, Py_ssize_t length) except -1:
        """Take what stands behind the last chunk: the end, or fields and the end."""
        cdef Py_ssize_t taken
        cdef int64_t no_length
        cdef bint is_chunked, is_whole
        cdef Span text, line
        taken = gather(&self._text, data, length, &is_whole)
        if not is_whole:
            return taken
        self.awaited = NOTHING
        if self._text.used == 2:
            self.put_data(NULL, 0, True)
        else:
            self.begin_fields(0)
            text = Span(self._text.data, self._text.used)
            while next_line(&text, &line) and line.length:
                self._put_line(line, &no_length, &is_chunked)
            self.end_fields(True)
        drop_text(&self._text)
        return taken

    # ---- the end ----

    cdef int end(self, Connection *connection) except -1:
        """The connection is closed."""
        cdef Py_ssize_t owed = self._owed
        self.connection = NULL
        self._owed = 0
        if owed:
            # Nobody receives it any more.
            self.note_received(owed)
        if self.is_lost:
            return 0
        if self.awaited == OPEN_ENDED and not connection.resets and not connection.is_gone:
            self.put_data(NULL, 0, True)
            self.awaited = NOTHING
        if self.awaited != NOTHING or not self.has_all:
            self.put_reset(self.awaited == NOTHING)
        self.is_lost = True
        return self.note_given()

    cdef int lose(self) except -1:
        """The peer wants no response any more, or is gone."""
        self.is_lost = True
        if self.connection != NULL:
            self.connection.is_gone = True
        return 0

    # ---- what a version of HTTP makes of it ----

    cdef bint has_room(self) except -1:
        """Whether the peer may be said something that is no content."""
        raise TypeError("a CarriedStream is one of its subclasses")

    cdef int begin_fields(self, int status) except -1:
        """Begin a head with this status, or with 0 trailers."""
        raise TypeError("a CarriedStream is one of its subclasses")

    cdef int put_field(self, Span name, Span value) except -1:
        raise TypeError("a CarriedStream is one of its subclasses")

    cdef int end_fields(self, bint ends) except -1:
        """All fields are there; `ends` where nothing follows them."""
        raise TypeError("a CarriedStream is one of its subclasses")

    cdef Py_ssize_t put_data(self, const unsigned char *data, Py_ssize_t length, bint ends) except -1:
        """Give content, as much as there is room for; `ends` where nothing follows it once all of it is taken."""
        raise TypeError("a CarriedStream is one of its subclasses")

    cdef int put_reset(self, bint is_complete) except -1:
        """End the stream before its time; `is_complete` where the response is, and only the request is not."""
        raise TypeError("a CarriedStream is one of its subclasses")

    cdef int note_given(self) except -1:
        """There is something to be sent."""
        return 0

    cdef int note_blocked(self) except -1:
        """There is more to be given than there is room for now."""
        return 0

    cdef int note_received(self, Py_ssize_t content) except -1:
        """So many bytes of content were received by who serves the request."""
        return 0


cdef inline Py_ssize_t length_of_head(const unsigned char *data, Py_ssize_t length) noexcept nogil:
    """How long a head is that is there as a whole, with its empty line; else 0."""
    cdef const unsigned char *at = data
    cdef const unsigned char *end = data + length
    while True:
        at = <const unsigned char *> memchr(at, c"\n", <size_t> (end - at))
        if at == NULL or end - at < 3:
            return 0
        if at[1] == c"\r" and at[2] == c"\n":
            return at + 3 - data
        at += 1


cdef Py_ssize_t gather(Out *text, const unsigned char *data, Py_ssize_t length, bint *is_whole) except -1:
    """Add to `text` up to an empty line, which may be all there is; how many bytes that takes."""
    cdef Py_ssize_t at
    reserve(text, length)
    for at in range(length):
        text.data[text.used] = data[at]
        text.used += 1
        if data[at] == c"\n" and (
            text.used == 2 or (text.used > 3 and memcmp(text.data + text.used - 4, b"\r\n\r\n", 4) == 0)
        ):
            is_whole[0] = True
            return at + 1
    is_whole[0] = False
    return length


cdef int drop_text(Out *text) except -1:
    free(text.data)
    memset(text, 0, sizeof(Out))
    return 0


cdef inline bint next_line(Span *text, Span *line) noexcept nogil:
    """Take the next line, without its CRLF; False when there is none."""
    cdef const unsigned char *end = <const unsigned char *> memchr(text.start, c"\n", <size_t> text.length)
    if end == NULL:
        return False
    line.start = text.start
    line.length = end - text.start
    if line.length and line.start[line.length - 1] == c"\r":
        line.length -= 1
    text.length -= end + 1 - text.start
    text.start = end + 1
    return True


cdef inline bint is_of_connection(Span name) noexcept nogil:
    """Whether a field is about the connection, and means nothing where that is carried."""
    if name.length == 10:
        return memcmp(name.start, b"connection", 10) == 0 or memcmp(name.start, b"keep-alive", 10) == 0
    if name.length == 16:
        return memcmp(name.start, b"proxy-connection", 16) == 0
    if name.length == 17:
        return memcmp(name.start, b"transfer-encoding", 17) == 0
    return name.length == 7 and memcmp(name.start, b"upgrade", 7) == 0


cdef inline int64_t number_in(Span text) noexcept nogil:
    cdef int64_t number = 0
    cdef Py_ssize_t at
    for at in range(text.length):
        number = number * 10 + text.start[at] - c"0"
    return number


# ---- the text of a request ----

cdef const char *HANDSHAKE_LINES = (
    b"upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)


cdef int begin_draft(Draft *draft) noexcept nogil:
    """Begin with no fields; memory is used again."""
    draft.method = draft.scheme = draft.path = draft.authority = draft.protocol = draft.host = Span(NULL, 0)
    draft.lines.used = draft.cookies.used = 0
    draft.length = -1
    draft.has_lines = False
    draft.wrong = NULL
    return 0


cdef inline const char *wrong_in_value(Span value) noexcept nogil:
    """What RFC 9113 §8.2.1 forbids in a value; the rest is the parser's to judge."""
    cdef Py_ssize_t at
    if value.length and (is_blank(value.start[0]) or is_blank(value.start[value.length - 1])):
        return b"a value begins or ends with white space"
    for at in range(value.length):
        if value.start[at] == 0 or value.start[at] == c"\r" or value.start[at] == c"\n":
            return b"a value holds NUL, CR or LF"
    return NULL


cdef inline bint is_blank(unsigned char c) noexcept nogil:
    return c == c" " or c == c"\t"


cdef const char *wrong_in_line(Span name, Span value) noexcept nogil:
    """What is wrong with a field that is no pseudo-field; RFC 9113 §8.2.1 and §8.2.2."""
    cdef Py_ssize_t at
    for at in range(name.length):
        if c"A" <= name.start[at] <= c"Z":
            return b"a name is not in lower case"
    if not is_field_name(name):
        return b"a name is no token"
    if is_of_connection(name):
        return b"a field is about the connection"
    if name.length == 2 and memcmp(name.start, b"te", 2) == 0 and not (
        same_text(value, Span(<const unsigned char *> b"trailers", 8))
    ):
        return b"te is not trailers"
    return wrong_in_value(value)


cdef const char *wrong_in_trailer(Span name, Span value) noexcept nogil:
    """What is wrong with a field behind the content; RFC 9113 §8.1."""
    if name.length and name.start[0] == c":":
        return b"a trailer is a pseudo-field"
    return wrong_in_line(name, value)


cdef int add_field(Draft *draft, Span name, Span value) except -1:
    """Add the next field; what is wrong is left in the draft."""
    cdef Out *to = &draft.lines
    cdef uint64_t length
    if draft.wrong != NULL:
        return 0
    if name.length and name.start[0] == c":":
        draft.wrong = note_pseudo_field(draft, name, value)
        return 0
    draft.has_lines = True
    draft.wrong = wrong_in_line(name, value)
    if draft.wrong != NULL:
        return 0
    if name.length == 6 and memcmp(name.start, b"cookie", 6) == 0:
        # RFC 9113 §8.2.3
        append(&draft.cookies, b"; " if draft.cookies.used else b"cookie: ", 2 if draft.cookies.used else 8)
        return append(&draft.cookies, value.start, value.length)
    if draft.protocol.start != NULL and name.length == 17 and memcmp(name.start, b"sec-websocket-key", 17) == 0:
        return 0                    # RFC 8441 §5: it means nothing, and some proxies pass it on
    if name.length == 4 and memcmp(name.start, b"host", 4) == 0 and draft.host.start == NULL:
        draft.host = value
        return 0
    if name.length == 14 and memcmp(name.start, b"content-length", 14) == 0 and parse_decimal(value, &length):
        # Others than the first are the parser's to compare.
        draft.length = <int64_t> min(length, <uint64_t> LARGEST) if draft.length < 0 else draft.length
    append(to, name.start, name.length)
    append(to, b": ", 2)
    append(to, value.start, value.length)
    return append(to, b"\r\n", 2)


cdef const char *note_pseudo_field(Draft *draft, Span name, Span value) noexcept nogil:
    """RFC 9113 §8.3.1; what is wrong with it."""
    cdef Span *place = NULL
    if draft.has_lines:
        return b"a pseudo-field follows a field"
    if name.length == 7 and memcmp(name.start, b":method", 7) == 0:
        place = &draft.method
    elif name.length == 7 and memcmp(name.start, b":scheme", 7) == 0:
        place = &draft.scheme
    elif name.length == 5 and memcmp(name.start, b":path", 5) == 0:
        place = &draft.path
    elif name.length == 10 and memcmp(name.start, b":authority", 10) == 0:
        place = &draft.authority
    elif name.length == 9 and memcmp(name.start, b":protocol", 9) == 0:
        place = &draft.protocol
    if place == NULL:
        return b"a pseudo-field is unknown"
    if place.start != NULL:
        return b"a pseudo-field is repeated"
    place[0] = value
    return wrong_in_value(value)


cdef const char *wrong_in_request(const Draft *draft, bint allows_connect) noexcept nogil:
    """What is wrong with the request line that pseudo-fields make up; RFC 9113 §8.3.1 and §8.5, RFC 8441 §4."""
    cdef bint is_connect = is_text(draft.method, b"CONNECT", 7)
    cdef Py_ssize_t at
    if draft.method.start == NULL or not is_field_name(draft.method):
        return b":method is missing, or no token"
    if draft.protocol.start != NULL and not (is_connect and allows_connect):
        return b":protocol is not announced"
    if is_connect and draft.protocol.start == NULL:
        if draft.scheme.start != NULL or draft.path.start != NULL or draft.authority.length == 0:
            return b"CONNECT has other pseudo-fields than :authority"
    else:
        if not (is_text(draft.scheme, b"http", 4) or is_text(draft.scheme, b"https", 5)):
            return b":scheme is neither http nor https"
        if not (draft.path.length and draft.path.start[0] == c"/") and not (
            is_text(draft.path, b"*", 1) and is_text(draft.method, b"OPTIONS", 7)
        ):
            return b":path does not begin with a slash"
    for at in range(draft.path.length):
        if draft.path.start[at] <= c" " or draft.path.start[at] == 127:
            return b":path holds a blank or a control character"
    for at in range(draft.authority.length):
        if draft.authority.start[at] <= c" " or draft.authority.start[at] == 127:
            return b":authority holds a blank or a control character"
    if draft.host.start != NULL and draft.authority.start != NULL and not same_text(draft.host, draft.authority):
        return b"host is another than :authority"
    return NULL


cdef inline bint is_text(Span text, const char *wanted, Py_ssize_t length) noexcept nogil:
    return text.length == length and memcmp(text.start, wanted, <size_t> length) == 0


cdef int finish_draft(Draft *draft, CarriedStream stream, bint ends, bint allows_connect) except -1:
    """Have the stream receive the request, unless something is wrong with it, which is left in the draft.

    Args:
        ends: whether the request has no content.
        allows_connect: whether it may be the handshake of a WebSocket.
    """
    cdef Out *to = &stream._input
    cdef Span target = draft.path
    cdef Span host = draft.authority if draft.authority.start != NULL else draft.host
    if draft.wrong == NULL:
        draft.wrong = wrong_in_request(draft, allows_connect)
    if draft.wrong != NULL:
        return 0
    stream.is_tunnel = draft.protocol.start != NULL
    if stream.is_tunnel and not is_text(draft.protocol, b"websocket", 9):
        stream.fault = Fault.CONNECT_UNSUPPORTED
    stream.is_of_head = is_text(draft.method, b"HEAD", 4)
    stream.in_chunks = not ends and draft.length < 0 and not stream.is_tunnel
    stream.has_all = ends
    reserve(to, 64 + draft.method.length + target.length + host.length + draft.lines.used + draft.cookies.used)
    if stream.is_tunnel:
        append(to, b"GET", 3)
    else:
        append(to, draft.method.start, draft.method.length)
    append(to, b" ", 1)
    if target.length:
        append(to, target.start, target.length)
    else:
        append(to, host.start, host.length)
    append(to, b" HTTP/1.1\r\n", 11)
    if host.start != NULL:
        append(to, b"host: ", 6)
        append(to, host.start, host.length)
        append(to, b"\r\n", 2)
    if draft.lines.used:
        append(to, draft.lines.data, draft.lines.used)
    if draft.cookies.used:
        append(to, draft.cookies.data, draft.cookies.used)
        append(to, b"\r\n", 2)
    if stream.is_tunnel:
        append(to, HANDSHAKE_LINES, <Py_ssize_t> strlen(HANDSHAKE_LINES))
    return append(to, b"\r\n", 2)
