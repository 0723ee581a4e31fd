"""The connections of one worker: accepts, receives, sends, expires. System calls, but no HTTP syntax.

One round of run(): wait, serve what is ready, expire what is late. A request runs in place when all of it is there;
what the socket does not take at once is queued with the connection, so that a slow client occupies memory and never
the worker.
"""
from cpython.bytes cimport PyBytes_AS_STRING
from cpython.exc cimport PyErr_CheckSignals
from cpython.object cimport PyObject
from libc.errno cimport EAGAIN, ECONNABORTED, EINTR, EMFILE, ENFILE, ENOMEM, ENOTSOCK, errno
from libc.stdint cimport INT64_MAX, int64_t, uint8_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memmove, memset, strerror
from posix.unistd cimport close

from pyserver._access cimport AccessLog, Facts
from pyserver._connection cimport (
    AWAIT_CLOSE, AWAIT_CONTENT, AWAIT_FIRST_BYTE, AWAIT_HEAD, AWAIT_NEXT_REQUEST, AWAIT_WRITE, BORROWED, COPIED,
    FROM_FILE, LISTENER_SOURCE, RUNNING, SPOOLED, WATCH_SOURCE, Output, Segment, add_borrowed, add_copy, add_range,
    delist, detach, drop_after_head, drop_first, enlist, free_connection, free_content, free_held, free_output,
    free_reader, keep_in_memory, make_room, new_connection, new_content, new_output, next_content, note_peer,
    peer_of, take_memory,
)
from pyserver._doors cimport Taken, add_door, closer, guard_doors, next_taken, take_doors
from pyserver._http cimport (
    COMPLETE, EXPECTS_CONTINUE, HAS_CHUNKED, NEED_MORE, REFUSED, Fault, append, free_head, head_persists,
    is_begun, parse_head, reset_head,
)
from pyserver._exchange cimport OUT_LIMIT, forks, is_of_head, note_request, state_refusal
from pyserver._poller cimport BROKEN, EXCLUSIVE, READABLE, READY_LIMIT, WRITABLE, new_poller
from pyserver._response cimport (
    finish_response_head, reset_response, set_stamp, start_response_head,
)
from pyserver._scoreboard cimport Cell, note_latency
from pyserver._spool cimport open_spool, write_spool
from pyserver._system cimport (
    ENOBUFS, EPROTO, EWOULDBLOCK, IPPROTO_TCP, MSG_MORE, MSG_NOSIGNAL, POLLIN, POLLOUT, SHUT_RDWR, SHUT_WR, SOL_SOCKET,
    SO_LINGER, TCP_NODELAY, iovec, linger, msghdr, poll, pollfd, pyserver_accept,
    pyserver_descriptor_limit, pyserver_dup, pyserver_now_ns, pyserver_sendfile, pyserver_unix_time_ns,
    pyserver_unread, pyserver_unsent, recv, send, sendmsg, setsockopt, shutdown, sockaddr_storage, socklen_t,
)

from pyserver.refusals import REASONS as _REASONS, REFUSALS as _REFUSALS

cdef extern from "Python.h":
    Py_ssize_t Py_REFCNT(PyObject *object)

cdef enum:
    SCRATCH = 65536             # received at once
    TURNS = 8                   # receives in a row from one connection before others have theirs
    ACCEPTS = 64                # connections accepted in a row
    # Up to here a copy costs less than a second entry in the vector of a write.
    COPY_LIMIT = 16384
    DRAINED = 1 << 23           # bytes sent in a row to one connection before others have their turn
    SPARE_DESCRIPTORS = 32      # left to the application when connections take all others
    OUT_KEPT = 1 << 20          # what the buffer for them may have grown to and be kept

cdef int64_t SECOND = 1000000000
cdef int64_t GATHER_NS = 5000000            # how long a response waits for the next of the same pipeline to join it
cdef int64_t LINGER_NS = 2 * SECOND         # silence after which a closed connection is given up
cdef int64_t LINGER_AT_MOST_NS = 30 * SECOND
cdef int64_t ACCEPT_PAUSE_NS = SECOND
cdef int64_t TURN_NS = 5000000              # how long a turn may take before others, and watches, have theirs


cdef class _WatchSource:
    cdef Source source


cdef class Engine(Transport):
    """Connections of one worker. Whoever waits on `fileno()` calls `run_ready()`; or run() does both.

    Args:
        listeners: bound, listening, non-blocking sockets.
        gateway: gets every complete request.
        limits: what a request may have.
        durations: what a connection may wait for.
        buffers: what is kept in memory.
        log: has debug(), info(), warning() and error(), as `log.ErrorLog`.
        access: gets a record of every response, or None.
        row: address of the worker's scoreboard slot; 0 for none.
        poller: "auto", "epoll" or "poll".
        server: value of the Server field; empty for no such field.
        date: whether responses get a Date field.
    """

    def __init__(
        self, list listeners, Gateway gateway not None, Limits limits not None, Durations durations not None,
        Buffers buffers not None, *, log, AccessLog access=None, size_t row=0, str poller="auto", bytes server=b"pyserver",
        bint date=True,
    ):
        cdef int at
        self.listeners = listeners
        self._gateway = gateway
        self._bounds = limits.bounds
        self._buffers = buffers
        self.log = log
        self.access = access
        self._poller = new_poller(poller)
        self.slot = <Slot *> row if row else &self._own_slot
        self.row = &self.slot.rows[0]
        self._server = server
        self._with_date = date
        self._watches = {}
        self._unwatched = []
        self._accepts = True
        self._lists[AWAIT_FIRST_BYTE].duration_ns = durations.head_ns
        self._lists[AWAIT_HEAD].duration_ns = durations.head_ns
        self._lists[AWAIT_CONTENT].duration_ns = durations.content_ns
        self._lists[AWAIT_NEXT_REQUEST].duration_ns = durations.idle_ns
        self._lists[AWAIT_WRITE].duration_ns = durations.write_ns
        self._lists[AWAIT_CLOSE].duration_ns = LINGER_NS
        make_room(&self._scratch, SCRATCH)
        self._listeners = <Listener *> malloc(max(len(listeners), 1) * sizeof(Listener))
        if self._listeners == NULL:
            raise MemoryError()
        for at in range(len(listeners)):
            self._listeners[at].source.kind = LISTENER_SOURCE
            self._listeners[at].source.fd = listeners[at].fileno()
            self._listeners[at].index = at
            self._listener_count += 1
            self._poller.add(&self._listeners[at].source, READABLE | EXCLUSIVE)
        self._forks = forks()
        self._last_descriptor = pyserver_descriptor_limit()
        self._last_descriptor -= min(SPARE_DESCRIPTORS, self._last_descriptor // 8)
        self._tick(pyserver_now_ns())

    def __dealloc__(self):
        cdef int reason
        cdef DeadlineList *there
        cdef Connection *connection
        for reason in range(RUNNING):
            there = &self._lists[reason]
            while there.first != NULL:
                connection = there.first
                delist(self._lists, connection)
                close(connection.source.fd)
                free_connection(connection)
        self._free_dead()
        free_head(&self._scratch.head)
        free(self._scratch.data)
        free(self.out.data)
        free(self._listeners)
        free(self._again)

    # ---- the loop ----

    def fileno(self) -> int:
        """A descriptor that is readable while there is something for run_ready() to do; OSError if the poller has none."""
        return self._poller.fileno()

    def run(self) -> None:
        """Serve until stop(), or until retired and no connection is left."""
        while not self._is_stopped and not (self.is_retiring and self.connections == 0):
            self.run_ready(self.next_wait_ms())

    def stop(self) -> None:
        """Leave run() after the request under way."""
        self._is_stopped = True

    def next_wait_ms(self) -> int:
        """How long the wait may last before a deadline passes, in milliseconds; -1 if there is none."""
        cdef int64_t earliest = self._accept_again_ns or INT64_MAX
        cdef int reason
        if self._again_count:
            return 0
        for reason in range(RUNNING):
            if self._lists[reason].first != NULL and self._lists[reason].first.deadline_ns < earliest:
                earliest = self._lists[reason].first.deadline_ns
        if earliest == INT64_MAX:
            return -1
        # One more than a millisecond's fraction needs, so that the wait does not end just before the deadline.
        return max(0, min((earliest - pyserver_now_ns()) // 1000000 + 1, 60000))

    def run_ready(self, int wait_ms=0) -> None:
        """Wait at most `wait_ms` (-1: for ever), then serve what is ready and expire what is late."""
        cdef Poller poller = self._poller
        cdef int count, at, again
        cdef int64_t seen_ns = self._now_ns
        with nogil:
            count = poller.wait(wait_ms)
        if count < 0:
            raise OSError(-count, f"the poller failed: {strerror(-count).decode()}")
        self._run_signal_handlers()
        self._tick(pyserver_now_ns())
        # No later: behind a wait that was left early the process may have been stopped, and the clock not.
        self._note_seen(count, seen_ns if count else min(seen_ns + max(wait_ms, 0) * <int64_t> 1000000, self._now_ns))
        self._looked_ns = self._now_ns
        again = self._again_count
        for at in range(count):
            self._dispatch(poller.ready[at].source, poller.ready[at].events)
            if self._now_ns - self._looked_ns > TURN_NS:
                self._look_around()
        if again:
            self._run_again(again)
        self._expire()
        self._free_dead()
        self._unwatched.clear()
        if self.access is not None:
            self.access.flush_lines()
        if self.max_requests and self.requests >= self.max_requests and self.on_max_requests is not None:
            self.max_requests = 0
            self.on_max_requests()

    cdef int _run_signal_handlers(self) except -1:
        try:
            PyErr_CheckSignals()
        except Exception:
            # Of a handler that the application installed; between requests there is nobody else to raise it in.
            self.log.exception("A signal handler raised an exception")
        return 0

    cdef int _look_around(self) except -1:
        """Between two turns of a long round: what a watch has to tell must not wait for the rest of them."""
        cdef pollfd looked
        self._run_signal_handlers()
        for fd, (watched, callback) in list(self._watches.items()):
            looked = pollfd(fd, POLLIN, 0)
            if fd in self._watches and poll(&looked, 1, 0) > 0:
                callback()
        self._looked_ns = self._now_ns
        return 0

    cdef int _note_seen(self, int count, int64_t seen_ns) noexcept:
        """Note that what peers had sent by then was reported, in a wait that reported `count` sources.

        While the application runs, peers go on: nobody is late who is in the next report, or in those behind full ones.
        """
        if count < READY_LIMIT:
            self._full_waits = 0
            self._seen_ns = seen_ns
            return 0
        if self._full_waits == 0:
            self._full_since_ns = seen_ns
        self._full_waits += 1
        if self._full_waits > (self.connections + self._listener_count) // READY_LIMIT:
            self._full_waits = 0
            self._seen_ns = self._full_since_ns
        return 0

    cdef int _tick(self, int64_t now_ns) except -1:
        """Note what time it is; once a second, what the Date field says."""
        cdef int64_t unix_ns
        self._now_ns = now_ns
        if now_ns >= self._stamp_until_ns:
            unix_ns = pyserver_unix_time_ns()
            set_stamp(&self.stamp, unix_ns // SECOND, self._server, self._with_date)
            self._stamp_until_ns = now_ns + SECOND - unix_ns % SECOND
        return 0

    cdef int _dispatch(self, Source *source, int events) except -1:
        cdef Connection *connection
        if source.fd < 0:
            return 0                # closed in this round, before its event's turn
        if source.kind == LISTENER_SOURCE:
            return self._accept(<Listener *> source, True)
        if source.kind == WATCH_SOURCE:
            self._watches[source.fd][1]()
            return 0
        return self._tend(<Connection *> source, events)

    cdef int _tend(self, Connection *connection, int events) except -1:
        """One turn of a connection; what goes wrong in it ends this connection and no other."""
        try:
            if events & (READABLE | BROKEN):
                connection.is_readable = True
            if connection.output != NULL:
                if events & (WRITABLE | BROKEN):
                    self._go_on_writing(connection)
            elif events & (READABLE | BROKEN):
                self._go_on_reading(connection, (events & BROKEN) != 0)
        except Exception:
            self._give_up(connection)
        return 0

    cdef int _give_up(self, Connection *connection) except -1:
        """Something of ours failed, memory perhaps: say so, and forget the connection."""
        self.log.exception("The connection from %s is closed", peer_of(connection))
        self.out.used = 0
        self.row.busy_since_ns = 0
        if self.exchange is not None:
            self.exchange.connection = NULL
        if connection.source.fd >= 0:
            self._close(connection)
        return 0

    cdef int _go_on_reading(self, Connection *connection, bint is_broken) except -1:
        if connection.waits_for == AWAIT_CLOSE:
            return self._discard(connection)
        if connection.is_held:
            self._advance(connection, connection.reader)
        self._receive(connection, is_broken)
        return self._settle(connection)

    cdef int _go_on_writing(self, Connection *connection) except -1:
        """The socket takes more; when it has taken all, what was received meanwhile has its turn."""
        cdef int64_t before = connection.output.given
        self._drain(connection)
        if connection.output != NULL:
            if connection.output.given == before and connection.waits_for == AWAIT_WRITE:
                return 0            # nothing taken: the deadline stays
            return self._settle(connection)
        if not connection.closes:
            if connection.reader != NULL:
                self._advance(connection, connection.reader)
            if connection.is_readable:
                self._receive(connection, True)
        return self._settle(connection)

    cdef int _go_on_later(self, Connection *connection) except -1:
        """Give others their turn: an edge-triggered poller would not report this connection again."""
        cdef int capacity
        cdef Connection **again
        if connection.is_again:
            return 0
        if self._again_count == self._again_capacity:
            capacity = max(16, self._again_capacity * 2)
            again = <Connection **> realloc(self._again, capacity * sizeof(Connection *))
            if again == NULL:
                raise MemoryError()
            self._again = again
            self._again_capacity = capacity
        self._again[self._again_count] = connection
        self._again_count += 1
        connection.is_again = True
        return 0

    cdef int _run_again(self, int count) except -1:
        cdef int at
        cdef Connection *connection
        for at in range(count):
            connection = self._again[at]
            connection.is_again = False
            if connection.source.fd >= 0:
                self._tend(connection, READABLE | WRITABLE | BROKEN)
            if self._now_ns - self._looked_ns > TURN_NS:
                self._look_around()
        self._again_count -= count
        memmove(self._again, self._again + count, self._again_count * sizeof(Connection *))
        return 0

    def watch(self, int fd, callback) -> None:
        """Call `callback` from the loop whenever `fd` is readable or its other end is closed."""
        cdef _WatchSource watched = _WatchSource.__new__(_WatchSource)
        watched.source.kind = WATCH_SOURCE
        watched.source.fd = fd
        self._poller.add(&watched.source, READABLE)
        self._watches[fd] = (watched, callback)

    def unwatch(self, int fd) -> None:
        """Call back no more."""
        cdef _WatchSource watched = self._watches.pop(fd)[0]
        self._poller.remove(&watched.source)
        watched.source.fd = -1
        # Its event may still be under way in this round, and points to it.
        self._unwatched.append(watched)

    # ---- accepting ----

    cdef int _accept(self, Listener *listener, bint serves) except -1:
        """Accept what is there, and serve each at once if so: most requests have arrived by then.

        Returns 1 when no more are there for now, 0 when others have to have their turn first.
        """
        cdef int64_t began_ns = self._now_ns
        cdef int turn, fd
        cdef sockaddr_storage address
        cdef socklen_t size
        for turn in range(ACCEPTS):
            size = sizeof(sockaddr_storage)
            fd = pyserver_accept(listener.source.fd, &address, &size)
            if fd < 0:
                if errno in (EINTR, ECONNABORTED, EPROTO):
                    continue
                if errno in (EMFILE, ENFILE, ENOBUFS, ENOMEM):
                    self._pause_accepting(errno)
                    return 1
                # ENOTSOCK: the signal handler has closed it, and the verb will follow.
                if errno not in (EAGAIN, EWOULDBLOCK, ENOTSOCK):
                    self.log.error("cannot accept connections: %s", strerror(errno).decode())
                    self._pause_accepting(0)
                return 1
            self._adopt(fd, &address, listener.index, serves)
            if fd >= self._last_descriptor:
                if self._most_connections == 0:
                    self._most_connections = self.connections
                self._pause_accepting(EMFILE)
                return 1
            if self._now_ns - began_ns > TURN_NS:
                return 0
        return 0

    cdef int _adopt(self, int fd, const sockaddr_storage *address, int listener, bint serves) except -1:
        cdef Connection *connection = new_connection(fd)
        connection.listener = <uint8_t> listener
        note_peer(connection, address)
        self.connections += 1
        self.slot.cells[<int> Cell.ACCEPTED] += 1
        self.slot.cells[<int> Cell.CONNECTIONS] = self.connections
        enlist(self._lists, connection, AWAIT_FIRST_BYTE, self._now_ns)
        return self._tend(connection, READABLE) if serves else self._watch(connection, READABLE)

    cdef int _pause_accepting(self, int reason) except -1:
        """Descriptors have run out: the listeners stay readable, so look away until one may be free again."""
        cdef int at
        if self._accepts:
            for at in range(self._listener_count):
                self._poller.remove(&self._listeners[at].source)
        self._accepts = False
        self._accept_again_ns = self._now_ns + ACCEPT_PAUSE_NS
        if reason and self._now_ns - self._said_exhausted_ns >= SECOND:
            self._said_exhausted_ns = self._now_ns
            self.log.error(
                "cannot accept connections: %s; %d are open, the rest wait (raise the limit of open files)",
                strerror(reason).decode(), self.connections,
            )
        return 0

    cdef int _resume_accepting(self) except -1:
        cdef int at
        self._accept_again_ns = 0
        if self.connections < self._most_connections // 2:
            self._most_connections = 0
        if self._most_connections and self.connections >= self._most_connections:
            # Each try would take one descriptor more of those left to the application.
            self._accept_again_ns = self._now_ns + ACCEPT_PAUSE_NS
        elif not self._accepts and not self.is_retiring:
            self._accepts = True
            for at in range(self._listener_count):
                self._poller.add(&self._listeners[at].source, READABLE | EXCLUSIVE)
        return 0

    def guard_listeners(self) -> int:
        """The address of a C function for a signal handler; see _engine.pyi."""
        # Only the poller with a descriptor of its own would go on watching a listener that was closed.
        cdef int at = self._poller.fileno() if self._poller.is_edge_triggered else -1
        guard_doors(at, &self.row.busy_since_ns, &self.slot.cells[<int> Cell.STOPS])
        for at in range(self._listener_count):
            add_door(self._listeners[at].source.fd)
        return closer()

    def retire(self, double idle_grace=1.0, bint takes_queue=True) -> None:
        """Accept no more, and answer with `Connection: close` from now on.

        Connections without a request under way are closed after `idle_grace` seconds, so that a request which was
        sent before its client could know is still answered.

        Args:
            idle_grace: seconds.
            takes_queue: whether the connections that wait in the accept queues are taken first. They are when nobody
                else will: closing the last descriptor of a listener resets them. They are served later, for the
                sooner the listener is closed, the sooner are new clients refused.
        """
        cdef int at, reason
        cdef Connection *connection
        cdef int64_t latest
        cdef Taken taken
        if self.is_retiring:
            return
        self.is_retiring = True
        take_doors()
        while next_taken(&taken):
            self._adopt(taken.fd, &taken.peer, taken.door, False)
        for at in range(self._listener_count):
            while takes_queue and not self._accept(&self._listeners[at], False):
                pass
            if self._accepts:
                self._poller.remove(&self._listeners[at].source)
            self._listeners[at].source.fd = -1
        self._accepts = False
        self._accept_again_ns = 0
        for listener in self.listeners:
            listener.close()
        latest = pyserver_now_ns() + <int64_t> (idle_grace * 1e9)
        for reason in (AWAIT_FIRST_BYTE, AWAIT_NEXT_REQUEST):
            self._lists[reason].duration_ns = min(self._lists[reason].duration_ns, <int64_t> (idle_grace * 1e9))
            connection = self._lists[reason].first
            while connection != NULL:
                connection.deadline_ns = min(connection.deadline_ns, latest)
                connection = connection.later

    def abandon(self) -> int:
        """Close everything at once; how many requests or responses that cuts off."""
        cdef int reason, cut = 0
        for reason in range(RUNNING):
            while self._lists[reason].first != NULL:
                cut += reason in (AWAIT_HEAD, AWAIT_CONTENT, AWAIT_WRITE)
                self._close(self._lists[reason].first)
        self.stop()
        return cut

    def drop_copies(self) -> None:
        """For a child of this process that shall not serve: close its copies of all that the parent serves with.

        Nothing is said to the peers nor to the poller's set, which are the parent's, and nothing is logged; run() ends.
        """
        cdef int at, reason
        cdef Taken taken
        self._poller.close()
        take_doors()
        while next_taken(&taken):
            close(taken.fd)
        if self.exchange is not None and self.exchange.connection != NULL:
            self._drop_copy(self.exchange.connection)
        for reason in range(RUNNING):
            while self._lists[reason].first != NULL:
                free_held(self._lists[reason].first)
                self._drop_copy(self._lists[reason].first)
        for at in range(self._listener_count):
            self._listeners[at].source.fd = -1
        for listener in self.listeners:
            listener.close()
        if self.access is not None:
            self.access.forget()
        # The slot is the parent's to write.
        self.slot = &self._own_slot
        self.row = &self.slot.rows[0]
        self.is_retiring = True
        self.stop()

    cdef int _drop_copy(self, Connection *connection) except -1:
        close(connection.source.fd)
        connection.source.fd = -1
        connection.is_gone = connection.closes = True
        delist(self._lists, connection)
        # An event of it may be under way, or a request.
        connection.later = self._dead
        self._dead = connection
        return 0

    # ---- receiving ----

    cdef int _receive(self, Connection *connection, bint to_the_end) except -1:
        """Take what the socket has; `to_the_end` where an end or an error is known to follow the bytes."""
        cdef Content *content
        cdef unsigned char *into
        cdef Py_ssize_t room, got
        cdef int turn = 0
        connection.is_readable = False
        while (
            connection.source.fd >= 0 and connection.output == NULL and not connection.closes and not connection.is_held
        ):
            if turn == TURNS:
                return self._go_on_later(connection)
            turn += 1
            content = connection.content
            if content != NULL and content.memory != NULL and not content.is_chunked:
                into = <unsigned char *> PyBytes_AS_STRING(<object> content.memory) + content.used
                room = content.capacity - content.used
            else:
                content = NULL
                into = self._scratch.data
                room = SCRATCH
            got = recv(connection.source.fd, into, <size_t> room, 0)
            if got > 0:
                if content != NULL:
                    self._received_in_place(connection, content, got)
                else:
                    self._received(connection, got)
                if got < room and not to_the_end:
                    return 0
            elif got == 0:
                return self._ended(connection)
            elif errno in (EAGAIN, EWOULDBLOCK):
                return 0
            elif errno != EINTR:
                connection.is_gone = True
                return self._close(connection)
        connection.is_readable = True
        return 0

    cdef int _ended(self, Connection *connection) except -1:
        """The peer has sent its last byte: half a request is none, and there will be no other; RFC 9112 §8."""
        connection.has_ended = True
        return self._close(connection)

    cdef int _received_in_place(self, Connection *connection, Content *content, Py_ssize_t got) except -1:
        content.used += got
        content.received += <uint64_t> got
        content.expected -= <uint64_t> got
        if content.expected == 0:
            content.is_complete = True
            self._advance(connection, connection.reader)
        return 0

    cdef int _received(self, Connection *connection, Py_ssize_t got) except -1:
        """The scratch buffer holds `got` more bytes of the connection."""
        cdef Reader *reader = connection.reader
        cdef Py_ssize_t consumed = 0
        cdef int outcome
        if reader == NULL:
            self._scratch.begin = 0
            self._scratch.length = got
            reset_head(&self._scratch.head)
            return self._advance(connection, &self._scratch)
        if connection.content != NULL:
            outcome = self._feed(connection, reader, self._scratch.data, got, &consumed)
            if outcome == REFUSED:
                return self._leave(connection, reader)
        if consumed < got:
            make_room(reader, got - consumed)
            memcpy(reader.data + reader.length, self._scratch.data + consumed, <size_t> (got - consumed))
            reader.length += got - consumed
        return self._advance(connection, reader)

    cdef int _advance(self, Connection *connection, Reader *reader) except -1:
        """Run each request that is complete in `reader`, then send what they were answered with."""
        cdef int outcome
        cdef int64_t began_ns = self._now_ns
        connection.is_held = False
        while True:
            if connection.content == NULL:
                outcome = parse_head(
                    &reader.head, reader.data + reader.begin, reader.length - reader.begin, &self._bounds
                )
                if outcome == COMPLETE:
                    outcome = self._begin_content(connection, reader)
                elif outcome == REFUSED:
                    self._refuse(connection, reader, reader.head.fault, reader.head.position)
            else:
                outcome = COMPLETE if connection.content.is_complete else NEED_MORE
            if outcome != COMPLETE:
                break
            self._run(connection, reader)
            if not connection.closes and (connection.output != NULL or self.out.used > OUT_LIMIT):
                # What the client has not taken holds back its next request; perhaps it has by now.
                if self.out.used:
                    self.send(connection)
                else:
                    self._drain(connection)
            if connection.closes or connection.output != NULL or reader.begin == reader.length:
                break
            if self._now_ns - began_ns > TURN_NS:
                # A pipeline of slow requests is no reason for the others to wait for all of it.
                connection.is_held = True
                self._go_on_later(connection)
                break
        return self._leave(connection, reader)

    cdef int _leave(self, Connection *connection, Reader *reader) except -1:
        """Send what was answered, and keep what was received for a request that is not complete."""
        self.send(connection)
        if connection.closes:
            # Bytes behind a last response would reset the connection and take the response with them.
            connection.lingers = connection.lingers or reader.begin < reader.length
        elif reader == &self._scratch:
            if reader.begin < reader.length:
                connection.reader = detach(reader)
        elif reader.begin == reader.length:
            free_reader(reader)
            connection.reader = NULL
        elif reader.begin:
            reader.length -= reader.begin
            memmove(reader.data, reader.data + reader.begin, <size_t> reader.length)
            reader.begin = 0
        return 0

    cdef int _begin_content(self, Connection *connection, Reader *reader) except? -1:
        """The head is complete: COMPLETE if its content is there as well, or there is none."""
        cdef const Head *head = &reader.head
        cdef Py_ssize_t available = reader.length - reader.begin - head.position
        cdef Py_ssize_t consumed = 0
        cdef int outcome = NEED_MORE
        cdef bint is_chunked = (head.flags & HAS_CHUNKED) != 0
        if not is_chunked and (
            head.content_length <= <uint64_t> available and head.content_length <= <uint64_t> self._buffers.request
        ):
            return COMPLETE
        connection.content = new_content(head)
        if available:
            outcome = self._feed(connection, reader, reader.data + reader.begin + head.position, available, &consumed)
            drop_after_head(reader, consumed)
        elif head.flags & EXPECTS_CONTINUE:
            # RFC 9110 §10.1.1; not when content has come already.
            append(&self.out, b"HTTP/1.1 100 Continue\r\n\r\n", 25)
        return outcome

    cdef int _feed(
        self, Connection *connection, const Reader *reader, unsigned char *base, Py_ssize_t length, Py_ssize_t *consumed
    ) except? -1:
        """Take content from `base`, which is overwritten; `consumed` counts the bytes that were its."""
        cdef Content *content = connection.content
        cdef Span data
        cdef Py_ssize_t used
        cdef Py_ssize_t gathered = 0
        cdef int outcome = NEED_MORE
        consumed[0] = 0
        while outcome == NEED_MORE and consumed[0] < length:
            outcome = next_content(content, base + consumed[0], length - consumed[0], &used, &data, &self._bounds)
            consumed[0] += used
            if outcome == REFUSED:
                self._refuse(connection, reader, content.chunks.fault)
                return REFUSED
            # The data of many small chunks moves together over what framed it, and is kept at once.
            if data.length and data.start != base + gathered:
                memmove(base + gathered, data.start, <size_t> data.length)
            gathered += data.length
        if gathered and not self._keep(connection, reader, Span(base, gathered)):
            return REFUSED
        return outcome

    cdef bint _keep(self, Connection *connection, const Reader *reader, Span data) except -1:
        """Add to the content, in memory or in its file; False when the disk does not take it."""
        cdef Content *content = connection.content
        cdef Py_ssize_t limit = self._buffers.request
        if content.file < 0 and content.received + content.expected <= <uint64_t> limit:
            keep_in_memory(content, data, limit)
            return True
        try:
            if content.file < 0:
                content.file = open_spool(self._buffers.directory)
                if content.used:
                    write_spool(
                        content.file, <unsigned char *> PyBytes_AS_STRING(<object> content.memory), content.used, 0
                    )
                    take_memory(content)
            write_spool(content.file, data.start, data.length, <int64_t> content.received - data.length)
        except OSError as error:
            self.log.error("cannot keep the content of a request from %s: %s", peer_of(connection), error)
            self._answer(connection, reader, 500, "the content cannot be stored")
            return False
        return True

    # ---- running ----

    cdef int _run(self, Connection *connection, Reader *reader) except -1:
        """Hand the request to the gateway, and consume it."""
        cdef Exchange exchange = self.exchange
        cdef Head *head = &reader.head
        cdef Slot *slot = self.slot
        cdef Py_ssize_t length = 0
        cdef int64_t began_ns, duration_ns
        if exchange is None or Py_REFCNT(<PyObject *> exchange) > 2:
            # Somebody kept the last one (an application its write callable, say): it must not speak for this request.
            exchange = Exchange.__new__(Exchange)
            exchange.transport = self
            self.exchange = exchange
        exchange.connection = connection
        exchange.head = head
        exchange.base = reader.data + reader.begin
        exchange.received = connection.content
        if connection.content == NULL:
            length = <Py_ssize_t> head.content_length
        exchange.content = Span(exchange.base + head.position, length)
        # Who retires still answers what has been sent already: the last response of a pipeline says close.
        exchange.persists = (
            head_persists(head) and self._lists[AWAIT_NEXT_REQUEST].duration_ns > 0
            and (not self.is_retiring or reader.length > reader.begin + head.position + length)
        )
        exchange.is_finished = exchange.is_logged = exchange.has_excess = exchange.gathers = False
        exchange.wrote_ns = 0
        reset_response(&exchange.response, is_of_head(reader))
        connection.requests += 1
        delist(self._lists, connection)
        if self.out.used == 0:
            self._out_since_ns = self._now_ns
        elif self._now_ns - self._out_since_ns > GATHER_NS:
            self.send(connection)
            self._out_since_ns = self._now_ns
        # Where the response to it will begin, for whoever has to answer in its place.
        exchange.response.head_at = self.out.used
        self.has_given = False
        # What came before has just been timed. Only the log tells the application's time from that of its content.
        began_ns = self._now_ns if self.access is None else pyserver_now_ns()
        note_request(self.row, exchange, began_ns)
        self._gateway.run(exchange)
        if not exchange.is_finished:
            exchange.fail()
        self.row.busy_since_ns = 0
        slot.cells[<int> Cell.BYTES_SENT] += exchange.response.sent
        self.requests += 1
        slot.cells[<int> Cell.REQUESTS] = self.requests
        self._tick(pyserver_now_ns())
        duration_ns = self._now_ns - began_ns
        note_latency(slot, duration_ns)
        if self.access is not None:
            exchange.log_access(self._now_ns, duration_ns)
        exchange.connection = NULL
        if not exchange.persists:
            connection.closes = True
        if connection.content != NULL:
            free_content(connection.content)
            connection.content = NULL
        reader.begin += head.position + length
        reset_head(head)
        return 0

    cdef int _refuse(self, Connection *connection, const Reader *reader, int fault, Py_ssize_t at=-1) except -1:
        """Answer a request that breaks a rule, once, and close; `at` is where in its head, or -1."""
        status, section, words = _REFUSALS[fault]
        where = f", byte {at} of the head" if at >= 0 else ""
        self.log.warning(
            "refused a request from %s with %d: %s (%s%s)", peer_of(connection), status, words, section, where
        )
        return self._answer(connection, reader, status, words)

    cdef int _answer(self, Connection *connection, const Reader *reader, int status, str words) except -1:
        """Write a whole response of the server's own, after which the connection is closed."""
        cdef bytes content = f"{status} {_REASONS[status]}: {words}\n".encode()
        cdef Response response
        cdef Facts facts
        cdef bint persists = False
        cdef Out *out = &self.out
        self.slot.cells[<int> Cell.REFUSED] += 1
        reset_response(&response, is_of_head(reader))
        start_response_head(
            &response, out, f"{status} {_REASONS[status]}", [("Content-Type", "text/plain; charset=utf-8")]
        )
        finish_response_head(&response, out, &self.stamp, len(content), 1, &persists)
        if not response.to_head_request:
            append(out, <const char *> content, len(content))
        if self.access is not None:
            state_refusal(&facts, connection, reader)
            facts.status = status
            facts.sent = 0 if response.to_head_request else len(content)
            self.access.record(&facts, None, None, self._now_ns)
        connection.closes = connection.lingers = True
        return 0

    # ---- sending ----

    cdef int join_blocks(self, Connection *connection, bint wanted) except -1:
        cdef int at_once = not wanted
        if connection.family:
            setsockopt(connection.source.fd, IPPROTO_TCP, TCP_NODELAY, &at_once, sizeof(int))
        return 0

    cdef int send(self, Connection *connection) except -1:
        """Give the responses gathered to the socket, and queue what it does not take."""
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
            sent = send(connection.source.fd, out.data, <size_t> used, MSG_NOSIGNAL | more)
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

    cdef int send_block(
        self, Connection *connection, object block, const unsigned char *data, Py_ssize_t length, bint lent, bint in_chunk
    ) except -1:
        """Add `length` bytes of `block` behind what is gathered: small ones by copying, large ones from where they are."""
        cdef Out *out = &self.out
        cdef iovec vector[3]
        cdef msghdr message
        cdef Py_ssize_t sent = 0
        cdef Py_ssize_t head = out.used
        cdef bint is_behind = connection.output != NULL
        if length <= COPY_LIMIT:
            append(out, data, length)
            if in_chunk:
                append(out, b"\r\n", 2)
            return 0
        self.has_given = True
        if connection.is_gone:
            out.used = 0
            return 0
        if connection.output == NULL:
            vector[0] = iovec(out.data, <size_t> head)
            vector[1] = iovec(<void *> data, <size_t> length)
            vector[2] = iovec(<void *> <const char *> b"\r\n", 2)
            memset(&message, 0, sizeof(msghdr))
            message.msg_iov = vector
            message.msg_iovlen = 3 if in_chunk else 2
            sent = sendmsg(connection.source.fd, &message, MSG_NOSIGNAL)
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
        if connection.is_gone:
            return 0
        if connection.output == NULL:
            connection.output = new_output()
        output = connection.output
        if output.in_memory + length <= self._buffers.response and output.spooled == 0:
            return add_copy(output, data, length)
        # What has been sent still takes its place in the file, until all has been and it begins anew.
        if output.spooled and output.spool_end + length > self._buffers.spool:
            self._wait_for_room(connection)
            if connection.is_gone:
                return 0
            if connection.output == NULL:
                connection.output = new_output()
            output = connection.output
        try:
            if output.spool < 0:
                output.spool = open_spool(self._buffers.directory)
            if output.spooled == 0:
                output.spool_end = 0
            write_spool(output.spool, data, length, output.spool_end)
        except OSError as error:
            # A response has thousands of blocks.
            if self._now_ns - self._said_unspooled_ns >= SECOND:
                self._said_unspooled_ns = self._now_ns
                self.log.error(
                    "cannot keep a response to %s in a file, so the application waits: %s", peer_of(connection), error
                )
            self._wait_for_room(connection)
            if connection.is_gone:
                return 0
            if connection.output == NULL:
                connection.output = new_output()
            return add_copy(connection.output, data, length)
        add_range(output, SPOOLED, output.spool, output.spool_end, length)
        output.spool_end += length
        return 0

    cdef int _wait_for_room(self, Connection *connection) except -1:
        """Hold the application until the client has taken all that is queued for it."""
        cdef pollfd waited
        cdef int found
        cdef int wait_ms = <int> min(self._lists[AWAIT_WRITE].duration_ns // 1000000, <int64_t> 0x7FFFFFFF)
        while connection.output != NULL:
            waited = pollfd(connection.source.fd, POLLOUT, 0)
            with nogil:
                found = poll(&waited, 1, wait_ms)
            PyErr_CheckSignals()
            if found == 0:
                return self._lose(connection)
            self._drain(connection)
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
                return self._go_on_later(connection)
            segment = output.first
            if segment.kind in (COPIED, BORROWED):
                sent = send(
                    connection.source.fd, segment.data, <size_t> segment.length,
                    MSG_NOSIGNAL | (MSG_MORE if segment.next != NULL else 0),
                )
            else:
                sent = pyserver_sendfile(connection.source.fd, segment.file, segment.offset, <size_t> segment.length)
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
            output.given += sent
            if segment.kind == COPIED:
                output.in_memory -= sent
            elif segment.kind == SPOOLED:
                output.spooled -= sent
            if segment.kind in (COPIED, BORROWED):
                segment.data += sent
            segment.offset += sent
            segment.length -= sent
            if segment.length == 0:
                drop_first(output)
        free_output(output)
        connection.output = NULL
        return 0

    cdef int send_file(self, Connection *connection, int file, int64_t offset, int64_t length) except -1:
        """Send a range of a file after what is gathered; what the socket does not take keeps a descriptor of its own."""
        cdef Py_ssize_t sent
        cdef int own
        cdef int64_t given = 0
        self._give(connection, MSG_MORE)
        while length and given < DRAINED and connection.output == NULL and not connection.is_gone:
            sent = pyserver_sendfile(connection.source.fd, file, offset, <size_t> length)
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
        own = pyserver_dup(file)
        if own < 0:
            self.log.error("cannot go on sending a file to %s: %s", peer_of(connection), strerror(errno).decode())
            return self._lose(connection)
        if connection.output == NULL:
            connection.output = new_output()
        add_range(connection.output, FROM_FILE, own, offset, length)
        return self._go_on_later(connection) if given >= DRAINED else 0

    cdef int _lose(self, Connection *connection) except -1:
        """The peer takes no more: forget what was meant for it."""
        connection.is_gone = connection.closes = True
        self.out.used = 0
        if connection.output != NULL:
            free_output(connection.output)
            connection.output = NULL
        return 0

    # ---- waiting and closing ----

    cdef int _settle(self, Connection *connection) except -1:
        """After a turn: decide what the connection waits for, and watch for it."""
        cdef int reason
        if connection.source.fd < 0:
            return 0
        if connection.output != NULL:
            reason = AWAIT_WRITE
            connection.unsent = pyserver_unsent(connection.source.fd)
        elif connection.closes:
            return self._finish(connection)
        elif connection.content != NULL:
            reason = AWAIT_CONTENT
        elif connection.reader != NULL and is_begun(&connection.reader.head):
            reason = AWAIT_HEAD
        elif connection.requests == 0:
            reason = AWAIT_FIRST_BYTE
        else:
            reason = AWAIT_NEXT_REQUEST
        # The time for a head runs from its first byte, however many follow.
        if connection.waits_for != reason or reason not in (AWAIT_FIRST_BYTE, AWAIT_HEAD):
            enlist(self._lists, connection, reason, self._now_ns)
        return self._watch(connection, WRITABLE if reason == AWAIT_WRITE else READABLE)

    cdef int _watch(self, Connection *connection, int interest) except -1:
        if not connection.is_watched:
            connection.is_watched = True
            connection.interest = <uint8_t> interest
            self._poller.add(&connection.source, READABLE | WRITABLE if self._poller.is_edge_triggered else interest)
        elif connection.interest != interest and not self._poller.is_edge_triggered:
            connection.interest = <uint8_t> interest
            self._poller.change(&connection.source, interest)
        return 0

    cdef int _finish(self, Connection *connection) except -1:
        """All is written: close, or first let the peer read its answer while what it still sends is dropped."""
        # A FIN would say that a response without framing is complete: one that is not has no polite end.
        if connection.is_gone or connection.has_ended or connection.resets:
            return self._close(connection)
        # Closing with bytes unread would reset the connection, and take what the client has not read with it.
        if not connection.lingers and pyserver_unread(connection.source.fd) == 0:
            return self._close(connection)
        # Up to half a minute is long to hold what nobody will ask for again.
        if connection.reader != NULL:
            free_reader(connection.reader)
            connection.reader = NULL
        if connection.content != NULL:
            free_content(connection.content)
            connection.content = NULL
        shutdown(connection.source.fd, SHUT_WR)
        connection.linger_until_ns = self._now_ns + LINGER_AT_MOST_NS
        enlist(self._lists, connection, AWAIT_CLOSE, self._now_ns)
        self._watch(connection, READABLE)
        return self._discard(connection)

    cdef int _discard(self, Connection *connection) except -1:
        """RFC 9112 §9.6: read until the peer has closed too, or time is up."""
        cdef Py_ssize_t got
        cdef int turn
        for turn in range(TURNS):
            got = recv(connection.source.fd, self._scratch.data, SCRATCH, 0)
            if got < 0 and errno in (EAGAIN, EWOULDBLOCK, EINTR):
                if self._now_ns < connection.linger_until_ns:
                    enlist(self._lists, connection, AWAIT_CLOSE, self._now_ns)
                return 0
            if got <= 0:
                return self._close(connection)
        if self._now_ns >= connection.linger_until_ns:
            return self._close(connection)
        return self._go_on_later(connection)

    cdef int _close(self, Connection *connection) except -1:
        cdef linger none_left
        if connection.is_watched:
            self._poller.remove(&connection.source)
        if connection.resets:
            none_left = linger(1, 0)
            setsockopt(connection.source.fd, SOL_SOCKET, SO_LINGER, &none_left, sizeof(linger))
        elif forks() != self._forks:
            # A child of the application's may hold the socket open, and the peer would wait for its end.
            shutdown(connection.source.fd, SHUT_RDWR)
        close(connection.source.fd)
        connection.source.fd = -1
        delist(self._lists, connection)
        connection.later = self._dead
        self._dead = connection
        self.connections -= 1
        self.slot.cells[<int> Cell.CONNECTIONS] = self.connections
        if self._accept_again_ns:
            self._resume_accepting()
        return 0

    cdef int _free_dead(self) noexcept:
        cdef Connection *connection
        cdef int at, kept = 0
        if self._dead == NULL:
            return 0
        for at in range(self._again_count):
            if self._again[at].source.fd >= 0:
                self._again[kept] = self._again[at]
                kept += 1
        self._again_count = kept
        while self._dead != NULL:
            connection = self._dead
            self._dead = connection.later
            free_connection(connection)
        return 0

    cdef int _expire(self) except -1:
        """Close or refuse what has waited too long, and not for us to look."""
        cdef int reason
        cdef Connection *connection
        if self._accept_again_ns and self._now_ns >= self._accept_again_ns:
            self._resume_accepting()
        for reason in range(RUNNING):
            while self._lists[reason].first != NULL and self._lists[reason].first.deadline_ns <= self._seen_ns:
                connection = self._lists[reason].first
                try:
                    self._expire_one(connection, reason)
                except Exception:
                    self._give_up(connection)
        return 0

    cdef int _expire_one(self, Connection *connection, int reason) except -1:
        cdef int unsent
        if reason == AWAIT_HEAD or reason == AWAIT_CONTENT:
            if reason == AWAIT_HEAD:
                self._refuse(connection, connection.reader, Fault.HEAD_TIMEOUT)
            else:
                self._refuse(connection, connection.reader, Fault.CONTENT_TIMEOUT)
            self.send(connection)
            return self._settle(connection)
        if reason == AWAIT_WRITE:
            # A socket becomes writable when a good part of its buffer is free: a slow reader may have taken much of
            # it since, and be no less alive.
            unsent = pyserver_unsent(connection.source.fd)
            if 0 <= unsent < connection.unsent:
                return self._settle(connection)
            self.log.info("%s took nothing of a response for write_timeout: closed", peer_of(connection))
        return self._close(connection)
