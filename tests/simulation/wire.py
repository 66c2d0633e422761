"""The stream of a simulated connection: pieces of any size, cuts at any byte, and a witness.

Knows nothing of WebSocket, nor of scripts.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import anyio
from anyio.lowlevel import checkpoint

from anyws.testing import FaultStream, MemoryStream, memory_pair

from .script import Splits

__all__ = ["Wire", "join"]

# 24 pieces at most are as small as drawn; then all passes as it comes. What is longer than the
# header of a frame is mostly taken in larger pieces. A lifetime is to take a few milliseconds.
_MANY = 24
_LONG = 16
_WHOLE = 1 << 16


class Wire(FaultStream):
    """One end.

    Args:
        stream: an end of a `memory_pair`.
        random: draws where the bytes that arrive are split.
        splits: what sizes to draw from; none at all for no splitting.
        delivered: called with all that this end receives, as it does.

    Attributes:
        cut_at: after so many bytes received, nothing more comes.
        is_cut_by_reset: whether the stream is reset then, or ends.
        received: bytes that were.
        has_failed: whether it could not send.
    """

    def __init__(
        self,
        stream: MemoryStream,
        random: Random,
        splits: Splits,
        delivered: Callable[[bytes], None],
    ) -> None:
        super().__init__(stream)
        self.cut_at: int | None = None
        self.is_cut_by_reset = False
        self.received = 0
        self.has_failed = False
        self._memory = stream
        self._random = random
        self._splits = splits
        self._delivered = delivered
        self._pieces_left = _MANY

    async def receive(self, max_bytes: int = 65536) -> bytes:
        if self.cut_at is not None:
            max_bytes = min(max_bytes, self.cut_at - self.received)
            if max_bytes <= 0:
                await checkpoint()
                if not self.is_cut_by_reset:
                    raise anyio.EndOfStream
                self.reset()
                raise anyio.BrokenResourceError
        if self._splits:
            max_bytes = min(max_bytes, self._piece())
        data = await super().receive(max_bytes)
        self.received += len(data)
        self._delivered(data)
        return data

    async def send(self, item: bytes) -> None:
        try:
            await super().send(item)
        except Exception:
            self.has_failed = True
            raise

    def _piece(self) -> int:
        """Return how much to receive at most."""
        if not self._pieces_left:
            return _WHOLE
        self._pieces_left -= 1
        n = self._random.choice(self._splits)
        there = len(self._arrived) + len(self._memory._incoming.data)
        if there > _LONG and self._random.random() < 0.8:
            return max(n, there // 2)
        return n

    @property
    def has_dropped(self) -> bool:
        """Whether the cable is pulled here."""
        return self._drops

    @property
    def is_closed(self) -> bool:
        return self._closed and (self._drops or self._memory._closed)

    @property
    def keeps_waiting(self) -> bool:
        """Whether the stream has something for its reader, and nothing excuses that it has it."""
        return (
            bool(self._arrived or self._memory._incoming.data)
            and not (self._stalls_reading or self._drops or self._closed or self._is_reset)
            and (self.cut_at is None or self.received < self.cut_at)
            and (not self._arrived or anyio.current_time() >= self._due)
        )

    def rest(self) -> bytes:
        """Return what was sent to this end and never received."""
        return bytes(self._arrived + self._memory._incoming.data)


def join(
    random: Random,
    capacity: int | None,
    splits: Splits,
    to_client: Callable[[bytes], None],
    to_server: Callable[[bytes], None],
) -> tuple[Wire, Wire]:
    """Return the client's end and the server's."""
    ours, theirs = memory_pair(capacity)
    return Wire(ours, random, splits, to_client), Wire(theirs, random, splits, to_server)
