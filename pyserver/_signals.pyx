"""Signal handlers in C: they count what came, keep who sent it, and write one byte. No Python runs in them."""
from libc.errno cimport errno
from libc.signal cimport SIG_DFL, SIG_IGN
from posix.signal cimport SA_NOCLDSTOP, SA_RESTART, SA_SIGINFO, sigaction, sigaction_t, siginfo_t, sigemptyset
from posix.unistd cimport getpid, write

from pyserver._system cimport pyserver_set_errno

cdef extern from *:
    """
    #include <signal.h>
    #ifndef SA_ONSTACK
    #define SA_ONSTACK 0
    #endif
    #ifdef SI_KERNEL
    /* A process of an outer namespace, which stops a container for instance, has the id 0 here. */
    #define pyserver_is_from_kernel(info) ((info)->si_code == SI_KERNEL)
    #else
    #define pyserver_is_from_kernel(info) ((info)->si_pid == 0)
    #endif
    #ifdef __linux__
    #include <sys/prctl.h>
    #include <unistd.h>
    static void pyserver_signal_of_parents_death(int number) {
        prctl(PR_SET_PDEATHSIG, (unsigned long) number, 0L, 0L, 0L);
    }
    #else
    #include <unistd.h>
    static void pyserver_signal_of_parents_death(int number) { (void) number; }
    #endif
    /* Its default action needs nobody's help. */
    static void pyserver_alarm(unsigned int seconds) {
        signal(SIGALRM, SIG_DFL);
        alarm(seconds);
    }
    /* Has Python's own handler run; async-signal-safe, and needs no interpreter lock. */
    static inline void pyserver_interrupt(int number) {
        PyErr_SetInterruptEx(number);
    }
    static inline void pyserver_die_of(int number) {
        signal(number, SIG_DFL);
        raise(number);
    }
    """
    int SA_ONSTACK
    void pyserver_signal_of_parents_death(int number) nogil
    void pyserver_alarm(unsigned int seconds) nogil
    int SIGCHLD
    bint pyserver_is_from_kernel(siginfo_t *info) nogil
    void pyserver_interrupt(int number) nogil
    void pyserver_die_of(int number) nogil


cdef extern from *:
    # Builtins of gcc and clang. A handler can interrupt another, or run beside it on another thread.
    int ATOMICALLY "__ATOMIC_SEQ_CST"
    int64_t __atomic_add_fetch(int64_t *word, int64_t value, int order) nogil
    int64_t __atomic_exchange_n(int64_t *word, int64_t value, int order) nogil
    void __atomic_store_n(int64_t *word, int64_t value, int order) nogil


# Not a ring: a row for each signal is never full, so nothing is ever lost and every count is exact.
cdef Note _notes[NUMBERS]
cdef int _wake = -1         # the descriptor that is written to
cdef int _owner = 0         # the process whose notes these are
cdef unsigned int _orphan_seconds = 0


# Done by the handler itself, before anybody is woken.
cdef Reaction _reactions[NUMBERS]
ctypedef void (*Handler)(int) noexcept nogil
# What had a signal that is passed on to Python afterwards.
cdef sigaction_t _passed_on[NUMBERS]


cdef void _wake_up() noexcept nogil:
    cdef int before = errno
    # A full pipe is readable already, which is all that is wanted.
    write(_wake, b"\0", 1)
    pyserver_set_errno(before)


cdef void _deliver(int number, siginfo_t *info, void *context) noexcept nogil:
    """The handler. Only what is async-signal-safe may be called here."""
    cdef Note *note = &_notes[number]
    if getpid() != _owner:
        # The application has forked: what is sent to its child is not for us, and must not be swallowed there.
        pyserver_die_of(number)
        return
    if pyserver_is_from_kernel(info):
        __atomic_add_fetch(&note.by_kernel, 1, ATOMICALLY)
    else:
        __atomic_store_n(&note.sender, info.si_pid if info.si_pid > 0 else <int> Sender.UNKNOWN, ATOMICALLY)
        __atomic_add_fetch(&note.by_processes, 1, ATOMICALLY)
    if _reactions[number] != NULL:
        _reactions[number]()
    _wake_up()


def open_notes(int wake) -> None:
    global _wake, _owner
    cdef int number
    for number in range(NUMBERS):
        take(number)
        _reactions[number] = NULL
    _wake = wake
    _owner = getpid()


def catch(int number) -> None:
    cdef sigaction_t action
    _check(number)
    action.sa_sigaction = _deliver
    # With SA_RESTART a library of the application that was not written for EINTR goes on undisturbed. Waits in poll
    # and epoll_wait end all the same.
    action.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK | (SA_NOCLDSTOP if number == SIGCHLD else 0)
    sigemptyset(&action.sa_mask)
    if sigaction(number, &action, NULL) < 0:
        raise OSError(errno, "sigaction")


def react(int number, size_t function) -> None:
    _check(number)
    _reactions[number] = <Reaction> function


def pass_on(int number) -> None:
    cdef sigaction_t action, found
    _check(number)
    if sigaction(number, NULL, &found) < 0:
        raise OSError(errno, "sigaction")
    if found.sa_handler == _pass_on:
        return              # of the process that this one is a copy of
    if found.sa_handler == SIG_DFL or found.sa_handler == SIG_IGN:
        raise ValueError(f"signal {number} has no handler")
    _passed_on[number] = found
    action.sa_handler = _pass_on
    # Deferred while the handler runs: one on top of the other, a few that come together would overflow its stack.
    action.sa_flags = SA_RESTART | SA_ONSTACK
    sigemptyset(&action.sa_mask)
    if sigaction(number, &action, NULL) < 0:
        raise OSError(errno, "sigaction")


cdef void _pass_on(int number) noexcept nogil:
    (<Handler> _passed_on[number].sa_handler)(number)
    pyserver_interrupt(number)


def end_when_orphaned(int number, unsigned int seconds) -> None:
    global _orphan_seconds
    _orphan_seconds = seconds
    catch(number)
    _reactions[number] = &_end_in_time
    pyserver_signal_of_parents_death(number)


cdef void _end_in_time() noexcept nogil:
    pyserver_alarm(_orphan_seconds)


def note(int number) -> None:
    _check(number)
    __atomic_store_n(&_notes[number].sender, <int> Sender.UNKNOWN, ATOMICALLY)
    __atomic_add_fetch(&_notes[number].by_processes, 1, ATOMICALLY)
    _wake_up()


def take(int number) -> tuple[int, int, int]:
    _check(number)
    cdef Note *found = &_notes[number]
    # The sender is written before its signal is counted, so it is there once the count is.
    cdef int64_t by_processes = __atomic_exchange_n(&found.by_processes, 0, ATOMICALLY)
    cdef int64_t by_kernel = __atomic_exchange_n(&found.by_kernel, 0, ATOMICALLY)
    return by_processes, by_kernel, found.sender


cdef int _check(int number) except -1:
    if not 0 <= number < NUMBERS:
        raise ValueError(f"there is no signal {number}")
    return 0
