# Types for the compiled build of `protocol.py`; without Cython nothing reads this file.
cimport cython


cdef class Protocol:
    cdef object _buffer, _decoded, _decoder, _next_mask, _max_size, _max_fragments, _pieces
    cdef tuple _extensions, _decoders, _encoders
    cdef bytes _pending, _mask
    cdef Py_ssize_t _left, _held, _straight, _fragments, _on_wire, _work
    cdef int _expected_mask_bit, _rsv, _bits
    cdef public Py_ssize_t decoded
    cdef public bint has_work
    cdef bint _held_back, _fin, _text, _streaming, _stream_next, _discarding
    cdef public object reading, writing

    @cython.locals(
        events=list, end=Py_ssize_t, at=Py_ssize_t, start=Py_ssize_t, n=Py_ssize_t,
        limit=Py_ssize_t, frames=int, mask_bit=int, header_size=int, first_byte=int,
    )
    cpdef list receive_data(self, bytes data)
    cdef Py_ssize_t _straight_limit(self)
    cpdef bint wants_room(self)
    @cython.locals(size=Py_ssize_t)
    cpdef payload_room(self)
    cpdef list payload_filled(self, Py_ssize_t n)
    @cython.locals(first_byte=int, second_byte=int, opcode=int, start=Py_ssize_t, key_at=Py_ssize_t, end=Py_ssize_t)
    cdef Py_ssize_t _receive_frame(self, bytes data, Py_ssize_t at, list events) except -2
    @cython.locals(end=Py_ssize_t, n=Py_ssize_t, last=bint)
    cdef Py_ssize_t _receive_payload(self, bytes data, Py_ssize_t start, list events) except -2
    cdef _take_payload(self, Py_ssize_t n)
    cdef _assemble_text(self, bytes chunk, bint last, list events, Py_ssize_t at_most)
    cdef _keep(self, bytes data)
    cdef _note_work(self)
    cdef bint _takes_whole(self, piece) except -1
    @cython.locals(n=Py_ssize_t)
    cdef _take_whole(self, bytes message, list events)
    cdef _decode(self, bytes chunk, bint last, list events)
    cdef bint _take_pieces(self, list events) except -1
    @cython.locals(n=Py_ssize_t, limit=Py_ssize_t, at_most=Py_ssize_t)
    cdef _take_decoded(self, bytes piece, list events)
    @cython.locals(n=Py_ssize_t, first_byte=int)
    cpdef tuple send_message(self, bytes payload, bint text, compress=*)
    cpdef frame_key(self)
