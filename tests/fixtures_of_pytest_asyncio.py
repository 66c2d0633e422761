"""Fixtures under pytest-asyncio: the recipe, and what cannot be one.

`test_lifetime.py` has this run by a pytest of its own; the plugin is off in all others.
"""

from __future__ import annotations

import asyncio
import socket as stdlib_socket
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from anyws import ClientConnection, Server, connect, serve
from tests.serving import check_alive, echo


@pytest_asyncio.fixture
async def server_port() -> AsyncIterator[int]:
    sock = stdlib_socket.create_server(("127.0.0.1", 0))
    task = asyncio.create_task(serve(echo, sockets=[sock]))
    yield sock.getsockname()[1]
    task.cancel()
    await asyncio.wait([task])


@pytest_asyncio.fixture
async def client(server_port: int) -> AsyncIterator[ClientConnection]:
    async with connect(f"ws://127.0.0.1:{server_port}/") as ws:
        yield ws


@pytest.mark.asyncio
async def test_a_fixture_may_yield_a_client(client: ClientConnection) -> None:
    await client.send("hello")
    assert await client.receive() == "hello"


@pytest_asyncio.fixture
async def server() -> AsyncIterator[Server]:
    async with serve(echo, "127.0.0.1") as server:
        yield server


@pytest.mark.asyncio
async def test_a_fixture_that_yields_a_server_is_an_error_when_it_is_left(server: Server) -> None:
    await check_alive(server)
