"""Step 2: a server that sends to everyone what one says."""

from contextlib import suppress

import anyio

from anyws import Broadcaster, ServerConnection, serve

everyone = Broadcaster()


async def handle(ws: ServerConnection) -> None:
    async with everyone.member(ws):
        async for message in ws:
            everyone.publish(message)


async def main(port: int = 8765) -> None:
    async with serve(handle, "localhost", port) as server:
        print(f"serving on {server.uri}", flush=True)
        await anyio.sleep_forever()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        anyio.run(main)
