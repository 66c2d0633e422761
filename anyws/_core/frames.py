"""The frame codec (RFC 6455 §5.2): headers, opcodes, close codes and Close payloads.

Owns the layout of a frame. It must not know messages, connections or roles.
"""

from __future__ import annotations

import enum
import struct

from .._errors import CloseFrame, LocalProtocolError
from .masking import join_frame

__all__ = [
    "MAX_CONTROL_PAYLOAD",
    "SHORT_HEADERS",
    "CloseCode",
    "Opcode",
    "check_close",
    "decode_close_payload",
    "encode_close_payload",
    "encode_frame",
    "encode_frame_header",
]

#: §5.5: a control frame has at most 125 bytes of payload.
MAX_CONTROL_PAYLOAD = 125

#: Headers of short, whole messages that are not masked, by first byte and length.
SHORT_HEADERS = {
    first_byte: [bytes((first_byte, n)) for n in range(126)] for first_byte in (0x81, 0x82)
}

# 16 KiB: from here on the copy that joins header and payload costs more than a second buffer.
_JOIN_BELOW = 16 * 1024

_PACK_16 = struct.Struct("!BBH").pack
_PACK_64 = struct.Struct("!BBQ").pack


class Opcode(enum.IntEnum):
    """What a frame carries (RFC 6455 §5.2, §11.8)."""

    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


class CloseCode(enum.IntEnum):
    """The registered close codes (RFC 6455 §7.4.1, §11.7)."""

    NORMAL_CLOSURE = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    NO_STATUS_RCVD = 1005
    ABNORMAL_CLOSURE = 1006
    INVALID_DATA = 1007
    POLICY_VIOLATION = 1008
    MESSAGE_TOO_BIG = 1009
    MANDATORY_EXTENSION = 1010
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012
    TRY_AGAIN_LATER = 1013
    BAD_GATEWAY = 1014
    TLS_HANDSHAKE = 1015


# §7.4.1: 1004 is reserved; 1005, 1006 and 1015 only name what no Close frame said.
_SENDABLE_CODES = frozenset({1000, 1001, 1002, 1003, *range(1007, 1015)})


def encode_frame_header(first_byte: int, n: int, mask: bytes | None) -> bytes:
    """Encode a frame header with the shortest length there is (§5.2).

    Args:
        first_byte: FIN, the reserved bits and the opcode, as on the wire.
        n: bytes of payload.
        mask: the masking key, or None for a frame that is not masked.
    """
    mask_bit = 0 if mask is None else 0x80
    if n < 126:
        header = bytes((first_byte, mask_bit | n))
    elif n < 65536:
        header = _PACK_16(first_byte, mask_bit | 126, n)
    else:
        header = _PACK_64(first_byte, mask_bit | 127, n)
    return header if mask is None else header + mask


def encode_frame(first_byte: int, payload: bytes, mask: bytes | None) -> tuple[bytes, ...]:
    """Encode a frame as one buffer, or as header and payload where joining them would cost more.

    Args:
        first_byte: FIN, the reserved bits and the opcode, as on the wire.
        payload: kept, not copied, when it is large and not masked.
        mask: the masking key, or None for a frame that is not masked.
    """
    n = len(payload)
    header = encode_frame_header(first_byte, n, mask)
    if mask is None and n >= _JOIN_BELOW:
        return (header, payload)
    return (join_frame(header, payload, mask),)


def check_close(code: int, reason: str) -> None:
    """Check what an application wants a Close frame to say (§7.4).

    Raises:
        LocalProtocolError: `code` or `reason` is out of range.
    """
    if code == CloseCode.NO_STATUS_RCVD:
        raise LocalProtocolError("close code 1005 may not be sent, it stands for none (§7.4.1)")
    encode_close_payload(code, reason)


def encode_close_payload(code: int, reason: str = "") -> bytes:
    """Encode the payload of a Close frame (§5.5.1).

    Args:
        code: 1000-1003, 1007-1014 or 3000-4999; the rest are reserved (§7.4). 1005 stands for
            an empty payload and takes no reason.
        reason: at most 123 bytes once encoded as UTF-8.

    Raises:
        LocalProtocolError: `code` or `reason` is out of range.
    """
    if code == CloseCode.NO_STATUS_RCVD and not reason:
        return b""
    if not _is_sendable(code):
        raise LocalProtocolError(
            f"close code {code} may not be sent; allowed are 1000-1003, 1007-1014 and 3000-4999"
        )
    try:
        encoded = reason.encode()
    except UnicodeEncodeError as exc:
        raise LocalProtocolError(f"close reason cannot be encoded as UTF-8: {exc}") from exc
    if len(encoded) > MAX_CONTROL_PAYLOAD - 2:
        raise LocalProtocolError(f"close reason is {len(encoded)} bytes, limit 123")
    return code.to_bytes(2, "big") + encoded


def decode_close_payload(payload: bytes) -> CloseFrame:
    """Decode the payload of a Close frame (§5.5.1); an empty one is code 1005 (§7.1.5).

    Raises:
        ValueError: one byte only, or a code that may not be on the wire.
        UnicodeDecodeError: the reason is not UTF-8 (a ValueError too: catch it first).
    """
    if not payload:
        return CloseFrame(CloseCode.NO_STATUS_RCVD, "")
    if len(payload) == 1:
        raise ValueError("Close frame has a payload of 1 byte")
    code = int.from_bytes(payload[:2], "big")
    if not _is_sendable(code):
        raise ValueError(f"Close frame has the reserved code {code}")
    return CloseFrame(code, str(payload[2:], "utf-8"))


def _is_sendable(code: int) -> bool:
    return code in _SENDABLE_CODES or 3000 <= code <= 4999
