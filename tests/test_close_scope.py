"""`cancel_on_close`: a block that ends with the connection, and what becomes of messages."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Literal

import anyio
import pytest
from anyio.lowlevel import checkpoint

from anyws import (
    ConcurrencyError,
    Connection,
    ConnectionClosedError,
    ConnectionClosedOK,
    ServerConnection,
    State,
    connect,
    serve,
)
from anyws.testing import BINARY, CONTINUATION, PING, TEXT, Frame, RawPeer, close_frame

from .raw import LIMIT
from .scripted import MEMORY, Carrier, Role, both_roles, settle
from .serving import errors

pytestmark = pytest.mark.anyio

Unwanted = Literal["discard", "refuse"]

each_way_to_drop = pytest.mark.parametrize("incoming", ["discard", "refuse"])

BAD = Frame(TEXT, b"\xff")


CLOSE_4000 = close_frame(4000, "enough")


async def end_by_close(peer: RawPeer) -> None:
    await peer.send(CLOSE_4000)
    await peer.receive_close()
    await peer.drop()


async def end_by_violation(peer: RawPeer) -> None:
    await peer.send(BAD)


# The end of the block


@both_roles
@pytest.mark.parametrize("end", [end_by_close, end_by_violation, RawPeer.drop])
async def test_the_end_of_the_connection_cancels_the_block(
    role: Role, carrier: Carrier, end: Callable[[RawPeer], Coroutine[Any, Any, None]]
) -> None:
    """R-A10a: the body learns of the end without receiving, and the scope says how it came."""
    async with carrier.scripted(role) as (ws, peer), anyio.create_task_group() as tasks:
        tasks.start_soon(end, peer)
        with ws.cancel_on_close() as scope:
            await anyio.sleep_forever()
        assert scope.cancelled_caught
        assert scope.cancel_called
        closed = scope.closed
        if end is end_by_close:
            assert isinstance(closed, ConnectionClosedError)
            assert (closed.code, closed.reason, closed.initiator) == (4000, "enough", "remote")
        elif end is end_by_violation:
            assert closed is not None
            assert closed.sent is not None
            assert (closed.sent.code, closed.initiator) == (1007, "local")
        else:
            await ws.wait_closed()
            assert closed is not None
            assert (closed.code, closed.initiator) == (1006, "transport")


@both_roles
async def test_a_block_that_ends_by_itself_leaves_the_connection_as_it_is(role: Role) -> None:
    async with MEMORY.scripted(role) as (ws, peer):
        with ws.cancel_on_close() as scope:
            await checkpoint()
        assert (scope.cancel_called, scope.cancelled_caught, scope.closed) == (False, False, None)
        await end_by_close(peer)
        await ws.wait_closed()
        # Nothing is cancelled that comes later.
        await checkpoint()
        assert not scope.cancel_called


@both_roles
async def test_a_block_is_left_before_the_transport_is_gone(role: Role) -> None:
    """R-A10a: within a turn of the peer's Close frame, though the peer keeps its side open."""
    async with MEMORY.scripted(role, close_timeout=1000) as (ws, peer):
        with anyio.fail_after(LIMIT), ws.cancel_on_close():
            await peer.send(CLOSE_4000)
            await anyio.sleep_forever()
        assert ws.state is State.CLOSING


async def test_a_closed_connection_cancels_the_block_at_its_first_wait() -> None:
    async with MEMORY.scripted("client") as (ws, peer):
        await peer.drop()
        await ws.wait_closed()
        steps = []
        with ws.cancel_on_close() as scope:
            steps.append("begun")
            await checkpoint()
            steps.append("not reached")
        assert steps == ["begun"]
        assert scope.cancelled_caught


async def test_a_connection_that_is_ending_cancels_the_block_at_its_first_wait() -> None:
    async with MEMORY.scripted("client", close_timeout=1000) as (ws, peer):
        await peer.send(CLOSE_4000)
        await settle()
        assert ws.state is State.CLOSING
        with ws.cancel_on_close() as scope:
            await checkpoint()
        assert scope.cancelled_caught
        assert scope.closed is not None


@both_roles
async def test_closing_in_the_block_waits_for_the_end(role: Role) -> None:
    """Whoever closes is not disturbed while the handshake goes on."""
    async with MEMORY.scripted(role) as (ws, peer), anyio.create_task_group() as tasks:
        tasks.start_soon(peer.answer_close)
        with ws.cancel_on_close() as scope:
            await ws.close(4001)
            assert ws.state.value == "closed"
            await checkpoint()
        assert scope.cancelled_caught
        assert scope.closed is not None
        assert (scope.closed.initiator, scope.closed.code) == ("local", 4001)


async def test_every_block_of_a_connection_is_cancelled() -> None:
    async with MEMORY.scripted("server") as (ws, peer):
        with ws.cancel_on_close() as outer:
            async with anyio.create_task_group() as tasks:

                async def sleep() -> None:
                    with ws.cancel_on_close() as scope:
                        await anyio.sleep_forever()
                    assert scope.cancelled_caught

                for _ in range(3):
                    tasks.start_soon(sleep)
                await end_by_close(peer)
                await anyio.sleep_forever()
        assert outer.cancelled_caught


async def test_an_exception_of_the_block_leaves_it() -> None:
    async with MEMORY.scripted("client") as (ws, _):
        error = ValueError("of the body")
        with pytest.raises(ValueError, match="of the body") as caught, ws.cancel_on_close():
            raise error
        assert caught.value is error
        assert ws.state is State.OPEN


async def test_a_cancellation_from_outside_goes_through() -> None:
    async with MEMORY.scripted("client") as (ws, _):
        with anyio.CancelScope() as outside:
            with ws.cancel_on_close() as scope:
                outside.cancel()
                await anyio.sleep_forever()
            pytest.fail("the cancellation was swallowed")
        assert outside.cancelled_caught
        assert not scope.cancelled_caught
        assert scope.closed is None


async def test_a_block_can_be_cancelled_by_hand() -> None:
    async with MEMORY.scripted("client") as (ws, _):
        with ws.cancel_on_close() as scope:
            scope.cancel()
            await anyio.sleep_forever()
        assert scope.cancelled_caught
        assert scope.closed is None
        assert ws.state is State.OPEN


async def test_what_has_not_been_entered_can_be_looked_at() -> None:
    async with MEMORY.scripted("client") as (ws, _):
        scope = ws.cancel_on_close()
        scope.cancel()
        assert (scope.cancel_called, scope.cancelled_caught, scope.closed) == (False, False, None)


async def test_a_block_is_entered_once() -> None:
    async with MEMORY.scripted("client") as (ws, _):
        scope = ws.cancel_on_close()
        with scope:
            pass
        with pytest.raises(RuntimeError, match="for one block only"), scope:
            pass


# Messages that arrive meanwhile


@both_roles
async def test_messages_are_kept_to_be_received(role: Role) -> None:
    async with MEMORY.scripted(role) as (ws, peer):
        with ws.cancel_on_close():
            await peer.send(Frame(TEXT, b"1"), Frame(TEXT, b"2"))
            assert await ws.receive() == "1"
            await peer.send(CLOSE_4000)
            await anyio.sleep_forever()
        await peer.drop()
        assert await ws.receive() == "2"
        with pytest.raises(ConnectionClosedError):
            await ws.receive()


@both_roles
async def test_messages_are_discarded_and_the_close_is_seen(role: Role, carrier: Carrier) -> None:
    """More of them than `max_buffer`: nothing stands between the peer's Close frame and us."""
    async with carrier.scripted(role, max_size=1000, max_buffer=1000) as (ws, peer):
        await peer.send(Frame(TEXT, b"before"))
        await peer.round_trip()
        with ws.cancel_on_close(incoming="discard") as scope:
            for _ in range(100):
                await peer.send(Frame(BINARY, bytes(1000)))
            assert await peer.round_trip() == []
            await peer.send(close_frame(1000))
            await anyio.sleep_forever()
        assert isinstance(scope.closed, ConnectionClosedOK)
        await peer.drop()
        with pytest.raises(ConnectionClosedOK):
            await ws.receive()


@both_roles
async def test_messages_after_a_block_that_discards_are_received(role: Role) -> None:
    async with MEMORY.scripted(role) as (ws, peer):
        with ws.cancel_on_close(incoming="discard"):
            await peer.send(Frame(TEXT, b"lost"), Frame(TEXT, b"begun", fin=False))
            await peer.round_trip()
        await peer.send(Frame(CONTINUATION, b" and ended"), Frame(TEXT, b"next"))
        assert [await ws.receive(), await ws.receive()] == ["begun and ended", "next"]


@both_roles
async def test_a_full_inbox_is_dropped_when_discarding_begins(role: Role) -> None:
    async with MEMORY.scripted(role, max_size=1000, max_buffer=1000) as (ws, peer):
        for _ in range(5):
            await peer.send(Frame(BINARY, bytes(1000)))
        await settle()
        with ws.cancel_on_close(incoming="discard"):
            assert await peer.round_trip() == []
        assert ws.stats.receive_paused_s >= 0


@both_roles
async def test_a_message_without_bounds_is_discarded_in_bounded_memory(role: Role) -> None:
    async with MEMORY.scripted(role, max_size=None, max_fragments=None, max_buffer=1000) as (
        ws,
        peer,
    ):
        with ws.cancel_on_close(incoming="discard"):
            await peer.send(Frame(BINARY, bytes(1000), fin=False))
            for _ in range(100):
                await peer.send(Frame(CONTINUATION, bytes(1000), fin=False))
                await peer.round_trip()
                assert ws._protocol.unfinished_bytes <= 1000
                assert not ws._inbox
        await peer.send(Frame(CONTINUATION, b"end"), Frame(TEXT, b"next"))
        assert await ws.receive() == "next"


@both_roles
async def test_a_message_above_max_size_fails_as_ever(role: Role) -> None:
    async with MEMORY.scripted(role, max_size=1000) as (ws, peer):
        with ws.cancel_on_close(incoming="discard") as scope:
            await peer.send(Frame(BINARY, bytes(1001)))
            await anyio.sleep_forever()
        assert scope.closed is not None
        assert scope.closed.sent is not None
        assert scope.closed.sent.code == 1009


@both_roles
async def test_a_message_above_max_size_that_waited_fails_when_discarding_begins(
    role: Role,
) -> None:
    async with MEMORY.scripted(role, max_size=1000) as (ws, peer):
        await peer.send(Frame(BINARY, bytes(1001)))
        await settle()
        assert ws.state is State.OPEN
        with ws.cancel_on_close(incoming="discard") as scope:
            await anyio.sleep_forever()
        assert scope.cancelled_caught
        assert (await peer.receive_close())[0] == 1009


@both_roles
@pytest.mark.parametrize("early", [False, True])
async def test_a_message_is_refused_with_1008(role: Role, carrier: Carrier, early: bool) -> None:
    """Whether it comes during the block or was there before."""
    async with carrier.scripted(role) as (ws, peer):
        if early:
            await peer.send(Frame(TEXT, b"hello"))
            await peer.round_trip()
        with ws.cancel_on_close(incoming="refuse") as scope:
            if not early:
                await peer.send(Frame(TEXT, b"hello"))
            await anyio.sleep_forever()
        assert await peer.receive_close() == (1008, "no messages are expected here")
        assert isinstance(scope.closed, ConnectionClosedError)


@both_roles
async def test_a_message_without_bounds_is_refused_before_its_end(role: Role) -> None:
    async with MEMORY.scripted(role, max_size=None, max_buffer=1000) as (ws, peer):
        with ws.cancel_on_close(incoming="refuse"):
            await peer.send(Frame(BINARY, bytes(1000), fin=False))
            await anyio.sleep_forever()
        assert (await peer.receive_close())[0] == 1008


@both_roles
@each_way_to_drop
async def test_control_frames_are_answered_meanwhile(role: Role, incoming: Unwanted) -> None:
    async with MEMORY.scripted(role) as (ws, peer):
        with ws.cancel_on_close(incoming=incoming):
            assert await peer.round_trip() == []
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ws.ping)
                ping = await peer.receive()
                assert ping.opcode == PING
                await peer.send(Frame(PING + 1, ping.payload))
        assert ws.state is State.OPEN


@each_way_to_drop
async def test_nobody_receives_what_is_dropped(incoming: Unwanted) -> None:
    async with MEMORY.scripted("client") as (ws, peer):
        with ws.cancel_on_close(incoming=incoming):
            with pytest.raises(ConcurrencyError, match=rf"incoming='{incoming}'\) is in force"):
                await ws.receive()
            with pytest.raises(ConcurrencyError, match="its messages are not kept"):
                async with ws.receive_stream():
                    pass
            with (
                pytest.raises(ConcurrencyError, match="is in force"),
                ws.cancel_on_close(incoming="discard"),
            ):
                pass
        await peer.send(Frame(TEXT, b"kept"))
        assert await ws.receive() == "kept"


@each_way_to_drop
async def test_what_another_task_waits_for_is_not_dropped(incoming: Unwanted) -> None:
    received = []

    async def receive(ws: Connection) -> None:
        received.append(await ws.receive())

    async with MEMORY.scripted("client") as (ws, peer), anyio.create_task_group() as tasks:
        tasks.start_soon(receive, ws)
        await settle()
        with (
            pytest.raises(ConcurrencyError, match="another task is receiving"),
            ws.cancel_on_close(incoming=incoming),
        ):
            pass
        await peer.send(Frame(TEXT, b"undisturbed"))
    assert received == ["undisturbed"]


async def test_another_word_for_incoming_is_refused() -> None:
    async with MEMORY.scripted("client") as (ws, _):
        with pytest.raises(ValueError, match="incoming is 'drop', expected 'keep', 'discard' or"):
            ws.cancel_on_close(incoming="drop")  # type: ignore[arg-type]


# Of a server


@pytest.mark.parametrize("by", ["client", "shutdown", "abort"])
async def test_a_server_may_cancel_its_handlers(by: str, caplog: pytest.LogCaptureFixture) -> None:
    """R-A10a: no handler outlives its client, and no error is logged."""
    steps: list[str] = []

    async def sleep(ws: ServerConnection) -> None:
        try:
            steps.append("begun")
            begun.set()
            await anyio.sleep_forever()
        finally:
            steps.append("cancelled")

    begun = anyio.Event()
    with anyio.fail_after(LIMIT):
        async with serve(sleep, "127.0.0.1", cancel_on_close=True) as server:
            async with connect(server.uri) as ws:
                await begun.wait()
                if by == "shutdown":
                    await server.shutdown()
                elif by == "abort":
                    ws._abort()
            while server.connections:
                await checkpoint()
            assert steps == ["begun", "cancelled"]
    assert errors(caplog) == []


async def test_a_handler_is_not_cancelled_unless_that_is_asked_for() -> None:
    steps: list[str] = []

    async def work_on(ws: ServerConnection) -> None:
        await ws.wait_closed()
        await settle()
        steps.append("finished")

    with anyio.fail_after(LIMIT):
        async with serve(work_on, "127.0.0.1") as server, connect(server.uri):
            pass
    assert steps == ["finished"]
