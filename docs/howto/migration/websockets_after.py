"""With anyws."""

import asyncio

from anyws import ConnectionClosed, ServerConnection, connect, serve


async def echo(ws: ServerConnection) -> None:
    async for message in ws:
        await ws.send(message)


async def main() -> None:
    async with (
        serve(echo, "localhost", 0, max_buffer=2**21) as server,
        connect(server.uri) as ws,
    ):
        await ws.send("hello")
        print(await ws.receive())
        await ws.ping()
        await ws.close(1001, "that is all")
        try:
            await ws.receive()
        except ConnectionClosed as exc:
            if exc.sent is not None:
                print(exc.sent.code, exc.sent.reason)


if __name__ == "__main__":
    asyncio.run(main())  # or trio.run(main), or uvloop.run(main())
