"""The messages of a lifetime: each says which one it is, so that none can be taken for another."""

from __future__ import annotations

from random import Random

from .model import Message

__all__ = ["cut", "new_message"]

# One and a half MiB of each, of which messages are slices: making one costs next to nothing.
_LONGEST = 3 << 19
_BYTES = Random(0).randbytes(_LONGEST)
# Characters of one to four bytes, so that pieces end inside of them.
_TEXT = "".join(Random(0).choices("ab \nß€😀", k=4096)) * (_LONGEST // 4096)


def new_message(label: str, size: int, text: bool) -> Message:
    """Return a message of so many characters or bytes; empty, or no shorter than its label."""
    if not size:
        return "" if text else b""
    start = f"{label}:"
    n = max(0, size - len(start))
    at = hash_of(label)
    if text:
        return start + _TEXT[at : at + n]
    return start.encode() + _BYTES[at : at + n]


def hash_of(label: str) -> int:
    """Return where the filling of a message begins."""
    return int(label[1:]) * 37 % 4096


def cut(message: Message, sizes: tuple[int, ...]) -> list[Message]:
    """Cut a message into pieces of these sizes; the last one gets what is left."""
    pieces: list[Message] = []
    at = 0
    for size in sizes[:-1]:
        pieces.append(message[at : at + size])
        at += size
    if sizes:
        pieces.append(message[at:])
    return pieces
