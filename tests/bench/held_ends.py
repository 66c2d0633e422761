"""Both ends of `held`, each a process of its own that watches its event loop.

`server LOOP` prints its port and serves one connection; `client LOOP --port N` sends it a message
and takes it back. When that is over, each prints a line of JSON: by direction, how long the loop
was held at most. Making the message comes before, comparing and freeing it after.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from random import Random
from time import perf_counter_ns, thread_time_ns
from typing import Final, Literal

import anyio
from anyio.abc import TaskStatus
from anyio.lowlevel import checkpoint

import anyws
from tests.bench.compressed import SEED, make_record
from tests.bench.servers import HOST, announce
from tests.bench.wire import printable

LOOPS: Final = ("trio", "asyncio", "uvloop")
# The last three are compressed: to less than a hundredth, to a third, and to nine tenths.
KINDS: Final = ("binary", "ascii", "unicode", "deflate-ascii", "deflate-json", "deflate-noise")
# Of one to four bytes each in UTF-8, ten together.
CHARACTERS: Final = "aé€😀"
# Long enough to be worth compressing.
HELLO: Final = "hello " * 100
# More than any window holds, so that the copies of it do not help a compressor.
RECORDS_SIZE: Final = 1024 * 1024


@dataclass(slots=True)
class Held:
    """The longest times between two turns, in nanoseconds; they need not be the same two."""

    cpu_ns: int = 0
    wall_ns: int = 0

    def note(self, cpu_ns: int, wall_ns: int) -> None:
        """Keep what is longer than any before."""
        self.cpu_ns = max(self.cpu_ns, cpu_ns)
        self.wall_ns = max(self.wall_ns, wall_ns)


class Watch:
    """A task that does nothing but take its turn of the loop, and note when it comes late.

    The CPU time is that of the loop's thread; wall time has other processes and threads in it too.
    """

    def __init__(self, direction: str) -> None:
        self._direction = direction
        self.longest: dict[str, Held] = {}

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Watch until cancelled; it has begun when `start` returns."""
        task_status.started()
        while True:
            wall, cpu = perf_counter_ns(), thread_time_ns()
            await checkpoint()
            held = self.longest.setdefault(self._direction, Held())
            held.note(thread_time_ns() - cpu, perf_counter_ns() - wall)

    async def turn_to(self, direction: str) -> None:
        """Let what was done so far be noted, then count for another direction."""
        # The watching task has its turn before this one has its second, in whatever order.
        await checkpoint()
        await checkpoint()
        self._direction = direction

    def report(self) -> str:
        """Return all directions as a line of JSON."""
        return json.dumps({name: asdict(held) for name, held in self.longest.items()})


def make_message(kind: str, size: int) -> str | bytes:
    """Return a message that is `size` bytes on the wire."""
    if kind == "unicode":
        n = size // len(CHARACTERS.encode())
        return CHARACTERS * n + "a" * (size - n * len(CHARACTERS.encode()))
    if kind == "deflate-json":
        chance = Random(SEED)
        records = "".join(make_record(1024, chance).decode() for _ in range(RECORDS_SIZE // 1024))
        return (records * (size // len(records) + 1))[:size]
    if kind == "deflate-noise":
        to_ascii = bytes(n & 0x7F for n in range(256))
        return Random(SEED).randbytes(size).translate(to_ascii).decode()
    payload = printable(size)
    return payload if kind == "binary" else payload.decode()


def compression_of(kind: str) -> Literal["deflate"] | None:
    """Return what both sides are told."""
    return "deflate" if kind.startswith("deflate") else None


async def serve(kind: str, size: int) -> None:
    """Serve one connection: echo a greeting, then a message, the latter under watch."""
    watch = Watch("receives")
    over = anyio.Event()

    async def echo(connection: anyws.Connection) -> None:
        # What is done only once, and the imports that wait for it, is done now.
        await connection.send(await connection.receive())
        async with anyio.create_task_group() as tasks:
            await tasks.start(watch.run)
            message = await connection.receive()
            await watch.turn_to("sends")
            await connection.send(message)
            # It goes on being sent until the client has it, and has closed.
            await connection.wait_closed()
            tasks.cancel_scope.cancel()
        del message
        over.set()

    compression = compression_of(kind)
    async with anyws.serve(
        echo, HOST, 0, compression=compression, max_size=size, ping_interval=None
    ) as server:
        announce(server.port)
        await over.wait()
    print(watch.report(), flush=True)


async def send(port: int, kind: str, size: int) -> None:
    """Send a message and take its echo, both under watch."""
    watch = Watch("sends")
    message = make_message(kind, size)
    uri = f"ws://{HOST}:{port}/"
    async with anyws.connect(
        uri, compression=compression_of(kind), max_size=size, ping_interval=None
    ) as connection:
        await connection.send(HELLO)
        await connection.receive()
        async with anyio.create_task_group() as tasks:
            await tasks.start(watch.run)
            await connection.send(message)
            await watch.turn_to("receives")
            echo = await connection.receive()
            tasks.cancel_scope.cancel()
    assert echo == message
    print(watch.report(), flush=True)


def main(words: Sequence[str] | None = None) -> None:
    """Be the end that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.held_ends")
    parser.add_argument("end", choices=("server", "client"))
    parser.add_argument("loop", choices=LOOPS)
    parser.add_argument("--kind", choices=KINDS, default="binary")
    parser.add_argument("--size", type=int, required=True, help="of the message, in bytes")
    parser.add_argument("--port", type=int, default=0)
    arguments = parser.parse_args(words)
    backend = "trio" if arguments.loop == "trio" else "asyncio"
    options = {} if backend == "trio" else {"use_uvloop": arguments.loop == "uvloop"}
    if arguments.end == "server":
        serve_it = partial(serve, arguments.kind, arguments.size)
        anyio.run(serve_it, backend=backend, backend_options=options)
    else:
        send_it = partial(send, arguments.port, arguments.kind, arguments.size)
        anyio.run(send_it, backend=backend, backend_options=options)


if __name__ == "__main__":
    main()
