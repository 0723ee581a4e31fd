# The contract of _lane: one connection's turn.
from libc.stdint cimport int64_t

from pyserver._connection cimport Connection, Content, Reader
from pyserver._exchange cimport Exchange
from pyserver._giving cimport Giver
from pyserver._http cimport NEED_MORE, Bounds, Head, Outcome, Span
from pyserver._scoreboard cimport Row


cdef enum:
    SCRATCH = 65536             # received at once
    TURNS = 8                   # receives in a row from one connection before others have theirs


cdef class Lane(Giver):
    cdef readonly int number
    cdef Row _own_row
    cdef Reader _scratch                # what is received before it is known to be incomplete
    cdef int64_t _out_since_ns
    cdef Connection *_connection        # whose request serve() will run, and where it is
    cdef Reader *_reader

    cdef int tend(self, Connection *connection, int events) except -1
    cdef int _tend_session(self, Connection *connection, int events) except -1
    cdef int _tend_running(self, Connection *connection, int events) except -1
    cdef int _give_up(self, Connection *connection) except -1
    cdef int _go_on_reading(self, Connection *connection, bint is_broken) except -1
    cdef int _hold(self, Connection *connection) except -1
    cdef int _go_on_writing(self, Connection *connection) except -1
    cdef int _receive(self, Connection *connection, bint to_the_end) except -1
    cdef int _ended(self, Connection *connection) except -1
    cdef int _received_in_place(self, Connection *connection, Content *content, Py_ssize_t got) except -1
    cdef int _received(self, Connection *connection, Py_ssize_t got) except -1
    cdef int _advance(self, Connection *connection, Reader *reader) except -1
    cdef Outcome parse(self, Connection *connection, Reader *reader) except? NEED_MORE
    cdef const Bounds *bounds_for(self, const Connection *connection) noexcept
    cdef bint open_up(self, Connection *connection, Reader *reader) except -1
    cdef bint _take_proxy_header(self, Connection *connection, Reader *reader) except -1
    cdef bint _look_for_preface(self, Connection *connection, Reader *reader) except -1
    cdef int _secure(self, Connection *connection, Reader *reader) except -1
    cdef int look_back(self, Connection *connection, const Head *head, const unsigned char *base) noexcept
    cdef bint believes(self, const Connection *connection) noexcept nogil
    cdef int _leave(self, Connection *connection, Reader *reader) except -1
    cdef int _begin_content(self, Connection *connection, Reader *reader) except? -1
    cdef int _feed(self, Connection *connection, const Reader *reader, unsigned char *base, Py_ssize_t length, Py_ssize_t *consumed) except? -1
    cdef bint _keep(self, Connection *connection, const Reader *reader, Span data) except -1
    cdef int _keep_in_file(self, Connection *connection, Span data) except -1
    cdef int _depart(self, Connection *connection, Reader *reader) except -1
    cdef Lane _new_lane(self)
    cdef int _set_running(self, Connection *connection) except -1
    cdef int _give_back(self) except -1
    cdef int _serve(self, Connection *connection) except -1
    cdef int _run(self, Connection *connection, Reader *reader) except -1
    cdef int _call(self, Connection *connection, Exchange exchange) except -1
    cdef int _call_alone(self, Connection *connection, Exchange exchange, object request) except -1
    cdef int let_go(self) except -1
    cdef int _refuse(self, Connection *connection, const Reader *reader, int fault, Py_ssize_t at=*) except -1
    cdef bint _is_probe(self, const Reader *reader) noexcept
    cdef int _answer_probe(self, Connection *connection, Reader *reader) except -1
    cdef int _write_answer(self, Connection *connection, const Reader *reader, int status, bytes content, list fields, int minor, bint *persists) except -1
    cdef int _log_answer(self, Connection *connection, const Reader *reader, int status, Py_ssize_t sent) except -1
    cdef int _answer(self, Connection *connection, const Reader *reader, int status, str words, list fields=*) except -1
    cdef bint leaves(self, const Connection *connection) noexcept
    cdef int _settle_itself(self, Connection *connection) except -1
    cdef int _settle(self, Connection *connection) except -1
    cdef int _let_shake(self, Connection *connection) except -1
    cdef int _finish(self, Connection *connection) except -1
    cdef int _discard(self, Connection *connection) except -1
    cdef bint _goes_on_taking(self, Connection *connection) noexcept
    cdef int expire(self, Connection *connection, int reason) except -1
