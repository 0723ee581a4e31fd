"""What a worker does when it is aborted: clients of its requests are answered, and the access log gets their lines.

The arbiter aborts a worker whose request is over its timeout. All of this runs in a signal handler, perhaps while C
holds the interpreter lock: no Python, no lock, no new memory, and no wait for what may never come. The stack may be
the small one of faulthandler, so what is large is static.
"""
from cpython.object cimport PyObject
from libc.errno cimport EINTR, errno
from libc.signal cimport SIG_DFL, SIG_IGN, SIGABRT, raise_
from libc.stdint cimport int64_t
from libc.stdlib cimport calloc
from libc.string cimport memcpy, memset
from posix.signal cimport SA_NODEFER, SA_ONSTACK, SA_RESTART, sigaction, sigaction_t, sigemptyset
from posix.types cimport pid_t
from posix.unistd cimport getpid

from pyserver._atoms cimport Facts
from pyserver._connection cimport BORROWED, COPIED, Connection, Segment
from pyserver._exchange cimport Exchange, Transport
from pyserver._response cimport BY_CLOSE, put_date
from pyserver._scoreboard cimport Cell
from pyserver._system cimport (
    MSG_NOSIGNAL, SHUT_WR, SOL_SOCKET, SO_LINGER, iovec, linger, msghdr, pyserver_now_ns,
    pyserver_set_errno as set_errno, pyserver_unix_time_ns, recv, send, sendmsg, setsockopt, shutdown,
)

from pyserver.errors import RequestTimeout
from pyserver.refusals import REASONS as _REASONS

cdef enum:
    SCRATCH = 16384
    TURNS = 64                  # receives at most, of what a client goes on sending

cdef int64_t SECOND = 1000000000


cdef struct Words:
    # A response in the application's place: what stands before Date and Server, what behind, and the content.
    int status
    iovec head
    iovec tail
    iovec content


cdef Words overdue              # the request is over its timeout
cdef Words cut_off              # the worker is aborted for another reason
cdef list texts = []            # own what the two point to
cdef sigaction_t before         # who had the signal before us
cdef pid_t owner = 0            # a process that the application forks must not answer for this one
cdef int64_t timeout_ns = 0
# What serves, as the signal handler reads it: places that are free are NULL.
cdef PyObject **serving = NULL
cdef int places = 0
cdef void (*last_will)() noexcept nogil
last_will = NULL
cdef char stamp[160]
cdef char scratch[SCRATCH]


def install_abort_handler(double timeout) -> None:
    """Have ABRT end the requests under way before it ends this process.

    The handler that the signal had before is called afterwards: one that was set in Python may keep the process alive.
    What is to run before this one, such as faulthandler, is enabled later.

    Args:
        timeout: how long a request may take, seconds; 0 for any time. One that took less is answered 500 and not 504.
    """
    global before, owner, timeout_ns
    cdef sigaction_t ours, found
    owner = getpid()
    timeout_ns = <int64_t> (timeout * 1e9)
    sigaction(SIGABRT, NULL, &found)
    if found.sa_handler == on_abort:
        return              # of the process that this one is a copy of
    before = found
    memset(&ours, 0, sizeof(sigaction_t))
    ours.sa_handler = on_abort
    sigemptyset(&ours.sa_mask)
    # Not deferred, because the signal is raised again from the handler; on the stack that faulthandler has for it.
    ours.sa_flags = SA_NODEFER | SA_ONSTACK | SA_RESTART
    sigaction(SIGABRT, &ours, NULL)


cdef int answer_for(Transport transport) except -1:
    """Have the handler end the request that `transport` carries, until forget() is called."""
    global serving, places
    cdef PyObject **more
    cdef int at
    for at in range(places):
        if serving[at] == NULL:
            break
    else:
        # The handler may be reading the old ones, which are few: they are left where they are.
        more = <PyObject **> calloc(<size_t> max(16, places * 2), sizeof(PyObject *))
        if more == NULL:
            raise MemoryError()
        for at in range(places):
            more[at] = serving[at]
        at = places
        serving = more
        places = max(16, places * 2)
    serving[at] = <PyObject *> transport
    return 0


cdef void forget(Transport transport) noexcept:
    """It carries nothing any more."""
    cdef int at
    for at in range(places):
        if serving[at] == <PyObject *> transport:
            serving[at] = NULL


cdef void bequeath_by(void (*will)() noexcept nogil) noexcept:
    """Have the handler call `will` first, which gives to others what does not have to end with the process; or NULL."""
    global last_will
    last_will = will


cdef int prepare(Words *words, int status, str why) except -1:
    content = f"{status} {_REASONS[status]}: {why}\n".encode()
    words.status = status
    words.head = lasting(f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: text/plain; charset=utf-8\r\n".encode())
    words.tail = lasting(f"Content-Length: {len(content)}\r\nConnection: close\r\n\r\n".encode())
    words.content = lasting(content)
    return 0


cdef iovec lasting(bytes text) except *:
    texts.append(text)
    return iovec(<char *> text, <size_t> len(text))


prepare(&overdue, RequestTimeout.status, RequestTimeout.why)
prepare(&cut_off, 500, "the worker was aborted")


cdef void on_abort(int number) noexcept nogil:
    cdef int saved = errno
    cdef int at
    if getpid() == owner:
        if last_will != NULL:
            last_will()
        for at in range(places):
            if serving[at] != NULL:
                end_requests(<Transport> serving[at])
    if before.sa_handler == SIG_IGN:
        before.sa_handler = SIG_DFL
    sigaction(number, &before, NULL)
    raise_(number)
    # Still here: the handler before us keeps the process alive.
    set_errno(saved)


cdef void end_requests(Transport transport) noexcept nogil:
    """End all that the transport carries."""
    cdef PyObject *exchange = transport.under_way(NULL)
    if exchange == NULL and transport.access is not None:
        transport.access.record_last(NULL)
    while exchange != NULL:
        end_request(transport, <Exchange> exchange)
        exchange = transport.under_way(exchange)


cdef void end_request(Transport transport, Exchange exchange) noexcept nogil:
    """Answer the request under way, hang up, and write its line of the access log."""
    cdef Connection *connection
    cdef Facts facts
    cdef Words *words
    cdef bint is_cut = False
    cdef int64_t limit_ns
    cdef bint is_held, is_overdue
    # Who hangs sends nothing; another thread may be about to, or may have answered by now.
    is_held = transport.seize()
    # The arbiter's is newer, where a reload has changed it.
    limit_ns = transport.slot.cells[<int> Cell.TIMEOUT_NS] or timeout_ns
    is_overdue = limit_ns and pyserver_now_ns() - exchange.row.alive_ns >= limit_ns
    connection = exchange.connection
    if connection == NULL or not (is_held or is_overdue):
        return
    exchange.state_facts(&facts)
    facts.ended_ns = pyserver_now_ns()
    facts.duration_ns = facts.ended_ns - exchange.row.busy_since_ns
    if exchange.is_finished:
        # The response is whole: the application hangs in what it does after it.
        is_cut = not send_gathered(transport, exchange, transport.out.used, NULL)
    elif not transport.has_begun(exchange):
        words = &overdue if is_overdue else &cut_off
        send_gathered(transport, exchange, transport.gathered_before(exchange), words)
        facts.status = words.status
        facts.sent = 0 if exchange.response.to_head_request else <int64_t> words.content.iov_len
    else:
        is_cut = True
    hang_up(connection, is_cut and exchange.response.framing == BY_CLOSE)
    if transport.access is not None:
        transport.access.record_last(&facts)
    # For a process that goes on.
    exchange.is_logged = True
    connection.is_gone = connection.closes = True


cdef bint send_gathered(Transport transport, Exchange exchange, Py_ssize_t length, Words *words) noexcept nogil:
    """Send so much of what is gathered, and behind it `words`, unless they are NULL; whether the socket takes it all."""
    cdef Connection *connection = exchange.connection
    cdef iovec vector[5]
    cdef msghdr message
    cdef Py_ssize_t total = 0
    cdef size_t at
    # Encryption takes the interpreter.
    if connection.is_gone or connection.channel != NULL or not send_held(connection):
        return False
    memset(&message, 0, sizeof(msghdr))
    message.msg_iov = vector
    message.msg_iovlen = 1
    vector[0] = iovec(transport.out.data, <size_t> length)
    if words != NULL:
        memcpy(stamp, transport.stamp.text, <size_t> transport.stamp.length)
        if transport.stamp.date_length:
            put_date(stamp, pyserver_unix_time_ns() // SECOND)
        vector[1] = words.head
        vector[2] = iovec(&stamp[0], <size_t> transport.stamp.length)
        vector[3] = words.tail
        vector[4] = words.content
        message.msg_iovlen = 4 if exchange.response.to_head_request else 5
    for at in range(message.msg_iovlen):
        total += <Py_ssize_t> vector[at].iov_len
    return sendmsg(connection.source.fd, &message, MSG_NOSIGNAL) == total


cdef bint send_held(Connection *connection) noexcept nogil:
    """Whether the socket takes what it has not taken before; what is in files it is not offered."""
    cdef Segment *segment = connection.output.first if connection.output != NULL else NULL
    while segment != NULL:
        if segment.kind != COPIED and segment.kind != BORROWED:
            return False
        if send(connection.source.fd, segment.data, <size_t> segment.length, MSG_NOSIGNAL) != segment.length:
            return False
        segment = segment.next
    return True


cdef void hang_up(Connection *connection, bint resets) noexcept nogil:
    """End the connection; `resets` where nothing else tells the client that its response is cut."""
    cdef linger none_left
    cdef Py_ssize_t got
    cdef int turn
    if resets:
        # Without a FIN: the end of the process resets it.
        connection.resets = True
        none_left = linger(1, 0)
        setsockopt(connection.source.fd, SOL_SOCKET, SO_LINGER, &none_left, sizeof(linger))
        return
    shutdown(connection.source.fd, SHUT_WR)
    # What is unread when the process ends would reset the connection, and take the answer with it; RFC 9112 §9.6.
    for turn in range(TURNS):
        got = recv(connection.source.fd, scratch, SCRATCH, 0)
        if got == 0 or (got < 0 and errno != EINTR):
            return
