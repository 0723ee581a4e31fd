"""Response heads as bytes: status line, field lines, framing. No sockets, no clock.

What the application gives is checked by the rules that requests are checked by, so that nothing in it can end a line.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_1BYTE_KIND, PyUnicode_DATA, PyUnicode_GET_LENGTH, PyUnicode_KIND
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport free
from libc.string cimport memcpy, memset

from pyserver._http cimport (
    Out,
    Span,
    append,
    equals,
    is_field_name,
    is_field_value,
    parse_decimal,
    reserve,
    write_decimal,
)
from pyserver._system cimport pyserver_civil, pyserver_put_digits, pyserver_to_civil

cdef enum:
    LF = 10
    CR = 13
    SP = 32

cdef dict status_lines = {}     # those that were asked for


cdef void reset_response(Response *response, bint to_head_request) noexcept nogil:
    """Await the response to another request."""
    memset(response, 0, sizeof(Response))
    response.to_head_request = to_head_request


cdef inline Span latin_1(object text, str what) except *:
    """The octets of a native string, which stay where they are; PEP 3333, "Unicode Issues"."""
    if not isinstance(text, str):
        raise TypeError(f"{what} {text!r} is of type {type(text).__name__}, not str")
    if PyUnicode_KIND(text) != PyUnicode_1BYTE_KIND:
        raise ValueError(f"{what} {text!r} holds a character that is not latin-1")
    return Span(<const unsigned char *> PyUnicode_DATA(text), PyUnicode_GET_LENGTH(text))


cdef int start_response_head(Response *response, Out *out, object status, object fields) except -1:
    """Write status line and field lines behind what `out` holds; the framing follows in finish_response_head().

    A head that was started before and not finished is replaced.

    Raises:
        TypeError: `status`, a name or a value is not a str, or a field is no pair.
        ValueError: one of them breaks a rule of RFC 9110 or 9112, or is not the application's to set.
    """
    cdef object item
    if response.is_started:
        out.used = response.head_at
        reset_response(response, response.to_head_request)
    response.head_at = out.used
    try:
        append_status_line(response, out, status)
        for item in fields:
            if type(item) is not tuple or len(<tuple> item) != 2:
                raise TypeError(f"the response field {item!r} is not a tuple of name and value")
            append_field_line(
                response, out, latin_1((<tuple> item)[0], "the name of a response field,"),
                latin_1((<tuple> item)[1], "the value of a response field,"), (<tuple> item)[0], (<tuple> item)[1],
            )
    except BaseException:
        out.used = response.head_at
        raise
    response.is_started = True
    return 0


cdef inline Span octets(object value, str what) except *:
    """The octets of a bytes object, which stay where they are."""
    if not isinstance(value, bytes):
        raise TypeError(f"{what} {value!r} is of type {type(value).__name__}, not bytes")
    return Span(<const unsigned char *> PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))


cdef int start_message_head(Response *response, Out *out, object status, object fields) except -1:
    """Write status line and field lines, as start_response_head() does, from what ASGI has for them.

    Args:
        status: an int from 200 to 599; the reason phrase is the server's to choose. Or 101, for a WebSocket.
        fields: an iterable of pairs of bytes; fields that are the server's to send are left out.

    Raises:
        TypeError, ValueError: see start_response_head().
    """
    cdef bytes line
    if not isinstance(status, int):
        raise TypeError(f"the status {status!r} is of type {type(status).__name__}, not int")
    if not (200 <= status <= 599 or status == 101):
        raise ValueError(f"the status {status!r} is not that of a final response: 200 to 599")
    line = status_lines.get(status)
    if line is None:
        line = status_lines[status] = status_line(int(status))
    response.head_at = out.used
    response.status = status
    response.drops_hop_by_hop = True
    try:
        append(out, PyBytes_AS_STRING(line), PyBytes_GET_SIZE(line))
        append_fields(response, out, fields)
    except BaseException:
        out.used = response.head_at
        raise
    response.is_started = True
    return 0


cdef bytes status_line(int status):
    """RFC 9112 §4; a status without a phrase of its own has an empty one."""
    # Only where the application does not say the phrase itself, and once for each status.
    from http import HTTPStatus
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    return f"HTTP/1.1 {status} {phrase}\r\n".encode("latin-1")


cdef int append_fields(Response *response, Out *out, object fields) except -1:
    """Field lines of a head or of a trailer section, from pairs of bytes."""
    cdef object item, name, value
    for item in fields:
        if type(item) is tuple and len(<tuple> item) == 2:
            name, value = (<tuple> item)[0], (<tuple> item)[1]
        else:
            name, value = pair_of(item)
        append_field_line(
            response, out, octets(name, "the name of a response field,"), octets(value, "the value of a response field,"),
            name, value,
        )
    return 0


cdef tuple pair_of(object item):
    """A field that is no tuple of two."""
    try:
        name, value = item
    except (TypeError, ValueError):
        raise TypeError(f"the response field {item!r} is not a pair of name and value") from None
    return name, value


cdef int append_status_line(Response *response, Out *out, object status) except -1:
    """RFC 9112 §4; the version is the server's own, RFC 9110 §6.2."""
    cdef Span text = latin_1(status, "the status")
    cdef Py_ssize_t at
    cdef unsigned char *to
    for at in range(3):
        if at >= text.length or not c"0" <= text.start[at] <= c"9":
            raise ValueError(f"the status {status!r} does not begin with three digits")
    if text.length > 3 and text.start[3] != SP:
        raise ValueError(f"the status {status!r} has no space after its three digits")
    if not is_field_value(text):
        raise ValueError(f"the status {status!r} holds a control character")
    response.status = (text.start[0] - c"0") * 100 + (text.start[1] - c"0") * 10 + (text.start[2] - c"0")
    if not 200 <= response.status <= 599:
        raise ValueError(f"the status {status!r} is not that of a final response: 200 to 599")
    reserve(out, text.length + 12)
    to = out.data + out.used
    memcpy(to, b"HTTP/1.1 ", 9)
    memcpy(to + 9, text.start, <size_t> text.length)
    to += 9 + text.length
    if text.length == 3:
        to[0] = SP
        to += 1
    to[0] = CR
    to[1] = LF
    out.used = to + 2 - out.data
    return 0


cdef int append_field_line(
    Response *response, Out *out, Span key, Span text, object name, object value
) except -1:
    """One field line, unless its meaning is the server's to write; RFC 9110 §5, PEP 3333 "Other HTTP Features"."""
    cdef unsigned char *to
    if not is_field_name(key):
        raise ValueError(f"the name of a response field, {name!r}, is not a token")
    if not is_field_value(text):
        raise ValueError(f"the response field {name!r} has a control character in its value {value!r}")
    if not is_plain_field(response, key, text, name, value):
        return 0
    reserve(out, key.length + text.length + 4)
    to = out.data + out.used
    memcpy(to, key.start, <size_t> key.length)
    to += key.length
    to[0] = c":"
    to[1] = SP
    memcpy(to + 2, text.start, <size_t> text.length)
    to += 2 + text.length
    to[0] = CR
    to[1] = LF
    out.used = to + 2 - out.data
    return 0


cdef int is_plain_field(Response *response, Span key, Span text, object name, object value) except -1:
    """Whether the line is sent as it is; what it says of framing and connection is noted instead."""
    cdef Py_ssize_t length = key.length
    cdef uint64_t number
    if length == 14 and equals(key.start, b"content-length", 14):
        if response.has_length:
            raise ValueError("the response has more than one Content-Length")
        if not parse_decimal(text, &number):
            raise ValueError(f"the response has the Content-Length {value!r}, which is not a decimal number of at most 18 digits")
        response.has_length = True
        response.length = <int64_t> number
        return False
    if length == 4 and equals(key.start, b"date", 4):
        response.has_date = True
    elif length == 6 and equals(key.start, b"server", 6):
        response.has_server = True
    elif length == 7 and equals(key.start, b"alt-svc", 7):
        response.has_alternative = True
    elif length == 10 and equals(key.start, b"connection", 10) and text.length == 5 and equals(text.start, b"close", 5):
        response.says_close = True
        return False
    elif is_hop_by_hop(key):
        if response.drops_hop_by_hop:
            return False
        raise ValueError(f"the response field {name!r} is hop-by-hop: the server's to send, not the application's")
    return True


cdef bint is_hop_by_hop(Span key) noexcept nogil:
    """PEP 3333, "Other HTTP Features": what an application may not send; RFC 9110 §7.6.1."""
    if key.length == 2:
        return equals(key.start, b"te", 2)
    if key.length == 7:
        return equals(key.start, b"upgrade", 7)
    if key.length == 8:
        return equals(key.start, b"trailers", 8)
    if key.length == 10:
        return equals(key.start, b"connection", 10) or equals(key.start, b"keep-alive", 10)
    if key.length == 17:
        return equals(key.start, b"transfer-encoding", 17)
    if key.length == 18:
        return equals(key.start, b"proxy-authenticate", 18)
    return key.length == 19 and equals(key.start, b"proxy-authorization", 19)


cdef int finish_response_head(
    Response *response, Out *out, const Stamp *stamp, int64_t known, uint32_t minor, bint *persists
) except -1:
    """Decide the framing and end the head.

    Args:
        known: the length of the content if it is known, else -1.
        minor: the minor version of the request, which decides what framing its sender understands.
        persists: whether the connection may persist; made false where the framing or the application ends it.

    Source: RFC 9112 §6, RFC 9110 §8.6 and §15.
    """
    reserve(out, 256)
    append_stamp(response, out, stamp)
    if response.says_close:
        persists[0] = False
    decide_framing(response, known, minor)
    if response.has_length and response.status != 204:
        append(out, b"Content-Length: ", 16)
        out.used = write_decimal(out.data + out.used, <uint64_t> response.length) - out.data
        append(out, b"\r\n", 2)
    elif response.framing == BY_CHUNKS:
        append(out, b"Transfer-Encoding: chunked\r\n", 28)
    elif response.framing == BY_CLOSE:
        persists[0] = False
    if not persists[0]:
        append(out, b"Connection: close\r\n", 19)
    elif minor == 0:
        append(out, b"Connection: keep-alive\r\n", 24)
    append(out, b"\r\n", 2)
    response.is_head_done = True
    return 0


cdef inline int append_stamp(Response *response, Out *out, const Stamp *stamp) except -1:
    """The Date and Server lines, unless the application has its own."""
    cdef int date_length = stamp.date_length
    if not response.has_date and not response.has_server:
        append(out, stamp.text, stamp.length)
    elif not response.has_date:
        append(out, stamp.text, date_length)
    elif not response.has_server:
        append(out, stamp.text + date_length, stamp.length - date_length)
    return 0


cdef inline void decide_framing(Response *response, int64_t known, uint32_t minor) noexcept nogil:
    """RFC 9112 §6.3, from the side of the sender."""
    if response.status == 205:
        # RFC 9110 §15.3.6: no content, and the client must be able to tell.
        response.has_length = True
        response.length = 0
    if response.to_head_request or response.status == 204 or response.status == 304:
        response.framing = NO_CONTENT
        # To HEAD, a length is that of the GET: an empty list does not tell it. RFC 9110 §8.6.
        if not response.has_length and known > 0 and response.to_head_request and response.status not in (204, 304):
            response.has_length = True
            response.length = known
        return
    if not response.has_length and known >= 0:
        response.has_length = True
        response.length = known
    if response.has_length:
        response.framing = BY_LENGTH
    elif minor:
        response.framing = BY_CHUNKS
    else:
        response.framing = BY_CLOSE


cdef int append_chunk_size(Out *out, Py_ssize_t size) except -1:
    """The line before chunk data of `size` bytes; the caller writes the CRLF behind it. RFC 9112 §7.1."""
    cdef int length
    reserve(out, 20)
    length = snprintf(<char *> out.data + out.used, 20, b"%zx\r\n", <size_t> size)
    out.used += length
    return 0


cdef const char *DAYS = b"SunMonTueWedThuFriSat"
cdef const char *MONTHS = b"JanFebMarAprMayJunJulAugSepOctNovDec"


cdef int put_date(char *to, int64_t unix_time) noexcept nogil:
    """Write the Date line of a second, DATE_LENGTH bytes, and return how many; RFC 9110 §5.6.7.

    Args:
        unix_time: seconds since 1970, not negative.
    """
    cdef pyserver_civil civil
    pyserver_to_civil(unix_time, &civil)
    memcpy(to, b"Date: ddd, 00 mmm 0000 00:00:00 GMT\r\n", DATE_LENGTH)
    memcpy(to + 6, DAYS + 3 * civil.weekday, 3)
    pyserver_put_digits(to + 11, civil.day, 2)
    memcpy(to + 14, MONTHS + 3 * (civil.month - 1), 3)
    pyserver_put_digits(to + 18, civil.year, 4)
    pyserver_put_digits(to + 23, civil.hour, 2)
    pyserver_put_digits(to + 26, civil.minute, 2)
    pyserver_put_digits(to + 29, civil.second, 2)
    return DATE_LENGTH


cdef int set_stamp(Stamp *stamp, int64_t unix_time, bytes server, bint with_date) except -1:
    """Write the Date and Server lines of one second; RFC 9110 §6.6.1 and §10.2.4.

    Args:
        unix_time: seconds since 1970, not negative.
        server: the value of Server, at most 64 bytes; empty for no such line.
        with_date: whether there is a Date line.
    """
    stamp.date_length = put_date(stamp.text, unix_time) if with_date else 0
    stamp.length = stamp.date_length
    if server:
        stamp.length += snprintf(stamp.text + stamp.length, 90, b"Server: %.64s\r\n", <const char *> server)
    return 0


def format_response_head(
    status, fields, *, known=-1, to_head_request=False, minor=1, persists=True, unix_time=0, server=b"", date=True
) -> tuple:
    """A response head as the engine writes it, and whether the connection persists after it.

    Args:
        status: "200 OK", as PEP 3333 has it.
        fields: a list of (name, value) pairs of native strings.
        known: the length of the content if it is known, else -1.

    Raises:
        TypeError, ValueError: the application broke a rule; see start_response_head().
    """
    cdef Out out = Out(NULL, 0, 0)
    cdef Response response
    cdef Stamp stamp
    cdef bint keeps = persists
    reset_response(&response, to_head_request)
    set_stamp(&stamp, unix_time, server, date)
    try:
        start_response_head(&response, &out, status, fields)
        finish_response_head(&response, &out, &stamp, known, minor, &keeps)
        return (<bytes> out.data[:out.used], keeps)
    finally:
        free(out.data)
