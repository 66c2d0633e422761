"""What a connection says of itself, and Pings (RFC 6455 §5.5.2, §5.5.3)."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
import threading
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any

import anyio
import pytest
import trio
from anyio.abc import ByteStream, SocketAttribute
from anyio.lowlevel import checkpoint, current_token
from anyio.streams.tls import TLSAttribute

import anyws
from anyws import (
    ConcurrencyError,
    Connection,
    ConnectionClosed,
    ConnectionClosedError,
    LocalProtocolError,
    State,
)
from anyws._message_path import CALLS_A_TURN
from anyws.testing import BINARY, PING, PONG, TEXT, Frame, RawPeer, close_frame

from .scripted import MEMORY, Carrier, Role, both_roles, settle

pytestmark = pytest.mark.anyio


@contextmanager
def counted_tasks() -> Iterator[list[object]]:
    """Yield a list to which each task is added that the running loop starts."""
    started: list[object] = []
    loop = current_token().native_token
    if isinstance(loop, asyncio.AbstractEventLoop):

        def start(
            loop: asyncio.AbstractEventLoop, coroutine: Any, **keywords: Any
        ) -> asyncio.Task[Any]:
            started.append(coroutine)
            return asyncio.Task(coroutine, loop=loop, **keywords)

        loop.set_task_factory(start)
        yield started
        loop.set_task_factory(None)
        return

    class Spawned(trio.abc.Instrument):
        def task_spawned(self, task: object) -> None:
            started.append(task)

    instrument = Spawned()
    trio.lowlevel.add_instrument(instrument)
    yield started
    trio.lowlevel.remove_instrument(instrument)


async def test_messages_start_neither_tasks_nor_threads(carrier: Carrier) -> None:
    """R-C2: an advisory of Mesop's was a thread for each message."""
    async with carrier.pair() as (client, server):
        for message in ("warm", bytes(1 << 20)):
            await client.send(message)
            assert await server.receive() == message
        threads = threading.active_count()
        with counted_tasks() as started:
            for message in ("hello", b"hello", bytes(1 << 20)) * 10:
                await client.send(message)
                assert await server.receive() == message
                await server.send(message)
                assert await client.receive() == message
            assert await client.ping() >= 0
        assert threading.active_count() <= threads  # one that is idle may end
    assert started == []


# What it says of itself


async def test_handshake_is_kept() -> None:
    async with MEMORY.pair() as (client, server):
        assert client.request.headers["Sec-WebSocket-Version"] == "13"
        assert client.request.headers == server.request.headers
        assert client.response.status_code == server.response.status_code == 101
        assert client.subprotocol is None
        assert client.extensions == ()


async def test_ids_differ_and_stay() -> None:
    async with MEMORY.pair() as (client, server):
        assert client.id == client.id != server.id


async def test_addresses_are_those_of_the_socket() -> None:
    async with Carrier("tcp").pair() as (client, server):
        assert client.local_address == server.remote_address
        assert client.remote_address == server.local_address
        assert client.remote_address[0] == "127.0.0.1"
        assert client.extra(SocketAttribute.remote_port) == client.remote_address[1]
        assert repr(client) == f"<ClientConnection open remote={client.remote_address!r}>"


async def test_addresses_outlive_the_connection() -> None:
    async with Carrier("tcp").pair() as (client, _):
        addresses = client.local_address, client.remote_address
        await client.close()
        assert (client.local_address, client.remote_address) == addresses


async def test_streams_in_memory_have_no_address() -> None:
    """R-B10: asking never raises."""
    async with MEMORY.pair() as (client, _):
        assert client.local_address is None
        assert client.remote_address is None
        assert client.extra(TLSAttribute.tls_version, None) is None


@both_roles
async def test_address_of_a_wrapped_stream_that_is_closed_can_be_asked_for(role: Role) -> None:
    """R-B10: also where the stream asks a socket that is closed by then."""
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        accepted: list[ByteStream] = []
        taken = anyio.Event()

        async def accept(stream: ByteStream) -> None:
            accepted.append(stream)
            taken.set()
            await anyio.sleep_forever()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, accept)
            port = listener.extra(SocketAttribute.local_port)
            ours: ByteStream = await anyio.connect_tcp("127.0.0.1", port)
            await taken.wait()
            if role == "client":
                peer = RawPeer(accepted[0], is_client=False)
                wrapped: AbstractAsyncContextManager[anyws.Connection] = anyws.wrap_client(
                    ours, "ws://localhost/"
                )
            else:
                peer = RawPeer(accepted[0], is_client=True)
                wrapped = anyws.wrap_server(ours)
            tasks.start_soon(peer.shake_hands)
            async with wrapped as ws:
                await peer.ready.wait()
                assert ws.remote_address[0] == "127.0.0.1"
                await peer.drop()
                await ws.wait_closed()
            ws.local_address  # noqa: B018
            ws.remote_address  # noqa: B018
            assert "closed" in repr(ws)
            tasks.cancel_scope.cancel()


async def test_tls_is_to_be_seen(server_ssl: ssl.SSLContext, client_ssl: ssl.SSLContext) -> None:
    async with Carrier("tls", server_ssl, client_ssl).pair() as (client, _):
        assert client.extra(TLSAttribute.tls_version).startswith("TLSv1")


async def test_close_code_and_reason_are_none_until_the_end() -> None:
    async with MEMORY.scripted("client") as (ws, peer):
        assert (ws.state, ws.close_code, ws.close_reason) == (State.OPEN, None, None)
        await peer.send(close_frame(4000, "because"))
        await peer.receive_close()
        assert (ws.state, ws.close_code, ws.close_reason) == (State.CLOSING, None, None)
        await peer.drop()
        await ws.wait_closed()
        assert (ws.state, ws.close_code, ws.close_reason) == (State.CLOSED, 4000, "because")


async def test_end_is_logged_once_at_info(caplog: pytest.LogCaptureFixture) -> None:
    """R-B2: how the connection ended, and nothing above INFO."""
    logger = logging.getLogger("test")
    with caplog.at_level(logging.DEBUG):
        async with MEMORY.scripted("client", logger=logger) as (ws, peer):
            await peer.send(close_frame(1000))
            await peer.answer_close()
            await ws.wait_closed()
    records = [record for record in caplog.records if record.name == "test"]
    assert [record.levelno for record in records] == [logging.INFO]
    assert "closed by the peer: sent 1000, received 1000" in records[0].getMessage()


# Pings


@both_roles
async def test_ping_gives_the_seconds_until_its_pong(role: Role, carrier: Carrier) -> None:
    async with carrier.scripted(role) as (ws, peer):
        assert ws.latency == 0

        async def answer() -> None:
            ping = await peer.receive()
            assert ping.opcode == PING
            assert 0 < len(ping.payload) <= 125
            await peer.send(Frame(PONG, ping.payload))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(answer)
            latency = await ws.ping()
        assert 0 < latency < 5
        assert ws.latency == latency


@pytest.mark.parametrize(
    ("data", "payload"),
    [("é", "é".encode()), (bytearray(b"x"), b"x"), (memoryview(b"xyz")[::2], b"xz"), (b"", b"")],
    ids=["str", "bytearray", "memoryview", "empty"],
)
async def test_ping_and_pong_carry_their_data(
    data: str | bytes | bytearray | memoryview, payload: bytes
) -> None:
    async with MEMORY.scripted("client") as (ws, peer), anyio.create_task_group() as tasks:
        tasks.start_soon(ws.ping, data)
        assert await peer.receive() == Frame(PING, payload)
        await ws.pong(data)
        assert await peer.receive() == Frame(PONG, payload)
        await peer.send(Frame(PONG, payload))


@both_roles
async def test_pings_are_echoed(role: Role, carrier: Carrier) -> None:
    async with carrier.scripted(role) as (_, peer):
        for data in (b"", b"x", bytes(125)):
            await peer.send(Frame(PING, data))
            assert await peer.receive() == Frame(PONG, data)


@pytest.mark.parametrize("size", [126, 1000])
async def test_control_frame_above_125_bytes_is_rejected(size: int) -> None:
    """§5.5."""
    async with MEMORY.scripted("client") as (ws, peer):
        with pytest.raises(LocalProtocolError, match=f"control frame of {size} bytes, limit 125"):
            await ws.ping(bytes(size))
        with pytest.raises(LocalProtocolError, match="limit 125"):
            await ws.pong(bytes(size))
        assert await peer.round_trip() == []
        assert ws.state is State.OPEN


@pytest.mark.parametrize("data", [5, [1, 2], {}], ids=repr)
async def test_control_frame_of_another_type_is_rejected(data: object) -> None:
    async with MEMORY.scripted("client") as (ws, peer):
        with pytest.raises(TypeError, match="expected str or bytes-like"):
            await ws.ping(data)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="expected str or bytes-like"):
            await ws.pong(data)  # type: ignore[arg-type]
        assert await peer.round_trip() == []


async def test_data_of_a_ping_that_waits_cannot_be_used_again() -> None:
    async with MEMORY.scripted("client") as (ws, peer), anyio.create_task_group() as tasks:
        tasks.start_soon(ws.ping, b"same")
        assert await peer.receive() == Frame(PING, b"same")
        with pytest.raises(ConcurrencyError, match="b'same' waits for its Pong already"):
            await ws.ping("same")
        await peer.send(Frame(PONG, b"same"))
        await settle()
        tasks.start_soon(ws.ping, b"same")
        assert await peer.receive() == Frame(PING, b"same")
        await peer.send(Frame(PONG, b"same"))


async def test_random_data_of_a_ping_is_not_that_of_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn = [b"same", b"same", b"else"]
    urandom = os.urandom
    async with MEMORY.scripted("server") as (ws, peer), anyio.create_task_group() as tasks:
        monkeypatch.setattr(os, "urandom", lambda n: drawn.pop(0) if n == 4 else urandom(n))
        for data in (b"same", b"else"):
            tasks.start_soon(ws.ping)
            assert await peer.receive() == Frame(PING, data)
        monkeypatch.undo()
        await peer.send(Frame(PONG, b"else"))


async def test_pong_answers_the_pings_before_it_too() -> None:
    """§5.5.3: a peer may answer only the latest of several Pings."""
    async with MEMORY.scripted("client") as (ws, peer):
        answered: list[bytes] = []

        async def ping(data: bytes) -> None:
            await ws.ping(data)
            answered.append(data)

        async with anyio.create_task_group() as tasks:
            for data in (b"1", b"2", b"3"):
                tasks.start_soon(ping, data)
                assert await peer.receive() == Frame(PING, data)
            await peer.send(Frame(PONG, b"2"))
            await settle()
            assert sorted(answered) == [b"1", b"2"]
            await peer.send(Frame(PONG, b"3"))
        assert sorted(answered) == [b"1", b"2", b"3"]


async def test_unsolicited_pongs_are_ignored() -> None:
    """§5.5.3."""
    async with MEMORY.scripted("client") as (ws, peer), anyio.create_task_group() as tasks:
        await peer.send(Frame(PONG), Frame(PONG, b"x"))
        tasks.start_soon(ws.ping, b"mine")
        assert await peer.receive() == Frame(PING, b"mine")
        await peer.send(Frame(PONG, b"other"))
        await settle()
        assert ws.latency == 0
        await peer.send(Frame(PONG, b"mine"))


async def test_cancelled_ping_is_forgotten() -> None:
    async with MEMORY.scripted("client") as (ws, peer):
        with anyio.move_on_after(0):
            await ws.ping(b"same")
        assert await peer.receive() == Frame(PING, b"same")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ws.ping, b"same")
            assert await peer.receive() == Frame(PING, b"same")
            await peer.send(Frame(PONG, b"same"))


async def ping_in_vain(ws: Connection, data: bytes) -> None:
    """Send a Ping, and be cancelled before its Pong comes."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ws.ping, data)
        await settle()
        tasks.cancel_scope.cancel()


async def test_pong_of_a_cancelled_ping_answers_the_pings_before_it() -> None:
    """§5.5.3: a peer may answer only the latest of several Pings."""
    async with MEMORY.scripted("client") as (ws, peer):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ws.ping, b"first")
            assert await peer.receive() == Frame(PING, b"first")
            await ping_in_vain(ws, b"second")
            assert await peer.receive() == Frame(PING, b"second")
            await peer.send(Frame(PONG, b"second"))
        assert not ws._pings


async def test_ping_with_the_data_of_a_cancelled_one_is_later_than_those_between() -> None:
    async with MEMORY.scripted("client") as (ws, peer), anyio.create_task_group() as tasks:
        tasks.start_soon(ws.ping, b"first")
        await settle()
        await ping_in_vain(ws, b"same")
        tasks.start_soon(ws.ping, b"between")
        await settle()
        tasks.start_soon(ws.ping, b"same")
        for data in (b"first", b"same", b"between", b"same"):
            assert await peer.receive() == Frame(PING, data)
        await peer.send(Frame(PONG, b"between"))
        await settle()
        assert list(ws._pings) == [b"same"]
        await peer.send(Frame(PONG, b"same"))


async def test_cancelled_pings_that_are_remembered_are_bounded() -> None:
    async with MEMORY.scripted("client") as (ws, peer), anyio.create_task_group() as tasks:
        tasks.start_soon(ws.ping, b"first")
        await settle()
        for i in range(20):
            await ping_in_vain(ws, b"%d" % i)
        assert list(ws._pings) == [b"first", *(b"%d" % i for i in range(4, 20))]
        await peer.send(Frame(PONG, b"19"))


@both_roles
@pytest.mark.parametrize("how", ["close", "drop", "abort"])
async def test_ping_ends_with_the_connection(role: Role, how: str) -> None:
    """Nobody waits for a Pong for ever."""
    async with MEMORY.scripted(role) as (ws, peer):
        closed: list[ConnectionClosed] = []

        async def ping() -> None:
            with pytest.raises(ConnectionClosed) as caught:
                await ws.ping()
            closed.append(caught.value)

        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(ping)
                assert (await peer.receive()).opcode == PING
            if how == "close":
                await peer.send(close_frame(1000))
                await peer.answer_close()
            elif how == "drop":
                await peer.drop()
            else:
                await anyio.aclose_forcefully(ws)
        assert len(closed) == 3
        for call in (ws.ping, ws.pong):
            with pytest.raises(ConnectionClosed):
                await call()


async def test_ping_waits_for_room_and_cancelled_there_sends_nothing() -> None:
    async with MEMORY.scripted("server", capacity=10, write_limit=100) as (ws, peer):
        await ws.send(bytes(1000))
        for call in (ws.ping, ws.pong):
            with anyio.CancelScope() as scope:

                async def cancel(scope: anyio.CancelScope) -> None:
                    await settle()
                    scope.cancel()

                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(cancel, scope)
                    await call(b"never")
        assert await peer.receive() == Frame(BINARY, bytes(1000))
        assert await peer.round_trip() == []


async def test_ping_that_waits_for_room_ends_with_the_connection() -> None:
    async with MEMORY.scripted("server", capacity=10, write_limit=100) as (ws, peer):
        await ws.send(bytes(1000))

        async def ping() -> None:
            with pytest.raises(ConnectionClosedError):
                await ws.ping()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ping)
            await settle()
            await peer.drop()


async def test_pong_that_nobody_asked_for_does_nothing() -> None:
    """§5.5.3, with keepalive and without."""
    for interval in (None, 20.0):
        async with MEMORY.scripted("client", ping_interval=interval) as (ws, peer):
            await peer.send(Frame(PONG, b"unasked"), Frame(TEXT, b"next"))
            assert await ws.receive() == "next"
            assert ws.latency == 0


async def test_pongs_give_other_tasks_turns() -> None:
    """No call can be repeated for ever without another task getting its turn."""
    async with MEMORY.scripted("client") as (ws, _):
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await checkpoint()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(count)
            for _ in range(8 * CALLS_A_TURN):
                await ws.pong()
            tasks.cancel_scope.cancel()
        assert turns >= 5


# A flood of Pings


@both_roles
async def test_flood_of_pings_is_answered_by_the_newest_once_the_peer_reads(role: Role) -> None:
    """§5.5.3; R-C1: what a peer that does not read can make us keep is bounded."""
    async with MEMORY.scripted(role, capacity=2000, write_limit=1000) as (_, peer):
        for n in range(3000):
            await peer.send(Frame(PING, b"%0120d" % n))
        await settle()
        pongs: list[int] = []
        while not pongs or pongs[-1] != 2999:
            frame = await peer.receive()
            assert frame.opcode == PONG
            pongs.append(int(frame.payload))
        # At most what fits into the stream, the limit, and one.
        assert len(pongs) <= (2000 + 1000 + 1000) / 120
        assert pongs == sorted(pongs)


@both_roles
async def test_burst_of_pings_above_the_write_limit_is_answered_by_the_newest(
    role: Role, carrier: Carrier
) -> None:
    """§5.5.3, where the peer does read."""
    async with carrier.scripted(role, write_limit=300) as (_, peer):
        await peer.send(*[Frame(PING, b"%0120d" % n) for n in range(100)])
        while int((await peer.receive()).payload) != 99:
            pass


async def test_ping_after_our_close_is_not_answered() -> None:
    """§5.5.1: nothing follows a Close frame."""
    async with MEMORY.scripted("client") as (ws, peer):
        await ws.send_eof()
        await peer.send(Frame(PING), Frame(TEXT, b"still"), close_frame(1000))
        assert await ws.receive() == "still"
        assert await peer.receive_close() == (1000, "")
        await peer.drop()
        await ws.wait_closed()
        assert ws.close_code == 1000


async def test_pong_that_is_owed_when_the_connection_closes_is_dropped() -> None:
    async with MEMORY.scripted("server", capacity=100, write_limit=300) as (ws, peer):
        await ws.send(bytes(1000))
        await peer.send(Frame(PING, b"owed"), close_frame(1000))
        assert [frame.opcode for frame in [await peer.receive(), await peer.receive()]] == [2, 8]
        await peer.drop()
        await ws.wait_closed()
