"""The open listeners: what is wanted against what is there."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, NamedTuple

from pyserver.errors import BootError
from pyserver.sockets import ANYBODY, Address, open_listener

if TYPE_CHECKING:
    import socket
    from collections.abc import Collection, Iterable, Mapping

    from pyserver.sockets import FileAccess


class _File(NamedTuple):
    """The file of a Unix socket. Its path is absolute, because a reload may change the directory."""

    path: str
    device: int
    inode: int

    @classmethod
    def at(cls, path: str) -> _File:
        status = os.stat(path)
        return cls(os.path.abspath(path), status.st_dev, status.st_ino)

    @property
    def is_in_place(self) -> bool:
        """Whether no other server has put its own there in the meantime."""
        try:
            return self.at(self.path) == self
        except OSError:
            return False

    def remove(self) -> None:
        """Remove it if it is in its place."""
        with contextlib.suppress(OSError):
            if self.is_in_place:
                os.unlink(self.path)


class Listeners:
    """Listening sockets by address, open in the arbiter so that workers come and go without one being closed.

    Args:
        flag: that chooses the addresses.
    """

    def __init__(self, flag: str = "--bind") -> None:
        self._flag = flag
        self._open: dict[Address, socket.socket] = {}
        self._files: dict[Address, _File] = {}
        self._shared: set[Address] = set()  # those that another arbiter has open, too
        self._left: list[_File] = []  # of such as were closed here

    def open(
        self, addresses: Collection[Address], backlog: int, access: FileAccess = ANYBODY, shares_port: bool = False
    ) -> None:
        """Open those that are not open yet; the others keep their sockets and files, with the new backlog.

        Raises:
            BootError: one cannot be opened; then everything is as before.
        """
        before = self.addresses()
        try:
            for address in addresses:
                if address not in self._open:
                    self._add(address, self._opened(address, backlog, access, shares_port))
        except BootError:
            self.keep(before)
            raise
        self._keep_backlog(addresses, backlog)

    def addresses(self) -> set[Address]:
        """Those that are open."""
        return set(self._open)

    def at(self, addresses: Collection[Address]) -> list[socket.socket]:
        """The sockets at these addresses, in their order."""
        return [self._open[address] for address in addresses]

    def not_at(self, addresses: Collection[Address]) -> list[socket.socket]:
        """The sockets at all other addresses."""
        return [listener for address, listener in self._open.items() if address not in addresses]

    def own(self) -> list[socket.socket]:
        """Those that no other arbiter has open."""
        return [listener for address, listener in self._open.items() if address not in self._shared]

    def keep(self, addresses: Collection[Address]) -> None:
        """Close the sockets at all other addresses; workers that have them go on accepting."""
        # What was inherited stays, for a later reload may want it, and nobody could open it again.
        self._close([address for address in self._open if address not in addresses and not address.is_inherited])

    def close(self) -> None:
        """Close all."""
        self._close(list(self._open))

    def _close(self, addresses: Iterable[Address]) -> None:
        for address in addresses:
            self._drop_file(address)
            self._open.pop(address).close()

    # While an upgrade is under way, two arbiters have the same sockets. The files of those at Unix sockets are
    # removed by the one that is left.

    def share(self) -> dict[Address, socket.socket]:
        """Those that another arbiter can adopt, all there are; paths are absolute."""
        self._shared = set(self._open)
        return {
            _absolute(address): listener
            for address, listener in self._open.items()
            if address not in self._files or self._files[address].is_in_place
        }

    def adopt(self, given: Mapping[Address, int], wanted: Collection[Address], backlog: int) -> None:
        """Take over the descriptors of what another arbiter shares.

        Args:
            given: as that one's `share` has them.
            wanted: where this one listens; a relative path there is the same address as an absolute one.
            backlog: as for `open`.

        Raises:
            BootError: a descriptor is not a listener.
        """
        names = {_absolute(address): address for address in wanted}
        for address, descriptor in given.items():
            self._add(names.get(address, address), self._inherited(descriptor, backlog))
        self._shared = set(self._open)

    def unshare(self) -> None:
        """The other arbiter has gone."""
        self._shared.clear()
        while self._left:
            self._left.pop().remove()

    def _opened(self, address: Address, backlog: int, access: FileAccess, shares_port: bool) -> socket.socket:
        return open_listener(address, backlog, access, shares_port, self._flag)

    def _keep_backlog(self, addresses: Iterable[Address], backlog: int) -> None:
        for address in addresses:
            self._open[address].listen(backlog)

    def _inherited(self, descriptor: int, backlog: int) -> socket.socket:
        return open_listener(Address(descriptor=descriptor), backlog)

    def _add(self, address: Address, listener: socket.socket) -> None:
        self._open[address] = listener
        if address.path:
            # Removed meanwhile: then there is none to look after.
            with contextlib.suppress(OSError):
                self._files[address] = _File.at(address.path)

    def _drop_file(self, address: Address) -> None:
        file = self._files.pop(address, None)
        if file is None:
            return
        if address in self._shared:
            self._left.append(file)
        else:
            # While we still listen, nobody takes it for a stale one.
            file.remove()


def _absolute(address: Address) -> Address:
    return address._replace(path=os.path.abspath(address.path)) if address.path else address
