"""A server in a thread, for what runs the program as a function."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from anyio.from_thread import start_blocking_portal

from anyws import Server, ServerConnection, serve


async def behave(ws: ServerConnection) -> None:
    """Do as the path says; the root echoes."""
    path = ws.request.path_without_query
    if path == "/bye":
        await ws.close(4001, "go\x1b[2J away")
    elif path == "/json":
        await ws.send('{"a":[1.10]}')
    elif path == "/other":
        async for _ in ws:
            await ws.send("something else")
    elif path == "/silent":
        await ws.wait_closed()
    elif path == "/request":
        headers = ws.request.headers
        names = ("Authorization", "Origin", "X-One", "X-Two")
        await ws.send("\n".join(f"{name}: {headers.get(name)}" for name in names))
        await ws.send(f"{ws.subprotocol}, {[extension.name for extension in ws.extensions]}")
    else:
        async for message in ws:
            await ws.send(message)


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A server that does as the path says; see `behave`."""
    with start_blocking_portal() as portal:
        serving = serve(
            behave, "127.0.0.1", 0, compression="deflate", subprotocols=["chat"], origins="*"
        )
        with portal.wrap_async_context_manager(serving) as running:
            yield running
