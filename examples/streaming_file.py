"""Send a file as one message, piece by piece: neither side holds it in memory.

python examples/streaming_file.py [--backend trio|asyncio] [FILE]
"""

import argparse
import hashlib

import anyio

from anyws import ServerConnection, connect, serve

CHUNK_BYTES = 64 * 1024


async def digest_message(ws: ServerConnection) -> None:
    """Read one message as its bytes arrive, and answer with its length and SHA-256.

    `max_size` is for messages received whole; a stream has no limit unless it is given one.
    """
    digest = hashlib.sha256()
    length = 0
    async with ws.receive_stream() as chunks:
        async for chunk in chunks:
            data = chunk.encode() if isinstance(chunk, str) else chunk
            digest.update(data)
            length += len(data)
    await ws.send(f"{length} bytes, SHA-256 {digest.hexdigest()}")


async def upload(uri: str, path: anyio.Path) -> None:
    """Send the file; an error while reading it would fail the connection, not end the message."""
    digest = hashlib.sha256()
    length = 0
    async with connect(uri) as ws, await anyio.open_file(path, "rb") as file:
        async with ws.send_stream() as writer:
            while chunk := await file.read(CHUNK_BYTES):
                digest.update(chunk)
                length += len(chunk)
                await writer.write(chunk)
        print(f"sent     {length} bytes, SHA-256 {digest.hexdigest()}")
        print(f"received {await ws.receive_text()}")


async def main(path: anyio.Path) -> None:
    """Serve on a free port and send the file to it."""
    async with serve(digest_message, "localhost", 0) as server:
        await upload(server.uri, path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Send a file as one message.")
    parser.add_argument("--backend", choices=("trio", "asyncio"), default="asyncio")
    parser.add_argument("file", nargs="?", default=__file__)
    options = parser.parse_args()
    anyio.run(main, anyio.Path(options.file), backend=options.backend)
