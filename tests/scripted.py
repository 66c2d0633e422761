"""Connections to test, each with somebody at the other end: a scripted peer, or one of ours.

In memory, over TCP and over TLS; all of it stands on the kit of `anyws.testing`.
"""

from __future__ import annotations

import functools
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal, ParamSpec, Unpack

import anyio
import pytest
import trio
from anyio.abc import ByteStream
from anyio.lowlevel import checkpoint
from anyio.streams.tls import TLSStream
from trio.testing import MockClock

import anyws
from anyws import Connection, ServerConnection
from anyws._options import ConnectionKeywords
from anyws.testing import RawPeer, connection_pair, memory_pair

from .support import accept, connect, listen

__all__ = [
    "MEMORY",
    "TIMELESS",
    "Carrier",
    "Role",
    "both_roles",
    "settle",
    "virtual_time",
]

Role = Literal["client", "server"]

#: The test runs once with our connection as the client, once as the server.
both_roles = pytest.mark.parametrize("role", ["client", "server"])

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
class Carrier:
    """What a connection runs over: "memory", "tcp" or "tls"."""

    name: str
    server_ssl: ssl.SSLContext | None = None
    client_ssl: ssl.SSLContext | None = None
    time_limit: float = 30.0  # seconds, so that a test that waits for ever fails

    @asynccontextmanager
    async def scripted(
        self, role: Role, *, capacity: int | None = None, **options: Unpack[ConnectionKeywords]
    ) -> AsyncIterator[tuple[Connection, RawPeer]]:
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
    ) -> AsyncIterator[tuple[Connection, RawPeer]]:
        """Our connection is the client."""
        if self.name == "memory":
            ours, theirs = memory_pair(capacity)
            peer = RawPeer(theirs, is_client=False)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(peer.shake_hands)
                async with anyws.wrap_client(ours, "ws://localhost/", **options) as ws:
                    await peer.ready.wait()
                    yield ws, peer
            return
        with listen() as listener:
            peers: list[RawPeer] = []

            async def accept_one() -> None:
                stream: ByteStream = await accept(listener)
                if self.server_ssl is not None:
                    stream = await TLSStream.wrap(
                        stream, ssl_context=self.server_ssl, standard_compatible=False
                    )
                peers.append(RawPeer(stream, is_client=False))
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
    ) -> AsyncIterator[tuple[Connection, RawPeer]]:
        """Our connection is the server's."""
        if self.name == "memory":
            ours, theirs = memory_pair(capacity)
            peer = RawPeer(theirs, is_client=True)
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
            peer = RawPeer(stream, is_client=True)
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
        async with connection_pair(capacity=capacity, client=client, server=server) as joined:
            yield joined

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
