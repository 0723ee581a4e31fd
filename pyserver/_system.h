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
#include <string.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#if defined(__linux__)
#include <linux/sockios.h>
#include <sys/mman.h>
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

/* The address that a numeric host or the path of a Unix socket names; its size, or 0 where there is none. */
static inline socklen_t pyserver_address(const char *text, int port, struct sockaddr_storage *address) {
    struct sockaddr_in *four = (struct sockaddr_in *) address;
    struct sockaddr_in6 *six = (struct sockaddr_in6 *) address;
    struct sockaddr_un *path = (struct sockaddr_un *) address;
    memset(address, 0, sizeof *address);
    if (text[0] == '/') {
        if (strlen(text) >= sizeof path->sun_path) {
            return 0;
        }
        path->sun_family = AF_UNIX;
        strcpy(path->sun_path, text);
        return sizeof *path;
    }
    if (inet_pton(AF_INET, text, &four->sin_addr) == 1) {
        four->sin_family = AF_INET;
        four->sin_port = htons((unsigned short) port);
        return sizeof *four;
    }
    if (inet_pton(AF_INET6, text, &six->sin6_addr) == 1) {
        six->sin6_family = AF_INET6;
        six->sin6_port = htons((unsigned short) port);
        return sizeof *six;
    }
    return 0;
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

/* How long this thread has had a processor. */
static inline long long pyserver_thread_time_ns(void) {
    struct timespec used;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    return used.tv_sec * 1000000000LL + used.tv_nsec;
}

static inline long long pyserver_unix_time_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

/* A moment of the calendar. The library's functions for it take a lock that a signal handler must not wait for. */
struct pyserver_civil {
    int year, month, day, hour, minute, second, weekday;    /* month from 1, weekday from 0 for Sunday */
};

static inline void pyserver_to_civil(long long unix_time, struct pyserver_civil *civil) {
    long long days = unix_time / 86400;
    int seconds = (int) (unix_time % 86400);
    /* In years that begin in March, so that the leap day is the last one, and in eras of 400 of them. */
    long long shifted = days + 719468;
    int era = (int) (shifted / 146097), of_era = (int) (shifted % 146097);
    int year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int of_year = of_era - (365 * year + year / 4 - year / 100);
    int month = (5 * of_year + 2) / 153;
    civil->day = of_year - (153 * month + 2) / 5 + 1;
    civil->month = month < 10 ? month + 3 : month - 9;
    civil->year = year + era * 400 + (civil->month <= 2);
    civil->hour = seconds / 3600;
    civil->minute = seconds / 60 % 60;
    civil->second = seconds % 60;
    civil->weekday = (int) ((days + 4) % 7);
}

/* How far local time is ahead of UTC, seconds; takes the library's lock. */
static inline long pyserver_zone_offset(long long unix_time) {
    time_t moment = (time_t) unix_time;
    struct tm local;
    return localtime_r(&moment, &local) ? local.tm_gmtoff : 0;
}

/* Decimal digits with zeros in front; returns where they end. */
static inline char *pyserver_put_digits(char *to, int number, int width) {
    for (int at = width - 1; at >= 0; at--) {
        to[at] = (char) ('0' + number % 10);
        number /= 10;
    }
    return to + width;
}

/* How many binary digits a number has; 0 for 0. */
static inline int pyserver_bit_length(unsigned long long number) {
    return number ? 64 - __builtin_clzll(number) : 0;
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

/* Whether the peer has sent its last byte, though bytes before it are unread. */
static inline int pyserver_has_peer_ended(int fd) {
#ifdef POLLRDHUP
    struct pollfd looked = {fd, POLLRDHUP, 0};
#else
    struct pollfd looked = {fd, 0, 0};
#endif
    return poll(&looked, 1, 0) > 0;
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

/* How long ago the peer has sent something last, nanoseconds; 0 where the system does not tell. */
static inline long long pyserver_silence_ns(int fd) {
#if defined(__linux__)
    struct tcp_info info;
    socklen_t size = sizeof info;
    memset(&info, 0, sizeof info);
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0) {
        return info.tcpi_last_data_recv * 1000000LL;
    }
#endif
    (void) fd;
    return 0;
}

enum { PYSERVER_MOST_FILES = 2 };

/* Sends a message with descriptors; -1 with errno when the queue has no room for it now. */
static inline ssize_t pyserver_send(int to, struct iovec *parts, int count, const int *files, int file_count) {
    union {
        char bytes[CMSG_SPACE(PYSERVER_MOST_FILES * sizeof(int))];
        struct cmsghdr aligned;
    } control;
    struct msghdr message;
    struct cmsghdr *head;
    memset(&message, 0, sizeof message);
    memset(&control, 0, sizeof control);
    message.msg_iov = parts;
    message.msg_iovlen = count;
    message.msg_control = control.bytes;
    message.msg_controllen = CMSG_SPACE(file_count * sizeof(int));
    head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(file_count * sizeof(int));
    memcpy(CMSG_DATA(head), files, file_count * sizeof(int));
    return sendmsg(to, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* Receives a message, and up to `most` descriptors that came with it; -1 in place of those that did not. */
static inline ssize_t pyserver_receive(int from, struct iovec *parts, int count, int *files, int most) {
    union {
        char bytes[CMSG_SPACE(PYSERVER_MOST_FILES * sizeof(int))];
        struct cmsghdr aligned;
    } control;
    struct msghdr message;
    struct cmsghdr *head;
    ssize_t got;
    int at, short_of = 0;
    /* Without room for its descriptors the message would be taken all the same, and what they refer to closed. */
    for (at = 0; at < most; at++) {
        files[at] = fcntl(from, F_DUPFD_CLOEXEC, 0);
        short_of = files[at] < 0 ? errno : short_of;
    }
    for (at = 0; at < most; at++) {
        if (files[at] >= 0) {
            close(files[at]);
        }
        files[at] = -1;
    }
    if (short_of) {
        errno = short_of;
        return -1;
    }
    memset(&message, 0, sizeof message);
    message.msg_iov = parts;
    message.msg_iovlen = count;
    message.msg_control = control.bytes;
    message.msg_controllen = CMSG_SPACE(most * sizeof(int));
#ifdef MSG_CMSG_CLOEXEC
    got = recvmsg(from, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
#else
    got = recvmsg(from, &message, MSG_DONTWAIT);
#endif
    if (got < 0) {
        return got;
    }
    for (head = CMSG_FIRSTHDR(&message); head != NULL; head = CMSG_NXTHDR(&message, head)) {
        if (head->cmsg_level == SOL_SOCKET && head->cmsg_type == SCM_RIGHTS) {
            memcpy(files, CMSG_DATA(head), head->cmsg_len - CMSG_LEN(0));
        }
    }
    return got;
}

/* A file in memory that holds these bytes; -1 where there is no such thing, or no room for it. */
static inline int pyserver_memory_file(const char *data, size_t length) {
#if defined(__linux__) && defined(MFD_CLOEXEC)
    size_t done = 0;
    int file = memfd_create("pyserver-content", MFD_CLOEXEC);
    while (file >= 0 && done < length) {
        /* Not by write(): whoever reads it begins where the file's position is. */
        ssize_t written = pwrite(file, data + done, length - done, (off_t) done);
        if (written > 0) {
            done += (size_t) written;
        } else if (errno != EINTR) {
            close(file);
            return -1;
        }
    }
    return file;
#else
    (void) data, (void) length;
    return -1;
#endif
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
