"""The connection as a stream of bytes, for tunnels: the bytes of its binary messages, in order.

Owns which of the bytes that came have been given out, and that one task reads and one writes. How
messages come and go is the connection's business, and that of `_streams`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import anyio
from anyio.abc import ByteStream

from ._core.events import Fragment
from ._core.frames import CloseCode
from ._errors import ConcurrencyError, ConnectionClosed, ConnectionClosedError
from ._options import check_count
from ._payload import BytesLike
from ._streams import fail_receiving, take_as_stream

if TYPE_CHECKING:
    from ._connection import Connection

__all__ = ["MessageByteStream"]

# 64 KiB a message, as much as is read at once. 16 KiB cost 40 % more CPU, 256 KiB a sixth less; but
# a peer that takes messages whole would hold four times as much before it could pass any of it on.
_MESSAGE_SIZE = 64 * 1024


class MessageByteStream(ByteStream):
    """Bytes over binary messages; made by `Connection.byte_stream`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

        # Reading
        self._owns_messages = False  # from the first `receive` on
        self._is_receiving = False
        self._piece = b""  # of a message; given out up to `_at`
        self._at = 0
        self._is_refused = False  # a text message came

        # Writing
        self._is_sending = False

        # Closing
        self._is_closed = False

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Receive bytes as they come, at least one; this is always a checkpoint.

        Raises:
            ConnectionClosedOK: the connection ended normally, and all bytes have been received.
            ConnectionClosedError: it ended in any other way, or the peer sent text.
            ClosedResourceError: this stream was closed.
            ConcurrencyError: another task is receiving.
            TypeError, ValueError: `max_bytes` is no int, or less than 1.

        Cancelling: no byte is lost.
        Concurrency: one task at a time.
        """
        check_count("max_bytes", max_bytes)
        self._check_not_closed()
        if self._is_receiving:
            raise ConcurrencyError("another task is receiving from this byte stream already")
        connection = self._connection
        if not self._owns_messages:
            connection._begin_receiving()
            self._owns_messages = True
        self._is_receiving = True
        try:
            if self._piece or connection._inbox or not connection._is_open:
                await connection._take_turns()
            if not self._piece:
                await self._wait_for_piece()
        except ConnectionClosed:
            self._check_not_closed()
            raise
        finally:
            self._is_receiving = False
        self._check_not_closed()
        return self._take(max_bytes)

    async def _wait_for_piece(self) -> None:
        connection = self._connection
        inbox = connection._inbox
        while not self._piece:
            if self._is_refused:
                raise self._refuse_text()
            if not inbox:
                take_as_stream(connection)
            await connection._wait_for_arrival()
            first = inbox.popleft()
            if not inbox:
                connection._caught_up()
            data = first.data if isinstance(first, Fragment) else first
            if isinstance(data, str):
                raise self._refuse_text()
            self._piece = data

    def _take(self, max_bytes: int) -> bytes:
        """Take bytes of the piece that is there."""
        piece, at = self._piece, self._at
        end = at + max_bytes
        if end < len(piece):
            self._at = end
            return piece[at:end]
        self._piece, self._at = b"", 0
        return piece[at:] if at else piece

    def _refuse_text(self) -> ConnectionClosedError:
        """Fail the connection: what follows the text would not be where it belongs."""
        self._is_refused = True
        reason = "only binary messages are expected here"
        return fail_receiving(self._connection, CloseCode.UNSUPPORTED_DATA, reason)

    async def send(self, item: bytes) -> None:
        """Send all of `item`, in binary messages of at most 64 KiB; this is always a checkpoint.

        Raises:
            ConnectionClosedError: the connection has ended, even if normally.
            ClosedResourceError: this stream was closed.
            ConcurrencyError: another task is sending.
            TypeError: `item` is not bytes-like.

        Cancelling: the first messages of more than 64 KiB may have been sent; of less, nothing.
        Concurrency: one task at a time.
        """
        if not isinstance(item, BytesLike):
            raise TypeError(f"cannot send {type(item).__name__}; expected bytes-like")
        self._check_not_closed()
        if self._is_sending:
            raise ConcurrencyError("another task is sending to this byte stream already")
        connection = self._connection
        self._is_sending = True
        try:
            await connection._take_turns()
            for message in _messages(item):
                await connection.send(message)
        except ConnectionClosed as closed:
            self._check_not_closed()
            if isinstance(closed, ConnectionClosedError):
                raise
            # A normal end, EndOfStream, is for receivers; what is sent after it is lost.
            raise ConnectionClosedError(closed.sent, closed.received, closed.initiator) from closed
        finally:
            self._is_sending = False

    async def send_eof(self) -> None:
        """Refuse: WebSocket has no half-close.

        A Close frame would end the peer's direction too, and what it still had to send would be
        missing without an error.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("WebSocket has no half-close: send_eof is not possible")

    async def aclose(self) -> None:
        """Close the connection with code 1000, as `Connection.aclose`; this is a checkpoint.

        Cancelling: the transport is closed at once.
        Concurrency: any task; who receives or sends gets ClosedResourceError.
        """
        self._is_closed = True
        try:
            await self._connection.aclose()
            await self._connection._reactor.checkpoint()
        finally:
            self._drop_messages()

    def _drop_messages(self) -> None:
        """Leave to the connection to say how it ended, to whoever receives from it."""
        self._piece, self._at = b"", 0
        if self._owns_messages:
            self._owns_messages = False
            self._connection._inbox.clear()
            self._connection._receiving = False

    def _check_not_closed(self) -> None:
        if self._is_closed:
            raise anyio.ClosedResourceError

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """Those of the connection."""
        return self._connection.extra_attributes


def _messages(item: BytesLike) -> Iterable[BytesLike]:
    """Cut bytes into what is to be sent as one message each."""
    if isinstance(item, bytes) and len(item) <= _MESSAGE_SIZE:
        return (item,) if item else ()
    view = memoryview(item).cast("B")
    return (view[at : at + _MESSAGE_SIZE] for at in range(0, len(view), _MESSAGE_SIZE))
