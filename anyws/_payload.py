"""What an application may send as a message, and its bytes.

Knows nothing of frames or connections.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator

from ._errors import LocalProtocolError

__all__ = [
    "LARGE",
    "LARGE_TO_ENCODE",
    "WHOLE",
    "BytesLike",
    "Data",
    "byte_size",
    "payload_slices",
    "size_of",
    "to_payload",
]

#: 1 MiB: from here on a message is made ready to be sent in slices, so as not to hold the loop.
LARGE = 1024 * 1024

#: 64 KiB: the same for a message that an extension is to encode: compressed in 1 to 3 ms.
LARGE_TO_ENCODE = 64 * 1024

# 256 Ki characters or bytes: encoded, copied or masked in less than half a millisecond.
_SLICE = 256 * 1024

BytesLike = bytes | bytearray | memoryview
#: What `send` takes as one message: text as `str`, binary as anything like `bytes`.
Data = str | BytesLike

#: One message; anything else that can be iterated over is a fragmented one.
WHOLE = (str, bytes, bytearray, memoryview)


def to_payload(data: Data, text: bool | None) -> tuple[bytes, bool]:
    """Return the bytes of a message, owned by nobody else, and whether it is text."""
    if type(data) is bytes and not text:
        return data, False
    if isinstance(data, str):
        try:
            return data.encode(), text is not False
        except UnicodeEncodeError as exc:
            raise LocalProtocolError(f"text cannot be encoded as UTF-8: {exc.reason}") from exc
    if not isinstance(data, BytesLike):
        raise TypeError(f"cannot send {type(data).__name__}; expected str or bytes-like")
    payload = data if type(data) is bytes else bytes(data)
    if text:
        try:
            str(payload, "utf-8")
        except UnicodeDecodeError as exc:
            raise _not_utf8(exc) from exc
    return payload, bool(text)


def size_of(data: Data) -> int:
    """Return how many bytes, or characters of a text, `data` has."""
    return data.nbytes if isinstance(data, memoryview) else len(data)


def byte_size(data: str | bytes) -> int:
    """Return how many bytes a received message, or a piece of one, has as a payload."""
    return len(data) if isinstance(data, bytes) or data.isascii() else len(data.encode())


def payload_slices(data: Data, text: bool | None, size: int = _SLICE) -> Iterator[bytes]:
    """Do as `to_payload` for large data, a slice at a time, for as long as `data` does not change.

    Args:
        data, text: as there.
        size: of a slice, in bytes or characters.

    Raises:
        LocalProtocolError: as `to_payload`, as soon as it is found out.
    """
    if isinstance(data, str):
        for at in range(0, len(data), size):
            yield to_payload(data[at : at + size], None)[0]
        return
    view = memoryview(data)
    if not view.c_contiguous:
        yield to_payload(data, text)[0]
        return
    view = view.cast("B")
    decoder = codecs.getincrementaldecoder("utf-8")()
    for at in range(0, len(view), size):
        piece = bytes(view[at : at + size])
        if text:
            try:
                decoder.decode(piece, at + size >= len(view))
            except UnicodeDecodeError as exc:
                raise _not_utf8(exc) from exc
        yield piece


def _not_utf8(exc: UnicodeDecodeError) -> LocalProtocolError:
    return LocalProtocolError(f"bytes to be sent as text are not UTF-8: {exc.reason}")
