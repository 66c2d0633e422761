"""A server that only sends: everyone sees how many are there. A handler ends with its client.

python examples/live_counter.py [--port PORT] [--backend trio|asyncio]
"""

import argparse
from contextlib import suppress

import anyio

from anyws import ServerConnection, serve

present: set[ServerConnection] = set()
changed = [anyio.Event()]  # a new one after each change


def tell_everyone() -> None:
    """Wake every handler."""
    changed[0].set()
    changed[0] = anyio.Event()


async def show_count(ws: ServerConnection) -> None:
    """Send the number now and after each change. Nothing here receives, or waits for the end."""
    present.add(ws)
    tell_everyone()
    try:
        with ws.cancel_on_close(incoming="discard") as scope:
            while True:
                await ws.send(f"{len(present)} here")
                await changed[0].wait()
        print(f"one left: {scope.closed}", flush=True)
    finally:
        present.discard(ws)
        tell_everyone()


async def main(port: int) -> None:
    """Serve until Ctrl+C."""
    async with serve(show_count, "localhost", port) as server:
        print(f"serving on {server.uri}", flush=True)
        await anyio.sleep_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Show everyone how many are there.")
    parser.add_argument("--port", type=int, default=8765, help="0 picks a free one")
    parser.add_argument("--backend", choices=["trio", "asyncio"], default="asyncio")
    arguments = parser.parse_args()
    with suppress(KeyboardInterrupt):
        anyio.run(main, arguments.port, backend=arguments.backend)
