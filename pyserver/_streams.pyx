"""Connections whose requests run beside others: content is given as it comes, responses are taken as they are made.

One lane reads, parses and writes for all of them, because all run in one thread, and none while another has its turn.
"""
from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy

from pyserver._abort cimport answer_for
from pyserver._channel cimport Carried, receive
from pyserver._connection cimport (
    AWAIT_CONTENT, AWAIT_NEXT_REQUEST, AWAIT_ROOM, Connection, Content, Reader, delist, free_content, make_room,
    new_content, new_reader, peer_of, take_receive_ns,
)
from pyserver._exchange cimport Exchange, Stream, is_of_head, new_id, note_request
from pyserver._http cimport (
    COMPLETE, EXPECTS_CONTINUE, HAS_CHUNKED, NEED_MORE, REFUSED, Fault, Field, Head, Span, append, head_persists,
    reset_head,
)
from pyserver._lane cimport SCRATCH, TURNS, Lane
from pyserver._poller cimport BROKEN, READABLE, WRITABLE
from pyserver._reactor cimport Reactor
from pyserver._response cimport BY_CLOSE, reset_response, start_response_head
from pyserver._scoreboard cimport Cell, Row, note_latency
from pyserver._system cimport EWOULDBLOCK, MSG_PEEK, pyserver_has_peer_ended, pyserver_now_ns, pyserver_unsent, recv

cdef extern from "Python.h":
    char *bytes_of "PyBytes_AS_STRING" (PyObject *bytes) nogil

cdef enum:
    LARGE_BLOCK = 1048576
    ALIGNMENT = 16              # of memory for anything


cdef class StreamLane(Lane):
    """The lane of an engine whose requests run as tasks of an event loop."""

    def __cinit__(self, Reactor reactor not None, int number):
        # glibc returns what is free at the end of the heap, beyond twice the largest block that it ever gave back whole,
        # and at first beyond 128 KB. So content that comes and goes would have each of its pages mapped anew.
        PyMem_RawFree(PyMem_RawMalloc(LARGE_BLOCK))
        self._begun = []
        answer_for(self)

    def __dealloc__(self):
        free(self._free_places)

    # ---- a connection's turn ----

    cdef int tend(self, Connection *connection, int events) except -1:
        if self._holder != NULL:
            self._put_aside()
        if connection.source.fd < 0:
            return 0                # by what has just been put aside
        Lane.tend(self, connection, events)
        if connection.is_gone and connection.stream != NULL and connection.source.fd >= 0:
            self.reactor.close(connection)
        return 0

    cdef int _tend_running(self, Connection *connection, int events) except -1:
        cdef Stream stream = <Stream> connection.stream
        if connection.output != NULL and events & (WRITABLE | BROKEN):
            self._write_stream(connection, stream)
        if connection.stream != NULL and events & (READABLE | BROKEN):
            self._read_stream(connection, (events & BROKEN) != 0)
        return 0

    cdef int _write_stream(self, Connection *connection, Stream stream) except -1:
        """The socket takes more of what it had no room for."""
        cdef int64_t before = connection.output.given
        self._drain(connection)
        if connection.is_gone:
            return self.reactor.close(connection)
        if connection.output == NULL:
            self.come_back(stream)
            stream.note_room()
            if connection.stream == NULL:
                return 0
        elif connection.output.given == before:
            return 0            # nothing taken: the deadline stays
        delist(self.reactor.lists, connection)
        return self._watch_stream(connection, stream)

    cdef int _receive(self, Connection *connection, bint to_the_end) except -1:
        """Take what the socket has: requests, and behind the head of one that runs what belongs to it."""
        Lane._receive(self, connection, to_the_end)
        if connection.stream != NULL and connection.is_readable:
            self._read_stream(connection, to_the_end)
        return 0

    cdef int _advance(self, Connection *connection, Reader *reader) except -1:
        """Begin the request whose head is complete in `reader`; what is behind it waits until it has been answered."""
        cdef int outcome
        connection.is_held = False
        if self._holder != NULL:
            self._put_aside()
        if (
            connection.awaits_proxy or connection.awaits_tls or connection.awaits_preface
        ) and not self.open_up(connection, reader):
            return self._leave(connection, reader)
        if self.reactor.is_full():
            connection.is_held = True
            self._hold(connection)
        else:
            outcome = self.parse(connection, reader)
            while outcome == COMPLETE and self.reactor.health is not None and self._is_probe(reader):
                self._answer_probe(connection, reader)
                outcome = NEED_MORE
                if reader.begin < reader.length and not connection.closes:
                    outcome = self.parse(connection, reader)
            if outcome == COMPLETE:
                self._begin(connection, reader)
            elif outcome == REFUSED:
                self._refuse(connection, reader, reader.head.fault, reader.head.position)
        return self._leave(connection, reader)

    cdef int launch_begun(self) except -1:
        """Have the application run what this round has brought.

        All that is here is read before, and the last comes first: if requests hang that have come for whatever reason,
        the rest of them are here as well when a new worker begins, and were here before those that others have sent
        since. So what hangs takes the others of its kind with it, instead of one worker after the other.
        """
        cdef Stream stream
        while self._begun:
            stream = <Stream> self._begun.pop()
            if stream.connection == NULL:
                # Its client has gone again, and nobody has heard of it.
                self.leave_list(stream)
                continue
            if not self._launch(stream) and stream.connection != NULL:
                self.reactor.close(stream.connection)
        return 0

    cdef bint _launch(self, Stream stream) except -1:
        """Have the application begin; False when that failed."""
        self.reactor.call_steward()
        self.reactor.unlock()
        try:
            stream.launch()
        except Exception:
            self.log.exception("The request %s could not be begun", stream.request_line())
            return False
        finally:
            self.reactor.lock()
        return True

    cdef int unread(self, Connection *connection) except -1:
        """Have the content that another worker has taken from what was read be a part of that again."""
        cdef Content *content = connection.content
        cdef Reader *reader = connection.reader
        if content.is_chunked or content.file >= 0:
            # It was the last of a generation whose requests run in place, and this one takes what it has no use for.
            self.log.error("The request of %s is cut off: its content cannot move to this class of workers", peer_of(connection))
            return self.reactor.close(connection)
        make_room(reader, content.used)
        memcpy(reader.data + reader.length, bytes_of(content.memory), <size_t> content.used)
        reader.length += content.used
        reset_head(&reader.head)
        free_content(content)
        connection.content = NULL
        return 0

    # ---- a request begins ----

    cdef int _begin(self, Connection *connection, Reader *reader) except -1:
        """Make it a request under way, or answer it."""
        cdef Head *head = &reader.head
        cdef const unsigned char *base = reader.data + reader.begin
        cdef Py_ssize_t used = 0
        cdef Stream stream
        self.queue_ns = self.reactor.note_queued(connection, pyserver_now_ns() if self.reactor.is_waiting else self.now_ns)
        if self.reactor.looks_back:
            self.look_back(connection, head, base)
        if self.ids is not None:
            self.request_id = new_id(self.ids, connection, head, base, self.believes(connection))
        try:
            stream = self.reactor.gateway.open(self, connection, head, base)
        except Exception:
            self.log.exception("A request from %s could not be begun", peer_of(connection))
            return self._answer(connection, reader, 500, "the request could not be begun")
        if stream.is_refused:
            return self._answer_for(connection, reader, stream)
        stream.transport = self
        stream.connection = connection
        if connection.is_carried:
            stream.channel = <object> connection.channel
        stream.queue_ns = self.queue_ns
        if self.reactor.looks_back:
            stream.note_client()
        stream.request_id = self.request_id
        stream.receive_ns = take_receive_ns(connection, self.now_ns - self.queue_ns)
        stream.persists = head_persists(head) and self.reactor.lists[AWAIT_NEXT_REQUEST].duration_ns > 0
        reset_response(&stream.response, is_of_head(reader))
        connection.requests += 1
        delist(self.reactor.lists, connection)
        self._keep_head(stream, head, base)
        self._take_place(stream)
        self._enter_list(stream)
        Py_INCREF(stream)
        connection.stream = <PyObject *> stream
        connection.is_running = True
        stream.began_ns = self.now_ns if self.access is None else pyserver_now_ns()
        note_request(stream.row, stream, stream.began_ns)
        if not self._begin_with_content(connection, reader, stream, &used):
            self.leave_list(stream)
            reader.begin = reader.length
            return 0
        if stream.is_raw and reader.length > reader.begin + head.position:
            # Sent along with the handshake, which is not forbidden.
            used = reader.length - reader.begin - head.position
            stream.take(reader.data + reader.begin + head.position, used)
        # What it sends already is answered by the same worker, though it may have been told to leave.
        stream.is_followed = reader.length > reader.begin + head.position + used
        reader.begin += head.position + used
        reset_head(head)
        self._watch_stream(connection, stream)
        self._begun.append(stream)
        return 0

    cdef int _keep_head(self, Stream stream, const Head *head, const unsigned char *base) except -1:
        """Keep what the log will tell of the request: all of its head, or the request line."""
        cdef Py_ssize_t length = head.target + head.target_length
        cdef Py_ssize_t at
        cdef uint32_t kept = 0
        if self.access is not None:
            length = head.position
            kept = head.count
        # The fields lie behind the text they point into.
        at = (length + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT
        stream.text = <unsigned char *> malloc(<size_t> at + kept * sizeof(Field))
        if stream.text == NULL:
            raise MemoryError()
        memcpy(stream.text, base, <size_t> length)
        if kept:
            memcpy(stream.text + at, head.fields, kept * sizeof(Field))
        stream.brief = head[0]
        stream.brief.fields = <Field *> (stream.text + at)
        stream.brief.count = stream.brief.capacity = kept
        stream.head = &stream.brief
        stream.base = stream.text
        return 0

    cdef bint _begin_with_content(
        self, Connection *connection, Reader *reader, Stream stream, Py_ssize_t *used
    ) except -1:
        """Give it so much of its content as is here; False when that was wrong, and is refused."""
        cdef Head *head = &reader.head
        cdef unsigned char *content = reader.data + reader.begin + head.position
        cdef Py_ssize_t available = reader.length - reader.begin - head.position
        cdef bint is_chunked = (head.flags & HAS_CHUNKED) != 0
        cdef int outcome
        if not is_chunked and head.content_length <= <uint64_t> available:
            used[0] = <Py_ssize_t> head.content_length
            if used[0]:
                stream.take(content, used[0])
            stream.note_all()
            return True
        connection.content = new_content(head)
        stream.expects_continue = (head.flags & EXPECTS_CONTINUE) != 0 and available == 0
        if available:
            outcome = self._feed(connection, reader, content, available, used)
            if outcome == COMPLETE:
                self._end_content(connection, stream)
            return outcome != REFUSED
        return True

    cdef int _end_content(self, Connection *connection, Stream stream) except -1:
        free_content(connection.content)
        connection.content = NULL
        return stream.note_all()

    cdef bint _keep(self, Connection *connection, const Reader *reader, Span data) except -1:
        """Content is the application's to take, not ours to collect."""
        (<Stream> connection.stream).take(data.start, data.length)
        return True

    cdef int _answer_for(self, Connection *connection, Reader *reader, Stream stream) except -1:
        """Answer a request that the gateway does not run, and close."""
        self.log.warning(
            "refused a request from %s with %d: %s", peer_of(connection), stream.refusal, stream.refusal_words
        )
        return self._answer(connection, reader, stream.refusal, stream.refusal_words, stream.refusal_fields)

    cdef int _refuse(self, Connection *connection, const Reader *reader, int fault, Py_ssize_t at=-1) except -1:
        """Answer a request that breaks a rule, also in the middle of its content, while the application has it."""
        cdef Stream stream
        cdef Reader rest
        if connection.stream == NULL:
            return Lane._refuse(self, connection, reader, fault, at)
        stream = <Stream> connection.stream
        rest.head = stream.brief
        rest.data = stream.text
        rest.begin = 0
        connection.resets = stream.response.is_head_done and stream.response.framing == BY_CLOSE
        # Another answer to what the application answers already would be taken for a part of it.
        if stream.response.is_head_done:
            connection.closes = True
            self.log.warning("the response to %s is cut off: its request breaks a rule", stream.request_line())
            self.reactor.part(connection)
            return 0
        self.reactor.part(connection)
        return Lane._refuse(self, connection, &rest, fault, at)

    # ---- what clients send while their requests run ----

    cdef int _read_stream(self, Connection *connection, bint to_the_end) except -1:
        cdef Stream stream
        cdef Py_ssize_t got
        cdef int turn
        for turn in range(TURNS):
            stream = <Stream> connection.stream
            if not stream.wants_more():
                # What is there beyond will not be reported again.
                connection.is_readable = connection.is_readable or turn > 0
                if connection.waits_for == AWAIT_CONTENT:
                    # It is not the client that is slow.
                    delist(self.reactor.lists, connection)
                if connection.channel != NULL and stream.has_heard_all and not stream.is_raw and connection.reader == NULL:
                    return self._read_ahead(connection, stream, to_the_end)
                return self._look_for_end(connection, stream) if to_the_end else 0
            connection.is_readable = False
            got = receive(connection, self._scratch.data, SCRATCH)
            if got > 0:
                self._take(connection, stream, got)
                if connection.stream == NULL:
                    if connection.source.fd >= 0:
                        self._flush(connection)
                        self._settle(connection)
                    return 0
                if got < SCRATCH and not to_the_end and not connection.is_readable:
                    return self._watch_stream(connection, stream)
            elif got == 0:
                connection.has_ended = True
                if connection.waits_for == AWAIT_CONTENT:
                    delist(self.reactor.lists, connection)
                return stream.note_end()
            elif errno in (EAGAIN, EWOULDBLOCK):
                return self._watch_stream(connection, stream)
            elif errno != EINTR:
                connection.is_gone = True
                return self.reactor.close(connection)
        connection.is_readable = True
        self._watch_stream(connection, stream)
        return self.reactor.go_on_later(connection)

    cdef int _take(self, Connection *connection, Stream stream, Py_ssize_t got) except -1:
        cdef Py_ssize_t consumed = 0
        cdef int outcome
        if stream.is_raw:
            return stream.take(self._scratch.data, got)
        outcome = self._feed(connection, NULL, self._scratch.data, got, &consumed)
        if outcome == COMPLETE:
            self._end_content(connection, stream)
            if consumed < got:
                self._keep_behind(connection, self._scratch.data + consumed, got - consumed)
        return 0

    cdef int _keep_behind(self, Connection *connection, const unsigned char *data, Py_ssize_t length) except -1:
        """Keep what came behind the content: the next request waits for its turn."""
        connection.reader = new_reader(data, length)
        return 0

    cdef int _read_ahead(self, Connection *connection, Stream stream, bint to_the_end) except -1:
        """The same where it shows only by decrypting; what comes before the end belongs to the next request."""
        cdef Py_ssize_t got
        connection.is_readable = False
        got = receive(connection, self._scratch.data, SCRATCH)
        if got > 0:
            connection.is_readable = connection.is_readable or got == SCRATCH
            self._keep_behind(connection, self._scratch.data, got)
            return self._look_for_end(connection, stream) if to_the_end else 0
        if got == 0:
            connection.has_ended = True
            return stream.note_end()
        if errno in (EAGAIN, EWOULDBLOCK, EINTR):
            return 0
        connection.is_gone = True
        return self.reactor.close(connection)

    cdef int _look_for_end(self, Connection *connection, Stream stream) except -1:
        """Tell the request when its client has gone, though nothing is read for it."""
        cdef Py_ssize_t got
        if connection.is_carried:
            return stream.note_end() if (<Carried> connection.channel).has_ended() else 0
        got = recv(connection.source.fd, self._scratch.data, 1, MSG_PEEK)
        if got == 0:
            connection.has_ended = True
            connection.is_readable = False
        elif got < 0:
            if errno in (EAGAIN, EWOULDBLOCK, EINTR):
                return 0
            connection.is_gone = True
            return self.reactor.close(connection)
        elif stream.is_raw or not stream.has_heard_all or not pyserver_has_peer_ended(connection.source.fd):
            # What was sent before the end is still to be read, and the end behind it.
            return 0
        return stream.note_end()

    cdef int _watch_stream(self, Connection *connection, Stream stream) except -1:
        """Decide what the connection of a request that runs waits for, and until when."""
        if self.reactor.is_waiting:
            self.tick(pyserver_now_ns())
        if connection.output != NULL:
            if connection.waits_for == AWAIT_ROOM:
                return 0
            connection.unsent = pyserver_unsent(connection.source.fd)
            self.reactor.wait_for(connection, AWAIT_ROOM, pyserver_now_ns())
        elif stream.is_raw:
            if connection.waits_for == AWAIT_ROOM:
                delist(self.reactor.lists, connection)
            stream.note_heard()
        elif connection.content != NULL and stream.wants_more() and not stream.expects_continue:
            self.reactor.wait_for(connection, AWAIT_CONTENT, self.now_ns)
        else:
            delist(self.reactor.lists, connection)
        return self.reactor.watch_connection(connection, READABLE)

    # ---- what streams ask for ----

    cdef int wait(self, Stream stream, int reason) except -1:
        """Have its connection wait for `reason` from now on."""
        self.reactor.lock()
        try:
            if self.reactor.is_waiting:
                self.tick(pyserver_now_ns())
            return self.reactor.wait_for(stream.connection, reason, self.now_ns)
        finally:
            self.reactor.unlock()

    cdef int go_on(self, Stream stream) except -1:
        """It wants more again: read what has come since."""
        cdef Connection *connection = stream.connection
        if connection == NULL:
            return 0
        self.reactor.lock()
        try:
            if connection.is_readable:
                return self.reactor.go_on_later(connection)
            return self._watch_stream(connection, stream)
        finally:
            self.reactor.unlock()

    cdef int say_continue(self, Stream stream) except -1:
        """RFC 9110 §10.1.1: the application asks for content that the client holds back."""
        stream.expects_continue = False
        self.hold_out(stream)
        append(&self.out, b"HTTP/1.1 100 Continue\r\n\r\n", 25)
        return self.go_on(stream) if self.give(stream) else 0

    cdef int hold_out(self, Stream stream) except -1:
        """Have `out` hold nothing but what goes to the client of this one."""
        if self._holder == <PyObject *> stream:
            return 0
        if self._holder != NULL:
            self._put_aside()
        self._holder = <PyObject *> stream
        if stream.aside is not None:
            append(&self.out, <const char *> stream.aside, len(stream.aside))
            stream.response.head_at = 0
            stream.aside = None
        return 0

    cdef int _put_aside(self) except -1:
        """Empty `out`: what is gathered leaves, and a head that has only begun is kept for later."""
        cdef Stream stream = <Stream> self._holder
        if stream.response.is_started and not stream.response.is_head_done:
            stream.aside = self.out.data[:self.out.used]
            self.out.used = 0
            self._holder = NULL
            return 0
        self.give(stream)
        return 0

    cdef bint give(self, Stream stream) except -1:
        """Send what is gathered; False when the client takes no more for now."""
        cdef Connection *connection = stream.connection
        self._holder = NULL
        if connection == NULL:
            self.out.used = 0
            return True
        self.reactor.lock()
        try:
            return self._give_out(connection, stream)
        finally:
            self.reactor.unlock()

    cdef bint _give_out(self, Connection *connection, Stream stream) except -1:
        self._flush(connection)
        if connection.is_gone:
            self.reactor.close(connection)
            return True
        if connection.output == NULL:
            return True
        if connection.waits_for != AWAIT_ROOM:
            self._watch_stream(connection, stream)
        self.stand_aside(stream)
        return False

    cdef int end_step(self, Stream stream) except -1:
        """The application waits for something, or has returned: what it has given so far leaves."""
        if self._holder == <PyObject *> stream and (
            stream.response.is_head_done or not stream.response.is_started
        ):
            self.give(stream)
        return 0

    cdef int complete(self, Stream stream) except -1:
        """The response is given, or cut off: its connection is free for the next request, or ends."""
        if stream.connection == NULL:
            return self.release(stream)
        self.hold_out(stream)
        self.reactor.lock()
        try:
            return self._complete(stream.connection, stream)
        finally:
            self.reactor.unlock()

    cdef int _complete(self, Connection *connection, Stream stream) except -1:
        self._record(stream)
        connection.stream = NULL
        connection.is_running = False
        Py_DECREF(stream)
        if not stream.persists:
            connection.closes = True
        if not stream.has_heard_all:
            # Its rest must not be taken for a request.
            connection.closes = connection.lingers = True
            if connection.content != NULL:
                free_content(connection.content)
                connection.content = NULL
        self._holder = NULL
        self._flush(connection)
        stream.connection = NULL
        self.release(stream)
        stream.note_over()
        delist(self.reactor.lists, connection)
        self._go_on_behind(connection)
        return self.reactor.note_served()

    cdef int _record(self, Stream stream) except -1:
        """Count it, and add its line to the access log."""
        cdef int64_t duration_ns
        self.tick(pyserver_now_ns())
        duration_ns = self.now_ns - stream.began_ns
        self.slot.cells[<int> Cell.ERRORS] += stream.has_failed
        self.slot.cells[<int> Cell.BYTES_SENT] += stream.response.sent
        self.reactor.requests += 1
        self.slot.cells[<int> Cell.REQUESTS] = self.reactor.requests
        if not stream.is_raw:
            note_latency(self.slot, duration_ns)
        return stream.log_access(self.now_ns, duration_ns) if self.access is not None else 0

    cdef int _go_on_behind(self, Connection *connection) except -1:
        """What becomes of a connection whose response is given: its next request, a wait for one, or its end."""
        if not connection.closes:
            connection.is_held = connection.reader != NULL
            connection.closes = connection.has_ended and not connection.is_held
            if connection.is_held or connection.is_readable:
                self.reactor.go_on_later(connection)
        elif connection.reader != NULL:
            # Bytes behind a last response would reset the connection, and take the response with them.
            connection.lingers = True
        if connection.is_gone:
            return self.reactor.close(connection)
        return self._settle(connection)

    cdef int release(self, Stream stream) except -1:
        """Nothing of it is sent any more."""
        if self._holder == <PyObject *> stream:
            self._holder = NULL
            self.out.used = 0
        stream.aside = None
        return self.free_place(stream)

    # ---- which requests there are ----

    cdef int _take_place(self, Stream stream) except -1:
        """Have a row on the scoreboard, of which there are as many as requests that may run."""
        if self._free_count == 0 and self._places == self.reactor.capacity:
            # More have come back than there is room for.
            stream.place = -1
            stream.row = &self._own_row
            return 0
        if self._free_count:
            self._free_count -= 1
            stream.place = self._free_places[self._free_count]
        else:
            stream.place = self._places
            self._places += 1
            self.slot.cells[<int> Cell.ROWS] = max(self.slot.cells[<int> Cell.ROWS], self._places)
        stream.row = &self.slot.rows[0] + stream.place
        return 0

    cdef int free_place(self, Stream stream) except -1:
        """Have no row any more."""
        cdef int *places
        cdef int capacity
        if stream.place < 0:
            return 0
        if self._free_count == self._free_capacity:
            capacity = max(16, self._free_capacity * 2)
            places = <int *> realloc(self._free_places, capacity * sizeof(int))
            if places == NULL:
                raise MemoryError()
            self._free_places = places
            self._free_capacity = capacity
        self._free_places[self._free_count] = stream.place
        self._free_count += 1
        stream.row.busy_since_ns = 0
        stream.row = &self._own_row
        stream.place = -1
        return 0

    cdef int _enter_list(self, Stream stream) except -1:
        Py_INCREF(stream)
        stream.earlier = self._last
        stream.later = NULL
        if self._last != NULL:
            (<Stream> self._last).later = <PyObject *> stream
        else:
            self._first = <PyObject *> stream
        self._last = <PyObject *> stream
        self.reactor.running += 1
        self.reactor.listed += 1
        stream.is_counted = True
        return 0

    cdef int stop_counting(self, Stream stream) except -1:
        """It goes on for long, and costs little."""
        if not stream.is_counted:
            return 0
        stream.is_counted = False
        self.reactor.running -= 1
        self.free_place(stream)
        return self.reactor.note_served()

    cdef int stand_aside(self, Stream stream) except -1:
        """It waits for its client, and counts less where that may have a hundred of these."""
        cdef bint was_full
        if not stream.is_counted or stream.connection == NULL or not stream.connection.is_carried:
            return 0
        was_full = 2 * self.reactor.load() > self.reactor.capacity
        stream.is_counted = False
        stream.is_aside = True
        self.reactor.running -= 1
        self.reactor.waiting += 1
        self.free_place(stream)
        # Else nobody waits for room, and a slow upload comes here often.
        return self.reactor.note_served() if was_full else 0

    cdef int come_back(self, Stream stream) except -1:
        """Its client has gone on, and so does the application."""
        if not stream.is_aside:
            return 0
        stream.is_aside = False
        stream.is_counted = True
        self.reactor.waiting -= 1
        self.reactor.running += 1
        self._take_place(stream)
        note_request(stream.row, stream, stream.began_ns)
        stream.row.alive_ns = pyserver_now_ns()
        return 0

    cdef int leave_list(self, Stream stream) except -1:
        """The application has returned."""
        if stream.is_aside:
            stream.is_aside = False
            self.reactor.waiting -= 1
            self.reactor.note_served()
        self.stop_counting(stream)
        if stream.earlier != NULL:
            (<Stream> stream.earlier).later = stream.later
        else:
            self._first = stream.later
        if stream.later != NULL:
            (<Stream> stream.later).earlier = stream.earlier
        else:
            self._last = stream.earlier
        stream.earlier = stream.later = NULL
        self.reactor.listed -= 1
        Py_DECREF(stream)
        # The last one may have been waited for.
        return self.reactor.nudge() if self.reactor.is_retiring and self.reactor.listed == 0 else 0

    cdef list streams(self):
        cdef list found = []
        cdef PyObject *stream = self._first
        while stream != NULL:
            found.append(<Stream> stream)
            stream = (<Stream> stream).later
        return found

    cdef int abandon(self) except -1:
        """Close the connection of each, at once."""
        cdef Stream stream
        for stream in self.streams():
            if stream.connection != NULL:
                self.reactor.close(stream.connection)
        return 0

    cdef PyObject *under_way(self, PyObject *before) noexcept nogil:
        cdef PyObject *next = self._first if before == NULL else (<Stream> before).later
        while next != NULL and ((<Stream> next).place < 0 or (<Stream> next).connection == NULL):
            next = (<Stream> next).later
        return next

    cdef bint has_begun(self, Exchange exchange) noexcept nogil:
        return exchange.response.is_head_done

    cdef Py_ssize_t gathered_before(self, Exchange exchange) noexcept nogil:
        return 0

    # ---- deadlines ----

    cdef int expire(self, Connection *connection, int reason) except -1:
        cdef Stream stream
        cdef int unsent
        if self._holder != NULL:
            self._put_aside()
        if connection.stream == NULL:
            return Lane.expire(self, connection, reason)
        if reason == AWAIT_CONTENT:
            self._refuse(connection, NULL, Fault.CONTENT_TIMEOUT)
            self._flush(connection)
            return self._settle(connection)
        if reason == AWAIT_ROOM:
            if connection.is_carried and (<Carried> connection.channel).is_excused():
                return self.reactor.wait_for(connection, reason, self.now_ns)
            unsent = pyserver_unsent(connection.source.fd)
            if 0 <= unsent < connection.unsent:
                connection.unsent = unsent
                return self.reactor.wait_for(connection, reason, self.now_ns)
            self.log.info("%s took nothing of a response for write_timeout: closed", peer_of(connection))
            connection.is_gone = True
            return self.reactor.close(connection)
        delist(self.reactor.lists, connection)
        # Held here, for it may come to its end.
        stream = <Stream> connection.stream
        return stream.note_silence(reason)
