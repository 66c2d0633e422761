"""Two byte streams that are joined in memory.

Knows nothing of WebSocket, nor of the rest of the package.
"""

from __future__ import annotations

import anyio
from anyio.abc import ByteStream
from anyio.lowlevel import checkpoint

__all__ = ["MemoryStream", "memory_pair"]


def memory_pair(capacity: int | None = None) -> tuple[MemoryStream, MemoryStream]:
    """Return two byte streams that are joined in memory.

    Args:
        capacity: bytes that each direction holds until the other end reads, after which a writer
            waits, as on a network; None for no limit.

    Raises:
        ValueError: `capacity` is less than 1.
    """
    if capacity is not None and capacity < 1:
        raise ValueError(f"capacity is {capacity}, expected at least 1 byte")
    there, back = _Pipe(capacity), _Pipe(capacity)
    return MemoryStream(back, there), MemoryStream(there, back)


class _Pipe:
    """One direction."""

    def __init__(self, capacity: int | None) -> None:
        self.capacity = capacity
        self.data: bytearray = bytearray()
        self.ended = False  # nothing more will be written
        self.broken = False  # as after a reset, or because nobody will read
        self._changed = anyio.Event()

    def room_for(self, n: int) -> int:
        """Return how many of `n` bytes there is room for."""
        return n if self.capacity is None else min(n, self.capacity - len(self.data))

    async def change(self) -> None:
        """Wait until something changes."""
        await self._changed.wait()

    def notify(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()


class MemoryStream(ByteStream):
    """One end of a `memory_pair`.

    Like a socket, it may pass on the first part of what a cancelled `send` was given.

    Attributes:
        writes: how often `send` was called.
    """

    def __init__(self, incoming: _Pipe, outgoing: _Pipe) -> None:
        self._incoming = incoming
        self._outgoing = outgoing
        self._closed = False
        self.writes: int = 0

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Receive what is there, at most `max_bytes`, or wait for something.

        Raises:
            EndOfStream: the other end has sent all it had to send.
            BrokenResourceError: the pair was reset.
            ClosedResourceError: this end was closed.

        Cancelling: nothing is lost.
        Concurrency: one task at a time.
        """
        await checkpoint()
        pipe = self._incoming
        while True:
            if self._closed:
                raise anyio.ClosedResourceError
            if pipe.broken:
                raise anyio.BrokenResourceError
            if pipe.data:
                data = bytes(pipe.data[:max_bytes])
                del pipe.data[:max_bytes]
                pipe.notify()
                return data
            if pipe.ended:
                raise anyio.EndOfStream
            await pipe.change()

    async def send(self, item: bytes) -> None:
        """Send all of `item`, waiting for room where there is a limit.

        Raises:
            BrokenResourceError: the other end was closed, or the pair was reset.
            ClosedResourceError: this end was closed, or has sent its end.

        Cancelling: a part may have been sent, as on a socket.
        Concurrency: one task at a time.
        """
        await checkpoint()
        self.writes += 1
        pipe = self._outgoing
        rest = memoryview(item)
        while True:
            if self._closed or pipe.ended:
                raise anyio.ClosedResourceError
            if pipe.broken:
                raise anyio.BrokenResourceError
            n = pipe.room_for(len(rest))
            if n:
                pipe.data += rest[:n]
                rest = rest[n:]
                pipe.notify()
            if not rest:
                return
            await pipe.change()

    async def send_eof(self) -> None:
        """Say that no more will be sent; receiving goes on.

        Cancelling: nothing was said.
        Concurrency: any task that is not in the middle of a `send`.
        """
        await checkpoint()
        self._outgoing.ended = True
        self._outgoing.notify()

    async def aclose(self) -> None:
        """Close this end: the other reads what was sent and then the end; what it sends fails.

        Cancelling: it is closed even so.
        Concurrency: any task; who receives or sends at this end gets `ClosedResourceError`.
        """
        self._closed = True
        self._outgoing.ended = True
        self._incoming.broken = True
        self._outgoing.notify()
        self._incoming.notify()
        await checkpoint()

    def reset(self) -> None:
        """Break both directions at once, as a TCP reset does: what is under way is lost."""
        for pipe in (self._incoming, self._outgoing):
            pipe.broken = True
            pipe.notify()
