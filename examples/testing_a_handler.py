"""Tests of a handler, on asyncio and under the virtual clock of trio, without a network.

pytest examples/testing_a_handler.py
"""

import asyncio

import anyio
import pytest
import trio
from trio.testing import MockClock

from anyws import ConnectionClosedError, ServerConnection
from anyws.testing import run_handler


async def shout(ws: ServerConnection) -> None:
    """Answer in capitals; take leave of a client that has been silent for a minute."""
    with anyio.move_on_after(60) as patience:
        async for message in ws:
            patience.deadline = anyio.current_time() + 60
            await ws.send(str(message).upper())
    await ws.close(4000, "nothing heard for a minute")


def test_messages_are_answered_in_capitals() -> None:
    async def main() -> None:
        async with run_handler(shout) as ws:
            await ws.send("hello")
            assert await ws.receive() == "HELLO"

    asyncio.run(main())


def test_client_is_dismissed_after_a_minute_of_silence() -> None:
    async def main() -> None:
        async with run_handler(shout) as ws:
            await trio.sleep(30)
            await ws.send("still here")
            await ws.wait_closed()
            assert (ws.close_code, ws.close_reason) == (4000, "nothing heard for a minute")
            assert trio.current_time() - start == 90

    clock = MockClock(autojump_threshold=0)  # jumps ahead whenever every task waits
    start = clock.current_time()
    trio.run(main, clock=clock)


def test_keepalive_notices_a_pulled_cable() -> None:
    async def main() -> None:
        run = run_handler(shout, ping_interval=5, ping_timeout=5)
        async with run as ws:
            run.server_stream.drop()
            with pytest.raises(ConnectionClosedError):
                await ws.receive()

    trio.run(main, clock=MockClock(autojump_threshold=0))
