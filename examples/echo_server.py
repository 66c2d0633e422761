"""A server that sends every message back. Ctrl+C stops it.

python examples/echo_server.py [--host HOST] [--port PORT] [--backend trio|asyncio]
"""

import argparse
from contextlib import suppress

import anyio

from anyws import ServerConnection, serve


async def echo(ws: ServerConnection) -> None:
    """Send back what comes in; the loop ends when the client closes."""
    async for message in ws:
        await ws.send(message)


async def main(host: str, port: int) -> None:
    """Serve until cancelled; leaving the block closes every connection with 1001."""
    async with serve(echo, host, port) as server:
        print(f"serving on {server.uri}", flush=True)
        await anyio.sleep_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Send every message back.")
    parser.add_argument("--host", default="localhost")
    parser.add_argument("--port", type=int, default=8765, help="0 picks a free one")
    parser.add_argument("--backend", choices=("trio", "asyncio"), default="asyncio")
    options = parser.parse_args()
    with suppress(KeyboardInterrupt):
        anyio.run(main, options.host, options.port, backend=options.backend)
