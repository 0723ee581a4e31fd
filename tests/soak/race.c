/* What the thread sanitizer has to report when two threads run it at once, and what it must not. */

#include <pthread.h>

static volatile long counter, guarded;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards `guarded` */

void count(long times)
{
    while (times-- > 0)
        counter++;
}

void count_locked(long times)
{
    while (times-- > 0) {
        pthread_mutex_lock(&lock);
        guarded++;
        pthread_mutex_unlock(&lock);
    }
}
