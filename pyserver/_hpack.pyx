"""Field sections of HTTP/2 as bytes: HPACK, RFC 7541. No frames, no sockets; field names and values are not judged.

What a peer sent is decoded once, within bounds that do not depend on it. A block that cannot be decoded leaves the
peers with different tables, so that its connection has to end; its outcome says so, and nothing is raised.
"""
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset

from pyserver._http cimport reserve, text_hash

cdef enum:
    STATIC_COUNT = 61
    ENTRY_OVERHEAD = 32             # RFC 7541 §4.1
    DEFAULT_TABLE_SIZE = 4096       # RFC 9113 §6.5.2
    # What a table may have whatever is asked for: its numbers are 32 bits wide.
    TABLE_CEILING = 1 << 24
    # The same for a block, and for a field that is encoded.
    BLOCK_CEILING = 1 << 28
    FIRST_RING = 1024
    FIRST_TEXT = 1024
    FIRST_LINES = 32
    # More is given back when the fields are done with.
    KEPT_TEXT = 16384
    KEPT_LINES = 256
    SEEN_SLOTS = 32
    NAME_SLOTS = 256
    SHORTEST_NAME = 3
    LONGEST_NAME = 27

    # RFC 7541 §6: what the first byte of a representation begins with
    INDEXED = 0x80
    INCREMENTAL = 0x40
    SIZE_UPDATE = 0x20
    NEVER_INDEXED = 0x10
    HUFFMAN = 0x80                  # §5.2
    # … and the bits of its integer
    INDEXED_BITS = 0x7F
    INCREMENTAL_BITS = 0x3F
    SIZE_UPDATE_BITS = 0x1F
    LITERAL_BITS = 0x0F
    STRING_BITS = 0x7F

    STATUS_NAME = 8                 # the least index of :status, RFC 7541 appendix A

    SHORTEST_CODE = 5
    LONGEST_CODE = 30
    EOS = 256
    LOOKUP_BITS = 12


# ---- tables ----

# RFC 7541 appendix A, a row an entry: what we do with the field in a response, the name, a space, the value.
#   +  it is indexed when it is first sent, for others will have the same value
#   ?  it is indexed when it is sent again soon
#   -  it is not indexed: the value is seldom the same
#   !  it is never indexed, by nobody on the way either: guessing must not find it out, §7.1.3
cdef const char *STATIC_ROWS = (
    b"?:authority \n"
    b"?:method GET\n"
    b"?:method POST\n"
    b"-:path /\n"
    b"-:path /index.html\n"
    b"?:scheme http\n"
    b"?:scheme https\n"
    b"+:status 200\n"
    b"+:status 204\n"
    b"+:status 206\n"
    b"+:status 304\n"
    b"+:status 400\n"
    b"+:status 404\n"
    b"+:status 500\n"
    b"?accept-charset \n"
    b"?accept-encoding gzip, deflate\n"
    b"?accept-language \n"
    b"+accept-ranges \n"
    b"?accept \n"
    b"+access-control-allow-origin \n"
    b"-age \n"
    b"+allow \n"
    b"!authorization \n"
    b"+cache-control \n"
    b"?content-disposition \n"
    b"+content-encoding \n"
    b"+content-language \n"
    b"-content-length \n"
    b"?content-location \n"
    b"-content-range \n"
    b"+content-type \n"
    b"!cookie \n"
    b"-date \n"
    b"-etag \n"
    b"?expect \n"
    b"-expires \n"
    b"?from \n"
    b"?host \n"
    b"?if-match \n"
    b"?if-modified-since \n"
    b"?if-none-match \n"
    b"?if-range \n"
    b"?if-unmodified-since \n"
    b"-last-modified \n"
    b"?link \n"
    b"?location \n"
    b"?max-forwards \n"
    b"?proxy-authenticate \n"
    b"!proxy-authorization \n"
    b"?range \n"
    b"?referer \n"
    b"?refresh \n"
    b"-retry-after \n"
    b"+server \n"
    b"!set-cookie \n"
    b"+strict-transport-security \n"
    b"?transfer-encoding \n"
    b"?user-agent \n"
    b"+vary \n"
    b"+via \n"
    b"?www-authenticate \n"
)

# RFC 7541 appendix B is a canonical code: of codes as long as each other, the one of the lesser symbol is less, and
# shorter ones are less than the beginnings of longer ones. So the lengths say all. These are the symbols with codes of
# 5 bits, of 6 in the next line, and so on up to 15.
cdef bytes SHORT_CODES = (
    b"012aceiost\n"
    b" %-./3456789=A_bdfghlmnpru\n"
    b":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz\n"
    b"&*,;XZ\n"
    b"\n"
    b"!\"()?\n"
    b"'+|\n"
    b"#>\n"
    b"\0$@[]~\n"
    b"^}\n"
    b"<`{"
)


cdef struct StaticEntry:
    const unsigned char *text       # the name, and the value behind it
    uint8_t name_length
    uint8_t value_length
    uint8_t known                   # the least index of the name
    unsigned char policy


cdef struct Symbols:
    # What LOOKUP_BITS bits begin with: at most two symbols.
    unsigned char first
    unsigned char second
    uint8_t count                   # 0: the first code is longer than that
    uint8_t length                  # bits of the codes


cdef StaticEntry STATIC[STATIC_COUNT + 1]
cdef unsigned char STATIC_TEXT[1024]
cdef uint8_t NAMES[NAME_SLOTS]      # static names by their hash: the least index, 0 for none

cdef uint8_t CODE_LENGTH[EOS + 1]
cdef uint32_t CODE[EOS + 1]
cdef int SYMBOLS[EOS + 1]           # in the order of their codes
cdef uint64_t CODE_LIMIT[LONGEST_CODE + 1]      # codes up to each length are less, when seen as 32 bits
cdef int CODE_OFFSET[LONGEST_CODE + 1]          # a code of each length plus this is a place in SYMBOLS
cdef Symbols LOOKUP[1 << LOOKUP_BITS]


cdef void fill_static_table() noexcept:
    cdef const char *at = STATIC_ROWS
    cdef unsigned char *to = STATIC_TEXT
    cdef StaticEntry *entry
    cdef StaticEntry *before
    cdef int index
    for index in range(1, STATIC_COUNT + 1):
        entry = &STATIC[index]
        before = &STATIC[index - 1]
        entry.policy = <unsigned char> at[0]
        entry.text = to
        at += 1
        while at[0] != c" ":
            to[0] = <unsigned char> at[0]
            to += 1
            at += 1
        entry.name_length = <uint8_t> (to - entry.text)
        at += 1
        while at[0] != c"\n":
            to[0] = <unsigned char> at[0]
            to += 1
            at += 1
        entry.value_length = <uint8_t> (to - entry.text - entry.name_length)
        at += 1
        if entry.name_length == before.name_length and memcmp(entry.text, before.text, entry.name_length) == 0:
            entry.known = before.known
        else:
            entry.known = <uint8_t> index
            place_name(entry)


cdef void place_name(const StaticEntry *entry) noexcept:
    cdef uint32_t slot = text_hash(entry.text, entry.name_length) % NAME_SLOTS
    while NAMES[slot]:
        slot = (slot + 1) % NAME_SLOTS
    NAMES[slot] = entry.known


cdef int take_code_lengths() except -1:
    """RFC 7541 appendix B."""
    cdef int symbol
    cdef int length = SHORTEST_CODE
    # Most control characters have 28 bits; those that have not are set right below.
    for symbol in range(32):
        CODE_LENGTH[symbol] = 28
    for symbol in SHORT_CODES:
        if symbol == c"\n":
            length += 1
        else:
            CODE_LENGTH[symbol] = <uint8_t> length
    for length, symbols in (
        (19, (92, 195, 208)),
        (20, (128, 130, 131, 162, 184, 194, 224, 226)),
        (21, (153, 161, 167, 172, 176, 177, 179, 209, 216, 217, 227, 229, 230)),
        (22, (129, 132, 133, 134, 136, 146, 154, 156, 160, 163, 164, 169, 170, 173, 178, 181, 185, 186, 187, 189, 190,
              196, 198, 228, 232, 233)),
        (23, (1, 135, 137, 138, 139, 140, 141, 143, 147, 149, 150, 151, 152, 155, 157, 158, 165, 166, 168, 174, 175,
              180, 182, 183, 188, 191, 197, 231, 239)),
        (24, (9, 142, 144, 145, 148, 159, 171, 206, 215, 225, 236, 237)),
        (25, (199, 207, 234, 235)),
        (26, (192, 193, 200, 201, 202, 205, 210, 213, 218, 219, 238, 240, 242, 243, 255)),
        (27, (203, 204, 211, 212, 214, 221, 222, 223, 241, 244, 245, 246, 247, 248, 250, 251, 252, 253, 254)),
        (28, (127, 220, 249)),
        (30, (10, 13, 22, EOS)),
    ):
        for symbol in symbols:
            CODE_LENGTH[symbol] = <uint8_t> length
    return 0


cdef void fill_codes() noexcept:
    cdef uint64_t code = 0
    cdef int length, symbol
    cdef int place = 0
    for length in range(SHORTEST_CODE, LONGEST_CODE + 1):
        code <<= 1
        CODE_OFFSET[length] = place - <int> code
        for symbol in range(EOS + 1):
            if CODE_LENGTH[symbol] == length:
                CODE[symbol] = <uint32_t> code
                SYMBOLS[place] = symbol
                place += 1
                code += 1
        CODE_LIMIT[length] = code << (32 - length)


cdef void fill_lookup() noexcept:
    cdef uint64_t bits
    cdef int at, symbol, length, second_length
    cdef Symbols *found
    for at in range(1 << LOOKUP_BITS):
        found = &LOOKUP[at]
        bits = <uint64_t> at << (64 - LOOKUP_BITS)
        symbol = symbol_at(bits, &length)
        if length > LOOKUP_BITS:
            continue
        found.first = <unsigned char> symbol
        found.count = 1
        found.length = <uint8_t> length
        symbol = symbol_at(bits << length, &second_length)
        if length + second_length <= LOOKUP_BITS:
            found.second = <unsigned char> symbol
            found.count = 2
            found.length = <uint8_t> (length + second_length)


cdef int symbol_at(uint64_t bits, int *length) noexcept nogil:
    """The symbol whose code the bits begin with, from the highest one; EOS is one."""
    cdef uint64_t top = bits >> 32
    cdef int found = SHORTEST_CODE
    while top >= CODE_LIMIT[found]:
        found += 1
    length[0] = found
    return SYMBOLS[CODE_OFFSET[found] + <int> (top >> (32 - found))]


fill_static_table()
take_code_lengths()
fill_codes()
fill_lookup()


cdef int known_name(const unsigned char *name, Py_ssize_t length) noexcept nogil:
    """The least index of a name in the static table; 0 if it is not there."""
    cdef uint32_t slot
    cdef const StaticEntry *entry
    if not SHORTEST_NAME <= length <= LONGEST_NAME:
        return 0
    slot = text_hash(name, length) % NAME_SLOTS
    while NAMES[slot]:
        entry = &STATIC[NAMES[slot]]
        if entry.name_length == length and memcmp(entry.text, name, <size_t> length) == 0:
            return entry.known
        slot = (slot + 1) % NAME_SLOTS
    return 0


# ---- strings, RFC 7541 §5.2 ----

cdef inline uint64_t load_eight(const unsigned char *text) noexcept nogil:
    return (
        <uint64_t> text[0] << 56 | <uint64_t> text[1] << 48 | <uint64_t> text[2] << 40 | <uint64_t> text[3] << 32
        | <uint64_t> text[4] << 24 | <uint64_t> text[5] << 16 | <uint64_t> text[6] << 8 | <uint64_t> text[7]
    )


cdef inline const unsigned char *refill(
    const unsigned char *text, const unsigned char *end, uint64_t *bits, int *have
) noexcept nogil:
    """Put whole bytes behind the bits there are, as many as there is room for; returns the next."""
    if end - text >= 8:
        # Some bits of the next byte get in as well; they are the same when it comes.
        bits[0] |= load_eight(text) >> have[0]
        text += (63 - have[0]) >> 3
        have[0] |= 56
        return text
    while have[0] <= 56 and text < end:
        bits[0] |= <uint64_t> text[0] << (56 - have[0])
        text += 1
        have[0] += 8
    return text


cdef Py_ssize_t decode_text(unsigned char *to, const unsigned char *text, Py_ssize_t length) noexcept nogil:
    """Decode a Huffman-encoded string, and return how many bytes that are; -1 where it is none.

    There has to be room for `decoded_bound(length)` bytes.
    """
    cdef const unsigned char *end = text + length
    cdef unsigned char *start = to
    cdef uint64_t bits = 0              # what is to be decoded, from the highest bit on
    cdef int have = 0                   # bits of it
    cdef int symbol, code_length
    cdef Symbols found
    while True:
        text = refill(text, end, &bits, &have)
        while have >= LOOKUP_BITS:
            found = LOOKUP[bits >> (64 - LOOKUP_BITS)]
            if found.count == 0:
                break
            to[0] = found.first
            to[1] = found.second
            to += found.count
            bits <<= found.length
            have -= found.length
        if have >= LONGEST_CODE or (have >= LOOKUP_BITS and text == end):
            symbol = symbol_at(bits, &code_length)
            # §5.2: EOS in a string, or padding of more than 7 bits
            if symbol == EOS or code_length > have:
                return -1
            to[0] = <unsigned char> symbol
            to += 1
            bits <<= code_length
            have -= code_length
        elif text == end:
            to = decode_rest(to, bits, have)
            return to - start if to != NULL else -1


cdef unsigned char *decode_rest(unsigned char *to, uint64_t bits, int have) noexcept nogil:
    """Decode the last bits of a string, fewer than LOOKUP_BITS; NULL where they do not end as they have to."""
    cdef uint64_t padding
    cdef int length
    cdef Symbols found
    while have:
        padding = ~<uint64_t> 0 >> have
        found = LOOKUP[(bits | padding) >> (64 - LOOKUP_BITS)]
        length = CODE_LENGTH[found.first]
        if found.count == 0 or length > have:
            # §5.2: at most 7 bits, and all of them ones, as EOS begins
            return to if have <= 7 and bits | padding == ~<uint64_t> 0 else NULL
        to[0] = found.first
        to += 1
        bits <<= length
        have -= length
    return to


cdef inline Py_ssize_t decoded_bound(Py_ssize_t length) noexcept nogil:
    """Bytes that decode_text() may write: a symbol has 5 bits or more, and it writes two at once."""
    return length * 8 // SHORTEST_CODE + 2


cdef inline uint64_t encoded_length(const unsigned char *text, Py_ssize_t length) noexcept nogil:
    """Bytes that a string has when it is Huffman-encoded."""
    cdef uint64_t bits = 7
    cdef Py_ssize_t at
    for at in range(length):
        bits += CODE_LENGTH[text[at]]
    return bits >> 3


cdef unsigned char *encode_text(unsigned char *to, const unsigned char *text, Py_ssize_t length) noexcept nogil:
    """Write a string Huffman-encoded; returns where it ends."""
    cdef uint64_t bits = 0
    cdef int have = 0
    cdef Py_ssize_t at
    for at in range(length):
        bits = bits << CODE_LENGTH[text[at]] | CODE[text[at]]
        have += CODE_LENGTH[text[at]]
        if have >= 32:
            have -= 32
            to[0] = <unsigned char> (bits >> (have + 24))
            to[1] = <unsigned char> (bits >> (have + 16))
            to[2] = <unsigned char> (bits >> (have + 8))
            to[3] = <unsigned char> (bits >> have)
            to += 4
    while have >= 8:
        have -= 8
        to[0] = <unsigned char> (bits >> have)
        to += 1
    if have:
        to[0] = <unsigned char> (bits << (8 - have) | 0xFF >> have)
        to += 1
    return to


# ---- the dynamic table, RFC 7541 §2.3.2 and §4 ----

cdef inline Entry *entry_at(const Table *table, uint32_t age) noexcept nogil:
    """The entry before which `age` newer ones are, fewer than there are entries."""
    cdef uint32_t slot = table.next + table.slots - 1 - age
    return &table.entries[slot - table.slots if slot >= table.slots else slot]


cdef inline void copy_from_ring(
    unsigned char *to, const Table *table, uint32_t start, uint32_t length
) noexcept nogil:
    cdef uint32_t first = min(length, table.capacity - start)
    memcpy(to, table.ring + start, first)
    memcpy(to + first, table.ring, length - first)


cdef inline void put_in_ring(Table *table, const unsigned char *text, uint32_t length) noexcept nogil:
    cdef uint32_t first = min(length, table.capacity - table.end)
    if length == 0:
        return
    memcpy(table.ring + table.end, text, first)
    memcpy(table.ring, text + first, length - first)
    table.end += length
    if table.end >= table.capacity:
        table.end -= table.capacity


cdef inline bint is_in_ring(
    const Table *table, uint32_t start, const unsigned char *text, uint32_t length
) noexcept nogil:
    """Whether the ring has this text at `start`, which may be past its end."""
    cdef uint32_t first
    if length == 0:
        return True
    if start >= table.capacity:
        start -= table.capacity
    first = min(length, table.capacity - start)
    return memcmp(table.ring + start, text, first) == 0 and memcmp(table.ring, text + first, length - first) == 0


cdef void evict(Table *table, uint32_t size) noexcept nogil:
    """Drop the oldest entries until the table has no more than `size`; §4.3."""
    cdef const Entry *oldest
    while table.size > size:
        oldest = entry_at(table, table.count - 1)
        table.size -= oldest.name_length + oldest.value_length + ENTRY_OVERHEAD
        table.count -= 1


cdef void resize_table(Table *table, uint32_t max_size) noexcept nogil:
    table.max_size = max_size
    evict(table, max_size)


cdef int insert(Table *table, const Entry *added, const unsigned char *name, const unsigned char *value) noexcept nogil:
    """Add an entry, of which `start` is not set yet; 0 where it is larger than the table, which is empty then, §4.4.

    Returns -1 without memory.
    """
    cdef uint64_t size = <uint64_t> added.name_length + added.value_length + ENTRY_OVERHEAD
    cdef Entry *entry
    if size > table.max_size:
        evict(table, 0)
        return 0
    evict(table, table.max_size - <uint32_t> size)
    if not has_room(table, table.capacity, <uint32_t> size) and grow(table, <uint32_t> size) < 0:
        return -1
    entry = &table.entries[table.next]
    entry[0] = added[0]
    entry.start = table.end
    put_in_ring(table, name, added.name_length)
    put_in_ring(table, value, added.value_length)
    table.next += 1
    if table.next == table.slots:
        table.next = 0
    table.count += 1
    table.size += <uint32_t> size
    return 1


cdef inline bint has_room(const Table *table, uint32_t capacity, uint32_t size) noexcept nogil:
    """Whether an entry of this size fits a ring of that capacity together with those that are there."""
    cdef uint32_t count = table.count + 1
    return count <= capacity // ENTRY_OVERHEAD and table.size + size - count * ENTRY_OVERHEAD <= capacity


cdef int grow(Table *table, uint32_t size) noexcept nogil:
    """Have room for an entry of this size; -1 without memory."""
    cdef Table grown = table[0]
    cdef const Entry *entry
    cdef uint32_t first
    grown.capacity = max(table.capacity, <uint32_t> FIRST_RING)
    while not has_room(table, grown.capacity, size):
        grown.capacity *= 2
    grown.slots = grown.capacity // ENTRY_OVERHEAD
    grown.entries = <Entry *> malloc(grown.slots * sizeof(Entry) + grown.capacity)
    if grown.entries == NULL:
        return -1
    grown.ring = <unsigned char *> (grown.entries + grown.slots)
    grown.next = grown.end = 0
    while grown.next < grown.count:
        entry = entry_at(table, grown.count - 1 - grown.next)
        first = min(entry.name_length + entry.value_length, table.capacity - entry.start)
        grown.entries[grown.next] = entry[0]
        grown.entries[grown.next].start = grown.end
        put_in_ring(&grown, table.ring + entry.start, first)
        put_in_ring(&grown, table.ring, entry.name_length + entry.value_length - first)
        grown.next += 1
    free(table.entries)
    table[0] = grown
    return 0


# ---- fields of a block ----

cdef void reset_fields(Fields *fields) noexcept nogil:
    """Take the fields of another block; memory is kept as far as usual blocks need it."""
    if fields.capacity > KEPT_TEXT or fields.line_capacity > KEPT_LINES:
        free_fields(fields)
    fields.used = 0
    fields.count = 0
    fields.size = 0
    fields.exceeded = WITHIN_LIMITS


cdef void free_fields(Fields *fields) noexcept nogil:
    """Give the memory back."""
    free(fields.text)
    free(fields.lines)
    memset(fields, 0, sizeof(Fields))


cdef bint has_text_room(Fields *fields, Py_ssize_t needed) noexcept nogil:
    """Have room for `needed` bytes of text; False without memory."""
    cdef unsigned char *text
    cdef Py_ssize_t capacity
    # There is memory even for nothing: what copies nothing wants an address, too.
    if needed < fields.capacity:
        return True
    capacity = max(2 * fields.capacity, needed + 1, <Py_ssize_t> FIRST_TEXT)
    text = <unsigned char *> realloc(fields.text, <size_t> capacity)
    if text == NULL:
        return False
    fields.text = text
    fields.capacity = capacity
    return True


cdef bint has_line_room(Fields *fields) noexcept nogil:
    """Have room for another line; False without memory."""
    cdef FieldLine *lines
    cdef uint32_t capacity
    if fields.count < fields.line_capacity:
        return True
    capacity = <uint32_t> max(2 * fields.line_capacity, <uint32_t> FIRST_LINES)
    lines = <FieldLine *> realloc(fields.lines, capacity * sizeof(FieldLine))
    if lines == NULL:
        return False
    fields.lines = lines
    fields.line_capacity = capacity
    return True


cdef BlockOutcome count_field(Fields *fields, const FieldLimits *limits, uint64_t length) noexcept nogil:
    """Whether a field of this length is kept, DECODED; left out, OVER_LIMIT; or one too many, ABANDONED.

    From the first that is left out on all are: what is there is a beginning, and not a selection.
    """
    fields.size += length + ENTRY_OVERHEAD
    if fields.size > limits.ceiling:
        return ABANDONED
    if fields.exceeded == WITHIN_LIMITS:
        if length > limits.field:
            fields.exceeded = FIELD_LIMIT
        elif fields.count >= limits.count:
            fields.exceeded = COUNT_LIMIT
        elif fields.size > limits.list_size:
            fields.exceeded = LIST_LIMIT
    return DECODED if fields.exceeded == WITHIN_LIMITS else OVER_LIMIT


cdef BlockOutcome keep_field(
    Fields *fields, uint32_t name_length, uint32_t value_length, int known, bint never_indexed
) noexcept nogil:
    """Make what is behind the text used, a name and its value, a field."""
    cdef FieldLine *line
    if not has_line_room(fields):
        return OUT_OF_MEMORY
    line = &fields.lines[fields.count]
    line.name = <uint32_t> fields.used
    line.name_length = name_length
    line.value = line.name + name_length
    line.value_length = value_length
    line.known = <uint8_t> known
    line.is_never_indexed = <uint8_t> never_indexed
    fields.count += 1
    fields.used += <Py_ssize_t> name_length + value_length
    return DECODED


# ---- the decoder ----

cdef struct Cursor:
    const unsigned char *at
    const unsigned char *end


cdef void init_decoder(Decoder *decoder) noexcept nogil:
    """Await the first block of a connection."""
    memset(decoder, 0, sizeof(Decoder))
    decoder.table.max_size = decoder.limit = DEFAULT_TABLE_SIZE


cdef void limit_decoder(Decoder *decoder, uint32_t limit) noexcept nogil:
    """The peer has acknowledged this SETTINGS_HEADER_TABLE_SIZE, of 16 MiB at most.

    Where the table may be larger, the next block has to begin with an update of its size; §4.2.
    """
    decoder.limit = min(limit, <uint32_t> TABLE_CEILING)


cdef void free_decoder(Decoder *decoder) noexcept nogil:
    """Give the table back."""
    free(decoder.table.entries)
    memset(&decoder.table, 0, sizeof(Table))
    decoder.is_broken = True


cdef BlockOutcome decode_block(
    Decoder *decoder, const unsigned char *data, Py_ssize_t length, Fields *fields, const FieldLimits *limits
) noexcept nogil:
    """Decode a whole block, that of a HEADERS or PUSH_PROMISE frame and of what continues it.

    Args:
        fields: after reset_fields(); where the outcome is neither DECODED nor OVER_LIMIT they mean nothing.

    The time it takes grows with `length` and `limits.ceiling` only, the memory with `length` and `limits.list_size`.
    """
    cdef Cursor cursor
    cdef BlockOutcome outcome
    if decoder.is_broken or length > BLOCK_CEILING:
        return COMPRESSION_ERROR
    cursor.at = data
    cursor.end = data + length
    outcome = read_size_updates(decoder, &cursor)
    while outcome == DECODED and cursor.at < cursor.end:
        if cursor.at[0] & INDEXED:
            outcome = read_indexed(decoder, &cursor, fields, limits)
        else:
            outcome = read_literal(decoder, &cursor, fields, limits)
    if outcome != DECODED:
        decoder.is_broken = True
        return outcome
    return DECODED if fields.exceeded == WITHIN_LIMITS else OVER_LIMIT


cdef inline bint read_integer(Cursor *cursor, uint32_t bits, uint32_t *value) noexcept nogil:
    """Read an integer that begins in the `bits` of a byte; False where there is none that we take, §5.1."""
    cdef const unsigned char *at = cursor.at
    cdef uint64_t number
    cdef unsigned char byte
    cdef int shift = 0
    if at == cursor.end:
        return False
    number = at[0] & bits
    at += 1
    if number == bits:
        while True:
            # Five more bytes are what 32 bits need; further ones could only be zeros.
            if at == cursor.end or shift > 28:
                return False
            byte = at[0]
            at += 1
            number += <uint64_t> (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        if number >> 32:
            return False
    value[0] = <uint32_t> number
    cursor.at = at
    return True


cdef BlockOutcome read_size_updates(Decoder *decoder, Cursor *cursor) noexcept nogil:
    """§4.2, §6.3: they are at the beginning of a block, and nowhere else."""
    cdef uint32_t size
    while cursor.at < cursor.end and cursor.at[0] & (INDEXED | INCREMENTAL | SIZE_UPDATE) == SIZE_UPDATE:
        if not read_integer(cursor, SIZE_UPDATE_BITS, &size) or size > decoder.limit:
            return COMPRESSION_ERROR
        resize_table(&decoder.table, size)
    # §4.2: a smaller limit that was acknowledged has to be met at once.
    return DECODED if decoder.table.max_size <= decoder.limit else COMPRESSION_ERROR


cdef BlockOutcome read_indexed(
    Decoder *decoder, Cursor *cursor, Fields *fields, const FieldLimits *limits
) noexcept nogil:
    """§6.1: a field that is in a table."""
    cdef const Entry *entry = NULL
    cdef const StaticEntry *fixed = NULL
    cdef uint32_t index, name_length, value_length
    cdef int known
    cdef BlockOutcome outcome
    # §2.3.3: an index of 0, or beyond both tables
    if not read_integer(cursor, INDEXED_BITS, &index) or not 0 < index <= STATIC_COUNT + decoder.table.count:
        return COMPRESSION_ERROR
    if index <= STATIC_COUNT:
        fixed = &STATIC[index]
        name_length, value_length, known = fixed.name_length, fixed.value_length, fixed.known
    else:
        entry = entry_at(&decoder.table, index - STATIC_COUNT - 1)
        name_length, value_length, known = entry.name_length, entry.value_length, entry.known
    outcome = count_field(fields, limits, name_length + value_length)
    if outcome != DECODED:
        return DECODED if outcome == OVER_LIMIT else outcome
    if not has_text_room(fields, fields.used + name_length + value_length):
        return OUT_OF_MEMORY
    if fixed != NULL:
        memcpy(fields.text + fields.used, fixed.text, name_length + value_length)
    else:
        copy_from_ring(fields.text + fields.used, &decoder.table, entry.start, name_length + value_length)
    return keep_field(fields, name_length, value_length, known, False)


cdef BlockOutcome read_literal(
    Decoder *decoder, Cursor *cursor, Fields *fields, const FieldLimits *limits
) noexcept nogil:
    """§6.2: a field with a value of its own; it is decoded behind the text used, whether it is kept or not."""
    cdef unsigned char first = cursor.at[0]
    cdef Py_ssize_t start = fields.used
    cdef Entry entry
    cdef BlockOutcome outcome
    memset(&entry, 0, sizeof(Entry))
    # §4.2: an update of the size behind a field
    if first & (INCREMENTAL | SIZE_UPDATE) == SIZE_UPDATE:
        return COMPRESSION_ERROR
    if first & INCREMENTAL:
        outcome = read_name(decoder, cursor, INCREMENTAL_BITS, fields, &entry)
    else:
        outcome = read_name(decoder, cursor, LITERAL_BITS, fields, &entry)
    if outcome != DECODED:
        return outcome
    outcome = read_string(cursor, fields, start + entry.name_length, &entry.value_length)
    if outcome != DECODED:
        return outcome
    if first & INCREMENTAL and insert(
        &decoder.table, &entry, fields.text + start, fields.text + start + entry.name_length
    ) < 0:
        return OUT_OF_MEMORY
    outcome = count_field(fields, limits, <uint64_t> entry.name_length + entry.value_length)
    if outcome != DECODED:
        return DECODED if outcome == OVER_LIMIT else outcome
    return keep_field(
        fields, entry.name_length, entry.value_length, entry.known,
        first & (INCREMENTAL | NEVER_INDEXED) == NEVER_INDEXED,
    )


cdef BlockOutcome read_name(
    const Decoder *decoder, Cursor *cursor, uint32_t bits, Fields *fields, Entry *entry
) noexcept nogil:
    """Put the name of a literal, by index or a string, behind the text used."""
    cdef const Entry *named = NULL
    cdef BlockOutcome outcome
    cdef uint32_t index
    if not read_integer(cursor, bits, &index) or index > STATIC_COUNT + decoder.table.count:
        return COMPRESSION_ERROR
    if index == 0:
        outcome = read_string(cursor, fields, fields.used, &entry.name_length)
        if outcome == DECODED:
            entry.known = <uint8_t> known_name(fields.text + fields.used, entry.name_length)
        return outcome
    if index <= STATIC_COUNT:
        entry.name_length = STATIC[index].name_length
        entry.known = STATIC[index].known
    else:
        named = entry_at(&decoder.table, index - STATIC_COUNT - 1)
        entry.name_length = named.name_length
        entry.known = named.known
    if not has_text_room(fields, fields.used + entry.name_length):
        return OUT_OF_MEMORY
    if index <= STATIC_COUNT:
        memcpy(fields.text + fields.used, STATIC[index].text, entry.name_length)
    else:
        copy_from_ring(fields.text + fields.used, &decoder.table, named.start, entry.name_length)
    return DECODED


cdef BlockOutcome read_string(
    Cursor *cursor, Fields *fields, Py_ssize_t offset, uint32_t *decoded
) noexcept nogil:
    """Decode a string to this offset of the text; §5.2."""
    cdef bint is_encoded = cursor.at < cursor.end and cursor.at[0] & HUFFMAN
    cdef Py_ssize_t found
    cdef uint32_t length
    if not read_integer(cursor, STRING_BITS, &length) or length > cursor.end - cursor.at:
        return COMPRESSION_ERROR
    if not has_text_room(fields, offset + (decoded_bound(length) if is_encoded else length)):
        return OUT_OF_MEMORY
    if is_encoded:
        found = decode_text(fields.text + offset, cursor.at, length)
        if found < 0:
            return COMPRESSION_ERROR
        decoded[0] = <uint32_t> found
    else:
        if length:
            memcpy(fields.text + offset, cursor.at, length)
        decoded[0] = length
    cursor.at += length
    return DECODED


# ---- the encoder ----

cdef void init_encoder(Encoder *encoder, uint32_t ceiling) noexcept nogil:
    """Have said nothing to a peer that said nothing of its table.

    Args:
        ceiling: bytes that the table may have at most.
    """
    memset(encoder, 0, sizeof(Encoder))
    encoder.ceiling = min(ceiling, <uint32_t> TABLE_CEILING)
    encoder.table.max_size = encoder.limit = DEFAULT_TABLE_SIZE
    limit_encoder(encoder, DEFAULT_TABLE_SIZE)


cdef void limit_encoder(Encoder *encoder, uint32_t limit) noexcept nogil:
    """The peer's SETTINGS_HEADER_TABLE_SIZE; the next block says what is made of it, §4.2."""
    limit = min(limit, encoder.ceiling)
    if not encoder.is_update_due:
        encoder.smallest = encoder.table.max_size
        encoder.is_update_due = limit != encoder.table.max_size
    encoder.smallest = min(encoder.smallest, limit)
    encoder.limit = limit


cdef void free_encoder(Encoder *encoder) noexcept nogil:
    """Give the table back; nothing more is encoded."""
    free(encoder.table.entries)
    memset(&encoder.table, 0, sizeof(Table))


cdef unsigned char *write_integer(unsigned char *to, int first, uint32_t bits, uint64_t value) noexcept nogil:
    """Write an integer that begins in the `bits` of the byte `first`; returns where it ends. §5.1."""
    if value < bits:
        to[0] = <unsigned char> (<uint32_t> first | <uint32_t> value)
        return to + 1
    to[0] = <unsigned char> (<uint32_t> first | bits)
    to += 1
    value -= bits
    while value >= 0x80:
        to[0] = <unsigned char> (value | 0x80)
        to += 1
        value >>= 7
    to[0] = <unsigned char> value
    return to + 1


cdef unsigned char *write_string(unsigned char *to, Span text) noexcept nogil:
    """Write a string in the shorter of its forms; returns where it ends. §5.2."""
    cdef uint64_t encoded = encoded_length(text.start, text.length)
    if encoded < <uint64_t> text.length:
        to = write_integer(to, HUFFMAN, STRING_BITS, encoded)
        return encode_text(to, text.start, text.length)
    to = write_integer(to, 0, STRING_BITS, <uint64_t> text.length)
    if text.length:
        memcpy(to, text.start, <size_t> text.length)
    return to + text.length


cdef int begin_block(Encoder *encoder, Out *out) except -1:
    """Say what has become of the size of the table, if anything has. To be called before the fields of each block."""
    cdef unsigned char *to
    if not encoder.is_update_due:
        return 0
    reserve(out, 12)
    to = out.data + out.used
    # §4.2: the least one too, for the peer has dropped what did not fit.
    if encoder.smallest < encoder.limit and encoder.smallest < encoder.table.max_size:
        to = write_integer(to, SIZE_UPDATE, SIZE_UPDATE_BITS, encoder.smallest)
        resize_table(&encoder.table, encoder.smallest)
    to = write_integer(to, SIZE_UPDATE, SIZE_UPDATE_BITS, encoder.limit)
    resize_table(&encoder.table, encoder.limit)
    out.used = to - out.data
    encoder.is_update_due = False
    return 0


cdef int encode_status(Encoder *encoder, Out *out, int status) except -1:
    """Put the :status of a response, 100 to 999."""
    cdef unsigned char digits[3]
    digits[0] = <unsigned char> (c"0" + status // 100 % 10)
    digits[1] = <unsigned char> (c"0" + status // 10 % 10)
    digits[2] = <unsigned char> (c"0" + status % 10)
    return encode_field(encoder, out, Span(STATIC[STATUS_NAME].text, 7), Span(&digits[0], 3), False)


cdef int encode_field(Encoder *encoder, Out *out, Span name, Span value, bint sensitive) except -1:
    """Put a field.

    Args:
        name: in lower case, as RFC 9113 §8.2 has them.
        sensitive: whether the value is never indexed; those of cookies and credentials are not in any case.

    Raises:
        ValueError: it is longer than 256 MiB.
    """
    if name.length + value.length > BLOCK_CEILING:
        raise ValueError("a field is longer than 268435456 bytes")
    # A byte or an index, and two lengths, of six bytes at most each.
    reserve(out, 18 + name.length + value.length)
    out.used = write_field(encoder, out.data + out.used, name, value, sensitive) - out.data
    return 0


cdef unsigned char *write_field(
    Encoder *encoder, unsigned char *to, Span name, Span value, bint sensitive
) noexcept nogil:
    cdef int known = known_name(name.start, name.length)
    cdef unsigned char policy = STATIC[known].policy if known else c"?"
    cdef Entry entry
    cdef uint32_t index = <uint32_t> known
    if sensitive or policy == c"!":
        to = write_integer(to, NEVER_INDEXED, LITERAL_BITS, index)
    else:
        memset(&entry, 0, sizeof(Entry))
        entry.name_length = <uint32_t> name.length
        entry.value_length = <uint32_t> value.length
        entry.known = <uint8_t> known
        if find_field(encoder, name, value, &entry, policy != c"-", &index):
            return write_integer(to, INDEXED, INDEXED_BITS, index)
        if is_worth_indexing(encoder, policy, &entry) and insert(
            &encoder.table, &entry, name.start, value.start
        ) == 1:
            to = write_integer(to, INCREMENTAL, INCREMENTAL_BITS, index)
        else:
            to = write_integer(to, 0, LITERAL_BITS, index)
    if index == 0:
        to = write_string(to, name)
    return write_string(to, value)


cdef inline uint32_t whole_hash(Span text) noexcept nogil:
    """A hash of all bytes: values that are made at random may have the same ends."""
    cdef uint64_t word, mixed = 0
    cdef Py_ssize_t at = 0
    while at + 8 < text.length:
        memcpy(&word, text.start + at, 8)
        mixed = (mixed ^ word) * <uint64_t> 0x9E3779B97F4A7C15
        mixed ^= mixed >> 32
        at += 8
    return <uint32_t> mixed ^ text_hash(text.start + at, text.length - at)


cdef bint find_field(
    const Encoder *encoder, Span name, Span value, Entry *wanted, bint in_dynamic, uint32_t *index
) noexcept nogil:
    """Whether a table has the field, and at which index; where none has, `index` is that of its name, 0 for none."""
    cdef const Table *table = &encoder.table
    cdef const Entry *entry
    cdef uint32_t at = wanted.known
    cdef uint32_t age
    while at and at <= STATIC_COUNT and STATIC[at].known == wanted.known:
        if STATIC[at].value_length == value.length and (value.length == 0 or memcmp(
            STATIC[at].text + STATIC[at].name_length, value.start, <size_t> value.length
        ) == 0):
            index[0] = at
            return True
        at += 1
    if not in_dynamic:
        return False
    wanted.name_hash = text_hash(name.start, name.length)
    wanted.value_hash = whole_hash(value)
    for age in range(table.count):
        entry = entry_at(table, age)
        if entry.name_hash != wanted.name_hash or entry.name_length != wanted.name_length:
            continue
        if not is_in_ring(table, entry.start, name.start, entry.name_length):
            continue
        if entry.value_hash == wanted.value_hash and entry.value_length == wanted.value_length and is_in_ring(
            table, entry.start + entry.name_length, value.start, entry.value_length
        ):
            index[0] = STATIC_COUNT + 1 + age
            return True
        if index[0] == 0:
            index[0] = STATIC_COUNT + 1 + age
    return False


cdef bint is_worth_indexing(Encoder *encoder, unsigned char policy, const Entry *entry) noexcept nogil:
    """Whether a field that is in no table is likely to come again, and does not take the place of many others."""
    cdef uint32_t both = entry.name_hash * 31 + entry.value_hash
    cdef uint32_t *seen = &encoder.seen[both % SEEN_SLOTS]
    if policy == c"-" or entry.name_length + entry.value_length + ENTRY_OVERHEAD > encoder.table.max_size // 2:
        return False
    if policy == c"?" and seen[0] != both:
        seen[0] = both
        return False
    return True


# ---- the same for Python: tests and fuzzers ----

cdef Span span_of(bytes text):
    return Span(<const unsigned char *> <const char *> text, len(text))


cdef list entries_of(const Table *table):
    """Pairs of name and value, the newest first."""
    cdef list entries = []
    cdef const Entry *entry
    cdef uint32_t age, length
    cdef bytes text
    for age in range(table.count):
        entry = entry_at(table, age)
        length = entry.name_length + entry.value_length
        text = b"".join([
            table.ring[entry.start:min(entry.start + length, table.capacity)],
            table.ring[:max(entry.start + length, table.capacity) - table.capacity],
        ])
        entries.append((text[:entry.name_length], text[entry.name_length:]))
    return entries


def huffman_encode(bytes text not None) -> bytes:
    """A string Huffman-encoded; RFC 7541 §5.2."""
    cdef Span span = span_of(text)
    cdef Py_ssize_t length = <Py_ssize_t> encoded_length(span.start, span.length)
    cdef unsigned char *to = <unsigned char *> malloc(<size_t> length + 1)
    if to == NULL:
        raise MemoryError()
    try:
        return to[:encode_text(to, span.start, span.length) - to]
    finally:
        free(to)


def huffman_decode(bytes text not None) -> bytes | None:
    """The string that was Huffman-encoded; None where it is none."""
    cdef Span span = span_of(text)
    cdef Py_ssize_t length
    cdef unsigned char *to = <unsigned char *> malloc(<size_t> decoded_bound(span.length))
    if to == NULL:
        raise MemoryError()
    try:
        length = decode_text(to, span.start, span.length)
        return to[:length] if length >= 0 else None
    finally:
        free(to)


cdef class HpackDecoder:
    """The decoder of a connection; see the stub."""

    cdef Decoder _decoder
    cdef Fields _fields
    cdef FieldLimits _limits

    def __cinit__(
        self, *, uint64_t list_size=65536, uint64_t ceiling=1 << 20, uint32_t count=1000, uint32_t field=65536
    ):
        init_decoder(&self._decoder)
        self._limits = FieldLimits(list_size, ceiling, count, field)

    def __dealloc__(self):
        free_decoder(&self._decoder)
        free_fields(&self._fields)

    def limit_table(self, uint32_t limit):
        """The peer has acknowledged this SETTINGS_HEADER_TABLE_SIZE."""
        limit_decoder(&self._decoder, limit)

    def decode(self, bytes block not None) -> tuple:
        """What becomes of a block, and its fields: names, values, and whether they are never indexed."""
        cdef Py_ssize_t length = len(block)
        # A copy of just that size, so that a sanitizer sees whoever reads beyond it.
        cdef unsigned char *data = <unsigned char *> calloc(<size_t> max(length, 1), 1)
        cdef BlockOutcome outcome
        if data == NULL:
            raise MemoryError()
        memcpy(data, <const char *> block, <size_t> length)
        reset_fields(&self._fields)
        with nogil:
            outcome = decode_block(&self._decoder, data, length, &self._fields, &self._limits)
            free(data)
        if outcome == OUT_OF_MEMORY:
            raise MemoryError()
        return BlockOutcome(outcome), self._taken() if outcome in (DECODED, OVER_LIMIT) else []

    cdef list _taken(self):
        cdef list taken = []
        cdef uint32_t at
        cdef const FieldLine *line
        cdef const unsigned char *text = self._fields.text
        for at in range(self._fields.count):
            line = &self._fields.lines[at]
            taken.append((
                text[line.name:line.name + line.name_length],
                text[line.value:line.value + line.value_length],
                line.is_never_indexed != 0,
            ))
        return taken

    @property
    def exceeded(self) -> FieldLimit:
        """The limit that the last block went beyond first."""
        return FieldLimit(self._fields.exceeded)

    @property
    def size(self) -> int:
        """That of the fields of the last block, with those left out."""
        return self._fields.size

    @property
    def known(self) -> list:
        """The least index in the static table of each name of the last block; 0 where it is not there."""
        cdef uint32_t at
        return [self._fields.lines[at].known for at in range(self._fields.count)]

    @property
    def table(self) -> list:
        """The entries of the dynamic table, the newest first."""
        return entries_of(&self._decoder.table)

    @property
    def table_size(self) -> int:
        """RFC 7541 §4.1."""
        return self._decoder.table.size


cdef class HpackEncoder:
    """The encoder of a connection; see the stub."""

    cdef Encoder _encoder
    cdef Out _out

    def __cinit__(self, *, uint32_t ceiling=DEFAULT_TABLE_SIZE):
        init_encoder(&self._encoder, ceiling)

    def __dealloc__(self):
        free_encoder(&self._encoder)
        free(self._out.data)

    def limit_table(self, uint32_t limit):
        """The peer's SETTINGS_HEADER_TABLE_SIZE."""
        limit_encoder(&self._encoder, limit)

    def encode(self, fields, *, int status=0) -> bytes:
        """A block of a status, unless it is 0, and of fields: name, value, and whether it is sensitive."""
        cdef bytes name, value
        cdef bint sensitive
        self._out.used = 0
        begin_block(&self._encoder, &self._out)
        if status:
            encode_status(&self._encoder, &self._out, status)
        for name, value, sensitive in fields:
            encode_field(&self._encoder, &self._out, span_of(name), span_of(value), sensitive)
        return self._out.data[:self._out.used] if self._out.used else b""

    @property
    def table(self) -> list:
        """The entries of the dynamic table, the newest first."""
        return entries_of(&self._encoder.table)

    @property
    def table_size(self) -> int:
        """RFC 7541 §4.1."""
        return self._encoder.table.size
