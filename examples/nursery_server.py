"""A trio program whose server lives in a nursery. SIGINT or SIGTERM stops it.

python examples/nursery_server.py [--port PORT]
"""

import argparse
import itertools
import signal

import trio

from anyws import Server, ServerConnection, serve


async def tick(ws: ServerConnection) -> None:
    """Send a number every second, for as long as the nursery of the handler lives."""
    for number in itertools.count():
        await ws.send(f"tick {number}")
        await trio.sleep(1)


async def handle(ws: ServerConnection) -> None:
    """Talk in both directions at once: answer messages here, tick in a child task."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tick, ws)
        async for message in ws:
            await ws.send(f"you said {message!r}")
        nursery.cancel_scope.cancel()


async def main(port: int) -> None:
    """Start the server, wait for a signal, stop the server gracefully."""
    async with trio.open_nursery() as nursery:
        # `start` returns once the port is bound; the server then runs in this nursery.
        server: Server = await nursery.start(serve, handle, "localhost", port)
        print(f"serving on {server.uri}", flush=True)
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            print(f"stopping on {signal.Signals(await anext(signals)).name}", flush=True)
        await server.aclose()
        nursery.cancel_scope.cancel()
    print("stopped")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A server in a trio nursery.")
    parser.add_argument("--port", type=int, default=8765, help="0 picks a free one")
    trio.run(main, parser.parse_args().port)
