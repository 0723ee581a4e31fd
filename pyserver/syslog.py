"""Syslog: where it listens, what its messages begin with, and a stream to it that nobody waits for.

RFC 3164 as gunicorn has it: `<priority>gunicorn.NAME.error: [pid] message`, without a time, which the receiver adds.
"""

from __future__ import annotations

import _socket
import contextlib
import errno
import os
import time
from typing import Any, NamedTuple

from pyserver._statsd import Datagrams
from pyserver.errors import ConfigError

# RFC 5424 §6.2.1, with the older names that gunicorn has.
FACILITIES = {
    "user": 1, "auth": 4, "authpriv": 10, "cron": 9, "daemon": 3, "ftp": 11, "kern": 0, "lpr": 6, "mail": 2, "news": 7,
    "security": 4, "syslog": 5, "uucp": 8,
    **{f"local{number}": 16 + number for number in range(8)},
}  # fmt: skip
_SEVERITIES = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}

_PORT = 514
_STATSD_PORT = 8125
_LONGEST = 32_768  # bytes of a message; what follows is cut
_MOST_HELD = 262_144  # bytes that a stream has not taken
_AGAIN = 1.0  # seconds until a stream that was lost is opened anew


class Place(NamedTuple):
    """Where syslog listens: `kind` is "dgram", "stream" or, for a Unix socket that may be either, empty."""

    kind: str
    host: str
    port: int = 0


def parse_place(text: str) -> Place:
    """What `syslog_addr` says: unix://PATH, with #dgram or #stream behind it perhaps, udp://HOST:PORT, tcp://HOST:PORT.

    Raises:
        ValueError: it is none of these; the message is the end of a sentence.
    """
    scheme, separator, rest = text.partition("://")
    if scheme == "unix" and separator:
        path, _, kind = rest.partition("#")
        if not path.startswith("/") or kind not in ("", "dgram", "stream"):
            raise ValueError("it is not of the form unix:///PATH, unix:///PATH#dgram or unix:///PATH#stream")
        return Place(kind, path)
    if scheme not in ("udp", "tcp") or not separator:
        raise ValueError("it begins neither with udp:// nor tcp:// nor unix://")
    host, port = split_port(rest, _PORT)
    return Place("dgram" if scheme == "udp" else "stream", host or "localhost", port)


def parse_statsd_host(text: str) -> Place:
    """What `statsd_host` says: HOST:PORT, or unix://PATH; raises ValueError as parse_place does."""
    if text.startswith("unix:") and not text.removeprefix("unix:").isdecimal():
        path = "/" + text.removeprefix("unix:").lstrip("/")
        return Place("dgram", path)
    host, port = split_port(text.removeprefix("udp://"), _STATSD_PORT)
    return Place("dgram", host, port)


def split_port(text: str, default: int) -> tuple[str, int]:
    """The parts of HOST:PORT or [IPV6]:PORT; raises ValueError as parse_place does."""
    host, bracket, rest = text.removeprefix("[").partition("]") if text.startswith("[") else (text, "", "")
    if not bracket:
        host, colon, port = text.partition(":")
    else:
        colon, port = rest[:1], rest[1:]
    if not colon and not port:
        return host.lower(), default
    if colon != ":" or not (port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
        raise ValueError("it has no port from 1 to 65535 behind its host")
    return host.lower(), int(port)


class Syslog:
    """A syslog server. Nothing here waits for it, and what it does not take is dropped.

    Args:
        place: where it listens.
        facility: one of `FACILITIES`.
        name: of this server, in its messages.

    Raises:
        ConfigError: its name is not known.
    """

    def __init__(self, place: Place, facility: str, name: str) -> None:
        self._facility = FACILITIES[facility]
        self._name = f"gunicorn.{name}"
        self.datagrams: Datagrams | None = None
        self._stream: _Stream | None = None
        try:
            if place.kind == "stream" or (not place.kind and _is_stream(place.host)):
                self._stream = _Stream(place)
            else:
                self.datagrams = Datagrams(place.host, place.port)
        except OSError as error:
            raise ConfigError(f"syslog_addr: {place.host} cannot be used: {error.strerror}") from None

    def head(self, level: str, name: str) -> bytes:
        """What a message of this process begins with; `name` is "error" or "access"."""
        return f"<{self._facility * 8 + _SEVERITIES[level]}>{self._name}.{name}: [{os.getpid()}] ".encode()

    def send_error(self, level: str, message: str) -> None:
        """Send a record of the error log."""
        self.send(level, "error", message)

    def send(self, level: str, name: str, message: str) -> None:
        """Send a record of one of the logs: "error" or "access"."""
        data = (self.head(level, name) + message.encode("utf-8", "backslashreplace"))[:_LONGEST]
        if self.datagrams is not None:
            self.datagrams.put(data)
        elif self._stream is not None:
            # RFC 6587 §3.4.2: a message ends where its line does.
            self._stream.put(data.replace(b"\n", b"#012") + b"\n")

    def send_lines(self, head: bytes, lines: bytes) -> None:
        """Send whole lines of the access log into a stream, each behind `head`."""
        if self._stream is not None:
            self._stream.put(b"".join(head + line + b"\n" for line in lines.splitlines()))


class _Stream:
    """A connection that is opened, and opened again, when there is something to send."""

    def __init__(self, place: Place) -> None:
        self._family, self._address = _resolved(place)
        self._socket: _socket.socket | None = None
        self._pid = 0
        self._held = b""
        self._not_before = 0.0

    def put(self, data: bytes) -> None:
        """Send as much as is taken now; the rest goes before what comes next, or is dropped when it is too much."""
        if self._pid != os.getpid():
            # That of the process this one was forked from is not for both: their messages would be mixed up.
            self._forget()
        if len(self._held) + len(data) <= _MOST_HELD:
            self._held += data
        if self._socket is None and time.monotonic() >= self._not_before:
            self._open()
        if self._socket is None:
            return
        try:
            while self._held:
                sent = self._socket.send(self._held, _socket.MSG_DONTWAIT | getattr(_socket, "MSG_NOSIGNAL", 0))
                self._held = self._held[sent:]
        except BlockingIOError:
            pass
        except OSError as error:
            # It is not connected yet, on the way to become so.
            if error.errno not in (errno.ENOTCONN, errno.EINPROGRESS):
                self._close()

    def _open(self) -> None:
        self._not_before = time.monotonic() + _AGAIN
        self._pid = os.getpid()
        try:
            channel = _socket.socket(self._family, _socket.SOCK_STREAM)
            channel.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                channel.connect(self._address)
        except OSError:
            return
        self._socket = channel

    def _close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        # Of a message that was sent in part, the rest would begin the next connection.
        self._held = self._held.partition(b"\n")[2]

    def _forget(self) -> None:
        self._held = b""
        self._not_before = 0.0
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _resolved(place: Place) -> tuple[int, Any]:
    """Family and address of a stream; names are looked up once, because that may take a while."""
    if not place.port:
        return _socket.AF_UNIX, place.host
    family, _, _, _, address = _socket.getaddrinfo(place.host, place.port, 0, _socket.SOCK_STREAM)[0]
    return family, address


def _is_stream(path: str) -> bool:
    """Whether a Unix socket takes connections; what cannot be found out is taken for datagrams, as most are."""
    channel = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)
    try:
        channel.connect(path)
    except OSError as error:
        return error.errno == errno.EPROTOTYPE
    finally:
        channel.close()
    return False
