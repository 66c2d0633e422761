# Types for the compiled build of `transport.py`; without Cython nothing reads this file.
cimport cython


cdef class Transport:
    cdef public object reactor, receiver, direct
    cdef public Py_ssize_t low_water
    cdef public Py_ssize_t _out_bytes, _held_bytes
    cdef public long long written
    cdef object _held
    cdef public bint _was_full
    cdef bint _stepped, _flush_is_due, _is_deferred

    cpdef bint has_room(self, Py_ssize_t limit)
    cpdef write_all(self, tuple buffers)
    cpdef write_now(self, tuple buffers)
    cpdef flush(self)
    cpdef flush_soon(self)
    cpdef end_step(self)
    cpdef hold_on(self)
    cdef _push_held(self)
    cpdef push(self, tuple buffers)


@cython.locals(transport=Transport, left=Py_ssize_t)
cpdef end_first_steps(list transports)
