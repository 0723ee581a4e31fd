"""One connection's turn: receive, parse, run, send. System calls, but no HTTP syntax.

A request runs when all of it is there; what the socket does not take at once is queued with the connection, so that a
slow client occupies memory and never the worker.

A worker has a lane for each thread that serves. Where requests run in greenlets it has one for whoever reads, and one
more for each request that runs: what was read goes with it.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memcmp, memcpy, memmove, memset

from pyserver._abort cimport answer_for, forget
from pyserver._atoms cimport Facts
from pyserver._channel cimport Carried, Channel, Session, new_blocks, receive
from pyserver._connection cimport (
    AWAIT_CLOSE, AWAIT_CONTENT, AWAIT_FIRST_BYTE, AWAIT_HEAD, AWAIT_NEXT_REQUEST, AWAIT_ROOM, AWAIT_TURN,
    AWAIT_WRITE, Connection, Content, Reader, delist, detach, drop_after_head, enlist_until, free_content,
    free_reader, is_peer_in, is_way_trusted, keep_in_memory, make_room, new_content, next_content, note_proxied,
    peer_of, take_memory, take_receive_ns,
)
from pyserver._exchange cimport OUT_LIMIT, Exchange, is_of_head, new_id, note_request, state_refusal
from pyserver._giving cimport COPY_LIMIT, Giver
from pyserver._http cimport (
    COMPLETE, EXPECTS_CONTINUE, HAS_CHUNKED, NEED_MORE, REFUSED, Bounds, Fault, Head, Out, Outcome, Span, append,
    free_head, head_persists, is_begun, parse_head, reset_head,
)
from pyserver._leadership cimport Leadership
from pyserver._poller cimport BROKEN, READABLE, WRITABLE
from pyserver._proxies cimport Forwarded, Proxies, ProxyHeader, read_proxy_header
from pyserver._reactor cimport LINGER_MOST_SECONDS, LINGER_SECONDS, Reactor
from pyserver._response cimport Response, finish_response_head, reset_response, start_response_head
from pyserver._scoreboard cimport Cell, Slot, note_latency
from pyserver._spool cimport Blocks, open_spool, write_spool
from pyserver._system cimport EWOULDBLOCK, SHUT_WR, pyserver_now_ns, pyserver_unread, pyserver_unsent, recv, shutdown
from pyserver._tls cimport CLIENT_HELLO, HANDSHAKE, TLSChannel, secure

from pyserver.refusals import REASONS as _REASONS, REFUSALS as _REFUSALS

cdef extern from "Python.h":
    Py_ssize_t Py_REFCNT(PyObject *object)
    bint PyGC_Disable()
    bint PyGC_Enable()

cdef int64_t SECOND = 1000000000
cdef int64_t GATHER_NS = 1000000            # how long after the first of a pipeline began others are to join its response
cdef int TAKEN = 4096                       # bytes of its answer for which who is closed is waited for again
cdef int64_t TURN_NS = 5000000              # how long a pipeline may take before others have their turn


cdef inline bint is_client_hello(const Reader *reader) noexcept:
    """Whether what is there begins as TLS does: a record, and in it a ClientHello; RFC 8446 §5.1, §4."""
    cdef const unsigned char *first = reader.data + reader.begin
    return reader.length - reader.begin > 5 and first[0] == HANDSHAKE and first[1] == 3 and first[5] == CLIENT_HELLO


cdef inline int put_content(Content *content, Span data, int64_t offset) except -1:
    """Write content to where it is kept, behind what was written before."""
    if content.blocks != NULL:
        return (<Blocks> content.blocks).add(data.start, data.length)
    return write_spool(content.file, data.start, data.length, offset)


cdef class Lane(Giver):
    """Serves one connection at a time.

    Args:
        reactor: what it shares with the other lanes.
        number: of its row in the worker's slot; -1 for a lane in which nothing runs, or that has none.
    """

    def __cinit__(self, Reactor reactor not None, int number):
        self.reactor = reactor
        self.number = number
        self.slot = reactor.slot
        self.row = &self.slot.rows[0] + number if number >= 0 else &self._own_row
        self.access = reactor.access
        self.alternative = reactor.alternative
        self.ids = reactor.ids
        self.log = reactor.log
        self.renews = reactor.leadership is not None or reactor.capacity != 0
        make_room(&self._scratch, SCRATCH)
        self.tick(pyserver_now_ns())
        if number >= 0:
            self.slot.cells[<int> Cell.ROWS] = max(self.slot.cells[<int> Cell.ROWS], number + 1)
            answer_for(self)

    def __dealloc__(self):
        forget(self)
        free_head(&self._scratch.head)
        free(self._scratch.data)
        free(self.out.data)

    @property
    def busy_since_ns(self) -> int:
        """The monotonic start of the request that runs; 0 while none does."""
        return self.row.busy_since_ns

    @property
    def alive_ns(self) -> int:
        """When that request began, or gave its client something last."""
        return self.row.alive_ns

    cdef int tend(self, Connection *connection, int events) except -1:
        """One turn of a connection; what goes wrong in it ends this connection and no other."""
        try:
            if events & (READABLE | BROKEN):
                connection.is_readable = True
            if events & BROKEN:
                connection.is_broken = True
            if connection.session != NULL:
                self._tend_session(connection, events)
            elif connection.is_running:
                self._tend_running(connection, events)
            elif connection.output != NULL:
                if events & (WRITABLE | BROKEN):
                    self._go_on_writing(connection)
            elif events & (READABLE | BROKEN):
                self._go_on_reading(connection, (events & BROKEN) != 0)
        except Exception:
            if connection.is_running:
                # Whoever runs its request has it, and closes it.
                self.log.exception("The response to %s is cut off", peer_of(connection))
                self._lose(connection)
            else:
                self._give_up(connection)
        return 0

    cdef int _tend_session(self, Connection *connection, int events) except -1:
        """A turn of a connection that carries others."""
        # It may end in this turn.
        cdef Session session = <Session> connection.session
        return session.tend(events, self.now_ns)

    cdef int _tend_running(self, Connection *connection, int events) except -1:
        """A turn of a connection whose request runs: what it sends has to wait."""
        if connection.output != NULL and events & (WRITABLE | BROKEN):
            self._make_room(connection)
        return 0

    cdef int _give_up(self, Connection *connection) except -1:
        """Something of ours failed, memory perhaps: say so, and forget the connection."""
        self.log.exception("The connection from %s is closed", peer_of(connection))
        self.out.used = 0
        self.row.busy_since_ns = 0
        if self.exchange is not None:
            self.exchange.connection = NULL
        if connection.source.fd >= 0:
            self.reactor.close(connection)
        return 0

    cdef int _go_on_reading(self, Connection *connection, bint is_broken) except -1:
        if connection.waits_for == AWAIT_CLOSE:
            return self._discard(connection)
        if self.reactor.is_full():
            return self._hold(connection)
        if connection.is_held:
            self._advance(connection, connection.reader)
        self._receive(connection, is_broken)
        return self._settle(connection)

    cdef int _hold(self, Connection *connection) except -1:
        """As many requests run as may: what this one asks for is not even read."""
        if connection.waits_for != AWAIT_TURN:
            self.reactor.wait_for(connection, AWAIT_TURN, self.now_ns)
        return 0

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

    # ---- receiving ----

    cdef int _receive(self, Connection *connection, bint to_the_end) except -1:
        """Take what the socket has; `to_the_end` where an end or an error is known to follow the bytes."""
        cdef Content *content
        cdef unsigned char *into
        cdef Py_ssize_t room, got
        cdef int turn = 0
        while (
            connection.source.fd >= 0 and connection.output == NULL and not connection.closes and not connection.is_held
            and not connection.is_running and connection.waits_for != AWAIT_TURN and connection.session == NULL
        ):
            if turn == TURNS:
                return self.reactor.go_on_later(connection)
            turn += 1
            content = connection.content
            if content != NULL and content.memory != NULL and not content.is_chunked:
                into = <unsigned char *> PyBytes_AS_STRING(<object> content.memory) + content.used
                room = content.capacity - content.used
            else:
                content = NULL
                into = self._scratch.data
                room = SCRATCH
            connection.is_readable = False
            got = receive(connection, into, room)
            if got > 0:
                connection.keeps_deadline = False
                if content != NULL:
                    self._received_in_place(connection, content, got)
                else:
                    self._received(connection, got)
                # While a request of it ran, more may have been reported to another thread.
                if got < room and not to_the_end and not connection.is_readable and not connection.is_broken:
                    return 0
            elif got == 0:
                return self._ended(connection)
            elif errno in (EAGAIN, EWOULDBLOCK):
                return 0
            elif errno != EINTR:
                connection.is_gone = True
                return self.reactor.close(connection)
        connection.is_readable = True
        return 0

    cdef int _ended(self, Connection *connection) except -1:
        """The peer has sent its last byte: half a request is none, and there will be no other; RFC 9112 §8."""
        connection.has_ended = True
        return self.reactor.close(connection)

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
        cdef int64_t began_ns = self.now_ns
        connection.is_held = False
        if (
            connection.awaits_proxy or connection.awaits_tls or connection.awaits_preface
        ) and not self.open_up(connection, reader):
            return self._leave(connection, reader)
        while True:
            if self.reactor.is_full():
                connection.is_held = True
                self._hold(connection)
                break
            if connection.content == NULL:
                outcome = self.parse(connection, reader)
                if outcome == COMPLETE:
                    outcome = self._begin_content(connection, reader)
                elif outcome == REFUSED:
                    self._refuse(connection, reader, reader.head.fault, reader.head.position)
            else:
                outcome = COMPLETE if connection.content.is_complete else NEED_MORE
            if outcome != COMPLETE:
                break
            if self.reactor.health is not None and self._is_probe(reader):
                self._answer_probe(connection, reader)
            elif self.reactor.capacity:
                return self._depart(connection, reader)
            else:
                self._run(connection, reader)
            if not connection.closes and (connection.output != NULL or self.out.used > OUT_LIMIT):
                # What the client has not taken holds back its next request; perhaps it has by now.
                if self.out.used:
                    self._flush(connection)
                else:
                    self._drain(connection)
            if connection.closes or connection.output != NULL or reader.begin == reader.length:
                break
            if self.now_ns - began_ns > TURN_NS:
                # A pipeline of slow requests is no reason for the others to wait for all of it.
                connection.is_held = True
                self.reactor.go_on_later(connection)
                break
        return self._leave(connection, reader)

    cdef Outcome parse(self, Connection *connection, Reader *reader) except? NEED_MORE:
        """Parse the head that begins in `reader`; when it is complete, what a session knows of it is known as well."""
        cdef Outcome outcome = parse_head(
            &reader.head, reader.data + reader.begin, reader.length - reader.begin, self.bounds_for(connection)
        )
        if connection.is_carried:
            return (<Carried> connection.channel).note_head(&reader.head, outcome)
        if outcome == COMPLETE and self.reactor.http2 is not None and self.reactor.http2.by_upgrade:
            if connection.is_trusted and self.reactor.http2.upgrade(connection, self.reactor, reader, self.now_ns):
                return NEED_MORE
        return outcome

    cdef const Bounds *bounds_for(self, const Connection *connection) noexcept:
        """What a request of this connection may have."""
        return &self.reactor.trusted_bounds if self.believes(connection) else &self.reactor.bounds

    cdef bint open_up(self, Connection *connection, Reader *reader) except -1:
        """Take what stands before the first request: a PROXY header, TLS, and HTTP/2; whether a request follows."""
        if connection.awaits_proxy and not self._take_proxy_header(connection, reader):
            return False
        if connection.awaits_tls:
            if reader.begin < reader.length:
                self._secure(connection, reader)
            return False
        return not connection.awaits_preface or self._look_for_preface(connection, reader)

    cdef bint _look_for_preface(self, Connection *connection, Reader *reader) except -1:
        """Begin HTTP/2 where it is agreed on, or said without asking; whether what is there is a request of HTTP/1."""
        cdef Py_ssize_t length = reader.length - reader.begin
        cdef Outcome outcome
        if length == 0:
            return False
        if connection.channel != NULL:
            outcome = COMPLETE if (<TLSChannel> connection.channel).speaks_http2() else REFUSED
        else:
            outcome = self.reactor.http2.look(reader.data + reader.begin, length)
        if outcome == REFUSED:
            connection.awaits_preface = False
            return True
        if outcome == COMPLETE:
            self.reactor.http2.begin(connection, self.reactor, reader.data + reader.begin, length, self.now_ns)
            reader.begin = reader.length
        return False

    cdef bint _take_proxy_header(self, Connection *connection, Reader *reader) except -1:
        """Take what stands before the first request; False while that is not all there, or where it is refused."""
        cdef Proxies proxies = self.reactor.proxies
        cdef ProxyHeader header
        cdef int outcome = read_proxy_header(
            &header, reader.data + reader.begin, reader.length - reader.begin, proxies.versions
        )
        cdef int fault = Fault.NO_FAULT
        if header.is_begun and not is_peer_in(connection, proxies.senders):
            fault = Fault.PROXY_FORBIDDEN
        elif outcome == REFUSED:
            fault = Fault.PROXY_HEADER
        elif outcome == COMPLETE and header.length == 0 and proxies.requires_header:
            fault = Fault.PROXY_MISSING
        if fault:
            self._refuse(connection, reader, fault)
            return False
        if outcome == NEED_MORE:
            return False
        connection.awaits_proxy = False
        if header.length:
            note_proxied(connection, &header)
            reader.begin += header.length
        return True

    cdef int _secure(self, Connection *connection, Reader *reader) except -1:
        """Begin TLS with the bytes that are there, or refuse who does not."""
        if reader.data[reader.begin] != HANDSHAKE:
            connection.awaits_tls = False
            return self._refuse(connection, reader, Fault.NOT_TLS)
        secure(connection, self.reactor.contexts[connection.listener], self.log)
        (<TLSChannel> connection.channel).feed(reader.data + reader.begin, reader.length - reader.begin)
        reader.begin = reader.length
        # The answer to it is given by who receives what follows.
        connection.is_readable = True
        return 0

    cdef int look_back(self, Connection *connection, const Head *head, const unsigned char *base) noexcept:
        """Note what proxies say of the way of a request, where each of them may."""
        cdef Proxies proxies = self.reactor.proxies
        memset(&self.forwarded, 0, sizeof(Forwarded))
        if self.believes(connection):
            proxies.look_back(&self.forwarded, head, base)
        return 0

    cdef bint believes(self, const Connection *connection) noexcept nogil:
        """Whether fields that tell where a request comes from are a trusted proxy's."""
        return is_way_trusted(connection, self.reactor.proxies.trusted)

    cdef int _leave(self, Connection *connection, Reader *reader) except -1:
        """Send what was answered, and keep what was received for a request that is not complete."""
        self._flush(connection)
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
            head.content_length <= <uint64_t> available and head.content_length <= <uint64_t> self.reactor.buffers.request
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
            outcome = next_content(content, base + consumed[0], length - consumed[0], &used, &data, &self.reactor.bounds)
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
        cdef Py_ssize_t limit = self.reactor.buffers.request
        if (
            content.file < 0 and content.blocks == NULL
            and content.received + content.expected <= <uint64_t> limit
        ):
            keep_in_memory(content, data, limit)
            return True
        try:
            self._keep_in_file(connection, data)
        except OSError as error:
            self.log.error("cannot keep the content of a request from %s: %s", peer_of(connection), error)
            self._answer(connection, reader, 500, "the content cannot be stored")
            return False
        return True

    cdef int _keep_in_file(self, Connection *connection, Span data) except -1:
        cdef Content *content = connection.content
        cdef Blocks blocks
        cdef Span before
        if connection.is_carried and content.blocks == NULL:
            blocks = new_blocks(connection, self.reactor.buffers.directory)
            Py_INCREF(blocks)
            content.blocks = <PyObject *> blocks
        elif not connection.is_carried and content.file < 0:
            content.file = open_spool(self.reactor.buffers.directory)
        if content.used:
            before = Span(<unsigned char *> PyBytes_AS_STRING(<object> content.memory), content.used)
            put_content(content, before, 0)
            take_memory(content)
            content.used = 0
        return put_content(content, data, <int64_t> content.received - data.length)

    # ---- running ----

    cdef int _depart(self, Connection *connection, Reader *reader) except -1:
        """Give a complete request to a lane and a greenlet of its own."""
        cdef Reactor reactor = self.reactor
        cdef Lane lane = reactor.spare.pop() if reactor.spare else self._new_lane()
        cdef Reader scratch
        # 100 (Continue), perhaps.
        self._flush(connection)
        if reader == &self._scratch:
            scratch = lane._scratch
            lane._scratch = self._scratch
            self._scratch = scratch
            reader = &lane._scratch
        lane._connection = connection
        lane._reader = reader
        self._set_running(connection)
        delist(reactor.lists, connection)
        reactor.running += 1
        try:
            reactor.on_request(lane)
        except BaseException:
            if lane._connection != connection:
                # The request has the connection. This is of a signal handler, say, which ran when it let us go on.
                self.log.exception("Error while a request began")
                return 0
            connection.is_running = False
            lane._give_back()
            raise
        return 0

    cdef Lane _new_lane(self):
        cdef Reactor reactor = self.reactor
        # Those that wait for their client do not count, and keep their rows: who runs meanwhile does without.
        cdef int number = reactor.lanes if reactor.lanes < reactor.capacity else -1
        reactor.lanes += number >= 0
        return Lane(reactor, number)

    cdef int _set_running(self, Connection *connection) except -1:
        """Leave the connection alone until its request has run, however often the poller reports it."""
        connection.is_running = True
        if connection.is_watched:
            self.reactor.watch_connection(connection, 0)
        return 0

    cdef int _give_back(self) except -1:
        """Be free for another request."""
        self._connection = NULL
        # However the last one ended: nothing of it must reach the next one's client.
        self.out.used = 0
        self.row.busy_since_ns = 0
        if self.exchange is not None:
            self.exchange.connection = NULL
        if self.out.capacity > COPY_LIMIT:
            # There may be a thousand of these.
            free(self.out.data)
            memset(&self.out, 0, sizeof(Out))
        self.reactor.running -= 1
        if self.number >= 0:
            self.reactor.spare.append(self)
        return self.reactor.note_served()

    def serve(self) -> None:
        """Run the request that `on_request` was called for; by the greenlet that is its own, once."""
        cdef Connection *connection = self._connection
        if connection == NULL:
            raise RuntimeError("a lane serves once for each call of on_request")
        self._connection = NULL
        self.reactor.lock()
        try:
            self._serve(connection)
        finally:
            self.reactor.unlock()

    cdef int _serve(self, Connection *connection) except -1:
        self.tick(pyserver_now_ns())
        try:
            self._run(connection, self._reader)
            self._leave(connection, self._reader)
            connection.is_running = False
            if connection.reader != NULL or connection.is_readable:
                # In a greenlet of its own, which only the one who reads can begin.
                connection.is_held = connection.reader != NULL
                self.reactor.go_on_later(connection)
            self._settle(connection)
        except BaseException as error:
            connection.is_running = False
            if isinstance(error, Exception):
                self._give_up(connection)
            elif connection.source.fd >= 0:
                # Killed, while it waited for its client.
                self.reactor.close(connection)
        finally:
            self._give_back()
        return 0

    cdef int _run(self, Connection *connection, Reader *reader) except -1:
        """Hand the request to the gateway, and consume it."""
        cdef Exchange exchange = self.exchange
        cdef Head *head = &reader.head
        cdef Slot *slot = self.slot
        cdef Py_ssize_t length = 0
        cdef int64_t began_ns, duration_ns
        cdef bint was_running
        if exchange is None or Py_REFCNT(<PyObject *> exchange) > 2:
            # Somebody kept the last one (an application its write callable, say): it must not speak for this request.
            exchange = Exchange.__new__(Exchange)
            exchange.transport = self
            self.exchange = exchange
        exchange.row = self.row
        exchange.connection = connection
        exchange.head = head
        exchange.base = reader.data + reader.begin
        exchange.received = connection.content
        if connection.content == NULL:
            length = <Py_ssize_t> head.content_length
        exchange.content = Span(exchange.base + head.position, length)
        # Who retires still answers what has been sent already: the last response of a pipeline says close.
        exchange.is_followed = reader.length > reader.begin + head.position + length
        exchange.persists = head_persists(head) and self.reactor.lists[AWAIT_NEXT_REQUEST].duration_ns > 0
        exchange.is_finished = exchange.is_logged = exchange.has_failed = exchange.has_excess = exchange.gathers = False
        exchange.wrote_ns = 0
        if self.reactor.looks_back:
            self.look_back(connection, head, exchange.base)
            exchange.note_client()
        exchange.queue_ns = self.reactor.note_queued(connection, self.now_ns)
        exchange.receive_ns = take_receive_ns(connection, self.now_ns - exchange.queue_ns)
        exchange.headed_ns = 0
        if self.ids is not None:
            exchange.request_id = new_id(self.ids, connection, head, exchange.base, self.believes(connection))
        reset_response(&exchange.response, is_of_head(reader))
        connection.requests += 1
        delist(self.reactor.lists, connection)
        if self.out.used == 0:
            self._out_since_ns = self.now_ns
        elif self.now_ns - self._out_since_ns > GATHER_NS:
            self._flush(connection)
            self._out_since_ns = self.now_ns
        # Where the response to it will begin, for whoever has to answer in its place.
        exchange.response.head_at = self.out.used
        self.has_given = False
        # What came before has just been timed. Only the log tells the application's time from that of its content.
        began_ns = self.now_ns if self.access is None else pyserver_now_ns()
        note_request(self.row, exchange, began_ns)
        self._call(connection, exchange)
        if not exchange.is_finished:
            exchange.fail()
        self.row.busy_since_ns = 0
        slot.cells[<int> Cell.ERRORS] += exchange.has_failed
        slot.cells[<int> Cell.BYTES_SENT] += exchange.response.sent
        self.reactor.requests += 1
        slot.cells[<int> Cell.REQUESTS] = self.reactor.requests
        duration_ns = self.now_ns - began_ns
        note_latency(slot, duration_ns)
        if self.access is not None:
            exchange.log_access(self.now_ns, duration_ns)
            if self.reactor.leadership is None:
                # A steward has its turn meanwhile, and is to leave this connection alone.
                was_running, connection.is_running = connection.is_running, True
                self.let_go()
                connection.is_running = was_running
        exchange.connection = NULL
        if not exchange.persists:
            connection.closes = True
        if connection.content != NULL:
            free_content(connection.content)
            connection.content = NULL
        reader.begin += head.position + length
        reset_head(head)
        return 0

    cdef int _call(self, Connection *connection, Exchange exchange) except -1:
        """Have the application answer; other threads have their turns meanwhile."""
        cdef Leadership leadership = self.reactor.leadership
        cdef object request
        cdef int64_t left_ns
        # The collector runs finalizers of the application, which may want what another thread has that wants our mutex.
        cdef bint collects = PyGC_Disable() if leadership is not None else False
        try:
            request = self.reactor.gateway.prepare(exchange)
        finally:
            if collects:
                PyGC_Enable()
        self._is_in_application = True
        if leadership is None:
            if not exchange.is_finished:
                self._call_alone(connection, exchange, request)
            self._is_in_application = False
            return self.tick(pyserver_now_ns())
        left_ns = self.now_ns
        self._set_running(connection)
        self.reactor.running += 1
        self.reactor.call_steward()
        leadership.leave(self.number)
        self.dropped = None
        try:
            if not exchange.is_finished:
                self.reactor.gateway.run(exchange, request)
        finally:
            request = None
            leadership.lock()
            self._is_in_application = False
            self.reactor.running -= 1
            connection.is_running = False
            self.tick(pyserver_now_ns())
            leadership.come_back(self.number, self.now_ns - left_ns)
        return 0

    cdef int _call_alone(self, Connection *connection, Exchange exchange, object request) except -1:
        """Where one thread serves, only a steward has its turn meanwhile."""
        cdef bint was_running = connection.is_running
        if self.reactor.mutex == NULL and not self.reactor.collector.is_kept_off:
            return self.reactor.gateway.run(exchange, request)
        connection.is_running = True
        self.reactor.call_steward()
        self.reactor.unlock()
        try:
            return self.reactor.gateway.run(exchange, request)
        finally:
            self.reactor.lock()
            connection.is_running = was_running

    cdef int let_go(self) except -1:
        """Drop what is left of the last request: its content may be a file."""
        if self.dropped is not None:
            self.reactor.unlock()
            self.dropped = None
            self.reactor.lock()
        return 0

    cdef int _refuse(self, Connection *connection, const Reader *reader, int fault, Py_ssize_t at=-1) except -1:
        """Answer a request that breaks a rule, once, and close; `at` is where in its head, or -1."""
        if connection.requests == 0 and is_client_hello(reader):
            self.log.info("%s begins a TLS handshake, which is not spoken here: closed", peer_of(connection))
            self.slot.cells[<int> Cell.REFUSED] += 1
            connection.closes = True
            return 0
        status, section, words = _REFUSALS[fault]
        where = f", byte {at} of the head" if at >= 0 else ""
        self.log.warning(
            "refused a request from %s with %d: %s (%s%s)", peer_of(connection), status, words, section, where
        )
        return self._answer(connection, reader, status, words)

    cdef int _answer(
        self, Connection *connection, const Reader *reader, int status, str words, list fields=None
    ) except -1:
        """Write a whole response of the server's own, after which it is closed; `fields` are pairs of bytes."""
        cdef bytes content = f"{status} {_REASONS[status]}: {words}\n".encode()
        cdef bint persists = False
        self.slot.cells[<int> Cell.REFUSED] += 1
        self._write_answer(connection, reader, status, content, fields, 1, &persists)
        if self.access is not None:
            self._log_answer(connection, reader, status, len(content))
        connection.closes = connection.lingers = True
        return 0

    cdef bint _is_probe(self, const Reader *reader) noexcept:
        """Whether the request, whose head is complete, asks how the server is; with content it is the application's."""
        cdef const Head *head = &reader.head
        cdef const unsigned char *base = reader.data + reader.begin
        cdef Py_ssize_t length = PyBytes_GET_SIZE(self.reactor.health)
        return (
            <Py_ssize_t> head.path_length == length
            and memcmp(base + head.path, PyBytes_AS_STRING(self.reactor.health), <size_t> length) == 0
            and head.content_length == 0 and not head.flags & HAS_CHUNKED
            and (is_of_head(reader) or (head.method_length == 3 and memcmp(base + head.method, b"GET", 3) == 0))
        )

    cdef int _answer_probe(self, Connection *connection, Reader *reader) except -1:
        """Tell in the application's place how the server is: it serves, or is to stop."""
        cdef Head *head = &reader.head
        cdef bint drains = self.slot.cells[<int> Cell.DRAINS] != 0
        cdef bytes content = b"draining\n" if drains else b"ok\n"
        cdef int status = 503 if drains else 200
        cdef bint is_followed = reader.length > reader.begin + head.position
        cdef bint persists = (
            head_persists(head) and self.reactor.lists[AWAIT_NEXT_REQUEST].duration_ns > 0
            and (is_followed or not self.leaves(connection))
        )
        connection.requests += 1
        connection.since_ns = connection.first_ns = 0
        delist(self.reactor.lists, connection)
        if self.out.used == 0:
            self._out_since_ns = self.now_ns
        self._write_answer(
            connection, reader, status, content, [(b"Cache-Control", b"no-store")], <int> head.minor, &persists
        )
        if self.reactor.logs_health and self.access is not None:
            self._log_answer(connection, reader, status, len(content))
        if not persists:
            connection.closes = True
        reader.begin += head.position
        reset_head(head)
        return 0

    cdef int _write_answer(
        self, Connection *connection, const Reader *reader, int status, bytes content, list fields, int minor,
        bint *persists,
    ) except -1:
        cdef bytes line
        cdef Response response
        cdef Out *out = &self.out
        reset_response(&response, is_of_head(reader))
        start_response_head(
            &response, out, f"{status} {_REASONS[status]}", [("Content-Type", "text/plain; charset=utf-8")]
        )
        for name, value in fields or ():
            line = b"%b: %b\r\n" % (name, value)
            append(out, <const char *> line, len(line))
        finish_response_head(&response, out, &self.stamp, len(content), <uint32_t> minor, persists)
        if not response.to_head_request:
            append(out, <const char *> content, len(content))
        return 0

    cdef int _log_answer(self, Connection *connection, const Reader *reader, int status, Py_ssize_t sent) except -1:
        """Have a line in the access log for an answer of the server's own."""
        cdef Facts facts
        state_refusal(&facts, connection, reader)
        facts.status = status
        facts.sent = 0 if is_of_head(reader) else sent
        facts.ended_ns = self.now_ns
        self.access.record(&facts, None, None, self.now_ns)
        return 0

    cdef bint leaves(self, const Connection *connection) noexcept:
        return self.reactor.is_retiring and (
            not self.reactor.moves or (connection != NULL and connection.stays)
        )

    cdef int _settle(self, Connection *connection) except -1:
        """After a turn: decide what the connection waits for, and watch for it."""
        cdef Session session
        if connection.is_carried and not self.reactor.batches:
            # The next turn may take long.
            session = (<Carried> connection.channel).session
            self._settle_itself(connection)
            return session.flush()
        return self._settle_itself(connection)

    cdef int _settle_itself(self, Connection *connection) except -1:
        cdef int reason
        cdef int64_t latest
        if connection.source.fd < 0 or connection.is_running or connection.waits_for == AWAIT_TURN:
            return 0
        if connection.session != NULL:
            return 0                # its session decides
        if connection.output != NULL:
            reason = AWAIT_WRITE
            connection.unsent = pyserver_unsent(connection.source.fd)
        elif connection.closes:
            return self._finish(connection)
        elif connection.content != NULL:
            reason = AWAIT_CONTENT
        elif connection.reader != NULL and (connection.awaits_proxy or is_begun(&connection.reader.head)):
            reason = AWAIT_HEAD
        elif connection.requests == 0:
            reason = AWAIT_FIRST_BYTE
        else:
            reason = AWAIT_NEXT_REQUEST
        if (reason == AWAIT_HEAD or reason == AWAIT_CONTENT) and connection.first_ns == 0:
            connection.first_ns = self.now_ns
        # The time for a head runs from its first byte, however many follow.
        if connection.waits_for != reason or not (connection.keeps_deadline or reason in (AWAIT_FIRST_BYTE, AWAIT_HEAD)):
            self.reactor.wait_for(connection, reason, self.now_ns)
            if reason == AWAIT_NEXT_REQUEST and connection.stays and self.leaves(connection):
                # It has begun its last response before it knew that it is the last one, and cannot move.
                latest = min(connection.deadline_ns, self.now_ns + self.reactor.stay_grace_ns)
                enlist_until(self.reactor.lists, connection, reason, latest)
        elif reason == AWAIT_FIRST_BYTE and connection.channel != NULL and not connection.is_carried:
            self._let_shake(connection)
        return self.reactor.watch_connection(connection, WRITABLE if reason == AWAIT_WRITE else READABLE)

    cdef int _let_shake(self, Connection *connection) except -1:
        """Have who is told how to go on with a handshake while the worker leaves go on, and ask for something."""
        cdef TLSChannel channel = <TLSChannel> connection.channel
        cdef int64_t latest
        if channel.has_advanced and self.leaves(connection):
            channel.has_advanced = False
            latest = max(connection.deadline_ns, self.now_ns + self.reactor.idle_grace_ns)
            enlist_until(self.reactor.lists, connection, AWAIT_FIRST_BYTE, latest)
        return 0

    cdef int _finish(self, Connection *connection) except -1:
        """All is written: close, or first let the peer read its answer while what it still sends is dropped."""
        # A FIN would say that a response without framing is complete: one that is not has no polite end.
        if connection.is_gone or connection.has_ended or connection.resets or connection.is_carried:
            return self.reactor.close(connection)
        # Closing with bytes unread would reset the connection, and take what the client has not read with it.
        if not connection.lingers and pyserver_unread(connection.source.fd) == 0:
            return self.reactor.close(connection)
        # Up to half a minute is long to hold what nobody will ask for again.
        if connection.reader != NULL:
            free_reader(connection.reader)
            connection.reader = NULL
        if connection.content != NULL:
            free_content(connection.content)
            connection.content = NULL
        if connection.channel != NULL:
            (<Channel> connection.channel).end(connection)
        shutdown(connection.source.fd, SHUT_WR)
        connection.unsent = pyserver_unsent(connection.source.fd)
        connection.linger_until_ns = self.now_ns + LINGER_MOST_SECONDS * SECOND
        self.reactor.wait_for(connection, AWAIT_CLOSE, self.now_ns)
        self.reactor.watch_connection(connection, READABLE)
        return self._discard(connection)

    cdef int _discard(self, Connection *connection) except -1:
        """RFC 9112 §9.6: read until the peer has closed too, or time is up."""
        cdef Py_ssize_t got
        cdef int turn
        for turn in range(TURNS):
            got = recv(connection.source.fd, self._scratch.data, SCRATCH, 0)
            if got < 0 and errno in (EAGAIN, EWOULDBLOCK, EINTR):
                if self.now_ns < connection.linger_until_ns:
                    self.reactor.wait_for(connection, AWAIT_CLOSE, self.now_ns)
                return 0
            if got <= 0:
                return self.reactor.close(connection)
            if connection.linger_left:
                connection.linger_left -= got
                if connection.linger_left <= 0:
                    return self.reactor.close(connection)
        if self.now_ns >= connection.linger_until_ns and not self._goes_on_taking(connection):
            return self.reactor.close(connection)
        return self.reactor.go_on_later(connection)

    cdef bint _goes_on_taking(self, Connection *connection) noexcept:
        """Whether the peer has taken a good part of what is sent since it was asked last; else a reset takes the rest."""
        cdef int unsent = pyserver_unsent(connection.source.fd)
        if unsent <= 0 or unsent > connection.unsent - TAKEN:
            return False
        connection.unsent = unsent
        connection.linger_until_ns = self.now_ns + LINGER_SECONDS * SECOND
        return True

    cdef int expire(self, Connection *connection, int reason) except -1:
        cdef int unsent
        cdef Session session
        if connection.session != NULL:
            session = <Session> connection.session
            return session.expire(reason, self.now_ns)
        if reason == AWAIT_HEAD or reason == AWAIT_CONTENT:
            if reason == AWAIT_HEAD:
                self._refuse(connection, connection.reader, Fault.HEAD_TIMEOUT)
            else:
                self._refuse(connection, connection.reader, Fault.CONTENT_TIMEOUT)
            self._flush(connection)
            return self._settle(connection)
        if reason == AWAIT_WRITE or reason == AWAIT_ROOM:
            # A socket becomes writable when a good part of its buffer is free: a slow reader may have taken much of
            # it since, and be no less alive.
            if connection.is_carried and (<Carried> connection.channel).is_excused():
                return self.reactor.wait_for(connection, reason, self.now_ns)
            unsent = pyserver_unsent(connection.source.fd)
            if 0 <= unsent < connection.unsent:
                connection.unsent = unsent
                return self.reactor.wait_for(connection, reason, self.now_ns)
            self.log.info("%s took nothing of a response for write_timeout: closed", peer_of(connection))
            if connection.waiting != NULL:
                self._lose(connection)
                return self._tell_room(connection)
        if reason == AWAIT_CLOSE and self._goes_on_taking(connection):
            return self.reactor.wait_for(connection, reason, self.now_ns)
        return self.reactor.close(connection)
