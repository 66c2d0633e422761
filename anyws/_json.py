"""JSON in text messages (RFC 8259), by whichever codec the application chose.

Owns the default codec, and what becomes of a message that is no JSON. Knows nothing of connections.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NoReturn

from ._errors import InvalidJSON
from ._options import EncodesJSON, JSONCodec

__all__ = ["from_json", "to_json"]


# Any, here and below: a value is what the codec makes of JSON, or JSON of, and only the
# application knows which that is.
def to_json(value: Any, codec: JSONCodec | EncodesJSON | None) -> str | bytes:
    """Return `value` as JSON, in the type that the codec gives.

    Bytes are left to be checked for UTF-8 by whoever sends them: a codec might be wrong, and the
    peer would fail the connection. For 1,000 bytes that takes a fifth of what orjson takes to write
    them, and less than that time for text that is not ASCII.

    Raises:
        TypeError, ValueError: of the default codec, for what JSON has no form for. Another codec
            may raise anything.
        TypeError: the codec gave neither `str` nor `bytes`.
    """
    if codec is None:
        return _default()[0](value)
    text = codec.dumps(value) if hasattr(codec, "dumps") else codec.encode(value)
    if not isinstance(text, str | bytes):
        raise TypeError(f"json_codec gave {type(text).__name__}, expected str or bytes")
    return text


def from_json(text: str, codec: JSONCodec | EncodesJSON | None) -> Any:
    """Return the value of a text message.

    Raises:
        InvalidJSON: the codec failed on it; what it raised is the cause.
    """
    try:
        if codec is None:
            return _default()[1](text)
        return codec.loads(text) if hasattr(codec, "loads") else codec.decode(text)
    except Exception as exc:  # codecs of others may raise anything
        raise InvalidJSON(text, str(exc)) from exc


@cache
def _default() -> tuple[Callable[[Any], str], Callable[[str], Any]]:
    """Return how the standard library writes JSON and reads it, held to the standard."""
    # Imported late: it takes 2 ms, and not everybody needs it.
    from json import JSONDecoder, JSONEncoder

    encoder = JSONEncoder(allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    return encoder.encode, JSONDecoder(parse_constant=_refuse_constant).decode


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON (RFC 8259 §6)")
