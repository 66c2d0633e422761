"""JSON-RPC 2.0 over one connection: both sides call, and each answer comes when it is ready.

python examples/json_rpc.py [--backend trio|asyncio]
"""

import argparse

import anyio
from json_rpc_peer import Peer

from anyws import ServerConnection, connect, serve


async def wait(_: Peer, seconds: float) -> str:
    """Take a while: what is called later is answered meanwhile."""
    await anyio.sleep(seconds)
    return f"{seconds} s are over"


async def divide(_: Peer, one: float, other: float) -> float:
    return one / other


async def greet(peer: Peer) -> str:
    return f"hello, {await peer.call('name')}"


async def name(_: Peer) -> str:
    return "Ada"


async def answer_calls(ws: ServerConnection) -> None:
    await Peer(ws, {"wait": wait, "divide": divide, "greet": greet}).run()


async def report(peer: Peer, method: str, *params: object) -> None:
    try:
        print(f"{method}: {await peer.call(method, *params)}")
    except RuntimeError as exc:
        print(f"{method}: error: {exc}")


async def main() -> None:
    async with serve(answer_calls, "localhost") as server, connect(server.uri) as ws:
        peer = Peer(ws, {"name": name})
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(peer.run)
            async with anyio.create_task_group() as calls:
                calls.start_soon(report, peer, "wait", 0.2)
                calls.start_soon(report, peer, "divide", 1, 4)
                calls.start_soon(report, peer, "divide", 1, 0)
                calls.start_soon(report, peer, "greet")
                calls.start_soon(report, peer, "sing")
            await ws.aclose()  # by which `run` ends


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Call each other.")
    parser.add_argument("--backend", choices=("trio", "asyncio"), default="asyncio")
    anyio.run(main, backend=parser.parse_args().backend)
