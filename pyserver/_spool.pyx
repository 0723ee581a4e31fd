"""Files without a name, for what memory should not hold."""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.errno cimport EINTR, errno
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, strerror
from posix.unistd cimport unlink

from pyserver._system cimport pyserver_mkstemp, pwrite


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
