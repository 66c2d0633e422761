"""Where the connections of a scenario begin: a scripted server that accepts, a client that asks.

Each connection gets a witness, which reads it to its end.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
from anyio.abc import ByteStream, TaskGroup
from anyio.streams.tls import TLSStream

from anyws import Connecting, connect, wrap_client
from anyws.testing import MemoryStream, RawPeer, memory_pair

from ..scripted import Role, settle
from ..support import accept, listen
from .sweep import Broken, Run
from .witness import Witness, contexts

__all__ = ["Station", "client_over", "station", "witness_over"]

_GONE = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError, ssl.SSLError)


class Station:
    """A scripted server: accepts every connection, unless told otherwise.

    Attributes:
        witnesses: one for each connection that was opened, in order.
        answers: whether it answers opening handshakes; may be set.
        refusal: what to answer with instead, part by part; may be set.
        answers_close: that of its witnesses; may be set.
        may_be_left: whether clients may leave in the middle of the opening handshake; may be set.
        is_open: whether connections are served; not when the block is left.
    """

    def __init__(self, run: Run, carrier: str, tasks: TaskGroup, port: int) -> None:
        self.witnesses: list[Witness] = []
        self.answers = True
        self.refusal: tuple[bytes, ...] = ()
        self.answers_close = True
        self.may_be_left = False
        self.port = port
        self.is_open = True
        self._run = run
        self._carrier = carrier
        self._tasks = tasks

    def connect(self, **keywords: Any) -> Connecting:
        """Return what `connect` or `wrap_client` does, for a connection to this server."""
        if self._carrier == "memory":
            return wrap_client(self.new_stream(), "ws://localhost/", **keywords)
        if self._carrier == "tls":
            keywords["ssl"] = contexts()[1]
        scheme = "ws" if self._carrier == "tcp" else "wss"
        return connect(f"{scheme}://localhost:{self.port}/", **keywords)

    def new_stream(self) -> MemoryStream:
        """Return a stream in memory whose other end this server has."""
        ours, theirs = memory_pair()
        self._tasks.start_soon(self._serve, theirs)
        return ours

    def close_soon(self, code: int) -> None:
        """Let the witness of the newest connection close it."""
        self._tasks.start_soon(self.witnesses[-1].close, code)

    async def accept_from(self, listener: Any) -> None:
        """Serve whoever connects."""
        while True:
            stream = await accept(listener)
            if not self.is_open:  # its client was cancelled, and everything is over
                await anyio.aclose_forcefully(stream)
                return
            self._tasks.start_soon(self._serve, stream)

    async def _serve(self, stream: ByteStream) -> None:
        try:
            if self._carrier == "tls":
                stream = await TLSStream.wrap(
                    stream, ssl_context=contexts()[0], standard_compatible=False
                )
            await self._serve_secured(stream)
        except _GONE:
            if not self._run.fired:
                raise
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.aclose_forcefully(stream)

    async def _serve_secured(self, stream: ByteStream) -> None:
        if not self.answers or self.refusal:
            await self._refuse(stream)
            return
        witness = await witness_over(stream, "server")
        if witness is not None:
            witness.answers_close = self.answers_close
            self.witnesses.append(witness)
            await witness.run()
        elif not (self._run.fired or self.may_be_left):
            raise Broken("the client left in the middle of the opening handshake")

    async def _refuse(self, stream: ByteStream) -> None:
        """Read to the end, and say nothing but the refusal, if there is one."""
        with suppress(*_GONE, OSError):
            await stream.receive()
            for part in self.refusal:
                await settle()
                await stream.send(part)
            while True:
                await stream.receive()


async def witness_over(stream: ByteStream, role: Role) -> Witness | None:
    """Do a peer's opening handshake; None if that went wrong, since the other end left."""
    peer = RawPeer(stream, is_client=role == "client")
    try:
        await peer.shake_hands()
    except (AssertionError, *_GONE):
        return None
    return Witness(peer, role)


@asynccontextmanager
async def station(run: Run, carrier: str) -> AsyncIterator[Station]:
    """Serve for as long as the block runs, and then until every connection has ended."""
    if carrier == "memory":
        async with anyio.create_task_group() as tasks:
            yield Station(run, carrier, tasks, 0)
        return
    with listen() as listener:
        port: int = listener.getsockname()[1]
        async with anyio.create_task_group() as accepting, anyio.create_task_group() as tasks:
            server = Station(run, carrier, tasks, port)
            accepting.start_soon(server.accept_from, listener)
            try:
                yield server
            finally:
                server.is_open = False
                accepting.cancel_scope.cancel()


@asynccontextmanager
async def client_over(stream: ByteStream, carrier: str) -> AsyncIterator[Witness | None]:
    """Talk to a server of ours; None if it went away before the connection was open."""
    try:
        if carrier == "tls":
            with suppress(*_GONE):
                stream = await TLSStream.wrap(
                    stream,
                    hostname="localhost",
                    ssl_context=contexts()[1],
                    standard_compatible=False,
                )
        witness = await witness_over(stream, "client")
        async with anyio.create_task_group() as tasks:
            if witness is not None:
                tasks.start_soon(witness.run)
            yield witness
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.aclose_forcefully(stream)
