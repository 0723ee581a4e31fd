"""HTTP/3 in the arbiter: the sockets of QUIC, and what workers are given to serve there.

Imported when there is HTTP/3.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from pyserver.arbiter.certificates import quic_certificate
from pyserver.arbiter.listeners import Listeners
from pyserver.sockets import Address, open_datagram_socket
from pyserver.workers.messages import QuicSeat

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from pyserver.arbiter.generations import Generation
    from pyserver.sockets import FileAccess

_FLAG = "--quic-bind"


class QuicSockets(Listeners):
    """Bound sockets of UDP by address.

    Args:
        secret: of the arbiter before this one, if that has one; else a new one is made.
    """

    def __init__(self, secret: bytes = b"") -> None:
        super().__init__(_FLAG)
        self.secret = secret or os.urandom(32)

    def seat(self, generation: Generation) -> QuicSeat:
        """What a worker of the generation is given; ConfigError when a certificate cannot be read any more."""
        return QuicSeat(self.at(generation.quic_addresses), self.secret, *quic_certificate(generation.settings))

    def where(self, addresses: Collection[Address]) -> str:
        """The addresses as they are bound, for the log."""
        names = (one.getsockname() for one in self.at(addresses))
        return ",".join(f"udp://{Address(host=name[0], port=name[1])}" for name in names)

    def _opened(self, address: Address, backlog: int, access: FileAccess, shares_port: bool) -> socket.socket:
        return open_datagram_socket(address, _FLAG)

    def _keep_backlog(self, addresses: Iterable[Address], backlog: int) -> None:
        """There is none."""

    def _inherited(self, descriptor: int, backlog: int) -> socket.socket:
        bound = socket.socket(fileno=descriptor)
        bound.set_inheritable(False)
        return bound
