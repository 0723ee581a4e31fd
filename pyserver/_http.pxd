# The contract of _http: request heads, chunked content, field checks. Bytes in, facts out.
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy


cdef struct Span:
    # Borrowed: dead after the next append(), consume() or call into Python.
    const unsigned char *start
    Py_ssize_t length


cpdef enum Fault:
    # Why a request is refused; the answer to each is a row of refusals.REFUSALS.
    NO_FAULT = 0
    EMPTY_LINES
    REQUEST_LINE_LIMIT
    METHOD
    TARGET
    TARGET_FORM
    TARGET_AUTHORITY
    CONNECT_UNSUPPORTED
    VERSION
    VERSION_UNSUPPORTED
    REQUEST_LINE_END
    FIELD_NAME
    FIELD_VALUE
    FIELD_LINE_END
    FIELD_FOLDED
    FIELD_LIMIT
    FIELD_COUNT_LIMIT
    FIELD_UNDERSCORE
    HOST_MISSING
    HOST_REPEATED
    HOST
    CONTENT_LENGTH
    CONTENT_LENGTH_REPEATED
    CONTENT_LIMIT
    CONTENT_TYPE_REPEATED
    TRANSFER_ENCODING
    TRANSFER_ENCODING_REPEATED
    TRANSFER_ENCODING_WITH_LENGTH
    TRANSFER_ENCODING_IN_1_0
    EXPECTATION
    CHUNK_SIZE
    CHUNK_EXTENSION
    CHUNK_EXTENSION_LIMIT
    CHUNK_CRLF
    TRAILER
    TRAILER_LIMIT
    HEAD_TIMEOUT
    CONTENT_TIMEOUT
    SCHEME_CONTRADICTION
    PROXY_HEADER
    PROXY_FORBIDDEN
    PROXY_MISSING
    NOT_TLS


cdef enum Outcome:
    REFUSED = -1
    NEED_MORE = 0
    COMPLETE = 1


cdef enum HeadFlag:
    TARGET_PERCENT = 1          # the target holds a percent-encoded octet
    TARGET_QUERY = 2            # … a question mark
    HAS_HOST = 4
    HAS_LENGTH = 8
    HAS_CHUNKED = 16
    HAS_CONTENT_TYPE = 32
    SAYS_CLOSE = 64
    SAYS_KEEP_ALIVE = 128
    EXPECTS_CONTINUE = 256
    EXPECTS_OTHER = 512
    HAS_SCRIPT_NAME = 1024      # a proxy that is trusted says where the application is mounted


cdef enum FieldKind:
    # Field names the server itself acts on.
    OTHER = 0
    UNDERSCORED                 # a name that collides with another once it is an environ key
    HOST_FIELD
    CONTENT_LENGTH_FIELD
    CONTENT_TYPE_FIELD
    TRANSFER_ENCODING_FIELD
    CONNECTION_FIELD
    EXPECT_FIELD
    PROXY_FIELD
    FORWARDER_FIELD             # a name with an underscore that a proxy may set which is trusted


cdef struct Field:
    # Offsets from the first byte of the message, for the buffer may move.
    uint32_t name
    uint32_t value
    uint32_t value_length
    uint16_t name_length
    uint16_t kind


cdef struct Head:
    int state                   # what the parser awaits
    int fault                   # Fault, once parse_head() said REFUSED
    uint32_t position           # the next byte to judge; the length of the head when COMPLETE
    uint32_t line               # where the current line begins
    uint32_t mark               # where the current token begins
    uint32_t method
    uint32_t method_length
    uint32_t target
    uint32_t target_length
    uint32_t authority          # of the absolute-form
    uint32_t authority_length
    uint32_t path
    uint32_t path_length
    uint32_t query
    uint32_t query_length
    uint32_t flags              # HeadFlag
    uint32_t minor              # HTTP/1.minor; 2 for HTTP/2, which the parser does not know
    uint32_t empty_lines
    uint32_t count
    uint32_t capacity
    uint64_t content_length
    Field *fields


cdef struct Bounds:
    uint32_t line               # bytes of request line
    uint32_t fields             # field lines
    uint32_t field              # bytes of one field line
    uint64_t content            # bytes of content
    bint refuse_underscores
    bint casefold_method        # the method is written over in upper case
    bint unfold                 # a folded field line is written over, as one
    const Span *forwarders      # names with an underscore that are no less than others; "*" for all
    int forwarder_count


cdef class Limits:
    cdef Bounds bounds


cdef void reset_head(Head *head) noexcept nogil
cdef void free_head(Head *head) noexcept nogil
cdef int copy_head(Head *to, const Head *head) noexcept nogil
cdef Outcome parse_head(Head *head, const unsigned char *base, Py_ssize_t length, const Bounds *bounds) noexcept nogil
cdef bint head_persists(const Head *head) noexcept nogil
cdef bint is_begun(const Head *head) noexcept nogil


cdef struct Chunks:
    int state
    int fault
    uint64_t remaining          # bytes of the current chunk still to come
    uint64_t total              # bytes of content so far
    uint32_t digits
    uint32_t line               # bytes of the current trailer line
    uint32_t lines              # trailer lines so far
    uint32_t extensions         # bytes of chunk extensions so far


cdef void reset_chunks(Chunks *chunks) noexcept nogil
cdef Outcome decode_chunks(
    Chunks *chunks, const unsigned char *base, Py_ssize_t length, Py_ssize_t *consumed, Span *content, const Bounds *bounds
) noexcept nogil


cdef bint is_field_name(Span text) noexcept nogil
cdef bint is_field_value(Span text) noexcept nogil
cdef bint is_host(Span text) noexcept nogil
cdef bint parse_decimal(Span text, uint64_t *value) noexcept nogil
cdef bint same_text(Span one, Span other) noexcept nogil


cdef struct Out:
    # Bytes on their way to one connection; grows on the heap.
    unsigned char *data
    Py_ssize_t used
    Py_ssize_t capacity


cdef int reserve(Out *out, Py_ssize_t more) except -1
cdef int append(Out *out, const void *data, Py_ssize_t length) except -1
cdef unsigned char *write_decimal(unsigned char *to, uint64_t number) noexcept nogil


cdef Py_ssize_t percent_decode(unsigned char *to, const unsigned char *text, Py_ssize_t length) noexcept nogil


cdef inline uint32_t text_hash(const unsigned char *text, Py_ssize_t length) noexcept nogil:
    """A hash of the length and of the bytes at both ends: cheap, and good enough for a table that may miss."""
    cdef uint64_t first = 0, last = 0
    if length >= 8:
        memcpy(&first, text, 8)
        memcpy(&last, text + length - 8, 8)
    elif length >= 4:
        memcpy(&first, text, 4)
        memcpy(&last, text + length - 4, 4)
    elif length:
        first = text[0] | (<uint64_t> text[length >> 1] << 8) | (<uint64_t> text[length - 1] << 16)
    first = (first ^ (<uint64_t> length << 56)) * <uint64_t> 0x9E3779B97F4A7C15
    last = (last + first) * <uint64_t> 0xC2B2AE3D27D4EB4F
    return <uint32_t> (last >> 40)


cdef inline bint equals(const unsigned char *text, const char *lower, Py_ssize_t length) noexcept nogil:
    """Whether ASCII text is `lower`, letters compared without case."""
    cdef Py_ssize_t at
    for at in range(length):
        if (text[at] | 0x20) != <unsigned char> lower[at]:
            return False
    return True
