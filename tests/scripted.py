"""Connections to test, each with somebody at the other end: a scripted peer, or one of ours.

The scripted peer writes the frames it is told to, raw, and reads with a parser that is strict
about RFC 6455 §5.2 and shares no code with `anyws`.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal, ParamSpec, Unpack

import anyio
import pytest
import trio
from anyio.abc import ByteStream, TaskStatus
from anyio.lowlevel import checkpoint
from anyio.streams.tls import TLSStream
from trio.testing import MockClock

import anyws
from anyws import Connection, ServerConnection
from anyws._options import ConnectionKeywords

from .support import accept, connect, listen, memory_pair

__all__ = [
    "BINARY",
    "CLOSE",
    "CONTINUATION",
    "MEMORY",
    "PING",
    "PONG",
    "TEXT",
    "TIMELESS",
    "Carrier",
    "Frame",
    "FrameReader",
    "Role",
    "ScriptedPeer",
    "both_roles",
    "close_frame",
    "settle",
    "virtual_time",
]

Role = Literal["client", "server"]

#: The test runs once with our connection as the client, once as the server.
both_roles = pytest.mark.parametrize("role", ["client", "server"])

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10

_LINE_END = b"\r\n\r\n"
_KEY = base64.b64encode(bytes(range(16)))
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


_P = ParamSpec("_P")


async def settle() -> None:
    """Let every task that can run do so until it waits for something."""
    for _ in range(30):
        await checkpoint()


def virtual_time(test: Callable[_P, Awaitable[None]]) -> Callable[_P, None]:
    """Run a test on trio, with a clock that jumps ahead whenever all tasks wait."""

    @functools.wraps(test)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> None:
        async def main() -> None:
            await test(*args, **kwargs)

        trio.run(main, clock=MockClock(autojump_threshold=0))

    return run


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame (RFC 6455 §5.2), unmasked."""

    opcode: int
    payload: bytes = b""
    fin: bool = True
    reserved: int = 0

    def encode(self, *, masked: bool) -> bytes:
        """Encode it, whether or not it is legal."""
        n = len(self.payload)
        bit = 0x80 if masked else 0
        header = bytearray([(0x80 if self.fin else 0) | self.reserved << 4 | self.opcode])
        if n < 126:
            header.append(bit | n)
        elif n < 1 << 16:
            header.append(bit | 126)
            header += n.to_bytes(2, "big")
        else:
            header.append(bit | 127)
            header += n.to_bytes(8, "big")
        if not masked:
            return bytes(header) + self.payload
        key = os.urandom(4)
        return bytes(header) + key + _xor(self.payload, key)


def close_frame(code: int | None = None, reason: str = "") -> Frame:
    """Return a Close frame; without a code, an empty one."""
    return Frame(CLOSE, b"" if code is None else code.to_bytes(2, "big") + reason.encode())


def _xor(data: bytes, key: bytes) -> bytes:
    n = len(data)
    keys = (key * (n // 4 + 1))[:n]
    return (int.from_bytes(data, "big") ^ int.from_bytes(keys, "big")).to_bytes(n, "big")


class FrameReader:
    """Takes bytes and gives frames; fails on everything that RFC 6455 forbids a sender.

    Attributes:
        begun: bytes of a frame that is not complete.
    """

    def __init__(self, *, masked: bool) -> None:
        self._masked = masked
        self._in_message = False
        self._closed = False
        self.begun = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """Return the frames that `data` completes."""
        self.begun += data
        frames = []
        while (frame := self._next()) is not None:
            frames.append(frame)
        return frames

    def _next(self) -> Frame | None:
        data = self.begun
        if len(data) < 2:
            return None
        assert not self._closed, "bytes after the Close frame"
        assert not data[0] & 0x70, "reserved bits set"
        assert bool(data[1] & 0x80) is self._masked, "masked against the rule"
        start, n = 2, data[1] & 0x7F
        if n >= 126:
            start += 2 if n == 126 else 8
            if len(data) < start:
                return None
            shortest = 126 if n == 126 else 1 << 16
            n = int.from_bytes(data[2:start], "big")
            assert n >= shortest, "length not in its shortest form"
        key_at = start
        start += 4 if self._masked else 0
        if len(data) < start + n:
            return None
        payload = bytes(data[start : start + n])
        if self._masked:
            payload = _xor(payload, bytes(data[key_at:start]))
        frame = Frame(data[0] & 0x0F, payload, fin=bool(data[0] & 0x80))
        del data[: start + n]
        self._check_order(frame)
        return frame

    def _check_order(self, frame: Frame) -> None:
        if frame.opcode >= CLOSE:
            assert frame.opcode in (CLOSE, PING, PONG), "unknown opcode"
            assert frame.fin, "fragmented control frame"
            assert len(frame.payload) <= 125, "long control frame"
            self._closed = frame.opcode == CLOSE
            return
        assert frame.opcode in (CONTINUATION, TEXT, BINARY), "unknown opcode"
        assert (frame.opcode == CONTINUATION) is self._in_message, "messages interleaved"
        self._in_message = not frame.fin


class ScriptedPeer:
    """The other end of a connection of ours: says what it is told, and reads strictly.

    Args:
        stream: connected.
        role: the peer's.

    Attributes:
        ready: set once the opening handshake is done.
    """

    def __init__(self, stream: ByteStream, role: Role) -> None:
        self.stream = stream
        self.ready = anyio.Event()
        self._is_client = role == "client"
        self._reader = FrameReader(masked=not self._is_client)
        self._frames: list[Frame] = []
        self._unread = b""

    async def shake_hands(self) -> None:
        """Do this end's part of the opening handshake."""
        if self._is_client:
            await self._ask()
        else:
            await self._answer()
        self.ready.set()

    async def _ask(self) -> None:
        await self.stream.send(
            b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: " + _KEY + _LINE_END
        )
        head = await self._receive_head()
        assert head.startswith(b"HTTP/1.1 101 "), head

    async def _answer(self) -> None:
        head = await self._receive_head()
        (key,) = [
            line.split(b":", 1)[1].strip()
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"sec-websocket-key:")
        ]
        accept = base64.b64encode(hashlib.sha1(key + _GUID).digest())
        await self.stream.send(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Accept: " + accept + _LINE_END
        )

    async def _receive_head(self) -> bytes:
        while _LINE_END not in self._unread:
            self._unread += await self.stream.receive()
        head, self._unread = self._unread.split(_LINE_END, 1)
        return head

    # Sending

    def encode(self, *frames: Frame) -> bytes:
        """Return the bytes of frames as this end has to send them."""
        return b"".join(frame.encode(masked=self._is_client) for frame in frames)

    async def send(self, *frames: Frame) -> None:
        """Send frames in one write."""
        await self.stream.send(self.encode(*frames))

    # Receiving

    async def receive(self) -> Frame:
        """Receive the next frame."""
        while not self._frames:
            data = self._unread or await self.stream.receive()
            self._unread = b""
            self._frames = self._reader.feed(data)
        return self._frames.pop(0)

    async def receive_close(self) -> tuple[int | None, str]:
        """Receive a Close frame, which must be next; None for an empty one."""
        frame = await self.receive()
        assert frame.opcode == CLOSE, frame
        code = int.from_bytes(frame.payload[:2], "big") if frame.payload else None
        return code, frame.payload[2:].decode()

    async def receive_to_close(self) -> list[Frame]:
        """Receive frames up to the Close frame."""
        frames = [await self.receive()]
        while frames[-1].opcode != CLOSE:
            frames.append(await self.receive())
        return frames

    async def receive_rest(self) -> list[Frame]:
        """Receive frames until the byte stream ends, which it must not do inside a frame."""
        frames: list[Frame] = []
        try:
            while True:
                frames.append(await self.receive())
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            assert not self._reader.begun, "torn frame"
            return frames

    async def round_trip(self) -> list[Frame]:
        """Wait until all that was sent has been taken note of; return the frames that came."""
        token = os.urandom(4)
        await self.send(Frame(PING, token))
        frames = []
        while (frame := await self.receive()) != Frame(PONG, token):
            frames.append(frame)
        return frames

    async def answer_close(self) -> tuple[int | None, str]:
        """Receive a Close frame and answer it as RFC 6455 §5.5.1 wants; end the bytes."""
        code, reason = await self.receive_close()
        await self.send(close_frame(code, reason))
        await anyio.aclose_forcefully(self.stream)
        return code, reason

    async def drop(self) -> None:
        """End the bytes without a word."""
        await anyio.aclose_forcefully(self.stream)


@dataclass(frozen=True, slots=True)
class Carrier:
    """What a connection runs over: "memory", "tcp" or "tls"."""

    name: str
    server_ssl: ssl.SSLContext | None = None
    client_ssl: ssl.SSLContext | None = None
    time_limit: float = 30.0  # seconds, so that a test that waits for ever fails

    @asynccontextmanager
    async def scripted(
        self, role: Role, *, capacity: int | None = None, **options: Unpack[ConnectionKeywords]
    ) -> AsyncIterator[tuple[Connection, ScriptedPeer]]:
        """Join a connection of ours, in this role, with a scripted peer.

        Args:
            role: ours.
            capacity: bytes that a stream in memory holds in each direction.
            options: of our connection.
        """
        if role == "client":
            joined = self._scripted_server(capacity, options)
        else:
            joined = self._scripted_client(capacity, options)
        with anyio.fail_after(self.time_limit):
            async with joined as (ws, peer):
                try:
                    yield ws, peer
                finally:
                    await peer.drop()
                    await anyio.aclose_forcefully(ws)

    @asynccontextmanager
    async def _scripted_server(
        self, capacity: int | None, options: ConnectionKeywords
    ) -> AsyncIterator[tuple[Connection, ScriptedPeer]]:
        """Our connection is the client."""
        if self.name == "memory":
            ours, theirs = memory_pair(capacity)
            peer = ScriptedPeer(theirs, "server")
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(peer.shake_hands)
                async with anyws.wrap_client(ours, "ws://localhost/", **options) as ws:
                    await peer.ready.wait()
                    yield ws, peer
            return
        with listen() as listener:
            peers: list[ScriptedPeer] = []

            async def accept_one() -> None:
                stream: ByteStream = await accept(listener)
                if self.server_ssl is not None:
                    stream = await TLSStream.wrap(
                        stream, ssl_context=self.server_ssl, standard_compatible=False
                    )
                peers.append(ScriptedPeer(stream, "server"))
                await peers[0].shake_hands()

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(accept_one)
                uri = f"{self._scheme}://127.0.0.1:{listener.getsockname()[1]}/"
                async with anyws.connect(uri, ssl=self.client_ssl, **options) as ws:
                    await peers[0].ready.wait()
                    yield ws, peers[0]

    @asynccontextmanager
    async def _scripted_client(
        self, capacity: int | None, options: ConnectionKeywords
    ) -> AsyncIterator[tuple[Connection, ScriptedPeer]]:
        """Our connection is the server's."""
        if self.name == "memory":
            ours, theirs = memory_pair(capacity)
            peer = ScriptedPeer(theirs, "client")
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(peer.shake_hands)
                async with anyws.wrap_server(ours, **options) as ws:
                    await peer.ready.wait()
                    yield ws, peer
            return
        async with _serving(self.server_ssl, options) as served:
            stream: ByteStream = await connect(served.port)
            if self.client_ssl is not None:
                stream = await TLSStream.wrap(
                    stream,
                    hostname="127.0.0.1",
                    ssl_context=self.client_ssl,
                    standard_compatible=False,
                )
            peer = ScriptedPeer(stream, "client")
            await peer.shake_hands()
            yield await served.connection(), peer

    @asynccontextmanager
    async def pair(
        self,
        *,
        capacity: int | None = None,
        client: ConnectionKeywords | None = None,
        server: ConnectionKeywords | None = None,
    ) -> AsyncIterator[tuple[Connection, Connection]]:
        """Join a client and a server of ours.

        Args:
            capacity: bytes that a stream in memory holds in each direction.
            client, server: options of each.
        """
        with anyio.fail_after(self.time_limit):
            async with self._joined(capacity, client or {}, server or {}) as (ours, theirs):
                try:
                    yield ours, theirs
                finally:
                    await anyio.aclose_forcefully(ours)
                    await anyio.aclose_forcefully(theirs)

    @asynccontextmanager
    async def _joined(
        self, capacity: int | None, client: ConnectionKeywords, server: ConnectionKeywords
    ) -> AsyncIterator[tuple[Connection, Connection]]:
        if self.name != "memory":
            async with (
                _serving(self.server_ssl, server) as served,
                anyws.connect(
                    f"{self._scheme}://127.0.0.1:{served.port}/", ssl=self.client_ssl, **client
                ) as ours,
            ):
                yield ours, await served.connection()
            return
        left, right = memory_pair(capacity)
        released = anyio.Event()

        async def serve_one(*, task_status: TaskStatus[Connection]) -> None:
            async with anyws.wrap_server(right, **server) as theirs:
                task_status.started(theirs)
                await released.wait()

        async with anyio.create_task_group() as tasks:
            connections: list[Connection] = []

            async def start_server() -> None:
                connections.append(await tasks.start(serve_one))

            tasks.start_soon(start_server)
            async with anyws.wrap_client(left, "ws://localhost/", **client) as ours:
                while not connections:
                    await checkpoint()
                try:
                    yield ours, connections[0]
                finally:
                    released.set()

    @property
    def _scheme(self) -> str:
        return "ws" if self.server_ssl is None else "wss"


#: The carrier of tests for which the byte stream makes no difference.
MEMORY = Carrier("memory")

#: The same for tests with `virtual_time`, which passes quickly.
TIMELESS = Carrier("memory", time_limit=1e6)


class _Served:
    """A server whose connections the test holds, rather than a handler."""

    def __init__(self) -> None:
        self.port = 0
        self.released = anyio.Event()
        self._arrived = anyio.Event()
        self._connection: ServerConnection | None = None

    async def handle(self, connection: ServerConnection) -> None:
        self._connection = connection
        self._arrived.set()
        await self.released.wait()

    async def connection(self) -> ServerConnection:
        await self._arrived.wait()
        assert self._connection is not None
        return self._connection


@asynccontextmanager
async def _serving(
    context: ssl.SSLContext | None, options: ConnectionKeywords
) -> AsyncIterator[_Served]:
    served = _Served()
    async with anyws.serve(served.handle, "127.0.0.1", 0, ssl=context, **options) as server:
        served.port = server.port
        try:
            yield served
        finally:
            served.released.set()
