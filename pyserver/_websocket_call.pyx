"""A WebSocket as ASGI has it: the handshake, messages, and who closed it and why.

Source: the ASGI WebSocket message format 2.5, RFC 6455.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t

from pyserver._call cimport DONE, Call, field, fields_of
from pyserver._connection cimport AWAIT_CLOSE_FRAME, AWAIT_PING, AWAIT_PONG
from pyserver._exchange cimport BURST_NS, OUT_LIMIT
from pyserver._http cimport append
from pyserver._response cimport append_fields, append_stamp, reset_response, start_message_head
from pyserver._system cimport pyserver_now_ns
from pyserver._websocket cimport BINARY, CLOSE, FAIL, NOTHING, PING, PONG, TEXT, Frame, WebSocket, is_token

from asyncio import CancelledError as _CancelledError

from pyserver.errors import Disconnected as _Disconnected, LocalProtocolError as _LocalProtocolError

cdef enum:
    # RFC 6455 §7.4.1, and IANA's registry of close codes
    NORMAL_CLOSURE = 1000
    NO_STATUS = 1005
    ABNORMAL_CLOSURE = 1006
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012
    # Bytes of messages that wait for receive(), beyond which no more are read.
    HELD_MARK = 1048576
    # Bytes that are dropped, at most, of what a client still sends when it has been told that it did wrong.
    DROPPED = 4194304


cdef class WebSocketCall(Call):
    """A WebSocket, in the events of ASGI."""

    # ---- what the client sends ----

    cdef bint wants_more(self) noexcept:
        if self._phase == OPEN:
            return self._messages is None or (len(self._messages) < self.max_queue and self._held < HELD_MARK)
        # Nothing may come before the answer to the handshake, but for a frame that is sent along with it.
        return self._phase == CLOSED

    cdef int take(self, const unsigned char *data, Py_ssize_t length) except -1:
        cdef bytes early
        if self._phase < OPEN:
            early = PyBytes_FromStringAndSize(<const char *> data, length)
            self._early = early if self._early is None else self._early + early
            return 0
        return self._take_frames(data, length)

    cdef int _take_frames(self, const unsigned char *data, Py_ssize_t length) except -1:
        cdef Py_ssize_t at = 0
        cdef Py_ssize_t consumed = 0
        cdef int event
        while at < length and self.connection != NULL:
            event = self._socket.receive(data + at, length - at, &consumed)
            at += consumed
            if event != NOTHING:
                self._take_event(event)
        return self.lane.end_step(self) if not self._is_in_step else 0

    cdef int _take_event(self, int event) except -1:
        cdef object payload = self._socket.take()
        if event == TEXT or event == BINARY:
            if self._messages is None:
                self._messages = []
            self._messages.append(payload)
            self._held += len(payload)
            return self.tell_receivers()
        if event == PING:
            if self._socket.close_sent:
                return 0
            if self.connection.output != NULL:
                # RFC 6455 §5.5.3: the last one is enough. Who does not read does not get more and more.
                self._owed = payload
                return 0
            return self._put_frame(self._socket.pong(payload))
        if event == CLOSE:
            return self._answer_close(payload)
        if event == FAIL:
            self.gateway.log.info("WebSocket %s is closed with %d: %s", self.request_line(), self._socket.code, payload)
            if not self._socket.close_sent:
                self._put_frame(self._socket.close(self._socket.code, payload))
            self._note_closed(self._socket.code, payload)
            # So much may be under way that the client has not read the reason yet. It is no reason to take all it has.
            if self.connection != NULL:
                self.connection.lingers = True
                self.connection.linger_left = DROPPED
            return self._hang_up()
        return 0

    cdef int _answer_close(self, str reason) except -1:
        """RFC 6455 §5.5.1: a close frame is answered, and then the server hangs up."""
        cdef int code = self._socket.code
        if not self._socket.close_sent:
            self._put_frame(self._socket.close(code))
        self._note_closed(code, reason)
        return self._hang_up()

    cdef int _note_closed(self, int code, str reason) except -1:
        """It is closed, and the application is told once it has had the messages before."""
        if self._code == 0:
            self._code = code
            self._reason = reason
        self._phase = CLOSED
        return self.tell_receivers()

    cdef int note_heard(self) except -1:
        if self._phase == OPEN:
            return self.lane.wait(self, AWAIT_PING)
        if self._phase == CLOSED and self.connection.waits_for != AWAIT_CLOSE_FRAME:
            return self.lane.wait(self, AWAIT_CLOSE_FRAME)
        return 0

    cdef int note_room(self) except -1:
        cdef bytes owed = self._owed
        self._owed = None
        if owed is not None and self._phase == OPEN:
            self._put_frame(self._socket.pong(owed))
            self.lane.give(self)
        return self.tell_senders()

    cdef int note_silence(self, int reason) except -1:
        if reason == AWAIT_PING:
            # Of thousands that are silent each would hold its compressor's memory.
            self._socket.rest()
            self._put_frame(self._socket.ping())
            self.lane.give(self)
            return self.lane.wait(self, AWAIT_PONG) if self.connection != NULL else 0
        if reason == AWAIT_PONG and not self.wants_more():
            # What it has answered may be behind what the application does not take.
            return self.lane.wait(self, AWAIT_PING)
        if reason == AWAIT_PONG:
            self.gateway.log.info("WebSocket %s is closed: the client does not answer pings", self.request_line())
            self._put_frame(self._socket.close(INTERNAL_ERROR, "keepalive ping timeout"))
            self._note_closed(ABNORMAL_CLOSURE, "")
        return self._hang_up()

    cdef int note_end(self) except -1:
        self._note_closed(ABNORMAL_CLOSURE, "")
        if self._socket is not None:
            return self._hang_up()
        # It is answered yet, in vain perhaps.
        self.persists = False
        return 0

    cdef int note_lost(self) except -1:
        self.is_lost = self._phase != CLOSED
        self._note_closed(ABNORMAL_CLOSURE, "")
        self.lane.release(self)
        return self.tell_senders()

    cdef int note_leaving(self) except -1:
        """Say 1012 (Service Restart): the client shall come back."""
        if self._phase == OPEN:
            self._say_close(SERVICE_RESTART, "")
        return 0

    cdef object next_event(self):
        cdef object message
        if not self._was_connected:
            self._was_connected = True
            return {"type": "websocket.connect"}
        if self._messages:
            message = self._messages.pop(0)
            self._held -= len(message)
            if len(self._messages) == self.max_queue - 1 or self._held < HELD_MARK <= self._held + len(message):
                self.lane.go_on(self)
            if type(message) is str:
                return {"type": "websocket.receive", "text": message}
            return {"type": "websocket.receive", "bytes": message}
        if self._code:
            return {"type": "websocket.disconnect", "code": self._code, "reason": self._reason}
        return None

    # ---- what the application answers ----

    cdef object answer(self, object message):
        cdef object kind = field(message, "type", None)
        if kind == "websocket.send" and self._phase == OPEN:
            return self._send(message)
        if self._phase == CLOSED:
            if self._socket is not None and self._socket.close_sent and not self.is_lost and kind == "websocket.close":
                return DONE
            raise _Disconnected("the WebSocket is closed")
        if kind == "websocket.close" and self._phase == OPEN:
            return self._close(message)
        if self._phase == CONNECTING:
            if kind == "websocket.accept":
                return self._accept(message)
            if kind == "websocket.close":
                return self._refuse()
        if kind == "websocket.http.response.start" and self._phase == CONNECTING:
            return self._deny(message)
        if kind == "websocket.http.response.body" and self._phase == DENYING:
            return self._deny_with(message)
        raise _LocalProtocolError(f"send() was given {kind!r}, which has no place here: the WebSocket {STATES[self._phase]}")

    cdef object _accept(self, object message):
        """RFC 6455 §4.2.2"""
        cdef object given = fields_of(message)
        cdef Deflate agreed = self.handshake.agree(self.wanted) if self.wanted is not None else None
        # Not as the application's, from which they would not be taken.
        cdef bytes lines = self._handshake_lines(field(message, "subprotocol", None), agreed)
        self.lane.hold_out(self)
        try:
            start_message_head(&self.response, &self.lane.out, 101, ())
            append(&self.lane.out, PyBytes_AS_STRING(lines), PyBytes_GET_SIZE(lines))
            append_fields(&self.response, &self.lane.out, given)
        except (TypeError, ValueError) as error:
            self.lane.out.used = self.response.head_at
            reset_response(&self.response, False)
            raise _LocalProtocolError(str(error)) from None
        append_stamp(&self.response, &self.lane.out, &self.lane.stamp)
        append(&self.lane.out, b"\r\n", 2)
        self.response.is_head_done = True
        self._socket = WebSocket(max_message=self.max_message, deflate=agreed)
        self._phase = OPEN
        return self._begin_frames()

    cdef bytes _handshake_lines(self, object subprotocol, Deflate agreed):
        cdef bytes lines = b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %b\r\n" % self.handshake.accept
        if subprotocol is not None and not isinstance(subprotocol, str):
            raise _LocalProtocolError(f"the subprotocol is of type {type(subprotocol).__name__}, not str")
        if subprotocol:
            if not subprotocol.isascii() or not is_token(subprotocol.encode("ascii")):
                raise _LocalProtocolError(f"the subprotocol {subprotocol!r} is not a token")
            lines += b"Sec-WebSocket-Protocol: %b\r\n" % subprotocol.encode("ascii")
        if agreed is not None:
            lines += b"Sec-WebSocket-Extensions: %b\r\n" % agreed.response
        return lines

    cdef object _begin_frames(self):
        """The handshake is answered."""
        cdef bytes early = self._early
        self._early = None
        self.handshake = None
        self.wanted = None
        # How long it lives, and how much it does, is its own affair.
        self.lane.stop_counting(self)
        if early is not None:
            self._take_frames(early, len(early))
        self.lane.give(self)
        if self.lane.leaves(self.connection):
            self.note_leaving()
        elif self.connection != NULL:
            self.lane.go_on(self)
        return self.room()

    cdef object _refuse(self):
        """It was closed before it was accepted: 403 (Forbidden), says ASGI."""
        self._phase = CLOSED
        self._code = ABNORMAL_CLOSURE
        self._reason = ""
        self.lane.hold_out(self)
        self.persists = False
        self.start("403 Forbidden", [("Content-Type", "text/plain; charset=utf-8")])
        self.respond(b"Forbidden\n")
        self.lane.complete(self)
        return DONE

    cdef object _deny(self, object message):
        """The extension websocket.http.response: an answer of the application's in place of a WebSocket."""
        cdef object status = field(message, "status", None)
        cdef object fields = fields_of(message)
        self.lane.hold_out(self)
        if status is None:
            raise _LocalProtocolError("'websocket.http.response.start' has no status")
        if status == 101:
            raise _LocalProtocolError("the status of 'websocket.http.response.start' is 101: that is 'websocket.accept'")
        try:
            start_message_head(&self.response, &self.lane.out, status, fields)
        except (TypeError, ValueError) as error:
            reset_response(&self.response, self.response.to_head_request)
            raise _LocalProtocolError(str(error)) from None
        self.persists = False
        self._phase = DENYING
        return DONE

    cdef object _deny_with(self, object message):
        """A block of that answer."""
        cdef object body = field(message, "body", b"")
        cdef bint more = bool(field(message, "more_body", False))
        if not isinstance(body, bytes):
            raise _LocalProtocolError(f"the body of 'websocket.http.response.body' is of type {type(body).__name__}, not bytes")
        self.lane.hold_out(self)
        if not self.response.is_head_done:
            self.finish_head(-1 if more else len(body))
        if body:
            self._put(body, True)
        if more:
            self.lane.give(self)
            return self.room()
        self._note_closed(ABNORMAL_CLOSURE, "")
        self.finish()
        self.lane.complete(self)
        return DONE

    cdef object _send(self, object message):
        cdef object data = field(message, "bytes", None)
        cdef object text = field(message, "text", None)
        cdef object owner
        cdef Frame frame
        cdef int64_t now_ns
        if (data is None) == (text is None):
            raise _LocalProtocolError("'websocket.send' has either bytes or text")
        if text is not None:
            if not isinstance(text, str):
                raise _LocalProtocolError(f"the text of 'websocket.send' is of type {type(text).__name__}, not str")
            owner = self._socket.frame_text(text, &frame)
        else:
            if type(data) is not bytes:
                if not isinstance(data, (bytes, bytearray, memoryview)):
                    raise _LocalProtocolError(f"the bytes of 'websocket.send' are of type {type(data).__name__}")
                data = bytes(data)
            owner = self._socket.frame_binary(data, &frame)
        self.lane.hold_out(self)
        append(&self.lane.out, frame.head, frame.head_length)
        self.lane.send_block(self.connection, owner, frame.data, frame.length, True, False)
        self.response.sent += frame.length
        now_ns = pyserver_now_ns()
        if (
            now_ns - self.wrote_ns > BURST_NS or not self._is_in_step or self.lane.out.used > OUT_LIMIT
            or self.connection.is_gone
        ):
            self.lane.give(self)
        self.wrote_ns = now_ns
        return self.room()

    cdef object _close(self, object message):
        cdef object code = field(message, "code", NORMAL_CLOSURE)
        cdef object reason = field(message, "reason", None) or ""
        if not isinstance(code, int) or not isinstance(reason, str):
            raise _LocalProtocolError("'websocket.close' has an int as its code, and a str as its reason")
        try:
            self._say_close(code, reason)
        except ValueError as error:
            raise _LocalProtocolError(str(error)) from None
        # Whoever closes it wants no more of it.
        self._messages = None
        self._held = 0
        return DONE

    cdef int _say_close(self, int code, str reason) except -1:
        """Send a close frame, and wait for the client's."""
        self._put_frame(self._socket.close(code, reason))
        self._note_closed(code, reason)
        self.lane.give(self)
        if self.connection != NULL:
            self.lane.wait(self, AWAIT_CLOSE_FRAME)
            self.lane.go_on(self)
        return 0

    cdef int _put_frame(self, bytes frame) except -1:
        self.lane.hold_out(self)
        append(&self.lane.out, PyBytes_AS_STRING(frame), PyBytes_GET_SIZE(frame))
        return 0

    cdef int _hang_up(self) except -1:
        """Whatever was said is the last."""
        if self.connection != NULL:
            self.persists = False
            self.is_finished = True
            self.lane.complete(self)
        return 0

    # ---- the end ----

    cdef int conclude(self, object error) except -1:
        if error is not None and not (
            isinstance(error, _CancelledError) or (self._phase == CLOSED and isinstance(error, _Disconnected))
        ):
            self.gateway.log.exception("Error in WebSocket %s", self.request_line())
        if self._end is not None and self.connection != NULL and self._phase < OPEN:
            self.lane.hold_out(self)
            self.fail(self._end.status, self._end.why)
            self._note_closed(ABNORMAL_CLOSURE, "")
            return self.lane.complete(self)
        if self._phase == OPEN:
            self.has_failed = error is not None
            self._say_close(NORMAL_CLOSURE if error is None else INTERNAL_ERROR, "")
            return 0
        if self.connection == NULL:
            return self.lane.release(self)
        if self._phase == CLOSED:
            # The client's close frame is awaited; or, without a WebSocket, nobody waits for an answer.
            return 0 if self._socket is not None else self._hang_up()
        if error is None:
            self.gateway.log.error("The application has not answered WebSocket %s: it returned before", self.request_line())
        self.lane.hold_out(self)
        self.fail()
        self._note_closed(ABNORMAL_CLOSURE, "")
        return self.lane.complete(self)


cdef dict STATES = {
    CONNECTING: "is not accepted yet", DENYING: "is being refused", OPEN: "is open", CLOSED: "is closed"
}
