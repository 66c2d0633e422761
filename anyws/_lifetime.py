"""The beginning and end of what lives in the background of a connection or a server.

Owns the task group of the drivers, and how a block is left: normally, by an exception, cancelled.
Background tasks never raise; so nothing but what the block itself raised comes out of it, and as
the same object.
"""

from __future__ import annotations

from typing import Protocol

import anyio
from anyio.abc import TaskGroup

from ._connection import Connection, State
from ._core.frames import CloseCode
from ._errors import ConnectionClosed

__all__ = ["CANCELLED_GRACE", "Background", "end_connection"]

#: 1 s at most for the closing handshake when the block is left because it was cancelled.
CANCELLED_GRACE = 1.0


_OTHER_TASK = (
    "this block was entered in one task and left in another, as fixtures of pytest-asyncio are; "
    "use a fixture of anyio's pytest plugin or of pytest-trio, which stay in one task"
)


class NeedsTask(Protocol):
    """A reactor or a transport: something that may need a task to run in."""

    @property
    def needs_task(self) -> bool:
        """Whether `run` must run."""

    async def run(self) -> None:
        """Run until cancelled, or until there is nothing left to do."""


class Background:
    """A task group that is opened when something needs it.

    What runs in it goes on when the surroundings are cancelled, until `aclose`: closing a
    connection takes a reactor that works.
    """

    def __init__(self) -> None:
        self._tasks: TaskGroup | None = None
        self._scopes: list[anyio.CancelScope] = []
        self._opener = 0  # the task that opened the group, and has to close it

    async def start(self, thing: NeedsTask) -> None:
        """Run `thing` in the background, if it needs to be."""
        if thing.needs_task:
            scope = anyio.CancelScope(shield=True)
            self._scopes.append(scope)
            tasks = await self.open()
            tasks.start_soon(self._run, thing, scope)

    async def _run(self, thing: NeedsTask, scope: anyio.CancelScope) -> None:
        with scope:
            await thing.run()

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

        Its tasks only have to notice, so this is short.

        Raises:
            BaseException: what a task in the group has raised, by itself if it is but one.
            RuntimeError: another task opened the group; on asyncio its tasks have ended even so.
        """
        if self._tasks is None:
            return
        tasks, self._tasks = self._tasks, None
        for scope in self._scopes:
            scope.cancel()
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
        if problem is not None:
            raise problem  # out here, so that the group does not become its context


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
