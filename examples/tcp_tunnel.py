"""Tunnel a TCP port through WebSocket: client -> TCP -> WebSocket -> TCP -> server.

python examples/tcp_tunnel.py [--backend trio|asyncio]
"""

import argparse
from contextlib import suppress

import anyio
from anyio.abc import ByteStream, SocketAttribute

from anyws import ServerConnection, connect, serve

ADDRESS = SocketAttribute.local_address


async def pump(source: ByteStream, sink: ByteStream, scope: anyio.CancelScope) -> None:
    """Pass bytes on; WebSocket has no half-close, so the end of one direction ends both."""
    with suppress(anyio.BrokenResourceError):
        async for data in source:
            await sink.send(data)
    scope.cancel()


async def join(one: ByteStream, other: ByteStream) -> None:
    """Pass bytes both ways, and close both streams in the end."""
    async with one, other, anyio.create_task_group() as tasks:
        tasks.start_soon(pump, one, other, tasks.cancel_scope)
        tasks.start_soon(pump, other, one, tasks.cancel_scope)


async def main() -> None:
    """Start a TCP server that echoes, both ends of the tunnel to it, and talk through that."""

    async def enter(stream: ByteStream) -> None:
        async with connect(server.uri) as ws:
            await join(stream, ws.byte_stream())

    async def leave(ws: ServerConnection) -> None:
        await join(ws.byte_stream(), await anyio.connect_tcp(*far.extra(ADDRESS)))

    async def echo(stream: ByteStream) -> None:
        async with stream:
            await pump(stream, stream, anyio.CancelScope())

    far, near = [await anyio.create_tcp_listener(local_host="127.0.0.1") for _ in range(2)]
    async with far, near, serve(leave, "127.0.0.1") as server, anyio.create_task_group() as tasks:
        tasks.start_soon(far.serve, echo)
        tasks.start_soon(near.serve, enter)
        async with await anyio.connect_tcp(*near.extra(ADDRESS)) as client:
            await client.send(b"hello through the tunnel")
            print((await client.receive()).decode())
        tasks.cancel_scope.cancel()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Tunnel a TCP port through WebSocket.")
    parser.add_argument("--backend", choices=("trio", "asyncio"), default="asyncio")
    anyio.run(main, backend=parser.parse_args().backend)
