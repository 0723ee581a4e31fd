# The contract of _reactor: what the lanes of a worker share.
from libc.stdint cimport int64_t, uint64_t

from pyserver._access cimport AccessLog, RequestIds
from pyserver._channel cimport Session, Version
from pyserver._collector cimport Collector, pyserver_mutex
from pyserver._connection cimport DEADLINES, Buffers, Connection, DeadlineList, Durations
from pyserver._exchange cimport Gateway
from pyserver._http cimport Bounds, Limits
from pyserver._leadership cimport Leadership
from pyserver._poller cimport Poller, Ready
from pyserver._proxies cimport Proxies
from pyserver._scoreboard cimport Slot


cdef enum:
    LINGER_SECONDS = 2          # without a byte of what nobody wants any more, until it is waited for no longer
    LINGER_MOST_SECONDS = 30    # … and with as many as there are


cdef class Reactor:
    cdef Gateway gateway
    cdef AccessLog access
    cdef RequestIds ids
    cdef object log
    cdef Bounds bounds
    cdef Bounds trusted_bounds          # of a request whose peer is
    cdef Proxies proxies
    cdef Version http2                  # None where it is not spoken
    cdef set sessions                   # of connections that speak it
    cdef list unflushed                 # … which have something to send, perhaps
    cdef list held                      # … or are to look at it then:
    cdef int64_t flush_at_ns            # 0: there are none
    cdef bint batches                   # … at the end of a round only, for requests run beside each other
    cdef int carried                    # connections that others carry
    cdef list contexts                  # of each listener the ssl.SSLContext, or None; None where no listener has one
    cdef bint looks_back                # fields may name the client
    cdef Buffers buffers
    cdef bytes server
    cdef bytes alternative              # the line of Alt-Svc in responses over TLS; None for none
    cdef bytes health                   # the path that is answered with how the server is; None for none
    cdef bint logs_health               # … and so it is logged
    cdef bint with_date
    cdef Slot *slot
    cdef Poller poller
    cdef int epoll                      # the descriptor of a poller that has one; -1 else
    cdef Leadership leadership          # None with a single thread
    # Guards all that follows where others than the one thread look at it; NULL where nobody does.
    cdef pyserver_mutex *mutex
    cdef Collector collector
    cdef Ready *reported                # by the last wait
    cdef int ready_at                   # of what was reported, what is served next
    cdef int ready_count
    cdef int64_t reported_ns            # when that was
    cdef int64_t away_ns                # how long nobody had asked before
    cdef int64_t rounds                 # twice how often it was waited for events; odd while somebody does
    cdef int64_t calls                  # of the application, as far as a steward is to look after them
    cdef int64_t steward_rests          # until it is called
    cdef int steward_bell               # … by this end of a pipe
    cdef int commons                    # where connections are put that others are to serve; -1 for nowhere
    cdef uint64_t *identities           # of the listeners
    cdef DeadlineList lists[DEADLINES]
    cdef Connection *_dead              # closed in this round; their events may still be under way
    cdef Connection **_again            # connections with more to do than one turn allows
    cdef int _again_first
    cdef int _again_count
    cdef int _again_capacity
    cdef int _forks                     # of this process, when the reactor was made
    cdef readonly int connections
    cdef readonly int64_t requests
    cdef readonly int running           # requests that the application has
    cdef readonly int listed            # … and those that do not count as such, where they run beside others
    cdef int waiting                    # requests of carried connections that wait for their client
    cdef readonly bint is_retiring
    cdef int64_t idle_grace_ns          # … and how long connections without a request are kept then
    cdef int64_t stay_grace_ns          # … where others can move and these cannot
    cdef bint moves                     # … and connections go on with another worker
    cdef bint is_waiting                # between two rounds
    cdef int64_t waits_until_ns         # … no longer than this
    cdef bint pauses                    # accepting does, for want of descriptors
    cdef int64_t said_unspooled_ns
    # Where each request runs in a greenlet of its own.
    cdef public object on_request
    cdef public object on_full
    cdef public object on_room
    cdef public object on_wake
    cdef readonly int capacity          # how many requests may run; 0: no more than there are threads
    cdef int lanes                      # that were made for them
    cdef list spare                     # … and serve nobody

    cdef int equip(self, Gateway gateway, Limits limits, Durations durations, Buffers buffers, log, AccessLog access, str poller, bytes server, bint date, Proxies proxies) except -1
    cdef void lock(self) noexcept
    cdef void unlock(self) noexcept
    cdef bint seize(self) noexcept nogil
    cdef int nudge(self) except -1
    cdef void call_steward(self) noexcept nogil
    cdef int note_served(self) except -1
    cdef int load(self) noexcept
    cdef bint is_full(self) noexcept
    cdef int64_t earliest_ns(self) noexcept
    cdef int64_t note_queued(self, Connection *connection, int64_t now_ns) noexcept nogil
    cdef int wait_for(self, Connection *connection, int reason, int64_t now_ns) except -1
    cdef int watch_connection(self, Connection *connection, int interest) except -1
    cdef int go_on_later(self, Connection *connection) except -1
    cdef bint enqueue_again(self, Connection *connection) noexcept nogil
    cdef Connection *next_again(self) noexcept
    cdef int close(self, Connection *connection) except -1
    cdef int _close_carried(self, Connection *connection) except -1
    cdef int end_session(self, Connection *connection) except -1
    cdef int flush_sessions(self) except -1
    cdef int flush_later(self, Session session, int64_t at_ns) except -1
    cdef int flush_held(self) except -1
    cdef bint is_empty(self) noexcept nogil
    cdef int part(self, Connection *connection) except -1
    cdef bint has_copies(self, const Connection *connection) noexcept nogil
    cdef bint pass_on(self, Connection *connection, int cell, int64_t since_ns) noexcept nogil
    cdef void let_go_of(self, Connection *connection) noexcept nogil
    cdef void bury(self, Connection *connection) noexcept nogil
    cdef int free_dead(self) noexcept
