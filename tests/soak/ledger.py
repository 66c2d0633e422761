"""Numbered messages, and what one side of a connection has sent and received of them.

A message says its number, its size and its checksum, so that one that is lost, repeated, out of
order or torn is found out when it is received.
"""

from __future__ import annotations

import json
import random
import zlib
from dataclasses import dataclass, field
from typing import Any

__all__ = ["HEAD_SIZE", "Ledger", "compose", "compose_json", "draw_size"]

_TEXT = "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich — ありがとう 🎈 "

# 1 MiB that cannot be compressed, and as many characters that can.
_BYTES = random.Random(0).randbytes(1 << 20)
_CHARACTERS = _TEXT * ((1 << 20) // len(_TEXT))

# Number, size and checksum as 8 hexadecimal digits each, and whether it is the last message.
_HEAD = "{:08x} {:08x} {:08x} {:d} "
HEAD_SIZE = len(_HEAD.format(0, 0, 0, False))

# From the smallest frames to those of 8 bytes of length (RFC 6455 §5.2); the large ones are rare.
_SIZES = ((0, 0), (1, 96), (1, 96), (97, 1000), (97, 1000), (1000, 20_000), (20_000, 70_000))
_LARGE = (70_000, 500_000)

# JSON may take six bytes for a character.
_SMALL = 10_000


def draw_size(chance: random.Random, *, is_small: bool) -> int:
    """Draw the size of a body; a small one is at most 64 KiB in any form."""
    low, high = _LARGE if chance.random() < 0.02 else chance.choice(_SIZES)
    size = chance.randint(low, high)
    return min(size, _SMALL) if is_small else size


def compose(number: int, size: int, *, text: bool, last: bool = False) -> str | bytes:
    """Return a message whose body has so many bytes, or characters."""
    start = number * 61 % 4096
    if text:
        characters = _CHARACTERS[start : start + size]
        return _HEAD.format(number, len(characters), _check(characters), last) + characters
    body = _BYTES[start : start + size]
    return _HEAD.format(number, len(body), zlib.crc32(body), last).encode() + body


def compose_json(number: int, size: int, *, last: bool = False) -> list[object]:
    """Return a message as a value for JSON."""
    body = _CHARACTERS[:size]
    return [number, len(body), _check(body), last, body]


def _check(characters: str) -> int:
    return zlib.crc32(characters.encode())


@dataclass(slots=True)
class Ledger:
    """What one side of a connection has sent and received.

    Attributes:
        sent: messages whose `send` has returned.
        received: messages that came.
        has_gaps: whether numbers begin anywhere, and some may be left out.
        has_all: whether the last message came.
        problems: what should not have been.
    """

    sent: int = 0
    received: int = 0
    has_gaps: bool = False
    has_all: bool = False
    problems: list[str] = field(default_factory=list)
    _expected: int = 0

    def take(self, message: str | bytes, *, is_whole: bool = True) -> None:
        """Check a message that came, or its beginning."""
        head, body = message[:HEAD_SIZE], message[HEAD_SIZE:]
        try:
            number, size, check, last = (int(word, 16) for word in head.split())
        except ValueError:
            self.problems.append(f"torn: a message begins with {head!r}")
            return
        found = len(body), zlib.crc32(body.encode() if isinstance(body, str) else body)
        self._take(number, bool(last), (size, check), found if is_whole else (size, check))

    def take_json(self, value: Any) -> None:
        """Check a message that came as JSON."""
        try:
            number, size, check, last, body = value
        except (TypeError, ValueError):
            self.problems.append(f"torn: a message of JSON begins with {json.dumps(value)[:50]}")
            return
        self._take(number, last, (size, check), (len(body), _check(body)))

    def _take(self, number: int, last: bool, said: tuple[int, int], found: tuple[int, int]) -> None:
        if said != found:
            self.problems.append(f"torn: message {number} says {said}, and is {found}")
        if number < self._expected:
            self.problems.append(f"repeated or late: {number} after {self._expected - 1}")
        elif number > self._expected and not self.has_gaps:
            self.problems.append(f"lost or early: {number} in the place of {self._expected}")
        if self.has_all:
            self.problems.append(f"{number} came after the last one")
        self.received += 1
        self._expected = number + 1
        self.has_all = self.has_all or last
