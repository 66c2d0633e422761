"""The libraries that our client and our server meet, each as a `Peer`.

Where a library cannot send an unfinished frame, `websockets` encodes the frames and they are
written to the library's own transport. Knows nothing of `anyws`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from ssl import SSLContext
from typing import ClassVar, Literal, cast
from urllib.parse import urlsplit

import aiohttp
import anyio
import picows
import trio
import trio_websocket
import wsproto
import wsproto.events
from aiohttp import web
from websockets.asyncio.client import connect as websockets_connect
from websockets.asyncio.connection import Connection as WebsocketsConnection
from websockets.asyncio.server import ServerConnection as WebsocketsServerConnection
from websockets.asyncio.server import serve as websockets_serve
from websockets.exceptions import ConnectionClosed as WebsocketsConnectionClosed
from websockets.frames import Frame, Opcode

from .peers import LIMIT, NO_CLOSE, Close, Listener, Message, Peer

HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class ClientLibrary:
    """A library whose client talks to our server."""

    name: str
    backend: Literal["asyncio", "trio"]
    connect: Callable[[str, SSLContext | None], AbstractAsyncContextManager[Peer]]


@dataclass(frozen=True, slots=True)
class ServerLibrary:
    """A library whose server talks to our client."""

    name: str
    backend: Literal["asyncio", "trio"]
    listen: Callable[[SSLContext | None], AbstractAsyncContextManager[Listener]]


# websockets


class WebsocketsPeer(Peer):
    """A connection of `websockets`, either side."""

    tells_fragments = True

    def __init__(self, connection: WebsocketsConnection) -> None:
        super().__init__()
        self._connection = connection

    async def read(self) -> None:
        """Receive each message as its frames."""
        try:
            while True:
                self._deliver(Message.of(*[f async for f in self._connection.recv_streaming()]))
        except WebsocketsConnectionClosed as closed:
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
    async with websockets_connect(uri, ssl=ssl, proxy=None) as connection:
        peer = WebsocketsPeer(connection)
        async with peer.reading():
            yield peer


@asynccontextmanager
async def listen_websockets(ssl: SSLContext | None) -> AsyncIterator[Listener]:
    """Serve with `websockets`."""

    async def handle(connection: WebsocketsServerConnection) -> None:
        peer = WebsocketsPeer(connection)
        async with peer.reading():
            listener.accepted.put(peer)
            await peer.finished.wait()

    async with websockets_serve(handle, HOST, 0, ssl=ssl) as server:
        listener = Listener(server.sockets[0].getsockname()[1])
        yield listener


# aiohttp


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


# picows


class PicowsPeer(Peer):
    """A client connection of `picows`, which answers Pings and calls back with other frames."""

    tells_fragments = True

    def __init__(self, transport: picows.WSTransport) -> None:
        super().__init__()
        self._transport = transport
        self._is_text = False
        self._fragments: list[bytes] = []

    async def read(self) -> None:
        """Wait until the server has closed the TCP connection; `see` receives meanwhile."""
        await self._transport.wait_disconnected()
        handshake = self._transport.close_handshake
        received = None if handshake is None else handshake.recv
        if received is None:
            self._finish(NO_CLOSE)
        else:
            # The code is an integer at run time; without a reason in the frame there is None.
            self._finish(Close(cast(int, received.code), received.reason or ""))

    def see(self, frame: picows.WSFrame) -> None:
        """Take one frame, which is valid during the call only."""
        match frame.msg_type:
            case picows.WSMsgType.PONG:
                self._pong(frame.get_payload_as_bytes())
            case picows.WSMsgType.CLOSE:
                if not self._transport.is_close_frame_sent:
                    self._transport.send_close(frame.get_close_code(), frame.get_close_message())
            case _:
                self._see_data(frame)

    def _see_data(self, frame: picows.WSFrame) -> None:
        if frame.msg_type is not picows.WSMsgType.CONTINUATION:
            self._is_text = frame.msg_type is picows.WSMsgType.TEXT
        self._fragments.append(frame.get_payload_as_bytes())
        if frame.fin:
            self._deliver(Message(self._is_text, tuple(self._fragments)))
            self._fragments.clear()

    async def _send(self, data: str | bytes) -> None:
        await self._send_fragments(Message.of(data))

    async def _send_fragments(self, message: Message) -> None:
        opcode = picows.WSMsgType.TEXT if message.is_text else picows.WSMsgType.BINARY
        *first, last = message.fragments
        for payload in first:
            self._transport.send(opcode, payload, fin=False)
            opcode = picows.WSMsgType.CONTINUATION
        self._transport.send(opcode, last)

    async def _ping(self, payload: bytes) -> None:
        self._transport.send_ping(payload)

    async def _close(self, code: int, reason: str) -> None:
        # The library takes any integer here but has names for the codes of the RFC only.
        self._transport.send_close(cast(picows.WSCloseCode, code), reason)
        await self.finished.wait()


class PicowsListener(picows.WSListener):
    """The callbacks of one connection."""

    peer: PicowsPeer

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        """Start the peer."""
        self.peer = PicowsPeer(transport)

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        """Hand the frame to the peer."""
        self.peer.see(frame)


@asynccontextmanager
async def connect_picows(uri: str, ssl: SSLContext | None) -> AsyncIterator[Peer]:
    """Connect with `picows`."""
    transport, listener = await picows.ws_connect(PicowsListener, uri, ssl_context=ssl)
    assert isinstance(listener, PicowsListener)
    try:
        async with listener.peer.reading():
            yield listener.peer
    finally:
        transport.disconnect(graceful=False)
        await transport.wait_disconnected()


# wsproto


class WsprotoPeer(Peer):
    """A client of `wsproto` over asyncio streams, which sends every reply itself."""

    tells_fragments = True

    def __init__(
        self,
        protocol: wsproto.WSConnection,
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

    async def open(self, host: str) -> None:
        """Do the opening handshake."""
        await self._write(wsproto.events.Request(host=host, target="/"))
        async for event in self._events():
            assert isinstance(event, wsproto.events.AcceptConnection), event
            return

    async def read(self) -> None:
        """Receive until the server has closed the TCP connection."""
        async for event in self._events():
            match event:
                case wsproto.events.TextMessage() | wsproto.events.BytesMessage():
                    self._see_data(event)
                case wsproto.events.Ping():
                    await self._write(event.response())
                case wsproto.events.Pong():
                    self._pong(bytes(event.payload))
                case wsproto.events.CloseConnection():
                    self._received = Close(int(event.code), event.reason or "")
                    if self._protocol.state is wsproto.connection.ConnectionState.REMOTE_CLOSING:
                        await self._write(event.response())
        # A server that half-closes waits for the client to close the rest.
        self._writer.close()
        self._finish(self._received)

    async def _events(self) -> AsyncIterator[wsproto.events.Event]:
        for event in self._protocol.events():
            yield event
        while chunk := await self._reader.read(65536):
            self._protocol.receive_data(chunk)
            for event in self._protocol.events():
                yield event

    def _see_data(self, event: wsproto.events.TextMessage | wsproto.events.BytesMessage) -> None:
        is_text = isinstance(event, wsproto.events.TextMessage)
        self._payload += event.data.encode() if isinstance(event.data, str) else event.data
        if event.frame_finished:
            self._fragments.append(bytes(self._payload))
            self._payload.clear()
        if event.message_finished:
            self._deliver(Message(is_text, tuple(self._fragments)))
            self._fragments.clear()

    async def _write(self, event: wsproto.events.Event) -> None:
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
        await self._write(wsproto.events.Ping(payload))

    async def _close(self, code: int, reason: str) -> None:
        await self._write(wsproto.events.CloseConnection(code, reason))
        await self.finished.wait()


def _wsproto_message(payload: bytes, *, is_text: bool, is_last: bool) -> wsproto.events.Event:
    if is_text:
        return wsproto.events.TextMessage(payload.decode(), message_finished=is_last)
    return wsproto.events.BytesMessage(payload, message_finished=is_last)


@asynccontextmanager
async def connect_wsproto(uri: str, ssl: SSLContext | None) -> AsyncIterator[Peer]:
    """Connect with `wsproto`."""
    host, port = host_and_port(uri)
    reader, writer = await asyncio.open_connection(host, port, ssl=ssl)
    try:
        peer = WsprotoPeer(wsproto.WSConnection(wsproto.ConnectionType.CLIENT), reader, writer)
        await peer.open(f"{host}:{port}")
        async with peer.reading():
            yield peer
    finally:
        writer.close()
        await writer.wait_closed()


# trio-websocket


class TrioWebsocketPeer(Peer):
    """A client connection of `trio-websocket`."""

    tells_fragments = False

    def __init__(
        self, connection: trio_websocket.WebSocketConnection, stream: trio.abc.SendStream
    ) -> None:
        super().__init__()
        self._connection = connection
        self._stream = stream
        self._is_closing = False

    async def read(self) -> None:
        """Receive until either side closes."""
        try:
            while True:
                self._deliver(Message.of(await self._connection.get_message()))
        except trio_websocket.ConnectionClosed:
            # While `_close` runs, the reply to it is still to come.
            if not self._is_closing:
                await self._leave()

    async def _leave(self) -> None:
        # The library leaves the stream open where the server closed first.
        await self._stream.aclose()
        received = self._connection.closed
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
    """Connect with `trio-websocket` over a stream of our own, to which fragments are written."""
    host, port = host_and_port(uri)
    stream: trio.SocketStream | trio.SSLStream[trio.SocketStream]
    stream = tcp = await trio.open_tcp_stream(host, port)
    if ssl is not None:
        stream = trio.SSLStream(tcp, ssl, server_hostname=host, https_compatible=True)
    async with stream, trio.open_nursery() as nursery:
        connection = await trio_websocket.wrap_client_stream(nursery, stream, f"{host}:{port}", "/")
        peer = TrioWebsocketPeer(connection, stream)
        async with peer.reading():
            yield peer


# Shared by the adapters


def encode_frames(message: Message, *, mask: bool) -> Iterator[bytes]:
    """Encode a message with one frame per fragment."""
    opcode = Opcode.TEXT if message.is_text else Opcode.BINARY
    *first, last = message.fragments
    for payload in first:
        yield Frame(opcode, payload, fin=False).serialize(mask=mask)
        opcode = Opcode.CONT
    yield Frame(opcode, last).serialize(mask=mask)


def host_and_port(uri: str) -> tuple[str, int]:
    """Split the URI of a server that listens on a port of its own."""
    parts = urlsplit(uri)
    assert parts.hostname is not None
    assert parts.port is not None
    return parts.hostname, parts.port


CLIENTS = (
    ClientLibrary("websockets", "asyncio", connect_websockets),
    ClientLibrary("aiohttp", "asyncio", connect_aiohttp),
    ClientLibrary("picows", "asyncio", connect_picows),
    ClientLibrary("wsproto", "asyncio", connect_wsproto),
    ClientLibrary("trio-websocket", "trio", connect_trio_websocket),
)

SERVERS = (
    ServerLibrary("websockets", "asyncio", listen_websockets),
    ServerLibrary("aiohttp", "asyncio", listen_aiohttp),
)
