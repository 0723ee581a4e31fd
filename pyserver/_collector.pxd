# The contract of _collector: when Python's garbage collector has to wait.
cdef extern from "_threads.h":
    ctypedef struct pyserver_mutex:
        pass


cdef struct Collector:
    # Of an engine; guarded by its mutex, where it has one.
    bint is_kept_off            # whether it has to wait at all
    int depth                   # how often the mutex is held
    bint is_owed                # it ran before that, and is to run again


cdef void acquire(pyserver_mutex *mutex, Collector *collector) noexcept
cdef void release(pyserver_mutex *mutex, Collector *collector) noexcept
cdef void let_run(Collector *collector) noexcept
