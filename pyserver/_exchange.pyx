"""One request in flight: what the gateway answers it with, framed for the transport that carries it.

No sockets here and no PEP 3333: a gateway says what the content is, this says what goes on the wire, the engine sends it.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from libc.stdint cimport int64_t
from libc.stdlib cimport free

from pyserver._channel cimport Channel
from pyserver._connection cimport peer_of
from pyserver._http cimport Fault, append
from pyserver._response cimport (
    BY_CHUNKS,
    BY_CLOSE,
    BY_LENGTH,
    NO_CONTENT,
    append_chunk_size,
    finish_response_head,
    reset_response,
    start_response_head,
)
from pyserver._scoreboard cimport Cell
from pyserver._system cimport pyserver_now_ns

import os as _os
import sys as _sys

from pyserver.refusals import REASONS as _REASONS, REFUSALS as _REFUSALS

cdef extern from "Python.h":
    char *bytes_of "PyBytes_AS_STRING" (PyObject *bytes) nogil
    Py_ssize_t length_of "PyBytes_GET_SIZE" (PyObject *bytes) nogil

cdef enum:
    LONGEST_LINE = 4096         # of a refused request line that the access log has

cdef int64_t BURST_NS = 200000


cdef int fork_count = 0


def _note_fork() -> None:
    global fork_count
    fork_count += 1


_os.register_at_fork(after_in_parent=_note_fork, after_in_child=_note_fork)


cdef int forks() noexcept nogil:
    """How often this process, or one that it is a copy of, has forked since this module was imported."""
    return fork_count


cdef class Transport:
    """What carries the responses of one connection at a time. `out` gathers them."""

    cdef int send(self, Connection *connection) except -1:
        """Give what is gathered to the socket, and queue what it does not take; 1 when the client has gone."""
        raise TypeError("a Transport is one of its subclasses")

    cdef int send_block(
        self, Connection *connection, object block, const unsigned char *data, Py_ssize_t length, bint lent, bint in_chunk
    ) except -1:
        """Add `length` bytes of `block`; `lent` where the object may be kept, `in_chunk` where CRLF follows."""
        raise TypeError("a Transport is one of its subclasses")

    cdef int send_file(self, Connection *connection, int file, int64_t offset, int64_t length) except -1:
        """Add a range of a regular file."""
        raise TypeError("a Transport is one of its subclasses")

    cdef int join_blocks(self, Connection *connection, bint wanted) except -1:
        """Whether the kernel may hold a block back until what was sent before is acknowledged."""
        raise TypeError("a Transport is one of its subclasses")

    cdef bint leaves(self, const Connection *connection) noexcept:
        """Whether a response is to be the last one of its connection."""
        return False

    cdef bint seize(self) noexcept nogil:
        """From a signal handler, for good: whether no other thread sends anything from now on."""
        return True

    cdef PyObject *under_way(self, PyObject *before) noexcept nogil:
        """An exchange that runs: the first, or the one behind `before`; NULL when there is none. Borrowed."""
        if before != NULL or self.row.busy_since_ns == 0:
            return NULL
        return <PyObject *> self.exchange

    cdef bint has_begun(self, Exchange exchange) noexcept nogil:
        """Whether the socket may have been given a part of the response."""
        return self.has_given

    cdef Py_ssize_t gathered_before(self, Exchange exchange) noexcept nogil:
        """How much of `out` goes to the same client and is no part of this response."""
        return exchange.response.head_at


cdef class Gateway:
    """What requests are handed to."""

    cdef int attend(self, log, before_leaving) except -1:
        """Note which process serves.

        Args:
            log: has error() and exception().
            before_leaving: called where a request comes to an end in a child that the application has forked, which
                then ends; None for nothing.
        """
        self.log = log
        self._before_leaving = before_leaving
        self._forks = forks()
        self._pid = _os.getpid()
        return 0

    cdef int leave_if_child(self, object error) except -1:
        """After code of the application: end the process when it is one that the application has forked."""
        if forks() != self._forks:
            if _os.getpid() != self._pid:
                if self._before_leaving is not None:
                    self._before_leaving()
                leave_child(self.log, error)
            self._forks = forks()
        return 0

    cdef object prepare(self, Exchange exchange):
        """What the application is called with; no other thread has its turn meanwhile."""
        raise TypeError("a Gateway is one of its subclasses")

    cdef int run(self, Exchange exchange, object request) except -1:
        """Call the application and answer through `exchange`; every exchange is finished or failed."""
        raise TypeError("a Gateway is one of its subclasses")

    cdef Stream open(self, Transport transport, Connection *connection, const Head *head, const unsigned char *base):
        """A request whose head is complete, to run beside others; or, is_refused, how it is answered without running."""
        raise TypeError("a Gateway is one of its subclasses")


cdef object leave_child(object log, object error):
    """The application has forked, and this is the child: the connections are the parent's, so it goes."""
    code = 0
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    elif error is not None:
        log.exception("Error in a process that the application has forked")
        code = 1
    for stream in (_sys.stdout, _sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):
            pass
    _os._exit(code & 0xFF)


cdef bint is_by_tls(const Connection *connection) noexcept:
    """Whether the client is there by TLS, and not by QUIC already: who is told where HTTP/3 is, RFC 7838 §3."""
    return connection.channel != NULL and (<Channel> connection.channel).is_secure and not connection.is_by_quic


cdef class Exchange:
    """One request, and the response to it as the gateway gives it piece by piece."""

    cdef int start(self, object status, object fields) except -1:
        """Take status and field lines; may be called again until the head is done.

        Raises:
            TypeError, ValueError: see start_response_head().
        """
        return start_response_head(&self.response, &self.transport.out, status, fields)

    cdef int finish_head(self, int64_t known) except -1:
        """End the head, now that it is known (or known to be unknown: -1) how long the content is."""
        cdef Transport transport = self.transport
        # It may have been told to leave since the request began.
        cdef bint persists = self.persists and (self.is_followed or not transport.leaves(self.connection))
        if transport.alternative is not None and not self.response.has_alternative and is_by_tls(self.connection):
            append(&transport.out, PyBytes_AS_STRING(transport.alternative), PyBytes_GET_SIZE(transport.alternative))
        finish_response_head(&self.response, &transport.out, &transport.stamp, known, self.head.minor, &persists)
        self.persists = persists
        if transport.access is not None:
            if transport.access.wants_response_head:
                self.response_head = transport.out.data[self.response.head_at:transport.out.used]
            if transport.access.wants_phases:
                self.headed_ns = pyserver_now_ns()
        return 0

    cdef int respond(self, object content) except -1:
        """Answer with this bytes object and nothing else."""
        if not self.response.is_head_done:
            self.finish_head(PyBytes_GET_SIZE(content))
        self._put(content, True)
        return self.finish()

    cdef int write(self, object block) except -1:
        """Give a block of content to the client before anything else happens; PEP 3333, "Buffering and Streaming".

        Returns 1 when the client has gone.
        """
        cdef int64_t now_ns
        if PyBytes_GET_SIZE(block) == 0:
            return 0
        now_ns = pyserver_now_ns()
        if not self.response.is_head_done:
            self.finish_head(-1)
        self._gather(self.wrote_ns != 0 and now_ns - self.wrote_ns < BURST_NS)
        self.wrote_ns = now_ns
        if self.transport.renews:
            self.row.alive_ns = now_ns
        self._put(block, False)
        return self.transport.send(self.connection)

    cdef int _gather(self, bint wanted) except -1:
        """Let the kernel join what follows quickly, or have it send each block at once (RFC 1122 §4.2.3.4).

        A block is given to the kernel when it is made, in either case. While blocks come in a burst, the next may
        join one that is still unacknowledged: a third of the cost. The first block after a pause never waits.
        """
        if wanted != self.gathers:
            self.gathers = wanted
            self.transport.join_blocks(self.connection, wanted)
        return 0

    cdef int lend(self, object block) except -1:
        """Add a block that the application holds in memory anyway; it may leave together with those that follow."""
        self._put(block, True)
        if self.transport.out.used > OUT_LIMIT:
            return self.transport.send(self.connection)
        return 0

    cdef int _put(self, object block, bint lent) except -1:
        cdef Py_ssize_t length = PyBytes_GET_SIZE(block)
        cdef bint in_chunk = self.response.framing == BY_CHUNKS
        length = self._admit(length)
        if length == 0:
            return 0
        if in_chunk:
            append_chunk_size(&self.transport.out, length)
        return self.transport.send_block(
            self.connection, block, <const unsigned char *> PyBytes_AS_STRING(block), length, lent, in_chunk
        )

    cdef Py_ssize_t _admit(self, int64_t length) except -1:
        """How much of `length` bytes of content the framing allows."""
        cdef Response *response = &self.response
        if response.framing == NO_CONTENT:
            return 0
        if response.framing == BY_LENGTH and length > response.length - response.sent:
            length = response.length - response.sent
            if not self.has_excess:
                self.has_excess = True
                self.transport.log.error(
                    "the response to %s has more content than its Content-Length of %d: the excess is not sent",
                    self.request_line(), response.length,
                )
        response.sent += length
        return <Py_ssize_t> length

    cdef int write_file(self, int file, int64_t offset, int64_t length) except -1:
        """Add a range of a regular file; needs a framing other than chunks."""
        length = self._admit(length)
        if length:
            self.transport.send_file(self.connection, file, offset, length)
        return 0

    cdef int finish(self) except -1:
        """All content has been given."""
        cdef Response *response = &self.response
        if not response.is_head_done:
            self.finish_head(0)
        if response.framing == BY_CHUNKS:
            append(&self.transport.out, b"0\r\n\r\n", 5)
        elif response.framing == BY_LENGTH and response.sent < response.length:
            self.persists = False
            if not self.connection.is_gone:
                self.transport.log.error(
                    "the response to %s ends after %d of %d bytes of content: the connection is closed",
                    self.request_line(), response.sent, response.length,
                )
        self.is_finished = True
        if self.gathers:
            self.transport.send(self.connection)
            self._gather(False)
        return 0

    cdef int fail(self, int status=500, str why=None) except -1:
        """The application failed: a response that says so while nothing has left, else it is cut off where it is."""
        cdef Out *out = &self.transport.out
        self.has_failed = True
        # What the application meant to say next may stand in the way of another response.
        self.persists = False
        if self.response.is_head_done:
            # Only a reset tells the client of a response that ends with its connection; RFC 9112 §8.
            self.connection.resets = self.response.framing == BY_CLOSE
            self.is_finished = True
            return self._gather(False)
        if self.response.is_started:
            out.used = self.response.head_at
        reset_response(&self.response, self.response.to_head_request)
        self.has_excess = False
        reason = _REASONS[status]
        self.start(f"{status} {reason}", [("Content-Type", "text/plain; charset=utf-8")])
        return self.respond(f"{status} {reason}: {why}\n".encode() if why else f"{reason}\n".encode())

    cdef int refuse(self, int fault) except -1:
        """Answer a request that breaks a rule which only the gateway knows, once, and close."""
        status, section, words = _REFUSALS[fault]
        self.transport.log.warning(
            "refused a request from %s with %d: %s (%s)", peer_of(self.connection), status, words, section
        )
        self.transport.slot.cells[<int> Cell.REFUSED] += 1
        self.fail(status, words)
        self.has_failed = False
        return 0

    cdef int note_client(self) noexcept:
        """Keep whom a proxy has named as the client, for as long as the request lasts."""
        self.has_client = self.transport.forwarded.has_client
        self.client = self.transport.forwarded.client
        return 0

    cdef str request_line(self):
        """Method and target, for a log line."""
        cdef const Head *head = self.head
        return self.base[head.method:min(head.target + head.target_length, head.method + 200)].decode("latin-1")

    cdef int log_access(self, int64_t now_ns, int64_t duration_ns) except -1:
        """Add the line of this request to the access log; nothing that goes wrong in it harms the request."""
        cdef Facts facts
        self.state_facts(&facts)
        facts.duration_ns = duration_ns
        facts.ended_ns = now_ns
        try:
            if not self.is_logged:
                self.transport.access.record(&facts, self.response_head, self.environ, now_ns)
        except BaseException:
            # Whatever an object of the application's raises that the line has as text: the worker goes on.
            self.transport.log.exception("Error in the access log of %s", self.request_line())
        self.response_head = None
        # Finalizers of the application may hang on it, and other threads wait for what is held here.
        self.transport.dropped, self.environ = self.environ, None
        return 0

    cdef void state_facts(self, Facts *facts) noexcept nogil:
        """All that a line of the access log tells, but the duration and the end."""
        state_request(facts, self.connection, self.head, self.base)
        if self.has_client:
            facts.address = self.client.bytes
            facts.family = self.client.family
            facts.port = self.client.port
        facts.minor = <int> self.head.minor
        facts.status = self.response.status
        facts.sent = self.response.sent
        facts.queue_ns = self.queue_ns
        facts.receive_ns = self.receive_ns
        facts.headed_ns = self.headed_ns
        if <PyObject *> self.request_id != <PyObject *> None:
            facts.request_id = bytes_of(<PyObject *> self.request_id)
            facts.request_id_length = length_of(<PyObject *> self.request_id)


cdef class Stream(Exchange):
    """A request that runs beside others; what its lane tells it."""

    def __cinit__(self):
        self.place = -1

    def __dealloc__(self):
        # The fields of `brief` are in it.
        free(self.text)

    cdef int launch(self) except -1:
        """Have the application run; what follows from it may end the connection."""
        raise TypeError("a Stream is one of its subclasses")

    cdef bint wants_more(self) noexcept:
        """Whether more of what the client sends is to be read."""
        return False

    cdef int take(self, const unsigned char *data, Py_ssize_t length) except -1:
        """Take content, or what a client sends that is no content."""
        raise TypeError("a Stream is one of its subclasses")

    cdef int note_all(self) except -1:
        """The content is complete."""
        self.has_heard_all = True
        return 0

    cdef int note_end(self) except -1:
        """The client sends no more; it may still read."""
        return 0

    cdef int note_lost(self) except -1:
        """There is no connection any more, or none of its."""
        return 0

    cdef int note_room(self) except -1:
        """The socket has taken what was queued."""
        return 0

    cdef int note_over(self) except -1:
        """Nothing is sent for it any more, nor received."""
        return 0

    cdef int note_heard(self) except -1:
        """The client has said something."""
        return 0

    cdef int note_silence(self, int reason) except -1:
        """The client has said nothing for as long as it may."""
        return 0

    cdef int note_leaving(self) except -1:
        """The worker would like to leave."""
        return 0


cdef bytes new_id(
    RequestIds ids, Connection *connection, const Head *head, const unsigned char *base, bint is_believed
):
    """The id of a request that begins; its field is looked at where it `is_believed`."""
    cdef Facts facts
    state_request(&facts, connection, head, base)
    return ids.new(&facts, is_believed)


cdef void state_refusal(Facts *facts, Connection *connection, const Reader *reader) noexcept nogil:
    """What is known of a request that is refused, as far as it was read; nothing yet of the response to it."""
    cdef const Head *head = &reader.head
    state_request(facts, connection, head, reader.data + reader.begin)
    facts.minor = -1
    # Another line than the first was begun, or something about all lines was wrong.
    if head.line > head.target > 0 or head.fault > <int> Fault.REQUEST_LINE_END:
        facts.minor = <int> head.minor
    facts.line_length = length_of_line(
        reader.data + reader.begin + head.method, min(reader.length - reader.begin - head.method, <Py_ssize_t> LONGEST_LINE)
    )
    facts.duration_ns = 0


cdef Py_ssize_t length_of_line(const unsigned char *text, Py_ssize_t length) noexcept nogil:
    """How many bytes of it come before the end of a line."""
    cdef Py_ssize_t at = 0
    while at < length and text[at] != c"\r" and text[at] != c"\n":
        at += 1
    return at


cdef inline void state_request(
    Facts *facts, Connection *connection, const Head *head, const unsigned char *base
) noexcept nogil:
    facts.head = head
    facts.base = base
    facts.address = connection.address
    facts.family = connection.family
    facts.port = connection.port
    facts.queue_ns = facts.receive_ns = facts.headed_ns = facts.request_id_length = 0
    facts.request_id = NULL
