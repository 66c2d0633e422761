"""Frames of `anyws.testing` on the wire, with a mask that is known, and masking as the RFC has it.

Nothing of the core is in it.
"""

from __future__ import annotations

from anyws.testing import Frame

__all__ = ["MASK", "encode", "masked"]

#: The masking key of the examples in RFC 6455 §5.7.
MASK = bytes.fromhex("37fa213d")


def masked(payload: bytes, mask: bytes) -> bytes:
    """Octet i of the payload, XORed with octet i mod 4 of the mask (§5.3)."""
    return bytes(octet ^ mask[i % 4] for i, octet in enumerate(payload))


def encode(*frames: Frame, to_server: bool) -> bytes:
    """Put frames on the wire, one behind the other; those to a server are masked (§5.1)."""
    return b"".join(frame.encode(MASK if to_server else None) for frame in frames)
