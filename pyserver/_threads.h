/* What the threads that share an engine wait with, with the differences between systems taken out. */
#ifndef PYSERVER_THREADS_H
#define PYSERVER_THREADS_H

#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <time.h>
#if defined(__linux__)
#include <sys/prctl.h>
#endif

typedef pthread_mutex_t pyserver_mutex;

/* Recursive, because a finalizer of the application's may run wherever Python does. */
static inline void pyserver_mutex_make(pyserver_mutex *mutex) {
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(mutex, &attributes);
    pthread_mutexattr_destroy(&attributes);
}

static inline int pyserver_mutex_try(pyserver_mutex *mutex) {
    return pthread_mutex_trylock(mutex) == 0;
}

static inline void pyserver_mutex_lock(pyserver_mutex *mutex) {
    pthread_mutex_lock(mutex);
}

static inline void pyserver_mutex_unlock(pyserver_mutex *mutex) {
    pthread_mutex_unlock(mutex);
}

/* Where one thread sleeps until another wakes it, or has woken it already. */
typedef struct {
    pthread_mutex_t mutex;
    pthread_cond_t condition;
    int is_woken;
} pyserver_bed;

static inline void pyserver_bed_make(pyserver_bed *bed) {
    pthread_mutex_init(&bed->mutex, NULL);
    bed->is_woken = 0;
#if defined(__APPLE__)
    pthread_cond_init(&bed->condition, NULL);
#else
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&bed->condition, &attributes);
    pthread_condattr_destroy(&attributes);
#endif
}

static inline void pyserver_wake(pyserver_bed *bed) {
    pthread_mutex_lock(&bed->mutex);
    bed->is_woken = 1;
    pthread_cond_signal(&bed->condition);
    pthread_mutex_unlock(&bed->mutex);
}

/* Sleep for so many nanoseconds, under a second, or until woken for 0; whether it was woken. */
static inline int pyserver_sleep(pyserver_bed *bed, long ns) {
    struct timespec until;
    int is_woken, failed = 0;
#if defined(__APPLE__)
    until.tv_sec = 0;
    until.tv_nsec = ns;
#else
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += ns;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
#endif
    pthread_mutex_lock(&bed->mutex);
    while (!bed->is_woken && !failed) {
        if (ns == 0) {
            pthread_cond_wait(&bed->condition, &bed->mutex);
        } else {
#if defined(__APPLE__)
            failed = pthread_cond_timedwait_relative_np(&bed->condition, &bed->mutex, &until);
#else
            failed = pthread_cond_timedwait(&bed->condition, &bed->mutex, &until);
#endif
        }
    }
    is_woken = bed->is_woken;
    bed->is_woken = 0;
    pthread_mutex_unlock(&bed->mutex);
    return is_woken;
}

/* Words that one thread reads while another writes them. */
static inline int64_t pyserver_load(const int64_t *word) {
    return __atomic_load_n(word, __ATOMIC_SEQ_CST);
}

static inline void pyserver_store(int64_t *word, int64_t value) {
    __atomic_store_n(word, value, __ATOMIC_SEQ_CST);
}

/* A thread that runs no Python, which no signal interrupts; 0, or an error number. */
static inline int pyserver_thread_start(pthread_t *thread, void *(*run)(void *), void *argument) {
    pthread_attr_t attributes;
    sigset_t all, before;
    int failed;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 128 * 1024);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    failed = pthread_create(thread, &attributes, run, argument);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return failed;
}

/* By the thread itself: to name another one a file below /proc is opened, and who reaps the process pays for that. */
static inline void pyserver_name_this_thread(const char *name) {
#if defined(__linux__)
    prctl(PR_SET_NAME, name, 0, 0, 0);
#else
    (void) name;
#endif
}

#endif
