"""A server and a client in one program.

python examples/hello.py [--backend trio|asyncio]
"""

import argparse

import anyio

from anyws import ServerConnection, connect, serve


async def shout(ws: ServerConnection) -> None:
    """Answer in capitals, until the client closes."""
    async for message in ws:
        await ws.send(str(message).upper())


async def main() -> None:
    """Serve on a free port, and talk to it."""
    async with serve(shout, "localhost", 0) as server:
        async with connect(server.uri) as ws:
            for word in ("hello", "goodbye"):
                await ws.send(word)
                print(await ws.receive())
        print(f"closed with code {ws.close_code}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A server and a client.")
    parser.add_argument("--backend", choices=("trio", "asyncio"), default="asyncio")
    anyio.run(main, backend=parser.parse_args().backend)
