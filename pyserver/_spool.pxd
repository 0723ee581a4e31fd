# The contract of _spool: bytes kept in files without a name.
from libc.stdint cimport int64_t


cdef int open_spool(bytes directory) except -1
cdef int write_spool(int file, const unsigned char *data, Py_ssize_t length, int64_t offset) except -1
