"""What every worker is doing, in memory that the arbiter can read."""
from libc.string cimport memset, strlen
from posix.mman cimport MAP_ANON, MAP_FAILED, MAP_SHARED, PROT_READ, PROT_WRITE, mmap, munmap


cdef class Scoreboard:
    """Slots of 64-bit words in anonymous shared memory, made before the first fork.

    A worker writes its own slot with plain stores; the arbiter reads all of them. No lock, no file, no
    system call: a word is written whole, and a reader may see any recent value of it.

    Args:
        slots: how many workers there can be at the same time, old generations included.

    Raises:
        ValueError: `slots` is under 1.
        MemoryError: the memory cannot be mapped.
    """

    cdef readonly int slots
    cdef Slot *_slots

    def __cinit__(self, int slots):
        if slots < 1:
            raise ValueError(f"a scoreboard needs at least one slot, not {slots}")
        cdef void *memory = mmap(NULL, <size_t> slots * SLOT_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANON, -1, 0)
        if memory == MAP_FAILED:
            raise MemoryError(f"cannot map a scoreboard of {slots} slots")
        self._slots = <Slot *> memory
        self.slots = slots

    def __dealloc__(self):
        if self._slots != NULL:
            munmap(self._slots, <size_t> self.slots * SLOT_SIZE)

    cdef Slot *_slot(self, int slot) except NULL:
        if not 0 <= slot < self.slots:
            raise IndexError(f"no slot {slot} on a scoreboard of {self.slots}")
        return &self._slots[slot]

    def address(self, int slot) -> int:
        """Where the slot lies in memory, for the engine that writes it."""
        return <size_t> self._slot(slot)

    def read(self, int slot, Cell cell) -> int:
        """The value of one word of a slot."""
        return self._slot(slot).cells[<int> cell]

    def write(self, int slot, Cell cell, int64_t value) -> None:
        """Set one word of a slot; for its one writer."""
        self._slot(slot).cells[<int> cell] = value

    def request_line(self, int slot) -> str:
        """Method and target of the request that runs, or that ran last, cut to fit the slot; may be empty."""
        cdef Slot *found = self._slot(slot)
        return found.line[:strlen(found.line)].decode("latin-1")

    def clear(self, int slot) -> None:
        """Zero a slot, before another worker takes it."""
        memset(self._slot(slot), 0, SLOT_SIZE)
