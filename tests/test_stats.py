"""What connections and servers count."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import anyio
import pytest
from anyio.lowlevel import checkpoint

from anyws import (
    Connection,
    ConnectionClosed,
    Deflate,
    ServerConnection,
    ServerStats,
    connect,
    serve,
)
from anyws._stats import ServerTotals
from anyws.testing import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Frame,
    close_frame,
    connection_pair,
)

from .raw import LIMIT, raw_client
from .scripted import MEMORY, TIMELESS, Carrier, Role, both_roles, settle, virtual_time
from .serving import connections


def sent_size(role: Role, *frames: Frame) -> int:
    """Return how many bytes frames take that we send in this role."""
    return sum(len(frame.encode(b"mask" if role == "client" else None)) for frame in frames)


def received_size(role: Role, *frames: Frame) -> int:
    """Return how many bytes frames take that we receive in this role."""
    return sent_size("server" if role == "client" else "client", *frames)


def received(ws: Connection) -> tuple[int, int]:
    return ws.stats.received_messages, ws.stats.received_bytes


def sent(ws: Connection) -> tuple[int, int]:
    return ws.stats.sent_messages, ws.stats.sent_bytes


def unread(ws: Connection) -> tuple[int, int]:
    return ws.stats.unread_messages, ws.stats.unread_bytes


async def until(happened: Callable[[], bool]) -> None:
    """Wait for something that nobody tells of."""
    while not happened():
        await checkpoint()


# Both directions


@both_roles
@pytest.mark.anyio
async def test_nothing_of_the_opening_handshake_is_counted(role: Role, carrier: Carrier) -> None:
    async with carrier.scripted(role) as (ws, _):
        assert received(ws) == sent(ws) == unread(ws) == (0, 0)
        assert ws.stats.unsent_bytes == 0


@both_roles
@pytest.mark.anyio
async def test_messages_and_their_bytes_are_counted(role: Role, carrier: Carrier) -> None:
    frames = [Frame(TEXT, "zwölf".encode()), Frame(BINARY, bytes(70_000)), Frame(BINARY)]
    async with carrier.scripted(role) as (ws, peer):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(peer.send, *frames)
            assert [await ws.receive() for _ in frames] == ["zwölf", bytes(70_000), b""]
        assert received(ws) == (3, received_size(role, *frames))
        assert sent(ws) == (0, 0)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(peer.expect, *frames)
            for message in ("zwölf", bytes(70_000), b""):
                await ws.send(message)
        assert sent(ws) == (3, sent_size(role, *frames))
        assert received(ws) == (3, received_size(role, *frames))


@both_roles
@pytest.mark.anyio
async def test_control_frames_are_bytes_and_no_messages(role: Role, carrier: Carrier) -> None:
    ping, close = Frame(PING, bytes(4)), close_frame(1000, "bye")
    async with carrier.scripted(role) as (ws, peer):
        await peer.round_trip()
        assert received(ws) == (0, received_size(role, ping))
        assert sent(ws) == (0, sent_size(role, Frame(PONG, bytes(4))))
        await peer.send(close)
        await peer.receive_close()
        await peer.drop()
        await ws.wait_closed()
        assert received(ws) == (0, received_size(role, ping, close))
        assert sent(ws) == (0, sent_size(role, ping, close))


@both_roles
@pytest.mark.anyio
async def test_fragmented_message_that_is_received_counts_once(
    role: Role, carrier: Carrier
) -> None:
    frames = [Frame(TEXT, b"a", fin=False), Frame(PING, b"?"), Frame(CONTINUATION, b"b")]
    async with carrier.scripted(role) as (ws, peer):
        await peer.send(frames[0])
        await peer.round_trip()
        assert ws.stats.received_messages == 0
        await peer.send(*frames[1:])
        assert await ws.receive() == "ab"
        assert received(ws) == (1, received_size(role, *frames, Frame(PING, bytes(4))))


@both_roles
@pytest.mark.anyio
async def test_message_that_is_received_as_a_stream_counts_once(
    role: Role, carrier: Carrier
) -> None:
    frames = [Frame(BINARY, b"a", fin=False), Frame(CONTINUATION, b"bc")]
    async with carrier.scripted(role) as (ws, peer):
        await peer.send(*frames)
        async with ws.receive_stream() as chunks:
            assert b"".join([chunk async for chunk in chunks if type(chunk) is bytes]) == b"abc"
        assert received(ws) == (1, received_size(role, *frames))
        await peer.send(*frames, *frames)
        async with ws.receive_stream():
            pass  # the rest of this one is dropped
        assert await ws.receive() == b"abc"
        assert received(ws) == (3, 3 * received_size(role, *frames))
        assert unread(ws) == (0, 0)


async def two() -> AsyncIterator[str]:
    yield "a"
    yield "b"


@both_roles
@pytest.mark.anyio
async def test_fragmented_message_that_is_sent_counts_once_when_it_ends(
    role: Role, carrier: Carrier
) -> None:
    async with carrier.scripted(role) as (ws, peer):
        await ws.send(["a", "b"])
        assert ws.stats.sent_messages == 1
        await ws.send(two())
        assert ws.stats.sent_messages == 2
        async with ws.send_stream() as writer:
            await writer.write(b"a")
            assert ws.stats.sent_messages == 2
        assert ws.stats.sent_messages == 3
        async with ws.send_stream():
            pass
        assert ws.stats.sent_messages == 4
        await ws.send([])  # is no message
        with anyio.CancelScope() as scope:
            async with ws.send_stream() as writer:
                await writer.write(b"a")
                scope.cancel()
                await checkpoint()
        frames = await peer.receive_to_close()
        assert sum(frame.fin and frame.opcode != CLOSE for frame in frames) == 4
        assert sent(ws) == (4, sent_size(role, *frames))


@pytest.mark.parametrize("compression", [None, Deflate()], ids=["plain", "deflate"])
@pytest.mark.anyio
async def test_messages_of_any_size_count_once(compression: Deflate | None) -> None:
    """Each size goes another way: at once, in slices, in slices that are compressed."""
    sizes = (0, 1000, 100_000, 2 << 20)
    async with connection_pair(compression=compression, max_size=None) as (client, server):
        for n, size in enumerate(sizes, 1):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(client.send, "é" * size)
                assert len(await server.receive_text()) == size
            await server.send(bytes(size))
            assert len(await client.receive_bytes()) == size
            for one, other in ((client, server), (server, client)):
                assert one.stats.sent_messages == other.stats.received_messages == n
                assert one.stats.sent_bytes == other.stats.received_bytes


@pytest.mark.anyio
async def test_compressed_messages_count_as_they_are_on_the_wire() -> None:
    async with connection_pair(compression="deflate") as (client, server):
        await client.send("a" * 10_000)
        await until(lambda: server.stats.unread_messages == 1)
        assert 0 < server.stats.received_bytes < 100
        assert unread(server) == (1, 10_000)


@pytest.mark.anyio
async def test_both_sides_agree_to_the_end(carrier: Carrier) -> None:
    async with carrier.pair() as (client, server):
        for n in (1, 10, 1000):
            await client.send("x" * n)
            await server.send(bytes(n))
        await client.ping()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.close)
            tasks.start_soon(server.wait_closed)
        assert client.stats.sent_bytes == server.stats.received_bytes
        assert server.stats.sent_bytes == client.stats.received_bytes
        assert client.stats.sent_messages == server.stats.received_messages == 3


@pytest.mark.anyio
async def test_what_is_not_sent_is_not_counted() -> None:
    async with MEMORY.scripted("client") as (ws, peer):
        with pytest.raises(TypeError):
            await ws.send(1)  # type: ignore[arg-type]
        await peer.send(close_frame(1000))
        await peer.receive_close()
        await peer.drop()
        with pytest.raises(ConnectionClosed):
            await ws.send("too late")
        assert sent(ws) == (0, sent_size("client", close_frame(1000)))


@both_roles
@pytest.mark.anyio
async def test_what_comes_while_this_side_closes_counts_in_bytes_only(role: Role) -> None:
    async with MEMORY.scripted(role) as (ws, peer):
        await ws.send_eof()
        await peer.send(Frame(TEXT, b"kept"))
        assert await ws.receive() == "kept"
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ws.close)
            await settle()
            await peer.send(Frame(TEXT, b"dropped"))
            await peer.answer_close()
        frames = Frame(TEXT, b"kept"), Frame(TEXT, b"dropped"), close_frame(1000)
        assert received(ws) == (1, received_size(role, *frames))


# What waits


@both_roles
@pytest.mark.anyio
async def test_unread_messages_are_those_that_wait(role: Role, carrier: Carrier) -> None:
    async with carrier.scripted(role) as (ws, peer):
        frames = Frame(TEXT, "zwölf".encode()), Frame(BINARY, bytes(1000)), Frame(TEXT)
        await peer.send(*frames, Frame(PING), Frame(BINARY, b"un", fin=False))
        await peer.round_trip()
        for left in ((3, 1008), (2, 1002), (1, 2)):
            assert unread(ws) == left
            await ws.receive()
        assert unread(ws) == (0, 2)  # of the unfinished one
        await peer.send(Frame(CONTINUATION, b"finished"))
        await until(lambda: unread(ws) == (1, 10))
        await ws.receive()
        assert unread(ws) == (0, 0)


@both_roles
@pytest.mark.anyio
async def test_a_stream_that_is_not_read_waits_too(role: Role) -> None:
    async with MEMORY.scripted(role) as (ws, peer):
        await peer.send(Frame(TEXT, "é".encode(), fin=False))
        async with ws.receive_stream() as chunks:
            assert unread(ws) == (0, 2)
            await peer.send(Frame(CONTINUATION, "€".encode()))
            await peer.round_trip()
            assert unread(ws) == (1, 5)
            assert [chunk async for chunk in chunks] == ["é", "€"]
            assert unread(ws) == (0, 0)


@both_roles
@pytest.mark.anyio
async def test_a_message_that_is_too_large_waits_to_be_streamed(role: Role) -> None:
    async with MEMORY.scripted(role, max_size=10) as (ws, peer):
        await peer.send(Frame(BINARY, bytes(8), fin=False), Frame(CONTINUATION, bytes(8)))
        await until(lambda: ws.stats.unread_bytes >= 16)
        assert ws.stats.unread_messages == 0
        async with ws.receive_stream() as chunks:
            assert b"".join([chunk async for chunk in chunks if type(chunk) is bytes]) == bytes(16)
        assert unread(ws) == (0, 0)
        assert ws.stats.received_messages == 1


@both_roles
@pytest.mark.anyio
async def test_of_an_unfinished_message_nothing_waits_after_the_end(role: Role) -> None:
    async with MEMORY.scripted(role) as (ws, peer):
        await peer.send(Frame(TEXT, b"whole"), Frame(BINARY, b"half", fin=False))
        await peer.drop()
        await ws.wait_closed()
        assert unread(ws) == (1, 5)
        assert await ws.receive() == "whole"
        assert unread(ws) == (0, 0)


@both_roles
@pytest.mark.anyio
async def test_unsent_bytes_tell_whether_a_send_has_to_wait(role: Role) -> None:
    """R-B3d"""
    async with MEMORY.scripted(role, capacity=100, write_limit=1000) as (ws, peer):
        await ws.send(bytes(5000))
        await settle()
        assert 1000 <= ws.stats.unsent_bytes <= ws.stats.sent_bytes
        with anyio.move_on_after(0) as scope:
            await ws.send(b"waits")
        assert scope.cancelled_caught
        assert ws.stats.sent_messages == 1
        await peer.expect(Frame(BINARY, bytes(5000)))
        await until(lambda: ws.stats.unsent_bytes == 0)
        await ws.send(b"does not")
        assert ws.stats.sent_messages == 2


# Seconds


@both_roles
@virtual_time
async def test_duration_is_that_from_opening_to_now_or_to_the_end(role: Role) -> None:
    async with TIMELESS.scripted(role, ping_interval=None) as (ws, peer):
        await anyio.sleep(10)
        assert ws.stats.duration_s == pytest.approx(10)
        await peer.send(close_frame(1000))
        await peer.receive_close()
        await peer.drop()
        await ws.wait_closed()
        await anyio.sleep(10)
        assert ws.stats.duration_s == pytest.approx(10)


@both_roles
@virtual_time
async def test_latency_is_that_of_the_last_ping(role: Role) -> None:
    async with TIMELESS.scripted(role, ping_interval=10, ping_timeout=None) as (ws, peer):
        assert ws.stats.latency_s == 0
        for seconds in (3, 2):
            ping = await peer.receive()
            await anyio.sleep(seconds)
            await peer.send(Frame(PONG, ping.payload))
            await settle()
            assert ws.stats.latency_s == ws.latency == pytest.approx(seconds)


@both_roles
@virtual_time
async def test_pauses_are_summed_up_and_end_with_the_connection(role: Role) -> None:
    async with TIMELESS.scripted(
        role, max_size=10, max_buffer=10, ping_interval=None, close_timeout=1
    ) as (ws, peer):
        for turn in (1, 2):
            await peer.send(Frame(BINARY, bytes(10)))
            await anyio.sleep(5)
            assert ws.stats.receive_paused_s == pytest.approx(5 * turn)
            await ws.receive()
            await anyio.sleep(5)
        await peer.send(Frame(BINARY, bytes(10)))
        await anyio.sleep(5)
        with anyio.move_on_after(3):
            await ws.aclose()
        await anyio.sleep(5)
        assert ws.stats.receive_paused_s == pytest.approx(15)


# Servers


def test_totals_are_the_sums_of_ended_and_open_connections() -> None:
    totals = ServerTotals()
    assert totals.with_open((), pending_handshakes=0) == ServerStats()
    totals.opened_connections = 3
    totals.refused_handshakes = 4
    totals.failed_handlers = 1
    totals.add((1, 20, 3, 40))
    totals.add((100, 200, 300, 400))
    open_ = [(1000, 2000, 3000, 4000)]
    expected = ServerStats(
        open_connections=1,
        pending_handshakes=2,
        opened_connections=3,
        refused_handshakes=4,
        failed_handlers=1,
        received_messages=1101,
        received_bytes=2220,
        sent_messages=3303,
        sent_bytes=4440,
    )
    assert totals.with_open(open_, pending_handshakes=2) == expected
    # Those that are open are not added for good.
    assert totals.with_open(open_, pending_handshakes=2) == expected


@pytest.mark.anyio
async def test_a_server_counts_what_it_does() -> None:
    async def handle(ws: ServerConnection) -> None:
        await ws.send(await ws.receive())
        if ws.request.path == "/broken":
            raise ValueError

    with anyio.fail_after(LIMIT):
        async with serve(handle, "127.0.0.1", health="/healthz") as server:
            assert server.stats == ServerStats()
            async with connect(server.uri) as ws:
                await connections(server, 1)
                now = server.stats
                assert (now.open_connections, now.opened_connections) == (1, 1)
                await ws.send("hello")
                assert await ws.receive() == "hello"
            async with connect(f"{server.uri}broken") as ws:
                await ws.send("hello")
                await ws.wait_closed()
            for path in ("", "healthz"):
                async with raw_client(server.port) as peer:
                    await peer.send(f"GET /{path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                    await peer.read_response()
                    assert server.stats.pending_handshakes == 1
                while server.stats.pending_handshakes:
                    await checkpoint()
            await connections(server, 0)
            done = server.stats
    assert done.refused_handshakes == 1
    assert (done.open_connections, done.opened_connections, done.failed_handlers) == (0, 2, 1)
    assert (done.received_messages, done.sent_messages) == (2, 2)
    # Frames of 5 bytes: masked ones have 6 bytes of header, others 2. And the Close frames.
    assert done.received_bytes >= 2 * 11
    assert done.sent_bytes >= 2 * 7
