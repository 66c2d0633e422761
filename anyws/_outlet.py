"""Messages of groups that wait for room on one connection.

Owns whose turn it is among the groups that a connection is in, and between them and the tasks that
wait in `send`. A queue, and what becomes of one that is full, is the group's business.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ._connection import Connection
    from ._message_path import SharedMessage

__all__ = ["Box", "Outlet"]


class Box(Protocol):
    """A queue of one group for one connection."""

    def take(self) -> tuple[SharedMessage, bool]:
        """Take the next message, of which there is one; say whether there are more."""

    def failed(self) -> None:
        """Take note that the message taken last could not be sent."""

    def leave(self) -> None:
        """Take note that nothing more can be sent."""


class Outlet:
    """The boxes of a connection; it has one while it is in any group.

    Attributes:
        has_turn: a queued message goes before the tasks that wait to send. It is theirs again once
            one was sent, so that neither has to wait for more than one message of the other.
    """

    __slots__ = ("_boxes", "_connection", "_is_due", "_waiting", "has_turn")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._boxes: tuple[Box, ...] = ()
        self._waiting: tuple[Box, ...] = ()  # those that are not empty, the next one first
        self._is_due = False
        self.has_turn: bool = True

    @classmethod
    def of(cls, connection: Connection) -> Outlet:
        """Return that of the connection, a new one if it is in no group."""
        outlet = connection._outlet
        if outlet is None:
            outlet = connection._outlet = cls(connection)
        return outlet

    def add(self, box: Box) -> None:
        """Add a box, which is empty."""
        self._boxes += (box,)

    def remove(self, box: Box) -> None:
        """Forget a box, and what is in it."""
        self._boxes = tuple(other for other in self._boxes if other is not box)
        if not self._boxes:
            self._connection._outlet = None
        if box in self._waiting:
            self._set_waiting(tuple(other for other in self._waiting if other is not box))
            # A task may have waited for this one's turn to pass.
            self._connection._next_turn()

    def put(self, box: Box) -> None:
        """Send what is in a box that was empty, as soon as nothing keeps it waiting."""
        self._set_waiting((*self._waiting, box))

    def _set_waiting(self, boxes: tuple[Box, ...]) -> None:
        self._waiting = boxes
        self._connection._has_queued = bool(boxes)

    def send_soon(self) -> None:
        """Send when the tasks that can run now have run."""
        if not self._is_due:
            self._is_due = True
            self._connection._reactor.call_soon(self._send)

    def _send(self) -> None:
        """Send from one box after the other, for as long as nothing keeps that waiting."""
        self._is_due = False
        connection = self._connection
        while self._waiting and not self._has_to_wait():
            box, *others = self._waiting
            message, has_more = box.take()
            self._set_waiting((*others, box) if has_more else tuple(others))
            self.has_turn = False
            if connection._write_shared(message) is not None:
                box.failed()
        if connection._turns:
            connection._turns[0].wake()

    def _has_to_wait(self) -> bool:
        connection = self._connection
        return (
            not connection._is_open
            or connection._fragmenting is not None
            or (bool(connection._turns) and not self.has_turn)
            or not connection._has_room()
        )

    def end(self) -> None:
        """Leave the groups: the connection is not open any more."""
        for box in self._boxes:
            box.leave()
