"""TLS between a connection and its socket, RFC 8446 and RFC 5246.

What is encrypted cannot be given back, so that of bytes whose record the socket has not taken whole one is said not to
be taken, and is told when the rest of it has left.

Encryption is Python's `ssl`, over memory: handshakes wait in the engine as everything does. All is done with the
engine's lock held; `ssl` lets other threads run meanwhile.
"""
from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.memoryview cimport PyMemoryView_FromMemory
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from libc.errno cimport EAGAIN, ECONNRESET, EINTR, EPIPE, errno
from libc.string cimport memset

from pyserver._channel cimport Channel
from pyserver._connection cimport Connection, peer_of
from pyserver._system cimport (
    EWOULDBLOCK, MSG_NOSIGNAL, iovec, msghdr, pyserver_set_errno as set_errno, recv, send, sendmsg,
)

cdef extern from "Python.h":
    enum:
        PyBUF_READ
        PyBUF_WRITE

cdef enum:
    BLOCK = 65536               # bytes that are received, or encrypted, at once
    RECORD = 16384              # … that a record has, at most; RFC 8446 §5.1
    PARTS = 4                   # … records in a block
    SLICE = 4096                # … that are decrypted at once, at least, where there are so many
    HEAD = 5                    # bytes of a record before what is encrypted; RFC 8446 §5.1
    LONGEST_HELLO = 131400      # … of a ClientHello, as ssl has it
    LONGEST = 16384 + 2048      # … and behind them at most; RFC 5246 §6.2.3
    FLIGHT = 4096               # … that are received at once of a handshake: requests may be behind it; at least, else
    BARREN = 4 * BLOCK          # … in a row that have nothing for anybody in them

# Bytes on their way; used with the engine's lock, by one connection at a time.
cdef unsigned char block[BLOCK]

# A fatal alert; RFC 8446 §6.
cdef bytes UNRECOGNIZED_NAME = b"\x15\x03\x03\x00\x02\x02\x70"

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


cdef bint has_foreign_name(const unsigned char *hello, Py_ssize_t length) noexcept nogil:
    """Whether the server name in the body of a ClientHello, RFC 8446 §4.1.2, has bytes that are not ASCII.

    What is not of that form has none: ssl says what is wrong with it.
    """
    cdef Py_ssize_t at = 34                         # the version, and the random bytes
    cdef Py_ssize_t size, byte
    at += 1 + hello[at] if at < length else 0       # the session
    if at + 2 > length:
        return False
    at += 2 + (hello[at] << 8 | hello[at + 1])      # the cipher suites
    if at >= length:
        return False
    at += 1 + hello[at] + 2                         # the compression methods, and the length of the extensions
    while at + 4 <= length:
        size = hello[at + 2] << 8 | hello[at + 3]
        if hello[at] == 0 and hello[at + 1] == 0:   # server_name, RFC 6066 §3
            # Behind the length of the list, the kind of the name and its length.
            for byte in range(at + 9, min(at + 4 + size, length)):
                if hello[byte] >= 0x80:
                    return True
            return False
        at += 4 + size
    return False


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
        # Where a callback is told the name that the client asks for.
        if context.sni_callback is not None:
            self._hello, self._record = bytearray(), bytearray()
        # What SSLObject adds to it is a call for each of these.
        inner = getattr(self.session, "_sslobj", self.session)
        self._decrypt = inner.read
        self._encrypt = inner.write
        self._handshake = inner.do_handshake
        self._decrypted = inner.pending

    cdef Py_ssize_t receive(self, Connection *connection, unsigned char *into, Py_ssize_t room) except? -2:
        """As recv(2), and where there was less than `room`, the socket had no more.

        An end or a failure that follows what is received is told by the next call, which the connection asks for.
        """
        cdef Py_ssize_t got, total = 0
        cdef bint is_drained = False
        cdef Py_ssize_t wanted, barren = 0
        while not self._has_ended and not self._has_failed:
            if self._has_input:
                total += self._take(connection, into + total, room - total)
                if total == room or self._has_ended or self._has_failed:
                    break
            if self._outgoing.pending:
                # An answer of TLS itself, to new keys say.
                self._push(connection)
            if is_drained:
                set_errno(EAGAIN)
                return total if total else -1
            if total and room - total < FLIGHT:
                # What is decrypted later is held twice until then.
                connection.is_readable = True
                break
            wanted = max(min(<Py_ssize_t> BLOCK, room - total), <Py_ssize_t> FLIGHT) if self.is_established else FLIGHT
            got = recv(connection.source.fd, block, <size_t> wanted, 0)
            if got <= 0:
                return total if total else got
            is_drained = got < wanted
            barren += got
            if barren > BARREN and total == 0:
                self._has_failed = True
                self._log.info("%s sends records that have nothing in them: closed", peer_of(connection))
                break
            total += self._take_block(connection, got, into + total, room - total)
        if total:
            connection.is_readable = connection.is_readable or self._has_ended or self._has_failed
            return total
        if self._has_failed:
            set_errno(ECONNRESET)
            return -1
        return 0

    cdef int feed(self, const unsigned char *data, Py_ssize_t length) except -1:
        """Take bytes that were received."""
        cdef Py_ssize_t step, at = 0
        if not self.is_established:
            # Where records begin has to be known when it is.
            while at < length:
                step = self._step(data + at, length - at)
                if self._hello is not None:
                    self._look_at_name(data + at, step)
                at += step
        if length:
            self._incoming.write(PyMemoryView_FromMemory(<char *> data, length, PyBUF_READ))
            self._has_input = True
        return 0

    cdef Py_ssize_t _take_block(
        self, Connection *connection, Py_ssize_t length, unsigned char *into, Py_ssize_t room
    ) except? -2:
        """Decrypt what is in `block`, as far as there is room.

        A record or a few at a time: what holds them for ssl keeps the size that it had at its fullest, and half a
        record costs an exception.
        """
        cdef Py_ssize_t at = 0, end, whole, total = 0
        if not self.is_established:
            # A callback of the application's may choose the certificate, and let another greenlet have the block.
            self.feed(block, length)
            return 0
        while at < length and not self._has_ended and not self._has_failed:
            end = whole = at
            while end < length and (end == at or self._held + whole - at < SLICE):
                end += self._step(block + end, length - end)
                if self._is_whole:
                    whole = end
            if whole > at:
                self.feed(block + at, whole - at)
                self._held = 0
                if total < room:
                    total += self._take(connection, into + total, room - total)
            if end > whole:
                self._incoming.write(PyMemoryView_FromMemory(<char *> block + whole, end - whole, PyBUF_READ))
                self._held += end - whole
            at = end
        return total

    cdef Py_ssize_t _step(self, const unsigned char *data, Py_ssize_t length) noexcept:
        """How many of these bytes belong to the record that is under way or begins; see also `_is_whole`."""
        cdef Py_ssize_t at = 0
        cdef Py_ssize_t step
        if self._record_left == 0:
            while self._head_length < HEAD and at < length:
                self._head[self._head_length] = data[at]
                self._head_length += 1
                at += 1
            if self._head_length < HEAD:
                self._is_whole = False
                return at
            self._head_length = 0
            self._record_left = self._head[3] << 8 | self._head[4]
            if self._record_left > LONGEST:
                # It is none: ssl says so.
                self._record_left = 0
                self._is_whole = True
                return length
        step = min(length - at, self._record_left)
        self._record_left -= step
        self._is_whole = self._record_left == 0
        return at + step

    cdef int _look_at_name(self, const unsigned char *data, Py_ssize_t length) except -1:
        """Gather a ClientHello from the records that it comes in, of which this is more; and see what name it asks for.

        ssl would write a traceback to the standard error for one that is not ASCII; RFC 6066 §3.
        """
        cdef Py_ssize_t there, size
        cdef const unsigned char *hello
        self._record += data[:length]
        if not self._is_whole:
            return 0
        if self._record[0] == HANDSHAKE:
            self._hello += self._record[HEAD:]
        self._record.clear()
        # Another one follows where ssl asks for it: RFC 8446 §4.1.2.
        while self._hello is not None:
            there = len(self._hello)
            hello = <const unsigned char *> PyByteArray_AS_STRING(self._hello)
            if there > LONGEST_HELLO or (there and hello[0] != CLIENT_HELLO):
                self._hello = None
                break
            size = 4 + (hello[1] << 16 | hello[2] << 8 | hello[3]) if there >= 4 else LONGEST_HELLO
            if there < size:
                break
            self._is_misnamed = self._is_misnamed or has_foreign_name(hello + 4, size - 4)
            del self._hello[:size]
        return 0

    cdef Py_ssize_t _take(self, Connection *connection, unsigned char *into, Py_ssize_t room) except? -2:
        """Decrypt what there is, as far as there is room."""
        cdef Py_ssize_t got, total = 0
        try:
            if not self.is_established and not self._shake(connection):
                return 0
            while total < room:
                got = self._decrypt_some(into + total, room - total)
                if got <= 0:
                    break
                total += got
                # Where there is room left, the record has been taken whole.
                if not self._incoming.pending and (total < room or not self._decrypted()):
                    self._has_input = False
                    break
        except SSLError as error:
            self._fail(connection, error)
        return total

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
            if self._is_misnamed:
                return self._refuse_name(connection)
            self._handshake()
            self.is_established = True
            self._hello = None
        except WantRead:
            self._has_input = False
        self.has_advanced = self.has_advanced or self.is_established or self._outgoing.pending > 0
        self._push(connection)
        return self.is_established

    cdef bint _refuse_name(self, Connection *connection) except -1:
        self._has_failed = True
        self._left = UNRECOGNIZED_NAME
        self._sent = 0
        self._push(connection)
        self._log.info("a TLS handshake with %s has failed: it asks for a name that is not ASCII", peer_of(connection))
        return False

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
        if not self._encrypt_some(connection, data, taken):
            set_errno(EPIPE)
            return -1
        if self._push(connection):
            return taken
        if errno != EAGAIN and errno != EWOULDBLOCK:
            return -1               # nobody is told again of what a socket has said once
        self._owes = True
        return taken - 1 if taken > 1 else -1

    cdef bint _encrypt_some(self, Connection *connection, const unsigned char *data, Py_ssize_t length) except -1:
        """Send what these bytes become, and have `_left` be what the socket does not take; False when ssl fails."""
        cdef list parts = []
        cdef Py_ssize_t encrypted = 0
        cdef Py_ssize_t most
        try:
            while encrypted < length:
                # A record at a time: what holds it for us keeps the size that it had at its fullest.
                most = min(length - encrypted, <Py_ssize_t> RECORD)
                encrypted += self._encrypt(PyMemoryView_FromMemory(<char *> data + encrypted, most, PyBUF_READ))
                parts.append(self._outgoing.read())
        except SSLError as error:
            self._fail(connection, error)
            return False
        if 1 < len(parts) <= PARTS:
            self._send_parts(connection, parts)
        else:
            # Of many a client has wanted small ones: RFC 6066 §4.
            self._left = parts[0] if len(parts) == 1 else b"".join(parts)
            self._sent = 0
        return True

    cdef int _send_parts(self, Connection *connection, list parts) except -1:
        """Send several records at once, and have `_left` be what is not taken."""
        cdef iovec vectors[PARTS]
        cdef msghdr message
        cdef Py_ssize_t sent
        cdef size_t at
        memset(&message, 0, sizeof(msghdr))
        message.msg_iov = vectors
        message.msg_iovlen = <size_t> len(parts)
        for at in range(<size_t> len(parts)):
            vectors[at].iov_base = PyBytes_AS_STRING(parts[at])
            vectors[at].iov_len = <size_t> PyBytes_GET_SIZE(parts[at])
        sent = sendmsg(connection.source.fd, &message, MSG_NOSIGNAL)
        if sent < 0:
            sent = 0            # whatever it is, it is there when the rest is sent
        elif connection.output != NULL:
            # The client takes something, though not all of a record yet.
            connection.output.given += sent
        at = 0
        while at < <size_t> len(parts) and sent >= <Py_ssize_t> vectors[at].iov_len:
            sent -= <Py_ssize_t> vectors[at].iov_len
            at += 1
        if at < <size_t> len(parts):
            self._left = b"".join(parts[at:])
            self._sent = sent
        return 0

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
