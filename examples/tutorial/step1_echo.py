"""Step 1: a server that sends back what it gets."""

from contextlib import suppress

import anyio

from anyws import ServerConnection, serve


async def handle(ws: ServerConnection) -> None:
    async for message in ws:
        await ws.send(message)


async def main(port: int = 8765) -> None:
    async with serve(handle, "localhost", port) as server:
        print(f"serving on {server.uri}", flush=True)
        await anyio.sleep_forever()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        anyio.run(main)
