"""Leader/followers: of the threads that share an engine one waits for events, and another takes its place in time.

The leader serves what is ready one after the other, in its own thread: no queue, no hand-over. While it is in the
application somebody else has to be able to lead:

- Where the application waits, for a database say, the leader resigns before it calls it, and the next one waits at
  once for the interpreter lock, which it gets when the application lets it go.
- Where the application is quick, or computes, a hand-over costs and brings nothing, and the leader stays. One thread,
  the standby, looks at it once a tick, and takes its place when it has been in one and the same call for all of a
  tick. In a server that has nothing to do it sleeps, and is woken by the next call.

Which of the two it is shows by itself: a hand-over was of use when the next one had its turn before the last one came
back.

One mutex guards this and all else that the threads share. Nobody waits for it with the interpreter lock held, so it
is allowed to wait for the interpreter lock with the mutex held.
"""
from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free

from pyserver._collector cimport acquire, let_run, release

cdef extern from "_threads.h":
    void pyserver_mutex_make(pyserver_mutex *mutex) nogil
    void pyserver_mutex_lock(pyserver_mutex *mutex) nogil
    void pyserver_mutex_unlock(pyserver_mutex *mutex) nogil
    void pyserver_bed_make(pyserver_bed *bed) nogil
    void pyserver_wake(pyserver_bed *bed) nogil
    bint pyserver_sleep(pyserver_bed *bed, long ns) nogil
    int64_t pyserver_load(const int64_t *word) nogil
    void pyserver_store(int64_t *word, int64_t value) nogil

cdef enum:
    NOBODY = -1
    NEVER = -1

cdef long TICK_NS = 1000000
# An application that takes less than this on average does not wait for anything.
cdef int64_t LONG_NS = 20000
# Of how many calls the average is, about.
cdef int64_t WEIGHT = 16

cdef enum:
    # One hand-over that was of use makes up for a hundred that were not.
    OF_USE = 1024
    OF_NO_USE = 32


cdef class Leadership:
    """Who of `threads` threads leads."""

    def __cinit__(self, int threads):
        self._threads = threads
        self._beds = <pyserver_bed *> calloc(<size_t> threads, sizeof(pyserver_bed))
        self._is_benched = <bint *> calloc(<size_t> threads, sizeof(bint))
        self._bench = <int *> calloc(<size_t> threads, sizeof(int))
        self._left_at = <int64_t *> calloc(<size_t> threads, sizeof(int64_t))
        if self._beds == NULL or self._is_benched == NULL or self._bench == NULL or self._left_at == NULL:
            raise MemoryError()
        self._use = OF_USE
        self.make_anew()

    def __dealloc__(self):
        free(self._beds)
        free(self._is_benched)
        free(self._bench)
        free(self._left_at)

    cdef void make_anew(self) noexcept:
        """Nobody leads, and nobody has the mutex: in a forked child, whose threads have not come with it."""
        cdef int thread
        pyserver_mutex_make(&self._mutex)
        self._leader = self._standby = NOBODY
        self._leader_is_away = self._standby_sleeps = False
        self._benched = 0
        for thread in range(self._threads):
            pyserver_bed_make(&self._beds[thread])
            self._is_benched[thread] = False
            self._left_at[thread] = NEVER

    cdef void lock(self) noexcept:
        """Have the mutex; the interpreter lock is let go while somebody else has it."""
        acquire(&self._mutex, self.collector)

    cdef void unlock(self) noexcept:
        release(&self._mutex, self.collector)

    cdef pyserver_mutex *mutex(self) noexcept:
        """By which all that the threads share is guarded."""
        return &self._mutex

    cdef bint leads(self, int thread) noexcept nogil:
        return self._leader == thread and not self._is_over

    cdef bint follow(self, int thread) noexcept:
        """Wait, with the mutex held, until this thread leads; False when all is over."""
        let_run(self.collector)
        with nogil:
            if self._leader != thread:
                self._wait(thread)
            # Whoever comes back from the application now has the interpreter lock, and is not to wait for this thread.
            pyserver_mutex_unlock(&self._mutex)
        self.lock()
        self._turns += 1
        return not self._is_over

    cdef void _wait(self, int thread) noexcept nogil:
        while not self._is_over and pyserver_load(&self._leader) != NOBODY:
            if self._standby not in (NOBODY, thread):
                self._sit_down(thread)
                continue
            self._standby = thread
            if self._stand_by(thread):
                break
        if self._standby == thread:
            self._standby = NOBODY
            # Somebody has to look at the one that leads now.
            self._call_up()
        pyserver_store(&self._leader, thread)
        pyserver_store(&self._leader_is_away, False)

    cdef void _sit_down(self, int thread) noexcept nogil:
        """Wait until called up."""
        self._bench[self._benched] = thread
        self._benched += 1
        self._is_benched[thread] = True
        # It may be woken by what was meant for it when it stood by.
        while self._is_benched[thread] and not self._is_over:
            pyserver_mutex_unlock(&self._mutex)
            pyserver_sleep(&self._beds[thread], 0)
            pyserver_mutex_lock(&self._mutex)

    cdef bint _stand_by(self, int thread) noexcept nogil:
        """Look at the leader until it has to be looked at with the mutex; whether its place is to be taken.

        Without the mutex until then: whoever waits for one that is let go and taken anew all the time makes each time
        cost a system call.
        """
        cdef int64_t calls, seen = pyserver_load(&self._calls)
        pyserver_mutex_unlock(&self._mutex)
        while True:
            if pyserver_sleep(&self._beds[thread], TICK_NS):
                if pyserver_load(&self._leader) == NOBODY or pyserver_load(&self._is_over):
                    break
            calls = pyserver_load(&self._calls)
            if calls != seen:
                seen = calls
            elif pyserver_load(&self._leader_is_away):
                break               # in the same call as a tick ago
            else:
                # Nothing has been asked for a tick: no more ticks until something is.
                pyserver_store(&self._standby_sleeps, True)
                if pyserver_load(&self._calls) == seen:
                    pyserver_sleep(&self._beds[thread], 0)
                pyserver_store(&self._standby_sleeps, False)
                if pyserver_load(&self._leader) == NOBODY or pyserver_load(&self._is_over):
                    break
        pyserver_mutex_lock(&self._mutex)
        return self._leader_is_away and self._calls == seen

    cdef void _call_up(self) noexcept nogil:
        """Have the thread that sat down last, whose memory is in the caches, be the standby."""
        cdef int thread
        if self._benched:
            self._benched -= 1
            thread = self._bench[self._benched]
            self._is_benched[thread] = False
            self._standby = thread
            pyserver_wake(&self._beds[thread])

    cdef void leave(self, int thread) noexcept:
        """Let the mutex go and be in the application, and let somebody else lead where that pays."""
        if self._leader == thread:
            self._left_at[thread] = self._turns
            if self._mean_ns >= LONG_NS and self._use > OF_NO_USE:
                pyserver_store(&self._leader, NOBODY)
                if self._standby != NOBODY:
                    pyserver_wake(&self._beds[self._standby])
            else:
                pyserver_store(&self._leader_is_away, True)
                pyserver_store(&self._calls, self._calls + 1)
                if pyserver_load(&self._standby_sleeps):
                    pyserver_wake(&self._beds[self._standby])
        self.unlock()

    cdef void come_back(self, int thread, int64_t took_ns) noexcept nogil:
        """With the mutex held again: the application has taken so long."""
        self._mean_ns += (took_ns - self._mean_ns) // WEIGHT
        if self._leader == thread:
            pyserver_store(&self._leader_is_away, False)
        elif self._left_at[thread] != NEVER:
            self._use = OF_USE if self._turns != self._left_at[thread] else self._use - self._use // OF_NO_USE
        self._left_at[thread] = NEVER

    cdef void end(self) noexcept nogil:
        """With the mutex held: nobody is to lead any more."""
        cdef int thread
        pyserver_store(&self._is_over, True)
        for thread in range(self._threads):
            pyserver_wake(&self._beds[thread])
