"""Addresses as they are written in `bind`, and the listening sockets made from them."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import sys
import time
from collections.abc import Iterator
from typing import NamedTuple

from pyserver.errors import EXIT_CONFIG, BootError

_DEFAULT_PORT = 8000  # gunicorn's, when only a host is given
_ANY_HOST = "0.0.0.0"
_SCHEMES = ("http://", "https://")
_LONGEST_PATH = 107 if sys.platform == "linux" else 103  # sun_path without its end, bytes; unix(7)
_DATAGRAM_ROOM = 4 * 1024 * 1024  # bytes
_LONGEST_LOCK = 1.0  # how long another server may be at the same place before we go on, seconds


class Address(NamedTuple):
    """Where to listen: a host and port, the path of a Unix socket, or a socket that was inherited."""

    host: str = ""
    port: int = 0
    path: str = ""
    descriptor: int = -1
    name: str = ""  # of a socket that was inherited; its descriptor is known to who was given it

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        if self.is_inherited:
            return f"fd://{self.descriptor}" if self.descriptor >= 0 else f"systemd:{self.name}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_inherited(self) -> bool:
        """Whether somebody else has opened it."""
        return self.descriptor >= 0 or self.name != ""


class FileAccess(NamedTuple):
    """Who may connect to a Unix socket: the permissions that its file does not get, and its owner; -1 is nobody new."""

    umask: int = 0
    uid: int = -1
    gid: int = -1


ANYBODY = FileAccess()


class AddressInUseError(BootError):
    """Somebody else listens there, who may be about to leave."""

    def __init__(self, address: Address, reason: str) -> None:
        super().__init__(f"cannot listen on {address}: {reason}", EXIT_CONFIG)
        self.address = address


def parse_address(text: str) -> Address:
    """The address that `text` names: `host:port`, `host`, `:port`, `[v6]:port`, `unix:path`, `fd://N`, `systemd:NAME`.

    Without a port it is 8000, without a host all IPv4 interfaces, as gunicorn has it. What is spoken there may stand
    before it; see `scheme_of`.

    Raises:
        ValueError: it is none of these; the message says what is wrong with it.
    """
    text = text.removeprefix(f"{scheme_of(text)}://")
    if text.startswith("fd://"):
        number = text.removeprefix("fd://")
        if not _is_number(number):
            raise ValueError(f"{text!r} does not name a descriptor: fd:// is followed by its number")
        return Address(descriptor=int(number))
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        path = path.removeprefix("//")
        if not path:
            raise ValueError(f"{text!r} does not name a path")
        return Address(path=path)
    if text.startswith("systemd:"):
        if text == "systemd:":
            raise ValueError(f"{text!r} does not name a socket: systemd: is followed by its FileDescriptorName")
        return Address(name=text.removeprefix("systemd:"))
    name = text.removeprefix("tcp://")
    if "," in name:
        raise ValueError(f"{text!r} has a comma; each address is an item of a list, or has an option of its own")
    if "://" in name:
        raise ValueError(f"{text!r} is a URL of another kind than http:// and https://; write host:port")
    if not name.isascii():
        raise ValueError(f"{text!r} has a character that is not ASCII; write the address of the host in numbers")
    host, port = _host_and_port(name)
    if port is None:
        return Address(host.lower() or _ANY_HOST, _DEFAULT_PORT)
    if not _is_number(port) or int(port) > 65535:
        raise ValueError(f"{text!r} has the port {port!r}, which is not a number from 0 to 65535")
    return Address(host.lower() or _ANY_HOST, int(port))


def scheme_of(text: str) -> str:
    """What is spoken at the address that `text` names, http or https; empty where it does not say so."""
    return next((scheme.removesuffix("://") for scheme in _SCHEMES if text.startswith(scheme)), "")


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal()


def _host_and_port(text: str) -> tuple[str, str | None]:
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError(f"{text!r} is not an IPv6 address in brackets, followed by a port")
        return host, rest[1:] if rest else None
    if text.count(":") > 1:
        raise ValueError(f"{text!r} has an IPv6 address without brackets; write [::1]:8000")
    host, colon, port = text.partition(":")
    if not host and not colon:
        raise ValueError("an empty text is no address")
    return host, port if colon else None


def open_listener(
    address: Address,
    backlog: int,
    access: FileAccess = ANYBODY,
    shares_port: bool = False,
    flag: str = "--bind",
) -> socket.socket:
    """A listening, non-blocking socket at `address`, not inherited over exec.

    Args:
        address: where to listen; an inherited descriptor must be a listening socket already.
        backlog: length of the kernel's queue of connections that nobody has accepted yet.
        access: to the file of a Unix socket.
        shares_port: whether other sockets that say so, too, may listen at the same host and port.
        flag: by which another address is chosen, for who cannot have this one.

    Raises:
        AddressInUseError, BootError: it cannot be opened; one line says why and what to do.
    """
    try:
        listener = _bound(address, backlog, access, shares_port)
        try:
            listener.listen(backlog)
            listener.setblocking(False)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise AddressInUseError(
                address, f"the port is in use; stop the other process or choose another {flag}"
            ) from None
        raise _refusal(address, _reason(error)) from None
    return listener


def open_datagram_socket(address: Address, flag: str) -> socket.socket:
    """A bound, non-blocking socket of UDP, not inherited over exec.

    Raises:
        AddressInUseError, BootError: as for `open_listener`.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        bound = socket.socket(family, socket.SOCK_DGRAM)
        try:
            # The system gives as much as it allows. A worker that computes for a moment is to lose nothing.
            for buffer in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                bound.setsockopt(socket.SOL_SOCKET, buffer, _DATAGRAM_ROOM)
            bound.setblocking(False)
            bound.bind((address.host, address.port))
        except OSError:
            bound.close()
            raise
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise AddressInUseError(
                address, f"the UDP port is in use; stop the other process or choose another {flag}"
            ) from None
        raise _refusal(address, _reason(error)) from None
    return bound


def listener_url(listener: socket.socket, is_secure: bool = False) -> str:
    """How a client reaches it, for the log: `http://127.0.0.1:8000`, `http://[::1]:8000` or `unix:/run/a.sock`."""
    scheme = "https" if is_secure else "http"
    name = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        # An abstract name begins with a zero byte, and is written as systemd writes it.
        path = f"unix:{os.fsdecode(name)}".replace("\0", "@")
        return f"https://{path}" if is_secure else path
    return f"{scheme}://{Address(host=name[0], port=name[1])}"


def _bound(address: Address, backlog: int, access: FileAccess, shares_port: bool) -> socket.socket:
    if address.descriptor >= 0:
        return _inherited(address)
    return _unix(address, backlog, access) if address.path else _internet(address, shares_port)


def _internet(address: Address, shares_port: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        # A restarted server must be able to bind while connections of the old one are still in TIME_WAIT.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shares_port:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        _set_nodelay(listener)
        listener.bind((address.host, address.port))
    except OSError:
        listener.close()
        raise
    return listener


def _unix(address: Address, backlog: int, access: FileAccess) -> socket.socket:
    length = len(os.fsencode(address.path))
    if length > _LONGEST_PATH:
        raise _refusal(
            address,
            f"the path has {length} bytes, and that of a Unix socket has {_LONGEST_PATH} at most; choose one in a "
            "directory whose name is shorter, such as /run",
        )
    # Two servers that start at once would both find a file stale, and the second would remove that of the first; and
    # until a socket listens its file looks stale, too.
    with _alone_in(os.path.dirname(address.path) or "."):
        _take_over_stale(address)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # gunicorn's default umask is 0: a proxy that runs as another user can connect. Who may is said by the
        # directory.
        previous = os.umask(access.umask)
        try:
            listener.bind(address.path)
            if access[1:] != ANYBODY[1:]:
                # Whoever else may write in the directory could have put a link in its place.
                os.chown(address.path, access.uid, access.gid, follow_symlinks=False)
            listener.listen(backlog)
        except OSError:
            listener.close()
            raise
        finally:
            os.umask(previous)
    return listener


@contextlib.contextmanager
def _alone_in(directory: str) -> Iterator[None]:
    """Hold the lock of a directory, or at least have tried for `_LONGEST_LOCK`: it may be somebody else's to lock."""
    # Here, because most servers have no Unix socket.
    import fcntl

    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        # It is not there, as `bind` will say, or not readable, and can be listened in all the same.
        yield
        return
    try:
        deadline = time.monotonic() + _LONGEST_LOCK
        while time.monotonic() < deadline:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.005)
            except OSError:
                break  # A file system without locks.
        yield
    finally:
        os.close(descriptor)


def _take_over_stale(address: Address) -> None:
    """Remove a socket file that nobody listens on any more; whether somebody does is told by connecting."""
    try:
        mode = os.lstat(address.path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise _refusal(address, "the file exists and is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        # A live server whose queue is full must not hold up our start; it answers EAGAIN.
        probe.setblocking(False)
        try:
            probe.connect(address.path)
        except ConnectionRefusedError:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(address.path)
            return
        except BlockingIOError:
            pass
    raise AddressInUseError(address, "another process listens on it; stop that one or choose another address")


def _inherited(address: Address) -> socket.socket:
    listener = socket.socket(fileno=address.descriptor)
    if listener.type != socket.SOCK_STREAM or not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        listener.detach()
        raise _refusal(address, "the descriptor is not a listening stream socket")
    listener.set_inheritable(False)
    if listener.family != socket.AF_UNIX:
        _set_nodelay(listener)
    return listener


def _set_nodelay(listener: socket.socket) -> None:
    # On Linux accepted connections inherit it: a system call less for each.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _refusal(address: Address, reason: str) -> BootError:
    return BootError(f"cannot listen on {address}: {reason}", EXIT_CONFIG)


def _reason(error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return "the host name cannot be resolved"
    return {
        errno.EACCES: "no permission; a port below 1024 needs root or CAP_NET_BIND_SERVICE, "
        "a Unix socket a directory that can be written",
        errno.EADDRNOTAVAIL: "no interface of this machine has that address",
        errno.EBADF: "that descriptor is not open",
        errno.ENOTSOCK: "that descriptor is not a socket",
        errno.ENOENT: "the directory does not exist",
    }.get(error.errno or 0, error.strerror or str(error))
