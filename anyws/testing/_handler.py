"""`run_handler`: a handler with a client in front of it, and no server around it."""

from __future__ import annotations

from types import TracebackType
from typing import Unpack

import anyio

from .. import ClientConnection, ConnectionClosed, ServerConnection
from .._handlers import Handler, call_handler
from .._options import ConnectionKeywords
from ._faults import FaultStream
from ._pair import URI, Joint, Options

__all__ = ["HandlerRun", "run_handler"]


def run_handler(
    handler: Handler,
    *,
    uri: str = URI,
    client: Options | None = None,
    server: Options | None = None,
    grace: float = 1.0,
    cancel_on_close: bool = False,
    **options: Unpack[ConnectionKeywords],
) -> HandlerRun:
    """Run a handler on a connection in memory, with a client in front of it.

    Use it as `async with run_handler(handler) as ws`, where `ws` is the client. The handler runs
    in the background exactly as under `serve`: its connection is closed with code 1000 when it
    returns, and with 1011 when it raises. When the block is left, the client is closed as with
    `connect`, and the handler is waited for.

    What the handler raised then leaves the block, as the same object, so that it fails the test.
    An exception of the block itself goes first, with a note about the handler's, unless it is a
    `ConnectionClosed` or a cancellation, which may be the mere consequence.

    Args:
        handler: an async function of one `ServerConnection`, or a `Router`, as for `serve`. A
            `ConnectionClosed` that it raises is a normal end.
        uri: what the client asks for; the handler finds it in `connection.request`.
        client: keyword arguments of `wrap_client` for the client alone.
        server: keyword arguments of `wrap_server` for the server alone.
        grace: seconds that the handler has to end once the client is closed; then it is
            cancelled.
        cancel_on_close: as for `serve`.
        options: of both ends; see `ConnectionOptions`.

    Raises:
        TypeError, ValueError, LocalProtocolError: an argument cannot be used.
        HandshakeError, OSError: when the block is entered; the opening handshake failed, as the
            client sees it.

    Cancelling: the handler is cancelled. Leaving the block while cancelled takes at most two
        seconds, one for each Close frame, and no time if nothing keeps them from arriving.
    """
    joint = Joint(
        None,
        {**options, "uri": uri, **(client or {})},
        {**options, **(server or {})},
        getattr(handler, "process_request", None),
    )
    return HandlerRun(joint, handler, grace=grace, cancel_on_close=cancel_on_close)


class HandlerRun:
    """What `run_handler` returns, to be entered with `async with`.

    Attributes:
        client_stream: what the client reads and writes, for faults on its side.
        server_stream: what the handler's connection reads and writes, for faults on its side.
    """

    def __init__(
        self, joint: Joint, handler: Handler, *, grace: float, cancel_on_close: bool
    ) -> None:
        self.client_stream: FaultStream = joint.client_stream
        self.server_stream: FaultStream = joint.server_stream
        self._joint = joint
        self._handler = handler
        self._grace = grace
        self._cancel_on_close = cancel_on_close
        self._error: Exception | None = None

    async def __aenter__(self) -> ClientConnection:
        return await self._joint.open(self._serve)

    async def _serve(self, connection: ServerConnection) -> None:
        await call_handler(
            self._handler, connection, self._take_error, cancel_on_close=self._cancel_on_close
        )

    def _take_error(self, _: ServerConnection, error: Exception) -> None:
        self._error = error

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            await self._joint.close(exc, patience=self._grace)
        except anyio.get_cancelled_exc_class():
            if self._error is None:
                raise
        error, self._error = self._error, None
        if error is None:
            return
        if exc is not None and not _may_be_a_consequence(exc):
            exc.add_note(f"The handler had raised {error!r}")
            return
        try:
            raise error
        finally:
            del error  # or it and its traceback would hold each other


def _may_be_a_consequence(exc: BaseException) -> bool:
    """Whether an exception says no more than that the handler has ended."""
    if isinstance(exc, BaseExceptionGroup):
        return exc.split(ConnectionClosed)[1] is None
    return isinstance(exc, ConnectionClosed | anyio.get_cancelled_exc_class())
