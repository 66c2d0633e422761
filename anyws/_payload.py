"""What an application may send as a message, and its bytes.

Knows nothing of frames or connections.
"""

from __future__ import annotations

from ._errors import LocalProtocolError

__all__ = ["WHOLE", "BytesLike", "Data", "to_payload"]

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
            raise LocalProtocolError(
                f"bytes to be sent as text are not UTF-8: {exc.reason}"
            ) from exc
    return payload, bool(text)
