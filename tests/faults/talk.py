"""Numbered messages both ways, on a connection that outlives a fault, or does not."""

from __future__ import annotations

from random import Random

import anyio

from anyws import Connection, ConnectionClosed

from ..soak.ledger import Ledger, compose

__all__ = ["Talker"]

# Seconds between two messages, and their largest size.
_PAUSE = 0.02
_MOST = 3000


class Talker:
    """One side: sends messages now and then, or none, and receives.

    Args:
        ws: open.
        talks: whether it sends any.

    Attributes:
        ledger: of what was sent and received.
        closed: how the connection ended, if it did.
        over: set then, or once both sides have sent their last message.
    """

    def __init__(self, ws: Connection, *, talks: bool) -> None:
        self.ledger = Ledger()
        self.closed: ConnectionClosed | None = None
        self.over = anyio.Event()
        self._ws = ws
        self._talks = talks
        self._enough = anyio.Event()
        self._chance = Random(0)

    async def run(self) -> None:
        """Talk until it is over."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._send_all)
            try:
                while not self.ledger.has_all:
                    self.ledger.take(await self._ws.receive())
            except ConnectionClosed as closed:
                self.closed = closed
            self.finish()
        self.over.set()

    def finish(self) -> None:
        """Send the last message soon."""
        self._enough.set()

    async def _send_all(self) -> None:
        try:
            while not self._enough.is_set():
                if self._talks:
                    await self._send(self._chance.randint(0, _MOST))
                with anyio.move_on_after(_PAUSE):
                    await self._enough.wait()
            await self._send(0, last=True)
        except ConnectionClosed:
            pass  # the receiver is told too

    async def _send(self, size: int, *, last: bool = False) -> None:
        await self._ws.send(compose(self.ledger.sent, size, text=False, last=last))
        self.ledger.sent += 1
