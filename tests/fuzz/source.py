"""How the targets take settings off the front of an input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

__all__ = ["Source"]

_T = TypeVar("_T")


class Source:
    """Takes choices off the front of an input; behind its end, each is the first one there is."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def number(self, below: int) -> int:
        """Return a number by the next byte."""
        if self._at >= len(self._data):
            return 0
        self._at += 1
        return self._data[self._at - 1] % below

    def flag(self) -> bool:
        return self.number(2) == 1

    def choice(self, among: Sequence[_T]) -> _T:
        return among[self.number(len(among))]

    def fractions(self) -> list[float]:
        """Return where to cut: at up to seven places."""
        return [self.number(256) / 256 for _ in range(self.number(8))]

    def some(self, *, at_most: int) -> bytes:
        """Return the next bytes, as many as the first of them says."""
        n = min(self.number(256), at_most)
        self._at += n
        return self._data[self._at - n : self._at]

    def rest(self) -> bytes:
        """Return all that is left."""
        self._at, start = len(self._data), self._at
        return self._data[start:]

    def __bool__(self) -> bool:
        return self._at < len(self._data)
