"""Byte streams over real sockets, for the other end of a connection."""

from __future__ import annotations

import socket
import struct

import anyio
from anyio.abc import ByteStream
from anyio.lowlevel import checkpoint

__all__ = ["SocketStream", "accept", "connect", "listen"]


class SocketStream(ByteStream):
    """A TCP socket that is read when `receive` is called, and not before.

    The streams of anyio on asyncio read ahead, so that a peer on one cannot stop reading.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        # Small writes in a row would otherwise wait for a delayed acknowledgement, about 40 ms.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
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

    def send_and_reset(self, data: bytes) -> None:
        """Send bytes that the kernel has room for, and do as `reset`; the other end has both."""
        assert self._sock.send(data) == len(data)
        self.reset()

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
