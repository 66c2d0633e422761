"""Masking of payloads (RFC 6455 §5.3), the keys for it, and the memory that payloads go to.

Owns what is done to every byte of a payload. It must not know frames. What
`_speedups.pyx` has too is compiled there, and takes its place where that is built.
"""

from __future__ import annotations

import os
from functools import cache

__all__ = [
    "GrowingBuffer",
    "GrowingText",
    "MaskSource",
    "Masking",
    "apply_mask",
    "join_frame",
    "mask_source",
    "turn_mask",
    "unmask",
    "unmask_text",
]

# 400 B: from here on four strided translations beat one big-integer XOR (CPython 3.11, x86-64).
_STRIDED_FROM = 400

# Keys taken from the operating system at a time: one system call for 256 frames.
_POOLED_KEYS = 256

_to_int = int.from_bytes


def apply_mask(payload: bytes, mask: bytes) -> bytes:
    """XOR `payload` with the four bytes of `mask`, over and over; its own inverse (§5.3).

    Args:
        payload: read only, never changed.
        mask: exactly four bytes, the first of which meets the first byte of `payload`.
    """
    n = len(payload)
    if n < _STRIDED_FROM:
        keys = (mask * ((n + 3) >> 2))[:n]
        return (_to_int(payload, "little") ^ _to_int(keys, "little")).to_bytes(n, "little")
    result = bytearray(payload)
    for lane in range(4):
        result[lane::4] = result[lane::4].translate(_xor_table(mask[lane]))
    return bytes(result)


@cache
def _xor_table(key: int) -> bytes:
    return bytes(value ^ key for value in range(256))


def unmask(data: bytes, start: int, stop: int) -> bytes:
    """Return `data[start:stop]`, unmasked with the four bytes before it: a frame's masking key."""
    return apply_mask(data[start:stop], data[start - 4 : start])


def unmask_text(data: bytes, start: int, stop: int) -> str:
    """Do the same, and decode it.

    Raises:
        UnicodeDecodeError: it is not UTF-8.
    """
    return str(unmask(data, start, stop), "utf-8")


def join_frame(header: bytes, payload: bytes, mask: bytes | None) -> bytes:
    """Return the header and the payload, masked with `mask` unless that is None."""
    return header + (payload if mask is None else apply_mask(payload, mask))


class GrowingBuffer:
    """The payload of a message while it arrives, which a socket can be read straight into.

    Its memory grows with what has come: a peer cannot make us allocate by announcing.
    """

    __slots__ = ("_data", "_size")

    def __init__(self) -> None:
        self._data = bytearray()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def append(self, data: bytes, start: int, stop: int, mask: bytes, at_most: int) -> None:
        """Add `data[start:stop]`, unmasked with `mask` unless that is empty.

        Args:
            data, start, stop, mask: as said.
            at_most: bytes that are still to come, these included.
        """
        piece = data[start:stop]
        del self._data[self._size :]
        self._data += apply_mask(piece, mask) if mask else piece
        self._size += len(piece)

    def room(self, at_least: int, at_most: int) -> memoryview:
        """Return room behind the end, to be filled now and then released.

        Args:
            at_least: bytes of room that there shall be; so much is returned.
            at_most: bytes that are still to come.
        """
        missing = self._size + at_least - len(self._data)
        if missing > 0:
            self._data += bytes(missing)
        return memoryview(self._data)[self._size : self._size + at_least]

    def filled(self, n: int, mask: bytes) -> None:
        """Count `n` bytes that were put there, and unmask them unless `mask` is empty."""
        end = self._size + n
        if mask:
            self._data[self._size : end] = apply_mask(bytes(self._data[self._size : end]), mask)
        self._size = end

    def take(self) -> bytes:
        """Return all of it; the buffer is empty then."""
        del self._data[self._size :]
        data, self._data, self._size = bytes(self._data), bytearray(), 0
        return data


def turn_mask(mask: bytes, n: int) -> bytes:
    """Return the mask for what follows `n` bytes; an empty one stays so."""
    turn = n & 3
    return mask[turn:] + mask[:turn]


class Masking:
    """Masks the payload of one frame slice by slice, or leaves it as it is where `key` is None."""

    __slots__ = ("_turned", "key")

    def __init__(self, key: bytes | None) -> None:
        self.key: bytes | None = key
        self._turned = key

    def apply(self, piece: bytes) -> bytes:
        """Return the next slice, masked."""
        if self._turned is None:
            return piece
        masked = apply_mask(piece, self._turned)
        self._turned = turn_mask(self._turned, len(piece))
        return masked


class GrowingText:
    """The same for a text, which is decoded piece by piece."""

    __slots__ = ("_pieces",)

    def __init__(self) -> None:
        self._pieces: list[str] = []

    def append(self, piece: str, at_most: int) -> None:
        """Add a piece; `at_most` characters are still to come, these included."""
        self._pieces.append(piece)

    def take(self) -> str:
        """Return all of it; the buffer is empty then."""
        text = "".join(self._pieces)
        self._pieces.clear()
        return text


class MaskSource:
    """Masking keys from the operating system's random source, each used once (§5.3, §10.3)."""

    __slots__ = ("_keys",)

    def __init__(self) -> None:
        self._keys: list[bytes] = []

    def next(self) -> bytes:
        """Return four fresh random bytes; in any thread, since `pop` gives each key once."""
        try:
            return self._keys.pop()
        except IndexError:
            fresh = os.urandom(4 * _POOLED_KEYS)
            keys = [fresh[at : at + 4] for at in range(0, len(fresh), 4)]
            key = keys.pop()
            self._keys = keys
            return key

    def forget(self) -> None:
        """Drop the keys in store: after a fork, both processes hold the same ones."""
        self._keys = []


#: The source of the whole process.
mask_source = MaskSource()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=mask_source.forget)

try:
    from ._speedups import (
        GrowingBuffer,
        GrowingText,
        apply_mask,
        join_frame,
        unmask,
        unmask_text,
    )
except ImportError:
    pass
