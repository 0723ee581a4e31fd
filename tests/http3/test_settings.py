"""What is said of settings that HTTP/3 cannot be served with."""

import importlib.util

import pytest

from pyserver.errors import ConfigError
from pyserver.settings.http2 import check_quic_address, read_protocols
from pyserver.sockets import Address, AddressInUseError, open_datagram_socket
from pyserver.workers.asgi import ASGIWorker

NEEDS = {
    "a certificate": ((), "--quic-bind: HTTP/3 is always encrypted, and certfile names no certificate"),
    "another class": (
        ("-k", "sync"),
        "quic_bind is for HTTP/3, which SyncWorker does not speak; asgi workers do: -k asgi",
    ),
    "no class": ((), "quic_bind is for HTTP/3, which AutoWorker does not speak; asgi workers do: -k asgi"),
    "no client certificates": (
        ("-k", "asgi", "--cert-reqs", "required"),
        "--quic-bind: cert_reqs asks clients for certificates, which HTTP/3 here cannot",
    ),
}


@pytest.mark.parametrize(("arguments", "words"), NEEDS.values(), ids=NEEDS)
def test_what_cannot_be_is_one_line(start, certificate, arguments, words):
    with_tls = () if "no certificate" in words else certificate
    server = start("m:application", "--quic-bind", "127.0.0.1:0", *with_tls, *arguments)
    assert server.wait() != 0
    assert words in server.log()
    assert "Traceback" not in server.log()


def test_a_port_that_is_taken_is_one_line():
    with open_datagram_socket(Address("127.0.0.1", 0), "--quic-bind") as taken:
        address = Address(*taken.getsockname())
        words = rf"cannot listen on {address}: the UDP port is in use; .* choose another --quic-bind"
        with pytest.raises(AddressInUseError, match=words):
            open_datagram_socket(address, "--quic-bind")


def test_a_missing_package_is_named(monkeypatch):
    from pyserver.settings.model import Settings

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "aioquic" else find(name))
    with pytest.raises(ConfigError, match="needs aioquic, the extra http3: pip install aioquic"):
        ASGIWorker.check(Settings(quic_bind=("127.0.0.1:0",)))


@pytest.mark.parametrize("found", ["1.6.9", "2.0"])
def test_another_version_of_the_package_is_refused(monkeypatch, tmp_path, found):
    from pyserver.settings.model import Settings

    (tmp_path / f"aioquic-{found}.dist-info").mkdir()
    (tmp_path / f"aioquic-{found}.dist-info" / "METADATA").write_text(f"Name: aioquic\nVersion: {found}\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=f"needs aioquic 1.7 or later, below 2, and {found} is installed"):
        ASGIWorker.check(Settings(quic_bind=("127.0.0.1:0",)))


def test_h3_without_an_address_is_without_effect(serve, certificate):
    server = serve("http3_application:application", "--http", "h3,h1", "-k", "asgi", *certificate)
    assert "http_protocols has no effect as to h3 without quic_bind" in server.log()


@pytest.mark.parametrize("text", ["unix:/a", "fd://3", "https://a:1", "systemd:a"])
def test_an_address_is_a_host_and_a_port(text):
    with pytest.raises(ValueError, match="is not HOST:PORT"):
        check_quic_address(text)


def test_h3_alone_leaves_nothing_for_tcp():
    assert read_protocols("h3,h1") == ("h3", "h1")
    with pytest.raises(ValueError, match="h1 or h2"):
        read_protocols("h3")
