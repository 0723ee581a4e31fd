"""Which of many descriptors can be read or written: one interface, no policy.

`epoll` where there is one; `poll` everywhere, and in the tests a second time. Connections are watched edge-triggered
by epoll: one system call when a connection is first waited for, none for each request.
"""
from libc.errno cimport EINTR, errno
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy
from posix.unistd cimport close as close_descriptor

cdef extern from *:
    """
    #include <poll.h>
    #if defined(__linux__)
    #include <sys/epoll.h>
    #define PYSERVER_HAS_EPOLL 1
    #else
    #define PYSERVER_HAS_EPOLL 0
    typedef union { void *ptr; } epoll_data_t;
    struct epoll_event { unsigned int events; epoll_data_t data; };
    enum { EPOLLIN = 1, EPOLLOUT = 4, EPOLLERR = 8, EPOLLHUP = 16, EPOLLRDHUP = 0x2000, EPOLL_CLOEXEC = 0,
           EPOLL_CTL_ADD = 1, EPOLL_CTL_DEL = 2, EPOLL_CTL_MOD = 3 };
    #define EPOLLET (1u << 31)
    #define EPOLLEXCLUSIVE (1u << 28)
    static int epoll_create1(int flags) { (void) flags; return -1; }
    static int epoll_ctl(int e, int o, int f, struct epoll_event *v) { (void) e; (void) o; (void) f; (void) v; return -1; }
    static int epoll_wait(int e, struct epoll_event *v, int n, int t) { (void) e; (void) v; (void) n; (void) t; return -1; }
    #endif
    #ifndef POLLRDHUP
    #define POLLRDHUP 0
    #endif
    """
    bint PYSERVER_HAS_EPOLL
    unsigned int EPOLLIN, EPOLLOUT, EPOLLERR, EPOLLHUP, EPOLLRDHUP, EPOLLET, EPOLLEXCLUSIVE
    int EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD
    ctypedef union epoll_data_t:
        void *ptr
    struct epoll_event:
        unsigned int events
        epoll_data_t data
    int epoll_create1(int flags) nogil
    int epoll_ctl(int epoll, int operation, int fd, epoll_event *event) nogil
    int epoll_wait(int epoll, epoll_event *events, int count, int timeout) nogil
    short POLLIN, POLLOUT, POLLERR, POLLHUP, POLLNVAL, POLLRDHUP
    struct pollfd:
        int fd
        short events
        short revents
    int poll(pollfd *fds, unsigned long count, int timeout) nogil


cdef class Poller:
    """What every backend does."""

    cdef int add(self, Source *source, int interest) except -1:
        """Begin to watch; OSError where the system refuses."""
        raise TypeError("a Poller is one of its backends")

    cdef int change(self, Source *source, int interest) except -1:
        """Watch for something else from now on."""
        raise TypeError("a Poller is one of its backends")

    cdef int remove(self, Source *source) except -1:
        """Watch no more."""
        raise TypeError("a Poller is one of its backends")

    cdef int begin_wait(self) except -1:
        """Before wait(), which does not look at what is added and removed by others meanwhile."""
        return 0

    cdef int wait(self, int timeout_ms) noexcept nogil:
        """Fill `ready` and return how many: 0 after `timeout_ms` (-1: never) or when a signal came, -errno when it failed."""
        return 0

    cdef void close(self) noexcept:
        """Watch nothing any more, without a word to the system: what it watches may be another process's too."""

    def fileno(self) -> int:
        """A descriptor that is readable while something is ready; OSError where the backend has none."""
        raise OSError("this poller cannot itself be waited on")


cdef class EpollPoller(Poller):
    """Linux: connections edge-triggered, listeners and watches level-triggered."""

    cdef int _fd
    cdef epoll_event _events[READY_LIMIT]

    def __cinit__(self):
        self.is_edge_triggered = True
        self._fd = epoll_create1(EPOLL_CLOEXEC)
        if self._fd < 0:
            raise OSError(errno, "epoll_create1")

    def __dealloc__(self):
        self.close()

    cdef void close(self) noexcept:
        if self._fd >= 0:
            close_descriptor(self._fd)
        self._fd = -1

    def fileno(self) -> int:
        return self._fd

    cdef int _control(self, int operation, Source *source, int interest) except -1:
        cdef epoll_event event
        event.events = 0
        event.data.ptr = source
        if interest == READABLE | WRITABLE:
            event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET
        elif interest & READABLE:
            event.events = EPOLLIN
            if interest & EXCLUSIVE:
                event.events |= EPOLLEXCLUSIVE
        if epoll_ctl(self._fd, operation, source.fd, &event) < 0:
            raise OSError(errno, "epoll_ctl")
        return 0

    cdef int add(self, Source *source, int interest) except -1:
        return self._control(EPOLL_CTL_ADD, source, interest)

    cdef int change(self, Source *source, int interest) except -1:
        return self._control(EPOLL_CTL_MOD, source, interest)

    cdef int remove(self, Source *source) except -1:
        # Not left to close(): a child that the application forked may hold the description open, and the event of a
        # connection that is gone would then point at freed memory.
        cdef epoll_event event
        epoll_ctl(self._fd, EPOLL_CTL_DEL, source.fd, &event)
        return 0

    cdef int wait(self, int timeout_ms) noexcept nogil:
        cdef int count = epoll_wait(self._fd, self._events, READY_LIMIT, timeout_ms)
        if count < 0 and errno == EINTR:
            # By a signal, perhaps after the whole process was stopped: who has sent something meanwhile is not late.
            count = epoll_wait(self._fd, self._events, READY_LIMIT, 0)
        if count < 0:
            return 0 if errno == EINTR else -errno
        translate(self._events, count, self.ready)
        return count


cdef void translate(const epoll_event *events, int count, Ready *ready) noexcept nogil:
    cdef int at
    cdef unsigned int reported
    for at in range(count):
        reported = events[at].events
        ready[at].source = <Source *> events[at].data.ptr
        ready[at].events = (
            (READABLE if reported & (EPOLLIN | EPOLLRDHUP) else 0)
            | (WRITABLE if reported & EPOLLOUT else 0)
            | (BROKEN if reported & (EPOLLERR | EPOLLHUP | EPOLLRDHUP) else 0)
        )


cdef int look_natively(int epoll, Ready *ready) noexcept nogil:
    """What an epoll descriptor has to report now, READY_LIMIT at most; for a thread without Python."""
    cdef epoll_event events[READY_LIMIT]
    cdef int count = epoll_wait(epoll, events, READY_LIMIT, 0)
    translate(events, max(count, 0), ready)
    return max(count, 0)


cdef class PollPoller(Poller):
    """Anywhere: level-triggered, and a system call that looks at every descriptor."""

    cdef pollfd *_fds
    cdef Source **_sources
    cdef int _count
    # What is looked at in a wait, during which another thread may change the others.
    cdef pollfd *_waited
    cdef Source **_waited_sources
    cdef int _waited_count
    cdef int _waited_capacity
    cdef int _capacity
    cdef int _next              # where the next report begins, so that a busy source does not hide the others

    def __cinit__(self):
        self.is_edge_triggered = False

    cdef void close(self) noexcept:
        self._count = 0

    def __dealloc__(self):
        free(self._fds)
        free(self._sources)
        free(self._waited)
        free(self._waited_sources)

    cdef int _grow(self) except -1:
        cdef int capacity = max(64, self._capacity * 2)
        cdef pollfd *fds = <pollfd *> realloc(self._fds, capacity * sizeof(pollfd))
        cdef Source **sources
        if fds == NULL:
            raise MemoryError()
        self._fds = fds
        sources = <Source **> realloc(self._sources, capacity * sizeof(Source *))
        if sources == NULL:
            raise MemoryError()
        self._sources = sources
        self._capacity = capacity
        return 0

    cdef int _find(self, Source *source) noexcept:
        cdef int at
        for at in range(self._count):
            if self._sources[at] == source:
                return at
        return -1

    cdef int add(self, Source *source, int interest) except -1:
        if self._count == self._capacity:
            self._grow()
        self._sources[self._count] = source
        self._fds[self._count].fd = source.fd
        self._count += 1
        return self.change(source, interest)

    cdef int change(self, Source *source, int interest) except -1:
        cdef int at = self._find(source)
        # Errors are reported whether asked for or not, unless the descriptor is none.
        self._fds[at].fd = source.fd if interest else -1
        self._fds[at].events = (POLLIN if interest & READABLE else 0) | (POLLOUT if interest & WRITABLE else 0)
        return 0

    cdef int remove(self, Source *source) except -1:
        cdef int at = self._find(source)
        if at >= 0:
            self._count -= 1
            self._sources[at] = self._sources[self._count]
            self._fds[at] = self._fds[self._count]
        return 0

    cdef int begin_wait(self) except -1:
        cdef pollfd *fds
        cdef Source **sources
        if self._waited_capacity < self._capacity:
            fds = <pollfd *> realloc(self._waited, self._capacity * sizeof(pollfd))
            if fds == NULL:
                raise MemoryError()
            self._waited = fds
            sources = <Source **> realloc(self._waited_sources, self._capacity * sizeof(Source *))
            if sources == NULL:
                raise MemoryError()
            self._waited_sources = sources
            self._waited_capacity = self._capacity
        memcpy(self._waited, self._fds, self._count * sizeof(pollfd))
        memcpy(self._waited_sources, self._sources, self._count * sizeof(Source *))
        self._waited_count = self._count
        return 0

    cdef int wait(self, int timeout_ms) noexcept nogil:
        cdef int left = poll(self._waited, <unsigned long> self._waited_count, timeout_ms)
        cdef int step, at, found = 0
        cdef short events
        if left < 0 and errno == EINTR:
            # As with epoll.
            left = poll(self._waited, <unsigned long> self._waited_count, 0)
        if left < 0:
            return 0 if errno == EINTR else -errno
        for step in range(self._waited_count):
            if left <= 0 or found == READY_LIMIT:
                break
            at = (self._next + step) % self._waited_count
            events = self._waited[at].revents
            if not events:
                continue
            left -= 1
            self.ready[found].source = self._waited_sources[at]
            self.ready[found].events = (
                (READABLE if events & POLLIN else 0)
                | (WRITABLE if events & POLLOUT else 0)
                | (BROKEN if events & (POLLERR | POLLHUP | POLLNVAL | POLLRDHUP) else 0)
            )
            found += 1
        self._next = (self._next + 1) % max(self._waited_count, 1)
        return found


cdef Poller new_poller(str name):
    """The backend of that name; "auto" takes the best there is.

    Raises:
        ValueError: there is none of that name here.
    """
    if PYSERVER_HAS_EPOLL and name in ("auto", "epoll"):
        return EpollPoller()
    if name in ("auto", "poll"):
        return PollPoller()
    raise ValueError(f"there is no poller {name!r} on this system")


cdef void unwatch_natively(int epoll, int fd) noexcept nogil:
    """Have an epoll descriptor watch `fd` no more; -1 where there is none. For signal handlers."""
    cdef epoll_event event
    if epoll >= 0:
        epoll_ctl(epoll, EPOLL_CTL_DEL, fd, &event)
