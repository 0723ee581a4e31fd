"""The steward: a thread that looks after the connections of a worker while the application has kept its thread.

It runs no Python. What has arrived on a connection is somebody else's to serve, so the connection goes into the
commons as it is, with what was read of a request: whoever is free takes it. What a client has room for again it is
sent; who is late is let go. All else waits for the worker.

Whether the worker is busy shows in `rounds`: something can be received, and for `handoff_after` nobody has asked the
poller for it. So it costs a worker that serves in time nothing but the lock, which is free whenever it is wanted, and a
look at a number a few hundred times a second; and a server that has nothing to do does not wake it.
"""
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport INT64_MAX, int64_t
from posix.unistd cimport close as close_descriptor, pipe, read, write

from pyserver._abort cimport bequeath_by
from pyserver._connection cimport (
    AWAIT_CLOSE, AWAIT_CONTENT, AWAIT_FIRST_BYTE, AWAIT_HEAD, AWAIT_NEXT_REQUEST, AWAIT_TURN, AWAIT_WRITE,
    CONNECTION_SOURCE, Connection, DeadlineList, Output, Segment, enlist, send_segment,
)
from pyserver._poller cimport BROKEN, READABLE, READY_LIMIT, WRITABLE, look_natively, unwatch_natively
from pyserver._reactor cimport Reactor
from pyserver._scoreboard cimport Cell
from pyserver._system cimport (
    EWOULDBLOCK, POLLIN, SHUT_RDWR, poll, pollfd, pyserver_now_ns, pyserver_silence_ns, pyserver_unread,
    pyserver_unsent, shutdown,
)

import os as _os

cdef extern from "_threads.h" nogil:
    void pyserver_mutex_make(pyserver_mutex *mutex)
    bint pyserver_mutex_try(pyserver_mutex *mutex)
    void pyserver_mutex_unlock(pyserver_mutex *mutex)
    int64_t pyserver_load(const int64_t *word)
    void pyserver_store(int64_t *word, int64_t value)
    int pyserver_thread_start(pthread_t *thread, void *(*run)(void *) noexcept nogil, void *argument)

cdef extern from "_threads.h" nogil:
    void pyserver_name_this_thread(const char *name)

cdef extern from "<pthread.h>" nogil:
    int pthread_join(pthread_t thread, void **result)

cdef extern from "<sched.h>" nogil:
    int sched_yield()

cdef int64_t AGAIN_NS = 1000000             # between two looks at a worker that is known to be busy
cdef int64_t FOR_EVER = INT64_MAX
cdef int64_t DRAINED = 1 << 20              # bytes sent in a row to one connection

cdef enum:
    WILL_MS = 50                            # that the steward tries for to have the lock, when the process is to end

# Of the process: a fork has to find nothing half done.
cdef void *steward_of = NULL


cdef class Stewarded(Reactor):
    """A reactor whose connections somebody looks after while the worker is busy."""

    def __cinit__(self):
        self._knocker = self.lifeline = self._commons.fd = -1

    cdef int appoint(self, double handoff_after) except -1:
        """Have a steward from now on; it begins with start_steward()."""
        self._handoff_ns = <int64_t> (handoff_after * 1e9)
        if self.mutex == NULL:
            pyserver_mutex_make(&self._own_mutex)
            self.mutex = &self._own_mutex
        return 0

    def start_steward(self) -> None:
        """Begin, in the process that serves; OSError when the system has no room for another thread."""
        global steward_of
        cdef int failed
        if self._handoff_ns == 0 or self._has_steward:
            return
        if pipe(self._ends) < 0:
            raise OSError(errno, "pipe")
        for end in self._ends:
            _os.set_inheritable(end, False)
            _os.set_blocking(end, False)
        self._is_over = self.steward_rests = False
        self.steward_bell = self._ends[1]
        self._is_alone = self.leadership is None and self.capacity == 0
        failed = pyserver_thread_start(&self._thread, &live, <void *> self)
        if failed:
            raise OSError(failed, _os.strerror(failed))
        self._has_steward = True
        steward_of = <void *> self
        bequeath_by(bequeath)

    cdef int dismiss(self) except -1:
        """End it, if it has begun."""
        global steward_of
        if not self._has_steward:
            return 0
        bequeath_by(NULL)
        self._has_steward = False
        steward_of = NULL
        pyserver_store(&self._is_over, True)
        write(self._ends[1], b"\0", 1)
        with nogil:
            pthread_join(self._thread, NULL)
        for end in self._ends:
            close_descriptor(end)
        return 0

    cdef bint is_left_alone(self) noexcept nogil:
        """Whether nobody may take what is put into the commons, for the whole server stops."""
        cdef pollfd lifeline = pollfd(self.lifeline, POLLIN, 0)
        return self.slot.cells[<int> Cell.STOPS] != 0 or (self.lifeline >= 0 and poll(&lifeline, 1, 0) > 0)

    # ---- its life ----

    cdef void _live(self) noexcept nogil:
        cdef int64_t round, ns, busy_round = -1
        cdef bint is_needed = False
        while True:
            if is_needed:
                if self._sleep(max(self._due_ns - pyserver_now_ns(), 0), True):
                    return
            elif self._rest():
                return
            round = pyserver_load(&self.rounds)
            ns = AGAIN_NS if round == busy_round and not self._has_left_some else self._handoff_ns
            if self._sleep(min(ns, self._handoff_ns), False):
                return
            # Odd: somebody waits at the poller, and gets all there is.
            is_needed = round % 2 == 0 and self._act(round)
            busy_round = round if is_needed else -1

    cdef bint _rest(self) noexcept nogil:
        """Until the worker may be needing it; whether all is over."""
        cdef bint is_over = False
        cdef int64_t calls
        pyserver_store(&self.steward_rests, True)
        calls = pyserver_load(&self.calls)
        if calls == self._calls:
            # At its poller the only thread of a worker is told also what concerns no connection.
            is_over = self._sleep(FOR_EVER, not self._is_alone)
        self._calls = calls
        pyserver_store(&self.steward_rests, False)
        return is_over

    cdef bint _sleep(self, int64_t ns, bint until_ready) noexcept nogil:
        """For so long, and no longer than until there is something to receive; whether all is over."""
        cdef pollfd watched[2]
        cdef char called[16]
        cdef int wait_ms = -1 if ns == FOR_EVER else <int> min((ns + 999999) // 1000000, <int64_t> 60000)
        watched[0] = pollfd(self._ends[0], POLLIN, 0)
        watched[1] = pollfd(self.epoll, POLLIN, 0)
        if poll(watched, 2 if until_ready else 1, wait_ms) > 0 and watched[0].revents:
            read(self._ends[0], called, sizeof(called))
        if pyserver_load(&self._has_will):
            self._bequeath()
        return pyserver_load(&self._is_over) != 0

    cdef bint _act(self, int64_t round) noexcept nogil:
        """Do what is to be done, if the worker is still in that round; whether it is."""
        cdef bint is_busy = False
        pyserver_store(&self._acts, True)
        if not pyserver_load(&self._pauses) and pyserver_mutex_try(self.mutex):
            if self.rounds == round:
                is_busy = True
                self.slot.cells[<int> Cell.WAITS_SINCE_NS] = 0
                self._stand_in()
                if self.is_retiring and self.is_empty() and self._knocker >= 0:
                    # An event loop would find out with the next deadline only.
                    write(self._knocker, b"\0", 1)
            pyserver_mutex_unlock(self.mutex)
        pyserver_store(&self._acts, False)
        return is_busy

    cdef void _stand_in(self) noexcept nogil:
        """Look after all that is reported, and what was to have another turn."""
        cdef int at, count, left = 0
        cdef int first = self._again_first
        cdef int64_t now_ns
        cdef Connection *connection
        self._owes = False
        for at in range(self.ready_at, self.ready_count):
            if self.reported[at].source.kind == CONNECTION_SOURCE and self.reported[at].source.fd >= 0:
                self._tend(<Connection *> self.reported[at].source, self.reported[at].events)
        for at in range(first, first + self._again_count):
            connection = self._again[at]
            if connection.source.fd >= 0:
                self._tend(connection, READABLE | WRITABLE)
        now_ns = pyserver_now_ns()
        count = look_natively(self.epoll, self._seen)
        for at in range(count):
            if self._seen[at].source.kind != CONNECTION_SOURCE:
                # Level-triggered, so that nothing is lost.
                left += 1
            elif self._seen[at].source.fd >= 0 and not self._tend(<Connection *> self._seen[at].source, self._seen[at].events):
                # It would not be reported again.
                self.enqueue_again(<Connection *> self._seen[at].source)
                if self._knocker >= 0:
                    write(self._knocker, b"\0", 1)
        self._has_left_some = left > 0
        if count < READY_LIMIT:
            # Who has sent something since then is not late.
            self._expire_natively(now_ns)
        if self._owes:
            # Nothing tells when the commons has room again.
            self._due_ns = 0

    # ---- one connection ----

    cdef bint _tend(self, Connection *connection, int events) noexcept nogil:
        """Do for it what can be done without the application; False when something is left to the worker."""
        cdef bint wants
        cdef Sent sent
        if events & (READABLE | BROKEN):
            connection.is_readable = True
        if events & BROKEN:
            connection.is_broken = True
        wants = connection.is_held
        if connection.is_running:
            # Whoever runs its request looks for more behind it, unless that runs beside others.
            return connection.stream == NULL and connection.output == NULL
        if connection.stays:
            return False                # what it speaks takes the interpreter
        if connection.output != NULL:
            if not events & (WRITABLE | BROKEN):
                return True
            sent = self._drain_natively(connection)
            if sent == MORE_FITS:
                self._owes = True
            if sent != ALL_SENT:
                return sent == SOME_SENT
        # With a response on its way or a turn to come, the next request has been read, perhaps.
        if connection.waits_for not in (AWAIT_FIRST_BYTE, AWAIT_NEXT_REQUEST, AWAIT_HEAD, AWAIT_CONTENT):
            wants = connection.reader != NULL and connection.waits_for in (AWAIT_WRITE, AWAIT_TURN)
        if connection.closes or not (wants or connection.is_readable) or connection.waits_for == AWAIT_CLOSE:
            return connection.output == NULL and not connection.is_readable
        if connection.reader == NULL and pyserver_unread(connection.source.fd) == 0:
            return False                # it has left, or there was nothing to take
        return self._give(connection, pyserver_now_ns() - pyserver_silence_ns(connection.source.fd))

    cdef bint _may_give(self) noexcept nogil:
        """Whether there is somebody who takes."""
        # The worker may hang, and not have heard yet that it retires.
        return not self.is_left_alone() and (
            self.slot.cells[<int> Cell.MOVES] != 0 or self.balance is None or self.balance.somebody_takes()
        )

    cdef bint _give(self, Connection *connection, int64_t since_ns) noexcept nogil:
        """Have another worker serve it."""
        if not self._may_give():
            return False
        if self.pass_on(connection, <int> Cell.GIVEN_BUSY, since_ns):
            return True
        self._owes = True
        return False

    cdef Sent _drain_natively(self, Connection *connection) noexcept nogil:
        """Send what is queued; what it was sent from is freed by the worker."""
        cdef Output *output = connection.output
        cdef Segment *segment = output.first
        cdef Py_ssize_t sent
        cdef int64_t before = output.given
        cdef bint is_full = False
        while segment != NULL and output.given - before < DRAINED:
            if segment.length == 0:
                segment = segment.next
                continue
            sent = send_segment(connection.source.fd, output, segment)
            if sent < 0 and errno == EINTR:
                continue
            if sent < 0 and errno in (EAGAIN, EWOULDBLOCK):
                is_full = True
                break
            if sent <= 0:
                return FAILED           # the worker finds out, and says so
        if output.given != before and connection.waits_for == AWAIT_WRITE:
            connection.unsent = pyserver_unsent(connection.source.fd)
            enlist(self.lists, connection, AWAIT_WRITE, pyserver_now_ns())
        while segment != NULL and segment.length == 0:
            segment = segment.next
        if segment == NULL:
            return ALL_SENT
        return SOME_SENT if is_full else MORE_FITS

    # ---- the end ----

    cdef void _bequeath(self) noexcept nogil:
        """Pass on all that the worker does not serve just now, unless it hangs with the lock."""
        cdef int attempt
        pyserver_store(&self._acts, True)
        for attempt in range(WILL_MS):
            if pyserver_load(&self._pauses):
                break
            if pyserver_mutex_try(self.mutex):
                # Threads that live for a moment longer would be the first to see what is passed on.
                self.is_dying = True
                unwatch_natively(self.epoll, self._commons.fd)
                self._pass_on_those(AWAIT_TURN)
                self._pass_on_those(AWAIT_CONTENT)
                self._pass_on_those(AWAIT_HEAD)
                self._pass_on_those(AWAIT_FIRST_BYTE)
                self._pass_on_those(AWAIT_NEXT_REQUEST)
                pyserver_mutex_unlock(self.mutex)
                break
            poll(NULL, 0, 1)
        pyserver_store(&self._has_will, False)
        pyserver_store(&self._acts, False)

    cdef void _pass_on_those(self, int reason) noexcept nogil:
        cdef Connection *connection = self.lists[reason].first
        cdef Connection *later
        cdef int64_t since_ns
        while connection != NULL and self._may_give():
            later = connection.later
            if (
                connection.stream == NULL and connection.output == NULL and not connection.closes
                and not connection.stays
            ):
                since_ns = connection.since_ns if connection.reader != NULL else 0
                self.pass_on(connection, <int> Cell.GIVEN_LEAVING, since_ns)
            connection = later

    # ---- deadlines ----

    cdef void _expire_natively(self, int64_t now_ns) noexcept nogil:
        """Close who is idle for too long; who is late with a request is for others to answer."""
        self._due_ns = FOR_EVER
        self._end_idle(AWAIT_FIRST_BYTE, now_ns)
        self._end_idle(AWAIT_NEXT_REQUEST, now_ns)
        self._give_late(AWAIT_HEAD, now_ns)
        self._give_late(AWAIT_CONTENT, now_ns)
        # What could not be done now is not done in the next moment either.
        self._due_ns = max(self._due_ns, now_ns + self._handoff_ns)

    cdef void _end_idle(self, int reason, int64_t now_ns) noexcept nogil:
        cdef DeadlineList *there = &self.lists[reason]
        cdef Connection *connection
        while there.first != NULL and there.first.deadline_ns <= now_ns:
            connection = there.first
            if connection.stays or connection.is_readable or pyserver_unread(connection.source.fd):
                break               # it is not the client that is late, or it has to be told
            unwatch_natively(self.epoll, connection.source.fd)
            if self.has_copies(connection):
                shutdown(connection.source.fd, SHUT_RDWR)
            self.let_go_of(connection)
        if there.first != NULL:
            self._due_ns = min(self._due_ns, there.first.deadline_ns)

    cdef void _give_late(self, int reason, int64_t now_ns) noexcept nogil:
        cdef DeadlineList *there = &self.lists[reason]
        while there.first != NULL and there.first.deadline_ns <= now_ns:
            if there.first.stream != NULL or not self._give(there.first, 0):
                break
        if there.first != NULL:
            self._due_ns = min(self._due_ns, there.first.deadline_ns)


cdef void *live(void *stewarded) noexcept nogil:
    pyserver_name_this_thread(b"steward")
    (<Stewarded> stewarded)._live()
    return NULL


cdef void bequeath() noexcept nogil:
    """In the signal handler that ends the process: have the steward see to its connections, and wait a moment."""
    cdef int attempt
    if steward_of == NULL:
        return
    pyserver_store(&(<Stewarded> steward_of)._has_will, True)
    write((<Stewarded> steward_of)._ends[1], b"\0", 1)
    for attempt in range(2 * WILL_MS):
        if not pyserver_load(&(<Stewarded> steward_of)._has_will):
            break
        poll(NULL, 0, 1)


def _pause() -> None:
    """Before the process forks: let the steward end what it does."""
    if steward_of == NULL:
        return
    pyserver_store(&(<Stewarded> steward_of)._pauses, True)
    while pyserver_load(&(<Stewarded> steward_of)._acts):
        sched_yield()


def _go_on() -> None:
    if steward_of != NULL:
        pyserver_store(&(<Stewarded> steward_of)._pauses, False)


def _forget() -> None:
    """In a child of the process, which has no such thread."""
    global steward_of
    if steward_of != NULL:
        (<Stewarded> steward_of)._has_steward = False
        for end in (<Stewarded> steward_of)._ends:
            close_descriptor(end)
        steward_of = NULL


_os.register_at_fork(before=_pause, after_in_parent=_go_on, after_in_child=_forget)
