# cython: language_level=3, boundscheck=False, wraparound=False, embedsignature=False
"""The compiled twins of `masking.py`: what C does several times faster than Python can.

Nothing is in here that is not in `masking.py` too, under the same name and with the same meaning;
a test holds the two equal. Only which Cython compiled it, in `cython_version`, is said nowhere else.
"""

import cython

from cpython.buffer cimport PyBUF_WRITE
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.memoryview cimport PyMemoryView_FromMemory
from cpython.object cimport PyObject
from cpython.ref cimport Py_XDECREF, Py_XINCREF
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.string cimport memcpy

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>

    /* memcpy of 8 bytes is one load or store on every compiler there is, wherever it points. */
    static void anyws_xor(unsigned char *to, const unsigned char *from, Py_ssize_t n,
                          const unsigned char *key) {
        uint32_t half;
        uint64_t whole, a, b, c, d;
        Py_ssize_t at = 0;
        memcpy(&half, key, 4);
        whole = ((uint64_t)half << 32) | half;
        for (; at + 32 <= n; at += 32) {
            memcpy(&a, from + at, 8);
            memcpy(&b, from + at + 8, 8);
            memcpy(&c, from + at + 16, 8);
            memcpy(&d, from + at + 24, 8);
            a ^= whole; b ^= whole; c ^= whole; d ^= whole;
            memcpy(to + at, &a, 8);
            memcpy(to + at + 8, &b, 8);
            memcpy(to + at + 16, &c, 8);
            memcpy(to + at + 24, &d, 8);
        }
        for (; at + 8 <= n; at += 8) {
            memcpy(&a, from + at, 8);
            a ^= whole;
            memcpy(to + at, &a, 8);
        }
        for (; at < n; at++)
            to[at] = from[at] ^ key[at & 3];
    }

    #ifdef __linux__
    #include <sys/mman.h>
    #endif

    /* Ask for large pages where the kernel gives them to those who ask. New memory comes page by
       page, which takes longer than filling it. From the first page to the last, with the
       allocator's own bytes: it could not move a block of two kinds of pages without copying. */
    static void anyws_expect_much(char *at, Py_ssize_t n) {
    #if defined(__linux__) && defined(MADV_HUGEPAGE)
        uintptr_t page = 4096, start = (uintptr_t)at & ~(page - 1);
        uintptr_t end = ((uintptr_t)at + (size_t)n + 64 + page - 1) & ~(page - 1);
        if (n >= 8 * 1024 * 1024)
            madvise((void *)start, end - start, MADV_HUGEPAGE);
    #else
        (void)at;
        (void)n;
    #endif
    }
    """
    void anyws_xor(unsigned char *to, const unsigned char *source, Py_ssize_t n,
                   const unsigned char *key) noexcept nogil
    void anyws_expect_much(char *at, Py_ssize_t n) noexcept

cdef extern from "Python.h":
    int _PyBytes_Resize(PyObject **bytes, Py_ssize_t size) except -1
    PyObject *PyUnicode_New(Py_ssize_t size, Py_UCS4 max_char) except NULL
    int PyUnicode_Resize(PyObject **text, Py_ssize_t size) except -1
    Py_ssize_t PyUnicode_CopyCharacters(
        PyObject *to, Py_ssize_t start, PyObject *source, Py_ssize_t source_start, Py_ssize_t n
    ) except -1
    Py_ssize_t PyUnicode_GET_LENGTH(object text)
    Py_UCS4 PyUnicode_MAX_CHAR_VALUE(object text)

cython_version = cython.__version__

cdef enum:
    ON_STACK = 4096  # texts up to this are unmasked on the stack


def apply_mask(bytes payload not None, bytes mask not None):
    cdef Py_ssize_t n = PyBytes_GET_SIZE(payload)
    _check_mask(mask)
    result = PyBytes_FromStringAndSize(NULL, n)
    anyws_xor(
        <unsigned char *> PyBytes_AS_STRING(result),
        <unsigned char *> PyBytes_AS_STRING(payload),
        n,
        <unsigned char *> PyBytes_AS_STRING(mask),
    )
    return result


def unmask(bytes data not None, Py_ssize_t start, Py_ssize_t stop):
    cdef unsigned char *source = <unsigned char *> PyBytes_AS_STRING(data)
    _check_slice(data, start, stop)
    result = PyBytes_FromStringAndSize(NULL, stop - start)
    anyws_xor(
        <unsigned char *> PyBytes_AS_STRING(result),
        source + start,
        stop - start,
        source + start - 4,
    )
    return result


def unmask_text(bytes data not None, Py_ssize_t start, Py_ssize_t stop):
    cdef unsigned char[ON_STACK] plain
    cdef unsigned char *source = <unsigned char *> PyBytes_AS_STRING(data)
    _check_slice(data, start, stop)
    if stop - start > ON_STACK:
        return str(unmask(data, start, stop), "utf-8")
    anyws_xor(plain, source + start, stop - start, source + start - 4)
    return PyUnicode_DecodeUTF8(<char *> plain, stop - start, NULL)


def join_frame(bytes header not None, bytes payload not None, bytes mask):
    cdef Py_ssize_t head = PyBytes_GET_SIZE(header)
    cdef Py_ssize_t n = PyBytes_GET_SIZE(payload)
    cdef unsigned char *to
    result = PyBytes_FromStringAndSize(NULL, head + n)
    to = <unsigned char *> PyBytes_AS_STRING(result)
    memcpy(to, PyBytes_AS_STRING(header), head)
    if mask is None:
        memcpy(to + head, PyBytes_AS_STRING(payload), n)
    else:
        _check_mask(mask)
        anyws_xor(
            to + head,
            <unsigned char *> PyBytes_AS_STRING(payload),
            n,
            <unsigned char *> PyBytes_AS_STRING(mask),
        )
    return result


cdef class GrowingBuffer:
    # Its own reference to an object of `bytes` that nobody else has seen, NULL once it is taken.
    cdef PyObject *_bytes
    cdef Py_ssize_t _size, _capacity

    def __cinit__(self):
        self._bytes = NULL
        self._size = self._capacity = 0

    def __dealloc__(self):
        Py_XDECREF(self._bytes)

    def __len__(self):
        return self._size

    def append(
        self,
        bytes data not None,
        Py_ssize_t start,
        Py_ssize_t stop,
        bytes mask not None,
        Py_ssize_t at_most,
    ):
        cdef Py_ssize_t n = stop - start
        if start < 0 or n < 0 or stop > PyBytes_GET_SIZE(data) or at_most < n:
            raise ValueError("slice out of range")
        self._reserve(n, at_most)
        if PyBytes_GET_SIZE(mask) == 0:
            memcpy(self._end(), PyBytes_AS_STRING(data) + start, n)
        else:
            _check_mask(mask)
            anyws_xor(
                self._end(),
                <unsigned char *> PyBytes_AS_STRING(data) + start,
                n,
                <unsigned char *> PyBytes_AS_STRING(mask),
            )
        self._size += n

    def room(self, Py_ssize_t at_least, Py_ssize_t at_most):
        if at_least < 1 or at_most < at_least:
            raise ValueError("no room asked for")
        self._reserve(at_least, at_most)
        return PyMemoryView_FromMemory(
            <char *> self._end(), min(self._capacity - self._size, at_least), PyBUF_WRITE
        )

    def filled(self, Py_ssize_t n, bytes mask not None):
        if n < 0 or n > self._capacity - self._size:
            raise ValueError("more than there was room for")
        if PyBytes_GET_SIZE(mask) != 0:
            _check_mask(mask)
            anyws_xor(self._end(), self._end(), n, <unsigned char *> PyBytes_AS_STRING(mask))
        self._size += n

    def take(self):
        cdef PyObject *taken
        if self._bytes == NULL:
            return b""
        self._resize(self._size)
        taken = self._bytes
        self._bytes = NULL
        self._size = self._capacity = 0
        result = <object> taken
        Py_XDECREF(taken)
        return result

    cdef unsigned char *_end(self) noexcept:
        return <unsigned char *> PyBytes_AS_STRING(<object> self._bytes) + self._size

    cdef int _resize(self, Py_ssize_t size) except -1:
        try:
            _PyBytes_Resize(&self._bytes, size)
        except MemoryError:
            self._size = self._capacity = 0  # it is gone
            raise
        return 0

    cdef int _reserve(self, Py_ssize_t at_least, Py_ssize_t at_most) except -1:
        cdef Py_ssize_t wanted
        if self._bytes != NULL and self._capacity - self._size >= at_least:
            return 0
        wanted = self._size + min(at_most, max(at_least, _ahead(self._size)))
        if self._bytes == NULL:
            result = PyBytes_FromStringAndSize(NULL, wanted)
            self._bytes = <PyObject *> result
            Py_XINCREF(self._bytes)
        else:
            self._resize(wanted)
        self._capacity = wanted
        anyws_expect_much(PyBytes_AS_STRING(<object> self._bytes), wanted)
        return 0


cdef class GrowingText:
    # Its own reference to a string that nobody else has seen, NULL while there is none.
    cdef PyObject *_text
    cdef Py_ssize_t _size, _capacity
    cdef Py_UCS4 _max_char

    def __cinit__(self):
        self._text = NULL
        self._size = self._capacity = 0
        self._max_char = 0

    def __dealloc__(self):
        Py_XDECREF(self._text)

    def append(self, str piece not None, Py_ssize_t at_most):
        cdef Py_ssize_t n = PyUnicode_GET_LENGTH(piece)
        cdef Py_UCS4 max_char = PyUnicode_MAX_CHAR_VALUE(piece)
        cdef Py_ssize_t wanted
        cdef PyObject *wider
        if n == 0:
            return
        if self._text == NULL or max_char > self._max_char:
            # Characters that need more room each: what there is moves to a string of these.
            max_char = max(max_char, self._max_char)
            wanted = self._size + max(n, min(at_most, self._ahead(max_char)))
            wider = PyUnicode_New(wanted, max_char)
            if self._text != NULL:
                PyUnicode_CopyCharacters(wider, 0, self._text, 0, self._size)
            Py_XDECREF(self._text)
            self._text = wider
            self._max_char = max_char
            self._capacity = wanted
        elif self._capacity - self._size < n:
            wanted = self._size + max(n, min(at_most, self._ahead(self._max_char)))
            PyUnicode_Resize(&self._text, wanted)
            self._capacity = wanted
        PyUnicode_CopyCharacters(self._text, self._size, <PyObject *> piece, 0, n)
        self._size += n

    cdef Py_ssize_t _ahead(self, Py_UCS4 max_char) noexcept:
        cdef Py_ssize_t width = 1 if max_char < 0x100 else 2 if max_char < 0x10000 else 4
        return _ahead(self._size * width) // width

    def take(self):
        cdef PyObject *taken
        if self._text == NULL:
            return ""
        if self._size < self._capacity:
            PyUnicode_Resize(&self._text, self._size)
        taken = self._text
        self._text = NULL
        self._size = self._capacity = 0
        self._max_char = 0
        result = <object> taken
        Py_XDECREF(taken)
        return result


cdef Py_ssize_t _ahead(Py_ssize_t size) noexcept:
    # As much again as there is, and from 4 MiB on 63 times as much: growing may copy all there is,
    # which from there on would hold the loop for too long. Memory that is not written to is none.
    return size if size < 4 * 1024 * 1024 else 63 * size


cdef int _check_mask(bytes mask) except -1:
    if PyBytes_GET_SIZE(mask) != 4:
        raise ValueError("a masking key has four bytes")
    return 0


cdef int _check_slice(bytes data, Py_ssize_t start, Py_ssize_t stop) except -1:
    if start < 4 or stop < start or stop > PyBytes_GET_SIZE(data):
        raise ValueError("slice out of range")
    return 0
