"""HTTP/1.1 as bytes: request heads and chunked content. No sockets, no clock.

Everything a peer sent is judged once, by the parser that first meets it, and a paused parser resumes at the byte
it stopped before. What is refused is a `Fault` with an offset, never an exception: a peer's mistake is data.
"""
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memchr, memcpy, memmove, memset

cdef extern from "<arpa/inet.h>" nogil:
    int AF_INET6
    int inet_pton(int family, const char *text, void *address)

cdef enum:
    HTAB = 9
    LF = 10
    CR = 13
    SP = 32

cdef enum HeadState:
    AWAIT_REQUEST_LINE
    AWAIT_EMPTY_LINE_LF
    IN_METHOD
    IN_TARGET
    IN_VERSION
    AWAIT_REQUEST_LINE_LF
    AWAIT_FIELD_LINE
    IN_FIELD_NAME
    AWAIT_FIELD_VALUE
    IN_FIELD_VALUE
    AWAIT_FIELD_LINE_LF
    AWAIT_HEAD_LF
    HEAD_COMPLETE
    HEAD_REFUSED

cdef enum:
    UNLIMITED = 0x3FFFFFFF
    # What a head may have together where the settings lift the limits of its lines: offsets are 32 bits wide.
    HEAD_CEILING = 1 << 24
    # … and what a field name may have, whose length is 16 bits wide.
    NAME_CEILING = 0xFFFF
    # RFC 9112 §2.2 asks to ignore "at least one" empty line before a request line.
    EMPTY_LINES_IGNORED = 4
    # RFC 9112 §7.1.1: the total length of chunk extensions ought to be limited.
    EXTENSIONS_LIMIT = 4096
    CHUNK_SIZE_DIGITS = 15
    UNDERSCORE_SEEN = 2
    IN_TARGET_SET = 128

cdef unsigned char TOKEN[256]           # 0: no token character; UNDERSCORE_SEEN marks "_"
cdef unsigned char TARGET_SET[256]      # 0: not allowed in a target; else IN_TARGET_SET and the HeadFlag it raises
cdef unsigned char HOST_SET[256]
cdef unsigned char HEX_DIGIT[256]       # value + 1; 0: no hexadecimal digit


cdef void fill_tables() noexcept:
    cdef int c
    for c in b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz":
        TOKEN[c] = 1
    TOKEN[c"_"] = 1 | UNDERSCORE_SEEN
    # RFC 3986 §2 allows less, but browsers send some of the rest in queries unencoded. Never a fragment.
    for c in range(0x21, 0x7F):
        TARGET_SET[c] = IN_TARGET_SET
    TARGET_SET[c"#"] = 0
    TARGET_SET[c"%"] = IN_TARGET_SET | TARGET_PERCENT
    TARGET_SET[c"?"] = IN_TARGET_SET | TARGET_QUERY
    # RFC 3986 §3.2.2, reg-name, without the comma: intermediaries join repeated fields with it.
    for c in b"-._~%!$&'()*+;=0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz":
        HOST_SET[c] = 1
    for c in range(10):
        HEX_DIGIT[c"0" + c] = <unsigned char> (c + 1)
    for c in range(6):
        HEX_DIGIT[c"a" + c] = <unsigned char> (c + 11)
        HEX_DIGIT[c"A" + c] = <unsigned char> (c + 11)


fill_tables()


# ---- field checks, for every protocol version ----

cdef inline Py_ssize_t skip_text(const unsigned char *base, Py_ssize_t at, Py_ssize_t stop) noexcept nogil:
    """Offset of the first control character other than HTAB at or after `at`; `stop` if there is none."""
    cdef uint64_t word, low, delete
    while True:
        # Eight bytes at a time: `low` marks bytes under 0x20, `delete` marks 0x7F; RFC 9110 §5.5.
        while at + 8 <= stop:
            memcpy(&word, base + at, 8)
            low = (word - <uint64_t> 0x2020202020202020) & ~word
            delete = word ^ <uint64_t> 0x7F7F7F7F7F7F7F7F
            delete = (delete - <uint64_t> 0x0101010101010101) & ~delete
            if (low | delete) & <uint64_t> 0x8080808080808080:
                break
            at += 8
        while at < stop and base[at] >= SP and base[at] != 0x7F:
            at += 1
        if at == stop or base[at] != HTAB:
            return at
        at += 1


cdef bint is_field_name(Span text) noexcept nogil:
    """Whether a field name is a token; RFC 9110 §5.1."""
    cdef Py_ssize_t at
    for at in range(text.length):
        if not TOKEN[text.start[at]]:
            return False
    return text.length > 0


cdef bint is_field_value(Span text) noexcept nogil:
    """Whether a field value is free of control characters; RFC 9110 §5.5."""
    return skip_text(text.start, 0, text.length) == text.length


cdef Py_ssize_t end_of_ip_literal(Span text) noexcept nogil:
    """Offset behind the "]" of an IPv6 address in brackets; -1 if it is none. RFC 3986 §3.2.2."""
    cdef char address[46]
    cdef unsigned char binary[16]
    cdef Py_ssize_t length = 0
    while 1 + length < text.length and text.start[1 + length] != c"]":
        if length == 45:
            return -1
        address[length] = <char> text.start[1 + length]
        length += 1
    address[length] = 0
    if 1 + length == text.length or inet_pton(AF_INET6, address, binary) != 1:
        return -1
    return length + 2


cdef Py_ssize_t end_of_reg_name(Span text) noexcept nogil:
    """Offset of the first byte that is not of a registered name; RFC 3986 §3.2.2."""
    cdef Py_ssize_t at = 0
    while at < text.length and HOST_SET[text.start[at]]:
        if text.start[at] == c"%":
            if at + 2 >= text.length or not HEX_DIGIT[text.start[at + 1]] or not HEX_DIGIT[text.start[at + 2]]:
                return at
            at += 2
        at += 1
    return at


cdef bint is_host(Span text) noexcept nogil:
    """Whether a Host or an authority without userinfo is `uri-host [ ":" port ]`; RFC 9110 §7.2.

    A port is that of a host, and one that there can be: readers of ":80" and ":65616" make different things of them.
    """
    cdef Py_ssize_t at
    cdef uint32_t port = 0
    if text.length and text.start[0] == c"[":
        at = end_of_ip_literal(text)
    else:
        at = end_of_reg_name(text)
    if 0 < at < text.length and text.start[at] == c":":
        at += 1
        while at < text.length and c"0" <= text.start[at] <= c"9" and port <= 65535:
            port = port * 10 + text.start[at] - c"0"
            at += 1
    return at == text.length and port <= 65535


cdef bint same_text(Span one, Span other) noexcept nogil:
    """Whether two ASCII texts are the same, letters compared without case."""
    cdef Py_ssize_t at
    cdef unsigned char difference
    if one.length != other.length:
        return False
    for at in range(one.length):
        difference = one.start[at] ^ other.start[at]
        if difference and not (difference == 0x20 and c"a" <= (one.start[at] | 0x20) <= c"z"):
            return False
    return True


cdef bint parse_decimal(Span text, uint64_t *value) noexcept nogil:
    """Read 1*DIGIT of at most 18 digits, so that it cannot overflow; RFC 9110 §8.6."""
    cdef Py_ssize_t at
    value[0] = 0
    if not 0 < text.length <= 18:
        return False
    for at in range(text.length):
        if not c"0" <= text.start[at] <= c"9":
            return False
        value[0] = value[0] * 10 + (text.start[at] - c"0")
    return True


# ---- the request head ----

cdef void reset_head(Head *head) noexcept nogil:
    """Await another message; the field table is kept."""
    cdef Field *fields = head.fields
    cdef uint32_t capacity = head.capacity
    memset(head, 0, sizeof(Head))
    head.fields = fields
    head.capacity = capacity


cdef void free_head(Head *head) noexcept nogil:
    """Give the field table back."""
    free(head.fields)
    head.fields = NULL
    head.capacity = head.count = 0


cdef int copy_head(Head *to, const Head *head) noexcept nogil:
    """Make `to` a parser in the same state with a field table of its own, no larger than needed; -1 without memory."""
    cdef uint32_t used = head.count + 1
    cdef Field *fields = <Field *> malloc(used * sizeof(Field))
    if fields == NULL:
        return -1
    memcpy(to, head, sizeof(Head))
    if head.fields != NULL:
        # One more than counted: the line under way keeps its name there.
        memcpy(fields, head.fields, min(used, head.capacity) * sizeof(Field))
    to.fields = fields
    to.capacity = used
    return 0


cdef bint is_begun(const Head *head) noexcept nogil:
    """Whether a byte of a request line has been seen."""
    return head.state > AWAIT_EMPTY_LINE_LF


cdef bint head_persists(const Head *head) noexcept nogil:
    """Whether the client wants the connection kept; RFC 9112 §9.3."""
    if head.flags & SAYS_CLOSE:
        return False
    return head.minor == 1 or (head.flags & SAYS_KEEP_ALIVE) != 0


cdef inline Outcome refuse(Head *head, Py_ssize_t at, Fault fault) noexcept nogil:
    head.position = <uint32_t> at
    head.fault = fault
    head.state = HEAD_REFUSED
    return REFUSED


cdef inline Outcome pause(Head *head, Py_ssize_t at, int state) noexcept nogil:
    head.position = <uint32_t> at
    head.state = state
    return NEED_MORE


cdef Outcome parse_head(Head *head, const unsigned char *base, Py_ssize_t length, const Bounds *bounds) noexcept nogil:
    """Go on parsing the message that begins at `base`, of which `length` bytes are there.

    COMPLETE: `head.position` is where the content begins. REFUSED: `head.fault` says why, `head.position` where.
    NEED_MORE: call again with a longer text; the memory may have moved.
    """
    cdef Outcome outcome
    if head.state < AWAIT_FIELD_LINE:
        outcome = parse_request_line(head, base, length, bounds)
        if outcome != COMPLETE:
            return outcome
    while head.position < length:
        if head.state == AWAIT_HEAD_LF:
            if base[head.position] != LF:
                return refuse(head, head.position, Fault.FIELD_LINE_END)
            head.position += 1
            return check_head(head, base, bounds)
        outcome = parse_field_line(head, base, length, bounds)
        if outcome != COMPLETE:
            return outcome
    return NEED_MORE


cdef Outcome parse_request_line(Head *head, const unsigned char *base, Py_ssize_t length, const Bounds *bounds) noexcept nogil:
    """RFC 9112 §3: method SP request-target SP HTTP-version, ended by CRLF."""
    cdef Py_ssize_t at = head.position
    cdef Py_ssize_t last, stop
    cdef int state = head.state
    cdef uint32_t seen = head.flags
    cdef Outcome outcome
    while state <= AWAIT_EMPTY_LINE_LF:
        if at == length:
            return pause(head, at, state)
        if state == AWAIT_EMPTY_LINE_LF:
            if base[at] != LF:
                return refuse(head, at, Fault.METHOD)
            head.empty_lines += 1
            if head.empty_lines > EMPTY_LINES_IGNORED:
                return refuse(head, at, Fault.EMPTY_LINES)
            at += 1
            state = AWAIT_REQUEST_LINE
        elif base[at] == CR:
            at += 1
            state = AWAIT_EMPTY_LINE_LF
        else:
            head.line = head.method = <uint32_t> at
            state = IN_METHOD
    # A byte past `last` would make the line too long, whatever it is: the limit is met before the byte is judged.
    last = head.line + <Py_ssize_t> bounds.line
    stop = min(length, last + 1)
    if state == IN_METHOD:
        while at < stop and TOKEN[base[at]]:
            at += 1
        if at > last:
            return refuse(head, last, Fault.REQUEST_LINE_LIMIT)
        if at == length:
            return pause(head, at, IN_METHOD)
        if base[at] != SP or at == head.method:
            return refuse(head, at, Fault.METHOD)
        head.method_length = <uint32_t> at - head.method
        if bounds.casefold_method:
            upper_case(<unsigned char *> base + head.method, head.method_length)
        at += 1
        head.target = <uint32_t> at
        state = IN_TARGET
    if state == IN_TARGET:
        while at < stop and TARGET_SET[base[at]]:
            seen |= TARGET_SET[base[at]]
            at += 1
        head.flags = seen & (TARGET_PERCENT | TARGET_QUERY)
        if at > last:
            return refuse(head, last, Fault.REQUEST_LINE_LIMIT)
        if at == length:
            return pause(head, at, IN_TARGET)
        if base[at] != SP:
            return refuse(head, at, Fault.VERSION if base[at] == CR else Fault.TARGET)
        head.target_length = <uint32_t> at - head.target
        outcome = split_target(head, base)
        if outcome != COMPLETE:
            return outcome
        at += 1
        head.mark = <uint32_t> at
        state = IN_VERSION
    return parse_version(head, base, length, at, state, last)


cdef void upper_case(unsigned char *text, uint32_t length) noexcept nogil:
    """Write it over, in the buffer: whatever looks at it from now on finds what it was taken for."""
    cdef uint32_t at
    for at in range(length):
        if c"a" <= text[at] <= c"z":
            text[at] ^= 0x20


# Not a literal where it is used: an index into one asks Python.
cdef const char *VERSION_FORM = b"HTTP/ . "


cdef inline Outcome parse_version(
    Head *head, const unsigned char *base, Py_ssize_t length, Py_ssize_t at, int state, Py_ssize_t last
) noexcept nogil:
    """RFC 9112 §2.3: "HTTP/" DIGIT "." DIGIT, case-sensitive; and the CRLF behind it."""
    cdef Py_ssize_t column
    cdef unsigned char c
    while state == IN_VERSION:
        if at == length:
            return pause(head, at, IN_VERSION)
        c = base[at]
        column = at - head.mark
        if column == 8:
            if c != CR:
                return refuse(head, at, Fault.REQUEST_LINE_END if c == LF else Fault.VERSION)
            if at > last:
                return refuse(head, last, Fault.REQUEST_LINE_LIMIT)
            if base[head.mark + 5] != c"1" or base[head.mark + 7] > c"1":
                return refuse(head, head.mark, Fault.VERSION_UNSUPPORTED)
            head.minor = base[head.mark + 7] - c"0"
            state = AWAIT_REQUEST_LINE_LF
        elif column == 5 or column == 7:
            if not c"0" <= c <= c"9":
                return refuse(head, at, Fault.VERSION)
        elif c != <unsigned char> VERSION_FORM[column]:
            return refuse(head, at, Fault.VERSION)
        at += 1
    if at == length:
        return pause(head, at, AWAIT_REQUEST_LINE_LF)
    if base[at] != LF:
        return refuse(head, at, Fault.REQUEST_LINE_END)
    head.position = <uint32_t> at + 1
    head.state = AWAIT_FIELD_LINE
    return COMPLETE


cdef Outcome split_target(Head *head, const unsigned char *base) noexcept nogil:
    """Find path, query and authority in the target, by its form; RFC 9112 §3.2."""
    cdef const unsigned char *target = base + head.target
    cdef const unsigned char *method = base + head.method
    cdef bint is_connect = head.method_length == 7 and memcmp7(method, b"CONNECT")
    if head.target_length == 0:
        return refuse(head, head.target, Fault.TARGET)
    if is_connect:
        return refuse_connect(head, target)
    if target[0] == c"/":
        split_query(head, target, head.target, head.target_length)
        return COMPLETE
    if target[0] == c"*":
        # Asterisk-form, RFC 9112 §3.2.4: the server as a whole, so there is no path.
        if head.target_length == 1 and head.method_length == 7 and memcmp7(method, b"OPTIONS"):
            head.path = head.target
            head.path_length = 0
            return COMPLETE
        return refuse(head, head.target, Fault.TARGET_FORM)
    return split_absolute(head, base)


cdef inline bint memcmp7(const unsigned char *text, const char *other) noexcept nogil:
    cdef Py_ssize_t at
    for at in range(7):
        if text[at] != <unsigned char> other[at]:
            return False
    return True


cdef Outcome refuse_connect(Head *head, const unsigned char *target) noexcept nogil:
    """Authority-form, RFC 9112 §3.2.3: host ":" port. A tunnel is nothing an origin server can give."""
    cdef Span text = Span(target, head.target_length)
    cdef const unsigned char *colon = <const unsigned char *> memchr(target, c":", head.target_length)
    cdef unsigned char last = target[head.target_length - 1]
    if colon == NULL or colon == target or last == c":" or last == c"]" or not is_host(text):
        return refuse(head, head.target, Fault.TARGET_FORM)
    return refuse(head, head.target, Fault.CONNECT_UNSUPPORTED)


cdef inline void split_query(Head *head, const unsigned char *text, uint32_t offset, uint32_t length) noexcept nogil:
    cdef const unsigned char *mark = NULL
    if head.flags & TARGET_QUERY:
        mark = <const unsigned char *> memchr(text, c"?", length)
    head.path = offset
    head.path_length = length
    if mark != NULL:
        head.path_length = <uint32_t> (mark - text)
        head.query = offset + head.path_length + 1
        head.query_length = length - head.path_length - 1


cdef Outcome split_absolute(Head *head, const unsigned char *base) noexcept nogil:
    """Absolute-form, RFC 9112 §3.2.2: "http://" or "https://", an authority without userinfo, path and query."""
    cdef const unsigned char *target = base + head.target
    cdef Py_ssize_t at, scheme
    if head.target_length > 7 and equals(target, b"http://", 7):
        scheme = 7
    elif head.target_length > 8 and equals(target, b"https://", 8):
        scheme = 8
    else:
        return refuse(head, head.target, Fault.TARGET_FORM)
    at = scheme
    while at < head.target_length and target[at] != c"/" and target[at] != c"?":
        at += 1
    head.authority = head.target + <uint32_t> scheme
    head.authority_length = <uint32_t> (at - scheme)
    if head.authority_length == 0 or target[scheme] == c":" or not is_host(Span(target + scheme, at - scheme)):
        return refuse(head, head.authority, Fault.TARGET_AUTHORITY)
    split_query(head, target + at, head.target + <uint32_t> at, head.target_length - <uint32_t> at)
    return COMPLETE


cdef inline bint grow_fields(Head *head) noexcept nogil:
    cdef uint32_t capacity = max(<uint32_t> 16, head.capacity * 2)
    cdef Field *fields = <Field *> realloc(head.fields, capacity * sizeof(Field))
    if fields == NULL:
        return False
    head.fields = fields
    head.capacity = capacity
    return True


cdef inline Outcome parse_field_line(
    Head *head, const unsigned char *base, Py_ssize_t length, const Bounds *bounds
) noexcept nogil:
    """RFC 9112 §5: field-name ":" OWS field-value OWS CRLF; COMPLETE after each line and after the CR that ends all."""
    cdef Py_ssize_t at = head.position
    cdef Py_ssize_t last, stop, last_of_name, stop_of_name
    cdef int state = head.state
    cdef uint32_t seen
    cdef unsigned char c
    cdef Field *field
    if state == AWAIT_FIELD_LINE:
        if base[at] == CR:
            pause(head, at + 1, AWAIT_HEAD_LF)
            return COMPLETE
        if base[at] == SP or base[at] == HTAB:
            return refuse(head, at, Fault.FIELD_FOLDED)
        if head.count >= bounds.fields or (head.count == head.capacity and not grow_fields(head)):
            return refuse(head, at, Fault.FIELD_COUNT_LIMIT)
        head.line = head.mark = <uint32_t> at
        head.fields[head.count].kind = 0
        state = IN_FIELD_NAME
    field = &head.fields[head.count]
    last = min(head.line + <Py_ssize_t> bounds.field, <Py_ssize_t> HEAD_CEILING)
    stop = min(length, last + 1)
    if state == IN_FIELD_NAME:
        # In a register: the compiler must take a store to the field for one that may change the text.
        seen = field.kind
        last_of_name = min(last, head.mark + <Py_ssize_t> NAME_CEILING)
        stop_of_name = min(length, last_of_name + 1)
        while at < stop_of_name and TOKEN[base[at]]:
            seen |= TOKEN[base[at]]
            at += 1
        field.kind = <uint16_t> seen
        if at > last_of_name:
            return refuse(head, last_of_name, Fault.FIELD_LIMIT)
        if at == length:
            return pause(head, at, IN_FIELD_NAME)
        if base[at] != c":" or at == head.mark:
            return refuse(head, at, Fault.FIELD_NAME)
        field.name = head.mark
        field.name_length = <uint16_t> (at - head.mark)
        at += 1
        state = AWAIT_FIELD_VALUE
    if state == AWAIT_FIELD_VALUE:
        while at < stop and (base[at] == SP or base[at] == HTAB):
            at += 1
        field.value = <uint32_t> at
        if at > last:
            return refuse(head, last, Fault.FIELD_LIMIT)
        if at == length:
            return pause(head, at, AWAIT_FIELD_VALUE)
        state = IN_FIELD_VALUE
    if state == IN_FIELD_VALUE:
        at = skip_text(base, at, stop)
        if at > last:
            return refuse(head, last, Fault.FIELD_LIMIT)
        if at == length:
            return pause(head, at, IN_FIELD_VALUE)
        c = base[at]
        if c != CR:
            return refuse(head, at, Fault.FIELD_LINE_END if c == LF else Fault.FIELD_VALUE)
        field.value_length = <uint32_t> at - field.value
        while field.value_length and base[field.value + field.value_length - 1] in (SP, HTAB):
            field.value_length -= 1
        at += 1
    if at == length:
        return pause(head, at, AWAIT_FIELD_LINE_LF)
    if base[at] != LF:
        return refuse(head, at, Fault.FIELD_LINE_END)
    if bounds.unfold:
        # Whether the value ends here is told by the byte behind the line end.
        if at + 1 == length:
            return pause(head, at, AWAIT_FIELD_LINE_LF)
        if base[at + 1] == SP or base[at + 1] == HTAB:
            return unfold(head, field, base, at + 1)
    pause(head, at + 1, AWAIT_FIELD_LINE)
    return take_field(head, field, base, bounds)


cdef Outcome unfold(Head *head, const Field *field, const unsigned char *base, Py_ssize_t at) noexcept nogil:
    """RFC 9112 §5.2: put spaces in the place of the line end before `at`, where the field value goes on."""
    cdef unsigned char *text = <unsigned char *> base
    # Two readers who disagree on what these say would disagree on where the message ends, or for whom it is.
    if is_about_framing(base + field.name, field.name_length):
        return refuse(head, at, Fault.FIELD_FOLDED)
    text[at - 2] = text[at - 1] = SP
    pause(head, at, IN_FIELD_VALUE if field.value_length else AWAIT_FIELD_VALUE)
    return COMPLETE


cdef bint is_about_framing(const unsigned char *name, uint32_t length) noexcept nogil:
    if length == 4:
        return equals(name, b"host", 4)
    if length == 10:
        return equals(name, b"connection", 10)
    if length == 14:
        return equals(name, b"content-length", 14)
    return length == 17 and equals(name, b"transfer-encoding", 17)


cdef inline Outcome take_field(Head *head, Field *field, const unsigned char *base, const Bounds *bounds) noexcept nogil:
    """Count the field, and note what it says if it is one the server acts on."""
    cdef const unsigned char *name = base + field.name
    cdef bint has_underscore = (field.kind & UNDERSCORE_SEEN) != 0
    cdef uint32_t length = field.name_length
    field.kind = FieldKind.OTHER
    head.count += 1
    if has_underscore:
        if bounds.forwarder_count and is_forwarder(Span(name, length), bounds):
            field.kind = FieldKind.FORWARDER_FIELD
            if same_text(Span(name, length), Span(b"script_name", 11)):
                head.flags |= HAS_SCRIPT_NAME
            return COMPLETE
        field.kind = FieldKind.UNDERSCORED
        if bounds.refuse_underscores:
            return refuse(head, field.name, Fault.FIELD_UNDERSCORE)
        return COMPLETE
    if length == 4 and equals(name, b"host", 4):
        return take_host(head, field, base)
    if length == 14 and equals(name, b"content-length", 14):
        return take_content_length(head, field, base)
    if length == 10 and equals(name, b"connection", 10):
        field.kind = FieldKind.CONNECTION_FIELD
        take_connection(head, Span(base + field.value, field.value_length))
    elif length == 12 and equals(name, b"content-type", 12):
        if head.flags & HAS_CONTENT_TYPE:
            return refuse(head, field.name, Fault.CONTENT_TYPE_REPEATED)
        head.flags |= HAS_CONTENT_TYPE
        field.kind = FieldKind.CONTENT_TYPE_FIELD
    elif length == 17 and equals(name, b"transfer-encoding", 17):
        return take_transfer_encoding(head, field, base)
    elif length == 6 and equals(name, b"expect", 6):
        field.kind = FieldKind.EXPECT_FIELD
        if field.value_length == 12 and equals(base + field.value, b"100-continue", 12):
            head.flags |= EXPECTS_CONTINUE
        else:
            head.flags |= EXPECTS_OTHER
    elif length == 5 and equals(name, b"proxy", 5):
        field.kind = FieldKind.PROXY_FIELD
    return COMPLETE


cdef bint is_forwarder(Span name, const Bounds *bounds) noexcept nogil:
    """Whether it is one of the names that this peer may set."""
    cdef int at
    for at in range(bounds.forwarder_count):
        if same_text(bounds.forwarders[at], name) or same_text(bounds.forwarders[at], Span(b"*", 1)):
            return True
    return False


cdef Outcome take_host(Head *head, Field *field, const unsigned char *base) noexcept nogil:
    """RFC 9112 §3.2: one Host, and a valid one."""
    if head.flags & HAS_HOST:
        return refuse(head, field.name, Fault.HOST_REPEATED)
    head.flags |= HAS_HOST
    field.kind = FieldKind.HOST_FIELD
    if not is_host(Span(base + field.value, field.value_length)):
        return refuse(head, field.value, Fault.HOST)
    return COMPLETE


cdef Outcome take_content_length(Head *head, Field *field, const unsigned char *base) noexcept nogil:
    """RFC 9112 §6.3: one Content-Length, digits only."""
    cdef Span text = Span(base + field.value, field.value_length)
    cdef Py_ssize_t at
    if head.flags & HAS_LENGTH:
        return refuse(head, field.name, Fault.CONTENT_LENGTH_REPEATED)
    head.flags |= HAS_LENGTH
    field.kind = FieldKind.CONTENT_LENGTH_FIELD
    if parse_decimal(text, &head.content_length):
        return COMPLETE
    for at in range(text.length):
        if not c"0" <= text.start[at] <= c"9":
            return refuse(head, field.value, Fault.CONTENT_LENGTH)
    return refuse(head, field.value, Fault.CONTENT_LIMIT if text.length else Fault.CONTENT_LENGTH)


cdef Outcome take_transfer_encoding(Head *head, Field *field, const unsigned char *base) noexcept nogil:
    """RFC 9112 §6.1: chunked and nothing else, once."""
    if head.flags & HAS_CHUNKED:
        return refuse(head, field.name, Fault.TRANSFER_ENCODING_REPEATED)
    field.kind = FieldKind.TRANSFER_ENCODING_FIELD
    if field.value_length != 7 or not equals(base + field.value, b"chunked", 7):
        return refuse(head, field.value, Fault.TRANSFER_ENCODING)
    head.flags |= HAS_CHUNKED
    return COMPLETE


cdef void take_connection(Head *head, Span text) noexcept nogil:
    """RFC 9110 §7.6.1: a list of options, of which two matter here; the field may be repeated."""
    cdef Py_ssize_t at = 0, begin, end
    while at < text.length:
        begin = at
        while at < text.length and text.start[at] != c",":
            at += 1
        end = at
        at += 1
        while begin < end and text.start[begin] in (SP, HTAB):
            begin += 1
        while begin < end and text.start[end - 1] in (SP, HTAB):
            end -= 1
        if end - begin == 5 and equals(text.start + begin, b"close", 5):
            head.flags |= SAYS_CLOSE
        elif end - begin == 10 and equals(text.start + begin, b"keep-alive", 10):
            head.flags |= SAYS_KEEP_ALIVE


cdef bint agrees_with_host(const Head *head, const unsigned char *base) noexcept nogil:
    """Whether the authority of an absolute-form target is what Host says, where there is one.

    RFC 9112 §3.2.2 lets the target win; two readers of different Host and target disagree, so none does.
    """
    cdef Span authority = Span(base + head.authority, head.authority_length)
    cdef uint32_t at
    for at in range(head.count):
        if head.fields[at].kind == FieldKind.HOST_FIELD:
            return same_text(authority, Span(base + head.fields[at].value, head.fields[at].value_length))
    return True


cdef Outcome check_head(Head *head, const unsigned char *base, const Bounds *bounds) noexcept nogil:
    """What can be judged only when all field lines are there."""
    if head.minor == 1 and not head.flags & HAS_HOST:
        return refuse(head, head.position, Fault.HOST_MISSING)
    if head.flags & HAS_CHUNKED:
        # RFC 9112 §6.1: such a message "ought to be handled as an error".
        if head.flags & HAS_LENGTH:
            return refuse(head, head.position, Fault.TRANSFER_ENCODING_WITH_LENGTH)
        if head.minor == 0:
            return refuse(head, head.position, Fault.TRANSFER_ENCODING_IN_1_0)
    if head.authority_length and not agrees_with_host(head, base):
        return refuse(head, head.authority, Fault.TARGET_AUTHORITY)
    if head.flags & (EXPECTS_CONTINUE | EXPECTS_OTHER):
        # RFC 9110 §10.1.1: expectations of an HTTP/1.0 request are ignored.
        if head.minor == 0:
            head.flags &= ~<uint32_t> (EXPECTS_CONTINUE | EXPECTS_OTHER)
        elif head.flags & EXPECTS_OTHER:
            return refuse(head, head.position, Fault.EXPECTATION)
    if head.content_length > bounds.content:
        return refuse(head, head.position, Fault.CONTENT_LIMIT)
    head.state = HEAD_COMPLETE
    return COMPLETE


# ---- chunked content ----

cdef enum ChunkState:
    AWAIT_CHUNK_SIZE
    IN_CHUNK_SIZE
    AWAIT_EXTENSION_NAME
    IN_EXTENSION_NAME
    AFTER_EXTENSION_NAME
    AWAIT_EXTENSION_VALUE
    IN_EXTENSION_VALUE
    IN_QUOTED_VALUE
    IN_QUOTED_PAIR
    AFTER_QUOTED_VALUE
    AFTER_EXTENSION_VALUE
    AWAIT_CHUNK_SIZE_LF
    IN_CHUNK_DATA
    AWAIT_CHUNK_DATA_CR
    AWAIT_CHUNK_DATA_LF
    AWAIT_TRAILER_LINE
    IN_TRAILER_NAME
    IN_TRAILER_VALUE
    AWAIT_TRAILER_LINE_LF
    AWAIT_CONTENT_LF
    CHUNKS_COMPLETE
    CHUNKS_REFUSED


cdef void reset_chunks(Chunks *chunks) noexcept nogil:
    memset(chunks, 0, sizeof(Chunks))


cdef inline Outcome refuse_chunks(Chunks *chunks, Fault fault) noexcept nogil:
    chunks.fault = fault
    chunks.state = CHUNKS_REFUSED
    return REFUSED


cdef Outcome decode_chunks(
    Chunks *chunks, const unsigned char *base, Py_ssize_t length, Py_ssize_t *consumed, Span *content, const Bounds *bounds
) noexcept nogil:
    """Go on decoding at `base`; RFC 9112 §7.1.

    Returns at each run of chunk data, which `content` then spans, and when there is nothing more to say. `consumed`
    counts the bytes that are done with, those of `content` included. COMPLETE: the content and its trailer section
    have ended. REFUSED: `consumed` is the offset of the byte that is at fault. NEED_MORE with an empty `content`: all
    bytes are consumed, more are needed.
    """
    cdef Py_ssize_t at = 0
    cdef Outcome outcome
    content.length = 0
    while at < length:
        if chunks.state == IN_CHUNK_DATA:
            content.start = base + at
            content.length = <Py_ssize_t> min(<uint64_t> (length - at), chunks.remaining)
            chunks.remaining -= <uint64_t> content.length
            if chunks.remaining == 0:
                chunks.state = AWAIT_CHUNK_DATA_CR
            consumed[0] = at + content.length
            return NEED_MORE
        if chunks.state < AWAIT_TRAILER_LINE:
            outcome = take_chunk_byte(chunks, base[at], bounds)
        else:
            outcome = take_trailer_byte(chunks, base[at], bounds)
        if outcome != NEED_MORE:
            consumed[0] = at + (1 if outcome == COMPLETE else 0)
            return outcome
        at += 1
    consumed[0] = at
    return NEED_MORE


cdef Outcome take_chunk_byte(Chunks *chunks, unsigned char c, const Bounds *bounds) noexcept nogil:
    """One byte of a chunk-size line, or of the CRLF after chunk data; RFC 9112 §7.1."""
    cdef int state = chunks.state
    if state <= IN_CHUNK_SIZE:
        if HEX_DIGIT[c]:
            chunks.digits += 1
            # Sixteen digits could wrap; nobody has content of that size.
            if chunks.digits > CHUNK_SIZE_DIGITS:
                return refuse_chunks(chunks, Fault.CHUNK_SIZE)
            chunks.remaining = chunks.remaining * 16 + HEX_DIGIT[c] - 1
            chunks.state = IN_CHUNK_SIZE
            return NEED_MORE
        if state == IN_CHUNK_SIZE and (c == CR or c == c";"):
            chunks.state = AWAIT_CHUNK_SIZE_LF if c == CR else AWAIT_EXTENSION_NAME
            return NEED_MORE
        return refuse_chunks(chunks, Fault.CHUNK_SIZE)
    if state < AWAIT_CHUNK_SIZE_LF:
        return take_extension_byte(chunks, c)
    if state == AWAIT_CHUNK_SIZE_LF:
        if c != LF:
            return refuse_chunks(chunks, Fault.CHUNK_SIZE)
        chunks.total += chunks.remaining
        if chunks.total > bounds.content:
            return refuse_chunks(chunks, Fault.CONTENT_LIMIT)
        chunks.digits = 0
        chunks.state = IN_CHUNK_DATA if chunks.remaining else AWAIT_TRAILER_LINE
        return NEED_MORE
    if c != (CR if state == AWAIT_CHUNK_DATA_CR else LF):
        return refuse_chunks(chunks, Fault.CHUNK_CRLF)
    chunks.state = AWAIT_CHUNK_DATA_LF if state == AWAIT_CHUNK_DATA_CR else AWAIT_CHUNK_SIZE
    return NEED_MORE


cdef Outcome take_extension_byte(Chunks *chunks, unsigned char c) noexcept nogil:
    """One byte of chunk-ext, which is checked and ignored; RFC 9112 §7.1.1."""
    cdef int state = chunks.state
    chunks.extensions += 1
    if chunks.extensions > EXTENSIONS_LIMIT:
        return refuse_chunks(chunks, Fault.CHUNK_EXTENSION_LIMIT)
    if state == IN_QUOTED_PAIR:
        if c == 0x7F or (c < SP and c != HTAB):
            return refuse_chunks(chunks, Fault.CHUNK_EXTENSION)
        chunks.state = IN_QUOTED_VALUE
    elif state == IN_QUOTED_VALUE:
        if c == c'"':
            chunks.state = AFTER_QUOTED_VALUE
        elif c == c"\\":
            chunks.state = IN_QUOTED_PAIR
        elif c == 0x7F or (c < SP and c != HTAB):
            return refuse_chunks(chunks, Fault.CHUNK_EXTENSION)
    elif TOKEN[c] and state not in (AFTER_EXTENSION_NAME, AFTER_QUOTED_VALUE, AFTER_EXTENSION_VALUE):
        chunks.state = IN_EXTENSION_NAME if state <= IN_EXTENSION_NAME else IN_EXTENSION_VALUE
    elif c == SP or c == HTAB:
        # BWS, around ";" and "=" only
        if state == IN_EXTENSION_NAME:
            chunks.state = AFTER_EXTENSION_NAME
        elif state in (IN_EXTENSION_VALUE, AFTER_QUOTED_VALUE):
            chunks.state = AFTER_EXTENSION_VALUE
    elif c == c"=" and state in (IN_EXTENSION_NAME, AFTER_EXTENSION_NAME):
        chunks.state = AWAIT_EXTENSION_VALUE
    elif c == c'"' and state == AWAIT_EXTENSION_VALUE:
        chunks.state = IN_QUOTED_VALUE
    elif c == c";" and state not in (AWAIT_EXTENSION_NAME, AWAIT_EXTENSION_VALUE):
        chunks.state = AWAIT_EXTENSION_NAME
    elif c == CR and state in (IN_EXTENSION_NAME, IN_EXTENSION_VALUE, AFTER_QUOTED_VALUE):
        chunks.state = AWAIT_CHUNK_SIZE_LF
    else:
        return refuse_chunks(chunks, Fault.CHUNK_EXTENSION)
    return NEED_MORE


cdef Outcome take_trailer_byte(Chunks *chunks, unsigned char c, const Bounds *bounds) noexcept nogil:
    """One byte of the trailer section, which is checked and dropped; RFC 9112 §7.1.2."""
    cdef int state = chunks.state
    if state == AWAIT_CONTENT_LF:
        if c != LF:
            return refuse_chunks(chunks, Fault.TRAILER)
        chunks.state = CHUNKS_COMPLETE
        return COMPLETE
    if state == AWAIT_TRAILER_LINE:
        if c == CR:
            chunks.state = AWAIT_CONTENT_LF
            return NEED_MORE
        chunks.lines += 1
        chunks.line = 0
        if chunks.lines > bounds.fields:
            return refuse_chunks(chunks, Fault.TRAILER_LIMIT)
        if not TOKEN[c]:
            return refuse_chunks(chunks, Fault.TRAILER)
        chunks.state = IN_TRAILER_NAME
    elif state == IN_TRAILER_NAME:
        if c == c":":
            chunks.state = IN_TRAILER_VALUE
        elif not TOKEN[c]:
            return refuse_chunks(chunks, Fault.TRAILER)
    elif state == IN_TRAILER_VALUE:
        if c == CR:
            chunks.state = AWAIT_TRAILER_LINE_LF
            return NEED_MORE
        if c == 0x7F or (c < SP and c != HTAB):
            return refuse_chunks(chunks, Fault.TRAILER)
    else:
        if c != LF:
            return refuse_chunks(chunks, Fault.TRAILER)
        chunks.state = AWAIT_TRAILER_LINE
        return NEED_MORE
    chunks.line += 1
    if chunks.line > bounds.field:
        return refuse_chunks(chunks, Fault.TRAILER_LIMIT)
    return NEED_MORE


# ---- bytes to be sent ----

cdef int reserve(Out *out, Py_ssize_t more) except -1:
    """Make room for `more` bytes behind those used."""
    cdef Py_ssize_t capacity
    cdef unsigned char *data
    if out.capacity - out.used >= more:
        return 0
    capacity = max(out.capacity * 2, out.used + more, <Py_ssize_t> 4096)
    data = <unsigned char *> realloc(out.data, <size_t> capacity)
    if data == NULL:
        raise MemoryError()
    out.data = data
    out.capacity = capacity
    return 0


cdef int append(Out *out, const void *data, Py_ssize_t length) except -1:
    """Put `length` bytes behind those used."""
    if length:                      # or `data` may be NULL
        reserve(out, length)
        memcpy(out.data + out.used, data, <size_t> length)
        out.used += length
    return 0


cdef unsigned char *write_decimal(unsigned char *to, uint64_t number) noexcept nogil:
    """Write the digits of `number`; returns where they end. The room for twenty is the caller's to have."""
    cdef unsigned char digits[20]
    cdef int count = 0
    while True:
        digits[count] = <unsigned char> (c"0" + number % 10)
        number //= 10
        count += 1
        if number == 0:
            break
    while count:
        count -= 1
        to[0] = digits[count]
        to += 1
    return to


# ---- the same for Python: limits, and a parser for tests and fuzzers ----

cdef class Limits:
    """What a request may have at most. Immutable.

    Args:
        line: bytes of request line without its CRLF; 0 for no limit of its own.
        fields: field lines; 0 for 32,768.
        field: bytes of one field line without its CRLF; 0 for no limit of its own.
        content: bytes of content; 0 for no limit.
        refuse_underscores: whether a field name with an underscore is refused instead of left to the gateway.
        casefold_method: whether a method is taken for the one in upper case.
        unfold: whether a field value may go on in the next line, RFC 9112 §5.2.

    Whatever the limits, a head has at most 16 MiB.
    """

    def __cinit__(
        self, *, line=4094, fields=100, field=8190, content=0, refuse_underscores=False, casefold_method=False,
        unfold=False,
    ):
        self.bounds.line = min(line, UNLIMITED) or UNLIMITED
        self.bounds.line = min(self.bounds.line, HEAD_CEILING)
        self.bounds.fields = min(fields, 32768) or 32768
        self.bounds.field = min(field, UNLIMITED) or UNLIMITED
        self.bounds.content = min(content, 1 << 60) or <uint64_t> 1 << 60
        self.bounds.refuse_underscores = refuse_underscores
        self.bounds.casefold_method = casefold_method
        self.bounds.unfold = unfold


cdef class Request:
    """A request head as the parser understood it."""

    cdef readonly bytes method
    cdef readonly bytes target
    cdef readonly bytes path
    cdef readonly bytes query
    cdef readonly int minor
    cdef readonly list fields
    cdef readonly bint persists
    cdef readonly bint is_chunked
    cdef readonly object content_length
    cdef readonly bint expects_continue


cdef Request as_request(const Head *head, const unsigned char *base):
    cdef Request request = Request.__new__(Request)
    cdef uint32_t at
    cdef Field *field
    request.method = base[head.method:head.method + head.method_length]
    request.target = base[head.target:head.target + head.target_length]
    request.path = base[head.path:head.path + head.path_length]
    request.query = base[head.query:head.query + head.query_length]
    request.minor = head.minor
    request.persists = head_persists(head)
    request.is_chunked = (head.flags & HAS_CHUNKED) != 0
    request.content_length = head.content_length if head.flags & HAS_LENGTH else None
    request.expects_continue = (head.flags & EXPECTS_CONTINUE) != 0
    request.fields = []
    for at in range(head.count):
        field = &head.fields[at]
        request.fields.append((
            base[field.name:field.name + field.name_length], base[field.value:field.value + field.value_length]
        ))
    return request


cdef class RequestParser:
    """Requests from bytes, as the engine parses them but without a connection.

    receive() returns what the bytes completed, in order: a `Request`, then its content as bytes objects, then None at
    the end of the content. A refusal is the pair of a `Fault` and its offset in the message, content included; after
    it nothing more is parsed.
    """

    cdef Limits _limits
    cdef Head _head
    cdef Chunks _chunks
    cdef unsigned char *_text       # bytes received and not consumed, in memory of just that size
    cdef Py_ssize_t _length
    cdef bint _in_content
    cdef Py_ssize_t _consumed       # bytes of the current message
    cdef uint64_t _remaining
    cdef readonly bint is_refused

    def __cinit__(self, Limits limits=None):
        self._limits = limits or Limits()

    def __dealloc__(self):
        free_head(&self._head)
        free(self._text)

    def receive(self, bytes data not None) -> list:
        """Take the next bytes of the connection."""
        cdef list events = []
        cdef Py_ssize_t added = len(data)
        if added:
            self._resize(self._length + added)
            memcpy(self._text + self._length - added, <const char *> data, <size_t> added)
        while not self.is_refused and (self._receive_content(events) if self._in_content else self._receive_head(events)):
            pass
        return events

    @property
    def is_between_requests(self) -> bool:
        """Whether no byte of an unfinished request has been received."""
        return not self._in_content and not is_begun(&self._head)

    cdef bint _refuse(self, list events, int fault, Py_ssize_t at) except -1:
        self.is_refused = True
        events.append((Fault(fault), self._consumed + at))
        return False

    cdef int _resize(self, Py_ssize_t length) except -1:
        """Have room for `length` bytes and no more, so that a sanitizer sees whoever reads beyond them."""
        cdef unsigned char *text = NULL
        if length == 0:
            free(self._text)
        else:
            text = <unsigned char *> realloc(self._text, <size_t> length)
            if text == NULL:
                raise MemoryError()
        self._text = text
        self._length = length
        return 0

    cdef bint _consume(self, Py_ssize_t length) except -1:
        self._consumed += length
        if length:
            memmove(self._text, self._text + length, <size_t> (self._length - length))
            self._resize(self._length - length)
        return True

    cdef bint _receive_head(self, list events) except -1:
        cdef Outcome outcome = parse_head(&self._head, self._text, self._length, &self._limits.bounds)
        if outcome == NEED_MORE:
            return False
        if outcome == REFUSED:
            return self._refuse(events, self._head.fault, self._head.position)
        events.append(as_request(&self._head, self._text))
        self._in_content = True
        self._remaining = self._head.content_length
        reset_chunks(&self._chunks)
        return self._consume(self._head.position)

    cdef bint _receive_content(self, list events) except -1:
        cdef Outcome outcome = COMPLETE
        cdef Py_ssize_t consumed = 0
        cdef Span content = Span(self._text, 0)
        if self._head.flags & HAS_CHUNKED:
            outcome = decode_chunks(
                &self._chunks, self._text, self._length, &consumed, &content, &self._limits.bounds
            )
            if outcome == REFUSED:
                return self._refuse(events, self._chunks.fault, consumed)
        elif self._remaining:
            content.length = consumed = <Py_ssize_t> min(self._remaining, <uint64_t> self._length)
            self._remaining -= <uint64_t> consumed
            outcome = NEED_MORE if self._remaining else COMPLETE
        if content.length:
            events.append(content.start[:content.length])
        self._consume(consumed)
        if outcome == COMPLETE:
            events.append(None)
            self._in_content = False
            self._consumed = 0
            reset_head(&self._head)
            return True
        return consumed > 0


cdef inline int hexadecimal(unsigned char c) noexcept nogil:
    if c"0" <= c <= c"9":
        return c - c"0"
    c |= 32
    return c - c"a" + 10 if c"a" <= c <= c"f" else -1


cdef Py_ssize_t percent_decode(unsigned char *to, const unsigned char *text, Py_ssize_t length) noexcept nogil:
    """Decode once, RFC 3986 §2.1, and return how many octets that are; what is no percent-encoded octet stays as it is."""
    cdef Py_ssize_t at = 0, used = 0
    while at < length:
        to[used] = text[at]
        if text[at] == c"%" and at + 2 < length and hexadecimal(text[at + 1]) >= 0 and hexadecimal(text[at + 2]) >= 0:
            to[used] = <unsigned char> (hexadecimal(text[at + 1]) * 16 + hexadecimal(text[at + 2]))
            at += 2
        at += 1
        used += 1
    return used
