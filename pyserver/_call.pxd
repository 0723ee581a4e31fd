# The contract of _call: one call of an ASGI application.
from pyserver._exchange cimport Gateway, Stream
from pyserver._streams cimport StreamLane


cdef class Call(Stream):
    cdef StreamLane lane
    cdef Gateway gateway
    cdef object loop
    cdef object application
    cdef object scope                   # until the application has it
    cdef readonly object task
    cdef object _coroutine              # the application's
    cdef object _receivers              # what those wait for that want an event
    cdef object _senders                # … or room
    cdef object _end                    # the exception that the server has ended it with
    cdef bint is_lost                   # there is no client
    cdef bint _is_in_step
    cdef bint _is_over
    cdef bint _was_blocking             # … that is a future, and was awaited as one
    cdef bint _has_awaited              # its first step has been taken, and its task has to learn of it
    cdef object _awaited                # … what that awaits
    cdef object _context                # that it runs in, until it has a task

    cdef object next_event(self)
    cdef object answer(self, object message)
    cdef int conclude(self, object error) except -1
    cdef int begin_waiting(self) except -1

    cdef int tell_receivers(self) except -1
    cdef int tell_senders(self) except -1
    cdef object room(self)
    cdef object _step(self)
    cdef object _throw(self, object kind, object value, object traceback)
    cdef object _start(self)
    cdef object _take_awaited(self)
    cdef int _end_call(self, object error) except -1


cdef class Waiting:
    cdef Call _call
    cdef object _future

    cdef object _go_on(self)
    cdef int _stop(self) except -1
    cdef object _future_of(self)


cdef class Receiving(Waiting):
    pass


cdef class Sending(Waiting):
    pass


cdef object DONE
cdef object field(object message, str name, object default)
cdef object fields_of(object message)
cdef int await_future(object future) except -1
