"""A server with a handler for each path, and clients that ask for several.

python examples/routing.py [--backend trio|asyncio]
"""

import argparse
from urllib.parse import urljoin

import anyio

from anyws import HandshakeRejected, Router, ServerConnection, connect, serve

router = Router()


@router.route("/")
async def welcome(ws: ServerConnection) -> None:
    """Say where the rooms are."""
    await ws.send(f"this way: {router.path_for('chat', room='Tea & Cake')}")


@router.route("/chat/<room>", name="chat", max_size=1000, compression="deflate")
async def chat(ws: ServerConnection, room: str) -> None:
    """Answer in a room, to messages of 1,000 bytes at most."""
    async for message in ws:
        await ws.send(f"in {room}: {message!r}")


@router.route("/double/<int:number>")
async def double(ws: ServerConnection, number: int) -> None:
    """Send twice a number."""
    await ws.send(str(2 * number))


async def main() -> None:
    """Serve on a free port, and look around."""
    async with serve(router, "localhost", 0) as server:
        async with connect(server.uri) as ws:
            print(await ws.receive())
        uri = urljoin(server.uri, router.path_for(chat, room="Tea & Cake"))
        async with connect(uri) as ws:
            await ws.send("hello")
            print(await ws.receive())
        async with connect(urljoin(server.uri, "/double/21")) as ws:
            print(await ws.receive())
        try:
            async with connect(urljoin(server.uri, "/double/trouble")):
                print("never printed")
        except HandshakeRejected as exc:
            print(exc.response.status_code, exc.response.body.decode().strip())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A server with a handler for each path.")
    parser.add_argument("--backend", choices=("trio", "asyncio"), default="trio")
    anyio.run(main, backend=parser.parse_args().backend)
