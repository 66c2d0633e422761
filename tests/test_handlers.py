"""Handlers in a task group of the user's. What their end means otherwise is in test_server.py."""

from __future__ import annotations

from contextlib import suppress

import anyio
import pytest
import trio
from anyio.lowlevel import checkpoint

from anyws import ServerConnection, connect, serve

from .raw import LIMIT
from .serving import check_alive, connections, echo, errors

pytestmark = pytest.mark.anyio


async def test_handlers_run_in_the_task_group_that_is_given() -> None:
    """R-A9e"""
    with anyio.fail_after(LIMIT):
        async with (
            anyio.create_task_group() as handlers,
            serve(echo, "127.0.0.1", handler_task_group=handlers) as server,
        ):
            await check_alive(server)
            async with connect(server.uri) as ws:
                await connections(server, 1)
                handlers.cancel_scope.cancel()
                with anyio.CancelScope(shield=True):
                    # The handler was cancelled with its group; the server goes on.
                    await ws.wait_closed()
                    assert ws.close_code == 1001
                    await connections(server, 0)


def test_handlers_run_in_a_nursery_of_trio() -> None:
    """R-A9e"""

    async def main() -> None:
        async with trio.open_nursery() as nursery:

            async def look(ws: ServerConnection) -> None:
                assert trio.lowlevel.current_task().parent_nursery is nursery
                await ws.send("looked")

            async with (
                serve(look, "127.0.0.1", handler_task_group=nursery) as server,
                connect(server.uri) as ws,
            ):
                assert await ws.receive() == "looked"

    trio.run(main)


async def test_stopping_the_server_waits_for_handlers_there() -> None:
    """R-A9e: they get their grace, and are cancelled after it, wherever they run."""
    steps: list[str] = []

    async def work_on(ws: ServerConnection) -> None:
        with suppress(anyio.get_cancelled_exc_class()):
            await anyio.sleep_forever()
        steps.append("cancelled")

    async def finish(ws: ServerConnection) -> None:
        await ws.wait_closed()
        await checkpoint()
        steps.append("finished")

    with anyio.fail_after(LIMIT):
        async with anyio.create_task_group() as handlers:
            for handler, grace in ((work_on, 0), (finish, 5)):
                async with (
                    serve(handler, "127.0.0.1", handler_task_group=handlers) as server,
                    connect(server.uri),
                ):
                    await connections(server, 1)
                    await server.shutdown(grace=grace)
    assert steps == ["cancelled", "finished"]


async def test_an_error_there_is_logged_and_the_group_lives(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """R-A2a"""

    async def fail(ws: ServerConnection) -> None:
        raise ValueError("of the handler")

    with anyio.fail_after(LIMIT):
        async with (
            anyio.create_task_group() as handlers,
            serve(fail, "127.0.0.1", handler_task_group=handlers) as server,
        ):
            for _ in range(2):
                async with connect(server.uri) as ws:
                    await ws.wait_closed()
                    assert ws.close_code == 1011
    assert [str(record.exc_info and record.exc_info[1]) for record in errors(caplog)] == [
        "of the handler"
    ] * 2


async def test_an_error_there_may_end_the_group(caplog: pytest.LogCaptureFixture) -> None:
    """R-A2d: it is the group's then, and not the server's."""
    error = ValueError("of the handler")

    async def fail(ws: ServerConnection) -> None:
        raise error

    async def run() -> None:
        async with (
            anyio.create_task_group() as handlers,
            serve(
                fail, "127.0.0.1", handler_task_group=handlers, on_handler_error="raise"
            ) as server,
            connect(server.uri) as ws,
        ):
            with anyio.CancelScope(shield=True):
                await ws.wait_closed()
            assert ws.close_code == 1011
            await anyio.sleep_forever()

    with anyio.fail_after(LIMIT), pytest.raises(ExceptionGroup) as caught:
        await run()
    assert caught.value.exceptions == (error,)
    assert errors(caplog) == []


async def test_without_an_error_the_group_goes_on() -> None:
    with anyio.fail_after(LIMIT):
        async with (
            anyio.create_task_group() as handlers,
            serve(
                echo, "127.0.0.1", handler_task_group=handlers, on_handler_error="raise"
            ) as server,
        ):
            await check_alive(server)
            await connections(server, 0)
            await check_alive(server)


async def test_a_group_that_has_ended_takes_no_handlers(caplog: pytest.LogCaptureFixture) -> None:
    """The peer is told, and the operator; the server lives."""
    async with anyio.create_task_group() as handlers:
        pass
    with anyio.fail_after(LIMIT):
        async with serve(echo, "127.0.0.1", handler_task_group=handlers) as server:
            for _ in range(2):
                async with connect(server.uri) as ws:
                    await ws.wait_closed()
                    assert ws.close_code == 1011
            await connections(server, 0)
    assert [str(record.exc_info and record.exc_info[1]) for record in errors(caplog)] == [
        "handler_task_group takes no more tasks"
    ] * 2
