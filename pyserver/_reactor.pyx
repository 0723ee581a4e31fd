"""The open connections of a worker: what each waits for and until when, and what all of them are served with.

Nothing here is received, sent or parsed: that is what a lane does with one connection at a time.
"""
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF
from libc.stdint cimport INT64_MAX, int64_t, uint8_t
from libc.stdlib cimport free, realloc
from posix.unistd cimport close as close_descriptor, write

from pyserver._access cimport AccessLog
from pyserver._channel cimport Channel, Session
from pyserver._collector cimport acquire, release
from pyserver._commons cimport put_connection
from pyserver._connection cimport (
    AWAIT_CLOSE, AWAIT_CLOSE_FRAME, AWAIT_CONTENT, AWAIT_FIRST_BYTE, AWAIT_HEAD, AWAIT_NEXT_REQUEST, AWAIT_PING,
    AWAIT_PONG, AWAIT_ROOM, AWAIT_TURN, AWAIT_WRITE, NO_LIMIT_NS, RUNNING, Buffers, Connection, DeadlineList, Durations,
    delist, enlist, free_connection,
)
from pyserver._exchange cimport Gateway, Stream, forks
from pyserver._http cimport Limits
from pyserver._poller cimport READABLE, WRITABLE, new_poller, unwatch_natively
from pyserver._proxies cimport Proxies
from pyserver._scoreboard cimport Cell
from pyserver._system cimport (
    SHUT_RDWR, SOL_SOCKET, SO_LINGER, linger, pyserver_now_ns, pyserver_silence_ns, setsockopt, shutdown,
)

cdef extern from "_threads.h":
    bint pyserver_mutex_try(pyserver_mutex *mutex) nogil
    int64_t pyserver_load(const int64_t *word) nogil
    void pyserver_store(int64_t *word, int64_t value) nogil

cdef extern from "<sched.h>" nogil:
    int sched_yield()

cdef enum:
    SEIZURES = 100              # a steward has the lock for a moment only
    WAITING_FOR_ONE = 8         # requests that wait for their client are as good as one that runs

cdef int64_t AWAY_NS = 1000000              # in less than that nothing has waited for long
cdef int64_t CLOSE_FRAME_NS = 5000000000    # how long the answer to a close frame is waited for


cdef class Reactor:
    """What the lanes of a worker share."""

    cdef int equip(
        self, Gateway gateway, Limits limits, Durations durations, Buffers buffers, log, AccessLog access, str poller,
        bytes server, bint date, Proxies proxies,
    ) except -1:
        """See Engine for what these are."""
        self.gateway = gateway
        self.bounds = limits.bounds
        self.proxies = proxies
        self.trusted_bounds = proxies.bounds_of_trusted(&limits.bounds)
        self.looks_back = proxies.fields != 0
        self.buffers = buffers
        self.log = log
        self.access = access
        self.poller = new_poller(poller)
        self.epoll = self.poller.fileno() if self.poller.is_edge_triggered else -1
        self.reported = self.poller.ready
        self.commons = -1
        self.server = server
        self.with_date = date
        self.spare = []
        self.sessions = set()
        self.unflushed = []
        self.held = []
        self.lists[AWAIT_FIRST_BYTE].duration_ns = durations.head_ns
        self.lists[AWAIT_HEAD].duration_ns = durations.head_ns
        self.lists[AWAIT_CONTENT].duration_ns = durations.content_ns
        self.lists[AWAIT_NEXT_REQUEST].duration_ns = durations.idle_ns
        self.lists[AWAIT_WRITE].duration_ns = durations.write_ns
        self.lists[AWAIT_ROOM].duration_ns = durations.write_ns
        self.lists[AWAIT_PING].duration_ns = durations.ping_ns
        self.lists[AWAIT_PONG].duration_ns = durations.pong_ns
        self.lists[AWAIT_CLOSE_FRAME].duration_ns = CLOSE_FRAME_NS
        self.lists[AWAIT_CLOSE].duration_ns = LINGER_SECONDS * <int64_t> 1000000000
        self.lists[AWAIT_TURN].duration_ns = NO_LIMIT_NS
        self._forks = forks()
        return 0

    def __dealloc__(self):
        cdef int reason
        cdef DeadlineList *there
        cdef Connection *connection
        for reason in range(RUNNING):
            there = &self.lists[reason]
            while there.first != NULL:
                connection = there.first
                delist(self.lists, connection)
                if not connection.is_carried:
                    close_descriptor(connection.source.fd)
                free_connection(connection)
        self.free_dead()
        free(self._again)

    cdef void lock(self) noexcept:
        """Keep other threads from the connections, where there are others, and finalizers, where they would be run."""
        acquire(self.mutex, &self.collector)

    cdef void unlock(self) noexcept:
        release(self.mutex, &self.collector)

    cdef bint seize(self) noexcept nogil:
        """Have the lock for good, from a signal handler; whether that was possible."""
        cdef int attempt
        if self.mutex == NULL:
            return True
        for attempt in range(SEIZURES):
            if pyserver_mutex_try(self.mutex):
                return True
            sched_yield()
        return False

    cdef int nudge(self) except -1:
        """Have whoever waits for events look anew: there is something else to do, or sooner."""
        return 0

    cdef void call_steward(self) noexcept nogil:
        """The application is called: have somebody look whether it lets others wait."""
        pyserver_store(&self.calls, self.calls + 1)
        if pyserver_load(&self.steward_rests):
            write(self.steward_bell, b"\0", 1)

    cdef int note_served(self) except -1:
        """A request has been served outside of a round."""
        return 0

    cdef bint is_full(self) noexcept:
        """Whether no more requests may run."""
        return self.capacity != 0 and self.load() >= self.capacity

    cdef int load(self) noexcept:
        """How many requests run, as `capacity` counts them.

        What waits for its client costs memory alone. One connection has a hundred of these, so that a few would fill a
        worker; and if they were none at all there would be no bound to that memory.
        """
        return self.running + self.waiting // WAITING_FOR_ONE

    def next_wait_ms(self) -> int:
        """How long the wait may last before a deadline passes, in milliseconds; -1 if there is none."""
        cdef int64_t earliest = self.earliest_ns()
        self.waits_until_ns = earliest
        if earliest == INT64_MAX:
            return -1
        # One more than a millisecond's fraction needs, so that the wait does not end just before the deadline.
        return max(0, min((earliest - pyserver_now_ns()) // 1000000 + 1, 60000))

    cdef int64_t earliest_ns(self) noexcept:
        """When there is something to do at the latest."""
        cdef int64_t earliest = INT64_MAX
        cdef int reason
        if self._again_count:
            return 0
        if self.flush_at_ns:
            earliest = self.flush_at_ns
        for reason in range(RUNNING):
            if self.lists[reason].first != NULL and self.lists[reason].first.deadline_ns < earliest:
                earliest = self.lists[reason].first.deadline_ns
        return earliest

    cdef int64_t note_queued(self, Connection *connection, int64_t now_ns) noexcept nogil:
        """How long the request that begins now has waited for somebody to serve it."""
        cdef int64_t *cells = self.slot.cells
        cdef int64_t since_ns = self.reported_ns
        if connection.since_ns:
            since_ns = connection.since_ns
            connection.since_ns = 0
        elif self.away_ns > AWAY_NS and connection.family:
            # It came when nobody looked, or has just come; the kernel knows, in ticks of some milliseconds.
            since_ns = max(since_ns - self.away_ns, min(since_ns, now_ns - pyserver_silence_ns(connection.source.fd)))
        since_ns = max(now_ns - since_ns, <int64_t> 0)
        cells[<int> Cell.QUEUE_NS] += since_ns
        cells[<int> Cell.QUEUE_MOST_NS] = max(cells[<int> Cell.QUEUE_MOST_NS], since_ns)
        return since_ns

    cdef int wait_for(self, Connection *connection, int reason, int64_t now_ns) except -1:
        """Have the connection wait for `reason` from now on."""
        enlist(self.lists, connection, reason, now_ns)
        if self.is_waiting and connection.deadline_ns < self.waits_until_ns:
            self.nudge()
        return 0

    cdef int watch_connection(self, Connection *connection, int interest) except -1:
        """Have it reported when it can be read or written; 0 for neither."""
        if connection.is_carried:
            return 0                # its session gives it its turns
        if not connection.is_watched:
            connection.is_watched = True
            connection.interest = <uint8_t> interest
            self.poller.add(&connection.source, READABLE | WRITABLE if self.poller.is_edge_triggered else interest)
        elif connection.interest != interest and not self.poller.is_edge_triggered:
            connection.interest = <uint8_t> interest
            self.poller.change(&connection.source, interest)
        else:
            return 0
        if self.is_waiting and not self.poller.is_edge_triggered:
            self.nudge()
        return 0

    # ---- another turn ----

    cdef int go_on_later(self, Connection *connection) except -1:
        """Give others their turn: an edge-triggered poller would not report this connection again."""
        if not self.enqueue_again(connection):
            raise MemoryError()
        if self.is_waiting:
            self.nudge()
        return 0

    cdef bint enqueue_again(self, Connection *connection) noexcept nogil:
        """The same without a word to who waits; False when there is no memory for it."""
        cdef int capacity
        cdef Connection **again
        if connection.is_again:
            return True
        if self._again_first + self._again_count == self._again_capacity:
            capacity = max(16, self._again_capacity * 2)
            again = <Connection **> realloc(self._again, <size_t> capacity * sizeof(Connection *))
            if again == NULL:
                return False
            self._again = again
            self._again_capacity = capacity
        self._again[self._again_first + self._again_count] = connection
        self._again_count += 1
        connection.is_again = True
        return True

    cdef Connection *next_again(self) noexcept:
        """The one whose turn it is; there has to be one."""
        cdef Connection *connection = self._again[self._again_first]
        self._again_first += 1
        self._again_count -= 1
        if self._again_count == 0:
            self._again_first = 0
        connection.is_again = False
        return connection

    # ---- closing ----

    cdef int close(self, Connection *connection) except -1:
        """Hang up; what the connection holds is freed at the end of the round."""
        cdef linger none_left
        if connection.is_carried:
            return self._close_carried(connection)
        if connection.is_watched:
            self.poller.remove(&connection.source)
        if connection.session != NULL:
            (<Session> connection.session).note_closed()
            self.end_session(connection)
        if connection.channel != NULL and not connection.is_gone and not connection.resets:
            (<Channel> connection.channel).end(connection)
        if connection.resets:
            none_left = linger(1, 0)
            setsockopt(connection.source.fd, SOL_SOCKET, SO_LINGER, &none_left, sizeof(linger))
        elif self.has_copies(connection):
            shutdown(connection.source.fd, SHUT_RDWR)
        close_descriptor(connection.source.fd)
        connection.source.fd = -1
        self.bury(connection)
        self.part(connection)
        self.connections -= 1
        self.slot.cells[<int> Cell.CONNECTIONS] = self.connections
        # What it holds is freed by whoever waits; a pause of accepting, or all, may be over; and a poller without a
        # set in the kernel still looks at what is closed.
        if self.is_waiting and (
            connection.content != NULL or connection.output != NULL or self.is_retiring or self.pauses
            or not self.poller.is_edge_triggered
        ):
            self.nudge()
        return 0

    cdef int _close_carried(self, Connection *connection) except -1:
        (<Channel> connection.channel).end(connection)
        connection.source.fd = -1
        self.bury(connection)
        self.part(connection)
        if self.is_waiting and (connection.content != NULL or connection.output != NULL or self.is_retiring):
            self.nudge()
        return 0

    cdef int end_session(self, Connection *connection) except -1:
        """Have it carry nothing any more."""
        cdef PyObject *session = connection.session
        connection.session = NULL
        self.sessions.discard(<object> session)
        Py_DECREF(<object> session)
        return 0

    cdef int flush_sessions(self) except -1:
        """Send what was given to connections that others carry."""
        cdef Session session
        while self.unflushed:
            session = self.unflushed.pop()
            try:
                if session.is_waiting_to_flush:
                    session.flush()
            except Exception:
                # Memory, perhaps: it ends this connection and no other.
                self.log.exception("A connection that carries others is closed")
                if session.carrier != NULL:
                    self.close(session.carrier)
        return 0

    cdef int flush_later(self, Session session, int64_t at_ns) except -1:
        """Have it flushed then, whatever happens."""
        if not session.is_held:
            session.is_held = True
            self.held.append(session)
        if self.flush_at_ns == 0 or at_ns < self.flush_at_ns:
            self.flush_at_ns = at_ns
            if self.is_waiting and at_ns < self.waits_until_ns:
                self.nudge()
        return 0

    cdef int flush_held(self) except -1:
        """It is time for the first of them; the others are asked as well, and may have to wait again."""
        cdef Session session
        self.flush_at_ns = 0
        for session in self.held:
            session.is_held = False
            session.is_waiting_to_flush = True
            self.unflushed.append(session)
        self.held = []
        return 0

    cdef bint is_empty(self) noexcept nogil:
        """Whether nobody is connected."""
        return self.connections == 0 and self.carried == 0

    cdef bint has_copies(self, const Connection *connection) noexcept nogil:
        """Whether a child of an application may hold the socket open, so that the peer would wait for its end."""
        return connection.has_copies or forks() != self._forks

    cdef bint pass_on(self, Connection *connection, int cell, int64_t since_ns) noexcept nogil:
        """Have another worker serve it; False when that cannot be now, and nothing has changed.

        Args:
            cell: which counts it.
            since_ns: since when its request has been there; 0 for none.
        """
        if connection.stays:
            return False
        connection.has_copies = self.has_copies(connection)
        if not put_connection(self.commons, connection, self.identities[connection.listener], since_ns):
            return False
        self.slot.cells[cell] += 1
        if connection.is_watched:
            # Another process has the socket, so that its end here does not end the reports of it.
            unwatch_natively(self.epoll, connection.source.fd)
        self.let_go_of(connection)
        return True

    cdef void let_go_of(self, Connection *connection) noexcept nogil:
        """Have it no more, without a word to the peer."""
        close_descriptor(connection.source.fd)
        connection.source.fd = -1
        self.bury(connection)
        self.connections -= 1
        self.slot.cells[<int> Cell.CONNECTIONS] = self.connections

    cdef int part(self, Connection *connection) except -1:
        """Separate the connection from the request that runs beside others for it, if there is one."""
        cdef Stream stream
        if connection.stream == NULL:
            return 0
        stream = <Stream> connection.stream
        connection.stream = NULL
        connection.is_running = False
        stream.connection = NULL
        Py_DECREF(stream)
        return stream.note_lost()

    cdef void bury(self, Connection *connection) noexcept nogil:
        """Free it at the end of the round: an event of it may be under way, or a turn."""
        delist(self.lists, connection)
        connection.later = self._dead
        self._dead = connection

    cdef int free_dead(self) noexcept:
        """Free the connections that were closed."""
        cdef Connection *connection
        cdef int at, kept = 0
        if self._dead == NULL:
            return 0
        for at in range(self._again_first, self._again_first + self._again_count):
            if self._again[at].source.fd >= 0:
                self._again[kept] = self._again[at]
                kept += 1
        self._again_first = 0
        self._again_count = kept
        while self._dead != NULL:
            connection = self._dead
            self._dead = connection.later
            free_connection(connection)
        return 0
