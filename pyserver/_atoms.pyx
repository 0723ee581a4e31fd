"""The atoms of a line of the access log: how each is printed, in text and in JSON.

Nothing here takes Python, so that a signal handler can print a line as well. Who calls has made room: for an atom
ATOM_ROOM, and beyond that GROWTH times what the client has sent of it.
"""
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcpy, strlen

from pyserver._http cimport Field, Head, Span, same_text, write_decimal
from pyserver._system cimport AF_INET6, inet_ntop, pyserver_civil, pyserver_put_digits, pyserver_to_civil

cdef enum:
    LAST_ROOM = 65536           # of a line that a signal handler writes; what does not fit is cut

HEXADECIMAL = b"0123456789abcdef"
cdef const char *MONTHS = b"JanFebMarAprMayJunJulAugSepOctNovDec"

# There when there is no other memory to be had; a page of it costs nothing before it is written to.
cdef unsigned char last_line[LAST_ROOM]


cdef Span text_of(const Step *step, const Facts *facts) noexcept nogil:
    """What an atom prints that the client sent; NULL where that is not there, and for other atoms."""
    cdef const Head *head = facts.head
    if step.atom == REQUEST_FIELD:
        return request_field(facts, step.text, step.length)
    if step.atom == REQUEST_LINE and facts.minor < 0 and head.method_length:
        # It was refused, and is printed as it is.
        return Span(facts.base + head.method, facts.line_length)
    if step.atom == REQUEST_LINE and head.target_length:
        return Span(facts.base + head.method, head.target + head.target_length - head.method)
    if step.atom == METHOD and head.method_length:
        return Span(facts.base + head.method, head.method_length)
    if step.atom == PATH and head.path_length:
        return Span(facts.base + head.path, head.path_length)
    if step.atom == PATH and head.target_length == 1:
        # Of OPTIONS *.
        return Span(facts.base + head.target, 1)
    if step.atom == QUERY:
        return Span(facts.base + head.query, head.query_length)
    if step.atom == REQUEST_ID:
        return Span(<const unsigned char *> facts.request_id, facts.request_id_length)
    return Span(NULL, 0)


cdef unsigned char *put_atom(
    unsigned char *to, const Step *step, Span text, const Facts *facts, const Own *own
) noexcept nogil:
    """Write an atom other than those that take Python, of which `text` was sent by the client; returns its end."""
    cdef int atom = step.atom
    if atom == STATUS or atom == SENT or (SECONDS <= atom <= SEND_SECONDS):
        return put_number(to, atom, facts)
    elif atom == PID:
        memcpy(to, own.pid, sizeof(own.pid))
        return to + own.pid_length
    elif atom == WORKER:
        memcpy(to, own.worker, sizeof(own.worker))
        return to + own.worker_length
    elif own.in_json:
        return put_member(to, atom, text, facts, own)
    elif atom == REMOTE_ADDRESS:
        return put_address(to, facts)
    elif atom == TIME:
        memcpy(to, own.time, sizeof(own.time))
        return to + own.time_length
    elif (atom == REQUEST_LINE or atom == PROTOCOL) and facts.minor >= 0:
        if atom == REQUEST_LINE:
            to = put_text(to, text)
            to[0] = c" "
            to += 1
        return put_protocol(to, facts.minor)
    return put_text(to, text)


cdef inline unsigned char *put_protocol(unsigned char *to, int minor) noexcept nogil:
    if minor > 1:
        memcpy(to, b"HTTP/", 5)
        to[5] = <unsigned char> (c"0" + minor)
        return to + 6
    memcpy(to, b"HTTP/1.1" if minor else b"HTTP/1.0", 8)
    return to + 8


cdef unsigned char *put_member(
    unsigned char *to, int atom, Span text, const Facts *facts, const Own *own
) noexcept nogil:
    """The same in JSON, of an atom that is no number."""
    cdef unsigned char *end
    if atom == REMOTE_ADDRESS and facts.family:
        to[0] = c'"'
        end = put_address(to + 1, facts)
        end[0] = c'"'
        return end + 1
    if atom == TIME:
        return put_instant(to, facts, own)
    if (atom == PROTOCOL or atom == REQUEST_LINE) and facts.minor >= 0:
        to[0] = c'"'
        to += 1
        if atom == REQUEST_LINE:
            to = escape_json(to, text)
            to[0] = c" "
            to += 1
        to = put_protocol(to, facts.minor)
        to[0] = c'"'
        return to + 1
    if text.start == NULL:
        return put_nothing(to, own)
    return put_json(to, text)


cdef unsigned char *put_instant(unsigned char *to, const Facts *facts, const Own *own) noexcept nogil:
    """RFC 3339, in UTC, with milliseconds."""
    # Another thread may have noted the next second already, and nobody notes one while nothing is answered.
    cdef int64_t into = max(<int64_t> 0, min(facts.ended_ns - own.second_ns, SECOND - 1))
    to[0] = c'"'
    memcpy(to + 1, own.date, sizeof(own.date))
    to[20] = c"."
    to = <unsigned char *> pyserver_put_digits(<char *> to + 21, <int> (into // 1000000), 3)
    to[0] = c"Z"
    to[1] = c'"'
    return to + 2


cdef unsigned char *put_nothing(unsigned char *to, const Own *own) noexcept nogil:
    """What stands for what is not there."""
    if own.in_json:
        memcpy(to, b"null", 4)
        return to + 4
    to[0] = c"-"
    return to + 1


cdef unsigned char *put_json(unsigned char *to, Span text) noexcept nogil:
    """A string of JSON; RFC 8259 §7. Takes up to GROWTH times its length, and two bytes."""
    to[0] = c'"'
    to = escape_json(to + 1, text)
    to[0] = c'"'
    return to + 1


cdef unsigned char *escape_json(unsigned char *to, Span text) noexcept nogil:
    """Text as it stands in a string of JSON. RFC 8259 §8.1 wants UTF-8: a byte that is none becomes U+FFFD."""
    cdef const unsigned char *at = text.start
    cdef const unsigned char *end = text.start + text.length
    cdef unsigned char c
    cdef int length
    while at < end:
        copy_plain(&to, &at, end)
        if at == end:
            break
        c = at[0]
        length = 1
        if c == c'"' or c == c"\\":
            to[0] = c"\\"
            to[1] = c
            to += 2
        elif 0x20 <= c < 0x7F:
            to[0] = c
            to += 1
        elif c < 0x80:
            memcpy(to, b"\\u00", 4)
            to[4] = HEXADECIMAL[c >> 4]
            to[5] = HEXADECIMAL[c & 15]
            to += 6
        else:
            length = utf8_length(at, end)
            if length == 0:
                to[0] = 0xEF
                to[1] = 0xBF
                to[2] = 0xBD
                to += 3
                length = 1
            else:
                memcpy(to, at, <size_t> length)
                to += length
        at += length
    return to


cdef int utf8_length(const unsigned char *at, const unsigned char *end) noexcept nogil:
    """How many bytes a character beyond ASCII has; 0 where there is none. RFC 3629 §4."""
    cdef unsigned char first = at[0]
    cdef int length = 2 if first < 0xE0 else 3 if first < 0xF0 else 4
    cdef int follower
    if first < 0xC2 or first > 0xF4 or end - at < length:
        return 0
    for follower in range(1, length):
        if at[follower] & 0xC0 != 0x80:
            return 0
    # Longer than need be, half of a pair of UTF-16, or beyond the last character.
    if (
        (first == 0xE0 and at[1] < 0xA0) or (first == 0xED and at[1] > 0x9F)
        or (first == 0xF0 and at[1] < 0x90) or (first == 0xF4 and at[1] > 0x8F)
    ):
        return 0
    return length


cdef unsigned char *put_text(unsigned char *to, Span text) noexcept nogil:
    """What a client sent, or what stands for nothing where that is NULL.

    Nothing in it can end the line or a quoted part of it. Takes up to four times its length.
    """
    cdef const unsigned char *at = text.start
    cdef const unsigned char *end = text.start + text.length
    cdef unsigned char c
    if text.start == NULL:
        to[0] = c"-"
        return to + 1
    while at < end:
        copy_plain(&to, &at, end)
        if at == end:
            break
        c = at[0]
        at += 1
        if c == c'"' or c == c"\\":
            to[0] = c"\\"
            to[1] = c
            to += 2
        elif c < 0x20 or c >= 0x7F:
            to[0] = c"\\"
            to[1] = c"x"
            to[2] = HEXADECIMAL[c >> 4]
            to[3] = HEXADECIMAL[c & 15]
            to += 4
        else:
            to[0] = c
            to += 1
    return to


cdef unsigned char *put_number(unsigned char *to, int atom, const Facts *facts) noexcept nogil:
    cdef int64_t microseconds = time_of(atom, facts) // 1000
    if atom == STATUS:
        return write_decimal(to, <uint64_t> facts.status)
    if atom == SENT:
        return write_decimal(to, <uint64_t> facts.sent)
    if atom == MICROSECONDS:
        return write_decimal(to, <uint64_t> microseconds)
    if atom == MILLISECONDS:
        return write_decimal(to, <uint64_t> (microseconds // 1000))
    to = write_decimal(to, <uint64_t> (microseconds // 1000000))
    if atom == SECONDS:
        return to
    to[0] = c"."
    return <unsigned char *> pyserver_put_digits(<char *> to + 1, <int> (microseconds % 1000000), 6)


cdef int64_t time_of(int atom, const Facts *facts) noexcept nogil:
    """How long what the atom tells of took."""
    cdef int64_t sent_ns = facts.ended_ns - facts.headed_ns if facts.headed_ns else 0
    if atom == QUEUE_SECONDS:
        return facts.queue_ns
    if atom == RECEIVE_SECONDS:
        return facts.receive_ns
    if atom == SEND_SECONDS:
        return sent_ns
    if atom == APPLICATION_SECONDS:
        return max(facts.duration_ns - sent_ns, <int64_t> 0)
    return facts.duration_ns


cdef unsigned char *put_address(unsigned char *to, const Facts *facts) noexcept nogil:
    cdef int part
    if facts.family == 0:
        to[0] = c"-"
        return to + 1
    if facts.family == 6:
        inet_ntop(AF_INET6, facts.address, <char *> to, ATOM_ROOM)
        return to + strlen(<char *> to)
    for part in range(4):
        to = put_octet(to, facts.address[part])
        to[0] = c"."
        to += 1
    return to - 1


cdef inline unsigned char *put_octet(unsigned char *to, unsigned int number) noexcept nogil:
    if number >= 100:
        to[0] = <unsigned char> (c"0" + number // 100)
        to += 1
    if number >= 10:
        to[0] = <unsigned char> (c"0" + number // 10 % 10)
        to += 1
    to[0] = <unsigned char> (c"0" + number % 10)
    return to + 1


cdef void put_time(Own *own, int64_t unix_time, long zone_offset) noexcept nogil:
    """Local time, as `[20/Nov/2026:11:28:43 +0000]`, and UTC, as `2026-11-20T11:28:43`."""
    cdef pyserver_civil local, utc
    cdef char *to = own.time
    cdef long minutes = zone_offset // 60 if zone_offset >= 0 else -zone_offset // 60
    pyserver_to_civil(unix_time + zone_offset, &local)
    to[0] = c"["
    to = pyserver_put_digits(to + 1, local.day, 2)
    to[0] = to[4] = c"/"
    memcpy(to + 1, MONTHS + 3 * (local.month - 1), 3)
    to = pyserver_put_digits(to + 5, local.year, 4)
    to[0] = c":"
    to = pyserver_put_digits(to + 1, local.hour, 2)
    to[0] = c":"
    to = pyserver_put_digits(to + 1, local.minute, 2)
    to[0] = c":"
    to = pyserver_put_digits(to + 1, local.second, 2)
    to[0] = c" "
    to[1] = c"+" if zone_offset >= 0 else c"-"
    to = pyserver_put_digits(to + 2, <int> (minutes // 60 * 100 + minutes % 60), 4)
    to[0] = c"]"
    own.time_length = <int> (to + 1 - own.time)
    pyserver_to_civil(unix_time, &utc)
    to = pyserver_put_digits(own.date, utc.year, 4)
    to = pyserver_put_digits(to + 1, utc.month, 2)
    to = pyserver_put_digits(to + 1, utc.day, 2)
    to = pyserver_put_digits(to + 1, utc.hour, 2)
    to = pyserver_put_digits(to + 1, utc.minute, 2)
    pyserver_put_digits(to + 1, utc.second, 2)
    own.date[4] = own.date[7] = c"-"
    own.date[10] = c"T"
    own.date[13] = own.date[16] = c":"


cdef inline bint is_plain(const unsigned char *text) noexcept nogil:
    """Whether eight bytes are all visible ASCII or SP, and none is a quote or a backslash."""
    cdef uint64_t word, quote, backslash, delete, marked
    memcpy(&word, text, 8)
    quote = word ^ <uint64_t> 0x2222222222222222
    backslash = word ^ <uint64_t> 0x5C5C5C5C5C5C5C5C
    delete = word ^ <uint64_t> 0x7F7F7F7F7F7F7F7F
    # Each term has the high bit of a byte set where that byte is under 0x20, or equal to what was taken out of it.
    marked = word | (word - <uint64_t> 0x2020202020202020) | (quote - <uint64_t> 0x0101010101010101)
    marked |= (backslash - <uint64_t> 0x0101010101010101) | (delete - <uint64_t> 0x0101010101010101)
    return (marked & <uint64_t> 0x8080808080808080) == 0


cdef inline void copy_plain(unsigned char **to, const unsigned char **at, const unsigned char *end) noexcept nogil:
    """Copy eight bytes at a time while nothing has to be escaped, as nearly always."""
    while at[0] + 8 <= end and is_plain(at[0]):
        memcpy(to[0], at[0], 8)
        to[0] += 8
        at[0] += 8


cdef Span request_field(const Facts *facts, const unsigned char *name, Py_ssize_t length) noexcept nogil:
    """The value of the last field of that name, for the first may be the client's own; NULL if there is none."""
    cdef const Field *field
    cdef uint32_t at = facts.head.count
    while at:
        at -= 1
        field = &facts.head.fields[at]
        if field.name_length == length and same_text(Span(facts.base + field.name, length), Span(name, length)):
            return Span(facts.base + field.value, field.value_length)
    return Span(NULL, 0)


cdef const unsigned char *put_last_line(
    const Step *steps, int count, const Facts *facts, const Own *own, Py_ssize_t *length
) noexcept nogil:
    """A whole line, in memory that is always there, for a signal handler; `length` bytes."""
    cdef unsigned char *to = last_line
    cdef Py_ssize_t room
    cdef Span text
    cdef int at
    for at in range(count):
        room = LAST_ROOM - ATOM_ROOM - 1 - (to - last_line)
        if room < 0:
            break
        if steps[at].atom == TEXT:
            room = min(room, steps[at].length)
            memcpy(to, steps[at].text, <size_t> room)
            to += room
        elif steps[at].atom >= USER:
            to = put_nothing(to, own)
        else:
            text = text_of(&steps[at], facts)
            # As if each byte had to be escaped.
            text.length = min(text.length, room // (GROWTH if own.in_json else 4))
            to = put_atom(to, &steps[at], text, facts, own)
    to[0] = c"\n"
    length[0] = to + 1 - last_line
    return last_line
