"""Whether a worker does more than its share, by what all of them leave on the scoreboard.

Connections that stay open stay where they were accepted, so one worker may have many that ask for much while the next
one waits. Who does more than the others, and works itself, is told how many of its connections to give away.
"""
from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free

from pyserver._scoreboard cimport Cell, Slot
from pyserver._system cimport pyserver_thread_time_ns

cdef int64_t LOOK_NS = 100000000            # between two looks at the others

cdef enum:
    ENOUGH = 64                 # requests that have to be served between two looks for them to say anything
    IDLE_SHARE = 4              # who has worked for less than this part of the time has nothing to give away
    TOLERANCE = 32              # a surplus under one in so many is none
    CLEARLY = 4                 # connections fewer, of those that do not move: where many come and go, some always are
    FEWER = 4                   # … or this part


cdef class Balance:
    """The share of one worker.

    Args:
        first: address of the first slot of the scoreboard.
        stride: bytes from one slot to the next.
        count: how many there are.
        own: address of the one that this worker writes.
    """

    def __cinit__(self, size_t first, Py_ssize_t stride, int count, size_t own):
        self._first = <char *> first
        self._stride = stride
        self._count = count
        self._own = <Slot *> own
        self._before = <int64_t *> calloc(<size_t> max(count, 1), sizeof(int64_t))
        if self._before == NULL:
            raise MemoryError()

    def __dealloc__(self):
        free(self._before)

    cdef Slot *_slot(self, int at) noexcept nogil:
        return <Slot *> (self._first + at * self._stride)

    cdef bint somebody_takes(self) noexcept nogil:
        """Whether another worker takes what is passed on."""
        cdef int at
        for at in range(self._count):
            if self._slot(at) != self._own and self._slot(at).cells[<int> Cell.TAKES]:
                return True
        return False

    cdef bint somebody_waits(self, int64_t now_ns, int64_t for_ns) noexcept nogil:
        """Whether another worker has had nothing to do for so long."""
        cdef int at
        cdef int64_t since_ns
        cdef Slot *slot
        for at in range(self._count):
            slot = self._slot(at)
            if slot == self._own or not slot.cells[<int> Cell.TAKES]:
                continue
            since_ns = slot.cells[<int> Cell.WAITS_SINCE_NS]
            if since_ns and now_ns - since_ns >= for_ns:
                return True
        return False

    cdef bint somebody_has_fewer(self, int64_t connections) noexcept nogil:
        """Whether another worker, which has nothing to do, has clearly fewer."""
        cdef int at
        cdef Slot *slot
        for at in range(self._count):
            slot = self._slot(at)
            if slot == self._own or not slot.cells[<int> Cell.TAKES] or not slot.cells[<int> Cell.WAITS_SINCE_NS]:
                continue
            if connections - slot.cells[<int> Cell.CONNECTIONS] >= max(<int64_t> CLEARLY, connections // FEWER):
                return True
        return False

    cdef int surplus(self, int64_t now_ns, int64_t busy_ns, int connections) noexcept nogil:
        """How many of its connections the worker is to give away; asked before each wait.

        Args:
            busy_ns: how long it has not waited since it was asked last; negative where that is not known.
            connections: how many it has.
        """
        cdef bint is_busy
        cdef int given
        self._busy_ns += max(busy_ns, <int64_t> 0)
        if now_ns - self._looked_ns >= LOOK_NS:
            is_busy = self._note_busy(now_ns, busy_ns >= 0)
            connections = self._weigh(connections)
            self._surplus = connections if is_busy else 0
        # Whoever is not waiting now has perhaps been, and will be.
        if self._surplus == 0 or not self.somebody_waits(now_ns, 0):
            return 0
        given, self._surplus = self._surplus, 0
        return given

    def look(self, int64_t now_ns, int64_t busy_ns, int connections) -> int:
        """The surplus, for tests."""
        return self.surplus(now_ns, busy_ns, connections)

    cdef bint _note_busy(self, int64_t now_ns, bint is_known) noexcept nogil:
        """Whether it has worked for a good part of the time since it was looked at; from now on anew."""
        cdef int64_t passed_ns = now_ns - self._looked_ns
        cdef int64_t worked_ns
        cdef bint is_busy
        if not is_known:
            # In an event loop much else happens; and the less time it had of a processor, the more others wanted it.
            worked_ns = pyserver_thread_time_ns()
            self._busy_ns = 2 * (worked_ns - self._worked_ns)
            self._worked_ns = worked_ns
        is_busy = self._busy_ns > passed_ns // IDLE_SHARE
        self._busy_ns = 0
        self._looked_ns = now_ns
        return is_busy

    cdef int _weigh(self, int connections) noexcept nogil:
        cdef int at, others = 0
        cdef int64_t served, own = 0, theirs = 0, excess
        cdef Slot *slot
        for at in range(self._count):
            slot = self._slot(at)
            served = slot.cells[<int> Cell.REQUESTS] - self._before[at]
            self._before[at] = slot.cells[<int> Cell.REQUESTS]
            if slot == self._own:
                own = served
            elif slot.cells[<int> Cell.TAKES] and served >= 0:
                theirs += served
                others += 1
        if others == 0 or own < ENOUGH:
            return 0
        excess = own - (own + theirs) // (others + 1)
        if excess * TOLERANCE < own:
            return 0
        # To the nearest: who has few connections and gave one for the least surplus would have too little then.
        return <int> ((2 * connections * excess + own) // (2 * own))
