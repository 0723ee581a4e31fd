"""What connections of QUIC are called by the server: by it their worker is found, and nobody else can tell which."""

from __future__ import annotations

import hashlib
import hmac
import os
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

LENGTH = 16
"""Bytes of a connection id that the server chooses."""
RESET_TOKEN = 16
"""Bytes of the token of a stateless reset, RFC 9000 §10.3."""

_MARK = b"\0\0\0\0"


class Names:
    """The connection ids of one worker, and those of the others.

    An id is one block of AES: the number of the worker, a mark, and what makes it another one each time. So two ids of
    one connection do not show that they are that (RFC 9000 §5.1).

    Args:
        secret: that all workers know.
        number: of this worker, 1 … 2³²-1.
    """

    def __init__(self, secret: bytes, number: int) -> None:
        self._secret = secret
        self._number = number
        cipher = Cipher(algorithms.AES(self.key("connection id")), modes.ECB())
        self._encrypt: Any = cipher.encryptor().update
        self._decrypt: Any = cipher.decryptor().update

    def key(self, what: str) -> bytes:
        """16 bytes that whoever knows the secret knows, for one purpose."""
        return hmac.digest(self._secret, what.encode(), "sha256")[:16]

    def new(self) -> bytes:
        """Another connection id of this worker."""
        block: bytes = self._encrypt(self._number.to_bytes(4, "big") + _MARK + os.urandom(8))
        return block

    def number_of(self, name: bytes) -> int:
        """The worker that has chosen a connection id; 0 where a client has."""
        if len(name) != LENGTH:
            return 0
        block = self._decrypt(name)
        return int.from_bytes(block[:4], "big") if block[4:8] == _MARK else 0

    def reset_token(self, name: bytes) -> bytes:
        """By which a client knows that a connection is no more, who ever says so."""
        return hmac.digest(self._secret, b"reset " + name, "sha256")[:RESET_TOKEN]

    def mailbox(self, number: int) -> bytes:
        """The abstract address where a worker takes what others have received for it; unix(7)."""
        return b"\0pyserver-" + hmac.digest(self._secret, b"mailbox %d" % number, "sha256")[:12].hex().encode()

    def chosen(self, name: bytes, numbers: list[int]) -> int:
        """Which of these workers takes a connection whose client has chosen that id: all of them choose the same."""
        return max(numbers, key=lambda number: hashlib.blake2b(b"%d " % number + name, digest_size=8).digest())
