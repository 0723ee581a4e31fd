"""Certificates for the tests in this directory, and servers that have them."""

import ssl

import pytest
import trustme
from classes import each_class as worker_class
from sharing import server, serving, share

__all__ = ["server", "serving", "share", "worker_class"]


class Authority:
    """Who issues certificates, and files of those.

    Args:
        directory: where the files are.
    """

    def __init__(self, directory):
        self._authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
        self._directory = directory
        self.file = str(directory / "authority.pem")
        self._authority.cert_pem.write_to_path(self.file)

    def issue(self, *names, file, common_name=None):
        """The paths of a certificate, with those of its issuers, and of its key, under new names or old ones."""
        issued = self._authority.issue_cert(*names, common_name=common_name, key_type=trustme.KeyType.ECDSA)
        certfile, keyfile = self._directory / f"{file}.pem", self._directory / f"{file}-key.pem"
        certfile.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        keyfile.write_bytes(issued.private_key_pem.bytes())
        return str(certfile), str(keyfile)

    def client(self, certificate=None):
        """A context for clients that trust it; with the files of a certificate of their own."""
        context = ssl.create_default_context(cafile=self.file)
        if certificate is not None:
            context.load_cert_chain(*certificate)
        return context


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    """Whom the clients of the tests trust."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def certificate(authority):
    """The options of a server whose name is localhost."""
    certfile, keyfile = authority.issue("localhost", "127.0.0.1", file="localhost")
    return "--certfile", certfile, "--keyfile", keyfile
