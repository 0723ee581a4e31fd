"""An HTTP request as ASGI has it: its events, one way and the other, and what is wrong with them.

Source: the ASGI HTTP message format 2.5 and its extensions.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t
from libc.string cimport memcpy

from pyserver._call cimport DONE, Call, field, fields_of
from pyserver._connection cimport AWAIT_CONTENT
from pyserver._exchange cimport BURST_NS, OUT_LIMIT
from pyserver._http cimport append
from pyserver._response cimport (
    BY_CHUNKS, BY_LENGTH, NO_CONTENT, Response, append_chunk_size, append_fields, reset_response, start_message_head,
)
from pyserver._system cimport pyserver_now_ns

import os as _os
import stat as _stat
from asyncio import CancelledError as _CancelledError

from pyserver.errors import Disconnected as _Disconnected, LocalProtocolError as _LocalProtocolError

cdef enum:
    # Bytes that wait for receive(), beyond which no more are read.
    CONTENT_MARK = 131072

cdef dict NAMES = {
    AWAIT_START: "http.response.start",
    AWAIT_BODY: "http.response.body",
    AWAIT_TRAILERS: "http.response.trailers",
}


cdef class HTTPCall(Call):
    """A request, and the response to it, in the events of ASGI."""

    # ---- what the client sends ----

    cdef bint wants_more(self) noexcept:
        return not self.has_heard_all and self._held < CONTENT_MARK

    cdef int take(self, const unsigned char *data, Py_ssize_t length) except -1:
        cdef bytes block = PyBytes_FromStringAndSize(<const char *> data, length)
        self.expects_continue = False
        self.lane.come_back(self)
        if self._content is None:
            self._content = [block]
        else:
            self._content.append(block)
        self._held += length
        return self.tell_receivers()

    cdef int note_all(self) except -1:
        self.has_heard_all = True
        self.lane.come_back(self)
        return self.tell_receivers()

    cdef int note_end(self) except -1:
        self.has_ended = True
        if not self.has_heard_all and not self.has_failed:
            # Half a request: whatever the answer is, it is the last; RFC 9112 §8.
            self.persists = False
        return self.tell_receivers()

    cdef int note_lost(self) except -1:
        self.is_lost = True
        self._content = None
        self._held = 0
        self.lane.release(self)
        return self.note_over()

    cdef int note_leaving(self) except -1:
        self.is_told_to_leave = True
        return self.tell_receivers()

    cdef object next_event(self):
        cdef bytes body
        cdef bint more
        if self.is_lost or self.is_finished or self._phase == COMPLETED:
            return {"type": "http.disconnect"}
        if self._held or (self.has_heard_all and not self._was_told_all):
            more = not self.has_heard_all
            body = self._take_content()
            self._was_told_all = not more
            if more:
                self.lane.go_on(self)
            return {"type": "http.request", "body": body, "more_body": more}
        if self.has_ended or self.is_told_to_leave:
            return {"type": "http.disconnect"}
        return None

    cdef bytes _take_content(self):
        """All blocks that are here, as one."""
        cdef list blocks = self._content
        self._content = None
        self._held = 0
        self.row.alive_ns = pyserver_now_ns()
        if blocks is None:
            return b""
        return blocks[0] if len(blocks) == 1 else b"".join(blocks)

    cdef int begin_waiting(self) except -1:
        if self.has_heard_all or self.connection == NULL:
            return 0
        # It is the client that takes its time, which is judged by request_body_timeout.
        self.row.alive_ns = pyserver_now_ns() + self.lane.reactor.lists[AWAIT_CONTENT].duration_ns
        if self.expects_continue and self._phase == AWAIT_START:
            self.lane.say_continue(self)
        return self.lane.stand_aside(self)

    # ---- what the application answers ----

    cdef object answer(self, object message):
        cdef object kind = field(message, "type", None)
        if self.is_lost:
            raise _Disconnected("the client has gone")
        if self._phase == COMPLETED:
            # "any further messages on the channel will be ignored"
            return DONE
        if kind == "http.response.body" and self._phase == AWAIT_BODY:
            return self._respond(message)
        if kind == "http.response.start" and self._phase == AWAIT_START:
            return self._start_response(message)
        if kind == "http.response.pathsend" and self._phase == AWAIT_BODY:
            return self._send_path(message)
        if kind == "http.response.zerocopysend" and self._phase == AWAIT_BODY:
            return self._send_file(message)
        if kind == "http.response.early_hint" and self._phase == AWAIT_START:
            return self._hint(message)
        if kind == "http.response.trailers" and self._phase == AWAIT_TRAILERS:
            return self._trail(message)
        raise _LocalProtocolError(f"send() was given {kind!r} where {NAMES[self._phase]!r} was expected")

    cdef object _start_response(self, object message):
        cdef object status = field(message, "status", None)
        cdef object fields = fields_of(message)
        if status is None:
            raise _LocalProtocolError("'http.response.start' has no status")
        if status == 101:
            raise _LocalProtocolError("the status is 101, which is the server's to send")
        self.lane.hold_out(self)
        try:
            start_message_head(&self.response, &self.lane.out, status, fields)
        except (TypeError, ValueError) as error:
            reset_response(&self.response, self.response.to_head_request)
            raise _LocalProtocolError(str(error)) from None
        self._has_trailers = bool(field(message, "trailers", False))
        self._phase = AWAIT_BODY
        return DONE

    cdef object _respond(self, object message):
        cdef object body = field(message, "body", b"")
        if type(body) is not bytes:
            if not isinstance(body, (bytes, bytearray, memoryview)):
                raise _LocalProtocolError(f"the body of 'http.response.body' is of type {type(body).__name__}, not bytes")
            body = bytes(body)
        return self._respond_with(body, bool(field(message, "more_body", False)))

    cdef object _respond_with(self, bytes block, bint more):
        cdef int64_t now_ns
        cdef bint leaves
        self.lane.hold_out(self)
        if not self.response.is_head_done:
            self.finish_head(-1 if more or self._has_trailers else PyBytes_GET_SIZE(block))
        if block:
            self._put(block, True)
        if not more:
            return self._end_content()
        if self.place >= 0:
            # From now on it is a stream, and what it waits for is its own affair.
            self.lane.free_place(self)
        now_ns = pyserver_now_ns()
        leaves = (
            now_ns - self.wrote_ns > BURST_NS or not self._is_in_step or self.lane.out.used > OUT_LIMIT
            or self.connection.is_gone
        )
        self.wrote_ns = now_ns
        # At the end of this step at the latest.
        if leaves and not self.lane.give(self):
            return self.room()
        return DONE if self.connection == NULL or self.connection.output == NULL else self.room()

    cdef object _end_content(self):
        """The last block of content was given: of the response only trailers may be missing."""
        if self._has_trailers:
            self._phase = AWAIT_TRAILERS
            if self.response.framing == BY_CHUNKS:
                append(&self.lane.out, b"0\r\n", 3)
            self.lane.give(self)
            return DONE
        self.finish()
        self._phase = COMPLETED
        self.lane.complete(self)
        return DONE

    cdef object _trail(self, object message):
        """RFC 9110 §6.5.1: trailers are for clients that have said they want them, and for chunks only."""
        cdef bint more = bool(field(message, "more_trailers", False))
        cdef bint is_chunked = self.response.framing == BY_CHUNKS
        cdef object fields = fields_of(message)
        self.lane.hold_out(self)
        if is_chunked and self.takes_trailers:
            try:
                append_fields(&self.response, &self.lane.out, fields)
            except (TypeError, ValueError) as error:
                raise _LocalProtocolError(str(error)) from None
        if more:
            return DONE
        if is_chunked:
            append(&self.lane.out, b"\r\n", 2)
        elif self.response.framing == BY_LENGTH and self.response.sent < self.response.length:
            self.persists = False
        self.is_finished = True
        self._phase = COMPLETED
        self.lane.complete(self)
        return DONE

    # ---- extensions ----

    cdef object _hint(self, object message):
        """RFC 8297: 103 (Early Hints), which HTTP/1.0 does not know."""
        cdef bytes line
        if self.head.minor == 0:
            return DONE
        head = b"HTTP/1.1 103 Early Hints\r\n"
        for link in field(message, "links", ()):
            if not isinstance(link, bytes):
                raise _LocalProtocolError(f"a link of 'http.response.early_hint' is of type {type(link).__name__}, not bytes")
            if any(c < 32 and c != 9 or c == 127 for c in <bytes> link):
                raise _LocalProtocolError(f"the link {link!r} holds a control character")
            head += b"Link: %b\r\n" % link
        line = head + b"\r\n"
        self.lane.hold_out(self)
        append(&self.lane.out, PyBytes_AS_STRING(line), PyBytes_GET_SIZE(line))
        self.lane.give(self)
        return DONE

    cdef object _send_path(self, object message):
        """All of a file, by its path."""
        path = message["path"]
        try:
            file = _os.open(path, _os.O_RDONLY | _os.O_CLOEXEC | _os.O_NONBLOCK)
        except OSError as error:
            raise _LocalProtocolError(f"'http.response.pathsend' cannot send {path!r}: {error.strerror}") from error
        try:
            found = _os.fstat(file)
            if not _stat.S_ISREG(found.st_mode):
                raise _LocalProtocolError(f"'http.response.pathsend' cannot send {path!r}: it is no regular file")
            self.lane.hold_out(self)
            if not self.response.is_head_done:
                self.finish_head(-1 if self._has_trailers else found.st_size)
            self._put_file(file, 0, found.st_size)
        finally:
            _os.close(file)
        return self._end_content()

    cdef object _send_file(self, object message):
        """A range of a file that is open."""
        cdef bint more = bool(field(message, "more_body", False))
        file = message["file"]
        number = file if isinstance(file, int) else file.fileno()
        offset = field(message, "offset", None)
        if offset is None:
            offset = _os.lseek(number, 0, _os.SEEK_CUR)
        length = _os.fstat(number).st_size - offset
        if field(message, "count", None) is not None:
            length = min(length, message["count"])
        if offset < 0 or length < 0:
            raise _LocalProtocolError("'http.response.zerocopysend' has a range that is not in the file")
        self.lane.hold_out(self)
        if not self.response.is_head_done:
            self.finish_head(-1 if more or self._has_trailers else length)
        self._put_file(number, offset, length)
        if not more:
            return self._end_content()
        if self.place >= 0:
            self.lane.free_place(self)
        return DONE if self.lane.give(self) else self.room()

    cdef int _put_file(self, int file, int64_t offset, int64_t length) except -1:
        cdef bint in_chunk = self.response.framing == BY_CHUNKS
        if length == 0 or self.response.framing == NO_CONTENT:
            return 0
        if in_chunk:
            append_chunk_size(&self.lane.out, length)
        self.write_file(file, offset, length)
        if in_chunk:
            append(&self.lane.out, b"\r\n", 2)
        return 0

    # ---- the end ----

    cdef int conclude(self, object error) except -1:
        cdef object kind = type(error)
        if self.connection == NULL:
            # Whoever cannot send any more has nothing to explain; what runs behind a response has.
            if error is not None and not (self.is_lost and isinstance(error, (_Disconnected, _CancelledError))):
                self.gateway.log.exception("Error after the response to %s", self.request_line())
            self.lane.release(self)
            return 0
        try:
            self._answer_for_it(error)
        except Exception:
            self.gateway.log.exception("The response to %s is cut off", self.request_line())
            self.persists = False
        self.is_finished = True
        self._phase = COMPLETED
        return self.lane.complete(self)

    cdef int _answer_for_it(self, object error) except -1:
        """What the application has left out, or raised in place of."""
        if self._end is not None:
            return self._fail_with(self._end.status, self._end.why)
        if error is not None and not isinstance(error, _CancelledError):
            self.gateway.log.exception("Error handling request %s", self.request_line())
        elif error is not None:
            self.gateway.log.error("The request %s was cancelled", self.request_line())
        elif self.has_ended and self._phase == AWAIT_START:
            # Nobody waits for an answer: what the application was told is that the client has gone.
            self.persists = False
            return 0
        elif self._phase == AWAIT_START:
            self.gateway.log.error("The application has not answered %s: it returned before", self.request_line())
        else:
            self.gateway.log.error("The response to %s is not complete: the application returned before", self.request_line())
        return self._fail_with()

    cdef int _fail_with(self, int status=500, str why=None) except -1:
        self.lane.hold_out(self)
        return self.fail(status, why)
