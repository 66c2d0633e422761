"""Our client against servers that others wrote."""

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
from .libraries import HOST, SERVERS, ServerLibrary
from .peers import LIMIT, Listener, Peer, hosted

Listen: TypeAlias = Callable[[SSLContext | None], AbstractAsyncContextManager[Listener]]


@pytest.fixture(scope="module", params=SERVERS, ids=[library.name for library in SERVERS])
def listen(request: pytest.FixtureRequest) -> Iterator[Listen]:
    """Start servers of one library, in a thread of their own."""
    library: ServerLibrary = request.param
    with start_blocking_portal(library.backend) as portal:
        yield lambda ssl: hosted(portal, library.listen(ssl))


@pytest.fixture(params=["ws", "wss"])
def meet(
    request: pytest.FixtureRequest, listen: Listen, server_ssl: SSLContext, client_ssl: SSLContext
) -> Meet:
    """Connect our client to a server of the library."""
    is_secure = request.param == "wss"

    @asynccontextmanager
    async def connected() -> AsyncIterator[tuple[anyws.Connection, Peer]]:
        with anyio.fail_after(3 * LIMIT):
            async with listen(server_ssl if is_secure else None) as listener:
                uri = f"{request.param}://{HOST}:{listener.port}"
                async with anyws.connect(uri, ssl=client_ssl if is_secure else None) as ours:
                    yield ours, await listener.accept()

    return connected


class TestClient(InteropCases):
    """Every case with our client."""
