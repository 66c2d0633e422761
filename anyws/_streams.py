"""One message piece by piece: received as its bytes arrive, or sent a frame at a time.

Owns what a message is while it is unfinished. Whose turn it is, and what is in the inbox, is the
connection's.
"""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

from ._core.events import Fragment
from ._core.frames import CloseCode
from ._errors import (
    ConnectionClosedError,
    LocalProtocolError,
    RemoteProtocolError,
)
from ._payload import WHOLE, Data, byte_size, to_payload

if TYPE_CHECKING:
    from ._connection import Connection

__all__ = ["FragmentedMessage", "ReceiveStream", "SendStream", "fail_receiving", "take_as_stream"]


class ReceiveStream:
    """One message, piece by piece; made by `Connection.receive_stream`.

    Attributes:
        text: whether the message is text; known once the block is entered.
    """

    def __init__(self, connection: Connection, max_size: int | None) -> None:
        self._connection = connection
        self._max_size = max_size
        self._size = 0
        self._ended = False
        self.text: bool = False

    async def __aenter__(self) -> ReceiveStream:
        """Wait for a message to begin.

        Raises:
            ConnectionClosed, ConcurrencyError: as `Connection.receive`.

        Cancelling: the message, if it has begun, is dropped, and the next one comes next.
        """
        connection = self._connection
        connection._begin_receiving()
        try:
            if not connection._inbox:
                take_as_stream(connection)
            await connection._wait_for_arrival()
        except BaseException:
            self._ended = connection._inbox_begins_whole
            self._leave()
            raise
        first = connection._inbox.first()
        self.text = isinstance(first.data if isinstance(first, Fragment) else first, str)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Drop what has not been read of the message; the next one can be received then."""
        self._leave()

    def __aiter__(self) -> ReceiveStream:
        return self

    async def __anext__(self) -> str | bytes:
        """Return the next piece.

        Raises:
            ConnectionClosed: the connection ended before the message did.

        Cancelling: no piece is lost.
        """
        if self._ended:
            raise StopAsyncIteration
        connection = self._connection
        await connection._wait_for_arrival()
        piece = connection._inbox.popleft()
        if isinstance(piece, Fragment):
            self._ended = piece.final
            data = piece.data
        else:
            self._ended = True
            data = piece
        if not connection._inbox:
            connection._caught_up()
        self._count(data)
        if not data and self._ended:
            raise StopAsyncIteration
        return data

    def _count(self, data: str | bytes) -> None:
        self._size += byte_size(data)
        if self._max_size is not None and self._size > self._max_size:
            reason = f"incoming message of {self._size} bytes or more, limit {self._max_size}"
            raise fail_receiving(self._connection, CloseCode.MESSAGE_TOO_BIG, reason)

    def _leave(self) -> None:
        connection = self._connection
        connection._receiving = False
        if self._ended:
            return
        self._ended = True
        connection._drop_message()


class FragmentedMessage:
    """A fragmented message being sent, whose kind its first piece decides unless it is given."""

    def __init__(self, connection: Connection, text: bool | None, compress: bool | None) -> None:
        self._connection = connection
        self._text = text
        self._compress = compress
        self._begun = False

    async def __aenter__(self) -> FragmentedMessage:
        return self

    async def write(self, chunk: Data) -> None:
        """Send the next piece."""
        if not isinstance(chunk, WHOLE):
            raise TypeError(f"cannot send {type(chunk).__name__}; expected str or bytes-like")
        if self._text is None:
            self._text = isinstance(chunk, str)
        payload, is_text = to_payload(chunk, None)
        if is_text is not self._text:
            expected = "str" if self._text else "bytes-like"
            raise TypeError(
                f"cannot send {type(chunk).__name__} in this message, expected {expected}"
            )
        connection = self._connection
        if not self._begun:
            await connection._wait_for_turn()
            self._begun = True
            connection._hold_turn()
        else:
            try:
                await connection._wait_for_room()
            except BaseException as exc:
                self._give_up(exc)
                raise
        self._push(payload, final=False)

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if exc is not None:
                self._give_up(exc)
            elif self._begun:
                if not self._connection._is_open:
                    raise await self._connection._no_longer_open()
                self._push(b"", final=True)
            else:
                await self._send_empty()
        finally:
            if self._begun:
                self._connection._release_turn()

    async def _send_empty(self) -> None:
        """End a message that never began: of no pieces at all, there is no message."""

    def _push(self, payload: bytes, *, final: bool) -> None:
        connection = self._connection
        buffers = connection._protocol.send_fragment(
            payload, text=bool(self._text), final=final, compress=self._compress
        )
        if final:
            connection._write_message(buffers)
        else:
            connection._transport.write_all(buffers)

    def _give_up(self, exc: BaseException) -> None:
        """Fail the connection: the RFC knows no way to abandon a message that has begun."""
        connection = self._connection
        if self._begun and connection._is_open:
            reason = "a fragmented message was abandoned"
            cause = LocalProtocolError(f"{reason}: {type(exc).__name__}")
            connection._fail(CloseCode.INTERNAL_ERROR, reason, cause)


class SendStream(FragmentedMessage):
    """One message, sent piece by piece; made by `Connection.send_stream`."""

    def __init__(self, connection: Connection, text: bool, compress: bool | None) -> None:
        super().__init__(connection, text, compress)

    async def __aenter__(self) -> SendStream:
        return self

    async def write(self, chunk: Data) -> None:
        """Send the next piece of the message, as one frame.

        Waits first until fewer than `write_limit` bytes are queued and, for the first piece, until
        it is this message's turn.

        Args:
            chunk: `str` for a text message, bytes-like for a binary one.

        Raises:
            ConnectionClosed: the connection is not open.
            TypeError: a piece of the other kind; it was not sent.

        Cancelling: before the first piece nothing was sent; afterwards the connection is failed
        with 1011, since a message with a hole in it would look whole.
        Concurrency: one task at a time.
        """
        await super().write(chunk)

    async def _send_empty(self) -> None:
        """End a message that never began: it is an empty one."""
        await self._connection.send(b"", text=self._text, compress=self._compress)


def take_as_stream(connection: Connection) -> None:
    """Take the current message, or else the next one, as it comes: the inbox is empty."""
    if connection._verdict is not None and not connection._verdict.final:
        connection._drop_verdict()
    connection._read_as_stream()
    connection._caught_up()


def fail_receiving(connection: Connection, code: int, reason: str) -> ConnectionClosedError:
    """Fail the connection for what the peer sent; return the exception that says so."""
    cause = RemoteProtocolError(reason)
    connection._fail(code, reason, cause)
    # An error even if the connection had ended normally by then.
    closed = ConnectionClosedError(
        connection._sent_close, connection._received_close, connection._initiator or "local"
    )
    closed.__cause__ = cause
    return closed
