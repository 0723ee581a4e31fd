# The contract of _leadership: of several threads, one waits for events.
from libc.stdint cimport int64_t


from pyserver._collector cimport Collector, pyserver_mutex

cdef extern from "_threads.h":
    ctypedef struct pyserver_bed:
        pass


cdef class Leadership:
    # All of it is guarded by the mutex; what the standby looks at without it is written atomically.
    cdef pyserver_mutex _mutex
    cdef Collector *collector           # that has to wait while the mutex is held; whoever makes this says which
    cdef pyserver_bed *_beds            # one for each thread
    cdef bint *_is_benched              # likewise
    cdef int *_bench                    # threads that wait to be the standby, the one that came last on top
    cdef int _benched
    cdef int _threads
    cdef int64_t _leader                # or NOBODY
    cdef int _standby                   # or NOBODY
    cdef int64_t _standby_sleeps        # until it is woken
    cdef int64_t _leader_is_away        # it has called the application, and goes on leading
    cdef int64_t _calls                 # of the application by such leaders
    cdef int64_t _turns                 # how often a thread has begun to lead
    cdef int64_t *_left_at              # by thread: at which turn it called the application as the leader, or NEVER
    cdef int64_t _mean_ns               # how long the application takes
    cdef int _use                       # of hand-overs, up to OF_USE
    cdef int64_t _is_over

    cdef pyserver_mutex *mutex(self) noexcept
    cdef void lock(self) noexcept
    cdef void unlock(self) noexcept
    cdef void make_anew(self) noexcept
    cdef bint follow(self, int thread) noexcept
    cdef void _wait(self, int thread) noexcept nogil
    cdef void _sit_down(self, int thread) noexcept nogil
    cdef bint _stand_by(self, int thread) noexcept nogil
    cdef void _call_up(self) noexcept nogil
    cdef bint leads(self, int thread) noexcept nogil
    cdef void leave(self, int thread) noexcept
    cdef void come_back(self, int thread, int64_t took_ns) noexcept nogil
    cdef void end(self) noexcept nogil
