"""Servers that speak HTTP/3, and whom their clients trust."""

import importlib.util
import re
from pathlib import Path

import pytest
import trustme
from support import eventually

# There is none for Python 3.10.
collect_ignore_glob = [] if importlib.util.find_spec("aioquic") else ["test_*.py"]

ARGUMENTS = ("-k", "asgi", "--quic-bind", "127.0.0.1:0", "--pythonpath", str(Path(__file__).parent))
_PORT = re.compile(r"Listening for HTTP/3 at: udp://127\.0\.0\.1:(\d+)")


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """A certificate for localhost, its key, and who has issued it."""
    directory = tmp_path_factory.mktemp("certificate")
    issuer = trustme.CA(key_type=trustme.KeyType.ECDSA)
    issued = issuer.issue_cert("localhost", key_type=trustme.KeyType.ECDSA)
    (directory / "cert.pem").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(str(directory / "key.pem"))
    issuer.cert_pem.write_to_path(str(directory / "issuer.pem"))
    return directory


@pytest.fixture(scope="session")
def authority(files):
    return str(files / "issuer.pem")


@pytest.fixture(scope="session")
def certificate(files):
    return "--certfile", str(files / "cert.pem"), "--keyfile", str(files / "key.pem")


@pytest.fixture
def serve_http3(serve, certificate):
    """A server of `http3_application`, and the port where it speaks HTTP/3: `serve_http3(*arguments)`."""

    def served(*arguments):
        server = serve("http3_application:application", *ARGUMENTS, *certificate, *arguments)
        return server, port_of(server)

    return served


def port_of(server):
    return int(eventually(lambda: _PORT.search(server.log())).group(1))


@pytest.fixture(scope="module")
def shared(tmp_path_factory, certificate):
    """The same for all tests of a module."""
    from support import Server

    directory = tmp_path_factory.mktemp("served")
    server = Server(
        "http3_application:application", *ARGUMENTS, *certificate, "--access-logfile", "-", "--keep-alive", "30",
        directory=directory,
    )  # fmt: skip
    server.wait_until_listening()
    yield server
    print(server.log())
    assert server.stop() == 0


@pytest.fixture
def port(shared):
    return port_of(shared)
