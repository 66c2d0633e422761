"""The tasks of a server's handlers, as cheap as the loop has them.

Owns how they are started, cancelled and waited for. A task of anyio's task groups is the same on
every loop and costs for that: measured on asyncio and on trio, some 10 microseconds more to start
and to end than one of the loop's own, and 2.5 and 1.7 KiB more while it runs, which is a third of
what an idle connection takes. It must not know connections.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

import anyio

if TYPE_CHECKING:
    import asyncio

    import trio

__all__ = ["Cancellable", "HandlerTasks", "new_handler_tasks"]

Function = Callable[..., Coroutine[Any, Any, None]]


class HandlerTasks(ABC):
    """Tasks that are cancelled and waited for together.

    Attributes:
        when_cancelled: called when `run` is cancelled, before anything ends: none may be started
            after that.
    """

    def __init__(self) -> None:
        self.when_cancelled: Callable[[], None] | None = None
        self._context = copy_context()  # a reactor may call in that of whoever used it first

    @abstractmethod
    async def run(self) -> None:
        """Hold the tasks; cancelled, cancel them and wait until all have ended.

        Raises:
            BaseException: what one of them raised.
        """

    @abstractmethod
    def start(self, function: Function, /, *args: Any) -> None:
        """Start a task, once `run` has made its first step; in a copy of the context of whoever
        made this object. May be called by a reactor.
        """

    @abstractmethod
    def cancel(self) -> None:
        """Cancel every task. None may be started any more."""

    def _tell_cancelled(self) -> None:
        """Call `when_cancelled`, once."""
        callback, self.when_cancelled = self.when_cancelled, None
        if callback is not None:
            callback()


def new_handler_tasks() -> HandlerTasks:
    """Return tasks of the running event loop's own kind."""
    trio = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_run():
        return TrioTasks()
    return AsyncioTasks()


class TrioTasks(HandlerTasks):
    """A nursery."""

    def __init__(self) -> None:
        super().__init__()
        self._nursery: trio.Nursery | None = None  # from the first step of `run` on
        self._cancelled = False

    async def run(self) -> None:
        import trio

        async with trio.open_nursery(strict_exception_groups=True) as self._nursery:
            if self._cancelled:
                self._nursery.cancel_scope.cancel()
            try:
                await trio.sleep_forever()
            finally:
                self._tell_cancelled()

    def start(self, function: Function, /, *args: Any) -> None:
        assert self._nursery is not None
        self._context.run(self._nursery.start_soon, function, *args)

    def cancel(self) -> None:
        self._cancelled = True
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()


class AsyncioTasks(HandlerTasks):
    """Tasks of the loop, cancelled as anyio cancels: again and again until they end."""

    def __init__(self) -> None:
        import asyncio  # as with trio: a program needs one of them

        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._running: dict[asyncio.Task[None], anyio.CancelScope | None] = {}
        self._cancelled = False
        self._problem: BaseException | None = None
        self._doorbell = asyncio.Event()  # a task has failed, or the last one has ended

    async def run(self) -> None:
        try:
            await self._doorbell.wait()
        finally:
            self._tell_cancelled()
            self.cancel()
            with anyio.CancelScope(shield=True):
                while self._running:
                    self._doorbell.clear()
                    await self._doorbell.wait()
            self._raise_problem()

    def start(self, function: Function, /, *args: Any) -> None:
        task = self._context.run(self._loop.create_task, self._run(function, *args))
        self._running[task] = None  # the loop itself may forget a task that waits

    async def _run(self, function: Function, /, *args: Any) -> None:
        import asyncio

        task = asyncio.current_task()
        assert task is not None
        try:
            with anyio.CancelScope() as scope:
                self._running[task] = scope
                if self._cancelled:
                    scope.cancel()
                await function(*args)
        except asyncio.CancelledError:
            raise  # the loop is being shut down, or the handler cancelled itself
        except BaseException as exc:
            self._problem = self._problem or exc
            self._doorbell.set()
        finally:
            # Here rather than in a callback of the task, which takes one more turn of the loop.
            del self._running[task]
            if self._cancelled and not self._running:
                self._doorbell.set()

    def cancel(self) -> None:
        self._cancelled = True
        for scope in self._running.values():
            if scope is not None:
                scope.cancel()

    def _raise_problem(self) -> None:
        problem, self._problem = self._problem, None
        try:
            if problem is not None:
                raise problem
        finally:
            del problem  # whose traceback has this frame


class Cancellable:
    """Functions that run in tasks of others, and can be cancelled together."""

    def __init__(self) -> None:
        self._cancelled = False
        self._scopes: set[anyio.CancelScope] = set()

    def cancel(self) -> None:
        """Cancel those that run, and those that have yet to begin."""
        self._cancelled = True
        for scope in self._scopes:
            scope.cancel()

    async def run(self, function: Function, /, *args: Any) -> None:
        """Run a function until it ends or is cancelled."""
        with anyio.CancelScope() as scope:
            if self._cancelled:
                scope.cancel()
            self._scopes.add(scope)
            try:
                await function(*args)
            finally:
                self._scopes.discard(scope)
