"""Tests of `anyws.testing._handler`: a handler with a client in front of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import pytest

from anyws import (
    ClientConnection,
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
    HandshakeRejected,
    ServerConnection,
)
from anyws.testing import HandlerRun, run_handler

from ..raw import LIMIT
from ..scripted import settle, virtual_time

pytestmark = pytest.mark.anyio

Handler = Callable[[ServerConnection], Awaitable[object]]


async def echo(ws: ServerConnection) -> None:
    async for message in ws:
        await ws.send(message)


async def return_at_once(ws: ServerConnection) -> None:
    pass


def raising(error: BaseException) -> Handler:
    """Return a handler that raises after the first message."""

    async def handler(ws: ServerConnection) -> None:
        await ws.receive()
        raise error

    return handler


class Recorder:
    """A handler that waits, and remembers what became of it."""

    def __init__(self, *, until_closed: bool) -> None:
        self.ended_by: list[type[BaseException]] = []
        self._until_closed = until_closed

    async def __call__(self, ws: ServerConnection) -> None:
        try:
            if self._until_closed:
                await ws.receive()
            else:
                await anyio.sleep_forever()
        except BaseException as exc:
            self.ended_by.append(type(exc))
            raise


# What the handler does


async def test_handler_talks_with_the_client() -> None:
    async with run_handler(echo) as ws:
        assert type(ws) is ClientConnection
        for message in ("text", b"bytes"):
            await ws.send(message)
            assert await ws.receive() == message
    assert ws.close_code == 1000


async def test_handler_that_returns_closes_with_1000() -> None:
    async with run_handler(return_at_once) as ws:
        with pytest.raises(ConnectionClosedOK) as caught:
            await ws.receive()
        assert (caught.value.code, caught.value.initiator) == (1000, "remote")


async def test_handler_that_raises_closes_with_1011_and_the_error_leaves_the_block() -> None:
    error = ValueError("of the handler")
    codes: list[int | None] = []

    async def talk() -> None:
        async with run_handler(raising(error)) as ws:
            await ws.send("x")
            await ws.wait_closed()
            codes.append(ws.close_code)

    with pytest.raises(ValueError, match="of the handler") as caught:
        await talk()
    assert caught.value is error
    assert not hasattr(error, "__notes__")
    assert codes == [1011]


async def test_group_that_the_handler_raises_leaves_as_it_is() -> None:
    group = ExceptionGroup("several", [ValueError(), KeyError()])
    parts = group.exceptions
    with pytest.raises(ExceptionGroup) as caught:
        async with run_handler(raising(group)) as ws:
            await ws.send("x")
    assert caught.value is group
    assert group.exceptions is parts


async def test_error_after_the_end_of_the_connection_leaves_the_block() -> None:
    """It comes while the block is being left."""
    error = ValueError("of the handler")

    async def handler(ws: ServerConnection) -> None:
        await ws.wait_closed()
        raise error

    with pytest.raises(ValueError, match="of the handler") as caught:
        async with run_handler(handler):
            pass
    assert caught.value is error


async def test_end_of_the_connection_is_no_error_of_the_handler() -> None:
    recorder = Recorder(until_closed=True)
    async with run_handler(recorder):
        await settle()
    assert recorder.ended_by == [ConnectionClosedOK]


async def test_connection_that_the_client_broke_is_no_error_of_the_handler() -> None:
    recorder = Recorder(until_closed=True)
    run = run_handler(recorder)
    async with run as ws:
        run.client_stream.reset()
        await ws.wait_closed()
    assert recorder.ended_by == [ConnectionClosedError]


async def test_handler_may_be_cancelled_when_its_connection_ends() -> None:
    recorder = Recorder(until_closed=False)
    with anyio.fail_after(LIMIT):
        async with run_handler(recorder, cancel_on_close=True, grace=1000):
            await settle()
    assert recorder.ended_by == [anyio.get_cancelled_exc_class()]


@virtual_time
async def test_handler_that_does_not_end_is_cancelled_when_the_grace_is_over() -> None:
    recorder = Recorder(until_closed=False)
    start = anyio.current_time()
    async with run_handler(recorder, grace=7) as ws:
        pass
    assert ws.close_code == 1000
    assert recorder.ended_by == [anyio.get_cancelled_exc_class()]
    assert anyio.current_time() - start == 7


@virtual_time
async def test_grace_is_one_second() -> None:
    start = anyio.current_time()
    async with run_handler(Recorder(until_closed=False)):
        pass
    assert anyio.current_time() - start == 1


@virtual_time
async def test_handler_that_ends_within_the_grace_is_not_cancelled() -> None:
    ended = False

    async def handler(ws: ServerConnection) -> None:
        nonlocal ended
        await ws.wait_closed()
        await anyio.sleep(0.9)
        ended = True

    async with run_handler(handler):
        pass
    assert ended


async def test_interruption_of_the_handler_ends_the_block() -> None:
    """Ctrl+C, where the loop gives it to the task of the handler."""

    async def interrupt() -> None:
        async with run_handler(raising(Interruption())) as ws:
            await ws.send("x")
            await anyio.sleep_forever()

    with anyio.fail_after(LIMIT), pytest.raises(Interruption):
        await interrupt()


class Interruption(BaseException):
    """As KeyboardInterrupt, which asyncio would not leave to its task."""


# How the block is left


async def test_error_of_the_block_leaves_as_it_is_if_the_handler_has_none() -> None:
    recorder = Recorder(until_closed=True)
    error = ValueError("of the block")

    async def fail() -> None:
        async with run_handler(recorder):
            await settle()
            raise error

    with pytest.raises(ValueError, match="of the block") as caught:
        await fail()
    assert caught.value is error
    assert not hasattr(error, "__notes__")
    assert recorder.ended_by == [ConnectionClosedError]


@pytest.mark.parametrize("raised", [KeyError("of the block"), KeyboardInterrupt()])
async def test_error_of_the_block_goes_first_with_a_note(raised: BaseException) -> None:
    """R-A3d: what the handler raised is not lost."""

    async def fail() -> None:
        async with run_handler(raising(ValueError("of the handler"))) as ws:
            await ws.send("x")
            await ws.wait_closed()
            raise raised

    with pytest.raises(type(raised)) as caught:
        await fail()
    assert caught.value is raised
    assert raised.__notes__[-1] == "The handler had raised ValueError('of the handler')"


@pytest.mark.parametrize("grouped", [False, True])
async def test_end_of_the_connection_in_the_block_goes_behind_the_error_of_the_handler(
    grouped: bool,
) -> None:
    """It says no more than that the handler raised."""
    error = ValueError("of the handler")

    async def receive(ws: ClientConnection) -> None:
        await ws.receive()

    async def fail() -> None:
        async with run_handler(raising(error)) as ws:
            await ws.send("x")
            if not grouped:
                await receive(ws)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(receive, ws)

    with pytest.raises(ValueError, match="of the handler") as caught:
        await fail()
    assert caught.value is error


async def test_end_of_the_connection_in_the_block_is_raised_if_the_handler_has_no_error() -> None:
    with pytest.raises(ConnectionClosed):
        async with run_handler(return_at_once) as ws:
            await ws.receive()


async def test_other_error_in_a_group_with_the_end_of_the_connection_goes_first() -> None:
    error = ValueError("of the block")

    async def fail() -> None:
        async with run_handler(raising(ValueError("of the handler"))) as ws:
            await ws.send("x")
            try:
                await ws.receive()
            except ConnectionClosed as exc:
                raise ExceptionGroup("several", [exc, error]) from None

    with pytest.raises(ExceptionGroup) as caught:
        await fail()
    assert caught.value.exceptions[1] is error
    assert caught.value.__notes__[-1] == "The handler had raised ValueError('of the handler')"


async def test_error_of_the_handler_goes_before_a_cancellation_of_the_block() -> None:
    """A test that waits in vain, with a time limit around it, learns why."""
    error = ValueError("of the handler")

    async def wait_in_vain() -> None:
        with anyio.CancelScope() as scope:
            async with run_handler(raising(error)) as ws:
                await ws.send("x")
                await ws.wait_closed()
                scope.cancel()
                await anyio.sleep_forever()

    with pytest.raises(ValueError, match="of the handler") as caught:
        await wait_in_vain()
    assert caught.value is error


async def test_error_of_the_handler_goes_before_a_cancellation_while_leaving() -> None:
    error = ValueError("of the handler")
    scope = anyio.CancelScope()

    async def handler(ws: ServerConnection) -> None:
        await ws.wait_closed()
        scope.cancel()
        raise error

    async def leave() -> None:
        with scope:
            async with run_handler(handler):
                pass

    with pytest.raises(ValueError, match="of the handler") as caught:
        await leave()
    assert caught.value is error


async def test_cancelled_block_stays_cancelled_and_the_handler_is_cancelled() -> None:
    recorder = Recorder(until_closed=False)
    with anyio.fail_after(LIMIT):
        with anyio.CancelScope() as scope:
            async with run_handler(recorder, grace=1000) as ws:
                await settle()
                scope.cancel()
                await anyio.sleep_forever()
            pytest.fail("the cancellation was swallowed")
    assert scope.cancelled_caught
    assert ws.close_code == 1001
    assert recorder.ended_by == [anyio.get_cancelled_exc_class()]


@virtual_time
async def test_cancellation_while_leaving_cancels_the_handler() -> None:
    recorder = Recorder(until_closed=False)
    with anyio.move_on_after(5) as scope:
        async with run_handler(recorder, grace=1000):
            pass
        pytest.fail("the cancellation was swallowed")
    assert scope.cancelled_caught
    assert recorder.ended_by == [anyio.get_cancelled_exc_class()]
    assert anyio.current_time() <= scope.deadline + 2


# Options


async def test_handler_finds_what_the_client_asked_for() -> None:
    paths: list[str] = []

    async def handler(ws: ServerConnection) -> None:
        paths.append(ws.request.path)
        assert ws.subprotocol == "soap"

    async with run_handler(
        handler,
        uri="ws://localhost/chat?room=1",
        client={"subprotocols": ["soap"]},
        server={"subprotocols": ["soap"]},
    ) as ws:
        assert ws.subprotocol == "soap"
    assert paths == ["/chat?room=1"]


async def test_options_are_for_both_ends() -> None:
    with pytest.raises(TypeError, match="max_size"):
        run_handler(echo, max_size="1")  # type: ignore[arg-type]
    async with run_handler(echo, client={"max_size": 10}, max_size=20) as ws:
        await ws.send(bytes(15))
        with pytest.raises(ConnectionClosedError) as caught:
            await ws.receive()
        assert caught.value.sent is not None
        assert caught.value.sent.code == 1009


@virtual_time
async def test_handler_runs_over_a_stream_with_faults() -> None:
    run = run_handler(echo, ping_interval=10, ping_timeout=10)
    run.server_stream.split = 1
    async with run as ws:
        await ws.send("split")
        assert await ws.receive() == "split"
        run.server_stream.stall_reading()
        await ws.send("stalled")
        with pytest.raises(ConnectionClosedError):
            await ws.receive()


async def test_handler_does_not_run_if_there_is_no_handshake() -> None:
    run = run_handler(raising(ValueError()))
    run.server_stream.inject(b"garbage\r\n\r\n")
    with pytest.raises(HandshakeRejected):
        await enter(run)


async def test_run_is_for_one_connection_only() -> None:
    run = run_handler(echo)
    async with run as ws:
        with pytest.raises(RuntimeError, match="for one connection only"):
            await enter(run)
        await ws.send("x")
        assert await ws.receive() == "x"


async def enter(run: HandlerRun) -> None:
    async with run:
        pytest.fail("it was entered")
