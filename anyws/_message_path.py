# cython: language_level=3, annotation_typing=False, boundscheck=False, auto_pickle=False
"""What every message passes between an application and its transport, and nothing else.

The hot part of `Connection`, which is built on it: kept apart so that it can be compiled. It owns
the messages that have arrived, the budgets on them, and the straight way out for a message that
nothing keeps waiting. Whatever needs a decision is the connection's.
"""

from __future__ import annotations

import enum
from threading import get_ident
from typing import TYPE_CHECKING, TypeVar

from ._errors import ConcurrencyError, ConnectionClosedOK
from ._payload import LARGE, LARGE_TO_ENCODE, WHOLE, size_of, to_payload

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Hashable, Iterator, Sequence

    from ._close_scope import Incoming
    from ._core.events import Event, Fragment
    from ._core.protocol import Protocol
    from ._io.transport import Reactor, Timer, Transport, Waiter
    from ._options import ConnectionOptions
    from ._outlet import Outlet

__all__ = [
    "CALLS_A_TURN",
    "MessagePath",
    "MessageQueue",
    "SharedMessage",
    "Skipped",
    "State",
    "Verdict",
    "send_to_all",
]

AnyPath = TypeVar("AnyPath", bound="MessagePath")

#: Calls that need not wait take turns with other tasks every so often: 32 messages, received and
#: sent, are about 0.1 ms of work.
CALLS_A_TURN = 64

# 1,024 messages not yet read, whatever their size: tiny ones cost more than their bytes.
_MAX_UNREAD_MESSAGES = 1024


class State(enum.Enum):
    """Where a connection is in its life (RFC 6455 §4.1, §7.1)."""

    CONNECTING = "connecting"
    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"


class Skipped(enum.Enum):
    """Why a message for many connections was not sent on one of them; see `broadcast`."""

    NOT_OPEN = "the connection is not open"
    BUSY = "another message is under way, in fragments"
    FULL = "the peer does not read: `send` would wait"
    FAILED = "an extension could not encode the message"


# Looking up a member of an enum costs as much as the comparison itself.
_CONNECTING, _OPEN = State.CONNECTING, State.OPEN
_NOT_OPEN, _BUSY, _FULL, _FAILED = Skipped


class Verdict:
    """A reason to fail the connection that waits for the application to take what came before.

    `final` is False if taking the message as a stream lifts it.
    """

    __slots__ = ("code", "final", "reason", "timer")

    def __init__(self, code: int, reason: str, *, final: bool) -> None:
        self.code = code
        self.reason = reason
        self.final = final
        self.timer: Timer | None = None


class MessageQueue:
    """Messages, and fragments of them, in order: a list that is read from the front.

    Where there are none it takes a seventh of the memory of a deque, and most connections are idle.
    """

    __slots__ = ("_at", "_items")

    def __init__(self) -> None:
        self._items: list[str | bytes | Fragment | None] = []
        self._at = 0  # of the first one

    def __len__(self) -> int:
        return len(self._items) - self._at

    def __iter__(self) -> Iterator[str | bytes | Fragment]:
        return iter(self._items[self._at :])  # type: ignore[arg-type]  # None is before that

    def append(self, item: str | bytes | Fragment) -> None:
        """Add one at the end."""
        self._items.append(item)

    def first(self) -> str | bytes | Fragment:
        """Return the first one and leave it there."""
        item = self._items[self._at]
        assert item is not None
        return item

    def popleft(self) -> str | bytes | Fragment:
        """Take the first one."""
        item = self.first()
        self._items[self._at] = None
        self._at += 1
        if self._at == len(self._items):
            self.clear()
        return item

    def clear(self) -> None:
        """Drop them all."""
        self._items = []
        self._at = 0


class SharedMessage:
    """A message for many connections: a frame is made once for all those for which it is the same.

    Args:
        payload: for text, UTF-8; not checked again.
        text: the kind of message.
    """

    __slots__ = ("_frames", "_payload", "_text")

    def __init__(self, payload: bytes, text: bool) -> None:
        self._payload = payload
        self._text = text
        self._frames: dict[Hashable, tuple[bytes, ...]] = {}

    def frame(self, protocol: Protocol) -> tuple[bytes, ...]:
        """Return the buffers of the frame, as `Protocol.send_message` does."""
        key = protocol.frame_key()
        if key is None:
            return protocol.send_message(self._payload, self._text)
        frame = self._frames.get(key)
        if frame is None:
            frame = self._frames[key] = protocol.send_message(self._payload, self._text)
        return frame


class MessagePath:
    """The straight way of messages, in and out; see `Connection`."""

    __slots__ = (
        "_arrival",
        "_calls",
        "_discarding",
        "_ended_at",
        "_fragmenting",
        "_has_queued",
        "_heard_at",
        "_inbox",
        "_incoming",
        "_large",
        "_max_buffer",
        "_opened_at",
        "_outlet",
        "_paused",
        "_protocol",
        "_reactor",
        "_received_bytes",
        "_received_messages",
        "_receiving",
        "_sent_messages",
        "_state",
        "_thread",
        "_transport",
        "_turns",
        "_unread_bytes",
        "_verdict",
        "_working",
        "_write_limit",
    )

    _protocol: Protocol  # from `_open` on

    def __init__(self, transport: Transport) -> None:
        self._transport: Transport = transport
        self._reactor: Reactor = transport.reactor
        self._state: State = State.CONNECTING
        self._calls = 0  # since the last checkpoint
        self._thread = get_ident()  # that of the event loop

        # Reading
        self._inbox: MessageQueue = MessageQueue()
        self._unread_bytes = 0  # received while the inbox was not empty
        self._max_buffer = 0
        self._paused = False
        self._working = False  # what came is decoded in steps; nothing is read meanwhile
        self._receiving = False
        self._incoming: Incoming = "keep"
        self._discarding = False  # only control frames count any more
        self._verdict: Verdict | None = None  # waits behind messages that are not delivered
        self._arrival: Waiter = self._reactor.new_waiter()
        self._heard_at = 0.0  # when bytes last arrived; 0 if none did since the last Ping was due

        # Writing
        self._write_limit = 0
        self._large = LARGE  # from so many bytes on a message is made ready in slices
        self._turns: deque[Waiter] | None = None  # messages that wait for theirs
        self._fragmenting: object | None = None  # the task that sends a fragmented message
        self._outlet: Outlet | None = None  # of a member of groups
        self._has_queued: bool = False  # does any message wait there

        # Counting
        self._received_bytes = 0
        self._received_messages = 0
        self._sent_messages = 0
        self._opened_at = self._reactor.clock()
        self._ended_at = 0.0  # 0 until it has

    def _begin(self, protocol: Protocol, options: ConnectionOptions) -> None:
        """Let messages pass: the opening handshake is done."""
        self._protocol = protocol
        self._max_buffer = options.max_buffer
        self._write_limit = options.write_limit
        if protocol.has_extensions:
            self._large = LARGE_TO_ENCODE
        self._opened_at = self._reactor.clock()
        self._transport.written = 0  # what was written before belongs to the opening handshake
        self._state = _OPEN

    # In

    def feed(self, data: bytes) -> None:
        """Take bytes from the transport. Not for applications."""
        self._take_events(self._protocol.receive_data(data), len(data))

    def room(self) -> memoryview | None:
        """Say where the transport is to put the next bytes. Not for applications."""
        return self._protocol.payload_room()

    def filled(self, n: int) -> None:
        """Take bytes that the transport has put there. Not for applications."""
        self._take_events(self._protocol.payload_filled(n), n)

    def _take_events(self, events: list[Event], n: int) -> None:
        self._heard_at = self._reactor.read_at
        self._transport.direct = self if self._protocol.wants_room() else None
        self._received_bytes += n
        if self._protocol.decoded:
            n += self._protocol.decoded
            self._protocol.decoded = 0
        inbox = self._inbox
        for event in events:
            if type(event) is bytes or type(event) is str:
                self._received_messages += 1
                inbox.append(event)
            else:
                self._handle(event)
        if not inbox:
            self._check_unfinished()
        elif self._incoming != "keep":
            self._drop_inbox()
        else:
            self._unread_bytes += n
            if (
                self._unread_bytes >= self._max_buffer or len(inbox) >= _MAX_UNREAD_MESSAGES
            ) and not self._discarding:
                self._pause()
        if self._protocol.has_work or self._working:
            self._plan_work()
        if inbox:
            self._arrival.wake_now()

    async def __anext__(self) -> str | bytes:
        try:
            message = self._message_now()
            if message is None:
                await self._wait_for_message()
                message = self._take_message()
        except ConnectionClosedOK:
            raise StopAsyncIteration from None
        return message

    async def _wait_for_message(self) -> None:
        """Wait until there is something in the inbox, or let other tasks run."""
        try:
            if self._inbox:
                await self._take_turns()
            while not self._inbox:
                await self._arrival.wait()
                if not self._inbox:
                    self._prepare_to_wait()
        finally:
            self._receiving = False

    def _message_now(self) -> str | bytes | None:
        """Return the next message, or None if it takes waiting: in `_receiving`, to be undone."""
        if get_ident() != self._thread:
            raise _elsewhere()
        if self._receiving or self._incoming != "keep":
            raise self._busy()
        if self._inbox and self._calls < CALLS_A_TURN:
            return self._take_message()
        if not self._inbox:
            self._prepare_to_wait()
        self._receiving = True
        return None

    def _prepare_to_wait(self) -> None:
        """Say why there is nothing to wait for, or do what must be done before waiting."""
        if self._verdict is not None or self._paused or self._state is not _OPEN:
            self._look_up()
        self._calls = 0
        self._transport.flush_soon()

    def _check_thread(self) -> None:
        """Refuse to be used from another thread than that of the event loop.

        Raises:
            ConcurrencyError: it is.
        """
        if get_ident() != self._thread:
            raise _elsewhere()

    def _begin_receiving(self) -> None:
        self._check_thread()
        if self._state is _CONNECTING:
            self._look_up()
        if self._receiving or self._incoming != "keep":
            raise self._busy()
        self._receiving = True

    def _busy(self) -> ConcurrencyError:
        if self._incoming != "keep":
            return ConcurrencyError(
                f"cancel_on_close(incoming={self._incoming!r}) is in force on this connection: "
                "its messages are not kept"
            )
        return ConcurrencyError(
            "another task is receiving from this connection already, or its byte_stream() is in use"
        )

    def _take_message(self) -> str | bytes:
        self._calls += 1
        inbox = self._inbox
        message = inbox.popleft()
        if not inbox:
            self._unread_bytes = 0
            if self._paused:
                self._caught_up()
        return message  # type: ignore[return-value]  # fragments are for `receive_stream` only

    def _handle(self, event: Event) -> None:
        raise NotImplementedError

    def _drop_inbox(self) -> None:
        raise NotImplementedError

    def _pause(self) -> None:
        raise NotImplementedError

    def _caught_up(self) -> None:
        raise NotImplementedError

    def _check_unfinished(self) -> None:
        raise NotImplementedError

    def _plan_work(self) -> None:
        raise NotImplementedError

    def _look_up(self) -> None:
        raise NotImplementedError

    async def _take_turns(self) -> None:
        self._calls = 0
        self._transport.flush()
        await self._reactor.checkpoint()

    # Out

    def _send_now(self, data: object, text: bool | None, compress: bool | None) -> bool:
        """Send a whole message if nothing keeps it waiting; say whether it was sent."""
        if get_ident() != self._thread:
            raise _elsewhere()
        if (
            not isinstance(data, WHOLE)
            or self._state is not _OPEN
            or self._calls >= CALLS_A_TURN
            or self._turns is not None
            or self._fragmenting is not None
            or self._has_queued
            or not self._transport.has_room(self._write_limit)
            or size_of(data) >= self._large
        ):
            return False
        if type(data) is bytes and not text:
            payload, is_text = data, False
        else:
            payload, is_text = to_payload(data, text)
        self._calls += 1
        buffers = self._frame(payload, is_text, compress)
        self._sent_messages += 1
        self._transport.write_all(buffers)
        return True

    def _send_shared(self, message: SharedMessage) -> Skipped | None:
        """Send a message for many if nothing keeps it waiting; say why it was not sent, if so."""
        if get_ident() != self._thread:
            raise _elsewhere()
        if self._state is not _OPEN:
            return _NOT_OPEN
        if self._fragmenting is not None:
            return _BUSY
        if self._turns is not None or self._has_queued:
            return _FULL
        if not self._transport.has_room(self._write_limit):
            # What is only held back for a common write is not in the way.
            self._transport.flush()
            if not self._transport.has_room(self._write_limit):
                return _FULL
        return self._write_shared(message)

    def _write_shared(self, message: SharedMessage) -> Skipped | None:
        """Send a message for many whose turn it is; whoever sends it cannot help a failure."""
        try:
            frame = message.frame(self._protocol)
        except Exception as exc:
            self._framing_failed(exc)
            return _FAILED
        self._sent_messages += 1
        self._transport.write_now(frame)
        return None

    def _frame(self, payload: bytes, text: bool, compress: bool | None) -> tuple[bytes, ...]:
        try:
            return self._protocol.send_message(payload, text, compress)
        except Exception as exc:
            self._framing_failed(exc)
            raise

    def _framing_failed(self, exc: Exception) -> None:
        raise NotImplementedError


def send_to_all(
    connections: Sequence[AnyPath], message: SharedMessage
) -> list[tuple[AnyPath, Skipped]]:
    """Send a message on every connection that nothing keeps waiting; return the others, and why."""
    skipped = []
    for connection in connections:
        reason = connection._send_shared(message)
        if reason is not None:
            skipped.append((connection, reason))
    return skipped


def _elsewhere() -> ConcurrencyError:
    return ConcurrencyError(
        "this connection belongs to the event loop of another thread: call from there, by "
        "anyio.from_thread for instance"
    )
