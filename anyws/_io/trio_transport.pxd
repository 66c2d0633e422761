# Types for the compiled build of `trio_transport.py`; without Cython nothing reads this file.


cdef class TrioWaiter:
    cdef object _task

    cpdef wait(self)
    cpdef wake(self)
