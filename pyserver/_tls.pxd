# The contract of _tls: a channel that encrypts.
from pyserver._channel cimport Channel
from pyserver._connection cimport Connection


cdef class TLSChannel(Channel):
    # One TLS connection, RFC 8446, server side. Reads and writes as a non-blocking socket does.
    cdef readonly object session        # what ssl knows of it: an ssl.SSLObject
    cdef dict _variables                # that environ gets; None before anybody asks
    cdef dict _extension                # of an ASGI scope; likewise
    cdef object _incoming               # ssl.MemoryBIO of what was received
    cdef object _outgoing               # … and of what is to be sent
    cdef object _decrypt                # bound methods of `session`, or of what it wraps
    cdef object _encrypt
    cdef object _handshake
    cdef object _decrypted              # … how many bytes it holds decrypted
    cdef object _log
    cdef bytearray _hello               # of the client, as much of it as is there; None where nobody looks at it
    cdef bytearray _record              # … and the record under way
    cdef bint _is_misnamed              # it asks for a name that is none
    cdef bytes _left                    # encrypted, and not taken by the socket: from `_sent` on
    cdef Py_ssize_t _sent
    cdef bint _owes                     # a byte of what was given has not been told to be taken, for it is in `_left`
    cdef bint is_established            # the handshake is over
    cdef bint has_advanced              # … or the peer was told how to go on with it
    cdef bint _has_input                # it holds something that was received
    cdef unsigned char _head[5]         # of the record under way, as much of it as is there
    cdef int _head_length
    cdef Py_ssize_t _record_left        # bytes of it that are still to come
    cdef Py_ssize_t _held               # … and those that are in `_incoming`
    cdef bint _is_whole                 # the last step has ended a record
    cdef bint _has_ended                # the peer has said that it sends nothing more
    cdef bint _has_failed
    cdef bint _has_said_end

    cdef bint speaks_http2(self) except -1
    cdef int feed(self, const unsigned char *data, Py_ssize_t length) except -1
    cdef Py_ssize_t _take_block(self, Connection *connection, Py_ssize_t length, unsigned char *into, Py_ssize_t room) except? -2
    cdef Py_ssize_t _step(self, const unsigned char *data, Py_ssize_t length) noexcept
    cdef Py_ssize_t _take(self, Connection *connection, unsigned char *into, Py_ssize_t room) except? -2
    cdef Py_ssize_t _decrypt_some(self, unsigned char *into, Py_ssize_t room) except? -2
    cdef int _look_at_name(self, const unsigned char *data, Py_ssize_t length) except -1
    cdef bint _refuse_name(self, Connection *connection) except -1
    cdef bint _shake(self, Connection *connection) except -1
    cdef int _fail(self, Connection *connection, error) except -1
    cdef bint _encrypt_some(self, Connection *connection, const unsigned char *data, Py_ssize_t length) except -1
    cdef int _send_parts(self, Connection *connection, list parts) except -1
    cdef bint _push(self, Connection *connection) except -1


cdef enum:
    HANDSHAKE = 22              # the first byte of a connection that begins with one; RFC 8446 §5.1
    CLIENT_HELLO = 1            # … and the first behind the head of that record; §4


cdef int secure(Connection *connection, context, log) except -1
