"""Our server against clients that others wrote."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from ssl import SSLContext
from typing import TypeAlias

import anyio
import pytest
from anyio.from_thread import start_blocking_portal

import anyws

from .cases import InteropCases, Meet
from .libraries import CLIENTS, HOST, ClientLibrary
from .peers import LIMIT, Peer, hosted

Connect: TypeAlias = Callable[[str, SSLContext | None], AbstractAsyncContextManager[Peer]]


@pytest.fixture(scope="module", params=CLIENTS, ids=[library.name for library in CLIENTS])
def connect(request: pytest.FixtureRequest) -> Iterator[Connect]:
    """Start clients of one library, in a thread of their own."""
    library: ClientLibrary = request.param
    with start_blocking_portal(library.backend) as portal:
        yield lambda uri, ssl: hosted(portal, library.connect(uri, ssl))


@pytest.fixture(params=["ws", "wss"])
def meet(
    request: pytest.FixtureRequest, connect: Connect, server_ssl: SSLContext, client_ssl: SSLContext
) -> Meet:
    """Connect a client of the library to our server."""
    is_secure = request.param == "wss"

    @asynccontextmanager
    async def connected() -> AsyncIterator[tuple[anyws.Connection, Peer]]:
        arrived, arrivals = anyio.create_memory_object_stream[anyws.ServerConnection](1)

        async def handle(connection: anyws.ServerConnection) -> None:
            await arrived.send(connection)
            await connection.wait_closed()

        with anyio.fail_after(3 * LIMIT), arrived, arrivals:
            async with (
                anyws.serve(handle, HOST, 0, ssl=server_ssl if is_secure else None) as server,
                connect(server.uri, client_ssl if is_secure else None) as peer,
            ):
                yield await arrivals.receive(), peer

    return connected


class TestServer(InteropCases):
    """Every case with our server."""
