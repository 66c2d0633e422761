"""Tests of `anyws.testing._faults`: a byte stream whose faults come and go while it is in use."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import anyio
import pytest
from anyio.abc import ByteStream, SocketAttribute, TaskGroup
from anyio.lowlevel import checkpoint

from anyws.testing import FaultStream, memory_pair

from ..raw import LIMIT
from ..scripted import settle, virtual_time

pytestmark = pytest.mark.anyio


class Log:
    """Calls in the background: what came of them, in order."""

    def __init__(self, tasks: TaskGroup) -> None:
        self._tasks = tasks
        self.results: list[object] = []

    async def start(self, call: Callable[[], Awaitable[object]]) -> None:
        """Call it, and come back when it waits or has ended."""
        self._tasks.start_soon(self._run, call)
        await settle()

    async def _run(self, call: Callable[[], Awaitable[object]]) -> None:
        try:
            self.results.append(await call())
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream) as exc:
            self.results.append(type(exc))


@asynccontextmanager
async def logged() -> AsyncIterator[Log]:
    with anyio.fail_after(LIMIT):
        async with anyio.create_task_group() as tasks:
            yield Log(tasks)
            await settle()
            tasks.cancel_scope.cancel()


# Without faults


async def test_without_faults_it_does_as_the_stream_within() -> None:
    ours, theirs = memory_pair()
    stream = FaultStream(ours)
    await stream.send(b"there")
    assert await theirs.receive() == b"there"
    await theirs.send(b"and back")
    assert [await stream.receive(3), await stream.receive()] == [b"and", b" back"]
    await stream.send(b"")
    await stream.send_eof()
    with pytest.raises(anyio.EndOfStream):
        await theirs.receive()
    await theirs.aclose()
    with pytest.raises(anyio.EndOfStream):
        await stream.receive()
    await stream.aclose()
    with pytest.raises(anyio.ClosedResourceError):
        await stream.receive()
    with pytest.raises(anyio.ClosedResourceError):
        await stream.send(b"x")


async def test_attributes_are_those_of_the_stream_within() -> None:
    async with tcp_pair() as (ours, _):
        stream = FaultStream(ours)
        assert stream.extra(SocketAttribute.remote_port) == ours.extra(SocketAttribute.remote_port)


async def test_two_tasks_may_not_do_the_same_at_once() -> None:
    stream = FaultStream(memory_pair(1)[0])
    async with logged() as log:
        await log.start(stream.receive)
        await log.start(lambda: stream.send(b"xy"))
        with pytest.raises(anyio.BusyResourceError):
            await stream.receive()
        with pytest.raises(anyio.BusyResourceError):
            await stream.send(b"x")
        with pytest.raises(anyio.BusyResourceError):
            await stream.send_eof()


# Split


async def test_bytes_are_split_in_both_directions() -> None:
    ours, theirs = memory_pair()
    stream = FaultStream(ours, split=2)
    await stream.send(b"abcde")
    assert ours.writes == 3
    assert await theirs.receive() == b"abcde"
    await theirs.send(b"abcde")
    assert [await stream.receive() for _ in range(3)] == [b"ab", b"cd", b"e"]


async def test_split_can_be_changed_and_taken_away() -> None:
    ours, theirs = memory_pair()
    stream = FaultStream(ours)
    await theirs.send(b"abcdefgh")
    stream.split = 1
    assert await stream.receive() == b"a"
    stream.split = 3
    assert [await stream.receive(), await stream.receive(2)] == [b"bcd", b"ef"]
    stream.split = None
    assert await stream.receive() == b"gh"


@pytest.mark.parametrize("split", [0, -1])
async def test_split_below_one_is_rejected(split: int) -> None:
    with pytest.raises(ValueError, match=f"^split is {split}, expected at least 1 byte$"):
        FaultStream(memory_pair()[0], split=split)


# Delay


@virtual_time
async def test_what_is_received_is_late() -> None:
    ours, theirs = memory_pair()
    stream = FaultStream(ours, delay=3.0)
    start = anyio.current_time()
    await theirs.send(b"abc")
    assert await stream.receive() == b"abc"
    assert anyio.current_time() - start == 3.0


@virtual_time
async def test_what_is_sent_is_late() -> None:
    ours, theirs = memory_pair()
    stream = FaultStream(ours, delay=3.0)
    start = anyio.current_time()
    async with logged() as log:
        await log.start(lambda: stream.send(b"abc"))
        assert await theirs.receive() == b"abc"
    assert anyio.current_time() - start == 3.0


@virtual_time
async def test_bytes_drip_with_delay_and_split() -> None:
    ours, theirs = memory_pair()
    stream = FaultStream(ours, split=1, delay=1.0)
    start = anyio.current_time()
    await theirs.send(b"abcd")
    for n, byte in enumerate(b"abcd", start=1):
        assert await stream.receive() == bytes([byte])
        assert anyio.current_time() - start == n
    await stream.send(b"abcd")
    assert anyio.current_time() - start == 8.0


@virtual_time
async def test_what_was_left_over_is_late_too() -> None:
    ours, theirs = memory_pair()
    stream = FaultStream(ours, delay=1.0)
    start = anyio.current_time()
    await theirs.send(b"abcd")
    stream.split = None
    with anyio.move_on_after(0.5):
        await stream.receive()
    assert await stream.receive(2) == b"ab"
    assert anyio.current_time() - start == 1.0
    assert await stream.receive(2) == b"cd"
    assert anyio.current_time() - start == 2.0


@virtual_time
async def test_cancelled_receive_loses_nothing_that_is_late() -> None:
    ours, theirs = memory_pair()
    stream = FaultStream(ours, delay=3.0)
    await theirs.send(b"abc")
    with anyio.move_on_after(2.0) as scope:
        await stream.receive()
    assert scope.cancelled_caught
    start = anyio.current_time()
    assert await stream.receive() == b"abc"
    assert anyio.current_time() - start == 1.0


# Stalls


async def test_stalled_reading_leaves_the_bytes_where_they_are() -> None:
    """Also of a task that waited already: what comes stays with the other end in the end."""
    ours, theirs = memory_pair(4)
    stream = FaultStream(ours)
    async with logged() as log:
        await log.start(stream.receive)
        stream.stall_reading()
        await log.start(lambda: theirs.send(b"abcdef"))
        assert log.results == []
        stream.resume()
        await settle()
        assert log.results == [b"abcd", None]
    assert await stream.receive() == b"ef"


async def test_bytes_that_came_just_before_the_stall_are_kept_until_it_is_over() -> None:
    ours, theirs = memory_pair()
    stream = FaultStream(ours)
    async with logged() as log:
        await log.start(stream.receive)
        await theirs.send(b"abc")  # wakes the receiver, which has no turn before the stall
        stream.stall_reading()
        await settle()
        assert log.results == []
        stream.resume()
        await settle()
        assert log.results == [b"abc"]


async def test_stalled_writing_holds_the_next_piece_back() -> None:
    ours, theirs = memory_pair()
    stream = FaultStream(ours)
    async with logged() as log:
        stream.stall_writing()
        await log.start(lambda: stream.send(b"abc"))
        await log.start(theirs.receive)
        assert log.results == []
        stream.resume()
        await settle()
        assert sorted(map(repr, log.results)) == ["None", "b'abc'"]


async def test_stall_leaves_the_other_direction_alone() -> None:
    ours, theirs = memory_pair()
    stream = FaultStream(ours)
    stream.stall_reading()
    await stream.send(b"there")
    assert await theirs.receive() == b"there"
    stream.resume()
    stream.stall_writing()
    await theirs.send(b"and back")
    assert await stream.receive() == b"and back"


async def test_piece_that_the_stream_within_has_goes_out_in_spite_of_a_stall() -> None:
    ours, theirs = memory_pair(4)
    stream = FaultStream(ours, split=6)
    async with logged() as log:
        await log.start(lambda: stream.send(b"abcdefgh"))
        stream.stall_writing()
        assert await theirs.receive() == b"abcd"
        await settle()
        assert await theirs.receive() == b"ef"
        await settle()
        assert log.results == []
        stream.resume()
        assert await theirs.receive() == b"gh"


# Drops


async def test_nothing_gets_through_a_cable_that_is_pulled() -> None:
    ours, theirs = memory_pair()
    stream = FaultStream(ours)
    async with logged() as log:
        await log.start(stream.receive)
        stream.drop()
        await stream.send(b"lost")
        await stream.send_eof()
        await theirs.send(b"waits")
        await log.start(theirs.receive)
        assert log.results == []
        stream.resume()
        await settle()
        assert log.results == [b"waits"]
        await stream.send(b"heard")
        await settle()
        assert log.results == [b"waits", b"heard"]


async def test_sender_that_waits_goes_on_when_the_cable_is_pulled() -> None:
    ours, _theirs = memory_pair(4)
    stream = FaultStream(ours)
    async with logged() as log:
        await log.start(lambda: stream.send(b"abcdef"))
        assert log.results == []
        stream.drop()
        await settle()
        assert log.results == [None]


async def test_nobody_is_told_that_a_dropped_stream_was_closed() -> None:
    ours, theirs = memory_pair()
    stream = FaultStream(ours)
    async with logged() as log:
        await log.start(stream.receive)
        stream.drop()
        await log.start(theirs.receive)
        await stream.aclose()
        await settle()
        assert log.results == [anyio.ClosedResourceError]
        with pytest.raises(anyio.ClosedResourceError):
            await stream.send(b"x")


async def test_nobody_is_told_of_the_other_end_s_closing() -> None:
    ours, theirs = memory_pair()
    stream = FaultStream(ours)
    async with logged() as log:
        await log.start(stream.receive)
        stream.drop()
        await theirs.aclose()
        await settle()
        assert log.results == []
        stream.resume()
        await settle()
        assert log.results == [anyio.EndOfStream]


# Resets


async def test_reset_breaks_whoever_waits_on_either_side() -> None:
    ours, theirs = memory_pair(4)
    stream = FaultStream(ours)
    async with logged() as log:
        await log.start(stream.receive)
        await log.start(lambda: stream.send(b"abcdef"))
        await log.start(lambda: theirs.send(b""))
        stream.reset()
        await settle()
        assert log.results == [None, anyio.BrokenResourceError, anyio.BrokenResourceError]
        await log.start(theirs.receive)
        assert log.results[-1] is anyio.BrokenResourceError


@pytest.mark.parametrize("stalled", [False, True])
async def test_reset_breaks_a_stream_that_knows_none_and_its_peer_once_it_is_closed(
    stalled: bool,
) -> None:
    async with tcp_pair() as (ours, theirs), logged() as log:
        stream = FaultStream(ours)
        if stalled:
            stream.stall_reading()
            stream.stall_writing()
            await log.start(lambda: stream.send(b"x"))
        await log.start(stream.receive)
        await log.start(theirs.receive)
        stream.reset()
        await settle()
        assert log.results == [anyio.BrokenResourceError] * (1 + stalled)
        await stream.aclose()
        while len(log.results) < 2 + stalled:
            await checkpoint()
        assert log.results[-1] is anyio.EndOfStream


async def test_nobody_at_the_other_end_of_a_pulled_cable_hears_of_a_reset() -> None:
    ours, theirs = memory_pair()
    stream = FaultStream(ours)
    async with logged() as log:
        stream.drop()
        await log.start(theirs.receive)
        stream.reset()
        await log.start(stream.receive)
        assert log.results == [anyio.BrokenResourceError]


async def test_reset_goes_through_a_stream_with_faults_within() -> None:
    ours, theirs = memory_pair()
    FaultStream(FaultStream(ours)).reset()
    with pytest.raises(anyio.BrokenResourceError):
        await theirs.receive()


# Garbage


async def test_garbage_comes_next_also_for_a_task_that_waits() -> None:
    ours, theirs = memory_pair()
    stream = FaultStream(ours)
    async with logged() as log:
        await log.start(stream.receive)
        stream.inject(b"garbage")
        await settle()
        assert log.results == [b"garbage"]
    await theirs.send(b"sense")
    stream.inject(b"more ")
    stream.inject(b"garbage")
    assert [await stream.receive(), await stream.receive()] == [b"more garbage", b"sense"]


@virtual_time
async def test_garbage_is_not_late_unless_it_comes_after_what_is() -> None:
    ours, theirs = memory_pair()
    stream = FaultStream(ours, delay=2.0)
    await theirs.send(b"late")
    assert await stream.receive() == b"late"
    now = anyio.current_time()
    stream.inject(b"garbage")
    assert await stream.receive() == b"garbage"
    assert anyio.current_time() == now
    await theirs.send(b"late")
    async with logged() as log:
        await log.start(stream.receive)
        stream.inject(b" garbage")
        await anyio.sleep(1.9)
        assert log.results == []
        await anyio.sleep(0.2)
        assert log.results == [b"late garbage"]


# Cancellation


async def test_fault_and_cancellation_at_once_cancel() -> None:
    ours, theirs = memory_pair()
    stream = FaultStream(ours)
    with anyio.fail_after(LIMIT):
        async with anyio.create_task_group() as tasks:
            scope = anyio.CancelScope()
            tasks.start_soon(receive_in, stream, scope)
            await settle()
            stream.stall_reading()
            scope.cancel()
        assert scope.cancelled_caught
        stream.resume()
        await theirs.send(b"abc")
        assert await stream.receive() == b"abc"


async def receive_in(stream: ByteStream, scope: anyio.CancelScope) -> None:
    with scope:
        await stream.receive()


def test_fault_and_cancellation_by_the_loop_at_once_cancel() -> None:
    """Asyncio's own cancellation, which is edge-triggered, is not taken for that by the fault."""

    async def main() -> None:
        stream = FaultStream(memory_pair()[0])
        for stall_first in (True, False):
            task = asyncio.ensure_future(stream.receive())
            await settle()
            if stall_first:
                stream.stall_reading()
            task.cancel()
            stream.stall_reading()
            await asyncio.wait([task])
            assert task.cancelled()
            stream.resume()

    asyncio.run(main())


async def test_cancelled_send_waits_no_more() -> None:
    ours, _theirs = memory_pair(4)
    stream = FaultStream(ours)
    for stalled in (False, True):
        if stalled:
            stream.stall_writing()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stream.send, b"abcdef")
            await settle()
            tasks.cancel_scope.cancel()


@asynccontextmanager
async def tcp_pair() -> AsyncIterator[tuple[ByteStream, ByteStream]]:
    """Join two streams of anyio by TCP."""
    accepted: list[ByteStream] = []
    arrived, left = anyio.Event(), anyio.Event()

    async def hold(stream: ByteStream) -> None:
        async with stream:
            accepted.append(stream)
            arrived.set()
            await left.wait()

    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, hold)
        port = listener.extra(SocketAttribute.local_port)
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            await arrived.wait()
            yield stream, accepted[0]
        left.set()
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def joined_in_memory() -> AsyncIterator[tuple[ByteStream, ByteStream]]:
    yield memory_pair(100)


@pytest.mark.parametrize("join", [joined_in_memory, tcp_pair])
async def test_faults_and_cancellations_at_random_lose_and_repeat_nothing(
    join: Callable[[], AbstractAsyncContextManager[tuple[ByteStream, ByteStream]]],
) -> None:
    """Stalls, splits and cancelled calls in any order; the bytes stay whole and in order."""
    chance = random.Random(4)
    there, back = chance.randbytes(20_000), chance.randbytes(20_000)
    with anyio.fail_after(LIMIT):
        async with join() as (ours, theirs):
            stream = FaultStream(ours)
            came_there, came_back = bytearray(), bytearray()

            async def receive(source: ByteStream, into: bytearray, n: int) -> None:
                while len(into) < n:
                    scope = anyio.CancelScope()
                    scopes.append(scope)
                    with scope:
                        into += await source.receive(chance.randrange(1, 400))

            async def send(target: ByteStream, data: bytes) -> None:
                while data:
                    n = chance.randrange(1, 400)
                    await target.send(data[:n])
                    data = data[n:]

            async def disturb() -> None:
                while len(came_there) < len(there) or len(came_back) < len(back):
                    for _ in range(chance.randrange(6)):
                        await checkpoint()
                    chance.choice(
                        [stream.stall_reading, stream.stall_writing, stream.resume, stream.resume]
                    )()
                    stream.split = chance.choice([None, 1, 50])
                    if chance.random() < 0.3 and scopes:
                        scopes[-1].cancel()
                    del scopes[:-1]

            scopes: list[anyio.CancelScope] = []
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(receive, stream, came_back, len(back))
                tasks.start_soon(receive, theirs, came_there, len(there))
                tasks.start_soon(send, stream, there)
                tasks.start_soon(send, theirs, back)
                tasks.start_soon(disturb)
            assert came_there == there
            assert came_back == back
