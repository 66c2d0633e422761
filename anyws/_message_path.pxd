# Types for the compiled build of `_message_path.py`; without Cython nothing reads this file.
cimport cython

from ._core.protocol cimport Protocol
from ._io.transport cimport Transport


cdef class MessageQueue:
    cdef list _items
    cdef Py_ssize_t _at

    cpdef append(self, item)
    cpdef first(self)
    cpdef popleft(self)
    cpdef clear(self)


cdef class SharedMessage:
    cdef bytes _payload
    cdef bint _text
    cdef dict _frames

    cpdef tuple frame(self, Protocol protocol)


cdef class MessagePath:
    cdef public Transport _transport
    cdef public Protocol _protocol
    cdef public MessageQueue _inbox
    cdef public object _reactor, _state, _incoming, _arrival, _turns, _fragmenting, _verdict, _outlet
    cdef public Py_ssize_t _calls, _unread_bytes, _max_buffer, _write_limit, _large
    cdef public double _heard_at, _opened_at, _ended_at
    cdef public unsigned long long _thread
    cdef public long long _received_bytes, _received_messages, _sent_messages
    cdef public bint _paused, _receiving, _discarding, _working, _has_queued

    cpdef feed(self, bytes data)
    cpdef room(self)
    cpdef filled(self, Py_ssize_t n)
    cdef _take_events(self, list events, Py_ssize_t n)
    cpdef _message_now(self)
    cpdef _prepare_to_wait(self)
    cpdef _take_message(self)
    cpdef bint _send_now(self, data, text, compress) except -1
    cpdef _send_shared(self, SharedMessage message)
    cpdef _write_shared(self, SharedMessage message)
    cpdef tuple _frame(self, bytes payload, bint text, compress)


@cython.locals(connection=MessagePath)
cpdef list send_to_all(list connections, SharedMessage message)
