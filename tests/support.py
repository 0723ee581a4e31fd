"""What tests stand on: a server process, a raw client, a wait with a deadline, the cuts of a message."""

from __future__ import annotations

import contextlib
import inspect
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pyserver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

_T = TypeVar("_T")
Address = tuple[str, int] | str

_CONFIGURING = ("PORT", "WEB_CONCURRENCY", "FORWARDED_ALLOW_IPS", "SENDFILE")
_LISTENING = re.compile(r"Listening at: (\S+) \(\d+\)")
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2}) ([\t\x20-\x7e\x80-\xff]*)")
_FIELD_LINE = re.compile(
    rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*((?:[\x21-\x7e\x80-\xff](?:[\t\x20-\xff]*[\x21-\xff])?)?)[ \t]*"
)

# sd_listen_fds(3): sockets from descriptor 3 on, with their names, for the process of that id.
_ACTIVATE = """
import fcntl, os, sys
copies = [fcntl.fcntl(int(number), fcntl.F_DUPFD, 100) for number in sys.argv[2].split(",")]
for number, copy in enumerate(copies, 3):
    os.dup2(copy, number)
    os.close(copy)
pid = str(os.getpid())
os.environ.update(LISTEN_PID=pid, LISTEN_FDS=str(len(copies)), LISTEN_FDNAMES=sys.argv[1])
if "SYSTEMD_EXEC_PID" in os.environ:
    os.environ["SYSTEMD_EXEC_PID"] = pid
os.execv(sys.argv[3], sys.argv[3:])
"""


def eventually(condition: Callable[[], _T], within: float = 15.0) -> _T:
    """The first true value of `condition`.

    Raises:
        AssertionError: it stayed false for `within` seconds; quotes it.
    """
    deadline = time.monotonic() + within
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"still false after {within:g} s: {_source_of(condition)}")
        time.sleep(0.01)
    return value


def _source_of(condition: Callable[[], object]) -> str:
    try:
        return inspect.getsource(condition).strip()
    except (OSError, TypeError):
        return repr(condition)


def cuts(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Every way to receive `data` in two parts."""
    for at in range(1, len(data)):
        yield data[:at], data[at:]


class Server:
    """A pyserver in a process group of its own, its log in a file.

    Args:
        application: "module:attribute", importable from `directory`.
        arguments: more of the command line; a --bind among them takes the place of `bind`.
        directory: where the server starts; the log is kept there.
        env: variables to add to the environment; those that configure a server are not inherited.
        bind: where to listen; port 0 is any free one, and None leaves it to a config file.
        stderr: the standard error, where it is not the log.
        passed: sockets that the server is started with, as a service manager does; by name.
        through: a command that runs the server as its child, and that signals go to then.
    """

    def __init__(
        self,
        application: str,
        *arguments: str,
        directory: Path,
        env: Mapping[str, str] | None = None,
        bind: str | None = "127.0.0.1:0",
        stderr: int | None = None,
        passed: Mapping[str, socket.socket] | None = None,
        through: Sequence[str] = (),
    ) -> None:
        binds = [argument for argument in arguments if argument.startswith(("-b", "--bind"))]
        if bind is not None and not binds:
            arguments = ("-b", bind, *arguments)
        self._expected = max(1, len(binds))
        self.directory = directory
        self.addresses: list[Address] = []
        self._log_path = _unused_path(directory, "server.log")
        command = [*through, sys.executable, "-m", "pyserver", *arguments, application]
        numbers = [own.fileno() for own in passed.values()] if passed else []
        if passed:
            command = [sys.executable, "-c", _ACTIVATE, ":".join(passed), ",".join(map(str, numbers)), *command]
        with self._log_path.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                cwd=directory,
                env=_environment(env or {}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log if stderr is None else stderr,
                start_new_session=True,
                pass_fds=numbers,
            )
        self.pid = self._process.pid

    @property
    def address(self) -> Address:
        """Where the server listens; the first when it listens at several."""
        return self.addresses[0]

    def wait_until_listening(self, within: float = 15.0) -> None:
        """Return when connections are taken and a worker was forked; fail when the server exited instead."""
        eventually(lambda: len(self._listening()) >= self._expected or not self.is_running(), within)
        eventually(lambda: self.workers() or not self.is_running(), within)
        self.addresses = self._listening()
        if not self.is_running():
            raise AssertionError(f"the server exited with {self._process.returncode} instead of listening")

    def _listening(self) -> list[Address]:
        return [self._parse_listening(text) for urls in _LISTENING.findall(self.log()) for text in urls.split(",")]

    def _parse_listening(self, text: str) -> Address:
        text = text.removeprefix("http://").removeprefix("https://")
        if text.startswith("unix:"):
            return str(self.directory / text.removeprefix("unix:"))
        host, _, port = text.rpartition(":")
        return host.strip("[]"), int(port)

    def client(self, timeout: float = 8.0) -> Client:
        """A new connection to the first address."""
        return Client(self.address, timeout)

    def get(self, target: str = "/") -> Response:
        """The response to a GET on a connection of its own."""
        with self.client() as client:
            return client.request("GET", target, [("Connection", "close")])

    def log(self) -> str:
        """All that the server has written to its standard output and error."""
        return self._log_path.read_text("utf-8", "backslashreplace")

    def is_running(self) -> bool:
        return self._process.poll() is None

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the arbiter."""
        self._process.send_signal(number)

    def begin_to_stop(self) -> None:
        """Send TERM, and return when the workers have been told, too."""
        for number in (signal.SIGTERM, signal.SIGUSR1):
            # The arbiter handles the second one when it has done all that follows from the first.
            said = f"Handling signal: {number.name.removeprefix('SIG').lower()} "
            before = self.log().count(said)
            self.send_signal(number)
            eventually(lambda said=said, before=before: self.log().count(said) > before)

    def wait(self, within: float = 15.0) -> int:
        """The exit code of a server that ends by itself."""
        eventually(lambda: not self.is_running(), within)
        return int(self._process.returncode)

    def stop(self, number: signal.Signals = signal.SIGTERM, within: float = 15.0) -> int:
        """The exit code after the signal; whatever is left of the server after `within` seconds is killed and fails."""
        if self.is_running():
            self.send_signal(number)
        with contextlib.suppress(AssertionError):
            eventually(lambda: not self.is_running() and not self.processes(), within)
        left = self.processes()
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        code = self._process.wait(within)
        if left:
            eventually(lambda: not self.processes(), within)
            raise AssertionError(
                f"still running {within:g} s after {number.name}: processes {left} of server {self.pid}"
            )
        return code

    def processes(self) -> list[int]:
        """The pids of the arbiter and its workers that are alive."""
        return living(self.pid)

    def zombies(self) -> list[int]:
        """The pids of the workers that have died and were not reaped."""
        return [pid for pid, group, state in _all_processes() if group == self.pid and state == "Z" and pid != group]

    def workers(self) -> list[int]:
        """The pids of the workers that are alive."""
        return [pid for pid in self.processes() if pid != self.pid]


def _unused_path(directory: Path, name: str) -> Path:
    path = directory / name
    return (
        path if not path.exists() else next(p for n in range(2, 100) if not (p := directory / f"{n}-{name}").exists())
    )


def _environment(added: Mapping[str, str]) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYSERVER_", "GUNICORN_")) and name not in _CONFIGURING
    }
    # The server under test is the pyserver that the tests import, wherever it was started.
    path = [str(Path(pyserver.__file__).parents[1]), *filter(None, [kept.get("PYTHONPATH")])]
    # No .pyc: a module rewritten within a second at the same size would be taken for the old one.
    return {**kept, "PYTHONPATH": os.pathsep.join(path), "PYTHONDONTWRITEBYTECODE": "1", **added}


def living(group: int) -> list[int]:
    """The pids of a process group that are alive."""
    return [pid for pid, its_group, state in _all_processes() if its_group == group and state != "Z"]


def _all_processes() -> Iterator[tuple[int, int, str]]:
    """Pid, process group and state letter of each process of the machine."""
    if sys.platform == "linux":
        for directory in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if directory.name.isdigit():
                    # proc(5): the command in parentheses may itself hold any character.
                    state, _, group, *_ = (directory / "stat").read_text("latin-1").rpartition(")")[2].split()
                    yield int(directory.name), int(group), state
    else:
        table = subprocess.run(["ps", "-A", "-o", "pid=,pgid=,stat="], capture_output=True, text=True, check=True)
        for line in table.stdout.splitlines():
            pid, group, state = line.split()
            yield int(pid), int(group), state[0]


@dataclass
class Response:
    """What a server answered; `chunks` are the parts that a chunked content arrived in."""

    version: int
    status: int
    reason: str
    fields: list[tuple[str, str]]
    content: bytes = b""
    chunks: list[bytes] = field(default_factory=list)

    def values(self, name: str) -> list[str]:
        """The values of all field lines of that name, in order."""
        return [value for own, value in self.fields if own.lower() == name.lower()]

    def field(self, name: str) -> str | None:
        """The value of the only field line of that name; None without one."""
        values = self.values(name)
        assert len(values) <= 1, f"{name} occurs {len(values)} times: {values}"
        return values[0] if values else None


class MalformedResponseError(AssertionError):
    """What arrived is not an HTTP/1.1 response by RFC 9112."""


class Client:
    """A raw connection that sends what it is told and reads responses strictly.

    Args:
        address: host and port, or the path of a Unix socket.
        timeout: how long each operation may take, seconds; less than the server waits for the head of a request.
        receive_buffer: SO_RCVBUF, bytes, for a client that reads slowly.
        tls: the context with which TLS is spoken to `localhost`; None for none.
        session: of an earlier connection, to go on with.
    """

    def __init__(
        self,
        address: Address,
        timeout: float = 8.0,
        receive_buffer: int | None = None,
        tls: ssl.SSLContext | None = None,
        session: ssl.SSLSession | None = None,
    ) -> None:
        family = (
            socket.AF_UNIX if isinstance(address, str) else socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        )
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self._received = bytearray()
        try:
            self.socket.settimeout(timeout)
            if receive_buffer is not None:
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            self.socket.connect(address)
            if tls is not None:
                self.socket = tls.wrap_socket(self.socket, server_hostname="localhost", session=session)
        except BaseException:
            self.socket.close()
            raise

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def request(
        self, method: str, target: str = "/", fields: list[tuple[str, str]] | None = None, content: bytes = b""
    ) -> Response:
        """The final response to a request with Host and, when there is content, Content-Length."""
        own = [("Host", "test"), *(fields or [])]
        if content:
            own.append(("Content-Length", str(len(content))))
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in own), "", ""]
        self.send("\r\n".join(lines).encode("latin-1") + content)
        while (response := self.receive_response(method)).status < 200:
            pass
        return response

    def receive_response(self, method: str = "GET") -> Response:
        """The next response, a 1xx one too, with its content as far as it is framed.

        Args:
            method: of the request that it answers; HEAD and CONNECT change the framing (RFC 9112 §6.3).

        Raises:
            MalformedResponseError: it breaks RFC 9112 or ends early.
        """
        response = self.receive_head()
        if method == "HEAD" or response.status < 200 or response.status in (204, 304):
            return response
        codings, lengths = response.values("Transfer-Encoding"), response.values("Content-Length")
        if codings:
            if codings != ["chunked"] or lengths or response.version == 0:
                raise MalformedResponseError(f"framing: {codings}, Content-Length {lengths}")  # RFC 9112 §6.1
            response.chunks = list(iter(self.receive_chunk, b""))
            response.content = b"".join(response.chunks)
        elif lengths:
            if len(lengths) > 1 or not re.fullmatch("[0-9]+", lengths[0]):
                raise MalformedResponseError(f"Content-Length: {lengths}")  # RFC 9112 §6.3
            response.content = self.receive(int(lengths[0]))
        else:
            response.content = self.read_until_closed()
        return response

    def receive_head(self) -> Response:
        """The next response without its content, which is the caller's to receive."""
        line = self._line()
        if not (matched := _STATUS_LINE.fullmatch(line)):
            raise MalformedResponseError(f"not a status line: {line!r}")
        return Response(int(matched[1]), int(matched[2]), matched[3].decode("latin-1"), self._field_lines())

    def receive_chunk(self) -> bytes:
        """The data of the next chunk; empty when it is the last, whose trailers are dropped (RFC 9112 §7.1)."""
        line = self._line()
        if not re.fullmatch(rb"[0-9A-Fa-f]+", line):
            raise MalformedResponseError(f"not a chunk size: {line!r}")
        if (size := int(line, 16)) == 0:
            self._field_lines()
            return b""
        data = self.receive(size)
        if self.receive(2) != b"\r\n":
            raise MalformedResponseError("chunk data is not followed by CRLF")
        return data

    def receive(self, length: int) -> bytes:
        """Exactly `length` bytes."""
        while len(self._received) < length:
            self._receive_more()
        return self._take(length)

    def read_until_closed(self) -> bytes:
        """All that arrives until the server closes; ConnectionResetError when it resets."""
        with contextlib.suppress(EOFError):
            while True:
                self._receive_more()
        return self._take(len(self._received))

    def is_closed_by_server(self) -> bool:
        """Whether the server closes, within the timeout, without having sent anything more."""
        return self.read_until_closed() == b""

    def _receive_more(self) -> None:
        data = self.socket.recv(65536)
        if not data:
            raise EOFError(f"closed by the server after {bytes(self._received[:200])!r}")
        self._received += data

    def _take(self, length: int) -> bytes:
        taken = bytes(self._received[:length])
        del self._received[:length]
        return taken

    def _line(self) -> bytes:
        while (end := self._received.find(b"\n")) < 0:
            self._receive_more()
        line = self._take(end + 1)
        if not line.endswith(b"\r\n") or b"\r" in line[:-2]:
            raise MalformedResponseError(f"a line is not ended by CRLF alone: {line!r}")
        return line[:-2]

    def _field_lines(self) -> list[tuple[str, str]]:
        fields = []
        while line := self._line():
            if not (matched := _FIELD_LINE.fullmatch(line)):
                raise MalformedResponseError(f"not a field line: {line!r}")
            fields.append((matched[1].decode("latin-1"), matched[2].decode("latin-1")))
        return fields
