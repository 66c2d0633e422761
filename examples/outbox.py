"""A program that can send at any time: what it says waits until the server has stored it.

python examples/outbox.py [--backend trio|asyncio]
"""

import argparse

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream

from anyws import ConnectionClosed, Retry, ServerConnection, reconnect, serve


async def send_all(uri: str, outbox: MemoryObjectReceiveStream[str]) -> None:
    """Send what others put into the outbox, each message until it is acknowledged."""
    message: str | None = None
    async with reconnect(uri, retry=Retry(initial_delay=0.1)) as attempts:
        async for ws in attempts:
            try:
                while True:
                    if message is None:
                        message = await outbox.receive()
                    await ws.send(message)
                    await ws.receive()
                    message = None
            except ConnectionClosed as closed:
                print(f"closed with {closed.code}")
            except anyio.EndOfStream:
                return  # nobody is going to put anything into it


async def store_two(ws: ServerConnection) -> None:
    """Store and acknowledge two messages, then go as for a restart."""
    for _ in range(2):
        print(f"stored {await ws.receive_text()}")
        await ws.send("stored")
    await ws.close(1012)


async def main() -> None:
    """Send four messages to a server that takes two at a time."""
    outbox, waiting = anyio.create_memory_object_stream[str](1000)  # then, who puts has to wait
    async with (
        serve(store_two, "localhost", 0) as server,
        waiting,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(send_all, server.uri, waiting)
        async with outbox:
            for number in range(4):
                await outbox.send(f"message {number}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Keep messages until they are stored.")
    parser.add_argument("--backend", choices=("trio", "asyncio"), default="asyncio")
    anyio.run(main, backend=parser.parse_args().backend)
