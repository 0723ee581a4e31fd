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
#if defined(__linux__)
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

#endif
