"""Byte streams for the other end of a connection: in memory, and over a socket.

Knows nothing of `anyws`.
"""

from __future__ import annotations

import socket
import struct

import anyio
from anyio.abc import ByteStream
from anyio.lowlevel import checkpoint

__all__ = ["MemoryStream", "SocketStream", "accept", "connect", "listen", "memory_pair"]


def memory_pair(capacity: int | None = None) -> tuple[MemoryStream, MemoryStream]:
    """Return two connected streams.

    Args:
        capacity: bytes that each direction holds until the other end reads; None for no limit.
    """
    there, back = _Pipe(capacity), _Pipe(capacity)
    return MemoryStream(back, there), MemoryStream(there, back)


class _Pipe:
    """One direction."""

    def __init__(self, capacity: int | None) -> None:
        self.capacity = capacity
        self.data = bytearray()
        self.ended = False  # nothing more will be written
        self.broken = False  # as after a reset, or because nobody will read
        self._changed = anyio.Event()

    @property
    def room(self) -> int:
        return 1 << 62 if self.capacity is None else self.capacity - len(self.data)

    async def change(self) -> None:
        """Wait until something changes."""
        await self._changed.wait()

    def notify(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()


class MemoryStream(ByteStream):
    """One end of a pair.

    Like a socket, it may pass on the first part of what a cancelled `send` was given.

    Attributes:
        writes: how often `send` was called.
    """

    def __init__(self, incoming: _Pipe, outgoing: _Pipe) -> None:
        self._incoming = incoming
        self._outgoing = outgoing
        self._closed = False
        self.writes = 0

    async def receive(self, max_bytes: int = 65536) -> bytes:
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
        await checkpoint()
        self.writes += 1
        pipe = self._outgoing
        rest = memoryview(item)
        while True:
            if self._closed or pipe.ended:
                raise anyio.ClosedResourceError
            if pipe.broken:
                raise anyio.BrokenResourceError
            n = min(pipe.room, len(rest))
            if n:
                pipe.data += rest[:n]
                rest = rest[n:]
                pipe.notify()
            if not rest:
                return
            await pipe.change()

    async def send_eof(self) -> None:
        await checkpoint()
        self._outgoing.ended = True
        self._outgoing.notify()

    async def aclose(self) -> None:
        """Close: the other end reads what was written and then the end; its writes fail."""
        self._closed = True
        self._outgoing.ended = True
        self._incoming.broken = True
        self._outgoing.notify()
        self._incoming.notify()
        await checkpoint()

    def reset(self) -> None:
        """Break both directions at once, as a TCP reset does."""
        for pipe in (self._incoming, self._outgoing):
            pipe.broken = True
            pipe.notify()


class SocketStream(ByteStream):
    """A TCP socket that is read when `receive` is called, and not before.

    The streams of anyio on asyncio read ahead, so that a peer on one cannot stop reading.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock

    async def receive(self, max_bytes: int = 65536) -> bytes:
        while True:
            await checkpoint()
            try:
                data = self._sock.recv(max_bytes)
            except BlockingIOError:
                await anyio.wait_readable(self._sock)
            except OSError as exc:
                raise anyio.BrokenResourceError from exc
            else:
                if not data:
                    raise anyio.EndOfStream
                return data

    async def send(self, item: bytes) -> None:
        rest = memoryview(item)
        while rest:
            await checkpoint()
            try:
                rest = rest[self._sock.send(rest) :]
            except BlockingIOError:
                await anyio.wait_writable(self._sock)
            except OSError as exc:
                raise anyio.BrokenResourceError from exc

    async def send_eof(self) -> None:
        self._sock.shutdown(socket.SHUT_WR)
        await checkpoint()

    async def aclose(self) -> None:
        if self._sock.fileno() >= 0:
            anyio.notify_closing(self._sock)
            self._sock.close()
        await checkpoint()

    def reset(self) -> None:
        """Break the connection at once, by a TCP reset."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        anyio.notify_closing(self._sock)
        self._sock.close()


def listen() -> socket.socket:
    """Return a socket that listens on a free port of this machine."""
    sock = socket.create_server(("127.0.0.1", 0))
    sock.setblocking(False)
    return sock


async def accept(listener: socket.socket) -> SocketStream:
    """Wait for a connection."""
    await anyio.wait_readable(listener)
    return SocketStream(listener.accept()[0])


async def connect(port: int) -> SocketStream:
    """Connect to a port of this machine, where somebody listens."""
    await checkpoint()
    return SocketStream(socket.create_connection(("127.0.0.1", port)))
