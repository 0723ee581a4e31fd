"""One call of an ASGI application: the coroutine that its task runs, and what receive() and send() wait for.

No sockets here and no events: which those are is up to HTTP and WebSockets, in subclasses.
"""
from cpython.dict cimport PyDict_GetItemWithError
from cpython.object cimport PyObject

from pyserver._connection cimport AWAIT_WRITE, Connection
from pyserver._exchange cimport Gateway, Stream
from pyserver._streams cimport StreamLane
from pyserver._system cimport pyserver_now_ns

import sys as _sys
from types import GeneratorType as _GeneratorType
from asyncio import CancelledError as _CancelledError, Task as _Task
from asyncio.tasks import _enter_task, _leave_task

from pyserver.errors import Disconnected as _Disconnected, LocalProtocolError as _LocalProtocolError

cdef extern from "Python.h":
    ctypedef enum PySendResult:
        PYGEN_RETURN, PYGEN_ERROR, PYGEN_NEXT
    PySendResult PyIter_Send(object iterator, object value, PyObject **result) except? PYGEN_ERROR
    bint PyCoro_CheckExact(object value)
    object PyContext_CopyCurrent()
    int PyContext_Enter(object context) except -1
    int PyContext_Exit(object context) except -1
    Py_ssize_t Py_REFCNT(PyObject *object)
    void Py_DECREF(PyObject *value)

# A future that is awaited says so to the task that it is handed to: `Future.__iter__` does the same.
cdef str BLOCKING = "_asyncio_future_blocking"
cdef str TASK_NAME = "request"
cdef bint HAS_CONTEXT = _sys.version_info >= (3, 11)
cdef object set_class = object.__dict__["__class__"].__set__
cdef object enter_task = _enter_task
cdef object leave_task = _leave_task


# ---- what receive() and send() return ----

cdef class Done:
    """An awaitable that waits for nothing, and is None."""

    def __await__(self):
        return self

    def __iter__(self):
        return self

    def __next__(self):
        raise StopIteration

    def send(self, value):
        """As that of a coroutine, which it can stand for."""
        raise StopIteration

    def throw(self, kind, value=None, traceback=None):
        """As that of a coroutine."""
        raise_thrown(kind, value, traceback)

    def close(self):
        """As that of a coroutine."""


cdef object DONE = Done()


cdef class Waiting:
    """Something that a call is awaited for; as good as a coroutine."""

    def __await__(self):
        return self

    def __iter__(self):
        return self

    def __next__(self):
        return self._go_on()

    def send(self, value):
        """As that of a coroutine, which it can stand for."""
        return self._go_on()

    def throw(self, kind, value=None, traceback=None):
        """As that of a coroutine: whoever awaited it has been cancelled, and nothing is lost."""
        self._stop()
        raise_thrown(kind, value, traceback)

    def close(self):
        """As that of a coroutine."""
        self._stop()

    cdef object _go_on(self):
        """What to wait for; or raise StopIteration with what was waited for."""
        raise TypeError("a Waiting is one of its subclasses")

    cdef int _stop(self) except -1:
        """Wait for nothing."""
        return 0

    cdef object _future_of(self):
        """A new future, which the task that it is handed to waits for."""
        self._future = self._call.loop.create_future()
        await_future(self._future)
        return self._future


cdef class Receiving(Waiting):
    """The next event, awaited."""

    cdef object _go_on(self):
        cdef Call call = self._call
        cdef object event = call.next_event()
        self._stop()
        if event is not None:
            raise StopIteration(event)
        call.begin_waiting()
        call._receivers = and_also(call._receivers, self._future_of())
        return self._future

    cdef int _stop(self) except -1:
        if self._future is not None:
            self._call._receivers = without(self._call._receivers, self._future)
            self._future = None
        return 0


cdef class Sending(Waiting):
    """Room for more, awaited."""

    cdef object _go_on(self):
        cdef Call call = self._call
        self._stop()
        if call.is_lost:
            raise _Disconnected("the client has gone")
        if call.connection == NULL or call.connection.output == NULL:
            call.row.alive_ns = pyserver_now_ns()
            raise StopIteration
        call._senders = and_also(call._senders, self._future_of())
        return self._future

    cdef int _stop(self) except -1:
        if self._future is not None:
            self._call._senders = without(self._call._senders, self._future)
            self._future = None
        return 0


cdef object field(object message, str name, object default):
    """A field of an event, which need not be a dict."""
    cdef PyObject *found
    if type(message) is not dict:
        return message.get(name, default)
    found = PyDict_GetItemWithError(message, name)
    return default if found == NULL else <object> found


cdef object fields_of(object message):
    """The headers of an event. Before anything is written: an iterator may run code of the application."""
    cdef object fields = field(message, "headers", None)
    if fields is None:
        return ()
    if type(fields) is list or type(fields) is tuple:
        return fields
    if not hasattr(fields, "__iter__"):
        raise _LocalProtocolError(f"the headers are of type {type(fields).__name__}, which has no items")
    return list(fields)


# Futures that somebody waits for: None, a single one, as almost always, or a list of them.

cdef object and_also(object waiting, object future):
    if waiting is None:
        return future
    if type(waiting) is list:
        (<list> waiting).append(future)
        return waiting
    return [waiting, future]


cdef object without(object waiting, object future):
    if waiting is future:
        return None
    (<list> waiting).remove(future)
    return waiting


cdef int wake(object waiting) except -1:
    """Whoever waits looks again."""
    for future in waiting if type(waiting) is list else (waiting,):
        if not future.done():
            future.set_result(None)
    return 0


cdef int await_future(object future) except -1:
    """Have the task that is given `future` wait for it."""
    setattr(future, BLOCKING, True)
    return 0


cdef int raise_thrown(object kind, object value, object traceback) except -1:
    """What throw() is asked to raise, in either of its forms."""
    if value is None:
        value = kind() if isinstance(kind, type) else kind
    raise value.with_traceback(traceback) if traceback is not None else value


# ---- the task ----

class RequestTask(_Task):
    """The task of a request."""

    __slots__ = ("_call",)


_call_of = RequestTask.__dict__["_call"]


class UnbegunTask(RequestTask):
    """The task of a request in its first step, before anybody has used it for anything but its identity.

    To make a task and to have a loop run it takes longer than all else that a server does for a small request, and many
    are answered in their first step. So that is taken in place: what the task needs to be one is done when the step was
    not the last, or when somebody takes a closer look.
    """

    __slots__ = ()

    def __getattribute__(self, name):
        begin_task(self)
        return getattr(self, name)

    def __setattr__(self, name, value):
        begin_task(self)
        setattr(self, name, value)

    def __repr__(self):
        begin_task(self)
        return repr(self)

    def __await__(self):
        begin_task(self)
        return self.__await__()

    __iter__ = __await__


def begin_task(task) -> None:
    """Make it a task like any other: the loop runs what is left of its request."""
    cdef Call call = _call_of.__get__(task)
    cdef object context = call._context
    set_class(task, RequestTask)
    _call_of.__set__(task, None)
    if HAS_CONTEXT:
        _Task.__init__(task, call, loop=call.loop, name=TASK_NAME, context=context)
    else:
        # Its own would be a copy: the call enters the one that it began in, at each step.
        _Task.__init__(task, call, loop=call.loop, name=TASK_NAME)


cdef bint is_old_coroutine(object value) except -1:
    """Whether it is a generator that `types.coroutine` has made one that can be awaited."""
    # CO_ITERABLE_COROUTINE, of a code object.
    return type(value) is _GeneratorType and (value.gi_code.co_flags & 0x100) != 0


# ---- the call ----

cdef class Call(Stream):
    """A request that an application has, and the coroutine that its task runs."""

    @property
    def cr_frame(self):
        """Where the application is, for who prints the stack of the task."""
        return getattr(self._coroutine, "cr_frame", None)

    @property
    def cr_await(self):
        """What the application waits for."""
        return getattr(self._coroutine, "cr_await", None)

    @property
    def cr_suspended(self) -> bool:
        """Whether it has begun, and waits."""
        return self._coroutine is not None and not self._is_in_step

    @property
    def cr_code(self):
        """The code of the application."""
        return getattr(self._coroutine, "cr_code", None)

    @property
    def cr_running(self) -> bool:
        """Whether it has its turn."""
        return self._is_in_step

    @property
    def number(self) -> int:
        """Of its row in the worker's slot on the scoreboard; -1 when it has none."""
        return self.place

    @property
    def is_websocket(self) -> bool:
        """Whether it is a WebSocket, or would be one."""
        return self.is_raw

    @property
    def busy_since_ns(self) -> int:
        """When it began, monotonic; 0 when it is no request under way any more."""
        return self.row.busy_since_ns if self.place >= 0 else 0

    @property
    def alive_ns(self) -> int:
        """When it began, or gave its client something last."""
        return self.row.alive_ns

    def end(self, reason) -> None:
        """Cancel the application, and answer with `reason`, a RequestEnded, when nothing was answered yet."""
        self._end = reason
        if self.task is not None:
            self.task.cancel()

    def leave(self) -> None:
        """Tell it that the worker would like to leave."""
        self.note_leaving()

    def __await__(self):
        return self

    def __iter__(self):
        return self

    def __next__(self):
        cdef object context = self._context
        cdef object awaited
        if HAS_CONTEXT or context is None:
            awaited = self._step()
        else:
            PyContext_Enter(context)
            try:
                awaited = self._step()
            finally:
                PyContext_Exit(context)
        # Here, where Cython does not make an exception of it.
        if awaited is DONE:
            raise StopIteration
        return awaited

    def send(self, value):
        """Have the application go on until it waits for something."""
        return self.__next__()

    def throw(self, kind, value=None, traceback=None):
        """Raise an exception in the application, where it waits."""
        cdef object context = self._context
        cdef object awaited
        if HAS_CONTEXT or context is None:
            awaited = self._throw(kind, value, traceback)
        else:
            PyContext_Enter(context)
            try:
                awaited = self._throw(kind, value, traceback)
            finally:
                PyContext_Exit(context)
        if awaited is DONE:
            raise StopIteration
        return awaited

    cdef object _throw(self, object kind, object value, object traceback):
        if self._has_awaited:
            awaited = self._take_awaited()
            error = kind() if isinstance(kind, type) else kind
            if isinstance(error, _CancelledError) and awaited is not None and awaited.cancel():
                # What is awaited is cancelled first, as if the task had waited for it.
                return awaited
        if self._is_over:
            return DONE
        try:
            if self._coroutine is None:
                raise_thrown(kind, value, traceback)
            self._is_in_step = True
            try:
                if value is None and traceback is None:
                    found = self._coroutine.throw(kind)
                else:
                    found = self._coroutine.throw(kind, value, traceback)
            finally:
                self._is_in_step = False
        except StopIteration:
            self._end_call(None)
        except BaseException as error:
            self._end_call(error)
        else:
            self.lane.end_step(self)
            return found
        return DONE

    def close(self):
        """End the application without another turn of its own."""
        if self._coroutine is not None:
            self._coroutine.close()
            self._end_call(None)

    cdef int launch(self) except -1:
        """Have the application take its first step at once; many need no other."""
        cdef object context = PyContext_CopyCurrent()
        cdef object task = UnbegunTask.__new__(UnbegunTask)
        cdef object awaited
        _call_of.__set__(task, self)
        self.task = task
        self._context = context
        PyContext_Enter(context)
        try:
            enter_task(self.loop, task)
            try:
                awaited = self._step()
            finally:
                leave_task(self.loop, task)
        finally:
            PyContext_Exit(context)
        if awaited is not DONE:
            self._has_awaited = True
            self._awaited = awaited
            self._was_blocking = getattr(awaited, BLOCKING, None) is True
            if self._was_blocking:
                # Others may await the same future before the task does.
                setattr(awaited, BLOCKING, False)
        elif Py_REFCNT(<PyObject *> task) == 1:
            # Nobody knows it.
            _call_of.__set__(task, None)
            self._context = None
            return 0
        if type(task) is UnbegunTask:
            begin_task(task)
        if HAS_CONTEXT:
            # The task has it.
            self._context = None
        return 0

    cdef object _step(self):
        """Have the application go on; what it awaits, or DONE when it has returned or raised."""
        cdef PyObject *found = NULL
        cdef PySendResult result
        cdef object awaited
        if self._has_awaited:
            # In its first step, which it took before its task could wait for anything.
            return self._take_awaited()
        if self._is_over:
            return DONE
        try:
            if self._coroutine is None:
                self._coroutine = self._start()
            self._is_in_step = True
            result = PyIter_Send(self._coroutine, None, &found)
            self._is_in_step = False
        except BaseException as error:
            # SystemExit and KeyboardInterrupt too: an application that calls sys.exit() harms only its own request.
            self._is_in_step = False
            self._end_call(error)
            return DONE
        awaited = <object> found
        Py_DECREF(found)
        if result == PYGEN_NEXT:
            self.lane.end_step(self)
            return awaited
        self._end_call(None)
        return DONE

    cdef object _take_awaited(self):
        cdef object awaited = self._awaited
        self._awaited = None
        self._has_awaited = False
        if self._was_blocking:
            await_future(awaited)
        return awaited

    cdef object _start(self):
        """Call the application; its coroutine, or the iterator of what else can be awaited."""
        cdef object scope = self.scope
        self.scope = None
        returned = self.application(scope, self.receive, self.answer_with)
        if PyCoro_CheckExact(returned):
            return returned
        awaits = getattr(type(returned), "__await__", None)
        if awaits is None and is_old_coroutine(returned):
            return returned
        if awaits is None:
            raise TypeError(f"the application returned {type(returned).__name__}, which cannot be awaited")
        return returned if hasattr(returned, "send") and hasattr(returned, "throw") else awaits(returned)

    def receive(self):
        """The receive of ASGI."""
        cdef Receiving receiving = Receiving.__new__(Receiving)
        receiving._call = self
        return receiving

    def answer_with(self, message):
        """The send of ASGI."""
        return self.answer(message)

    cdef int _end_call(self, object error) except -1:
        """The application has returned, or raised."""
        self._coroutine = None
        self.task = None
        self._is_over = True
        self.gateway.leave_if_child(error)
        try:
            self.conclude(error)
        finally:
            self.lane.leave_list(self)
        return 0

    # ---- what its subclasses say ----

    cdef object next_event(self):
        """The next event for receive(), or None while there is none."""
        return None

    cdef object answer(self, object message):
        """Take an event of send(), and return what is to be awaited."""
        return DONE

    cdef int conclude(self, object error) except -1:
        """Whatever is missing of the response, when the application has returned or raised."""
        return 0

    cdef int begin_waiting(self) except -1:
        """receive() has to wait."""
        return 0

    # ---- waking ----

    cdef int tell_receivers(self) except -1:
        """There is an event for receive(), or more of it."""
        return wake(self._receivers) if self._receivers is not None else 0

    cdef int tell_senders(self) except -1:
        return wake(self._senders) if self._senders is not None else 0

    cdef int note_room(self) except -1:
        return self.tell_senders()

    cdef int note_over(self) except -1:
        self.tell_receivers()
        return self.tell_senders()

    cdef object room(self):
        """What send() returns: something to be awaited until the client has taken what it was given."""
        cdef Sending sending
        if self.connection == NULL or self.connection.output == NULL:
            return DONE
        # It is the client that takes its time, which is judged by write_timeout.
        self.row.alive_ns = pyserver_now_ns() + self.lane.reactor.lists[AWAIT_WRITE].duration_ns
        sending = Sending.__new__(Sending)
        sending._call = self
        return sending
