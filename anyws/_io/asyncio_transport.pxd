# Types for the compiled build of `asyncio_transport.py`; without Cython nothing reads this file.


cdef class AsyncioWaiter:
    cdef public object _asyncio_future_blocking
    cdef object _loop, _callback, _context, _cancelled
    cdef bint _yielded
