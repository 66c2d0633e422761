"""What several adapters need: addresses, and frames that their library cannot send."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from websockets.frames import Frame, Opcode

from ..peers import Message

HOST = "127.0.0.1"


def encode_frames(message: Message, *, mask: bool) -> Iterator[bytes]:
    """Encode a message with one frame per fragment."""
    opcode = Opcode.TEXT if message.is_text else Opcode.BINARY
    *first, last = message.fragments
    for payload in first:
        yield Frame(opcode, payload, fin=False).serialize(mask=mask)
        opcode = Opcode.CONT
    yield Frame(opcode, last).serialize(mask=mask)


def host_and_port(uri: str) -> tuple[str, int]:
    """Split the URI of a server that listens on a port of its own."""
    parts = urlsplit(uri)
    assert parts.hostname is not None
    assert parts.port is not None
    return parts.hostname, parts.port
