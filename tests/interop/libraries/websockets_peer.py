"""`websockets`, its asyncio client and server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ssl import SSLContext

from websockets.asyncio.client import connect
from websockets.asyncio.connection import Connection
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from ..peers import NO_CLOSE, Close, Listener, Message, Peer
from .wire import HOST


class WebsocketsPeer(Peer):
    """A connection of `websockets`, either side."""

    tells_fragments = True

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self._connection = connection

    async def read(self) -> None:
        """Receive each message as its frames."""
        try:
            while True:
                self._deliver(Message.of(*[f async for f in self._connection.recv_streaming()]))
        except ConnectionClosed as closed:
            frame = closed.rcvd
            self._finish(NO_CLOSE if frame is None else Close(frame.code, frame.reason))

    async def _send(self, data: str | bytes) -> None:
        await self._connection.send(data)

    async def _send_fragments(self, message: Message) -> None:
        await self._connection.send(message.fragments, text=message.is_text)

    async def _ping(self, payload: bytes) -> None:
        # The library matches Pongs itself: this ends once the Pong with this payload arrived.
        await (await self._connection.ping(payload))
        self._pong(payload)

    async def _close(self, code: int, reason: str) -> None:
        await self._connection.close(code, reason)


@asynccontextmanager
async def connect_websockets(uri: str, ssl: SSLContext | None) -> AsyncIterator[Peer]:
    """Connect with `websockets`, which offers permessage-deflate as it does by default."""
    async with connect(uri, ssl=ssl, proxy=None) as connection:
        peer = WebsocketsPeer(connection)
        async with peer.reading():
            yield peer


@asynccontextmanager
async def listen_websockets(ssl: SSLContext | None) -> AsyncIterator[Listener]:
    """Serve with `websockets`."""

    async def handle(connection: ServerConnection) -> None:
        peer = WebsocketsPeer(connection)
        async with peer.reading():
            listener.accepted.put(peer)
            await peer.finished.wait()

    async with serve(handle, HOST, 0, ssl=ssl) as server:
        listener = Listener(server.sockets[0].getsockname()[1])
        yield listener
