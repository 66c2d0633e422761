"""A server in a thread, for what runs the program as a function; and the log as it was."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from anyio.from_thread import start_blocking_portal

from anyws import Server, ServerConnection, serve
from anyws._cli.server_log import LOGGER


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


@pytest.fixture(autouse=True)
def untouched_log() -> Iterator[None]:
    """Undo what `set_up_log` does to the loggers of this process."""
    library = logging.getLogger("anyws")
    before = (library.handlers.copy(), library.propagate, library.level, LOGGER.level)
    yield
    library.handlers[:], library.propagate = before[:2]
    library.setLevel(before[2])
    LOGGER.setLevel(before[3])
