# Types for the compiled build of `transport.py`; without Cython nothing reads this file.
cimport cython


cdef class Transport:
    cdef public object reactor, receiver, direct
    cdef public Py_ssize_t low_water
    cdef public Py_ssize_t _out_bytes, _held_bytes
    cdef public long long written
    cdef list _held
    cdef bint _stepped, _flush_is_due, _is_deferred

    cpdef bint has_room(self, Py_ssize_t limit)
    cpdef write_all(self, tuple buffers)
    cpdef flush(self)
    cpdef flush_soon(self)
    cpdef end_step(self)
    cdef _push_held(self, list held)
    cpdef push(self, tuple buffers)
