/* Mutex and condition of the threads that share an engine, with the differences between systems taken out. */
#ifndef PYSERVER_THREADS_H
#define PYSERVER_THREADS_H

#include <pthread.h>
#include <time.h>

typedef pthread_mutex_t pyserver_mutex;
typedef pthread_cond_t pyserver_condition;

/* Recursive, because a finalizer of the application's may run wherever Python does. */
static inline void pyserver_mutex_make(pyserver_mutex *mutex) {
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(mutex, &attributes);
    pthread_mutexattr_destroy(&attributes);
}

static inline void pyserver_condition_make(pyserver_condition *condition) {
#if defined(__APPLE__)
    pthread_cond_init(condition, NULL);
#else
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(condition, &attributes);
    pthread_condattr_destroy(&attributes);
#endif
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

static inline void pyserver_condition_wake(pyserver_condition *condition) {
    pthread_cond_signal(condition);
}

static inline void pyserver_condition_wait(pyserver_condition *condition, pyserver_mutex *mutex) {
    pthread_cond_wait(condition, mutex);
}

/* Wait no longer than so many nanoseconds, under a second. */
static inline void pyserver_condition_wait_for(pyserver_condition *condition, pyserver_mutex *mutex, long ns) {
    struct timespec until;
#if defined(__APPLE__)
    until.tv_sec = 0;
    until.tv_nsec = ns;
    pthread_cond_timedwait_relative_np(condition, mutex, &until);
#else
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += ns;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    pthread_cond_timedwait(condition, mutex, &until);
#endif
}

#endif
