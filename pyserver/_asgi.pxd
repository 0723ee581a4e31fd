# The contract of _asgi: requests as ASGI has them.
from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint32_t

from pyserver._call cimport Call
from pyserver._connection cimport Connection
from pyserver._exchange cimport Gateway, Stream, Transport
from pyserver._http cimport Head
from pyserver._http_call cimport HTTPCall
from pyserver._proxies cimport Forwarded
from pyserver._streams cimport StreamLane
from pyserver._websocket cimport Deflate, Handshake
from pyserver._websocket_call cimport WebSocketCall


cdef enum:
    NAMES = 512                 # field names remembered
    NAME_LENGTH = 48
    PAIRS = 1024                # fields remembered as pairs
    VALUE_LENGTH = 256


cdef enum Meaning:
    # What a field name is to the gateway; a bit each.
    PLAIN = 0
    TELLS_SCHEME = 1            # a proxy may say https in it
    UPGRADE_NAME = 2
    TE_NAME = 4


cdef struct Name:
    # A field name as it was received, and in lower case.
    uint8_t length              # 0: the place is free
    uint8_t meaning
    char text[NAME_LENGTH]
    PyObject *lower


cdef class ASGIGateway(Gateway):
    cdef public object application
    cdef object _loop
    cdef public dict state              # of the lifespan; None where there is none
    cdef list _templates                # scope of a request at each listener, before it is filled in
    cdef list _socket_templates         # … and of a WebSocket
    cdef dict _extensions
    cdef dict _socket_extensions
    cdef bint _drops_underscored
    cdef dict _scheme_fields            # name: value that says https
    cdef Deflate _deflate
    cdef Py_ssize_t _max_message
    cdef int _max_queue
    cdef Name _names[NAMES + 1]
    cdef PyObject *_pairs[PAIRS]
    cdef uint32_t _victim
    cdef uint8_t _address[16]
    cdef int _address_family
    cdef str _address_text

    cdef list _fields(self, const Head *head, const unsigned char *base, uint32_t *meanings)
    cdef dict _http_scope(self, const Connection *connection, const Head *head, const unsigned char *base)
    cdef dict _websocket_scope(self, const Connection *connection, Handshake handshake)
    cdef int _put_rest(self, dict scope, const Head *head, const unsigned char *base, list fields) except -1
    cdef int _put_way(self, dict scope, Transport transport, const Connection *connection, const Head *head, const unsigned char *base) except -1
    cdef int _put_forwarded(self, dict scope, const Forwarded *forwarded, bint is_https) except -1
    cdef Name *_name(self, const unsigned char *text, Py_ssize_t length) except NULL
    cdef Name *_remember(self, Name *name, const unsigned char *text, Py_ssize_t length) except NULL
    cdef object _pair(self, object name, const unsigned char *text, Py_ssize_t length)
    cdef object _client(self, int family, const uint8_t *address, int port)
    cdef int _schemes_in(self, list fields) except -1
    cdef int _prepare(self, Call call, StreamLane lane, dict scope) except -1
    cdef Stream _websocket_call(self, const Head *head, Handshake handshake)
    cdef int _put_target(self, dict scope, const Head *head, const unsigned char *base) except -1
