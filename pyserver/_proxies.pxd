# The contract of _proxies: whom a proxy names as the client, and whether it may. No sockets.
from libc.stdint cimport uint8_t, uint16_t

from pyserver._http cimport Bounds, Head, Outcome, Span


cdef struct Address:
    uint8_t bytes[16]
    uint16_t port               # 0 where it is not known
    uint8_t family              # 4, 6, or 0 for none


cdef enum Versions:
    # Of the PROXY protocol; a bit each.
    VERSION_1 = 1
    VERSION_2 = 2


cdef enum Relayed:
    # What a PROXY header says of the connection to the proxy.
    NOTHING_RELAYED
    TCP4
    TCP6
    UNKNOWN                     # version 1 does not tell
    LOCAL                       # it is the proxy's own, for a health check
    UNSPECIFIED                 # version 2 does not tell
    UNIX_STREAM


cdef struct ProxyHeader:
    bint is_begun               # what is there can be nothing else
    Py_ssize_t length           # bytes of it; 0 when there is none
    int relayed                 # Relayed
    Address client
    Address destination


cdef struct Origin:
    # Of a connection that began with a PROXY header.
    int relayed
    Address peer                # who is connected: the proxy
    Address destination         # what the client has connected to


cdef enum ForwardedFields:
    # Fields in which a proxy tells how the client has come; a bit each.
    FORWARDED = 1
    X_FORWARDED_FOR = 2
    X_FORWARDED_HOST = 4
    X_FORWARDED_PORT = 8
    X_FORWARDED_PREFIX = 16


cdef enum Scheme:
    # A bit each, so that those that were said can be gathered.
    NO_SCHEME = 0
    HTTP_SCHEME = 1
    HTTPS_SCHEME = 2


cdef struct Forwarded:
    # What such fields of a request say; empty where they say nothing that is believed.
    bint has_client
    Address client
    int scheme
    bint says_target            # … of what follows, anything
    uint16_t port
    Span host
    Span prefix


cdef enum Node:
    # How a hop is named.
    MALFORMED_NODE
    HIDDEN_NODE                 # "unknown", or a name that stands for an address
    KNOWN_NODE


cdef struct Network:
    uint8_t prefix[16]
    uint8_t family
    uint8_t bits


cdef class Peers:
    cdef bint everybody
    cdef Network *networks
    cdef int count

    cdef bint has(self, int family, const uint8_t *address) noexcept nogil


cdef class Proxies:
    cdef Peers trusted                  # whose fields are believed
    cdef Peers senders                  # whose PROXY headers are
    cdef int versions                   # of these that are looked for
    cdef bint requires_header
    cdef int fields                     # ForwardedFields that are obeyed
    cdef int hops                       # how many proxies there are; 0: as many as have trusted addresses
    cdef Span *names                    # of fields with an underscore that are obeyed
    cdef int name_count
    cdef list _texts                    # owns what they point to

    cdef Bounds bounds_of_trusted(self, const Bounds *bounds) noexcept
    cdef void look_back(self, Forwarded *found, const Head *head, const unsigned char *base) noexcept nogil
    cdef bint _ends_at(self, Node node, const Address *address, int hop) noexcept nogil
    cdef void _read_list(self, Forwarded *found, const Head *head, const unsigned char *base) noexcept nogil
    cdef bint _walk_list(self, Forwarded *found, Span text, int *hop) noexcept nogil
    cdef void _read_elements(self, Forwarded *found, const Head *head, const unsigned char *base) noexcept nogil
    cdef bint _walk_elements(self, Forwarded *found, Span text, int *hop) noexcept nogil


cdef Outcome read_proxy_header(
    ProxyHeader *header, const unsigned char *text, Py_ssize_t length, int versions
) noexcept nogil
cdef str text_of_address(int family, const uint8_t *address)
cdef str name_of_relayed(int relayed)
cdef str script_name(const Head *head, const unsigned char *base, str otherwise)
cdef bytes host_to_tell(const Forwarded *found, bytes host, bint is_https)
