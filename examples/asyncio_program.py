"""An asyncio program, with nothing of anyio in it: a server that does what it is sent in threads.

python examples/asyncio_program.py
"""

import asyncio
import hashlib

from anyws import ServerConnection, connect, serve


async def work(ws: ServerConnection) -> None:
    """Take jobs in one task; do them in a thread, and send the results, in another."""
    jobs: asyncio.Queue[str | bytes] = asyncio.Queue(maxsize=10)  # once it is full, clients wait

    async def do_jobs() -> None:
        while True:
            job = await jobs.get()
            assert isinstance(job, bytes)
            digest = await asyncio.to_thread(hashlib.sha256, job)
            await ws.send(digest.hexdigest())

    async with asyncio.TaskGroup() as tasks:
        doing = tasks.create_task(do_jobs())
        async for job in ws:
            await jobs.put(job)
        doing.cancel()


async def ask(uri: str, name: str) -> None:
    """Send three jobs, and take the results in their order, all within ten seconds."""
    async with asyncio.timeout(10), connect(uri) as ws:
        for number in range(3):
            await ws.send(f"job {number} of {name}".encode())
        for number in range(3):
            print(f"{name}, job {number}: {await ws.receive_text():.16}")


async def main() -> None:
    async with serve(work, "localhost", 0) as server, asyncio.TaskGroup() as tasks:
        for name in ("ada", "ben", "cleo"):
            tasks.create_task(ask(server.uri, name))


if __name__ == "__main__":
    asyncio.run(main())
