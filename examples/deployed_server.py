"""A server for a container: settings from the environment, a health check, SIGTERM drains it.

PORT=8765 DRAIN_SECONDS=20 python examples/deployed_server.py [--backend trio|asyncio]
"""

import argparse
import logging
import os
import signal

import anyio

from anyws import ServerConnection, serve

PORT = int(os.environ.get("PORT", "8765"))
DRAIN_SECONDS = float(os.environ.get("DRAIN_SECONDS", "20"))
MAX_CONNECTIONS = int(os.environ.get("MAX_CONNECTIONS", "10000"))


async def echo(ws: ServerConnection) -> None:
    """Send every message back."""
    async for message in ws:
        await ws.send(message)


async def main() -> None:
    """Serve on all interfaces until SIGTERM, then let the clients go one by one."""
    async with serve(
        echo, port=PORT, health="/healthz", max_connections=MAX_CONNECTIONS, shutdown_timeout=5
    ) as server:
        print(f"serving on {server.uri}", flush=True)
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async for number in signals:
                if number == signal.SIGTERM:
                    await server.drain(DRAIN_SECONDS, code=1012)
                break
    print("stopped", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Serve in a container.")
    parser.add_argument("--backend", choices=("trio", "asyncio"), default="asyncio")
    logging.basicConfig(level=logging.INFO)
    anyio.run(main, backend=parser.parse_args().backend)
