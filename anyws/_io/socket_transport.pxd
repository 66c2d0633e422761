# Types for the compiled build of `socket_transport.py`; without Cython nothing reads this file.
cimport cython

from .transport cimport Transport


cdef class SocketTransport(Transport):
    cdef object _sock, _local_address, _remote_address, _out, _failure
    cdef int _flags
    cdef bint _closed, _reading, _read_ended, _writing, _ending

    @cython.locals(sent=Py_ssize_t)
    cpdef push(self, tuple buffers)
