"""What a service manager hands over and what it is told: the protocols of sd_listen_fds(3) and sd_notify(3)."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import time
from collections.abc import Iterable, Mapping, MutableMapping
from typing import NamedTuple

from pyserver.errors import EXIT_CONFIG, BootError, ConfigError
from pyserver.sockets import Address

_FIRST_DESCRIPTOR = 3  # SD_LISTEN_FDS_START
_UNNAMED = "unknown"  # what sd_listen_fds_with_names calls a socket without a name
_LISTEN = ("LISTEN_PID", "LISTEN_PIDFDID", "LISTEN_FDS", "LISTEN_FDNAMES")
_OF_A_PROCESS = ("LISTEN_PID", "SYSTEMD_EXEC_PID", "WATCHDOG_PID")
_NOTIFY = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")

_RETRY_NS = 100_000_000  # a manager that took no message is asked again so much later
_MOST_UNSENT = 32  # a manager that never takes any must not cost memory
_PASSING = ("STATUS=", "WATCHDOG=")  # what is not worth to be kept when something newer is to be said
_LONGEST_STATUS = 400
# What goes by: the manager's queue is full, or this process or the system has nothing to send with just now.
_TEMPORARY = (errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Inherited:
    """The listening sockets that the process was started with.

    Args:
        names: of each, by descriptor, in their order.
        is_kept: whether the manager that passed them has them open too, so that what waits in their queues is not
            lost when this server stops.
    """

    def __init__(self, names: Mapping[int, str], *, is_kept: bool = False) -> None:
        self._names = {Address(descriptor=number): name for number, name in names.items()}
        self._is_kept = is_kept

    @classmethod
    def take(cls, environ: MutableMapping[str, str], pid: int) -> Inherited:
        """Those that the environment says were passed to the process `pid`; the variables are removed from it.

        Raises:
            ConfigError: the variables are meant for this process and make no sense.
        """
        taken = {name: environ.pop(name, "") for name in _LISTEN}
        if taken["LISTEN_PID"] != str(pid):
            # They were meant for a process that has started us, and has not passed its sockets on.
            return cls({})
        count = taken["LISTEN_FDS"]
        if not (count.isascii() and count.isdecimal()):
            raise ConfigError(f"LISTEN_FDS is {count!r}, and not the number of sockets that were passed")
        descriptors = range(_FIRST_DESCRIPTOR, _FIRST_DESCRIPTOR + int(count))
        names = taken["LISTEN_FDNAMES"].split(":")
        if not taken["LISTEN_FDNAMES"] or len(names) != len(descriptors):
            names = [_UNNAMED] * len(descriptors)
        for number in descriptors:
            # One that is not open is refused when it is to be listened on.
            with contextlib.suppress(OSError):
                os.set_inheritable(number, False)
        # Of others that pass sockets on, as systemd-socket-activate does, nobody knows whether they keep them.
        is_kept = environ.get("SYSTEMD_EXEC_PID") == str(pid)
        return cls(dict(zip(descriptors, names, strict=True)), is_kept=is_kept)

    def __bool__(self) -> bool:
        return bool(self._names)

    def __str__(self) -> str:
        """What the log says: `fd://3 (web), fd://4 (admin)`."""
        return ", ".join(f"{address} ({name})" for address, name in self._names.items())

    @property
    def descriptors(self) -> list[int]:
        """Of all of them, from the first on."""
        return [address.descriptor for address in self._names]

    def replace(self, binds: Iterable[Address]) -> list[Address]:
        """Where to listen, each address once.

        As with gunicorn, sockets that were passed replace what `bind` says, all of them and in their order; unless
        `bind` itself picks descriptors, by `fd://N` or by `systemd:NAME`, which is every socket of that name.

        Raises:
            BootError: no socket of a name was passed.
        """
        wanted = list(binds)
        if self.take_the_place_of(wanted):
            return list(self._names)
        return list(dict.fromkeys(found for address in wanted for found in self._picked(address)))

    def take_the_place_of(self, binds: Iterable[Address]) -> bool:
        """Whether they are listened on instead of these addresses."""
        return bool(self) and not any(address.is_inherited for address in binds)

    def keeps(self, addresses: Iterable[Address]) -> bool:
        """Whether somebody else will serve what waits in the queues of all these when this server has stopped."""
        return self._is_kept and all(address in self._names for address in addresses)

    def _picked(self, address: Address) -> list[Address]:
        if not address.name:
            return [address]
        found = [one for one, name in self._names.items() if name == address.name]
        if not found:
            there = f"there are {self}" if self else "none were passed at all"
            raise BootError(f"cannot listen on {address}: no socket of that name was passed; {there}", EXIT_CONFIG)
        return found


def for_successor(environ: Mapping[str, str], pid: int, successor: int) -> dict[str, str]:
    """What the manager has said to a process at its start, said to the process that follows it.

    Args:
        environ: as the manager has left it.
        pid: of the process that it was meant for.
        successor: the process id of the other, which must have all the descriptors that were passed.
    """
    return {
        name: str(successor) if name in _OF_A_PROCESS and value == str(pid) else value
        for name, value in environ.items()
    }


class Condition(NamedTuple):
    """How the server is, at one turn of the arbiter's loop."""

    generation: int  # the newest
    is_proven: bool  # one of its workers has been ready
    serving: int  # workers of any generation that accept connections and are not over their time
    outdated: int  # those of them that belong to an older generation
    is_well: bool  # there are such workers, or none are wanted


class Notifier:
    """Tells the service manager what happens to the server. It never raises and never waits.

    Args:
        environ: where the manager's address is; it is removed, so that no application talks to the manager.
        pid: of this process.
    """

    def __init__(self, environ: MutableMapping[str, str], pid: int) -> None:
        taken = {name: environ.pop(name, "") for name in _NOTIFY}
        self._address = _socket_address(taken["NOTIFY_SOCKET"])
        self._interval_ns = 0
        if taken["WATCHDOG_USEC"].isdecimal() and taken["WATCHDOG_PID"] in ("", str(pid)):
            # Half of it, as sd_watchdog_enabled(3) recommends.
            self._interval_ns = int(taken["WATCHDOG_USEC"]) * 1000 // 2
        self._watchdog_at_ns = 0
        self._retry_at_ns = 0
        self._unsent: list[str] = []
        self._status = ""
        self._trouble = ""  # why the last reload failed
        self._is_ready = False
        self._stops = False
        self._is_silent = False

    def __bool__(self) -> bool:
        """Whether anybody listens."""
        return bool(self._address)

    def reload_began(self) -> None:
        """The settings are read again; until `turned` says that it has come to an end, the manager waits."""
        self._is_ready = False
        self._trouble = ""
        self._say("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def reload_failed(self, why: str) -> None:
        """What was wanted is not to be had; the server goes on as before."""
        self._trouble = " ".join(why.split())[:_LONGEST_STATUS]

    def stop_began(self, status: str) -> None:
        """The server will end by itself."""
        self._stops = True
        self._status = status
        self._say("STOPPING=1", f"STATUS={status}")

    def handed_over(self, pid: int) -> None:
        """Another process is the server from now on; what this one does is not the manager's concern any more."""
        self._say(f"MAINPID={pid}")
        self._is_silent = True

    def took_over(self) -> None:
        """This process is the server from now on, or again; what it has said before was not heard."""
        self._is_silent = self._is_ready = False
        self._status = ""

    def turned(self, now_ns: int, condition: Condition) -> None:
        """The arbiter's loop has come round."""
        if not self._stops:
            self._note(condition)
        if self._interval_ns and now_ns >= self._watchdog_at_ns and (condition.is_well or self._stops):
            self._watchdog_at_ns = now_ns + self._interval_ns
            self._say("WATCHDOG=1")
        elif self._unsent and now_ns >= self._retry_at_ns:
            self._send()

    def next_turn_ns(self, now_ns: int) -> int | None:
        """When the loop has to come round although nothing has happened; None: never."""
        instants = [self._watchdog_at_ns if self._interval_ns else 0, self._retry_at_ns if self._unsent else 0]
        return min((at_ns for at_ns in instants if at_ns > now_ns), default=None)

    def _note(self, condition: Condition) -> None:
        parts = []
        # A reload has come to an end when nobody accepts connections for the code before it. Who wants no workers, as
        # after WINCH, waits for none.
        if not self._is_ready and condition.is_proven and condition.is_well and not condition.outdated:
            self._is_ready = True
            parts.append("READY=1")
        status = self._trouble or _status(condition, self._is_ready)
        if status != self._status:
            self._status = status
            parts.append(f"STATUS={status}")
        self._say(*parts)

    def _say(self, *assignments: str) -> None:
        if not self._address or self._is_silent or not assignments:
            return
        kept = [message for message in self._unsent if not message.startswith(_PASSING)]
        self._unsent = [*kept, "\n".join(assignments)][-_MOST_UNSENT:]
        self._send()

    def _send(self) -> None:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
                channel.setblocking(False)
                while self._unsent:
                    channel.sendto(os.fsencode(self._unsent[0]), self._address)
                    del self._unsent[0]
        except OSError as error:
            if error.errno in _TEMPORARY:
                # What matters must arrive: without READY=1 the manager would end the service.
                self._retry_at_ns = time.monotonic_ns() + _RETRY_NS
            else:
                self._unsent.clear()  # Nobody listens there.


def _socket_address(text: str) -> str | bytes:
    """What sendto(2) takes; empty when it is no address of a Unix socket."""
    if text.startswith("@"):
        return b"\0" + os.fsencode(text[1:])
    return text if text.startswith("/") else ""


def _status(condition: Condition, is_ready: bool) -> str:
    serving = f"{condition.serving} worker{'s serve' if condition.serving != 1 else ' serves'}"
    if not is_ready:
        boots = f"generation {condition.generation} boots"
        return f"{boots}; {serving}" if condition.serving else boots
    return f"{serving}, generation {condition.generation}"
