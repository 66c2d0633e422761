"""An encoder of frames, written from RFC 6455 §5.2 alone: nothing of the package is in it.

It encodes what the RFC forbids as readily as what it allows.
"""

from __future__ import annotations

from dataclasses import dataclass

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA

#: The masking key of the examples in §5.7.
MASK = bytes.fromhex("37fa213d")


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame in its parts.

    Attributes:
        opcode: 4 bits.
        payload: not masked.
        fin: the last fragment of a message, or its only one.
        reserved: RSV1 to RSV3 as a number, RSV1 being 4.
        length: the length that the header states, if it is not that of `payload`.
        length_bytes: 1, 3 or 9 bytes for the length; the fewest that hold it if None.
    """

    opcode: int
    payload: bytes = b""
    fin: bool = True
    reserved: int = 0
    length: int | None = None
    length_bytes: int | None = None

    def encode(self, mask: bytes | None) -> bytes:
        """Put the frame on the wire, masked unless `mask` is None."""
        first_byte = self.fin << 7 | self.reserved << 4 | self.opcode
        n = len(self.payload) if self.length is None else self.length
        length_bytes = self.length_bytes or (1 if n < 126 else 3 if n < 65536 else 9)
        coded = {1: n, 3: 126, 9: 127}[length_bytes]
        mask_bit = 0 if mask is None else 0x80
        header = bytes([first_byte, mask_bit | coded])
        if length_bytes > 1:
            header += n.to_bytes(length_bytes - 1, "big")
        if mask is None:
            return header + self.payload
        return header + mask + masked(self.payload, mask)


def masked(payload: bytes, mask: bytes) -> bytes:
    """Octet i of the payload, XORed with octet i mod 4 of the mask (§5.3)."""
    return bytes(octet ^ mask[i % 4] for i, octet in enumerate(payload))


def encode(*frames: Frame, to_server: bool) -> bytes:
    """Put frames on the wire, one behind the other; those to a server are masked (§5.1)."""
    return b"".join(frame.encode(MASK if to_server else None) for frame in frames)


def close(code: int, reason: bytes = b"") -> Frame:
    """Return a Close frame with a code (§5.5.1)."""
    return Frame(CLOSE, code.to_bytes(2, "big") + reason)
