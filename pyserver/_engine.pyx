"""The connections of one worker: accepts them, waits for them, has a lane serve each that is ready, expires them.

One round: wait, serve what is ready, expire what is late. Who waits is up to the worker: its only thread, in run(); one
of its threads after the other, in serve(); an event loop that watches fileno() and calls run_ready().
"""
from cpython.exc cimport PyErr_CheckSignals
from cpython.pythread cimport PyThread_get_thread_ident
from libc.errno cimport EAGAIN, ECONNABORTED, EINTR, EMFILE, ENFILE, ENOMEM, ENOTSOCK, errno
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport strerror
from posix.unistd cimport close, read, write

from pyserver._access cimport AccessLog, RequestIds
from pyserver._balance cimport Balance
from pyserver._channel cimport Session, Version
from pyserver._collector cimport pyserver_mutex
from pyserver._commons cimport Arrival, take_connection
from pyserver._connection cimport (
    AWAIT_CONTENT, AWAIT_FIRST_BYTE, AWAIT_HEAD, AWAIT_NEXT_REQUEST, AWAIT_ROOM, AWAIT_TURN, AWAIT_WRITE, BELL_SOURCE,
    COMMONS_SOURCE, LISTENER_SOURCE, RUNNING, WATCH_SOURCE, Buffers, Connection, Durations, Source, delist,
    enlist_until, free_held, is_peer_in, new_connection, note_peer,
)
from pyserver._doors cimport Taken, add_door, closer, guard_doors, next_taken, take_doors
from pyserver._exchange cimport Gateway
from pyserver._http cimport Limits
from pyserver._lane cimport Lane
from pyserver._leadership cimport Leadership
from pyserver._poller cimport BROKEN, EXCLUSIVE, READABLE, READY_LIMIT, WRITABLE, Poller, Ready
from pyserver._proxies cimport Proxies
from pyserver._scoreboard cimport Cell, Row, Slot
from pyserver._steward cimport Stewarded
from pyserver._streams cimport StreamLane
from pyserver._system cimport (
    ENOBUFS, EPROTO, EWOULDBLOCK, POLLIN, poll, pollfd, pyserver_accept, pyserver_descriptor_limit, pyserver_now_ns,
    sockaddr_storage, socklen_t,
)

import os as _os

from pyserver.errors import PollerError

cdef extern from "_threads.h":
    void pyserver_mutex_make(pyserver_mutex *mutex) nogil
    void pyserver_store(int64_t *word, int64_t value) nogil

cdef enum:
    ACCEPTS = 64                # connections accepted in a row
    SPARE_DESCRIPTORS = 32      # left to the application when connections take all others

cdef int64_t SECOND = 1000000000
cdef int64_t ACCEPT_PAUSE_NS = SECOND
cdef int64_t WAITED_NS = 200000             # who has waited for so long has really nothing to do
cdef int64_t PRESSED_NS = 1000000           # from one report to the next, where one round follows the other
cdef int64_t HELD_NS = 5000000              # between two looks for somebody who serves whom nobody serves here
cdef enum:
    SHUNNED_MS = 5              # how long others may take what was given them
    MOST_HOPS = 4               # of a new connection that cannot move once it has begun
cdef int64_t SHUNNED_NS = SHUNNED_MS * 1000000
cdef int64_t MOVE_PAUSE_NS = 1000000        # until the commons may have room again
cdef int64_t ALWAYS = 1
cdef int64_t TURN_NS = 5000000              # how long a turn may take before others, and watches, have theirs


cdef class _WatchSource:
    cdef Source source


cdef class Engine(Stewarded):
    """Connections of one worker. Whoever waits on `fileno()` calls `run_ready()`; or run() or serve() does both.

    Args:
        listeners: bound, listening, non-blocking sockets.
        gateway: gets every complete request.
        limits: what a request may have.
        durations: what a connection may wait for.
        buffers: what is kept in memory.
        log: has debug(), info(), warning() and error(), as `log.ErrorLog`.
        access: gets a record of every response, or None.
        ids: gives an id to every request, or None.
        row: address of the worker's scoreboard slot; 0 for none.
        poller: "auto", "epoll" or "poll".
        server: value of the Server field; empty for no such field.
        date: whether responses get a Date field.
        threads: how many call serve(); 0 for a worker with one thread.
        capacity: how many requests run at the same time, each in a greenlet of its own; 0 for one, in place.
        streams: whether they run as tasks of an event loop instead, and take their content as it comes.
        commons: the descriptors of the commons, that of the end to take from and that to put into; None for none.
        moves_always: whether each connection is put there after each response.
        siblings: where the slots of all workers are: the address of the first, bytes from one to the next, and how many
            there are; None for no others.
        lifeline: a descriptor that is readable once nobody may take from the commons any more; -1 for none.
        handoff_after: seconds that the application may keep connections waiting, before others are to serve them; 0
            for any time.
        proxies: what is believed of whom; None for nothing of anybody but of who has a Unix socket.
        health: the path that is answered with 200, or 503 once the server drains, and without the gateway; empty for none.
        logs_health: whether the access log has these answers.
        contexts: for each listener the ssl.SSLContext with which TLS is spoken there, or None; None for no TLS at all.
        http2: what a client may have of HTTP/2, where it asks for that in TLS; None for HTTP/1.1 alone.
        alternative: the line of Alt-Svc that responses over TLS have, with its CRLF; empty for none.

    With a capacity, the one who waits has to set these, of which streams need the last only:
        on_request: called with a lane by run_ready(), when a request is complete; has `lane.serve()` run in a greenlet.
        on_full: called with a lane by its greenlet, which waits until on_room was called with it.
        on_room: called with a lane by run_ready(), when the socket has taken what on_full was called for.
        on_wake: called when there is something for run_ready() to do that fileno() does not show.
    """

    def __init__(
        self, list listeners, Gateway gateway not None, Limits limits not None, Durations durations not None,
        Buffers buffers not None, *, log, AccessLog access=None, RequestIds ids=None, size_t row=0, str poller="auto",
        bytes server=b"pyserver", bint date=True, int threads=0, int capacity=0, bint streams=False, tuple commons=None,
        bint moves_always=False, tuple siblings=None, int lifeline=-1, double handoff_after=0, Proxies proxies=None,
        bytes health=b"", bint logs_health=False, list contexts=None, Version http2=None,
        bytes alternative=b"",
    ):
        cdef int at
        self._bell.fd = self._bell_rope = -1
        self.ids = ids
        self.equip(gateway, limits, durations, buffers, log, access, poller, server, date, proxies or Proxies())
        self.health = health or None
        self.alternative = alternative or None
        self.logs_health = logs_health
        self.listeners = listeners
        self.contexts = contexts
        self.http2 = http2
        self.batches = streams
        # What is encrypted goes through objects of Python's, and so do streams.
        self.collector.is_kept_off = contexts is not None or http2 is not None
        self._own_slot = <Slot *> calloc(1, sizeof(Slot) + <size_t> max(threads, capacity, 1) * sizeof(Row))
        self._listeners = <Listener *> malloc(max(len(listeners), 1) * sizeof(Listener))
        self.identities = <uint64_t *> malloc(max(len(listeners), 1) * sizeof(uint64_t))
        if self._listeners == NULL or self._own_slot == NULL or self.identities == NULL:
            raise MemoryError()
        self.slot = <Slot *> row if row else self._own_slot
        self._watches = {}
        self._unwatched = []
        self._accepts = True
        for at in range(len(listeners)):
            self._listeners[at].source.kind = LISTENER_SOURCE
            self._listeners[at].source.fd = listeners[at].fileno()
            self._listeners[at].index = at
            self._listeners[at].is_secure = contexts is not None and contexts[at] is not None
            self.identities[at] = _os.fstat(self._listeners[at].source.fd).st_ino
            self._listener_count += 1
            self.poller.add(&self._listeners[at].source, READABLE | EXCLUSIVE)
        if commons is not None:
            self._commons.kind = COMMONS_SOURCE
            self._commons.fd, self.commons = commons
            self.lifeline = lifeline
            self._moving = MOVES_ALWAYS if moves_always else MOVES_WHEN_LEAVING
            self._watch_commons(True)
            if siblings is not None and row:
                self.balance = Balance(*siblings, row)
        self._last_descriptor = pyserver_descriptor_limit()
        self._last_descriptor -= min(SPARE_DESCRIPTORS, self._last_descriptor // 8)
        self._looked_ns = self._seen_ns = self.reported_ns = pyserver_now_ns()
        if threads:
            self.leadership = Leadership(threads)
            self.leadership.collector = &self.collector
            self.mutex = self.leadership.mutex()
        if commons is not None and handoff_after > 0 and self.epoll >= 0:
            self.appoint(handoff_after)
        if threads or (capacity and self.mutex != NULL):
            self._hang_bell()
        if capacity:
            self._knocker = self._bell_rope
        self.capacity = capacity
        self._has_streams = streams
        if capacity:
            self._lanes = [StreamLane(self, -1) if streams else Lane(self, -1)]
        else:
            self._lanes = [Lane(self, at) for at in range(max(threads, 1))]

    def __dealloc__(self):
        self.dismiss()
        free(self._listeners)
        free(self.identities)
        free(self._own_slot)
        if self._bell_rope >= 0:
            close(self._bell_rope)
            close(self._bell.fd)

    # ---- the loop ----

    def fileno(self) -> int:
        """A descriptor that is readable while there is something for run_ready() to do; OSError if the poller has none."""
        return self.poller.fileno()

    @property
    def is_done(self) -> bool:
        """Whether there is nothing left to serve: it was stopped, or retired and the last connection is closed."""
        return self._is_stopped or (self.is_retiring and self.is_empty() and self.listed == 0)

    @property
    def calls(self) -> list:
        """The streams under way, the oldest first."""
        return (<StreamLane> self._lanes[0]).streams() if self._has_streams else []

    def run(self) -> None:
        """Serve until it is done."""
        while not self._is_stopped and not (self.is_retiring and self.is_empty()):
            self.lock()
            try:
                self._go_on(self.next_wait_ms())
            finally:
                self.unlock()

    def stop(self) -> None:
        """Be done after the requests under way."""
        self.lock()
        try:
            self._is_stopped = True
            if self.leadership is not None:
                self.leadership.end()
            self.nudge()
        finally:
            self.unlock()

    def run_ready(self, int wait_ms=0) -> None:
        """Wait at most `wait_ms` (-1: for ever), then serve what is ready and expire what is late."""
        if not self._is_stopped:
            self.lock()
            try:
                self._go_on(wait_ms)
            finally:
                self.unlock()

    cdef int _go_on(self, int wait_ms) except -1:
        cdef Lane lane = self._lanes[0]
        self.is_waiting = False
        if self.capacity:
            # Somebody else has waited.
            lane.tick(pyserver_now_ns())
        self._wait(wait_ms, lane)
        self._go_round(lane)
        # Until the next call, others may have something to say.
        self.is_waiting = self.on_wake is not None
        if self.capacity:
            # Who is full has nothing to do, either, and takes nothing.
            self.slot.cells[<int> Cell.WAITS_SINCE_NS] = lane.now_ns if self._accepts and not self.is_full() else 0
        return 0

    def serve(self, int thread) -> None:
        """Serve as one of several threads until the engine is done.

        Args:
            thread: which one, from 0; the number of its row on the scoreboard.
        """
        cdef Lane lane = self._lanes[thread]
        cdef Leadership leadership = self.leadership
        if leadership is None:
            raise ValueError("serve() is for an engine that was made with threads")
        lane.row.thread = <uint64_t> PyThread_get_thread_ident()
        leadership.lock()
        try:
            while leadership.follow(thread):
                lane.tick(pyserver_now_ns())
                self._lead(lane)
                if self._moving == MOVES_ALWAYS or self.moves:
                    # The thread that leads waits, perhaps, and would see with the next event only what became idle.
                    self._move_idle()
                    self.nudge()
                self._tell_served()
                lane.let_go()
        finally:
            # Whatever it was, the other threads must not go on as if there were one more.
            leadership.end()
            self.nudge()
            leadership.unlock()

    cdef int _lead(self, Lane lane) except -1:
        """Go round until another thread leads. The threads' mutex is held, except in waits and in the application."""
        while not self._has_lost(lane):
            if self.ready_at == self.ready_count and self._turns_left == 0:
                lane.let_go()
                if self._in_round:
                    # The one before lost the lead at its very end.
                    self._end_round(lane)
                if self._is_stopped or (self.is_retiring and self.is_empty()):
                    self.leadership.end()
                    return 0
                self._wait(self.next_wait_ms(), lane)
            self._go_round(lane)
        return 0

    cdef bint _has_lost(self, Lane lane) noexcept:
        """Whether another thread leads by now, or all is over."""
        return self.leadership is not None and not self.leadership.leads(lane.number)

    cdef int _wait(self, int wait_ms, Lane lane) except -1:
        """Wait for events, and note what time it is."""
        cdef Poller poller = self.poller
        cdef Leadership leadership = self.leadership
        cdef int count
        cdef int64_t seen_ns = lane.now_ns
        self.away_ns = seen_ns - self.reported_ns
        if self.balance is not None:
            self._even_out(seen_ns)
            if self._shuns_until_ns and wait_ms:
                # That was not known when it was decided how long to wait.
                wait_ms = SHUNNED_MS if wait_ms < 0 else min(wait_ms, SHUNNED_MS)
        if not self.capacity:
            self.slot.cells[<int> Cell.WAITS_SINCE_NS] = seen_ns if self._accepts else 0
        poller.begin_wait()
        pyserver_store(&self.rounds, self.rounds + 1)
        if leadership is None:
            with nogil:
                count = poller.wait(wait_ms)
        else:
            self.is_waiting = True
            leadership.unlock()
            with nogil:
                count = poller.wait(wait_ms)
            leadership.lock()
            self.is_waiting = False
        pyserver_store(&self.rounds, self.rounds + 1)
        self.slot.cells[<int> Cell.WAITS_SINCE_NS] = 0
        if count < 0:
            raise PollerError(-count, f"the poller failed: {strerror(-count).decode()}")
        self._run_signal_handlers()
        lane.tick(pyserver_now_ns())
        self._is_pressed = lane.now_ns - self.reported_ns < PRESSED_NS
        self.reported_ns = lane.now_ns
        # No later: behind a wait that was left early the process may have been stopped, and the clock not.
        self._note_seen(count, seen_ns if count else min(seen_ns + max(wait_ms, 0) * <int64_t> 1000000, lane.now_ns))
        self._looked_ns = lane.now_ns
        self.ready_at = 0
        self.ready_count = count
        self._turns_left = self._again_count
        self._has_turned = False
        self._in_round = True
        return 0

    cdef int _go_round(self, Lane lane) except -1:
        """Serve what was reported; what is left when another thread takes over is that thread's to serve."""
        cdef Ready *ready
        while self.ready_at < self.ready_count:
            if self._owes_accept:
                self._owes_accept = False
                self._let_in(lane)
                if self._has_lost(lane):
                    return 0
            ready = &self.poller.ready[self.ready_at]
            self.ready_at += 1
            self._dispatch(lane, ready.source, ready.events)
            if self._has_lost(lane):
                self._owes_accept = True
                return 0
            if lane.now_ns - self._looked_ns > TURN_NS:
                self._owes_accept = True
                self._look_around(lane)
        while self._turns_left and self._again_count:
            if self._has_turned and lane.now_ns - self.reported_ns > TURN_NS:
                # They may be the hundred requests of one connection: who has asked meanwhile does not wait for all.
                break
            self._turns_left -= 1
            self._has_turned = True
            self._run_again(lane)
            if self._has_lost(lane):
                return 0
            if lane.now_ns - self._looked_ns > TURN_NS:
                self._look_around(lane)
        if self._has_streams:
            (<StreamLane> lane).launch_begun()
        return self._end_round(lane)

    cdef int _end_round(self, Lane lane) except -1:
        self._turns_left = 0
        self._in_round = False
        if self.capacity:
            self._admit(lane)
        self._expire(lane)
        if self._moving == MOVES_ALWAYS or self.moves:
            self._move_idle()
        if self._takes_rest:
            self._take_rest()
        if self.flush_at_ns and lane.now_ns >= self.flush_at_ns:
            self.flush_held()
        if self.unflushed:
            self.flush_sessions()
        self.free_dead()
        self._unwatched.clear()
        if self.pauses and (lane.now_ns >= self._accept_again_ns or self.connections < self._paused_at):
            self._resume_accepting(lane.now_ns)
        return self._tell_served()

    cdef int _admit(self, Lane lane) except -1:
        """Have those that wait for it ask again, as long as more requests may run."""
        cdef Connection *connection
        cdef int at
        while self.lists[AWAIT_TURN].first != NULL and not self.is_full():
            connection = self.lists[AWAIT_TURN].first
            delist(self.lists, connection)
            lane.tend(connection, READABLE | WRITABLE | BROKEN)
            # As many as are here may come back again and again: one newcomer for each, who waits behind them.
            if not self._accepts and not self.pauses and not self.is_retiring:
                for at in range(self._listener_count):
                    self._accept_one(&self._listeners[at], None)
        if self.balance is not None and (self._move_again_ns or self.lists[AWAIT_TURN].first != NULL):
            self._give_held(lane.now_ns)
        # Not for each place that becomes free: it takes system calls.
        if not self._accepts and not self.pauses and not self.is_retiring and self.load() <= self.capacity * 7 // 8:
            self._listen()
        return 0

    cdef int _give_held(self, int64_t now_ns) except -1:
        """Give away who waits for a turn here, while another worker has nothing to do."""
        cdef Connection *connection
        cdef Connection *later
        if self.is_retiring or self.is_left_alone():
            return 0
        self._move_again_ns = 0
        connection = self.lists[AWAIT_TURN].first
        while connection != NULL and self.balance.somebody_waits(now_ns, 0):
            later = connection.later
            if not connection.stays and not self.pass_on(
                connection, <int> Cell.GIVEN_BUSY, connection.since_ns or self.reported_ns
            ):
                break
            connection = later
        if self.lists[AWAIT_TURN].first != NULL:
            self._move_again_ns = now_ns + HELD_NS
        return 0

    cdef int note_served(self) except -1:
        """A request has run in a greenlet; between two rounds nobody would notice what follows from it."""
        if not self.is_waiting:
            return 0
        if self._moving == MOVES_ALWAYS or self.moves:
            self.nudge()
        if self._has_streams:
            # Of many that are served between two rounds the lines of the log leave together.
            if self.access is not None or (self.max_requests and self.requests >= self.max_requests):
                self.nudge()
        else:
            self._tell_served()
        if not self._accepts or self.lists[AWAIT_TURN].first != NULL:
            self.nudge()
        return 0

    cdef int _tell_served(self) except -1:
        if self.access is not None:
            self.access.settle(self.reported_ns, self._is_pressed and not self.is_retiring, self._has_streams)
            if self.is_waiting and self.access.due_ns() < self.waits_until_ns:
                self.nudge()
        if self.max_requests and self.requests >= self.max_requests and self.on_max_requests is not None:
            self.max_requests = 0
            self.on_max_requests()
        return 0

    cdef int _hang_bell(self) except -1:
        """By which a thread wakes the one that waits."""
        self._bell.fd, self._bell_rope = _os.pipe()
        for end in (self._bell.fd, self._bell_rope):
            _os.set_blocking(end, False)
        self._bell.kind = BELL_SOURCE
        return self.poller.add(&self._bell, READABLE)

    cdef int nudge(self) except -1:
        """Have whoever waits for events look anew: there is something else to do, or sooner."""
        if not self.is_waiting:
            return 0
        if self.on_wake is not None:
            self.on_wake()
        elif self._bell_rope >= 0 and not self._is_rung:
            self._is_rung = True
            write(self._bell_rope, b"\0", 1)
        return 0

    cdef int _run_signal_handlers(self) except -1:
        try:
            PyErr_CheckSignals()
        except Exception:
            # Of a handler that the application installed; between requests there is nobody else to raise it in.
            self.log.exception("A signal handler raised an exception")
        return 0

    cdef int _look_around(self, Lane lane) except -1:
        """Between two turns of a long round: what a watch has to tell must not wait for the rest of them."""
        cdef pollfd looked
        self._run_signal_handlers()
        if not self._watches:
            self._looked_ns = lane.now_ns
            return 0
        for fd, (watched, callback) in list(self._watches.items()):
            looked = pollfd(fd, POLLIN, 0)
            if fd in self._watches and poll(&looked, 1, 0) > 0:
                callback()
        self._looked_ns = lane.now_ns
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

    cdef int _dispatch(self, Lane lane, Source *source, int events) except -1:
        cdef char rung[16]
        if source.fd < 0:
            return 0                # closed in this round, before its event's turn
        if source.kind == LISTENER_SOURCE:
            return self._accept(lane, <Listener *> source)
        if source.kind == COMMONS_SOURCE:
            return self._take_moved(lane)
        if source.kind == WATCH_SOURCE:
            self._watches[source.fd][1]()
            return 0
        if source.kind == BELL_SOURCE:
            read(source.fd, rung, sizeof(rung))
            self._is_rung = False
            return 0
        return lane.tend(<Connection *> source, events)

    cdef int _run_again(self, Lane lane) except -1:
        cdef Connection *connection = self.next_again()
        return lane.tend(connection, READABLE | WRITABLE | BROKEN) if connection.source.fd >= 0 else 0

    def watch(self, int fd, callback) -> None:
        """Call `callback` from the loop whenever `fd` is readable or its other end is closed."""
        cdef _WatchSource watched = _WatchSource.__new__(_WatchSource)
        watched.source.kind = WATCH_SOURCE
        watched.source.fd = fd
        self.poller.add(&watched.source, READABLE)
        self._watches[fd] = (watched, callback)

    def unwatch(self, int fd) -> None:
        """Call back no more."""
        cdef _WatchSource watched = self._watches.pop(fd)[0]
        self.poller.remove(&watched.source)
        watched.source.fd = -1
        # Its event may still be under way in this round, and points to it.
        self._unwatched.append(watched)

    # ---- accepting ----

    cdef int _accept(self, Lane lane, Listener *listener) except -1:
        """Accept what is there, and serve each at once: most requests have arrived by then."""
        cdef int64_t began_ns = lane.now_ns
        cdef int turn
        for turn in range(ACCEPTS):
            if self.is_full():
                self._look_away()
                break
            if not self._accept_one(listener, lane):
                break
            # It may have been told to retire meanwhile.
            if self._has_lost(lane) or not self._accepts or lane.now_ns - began_ns > TURN_NS:
                break
            if self.balance is not None and self.balance.somebody_waits(lane.now_ns, WAITED_NS):
                break
        return self._step_back(listener)

    cdef int _step_back(self, Listener *listener) except -1:
        """Be the last of the workers that wait for the listener: the kernel wakes the one that has waited longest.

        With threads a worker waits also while it serves, and would get every new connection; and those that cannot move
        are to be spread from the beginning.
        """
        if not self.poller.is_edge_triggered or not self._accepts:
            return 0
        if self.leadership is not None or listener.is_secure or self.http2 is not None:
            self.poller.remove(&listener.source)
            self.poller.add(&listener.source, READABLE | EXCLUSIVE)
        return 0

    cdef int _let_in(self, Lane lane) except -1:
        """Accept one between two turns that take long: who has just come must not wait for all that were here before."""
        cdef int at
        for at in range(self._listener_count if self._accepts and not self.is_full() else 0):
            self._accept_one(&self._listeners[at], lane)
            if self._has_lost(lane) or not self._accepts:
                break
        return 0

    cdef bint _accept_one(self, Listener *listener, Lane lane) except -1:
        """Accept a connection, and unless `lane` is None serve it; False when there is none for now."""
        cdef int fd
        cdef sockaddr_storage address
        cdef socklen_t size
        while True:
            size = sizeof(sockaddr_storage)
            fd = pyserver_accept(listener.source.fd, &address, &size)
            if fd >= 0 or errno not in (EINTR, ECONNABORTED, EPROTO):
                break
        if fd < 0:
            if errno in (EMFILE, ENFILE, ENOBUFS, ENOMEM):
                self._pause_accepting(errno)
            elif errno not in (EAGAIN, EWOULDBLOCK, ENOTSOCK):
                # ENOTSOCK: the signal handler has closed it, and the verb will follow.
                self.log.error("cannot accept connections: %s", strerror(errno).decode())
                self._pause_accepting(0)
            return False
        self._adopt(fd, &address, listener.index, lane)
        if fd >= self._last_descriptor:
            if self._most_connections == 0:
                self._most_connections = self.connections
            self._pause_accepting(EMFILE)
            return False
        return True

    cdef int _adopt(self, int fd, const sockaddr_storage *address, int listener, Lane lane) except -1:
        cdef Connection *connection = new_connection(fd)
        connection.listener = <uint8_t> listener
        note_peer(connection, address)
        connection.is_trusted = is_peer_in(connection, self.proxies.trusted)
        connection.awaits_proxy = self.proxies.versions != 0
        connection.awaits_tls = self._listeners[listener].is_secure
        connection.awaits_preface = self._may_begin_http2(connection)
        self.connections += 1
        self.slot.cells[<int> Cell.ACCEPTED] += 1
        self.slot.cells[<int> Cell.CONNECTIONS] = self.connections
        # Nobody else was woken for it.
        if self.is_dying and self._may_give() and self.pass_on(connection, <int> Cell.GIVEN_LEAVING, 0):
            return 0
        if lane is not None and self._is_for_another(connection):
            return 0
        if lane is None:
            self.wait_for(connection, AWAIT_FIRST_BYTE, pyserver_now_ns())
            return self.watch_connection(connection, READABLE)
        self.wait_for(connection, AWAIT_FIRST_BYTE, lane.now_ns)
        return lane.tend(connection, READABLE)

    cdef bint _is_for_another(self, Connection *connection) except -1:
        """Whether it is new, will not be able to move, and was given to a worker that has fewer."""
        if not (connection.awaits_tls or connection.awaits_preface) or connection.reader != NULL:
            return False
        # Nobody may be there to take it: a worker that is stopped has nothing to do.
        if connection.hops == MOST_HOPS:
            return False
        if self.balance is None or self.is_retiring or self.is_left_alone():
            return False
        if not self.balance.somebody_has_fewer(self.connections):
            return False
        self._shun()
        connection.hops += 1
        return self.pass_on(connection, <int> Cell.GIVEN_UNEVEN, 0)

    cdef bint _may_begin_http2(self, const Connection *connection) noexcept:
        """Whether its first bytes may be those of HTTP/2: where TLS is spoken, that decides."""
        return self.http2 is not None and (
            self._listeners[connection.listener].is_secure
            or (connection.is_trusted and self.http2.in_clear)
        )

    # ---- connections that move ----

    cdef int _take_moved(self, Lane lane) except -1:
        """Take what others have passed on, and serve each at once."""
        cdef int64_t began_ns = lane.now_ns
        cdef int turn
        for turn in range(ACCEPTS):
            if self.is_full():
                self._look_away()
                break
            if not self._take_one(lane) or self._has_lost(lane) or lane.now_ns - began_ns > TURN_NS:
                break
            if not self._accepts or not self._sees_commons:
                break
        if self._sees_commons and self.leadership is not None and self.poller.is_edge_triggered:
            # As at the listeners.
            self._watch_commons(False)
            self._watch_commons(True)
        return 0

    cdef int _watch_commons(self, bint wanted) except -1:
        """Wait for what others put there, or no longer."""
        if self._commons.fd < 0 or wanted == self._sees_commons:
            return 0
        self._sees_commons = wanted
        return self.poller.add(&self._commons, READABLE | EXCLUSIVE) if wanted else self.poller.remove(&self._commons)

    cdef bint _take_one(self, Lane lane) except -1:
        """Take a connection, and unless `lane` is None serve it; False when there is none for now."""
        cdef Arrival arrival
        cdef Connection *connection
        cdef int fd
        if self.is_dying:
            return False
        take_connection(self._commons.fd, &arrival, &self.bounds, &self.trusted_bounds, self.proxies)
        connection = arrival.connection
        if connection == NULL:
            if arrival.was_lost:
                self.log.error("a connection is closed that another worker has passed on: it cannot be taken")
            elif arrival.is_short:
                # It stays there.
                self._takes_rest = self.is_retiring
                self._pause_accepting(EMFILE)
            return arrival.was_lost or arrival.was_interrupted
        fd = connection.source.fd
        self._restore(connection, &arrival)
        if connection.source.fd < 0 or (lane is not None and self._is_for_another(connection)):
            return True
        if lane is None:
            if connection.is_held:
                self.go_on_later(connection)
            self.watch_connection(connection, READABLE)
            self._takes_rest = fd >= self._last_descriptor
            return True
        # It may come to its end in this turn, and be freed by another thread.
        lane.tend(connection, READABLE)
        if fd >= self._last_descriptor:
            self._pause_accepting(EMFILE)
        return True

    cdef int _restore(self, Connection *connection, Arrival *arrival) except -1:
        """Have a connection as it was in the worker that it comes from."""
        cdef int at
        for at in range(self._listener_count):
            if self.identities[at] == arrival.listener:
                connection.listener = <uint8_t> at
        # Who has sent something in the clear goes on so: certificates may have come with a reload.
        connection.awaits_tls = (
            self._listeners[connection.listener].is_secure and connection.requests == 0
            and (connection.reader == NULL or connection.awaits_proxy)
        )
        connection.awaits_preface = connection.requests == 0 and self._may_begin_http2(connection)
        connection.since_ns = arrival.since_ns
        self.connections += 1
        self.slot.cells[<int> Cell.TAKEN] += 1
        self.slot.cells[<int> Cell.CONNECTIONS] = self.connections
        if connection.reader != NULL:
            # There may be all of a request, and nothing more to receive.
            connection.is_held = True
        if connection.reader != NULL and arrival.reason in (AWAIT_HEAD, AWAIT_CONTENT):
            enlist_until(self.lists, connection, arrival.reason, arrival.deadline_ns)
            connection.keeps_deadline = True
        else:
            self.wait_for(connection, AWAIT_NEXT_REQUEST if connection.requests else AWAIT_FIRST_BYTE, pyserver_now_ns())
        if self._has_streams and connection.content != NULL:
            (<StreamLane> self._lanes[0]).unread(connection)
        return 0

    cdef int _move_idle(self) except -1:
        """Pass on the connections that nobody asks anything on; what finds no room stays, and is tried again."""
        cdef int cell = <int> Cell.GIVEN_LEAVING if self.moves else <int> Cell.GIVEN_ALWAYS
        cdef int reason
        cdef Connection *connection
        cdef Connection *later
        self._move_again_ns = 0
        for reason in (AWAIT_NEXT_REQUEST, AWAIT_FIRST_BYTE):
            connection = self.lists[reason].first
            while connection != NULL and not self.is_left_alone():
                later = connection.later
                if connection.reader == NULL and not connection.stays and not connection.has_ended and (
                    self.moves or connection.requests > connection.arrived
                ):
                    if not self.pass_on(connection, cell, 0):
                        self._move_again_ns = pyserver_now_ns() + MOVE_PAUSE_NS
                        return 0
                    if self.epoll < 0:
                        self.poller.remove(&connection.source)
                connection = later
        return self._stop_moving() if self.is_left_alone() else 0

    cdef int _even_out(self, int64_t now_ns) except -1:
        """Give some connections away if this worker does more than the others."""
        cdef int wanted = self.balance.surplus(now_ns, -1 if self.capacity else self.away_ns, self.connections)
        if self._shuns_until_ns and now_ns >= self._shuns_until_ns:
            self._shuns_until_ns = 0
            self._watch_commons(self._accepts)
        if wanted and not self.is_retiring and not self.is_left_alone():
            self._give_some(wanted)
        return 0

    cdef int _give_some(self, int wanted) except -1:
        """Give away so many of those that have asked for something last."""
        cdef Connection *connection = self.lists[AWAIT_NEXT_REQUEST].last
        cdef Connection *earlier
        self._shun()
        while connection != NULL and wanted > 0:
            earlier = connection.earlier
            if connection.reader == NULL and not connection.stays and not connection.has_ended:
                if not self.pass_on(connection, <int> Cell.GIVEN_UNEVEN, 0):
                    break
                if self.epoll < 0:
                    self.poller.remove(&connection.source)
                wanted -= 1
            connection = earlier
        return 0

    cdef int _shun(self) except -1:
        """Leave to others for a while what is passed on: this worker would be the first to see it."""
        self._shuns_until_ns = pyserver_now_ns() + SHUNNED_NS
        return self._watch_commons(False)

    cdef int _stop_moving(self) except -1:
        """Serve what is left in the commons: those who should have taken it may be gone."""
        self.moves = False
        self._moving = MOVES_NEVER
        self._take_rest()
        return self._hurry() if self.is_retiring else 0

    cdef int _take_rest(self) except -1:
        """Take all that is left in the commons, for nobody else may; where descriptors are short, later."""
        self._takes_rest = False
        while self._commons.fd >= 0 and not self._takes_rest and self._take_one(None):
            pass
        return 0

    cdef int _look_away(self) except -1:
        """Leave to others who connects; the listeners stay readable."""
        cdef int at
        if self._accepts:
            for at in range(self._listener_count):
                self.poller.remove(&self._listeners[at].source)
            self._watch_commons(False)
        self._accepts = False
        return 0

    cdef int _listen(self) except -1:
        cdef int at
        for at in range(self._listener_count):
            try:
                self.poller.add(&self._listeners[at].source, READABLE | EXCLUSIVE)
            except PermissionError:
                pass                # the signal handler has closed it, as in _accept_one()
        self._watch_commons(not self._shuns_until_ns)
        self._accepts = True
        return 0

    cdef int _pause_accepting(self, int reason) except -1:
        """Descriptors have run out: look away until one may be free again."""
        cdef int64_t now_ns = pyserver_now_ns()
        self._look_away()
        self.pauses = True
        self._paused_at = self.connections
        self._accept_again_ns = now_ns + ACCEPT_PAUSE_NS
        if reason and now_ns - self._said_exhausted_ns >= SECOND:
            self._said_exhausted_ns = now_ns
            self.log.error(
                "cannot accept connections: %s; %d are open, the rest wait (raise the limit of open files)",
                strerror(reason).decode(), self.connections,
            )
        return 0

    cdef int _resume_accepting(self, int64_t now_ns) except -1:
        self._paused_at = 0
        if self.connections < self._most_connections // 2:
            self._most_connections = 0
        if self._most_connections and self.connections >= self._most_connections:
            # Each try would take one descriptor more of those left to the application.
            self._accept_again_ns = now_ns + ACCEPT_PAUSE_NS
            self._paused_at = self.connections
            return 0
        self.pauses = False
        if not self._accepts and not self.is_retiring:
            self._listen()
        return 0

    cdef int64_t earliest_ns(self) noexcept:
        """When there is something to do at the latest."""
        cdef int64_t earliest = Stewarded.earliest_ns(self)
        if self._has_streams and (<StreamLane> self._lanes[0])._begun:
            return 0                # they were admitted at the end of a round
        if self.access is not None:
            earliest = min(earliest, self.access.due_ns())
        if self._move_again_ns:
            earliest = min(earliest, self._move_again_ns)
        if self._shuns_until_ns:
            earliest = min(earliest, self._shuns_until_ns)
        return min(earliest, self._accept_again_ns) if self.pauses else earliest

    def guard_listeners(self) -> int:
        """The address of a C function for a signal handler; see _engine.pyi."""
        # Only the poller with a descriptor of its own would go on watching a listener that was closed.
        cdef int at = self.poller.fileno() if self.poller.is_edge_triggered else -1
        # One greenlet that computes holds up all, and which row is its is not known: there the handler always closes.
        guard_doors(at, &ALWAYS if self.capacity else &self.slot.rows[0].busy_since_ns, &self.slot.cells[<int> Cell.STOPS])
        for at in range(self._listener_count):
            add_door(self._listeners[at].source.fd)
        return closer()

    def retire(self, double idle_grace=1.0, bint takes_queue=True, bint moves=False, double stay_grace=1.0) -> None:
        """Accept no more, and answer with `Connection: close` from now on.

        Connections without a request under way are closed after `idle_grace` seconds, so that a request which was
        sent before its client could know is still answered. Or, if connections may move, others go on with them.

        Args:
            idle_grace: seconds.
            takes_queue: whether all connections that wait in the accept queues are taken first. They are when nobody
                else will: closing the last descriptor of a listener resets them. They are served later, for the
                sooner the listener is closed, the sooner are new clients refused. Otherwise at most one is taken from
                each.
            moves: whether others take what is put into the commons.
            stay_grace: what idle_grace is for connections that cannot move where others can; seconds.
        """
        self.lock()
        try:
            if not self.is_retiring:
                self._retire(idle_grace, takes_queue, moves, stay_grace)
                self.nudge()
        finally:
            self.unlock()

    cdef int _retire(self, double idle_grace, bint takes_queue, bint moves, double stay_grace) except -1:
        cdef int at
        cdef Taken taken
        self.is_retiring = True
        self.moves = moves and self._moving != MOVES_NEVER
        if self._moving == MOVES_ALWAYS and not self.moves:
            self._moving = MOVES_WHEN_LEAVING
        take_doors()
        while next_taken(&taken):
            self._adopt(taken.fd, &taken.peer, taken.door, None)
        for at in range(self._listener_count):
            # Of those that wait for a listener the kernel wakes one, and for the same connection no other: where that may
            # have been this one, it takes a connection. While it has served, nobody was woken, nor would serve it now.
            if takes_queue or self.is_waiting or self.ready_at < self.ready_count:
                while self._accept_one(&self._listeners[at], None) and takes_queue:
                    pass
        if takes_queue:
            self._take_rest()
        elif self.moves and self._sees_commons:
            # Likewise: what is put back wakes somebody else.
            for at in range(ACCEPTS):
                if not self._take_one(None):
                    break
        self._look_away()
        self.pauses = False
        for at in range(self._listener_count):
            self._listeners[at].source.fd = -1
        for listener in self.listeners:
            listener.close()
        self.idle_grace_ns = <int64_t> (idle_grace * 1e9)
        self.stay_grace_ns = <int64_t> (stay_grace * 1e9)
        if self.contexts is not None and self.moves:
            self._hurry_secured()
        for session in list(self.sessions):
            (<Session> session).warn(pyserver_now_ns())
        return self._move_idle() if self.moves else self._hurry()

    cdef int _hurry_secured(self) except -1:
        """Let those that cannot move be idle for no longer than that."""
        cdef int reason
        cdef Connection *connection
        cdef Connection *later
        cdef int64_t latest = pyserver_now_ns() + self.stay_grace_ns
        for reason in (AWAIT_FIRST_BYTE, AWAIT_NEXT_REQUEST):
            connection = self.lists[reason].first
            while connection != NULL:
                later = connection.later
                if connection.stays and connection.session == NULL and connection.deadline_ns > latest:
                    enlist_until(self.lists, connection, reason, latest)
                connection = later
        return 0

    cdef int _hurry(self) except -1:
        """Let connections without a request be idle for a moment only."""
        cdef int reason
        cdef Connection *connection
        cdef int64_t latest = pyserver_now_ns() + self.idle_grace_ns
        for reason in (AWAIT_FIRST_BYTE, AWAIT_NEXT_REQUEST):
            self.lists[reason].duration_ns = min(self.lists[reason].duration_ns, self.idle_grace_ns)
            connection = self.lists[reason].first
            while connection != NULL:
                connection.deadline_ns = min(connection.deadline_ns, latest)
                connection = connection.later
        return 0

    def reopen(self) -> None:
        """Open the access log anew, between two of its lines."""
        self.lock()
        try:
            if self.access is not None:
                self.access.reopen()
        finally:
            self.unlock()

    def abandon(self) -> int:
        """Close everything at once; how many requests or responses that cuts off."""
        cdef int reason, cut
        self.lock()
        try:
            # Those are cut off by the end of the process.
            cut = self.listed if self._has_streams else self.running
            if self._has_streams:
                (<StreamLane> self._lanes[0]).abandon()
            for reason in range(RUNNING):
                while reason != AWAIT_ROOM and self.lists[reason].first != NULL:
                    cut += reason in (AWAIT_HEAD, AWAIT_CONTENT, AWAIT_WRITE, AWAIT_TURN)
                    self.close(self.lists[reason].first)
            self.stop()
        finally:
            self.unlock()
        return cut

    def drop_copies(self) -> None:
        """For a child of this process that shall not serve: close its copies of all that the parent serves with.

        Nothing is said to the peers nor to the poller's set, which are the parent's, and nothing is logged; run() ends.
        """
        cdef int at, reason
        cdef Taken taken
        cdef Lane lane
        if self.leadership is not None:
            self.leadership.make_anew()
        elif self.mutex != NULL:
            pyserver_mutex_make(self.mutex)
        self.poller.close()
        take_doors()
        while next_taken(&taken):
            close(taken.fd)
        for lane in self._lanes:
            if lane.exchange is not None and lane.exchange.connection != NULL:
                self._drop_copy(lane.exchange.connection)
        for reason in range(RUNNING):
            while self.lists[reason].first != NULL:
                free_held(self.lists[reason].first)
                self._drop_copy(self.lists[reason].first)
        for at in range(self._listener_count):
            self._listeners[at].source.fd = -1
        for listener in self.listeners:
            listener.close()
        if self.access is not None:
            self.access.forget()
        self.collector.is_kept_off = False
        # The slot is the parent's to write.
        self.slot = self._own_slot
        for lane in self._lanes:
            lane.slot = self.slot
            lane.row = &self.slot.rows[0]
        self.is_retiring = True
        self.stop()

    cdef int _drop_copy(self, Connection *connection) except -1:
        if not connection.is_carried:
            close(connection.source.fd)
        connection.source.fd = -1
        connection.is_gone = connection.closes = True
        # An event of it may be under way, or a request.
        self.bury(connection)
        return 0

    cdef int _expire(self, Lane lane) except -1:
        """Close or refuse what has waited too long, and not for us to look."""
        cdef int reason
        cdef Connection *connection
        for reason in range(RUNNING):
            while self.lists[reason].first != NULL and self.lists[reason].first.deadline_ns <= self._seen_ns:
                connection = self.lists[reason].first
                lane.expire(connection, reason)
        return 0
