"""The reactor for loops that have neither `add_reader` nor epoll: a task for each wait.

It serves asyncio's Proactor loop (Windows), and trio where there is no epoll (macOS, Windows),
through anyio's `wait_readable` and `wait_writable`. Slower than its two siblings, and the same to
everyone above.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from math import inf
from socket import socket as Socket
from typing import Any

import anyio
from anyio.lowlevel import checkpoint

from .transport import Reactor, Timer, Waiter

__all__ = ["TaskReactor"]


class TaskReactor(Reactor):
    """Watches each socket, and waits for each timer, in a task of its own."""

    needs_task = True

    def __init__(self) -> None:
        self._readers: dict[Socket, anyio.CancelScope] = {}
        self._writers: dict[Socket, anyio.CancelScope] = {}
        self._wanted: list[Callable[[], Coroutine[Any, Any, None]]] = []
        self._doorbell = EventWaiter()

    async def run(self) -> None:
        async with anyio.create_task_group() as tasks:
            while True:
                for wanted in self._wanted:
                    tasks.start_soon(wanted)
                self._wanted.clear()
                await self._doorbell.wait()

    def add_reader(self, sock: Socket, callback: Callable[[], None]) -> None:
        self._watch(sock, self._readers, anyio.wait_readable, callback)

    def remove_reader(self, sock: Socket) -> None:
        self._unwatch(sock, self._readers)

    def add_writer(self, sock: Socket, callback: Callable[[], None]) -> None:
        self._watch(sock, self._writers, anyio.wait_writable, callback)

    def remove_writer(self, sock: Socket) -> None:
        self._unwatch(sock, self._writers)

    def _watch(
        self,
        sock: Socket,
        scopes: dict[Socket, anyio.CancelScope],
        wait: Callable[[Socket], Awaitable[None]],
        callback: Callable[[], None],
    ) -> None:
        scope = scopes[sock] = anyio.CancelScope()

        async def watch() -> None:
            with scope:
                while not scope.cancel_called:
                    try:
                        await wait(sock)
                    except anyio.ClosedResourceError:
                        # The other direction was removed, if not this one.
                        await checkpoint()
                        continue
                    # It may have been removed while it was on its way here.
                    if scopes.get(sock) is scope:
                        self.read_at = self.clock()
                        callback()

        self._spawn(watch)

    def _unwatch(self, sock: Socket, scopes: dict[Socket, anyio.CancelScope]) -> None:
        scopes.pop(sock).cancel()
        # The task notices later, but the loop has to let go of the socket now: its owner may close
        # it, and another may get its number.
        anyio.notify_closing(sock)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        scope = anyio.CancelScope()
        deadline = anyio.current_time() + seconds

        async def fire() -> None:
            with scope:
                await anyio.sleep_until(deadline)
                callback()

        self._spawn(fire)
        return scope

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.call_later(-inf, callback)

    def clock(self) -> float:
        return anyio.current_time()

    def new_waiter(self) -> Waiter:
        return EventWaiter()

    async def checkpoint(self) -> None:
        await checkpoint()

    def _spawn(self, function: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._wanted.append(function)
        self._doorbell.wake()


class EventWaiter:
    """An `anyio.Event`, made anew for each wait."""

    __slots__ = ("_event",)

    def __init__(self) -> None:
        self._event: anyio.Event | None = None

    async def wait(self) -> None:
        self._event = event = anyio.Event()
        try:
            await event.wait()
        finally:
            # It may be another task's by now: the place is free since the wake-up.
            if self._event is event:
                self._event = None

    def wake(self) -> None:
        if self._event is not None:
            self._event.set()

    def wake_now(self) -> None:
        self.wake()
