"""What a process asks of its kernel and its C library, and Python does not offer."""
from libc.stdint cimport uint64_t

cdef extern from *:
    """
    #include <pthread.h>
    #include <signal.h>
    #include <stdint.h>
    #include <stdlib.h> /* __GLIBC__ */
    #ifdef __linux__
    #include <sys/prctl.h>
    #include <sys/syscall.h>
    #include <unistd.h>
    static int pyserver_become_subreaper(void) { return prctl(PR_SET_CHILD_SUBREAPER, 1L, 0L, 0L, 0L) == 0; }
    static int pyserver_die_with_parent(void) { return prctl(PR_SET_PDEATHSIG, (unsigned long) SIGKILL, 0L, 0L, 0L) == 0; }
    static int pyserver_name_thread(const char *name) { return prctl(PR_SET_NAME, name, 0L, 0L, 0L) == 0; }
    /* sched_setattr(2), which C libraries have no function for; its first version. */
    static int pyserver_shorten_turns(uint64_t nanoseconds)
    {
    #if defined SYS_sched_getattr && defined SYS_sched_setattr
        struct {
            uint32_t size, policy;
            uint64_t flags;
            int32_t nice;
            uint32_t priority;
            uint64_t runtime, deadline, period;
        } given;
        /* All but this stays as it is: an administrator may have chosen another policy, or another nice value. */
        if (syscall(SYS_sched_getattr, 0, &given, (unsigned int) sizeof given, 0U) != 0 || given.policy != 0) {
            return 0;
        }
        given.runtime = nanoseconds;
        return syscall(SYS_sched_setattr, 0, &given, 0U) == 0;
    #else
        (void) nanoseconds;
        return 0;
    #endif
    }
    #else
    static int pyserver_become_subreaper(void) { return 0; }
    static int pyserver_die_with_parent(void) { return 0; }
    static int pyserver_shorten_turns(uint64_t nanoseconds) { (void) nanoseconds; return 0; }
    #ifdef __APPLE__
    static int pyserver_name_thread(const char *name) { return pthread_setname_np(name) == 0; }
    #else
    static int pyserver_name_thread(const char *name) { (void) name; return 0; }
    #endif
    #endif
    #ifdef __GLIBC__
    #include <malloc.h>
    static int pyserver_trim_malloc(void) { return malloc_trim(0); }
    #else
    static int pyserver_trim_malloc(void) { return 0; }
    #endif
    """
    int pyserver_become_subreaper() nogil
    int pyserver_die_with_parent() nogil
    int pyserver_name_thread(const char *name) nogil
    int pyserver_shorten_turns(uint64_t nanoseconds) nogil
    int pyserver_trim_malloc() nogil


def become_subreaper() -> bool:
    """Have orphaned descendants become children of this process; false where the system cannot do that."""
    return pyserver_become_subreaper() != 0


def die_with_parent() -> bool:
    """Have the kernel kill this process when its parent dies; false where the system cannot do that.

    A child that it forks starts without. A parent that has died already is not noticed: look at `os.getppid`.
    """
    return pyserver_die_with_parent() != 0


def name_thread(str name) -> bool:
    """Name the calling thread for `top` and debuggers, which may cut it after 15 bytes; false where that is unknown."""
    return pyserver_name_thread(name.encode()) != 0


def shorten_turns(uint64_t nanoseconds) -> bool:
    """Have the calling thread use the processor for so long at a time, and get it the sooner when it wants it.

    It gets no more of it than before, so nobody has to permit it. False where the system cannot do that, or schedules
    the thread in another way than most; before Linux 6.12 it is without effect.
    """
    return pyserver_shorten_turns(nanoseconds) != 0


def trim_malloc() -> bool:
    """Give the free memory at the end and in the middle of the C heap back; whether there was any."""
    return pyserver_trim_malloc() != 0
