"""A mutex that is held without Python's garbage collector running.

The collector runs finalizers of the application, wherever Python makes an object. One that waits for what another
thread has, which wants this mutex, would wait for ever; and one that comes back to the engine would find it in the
middle of a change. Where all that is done with the mutex held makes no objects to speak of, nothing is kept off.

The collector is that of the process: what other threads make meanwhile is collected a moment later.
"""
import os as _os
import sys as _sys

cdef extern from "_threads.h":
    bint pyserver_mutex_try(pyserver_mutex *mutex) nogil
    void pyserver_mutex_lock(pyserver_mutex *mutex) nogil
    void pyserver_mutex_unlock(pyserver_mutex *mutex) nogil

cdef extern from "Python.h":
    bint PyGC_Disable()
    bint PyGC_Enable()
    int PyErr_CheckSignals() except -1

# Python 3.12 runs what was due before the collector was switched off, and at the same place looks for signals.
cdef bint runs_late = _sys.version_info[:2] == (3, 12)
# How many collectors there are that a mutex keeps off now.
cdef int owed = 0


cdef void acquire(pyserver_mutex *mutex, Collector *collector) noexcept:
    """Have the mutex; NULL for none. The interpreter lock is let go while somebody else has it."""
    _take(mutex)
    if not collector.is_kept_off:
        return
    while runs_late and mutex != NULL and collector.depth == 0:
        pyserver_mutex_unlock(mutex)
        _run_due()
        if pyserver_mutex_try(mutex):
            break
        _take(mutex)
    collector.depth += 1
    if collector.depth == 1:
        _keep_off(collector)


cdef void release(pyserver_mutex *mutex, Collector *collector) noexcept:
    """Let the mutex go."""
    let_run(collector)
    if mutex != NULL:
        pyserver_mutex_unlock(mutex)


cdef void let_run(Collector *collector) noexcept:
    """Let it run from now on, for the mutex is let go without the interpreter lock."""
    global owed
    if not collector.is_kept_off or collector.depth == 0:
        return
    collector.depth -= 1
    if collector.depth == 0 and collector.is_owed:
        collector.is_owed = False
        # A child that the application has forked may have let it run already.
        if owed:
            owed -= 1
            PyGC_Enable()


cdef void _take(pyserver_mutex *mutex) noexcept:
    if mutex != NULL and not pyserver_mutex_try(mutex):
        # Nobody waits for it with the interpreter lock held.
        with nogil:
            pyserver_mutex_lock(mutex)


cdef void _run_due() noexcept:
    # What a signal handler raises is told by Python: it cannot be raised where a mutex is let go or taken.
    PyErr_CheckSignals()


cdef void _keep_off(Collector *collector) noexcept:
    global owed
    if PyGC_Disable():
        collector.is_owed = True
        owed += 1


def _let_run_in_child() -> None:
    """The thread that had the mutex is not there, perhaps."""
    global owed
    if owed:
        owed = 0
        PyGC_Enable()


_os.register_at_fork(after_in_child=_let_run_in_child)
