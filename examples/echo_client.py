"""A client that sends messages one by one and prints what comes back.

python examples/echo_client.py [--backend trio|asyncio] URI MESSAGE [MESSAGE ...]
"""

import argparse
import sys

import anyio

from anyws import WebSocketError, connect


async def main(uri: str, messages: list[str]) -> None:
    """Exchange the messages; leaving the block closes the connection with 1000."""
    async with connect(uri, open_timeout=5) as ws:
        for message in messages:
            await ws.send(message)
            print(await ws.receive_text())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Send messages, print the answers.")
    parser.add_argument("--backend", choices=("trio", "asyncio"), default="asyncio")
    parser.add_argument("uri")
    parser.add_argument("messages", nargs="+", metavar="MESSAGE")
    options = parser.parse_args()
    try:
        anyio.run(main, options.uri, options.messages, backend=options.backend)
    except (OSError, WebSocketError) as error:
        # A timeout is an OSError too: TimeoutError is one of its subclasses.
        sys.exit(f"{options.uri}: {error}")
