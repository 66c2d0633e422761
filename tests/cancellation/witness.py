"""The other end of a connection under test: reads strictly, answers, and remembers what it saw."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from socket import SO_SNDBUF, SOL_SOCKET
from typing import Unpack

import anyio
import trustme
from anyio.abc import SocketAttribute

from anyws import Connection
from anyws._options import ConnectionKeywords
from anyws.testing import CLOSE, CONTINUATION, PING, PONG, TEXT, Frame, RawPeer, close_frame

from ..scripted import Carrier, Role, settle
from .sweep import Run, check

__all__ = ["Witness", "carrier", "check_closed", "check_usable", "contexts", "joined"]

_GONE = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError)


class Witness:
    """Reads the frames of a connection of ours in the background.

    It answers Pings and Close frames, and fails the run at the first byte that RFC 6455 forbids.

    Args:
        peer: connected, and the opening handshake done.
        role: the peer's.

    Attributes:
        messages: what arrived whole, in order.
        close_code: of the Close frame that arrived; 1005 if it had none, None if none came.
        pieces: of a message that has not arrived whole.
        controls: the Pings and Pongs that arrived.
        has_closed: whether it sent the first Close frame.
        ended: set once there is nothing more to read.
        answers_close, answers_pings: whether it does; may be set.
        may_end_torn: whether the bytes may end inside a frame; may be set.
    """

    def __init__(self, peer: RawPeer, role: Role) -> None:
        self.messages: list[str | bytes] = []
        self.close_code: int | None = None
        self.ended = anyio.Event()
        self.has_closed = False
        self.pieces: list[bytes] = []
        self.controls: list[Frame] = []
        self.answers_close = True
        self.answers_pings = True
        self.may_end_torn = False
        self._peer = peer
        self._is_client = role == "client"
        self._is_text = False
        self._dropped = False
        self._may_read = anyio.Event()
        self._may_read.set()
        self._reading = anyio.CancelScope()
        self._sending = anyio.Lock()
        self._changed = anyio.Event()

    async def stall(self) -> None:
        """Read no more until `read_on`."""
        self._may_read = anyio.Event()
        self._reading.cancel()
        await settle()

    async def read_on(self) -> None:
        """Read again, once all others wait for something."""
        await settle()
        self._may_read.set()

    async def run(self) -> None:
        """Read until the connection has ended, which it may not do inside a frame."""
        try:
            while not self._dropped:
                await self._may_read.wait()
                frame: Frame | None = None
                with anyio.CancelScope() as self._reading:
                    frame = await self._peer.receive()
                if frame is not None:
                    await self._take(frame)
                    changed, self._changed = self._changed, anyio.Event()
                    changed.set()
        except _GONE:
            if not self.may_end_torn:
                await self._peer.receive_rest()  # checks that no frame is torn
        finally:
            await self._peer.drop()
            self.ended.set()
            self._changed.set()

    async def _take(self, frame: Frame) -> None:
        if frame.opcode in (PING, PONG):
            self.controls.append(frame)
            if frame.opcode == PING and self.answers_pings:
                await self.send(Frame(PONG, frame.payload))
        elif frame.opcode == CLOSE:
            self.close_code = int.from_bytes(frame.payload[:2], "big") if frame.payload else 1005
            if self.has_closed:
                self._dropped = True
            elif self.answers_close:
                await settle()
                await self.send(close_frame(self.close_code))
                if not self._is_client:
                    # §7.1.1: the server ends the bytes, and the client waits for that.
                    self._dropped = True
        else:
            if frame.opcode != CONTINUATION:
                self._is_text = frame.opcode == TEXT
            self.pieces.append(frame.payload)
            if frame.fin:
                whole = b"".join(self.pieces)
                self.pieces.clear()
                self.messages.append(whole.decode() if self._is_text else whole)

    async def send(self, *frames: Frame) -> None:
        """Send frames, in one piece; nothing if the connection is gone."""
        async with self._sending:
            try:
                await self._peer.send(*frames)
            except _GONE:
                pass

    async def say(self, *messages: str) -> None:
        """Send text messages, each when all others wait for something."""
        for message in messages:
            await settle()
            await self.send(Frame(TEXT, message.encode()))

    async def close(self, code: int) -> None:
        """Send a Close frame, once all others wait for something."""
        await settle()
        self.has_closed = True
        await self.send(close_frame(code))

    async def has(self, message: str | bytes) -> bool:
        """Wait until this message is the last that arrived; False if the connection ended first."""
        while self.messages[-1:] != [message] and not self.ended.is_set():
            await self._changed.wait()
        return self.messages[-1:] == [message]


async def check_usable(
    ws: Connection, witness: Witness
) -> tuple[list[str | bytes], list[str | bytes]]:
    """Check that a message passes each way, and that the connection closes cleanly then.

    Returns:
        What was still to be received, and all that was sent before, in order.
    """
    await witness.say("theirs")
    received = [await ws.receive()]
    while received[-1] != "theirs":
        received.append(await ws.receive())
    await ws.send("ours")
    check(await witness.has("ours"), True, "whether a message came through")
    await ws.close()
    await check_closed(ws, witness, 1000)
    return received[:-1], witness.messages[:-1]


async def check_closed(ws: Connection, witness: Witness, code: int | None) -> None:
    """Check that the connection ends, and that the peer got this code, or no Close frame."""
    await ws.wait_closed()
    await witness.ended.wait()
    check(ws.state.value, "closed", "state")
    check(witness.close_code, code, "code of the Close frame on the wire")
    if code is not None and witness.answers_close:
        check(ws.close_code, code, "close_code")


@asynccontextmanager
async def joined(
    run: Run,
    name: str,
    role: Role,
    *,
    capacity: int | None = None,
    **options: Unpack[ConnectionKeywords],
) -> AsyncIterator[tuple[Connection, Witness]]:
    """Join a connection of ours, in this role, with a witness that reads."""
    async with (
        carrier(name, virtual=run.is_virtual).scripted(role, capacity=capacity, **options) as (
            ws,
            peer,
        ),
        anyio.create_task_group() as tasks,
    ):
        run.watch(ws)
        if capacity is not None and name != "memory":
            ws.extra(SocketAttribute.raw_socket).setsockopt(SOL_SOCKET, SO_SNDBUF, 1 << 16)
        witness = Witness(peer, "server" if role == "client" else "client")
        tasks.start_soon(witness.run)
        yield ws, witness
        witness.may_end_torn = True
        tasks.cancel_scope.cancel()


@cache
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return contexts of a server and of a client that trusts it."""
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost", "127.0.0.1", "::1").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


@cache
def carrier(name: str, *, virtual: bool = False) -> Carrier:
    """Return what a connection runs over: "memory", "tcp" or "tls"."""
    # A mock clock passes quickly where everything waits.
    time_limit = 1e6 if virtual else 30.0
    if name == "tls":
        return Carrier(name, *contexts(), time_limit=time_limit)
    return Carrier(name, time_limit=time_limit)
