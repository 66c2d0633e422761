"""`python -m tests.endurance.honest`: clients that connect, talk and leave, again and again.

Those who are refused, or cut short, try again. Prints how many handshakes there were, and how long
they took.
"""

from __future__ import annotations

import argparse
import json
import ssl
import time
from functools import partial

import anyio

from anyws import HandshakeError, connect

__all__: list[str] = []


class Visitors:
    """What honest clients went through.

    Attributes:
        seconds: that each handshake took, from the first attempt on.
        refused: attempts that failed.
    """

    def __init__(self, uri: str, context: ssl.SSLContext | None) -> None:
        self._uri = uri
        self._context = context
        self.seconds: list[float] = []
        self.refused = 0

    async def visit(self, rounds: int) -> None:
        for number in range(rounds):
            began = time.monotonic()
            while not await self._talk(began, f"hello {number}"):
                self.refused += 1

    async def _talk(self, began: float, message: str) -> bool:
        try:
            async with connect(self._uri, ssl=self._context, open_timeout=60) as ws:
                self.seconds.append(time.monotonic() - began)
                await ws.send(message)
                assert await ws.receive() == message
        except (HandshakeError, OSError):
            return False
        assert ws.close_code == 1000
        return True


async def _run(uri: str, clients: int, rounds: int, authority: str | None) -> None:
    context = None if authority is None else ssl.create_default_context(cafile=authority)
    visitors = Visitors(uri, context)
    async with anyio.create_task_group() as tasks:
        for _ in range(clients):
            tasks.start_soon(visitors.visit, rounds)
    ordered = sorted(visitors.seconds)
    print(
        json.dumps(
            {
                "handshakes": len(ordered),
                "median": ordered[len(ordered) // 2],
                "slowest": ordered[-1],
                "refused": visitors.refused,
            }
        )
    )


def main() -> None:
    """Do as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.endurance.honest")
    parser.add_argument("uri")
    parser.add_argument("clients", type=int)
    parser.add_argument("rounds", type=int)
    parser.add_argument("--authority", help="a file with the certificate of whom to trust")
    options = parser.parse_args()
    anyio.run(partial(_run, **vars(options)))


if __name__ == "__main__":
    main()
