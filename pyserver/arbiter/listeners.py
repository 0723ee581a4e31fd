"""The open listeners: what is wanted against what is there."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from pyserver.errors import BootError
from pyserver.sockets import ANYBODY, open_listener

if TYPE_CHECKING:
    import socket
    from collections.abc import Collection, Iterable

    from pyserver.sockets import Address, FileAccess


class Listeners:
    """Listening sockets by address, open in the arbiter so that workers come and go without one being closed."""

    def __init__(self) -> None:
        self._open: dict[Address, socket.socket] = {}
        self._files: dict[Address, tuple[int, int]] = {}  # device and inode of the file of a Unix socket

    def open(self, addresses: Collection[Address], backlog: int, access: FileAccess = ANYBODY) -> None:
        """Open those that are not open yet; the others keep their sockets and files, with the new backlog.

        Raises:
            BootError: one cannot be opened; then everything is as before.
        """
        before = self.addresses()
        try:
            for address in addresses:
                if address not in self._open:
                    self._add(address, open_listener(address, backlog, access))
        except BootError:
            self.keep(before)
            raise
        for address in addresses:
            self._open[address].listen(backlog)

    def addresses(self) -> set[Address]:
        """Those that are open."""
        return set(self._open)

    def at(self, addresses: Collection[Address]) -> list[socket.socket]:
        """The sockets at these addresses, in their order."""
        return [self._open[address] for address in addresses]

    def not_at(self, addresses: Collection[Address]) -> list[socket.socket]:
        """The sockets at all other addresses."""
        return [listener for address, listener in self._open.items() if address not in addresses]

    def keep(self, addresses: Collection[Address]) -> None:
        """Close the sockets at all other addresses; workers that have them go on accepting."""
        # What was inherited stays, for a later reload may want it, and nobody could open it again.
        self._close([address for address in self._open if address not in addresses and not address.is_inherited])

    def close(self) -> None:
        """Close all."""
        self._close(list(self._open))

    def _close(self, addresses: Iterable[Address]) -> None:
        for address in addresses:
            self._remove_file(address)
            self._open.pop(address).close()

    def _add(self, address: Address, listener: socket.socket) -> None:
        self._open[address] = listener
        if address.path:
            status = os.stat(address.path)
            self._files[address] = status.st_dev, status.st_ino

    def _remove_file(self, address: Address) -> None:
        """Remove the file of a Unix socket, unless another server has put its own there in the meantime."""
        if address not in self._files:
            return
        with contextlib.suppress(OSError):
            status = os.stat(address.path)
            if (status.st_dev, status.st_ino) == self._files.pop(address):
                os.unlink(address.path)
