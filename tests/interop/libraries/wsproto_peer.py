"""A client made of `wsproto`, which does no I/O, and asyncio streams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ssl import SSLContext

from wsproto import ConnectionType, WSConnection
from wsproto.connection import ConnectionState
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    Pong,
    Request,
    TextMessage,
)

from ..peers import NO_CLOSE, Close, Message, Peer
from .wire import host_and_port


class WsprotoPeer(Peer):
    """A client of `wsproto` over asyncio streams, which sends every reply itself."""

    tells_fragments = True

    def __init__(
        self,
        protocol: WSConnection,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        super().__init__()
        self._protocol = protocol
        self._reader = reader
        self._writer = writer
        self._payload = bytearray()
        self._fragments: list[bytes] = []
        self._received = NO_CLOSE
        self._incoming = self._events()

    async def open(self, host: str) -> None:
        """Do the opening handshake."""
        await self._write(Request(host=host, target="/"))
        event = await anext(self._incoming)
        assert isinstance(event, AcceptConnection), event

    async def read(self) -> None:
        """Receive until the server has closed the TCP connection."""
        async for event in self._incoming:
            match event:
                case TextMessage() | BytesMessage():
                    self._see_data(event)
                case Ping():
                    await self._write(event.response())
                case Pong():
                    self._pong(bytes(event.payload))
                case CloseConnection():
                    self._received = Close(int(event.code), event.reason or "")
                    if self._protocol.state is ConnectionState.REMOTE_CLOSING:
                        await self._write(event.response())
        # A server that half-closes waits for the client to close the rest.
        self._writer.close()
        self._finish(self._received)

    async def _events(self) -> AsyncIterator[Event]:
        while chunk := await self._reader.read(65536):
            self._protocol.receive_data(chunk)
            for event in self._protocol.events():
                yield event

    def _see_data(self, event: TextMessage | BytesMessage) -> None:
        is_text = isinstance(event, TextMessage)
        self._payload += event.data.encode() if isinstance(event.data, str) else event.data
        if event.frame_finished:
            self._fragments.append(bytes(self._payload))
            self._payload.clear()
        if event.message_finished:
            self._deliver(Message(is_text, tuple(self._fragments)))
            self._fragments.clear()

    async def _write(self, event: Event) -> None:
        self._writer.write(self._protocol.send(event))
        await self._writer.drain()

    async def _send(self, data: str | bytes) -> None:
        await self._send_fragments(Message.of(data))

    async def _send_fragments(self, message: Message) -> None:
        *first, last = message.fragments
        for payload in first:
            await self._write(_wsproto_message(payload, is_text=message.is_text, is_last=False))
        await self._write(_wsproto_message(last, is_text=message.is_text, is_last=True))

    async def _ping(self, payload: bytes) -> None:
        await self._write(Ping(payload))

    async def _close(self, code: int, reason: str) -> None:
        await self._write(CloseConnection(code, reason))
        await self.finished.wait()


def _wsproto_message(payload: bytes, *, is_text: bool, is_last: bool) -> Event:
    if is_text:
        return TextMessage(payload.decode(), message_finished=is_last)
    return BytesMessage(payload, message_finished=is_last)


@asynccontextmanager
async def connect_wsproto(uri: str, ssl: SSLContext | None) -> AsyncIterator[Peer]:
    """Connect with `wsproto`."""
    host, port = host_and_port(uri)
    reader, writer = await asyncio.open_connection(host, port, ssl=ssl)
    try:
        peer = WsprotoPeer(WSConnection(ConnectionType.CLIENT), reader, writer)
        await peer.open(f"{host}:{port}")
        async with peer.reading():
            yield peer
    finally:
        writer.close()
        await writer.wait_closed()
