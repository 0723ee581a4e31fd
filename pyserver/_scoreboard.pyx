"""What every worker is doing, in memory that the arbiter can read."""
from typing import NamedTuple

from libc.string cimport memset, strlen
from posix.mman cimport MAP_ANON, MAP_FAILED, MAP_NORESERVE, MAP_SHARED, PROT_READ, PROT_WRITE, mmap, munmap

from pyserver._system cimport AF_INET, AF_INET6, inet_ntop


cdef extern from *:
    void fence "__sync_synchronize" () nogil


cdef struct Look:
    int64_t busy_since_ns
    int64_t alive_since_ns
    int64_t last_alive_ns
    int64_t untold_since_ns


class Instants(NamedTuple):
    """Of the requests that run in a slot: monotonic nanoseconds, 0 where there is none."""

    busy_since_ns: int = 0      # when the oldest began
    alive_since_ns: int = 0     # when that one began, or gave something, for which it is longest ago
    last_alive_ns: int = 0      # the same, where it is shortest ago
    untold_since_ns: int = 0    # when the oldest of those began that nobody has told of


cdef class Scoreboard:
    """Slots of 64-bit words in anonymous shared memory, made before the first fork.

    A worker writes its own slot with plain stores, each request that runs a row of it; the arbiter reads all of them.
    No lock, no file, no system call: a word is written whole, and a reader may see any recent value of it. Rows that
    were never used take no memory.

    Args:
        slots: how many workers there can be at the same time, old generations included.
        rows: how many requests a worker runs at the same time.

    Raises:
        ValueError: `slots` or `rows` is under 1.
        MemoryError: the memory cannot be mapped.
    """

    cdef readonly int slots
    cdef readonly int rows
    cdef size_t _slot_size
    cdef char *_memory

    def __cinit__(self, int slots, int rows=1):
        if slots < 1 or rows < 1:
            raise ValueError(f"a scoreboard needs at least one slot and one row, not {slots} and {rows}")
        self._slot_size = sizeof(Slot) + <size_t> (rows - 1) * sizeof(Row)
        cdef size_t size = <size_t> slots * self._slot_size
        cdef void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANON | MAP_NORESERVE, -1, 0)
        if memory == MAP_FAILED:
            raise MemoryError(f"cannot map a scoreboard of {slots} slots")
        self._memory = <char *> memory
        self.slots = slots
        self.rows = rows

    def __dealloc__(self):
        if self._memory != NULL:
            munmap(self._memory, <size_t> self.slots * self._slot_size)

    cdef Slot *_slot(self, int slot) except NULL:
        if not 0 <= slot < self.slots:
            raise IndexError(f"no slot {slot} on a scoreboard of {self.slots}")
        return <Slot *> (self._memory + <size_t> slot * self._slot_size)

    cdef Row *_row(self, int slot, int row) except NULL:
        cdef Slot *found = self._slot(slot)
        if not 0 <= row < self.rows:
            raise IndexError(f"no row {row} in a slot of {self.rows}")
        return &found.rows[0] + row

    def address(self, int slot) -> int:
        """Where the slot lies in memory, for the engine that writes it."""
        return <size_t> self._slot(slot)

    @property
    def extent(self) -> tuple:
        """Address of the first slot, bytes from one to the next, and how many there are."""
        return <size_t> self._memory, self._slot_size, self.slots

    def read(self, int slot, Cell cell) -> int:
        """The value of one word of a slot."""
        if cell == Cell.BUSY_SINCE_NS:
            return self._look(slot, 0).busy_since_ns
        return self._slot(slot).cells[<int> cell]

    def write(self, int slot, Cell cell, int64_t value) -> None:
        """Set one word of a slot; for its one writer. The start of a request is that of the first row.

        It is seen by others before anything is read that comes after it.
        """
        if cell == Cell.BUSY_SINCE_NS:
            self._row(slot, 0).alive_ns = value
            self._row(slot, 0).busy_since_ns = value
        else:
            self._slot(slot).cells[<int> cell] = value
        fence()

    def busy_since_ns(self, int slot, int row=0) -> int:
        """The monotonic start of the request that runs in a row; 0 while none does."""
        return self._row(slot, row).busy_since_ns

    def alive_ns(self, int slot, int row=0) -> int:
        """When the request that runs in a row began, or last gave a block of its response; 0 while none runs."""
        cdef Row *found = self._row(slot, row)
        cdef int64_t since_ns = found.busy_since_ns
        return alive_since(found, since_ns) if since_ns else 0

    def thread(self, int slot, int row=0) -> int:
        """Who runs the request of a row, as faulthandler names threads; 0 where that is not known."""
        return self._row(slot, row).thread

    def alive_since_ns(self, int slot) -> int:
        """`alive_ns` of that row of the slot where it is longest ago; 0 while no request runs."""
        return self._look(slot, 0).alive_since_ns

    def instants(self, int slot, int64_t told_ns=0) -> Instants:
        """What timeouts look at, as of one moment.

        Args:
            told_ns: requests that began until then do not count for `untold_since_ns`.
        """
        cdef Look look = self._look(slot, told_ns)
        return Instants(look.busy_since_ns, look.alive_since_ns, look.last_alive_ns, look.untold_since_ns)

    def rows_busy(self, int slot) -> list:
        """The rows in which a request runs, the oldest request first."""
        cdef Slot *found = self._slot(slot)
        # Read once each: a request may end in between.
        rows = [(found.rows[row].busy_since_ns, row) for row in range(self._used(found))]
        return [row for since_ns, row in sorted(rows) if since_ns]

    def row_last(self, int slot) -> int:
        """The row in which a request began, or gave a block of its response, last."""
        cdef Slot *found = self._slot(slot)
        cdef int row, last = 0
        for row in range(1, self._used(found)):
            if found.rows[row].alive_ns > found.rows[last].alive_ns:
                last = row
        return last

    cdef int _used(self, Slot *slot) noexcept:
        # Memory of the application's own process: whatever it has written there, we stay in the slot.
        return <int> max(1, min(slot.cells[<int> Cell.ROWS], <int64_t> self.rows))

    cdef Look _look(self, int slot, int64_t told_ns) except *:
        cdef Slot *found = self._slot(slot)
        cdef Look look = Look(0, 0, 0, 0)
        cdef int64_t since_ns, alive_ns
        cdef int row
        for row in range(self._used(found)):
            since_ns = found.rows[row].busy_since_ns
            if since_ns == 0:
                continue
            alive_ns = alive_since(&found.rows[0] + row, since_ns)
            look.busy_since_ns = earlier(look.busy_since_ns, since_ns)
            look.alive_since_ns = earlier(look.alive_since_ns, alive_ns)
            look.last_alive_ns = max(look.last_alive_ns, alive_ns)
            if since_ns > told_ns:
                look.untold_since_ns = earlier(look.untold_since_ns, since_ns)
        return look

    def request_line(self, int slot, int row=0) -> str:
        """Method and target of the request that runs, or that ran last, cut to fit the row; may be empty."""
        cdef Row *found = self._row(slot, row)
        return found.line[:strlen(found.line)].decode("latin-1")

    def peer(self, int slot, int row=0) -> str:
        """Who sent that request, as a log line names him; empty before the first."""
        cdef Row *found = self._row(slot, row)
        return peer_name(found.family, found.address, found.port) if found.line[0] else ""

    def latencies(self, int slot) -> list:
        """How many requests took less than 1, 2, 4, 8 … microseconds; the last number is that of all."""
        cdef Slot *found = self._slot(slot)
        cdef int64_t total = 0
        counts = []
        for bucket in range(BUCKETS):
            total += found.latencies[bucket]
            counts.append(total)
        return counts

    def clear(self, int slot) -> None:
        """Zero a slot, before another worker takes it."""
        cdef Slot *found = self._slot(slot)
        memset(found, 0, sizeof(Slot) + <size_t> (self._used(found) - 1) * sizeof(Row))


cdef class Words:
    """64-bit words in anonymous shared memory, made before the first fork and written by one process.

    Args:
        count: how many; all are 0 at first.

    Raises:
        ValueError: `count` is under 1.
        MemoryError: the memory cannot be mapped.
    """

    cdef readonly int count
    cdef int64_t *_memory

    def __cinit__(self, int count):
        if count < 1:
            raise ValueError(f"there is at least one word, not {count}")
        cdef size_t size = <size_t> count * sizeof(int64_t)
        cdef void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANON, -1, 0)
        if memory == MAP_FAILED:
            raise MemoryError(f"cannot map {count} words")
        self._memory = <int64_t *> memory
        self.count = count

    def __dealloc__(self):
        if self._memory != NULL:
            munmap(self._memory, <size_t> self.count * sizeof(int64_t))

    cdef int64_t *_word(self, int at) except NULL:
        if not 0 <= at < self.count:
            raise IndexError(f"no word {at} among {self.count}")
        return self._memory + at

    def read(self, int at) -> int:
        """The word at that place, no older than those that were read before; IndexError where there is none."""
        cdef int64_t value
        fence()
        value = self._word(at)[0]
        fence()
        return value

    def write(self, int at, int64_t value) -> None:
        """Set the word at that place, which others see no later than those that are written after it."""
        fence()
        self._word(at)[0] = value
        fence()


cdef inline int64_t earlier(int64_t one_ns, int64_t other_ns) noexcept nogil:
    """The earlier of two instants, of which the first may be none, 0."""
    return other_ns if one_ns == 0 or other_ns < one_ns else one_ns


cdef inline int64_t alive_since(const Row *row, int64_t since_ns) noexcept nogil:
    # Nothing orders the two words: what is left of the request before this one is never later.
    return max(since_ns, row.alive_ns)


cdef str peer_name(int family, const uint8_t *address, int port):
    """The address of a peer as a log line names it; `family` is 4, 6, or 0 for a Unix socket."""
    cdef char text[64]
    if family == 0:
        return "a Unix socket"
    inet_ntop(AF_INET if family == 4 else AF_INET6, address, text, 64)
    host = (<bytes> text).decode()
    return f"{host}:{port}" if family == 4 else f"[{host}]:{port}"
