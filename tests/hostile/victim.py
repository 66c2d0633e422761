"""`python -m tests.hostile.victim LOOP`: one connection after another, to be attacked.

Each line of standard input is what to do, in JSON; each is answered by what it came to. A server
says on which port it waits before that. A process of its own, so that nothing but the attacked side
is measured.
"""

from __future__ import annotations

import functools
import gc
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import anyio

import anyws
from anyws import Connection, ConnectionClosed, HandshakeError

from ..loops import LOOPS
from ..memory import traced
from .attacks import Application

__all__ = ["Figures", "Order"]

# Seconds for all of it.
_LIMIT = 300.0

_LINUX = sys.platform == "linux"

# 50 ms without reading, after which the peer is said to be held.
_HELD = 0.05


@dataclass(frozen=True, slots=True)
class Order:
    """What to do.

    Attributes:
        port: where to connect to; None for a server.
        application: what it does.
        options: of the connection.
        traces: measure memory exactly, which takes a lot of time.
    """

    port: int | None
    application: Application
    options: dict[str, Any]
    traces: bool


@dataclass(frozen=True, slots=True)
class Figures:
    """What it came to.

    Attributes:
        end: how it ended, as `Flood.ends` has it; nothing for a server without a connection, where
            the peer is told.
        received: bytes that were read of a connection.
        peak: the most memory in use at a time, in bytes; 0 if it was not traced.
        resident: by how much the process grew at most, in bytes.
        seconds: of CPU time.
    """

    end: str
    received: int
    peak: int
    resident: int
    seconds: float


class _Victim:
    """One side of a connection, attacked until it ends, or until the peer has to wait."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._ended = anyio.Event()
        self._end = ""
        self._received = 0

    async def run(self) -> Figures:
        with anyio.fail_after(_LIMIT):
            if self._order.port is not None:
                return await self._connect(self._order.port)
            return await self._serve()

    async def _connect(self, port: int) -> Figures:
        with self._measured() as figures:
            try:
                async with anyws.connect(f"ws://127.0.0.1:{port}/", **self._order.options) as ws:
                    await self._suffer(ws)
            except (HandshakeError, TimeoutError) as exc:
                self._end = type(exc).__name__
            return figures()

    async def _serve(self) -> Figures:
        log = _Refusals(self._ended)
        async with anyws.serve(
            self._suffer, "127.0.0.1", logger=log.logger, **self._order.options
        ) as server:
            with self._measured() as figures:
                print(json.dumps(server.port), flush=True)
                await self._ended.wait()
                return figures()

    @contextmanager
    def _measured(self) -> Iterator[Callable[[], Figures]]:
        """Measure a block; yield a function that tells what it came to so far."""
        gc.collect()
        resident = _begin_peak()
        with traced() if self._order.traces else nullcontext(int) as peak:
            began = time.process_time()
            yield lambda: Figures(
                self._end,
                self._received,
                peak(),
                _resident("VmHWM") - resident,
                time.process_time() - began,
            )

    async def _suffer(self, ws: Connection) -> None:
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._use, ws)
                # Nothing tells that a pause has begun.
                while ws.close_code is None and not self._is_held(ws):  # noqa: ASYNC110
                    await anyio.sleep(0.005)
                self._end = "held" if ws.close_code is None else _how(ws)
                self._received = ws.stats.received_bytes
                tasks.cancel_scope.cancel()
            await anyio.aclose_forcefully(ws)
        finally:
            self._ended.set()

    def _is_held(self, ws: Connection) -> bool:
        return self._order.application == "ignores" and ws.stats.receive_paused_s >= _HELD

    async def _use(self, ws: Connection) -> None:
        try:
            if self._order.application == "receives":
                async for _ in ws:
                    pass
            elif self._order.application == "streams":
                async with ws.receive_stream() as chunks:
                    async for _ in chunks:
                        pass
        except ConnectionClosed:
            pass


def _how(ws: Connection) -> str:
    """Say by which code of ours a connection ended."""
    sent = ws._closed().sent
    return "gone" if sent is None else str(sent.code)


class _Refusals(logging.Handler):
    """A log that tells when an opening handshake has failed."""

    def __init__(self, failed: anyio.Event) -> None:
        super().__init__()
        self._failed = failed
        self.logger = logging.Logger("victim", logging.DEBUG)
        self.logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Take note."""
        if record.getMessage().startswith("opening handshake failed"):
            self._failed.set()


async def _warm_up() -> None:
    """Load what is loaded late, by a connection of each kind and a refusal."""

    async def echo(ws: Connection) -> None:
        async for message in ws:
            await ws.send(message)

    async with (
        anyws.serve(echo, "127.0.0.1", compression="deflate", max_connections=1) as server,
        anyws.connect(server.uri, compression="deflate") as ws,
    ):
        await ws.send("hello" * 100)
        await ws.receive()
        with suppress(HandshakeError):
            async with anyws.connect(server.uri):
                pass


def main() -> None:
    """Do as the lines say."""
    backend, options = LOOPS[sys.argv[1]]
    run = functools.partial(anyio.run, backend=backend, backend_options=options)
    logging.getLogger("anyws").setLevel(logging.CRITICAL)
    run(_warm_up)
    gc.collect()
    gc.freeze()
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        order = Order(**json.loads(line))
        print(json.dumps(asdict(run(_Victim(order).run))), flush=True)


def _begin_peak() -> int:
    """Forget how much memory the process has had at most; return how much it has."""
    if _LINUX:
        Path("/proc/self/clear_refs").write_text("5")
    return _resident("VmRSS")


def _resident(name: str) -> int:
    """Return a figure of the kernel's, in bytes; 0 where it has none."""
    if not _LINUX:
        return 0
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    return 0


if __name__ == "__main__":
    main()
