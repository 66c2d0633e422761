"""`websockets` and `aiohttp` with settings of permessage-deflate, and how a cell drives a peer.

The functions of these libraries run in an event loop and a thread of their own. What `Parameters`
a library cannot be told is left out here; the table does not ask for it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Literal, Protocol, TypeAlias

import aiohttp
import anyio
from aiohttp import web
from anyio import to_thread
from anyio.abc import TaskStatus
from anyio.from_thread import BlockingPortal
from websockets.asyncio.client import connect
from websockets.asyncio.connection import Connection
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.extensions.permessage_deflate import (
    ClientPerMessageDeflateFactory,
    PerMessageDeflate,
    ServerPerMessageDeflateFactory,
)

from .deflate_rows import Accepts, ClientSetup, Parameters, Preset, ServerSetup
from .deflate_traffic import Mismatch, Report, Traffic, describe, send_and_compare, send_back
from .libraries import HOST
from .peers import LIMIT

AiohttpConnection: TypeAlias = (
    aiohttp.ClientWebSocketResponse[Literal[True]] | web.WebSocketResponse[Literal[True]]
)


@dataclass(frozen=True, slots=True)
class Listening:
    """A server of another library, for one connection; `report` waits for the end of that."""

    port: int
    report: Callable[[], Awaitable[Report]]


class DeflatePeer(ABC):
    """The other side of a cell, seen from our event loop."""

    @abstractmethod
    def listen(
        self, setup: ServerSetup, traffic: Traffic
    ) -> AbstractAsyncContextManager[Listening]:
        """Serve one connection, which sends back, then sends; leaving the block stops it."""

    @abstractmethod
    async def connect(self, setup: ClientSetup, uri: str, traffic: Traffic) -> Report:
        """Connect, send back, then send, and return how it went."""


class Serve(Protocol):
    """A server of one connection: `task_status` is given its port."""

    async def __call__(
        self, setup: ServerSetup, traffic: Traffic, *, task_status: TaskStatus[int]
    ) -> Report: ...


class PortalPeer(DeflatePeer):
    """A library for asyncio, in the event loop of a portal."""

    def __init__(
        self,
        portal: BlockingPortal,
        serve: Serve,
        connect: Callable[[ClientSetup, str, Traffic], Awaitable[Report]],
    ) -> None:
        self._portal = portal
        self._serve = serve
        self._connect = connect

    @asynccontextmanager
    async def listen(self, setup: ServerSetup, traffic: Traffic) -> AsyncIterator[Listening]:
        start = partial(self._portal.start_task, self._serve, setup, traffic)
        future, port = await to_thread.run_sync(start)
        try:
            yield Listening(port, lambda: to_thread.run_sync(future.result, LIMIT))
        finally:
            future.cancel()

    async def connect(self, setup: ClientSetup, uri: str, traffic: Traffic) -> Report:
        async def bounded() -> Report:
            with anyio.fail_after(traffic.limit):
                return await self._connect(setup, uri, traffic)

        return await to_thread.run_sync(self._portal.call, bounded)


def portal_peers(portal: BlockingPortal) -> dict[str, DeflatePeer]:
    """Return the libraries of this module by name."""
    return {
        "websockets": PortalPeer(portal, serve_websockets, connect_websockets),
        "aiohttp": PortalPeer(portal, serve_aiohttp, connect_aiohttp),
    }


# websockets


async def serve_websockets(
    setup: ServerSetup, traffic: Traffic, *, task_status: TaskStatus[int]
) -> Report:
    """Serve one connection with `websockets`."""
    reports: list[Report] = []
    ended = anyio.Event()

    async def handle(connection: ServerConnection) -> None:
        reports.append(await _converse_by_websockets(connection, traffic))
        ended.set()

    async with serve(
        handle,
        HOST,
        0,
        compression="deflate" if setup is Preset.DEFAULTS else None,
        extensions=[_websockets_server(setup)] if isinstance(setup, Accepts) else None,
    ) as server:
        task_status.started(server.sockets[0].getsockname()[1])
        await ended.wait()
    return reports[0]


async def connect_websockets(setup: ClientSetup, uri: str, traffic: Traffic) -> Report:
    """Connect with `websockets`."""
    offers: list[ClientPerMessageDeflateFactory] = []
    if isinstance(setup, tuple):
        offers = [_websockets_client(offer) for offer in setup]
    elif setup is Preset.OPEN:
        offers = [ClientPerMessageDeflateFactory()]
    compression = "deflate" if setup is Preset.DEFAULTS else None
    try:
        async with connect(uri, compression=compression, extensions=offers, proxy=None) as ws:
            return await _converse_by_websockets(ws, traffic)
    except InvalidHandshake as exc:
        return Report(None, describe(exc), refused=True)


def _websockets_server(setup: Accepts) -> ServerPerMessageDeflateFactory:
    asks = setup.asks
    return ServerPerMessageDeflateFactory(
        server_no_context_takeover=asks.server_no_context_takeover,
        client_no_context_takeover=asks.client_no_context_takeover,
        server_max_window_bits=asks.server_max_window_bits,
        client_max_window_bits=asks.client_max_window_bits,
        require_client_max_window_bits=setup.requires_client_bits,
    )


def _websockets_client(offer: Parameters) -> ClientPerMessageDeflateFactory:
    return ClientPerMessageDeflateFactory(
        server_no_context_takeover=offer.server_no_context_takeover,
        client_no_context_takeover=offer.client_no_context_takeover,
        server_max_window_bits=offer.server_max_window_bits,
        client_max_window_bits=offer.client_max_window_bits,
    )


async def _converse_by_websockets(connection: Connection, traffic: Traffic) -> Report:
    agreed = _agreed_by_websockets(connection)
    try:
        await send_back(len(traffic.ours), connection.send, connection.recv)
        await send_and_compare(traffic.theirs, connection.send, connection.recv)
    except (ConnectionClosed, Mismatch, ExceptionGroup) as exc:
        return Report(agreed, describe(exc))
    return Report(agreed, None)


def _agreed_by_websockets(connection: Connection) -> Mapping[str, bool | int] | None:
    for extension in connection.protocol.extensions:
        assert isinstance(extension, PerMessageDeflate)
        local, remote = ("server", "client")
        if connection.protocol.side.name == "CLIENT":
            local, remote = remote, local
        return {
            f"{local}_no_context_takeover": extension.local_no_context_takeover,
            f"{remote}_no_context_takeover": extension.remote_no_context_takeover,
            f"{local}_max_window_bits": extension.local_max_window_bits,
            f"{remote}_max_window_bits": extension.remote_max_window_bits,
        }
    return None


# aiohttp


async def serve_aiohttp(
    setup: ServerSetup, traffic: Traffic, *, task_status: TaskStatus[int]
) -> Report:
    """Serve one connection with `aiohttp`."""
    reports: list[Report] = []
    ended = anyio.Event()

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        connection = web.WebSocketResponse(compress=setup is not Preset.OFF)
        await connection.prepare(request)
        bits = int(connection.compress)
        agreed = {"server_max_window_bits": bits} if bits else None
        reports.append(await _converse_by_aiohttp(connection, agreed, traffic))
        # Otherwise `cleanup` meets it while it closes, and leaves the TCP connection open.
        await connection.close()
        ended.set()
        return connection

    runner = web.ServerRunner(web.Server(handle), shutdown_timeout=LIMIT)
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, 0).start()
        task_status.started(runner.addresses[0][1])
        await ended.wait()
    finally:
        await runner.cleanup()
    return reports[0]


async def connect_aiohttp(setup: ClientSetup, uri: str, traffic: Traffic) -> Report:
    """Connect with `aiohttp`."""
    bits = 15
    if setup is Preset.OFF:
        bits = 0
    elif isinstance(setup, tuple):
        bits = setup[0].server_max_window_bits or bits
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(uri, compress=bits) as connection,
        ):
            agreed = {
                "client_no_context_takeover": connection.client_notakeover,
                "client_max_window_bits": connection.compress,
            }
            return await _converse_by_aiohttp(
                connection, agreed if connection.compress else None, traffic
            )
    except aiohttp.ClientError as exc:
        return Report(None, describe(exc), refused=True)


async def _converse_by_aiohttp(
    connection: AiohttpConnection, agreed: Mapping[str, bool | int] | None, traffic: Traffic
) -> Report:
    async def send(message: str | bytes) -> None:
        if isinstance(message, str):
            await connection.send_str(message)
        else:
            await connection.send_bytes(message)

    async def receive() -> str | bytes:
        message = await connection.receive()
        if message.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
            raise Mismatch(f"received {message.type.name} {message.data!r}")
        data: str | bytes = message.data
        return data

    try:
        await send_back(len(traffic.ours), send, receive)
        await send_and_compare(traffic.theirs, send, receive)
    except (aiohttp.ClientError, Mismatch, ExceptionGroup) as exc:
        return Report(agreed, describe(exc))
    return Report(agreed, None)
