"""`aiohttp`, its client and server.

It has no call that sends an unfinished frame: fragments are encoded elsewhere and written to its
transport.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ssl import SSLContext
from typing import ClassVar, Literal

import aiohttp
import anyio
from aiohttp import web

from ..peers import LIMIT, NO_CLOSE, Close, Listener, Message, Peer
from .wire import HOST, encode_frames

AiohttpConnection = (
    aiohttp.ClientWebSocketResponse[Literal[True]] | web.WebSocketResponse[Literal[True]]
)


class AiohttpPeer(Peer):
    """A connection of `aiohttp`, which answers Pings itself in order to see Pongs."""

    tells_fragments = False
    echoes_close_code = False
    is_client: ClassVar[bool]

    def __init__(self, connection: AiohttpConnection, transport: asyncio.Transport) -> None:
        super().__init__()
        self._connection = connection
        self._transport = transport

    async def read(self) -> None:
        """Receive until the library reports an end; the library replies to a Close itself."""
        while True:
            message = await self._connection.receive()
            match message.type:
                case aiohttp.WSMsgType.TEXT | aiohttp.WSMsgType.BINARY:
                    self._deliver(Message.of(message.data))
                case aiohttp.WSMsgType.PING:
                    await self._connection.pong(message.data)
                case aiohttp.WSMsgType.PONG:
                    self._pong(bytes(message.data))
                case aiohttp.WSMsgType.CLOSE:
                    self._finish(Close(message.data, message.extra or ""))
                    return
                case aiohttp.WSMsgType.CLOSING:
                    # `_close` runs: it takes over receiving, and sees the reply.
                    return
                case _:
                    self._finish(NO_CLOSE)
                    return

    async def _send(self, data: str | bytes) -> None:
        if isinstance(data, str):
            await self._connection.send_str(data)
        else:
            await self._connection.send_bytes(data)

    async def _send_fragments(self, message: Message) -> None:
        for frame in encode_frames(message, mask=self.is_client):
            self._transport.write(frame)

    async def _ping(self, payload: bytes) -> None:
        await self._connection.ping(payload)

    async def _close(self, code: int, reason: str) -> None:
        await self._connection.close(code=code, message=reason.encode())
        self._finish(Close(self._connection.close_code or NO_CLOSE.code, None))


class AiohttpClientPeer(AiohttpPeer):
    """A client connection of `aiohttp`."""

    is_client = True


class AiohttpServerPeer(AiohttpPeer):
    """A server connection of `aiohttp`."""

    is_client = False

    def __init__(self, connection: AiohttpConnection, transport: asyncio.Transport) -> None:
        super().__init__(connection, transport)
        self._reading = anyio.CancelScope()
        self._stopped = anyio.Event()

    async def read(self) -> None:
        """Receive until the library reports an end or `_close` takes over."""
        with self._reading:
            await super().read()
        self._stopped.set()

    async def _close(self, code: int, reason: str) -> None:
        # While a task receives, the library's server would not wait for the reply to its Close.
        self._reading.cancel()
        await self._stopped.wait()
        await super()._close(code, reason)


class AiohttpClientConnection(aiohttp.ClientWebSocketResponse[Literal[True]]):
    """A client connection that shows its transport, to which fragments are written."""

    @property
    def transport(self) -> asyncio.Transport:
        """The transport of the connection."""
        return self._writer.transport


@asynccontextmanager
async def connect_aiohttp(uri: str, ssl: SSLContext | None) -> AsyncIterator[Peer]:
    """Connect with `aiohttp`."""
    async with (
        aiohttp.ClientSession(ws_response_class=AiohttpClientConnection) as session,
        session.ws_connect(uri, ssl=ssl or True, autoping=False) as connection,
    ):
        assert isinstance(connection, AiohttpClientConnection)
        peer = AiohttpClientPeer(connection, connection.transport)
        async with peer.reading():
            yield peer


@asynccontextmanager
async def listen_aiohttp(ssl: SSLContext | None) -> AsyncIterator[Listener]:
    """Serve with `aiohttp`."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        connection = web.WebSocketResponse(autoping=False)
        await connection.prepare(request)
        assert request.transport is not None
        peer = AiohttpServerPeer(connection, request.transport)
        async with peer.reading():
            listener.accepted.put(peer)
            await peer.finished.wait()
        return connection

    runner = web.ServerRunner(web.Server(handle), shutdown_timeout=LIMIT)
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, 0, ssl_context=ssl).start()
        listener = Listener(runner.addresses[0][1])
        yield listener
    finally:
        await runner.cleanup()
