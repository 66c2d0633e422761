"""One message to many connections: at once to those that can take it, or by queues of a group.

Owns the queues of a group and its policy for members that are slow. It has no task and waits for
nothing but in `Broadcaster.send`. Of a connection it uses what no application may: `_send_shared`,
which sends a message that is encoded once for all, or says what keeps it; the `Outlet` that sends
what was queued when there is room; and the beginning of the closing handshake.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from logging import WARNING
from types import TracebackType
from typing import Literal, TypeVar, get_args

import anyio
from anyio.lowlevel import checkpoint

from ._connection import Connection
from ._core.frames import CloseCode, check_close
from ._errors import QueueFull
from ._io.reactors import uninterrupted
from ._logging import describe_address
from ._message_path import SharedMessage, Skipped, send_to_all
from ._outlet import Outlet
from ._payload import Data, to_payload

__all__ = ["Broadcaster", "Member", "broadcast"]

AnyConnection = TypeVar("AnyConnection", bound=Connection)

#: What becomes of a message for a member whose queue is full.
Slow = Literal["close", "drop_oldest", "drop_newest", "block"]


@uninterrupted
def broadcast(
    connections: Iterable[AnyConnection], message: Data, *, text: bool | None = None
) -> dict[AnyConnection, Skipped]:
    """Send one message on many connections, without waiting for any (RFC 6455 §6.1).

    The message is encoded once for all that send the same bytes: servers' connections without
    compression, or that compress each message by itself with the same parameters. It is sent on
    those where `send` would not wait. On the others it is not sent, now or later, so that a peer
    that does not read costs no memory; `Broadcaster` has a queue for each.

    Args:
        connections: of either side; each gets the message as often as it comes up.
        message: as `Connection.send` takes it, in one piece. A large one is framed, and
            compressed, in one go.
        text: as for `Connection.send`.

    Returns:
        The connections on which it was not sent, and why. One whose extension failed is closed
        with 1011.

    Raises:
        TypeError: `message` is of another type; nothing was sent.
        LocalProtocolError: it cannot be sent as text; nothing was sent.

    Concurrency: any number of tasks.
    """
    shared = SharedMessage(*to_payload(message, text))
    return dict(send_to_all(list(connections), shared))


class Broadcaster:
    """A group of connections that messages are published to, each with a queue of its own.

    A member that can take a message gets it at once; for one that cannot, because its peer is slow
    to read, the message is queued and sent when there is room. So nobody waits for a slow member,
    and each one gets its messages in the order in which they were published. What becomes of a
    message when the queue is full is the policy:

    * "close": the connection is closed.
    * "drop_oldest": the message that has been queued longest is dropped.
    * "drop_newest": the message is dropped.
    * "block": nobody gets the message: `publish` raises, and `send` waits until there is room.

    There is no task for a group or a member, and no lock: it belongs to the event loop of its
    members, which may be connections of either side, and in any number of groups.

    Args:
        max_queue: messages queued for a member, at least 1. They are shared by all members.
        slow: the policy.
        coalesce: gives the key of a message, anything that can be hashed. Of messages with the same
            key only the newest is queued, in the place of the first. None, as a key, is none.
        close_code, close_reason: for "close"; see `Connection.close`.

    Raises:
        ValueError: `max_queue` or `slow` is out of range.
        LocalProtocolError: `close_code` or `close_reason` is.

    Attributes:
        dropped: messages that members were to get and did not: those dropped by policy, those
            queued when a member left, and those that its extension could not encode. Messages
            replaced by newer ones with the same key do not count. Members that have left do.
    """

    def __init__(
        self,
        max_queue: int = 64,
        slow: Slow = "close",
        *,
        coalesce: Callable[[Data], Hashable] | None = None,
        close_code: int = CloseCode.TRY_AGAIN_LATER,
        close_reason: str = "too slow to read what is published",
    ) -> None:
        if max_queue < 1:
            raise ValueError(f"max_queue is {max_queue}, expected at least 1")
        if slow not in get_args(Slow):
            raise ValueError(f"slow is {slow!r}, expected one of {', '.join(get_args(Slow))}")
        check_close(close_code, close_reason)
        self.dropped: int = 0
        self._max_queue = max_queue
        self._slow: Slow = slow
        self._coalesce = coalesce
        self._close_code = close_code
        self._close_reason = close_reason
        self._members: dict[Connection, Member] = {}
        self._full: dict[Member, None] = {}  # those whose queue is, in the order they became so
        self._room: anyio.Event | None = None  # while tasks wait in `send`

    def __len__(self) -> int:
        return len(self._members)

    def __repr__(self) -> str:
        return f"<Broadcaster members={len(self)} slow={self._slow!r} dropped={self.dropped}>"

    @property
    def members(self) -> tuple[Member, ...]:
        """Those that are in the group now, longest first."""
        return tuple(self._members.values())

    def member(self, connection: Connection) -> Member:
        """Add a connection to the group for a block.

        Use it as `async with group.member(ws): ...`. The connection leaves by itself as soon as it
        is not open any more, and the block goes on: end it with `cancel_on_close`, or by receiving.
        """
        return Member(self, connection)

    def publish(self, message: Data, *, text: bool | None = None) -> None:
        """Send one message to every member, or queue it; does not wait.

        Args:
            message, text: as for `broadcast`.

        Raises:
            QueueFull: the policy is "block", and a member has no room; nobody gets the message.
            TypeError, LocalProtocolError: as for `broadcast`; nobody gets the message.

        Concurrency: any number of tasks.
        """
        shared, key = self._prepare(message, text)
        if self._slow == "block" and (full := self._without_room(key)):
            connections = tuple(member.connection for member in full)
            raise QueueFull(connections, self._max_queue)
        self._publish(shared, key)

    async def send(self, message: Data, *, text: bool | None = None) -> None:
        """Wait until every member has room, then publish a message.

        For any policy, which then has nothing to do. A member that leaves, or whose connection is
        not open any more, is waited for no longer; one whose peer is alive and never reads is.

        Args:
            message, text: as for `broadcast`.

        Raises:
            TypeError, LocalProtocolError: as for `broadcast`; nobody gets the message.

        Cancelling: nobody gets the message.
        Concurrency: any number of tasks; each message goes to all members before another does.
        """
        shared, key = self._prepare(message, text)
        await checkpoint()
        while self._without_room(key):
            if self._room is None:
                self._room = anyio.Event()
            await self._room.wait()
        self._publish(shared, key)

    def _prepare(self, message: Data, text: bool | None) -> tuple[SharedMessage, Hashable]:
        """Return a message to be shared, and the key under which it is queued."""
        shared = SharedMessage(*to_payload(message, text))
        key = None if self._coalesce is None else self._coalesce(message)
        hash(key)  # one that cannot be is found out before anybody gets the message
        return shared, shared if key is None else key

    @uninterrupted
    def _publish(self, message: SharedMessage, key: Hashable) -> None:
        # Those with a queue, of whatever group, are skipped. One that fails leaves meanwhile.
        members = self._members.copy()
        for connection, reason in send_to_all(list(members), message):
            member = members[connection]
            if reason is Skipped.FAILED:
                member._count_dropped(1)
            elif reason is not Skipped.NOT_OPEN and not member._put(message, key):
                member._close()

    def _without_room(self, key: Hashable) -> list[Member]:
        """Return the members that cannot take a message with this key, now or later."""
        return [member for member in self._full if key not in (member._queue or ())]

    def _is_full(self, member: Member) -> None:
        self._full[member] = None

    def _has_room(self, member: Member) -> None:
        """Take note of it, and let go on who waits for that."""
        if member in self._full:
            del self._full[member]
            if self._room is not None and (self._coalesce is not None or not self._full):
                self._room.set()
                self._room = None


class Member:
    """A connection's part in a group; made by `Broadcaster.member`, for one block.

    Attributes:
        connection: whose it is.
        dropped: messages that it was to get and did not; see `Broadcaster`.
    """

    __slots__ = ("_group", "_is_used", "_queue", "connection", "dropped")

    def __init__(self, group: Broadcaster, connection: Connection) -> None:
        self.connection: Connection = connection
        self.dropped: int = 0
        self._group = group
        self._is_used = False
        # What waits, by key; None is nothing.
        self._queue: OrderedDict[Hashable, SharedMessage] | None = None

    @property
    def queued(self) -> int:
        """Messages that wait for the peer to read."""
        return 0 if self._queue is None else len(self._queue)

    async def __aenter__(self) -> Member:
        """Join the group; this is no checkpoint if the connection is open.

        Raises:
            ConnectionClosed: the connection is not open.
            ValueError: it is a member of this group already.
        """
        group, connection = self._group, self.connection
        if self._is_used:
            raise RuntimeError("the object that member() returns is for one block only")
        if connection in group._members:
            raise ValueError(f"{connection!r} is a member of this group already")
        if not connection._is_open:
            raise await connection._no_longer_open()
        self._is_used = True
        Outlet.of(connection).add(self)
        group._members[connection] = self
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave the group. What is queued is dropped."""
        self.leave()

    def leave(self) -> None:
        """Leave the group, before the block ends; nothing if it has left already."""
        group = self._group
        if group._members.get(self.connection) is not self:
            return
        del group._members[self.connection]
        self._count_dropped(self.queued)
        self._queue = None
        group._has_room(self)
        outlet = self.connection._outlet
        assert outlet is not None  # it is there for as long as anything is in it
        outlet.remove(self)

    def _put(self, message: SharedMessage, key: Hashable) -> bool:
        """Queue a message, or do with it as the policy has it; False is to close."""
        group, queue = self._group, self._queue
        if queue is None:
            queue = self._queue = OrderedDict()
            queue[key] = message
            Outlet.of(self.connection).put(self)
        elif key in queue or len(queue) < group._max_queue:
            queue[key] = message
        elif group._slow == "drop_oldest":
            queue.popitem(last=False)
            queue[key] = message
            self._count_dropped(1)
        else:
            self._count_dropped(1)
            return group._slow == "drop_newest"
        if len(queue) == group._max_queue:
            group._is_full(self)
        return True

    def _count_dropped(self, n: int) -> None:
        self.dropped += n
        self._group.dropped += n

    def _close(self) -> None:
        """Close the connection, whose peer does not keep up."""
        connection, group = self.connection, self._group
        connection._log(
            WARNING,
            "closing the connection with %s: %d messages published to it are queued, limit %d",
            describe_address(connection.remote_address),
            self.queued,
            group._max_queue,
        )
        connection._begin_close(group._close_code, group._close_reason)

    # What an `Outlet` asks of a box

    def take(self) -> tuple[SharedMessage, bool]:
        """Take the next message. Not for applications."""
        queue = self._queue
        assert queue
        _, message = queue.popitem(last=False)
        if not queue:
            self._queue = None
        self._group._has_room(self)
        return message, bool(queue)

    def failed(self) -> None:
        """Take note that it could not be sent. Not for applications."""
        self._count_dropped(1)
