"""With websockets."""

import asyncio

from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed


async def echo(ws: ServerConnection) -> None:
    async for message in ws:
        await ws.send(message)


async def main() -> None:
    async with serve(echo, "localhost", 0, max_queue=32) as server:
        port = server.sockets[0].getsockname()[1]
        async with connect(f"ws://localhost:{port}/", compression=None) as ws:
            await ws.send("hello")
            print(await ws.recv())
            await (await ws.ping())
            await ws.close(1001, "that is all")
            try:
                await ws.recv()
            except ConnectionClosed as exc:
                if exc.sent is not None:
                    print(exc.sent.code, exc.sent.reason)


if __name__ == "__main__":
    asyncio.run(main())
