"""A client: it sends each line that is typed, and prints what comes meanwhile."""

import sys

import anyio

from anyws import ClientConnection, connect


async def show(ws: ClientConnection) -> None:
    async for message in ws:
        print(message, flush=True)


async def main(uri: str) -> None:
    async with connect(uri) as ws, anyio.create_task_group() as tasks:
        tasks.start_soon(show, ws)
        async for line in anyio.wrap_file(sys.stdin):
            await ws.send(line.rstrip("\n"))
        tasks.cancel_scope.cancel()


if __name__ == "__main__":
    anyio.run(main, sys.argv[1])
