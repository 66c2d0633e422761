"""`trio-websocket`, its client, over a stream of our own.

It has no call that sends an unfinished frame: fragments are encoded elsewhere and written to the
stream.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ssl import SSLContext

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_client_stream

from ..peers import NO_CLOSE, Close, Message, Peer
from .wire import encode_frames, host_and_port


class TrioWebsocketPeer(Peer):
    """A client connection of `trio-websocket`."""

    tells_fragments = False

    def __init__(self, connection: WebSocketConnection, stream: trio.abc.SendStream) -> None:
        super().__init__()
        self._connection = connection
        self._stream = stream
        self._is_closing = False

    async def read(self) -> None:
        """Receive until either side closes."""
        try:
            while True:
                self._deliver(Message.of(await self._connection.get_message()))
        except ConnectionClosed:
            # While `_close` runs, the reply to it is still to come.
            if not self._is_closing:
                await self._leave()

    async def _leave(self) -> None:
        received = self._connection.closed
        # The library leaves the stream open where the server closed first.
        await self._stream.aclose()
        self._finish(Close(received.code, received.reason or "") if received else NO_CLOSE)

    async def _send(self, data: str | bytes) -> None:
        await self._connection.send_message(data)

    async def _send_fragments(self, message: Message) -> None:
        for frame in encode_frames(message, mask=True):
            await self._stream.send_all(frame)

    async def _ping(self, payload: bytes) -> None:
        # The library matches Pongs itself: this ends once the Pong with this payload arrived.
        await self._connection.ping(payload)
        self._pong(payload)

    async def _close(self, code: int, reason: str) -> None:
        self._is_closing = True
        await self._connection.aclose(code, reason or None)
        await self._leave()


@asynccontextmanager
async def connect_trio_websocket(uri: str, ssl: SSLContext | None) -> AsyncIterator[Peer]:
    """Connect with `trio-websocket`."""
    host, port = host_and_port(uri)
    stream: trio.SocketStream | trio.SSLStream[trio.SocketStream]
    stream = tcp = await trio.open_tcp_stream(host, port)
    if ssl is not None:
        stream = trio.SSLStream(tcp, ssl, server_hostname=host, https_compatible=True)
    async with stream, trio.open_nursery() as nursery:
        connection = await wrap_client_stream(nursery, stream, f"{host}:{port}", "/")
        peer = TrioWebsocketPeer(connection, stream)
        async with peer.reading():
            yield peer
