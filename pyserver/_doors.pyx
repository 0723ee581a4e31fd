"""Listeners that are closed from a signal handler while the application runs.

A worker inside a long request cannot obey before that request ends, and until then it would keep its listener open:
new clients would be accepted by the kernel, and reset when the worker is killed. So the handler itself empties the
accept queues and closes the listeners. The connections are kept for the engine, which serves them when it has the
thread again. Everything here is async-signal-safe; there is one set of doors in a process.
"""
from libc.errno cimport EAGAIN, ECONNABORTED, EINTR, errno
from posix.fcntl cimport O_CLOEXEC, O_RDWR, open as open_file
from posix.unistd cimport close, dup2

from pyserver._poller cimport unwatch_natively
from pyserver._system cimport EPROTO, EWOULDBLOCK, pyserver_accept, pyserver_peer, pyserver_set_errno

cdef extern from *:
    """
    #include <sched.h>
    """
    int sched_yield() nogil

cdef extern from *:
    int ATOMICALLY "__ATOMIC_SEQ_CST"
    bint __atomic_compare_exchange_n(int *word, int *expected, int desired, bint weak, int success, int failure) nogil
    void __atomic_store_n(int *word, int value, int order) nogil
    int __atomic_load_n(int *word, int order) nogil

cdef enum State:
    OPEN
    CLOSING             # the handler is at work, perhaps on another thread
    CLOSED

cdef int _state = OPEN
cdef int _fds[DOORS]
cdef int _count = 0
cdef int _poller = -1
cdef int _nowhere = -1      # /dev/null; takes the place of a listener, so that its number is not given to another file
cdef const int64_t *_busy = NULL
cdef const int64_t *_is_last = NULL
cdef int _fds_taken[TAKEN]
cdef unsigned char _doors_taken[TAKEN]
cdef int _taken_count = 0
cdef int _taken_at = 0


cdef int guard_doors(int poller, const int64_t *busy, const int64_t *is_last) except -1:
    """Begin with no doors.

    Args:
        poller: the epoll descriptor that watches them, or -1.
        busy: not 0 while the application runs; only then does the handler close anything.
        is_last: not 0 when nobody else will serve what waits at the doors.
    """
    global _poller, _busy, _is_last, _nowhere, _count, _state, _taken_count, _taken_at
    if _nowhere < 0:
        _nowhere = open_file("/dev/null", O_RDWR | O_CLOEXEC)
        if _nowhere < 0:
            raise OSError(errno, "/dev/null")
    _poller = poller
    _busy = busy
    _is_last = is_last
    _count = _taken_count = _taken_at = 0
    _state = OPEN
    return 0


cdef int add_door(int fd) except -1:
    """Guard a listener; those beyond the room for them are closed when the request has ended."""
    global _count
    if _count < DOORS:
        _fds[_count] = fd
        _count += 1
    return 0


cdef bint take_doors() noexcept nogil:
    """The handler does nothing from now on; whether it has closed the doors before."""
    cdef int expected = OPEN
    if __atomic_compare_exchange_n(&_state, &expected, CLOSED, False, ATOMICALLY, ATOMICALLY):
        return False
    while __atomic_load_n(&_state, ATOMICALLY) == CLOSING:
        sched_yield()
    return True


cdef bint next_taken(Taken *taken) noexcept nogil:
    """The next connection that the handler has accepted; False when there is none left."""
    global _taken_at
    while _taken_at < _taken_count:
        taken.fd = _fds_taken[_taken_at]
        taken.door = _doors_taken[_taken_at]
        _taken_at += 1
        if pyserver_peer(taken.fd, &taken.peer) == 0:
            return True
        close(taken.fd)         # it has left already
    return False


cdef size_t closer() noexcept nogil:
    """The address of the function that a handler calls."""
    return <size_t> &_close_doors


cdef bint _empty(int door) noexcept nogil:
    """Accept all that wait at a door; whether none is left, so that closing it resets nobody."""
    global _taken_count
    cdef int fd
    while _taken_count < TAKEN:
        fd = pyserver_accept(_fds[door], NULL, NULL)
        if fd >= 0:
            _fds_taken[_taken_count] = fd
            _doors_taken[_taken_count] = <unsigned char> door
            _taken_count += 1
        elif errno in (EAGAIN, EWOULDBLOCK):
            return True
        elif errno not in (EINTR, ECONNABORTED, EPROTO):
            return False
    return False


cdef void _close_doors() noexcept nogil:
    cdef int expected = OPEN
    cdef int before = errno
    cdef int door
    if _busy == NULL or _busy[0] == 0 or _is_last[0] == 0:
        return
    if not __atomic_compare_exchange_n(&_state, &expected, CLOSING, False, ATOMICALLY, ATOMICALLY):
        return
    for door in range(_count):
        if _empty(door):
            unwatch_natively(_poller, _fds[door])
            dup2(_nowhere, _fds[door])
    __atomic_store_n(&_state, CLOSED, ATOMICALLY)
    pyserver_set_errno(before)
