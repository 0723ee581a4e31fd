"""Servers of the tests' application that speak HTTP/2, of each worker class, in the clear or over TLS."""

from __future__ import annotations

from pathlib import Path

from support import Server

HERE = Path(__file__).parent
CLASSES = {
    "sync": ("-k", "sync"),
    "threaded": ("-k", "threaded", "--threads", "8"),
    "gevent": ("-k", "gevent"),
    "asgi": ("-k", "asgi"),
}
APPLICATIONS = {"asgi": "asgi_application:application"}
CLEARTEXT = ("--http2-cleartext", "both")


def arguments_of(worker_class: str, *more: str) -> tuple[str, ...]:
    """The command line of a server with HTTP/2 in the clear, but for the application."""
    return (*CLASSES[worker_class], *CLEARTEXT, "--http", "h1,h2", "--pythonpath", str(HERE), *more)


def application_of(worker_class: str) -> str:
    return APPLICATIONS.get(worker_class, "wsgi_application:application")


def serve(worker_class: str, directory: Path, *more: str) -> Server:
    """A server of the application of the tests that listens."""
    server = Server(application_of(worker_class), *arguments_of(worker_class, *more), directory=directory)
    try:
        server.wait_until_listening()
    except BaseException:
        print(server.log())
        server.stop()
        raise
    return server


def issue(directory: Path) -> tuple[str, ...]:
    """The options of a server with a certificate."""
    import trustme

    certificate = trustme.CA(key_type=trustme.KeyType.ECDSA).issue_cert("localhost", key_type=trustme.KeyType.ECDSA)
    paths = directory / "certificate.pem", directory / "key.pem"
    paths[0].write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    paths[1].write_bytes(certificate.private_key_pem.bytes())
    return "--certfile", str(paths[0]), "--keyfile", str(paths[1])
