"""Addresses and listeners: every form of `bind`, and why one cannot be listened on."""

import fcntl
import os
import socket
import subprocess
import sys

import pytest

from pyserver.errors import EXIT_CONFIG, BootError
from pyserver.sockets import Address, FileAccess, listener_url, open_listener, parse_address


@pytest.fixture
def listen():
    """Open a listener that is closed when the test is over."""
    opened = []

    def listening(text, backlog=16, **options):
        opened.append(open_listener(parse_address(text), backlog, **options))
        return opened[-1]

    yield listening
    for listener in opened:
        listener.close()


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8000", Address("127.0.0.1", 8000)),
        ("Example.ORG:80", Address("example.org", 80)),
        ("tcp://127.0.0.1:81", Address("127.0.0.1", 81)),
        (":8000", Address("0.0.0.0", 8000)),
        ("localhost", Address("localhost", 8000)),
        ("[::1]:8000", Address("::1", 8000)),
        ("[::1]", Address("::1", 8000)),
        ("unix:/run/a.sock", Address(path="/run/a.sock")),
        ("unix:///run/a.sock", Address(path="/run/a.sock")),
        ("unix:a.sock", Address(path="a.sock")),
        ("fd://3", Address(descriptor=3)),
        ("systemd:web", Address(name="web")),
        ("fd://0", Address(descriptor=0)),
    ],
)
def test_an_address_is_understood(text, address):
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "host:",
        "host:http",
        "host:65536",
        "host:-1",
        "host:٣",
        "::1:80",
        "[::1",
        "[::1]80",
        "unix:",
        "fd://",
        "systemd:",
        "fd://x",
    ],
)
def test_what_is_no_address_is_refused(text):
    with pytest.raises(ValueError, match=r"\w+ \w+"):
        parse_address(text)


@pytest.mark.parametrize("text", ["127.0.0.1:8000", "[::1]:80", "unix:/run/a.sock", "fd://3", "systemd:web"])
def test_an_address_is_written_as_it_is_read(text):
    assert str(parse_address(text)) == text


def test_a_listener_takes_connections_and_does_not_wait_for_them(listen):
    listener = listen("127.0.0.1:0")
    with pytest.raises(BlockingIOError):
        listener.accept()
    with socket.create_connection(listener.getsockname(), 5):
        pass


def test_a_listener_is_not_inherited_over_exec(listen):
    assert not listen("127.0.0.1:0").get_inheritable()


def test_connections_do_not_wait_to_fill_a_packet(listen):
    assert listen("127.0.0.1:0").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.parametrize(("text", "url"), [("127.0.0.1:0", "http://127.0.0.1:"), ("[::1]:0", "http://[::1]:")])
def test_the_log_names_a_port_as_a_url(listen, text, url):
    listener = listen(text)
    assert listener_url(listener) == f"{url}{listener.getsockname()[1]}"


def test_a_port_in_use_is_refused_in_one_line(listen):
    port = listen("127.0.0.1:0").getsockname()[1]
    with pytest.raises(BootError) as caught:
        listen(f"127.0.0.1:{port}")
    assert str(caught.value) == (
        f"cannot listen on 127.0.0.1:{port}: the port is in use; stop the other process or choose another --bind"
    )
    assert caught.value.exit_code == EXIT_CONFIG


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("192.0.2.1:8000", "no interface of this machine has that address"),
        ("no-such-host.invalid:8000", "the host name cannot be resolved"),
        ("unix:/no/such/directory/a.sock", "the directory does not exist"),
        ("fd://999", "that descriptor is not open"),
    ],
)
def test_why_an_address_cannot_be_listened_on_is_said(listen, text, reason):
    with pytest.raises(BootError, match=reason):
        listen(text)


def test_a_descriptor_that_does_not_listen_is_refused_and_stays_open(listen):
    with socket.socket() as client:
        with pytest.raises(BootError, match="not a listening stream socket"):
            listen(f"fd://{client.fileno()}")
        assert client.getsockname()


def test_an_inherited_descriptor_is_listened_on(listen):
    with socket.create_server(("127.0.0.1", 0)) as given:
        listener = listen(f"fd://{os.dup(given.fileno())}")
        assert listener.getsockname() == given.getsockname()
        assert not listener.getblocking()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has abstract addresses")
def test_the_log_names_an_abstract_address_without_its_zero_byte():
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"\0pyserver-test-{os.getpid()}")
        assert listener_url(listener) == f"unix:@pyserver-test-{os.getpid()}"


def test_a_unix_socket_is_listened_on_by_its_path(listen, tmp_path):
    path = str(tmp_path / "a.sock")
    assert listener_url(listen(f"unix:{path}")) == f"unix:{path}"
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)


def test_a_proxy_of_another_user_can_connect_to_a_unix_socket(listen, tmp_path):
    listen(f"unix:{tmp_path}/a.sock")
    assert (tmp_path / "a.sock").stat().st_mode & 0o777 == 0o777


def test_a_umask_says_who_can_connect_to_a_unix_socket(listen, tmp_path):
    listen(f"unix:{tmp_path}/a.sock", access=FileAccess(0o117))
    assert (tmp_path / "a.sock").stat().st_mode & 0o777 == 0o660


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_unix_socket_belongs_to_whom_it_is_given(listen, tmp_path):
    listen(f"unix:{tmp_path}/a.sock", access=FileAccess(0, 54_321, 54_322))
    status = (tmp_path / "a.sock").stat()
    assert (status.st_uid, status.st_gid) == (54_321, 54_322)


def test_a_stale_unix_socket_is_taken_over(listen, tmp_path):
    path = str(tmp_path / "a.sock")
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(path)
    listen(f"unix:{path}")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)


def test_a_live_unix_socket_is_left_alone(listen, tmp_path):
    path = str(tmp_path / "a.sock")
    listen(f"unix:{path}")
    with pytest.raises(BootError, match="another process listens on it"):
        listen(f"unix:{path}")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)


def test_a_live_unix_socket_whose_queue_is_full_is_left_alone(listen, tmp_path):
    path = str(tmp_path / "a.sock")
    listen(f"unix:{path}", backlog=1)
    waiting = [socket.socket(socket.AF_UNIX) for _ in range(4)]
    for client in waiting:
        client.setblocking(False)
        client.connect_ex(path)
    with pytest.raises(BootError, match="another process listens on it"):
        listen(f"unix:{path}")
    for client in waiting:
        client.close()


def test_of_servers_that_start_at_once_one_takes_a_stale_unix_socket_over(tmp_path):
    code = """
import sys
from pyserver.errors import BootError
from pyserver.sockets import open_listener, parse_address
print("here", flush=True)
sys.stdin.readline()
listeners = []
for number in range(50):
    try:
        listeners.append(open_listener(parse_address(f"unix:{number}"), 16))
    except BootError:
        print("refused", number)
    else:
        print("has", number)
print("done", flush=True)
sys.stdin.readline()
"""
    for number in range(50):
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(f"{tmp_path}/{number}")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
    rivals = [subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, **pipes) for _ in range(4)]
    said = []
    for rival in rivals:
        rival.stdout.readline()
    for rival in rivals:
        rival.stdin.write("start\n")
    for rival in rivals:
        said += iter(rival.stdout.readline, "done\n")
    for number in range(50):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(f"{tmp_path}/{number}")
    for rival in rivals:
        rival.communicate("end\n")
    assert sorted(line for line in said if line.startswith("has")) == sorted(f"has {number}\n" for number in range(50))


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_a_port_can_be_shared_by_those_who_say_so(listen, host):
    port = listen(f"{host}:0", shares_port=True).getsockname()[1]
    listen(f"{host}:{port}", shares_port=True)
    with pytest.raises(BootError, match="in use"):
        listen(f"{host}:{port}")


def test_a_directory_that_somebody_has_locked_is_listened_in(listen, tmp_path):
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        listen(f"unix:{tmp_path}/a.sock")
    finally:
        os.close(descriptor)


def test_a_file_that_is_no_socket_is_never_removed(listen, tmp_path):
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(BootError, match="exists and is not a socket"):
        listen(f"unix:{path}")
    assert path.read_text() == "data"


def test_a_path_too_long_for_a_unix_socket_is_refused(listen, tmp_path):
    with pytest.raises(BootError, match=r"has \d+ bytes, and that of a Unix socket has 10[37] at most; choose "):
        listen(f"unix:{tmp_path}/{'x' * 200}")
