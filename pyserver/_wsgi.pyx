"""The WSGI gateway: a complete request becomes a call of the application, and what it returns becomes a response.

All of PEP 3333, at one call site. No sockets and no HTTP syntax: those are the engine's and the parser's.
"""
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.dict cimport PyDict_Copy
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF, Py_XDECREF
from cpython.unicode cimport PyUnicode_DATA, PyUnicode_DecodeLatin1, PyUnicode_GET_LENGTH
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy

from pyserver._channel cimport Channel
from pyserver._connection cimport Content, take_memory
from pyserver._http cimport (
    CONTENT_LENGTH_FIELD, CONTENT_TYPE_FIELD, HAS_SCRIPT_NAME, PROXY_FIELD, TARGET_PERCENT, TRANSFER_ENCODING_FIELD,
    UNDERSCORED, Fault, percent_decode, text_hash,
)
from pyserver._proxies cimport HTTP_SCHEME, HTTPS_SCHEME, host_to_tell, name_of_relayed, script_name, text_of_address
from pyserver._response cimport NO_CONTENT
from pyserver._spool cimport Blocks, read_blocks

import io
import os
import stat
import sys

from pyserver.errors import LocalProtocolError, RequestEnded

cdef extern from "Python.h":
    dict _PyDict_NewPresized(Py_ssize_t size)
    PyObject *PyDict_SetDefault(object mapping, object key, object value) except NULL
    Py_ssize_t PyDict_GET_SIZE(object mapping)
    Py_ssize_t Py_REFCNT(PyObject *object)
    object PyObject_Vectorcall(object callable, PyObject **arguments, size_t count, PyObject *names)
    size_t PY_VECTORCALL_ARGUMENTS_OFFSET
    bint PyUnicode_IS_ASCII(object text)

cdef int64_t TELLABLE_NS = 1000

cdef enum:
    # A request adds some fifteen fields to the twenty-two of the template; a dict that has the room from the start
    # is copied with it and never resized.
    ENVIRON_ROOM = 42
    INPUT_BLOCK = 65536
    WAYS = 4
    # To StartResponse between requests: the exchange's, a variable's, and one of each bound method.
    START_REFERENCES = 4


# ---- wsgi.input and wsgi.file_wrapper ----

cdef class Input:
    """wsgi.input over content that is all there; PEP 3333, "Input and Error Streams"."""

    def __cinit__(self, bytes content=b""):
        self._content = content

    def read(self, size=-1) -> bytes:
        """At most `size` bytes; all that are left without one. b"" at the end."""
        cdef Py_ssize_t left = len(self._content) - self._at
        cdef Py_ssize_t wanted = left if size is None or size < 0 else min(<Py_ssize_t> size, left)
        cdef Py_ssize_t at = self._at
        if wanted == 0:
            return b""
        self._at += wanted
        if wanted == len(self._content):
            return self._content
        return self._content[at:at + wanted]

    def readline(self, size=-1) -> bytes:
        """The next line with its LF, or what is left; at most `size` bytes of it."""
        cdef Py_ssize_t at = self._at
        cdef Py_ssize_t end = self._content.find(b"\n", at) + 1 or len(self._content)
        if size is not None and 0 <= size < end - at:
            end = at + <Py_ssize_t> size
        self._at = end
        return self._content[at:end]

    def readlines(self, hint=-1) -> list:
        """The lines that are left; with a positive `hint`, no more after the one that reaches so many bytes."""
        cdef list lines = []
        cdef Py_ssize_t total = 0
        cdef bytes line
        while self._at < len(self._content):
            line = self.readline()
            lines.append(line)
            total += len(line)
            if hint is not None and 0 < hint <= total:
                break
        return lines

    def __iter__(self):
        return self

    def __next__(self) -> bytes:
        if self._at >= len(self._content):
            raise StopIteration
        return self.readline()


cdef Input EMPTY_INPUT = Input(b"")     # at its end, which reading does not change: one serves all


class _BlocksInput(io.RawIOBase):
    """What is below wsgi.input over content that is in blocks of a file."""

    def __init__(self, blocks):
        self._blocks = blocks
        self._at = 0

    def readable(self):
        return True

    def seekable(self):
        return True

    def readinto(self, buffer):
        got = read_blocks(<Blocks?> self._blocks, buffer, self._at)
        self._at += got
        return got

    def seek(self, offset, whence=0):
        from_where = (0, self._at, (<Blocks?> self._blocks).length)[whence]
        if from_where + offset < 0:
            raise ValueError(f"negative seek value {offset}")
        self._at = from_where + offset
        return self._at

    def close(self):
        self._blocks = None
        super().close()


cdef class FileWrapper:
    """wsgi.file_wrapper: a file-like object as an iterable, sent by the kernel where it can be; PEP 3333.

    Args:
        filelike: has read(), perhaps close() and fileno().
        block_size: bytes of a block, where it has to be read.
    """

    def __cinit__(self, filelike, Py_ssize_t block_size=8192):
        self.filelike = filelike
        self.block_size = block_size

    def __iter__(self):
        return self

    def __next__(self) -> bytes:
        block = self.filelike.read(self.block_size)
        if not block:
            raise StopIteration
        return block

    def close(self) -> None:
        """Close what is wrapped, if it can be closed."""
        close = getattr(self.filelike, "close", None)
        if close is not None:
            close()


class ErrorStream:
    """wsgi.errors: text straight into the error log; PEP 3333, "Input and Error Streams"."""

    def __init__(self, log) -> None:
        self._log = log

    def write(self, text: str) -> int:
        """Write `text` as it is."""
        data = text.encode("utf-8", "backslashreplace")
        try:
            os.write(self._log.fileno(), data)
        except OSError:
            pass    # a log that cannot be written is no reason to fail a request
        return len(text)

    def writelines(self, lines) -> None:
        """Write each of `lines`."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Nothing is held back."""


# ---- start_response ----

cdef class StartResponse:
    """start_response and the write callable of one request; PEP 3333, "The start_response() Callable"."""

    def begin(self, status, headers, exc_info=None):
        """Take status and header fields, and return the write callable."""
        cdef Exchange exchange = self.exchange
        if exchange is None:
            raise LocalProtocolError("start_response() was called after the response was complete")
        if exc_info is not None:
            try:
                if exchange.response.is_head_done:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None
        elif exchange.response.is_started:
            raise LocalProtocolError("start_response() was called a second time without exc_info")
        try:
            exchange.start(status, headers)
        except (TypeError, ValueError) as error:
            raise LocalProtocolError(str(error)) from None
        return self.write_callable

    def write(self, block) -> None:
        """Send a block of content at once; PEP 3333, "The write() Callable"."""
        if self.exchange is None:
            raise LocalProtocolError("write() was called after the response was complete")
        if not self.exchange.response.is_started:
            raise LocalProtocolError("write() was called although start_response() has failed")
        if not isinstance(block, bytes):
            raise LocalProtocolError(f"write() was given {type(block).__name__}, not bytes")
        if self.is_writing:
            raise LocalProtocolError("write() was called by two at once")
        self.is_writing = True
        try:
            self.exchange.write(block)
        finally:
            self.is_writing = False

    cdef object _detach(self):
        """Be of no effect from now on: somebody may have kept the callables."""
        self.exchange = None
        self.begin_callable = self.write_callable = None


# ---- texts ----

cdef inline unsigned char as_key(unsigned char c) noexcept nogil:
    """A character of a field name as it is in an environ key."""
    if c"a" <= c <= c"z":
        return c - 32
    return c"_" if c == c"-" else c


cdef object percent_decoded(const unsigned char *text, Py_ssize_t length):
    """RFC 3986 §2.1, once. Octets become latin-1, as PEP 3333 has it."""
    cdef unsigned char *decoded = <unsigned char *> malloc(<size_t> length)
    if decoded == NULL:
        raise MemoryError()
    try:
        return PyUnicode_DecodeLatin1(<char *> decoded, percent_decode(decoded, text, length), NULL)
    finally:
        free(decoded)


# ---- the gateway ----

cdef class WSGIGateway(Gateway):
    """Calls a WSGI application for each request.

    Args:
        application: the callable of PEP 3333.
        servers: (SERVER_NAME, SERVER_PORT) of each listener of the engine, in its order; ("", "") for a Unix socket,
            which has those of Host, or else localhost and 80.
        log: has error() and exception(), and a fileno() for wsgi.errors.
        software: SERVER_SOFTWARE.
        root_path: where the application is mounted; becomes SCRIPT_NAME and is taken off PATH_INFO.
        multithread, multiprocess: wsgi.multithread, wsgi.multiprocess.
        keeps_underscores: whether field names with an underscore reach the application.
        sends_files: whether wsgi.file_wrapper is answered by the kernel.
        secure_scheme_headers: field names and the values with which a proxy says https.
        variables: more of environ, the same for every request.
        before_leaving: called where a request comes to an end in a child that the application has forked, which then
            ends; None for nothing.
    """

    def __init__(
        self, application, servers, *, log, str software="pyserver", str root_path="", bint multithread=False,
        bint multiprocess=False, bint keeps_underscores=False, bint sends_files=True, secure_scheme_headers=None,
        variables=None, before_leaving=None,
    ):
        self.attend(log, before_leaving)
        self.application = application
        self._root_path = root_path.rstrip("/")
        self._drops_underscored = not keeps_underscores
        self._sends_files = sends_files
        self._scheme_fields = {
            "HTTP_" + name.upper().replace("-", "_"): value for name, value in (secure_scheme_headers or {}).items()
        }
        self._templates = [
            template(
                name or "localhost", port or "80", self._root_path, software, ErrorStream(log), multithread, multiprocess,
                variables or {},
            )
            for name, port in servers
        ]
        if not all(name for name, _ in servers):
            self._nameless = bytes(not name for name, _ in servers)

    def __dealloc__(self):
        cdef int at
        for at in range(NAMES + 1):
            Py_XDECREF(self._names[at].key)
        for at in range(TEXTS):
            Py_XDECREF(self._texts[at])
        for at in range(PORTS):
            Py_XDECREF(self._ports[at])

    cdef object prepare(self, Exchange exchange):
        """The environ of the request; None when it could not be made, and the request is answered."""
        try:
            return self._environ(exchange)
        except Exception:
            self._fail(exchange)
            return None

    cdef int run(self, Exchange exchange, object request) except -1:
        """Call the application; every exchange ends finished, whatever the application did."""
        cdef PyObject *arguments[3]
        cdef StartResponse start = self._start_of(exchange)
        start.exchange = exchange
        try:
            arguments[0] = NULL
            arguments[1] = <PyObject *> request
            arguments[2] = <PyObject *> start.begin_callable
            result = PyObject_Vectorcall(self.application, &arguments[1], 2 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL)
            self.leave_if_child(None)
            self._answer(exchange, result)
            self.leave_if_child(None)
        except BaseException as error:
            self.leave_if_child(error)
            # SystemExit and KeyboardInterrupt too: an application that calls sys.exit() harms only its own request.
            self._fail(exchange)
        start.exchange = None
        return 0

    cdef StartResponse _start_of(self, Exchange exchange):
        """The start_response for this request: that of the one before on the same lane, unless somebody kept it."""
        cdef StartResponse start = exchange.kept
        if (
            start is None or Py_REFCNT(<PyObject *> start.begin_callable) > 1
            or Py_REFCNT(<PyObject *> start.write_callable) > 1 or Py_REFCNT(<PyObject *> start) > START_REFERENCES
        ):
            # An application kept one of the callables, or what they are bound to: it must not speak for another request.
            if start is not None:
                start._detach()
            start = StartResponse.__new__(StartResponse)
            start.begin_callable = start.begin
            start.write_callable = start.write
            exchange.kept = start
        return start

    # ---- environ ----

    cdef object _text(self, const unsigned char *text, Py_ssize_t length):
        """A str of latin-1 text, the same object again for one that was seen lately."""
        cdef uint32_t first
        cdef PyObject **place = NULL
        cdef object known
        cdef int step
        if length > TEXT_LENGTH:
            return PyUnicode_DecodeLatin1(<const char *> text, length, NULL)
        first = text_hash(text, length)
        for step in range(2):
            place = &self._texts[(first + step) % TEXTS]
            if place[0] == NULL:
                break
            known = <object> place[0]
            if PyUnicode_GET_LENGTH(known) == length and memcmp(PyUnicode_DATA(known), text, <size_t> length) == 0:
                return known
        else:
            self._victim += 1
            place = &self._texts[(first + self._victim % 2) % TEXTS]
        known = PyUnicode_DecodeLatin1(<const char *> text, length, NULL)
        Py_INCREF(known)
        Py_XDECREF(place[0])
        place[0] = <PyObject *> known
        return known

    cdef object _address_of(self, int family, const uint8_t *address):
        """REMOTE_ADDR; most connections of a server come from the same few peers."""
        if self._address_family != family or memcmp(self._address, address, 16) != 0:
            memcpy(self._address, address, 16)
            self._address_family = family
            self._address_text = text_of_address(family, address)
        return self._address_text

    cdef object _peer_port(self, uint16_t port):
        cdef int place = port % PORTS
        cdef object text
        if self._ports[place] == NULL or self._port_numbers[place] != port:
            text = str(port)
            Py_INCREF(text)
            Py_XDECREF(self._ports[place])
            self._ports[place] = <PyObject *> text
            self._port_numbers[place] = port
        return <object> self._ports[place]

    cdef Name *_name(self, const unsigned char *text, Py_ssize_t length) except NULL:
        """The environ key of a field name; one that is too long to remember takes the last place for the moment."""
        cdef uint32_t first = text_hash(text, length)
        cdef Name *name
        cdef int step
        if length > NAME_LENGTH:
            return self._remember(&self._names[NAMES], text, length)
        # A few places for each hash: two names of every request must not drive each other out.
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
        # Last: without memory for its key, it must not be found.
        memcpy(name.text, text, <size_t> length)
        name.length = <uint8_t> length
        return name

    cdef Name *_remember(self, Name *name, const unsigned char *text, Py_ssize_t length) except NULL:
        cdef bytearray octets = bytearray(b"HTTP_")
        cdef object key
        cdef Py_ssize_t at
        for at in range(length):
            octets.append(as_key(text[at]))
        key = octets.decode("ascii")
        if name.key == NULL:
            # An interned key is found faster. Only in a free place: Python 3.12 keeps what is interned for ever, and
            # there is no end to the names that a client can make up.
            key = sys.intern(key)
        name.length = 0
        Py_INCREF(key)
        Py_XDECREF(name.key)
        name.key = <PyObject *> key
        name.tells_scheme = key in self._scheme_fields
        return name

    cdef dict _environ(self, Exchange exchange):
        cdef const Head *head = exchange.head
        cdef const unsigned char *base = exchange.base
        cdef const Connection *connection = exchange.connection
        cdef dict environ = PyDict_Copy(self._templates[connection.listener])
        if head.method_length != 3 or memcmp(base + head.method, b"GET", 3) != 0:
            environ["REQUEST_METHOD"] = self._text(base + head.method, head.method_length)
        if head.minor == 0:
            environ["SERVER_PROTOCOL"] = "HTTP/1.0"
        elif head.minor != 1:
            environ["SERVER_PROTOCOL"] = "HTTP/2"
        self._put_target(environ, head, base)
        if exchange.has_client or connection.origin != NULL:
            self._put_peer(environ, exchange)
        elif connection.family:
            environ["REMOTE_ADDR"] = self._address_of(connection.family, connection.address)
            environ["REMOTE_PORT"] = self._peer_port(connection.port)
        if exchange.queue_ns >= TELLABLE_NS:
            environ["pyserver.queue_time"] = exchange.queue_ns / 1e9
        self._put_fields(environ, exchange)
        if exchange.content.length or exchange.received != NULL:
            self._put_content(environ, exchange)
        if exchange.transport.ids is not None and exchange.transport.ids.is_told:
            environ["pyserver.request_id"] = exchange.request_id.decode("ascii")
        if exchange.transport.access is not None and exchange.transport.access.wants_environ:
            exchange.environ = environ
        return environ

    cdef int _put_target(self, dict environ, const Head *head, const unsigned char *base) except -1:
        cdef object target = self._text(base + head.target, head.target_length)
        cdef object path
        cdef str root = self._root_path
        environ["RAW_URI"] = target
        environ["REQUEST_URI"] = target
        if head.query_length:
            environ["QUERY_STRING"] = self._text(base + head.query, head.query_length)
        if head.flags & TARGET_PERCENT:
            path = percent_decoded(base + head.path, head.path_length)
        elif head.path_length == head.target_length:
            path = target
        else:
            path = self._text(base + head.path, head.path_length)
        if not path and head.authority_length:
            path = "/"          # RFC 9110 §4.2.3: the same as an empty path
        if head.flags & HAS_SCRIPT_NAME:
            root = environ["SCRIPT_NAME"] = script_name(head, base, root)
        if root and (path + "/").startswith(root + "/"):
            path = path[len(root):]
        environ["PATH_INFO"] = path
        return 0

    cdef int _put_peer(self, dict environ, Exchange exchange) except -1:
        """Who the client is, where a proxy names it; what a PROXY header tells has gunicorn's names."""
        cdef const Connection *connection = exchange.connection
        if exchange.has_client:
            environ["REMOTE_ADDR"] = self._address_of(exchange.client.family, exchange.client.bytes)
            environ["REMOTE_PORT"] = self._peer_port(exchange.client.port)
        elif connection.family:
            environ["REMOTE_ADDR"] = self._address_of(connection.family, connection.address)
            environ["REMOTE_PORT"] = self._peer_port(connection.port)
        if connection.origin != NULL:
            environ["PROXY_PROTOCOL"] = name_of_relayed(connection.origin.relayed)
            if connection.origin.destination.family:
                environ["PROXY_ADDR"] = text_of_address(
                    connection.origin.destination.family, connection.origin.destination.bytes
                )
                environ["PROXY_PORT"] = str(connection.origin.destination.port)
        return 0

    cdef int _put_fields(self, dict environ, Exchange exchange) except -1:
        """PEP 3333, "environ Variables": HTTP_ and the name, repeated fields joined in their order."""
        cdef const Head *head = exchange.head
        cdef const unsigned char *base = exchange.base
        cdef const Field *field
        cdef Name *name
        cdef object key, value
        cdef dict repeated = None
        cdef int schemes = exchange.transport.forwarded.scheme
        cdef Py_ssize_t size
        cdef uint32_t at
        for at in range(head.count):
            field = &head.fields[at]
            if field.kind:
                if field.kind == CONTENT_TYPE_FIELD:
                    environ["CONTENT_TYPE"] = self._text(base + field.value, field.value_length)
                    continue
                if field.kind == CONTENT_LENGTH_FIELD:
                    environ["CONTENT_LENGTH"] = self._text(base + field.value, field.value_length)
                    continue
                # RFC 9112 §7.1.3: decoded content has a length and no transfer coding. RFC 9110 §17.10: HTTP_PROXY
                # is a setting of many HTTP clients, and must not be a client's to choose.
                if field.kind == TRANSFER_ENCODING_FIELD or field.kind == PROXY_FIELD:
                    continue
                if field.kind == UNDERSCORED and self._drops_underscored:
                    continue
            name = self._name(base + field.name, field.name_length)
            key = <object> name.key
            value = self._text(base + field.value, field.value_length)
            size = PyDict_GET_SIZE(environ)
            PyDict_SetDefault(environ, key, value)
            if PyDict_GET_SIZE(environ) == size:
                # Joined at the end and at once: there may be thousands.
                if repeated is None:
                    repeated = {}
                repeated.setdefault(key, [environ[key]]).append(value)
            if name.tells_scheme:
                schemes |= HTTPS_SCHEME if value == self._scheme_fields[key] else HTTP_SCHEME
        if repeated is not None:
            for key, values in repeated.items():
                # RFC 9110 §5.3; cookies are joined as RFC 6265 §5.4 joins them.
                environ[key] = ("; " if key == "HTTP_COOKIE" else ",").join(values)
        if exchange.connection.channel != NULL and (<Channel> exchange.connection.channel).is_secure:
            environ["wsgi.url_scheme"] = "https"
            environ.update((<Channel> exchange.connection.channel).variables())
        if schemes and exchange.connection.is_trusted:
            if schemes == HTTP_SCHEME | HTTPS_SCHEME:
                # The proxy may have set one and passed on the other from its client.
                return exchange.refuse(Fault.SCHEME_CONTRADICTION)
            environ["wsgi.url_scheme"] = "https" if schemes == HTTPS_SCHEME else "http"
        if exchange.transport.forwarded.says_target:
            self._put_forwarded(environ, &exchange.transport.forwarded, schemes == HTTPS_SCHEME)
        if self._nameless is not None and self._nameless[exchange.connection.listener]:
            self._put_server(environ)
        return 0

    cdef int _put_forwarded(self, dict environ, const Forwarded *forwarded, bint is_https) except -1:
        """What the client has asked for, as a proxy says: Host, its port, and the path up to where the proxy passes on."""
        cdef bytes host = environ.get("HTTP_HOST", "").encode("latin-1")
        if forwarded.host.length or (forwarded.port and host):
            environ["HTTP_HOST"] = host_to_tell(forwarded, host, is_https).decode("latin-1")
        if forwarded.port:
            environ["SERVER_PORT"] = str(forwarded.port)
        if forwarded.prefix.length:
            environ["SCRIPT_NAME"] = (
                forwarded.prefix.start[:forwarded.prefix.length].decode("ascii") + environ["SCRIPT_NAME"]
            )
        return 0

    cdef int _put_server(self, dict environ) except -1:
        """What the client takes the server for: a Unix socket has neither a name nor a port; as gunicorn has it."""
        cdef str host = environ.get("HTTP_HOST", "")
        cdef Py_ssize_t colon = host.find(":", host.rfind("]") + 1)
        cdef str port = host[colon + 1:] if colon >= 0 else ""
        if host:
            environ["SERVER_NAME"] = host[:colon] if colon >= 0 else host
            environ["SERVER_PORT"] = port or ("443" if environ["wsgi.url_scheme"] == "https" else "80")
        return 0

    cdef int _put_content(self, dict environ, Exchange exchange) except -1:
        cdef Content *content = exchange.received
        if content == NULL:
            environ["wsgi.input"] = Input(
                PyBytes_FromStringAndSize(<const char *> exchange.content.start, exchange.content.length)
            )
            return 0
        if content.is_chunked:
            environ["CONTENT_LENGTH"] = str(content.received)
        if content.blocks != NULL:
            environ["wsgi.input"] = io.BufferedReader(_BlocksInput(<Blocks> content.blocks), INPUT_BLOCK)
        elif content.file < 0:
            environ["wsgi.input"] = Input(take_memory(content))
        else:
            # The descriptor is the file object's from here on; it closes it when the last reference goes.
            file = content.file
            content.file = -1
            environ["wsgi.input"] = os.fdopen(file, "rb", INPUT_BLOCK)
        return 0

    # ---- the response ----

    cdef int _answer(self, Exchange exchange, object result) except -1:
        """Send what the application returned, and close it, whatever happens; PEP 3333, "Specification Details"."""
        cdef type kind = type(result)
        if kind is list or kind is tuple:
            return self._answer_list(exchange, result)
        try:
            if kind is FileWrapper and self._sends_files and self._answer_file(exchange, <FileWrapper> result):
                return 0
            for block in result:
                self.leave_if_child(None)
                if not isinstance(block, bytes):
                    raise LocalProtocolError(f"the application yielded {type(block).__name__}, not bytes")
                if not block:
                    continue
                if not exchange.response.is_started:
                    raise LocalProtocolError("the application yielded content before it called start_response()")
                if exchange.write(block) or exchange.has_excess or exchange.response.framing == NO_CONTENT:
                    break
            self.leave_if_child(None)
            if not exchange.response.is_started:
                raise LocalProtocolError("the application returned without calling start_response()")
            exchange.finish()
        finally:
            close_result(self, exchange, result)
        return 0

    cdef int _answer_list(self, Exchange exchange, object blocks) except -1:
        """Blocks that are all there: their length is known, and none has to leave before the next is made."""
        cdef Py_ssize_t total = 0
        cdef object block
        if not exchange.response.is_started:
            raise LocalProtocolError("the application returned without calling start_response()")
        if len(blocks) == 1:
            block = blocks[0]
            if type(block) is bytes:
                return exchange.respond(block)
        blocks = tuple(blocks)      # which nobody can change while it is looked at twice
        for block in blocks:
            if not isinstance(block, bytes):
                raise LocalProtocolError(f"the application returned a list with {type(block).__name__}, not bytes")
            total += len(<bytes> block)
        if not exchange.response.is_head_done:
            exchange.finish_head(total)
        for block in blocks:
            if len(<bytes> block):
                exchange.lend(block)
        return exchange.finish()

    cdef int _answer_file(self, Exchange exchange, FileWrapper wrapper) except -1:
        """Have the kernel send a regular file from its position on; False if it is none."""
        cdef object file = wrapper.filelike
        if not is_plain_file(file):
            return False
        try:
            number = file.fileno()
            found = os.fstat(number)
            offset = file.tell()
        except (AttributeError, OSError, ValueError):
            return False
        if not stat.S_ISREG(found.st_mode) or not exchange.response.is_started or exchange.response.is_head_done:
            return False
        if found.st_size == 0:
            return False        # empty, or one of those under /proc that do not say how long they are
        length = max(found.st_size - offset, 0)
        if exchange.response.has_length:
            length = min(length, exchange.response.length)     # a range of the file, as often as not
        exchange.finish_head(length)
        exchange.write_file(number, offset, length)
        exchange.finish()
        return True

    cdef int _fail(self, Exchange exchange) except -1:
        """Log what the application raised, and answer for it."""
        error = sys.exc_info()[1]
        if isinstance(error, RequestEnded):
            return 0 if exchange.is_finished else exchange.fail(error.status, error.why)
        if exchange.is_finished:
            self.log.exception("Error after the response to %s", exchange.request_line())
            return 0
        self.log.exception("Error handling request %s", exchange.request_line())
        return exchange.fail()


cdef class WatchedGateway(WSGIGateway):
    """A gateway that tells its application when a response is complete; its arguments are those of WSGIGateway.

    The application has a method note_end(environ, status, sent): the status code, and how many bytes the content has.
    """

    cdef int run(self, Exchange exchange, object request) except -1:
        """Serve the request, and tell."""
        WSGIGateway.run(self, exchange, request)
        self.application.note_end(request, exchange.response.status, exchange.response.sent)
        return self.leave_if_child(None)


cdef bint is_plain_file(object file) except -1:
    """Whether read() gives what the descriptor gives: not so with gzip.GzipFile, nor with text.

    tempfile and Django put a plain file into an attribute of that name.
    """
    file = getattr(file, "file", file)
    return type(getattr(file, "raw", file)) is io.FileIO


cdef object close_result(WSGIGateway gateway, Exchange exchange, object result):
    """Call close() if there is one; an error in it comes too late for the client."""
    close = getattr(result, "close", None)
    if close is None:
        return
    try:
        close()
    except BaseException:
        gateway.log.exception("Error in close() of the response to %s", exchange.request_line())


cdef dict template(
    str name, str port, str root_path, str software, object errors, bint multithread, bint multiprocess, object variables
):
    """environ before a request fills it, with room for what a request adds."""
    cdef dict environ = _PyDict_NewPresized(ENVIRON_ROOM)
    # One by one: update() of an empty dict would take over the other's size.
    for key, value in {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": root_path,
        "PATH_INFO": "",
        "QUERY_STRING": "",
        "RAW_URI": "",
        "REQUEST_URI": "",
        "SERVER_NAME": name,
        "SERVER_PORT": port,
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_SOFTWARE": software,
        "REMOTE_ADDR": "",
        "REMOTE_PORT": "",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": EMPTY_INPUT,
        "wsgi.errors": errors,
        "pyserver.queue_time": 0.0,
        "wsgi.multithread": multithread,
        "wsgi.multiprocess": multiprocess,
        "wsgi.run_once": False,
        "wsgi.file_wrapper": FileWrapper,
        "wsgi.input_terminated": True,
        **variables,
    }.items():
        environ[key] = value
    return environ
