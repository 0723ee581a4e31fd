"""A descriptor that can be read from an instant on, to the microsecond: what waits for it, waits for the time."""
from libc.errno cimport errno
from libc.stdint cimport int64_t

cdef extern from *:
    """
    #ifdef __linux__
    #include <sys/timerfd.h>
    #include <time.h>
    static int pyserver_new_alarm(void) { return timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC); }
    static int pyserver_set_alarm(int fd, long long ns)
    {
        struct itimerspec until = {{0, 0}, {(time_t) (ns / 1000000000), (long) (ns % 1000000000)}};
        return timerfd_settime(fd, TFD_TIMER_ABSTIME, &until, NULL);
    }
    #else
    #include <errno.h>
    static int pyserver_new_alarm(void) { errno = ENOSYS; return -1; }
    static int pyserver_set_alarm(int fd, long long ns) { (void) fd; (void) ns; errno = ENOSYS; return -1; }
    #endif
    """
    int pyserver_new_alarm() nogil
    int pyserver_set_alarm(int fd, long long ns) nogil


def new_alarm() -> int:
    """A descriptor for set_alarm(); OSError where the system has none."""
    cdef int fd = pyserver_new_alarm()
    if fd < 0:
        raise OSError(errno, "timerfd_create")
    return fd


def set_alarm(int fd, int64_t instant_ns) -> None:
    """Have the descriptor be readable from this monotonic instant on, nanoseconds; 0: never."""
    if pyserver_set_alarm(fd, instant_ns) < 0:
        raise OSError(errno, "timerfd_settime")
