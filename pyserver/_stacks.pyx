"""Keeps the memory that the frames of a greenlet lie in for the next one.

Since CPython 3.11 the frames of a greenlet lie in a chunk of their own, 16 KB that come from the allocator of arenas:
by mmap(), and munmap() when the greenlet ends. With the page faults between them that takes longer than all else that
a server does for a small request.
"""
cdef extern from *:
    """
    #include <Python.h>

    /* DATA_STACK_CHUNK_SIZE of CPython; arenas of objects are larger. */
    #define PYSERVER_CHUNK ((size_t) 16384)
    #define PYSERVER_MOST_CHUNKS 1024

    static PyObjectArenaAllocator pyserver_arenas;
    static void *pyserver_chunks[PYSERVER_MOST_CHUNKS];
    static int pyserver_kept, pyserver_most;
    static char pyserver_in_use;    /* guards the chunks: a thread may end without the interpreter lock */

    static void *pyserver_take_chunk(void *context, size_t size)
    {
        void *chunk = NULL;
        (void) context;
        if (size == PYSERVER_CHUNK && !__atomic_test_and_set(&pyserver_in_use, __ATOMIC_ACQUIRE)) {
            if (pyserver_kept)
                chunk = pyserver_chunks[--pyserver_kept];
            __atomic_clear(&pyserver_in_use, __ATOMIC_RELEASE);
        }
        return chunk ? chunk : pyserver_arenas.alloc(pyserver_arenas.ctx, size);
    }

    static void pyserver_keep_chunk(void *context, void *chunk, size_t size)
    {
        (void) context;
        if (size == PYSERVER_CHUNK && !__atomic_test_and_set(&pyserver_in_use, __ATOMIC_ACQUIRE)) {
            if (pyserver_kept < pyserver_most) {
                pyserver_chunks[pyserver_kept++] = chunk;
                chunk = NULL;
            }
            __atomic_clear(&pyserver_in_use, __ATOMIC_RELEASE);
        }
        if (chunk)
            pyserver_arenas.free(pyserver_arenas.ctx, chunk, size);
    }

    static void pyserver_keep_chunks(int most)
    {
        PyObjectArenaAllocator ours = {NULL, pyserver_take_chunk, pyserver_keep_chunk};
        if (!pyserver_most) {
            PyObject_GetArenaAllocator(&pyserver_arenas);
            PyObject_SetArenaAllocator(&ours);
        }
        pyserver_most = most < 1 ? 1 : most > PYSERVER_MOST_CHUNKS ? PYSERVER_MOST_CHUNKS : most;
    }
    """
    void pyserver_keep_chunks(int most)


def keep_stacks(int most) -> None:
    """Have the memory of up to `most` greenlets that have ended kept; from 1 to 1024, 16 KB each."""
    pyserver_keep_chunks(most)
