"""Metrics for statsd: those of requests are gathered, and several leave in one datagram, which nobody waits for.

Names and kinds are gunicorn's; what counts more than one since the last datagram says so in its number.
"""
from libc.stdint cimport uint64_t
from libc.string cimport memcpy, memset
from posix.unistd cimport close

from pyserver._http cimport write_decimal
from pyserver._system cimport (
    AF_INET, AF_UNIX, MSG_DONTWAIT, MSG_NOSIGNAL, msghdr, pyserver_address, pyserver_put_digits, sendmsg,
)

import _socket

KINDS = {"gauge": "g", "counter": "c", "histogram": "h", "timer": "ms"}

cdef enum:
    LONGEST = 1000              # bytes of prefix and tags together
    NUMBER_ROOM = 32


cdef class Datagrams:
    """Sends datagrams to one address, and never waits: what the system does not take at once is lost.

    The address is given anew with each, so a receiver may come and go.

    Args:
        host: a name or an address, or with a port of 0 the path of a Unix socket.
        port: of UDP.

    Raises:
        OSError: the name is not known, the path is too long, or there are no more descriptors.
    """

    def __cinit__(self, str host, int port=0):
        cdef bytes text
        if port:
            host = _socket.getaddrinfo(host, port, 0, _socket.SOCK_DGRAM)[0][4][0].partition("%")[0]
        text = host.encode("utf-8", "surrogateescape")
        self._address_size = pyserver_address(text, port, &self._address)
        if self._address_size == 0:
            raise OSError(None, f"{host!r} is no address")
        family = self._address.ss_family
        self._fd = _socket.socket(family, _socket.SOCK_DGRAM).detach()

    def __dealloc__(self):
        if self._fd > 0:
            close(self._fd)

    def fileno(self) -> int:
        """The descriptor of the socket."""
        return self._fd

    def put(self, bytes data) -> bool:
        """Send one; whether the system has taken it."""
        cdef iovec part = iovec(<char *> data, <size_t> len(data))
        return self.send(&part, 1)

    cdef bint send(self, iovec *parts, size_t count) noexcept nogil:
        """Send one that is made of these parts; whether the system has taken it."""
        cdef msghdr message
        memset(&message, 0, sizeof(msghdr))
        message.msg_name = &self._address
        message.msg_namelen = self._address_size
        message.msg_iov = parts
        message.msg_iovlen = count
        return sendmsg(self._fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0


cdef class Statsd:
    """What is told to a statsd server.

    Args:
        target: where it listens.
        prefix: of every name; a dot is added where it has none.
        tags: of every metric, as dogstatsd has them: separated by commas; empty for none.

    Raises:
        ValueError: prefix and tags leave no room for metrics.
    """

    def __init__(self, Datagrams target not None, str prefix="", str tags=""):
        self.target = target
        self._prefix = (prefix.rstrip(".") + ".").encode() if prefix.strip(".") else b""
        self._tail = b"|#" + tags.encode() if tags else b""
        if len(self._prefix) + len(self._tail) > LONGEST:
            raise ValueError(f"prefix and tags of metrics are longer than {LONGEST} bytes")
        self._texts = []
        self._requests = self._lasting(self._prefix + b"gunicorn.requests:")
        self._duration = self._lasting(self._prefix + b"gunicorn.request.duration:")
        self._status = self._lasting(self._prefix + b"gunicorn.request.status.")
        self._counter = self._lasting(b"|c|@1.0" + self._tail)
        self._timer = self._lasting(b"|ms" + self._tail)

    cdef Span _lasting(self, bytes text) except *:
        self._texts.append(text)
        return Span(<const unsigned char *> <const char *> text, len(text))

    # What is not about one request among many is sent at once, by whichever thread.

    def gauge(self, str name, value) -> None:
        """Tell what something is."""
        self.tell(name, value, "gauge")

    def increment(self, str name, value=1) -> None:
        """Tell how many more there are."""
        self.tell(name, value, "counter")

    def histogram(self, str name, value) -> None:
        """Tell one of many values."""
        self.tell(name, value, "histogram")

    def timer(self, str name, value) -> None:
        """Tell how long something took, milliseconds."""
        self.tell(name, value, "timer")

    def tell(self, str name, value, str kind) -> None:
        """Send a metric of one of `KINDS`; one that cannot be sent, or is none, is dropped."""
        if kind in KINDS:
            rate = "|@1.0" if kind == "counter" else ""
            text = f"{name}:{value}|{KINDS[kind]}{rate}".encode("utf-8", "replace")
            self.target.put(self._prefix + text + self._tail)

    # Under the lock of the engine, or in the signal handler of a worker that is aborted.

    cdef void note(self, int status, int64_t duration_ns) noexcept nogil:
        """A request was answered."""
        cdef unsigned char number[NUMBER_ROOM]
        cdef unsigned char *end
        cdef int64_t microseconds = duration_ns // 1000
        self._count_status(status)
        self._count += 1
        end = write_decimal(number, <uint64_t> (microseconds // 1000))
        end[0] = c"."
        end = <unsigned char *> pyserver_put_digits(<char *> end + 1, <int> (microseconds % 1000), 3)
        self._put(self._duration, Span(&number[0], end - number), self._timer)

    cdef void flush(self) noexcept nogil:
        """Send what was gathered."""
        cdef unsigned char code[NUMBER_ROOM]
        cdef unsigned char *end
        cdef int at
        if self._count:
            self._put_count(self._requests, Span(&code[0], 0), self._count)
            for at in range(self._status_count):
                end = write_decimal(code, <uint64_t> self._statuses[at])
                end[0] = c":"
                self._put_count(self._status, Span(&code[0], end + 1 - code), self._status_counts[at])
            self._count = self._status_count = 0
        self._send()

    cdef void _count_status(self, int status) noexcept nogil:
        cdef int at
        for at in range(self._status_count):
            if self._statuses[at] == status:
                self._status_counts[at] += 1
                return
        if self._status_count == STATUSES:
            self.flush()
        self._statuses[self._status_count] = status
        self._status_counts[self._status_count] = 1
        self._status_count += 1

    cdef void _put_count(self, Span name, Span middle, int64_t count) noexcept nogil:
        """Add a counter; `middle` is what stands between its name and its number."""
        cdef unsigned char number[NUMBER_ROOM * 2]
        cdef unsigned char *end
        memcpy(number, middle.start, <size_t> middle.length)
        end = write_decimal(number + middle.length, <uint64_t> count)
        self._put(name, Span(&number[0], end - number), self._counter)

    cdef void _put(self, Span name, Span number, Span end) noexcept nogil:
        """Add a metric, in a line of its own."""
        cdef char *to
        if self._used + name.length + number.length + end.length + 1 > DATAGRAM_ROOM:
            self._send()
        if self._used:
            self._packet[self._used] = c"\n"
            self._used += 1
        to = self._packet + self._used
        memcpy(to, name.start, <size_t> name.length)
        memcpy(to + name.length, number.start, <size_t> number.length)
        memcpy(to + name.length + number.length, end.start, <size_t> end.length)
        self._used += name.length + number.length + end.length

    cdef void _send(self) noexcept nogil:
        cdef iovec part = iovec(&self._packet[0], <size_t> self._used)
        if self._used:
            self.target.send(&part, 1)
            self._used = 0
