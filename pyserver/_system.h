/* What the engine asks of the system, with the differences between systems taken out. */
#ifndef PYSERVER_SYSTEM_H
#define PYSERVER_SYSTEM_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#if defined(__linux__)
#include <linux/sockios.h>
#include <sys/sendfile.h>
#endif
#ifndef MSG_MORE
#define MSG_MORE 0
#endif
#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0
#endif

static inline int pyserver_accept(int listener, struct sockaddr_storage *address, socklen_t *size) {
#if defined(__linux__)
    return accept4(listener, (struct sockaddr *) address, size, SOCK_NONBLOCK | SOCK_CLOEXEC);
#else
    int fd = accept(listener, (struct sockaddr *) address, size);
    if (fd >= 0) {
        int on = 1;
        fcntl(fd, F_SETFL, O_NONBLOCK);
        fcntl(fd, F_SETFD, FD_CLOEXEC);
#ifdef SO_NOSIGPIPE
        setsockopt(fd, SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof on);
#endif
        (void) on;
    }
    return fd;
#endif
}

static inline int pyserver_peer(int fd, struct sockaddr_storage *address) {
    socklen_t size = sizeof *address;
    return getpeername(fd, (struct sockaddr *) address, &size);
}

static inline ssize_t pyserver_sendfile(int to, int file, off_t offset, size_t length) {
#if defined(__linux__)
    return sendfile(to, file, &offset, length < 0x7ffff000 ? length : 0x7ffff000);
#else
    char block[65536];
    ssize_t got = pread(file, block, length < sizeof block ? length : sizeof block, offset);
    return got <= 0 ? got : send(to, block, (size_t) got, MSG_NOSIGNAL);
#endif
}

static inline long long pyserver_now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

/* Good to some milliseconds, at a quarter of the price: for deadlines, not for durations. */
static inline long long pyserver_coarse_now_ns(void) {
#ifdef CLOCK_MONOTONIC_COARSE
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
#else
    return pyserver_now_ns();
#endif
}

static inline long long pyserver_unix_time_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

/* A descriptor for the same file, which a program that the application starts does not get. */
static inline int pyserver_dup(int fd) {
    return fcntl(fd, F_DUPFD_CLOEXEC, 0);
}

/* A file that a program which the application starts does not get; the name ends in XXXXXX and is replaced. */
static inline int pyserver_mkstemp(char *path) {
#if defined(__linux__)
    return mkostemp(path, O_CLOEXEC);
#else
    int fd = mkstemp(path);
    if (fd >= 0) {
        fcntl(fd, F_SETFD, FD_CLOEXEC);
    }
    return fd;
#endif
}

/* Bytes that have been given to the socket and not been acknowledged; -1 where the system does not tell. */
static inline int pyserver_unsent(int fd) {
#if defined(__linux__)
    int bytes;
    return ioctl(fd, SIOCOUTQ, &bytes) < 0 ? -1 : bytes;
#else
    (void) fd;
    return -1;
#endif
}

/* Bytes that have been received and not been read. */
static inline int pyserver_unread(int fd) {
    int bytes;
    return ioctl(fd, FIONREAD, &bytes) < 0 ? 0 : bytes;
}

/* One more than the highest descriptor this process can have. */
static inline int pyserver_descriptor_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur > 0x7fffffff) {
        return 0x7fffffff;
    }
    return (int) limit.rlim_cur;
}

static inline void pyserver_set_errno(int number) {
    errno = number;
}

#endif
