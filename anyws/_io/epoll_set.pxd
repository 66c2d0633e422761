# Types for the compiled build of `epoll_set.py`; without Cython nothing reads this file.
cimport cython


cdef class EpollSet:
    cdef object _epoll
    cdef dict _readers, _writers

    @cython.locals(happened=int, readers=dict, writers=dict)
    cpdef dispatch(self)
