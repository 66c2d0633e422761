"""A client that connects again whenever its server restarts, and misses nothing.

python examples/reconnecting_feed.py [--backend trio|asyncio]
"""

import argparse

import anyio

from anyws import (
    ClientConnection,
    CloseCode,
    ConnectionClosed,
    Retry,
    ServerConnection,
    reconnect,
    serve,
)

RETRY = Retry(initial_delay=0.1, max_delay=30, max_elapsed=300)


async def feed(ws: ServerConnection) -> None:
    """Send three events after the last one that the client has, then go as for a restart."""
    last = int(await ws.receive_text())
    for number in range(last + 1, last + 4):
        await ws.send(str(number))
    await ws.close(CloseCode.SERVICE_RESTART)


async def follow(uri: str, until: int) -> None:
    """Print events up to a number, over as many connections as it takes."""
    last = 0

    async def resume(ws: ClientConnection) -> None:
        await ws.send(str(last))

    async with reconnect(uri, retry=RETRY, on_connect=resume) as attempts:
        async for ws in attempts:
            try:
                async for message in ws:
                    last = int(message)
                    print(f"event {last}")
                    if last == until:
                        return
            except ConnectionClosed as closed:
                print(f"the server went away with code {closed.code}")


async def main() -> None:
    """Serve on a free port, and follow the feed."""
    async with serve(feed, "localhost", 0) as server:
        await follow(server.uri, until=8)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Follow a feed whose server restarts.")
    parser.add_argument("--backend", choices=("trio", "asyncio"), default="asyncio")
    anyio.run(main, backend=parser.parse_args().backend)
