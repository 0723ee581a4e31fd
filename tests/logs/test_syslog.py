"""Both logs in syslog: what arrives, over each kind of socket, and that nobody who listens is no harm."""

import re
import socket

import pytest
from support import eventually

from pyserver.errors import ConfigError
from pyserver.settings.sources import load_settings
from pyserver.syslog import Place, parse_place

APPLICATION = """
    def application(environ, start_response):
        start_response("200 OK", [])
        return [b"hello"]
"""


class Receiver:
    """A syslog server, or rather what it hears: datagrams, or lines of any number of connections."""

    def __init__(self, listener):
        self._listener = listener
        listener.setblocking(False)
        self._messages = []
        self._connections = {}
        if listener.type == socket.SOCK_STREAM:
            listener.listen()

    def messages(self):
        """All messages until now."""
        try:
            while True:
                if self._listener.type == socket.SOCK_DGRAM:
                    self._messages.append(self._listener.recv(65536).decode())
                else:
                    connection, _ = self._listener.accept()
                    connection.setblocking(False)
                    self._connections[connection] = b""
        except BlockingIOError:
            pass
        for connection in self._connections:
            self._read(connection)
        return self._messages

    def _read(self, connection):
        try:
            while data := connection.recv(65536):
                *lines, self._connections[connection] = (self._connections[connection] + data).split(b"\n")
                self._messages += [line.decode() for line in lines]
        except BlockingIOError:
            pass

    def matching(self, pattern):
        return [message for message in self.messages() if re.fullmatch(pattern, message, re.DOTALL)]

    def close(self):
        for connection in self._connections:
            connection.close()


@pytest.fixture(params=["udp", "tcp", "unix#dgram", "unix#stream", "unix"])
def receiver(request, tmp_path):
    scheme, _, kind = request.param.partition("#")
    family = socket.AF_UNIX if scheme == "unix" else socket.AF_INET
    of_kind = socket.SOCK_STREAM if scheme == "tcp" or kind == "stream" else socket.SOCK_DGRAM
    with socket.socket(family, of_kind) as listener:
        listener.bind(str(tmp_path / "log") if scheme == "unix" else ("127.0.0.1", 0))
        receiver = Receiver(listener)
        place = listener.getsockname()
        receiver.address = f"{scheme}://{place}" if scheme == "unix" else f"{scheme}://{place[0]}:{place[1]}"
        receiver.address += "#" * bool(kind) + kind
        yield receiver
        receiver.close()


def test_both_logs_arrive(serve, receiver):
    server = serve(
        APPLICATION, "--log-syslog", "--log-syslog-to", receiver.address, "--log-syslog-prefix", "shop",
        "--log-syslog-facility", "local3", "--access-logformat", "%(r)s %(s)s",
    )  # fmt: skip
    pid = server.workers()[0]
    server.get("/?1")
    server.get("/?2")
    # 19 is local3, and 6 what informs.
    start = rf"<{19 * 8 + 6}>gunicorn\.shop\."
    for number in (1, 2):
        line = rf"{start}access: \[{pid}\] GET /\?{number} HTTP/1\.1 200"
        eventually(lambda line=line: len(receiver.matching(line)) == 1)
    eventually(lambda: receiver.matching(rf"{start}error: \[{server.pid}\] Listening at: .*"))
    assert "Listening at" in server.log()


def test_the_access_log_can_be_kept_out(serve, tmp_path):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        receiver = Receiver(listener)
        server = serve(
            APPLICATION, "--log-syslog", "--log-syslog-to", f"udp://127.0.0.1:{listener.getsockname()[1]}",
            "--disable-redirect-access-to-syslog", "--access-logfile", "access.log",
        )  # fmt: skip
        server.get()
        eventually((tmp_path / "access.log").read_text)
        server.stop()
        # By then all has been sent, and the name is that of the application.
        assert receiver.matching(r"<14>gunicorn\.application_0\.application\.error: \[\d+\] Shutting down: Arbiter")
        assert not [message for message in receiver.messages() if ".access:" in message]


@pytest.mark.parametrize("address", ["udp://127.0.0.1:9", "tcp://127.0.0.1:9", "unix:///nowhere/at/all"])
def test_nobody_who_listens_is_no_harm(serve, address):
    server = serve(APPLICATION, "--log-syslog", "--log-syslog-to", address)
    assert [server.get().status for _ in range(3)] == [200] * 3


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("udp://localhost:514", Place("dgram", "localhost", 514)),
        ("udp://", Place("dgram", "localhost", 514)),
        ("tcp://[::1]:99", Place("stream", "::1", 99)),
        ("udp://[2001:DB8::1]", Place("dgram", "2001:db8::1", 514)),
        ("unix:///dev/log", Place("", "/dev/log")),
        ("unix:///dev/log#stream", Place("stream", "/dev/log")),
    ],
)
def test_a_place_is_understood(text, place):
    assert parse_place(text) == place


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--log-syslog-to", "file:///dev/log"], "syslog_addr is 'file:///dev/log', but it begins neither with"),
        (["--log-syslog-to", "udp://a:b"], "but it has no port"),
        (["--log-syslog-to", "unix://dev/log"], "but it is not of the form unix:///PATH"),
        (["--log-syslog-facility", "nothing"], "syslog_facility is 'nothing', but it is not one of user, auth"),
    ],
)
def test_what_is_none_is_refused(arguments, said, tmp_path):
    with pytest.raises(ConfigError, match=re.escape(said)):
        load_settings(arguments, {}, str(tmp_path))
