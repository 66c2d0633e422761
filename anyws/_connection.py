"""The connection: joins a `Protocol` and a `Transport`, the same on both sides (RFC 6455 §5 to §7).

Owns what an application does with an open connection: receiving, sending, pinging, closing, and
who waits for what. It must not know how the connection came about, nor which loop it runs on.

Bytes arrive by `feed`, which the transport calls; nothing of that waits for the application until
`max_buffer` is spent. What is sent is framed and handed to the transport in one step; the only
waits are before it. So the closing handshake, the answers to pings and the failing of the
connection need no task, and nothing that is cancelled can leave half a frame behind.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import AsyncIterable, Callable, Iterable, Mapping, Sequence
from logging import INFO
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
from anyio.abc import ByteStream, ObjectStream, SocketAttribute

from ._byte_stream import MessageByteStream
from ._close_scope import CloseScope, Incoming
from ._core.events import CloseReceived, Event, Fragment, Ping, Pong, TooBig
from ._core.extensions import Extension, new_codecs
from ._core.frames import CloseCode, check_close
from ._core.grammar import NamedExtension
from ._core.headers import Request, Response
from ._core.protocol import Flow, Protocol
from ._errors import (
    NORMAL_CODES,
    CloseFrame,
    ConcurrencyError,
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
    Initiator,
    LocalProtocolError,
    MessageTypeError,
    RemoteProtocolError,
)
from ._io.transport import Timer, Transport, Waiter
from ._json import from_json, to_json
from ._keepalive import Keepalive
from ._logging import describe_address, escaped, log
from ._message_path import CALLS_A_TURN, MessagePath, State, Verdict
from ._options import ConnectionOptions
from ._payload import (
    LARGE,
    LARGE_TO_ENCODE,
    WHOLE,
    BytesLike,
    Data,
    byte_size,
    payload_slices,
    size_of,
    to_payload,
)
from ._stats import ConnectionStats, Traffic
from ._streams import FragmentedMessage, ReceiveStream, SendStream

if TYPE_CHECKING:
    from uuid import UUID

__all__ = ["Connection", "State"]

T = TypeVar("T")

# 1 s for the application to take, and answer, what came before a violation.
_VIOLATION_GRACE = 1.0

# 1 s for a client to close its side after both Close frames and our end of the bytes.
_LAST_SIDE = 1.0

# 10 ms for our Close frame to leave, which most transports have sent by then.
_ANSWER_ON_ITS_WAY = 0.01

# 16 Pings that nobody waits for are remembered, for a peer that lives and sends no Pongs.
_MAX_UNANSWERED_PINGS = 16

_CONNECTING, _OPEN, _CLOSED = State.CONNECTING, State.OPEN, State.CLOSED


class Connection(MessagePath, ObjectStream[str | bytes]):
    """An open WebSocket connection, client or server.

    `ClientConnection` and `ServerConnection` are what `connect` and `serve` give; they are not
    made by hand. Any number of tasks may send, ping and close; one at a time may receive; those of
    another thread get `ConcurrencyError`. A call that has nothing to wait for returns without a
    checkpoint, except for one in 64.

    Attributes:
        request: the request of the opening handshake.
        response: its response.
        subprotocol: the one that was agreed on, or None (§1.9).
        extensions: those that were agreed on, with their parameters, in order (§9.1).
    """

    # The bases have no slots, so there is a `__dict__`; it takes no memory unless it is used.
    __slots__ = (
        "_cause",
        "_close_deadline",
        "_close_scopes",
        "_close_timer",
        "_end_waiters",
        "_id",
        "_initiator",
        "_keepalive",
        "_latency",
        "_logger",
        "_options",
        "_owed_pong",
        "_owes_ping",
        "_paused_at",
        "_paused_s",
        "_pings",
        "_received_close",
        "_room",
        "_send_timer",
        "_sent_close",
        "_skipping",
        "_work_planned",
        "extensions",
        "request",
        "response",
        "subprotocol",
    )

    _is_client: bool

    response: Response  # from `_open` on

    def __init__(self, transport: Transport, options: ConnectionOptions, request: Request) -> None:
        super().__init__(transport)
        self.request: Request = request
        self.subprotocol: str | None = None
        self.extensions: tuple[NamedExtension, ...] = ()
        self._options = options
        self._logger = options.logger
        self._id: UUID | None = None

        # Reading
        self._paused_at = 0.0
        self._paused_s = 0.0
        self._work_planned = False
        self._skipping = False  # the rest of a message whose stream was left early

        # Writing
        self._room: tuple[Waiter, ...] = ()
        self._send_timer: Timer | None = None
        self._owed_pong: bytes | None = None
        self._owes_ping = False

        # Pings
        self._pings: dict[bytes, _SentPing] = {}
        self._latency = 0.0
        self._keepalive: Keepalive | None = None

        # Closing
        self._sent_close: CloseFrame | None = None
        self._received_close: CloseFrame | None = None
        self._initiator: Initiator | None = None
        self._cause: Exception | None = None
        self._close_timer: Timer | None = None
        self._close_deadline = 0.0
        self._end_waiters: tuple[Waiter, ...] = ()
        self._close_scopes: tuple[CloseScope, ...] = ()

    def _open(
        self,
        response: Response,
        subprotocol: str | None,
        extensions: Sequence[tuple[Extension, NamedExtension]],
    ) -> None:
        """Begin to be open: the opening handshake has ended with `response`.

        Args:
            response: with status 101.
            subprotocol, extensions: those that were agreed on.
        """
        options = self._options
        self.response = response
        self.subprotocol = subprotocol
        self.extensions = tuple([named for _, named in extensions])
        self._transport.set_low_water(options.write_limit)
        protocol = Protocol(
            is_client=self._is_client,
            max_size=options.max_size,
            max_fragments=options.max_fragments,
            extensions=new_codecs(extensions, is_client=self._is_client),
        )
        self._begin(protocol, options)
        if options.ping_interval is not None:
            self._keepalive = Keepalive(self, options.ping_interval, options.ping_timeout)

    # What the connection is

    @property
    def id(self) -> UUID:
        """A random identifier, for logs."""
        if self._id is None:
            # Imported late: it takes 2 ms, and few ask.
            from uuid import uuid4

            self._id = uuid4()
        return self._id

    @property
    def state(self) -> State:
        """OPEN, CLOSING once a Close frame went either way, CLOSED once the transport is gone.

        CONNECTING while the hooks of a server look at it, before the opening handshake is done.
        """
        return self._state

    @property
    def _is_open(self) -> bool:
        return self._state is _OPEN

    @property
    def latency(self) -> float:
        """The last round trip of a Ping, in seconds; 0 before the first one came back."""
        return self._latency

    @property
    def stats(self) -> ConnectionStats:
        """Figures of the connection so far; once it has ended, those of its end."""
        is_closed = self._state is State.CLOSED
        now = self._ended_at if is_closed else self._reactor.clock()
        unread_messages, unread_bytes = self._count_unread() if self._inbox else (0, 0)
        if not (is_closed or self._state is _CONNECTING):
            # After the end, an unfinished message will never be received.
            unread_bytes += self._protocol.unfinished_bytes
        return ConnectionStats(
            received_messages=self._received_messages,
            received_bytes=self._received_bytes,
            sent_messages=self._sent_messages,
            sent_bytes=self._transport.written,
            unread_messages=unread_messages,
            unread_bytes=unread_bytes,
            unsent_bytes=self._transport.unsent,
            receive_paused_s=self._paused_s + (now - self._paused_at if self._paused else 0.0),
            latency_s=self._latency,
            duration_s=now - self._opened_at,
        )

    @property
    def _traffic(self) -> Traffic:
        return (
            self._received_messages,
            self._received_bytes,
            self._sent_messages,
            self._transport.written,
        )

    def _count_unread(self) -> tuple[int, int]:
        """Return the messages in the inbox that are whole, and the bytes of all of it."""
        messages = n = 0
        for item in self._inbox:
            if isinstance(item, Fragment):
                messages += item.final
                n += byte_size(item.data)
            else:
                messages += 1
                n += byte_size(item)
        return messages, n

    @property
    def close_code(self) -> int | None:
        """The close code received (§7.1.5), 1005 or 1006 where none was; None until CLOSED."""
        return self._closed().code if self._state is State.CLOSED else None

    @property
    def close_reason(self) -> str | None:
        """The reason received (§7.1.6), maybe empty; None until CLOSED."""
        return self._closed().reason if self._state is State.CLOSED else None

    @property
    def local_address(self) -> Any:
        """Host and port, or path, of this side; None where the stream has no address."""
        return self.extra(SocketAttribute.local_address, None)

    @property
    def remote_address(self) -> Any:
        """Host and port, or path, of the peer; None where the stream has no address."""
        return self.extra(SocketAttribute.remote_address, None)

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """Typed attributes of the transport, for `extra`: addresses, and TLS where it is used."""
        return self._transport.attributes

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._state.value} remote={self.remote_address!r}>"

    # Receiving

    async def receive(self) -> str | bytes:
        """Receive one message (RFC 6455 §6.2): text as `str`, binary as `bytes`.

        Messages that arrived before the connection ended are received first.

        Raises:
            ConnectionClosed: the connection has ended, and all messages have been received.
            ConcurrencyError: another task is receiving; it is not disturbed.

        Cancelling: no message is lost, repeated or brought out of order.
        Concurrency: one task at a time.
        """
        message = self._message_now()
        if message is None:
            await self._wait_for_message()
            message = self._take_message()
        return message

    async def receive_text(self) -> str:
        """Receive one message, which must be text.

        Raises:
            MessageTypeError: it is binary; the error carries it, and the connection stays usable.
            ConnectionClosed, ConcurrencyError: as `receive`.

        Cancelling, concurrency: as `receive`.
        """
        message = await self.receive()
        if not isinstance(message, str):
            raise MessageTypeError("text", message)
        return message

    async def receive_bytes(self) -> bytes:
        """Receive one message, which must be binary.

        Raises:
            MessageTypeError: it is text; the error carries it, and the connection stays usable.
            ConnectionClosed, ConcurrencyError: as `receive`.

        Cancelling, concurrency: as `receive`.
        """
        message = await self.receive()
        if not isinstance(message, bytes):
            raise MessageTypeError("binary", message)
        return message

    async def receive_json(self) -> Any:
        """Receive one message, which must be JSON in text, and return its value.

        What the value is made of is up to `json_codec`.

        Raises:
            InvalidJSON: it is not; the error carries it, and the connection stays usable.
            MessageTypeError: it is binary; the same holds.
            ConnectionClosed, ConcurrencyError: as `receive`.

        Cancelling, concurrency: as `receive`.
        """
        return from_json(await self.receive_text(), self._options.json_codec)

    def __aiter__(self) -> Connection:
        """Iterate over messages until the connection ends.

        Iteration ends on a normal closure (1000, 1001 or no code).

        Raises:
            ConnectionClosedError: the connection ended in any other way.
            ConcurrencyError: another task is receiving.

        Cancelling, concurrency: as `receive`.
        """
        return self

    def receive_stream(self, *, max_size: int | None = None) -> ReceiveStream:
        """Receive one message piece by piece, as its bytes arrive, however it is framed.

        Use it as `async with ws.receive_stream() as chunks: async for chunk in chunks: ...`.
        Entering waits for a message to begin. Pieces are `str` of a text message and `bytes` of a
        binary one. The connection's own `max_size` does not apply; memory stays bounded, since
        the peer has to wait once `max_buffer` is spent.

        Args:
            max_size: the largest message, in bytes; None for no limit. More than that fails the
                connection with 1009.
        """
        return ReceiveStream(self, max_size)

    def byte_stream(self) -> ByteStream:
        """Return the connection as a stream of the bytes in its binary messages, for tunnels.

        Where messages begin and end means nothing: `receive` gives bytes as they arrive, of
        messages of any size in bounded memory, and skips empty messages; `send` sends at most
        64 KiB a message. A text message fails the connection with 1003. `aclose` closes the
        connection with 1000. `send_eof` raises NotImplementedError: WebSocket has no half-close.

        From its first `receive` until `aclose`, messages are for the stream alone: to
        `Connection.receive`, or another stream, they give ConcurrencyError. Messages that were
        sent between two of its messages by `Connection.send` are bytes of the stream to the peer.

        As of any stream of anyio, each call is a checkpoint; one task may receive and one send.
        EndOfStream is the normal end (1000, 1001 or no code); otherwise, and for whoever sends,
        it is a `ConnectionClosedError`, which is a BrokenResourceError. After `aclose` it is
        ClosedResourceError.

        Cancelling: no byte that came is lost; of an item of more than 64 KiB a part may be sent.
        """
        return MessageByteStream(self)

    async def _wait_for_arrival(self) -> None:
        while not self._inbox:
            self._prepare_to_wait()
            await self._arrival.wait()

    def _look_up(self) -> None:
        if self._verdict is not None:
            # The application has had all that came before it.
            self._apply_verdict()
        if self._state is _CLOSED:
            raise self._closed()
        if self._state is _CONNECTING:
            raise _not_open_yet()
        self._resume()

    def _caught_up(self) -> None:
        """The inbox is empty."""
        self._unread_bytes = 0
        if self._paused and self._verdict is None:
            self._resume()

    @property
    def _inbox_begins_whole(self) -> bool:
        """Whether the next thing in the inbox is a whole message."""
        return bool(self._inbox) and not isinstance(self._inbox.first(), Fragment)

    def _drop_message(self) -> None:
        """Drop the message at the head of the inbox, or what comes of it."""
        inbox = self._inbox
        if self._inbox_begins_whole:
            inbox.popleft()
        else:
            # If nothing of it has come, there is nothing to drop.
            self._skipping = bool(inbox) or self._protocol.read_whole()
            while inbox and self._skipping:
                piece = inbox.popleft()
                self._skipping = not (isinstance(piece, Fragment) and piece.final)
        if not inbox:
            self._caught_up()

    def _pause(self) -> None:
        if not self._paused and self._state is not _CLOSED:
            self._paused = True
            self._paused_at = self._reactor.clock()
            if not self._working:
                self._transport.pause_reading()

    def _resume(self) -> None:
        if self._paused:
            self._end_pause()
            if self._working:
                self._plan_work()
            else:
                self._read_on()

    def _read_on(self) -> None:
        self._transport.resume_reading()
        if self._keepalive is not None:
            self._keepalive.excuse()

    def _plan_work(self) -> None:
        """Read nothing while there is work left on what came, and let others have their turn."""
        if not self._protocol.has_work:
            self._working = False
            if not self._paused:
                self._read_on()
            return
        if not self._working:
            self._working = True
            if not self._paused:
                self._transport.pause_reading()
        if not self._paused and not self._work_planned:
            self._work_planned = True
            self._reactor.call_soon(self._work)

    def _work(self) -> None:
        """Take the next step, unless the application has to catch up first."""
        self._work_planned = False
        if self._working and not self._paused and self._state is not _CLOSED:
            self.feed(b"")

    def _end_pause(self) -> None:
        self._paused = False
        self._paused_s += self._reactor.clock() - self._paused_at

    # Receiving: called by the transport, for the rest of which see `MessagePath`

    def _check_unfinished(self) -> None:
        """Pause if a message grows beyond bounds while nobody waits for it."""
        if (
            self._options.max_size is None
            and self._protocol.unfinished_bytes >= self._max_buffer
            and not self._discarding
        ):
            if self._incoming != "keep":
                self._drop_unfinished()
            elif not self._receiving:
                self._pause()

    def _handle(self, event: Event) -> None:
        """Act on what the peer sent."""
        if isinstance(event, str | bytes):
            self._received_messages += 1
            self._inbox.append(event)
        elif isinstance(event, Fragment):
            self._received_messages += event.final
            if not self._skipping:
                self._inbox.append(event)
            elif event.final:
                self._skipping = False
        elif isinstance(event, Ping):
            self._answer_ping(event.data)
        elif isinstance(event, Pong):
            self._take_pong(event.data)
        elif isinstance(event, CloseReceived):
            self._take_close(event.close)
        elif isinstance(event, TooBig):
            # The application may still ask for it as a stream: as long as nobody waits for a
            # whole message, it waits, and so does the peer.
            self._verdict = Verdict(event.code, event.reason, final=False)
            if self._incoming == "keep":
                self._pause()
                self._arrival.wake()
            else:
                self._apply_verdict()
        else:
            self._verdict = Verdict(event.code, event.reason, final=True)
            if self._inbox and self._incoming == "keep" and self._state is State.OPEN:
                self._pause()
                self._verdict.timer = self._reactor.call_later(
                    _VIOLATION_GRACE, self._apply_verdict
                )
            else:
                self._apply_verdict()

    def _finish_work(self) -> None:
        """Take all steps at once, for nothing more comes; no more than there is room for.

        Nobody waits for the answer to a Ping any more.
        """
        protocol = self._protocol
        protocol.decoded = 0
        while protocol.has_work and protocol.decoded < self._max_buffer:
            for event in protocol.receive_data(b""):
                if not isinstance(event, Ping):
                    self._handle(event)
        self._working = False
        self._arrival.wake()

    def eof(self) -> None:
        """Take note of the end of the peer's bytes. Not for applications."""
        if self._working:
            self._finish_work()
        if self._received_close is None and not self._is_doomed:
            self._blame(EOFError("the peer ended the byte stream without a Close frame"))
        if self._received_close is not None and self._transport.unsent:
            # The peer has said all it had to say, and may still be reading.
            self._finish_within(_ANSWER_ON_ITS_WAY)
        else:
            self._transport.abort()

    def lost(self, exc: Exception | None) -> None:
        """Take note of the end of the transport. Not for applications."""
        if self._working:
            self._finish_work()
        if self._verdict is not None and self._verdict.final:
            self._blame(RemoteProtocolError(self._verdict.reason))
            self._initiator = self._initiator or "local"
        self._initiator = self._initiator or "transport"
        if self._cause is None:
            self._cause = exc
        self._drop_verdict()
        was_open = self._state is not _CONNECTING
        self._ended_at = self._reactor.clock()
        self._state = State.CLOSED
        self._end_outlet()
        self._stop_keepalive()
        for timer in (self._close_timer, self._send_timer):
            if timer is not None:
                timer.cancel()
        # One that has fired still holds its callback, and thereby this connection.
        self._close_timer = self._send_timer = None
        if self._paused:
            self._end_pause()
        self._arrival.wake()
        for waiter in (*(self._turns or ()), *self._room, *self._end_waiters):
            waiter.wake()
        for ping in self._pings.values():
            ping.wake()
        self._end_close_scopes()
        if was_open and self._logger.isEnabledFor(INFO):
            self._log_end()

    def _log_end(self) -> None:
        stats = self.stats
        self._log(
            INFO,
            "connection %s with %s ended after %.1f s: %s; received %d messages, %d bytes; "
            "sent %d messages, %d bytes",
            self.id,
            describe_address(self.remote_address),
            stats.duration_s,
            self._closed(),
            stats.received_messages,
            stats.received_bytes,
            stats.sent_messages,
            stats.sent_bytes,
        )

    def _log(
        self, level: int, message: str, *args: object, exc_info: BaseException | None = None
    ) -> None:
        """Log something about this connection, with what tells it from others.

        What the peer controls among `args` must be escaped.
        """
        if self._logger.isEnabledFor(level):
            address = self.remote_address
            extra = {
                "connection_id": str(self.id),
                "remote_address": escaped(address) if isinstance(address, str) else address,
            }
            log(self._logger, level, message, *args, extra=extra, exc_info=exc_info, stacklevel=2)

    # Sending

    async def send(
        self,
        data: Data | Iterable[Data] | AsyncIterable[Data],
        *,
        text: bool | None = None,
        compress: bool | None = None,
    ) -> None:
        """Send one message (RFC 6455 §6.1).

        Waits first until fewer than `write_limit` bytes are queued and it is this message's turn,
        then queues the whole message. Once it returns, the message goes out whole and in order,
        as long as the connection lives.

        Args:
            data: `str` is sent as text, anything like `bytes` as binary. An iterable or async
                iterable of these is sent as one fragmented message, each item a frame at once.
                Bytes that can change must not before this returns.
            text: True sends bytes as text (they must be UTF-8, and are checked), False sends a
                `str` as binary, in UTF-8. Of an iterable it says what all items have to be.
            compress: True compresses this message whatever its size, False does not; None leaves
                it to the `threshold` of `Deflate`. Without compression it means nothing.

        Raises:
            ConnectionClosed: the connection is not open; the message was not sent.
            TypeError: `data` is of another type, a mapping for instance; nothing was sent.
            LocalProtocolError: it cannot be sent as text; nothing was sent.
            ConcurrencyError: this task is in the middle of a fragmented message itself.

        Cancelling: of an unfragmented message nothing is sent, now or later. A fragmented one that
        has begun cannot be taken back: the connection is failed with 1011.
        Concurrency: any number of tasks; messages do not mix.
        """
        if not self._send_now(data, text, compress):
            if isinstance(data, WHOLE):
                await self._send_later(data, text, compress)
            else:
                await self._send_iterable(data, text, compress)

    # Any: what JSON has a form for is up to the codec.
    async def send_json(self, value: Any, *, compress: bool | None = None) -> None:
        """Send a value as JSON in one text message (RFC 6455 §6.1, RFC 8259).

        It is written at once, in one go, by `json_codec`; then the message is sent as by `send`.

        Args:
            value: of a type that the codec takes.
            compress: as for `send`.

        Raises:
            TypeError, ValueError: JSON has no form for the value, NaN and infinity for instance;
                nothing was sent. Another `json_codec` may raise something else.
            ConnectionClosed, LocalProtocolError, ConcurrencyError: as `send`; nothing was sent.

        Cancelling: nothing was sent.
        Concurrency: any number of tasks.
        """
        data = to_json(value, self._options.json_codec)
        await self.send(data, text=True, compress=compress)

    async def _send_later(self, data: Data, text: bool | None, compress: bool | None) -> None:
        """Send a whole message that has to wait, or is too large to be made ready in one go."""
        if self._state is _CONNECTING:
            raise _not_open_yet()
        if self._protocol.has_extensions and size_of(data) >= LARGE_TO_ENCODE:
            await self._send_encoded(data, text, compress)
            return
        if size_of(data) >= LARGE and (self._is_client or text or type(data) is not bytes):
            await self._send_in_slices(data, text)
            return
        payload, is_text = to_payload(data, text)
        self._calls += 1
        if self._calls >= CALLS_A_TURN:
            await self._take_turns()
        await self._wait_for_turn()
        self._write_message(self._frame(payload, is_text, compress))

    async def _send_in_slices(self, data: Data, text: bool | None) -> None:
        """Send one large message, unfragmented, and let other tasks run while it is made ready."""
        masking = self._protocol.new_masking()
        slices = []
        for piece in payload_slices(data, text):
            slices.append(masking.apply(piece))
            await self._reactor.checkpoint()
        is_text = isinstance(data, str) if text is None else text
        await self._wait_for_turn()
        self._write_message(self._protocol.send_slices(slices, masking, is_text))

    async def _send_encoded(self, data: Data, text: bool | None, compress: bool | None) -> None:
        """Do the same if extensions may encode the message, for which it has to be its turn."""
        protocol = self._protocol
        is_text = isinstance(data, str) if text is None else text
        await self._wait_for_turn()
        self._hold_turn()
        try:
            bits = protocol.begin_message(is_text, size_of(data), compress)
            masking = protocol.new_masking()
            slices = []
            for piece in payload_slices(data, text, LARGE_TO_ENCODE):
                slices.append(masking.apply(protocol.encode(piece, flush=False, final=False)))
                await self._reactor.checkpoint()
                if self._state is not _OPEN:
                    raise await self._no_longer_open()
            if protocol.is_encoding:
                slices.append(masking.apply(protocol.encode(b"", final=True)))
            self._write_message(protocol.send_slices(slices, masking, is_text, bits))
        except BaseException as exc:
            protocol.cancel_message()
            if isinstance(exc, Exception):
                self._framing_failed(exc)
            raise
        finally:
            self._release_turn()

    def _write_message(self, buffers: tuple[bytes, ...]) -> None:
        """Write a whole message, or the end of a fragmented one, and count it."""
        self._sent_messages += 1
        self._transport.write_all(buffers)

    def _framing_failed(self, exc: Exception) -> None:
        """Give up if an extension could not encode a message: the peer could not follow it."""
        if self._state is _OPEN and not isinstance(exc, LocalProtocolError):
            self._fail(CloseCode.INTERNAL_ERROR, "an extension failed", exc)

    async def _send_iterable(
        self,
        data: Iterable[Data] | AsyncIterable[Data],
        text: bool | None,
        compress: bool | None,
    ) -> None:
        if isinstance(data, Mapping) or not isinstance(data, Iterable | AsyncIterable):
            raise TypeError(
                f"cannot send {type(data).__name__}; "
                "expected str, bytes-like, or an iterable of these"
            )
        async with FragmentedMessage(self, text, compress) as fragments:
            if isinstance(data, AsyncIterable):
                async for chunk in data:
                    await fragments.write(chunk)
            else:
                for chunk in data:
                    await fragments.write(chunk)

    def send_stream(self, *, text: bool = False, compress: bool | None = None) -> SendStream:
        """Send one message piece by piece, each piece a frame at once (RFC 6455 §5.4).

        Use it as `async with ws.send_stream() as writer: await writer.write(chunk)`. The message
        begins with the first `write`, from which on other messages wait; leaving the block ends
        it. If the block is left by an exception, or cancelled, after the message has begun, the
        connection is failed with 1011: the peer never takes a part for the whole.

        Args:
            text: send a text message, of `str` pieces; else a binary one, of bytes-like pieces.
            compress: False does not compress it; None and True do, where compression is in use.
        """
        return SendStream(self, text, compress)

    async def _wait_for_turn(self) -> None:
        """Wait until no fragmented message is under way, there is room, and all before us sent."""
        self._check_thread()
        if self._fragmenting is not None and self._fragmenting == _current_task():
            raise ConcurrencyError("this task is in the middle of a fragmented message itself")
        waiter = self._reactor.new_waiter()
        if self._turns is None:
            self._turns = deque()
        turns = self._turns
        turns.append(waiter)
        try:
            while True:
                if self._state is not State.OPEN:
                    raise await self._no_longer_open()
                self._transport.flush()
                if (
                    turns[0] is waiter
                    and self._fragmenting is None
                    and not self._is_turn_of_groups
                    and self._transport.unsent < self._write_limit
                ):
                    return
                self._expect_room()
                await waiter.wait()
        finally:
            turns.remove(waiter)
            if not turns:
                self._turns = None
            if self._outlet is not None:
                self._outlet.has_turn = True
            self._expect_room_no_more()
            self._next_turn()

    def _hold_turn(self) -> None:
        """Let no other message be sent until `_release_turn`: a fragmented one has begun."""
        self._fragmenting = _current_task()

    def _release_turn(self) -> None:
        self._fragmenting = None
        self._next_turn()

    @property
    def _is_turn_of_groups(self) -> bool:
        """Whether a queued message of a group goes before the tasks that wait to send."""
        return self._has_queued and self._outlet is not None and self._outlet.has_turn

    def _next_turn(self) -> None:
        if self._has_queued and self._outlet is not None:
            # Not here: whoever ends its turn has its message in hand still.
            self._outlet.send_soon()
        elif self._turns:
            self._turns[0].wake()

    async def _wait_for_room(self) -> None:
        """Wait until fewer than `write_limit` bytes are queued."""
        self._check_thread()
        self._calls += 1
        if self._calls >= CALLS_A_TURN:
            await self._take_turns()
        if self._state is not State.OPEN:
            raise await self._no_longer_open()
        if self._transport.unsent < self._write_limit:
            return
        waiter = self._reactor.new_waiter()
        self._room += (waiter,)
        try:
            while True:
                self._transport.flush()
                if self._transport.unsent < self._write_limit:
                    return
                self._expect_room()
                await waiter.wait()
                if self._state is not State.OPEN:
                    raise await self._no_longer_open()
        finally:
            self._room = _without(self._room, waiter)
            self._expect_room_no_more()

    def _expect_room(self) -> None:
        """Give the peer `send_timeout` to read, if a task waits for that."""
        seconds = self._options.send_timeout
        if (
            seconds is not None
            and self._send_timer is None
            and self._transport.unsent >= self._write_limit
        ):
            self._send_timer = self._reactor.call_later(seconds, self._on_send_timeout)

    def _expect_room_no_more(self) -> None:
        """Stop the time of `send_timeout` if no task waits: whoever comes next has all of it."""
        if self._send_timer is not None and not (self._turns or self._room):
            self._send_timer.cancel()
            self._send_timer = None

    def _on_send_timeout(self) -> None:
        self._send_timer = None
        if self._state is State.OPEN and (self._turns or self._room):
            cause = TimeoutError(
                f"the peer does not read: {self._transport.unsent} bytes are unsent and a send has "
                f"waited for room, send_timeout is {self._options.send_timeout} s"
            )
            self._fail(CloseCode.INTERNAL_ERROR, "send timeout: the peer does not read", cause)
            # The Close frame is behind what the peer does not read.
            self._abort()

    def _has_room(self) -> bool:
        if self._transport.unsent >= self._write_limit:
            # What is only held back for a common write is not in the way.
            self._transport.flush()
        return self._transport.unsent < self._write_limit

    def drained(self) -> None:
        """Take note that there is room to write again. Called by the transport."""
        if self._send_timer is not None:
            self._send_timer.cancel()
            self._send_timer = None
        if self._owed_pong is not None:
            data, self._owed_pong = self._owed_pong, None
            self._answer_ping(data)
        if self._owes_ping and self._state is State.OPEN:
            self._owes_ping = False
            self._send_keepalive_ping()
        for waiter in self._room:
            waiter.wake()
        self._next_turn()

    def _end_outlet(self) -> None:
        """Leave the groups: nothing more is sent."""
        if self._outlet is not None:
            self._outlet.end()

    # Pings

    async def ping(self, data: str | BytesLike | None = None) -> float:
        """Send a Ping, wait for its Pong, and return the seconds between (RFC 6455 §5.5.2).

        Args:
            data: at most 125 bytes, not in use by another Ping that waits; random if None.

        Raises:
            ConnectionClosed: the connection is not open, or ended before the Pong came.
            TypeError: `data` is of another type.
            LocalProtocolError: more than 125 bytes.
            ConcurrencyError: a Ping with this data is waiting for its Pong already.

        Cancelling: the Ping may have been sent; its Pong counts as one of keepalive.
        Concurrency: any number of tasks.
        """
        await self._wait_for_room()
        payload = self._unused_ping() if data is None else to_payload(data, None)[0]
        if payload in self._pings and self._pings[payload].awaited:
            raise ConcurrencyError(f"a Ping with the data {payload!r} waits for its Pong already")
        ping = self._write_ping(payload, self._reactor.new_waiter())
        try:
            while ping.latency is None:
                if self._state is State.CLOSED:
                    raise self._closed()
                self._transport.flush()
                await ping.wait()
        finally:
            if ping.latency is None:
                self._stop_awaiting(payload, ping)
        return ping.latency

    def _stop_awaiting(self, payload: bytes, ping: _SentPing) -> None:
        """Remember a Ping that nobody waits for as long as its Pong can answer others before it."""
        ping.awaited = False
        if self._pings.get(payload) is ping:
            if next(iter(self._pings)) == payload:
                del self._pings[payload]
            else:
                self._forget_unanswered(_MAX_UNANSWERED_PINGS)

    async def pong(self, data: str | BytesLike = b"") -> None:
        """Send a Pong that nobody asked for, a one-way heartbeat (RFC 6455 §5.5.3).

        Args:
            data: at most 125 bytes.

        Raises:
            ConnectionClosed: the connection is not open.
            TypeError: `data` is of another type.
            LocalProtocolError: more than 125 bytes.

        Cancelling: nothing was sent.
        Concurrency: any number of tasks.
        """
        await self._wait_for_room()
        self._transport.write(self._protocol.send_pong(to_payload(data, None)[0]))

    def _stop_keepalive(self) -> None:
        if self._keepalive is not None:
            self._keepalive.stop()

    def _send_keepalive_ping(self) -> None:
        """Send a Ping that nobody waits for; if the write buffer is full, as soon as it is not."""
        self._forget_unanswered(_MAX_UNANSWERED_PINGS - 1)
        if self._has_room():
            self._write_ping(self._unused_ping(), None)
        else:
            # A peer that reads, if slowly, has to get its chance to answer.
            self._owes_ping = True

    def _forget_unanswered(self, n: int) -> None:
        """Forget the oldest Pings that nobody waits for, but for so many."""
        unanswered = [payload for payload, ping in self._pings.items() if not ping.awaited]
        for payload in unanswered[: max(0, len(unanswered) - n)]:
            del self._pings[payload]

    def _unused_ping(self) -> bytes:
        while (payload := os.urandom(4)) in self._pings:
            pass
        return payload

    def _write_ping(self, payload: bytes, waiter: Waiter | None) -> _SentPing:
        frame = self._protocol.send_ping(payload)
        self._pings.pop(payload, None)  # one that was cancelled: the new one comes last
        ping = self._pings[payload] = _SentPing(self._reactor.clock(), waiter)
        self._transport.write(frame)
        return ping

    def _answer_ping(self, data: bytes) -> None:
        if self._protocol.writing is Flow.CLOSED:
            return
        if self._has_room():
            self._transport.write(self._protocol.send_pong(data))
        else:
            # §5.5.3: of several Pings, only the latest needs an answer. So a flood of them from a
            # peer that does not read costs no memory.
            self._owed_pong = data

    def _take_pong(self, data: bytes) -> None:
        now = self._reactor.clock()
        if self._keepalive is not None:
            self._keepalive.pong_at = now
        if data not in self._pings:
            return
        self._latency = now - self._pings[data].sent_at
        # A Pong answers the Pings before it too: the peer may have skipped those.
        payloads = list(self._pings)
        for payload in payloads[: payloads.index(data) + 1]:
            ping = self._pings.pop(payload)
            ping.latency = now - ping.sent_at
            ping.wake()

    # Closing

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Do the closing handshake (RFC 6455 §7.1.2) and wait for the end of the connection.

        Sends a Close frame, drops data that still arrives, and returns when the peer has
        answered and the transport is closed, or when `close_timeout` is over, which covers all of
        it. If the connection is closing or closed already, only waits for its end.

        Args:
            code: 1000-1003, 1007-1014 or 3000-4999 (§7.4).
            reason: at most 123 bytes of UTF-8.

        Raises:
            LocalProtocolError: `code` or `reason` is out of range; nothing was done.

        Cancelling: the closing handshake goes on in the background, within its deadline.
        Concurrency: any number of tasks; the first one's code counts.
        """
        check_close(code, reason)
        self._begin_close(code, reason)
        await self.wait_closed()

    async def aclose(self) -> None:
        """Do as `close()`.

        Cancelling: the transport is closed at once, as for any resource of anyio.
        """
        self._check_thread()
        try:
            await self.close()
        except BaseException:
            self._abort()
            raise

    async def send_eof(self) -> None:
        """Send a Close frame with code 1000 and go on receiving until the peer answers it.

        WebSocket has no half-close: the peer should answer at once, and `close_timeout` is all
        the time it has. Does nothing if the connection is closing already.

        Cancelling: cannot happen; this is no checkpoint.
        """
        self._check_thread()
        if self._state is State.OPEN and not self._is_doomed:
            self._write_close(CloseCode.NORMAL_CLOSURE, "")

    async def wait_closed(self) -> None:
        """Wait until the connection has ended, for whatever reason; `close_code` tells which.

        Cancelling: nothing changes.
        Concurrency: any number of tasks.
        """
        if self._state is State.CLOSED:
            return
        self._check_thread()
        waiter = self._reactor.new_waiter()
        self._end_waiters += (waiter,)
        try:
            while self._state is not State.CLOSED:  # type: ignore[comparison-overlap]
                self._transport.flush()
                await waiter.wait()
        finally:
            self._end_waiters = _without(self._end_waiters, waiter)

    def cancel_on_close(self, *, incoming: Incoming = "keep") -> CloseScope:
        """Cancel a block when the connection ends, for handlers that do not receive.

        Use it as `with ws.cancel_on_close() as scope: ...`. The block is cancelled as soon as the
        peer's Close frame comes, or the connection fails or breaks; where this side closes, once
        the connection is closed. The cancellation does not leave the block. `scope.closed` is how
        the connection ended, or None if the block ended by itself.

        Args:
            incoming: what to do with messages that arrive, or have arrived: "keep" them to be
                received, within `max_buffer`, after which nothing more is read, a Close frame
                neither; "discard" them; or "refuse" them, which fails the connection with 1008.

        Raises:
            ValueError: `incoming` is something else.
        """
        if incoming not in ("keep", "discard", "refuse"):
            raise ValueError(f"incoming is {incoming!r}, expected 'keep', 'discard' or 'refuse'")
        return CloseScope(self, incoming)

    def _add_close_scope(self, scope: CloseScope, incoming: Incoming) -> None:
        self._check_thread()
        if incoming != "keep":
            self._begin_receiving()
            self._incoming = incoming
        self._close_scopes += (scope,)
        if incoming != "keep":
            self._drop_inbox()
        ended = self._initiator == "remote" or self._cause is not None
        if ended or self._state is State.CLOSED:
            scope._connection_ended()

    def _remove_close_scope(self, scope: CloseScope, incoming: Incoming) -> None:
        self._close_scopes = _without(self._close_scopes, scope)
        if incoming != "keep":
            self._incoming = "keep"
            self._receiving = False

    def _end_close_scopes(self) -> None:
        for scope in self._close_scopes:
            scope._connection_ended()

    def _drop_inbox(self) -> None:
        """Drop the messages that nobody is to receive; where they are refused, say so."""
        dropped = bool(self._inbox)
        self._inbox.clear()
        if self._verdict is not None:
            self._apply_verdict()
        elif dropped and self._incoming == "refuse" and self._state is State.OPEN:
            reason = "no messages are expected here"
            self._fail(CloseCode.POLICY_VIOLATION, reason, RemoteProtocolError(reason))
        self._caught_up()

    def _drop_unfinished(self) -> None:
        """Drop what has come of a message that nobody is to receive, and what comes of it."""
        if self._incoming == "refuse":
            self._inbox.append(b"")
            self._drop_inbox()
            return
        self._read_as_stream()
        self._drop_message()

    def _read_as_stream(self) -> None:
        """Take the current message, or else the next one, as it comes."""
        for event in self._protocol.read_as_stream():
            self._handle(event)
        if self._protocol.has_work:
            self._plan_work()

    def _begin_close(self, code: int, reason: str) -> None:
        """Send a Close frame, and read on only to see the peer's."""
        self._check_thread()
        if self._state is _CONNECTING:
            raise _not_open_yet()
        if self._state is State.OPEN:
            if self._is_doomed:
                self._apply_verdict()
            else:
                self._write_close(code, reason)
        self._discard()

    def _discard(self) -> None:
        """Drop data from now on: only the peer's Close frame still counts (§7.1.1)."""
        if self._state is not State.CLOSED:
            self._discarding = True
            self._drop_verdict()
            for event in self._protocol.discard():
                self._handle(event)
            if self._protocol.has_work:
                self._plan_work()
            self._resume()

    def _write_close(self, code: int, reason: str, *, initiator: Initiator = "local") -> None:
        # In this order, Ctrl+C in between leaves nothing to be done again.
        self._initiator = self._initiator or initiator
        self._sent_close = CloseFrame(int(code), reason)
        self._leave_open_state()
        self._transport.write(self._protocol.send_close(code, reason))
        self._transport.flush()

    def _take_close(self, close: CloseFrame) -> None:
        """The peer's Close frame came: answer it if it is the first (§5.5.1), and finish."""
        if self._state is _CLOSED:
            return  # it was behind a message that is streamed now; how all ended has been said
        self._received_close = close
        self._discarding = True  # nothing follows, so nothing need wait for the application
        if self._sent_close is None:
            # An empty Close is answered by an empty one.
            self._write_close(close.code, close.reason, initiator="remote")
            self._end_close_scopes()
        self._finish_handshake()

    def _finish_handshake(self) -> None:
        """Both sides have closed, or this side gave up: the server ends the bytes (§7.1.1).

        The client waits for that, so that the server is spared the TIME_WAIT state; the deadline
        holds for both.
        """
        if self._is_client:
            return
        self._transport.write_eof()
        if self._received_close is not None:
            # All has been said, and some peers never close their side of the transport.
            self._finish_within(_LAST_SIDE)

    def _leave_open_state(self) -> None:
        """Start the deadline of the closing handshake, and let go whoever wanted to send."""
        self._state = State.CLOSING
        self._end_outlet()
        self._stop_keepalive()
        self._close_deadline = self._reactor.clock() + self._options.close_timeout
        self._set_close_timer(self._options.close_timeout, self._on_close_timeout)
        for waiter in (*(self._turns or ()), *self._room):
            waiter.wake()

    def _finish_within(self, seconds: float) -> None:
        """Close the transport then, unless it ends before; later if bytes are unsent."""
        left = self._close_deadline - self._reactor.clock()
        self._set_close_timer(min(seconds, left), self._finish_if_sent)

    def _finish_if_sent(self) -> None:
        if self._transport.unsent and self._reactor.clock() < self._close_deadline:
            self._finish_within(_LAST_SIDE)
        else:
            self._transport.abort()

    def _set_close_timer(self, seconds: float, callback: Callable[[], None]) -> None:
        if self._close_timer is not None:
            self._close_timer.cancel()
        self._close_timer = self._reactor.call_later(seconds, callback)

    def _on_close_timeout(self) -> None:
        seconds = self._options.close_timeout
        self._blame(TimeoutError(f"the closing handshake took more than {seconds} s"))
        self._transport.abort()

    def _fail(self, code: int, reason: str, cause: Exception) -> None:
        """Fail the connection (§7.1.7): say why, then end the bytes."""
        self._blame(cause)
        if self._state is State.OPEN:
            self._write_close(code, _shortened(reason))
        if self._state is State.CLOSING:
            self._discard()
            self._finish_handshake()
        self._end_close_scopes()

    def _abort(self) -> None:
        """Close the transport at once."""
        self._transport.abort()

    def _blame(self, cause: Exception) -> None:
        if self._cause is None:
            self._cause = cause

    @property
    def _is_doomed(self) -> bool:
        """Whether the peer broke the protocol, and the application has yet to get there."""
        return self._verdict is not None and self._verdict.final

    def _apply_verdict(self) -> None:
        verdict = self._verdict
        assert verdict is not None
        self._drop_verdict()
        self._fail(verdict.code, verdict.reason, RemoteProtocolError(verdict.reason))

    def _drop_verdict(self) -> None:
        if self._verdict is not None and self._verdict.timer is not None:
            self._verdict.timer.cancel()
        self._verdict = None

    async def _no_longer_open(self) -> ConnectionClosed:
        """Wait for the end, which is under way and has its deadline, and say how it came."""
        if self._state is _CONNECTING:
            raise _not_open_yet()
        await self.wait_closed()
        return self._closed()

    def _closed(self) -> ConnectionClosed:
        """Say how the connection ended, in a new exception for whoever asks."""
        sent, received = self._sent_close, self._received_close
        normal = (
            sent is not None
            and received is not None
            and sent.code in NORMAL_CODES
            and received.code in NORMAL_CODES
            # Between our Close frame and the peer's: a message may have been dropped for it.
            and not isinstance(self._cause, RemoteProtocolError)
        )
        kind = ConnectionClosedOK if normal else ConnectionClosedError
        closed = kind(sent, received, self._initiator or "transport")
        closed.__cause__ = None if normal else self._cause
        return closed


class _SentPing:
    """A Ping whose Pong has not come; `latency` is set when it does."""

    __slots__ = ("_waiter", "awaited", "latency", "sent_at")

    def __init__(self, sent_at: float, waiter: Waiter | None) -> None:
        self.awaited = waiter is not None
        self.sent_at = sent_at
        self.latency: float | None = None
        self._waiter = waiter

    async def wait(self) -> None:
        assert self._waiter is not None
        await self._waiter.wait()

    def wake(self) -> None:
        if self._waiter is not None:
            self._waiter.wake()


def _not_open_yet() -> LocalProtocolError:
    return LocalProtocolError("the connection is not open yet: its opening handshake is not done")


def _shortened(reason: str) -> str:
    """Cut a reason to the 123 bytes that a Close frame has room for (§5.5)."""
    return reason.encode()[:123].decode(errors="ignore")


def _without(things: tuple[T, ...], thing: T) -> tuple[T, ...]:
    return tuple(other for other in things if other is not thing)


def _current_task() -> int:
    return anyio.get_current_task().id
