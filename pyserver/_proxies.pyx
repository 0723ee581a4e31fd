"""Whom a proxy names as the client: the PROXY protocol, Forwarded and the X-Forwarded fields, and who may use them.

Bytes in, facts out. What is malformed is never believed in part: of a PROXY header it is a refusal, of a field it is as
if the field were not there. Nothing is read beyond the first hop that is not trusted, for that is the client's to write.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memchr, memcmp, memcpy, memset

from pyserver._http cimport (
    COMPLETE, FORWARDER_FIELD, NEED_MORE, REFUSED, Bounds, Field, Head, Limits, Outcome, Span, free_head,
    is_field_name, is_host, parse_decimal, parse_head, same_text,
)
from pyserver._system cimport AF_INET, AF_INET6, inet_ntop

cdef extern from "<arpa/inet.h>" nogil:
    int inet_pton(int family, const char *text, void *address)

cdef enum:
    HTAB = 9
    LF = 10
    CR = 13
    SP = 32
    SIGNATURE_LENGTH = 12
    FIXED_LENGTH = 16           # of version 2, up to the addresses
    # PROXY protocol §2.1: the longest line there can be, with its CRLF.
    VERSION_1_LIMIT = 107
    # Version 2 allows 64 KB, which would be a client certificate and more. nginx has this limit.
    VERSION_2_LIMIT = 4096
    ADDRESS_ROOM = 46
    # Of one field line, those nearest to us. Nobody has so many proxies.
    ELEMENTS = 32

cdef const unsigned char *SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
cdef const unsigned char *MAPPED = b"\0\0\0\0\0\0\0\0\0\0\xff\xff"

# What environ has as PROXY_PROTOCOL; the first two and LOCAL are gunicorn's words.
RELAYED = ("", "TCP4", "TCP6", "UNKNOWN", "LOCAL", "UNSPEC", "UNIX")
VERSIONS = {"off": 0, "v1": VERSION_1, "v2": VERSION_2, "auto": VERSION_1 | VERSION_2}
FIELDS = {
    "forwarded": FORWARDED,
    "x-forwarded-for": X_FORWARDED_FOR,
    "x-forwarded-host": X_FORWARDED_HOST,
    "x-forwarded-port": X_FORWARDED_PORT,
    "x-forwarded-prefix": X_FORWARDED_PREFIX,
}


# ---- addresses ----

cdef bint read_address(Span text, int family, Address *to) noexcept nogil:
    """Read an address of that family and nothing else; IPv6 without brackets."""
    cdef char copied[ADDRESS_ROOM]
    if not 0 < text.length < ADDRESS_ROOM or memchr(text.start, 0, <size_t> text.length) != NULL:
        return False
    memcpy(copied, text.start, <size_t> text.length)
    copied[text.length] = 0
    memset(to, 0, sizeof(Address))
    to.family = <uint8_t> family
    return inet_pton(AF_INET if family == 4 else AF_INET6, copied, to.bytes) == 1


cdef bint read_port(Span text, uint16_t *port) noexcept nogil:
    """Read a port without leading zeros, which some take for octal."""
    cdef uint64_t number
    if text.length > 5 or (text.length > 1 and text.start[0] == c"0"):
        return False
    if not parse_decimal(text, &number) or number > 65535:
        return False
    port[0] = <uint16_t> number
    return True


cdef str text_of_address(int family, const uint8_t *address):
    """An IP address as text."""
    cdef char text[64]
    inet_ntop(AF_INET if family == 4 else AF_INET6, address, text, 64)
    return (<bytes> text).decode()


cdef str name_of_relayed(int relayed):
    return RELAYED[relayed]


cdef inline bint is_mapped(const uint8_t *address) noexcept nogil:
    """Whether an IPv6 address is an IPv4 address in another form, as a socket for both has it; RFC 4291 §2.5.5.2."""
    return memcmp(address, MAPPED, 12) == 0


cdef class Peers:
    """A set of addresses; call it with one as text. A Unix socket, "", is always in it: a directory decides who has it.

    Args:
        allowed: addresses, networks such as 10.0.0.0/8, or "*" for every address.

    Raises:
        ValueError: one is none of these.
    """

    def __init__(self, allowed=()):
        cdef list entries = [entry for entry in allowed if entry != "*"]
        self.everybody = len(entries) < len(allowed)
        self.networks = <Network *> calloc(<size_t> max(len(entries), 1), sizeof(Network))
        if self.networks == NULL:
            raise MemoryError()
        for entry in entries:
            read_network(entry, &self.networks[self.count])
            self.count += 1

    def __dealloc__(self):
        free(self.networks)

    def __call__(self, str address not None) -> bool:
        """Whether it has this address; ValueError when it is none."""
        cdef Network one
        if not address:
            return True
        read_network(address, &one)
        return self.has(one.family, one.prefix)

    cdef bint has(self, int family, const uint8_t *address) noexcept nogil:
        cdef int at
        if family == 0 or self.everybody:
            return True
        if family == 6 and is_mapped(address):
            family = 4
            address += 12
        for at in range(self.count):
            if self.networks[at].family == family and is_within(address, &self.networks[at]):
                return True
        return False


cdef bint is_within(const uint8_t *address, const Network *network) noexcept nogil:
    cdef int whole = network.bits // 8
    cdef int rest = network.bits % 8
    if memcmp(address, network.prefix, <size_t> whole) != 0:
        return False
    return rest == 0 or (address[whole] ^ network.prefix[whole]) >> (8 - rest) == 0


cdef int read_network(str text, Network *to) except -1:
    cdef Address address
    cdef bytes octets
    cdef int bits
    host, slash, length = text.partition("/")
    octets = host.encode("ascii", "replace")
    if not read_address(Span(<const unsigned char *> <const char *> octets, len(octets)), 6 if ":" in host else 4, &address):
        raise ValueError(f"{text!r} is neither an address nor a network")
    bits = int(length) if slash else (32 if address.family == 4 else 128)
    to.family = address.family
    memcpy(to.prefix, address.bytes, 16)
    if address.family == 6 and is_mapped(address.bytes):
        to.family = 4
        memcpy(to.prefix, &address.bytes[12], 4)
        bits = max(bits - 96, 0)
    to.bits = <uint8_t> bits
    return 0


# ---- the PROXY protocol ----

cdef inline bint may_begin(
    const unsigned char *text, Py_ssize_t length, const unsigned char *begin, Py_ssize_t of
) noexcept nogil:
    """Whether the bytes that are there are the first of those."""
    return memcmp(text, begin, <size_t> min(length, of)) == 0


cdef Outcome read_proxy_header(
    ProxyHeader *header, const unsigned char *text, Py_ssize_t length, int versions
) noexcept nogil:
    """What a proxy says before the first request of a connection, in one of `versions`.

    Source: the PROXY protocol, §2.1 and §2.2.

    COMPLETE: `header.length` bytes are such a header; 0 when there is none. REFUSED: it is malformed. NEED_MORE: call
    again with a longer text.
    """
    memset(header, 0, sizeof(ProxyHeader))
    if versions & VERSION_2 and may_begin(text, length, SIGNATURE, SIGNATURE_LENGTH):
        header.is_begun = length >= SIGNATURE_LENGTH
        return read_version_2(header, text, length)
    if versions & VERSION_1 and may_begin(text, length, b"PROXY ", 6):
        header.is_begun = length >= 6
        return read_version_1(header, text, length)
    return COMPLETE


cdef Outcome read_version_1(ProxyHeader *header, const unsigned char *text, Py_ssize_t length) noexcept nogil:
    """§2.1: "PROXY", the family, two addresses and two ports, each behind one space."""
    cdef const unsigned char *end = <const unsigned char *> memchr(text, LF, <size_t> min(length, <Py_ssize_t> VERSION_1_LIMIT))
    cdef Span rest
    cdef int family
    if end == NULL:
        return NEED_MORE if length < VERSION_1_LIMIT else REFUSED
    if end - text < 8 or (end - 1)[0] != CR:
        return REFUSED
    header.length = end - text + 1
    rest = Span(text + 6, end - 1 - (text + 6))
    if rest.length >= 7 and memcmp(rest.start, b"UNKNOWN", 7) == 0 and (rest.length == 7 or rest.start[7] == SP):
        # "The receiver must ignore anything presented before the CRLF."
        header.relayed = UNKNOWN
        return COMPLETE
    if rest.length < 5 or memcmp(rest.start, b"TCP", 3) != 0 or rest.start[4] != SP or rest.start[3] not in (c"4", c"6"):
        return REFUSED
    family = rest.start[3] - c"0"
    header.relayed = TCP4 if family == 4 else TCP6
    rest = Span(rest.start + 5, rest.length - 5)
    if not (
        read_address(next_word(&rest), family, &header.client) and read_address(next_word(&rest), family, &header.destination)
        and read_port(next_word(&rest), &header.client.port) and read_port(rest, &header.destination.port)
    ):
        return REFUSED
    return COMPLETE


cdef Span next_word(Span *rest) noexcept nogil:
    """Take what stands before the next space, and the space."""
    cdef const unsigned char *end = <const unsigned char *> memchr(rest.start, SP, <size_t> rest.length)
    cdef Span word = Span(rest.start, 0)
    if end != NULL:
        word.length = end - rest.start
        rest.start = end + 1
        rest.length -= word.length + 1
    return word


cdef Outcome read_version_2(ProxyHeader *header, const unsigned char *text, Py_ssize_t length) noexcept nogil:
    """§2.2: the signature, version and command, family and transport, the length of the rest, addresses, and more."""
    cdef int command, family, transport
    cdef Py_ssize_t size
    if length < FIXED_LENGTH:
        return NEED_MORE
    command = text[12] & 15
    family = text[13] >> 4
    transport = text[13] & 15
    size = (text[14] << 8) | text[15]
    if text[12] >> 4 != 2 or command > 1 or FIXED_LENGTH + size > VERSION_2_LIMIT:
        return REFUSED
    # LOCAL is valid whatever the family.
    if command == 1 and (family > 3 or transport > 2):
        return REFUSED
    if length < FIXED_LENGTH + size:
        return NEED_MORE
    header.length = FIXED_LENGTH + size
    if command == 0:
        header.relayed = LOCAL
    elif family == 0:
        header.relayed = UNSPECIFIED
    elif transport != 1:
        # What came as datagrams, or in a way of which nothing is known, is no connection that HTTP is spoken on.
        return REFUSED
    else:
        return read_addresses(header, text + FIXED_LENGTH, size, family)
    return COMPLETE


cdef Outcome read_addresses(ProxyHeader *header, const unsigned char *text, Py_ssize_t size, int family) noexcept nogil:
    """The addresses of version 2; what stands behind them (type, length, value) is nothing that we act on."""
    cdef int width = 4 if family == 1 else 16
    if family == 3:
        header.relayed = UNIX_STREAM
        return COMPLETE if size >= 216 else REFUSED
    if size < 2 * width + 4:
        return REFUSED
    header.relayed = TCP4 if family == 1 else TCP6
    header.client.family = header.destination.family = 4 if family == 1 else 6
    memcpy(header.client.bytes, text, <size_t> width)
    memcpy(header.destination.bytes, text + width, <size_t> width)
    text += 2 * width
    header.client.port = <uint16_t> ((text[0] << 8) | text[1])
    header.destination.port = <uint16_t> ((text[2] << 8) | text[3])
    return COMPLETE


# ---- Forwarded and X-Forwarded-… ----


cdef Node read_node(Span text, Address *to, bint is_plain) noexcept nogil:
    """Read who is named as a hop: node of RFC 7239 §6, or where `is_plain`, also an IPv6 address without brackets."""
    cdef const unsigned char *colon = <const unsigned char *> memchr(text.start, c":", <size_t> text.length)
    cdef const unsigned char *end
    cdef Span host = text
    cdef Span port = Span(NULL, 0)
    cdef int family = 4
    if text.length and text.start[0] == c"[":
        end = <const unsigned char *> memchr(text.start, c"]", <size_t> text.length)
        if end == NULL:
            return MALFORMED_NODE
        host = Span(text.start + 1, end - text.start - 1)
        colon = end + 1
        if colon == text.start + text.length:
            colon = NULL
        elif colon[0] != c":":
            return MALFORMED_NODE
        family = 6
    elif is_plain and colon != NULL and memchr(colon + 1, c":", <size_t> (text.start + text.length - colon - 1)) != NULL:
        colon = NULL
        family = 6
    elif colon != NULL:
        host.length = colon - text.start
    if colon != NULL:
        port = Span(colon + 1, text.start + text.length - colon - 1)
    return read_node_parts(host, port, family, to, is_plain)


cdef Node read_node_parts(Span host, Span port, int family, Address *to, bint is_plain) noexcept nogil:
    cdef uint16_t number = 0
    cdef bint has_port = port.start != NULL
    if has_port and not read_port(port, &number) and (is_plain or not is_obfuscated(port)):
        return MALFORMED_NODE
    if family == 4 and (same_text(host, Span(b"unknown", 7)) or is_obfuscated(host)):
        return HIDDEN_NODE
    if not read_address(host, family, to):
        return MALFORMED_NODE
    to.port = number
    return KNOWN_NODE


cdef bint is_obfuscated(Span text) noexcept nogil:
    """RFC 7239 §6.3: an underscore, and letters, digits, ".", "_" and "-"."""
    cdef Py_ssize_t at
    cdef unsigned char c
    if text.length < 2 or text.start[0] != c"_":
        return False
    for at in range(1, text.length):
        c = text.start[at]
        if not (c"a" <= (c | 0x20) <= c"z" or c"0" <= c <= c"9" or c in (c".", c"_", c"-")):
            return False
    return True


cdef Span trimmed(const unsigned char *begin, const unsigned char *end) noexcept nogil:
    """Without the white space around it."""
    while begin < end and begin[0] in (SP, HTAB):
        begin += 1
    while begin < end and (end - 1)[0] in (SP, HTAB):
        end -= 1
    return Span(begin, end - begin)


cdef inline bint is_named(const Field *field, const unsigned char *base, const char *name, Py_ssize_t length) noexcept nogil:
    if field.name_length != length:
        return False
    return same_text(Span(base + field.name, length), Span(<const unsigned char *> name, length))


cdef Span last_member(const Head *head, const unsigned char *base, const char *name, Py_ssize_t length) noexcept nogil:
    """The last member of a list that may be in several field lines: what the nearest proxy has set, or added."""
    cdef Span found = Span(base, 0)
    cdef const unsigned char *begin
    cdef const unsigned char *end
    cdef uint32_t at
    for at in range(head.count):
        if is_named(&head.fields[at], base, name, length):
            begin = base + head.fields[at].value
            end = begin + head.fields[at].value_length
            found = trimmed(begin_of_last(begin, end), end)
    return found


cdef const unsigned char *begin_of_last(const unsigned char *begin, const unsigned char *end) noexcept nogil:
    """Where the last member of a list without quotes begins."""
    while end > begin and (end - 1)[0] != c",":
        end -= 1
    return end


cdef bint is_prefix(Span text) noexcept nogil:
    """Whether it is a path that can stand before others, and needs no decoding."""
    cdef Py_ssize_t at
    cdef unsigned char c
    for at in range(text.length):
        c = text.start[at]
        if not (c"a" <= (c | 0x20) <= c"z" or c"0" <= c <= c"9" or c in (c"/", c"-", c".", c"_", c"~", c"@", c"+", c"=")):
            return False
    return is_mount(text)


cdef bint is_mount(Span text) noexcept nogil:
    """Whether it begins with a slash, and a browser that is sent there goes there.

    Two slashes would be a host for it, and so would one with a backslash; RFC 3986 §5.2.4 has it resolve "." and "..".
    """
    cdef Py_ssize_t at, length
    cdef Py_ssize_t begin = 1
    if text.length == 0 or text.start[0] != c"/" or memchr(text.start, c"\\", <size_t> text.length) != NULL:
        return False
    for at in range(1, text.length + 1):
        if at == text.length or text.start[at] == c"/":
            length = at - begin
            if length == 0 or (length <= 2 and memcmp(text.start + begin, b"..", <size_t> length) == 0):
                return False
            begin = at + 1
    return True


cdef struct Element:
    # Of Forwarded: what a proxy knows of the hop before it.
    Span node
    Span host
    int scheme
    int said                    # parameters that were there; a bit each


cdef enum Parameter:
    FOR_PARAMETER = 1
    HOST_PARAMETER = 2
    PROTO_PARAMETER = 4
    BY_PARAMETER = 8
    OTHER_PARAMETER = 16        # there may be several of these, of different names


cdef Py_ssize_t end_of_token(Span text, Py_ssize_t at) noexcept nogil:
    while at < text.length and is_field_name(Span(text.start + at, 1)):
        at += 1
    return at


cdef Py_ssize_t end_of_quoted(Span text, Py_ssize_t at, bint *is_escaped) noexcept nogil:
    """Offset of the quote that ends a quoted-string whose content begins at `at`; -1 without one. RFC 9110 §5.6.4."""
    while at < text.length and text.start[at] != c'"':
        if text.start[at] == c"\\":
            is_escaped[0] = True
            at += 1
        at += 1
    return at if at < text.length else -1


cdef Py_ssize_t skip_space(Span text, Py_ssize_t at) noexcept nogil:
    while at < text.length and text.start[at] in (SP, HTAB):
        at += 1
    return at


cdef Parameter parameter_named(Span name) noexcept nogil:
    if same_text(name, Span(b"for", 3)):
        return FOR_PARAMETER
    if same_text(name, Span(b"host", 4)):
        return HOST_PARAMETER
    if same_text(name, Span(b"proto", 5)):
        return PROTO_PARAMETER
    if same_text(name, Span(b"by", 2)):
        return BY_PARAMETER
    return OTHER_PARAMETER


cdef int scheme_named(Span name) noexcept nogil:
    if same_text(name, Span(b"https", 5)) or same_text(name, Span(b"wss", 3)):
        return HTTPS_SCHEME
    if same_text(name, Span(b"http", 4)) or same_text(name, Span(b"ws", 2)):
        return HTTP_SCHEME
    return NO_SCHEME


cdef Py_ssize_t read_parameter(Span text, Py_ssize_t at, Element *element) noexcept nogil:
    """Read name "=" value at `at`; returns where it ends, or -1. RFC 7239 §4: each at most once."""
    cdef Py_ssize_t end = end_of_token(text, at)
    cdef Parameter parameter = parameter_named(Span(text.start + at, end - at))
    cdef bint is_escaped = False
    cdef Span value
    if end == at or end == text.length or text.start[end] != c"=":
        return -1
    if element.said & parameter and parameter != OTHER_PARAMETER:
        return -1
    element.said |= parameter
    at = end + 1
    if at < text.length and text.start[at] == c'"':
        end = end_of_quoted(text, at + 1, &is_escaped)
        if end < 0:
            return -1
        value = Span(text.start + at + 1, end - at - 1)
        end += 1
    else:
        end = end_of_token(text, at)
        value = Span(text.start + at, end - at)
        if end == at:
            return -1
    if is_escaped and parameter != OTHER_PARAMETER:
        # No node, host or scheme has a character that is written so.
        return -1
    if parameter == FOR_PARAMETER:
        element.node = value
    elif parameter == HOST_PARAMETER:
        element.host = value
    elif parameter == PROTO_PARAMETER:
        element.scheme = scheme_named(value)
    return end


cdef Py_ssize_t read_element(Span text, Py_ssize_t at, Element *element) noexcept nogil:
    """Read parameters, separated by ";", up to a "," or the end, and return where that is; -1 when they are none."""
    memset(element, 0, sizeof(Element))
    while True:
        at = skip_space(text, at)
        if at < text.length and text.start[at] not in (c";", c","):
            at = read_parameter(text, at, element)
            if at < 0:
                return -1
            at = skip_space(text, at)
        if at == text.length or text.start[at] == c",":
            return at
        if text.start[at] != c";":
            return -1
        at += 1


cdef class Proxies:
    """What is believed of whom. Immutable.

    Args:
        trusted: the peers whose fields are believed; see `Peers`.
        forwarder_headers: names of fields with an underscore that they may set; "*" for all.
        forwarded_fields: those of FIELDS in which they say how the client has come.
        forwarded_hops: how many proxies each request passes; 0 where those are that are `trusted`.
        proxy_protocol: one of VERSIONS.
        proxy_allow_ips: the peers that may send a PROXY header.
        proxy_protocol_required: whether each connection has to begin with one.
    """

    def __init__(
        self, *, trusted=(), forwarder_headers=(), forwarded_fields=(), int forwarded_hops=0, str proxy_protocol="off",
        proxy_allow_ips=(), bint proxy_protocol_required=False,
    ):
        cdef bytes text
        self.trusted = Peers(trusted)
        self.senders = Peers(proxy_allow_ips)
        self.versions = VERSIONS[proxy_protocol]
        self.requires_header = proxy_protocol_required and self.versions != 0
        self.hops = forwarded_hops
        if self.trusted.everybody and not self.hops:
            # Who added an entry cannot be told from its address: the last one is the nearest proxy's.
            self.hops = 1
        for name in forwarded_fields:
            self.fields |= FIELDS[name]
        self._texts = [name.encode("latin-1", "replace") for name in forwarder_headers]
        self.names = <Span *> calloc(<size_t> max(len(self._texts), 1), sizeof(Span))
        if self.names == NULL:
            raise MemoryError()
        for text in self._texts:
            self.names[self.name_count] = Span(<const unsigned char *> <const char *> text, len(text))
            self.name_count += 1

    def __dealloc__(self):
        free(self.names)

    cdef Bounds bounds_of_trusted(self, const Bounds *bounds) noexcept:
        """The same for a request of somebody trusted; valid as long as this object."""
        cdef Bounds those = bounds[0]
        those.forwarders = self.names
        those.forwarder_count = self.name_count
        return those

    cdef void look_back(self, Forwarded *found, const Head *head, const unsigned char *base) noexcept nogil:
        """What the fields of a request say that came from somebody trusted; spans are of `base`."""
        cdef Span text
        cdef uint64_t port
        memset(found, 0, sizeof(Forwarded))
        if self.fields & X_FORWARDED_FOR:
            self._read_list(found, head, base)
        if self.fields & FORWARDED:
            self._read_elements(found, head, base)
        if self.fields & X_FORWARDED_HOST:
            text = last_member(head, base, b"x-forwarded-host", 16)
            if text.length and is_host(text):
                found.host = text
        if self.fields & X_FORWARDED_PORT:
            text = last_member(head, base, b"x-forwarded-port", 16)
            read_port(text, &found.port)
        if self.fields & X_FORWARDED_PREFIX:
            text = last_member(head, base, b"x-forwarded-prefix", 18)
            if text.length and text.start[text.length - 1] == c"/":
                text.length -= 1
            if is_prefix(text):
                found.prefix = text
        found.says_target = found.host.length or found.port or found.prefix.length

    cdef bint _ends_at(self, Node node, const Address *address, int hop) noexcept nogil:
        """Whether the client is found: what stands before this entry was written by nobody who is trusted."""
        if self.hops:
            return hop == self.hops
        return node == HIDDEN_NODE or not self.trusted.has(address.family, address.bytes)

    cdef void _read_list(self, Forwarded *found, const Head *head, const unsigned char *base) noexcept nogil:
        """X-Forwarded-For: each proxy adds whom it got the request from."""
        cdef const Field *field
        cdef int hop = 0
        cdef int at = <int> head.count
        while at:
            at -= 1
            field = &head.fields[at]
            if is_named(field, base, b"x-forwarded-for", 15) and self._walk_list(
                found, Span(base + field.value, field.value_length), &hop
            ):
                return
        if hop < self.hops:
            # It has not passed all of them.
            found.has_client = False

    cdef bint _walk_list(self, Forwarded *found, Span text, int *hop) noexcept nogil:
        """Go from the last entry of a line to the first; whether the end of the way is found."""
        cdef const unsigned char *end = text.start + text.length
        cdef const unsigned char *begin
        cdef Span entry
        cdef Node node
        while True:
            begin = begin_of_last(text.start, end)
            entry = trimmed(begin, end)
            if entry.length:
                hop[0] += 1
                node = read_node(entry, &found.client, True)
                found.has_client = node == KNOWN_NODE
                if node == MALFORMED_NODE or self._ends_at(node, &found.client, hop[0]):
                    return True
            if begin == text.start:
                return False
            end = begin - 1

    cdef void _read_elements(self, Forwarded *found, const Head *head, const unsigned char *base) noexcept nogil:
        """Forwarded: each proxy adds an element; RFC 7239."""
        cdef const Field *field
        cdef int hop = 0
        cdef int at = <int> head.count
        while at:
            at -= 1
            field = &head.fields[at]
            if is_named(field, base, b"forwarded", 9) and self._walk_elements(
                found, Span(base + field.value, field.value_length), &hop
            ):
                return
        if hop < self.hops:
            memset(found, 0, sizeof(Forwarded))

    cdef bint _walk_elements(self, Forwarded *found, Span text, int *hop) noexcept nogil:
        """The same for a line of elements. Each line is read for itself: a quote in one does not hide the next."""
        cdef Element elements[ELEMENTS]
        cdef Element *element
        cdef Py_ssize_t count = 0, at = 0, first
        cdef Node node
        while at <= text.length:
            element = &elements[count % ELEMENTS]
            at = read_element(text, at, element)
            if at < 0 or (element.said & HOST_PARAMETER and not (element.host.length and is_host(element.host))):
                memset(found, 0, sizeof(Forwarded))
                return True
            count += 1 if element.said else 0
            at += 1
        # One less: that which was read last may have been empty.
        first = max(count - ELEMENTS + 1, 0)
        while count > first:
            count -= 1
            hop[0] += 1
            element = &elements[count % ELEMENTS]
            node = read_node(element.node, &found.client, False) if element.said & FOR_PARAMETER else HIDDEN_NODE
            if node == MALFORMED_NODE:
                memset(found, 0, sizeof(Forwarded))
                return True
            found.has_client = node == KNOWN_NODE
            found.scheme = element.scheme
            found.host = element.host
            if self._ends_at(node, &found.client, hop[0]):
                return True
        if first:
            memset(found, 0, sizeof(Forwarded))
        return first > 0

    def understood(self, bytes head not None) -> dict:
        """What is believed of a request head that came from somebody trusted, for tests and fuzzers.

        Raises:
            ValueError: it is no complete head.
        """
        cdef Limits limits = Limits(fields=0)
        cdef Head parsed
        cdef Forwarded found
        cdef const unsigned char *base = <const unsigned char *> <const char *> head
        memset(&parsed, 0, sizeof(Head))
        try:
            if parse_head(&parsed, base, len(head), &limits.bounds) != COMPLETE:
                raise ValueError("no complete request head")
            self.look_back(&found, &parsed, base)
            return {
                "client": pair_of(&found.client) if found.has_client else None,
                "scheme": {HTTP_SCHEME: "http", HTTPS_SCHEME: "https"}.get(found.scheme),
                "host": found.host.start[:found.host.length] if found.host.length else None,
                "port": found.port,
                "prefix": found.prefix.start[:found.prefix.length] if found.prefix.length else b"",
            }
        finally:
            free_head(&parsed)


cdef tuple pair_of(const Address *address):
    return (text_of_address(address.family, address.bytes), address.port)


cdef bytes host_to_tell(const Forwarded *found, bytes host, bint is_https):
    """Host as the client has sent it: what the proxy says, or `host`, with the port that the proxy says."""
    cdef Py_ssize_t colon
    if found.host.length:
        host = found.host.start[:found.host.length]
    if found.port and host:
        colon = host.find(b":", host.rfind(b"]") + 1)
        if colon >= 0:
            host = host[:colon]
        if found.port != (443 if is_https else 80):
            host = b"%b:%d" % (host, found.port)
    return host


cdef str script_name(const Head *head, const unsigned char *base, str otherwise):
    """What a proxy that is trusted says in SCRIPT_NAME, or else `otherwise`; PEP 3333 has it empty or with a slash first."""
    cdef const Field *field
    cdef Span said
    cdef str found = otherwise
    cdef uint32_t at
    for at in range(head.count):
        field = &head.fields[at]
        if field.kind == FORWARDER_FIELD and is_named(field, base, b"script_name", 11):
            said = Span(base + field.value, field.value_length)
            if said.length and said.start[said.length - 1] == c"/":
                said.length -= 1
            # The last one counts; malformed, it says nothing.
            found = otherwise
            if said.length == 0 or is_mount(said):
                found = said.start[:said.length].decode("latin-1")
    return found


def read_header(bytes text not None, str versions) -> tuple:
    """What a PROXY header at the beginning of `text` says, for tests and fuzzers; None while it is not all there.

    Returns:
        Its length, what is relayed, and the addresses of client and destination as pairs, or None where it has none;
        (0, "", None, None) where there is no header, and (-1, "", None, None) where it is malformed.
    """
    cdef ProxyHeader header
    cdef Outcome outcome = read_proxy_header(
        &header, <const unsigned char *> <const char *> text, len(text), VERSIONS[versions]
    )
    if outcome == NEED_MORE:
        return None
    if outcome == REFUSED:
        return (-1, "", None, None)
    return (
        header.length, RELAYED[header.relayed], pair_of(&header.client) if header.client.family else None,
        pair_of(&header.destination) if header.destination.family else None,
    )
