# The contract of _leadership: of several threads, one waits for events.
from libc.stdint cimport int64_t


cdef extern from "_threads.h":
    ctypedef struct pyserver_mutex:
        pass
    ctypedef struct pyserver_condition:
        pass


cdef class Leadership:
    # All of it is guarded by the mutex.
    cdef pyserver_mutex _mutex
    cdef pyserver_condition *_woken     # one for each thread
    cdef bint *_is_benched
    cdef int *_bench                    # threads that wait to be the standby, the one that came last on top
    cdef int _benched
    cdef int _threads
    cdef int _leader                    # or NOBODY
    cdef int _standby                   # or NOBODY
    cdef bint _standby_sleeps           # until it is woken
    cdef bint _leader_is_away           # it has called the application
    cdef int64_t _calls                 # of the application by leaders
    cdef int64_t _turns                 # how often a thread has begun to lead
    cdef int64_t *_left_at              # by thread: at which turn it called the application as the leader, or NEVER
    cdef int64_t _mean_ns               # how long the application takes
    cdef int _use                       # of hand-overs, up to OF_USE
    cdef bint _is_over

    cdef void lock(self) noexcept
    cdef void unlock(self) noexcept nogil
    cdef bint try_lock(self) noexcept nogil
    cdef void make_anew(self) noexcept
    cdef bint follow(self, int thread) noexcept
    cdef void _wait(self, int thread) noexcept nogil
    cdef void _sit_down(self, int thread) noexcept nogil
    cdef void _call_up(self) noexcept nogil
    cdef bint leads(self, int thread) noexcept nogil
    cdef void leave(self, int thread) noexcept nogil
    cdef void come_back(self, int thread, int64_t took_ns) noexcept nogil
    cdef void end(self) noexcept nogil
