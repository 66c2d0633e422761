"""A client and a server joined in memory, and the beginning and the end of both.

What the server's end does in between is a function: `connection_pair` has one that waits.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, Unpack

import anyio

from .. import (
    ClientConnection,
    Deflate,
    Extension,
    HandshakeError,
    ServerConnection,
    wrap_client,
)
from .._accept import WrappedServer
from .._accepting import Accepting, ProcessRequest
from .._lifetime import Background
from .._options import ConnectionKeywords
from ._faults import FaultStream
from ._memory import memory_pair

__all__ = ["URI", "ConnectionPair", "Joint", "Options", "connection_pair"]

#: Any: they go to `wrap_client` and `wrap_server`, which know what they take, and check it.
Options = Mapping[str, Any]

#: What the client asks for unless told otherwise.
URI = "ws://localhost/"


def connection_pair(
    *,
    capacity: int | None = None,
    client: Options | None = None,
    server: Options | None = None,
    extensions: Sequence[Extension] = (),
    compression: Literal["deflate"] | Deflate | None = None,
    **options: Unpack[ConnectionKeywords],
) -> ConnectionPair:
    """Join a client and a server in memory.

    Use it as `async with connection_pair() as (client, server)`. When the block is left, both are
    closed, the client first: with code 1000, with 1011 after an exception, with 1001 when
    cancelled. What the block raises leaves it unchanged.

    Args:
        capacity: bytes that are under way in each direction until the other end reads, after
            which a writer waits; None for no limit.
        client: keyword arguments of `wrap_client` for the client alone, `uri` among them.
        server: keyword arguments of `wrap_server` for the server alone.
        extensions, compression: of both; see `connect`.
        options: of both; see `ConnectionOptions`.

    Raises:
        TypeError, ValueError, LocalProtocolError: an argument cannot be used.
        HandshakeError, OSError: when the block is entered; the opening handshake failed, as the
            client sees it.

    Cancelling: both ends are closed. Leaving the block while cancelled takes at most two seconds,
        one for each Close frame, and no time if nothing keeps them from arriving.
    """
    both = {**options, "extensions": extensions, "compression": compression}
    return ConnectionPair(Joint(capacity, {**both, **(client or {})}, {**both, **(server or {})}))


class ConnectionPair:
    """What `connection_pair` returns, to be entered with `async with`.

    Attributes:
        client_stream: what the client reads and writes, for faults on its side.
        server_stream: what the server reads and writes, for faults on its side.
    """

    def __init__(self, joint: Joint) -> None:
        self.client_stream: FaultStream = joint.client_stream
        self.server_stream: FaultStream = joint.server_stream
        self._joint = joint
        self._server: ServerConnection | None = None

    async def __aenter__(self) -> tuple[ClientConnection, ServerConnection]:
        client = await self._joint.open(self._hold)
        assert self._server is not None  # its task came to `_hold` in the step that answered
        return client, self._server

    async def _hold(self, connection: ServerConnection) -> None:
        """Keep the server's end until the client's has been closed."""
        self._server = connection
        await self._joint.client_ended.wait()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._joint.close(exc)


class Joint:
    """The two ends, each over a stream with faults.

    Args:
        capacity: bytes that are under way in each direction; None for no limit.
        client: keyword arguments of `wrap_client`.
        server: keyword arguments of `wrap_server`.
        handler_hook: the `process_request` of a handler that has one.

    Attributes:
        client_stream, server_stream: those of the two ends.
        client_ended: set once the client has been closed by `close`.
    """

    def __init__(
        self,
        capacity: int | None,
        client: Options,
        server: Options,
        handler_hook: ProcessRequest | None = None,
    ) -> None:
        ours, theirs = memory_pair(capacity)
        self.client_stream: FaultStream = FaultStream(ours)
        self.server_stream: FaultStream = FaultStream(theirs)
        self._connecting = wrap_client(self.client_stream, **{"uri": URI, **client})
        self._accepting = WrappedServer(
            self.server_stream, Accepting().changed(server), handler_hook
        )
        self._background: Background | None = None
        self.client_ended: anyio.Event = anyio.Event()
        self._server_ended = anyio.Event()

    async def open(
        self, serve: Callable[[ServerConnection], Awaitable[object]]
    ) -> ClientConnection:
        """Open both ends, and run `serve` on the server's, in the background.

        An interruption that `serve` raises, Ctrl+C for one, cancels the caller; `close` raises it.
        """
        if self._background is not None:
            raise RuntimeError("this object is for one connection only")
        self._background = Background()
        tasks = await self._background.open()
        tasks.start_soon(self._run_server, serve)
        try:
            return await self._connecting.__aenter__()
        except BaseException:
            await self._background.aclose()
            raise

    async def _run_server(self, serve: Callable[[ServerConnection], Awaitable[object]]) -> None:
        try:
            async with self._accepting as connection:
                await serve(connection)
        except (HandshakeError, OSError):
            pass  # the client has been told, or was the one who gave up
        finally:
            self._server_ended.set()

    async def close(self, exc: BaseException | None, *, patience: float | None = None) -> None:
        """Close the client as its block was left, and wait for the server's end.

        Args:
            exc: what left the block.
            patience: seconds until the server's task is cancelled; None for no limit. An
                interruption such as `Cancelled` leaves it none.

        Cancelling: the server's task is cancelled.
        """
        assert self._background is not None
        try:
            await self._connecting.__aexit__(None if exc is None else type(exc), exc, None)
            self.client_ended.set()
            if exc is None or isinstance(exc, Exception):
                with anyio.move_on_after(patience):
                    await self._server_ended.wait()
        finally:
            await self._background.aclose()
