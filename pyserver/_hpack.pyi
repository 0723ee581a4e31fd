from collections.abc import Iterable
from enum import IntEnum

class BlockOutcome(IntEnum):
    """What was made of a block."""

    DECODED = 0
    OVER_LIMIT = 1
    ABANDONED = 2
    COMPRESSION_ERROR = 3
    OUT_OF_MEMORY = 4

class FieldLimit(IntEnum):
    """The limit that the fields of a block went beyond first."""

    WITHIN_LIMITS = 0
    LIST_LIMIT = 1
    COUNT_LIMIT = 2
    FIELD_LIMIT = 3

def huffman_encode(text: bytes) -> bytes:
    """A string Huffman-encoded; RFC 7541 §5.2."""

def huffman_decode(text: bytes) -> bytes | None:
    """The string that was Huffman-encoded; None where it is none."""

class HpackDecoder:
    """The decoder of a connection; RFC 7541 §3.

    Args:
        list_size: what the fields of a block may have that are kept: names, values, and 32 bytes for each.
        ceiling: what those of a block may have that is decoded at all, to keep the table in step.
        count: fields that are kept.
        field: bytes of a name and its value.
    """

    def __init__(
        self, *, list_size: int = 65536, ceiling: int = 1048576, count: int = 1000, field: int = 65536
    ) -> None: ...
    def limit_table(self, limit: int) -> None:
        """The peer has acknowledged this SETTINGS_HEADER_TABLE_SIZE; before, it is 4096."""

    def decode(self, block: bytes) -> tuple[BlockOutcome, list[tuple[bytes, bytes, bool]]]:
        """What becomes of a block, and its fields: names, values, and whether they are never indexed.

        Raises:
            MemoryError: there is none.
        """

    @property
    def exceeded(self) -> FieldLimit:
        """The limit that the last block went beyond first."""

    @property
    def size(self) -> int:
        """That of the fields of the last block, with those left out."""

    @property
    def known(self) -> list[int]:
        """The least index in the static table of each name of the last block; 0 where it is not there."""

    @property
    def table(self) -> list[tuple[bytes, bytes]]:
        """The entries of the dynamic table, the newest first."""

    @property
    def table_size(self) -> int:
        """Their size; RFC 7541 §4.1."""

class HpackEncoder:
    """The encoder of a connection; RFC 7541 §3.

    Args:
        ceiling: bytes that the dynamic table may have, whatever the peer allows.
    """

    def __init__(self, *, ceiling: int = 4096) -> None: ...
    def limit_table(self, limit: int) -> None:
        """The peer's SETTINGS_HEADER_TABLE_SIZE; before, it is 4096."""

    def encode(self, fields: Iterable[tuple[bytes, bytes, bool]], *, status: int = 0) -> bytes:
        """A block of a status, unless it is 0, and of fields: name, value, and whether it is sensitive.

        Raises:
            ValueError: a field has more than 256 MiB.
        """

    @property
    def table(self) -> list[tuple[bytes, bytes]]:
        """The entries of the dynamic table, the newest first."""

    @property
    def table_size(self) -> int:
        """Their size; RFC 7541 §4.1."""
