"""A client that has its records in its hands: it sends several at once, or ones that are none."""

import contextlib
import socket
import ssl


class Records:
    """A connection to a server over TLS.

    Args:
        address: of the server.
        context: the client's.
    """

    def __init__(self, address, context):
        self.socket = socket.create_connection(address, 8)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.session = context.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")
        while not self._shake():
            self._incoming.write(self.socket.recv(65536))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def _shake(self):
        try:
            self.session.do_handshake()
        except ssl.SSLWantReadError:
            return False
        finally:
            self.socket.sendall(self._outgoing.read())
        return True

    def encrypted(self, data):
        """The records of these bytes."""
        self.session.write(data)
        return self._outgoing.read()

    def close_notify(self):
        """The record that says that nothing more is sent."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.session.unwrap()
        return self._outgoing.read()

    def read_until_closed(self):
        """What is received until the server sends a FIN, as far as it is content."""
        received = b""
        while data := self.socket.recv(65536):
            self._incoming.write(data)
        while True:
            try:
                data = self.session.read(65536)
            except ssl.SSLError:
                return received
            if not data:
                return received
            received += data
