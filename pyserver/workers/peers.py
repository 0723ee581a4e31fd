"""Which peers are proxies that may say how the client connected."""

from __future__ import annotations

import socket
from collections.abc import Iterable


class TrustedPeers:
    """The peers of `forwarded_allow_ips`; call it with a peer's address.

    Not the module `ipaddress`, which every worker would carry.

    Args:
        allowed: addresses, networks such as 10.0.0.0/8, or "*" for every peer.
    """

    def __init__(self, allowed: Iterable[str]) -> None:
        entries = list(allowed)
        self._everybody = "*" in entries
        self._networks = [_network(entry) for entry in entries if entry != "*"]

    def __call__(self, address: str) -> bool:
        """Whether the peer is trusted; an empty address is that of a peer on a Unix socket."""
        if self._everybody or not address:
            # Who can open a Unix socket was let in by its directory; gunicorn trusts those peers, too.
            return True
        number, bits = _number(address)
        return any(bits == width and number >> free == prefix for prefix, free, width in self._networks)


def _network(text: str) -> tuple[int, int, int]:
    """The prefix as a number, how many bits follow it, and how many bits there are in all."""
    address, slash, length = text.partition("/")
    number, bits = _number(address)
    free = (128 if ":" in address else 32) - int(length) if slash else 0
    return number >> free, free, bits


def _number(address: str) -> tuple[int, int]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    packed = socket.inet_pton(family, address)
    # A socket that takes both families names an IPv4 peer as ::ffff:192.0.2.1 (RFC 4291 §2.5.5.2).
    packed = packed.removeprefix(b"\0" * 10 + b"\xff\xff")
    return int.from_bytes(packed, "big"), len(packed) * 8
