"""A client that goes through a proxy, a small one of its own, and one that it refuses.

python examples/proxy.py [--backend trio|asyncio]
"""

import argparse

import anyio
from anyio.abc import ByteStream, SocketAttribute
from anyio.streams.buffered import BufferedByteReceiveStream

from anyws import BasicAuth, ProxyError, ServerConnection, connect, serve


async def greet(ws: ServerConnection) -> None:
    """Say hello and leave."""
    await ws.send("hello through the proxy")


async def copy(source: ByteStream, target: ByteStream) -> None:
    """Pass bytes on until none come."""
    async for chunk in source:
        await target.send(chunk)


async def tunnel(client: ByteStream) -> None:
    """Answer a CONNECT request, if it has the password, and pass bytes both ways."""
    async with client, anyio.create_task_group() as tasks:
        request = await BufferedByteReceiveStream(client).receive_until(b"\r\n\r\n", 16_384)
        if BasicAuth("ada", "lovelace").header_value().encode() not in request:
            await client.send(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
            return
        host, _, port = request.split()[1].decode().rpartition(":")
        async with await anyio.connect_tcp(host, int(port)) as server:
            await client.send(b"HTTP/1.1 200 OK\r\n\r\n")
            tasks.start_soon(copy, client, server)
            await copy(server, client)
            tasks.cancel_scope.cancel()


async def main() -> None:
    """Serve behind the proxy, and connect with the password and without."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with serve(greet, "127.0.0.1") as server, listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, tunnel)
        place = f"127.0.0.1:{listener.extra(SocketAttribute.local_port)}"
        for proxy in (f"http://ada:lovelace@{place}", f"http://{place}"):
            try:
                async with connect(server.uri, proxy=proxy) as ws:
                    print(await ws.receive())
            except ProxyError as exc:
                print(exc)
        tasks.cancel_scope.cancel()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Go through a proxy.")
    parser.add_argument("--backend", choices=("trio", "asyncio"), default="asyncio")
    anyio.run(main, backend=parser.parse_args().backend)
