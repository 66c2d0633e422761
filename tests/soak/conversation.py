"""What one side of a connection does, by its plan, and how that came out."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from random import Random

import anyio
from anyio.abc import SocketAttribute

from anyws import Broadcaster, Connection, ConnectionClosed, ConnectionClosedOK, Data, State

from ..scripted import Role
from .ledger import HEAD_SIZE, Ledger, compose, compose_json, draw_size
from .plan import Plan

__all__ = ["Conversation", "Feed", "Record"]

# Seconds after which a call is cancelled, if it is to be: less than most of them take, or more.
_SOON = (0.0, 0.0, 0.0001, 0.001, 0.01)

# Seconds at most between two messages, now and then; and before a slow client receives one.
_PAUSE = 0.05
_LONG_PAUSE = 0.3

# Seconds for a queue to become empty, when nobody waits for more of a feed.
_PATIENCE = 2.0

# Bytes: Linux takes this as a wish, and grants a little more.
_SMALL_BUFFER = 4096

# The number of the last message of a feed, behind all others.
_FINAL = 0xFFFFFFFF

_Call = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Record:
    """How a connection was for one side.

    Attributes:
        plan: the target of its request.
        end: codes sent and received, and who began.
        is_clean: whether it ended by the closing handshake with a normal code.
        cancelled: calls that were cancelled before they were done.
        problems: what should not have been.
    """

    plan: str
    side: Role
    end: str
    is_clean: bool
    sent: int
    received: int
    cancelled: int
    problems: list[str]


class Feed:
    """A group, and what is published to it.

    Attributes:
        published: how many messages were.
    """

    def __init__(self, group: Broadcaster) -> None:
        self.group = group
        self.published = 0
        self._chance = Random(0)

    async def run(self) -> None:
        """Publish a message now and then, for ever."""
        while True:
            await anyio.sleep(self._chance.uniform(0, _PAUSE))
            if len(self.group):
                size = draw_size(self._chance, is_small=True)
                text = self._chance.random() < 0.5
                self.group.publish(compose(self.published, size, text=text))
                self.published += 1


class Conversation:
    """One side of a connection.

    Args:
        ws: open.
        plan: for both sides.
        side: this one.
        scope: around the block of the connection, to be cancelled if that is the plan.
        feed: of the server.
    """

    def __init__(
        self,
        ws: Connection,
        plan: Plan,
        side: Role,
        *,
        scope: anyio.CancelScope | None = None,
        feed: Feed | None = None,
    ) -> None:
        self._ws = ws
        self._plan = plan
        self._side = side
        self._scope = scope
        self._feed = feed
        self._chance = plan.chance(side)
        self._agreed = plan.ending == "agreed"
        self._is_closer = plan.closer == side
        self._ledger = Ledger(has_gaps=plan.kind == "feed" and side == "client")
        self._cancelled = 0
        self._over = anyio.Event()

    async def run(self) -> None:
        """Talk until this side is to leave, or the connection ends."""
        # None if the connection has ended.
        sock = self._ws.extra(SocketAttribute.raw_socket, None)
        if self._plan.is_narrow and sock is not None:
            for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
                sock.setsockopt(socket.SOL_SOCKET, option, _SMALL_BUFFER)
        try:
            with suppress(ConnectionClosed):
                await self._talk()
        finally:
            self._over.set()

    def __str__(self) -> str:
        """Say how far it has come."""
        what = f"{self._side} of {self._plan.target}: {self._ledger}"
        return f"{what}, over: {self._over.is_set()}, {self._ws.state}, {self._ws.stats}"

    async def record(self) -> Record:
        """Wait for the end, and say how it was."""
        await self._over.wait()
        closed = await _end_of(self._ws)
        sent, received = (close and close.code for close in (closed.sent, closed.received))
        return Record(
            plan=self._plan.target,
            side=self._side,
            end=f"sent {sent}, received {received}, {closed.initiator}",
            is_clean=isinstance(closed, ConnectionClosedOK),
            sent=self._ledger.sent,
            received=self._ledger.received,
            cancelled=self._cancelled,
            problems=self._ledger.problems,
        )

    async def _talk(self) -> None:
        if self._side == "server" and self._plan.kind == "echo":
            await self._echo()
        elif self._side == "server" and self._plan.kind == "feed":
            await self._serve_feed()
        else:
            await self._send_and_receive()
        if self._agreed and not self._is_closer:
            await self._ws.wait_closed()

    @property
    def _leaves(self) -> bool:
        """Whether this side is to end the connection in the middle."""
        return self._is_closer and not self._agreed

    async def _leave(self) -> None:
        """End the connection, or return to do so by leaving its block."""
        if self._plan.ending == "abort":
            await anyio.aclose_forcefully(self._ws)
        elif self._plan.ending == "cancel" and self._scope is not None:
            self._scope.cancel()

    # Both ways at once

    async def _send_and_receive(self) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._receive_all)
            with suppress(ConnectionClosed):
                await self._send_all()
                if self._leaves:
                    await self._leave()
                    tasks.cancel_scope.cancel()

    async def _send_all(self) -> None:
        is_feed = self._plan.kind == "feed"
        for _ in range(self._plan.messages):
            await self._send()
            if is_feed or self._chance.random() < 0.2:
                await anyio.sleep(self._chance.uniform(0, _PAUSE))
        if self._agreed:
            await self._send(last=True)

    async def _receive_all(self) -> None:
        is_slow = self._plan.is_slow and self._side == "client"
        with suppress(ConnectionClosed):
            while not self._ledger.has_all:
                if is_slow and self._chance.random() < 0.2:
                    await anyio.sleep(self._chance.uniform(0, _LONG_PAUSE))
                await self._receive()

    # The server's part where it is another

    async def _echo(self) -> None:
        """Send what comes; leave in the middle of it if that is the plan."""
        ledger = self._ledger
        half = self._plan.messages // 2
        while not ledger.has_all:
            message = await self._ws.receive()
            ledger.take(message)
            with suppress(ConnectionClosed):  # what came before that is received all the same
                await self._until_done(lambda data=message: self._ws.send(data))  # type: ignore[misc]
                ledger.sent += 1
            if self._leaves and ledger.sent == half:
                await self._leave()
                return

    async def _serve_feed(self) -> None:
        """Be in the group until the client has had enough, then send it the last message."""
        feed, ledger, ws = self._feed, self._ledger, self._ws
        assert feed is not None
        async with feed.group.member(ws) as member:
            before = feed.published
            try:
                await self._be_member(feed, before + self._plan.messages // 4)
                with anyio.move_on_after(_PATIENCE):  # more is published all the time
                    while self._agreed and member.queued:  # noqa: ASYNC110  # nothing tells of it
                        await anyio.sleep(_PAUSE)
            finally:
                # What is queued is not sent any more.
                ledger.sent = feed.published - before - member.dropped - member.queued
        if self._leaves:
            await self._leave()
        else:
            await ws.send(compose(_FINAL, 0, text=True, last=True))
            ledger.sent += 1

    async def _be_member(self, feed: Feed, enough: int) -> None:
        """Receive until the last message; if the plan is to leave, until enough was published."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._receive_all)
            if self._leaves:
                while feed.published < enough and self._ws.state is State.OPEN:  # noqa: ASYNC110
                    await anyio.sleep(_PAUSE)
                tasks.cancel_scope.cancel()

    # Sending

    async def _send(self, *, last: bool = False) -> None:
        """Send a message in any way; again if that is cancelled."""
        chance, ws, number = self._chance, self._ws, self._ledger.sent
        size = draw_size(chance, is_small=self._plan.is_narrow)
        if self._plan.kind == "json":
            value = compose_json(number, size, last=last)
            await self._until_done(lambda: ws.send_json(value))
        else:
            message = compose(number, size, text=chance.random() < 0.5, last=last)
            compress = chance.choice((None, True, False))
            way = chance.random()
            if way < 0.7:
                await self._until_done(lambda: ws.send(message, compress=compress))
            elif way < 0.85:
                await ws.send(list(_pieces(message, chance)), compress=compress)
            else:
                text = isinstance(message, str)
                async with ws.send_stream(text=text, compress=compress) as writer:
                    for piece in _pieces(message, chance):
                        await writer.write(piece)
        self._ledger.sent += 1

    async def _until_done(self, call: _Call) -> None:
        while not await self._is_done(call):
            pass

    async def _is_done(self, call: _Call) -> bool:
        """Await a call, which now and then is cancelled; say whether it was done."""
        if self._chance.random() > 0.1:
            await call()
            return True
        with anyio.move_on_after(self._chance.choice(_SOON)):
            await call()
            return True
        self._cancelled += 1
        return False

    # Receiving

    async def _receive(self) -> None:
        """Receive a message in any way; none if that is cancelled."""
        if self._plan.kind == "json":
            await self._is_done(self._receive_json)
        elif self._chance.random() < 0.8:
            await self._is_done(self._receive_whole)
        else:
            await self._receive_pieces()

    async def _receive_whole(self) -> None:
        self._ledger.take(await self._ws.receive())

    async def _receive_json(self) -> None:
        self._ledger.take_json(await self._ws.receive_json())

    async def _receive_pieces(self) -> None:
        leaves_early = not self._agreed and self._chance.random() < 0.3
        size, texts, data = 0, list[str](), bytearray()
        async with self._ws.receive_stream() as pieces:
            async for piece in pieces:
                size += len(piece)
                if isinstance(piece, str):
                    texts.append(piece)
                else:
                    data += piece
                if leaves_early and size >= HEAD_SIZE:
                    break
        message = "".join(texts) if pieces.text else bytes(data)
        self._ledger.take(message, is_whole=not leaves_early)


def _pieces(message: Data, chance: Random) -> Iterator[Data]:
    """Cut a message that is not empty at a few places."""
    cuts = sorted(chance.randrange(len(message)) for _ in range(chance.randint(0, 4)))
    for start, end in zip([0, *cuts], [*cuts, len(message)], strict=True):
        yield message[start:end]


async def _end_of(ws: Connection) -> ConnectionClosed:
    """Wait for the end of a connection, and return what tells of it."""
    await ws.wait_closed()
    try:
        await ws.send(b"")
    except ConnectionClosed as closed:
        return closed
    raise AssertionError("a message was sent on a connection that had ended")
