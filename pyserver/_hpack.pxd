# The contract of _hpack: field sections of HTTP/2 as blocks of bytes, RFC 7541. Blocks in, fields out, and back.
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from pyserver._http cimport Out, Span


cpdef enum BlockOutcome:
    # What decode_block() made of a block.
    DECODED = 0
    OVER_LIMIT = 1              # fields are left out, `Fields.exceeded` says why; the table is in step
    ABANDONED = 2               # it decodes to more than the ceiling; the connection cannot go on
    COMPRESSION_ERROR = 3       # it breaks a rule of RFC 7541; the connection cannot go on, RFC 9113 §4.3
    OUT_OF_MEMORY = 4           # the connection cannot go on


cpdef enum FieldLimit:
    # The limit that the fields of a block went beyond first.
    WITHIN_LIMITS = 0
    LIST_LIMIT
    COUNT_LIMIT
    FIELD_LIMIT


cdef struct FieldLimits:
    uint64_t list_size          # RFC 9113 §6.5.2: names, values, and 32 bytes for each field
    uint64_t ceiling            # likewise; what is beyond `list_size` is decoded up to here to keep the table in step
    uint32_t count              # fields
    uint32_t field              # bytes of one name and its value


cdef struct FieldLine:
    # Offsets from the first byte of Fields.text, for the memory may move.
    uint32_t name
    uint32_t name_length
    uint32_t value
    uint32_t value_length
    uint8_t known               # the least index of the name in the static table; 0: it is not there
    uint8_t is_never_indexed    # RFC 7541 §6.2.3


cdef struct Fields:
    unsigned char *text
    Py_ssize_t used
    Py_ssize_t capacity
    FieldLine *lines
    uint32_t count
    uint32_t line_capacity
    uint64_t size               # of all fields of the block, those left out as well
    int exceeded                # FieldLimit


cdef struct Entry:
    uint32_t start              # of the name in the ring; the value is behind it
    uint32_t name_length
    uint32_t value_length
    uint32_t name_hash          # of what is encoded
    uint32_t value_hash
    uint8_t known               # as in FieldLine


cdef struct Table:
    # A dynamic table, RFC 7541 §2.3.2: entries and their bytes, each in a ring; memory is there once it is needed.
    Entry *entries
    unsigned char *ring         # behind the entries, in the same memory
    uint32_t slots              # of `entries`
    uint32_t capacity           # of `ring`
    uint32_t next               # the slot that the next entry takes
    uint32_t count
    uint32_t end                # where in the ring its bytes begin
    uint32_t size               # RFC 7541 §4.1
    uint32_t max_size           # RFC 7541 §4.2


cdef struct Decoder:
    Table table
    uint32_t limit              # of `table.max_size`: what the peer was told and has acknowledged
    bint is_broken              # a block was not decoded to its end


cdef struct Encoder:
    Table table
    uint32_t ceiling            # bytes that the table may have whatever the peer allows
    uint32_t limit              # of `table.max_size` from the next block on
    uint32_t smallest           # the least limit since the last block
    bint is_update_due
    uint32_t seen[32]           # hashes of fields that were sent and are in no table


cdef void init_decoder(Decoder *decoder) noexcept nogil
cdef void limit_decoder(Decoder *decoder, uint32_t limit) noexcept nogil
cdef void free_decoder(Decoder *decoder) noexcept nogil
cdef BlockOutcome decode_block(
    Decoder *decoder, const unsigned char *data, Py_ssize_t length, Fields *fields, const FieldLimits *limits
) noexcept nogil
cdef void reset_fields(Fields *fields) noexcept nogil
cdef void free_fields(Fields *fields) noexcept nogil

cdef void init_encoder(Encoder *encoder, uint32_t ceiling) noexcept nogil
cdef void limit_encoder(Encoder *encoder, uint32_t limit) noexcept nogil
cdef void free_encoder(Encoder *encoder) noexcept nogil
cdef int begin_block(Encoder *encoder, Out *out) except -1
cdef int encode_status(Encoder *encoder, Out *out, int status) except -1
cdef int encode_field(Encoder *encoder, Out *out, Span name, Span value, bint sensitive) except -1
