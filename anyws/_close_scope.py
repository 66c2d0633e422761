"""`cancel_on_close`: a block that is cancelled when its connection ends.

Owns the cancel scope of the block, and what is done meanwhile with messages that nobody asked for.
When a connection counts as ended is the connection's business.
"""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Literal

import anyio

if TYPE_CHECKING:
    from ._connection import Connection
    from ._errors import ConnectionClosed

__all__ = ["CloseScope", "Incoming"]

#: What happens to messages that arrive while the block runs.
Incoming = Literal["keep", "discard", "refuse"]


class CloseScope:
    """A block that is cancelled when the connection ends; made by `Connection.cancel_on_close`.

    Attributes:
        closed: how the connection ended, if that is what cancelled the block; else None.
    """

    def __init__(self, connection: Connection, incoming: Incoming) -> None:
        self._connection = connection
        self._incoming: Incoming = incoming
        self._scope: anyio.CancelScope | None = None
        self._is_over = False

    def __enter__(self) -> CloseScope:
        """Begin; if the connection has ended already, the block is cancelled at its first wait.

        Raises:
            ConcurrencyError: messages are to be discarded or refused, and another task receives.
        """
        if self._scope is not None:
            raise RuntimeError("the object that cancel_on_close() returns is for one block only")
        scope = anyio.CancelScope()
        self._connection._add_close_scope(self, self._incoming)
        self._scope = scope
        scope.__enter__()
        if self._is_over:
            scope.cancel()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        assert self._scope is not None
        self._connection._remove_close_scope(self, self._incoming)
        return bool(self._scope.__exit__(exc_type, exc, traceback))

    def cancel(self) -> None:
        """Cancel the block, whatever the connection does."""
        if self._scope is not None:
            self._scope.cancel()

    @property
    def cancel_called(self) -> bool:
        """Whether the block has been cancelled, by the end of the connection or by `cancel`."""
        return self._scope is not None and self._scope.cancel_called

    @property
    def cancelled_caught(self) -> bool:
        """Whether the block was left on account of that."""
        return self._scope is not None and self._scope.cancelled_caught

    @property
    def closed(self) -> ConnectionClosed | None:
        return self._connection._closed() if self._is_over else None

    def _connection_ended(self) -> None:
        if not self._is_over:
            self._is_over = True
            if self._scope is not None:
                self._scope.cancel()
