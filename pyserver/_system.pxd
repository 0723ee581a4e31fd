# System calls and constants that Cython does not declare, and those that _system.h evens out.
from libc.stdint cimport int64_t, uint16_t


cdef extern from "_system.h":
    int ENOBUFS, EPROTO, EWOULDBLOCK
    int AF_INET, AF_INET6, AF_UNIX, IPPROTO_TCP, MSG_DONTWAIT, MSG_MORE, MSG_NOSIGNAL, MSG_PEEK, SHUT_RDWR, SHUT_WR, SOL_SOCKET, SO_LINGER, TCP_NODELAY
    short POLLIN, POLLOUT
    ctypedef unsigned int socklen_t
    ctypedef long off_t
    struct in_addr:
        pass
    struct in6_addr:
        pass
    struct sockaddr_storage:
        unsigned short ss_family
    struct sockaddr_in:
        uint16_t sin_port
        in_addr sin_addr
    struct sockaddr_in6:
        uint16_t sin6_port
        in6_addr sin6_addr
    struct iovec:
        void *iov_base
        size_t iov_len
    struct msghdr:
        void *msg_name
        socklen_t msg_namelen
        iovec *msg_iov
        size_t msg_iovlen
        void *msg_control
        size_t msg_controllen
        int msg_flags
    struct linger:
        int l_onoff
        int l_linger
    struct pollfd:
        int fd
        short events
        short revents
    struct pyserver_civil:
        int year, month, day, hour, minute, second, weekday
    int poll(pollfd *fds, unsigned long count, int timeout) nogil
    uint16_t ntohs(uint16_t value) nogil
    Py_ssize_t recv(int fd, void *data, size_t length, int flags) nogil
    int pyserver_peer(int fd, sockaddr_storage *address) nogil
    Py_ssize_t send(int fd, const void *data, size_t length, int flags) nogil
    Py_ssize_t sendmsg(int fd, const msghdr *message, int flags) nogil
    int shutdown(int fd, int how) nogil
    int setsockopt(int fd, int level, int option, const void *value, socklen_t length) nogil
    Py_ssize_t pread(int fd, void *data, size_t length, off_t offset) nogil
    Py_ssize_t pwrite(int fd, const void *data, size_t length, off_t offset) nogil
    void pyserver_to_civil(int64_t unix_time, pyserver_civil *civil) nogil
    long pyserver_zone_offset(int64_t unix_time) nogil
    char *pyserver_put_digits(char *to, int number, int width) nogil
    int pyserver_bit_length(unsigned long long number) nogil
    int pyserver_dup(int fd) nogil
    socklen_t pyserver_address(const char *text, int port, sockaddr_storage *address) nogil
    int pyserver_accept(int listener, sockaddr_storage *address, socklen_t *size) nogil
    Py_ssize_t pyserver_sendfile(int to, int file, off_t offset, size_t length) nogil
    int64_t pyserver_now_ns() nogil
    int64_t pyserver_unix_time_ns() nogil
    int64_t pyserver_thread_time_ns() nogil
    const char *inet_ntop(int family, const void *address, char *text, socklen_t size) nogil
    int pyserver_mkstemp(char *path)
    int64_t pyserver_silence_ns(int fd) nogil
    Py_ssize_t pyserver_send(int to, iovec *parts, int count, const int *files, int file_count) nogil
    Py_ssize_t pyserver_receive(int source, iovec *parts, int count, int *files, int most) nogil
    int pyserver_memory_file(const char *data, size_t length) nogil
    bint pyserver_has_peer_ended(int fd) nogil
    int pyserver_unsent(int fd) nogil
    int pyserver_unread(int fd) nogil
    int pyserver_descriptor_limit() nogil
    void pyserver_set_errno(int number) nogil
