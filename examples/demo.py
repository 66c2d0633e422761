"""A server and three clients that talk over loopback sockets, all in this program.

python examples/demo.py [--backend trio|asyncio]
"""

import argparse

import anyio

from anyws import ServerConnection, connect, serve


async def shout(ws: ServerConnection) -> None:
    """Answer text in capitals and bytes in reverse, until the client closes."""
    async for message in ws:
        answer = message.upper() if isinstance(message, str) else message[::-1]
        print(f"  server: {message!r} -> {answer!r}")
        await ws.send(answer)


async def talk(name: str, uri: str) -> None:
    """Open a connection, exchange a few messages, and close it."""
    async with connect(uri) as ws:
        for message in (f"hello, {name} here", f"bytes from {name}".encode(), "goodbye"):
            await ws.send(message)
            print(f"{name}: {message!r} was answered with {await ws.receive()!r}")
        print(f"{name}: a ping there and back takes {await ws.ping() * 1000:.1f} ms")
    print(f"{name}: closed with code {ws.close_code}")


async def main() -> None:
    """Serve on a free port, and stop when every client is done."""
    async with serve(shout, "localhost", 0) as server:
        print(f"serving on {server.uri}")
        async with anyio.create_task_group() as tg:
            for name in ("ada", "ben", "cleo"):
                tg.start_soon(talk, name, server.uri)
    print("stopped")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A server and three clients.")
    parser.add_argument("--backend", choices=("trio", "asyncio"), default="trio")
    anyio.run(main, backend=parser.parse_args().backend)
