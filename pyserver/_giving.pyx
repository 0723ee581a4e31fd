"""What a connection is given: sent at once, or queued with it, in memory or in a file, or waited for by the application.

So a slow client occupies memory or a file, and the worker only where these are full.
"""

from cpython.exc cimport PyErr_CheckSignals
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport int64_t
from libc.stdlib cimport free
from libc.string cimport memset

from pyserver._channel cimport Carried, give, give_parts, give_range, give_segment, new_blocks
from pyserver._connection cimport (
    AWAIT_ROOM, AWAIT_WRITE, Connection, Output, Segment, add_borrowed, add_copy, add_file, add_spooled, delist,
    drop_first, free_output, new_output, peer_of,
)
from pyserver._exchange cimport Transport
from pyserver._http cimport Out, append
from pyserver._poller cimport WRITABLE
from pyserver._response cimport set_stamp
from pyserver._spool cimport Blocks, open_spool, write_spool
from pyserver._system cimport (
    EWOULDBLOCK, IPPROTO_TCP, MSG_MORE, POLLOUT, TCP_NODELAY, iovec, poll, pollfd, pyserver_now_ns,
    pyserver_unix_time_ns, pyserver_unsent, setsockopt,
)

cdef enum:
    DRAINED = 1 << 23           # bytes sent in a row to one connection before others have their turn
    OUT_KEPT = 1 << 20          # what the buffer for responses may have grown to and be kept
    CARRIED_SHARE = 4           # a connection that is one of a hundred has this part of what others have in memory

cdef int64_t SECOND = 1000000000


cdef class Giver(Transport):
    """The part of a lane that gives responses to sockets."""

    cdef int tick(self, int64_t now_ns) except -1:
        """Note what time it is; once a second, what the Date field says."""
        cdef int64_t unix_ns
        self.now_ns = now_ns
        if now_ns >= self._stamp_until_ns:
            unix_ns = pyserver_unix_time_ns()
            set_stamp(&self.stamp, unix_ns // SECOND, self.reactor.server, self.reactor.with_date)
            self._stamp_until_ns = now_ns + SECOND - unix_ns % SECOND
        return 0

    cdef int join_blocks(self, Connection *connection, bint wanted) except -1:
        cdef int at_once = not wanted
        if connection.family and not connection.is_carried:
            setsockopt(connection.source.fd, IPPROTO_TCP, TCP_NODELAY, &at_once, sizeof(int))
        return 0

    # What an exchange calls while the application runs, and other threads have their turns. Only the thread whose
    # request runs puts anything into `out`; the socket and what is queued for it are the leader's too.

    cdef int send(self, Connection *connection) except -1:
        """Give the responses gathered to the socket, and queue what it does not take; 1 when the client has gone."""
        self.reactor.lock()
        try:
            self._flush(connection)
            if connection.is_carried and not self.reactor.batches:
                (<Carried> connection.channel).flush()
            return connection.is_gone
        finally:
            self.reactor.unlock()

    cdef int send_block(
        self, Connection *connection, object block, const unsigned char *data, Py_ssize_t length, bint lent, bint in_chunk
    ) except -1:
        """Add `length` bytes of `block` behind what is gathered: small ones by copying, large ones from where they are."""
        if length <= COPY_LIMIT:
            append(&self.out, data, length)
            if in_chunk:
                append(&self.out, b"\r\n", 2)
            return 0
        self.reactor.lock()
        try:
            return self._send_large(connection, block, data, length, lent, in_chunk)
        finally:
            self.reactor.unlock()

    cdef int send_file(self, Connection *connection, int file, int64_t offset, int64_t length) except -1:
        """Send a range of a file after what is gathered; what the socket does not take keeps a descriptor of its own."""
        self.reactor.lock()
        try:
            return self._send_range(connection, file, offset, length)
        finally:
            self.reactor.unlock()

    cdef bint seize(self) noexcept nogil:
        """Whether no other thread sends anything from now on."""
        return self.reactor.seize()

    cdef int _flush(self, Connection *connection) except -1:
        # A last response waits for the FIN that follows it at once, and both leave in one packet.
        return self._give(connection, MSG_MORE if connection.closes and not connection.resets else 0)

    cdef int _give(self, Connection *connection, int more) except -1:
        cdef Out *out = &self.out
        cdef Py_ssize_t used = out.used
        cdef Py_ssize_t sent = 0
        if used == 0:
            return 0
        # Before anything can fail: what has been given is never given again.
        out.used = 0
        self.has_given = True
        if connection.is_gone or connection.source.fd < 0:
            return 0
        if connection.output == NULL:
            sent = give(connection, out.data, used, more)
            if sent < 0:
                if errno not in (EAGAIN, EWOULDBLOCK, EINTR):
                    return self._lose(connection)
                sent = 0
            if sent < used:
                self._queue(connection, out.data + sent, used - sent)
            return self._trim_out()
        self._queue(connection, out.data, used)
        return self._drain(connection)

    cdef int _trim_out(self) except -1:
        # One large head must not stay in every worker's memory.
        if self.out.capacity > OUT_KEPT:
            free(self.out.data)
            memset(&self.out, 0, sizeof(Out))
        return 0

    cdef int _send_large(
        self, Connection *connection, object block, const unsigned char *data, Py_ssize_t length, bint lent, bint in_chunk
    ) except -1:
        cdef Out *out = &self.out
        cdef iovec vector[3]
        cdef Py_ssize_t sent = 0
        cdef Py_ssize_t head = out.used
        cdef bint is_behind = connection.output != NULL
        self.has_given = True
        if connection.is_gone:
            out.used = 0
            return 0
        if connection.output == NULL:
            vector[0] = iovec(out.data, <size_t> head)
            vector[1] = iovec(<void *> data, <size_t> length)
            vector[2] = iovec(<void *> <const char *> b"\r\n", 2)
            sent = give_parts(connection, vector, 3 if in_chunk else 2)
            if sent < 0:
                if errno not in (EAGAIN, EWOULDBLOCK, EINTR):
                    return self._lose(connection)
                sent = 0
            if sent == head + length + (2 if in_chunk else 0):
                out.used = 0
                return 0
        if sent < head:
            self._queue(connection, out.data + sent, head - sent)
        out.used = 0
        sent = max(sent - head, 0)
        if sent < length:
            if lent:
                self._queue_lent(connection, block, data + sent, length - sent)
            else:
                self._queue(connection, data + sent, length - sent)
        if in_chunk:
            sent = max(sent - length, 0)
            self._queue(connection, <const unsigned char *> <const char *> b"\r\n" + sent, 2 - sent)
        if is_behind and connection.output != NULL:
            # The client may have caught up since; without this it would hear nothing before the last block.
            self._drain(connection)
        return 0

    cdef int _queue_lent(self, Connection *connection, object block, const unsigned char *data, Py_ssize_t length) except -1:
        if connection.is_gone:
            return 0
        if connection.output == NULL:
            connection.output = new_output()
        return add_borrowed(connection.output, block, data, length)

    cdef int _queue(self, Connection *connection, const unsigned char *data, Py_ssize_t length) except -1:
        """Keep bytes the socket has not taken: in memory, past the mark in a file, past its limit by waiting."""
        cdef Output *output
        cdef int64_t limit, kept, offset
        if connection.is_gone:
            return 0
        if connection.output == NULL:
            connection.output = new_output()
        output = connection.output
        limit = self.reactor.buffers.response // (CARRIED_SHARE if connection.is_carried else 1)
        if output.in_memory + length <= limit and output.spooled == 0:
            return add_copy(output, data, length)
        # What has been sent still takes its place in the file, until all has been and it begins anew; but not in blocks.
        kept = output.spooled if connection.is_carried else output.spool_end
        if self.reactor.buffers.spool == 0 or (output.spooled and kept + length > self.reactor.buffers.spool):
            return self._queue_behind(connection, data, length)
        try:
            offset = self._put_in_file(connection, data, length)
        except OSError as error:
            # A response has thousands of blocks.
            if self.now_ns - self.reactor.said_unspooled_ns >= SECOND:
                self.reactor.said_unspooled_ns = self.now_ns
                self.log.error(
                    "cannot keep a response to %s in a file, so the application waits: %s", peer_of(connection), error
                )
            return self._queue_behind(connection, data, length)
        return add_spooled(output, offset, length)

    cdef int64_t _put_in_file(self, Connection *connection, const unsigned char *data, Py_ssize_t length) except -1:
        """Keep bytes of a response in its file, or in its blocks of one; where in that they are."""
        cdef Output *output = connection.output
        cdef Blocks blocks
        if connection.is_carried:
            if output.blocks == NULL:
                blocks = new_blocks(connection, self.reactor.buffers.directory)
                Py_INCREF(blocks)
                output.blocks = <PyObject *> blocks
            blocks = <Blocks> output.blocks
            blocks.add(data, length)
            return blocks.length - length
        if output.spool < 0:
            output.spool = open_spool(self.reactor.buffers.directory)
        if output.spooled == 0:
            output.spool_end = 0
        write_spool(output.spool, data, length, output.spool_end)
        output.spool_end += length
        return output.spool_end - length

    cdef int _queue_behind(self, Connection *connection, const unsigned char *data, Py_ssize_t length) except -1:
        """Keep bytes in memory, after the client has taken all before them."""
        self._wait_for_room(connection)
        if connection.is_gone:
            return 0
        if connection.output == NULL:
            connection.output = new_output()
        return add_copy(connection.output, data, length)

    cdef int _wait_for_room(self, Connection *connection) except -1:
        """Hold the application until the client has taken all that is queued for it."""
        cdef int64_t before, until_ns = 0
        if not self._is_in_application:
            return 0                # what is gathered elsewhere is little, and nobody's to wait for
        if self.reactor.capacity:
            return self._yield_for_room(connection)
        self._excuse()
        before = -1
        while connection.output != NULL:
            if connection.output.given != before:
                before = connection.output.given
                until_ns = pyserver_now_ns() + self.reactor.lists[AWAIT_WRITE].duration_ns
                self._excuse()
            elif pyserver_now_ns() >= until_ns:
                if not (connection.is_carried and (<Carried> connection.channel).is_excused()):
                    self._lose(connection)
                    break
                before = -1
                continue
            self._await_room(connection, until_ns)
            PyErr_CheckSignals()
            self._drain(connection)
        return self._note_alive()

    cdef int _await_room(self, Connection *connection, int64_t until_ns) except -1:
        """Wait in place for something that may make room."""
        cdef int wait_ms = <int> min(
            max((until_ns - pyserver_now_ns()) // 1000000 + 1, <int64_t> 0), <int64_t> 0x7FFFFFFF
        )
        cdef pollfd waited
        if connection.is_carried:
            return (<Carried> connection.channel).wait_for_room(connection, wait_ms)
        waited = pollfd(connection.source.fd, POLLOUT, 0)
        self.reactor.unlock()
        with nogil:
            poll(&waited, 1, wait_ms)
        self.reactor.lock()
        return 0

    cdef int _yield_for_room(self, Connection *connection) except -1:
        """The same in a greenlet: others have their turns meanwhile, and whoever reads drains what is queued."""
        if connection.output == NULL:
            return 0
        # The event that told of room may have come before there was anything to send.
        self._drain(connection)
        if connection.output == NULL:
            return 0
        connection.waiting = <PyObject *> self
        connection.unsent = pyserver_unsent(connection.source.fd)
        self.reactor.wait_for(connection, AWAIT_ROOM, pyserver_now_ns())
        self.reactor.watch_connection(connection, WRITABLE)
        if connection.is_carried:
            # What there was room for, the client is to have meanwhile.
            (<Carried> connection.channel).flush()
        self._excuse()
        if connection.is_carried:
            self.reactor.running -= 1
            self.reactor.waiting += 1
            self.reactor.note_served()
        self.reactor.unlock()
        try:
            self.reactor.on_full(self)
        except BaseException:
            # Half of what the application gave is on its way: the rest of the response would be taken for the other.
            self._lose(connection)
            raise
        finally:
            self.reactor.lock()
            self.reactor.running += connection.is_carried
            self.reactor.waiting -= connection.is_carried
            connection.waiting = NULL
            delist(self.reactor.lists, connection)
            if connection.is_watched:
                self.reactor.watch_connection(connection, 0)
            self.tick(pyserver_now_ns())
            self._note_alive()
        return 0

    cdef int _make_room(self, Connection *connection) except -1:
        """The socket of a connection whose request runs takes more."""
        cdef int64_t before = connection.output.given
        self._drain(connection)
        if connection.waiting == NULL:
            return 0
        if connection.output == NULL:
            return self._tell_room(connection)
        if connection.output.given != before:
            (<Giver> connection.waiting)._excuse()
            self.reactor.wait_for(connection, AWAIT_ROOM, self.now_ns)
        return 0

    cdef int _tell_room(self, Connection *connection) except -1:
        """Wake the greenlet that waits, once."""
        cdef Giver giver = <Giver> connection.waiting
        connection.waiting = NULL
        delist(self.reactor.lists, connection)
        self.reactor.on_room(giver)
        return 0

    cdef int _excuse(self) except -1:
        """It is the client that takes its time, which is judged by write_timeout."""
        if self.renews:
            self.row.alive_ns = pyserver_now_ns() + self.reactor.lists[AWAIT_WRITE].duration_ns
        return 0

    cdef int _note_alive(self) except -1:
        """The application's time begins anew."""
        if self.renews:
            self.row.alive_ns = pyserver_now_ns()
        return 0

    cdef int _drain(self, Connection *connection) except -1:
        """Send what is queued, until the socket takes no more."""
        cdef Output *output = connection.output
        cdef Segment *segment
        cdef Py_ssize_t sent
        cdef int64_t given = 0
        if output == NULL:
            return 0                # given up while room was waited for
        while output.first != NULL:
            if given >= DRAINED:
                return self.reactor.go_on_later(connection)
            segment = output.first
            if segment.length == 0:
                # A steward has sent it.
                drop_first(output)
                continue
            sent = give_segment(connection, output, segment)
            if sent == 0:
                self.log.error("a file being sent to %s has become shorter: the connection is closed", peer_of(connection))
                return self._lose(connection)
            if sent < 0:
                if errno in (EAGAIN, EWOULDBLOCK):
                    return 0
                if errno == EINTR:
                    continue
                return self._lose(connection)
            given += sent
            if segment.length == 0:
                drop_first(output)
        free_output(output)
        connection.output = NULL
        return 0

    cdef int _send_range(self, Connection *connection, int file, int64_t offset, int64_t length) except -1:
        cdef Py_ssize_t sent
        cdef int64_t given = 0
        self._give(connection, MSG_MORE)
        while length and given < DRAINED and connection.output == NULL and not connection.is_gone:
            sent = give_range(connection, file, offset, length)
            if sent > 0:
                offset += sent
                length -= sent
                given += sent
            elif sent == 0:
                self.log.error("a file being sent to %s has become shorter: the connection is closed", peer_of(connection))
                return self._lose(connection)
            elif errno in (EAGAIN, EWOULDBLOCK):
                break
            elif errno != EINTR:
                return self._lose(connection)
        if length == 0 or connection.is_gone:
            return 0
        if connection.output == NULL:
            connection.output = new_output()
        try:
            add_file(connection.output, file, offset, length)
        except OSError as error:
            self.log.error("cannot go on sending a file to %s: %s", peer_of(connection), error)
            return self._lose(connection)
        return self.reactor.go_on_later(connection) if given >= DRAINED else 0

    cdef int _lose(self, Connection *connection) except -1:
        """The peer takes no more: forget what was meant for it."""
        connection.is_gone = connection.closes = True
        self.out.used = 0
        if connection.output != NULL:
            free_output(connection.output)
            connection.output = NULL
        return 0
