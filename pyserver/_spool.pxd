# The contract of _spool: bytes kept in files without a name.
cimport cython
from libc.stdint cimport int64_t


cdef enum:
    SPOOL_BLOCK = 262144        # bytes of a file that is shared, which one has at a time


@cython.final
cdef class Spool:
    cdef bytes directory
    cdef int file                       # -1 while nobody has a block of it
    cdef int64_t _end                   # what comes behind it is in no block yet
    cdef int64_t *_spare                # blocks that were given back
    cdef int _spare_count
    cdef int _spare_capacity
    cdef Py_ssize_t _taken

    cdef int64_t take(self) except -1
    cdef void give_back(self, int64_t block) noexcept
    cdef void _close(self) noexcept


@cython.final
cdef class Blocks:
    cdef Spool spool
    cdef int64_t length                 # bytes that were ever added
    cdef int64_t *_blocks               # where in the file each is; those before `_first` were given back
    cdef Py_ssize_t _first
    cdef Py_ssize_t _count
    cdef Py_ssize_t _capacity

    cdef int add(self, const unsigned char *data, Py_ssize_t length) except -1
    cdef int64_t find(self, int64_t offset, Py_ssize_t *length) noexcept
    cdef void forget_before(self, int64_t offset) noexcept
    cdef int _take(self) except -1


@cython.final
cdef class SharedFile:
    cdef int file
    cdef int users
    cdef tuple key


cdef int open_spool(bytes directory) except -1
cdef int write_spool(int file, const unsigned char *data, Py_ssize_t length, int64_t offset) except -1
cdef SharedFile share_file(int file)
cdef int let_file_go(SharedFile shared) except -1
cdef Py_ssize_t read_blocks(Blocks blocks, object into, int64_t offset) except -1
