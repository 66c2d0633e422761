"""A server with many connections stops in time, whatever its peers and its handlers do."""

from __future__ import annotations

import logging
from collections import Counter

import anyio

from anyws import ConnectionClosed, ServerConnection, serve
from anyws.testing import RawPeer

from ..support import connect
from .figures import Figures
from .measure import take_footprint

__all__ = ["shutdown"]

_CLOSE_TIMEOUT = 5.0

# Seconds: some handlers end within a tenth of it.
_GRACE = 2.0

# Of ten connections in a row, what the handler does; "stalled" ones have peers that never read.
_KINDS = ("iterate",) * 7 + ("late", "ignore", "stalled")

# What the handlers with stalled peers do, by turns.
_STALLED = ("stalled-receive", "stalled-send", "stalled-wait")

# At once: less than the backlog of the listener, since connecting blocks.
_CONNECTING = 50


class Handlers:
    """The handlers of so many connections, and how they ended.

    Attributes:
        ready: set when all have come to where they are to be when the server stops.
        ended, cancelled: how many of each kind.
    """

    def __init__(self, connections: int) -> None:
        self._expected = connections
        self.ready = anyio.Event()
        self.ended: Counter[str] = Counter()
        self.cancelled: Counter[str] = Counter()

    async def handle(self, ws: ServerConnection) -> None:
        kind = ws.request.path[1:]
        try:
            await self._run(kind, ws)
        except anyio.get_cancelled_exc_class():
            self.cancelled[kind] += 1
            raise
        self.ended[kind] += 1

    async def _run(self, kind: str, ws: ServerConnection) -> None:
        try:
            if kind in ("stalled-send", "stalled-wait"):
                await _fill(ws)
            self._take_note()
            if kind == "stalled-wait":
                await ws.wait_closed()
            while kind == "stalled-send":
                await ws.send(bytes(1 << 16))
            while True:
                await ws.receive()
        except ConnectionClosed:
            if kind == "late":
                await anyio.sleep(_GRACE / 10)
            elif kind == "ignore":
                await anyio.sleep_forever()

    def _take_note(self) -> None:
        self._expected -= 1
        if not self._expected:
            self.ready.set()


async def _fill(ws: ServerConnection) -> None:
    """Send until the peer would have to read."""
    stuck = False
    while not stuck:
        with anyio.move_on_after(0.1) as scope:
            await ws.send(bytes(1 << 16))
        stuck = scope.cancelled_caught


def _kind(number: int) -> str:
    kind = _KINDS[number % len(_KINDS)]
    return _STALLED[number // len(_KINDS) % len(_STALLED)] if kind == "stalled" else kind


class Peers:
    """The clients, most of which answer the Close frame.

    Attributes:
        codes: what those were told.
        stalled: the others.
    """

    def __init__(self) -> None:
        self.codes: Counter[int | None] = Counter()
        self.stalled: list[RawPeer] = []
        self._places = anyio.CapacityLimiter(_CONNECTING)

    async def run(self, port: int, kind: str) -> None:
        async with self._places:
            peer = RawPeer(await connect(port), is_client=True)
            assert (await peer.upgrade(target=f"/{kind}")).status == 101
        if kind in _STALLED:
            self.stalled.append(peer)
        else:
            self.codes[(await peer.answer_close())[0]] += 1


async def shutdown(connections: int) -> Figures:
    """Stop a server with connections of all kinds, a tenth of them with stalled peers (R-A9b).

    Fails if that takes longer than the grace and `close_timeout`, if a handler that ends in time
    is cancelled, if a peer that lives is not told 1001, or if tasks or files are left.
    """
    handlers, peers = Handlers(connections), Peers()
    kinds = Counter(map(_kind, range(connections)))
    logger = logging.Logger("endurance")
    logger.disabled = True
    before = await take_footprint()
    async with (
        anyio.create_task_group() as tasks,
        serve(
            handlers.handle,
            "127.0.0.1",
            close_timeout=_CLOSE_TIMEOUT,
            ping_interval=None,
            logger=logger,
        ) as server,
    ):
        for kind in kinds.elements():
            tasks.start_soon(peers.run, server.port, kind)
        await handlers.ready.wait()
        began = anyio.current_time()
        await server.shutdown(_GRACE)
        seconds = anyio.current_time() - began
        assert not server.connections
        for peer in peers.stalled:
            await peer.drop()
    left = await take_footprint() - before
    assert seconds <= _GRACE + _CLOSE_TIMEOUT, seconds
    assert (left.files, left.tasks, left.timers) == (0, 0, 0), left
    stalled = sum(kinds[kind] for kind in _STALLED)
    assert peers.codes == {1001: connections - stalled}, peers.codes
    assert handlers.ended + handlers.cancelled == kinds, (handlers.ended, handlers.cancelled)
    assert set(handlers.cancelled) <= {"ignore", *_STALLED}, handlers.cancelled
    return {
        "connections": connections,
        "stalled": stalled,
        "seconds": seconds,
        "seconds allowed": _GRACE + _CLOSE_TIMEOUT,
        "handlers cancelled": dict(handlers.cancelled),
    }
