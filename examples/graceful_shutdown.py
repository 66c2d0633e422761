"""A server for deploys: SIGTERM drains it over some seconds, SIGINT stops it at once.

python examples/graceful_shutdown.py [--port PORT] [--over SECONDS] [--backend trio|asyncio]
"""

import argparse
import signal

import anyio

from anyws import Server, ServerConnection, serve


async def echo(ws: ServerConnection) -> None:
    """Send every message back; the end of the connection ends the handler."""
    async for message in ws:
        await ws.send(message)


async def stop_on_signal(server: Server, over: float) -> None:
    """Wait for a signal, and stop the server in the way that it asks for."""
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for number in signals:
            if number == signal.SIGTERM:
                print(f"draining {len(server.connections)} connections", flush=True)
                # Each client is told to come back (1012) at a moment of its own, so that the
                # next process does not meet them all at once.
                await server.drain(over, code=1012, reason="new version")
            await server.shutdown(grace=5)
            return


async def main(port: int, over: float) -> None:
    """Serve until a signal comes."""
    async with serve(echo, "localhost", port) as server:
        print(f"serving on {server.uri}", flush=True)
        await stop_on_signal(server, over)
    print("stopped")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Stop gracefully.")
    parser.add_argument("--port", type=int, default=8765, help="0 picks a free one")
    parser.add_argument("--over", type=float, default=10, help="seconds to drain in")
    parser.add_argument("--backend", choices=["trio", "asyncio"], default="asyncio")
    arguments = parser.parse_args()
    anyio.run(main, arguments.port, arguments.over, backend=arguments.backend)
