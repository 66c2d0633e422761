"""Tests of `anyws.testing._memory`: two byte streams that are joined."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import pytest

from anyws.testing import MemoryStream, memory_pair

from ..scripted import settle

pytestmark = pytest.mark.anyio


async def test_what_is_sent_is_received_in_order_on_both_sides() -> None:
    ours, theirs = memory_pair()
    await ours.send(b"one")
    await ours.send(b"two")
    await theirs.send(b"three")
    assert await theirs.receive() == b"onetwo"
    assert await ours.receive() == b"three"


async def test_receive_takes_no_more_than_asked() -> None:
    ours, theirs = memory_pair()
    await ours.send(b"abcdef")
    assert [await theirs.receive(4), await theirs.receive(4)] == [b"abcd", b"ef"]


async def test_receive_waits_for_bytes() -> None:
    ours, theirs = memory_pair()
    received: list[bytes] = []

    async def receive() -> None:
        received.append(await theirs.receive())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(receive)
        await settle()
        assert received == []
        await ours.send(b"late")
    assert received == [b"late"]


async def test_cancelled_receive_loses_nothing_even_if_bytes_come_at_the_same_time() -> None:
    ours, theirs = memory_pair()
    received: list[bytes] = []

    async def receive(scope: anyio.CancelScope) -> None:
        with scope:
            received.append(await theirs.receive())

    for first in ("bytes", "cancellation"):
        async with anyio.create_task_group() as tasks:
            scope = anyio.CancelScope()
            tasks.start_soon(receive, scope)
            await settle()
            if first == "cancellation":
                scope.cancel()
            await ours.send(b"x")
            scope.cancel()
        if not received:
            received.append(await theirs.receive())
        assert received == [b"x"]
        received.clear()


async def test_send_waits_for_room_where_there_is_a_limit() -> None:
    ours, theirs = memory_pair(4)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ours.send, b"abcdefghij")
        await settle()
        assert await theirs.receive() == b"abcd"
        await settle()
        assert await theirs.receive() == b"efgh"
        assert await theirs.receive() == b"ij"


async def test_send_waits_where_there_is_no_room_at_all() -> None:
    ours, theirs = memory_pair(4)
    await ours.send(b"abcd")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ours.send, b"ef")
        await settle()
        assert [await theirs.receive(), await theirs.receive()] == [b"abcd", b"ef"]


async def test_cancelled_send_has_sent_the_part_for_which_there_was_room() -> None:
    ours, theirs = memory_pair(4)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ours.send, b"abcdef")
        await settle()
        tasks.cancel_scope.cancel()
    await ours.aclose()
    assert await theirs.receive() == b"abcd"
    with pytest.raises(anyio.EndOfStream):
        await theirs.receive()


async def test_end_comes_after_what_was_sent_and_leaves_the_other_direction() -> None:
    ours, theirs = memory_pair()
    await ours.send(b"last")
    await ours.send_eof()
    assert await theirs.receive() == b"last"
    with pytest.raises(anyio.EndOfStream):
        await theirs.receive()
    with pytest.raises(anyio.ClosedResourceError):
        await ours.send(b"more")
    await theirs.send(b"answer")
    assert await ours.receive() == b"answer"


async def test_close_ends_the_other_side_and_breaks_what_it_sends() -> None:
    ours, theirs = memory_pair()
    await ours.send(b"last")
    await ours.aclose()
    assert await theirs.receive() == b"last"
    with pytest.raises(anyio.EndOfStream):
        await theirs.receive()
    with pytest.raises(anyio.BrokenResourceError):
        await theirs.send(b"x")


async def test_reset_breaks_both_directions_at_once() -> None:
    ours, theirs = memory_pair()
    await theirs.send(b"lost")
    ours.reset()
    for stream in (ours, theirs):
        with pytest.raises(anyio.BrokenResourceError):
            await stream.receive()
        with pytest.raises(anyio.BrokenResourceError):
            await stream.send(b"x")


async def close(stream: MemoryStream) -> None:
    await stream.aclose()


async def abort(stream: MemoryStream) -> None:
    await anyio.aclose_forcefully(stream)


async def reset(stream: MemoryStream) -> None:
    stream.reset()


@pytest.mark.parametrize(
    ("end", "error"),
    [
        (close, anyio.ClosedResourceError),
        (abort, anyio.ClosedResourceError),
        (reset, anyio.BrokenResourceError),
    ],
)
async def test_who_waits_is_told_of_the_end(
    end: Callable[[MemoryStream], Awaitable[None]], error: type[Exception]
) -> None:
    ours, _theirs = memory_pair(4)
    errors: list[type[Exception]] = []

    async def wait(call: Callable[[], Awaitable[object]]) -> None:
        with pytest.raises(error) as caught:
            await call()
        errors.append(caught.type)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait, ours.receive)
        tasks.start_soon(wait, lambda: ours.send(b"abcdef"))
        await settle()
        assert errors == []
        await end(ours)
    assert errors == [error, error]


async def test_writes_are_counted() -> None:
    ours, _theirs = memory_pair()
    await ours.send(b"one")
    await ours.send(b"two")
    assert ours.writes == 2


@pytest.mark.parametrize("capacity", [0, -1])
async def test_capacity_below_one_is_rejected(capacity: int) -> None:
    with pytest.raises(ValueError, match=f"^capacity is {capacity}, expected at least 1 byte$"):
        memory_pair(capacity)
