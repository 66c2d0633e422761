"""The reactor of asyncio and uvloop: the loop's own readers, writers and timers.

Owns no task. It needs `add_reader`, which Windows' Proactor loop lacks: `task_reactor.py` serves
there.
"""

from __future__ import annotations

import asyncio
from asyncio import AbstractEventLoop, Future
from collections.abc import Callable
from socket import socket as Socket
from time import monotonic

from anyio.lowlevel import checkpoint

from .transport import Reactor, Timer, Waiter

__all__ = ["AsyncioReactor"]


class AsyncioReactor(Reactor):
    """Registers with the running loop and has nothing to run itself."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()

    def add_reader(self, sock: Socket, callback: Callable[[], None]) -> None:
        self._loop.add_reader(sock, callback)

    def remove_reader(self, sock: Socket) -> None:
        self._loop.remove_reader(sock)

    def add_writer(self, sock: Socket, callback: Callable[[], None]) -> None:
        self._loop.add_writer(sock, callback)

    def remove_writer(self, sock: Socket) -> None:
        self._loop.remove_writer(sock)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        return self._loop.call_later(seconds, callback)

    def call_soon(self, callback: Callable[[], None]) -> None:
        self._loop.call_soon(callback)

    def clock(self) -> float:
        # Not the loop's time, which uvloop rounds to milliseconds: latencies are shorter.
        return monotonic()

    def new_waiter(self) -> Waiter:
        return AsyncioWaiter(self._loop)

    async def checkpoint(self) -> None:
        await checkpoint()


class AsyncioWaiter(Waiter):
    """A future, made anew for each wait."""

    __slots__ = ("_future", "_loop")

    def __init__(self, loop: AbstractEventLoop) -> None:
        self._loop = loop
        self._future: Future[None] | None = None

    async def wait(self) -> None:
        self._future = future = self._loop.create_future()
        try:
            await future
        finally:
            self._future = None

    def wake(self) -> None:
        future = self._future
        if future is not None and not future.done():
            future.set_result(None)
