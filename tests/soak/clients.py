"""`python -m tests.soak.clients`: clients that come, talk and leave, round after round.

Each line of standard input is a number of seconds: so long do they come, and when the last has
left, what the process has of memory, files and tasks is printed. What became of each connection is
printed before that, all of it as JSON. The process leaves when standard input ends.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import ssl
import sys
import time
from dataclasses import asdict
from random import Random

import anyio

from anyws import Deflate, HandshakeError, connect

from ..endurance.measure import take_footprint
from ..loops import LOOPS
from .conversation import Conversation
from .options import options
from .plan import Plan

__all__: list[str] = []

# Connections at once.
_PLACES = 8

# Seconds in which a connection ends, whatever it meets. The peer of the relay that is stalled, and
# of the process that is stopped, finds out by its keepalive.
_LIMIT = 120.0

_LOGGER = logging.getLogger("soak")


class Clients:
    """Those of this process.

    Args:
        name: of the process, which those of its connections begin with.
        ports: by whether they lead through the relay, and are for TLS.
        share: of a processor, which is not to be passed.
    """

    def __init__(
        self, name: str, ports: dict[tuple[bool, bool], int], context: ssl.SSLContext, share: float
    ) -> None:
        self._name = name
        self._ports = ports
        self._context = context
        self._share = share
        self._chance = Random(name)
        self._count = 0
        self._talking: dict[str, Conversation | None] = {}  # from when on it is open

    async def run_round(self, seconds: float) -> None:
        """Connect for so long, and wait until the last one has left."""
        end = time.monotonic() + seconds
        async with anyio.create_task_group() as tasks:
            for _ in range(_PLACES):
                tasks.start_soon(self._come_and_go, end)

    async def _come_and_go(self, end: float) -> None:
        began, used = time.monotonic(), time.process_time()
        while time.monotonic() < end:
            if time.process_time() - used > self._share * (time.monotonic() - began):
                await anyio.sleep(0.02)
                continue
            self._count += 1
            plan = Plan.draw(f"{self._name}-{self._count}", self._chance)
            self._talking[plan.name] = None
            with anyio.move_on_after(_LIMIT) as scope:
                await self._talk(plan)
            assert not scope.cancelled_caught, f"too long: {self._talking[plan.name]}"
            del self._talking[plan.name]

    async def _talk(self, plan: Plan) -> None:
        port = self._ports[plan.has_faults, plan.secure]
        uri = f"{'wss' if plan.secure else 'ws'}://127.0.0.1:{port}{plan.target}"
        context = self._context if plan.secure else None
        compression = Deflate() if self._chance.random() < 0.5 else None
        conversation = None
        try:
            with anyio.CancelScope() as scope:
                async with connect(
                    uri,
                    ssl=context,
                    compression=compression,
                    **options(_LOGGER, is_narrow=plan.is_narrow),
                ) as ws:
                    conversation = Conversation(ws, plan, "client", scope=scope)
                    self._talking[plan.name] = conversation
                    await conversation.run()
        except (HandshakeError, OSError) as exc:  # TimeoutError is one
            if conversation is not None:
                raise
            _tell({"plan": plan.target, "failure": type(exc).__name__})
        else:
            assert conversation is not None
            _tell(asdict(await conversation.record()))


def _tell(value: object) -> None:
    os.write(1, json.dumps(value).encode() + b"\n")


async def _main(clients: Clients) -> None:
    _tell(asdict(await take_footprint()))
    while True:
        await anyio.wait_readable(sys.stdin)
        line = sys.stdin.readline()
        if not line:
            return
        await clients.run_round(float(line))
        _tell(asdict(await take_footprint()))


def main() -> None:
    """Do as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.clients", description=__doc__)
    parser.add_argument("--loop", choices=LOOPS, required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--authority", required=True, help="a file with the certificate to trust")
    parser.add_argument("--share", type=float, required=True, help="of a processor")
    parser.add_argument("ports", type=int, nargs=4, help="plain, TLS, and both of the relay")
    arguments = parser.parse_args()
    keys = [(has_faults, secure) for has_faults in (False, True) for secure in (False, True)]
    clients = Clients(
        arguments.name,
        dict(zip(keys, arguments.ports, strict=True)),
        ssl.create_default_context(cafile=arguments.authority),
        arguments.share,
    )
    logging.basicConfig(level=logging.WARNING)
    backend, backend_options = LOOPS[arguments.loop]
    anyio.run(_main, clients, backend=backend, backend_options=backend_options)


if __name__ == "__main__":
    main()
