"""TLS between a connection and its socket, RFC 8446 and RFC 5246.

What is encrypted cannot be given back, so that of bytes whose record the socket has not taken whole one is said not to
be taken, and is told when the rest of it has left.

Encryption is Python's `ssl`, over memory: handshakes wait in the engine as everything does. All is done with the
engine's lock held; `ssl` lets other threads run meanwhile.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.memoryview cimport PyMemoryView_FromMemory
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from libc.errno cimport EAGAIN, ECONNRESET, EINTR, EPIPE, errno

from pyserver._channel cimport Channel
from pyserver._connection cimport Connection, peer_of
from pyserver._system cimport MSG_NOSIGNAL, pyserver_set_errno as set_errno, recv, send

cdef extern from "Python.h":
    enum:
        PyBUF_READ
        PyBUF_WRITE

cdef enum:
    BLOCK = 65536               # bytes that are received, or encrypted, at once
    BARREN = 4                  # blocks in a row that have nothing for anybody in them

# Bytes on their way; used with the engine's lock, by one connection at a time.
cdef unsigned char block[BLOCK]

# Of ssl, which only a server with certificates needs.
cdef object WantRead, SSLError


cdef int secure(Connection *connection, context, log) except -1:
    """Take all that is received from now on for TLS.

    Args:
        context: an ssl.SSLContext.
        log: where a handshake that fails is told.
    """
    cdef TLSChannel channel = TLSChannel(context, log)
    Py_INCREF(channel)
    connection.channel = <PyObject *> channel
    connection.awaits_tls = False
    connection.stays = True
    return 0


cdef class TLSChannel(Channel):
    """The server's end of one TLS connection.

    Args:
        context: an ssl.SSLContext.
        log: where a handshake that fails is told.
    """

    def __cinit__(self, context, log):
        global WantRead, SSLError
        import ssl      # it is there: the context is of it

        WantRead, SSLError = ssl.SSLWantReadError, ssl.SSLError
        self.is_secure = True
        self._log = log
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self.session = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        # What SSLObject adds to it is a call for each of these.
        inner = getattr(self.session, "_sslobj", self.session)
        self._decrypt = inner.read
        self._encrypt = inner.write
        self._decrypted = inner.pending

    cdef Py_ssize_t receive(self, Connection *connection, unsigned char *into, Py_ssize_t room) except? -2:
        """As recv(2), and where there was less than `room`, the socket had no more."""
        cdef Py_ssize_t got, total = 0
        cdef bint is_drained = False
        cdef int blocks = 0
        while not self._has_ended:
            if self._has_input:
                got = self._take(connection, into + total, room - total)
                if got < 0:
                    return got
                total += got
                if total == room or self._has_ended:
                    break
            if is_drained:
                set_errno(EAGAIN)
                return total if total else -1
            got = recv(connection.source.fd, block, BLOCK, 0)
            if got <= 0:
                return total if total else got
            is_drained = got < BLOCK
            blocks += 1
            if blocks > BARREN and total == 0:
                self._has_failed = True
                self._log.info("%s sends records that have nothing in them: closed", peer_of(connection))
                set_errno(ECONNRESET)
                return -1
            self.feed(block, got)
        return total

    cdef int feed(self, const unsigned char *data, Py_ssize_t length) except -1:
        """Take bytes that were received."""
        if length:
            self._incoming.write(PyMemoryView_FromMemory(<char *> data, length, PyBUF_READ))
            self._has_input = True
        return 0

    cdef Py_ssize_t _take(self, Connection *connection, unsigned char *into, Py_ssize_t room) except? -2:
        """Decrypt what there is, as far as there is room; -1 with errno once this is no TLS."""
        cdef Py_ssize_t got, total = 0
        try:
            if not self.is_established and not self._shake(connection):
                return 0
            while total < room:
                got = self._decrypt_some(into + total, room - total)
                if got <= 0:
                    break
                total += got
                if not self._incoming.pending and not self._decrypted():
                    self._has_input = False
                    break
            self._push(connection)
            return total
        except SSLError as error:
            self._fail(connection, error)
        set_errno(ECONNRESET)
        return -1

    cdef Py_ssize_t _decrypt_some(self, unsigned char *into, Py_ssize_t room) except? -2:
        cdef Py_ssize_t got
        try:
            got = self._decrypt(room, PyMemoryView_FromMemory(<char *> into, room, PyBUF_WRITE))
        except WantRead:
            self._has_input = False
            return 0
        self._has_ended = got == 0
        return got

    cdef bint _shake(self, Connection *connection) except -1:
        """Go on with the handshake; whether it is over."""
        try:
            self.session.do_handshake()
            self.is_established = True
        except WantRead:
            self._has_input = False
        self._push(connection)
        return self.is_established

    cdef int _fail(self, Connection *connection, error) except -1:
        self._has_failed = True
        # An alert says to the peer what is wrong.
        self._push(connection)
        reason = getattr(error, "verify_message", None) or (error.reason or str(error)).replace("_", " ").lower()
        if self.is_established:
            self._log.info("the TLS connection of %s has failed: %s", peer_of(connection), reason)
        else:
            self._log.info("a TLS handshake with %s has failed: %s", peer_of(connection), reason)
        return 0

    cdef Py_ssize_t give(self, Connection *connection, const unsigned char *data, Py_ssize_t length) except? -2:
        """As send(2)."""
        cdef Py_ssize_t taken = min(length, <Py_ssize_t> BLOCK)
        cdef Py_ssize_t encrypted = 0
        if self._has_failed or not self.is_established:
            set_errno(EPIPE)
            return -1
        if self._left is not None and not self._push(connection):
            return -1
        if self._owes:
            self._owes = False
            return 1
        try:
            while encrypted < taken:
                encrypted += self._encrypt(
                    PyMemoryView_FromMemory(<char *> data + encrypted, taken - encrypted, PyBUF_READ)
                )
        except SSLError as error:
            self._fail(connection, error)
            set_errno(EPIPE)
            return -1
        if self._push(connection):
            return taken
        self._owes = True
        return taken - 1 if taken > 1 else -1

    cdef int end(self, Connection *connection) except -1:
        """Say that nothing more is sent: what came before is complete; RFC 8446 §6.1."""
        if not self.is_established or self._has_failed or self._left is not None or self._has_said_end:
            return 0
        self._has_said_end = True
        try:
            self.session.unwrap()
        except SSLError:
            pass                # the peer has not said it yet, and need not
        self._push(connection)
        return 0

    cdef bint speaks_http2(self) except -1:
        """Whether it was agreed on in the handshake; RFC 7301, RFC 9113 §3.2."""
        return self.session.selected_alpn_protocol() == "h2"

    cdef dict variables(self):
        """What environ gets of the client's certificate; not to be changed."""
        if self._variables is None:
            from pyserver.tls import client_variables

            self._variables = client_variables(self.session)
        return self._variables

    cdef dict extension(self):
        """The extension `tls` of an ASGI scope; not to be changed."""
        if self._extension is None:
            from pyserver.tls import extension

            self._extension = extension(self.session)
        return self._extension

    cdef bint _push(self, Connection *connection) except -1:
        """Send what is encrypted; whether all of it is taken, and if not, errno says why."""
        cdef Py_ssize_t sent
        while True:
            if self._left is None:
                if not self._outgoing.pending:
                    return True
                self._left = self._outgoing.read()
                self._sent = 0
            sent = send(
                connection.source.fd, PyBytes_AS_STRING(self._left) + self._sent,
                <size_t> (PyBytes_GET_SIZE(self._left) - self._sent), MSG_NOSIGNAL,
            )
            if sent >= 0:
                self._sent += sent
                if connection.output != NULL:
                    # The client takes something, though not all of a record yet.
                    connection.output.given += sent
                if self._sent == PyBytes_GET_SIZE(self._left):
                    self._left = None
            elif errno != EINTR:
                return False
