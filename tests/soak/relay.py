"""`python -m tests.soak.relay`: stands between clients and servers, and is a bad network.

It relays one port for each that is named, prints its own as JSON, and leaves when standard input
ends, saying how many connections met which fault. It knows nothing of what passes it.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import struct
import sys
from collections import Counter
from contextlib import suppress
from random import Random
from typing import Literal, get_args

import anyio
from anyio.abc import Listener, SocketAttribute, SocketStream
from anyio.lowlevel import checkpoint

__all__ = ["Fault"]

#: "cut" ends both sides by a FIN, "reset" by a RST; "stall" lets nothing pass for a while.
Fault = Literal["none", "split", "delay", "stall", "cut", "reset"]

# Seconds at most for one piece of those that are delayed.
_DELAY = 0.03

# Bytes that pass before a fault, most often few: the opening handshake has about 500.
_BEFORE = (100, 1000, 10_000, 100_000)

# Bytes of a piece, at most.
_PIECE = 700


class _Relayed:
    """One connection, and its fault."""

    def __init__(
        self, near: SocketStream, far: SocketStream, fault: Fault, stall: float, chance: Random
    ) -> None:
        self._streams = near, far
        self._fault = fault
        self._stall = stall
        self._chance = chance
        self._left = chance.randint(0, chance.choice(_BEFORE))

    async def run(self) -> None:
        near, far = self._streams
        async with far, anyio.create_task_group() as tasks:
            tasks.start_soon(self._pass, near, far, tasks.cancel_scope)
            tasks.start_soon(self._pass, far, near, tasks.cancel_scope)

    async def _pass(
        self, source: SocketStream, target: SocketStream, scope: anyio.CancelScope
    ) -> None:
        """Pass on what comes, and its end."""
        try:
            async for data in source:
                await self._meet_fault(len(data), scope)
                for piece in self._pieces(data):
                    await target.send(piece)
            await target.send_eof()
        except (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
            self._reset()
            scope.cancel()

    async def _meet_fault(self, size: int, scope: anyio.CancelScope) -> None:
        if self._fault == "delay":
            await anyio.sleep(self._chance.uniform(0, _DELAY))
        self._left -= size
        if self._left > 0:
            return
        if self._fault == "stall":
            self._left = 1 << 60
            await anyio.sleep(self._chance.uniform(0, self._stall))
        elif self._fault in ("cut", "reset"):
            if self._fault == "reset":
                self._reset()
            scope.cancel()
            await checkpoint()

    def _pieces(self, data: bytes) -> list[bytes]:
        if self._fault != "split":
            return [data]
        pieces, start = [], 0
        while start < len(data):
            end = start + self._chance.randint(1, _PIECE)
            pieces.append(data[start:end])
            start = end
        return pieces

    def _reset(self) -> None:
        """Let closing send a RST."""
        for stream in self._streams:
            with suppress(OSError, anyio.ClosedResourceError):
                sock = stream.extra(SocketAttribute.raw_socket)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class _Relay:
    """All of them.

    Args:
        seed: of chance.
        stall: seconds for which nothing passes, at most.

    Attributes:
        faults: how many connections met which.
    """

    def __init__(self, seed: str, stall: float) -> None:
        self._chance = Random(seed)
        self._stall = stall
        self.faults: Counter[Fault] = Counter()

    async def serve(self, listener: Listener[SocketStream], port: int) -> None:
        async def relay(near: SocketStream) -> None:
            fault = self._chance.choice(get_args(Fault))
            self.faults[fault] += 1
            chance = Random(self._chance.random())
            async with near:
                far = await anyio.connect_tcp("127.0.0.1", port)
                await _Relayed(near, far, fault, self._stall, chance).run()

        await listener.serve(relay)


async def main(ports: list[int], seed: str, stall: float) -> None:
    """Relay until standard input ends."""
    relay = _Relay(seed, stall)
    async with anyio.create_task_group() as tasks:
        own = []
        for port in ports:
            listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
            own.append(listener.extra(SocketAttribute.local_port))
            tasks.start_soon(relay.serve, listener, port)
        _tell(own)
        await anyio.wait_readable(sys.stdin)
        tasks.cancel_scope.cancel()
    with suppress(BrokenPipeError):  # whoever started it has failed
        _tell(relay.faults)


def _tell(value: object) -> None:
    os.write(1, json.dumps(value).encode() + b"\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.soak.relay", description=__doc__)
    parser.add_argument("ports", type=int, nargs="+")
    parser.add_argument("--seed", required=True)
    parser.add_argument("--stall", type=float, required=True, help="seconds at most")
    options = parser.parse_args()
    anyio.run(main, options.ports, options.seed, options.stall)
