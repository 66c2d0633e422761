"""`python -m tests.faults.peer`: the other side of a connection, to be stopped and killed.

A server prints its port. A client prints that it is ready, and connects when a line comes on
standard input. What came of it is printed in the end, as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict

import anyio

from anyws import Connection, ServerConnection, connect, serve

from ..loops import LOOPS
from .seen import Seen
from .talk import Talker

__all__: list[str] = []


class Peer:
    """The side that the command line describes."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._arguments = arguments
        self._over = anyio.Event()

    async def run(self) -> None:
        """Talk on one connection, and say how it ended."""
        arguments = self._arguments
        options = {
            "ping_interval": arguments.interval,
            "ping_timeout": arguments.patience,
            "close_timeout": 30.0,
        }
        if arguments.role == "server":
            async with serve(self._handle, arguments.host, arguments.port, **options) as server:
                _tell(server.port)
                await self._over.wait()
        else:
            _tell("ready")
            await anyio.wait_readable(sys.stdin)
            uri = f"ws://{arguments.host}:{arguments.port}/"
            async with connect(uri, **options) as ws:
                await self._talk(ws)

    async def _handle(self, ws: ServerConnection) -> None:
        await self._talk(ws)
        self._over.set()

    async def _talk(self, ws: Connection) -> None:
        talker = Talker(ws, talks=self._arguments.talks)
        await talker.run()
        if talker.closed is None:
            await ws.wait_closed()
        seen = None if talker.closed is None else asdict(Seen.of(talker.closed, 0.0))
        ledger = talker.ledger
        _tell([ledger.sent, ledger.received, ledger.problems, seen])


def _tell(value: object) -> None:
    os.write(1, json.dumps(value).encode() + b"\n")


def main() -> None:
    """Do as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.peer", description=__doc__)
    parser.add_argument("--loop", choices=LOOPS, required=True)
    parser.add_argument("--role", choices=("client", "server"), required=True)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--talks", action="store_true")
    parser.add_argument("--interval", type=float, required=True)
    parser.add_argument("--patience", type=float, required=True)
    arguments = parser.parse_args()
    backend, options = LOOPS[arguments.loop]
    anyio.run(Peer(arguments).run, backend=backend, backend_options=options)


if __name__ == "__main__":
    main()
