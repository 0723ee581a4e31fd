# The contract of _wsgi: requests as PEP 3333 has them.
from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint16_t, uint32_t

from pyserver._connection cimport Connection
from pyserver._exchange cimport Exchange, Gateway
from pyserver._http cimport Field, Head
from pyserver._proxies cimport Forwarded


cdef enum:
    NAMES = 512                 # field names remembered with their environ keys
    NAME_LENGTH = 48
    TEXTS = 1024                # short texts remembered as str objects
    TEXT_LENGTH = 160
    PORTS = 256


cdef struct Name:
    # A field name as it was received, and what it is in environ.
    uint8_t length              # 0: the place is free
    bint tells_scheme           # a proxy may say https in it
    char text[NAME_LENGTH]
    PyObject *key


cdef class StartResponse:
    cdef Exchange exchange
    cdef object begin_callable
    cdef object write_callable
    cdef bint is_writing

    cdef object _detach(self)


cdef class WSGIGateway(Gateway):
    cdef public object application
    cdef list _templates        # environ of each listener, before a request fills it
    cdef bytes _nameless        # of each listener, whether its requests say what it is called; None when none's do
    cdef str _root_path
    cdef bint _drops_underscored
    cdef bint _sends_files
    cdef dict _scheme_fields    # environ key: value that says https
    cdef Name _names[NAMES + 1]  # … the last for one that is too long to remember
    cdef PyObject *_texts[TEXTS]
    cdef PyObject *_ports[PORTS]
    cdef uint16_t _port_numbers[PORTS]
    cdef uint32_t _victim       # which of several remembered things gives way next
    cdef uint8_t _address[16]
    cdef int _address_family
    cdef str _address_text

    cdef object _text(self, const unsigned char *text, Py_ssize_t length)
    cdef object _address_of(self, int family, const uint8_t *address)
    cdef object _peer_port(self, uint16_t port)
    cdef Name *_name(self, const unsigned char *text, Py_ssize_t length) except NULL
    cdef Name *_remember(self, Name *name, const unsigned char *text, Py_ssize_t length) except NULL
    cdef StartResponse _start_of(self, Exchange exchange)
    cdef dict _environ(self, Exchange exchange)
    cdef int _put_target(self, dict environ, const Head *head, const unsigned char *base) except -1
    cdef int _put_peer(self, dict environ, Exchange exchange) except -1
    cdef int _put_fields(self, dict environ, Exchange exchange) except -1
    cdef int _put_forwarded(self, dict environ, const Forwarded *forwarded, bint is_https) except -1
    cdef int _put_server(self, dict environ) except -1
    cdef int _put_content(self, dict environ, Exchange exchange) except -1
    cdef int _answer(self, Exchange exchange, object result) except -1
    cdef int _answer_list(self, Exchange exchange, object blocks) except -1
    cdef int _answer_file(self, Exchange exchange, FileWrapper wrapper) except -1
    cdef int _fail(self, Exchange exchange) except -1


cdef class Input:
    cdef bytes _content
    cdef Py_ssize_t _at


cdef class FileWrapper:
    cdef readonly object filelike
    cdef readonly Py_ssize_t block_size
