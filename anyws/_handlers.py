"""A handler's run on its connection, and what the way it ends means for the connection.

Owns the sorting of what comes out of a handler: errors to report, interruptions to pass on, the
mere end of the connection. It must not know servers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio

from ._errors import ConnectionClosed
from ._io.reactors import interrupted, uninterrupted
from ._lifetime import end_connection
from ._server_connection import ServerConnection

__all__ = ["Handler", "Report", "call_handler"]

Handler = Callable[[ServerConnection], Awaitable[object]]
Report = Callable[[ServerConnection, Exception], None]


@uninterrupted
async def call_handler(
    handler: Handler,
    connection: ServerConnection,
    report: Report,
    ended: Callable[[ServerConnection], None] | None = None,
    *,
    cancel_on_close: bool = False,
) -> None:
    """Run a handler, and end its connection as the handler ended.

    Args:
        handler: what it raises goes to `report`, unless it is the mere end of a connection.
        connection: open; closed in every case when this returns.
        report: may not raise.
        ended: called at the very end, in every case; may not raise.
        cancel_on_close: cancel the handler when the connection ends.

    Raises:
        BaseException: what is no `Exception`: a cancellation, Ctrl+C; by itself, out of its groups.

    Cancelling: the handler is cancelled, and the peer gets 1001 within a grace of one second.
    """
    error: Exception | None = None
    interruption: BaseException | None = None
    try:
        await (_run_until_closed if cancel_on_close else _run)(handler, connection)
    except BaseException as exc:
        error, interruption = _sort_out(exc)
    try:
        if error is not None:
            report(connection, error)
        await end_connection(connection, interruption or error)
        if interruption is not None:
            raise interruption
    finally:
        del error, interruption  # whose tracebacks have this frame
        if ended is not None:
            ended(connection)


@interrupted
async def _run(handler: Handler, connection: ServerConnection) -> None:
    await handler(connection)


@uninterrupted
async def _run_until_closed(handler: Handler, connection: ServerConnection) -> None:
    with connection.cancel_on_close():
        await _run(handler, connection)


def _sort_out(exc: BaseException) -> tuple[Exception | None, BaseException | None]:
    """Split what came out of a handler: an error to report, an interruption to pass on.

    The mere end of a connection is neither. Out of a group, an interruption (a cancellation,
    Ctrl+C) is taken by itself; the errors stay in theirs.
    """
    if isinstance(exc, ConnectionClosed):
        return None, None
    if not isinstance(exc, BaseExceptionGroup):
        return (exc, None) if isinstance(exc, Exception) else (None, exc)
    if exc.subgroup(ConnectionClosed) is not None:
        rest = exc.split(ConnectionClosed)[1]
        return (None, None) if rest is None else _sort_out(rest)
    errors, others = exc.split(Exception)
    if others is None:
        return errors, None
    # Ctrl+C before a cancellation, which a task group may have raised on account of it.
    others = others.split(anyio.get_cancelled_exc_class())[1] or others
    interruption: BaseException = others
    while isinstance(interruption, BaseExceptionGroup):
        interruption = interruption.exceptions[0]
    return errors, interruption
