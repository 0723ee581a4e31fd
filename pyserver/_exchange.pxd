# The contract of _exchange: one request in flight, seen by the gateway on one side and the engine on the other.
from cpython.object cimport PyObject
from libc.stdint cimport int64_t
from libc.string cimport memcmp, memcpy

from pyserver._access cimport AccessLog, RequestIds
from pyserver._atoms cimport Facts
from pyserver._connection cimport Connection, Content, Reader
from pyserver._http cimport Head, Out, Span
from pyserver._proxies cimport Address, Forwarded
from pyserver._response cimport Response, Stamp
from pyserver._scoreboard cimport Row, Slot, note_request_line


cdef enum:
    OUT_LIMIT = 65536           # bytes of responses gathered before they are sent


cdef int64_t BURST_NS       # blocks of a response that follow one another faster are a burst

cdef int forks() noexcept nogil


cdef class Transport:
    # What carries responses: a lane.
    cdef Out out                        # responses of the connection being served, not yet given to its socket
    cdef Stamp stamp
    cdef bytes alternative              # the line that says where HTTP/3 is served; None for nowhere
    cdef Slot *slot
    cdef Row *row                       # of the thread that serves: what it is doing
    cdef AccessLog access
    cdef RequestIds ids                 # None where nobody asks for them
    cdef object log
    cdef object dropped                 # to be let go of before the next request runs
    cdef Exchange exchange              # of the request that runs, or ran last; reused while nobody else holds it
    cdef int64_t queue_ns               # of the request that begins, how long it has waited for that
    cdef Forwarded forwarded            # … and what proxies say of its way; always empty where that is not looked for
    cdef bytes request_id               # … and its id, where there are any
    cdef bint has_given                 # the socket was given something since that request began
    cdef bint renews                    # a request is over time only when it gives nothing for that long

    cdef int send(self, Connection *connection) except -1
    cdef int send_block(self, Connection *connection, object block, const unsigned char *data, Py_ssize_t length, bint lent, bint in_chunk) except -1
    cdef int send_file(self, Connection *connection, int file, int64_t offset, int64_t length) except -1
    cdef int join_blocks(self, Connection *connection, bint wanted) except -1
    cdef bint leaves(self, const Connection *connection) noexcept
    cdef bint seize(self) noexcept nogil
    cdef PyObject *under_way(self, PyObject *before) noexcept nogil
    cdef bint has_begun(self, Exchange exchange) noexcept nogil
    cdef Py_ssize_t gathered_before(self, Exchange exchange) noexcept nogil


cdef class Gateway:
    # Turns a request into a call of the application, and what comes back into the methods of the exchange.
    cdef object log
    cdef object _before_leaving
    cdef int _forks                     # of this process, when it was last known to be a worker
    cdef int _pid

    cdef int attend(self, log, before_leaving) except -1
    cdef int leave_if_child(self, object error) except -1

    cdef object prepare(self, Exchange exchange)
    cdef int run(self, Exchange exchange, object request) except -1
    cdef Stream open(self, Transport transport, Connection *connection, const Head *head, const unsigned char *base)


cdef class Exchange:
    cdef Transport transport
    cdef Row *row                       # where the arbiter reads of it
    cdef Connection *connection         # NULL once the request is over
    cdef const Head *head
    cdef const unsigned char *base      # the offsets of `head` begin here; valid until the engine receives again
    cdef Span content                   # content that came with the head; borrowed likewise
    cdef Content *received              # content that came later, or NULL
    cdef Response response
    cdef bint persists
    cdef bint is_followed               # the client has sent its next request already
    cdef bint is_finished
    cdef bint has_failed                # the application raised, or broke a rule
    cdef bint is_logged                 # a signal handler has written its line of the access log
    cdef bint has_excess                # the application gave more than its Content-Length
    cdef bint gathers                   # the kernel may join blocks
    cdef int64_t queue_ns               # how long it has waited for somebody to serve it
    cdef int64_t receive_ns             # how long it took to arrive, before that
    cdef int64_t headed_ns              # when its response began, where the log tells; 0 before
    cdef int64_t wrote_ns               # when the last block was given; 0 before the first
    cdef bint has_client                # a proxy has named the client, in a field
    cdef Address client
    cdef bytes request_id
    cdef bytes response_head
    cdef dict environ
    cdef object kept                    # by the gateway, for the next request that is carried so

    cdef int start(self, object status, object fields) except -1
    cdef int finish_head(self, int64_t known) except -1
    cdef int respond(self, object content) except -1
    cdef int write(self, object block) except -1
    cdef int _gather(self, bint wanted) except -1
    cdef int lend(self, object block) except -1
    cdef int _put(self, object block, bint lent) except -1
    cdef Py_ssize_t _admit(self, int64_t length) except -1
    cdef int write_file(self, int file, int64_t offset, int64_t length) except -1
    cdef int finish(self) except -1
    cdef int fail(self, int status=*, str why=*) except -1
    cdef int refuse(self, int fault) except -1
    cdef int note_client(self) noexcept
    cdef str request_line(self)
    cdef int log_access(self, int64_t now_ns, int64_t duration_ns) except -1
    cdef void state_facts(self, Facts *facts) noexcept nogil


cdef class Stream(Exchange):
    # A request that runs beside others: its content is given as it comes, by whoever reads.
    cdef PyObject *earlier              # in the lane's list of those that run; borrowed, the list owns each
    cdef PyObject *later
    cdef Head brief                     # what is known of its head once the reader has gone on
    cdef unsigned char *text            # … and the bytes it points into; own
    cdef int64_t began_ns
    cdef int place                      # of its row; -1 when it has none any more
    cdef bint is_raw                    # what the client sends is no content: it is a WebSocket
    cdef bint has_heard_all             # the content is complete
    cdef bint expects_continue          # … and waits until somebody asks for it
    cdef bint is_counted                # among the requests that run at once
    cdef bint is_aside                  # … or among those that wait for their client, and count less
    cdef bint is_refused                # the gateway has an answer of its own in place of the application's
    cdef int refusal                    # … its status
    cdef str refusal_words
    cdef list refusal_fields
    cdef object channel                 # of its connection, where another carries that: a session counts what runs
    cdef bytes aside                    # the begun head of the response, while others are sent

    cdef int launch(self) except -1
    cdef bint wants_more(self) noexcept
    cdef int take(self, const unsigned char *data, Py_ssize_t length) except -1
    cdef int note_all(self) except -1
    cdef int note_end(self) except -1
    cdef int note_lost(self) except -1
    cdef int note_room(self) except -1
    cdef int note_over(self) except -1
    cdef int note_heard(self) except -1
    cdef int note_silence(self, int reason) except -1
    cdef int note_leaving(self) except -1


cdef inline void note_request(Row *row, Exchange exchange, int64_t now_ns) noexcept nogil:
    """Leave where the arbiter can read it what is asked, by whom, and since when."""
    cdef const Head *head = exchange.head
    if exchange.has_client:
        memcpy(row.address, exchange.client.bytes, 16)
        row.family = exchange.client.family
        row.port = exchange.client.port
    else:
        memcpy(row.address, exchange.connection.address, 16)
        row.family = exchange.connection.family
        row.port = exchange.connection.port
    note_request_line(row, exchange.base + head.method, head.target + head.target_length - head.method)
    row.alive_ns = now_ns
    row.busy_since_ns = now_ns


cdef inline bint is_of_head(const Reader *reader) noexcept nogil:
    """Whether the request being read is one for the head alone, as far as it has come."""
    return reader.head.method_length == 4 and memcmp(reader.data + reader.begin + reader.head.method, b"HEAD", 4) == 0


cdef bytes new_id(
    RequestIds ids, Connection *connection, const Head *head, const unsigned char *base, bint is_believed
)
cdef void state_refusal(Facts *facts, Connection *connection, const Reader *reader) noexcept nogil
