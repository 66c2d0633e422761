"""Raw peers of `anyws.testing` over real sockets, and ports where nobody answers."""

from __future__ import annotations

import socket as stdlib_socket
import ssl as stdlib_ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

import anyio
from anyio.abc import ByteStream, SocketAttribute
from anyio.streams.tls import TLSListener, TLSStream

from anyws.testing import RawPeer

__all__ = [
    "LIMIT",
    "Script",
    "closed_port",
    "full_listener",
    "raw_client",
    "raw_server",
]

#: Seconds for anything that ends at once unless something is wrong.
LIMIT = 10.0

Script = Callable[[RawPeer], Awaitable[object]]


@asynccontextmanager
async def raw_server(
    script: Script, ssl: stdlib_ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    """Run `script` for each connection to the port that this yields, then close it.

    Leaving the block waits for the scripts, so that all they check counts.
    """
    busy: set[RawPeer] = set()
    idle = anyio.Event()

    async def run(stream: ByteStream) -> None:
        peer = RawPeer(stream, is_client=False)
        busy.add(peer)
        try:
            async with stream:
                await script(peer)
        finally:
            busy.discard(peer)
            if not busy:
                idle.set()

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(SocketAttribute.local_port)
    serving = listener if ssl is None else TLSListener(listener, ssl, standard_compatible=False)
    async with serving, anyio.create_task_group() as tasks:
        tasks.start_soon(serving.serve, run)
        yield port
        if busy:
            with anyio.fail_after(LIMIT):
                await idle.wait()
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def raw_client(port: int, ssl: stdlib_ssl.SSLContext | None = None) -> AsyncIterator[RawPeer]:
    """Connect to a port of this machine."""
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        if ssl is None:
            yield RawPeer(stream, is_client=True)
            return
        async with await TLSStream.wrap(
            stream, hostname="127.0.0.1", ssl_context=ssl, standard_compatible=False
        ) as secure:
            yield RawPeer(secure, is_client=True)


@contextmanager
def closed_port() -> Iterator[int]:
    """Yield a port of 127.0.0.1 that refuses connections, and is nobody else's meanwhile."""
    with stdlib_socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


@contextmanager
def full_listener(path: str) -> Iterator[None]:
    """Listen on a Unix socket with a full backlog, where connecting takes for ever."""
    family = stdlib_socket.AF_UNIX
    waiting: list[stdlib_socket.socket] = []
    with stdlib_socket.socket(family) as sock:
        sock.bind(path)
        sock.listen(0)
        try:
            with suppress(BlockingIOError):
                while True:
                    waiting.append(stdlib_socket.socket(family))
                    waiting[-1].setblocking(False)
                    waiting[-1].connect(path)
            yield
        finally:
            for client in waiting:
                client.close()
