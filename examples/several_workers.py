"""Four processes that share a socket. SIGHUP replaces them one by one, SIGTERM ends them.

python examples/several_workers.py [--port PORT] [--backend trio|asyncio]
"""

import argparse
import os
import signal
import socket
from multiprocessing import Process, set_start_method
from queue import SimpleQueue

import anyio

from anyws import ServerConnection, serve


async def greet(ws: ServerConnection) -> None:
    """Answer each message, and say which process does."""
    async for message in ws:
        await ws.send(f"{message!r} from {os.getpid()}")


async def work(sock: socket.socket) -> None:
    """Serve until a signal comes; one of Ctrl+C comes to all processes."""
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with serve(greet, sockets=[sock]) as server:
            await anext(signals)
            await server.drain(over=0.5, code=1012, reason="restart")


def start(sock: socket.socket, backend: str) -> Process:
    """Start a worker, which gets SIGTERM when the parent ends. The kernel holds those who come."""
    worker = Process(target=anyio.run, args=(work, sock), kwargs={"backend": backend}, daemon=True)
    worker.start()
    return worker


def main(port: int, backend: str) -> None:
    """Start the workers, and do what the signals say."""
    asked: SimpleQueue[int] = SimpleQueue()
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: asked.put(number))
    with socket.create_server(("localhost", port), backlog=100) as sock:
        workers = [start(sock, backend) for _ in range(4)]
        print(f"serving on ws://localhost:{sock.getsockname()[1]}/", flush=True)
        while asked.get() == signal.SIGHUP:
            for _ in range(4):
                workers.append(start(sock, backend))
                workers[0].terminate()
                workers.pop(0).join()
            print("replaced all workers", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Serve in several processes.")
    parser.add_argument("--port", type=int, default=8765, help="0 picks a free one")
    parser.add_argument("--backend", choices=["trio", "asyncio"], default="asyncio")
    set_start_method("spawn")
    main(**vars(parser.parse_args()))
