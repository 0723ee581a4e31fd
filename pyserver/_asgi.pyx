"""The ASGI gateway: a request becomes a scope, and a call of the application with it.

Source: ASGI 3, the HTTP and WebSocket message format 2.5. No sockets and no HTTP syntax: those are the engine's and the
parser's. What the application says and is told is up to the two kinds of calls.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_Copy
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF, Py_XDECREF
from cpython.unicode cimport PyUnicode_DecodeLatin1, PyUnicode_DecodeUTF8
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy

from pyserver._channel cimport Channel
from pyserver._exchange cimport Transport
from pyserver._http cimport (
    HAS_CHUNKED, HAS_SCRIPT_NAME, TARGET_PERCENT, UNDERSCORED, Fault, Field, percent_decode, text_hash,
)
from pyserver._proxies cimport HTTP_SCHEME, HTTPS_SCHEME, NO_SCHEME, host_to_tell, script_name, text_of_address
from pyserver._streams cimport StreamLane
from pyserver._websocket cimport read_handshake

from pyserver.refusals import REFUSALS as _REFUSALS

cdef enum:
    WAYS = 4
    LONG_NS = 1000000           # that the request for a WebSocket has waited

cdef dict VERSION = {"version": "3.0", "spec_version": "2.5"}


cdef class ASGIGateway(Gateway):
    """Calls an ASGI application for each request.

    Args:
        application: the callable of ASGI 3.
        loop: the event loop that its tasks run in.
        servers: (host, port) of each listener of the engine, in its order; (path, None) for a Unix socket.
        log: has error() and exception().
        root_path: where the application is mounted.
        keeps_underscores: whether field names with an underscore reach the application.
        secure_scheme_headers: field names and the values with which a proxy says https.
        sends_files: whether the application may have the server send files.
        deflate: how the messages of WebSockets are compressed, for clients that can; None for not at all.
        max_message: bytes that a message of a WebSocket may have; 0 for no limit.
        max_queue: messages of a WebSocket that may wait for the application.

    Attributes:
        state: of the lifespan, copied for each request; None where there is none.
    """

    def __init__(
        self, application, loop, servers, *, log, str root_path="", bint keeps_underscores=False, secure_scheme_headers=None,
        bint sends_files=True, deflate=None, Py_ssize_t max_message=16777216, int max_queue=32,
    ):
        self.attend(log, None)
        self.application = application
        self._loop = loop
        self._drops_underscored = not keeps_underscores
        self._scheme_fields = {
            name.lower().encode("latin-1"): value.encode("latin-1")
            for name, value in (secure_scheme_headers or {}).items()
        }
        self._deflate = deflate
        self._max_message = max_message
        self._max_queue = max_queue
        self._extensions = {"http.response.early_hint": {}, "http.response.trailers": {}}
        if sends_files:
            self._extensions.update({"http.response.pathsend": {}, "http.response.zerocopysend": {}})
        self._socket_extensions = {"websocket.http.response": {}}
        # None where each request has its own.
        self._templates = [
            {
                "type": "http", "asgi": None, "http_version": "1.1", "method": "GET", "scheme": "http", "path": "",
                "raw_path": b"", "query_string": b"", "root_path": root_path.rstrip("/"), "headers": None,
                "client": None, "server": server, "state": None, "extensions": None,
            }
            for server in servers
        ]
        self._socket_templates = []
        for template in self._templates:
            sockets = {**template, "type": "websocket", "scheme": "ws", "subprotocols": None}
            del sockets["method"]
            self._socket_templates.append(dict(sockets))

    def __dealloc__(self):
        cdef int at
        for at in range(NAMES + 1):
            Py_XDECREF(self._names[at].lower)
        for at in range(PAIRS):
            Py_XDECREF(self._pairs[at])

    cdef Stream open(self, Transport transport, Connection *connection, const Head *head, const unsigned char *base):
        cdef uint32_t meanings = 0
        cdef int schemes = transport.forwarded.scheme
        cdef list fields = self._fields(head, base, &meanings)
        cdef object handshake = None
        cdef dict scope
        cdef Stream call
        if meanings & UPGRADE_NAME:
            handshake = read_handshake(base[head.method:head.method + head.method_length], <int> head.minor, fields)
        if handshake is None:
            scope = self._http_scope(connection, head, base)
            call = HTTPCall.__new__(HTTPCall)
            (<HTTPCall> call).takes_trailers = meanings & TE_NAME and wants_trailers(fields)
            if has_lower_case(base + head.method, head.method_length):
                # "Uppercased", says ASGI. But methods are case-sensitive (RFC 9110 §9.1): a proxy may have let this one
                # pass because it is another than the application would be told.
                call.is_refused, call.refusal = True, 501
                call.refusal_words = "the method is not in upper case, as all are that ASGI knows"
        else:
            scope = self._websocket_scope(connection, handshake)
            call = self._websocket_call(head, handshake)
        self._put_rest(scope, head, base, fields)
        self._put_way(scope, transport, connection, head, base)
        if handshake is None or transport.queue_ns >= LONG_NS:
            # An application keeps the scope of an idle WebSocket, and may have very many.
            scope["extensions"]["pyserver"] = {"queue_time": transport.queue_ns / 1e9}
        if transport.ids is not None and transport.ids.is_told:
            scope["extensions"].setdefault("pyserver", {})["request_id"] = transport.request_id.decode("ascii")
        if meanings & TELLS_SCHEME and connection.is_trusted:
            schemes |= self._schemes_in(fields)
        if connection.channel != NULL and (<Channel> connection.channel).is_secure:
            scope["extensions"]["tls"] = (<Channel> connection.channel).extension()
            # What a proxy says of its client goes before.
            schemes = schemes or HTTPS_SCHEME
        if schemes == HTTPS_SCHEME:
            scope["scheme"] = "https" if handshake is None else "wss"
        elif schemes == HTTP_SCHEME | HTTPS_SCHEME:
            # The proxy may have set one and passed on the other from its client.
            call.is_refused = True
            call.refusal, _, call.refusal_words = _REFUSALS[<int> Fault.SCHEME_CONTRADICTION]
        if transport.forwarded.says_target:
            self._put_forwarded(scope, &transport.forwarded, schemes == HTTPS_SCHEME)
        self._prepare(<Call> call, <StreamLane> transport, scope)
        return call

    cdef list _fields(self, const Head *head, const unsigned char *base, uint32_t *meanings):
        """The fields as pairs, names in lower case; `meanings` gets those of all names."""
        cdef list fields = []
        cdef const Field *field
        cdef Name *name
        cdef uint32_t at
        for at in range(head.count):
            field = &head.fields[at]
            if field.kind == UNDERSCORED and self._drops_underscored:
                continue
            name = self._name(base + field.name, field.name_length)
            fields.append(self._pair(<object> name.lower, base + field.value, field.value_length))
            meanings[0] |= name.meaning
        return fields

    cdef dict _http_scope(self, const Connection *connection, const Head *head, const unsigned char *base):
        cdef dict scope = PyDict_Copy(self._templates[connection.listener])
        scope["extensions"] = PyDict_Copy(self._extensions)
        if head.method_length != 3 or memcmp(base + head.method, b"GET", 3) != 0:
            scope["method"] = PyUnicode_DecodeLatin1(<const char *> base + head.method, head.method_length, NULL)
        return scope

    cdef dict _websocket_scope(self, const Connection *connection, Handshake handshake):
        cdef dict scope = PyDict_Copy(self._socket_templates[connection.listener])
        scope["extensions"] = PyDict_Copy(self._socket_extensions)
        scope["subprotocols"] = handshake.subprotocols
        return scope

    cdef int _put_rest(self, dict scope, const Head *head, const unsigned char *base, list fields) except -1:
        """What the scopes of both protocols have."""
        scope["asgi"] = PyDict_Copy(VERSION)
        if head.minor == 0:
            scope["http_version"] = "1.0"
        elif head.minor != 1:
            scope["http_version"] = "2" if head.minor == 2 else "3"
        scope["headers"] = fields
        self._put_target(scope, head, base)
        scope["state"] = {} if self.state is None else PyDict_Copy(self.state)
        return 0

    cdef int _put_way(
        self, dict scope, Transport transport, const Connection *connection, const Head *head, const unsigned char *base
    ) except -1:
        """Who has asked, and where the application is mounted, as far as a proxy that is trusted says so."""
        if transport.forwarded.has_client:
            scope["client"] = self._client(
                transport.forwarded.client.family, transport.forwarded.client.bytes, transport.forwarded.client.port
            )
        elif connection.family:
            scope["client"] = self._client(connection.family, connection.address, connection.port)
        if head.flags & HAS_SCRIPT_NAME:
            scope["root_path"] = script_name(head, base, scope["root_path"])
        return 0

    cdef int _put_forwarded(self, dict scope, const Forwarded *forwarded, bint is_https) except -1:
        """What the client has asked for, as a proxy says: Host, its port, and the path up to where the proxy passes on."""
        cdef list fields = scope["headers"]
        cdef bytes host
        cdef Py_ssize_t at
        for at in range(len(fields)):
            if fields[at][0] == b"host":
                fields[at] = (b"host", host_to_tell(forwarded, fields[at][1], is_https))
                break
        else:
            host = host_to_tell(forwarded, b"", is_https)
            if host:
                fields.append((b"host", host))
        if forwarded.port:
            scope["server"] = (scope["server"][0], forwarded.port)
        if forwarded.prefix.length:
            scope["root_path"] = (
                forwarded.prefix.start[:forwarded.prefix.length].decode("ascii") + scope["root_path"]
            )
        return 0

    cdef int _prepare(self, Call call, StreamLane lane, dict scope) except -1:
        call.lane = lane
        call.gateway = self
        call.loop = self._loop
        call.application = self.application
        call.scope = scope
        return 0

    cdef Stream _websocket_call(self, const Head *head, Handshake handshake):
        cdef WebSocketCall call = WebSocketCall.__new__(WebSocketCall)
        call.is_raw = True
        call.handshake = handshake
        call.wanted = self._deflate
        call.max_message = self._max_message
        call.max_queue = self._max_queue
        if handshake.status == 101 and (head.content_length or head.flags & HAS_CHUNKED):
            # Where the content ends and frames begin would be a matter of opinion.
            call.is_refused, call.refusal, call.refusal_words = True, 400, "a WebSocket handshake has no content"
        elif handshake.status != 101:
            call.is_refused, call.refusal, call.refusal_words = True, handshake.status, handshake.reason
            call.refusal_fields = handshake.refusal_fields
        return call

    # ---- parts of the scope ----

    cdef int _put_target(self, dict scope, const Head *head, const unsigned char *base) except -1:
        cdef const char *path = <const char *> base + head.path
        cdef unsigned char *decoded
        cdef Py_ssize_t length
        if head.path_length == 0:
            # RFC 9110 §4.2.3: the same as an empty path. Or the asterisk-form, which has none.
            scope["path"] = "/" if head.authority_length else "*"
            scope["raw_path"] = (<str> scope["path"]).encode("ascii")
        elif head.flags & TARGET_PERCENT:
            scope["raw_path"] = PyBytes_FromStringAndSize(path, head.path_length)
            decoded = <unsigned char *> malloc(<size_t> head.path_length)
            if decoded == NULL:
                raise MemoryError()
            try:
                length = percent_decode(decoded, base + head.path, head.path_length)
                scope["path"] = PyUnicode_DecodeUTF8(<char *> decoded, length, "replace")
            finally:
                free(decoded)
        else:
            scope["path"] = PyUnicode_DecodeUTF8(path, head.path_length, "replace")
            scope["raw_path"] = PyBytes_FromStringAndSize(path, head.path_length)
        if head.query_length:
            scope["query_string"] = PyBytes_FromStringAndSize(<const char *> base + head.query, head.query_length)
        return 0

    cdef object _client(self, int family, const uint8_t *address, int port):
        """Most connections of a server come from the same few peers."""
        if self._address_family != family or memcmp(self._address, address, 16) != 0:
            memcpy(self._address, address, 16)
            self._address_family = family
            self._address_text = text_of_address(family, address)
        return (self._address_text, port)

    cdef int _schemes_in(self, list fields) except -1:
        """What a proxy says in the fields in which it may say https; a bit each."""
        cdef int schemes = NO_SCHEME
        for name, value in fields:
            if name in self._scheme_fields:
                schemes |= HTTPS_SCHEME if self._scheme_fields[name] == value else HTTP_SCHEME
        return schemes

    cdef object _pair(self, object name, const unsigned char *text, Py_ssize_t length):
        """A field, the same object again for one that was seen lately."""
        cdef uint32_t first
        cdef PyObject **place = NULL
        cdef object known
        cdef bytes value
        cdef int step
        if length > VALUE_LENGTH:
            return (name, PyBytes_FromStringAndSize(<const char *> text, length))
        first = text_hash(text, length) ^ <uint32_t> (<size_t> <PyObject *> name >> 4)
        for step in range(2):
            place = &self._pairs[(first + step) % PAIRS]
            if place[0] == NULL:
                break
            known = <object> place[0]
            value = <bytes> (<tuple> known)[1]
            if (
                (<tuple> known)[0] is name and PyBytes_GET_SIZE(value) == length
                and memcmp(PyBytes_AS_STRING(value), text, <size_t> length) == 0
            ):
                return known
        else:
            self._victim += 1
            place = &self._pairs[(first + self._victim % 2) % PAIRS]
        known = (name, PyBytes_FromStringAndSize(<const char *> text, length))
        Py_INCREF(known)
        Py_XDECREF(place[0])
        place[0] = <PyObject *> known
        return known

    cdef Name *_name(self, const unsigned char *text, Py_ssize_t length) except NULL:
        """A field name in lower case; one that is too long to remember takes the last place for the moment."""
        cdef uint32_t first
        cdef Name *name
        cdef int step
        if length > NAME_LENGTH:
            return self._remember(&self._names[NAMES], text, length)
        first = text_hash(text, length)
        for step in range(WAYS):
            name = &self._names[(first + step) % NAMES]
            if name.length == length and memcmp(name.text, text, <size_t> length) == 0:
                return name
            if name.length == 0:
                break
        else:
            self._victim += 1
            name = &self._names[(first + self._victim % WAYS) % NAMES]
        self._remember(name, text, length)
        # Last: without memory for it, it must not be found.
        memcpy(name.text, text, <size_t> length)
        name.length = <uint8_t> length
        return name

    cdef Name *_remember(self, Name *name, const unsigned char *text, Py_ssize_t length) except NULL:
        cdef bytes lower = PyBytes_FromStringAndSize(<const char *> text, length).lower()
        name.length = 0
        Py_INCREF(lower)
        Py_XDECREF(name.lower)
        name.lower = <PyObject *> lower
        name.meaning = PLAIN
        if lower in self._scheme_fields:
            name.meaning = TELLS_SCHEME
        elif lower == b"upgrade":
            name.meaning = UPGRADE_NAME
        elif lower == b"te":
            name.meaning = TE_NAME
        return name


cdef bint has_lower_case(const unsigned char *text, Py_ssize_t length) noexcept nogil:
    cdef Py_ssize_t at
    for at in range(length):
        if c"a" <= text[at] <= c"z":
            return True
    return False


cdef bint wants_trailers(list fields) except -1:
    """Whether a TE field says so; RFC 9110 §10.1.4."""
    for name, value in fields:
        if name == b"te" and b"trailers" in [member.strip().lower() for member in value.split(b",")]:
            return True
    return False
