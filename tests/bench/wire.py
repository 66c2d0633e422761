"""The bytes that the load sends, built once, and the lengths of what must come back.

Kept apart from the codec of `anyws`, so that the yardstick is not made of what it measures.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import Final

TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
NORMAL_CLOSURE: Final = (1000).to_bytes(2, "big")
# Any key but zero, which a server might treat as no masking.
MASKING_KEY: Final = b"\x5a\xc3\x96\x0f"
SEC_WEBSOCKET_KEY: Final = b"dGhlIHNhbXBsZSBub25jZQ=="
# RFC 6455 §1.3: the key, then this, hashed and encoded.
ACCEPT_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
SEC_WEBSOCKET_ACCEPT: Final = base64.b64encode(
    hashlib.sha1(SEC_WEBSOCKET_KEY + ACCEPT_GUID).digest()
)


# RFC 7692 §7.1.2.2: the server may choose the client's window. Browsers offer the same.
DEFLATE_OFFER: Final = b"permessage-deflate; client_max_window_bits"


@dataclass(frozen=True, slots=True)
class Exchange:
    """Messages as they are sent, and what must come back for the first.

    Attributes:
        sent: the first message, a frame.
        expected: the frame that comes back for it, or the text in it if it is `compressed`.
        others: what is sent after it in turn, before it is sent again.
        compressed: replies are compressed text, and of any length.
    """

    sent: bytes
    expected: bytes
    others: tuple[bytes, ...] = ()
    compressed: bool = False


def exchange_of(size: int, *, text: bool = False, websocket: bool = True) -> Exchange:
    """Return a message of that size; a bare server gets the same bytes and returns them all."""
    opcode = TEXT if text else BINARY
    payload = printable(size)
    sent = encode_frame(opcode, payload, masked=True)
    return Exchange(sent, encode_frame(opcode, payload, masked=False) if websocket else sent)


def exchange_with_client(size: int, *, websocket: bool) -> Exchange:
    """Return a message that a server sends, and what its client echoes but for the masking key."""
    payload = printable(size)
    sent = encode_frame(BINARY, payload, masked=False)
    return Exchange(sent, encode_frame(BINARY, payload, masked=True) if websocket else sent)


def printable(size: int) -> bytes:
    """Return that many bytes of ASCII, from the space to the tilde over and over."""
    pattern = bytes(range(0x20, 0x7F))
    return (pattern * (size // len(pattern) + 1))[:size]


def encode_close(*, masked: bool = True) -> bytes:
    """Encode the Close frame that ends a connection (§5.5.1)."""
    return encode_frame(CLOSE, NORMAL_CLOSURE, masked=masked)


def encode_frame(opcode: int, payload: bytes, *, masked: bool) -> bytes:
    """Encode an unfragmented frame (RFC 6455 §5.2)."""
    mask_bit = 0x80 if masked else 0
    size = len(payload)
    header = bytes([0x80 | opcode])
    if size < 126:
        header += bytes([mask_bit | size])
    elif size < 65536:
        header += bytes([mask_bit | 126]) + size.to_bytes(2, "big")
    else:
        header += bytes([mask_bit | 127]) + size.to_bytes(8, "big")
    return header + (MASKING_KEY + _mask(payload, MASKING_KEY) if masked else payload)


def unmask(frame: bytes) -> tuple[bytes, bytes]:
    """Return the header of a masked frame, without its key, and its payload."""
    size = {126: 4, 127: 10}.get(frame[1] & 0x7F, 2)
    return frame[:size], _mask(frame[size + 4 :], frame[size : size + 4])


def encode_request(port: int, *, compress: bool = False) -> bytes:
    """Encode an opening handshake (§4.1) that offers compression, or else no extension."""
    lines = [
        b"GET / HTTP/1.1",
        b"Host: 127.0.0.1:%d" % port,
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Key: " + SEC_WEBSOCKET_KEY,
        b"Sec-WebSocket-Version: 13",
    ]
    if compress:
        lines.append(b"Sec-WebSocket-Extensions: " + DEFLATE_OFFER)
    return b"\r\n".join(lines) + b"\r\n\r\n"


def encode_response(key: bytes) -> bytes:
    """Encode the response that accepts an opening handshake (§4.2.2)."""
    lines = [
        b"HTTP/1.1 101 Switching Protocols",
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Accept: " + base64.b64encode(hashlib.sha1(key + ACCEPT_GUID).digest()),
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def _mask(payload: bytes, masking_key: bytes) -> bytes:
    size = len(payload)
    key = (masking_key * (size // 4 + 1))[:size]
    masked = int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")
    return masked.to_bytes(size, "big")
