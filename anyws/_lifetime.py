"""The beginning and end of what lives in the background of a connection or a server.

Owns the task group of the drivers, and how a block is left: normally, by an exception, cancelled.
Background tasks never raise; so nothing but what the block itself raised comes out of it, and as
the same object.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from types import TracebackType
from typing import Any, Generic, Protocol, TypeVar

import anyio
from anyio.abc import TaskGroup

from ._connection import Connection, State
from ._core.frames import CloseCode
from ._errors import ConnectionClosed
from ._io.reactors import uninterrupted

__all__ = ["CANCELLED_GRACE", "Background", "Block", "TaskGroupLike", "end_connection"]

#: 1 s at most for the closing handshake when the block is left because it was cancelled.
CANCELLED_GRACE = 1.0


_OTHER_TASK = (
    "this block was entered in one task and left in another, as fixtures of pytest-asyncio are; "
    "use a fixture of anyio's pytest plugin or of pytest-trio, which stay in one task"
)


class TaskGroupLike(Protocol):
    """A task group of anyio, or a nursery of trio."""

    async def start(self, function: Callable[..., Any], /, *args: Any) -> Any:
        """Start a task and wait for it to say that it has started."""

    def start_soon(self, function: Callable[..., Any], /, *args: Any) -> Any:
        """Start a task."""


class NeedsTask(Protocol):
    """A reactor or a transport: something that may need a task to run in."""

    @property
    def needs_task(self) -> bool:
        """Whether `run` must run."""

    async def run(self) -> None:
        """Run until cancelled, or until there is nothing left to do."""


class Background:
    """A task group that is opened when something needs it, or a part of somebody else's.

    What runs in it goes on when the surroundings are cancelled, until `aclose`: closing a
    connection takes a reactor that works.

    Args:
        lent: a task group to use; then none is opened, and this one stays open.
    """

    def __init__(self, lent: TaskGroup | TaskGroupLike | None = None) -> None:
        self._lent = lent
        self._tasks: TaskGroup | None = None
        self._running: dict[NeedsTask, tuple[anyio.CancelScope, anyio.Event]] = {}
        self._opener = 0  # the task that opened the group, and has to close it

    async def start(self, thing: NeedsTask) -> None:
        """Run `thing` in the background, if it needs to be."""
        if thing.needs_task:
            await self.prepare()
            scope, end = anyio.CancelScope(shield=True), anyio.Event()
            tasks = self._lent or self._tasks
            assert tasks is not None
            tasks.start_soon(self._run, thing, scope, end)
            self._running[thing] = scope, end

    async def _run(self, thing: NeedsTask, scope: anyio.CancelScope, end: anyio.Event) -> None:
        try:
            with scope:
                await thing.run()
        finally:
            end.set()

    async def stop(self, thing: NeedsTask) -> None:
        """End what runs of `thing`, if something does, and wait for that.

        Cancelling: it ends all the same.
        """
        if thing in self._running:
            scope, end = self._running[thing]
            scope.cancel()
            await end.wait()
            del self._running[thing]

    async def prepare(self) -> None:
        """See to it that `start` opens nothing: it may be called inside any scope from then on."""
        if self._lent is None:
            await self.open()

    async def open(self) -> TaskGroup:
        """Return the task group, which is opened if it is not open.

        It must not be opened inside a cancel scope that ends before `aclose`.
        """
        if self._tasks is None:
            tasks = anyio.create_task_group()
            await tasks.__aenter__()
            self._tasks = tasks
            self._opener = anyio.get_current_task().id
        return self._tasks

    async def aclose(self) -> None:
        """Cancel what runs and wait for it, even if the caller is cancelled.

        Its tasks only have to notice, so this is short. A group that was lent stays open.

        Raises:
            BaseException: what a task in the group has raised, by itself if it is but one.
            RuntimeError: another task opened the group; on asyncio its tasks have ended even so.
        """
        for scope, _ in self._running.values():
            scope.cancel()
        if self._tasks is None:
            with anyio.CancelScope(shield=True):
                for _, end in self._running.values():
                    await end.wait()
            return
        tasks, self._tasks = self._tasks, None
        tasks.cancel_scope.shield = True
        tasks.cancel_scope.cancel()
        problem: BaseException | None = None
        try:
            await tasks.__aexit__(None, None, None)
        except BaseExceptionGroup as group:
            problem = _only_leaf(group)
        except RuntimeError as exc:
            if anyio.get_current_task().id == self._opener:
                raise
            raise RuntimeError(_OTHER_TASK) from exc
        try:
            if problem is not None:
                raise problem  # out here, so that the group does not become its context
        finally:
            del problem  # whose traceback has this frame


AnyConnection = TypeVar("AnyConnection", bound=Connection)


class Block(ABC, Generic[AnyConnection]):
    """An `async with` that opens a connection, and closes it when the block is left."""

    _maker: str  # the function that makes these, for errors
    _task_group: TaskGroup | TaskGroupLike | None = None  # for background work, if one is given
    _background: Background | None = None
    _connection: AnyConnection | None = None

    @abstractmethod
    async def _open(self, background: Background) -> AnyConnection:
        """Open the connection. If that fails, what was opened is closed, but for `background`."""

    @uninterrupted
    async def __aenter__(self) -> AnyConnection:
        if self._background is not None:
            raise RuntimeError(
                f"the object that {self._maker}() returns is for one connection only"
            )
        self._background = Background(self._task_group)
        try:
            self._connection = await self._open(self._background)
        except BaseException:
            await self._background.aclose()
            raise
        return self._connection

    @uninterrupted
    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._connection is not None
        assert self._background is not None
        try:
            await end_connection(self._connection, exc)
        finally:
            await self._background.aclose()


async def end_connection(connection: Connection, exc: BaseException | None) -> None:
    """Close a connection whose block is left, by `exc` or normally.

    Normally it takes up to `close_timeout`; with the code 1011 if an exception leaves the block.
    Where the block was cancelled (or by Ctrl+C), 1001 is sent and the grace is one second.

    Cancelling: goes over to the short way. The transport is closed in every case.
    """
    if exc is not None and not isinstance(exc, ConnectionClosed):
        _mention_failure(connection, exc)
    try:
        if exc is None:
            await connection.close()
        elif isinstance(exc, Exception):
            await connection.close(CloseCode.INTERNAL_ERROR)
        else:
            await _close_quickly(connection)
    except BaseException:
        await _close_quickly(connection)
        raise
    finally:
        connection._abort()


async def _close_quickly(connection: Connection) -> None:
    with anyio.move_on_after(CANCELLED_GRACE, shield=True):
        await connection.close(CloseCode.GOING_AWAY)


def _mention_failure(connection: Connection, exc: BaseException) -> None:
    """Note on the block's exception that the connection had failed by itself, if it had."""
    if connection.state is State.CLOSED:
        closed = connection._closed()
        if closed.code not in (1000, 1001, 1005):
            exc.add_note(f"The WebSocket connection had ended before that: {closed}")


def _only_leaf(exc: BaseException) -> BaseException:
    """Take an exception out of the groups around it, if it is alone in them."""
    while isinstance(exc, BaseExceptionGroup) and len(exc.exceptions) == 1:
        exc = exc.exceptions[0]
    return exc
