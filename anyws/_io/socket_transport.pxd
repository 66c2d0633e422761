# Types for the compiled build of `socket_transport.py`; without Cython nothing reads this file.
cimport cython

from .transport cimport Transport


cdef class SocketTransport(Transport):
    cdef object _sock, _addresses, _out, _failure
    cdef bint _closed, _reading, _read_ended, _writing, _was_full, _ending

    @cython.locals(sent=Py_ssize_t)
    cpdef push(self, tuple buffers)
