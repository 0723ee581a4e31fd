"""What goes between a connection and its socket: as it is, or through a channel that makes something else of it.

A channel has the manners of a non-blocking socket: it takes what it can, says how much that was, and leaves the reason
in errno. TLS is one; another is a stream of HTTP/2, whose connection has no socket of its own and is carried by one that
has. So whoever serves connections does not know which is which.
"""
from libc.stdint cimport int64_t

from pyserver._connection cimport (
    BORROWED, COPIED, SPOOLED, Connection, Output, Reader, Segment, note_sent, send_segment,
)
from pyserver._http cimport NEED_MORE, REFUSED, Head, Outcome
from pyserver._spool cimport Blocks, Spool
from pyserver._system cimport MSG_NOSIGNAL, iovec, msghdr, pread, pyserver_sendfile, recv, send, sendmsg

cdef enum:
    BLOCK = 65536               # bytes of a file that are read at once

# Of a file, on their way; used with the engine's lock, by one connection at a time.
cdef unsigned char block[BLOCK]


cdef class Channel:
    """What one connection is received and sent through."""

    cdef Py_ssize_t receive(self, Connection *connection, unsigned char *into, Py_ssize_t room) except? -2:
        """As recv(2), and where there was less than `room`, there is no more for now."""
        raise TypeError("a Channel is one of its subclasses")

    cdef Py_ssize_t give(self, Connection *connection, const unsigned char *data, Py_ssize_t length) except? -2:
        """As send(2): how many bytes were taken, or -1 with errno."""
        raise TypeError("a Channel is one of its subclasses")

    cdef int end(self, Connection *connection) except -1:
        """Nothing more is given: what came before is complete, unless the connection resets."""
        return 0

    cdef dict variables(self):
        """What environ gets of the client's certificate; not to be changed."""
        return {}

    cdef dict extension(self):
        """The extension `tls` of an ASGI scope; not to be changed."""
        return {}


cdef class Carried(Channel):
    """What a connection is received and sent through that another one carries: a stream of its session."""

    cdef Outcome note_head(self, Head *head, Outcome outcome) except? NEED_MORE:
        """Add to a request head, of which the parser says `outcome`, what its text does not tell; what becomes of it."""
        raise TypeError("a Carried is one of its subclasses")

    cdef bint has_ended(self) noexcept:
        """Whether the client sends nothing more, and nothing that it has sent is still to be received."""
        return False

    cdef bint is_excused(self) noexcept:
        """Whether it is not for its client that it has waited: others of its session had their turns."""
        return False

    cdef int flush(self) except -1:
        """Have what was given leave now."""
        return self.session.flush()

    cdef bint wait_for_room(self, Connection *connection, int wait_ms) except -1:
        """Wait until more can be given, with the engine's lock let go; whether that was so within the time."""
        raise TypeError("a Carried is one of its subclasses")


cdef class Session:
    """What a connection speaks that carries others. All is called with the engine's lock held."""

    cdef int tend(self, int events, int64_t now_ns) except -1:
        """One turn of the connection. It has no session any more once that has said its last."""
        raise TypeError("a Session is one of its subclasses")

    cdef int flush(self) except -1:
        """Send what is gathered, and decide what the connection waits for."""
        raise TypeError("a Session is one of its subclasses")

    cdef int expire(self, int reason, int64_t now_ns) except -1:
        """What was waited for has not come in time."""
        raise TypeError("a Session is one of its subclasses")

    cdef int warn(self, int64_t now_ns) except -1:
        """The worker leaves: have the client ask nothing more here."""
        raise TypeError("a Session is one of its subclasses")

    cdef int note_closed(self) except -1:
        """The connection is closed, and so all that it carries."""
        raise TypeError("a Session is one of its subclasses")


cdef Blocks new_blocks(Connection *connection, bytes directory):
    """For bytes of a connection that is carried: a hundred of them must not have a hundred descriptors."""
    cdef Session session = (<Carried> connection.channel).session
    if session.spool is None:
        session.spool = Spool(directory)
    return Blocks(session.spool)


cdef class Version:
    """A version of HTTP in which one connection carries many requests at the same time."""

    cdef Outcome look(self, const unsigned char *data, Py_ssize_t length) noexcept:
        """Whether a connection that begins so speaks it; NEED_MORE while that is not to be told."""
        return REFUSED

    cdef int begin(
        self, Connection *connection, object reactor, const unsigned char *data, Py_ssize_t length, int64_t now_ns
    ) except -1:
        """Give the connection a session, with a client that has sent `data`."""
        raise TypeError("a Version is one of its subclasses")

    cdef bint upgrade(self, Connection *connection, object reactor, Reader *reader, int64_t now_ns) except -1:
        """Go over to it where the request in `reader` asks for that, which then is the first of the session."""
        return False


cdef Py_ssize_t receive(Connection *connection, unsigned char *into, Py_ssize_t room) except? -2:
    """As recv(2)."""
    if connection.channel == NULL:
        return recv(connection.source.fd, into, <size_t> room, 0)
    return (<Channel> connection.channel).receive(connection, into, room)


cdef Py_ssize_t give(Connection *connection, const void *data, Py_ssize_t length, int flags) except? -2:
    """As send(2): how many bytes were taken, or -1 with errno."""
    if connection.channel == NULL:
        return send(connection.source.fd, data, <size_t> length, MSG_NOSIGNAL | flags)
    return (<Channel> connection.channel).give(connection, <const unsigned char *> data, length)


cdef Py_ssize_t give_parts(Connection *connection, iovec *parts, size_t count) except? -2:
    """As sendmsg(2)."""
    cdef msghdr message
    cdef size_t at
    cdef Py_ssize_t taken, given, total = 0
    if connection.channel == NULL:
        message.msg_name = NULL
        message.msg_namelen = 0
        message.msg_control = NULL
        message.msg_controllen = 0
        message.msg_flags = 0
        message.msg_iov = parts
        message.msg_iovlen = count
        return sendmsg(connection.source.fd, &message, MSG_NOSIGNAL)
    for at in range(count):
        taken = 0
        while taken < <Py_ssize_t> parts[at].iov_len:
            given = (<Channel> connection.channel).give(
                connection, <const unsigned char *> parts[at].iov_base + taken, <Py_ssize_t> parts[at].iov_len - taken
            )
            if given < 0:
                return total if total else -1
            taken += given
            total += given
    return total


cdef Py_ssize_t give_range(Connection *connection, int file, int64_t offset, int64_t length) except? -2:
    """As sendfile(2): 0 where the file has become shorter."""
    cdef Py_ssize_t got
    if connection.channel == NULL:
        return pyserver_sendfile(connection.source.fd, file, offset, <size_t> length)
    got = pread(file, block, <size_t> min(length, <int64_t> BLOCK), offset)
    return got if got <= 0 else (<Channel> connection.channel).give(connection, block, got)


cdef Py_ssize_t give_segment(Connection *connection, Output *output, Segment *segment) except? -2:
    """Send what is taken of a segment of `output`: bytes, 0 where its file has become shorter, -1 with errno."""
    cdef Py_ssize_t taken
    if connection.channel == NULL:
        return send_segment(connection.source.fd, output, segment)
    if segment.kind == COPIED or segment.kind == BORROWED:
        taken = (<Channel> connection.channel).give(connection, segment.data, segment.length)
    elif segment.kind == SPOOLED and output.blocks != NULL:
        return give_blocks(connection, output, segment)
    else:
        taken = give_range(connection, segment.file, segment.offset, segment.length)
    if taken > 0:
        note_sent(output, segment, taken)
    return taken


cdef Py_ssize_t give_blocks(Connection *connection, Output *output, Segment *segment) except? -2:
    """The same of a segment whose bytes are in blocks; those that have left are given back."""
    cdef Blocks blocks = <Blocks> output.blocks
    cdef Py_ssize_t taken = min(<Py_ssize_t> segment.length, <Py_ssize_t> BLOCK)
    cdef int64_t place = blocks.find(segment.offset, &taken)
    taken = give_range(connection, blocks.spool.file, place, taken)
    if taken > 0:
        note_sent(output, segment, taken)
        blocks.forget_before(segment.offset)
    return taken
