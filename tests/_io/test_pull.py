"""Tests of `anyws._io.pull`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.lowlevel import checkpoint

from anyws._io.pull import MAX_HELD, PullReceiver
from anyws._io.reactors import new_reactor
from anyws._io.transport import READ_SIZE

from .conformance import Link, Recorder, linked, settle, wire_memory, wire_sockets

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def pulling() -> AsyncIterator[tuple[PullReceiver, Link]]:
    async with linked(new_reactor(), wire_sockets) as link:
        puller = PullReceiver(link.transport)
        link.transport.start(puller)
        yield puller, link


async def test_receive_waits_for_bytes_and_returns_all_there_are() -> None:
    async with pulling() as (puller, link), anyio.create_task_group() as tasks:
        tasks.start_soon(link.peer.send, b"first")
        assert await puller.receive() == b"first"
        for piece in (b"second ", b"third"):
            await link.peer.send(piece)
            await settle()
        assert await puller.receive() == b"second third"
        assert puller.take() == b""


async def test_no_more_is_read_than_is_taken() -> None:
    sent = bytes(range(256)) * 4096  # 1 MiB
    async with pulling() as (puller, link), anyio.create_task_group() as tasks:
        tasks.start_soon(link.peer.send, sent)
        received = bytearray()
        while len(received) < len(sent):
            await settle()
            data = puller.take()
            assert len(data) < MAX_HELD + READ_SIZE
            received += data
        assert received == sent


async def test_receiver_that_takes_over_from_one_with_too_much_gets_the_rest() -> None:
    sent = bytes(range(256)) * 4096
    async with pulling() as (puller, link), anyio.create_task_group() as tasks:
        tasks.start_soon(link.peer.send, sent)
        await settle()
        recorder = Recorder()
        puller.hand_over(recorder, b"unused ")
        await recorder.until_bytes(len(b"unused " + sent))
        assert recorder.data == b"unused " + sent


async def test_receive_flushes_what_was_written() -> None:
    async with pulling() as (puller, link), anyio.create_task_group() as tasks:
        for _ in range(3):
            link.transport.write(b"?")
        tasks.start_soon(puller.receive)
        assert await link.peer_receives(3) == b"???"
        await link.peer.send(b"!")


async def test_cancelled_receive_loses_nothing() -> None:
    received = bytearray()

    async def receive_on(puller: PullReceiver) -> None:
        while True:
            received.extend(await puller.receive())

    async with pulling() as (puller, link):
        for n in range(100):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(receive_on, puller)
                for _ in range(n % 5):
                    await checkpoint()
                await link.peer.send(bytes([n]))
                for _ in range(n % 7):
                    await checkpoint()
                tasks.cancel_scope.cancel()
        while len(received) < 100:
            received += await puller.receive()
    assert received == bytes(range(100))


async def test_receive_returns_nothing_once_the_peer_has_ended() -> None:
    async with pulling() as (puller, link):
        await link.peer.send(b"last")
        await link.end_peer()
        await settle()
        assert await puller.receive() == b"last"
        assert await puller.receive() == b""
        assert await puller.receive() == b""


async def test_receive_returns_nothing_once_the_transport_is_aborted() -> None:
    async with pulling() as (puller, link), anyio.create_task_group() as tasks:
        tasks.start_soon(settle_and_abort, link)
        assert await puller.receive() == b""


async def test_receive_raises_what_broke_the_transport() -> None:
    async with pulling() as (puller, link), anyio.create_task_group() as tasks:
        tasks.start_soon(link.reset)
        with pytest.raises(ConnectionResetError):
            await puller.receive()
        assert await puller.receive() == b""


async def test_receive_raises_an_os_error_though_the_stream_knows_another_kind() -> None:
    async with linked(new_reactor(), wire_memory) as link:
        puller = PullReceiver(link.transport)
        link.transport.start(puller)
        await link.reset()
        with pytest.raises(ConnectionResetError, match="byte stream broke") as caught:
            await puller.receive()
        assert isinstance(caught.value.__cause__, anyio.BrokenResourceError)


async def test_hand_over_passes_on_what_is_left_and_what_comes() -> None:
    async with pulling() as (puller, link):
        puller.drained()
        await link.peer.send(b"unread ")
        await settle()
        recorder = Recorder()
        puller.hand_over(recorder, b"unused ")
        assert recorder.data == b"unused unread "
        await link.peer.send(b"new")
        await recorder.until_bytes(len(b"unused unread new"))
        assert recorder.data == b"unused unread new"


async def test_hand_over_with_nothing_left_feeds_nothing() -> None:
    async with pulling() as (puller, _):
        recorder = Recorder()
        puller.hand_over(recorder, b"")
        assert recorder.calls == []


async def test_hand_over_passes_on_the_end_of_the_bytes() -> None:
    async with pulling() as (puller, link):
        await link.peer.send(b"last")
        await link.end_peer()
        await settle()
        recorder = Recorder()
        puller.hand_over(recorder, b"")
        assert recorder.calls == ["feed", "eof"]
        assert recorder.data == b"last"


async def test_hand_over_passes_on_the_loss_of_the_transport() -> None:
    async with pulling() as (puller, link):
        await link.reset()
        await settle()
        recorder = Recorder()
        puller.hand_over(recorder, b"unused")
        assert recorder.calls == ["feed", "lost"]
        assert recorder.data == b"unused"
        assert isinstance(recorder.lost_by, ConnectionResetError)


async def settle_and_abort(link: Link) -> None:
    await settle()
    link.transport.abort()
