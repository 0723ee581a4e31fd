"""One arbiter starts another over exec: what it hands over, and how the two know of each other.

They are connected by a pair of sockets. Over it the new one says that it serves, and either says that it stops; and
each sees the end of the other, however that comes, as the end of what can be read.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from pyserver.arbiter.spawn import fork_process
from pyserver.commons import adopted
from pyserver.errors import EXIT_CONFIG
from pyserver.sockets import Address, parse_address
from pyserver.systemd import for_successor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, MutableMapping

    from pyserver.arbiter.spawn import Closable
    from pyserver.commons import Commons
    from pyserver.log import ErrorLog

_LISTENERS = "PYSERVER_LISTENERS"  # descriptor=address,descriptor=address
_ADMIN = "PYSERVER_ADMIN_LISTENERS"  # likewise
_QUIC = "PYSERVER_QUIC_SOCKETS"  # likewise
_QUIC_SECRET = "PYSERVER_QUIC_SECRET"  # the descriptor of a pipe with it, for variables can be read by others
_OF = "PYSERVER_UPGRADE_OF"  # the process id of the old arbiter
_CHANNEL = "PYSERVER_UPGRADE_CHANNEL"  # the descriptor of the socket that leads to it
_COMMONS = "PYSERVER_COMMONS"  # as `Commons.encoded` has it
_READY = b"r"
_TAKES = b"t"
_STOPS = b"s"


class Launch(NamedTuple):
    """How this process was started, and what is done before another is started so."""

    directory: str
    environ: Mapping[str, str]
    pid: int  # that it had then: the one of a daemon is another
    prepare: Callable[[], object] | None = None  # called in the new process, which is still a copy of this one

    @property
    def command(self) -> list[str]:
        """The interpreter, its options, and the script, module or code with its arguments."""
        return [sys.executable, *sys.orig_argv[1:]]


class OtherArbiter:
    """The one before this one, or the one after it.

    Args:
        pid: its process.
        channel: the socket that leads to it.
        is_ready: whether it serves.
    """

    def __init__(self, pid: int, channel: socket.socket, *, is_ready: bool) -> None:
        self.pid = pid
        self.is_ready = is_ready
        self.takes = False  # what is put into the commons
        self.is_stopping = False
        self.is_gone = False
        self._channel = channel
        channel.setblocking(False)

    def fileno(self) -> int:
        """Readable when it has said something, or has ended."""
        return self._channel.fileno()

    def hear(self) -> None:
        """Take note of what it has said."""
        try:
            said = self._channel.recv(64)
        except BlockingIOError:
            return
        except OSError:
            said = b""
        self.is_ready = self.is_ready or _READY in said
        self.takes = self.takes or _TAKES in said
        self.is_stopping = self.is_stopping or _STOPS in said
        self.is_gone = not said

    def say_ready(self) -> None:
        """Tell it that this one serves; and where the two have the same commons, that it takes connections."""
        self._say(_TAKES + _READY if self.takes else _READY)

    def say_stops(self) -> None:
        """Tell it that this one will serve no more."""
        self._say(_STOPS)

    def close(self) -> None:
        """It is gone; or, in a child, it is none of its business."""
        self._channel.close()

    def _say(self, what: bytes) -> None:
        # It may have gone, as will be heard.
        with contextlib.suppress(OSError):
            self._channel.send(what)


class Inheritance(NamedTuple):
    """What the arbiter before this one has given it."""

    predecessor: OtherArbiter
    listeners: dict[Address, int]
    commons: Commons | None = None  # if the two understand each other
    admin: Mapping[Address, int] = MappingProxyType({})  # where the state of the server is told
    quic: Mapping[Address, int] = MappingProxyType({})  # where HTTP/3 is served
    quic_secret: bytes = b""

    def refuse_commons(self) -> None:
        """Nothing moves here: have the other one pass nothing on."""
        self.predecessor.takes = False
        if self.commons is not None:
            self.commons.close()


def take_inheritance(environ: MutableMapping[str, str]) -> Inheritance | None:
    """What is inherited, and taken out of `environ`; None in an arbiter that was started in the usual way."""
    names = (_LISTENERS, _OF, _CHANNEL, _COMMONS, _ADMIN, _QUIC, _QUIC_SECRET)
    listeners, of, channel, commons, admin, quic, secret = (environ.pop(name, None) for name in names)
    if listeners is None or of is None or channel is None:
        return None
    try:
        connection = socket.socket(fileno=int(channel))
        connection.set_inheritable(False)
        predecessor = OtherArbiter(int(of), connection, is_ready=True)
        inherited = adopted(commons) if commons else None
        predecessor.takes = inherited is not None
        return Inheritance(
            predecessor, decoded(listeners), inherited, decoded(admin or ""), decoded(quic or ""), _read(secret)
        )
    except (OSError, ValueError):
        # Somebody else's variables.
        return None


class QuicShare(NamedTuple):
    """What another arbiter is given to go on with HTTP/3."""

    sockets: Mapping[Address, socket.socket]
    secret: bytes


def start_successor(
    launch: Launch,
    listeners: Mapping[Address, socket.socket],
    admin: Mapping[Address, socket.socket],
    quic: QuicShare | None,
    commons: Commons | None,
    passed: Iterable[int],
    inbox: Closable,
    log: ErrorLog,
) -> OtherArbiter:
    """Start another arbiter as this one was started, with these sockets and nothing else of what is open here.

    Args:
        launch: how this one was started.
        listeners, admin: what the new one is given; the latter are where the state of the server is told.
        quic: likewise; None without HTTP/3.
        commons: likewise; by which its workers get the connections of ours.
        passed: the descriptors that this one was started with.
        inbox: that of the signals of this process.
        log: for what goes wrong in the new process.

    Raises:
        OSError: the system has no room for another process.
    """
    ours, theirs = socket.socketpair()
    environ = {
        **launch.environ,
        _LISTENERS: encoded({address: listener.fileno() for address, listener in listeners.items()}),
        _ADMIN: encoded({address: listener.fileno() for address, listener in admin.items()}),
        _OF: str(os.getpid()),
        _CHANNEL: str(theirs.fileno()),
    }
    descriptors = {theirs.fileno(), *passed}
    descriptors.update(listener.fileno() for listener in (*listeners.values(), *admin.values()))
    if commons is not None:
        environ[_COMMONS] = commons.encoded()
        descriptors.update(commons.descriptors)
    secret = None if quic is None else _share(quic, environ, descriptors)
    try:
        pid = fork_process(lambda mask: _execute(launch._replace(environ=environ), descriptors, inbox, mask, log))
    except OSError:
        ours.close()
        raise
    finally:
        theirs.close()
        if secret is not None:
            os.close(secret)
    return OtherArbiter(pid, ours, is_ready=False)


def encoded(listeners: Mapping[Address, int]) -> str:
    """Descriptors and their addresses, as `decoded` reads them."""
    return ",".join(f"{descriptor}={_quoted(str(address))}" for address, descriptor in listeners.items())


def decoded(text: str) -> dict[Address, int]:
    """The descriptor at each address; ValueError when the text is not of that form."""
    pairs = (pair.partition("=") for pair in text.split(",") if pair)
    return {parse_address(_unquoted(address)): int(descriptor) for descriptor, _, address in pairs}


def _share(quic: QuicShare, environ: MutableMapping[str, str], descriptors: set[int]) -> int:
    """Name what is shared to the other process; the descriptor that is to be closed then."""
    secret, end = os.pipe()
    os.write(end, quic.secret)
    os.close(end)
    environ[_QUIC] = encoded({address: one.fileno() for address, one in quic.sockets.items()})
    environ[_QUIC_SECRET] = str(secret)
    descriptors.update((secret, *(one.fileno() for one in quic.sockets.values())))
    return secret


def _read(descriptor: str | None) -> bytes:
    """What is in a pipe, which is closed then."""
    if descriptor is None:
        return b""
    with open(int(descriptor), "rb") as pipe:
        return pipe.read()


def _execute(
    launch: Launch, descriptors: Iterable[int], inbox: Closable, mask: Iterable[int], log: ErrorLog
) -> NoReturn:
    try:
        inbox.close()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        environ = for_successor(launch.environ, launch.pid, os.getpid())
        if launch.prepare is not None:
            launch.prepare()
        os.chdir(launch.directory)
        for descriptor in descriptors:
            # One that was said to be passed need not have been.
            with contextlib.suppress(OSError):
                os.set_inheritable(descriptor, True)
        os.execve(launch.command[0], launch.command, environ)
    except BaseException as error:
        # Nothing may escape: what would go on is a second arbiter with our workers.
        log.error("%s cannot be executed: %s", launch.command[0], error)
    finally:
        os._exit(EXIT_CONFIG)


def _quoted(text: str) -> str:
    return text.replace("%", "%25").replace(",", "%2C")


def _unquoted(text: str) -> str:
    return text.replace("%2C", ",").replace("%25", "%")
