"""A feed that waits for nobody: one client reads all of it, one misses what it is too slow for.

python examples/broadcast_slow_clients.py [--backend trio|asyncio]
"""

import argparse

import anyio
from anyio.abc import TaskStatus

from anyws import Broadcaster, ServerConnection, connect, serve

MESSAGES = 200
SIZE = 1 << 16  # bytes: all of them are more than the buffers between two programs hold

feed = Broadcaster(max_queue=16, slow="drop_oldest")


async def subscribe(ws: ServerConnection) -> None:
    """Send what is published, until the client goes."""
    async with feed.member(ws) as member:
        await ws.send("welcome")
        await ws.wait_closed()
    print(f"{ws.request.path}: {member.dropped} dropped")


async def publish() -> None:
    """Publish a message every 2 ms."""
    for number in range(MESSAGES):
        feed.publish(number.to_bytes(SIZE, "big"))
        await anyio.sleep(0.002)


async def read(uri: str, begin: anyio.Event, *, task_status: TaskStatus[None]) -> None:
    """Read up to the last message, which is never dropped: it is the newest."""
    async with connect(uri) as ws:
        await ws.receive()  # the welcome
        task_status.started()
        await begin.wait()
        count = 1
        while int.from_bytes(await ws.receive_bytes(), "big") != MESSAGES - 1:
            count += 1
    print(f"{uri.rpartition('/')[2]} got {count} of {MESSAGES}")


async def main() -> None:
    """Serve one client that reads at once, and one that does when all is published."""
    now, later = anyio.Event(), anyio.Event()
    now.set()
    async with serve(subscribe, "localhost", 0) as server, anyio.create_task_group() as tasks:
        await tasks.start(read, f"{server.uri}quick", now)
        await tasks.start(read, f"{server.uri}slow", later)
        await publish()
        later.set()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Broadcast to a slow client.")
    parser.add_argument("--backend", choices=["trio", "asyncio"], default="asyncio")
    anyio.run(main, backend=parser.parse_args().backend)
