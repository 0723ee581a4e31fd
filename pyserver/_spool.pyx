"""Files without a name, for what memory should not hold: one of its own, or blocks of one that several share.

And files with a name that several send.
"""
cimport cython
from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.errno cimport EINTR, errno
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, strerror
from posix.fcntl cimport F_GETFL, fcntl
from posix.stat cimport fstat, struct_stat
from posix.unistd cimport close, unlink

from pyserver._system cimport pread, pyserver_dup, pyserver_mkstemp, pwrite


cdef int open_spool(bytes directory) except -1:
    """An empty temporary file without a name; OSError names the directory."""
    cdef bytes template = directory + b"/pyserver-XXXXXX"
    cdef int file
    cdef int reason
    # A copy: mkostemp() writes into its argument, and a bytes object may be shared.
    cdef char *path = <char *> malloc(<size_t> PyBytes_GET_SIZE(template) + 1)
    if path == NULL:
        raise MemoryError()
    memcpy(path, PyBytes_AS_STRING(template), <size_t> PyBytes_GET_SIZE(template) + 1)
    file = pyserver_mkstemp(path)
    reason = errno
    if file >= 0:
        unlink(path)
    free(path)
    if file < 0:
        raise OSError(reason, strerror(reason).decode(), directory.decode())
    return file


cdef int write_spool(int file, const unsigned char *data, Py_ssize_t length, int64_t offset) except -1:
    """Write all of it; OSError when the disk does not take it."""
    cdef Py_ssize_t written
    while length > 0:
        written = pwrite(file, data, <size_t> length, offset)
        if written < 0:
            if errno == EINTR:
                continue
            raise OSError(errno, strerror(errno).decode())
        data += written
        length -= written
        offset += written
    return 0


@cython.final
@cython.no_gc
cdef class Spool:
    """A file that several share, block by block; it is open while any of them has one.

    All is done with the interpreter's lock held, by whoever has blocks, so that they can be given back from anywhere.
    The file is as long as all that was in it at once: a block that was given back is taken before a new one.

    Args:
        directory: where the file is made.
    """

    def __cinit__(self, bytes directory not None):
        self.directory = directory
        self.file = -1

    def __dealloc__(self):
        self._close()

    cdef int64_t take(self) except -1:
        """The offset of a block that is nobody's; OSError where the file cannot be made."""
        cdef int64_t block
        if self.file < 0:
            self.file = open_spool(self.directory)
        if self._spare_count:
            self._spare_count -= 1
            block = self._spare[self._spare_count]
        else:
            block = self._end
            self._end += SPOOL_BLOCK
        self._taken += 1
        return block

    cdef void give_back(self, int64_t block) noexcept:
        cdef int capacity
        cdef int64_t *spare
        self._taken -= 1
        if self._taken == 0:
            self._close()
            return
        if self._spare_count == self._spare_capacity:
            capacity = max(16, self._spare_capacity * 2)
            spare = <int64_t *> realloc(self._spare, <size_t> capacity * sizeof(int64_t))
            if spare == NULL:
                return              # nobody uses it any more before the file is closed
            self._spare = spare
            self._spare_capacity = capacity
        self._spare[self._spare_count] = block
        self._spare_count += 1

    cdef void _close(self) noexcept:
        if self.file >= 0:
            close(self.file)
        free(self._spare)
        self._spare = NULL
        self.file = -1
        self._end = 0
        self._spare_count = self._spare_capacity = 0


@cython.final
@cython.no_gc
cdef class Blocks:
    """Bytes in blocks of a Spool, which are added at the end and forgotten from the beginning on."""

    def __cinit__(self, Spool spool not None):
        self.spool = spool

    def __dealloc__(self):
        cdef Py_ssize_t at
        for at in range(self._first, self._count):
            self.spool.give_back(self._blocks[at])
        free(self._blocks)

    cdef int add(self, const unsigned char *data, Py_ssize_t length) except -1:
        """Add all of it; or none, and OSError, when the disk does not take it."""
        cdef int64_t end = self.length
        cdef Py_ssize_t some
        while length:
            if end // SPOOL_BLOCK == self._count:
                self._take()
            some = min(length, <Py_ssize_t> (SPOOL_BLOCK - end % SPOOL_BLOCK))
            write_spool(self.spool.file, data, some, self._blocks[end // SPOOL_BLOCK] + end % SPOOL_BLOCK)
            data += some
            length -= some
            end += some
        self.length = end
        return 0

    cdef int _take(self) except -1:
        cdef Py_ssize_t capacity
        cdef int64_t *blocks
        if self._count == self._capacity:
            capacity = max(<Py_ssize_t> 4, self._capacity * 2)
            blocks = <int64_t *> realloc(self._blocks, <size_t> capacity * sizeof(int64_t))
            if blocks == NULL:
                raise MemoryError()
            self._blocks = blocks
            self._capacity = capacity
        self._blocks[self._count] = self.spool.take()
        self._count += 1
        return 0

    cdef int64_t find(self, int64_t offset, Py_ssize_t *length) noexcept:
        """Where in the file the bytes from `offset` on are; `length` becomes how many of so many are there in a row."""
        cdef int64_t row = min(self.length - offset, SPOOL_BLOCK - offset % SPOOL_BLOCK)
        length[0] = max(<Py_ssize_t> 0, min(length[0], <Py_ssize_t> row))
        return self._blocks[offset // SPOOL_BLOCK] + offset % SPOOL_BLOCK if length[0] else 0

    cdef void forget_before(self, int64_t offset) noexcept:
        """Give back the blocks that hold nothing but what comes before `offset`."""
        while self._first < offset // SPOOL_BLOCK:
            self.spool.give_back(self._blocks[self._first])
            self._first += 1


cdef dict shared_files = {}     # of this process, by what they are; each is there while somebody has it


@cython.final
@cython.no_gc
cdef class SharedFile:
    """A file of which several send a part: one descriptor serves them all, for each says where its part begins."""

    def __dealloc__(self):
        close(self.file)


cdef SharedFile share_file(int file):
    """The file that a descriptor is of, for one more user; OSError where there is no descriptor left for it."""
    cdef struct_stat found
    cdef SharedFile shared
    cdef tuple key
    cdef int copy
    if fstat(file, &found) < 0:
        raise OSError(errno, strerror(errno).decode())
    # Who may not read it is told so by the system, and others who may are not.
    key = (found.st_dev, found.st_ino, fcntl(file, F_GETFL))
    shared = shared_files.get(key)
    if shared is None:
        copy = pyserver_dup(file)
        if copy < 0:
            raise OSError(errno, strerror(errno).decode())
        shared = SharedFile.__new__(SharedFile)
        shared.file = copy
        shared.key = key
        shared_files[key] = shared
    shared.users += 1
    return shared


cdef int let_file_go(SharedFile shared) except -1:
    """Have one user less."""
    shared.users -= 1
    if shared.users == 0:
        del shared_files[shared.key]
    return 0


cdef Py_ssize_t read_blocks(Blocks blocks, object into, int64_t offset) except -1:
    """Fill a buffer from `offset` on, as readinto() does: how many bytes that are, 0 at the end, or OSError."""
    cdef Py_buffer view
    cdef Py_ssize_t got = 0, total = 0, wanted
    cdef int64_t place
    cdef int file
    PyObject_GetBuffer(into, &view, PyBUF_WRITABLE)
    try:
        while total < view.len:
            wanted = view.len - total
            place = blocks.find(offset + total, &wanted)
            if wanted == 0:
                break
            file = blocks.spool.file
            with nogil:
                got = pread(file, <unsigned char *> view.buf + total, <size_t> wanted, place)
            if got > 0:
                total += got
            elif got == 0 or errno != EINTR:
                break
        if got < 0 and total == 0:
            raise OSError(errno, strerror(errno).decode())
    finally:
        PyBuffer_Release(&view)
    return total
