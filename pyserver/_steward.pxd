# The contract of _steward: who looks after the connections of a worker while the application has its thread.
from libc.stdint cimport int64_t

from pyserver._balance cimport Balance
from pyserver._collector cimport pyserver_mutex
from pyserver._connection cimport Connection, Source
from pyserver._poller cimport READY_LIMIT, Ready
from pyserver._reactor cimport Reactor

cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_t:
        pass


cdef enum Sent:
    FAILED
    SOME_SENT                   # and the socket takes no more now
    MORE_FITS                   # it would, but others have their turn first
    ALL_SENT


cdef class Stewarded(Reactor):
    cdef Balance balance                # None where there are no other workers
    cdef int64_t _handoff_ns            # how long the application may keep a connection waiting; 0 for any time
    cdef pthread_t _thread
    cdef bint _has_steward              # the thread is there
    cdef Source _commons                # where connections are taken from that others pass on; fd -1 for nowhere
    cdef int lifeline                   # is readable once the arbiter is gone; -1 where there is none
    cdef bint _is_alone                 # one thread waits for events, and serves them
    cdef int64_t _calls                 # that there were when it looked last
    cdef int64_t _is_over
    cdef int _ends[2]                   # a pipe that is written to when the thread is to end
    cdef int _knocker                   # the end of a pipe by which an event loop is woken; -1 for none
    cdef pyserver_mutex _own_mutex
    cdef int64_t _acts                  # whether it is in the middle of something
    cdef int64_t _pauses                # … and is not to begin anything
    cdef int64_t _has_will              # the process is about to end
    cdef bint is_dying                  # … and what it had was passed on: it takes nothing more
    cdef int64_t _due_ns                # when it has something to do at the latest
    cdef bint _owes                     # it could not do all that there was to do
    cdef bint _has_left_some            # what it cannot do is reported again and again
    cdef Ready _seen[READY_LIMIT]

    cdef int appoint(self, double handoff_after) except -1
    cdef int dismiss(self) except -1
    cdef bint is_left_alone(self) noexcept nogil
    cdef void _live(self) noexcept nogil
    cdef bint _sleep(self, int64_t ns, bint until_ready) noexcept nogil
    cdef bint _rest(self) noexcept nogil
    cdef bint _act(self, int64_t round) noexcept nogil
    cdef void _stand_in(self) noexcept nogil
    cdef bint _tend(self, Connection *connection, int events) noexcept nogil
    cdef Sent _drain_natively(self, Connection *connection) noexcept nogil
    cdef bint _may_give(self) noexcept nogil
    cdef bint _give(self, Connection *connection, int64_t since_ns) noexcept nogil
    cdef void _bequeath(self) noexcept nogil
    cdef void _pass_on_those(self, int reason) noexcept nogil
    cdef void _expire_natively(self, int64_t now_ns) noexcept nogil
    cdef void _end_idle(self, int reason, int64_t now_ns) noexcept nogil
    cdef void _give_late(self, int reason, int64_t now_ns) noexcept nogil
