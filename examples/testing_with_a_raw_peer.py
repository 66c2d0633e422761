"""Tests of a client against a server that says just what the test wants, right or wrong.

pytest examples/testing_with_a_raw_peer.py
"""

import asyncio

import anyio
import pytest
from anyio.abc import ByteStream

from anyws import ConnectionClosedError, wrap_client
from anyws.testing import CONTINUATION, PING, PONG, TEXT, Frame, RawPeer, close_frame, memory_pair


async def read_prices(stream: ByteStream) -> list[float]:
    """Read prices until the server closes."""
    async with wrap_client(stream, "ws://localhost/prices") as ws:
        return [float(message) async for message in ws]


def test_prices_may_come_in_fragments() -> None:
    async def script(peer: RawPeer) -> None:
        request = await peer.accept(then=(Frame(TEXT, b"12", fin=False), Frame(PING, b"alive?")))
        assert request.first_line == "GET /prices HTTP/1.1"
        await peer.expect(Frame(PONG, b"alive?"))
        await peer.send(Frame(CONTINUATION, b".50"), close_frame(1000))
        await peer.expect(close_frame(1000))
        await peer.drop()

    async def main() -> None:
        ours, theirs = memory_pair()
        async with anyio.create_task_group() as tg:
            tg.start_soon(script, RawPeer(theirs, is_client=False))
            assert await read_prices(ours) == [12.5]

    asyncio.run(main())


def test_server_that_breaks_the_protocol_is_told_so() -> None:
    async def script(peer: RawPeer) -> None:
        await peer.accept(then=(Frame(TEXT, b"\xff"),))
        code, _ = await peer.receive_close()
        assert code == 1007
        await peer.drop()

    async def main() -> None:
        ours, theirs = memory_pair()
        async with anyio.create_task_group() as tg:
            tg.start_soon(script, RawPeer(theirs, is_client=False))
            with pytest.raises(ConnectionClosedError):
                await read_prices(ours)

    asyncio.run(main())
