"""Peers that stop reading or vanish, and applications that stop receiving (R-A5, R-A7).

What is said in exact figures runs under a clock that jumps, on trio. The rest runs on every loop,
in short real times; `ANYWS_KEEPALIVE_SECONDS=1` makes interval and timeout as long as that.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress

import anyio
import pytest

from anyws import Connection, ConnectionClosed, ConnectionClosedError, State, serve
from anyws.testing import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    Frame,
    RawPeer,
    close_frame,
    connection_pair,
)

from .scripted import TIMELESS, Carrier, Role, both_roles, virtual_time
from .serving import connections, echo, errors
from .support import connect

#: Interval and timeout of the keepalive where time is real.
SECONDS = float(os.environ.get("ANYWS_KEEPALIVE_SECONDS", "0.1"))

DOES_NOT_READ = (1011, "keepalive ping timeout: the peer does not read")
IS_SILENT = (1011, "keepalive ping timeout: the peer is silent")

Use = Callable[[Connection], Coroutine[object, object, None]]


# Ways to use a connection until it ends


async def send_for_ever(ws: Connection) -> None:
    while True:
        await ws.send(bytes(10_000))


async def send_a_long_message(ws: Connection) -> None:
    async with ws.send_stream() as writer:
        while True:
            await writer.write(bytes(10_000))


async def ping_for_ever(ws: Connection) -> None:
    while True:
        await ws.ping()


async def pong_for_ever(ws: Connection) -> None:
    while True:
        await ws.pong(bytes(125))


async def receive(ws: Connection) -> None:
    await ws.receive()


async def iterate(ws: Connection) -> None:
    async for _ in ws:
        pass


async def receive_pieces(ws: Connection) -> None:
    async with ws.receive_stream():
        pass


async def use_in_many_ways(ws: Connection, receiving: Use) -> list[ConnectionClosed]:
    """Send, ping, receive and wait at once; return how that ended for each task."""
    ends: list[ConnectionClosed] = []

    async def run(use: Use) -> None:
        with pytest.raises(ConnectionClosed) as caught:
            await use(ws)
        ends.append(caught.value)

    async with anyio.create_task_group() as tasks:
        uses = [send_for_ever, send_for_ever, send_a_long_message, send_for_ever, ping_for_ever]
        for use in (*uses, receiving):
            tasks.start_soon(run, use)
        tasks.start_soon(ws.wait_closed)
    assert len(ends) == 6
    return ends


# A peer that does not read


@both_roles
@pytest.mark.parametrize("receiving", [receive, iterate, receive_pieces])
@pytest.mark.parametrize(("interval", "patience"), [(10, 5), (5, 12)])
@virtual_time
async def test_everybody_hears_of_a_stalled_peer_at_the_same_moment(
    role: Role, receiving: Use, interval: float, patience: float
) -> None:
    """R-A5a: the senders are blocked before the Ping is due, and it cannot be written."""
    async with TIMELESS.scripted(
        role, capacity=1000, ping_interval=interval, ping_timeout=patience
    ) as (ws, _):
        start = anyio.current_time()
        ends = await use_in_many_ways(ws, receiving)
        assert anyio.current_time() - start == pytest.approx(interval + patience)
    for end in ends:
        assert isinstance(end, ConnectionClosedError)
        assert end.sent == DOES_NOT_READ
        assert end.received is None
        assert end.initiator == "local"
        assert isinstance(end.__cause__, TimeoutError)
        assert str(end.__cause__).startswith("the peer does not read: a Ping was due ")


@both_roles
@pytest.mark.anyio
async def test_everybody_hears_of_a_stalled_peer_on_every_loop(
    role: Role, carrier: Carrier
) -> None:
    """R-A5a, R-A7d: over TCP and TLS too; the cause names both sides."""
    async with carrier.scripted(
        role, capacity=1000, ping_interval=SECONDS, ping_timeout=SECONDS
    ) as (ws, _):
        ends = await use_in_many_ways(ws, iterate)
    assert {end.sent for end in ends} == {DOES_NOT_READ}
    (cause,) = {str(end.__cause__) for end in ends}
    assert cause.endswith(f"unsent; local {ws.local_address}, remote {ws.remote_address}")
    assert carrier.name == "memory" or cause.count("127.0.0.1") == 2


@both_roles
@virtual_time
async def test_cause_says_which_side_stalled_and_since_when(role: Role) -> None:
    """R-A7d."""
    async with TIMELESS.scripted(role, capacity=1000, ping_interval=10, ping_timeout=6) as (
        ws,
        peer,
    ):
        ping = await peer.receive()
        await anyio.sleep(1)
        await peer.send(Frame(PONG, ping.payload))
        await anyio.sleep(2)
        await peer.send(Frame(PING))
        # A Ping is due at 20, the end comes at 26.
        with pytest.raises(ConnectionClosedError) as closed:
            await send_for_ever(ws)
        cause = str(closed.value.__cause__)
        beginning, _, rest = cause.partition(", last Pong ")
        assert beginning == (
            "the peer does not read: a Ping was due 6.0 s ago and ping_timeout is 6 s; "
            "last byte received 13.0 s ago"
        )
        assert re.fullmatch(r"15\.0 s ago, \d+ bytes unsent; local None, remote None", rest)


@both_roles
@pytest.mark.parametrize("send", [send_for_ever, send_a_long_message])
@virtual_time
async def test_peer_that_reads_slowly_lives(role: Role, send: Use) -> None:
    """It answers the Pings that it comes to, but the write buffer is full whenever one is due."""
    async with (
        TIMELESS.scripted(role, capacity=1000, ping_interval=10, ping_timeout=5) as (ws, peer),
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(send, ws)
        for _ in range(100):
            await anyio.sleep(1)
            for _ in range(10):
                frame = await peer.receive()
                if frame.opcode == PING:
                    await peer.send(Frame(PONG, frame.payload))
        assert ws.state is State.OPEN
        tasks.cancel_scope.cancel()


@both_roles
@virtual_time
async def test_ping_that_could_not_be_sent_does_not_follow_the_close_frame(role: Role) -> None:
    async with TIMELESS.scripted(
        role, capacity=1000, ping_interval=10, ping_timeout=100, close_timeout=100
    ) as (ws, peer):
        with anyio.move_on_after(15):
            await send_for_ever(ws)
        await ws.send_eof()
        assert {frame.opcode for frame in await peer.receive_to_close()} == {BINARY, CLOSE}
        await anyio.sleep(50)
        await peer.send(close_frame(1000))
        if role == "server":
            assert await peer.receive_rest() == []


# A cable that is pulled


async def be_idle(ws: Connection) -> None:
    await ws.wait_closed()


async def send_now_and_then(ws: Connection) -> None:
    while True:
        await anyio.sleep(1.1)
        await ws.send("tick")


async def notice(ws: Connection, use: Use) -> ConnectionClosedError:
    """Use a connection until it ends."""
    async with anyio.create_task_group() as tasks:

        async def use_it() -> None:
            with suppress(ConnectionClosed):
                await use(ws)

        tasks.start_soon(use_it)
        await ws.wait_closed()
        tasks.cancel_scope.cancel()
    try:
        while True:
            await ws.receive()
    except ConnectionClosedError as closed:
        return closed


@pytest.mark.parametrize(("pulled", "noticed"), [(4.9, 8), (7.3, 13), (10.1, 18)])
@pytest.mark.parametrize("pulled_at", ["client", "server"])
@pytest.mark.parametrize("client_use", [be_idle, iterate, send_now_and_then])
@pytest.mark.parametrize("server_use", [be_idle, iterate, send_now_and_then])
@virtual_time
async def test_pulled_cable_is_noticed_at_both_ends(
    client_use: Use, server_use: Use, pulled_at: Role, pulled: float, noticed: float
) -> None:
    """R-A5c: idle, receiving and sending; the Pings are due every 5 s and have 3 s."""
    pair = connection_pair(ping_interval=5, ping_timeout=3)

    async def check(ws: Connection, use: Use) -> None:
        end = await notice(ws, use)
        assert anyio.current_time() - start == pytest.approx(noticed)
        assert end.sent == IS_SILENT
        assert end.received is None
        assert end.initiator == "local"
        assert str(end.__cause__).startswith("the peer is silent: a Ping was due 3.0 s ago ")

    async with pair as (client, server), anyio.create_task_group() as tasks:
        start = anyio.current_time()
        tasks.start_soon(check, client, client_use)
        tasks.start_soon(check, server, server_use)
        await anyio.sleep(pulled)
        (pair.client_stream if pulled_at == "client" else pair.server_stream).drop()


@both_roles
@virtual_time
async def test_pulled_cable_is_noticed_by_a_blocked_sender(role: Role) -> None:
    """R-A5c: what is sent piles up on this side of the gap."""
    pair = connection_pair(capacity=1000, ping_interval=5, ping_timeout=3)
    async with pair as (client, server):
        ws: Connection = client if role == "client" else server
        stream = pair.client_stream if role == "client" else pair.server_stream
        stream.stall_reading()
        stream.stall_writing()
        start = anyio.current_time()
        end = await notice(ws, send_for_ever)
        assert anyio.current_time() - start == pytest.approx(8)
        assert end.sent == DOES_NOT_READ


# A peer that breaks off


@pytest.mark.parametrize("n", [1, 100])
@pytest.mark.anyio
async def test_peer_that_resets_while_it_is_being_answered_is_noticed_at_once(n: int) -> None:
    """R-A5c: without keepalive. The answer is what takes the error from the kernel."""
    async with serve(echo, "127.0.0.1", ping_interval=None) as server:
        stream = await connect(server.port)
        peer = RawPeer(stream, is_client=True)
        await peer.shake_hands()
        await connections(server, 1)
        await peer.send(*[Frame(BINARY, bytes(1000))] * n)
        stream.reset()
        await connections(server, 0)


# A loop that is blocked


@both_roles
@pytest.mark.anyio
async def test_pong_that_came_while_the_loop_was_blocked_counts(role: Role) -> None:
    """R-A7: whatever the order in which a loop finds out about time and about sockets."""
    async with Carrier("tcp").scripted(role, ping_interval=SECONDS, ping_timeout=5 * SECONDS) as (
        ws,
        peer,
    ):
        ping = await peer.receive()
        # No checkpoint follows when the kernel has taken it.
        await peer.send(Frame(PONG, ping.payload))
        time.sleep(6 * SECONDS)  # noqa: ASYNC251  # nothing else may run meanwhile
        await peer.round_trip()
        assert ws.state is State.OPEN


# An application that does not receive


async def overwhelm(peer: RawPeer) -> None:
    """Send messages for ever."""
    while True:
        await peer.send(Frame(BINARY, bytes(1000)))


@both_roles
@virtual_time
async def test_application_that_does_not_receive_is_warned_once_and_lives(
    role: Role, caplog: pytest.LogCaptureFixture
) -> None:
    """R-A7c."""
    async with TIMELESS.scripted(
        role, capacity=5000, max_size=1000, max_buffer=10_000, ping_interval=10, ping_timeout=5
    ) as (ws, peer):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(overwhelm, peer)
            for turn in range(1, 4):
                await anyio.sleep(100)
                assert ws.state is State.OPEN
                assert ws.stats.receive_paused_s == pytest.approx(100 * turn)
                for _ in range(100):
                    await ws.receive()
            tasks.cancel_scope.cancel()
        with anyio.move_on_after(3):
            await iterate(ws)
        assert ws.state is State.OPEN
        assert ws.stats.receive_paused_s == pytest.approx(300)
        (warning,) = errors(caplog)
        assert warning.levelno == logging.WARNING
        assert re.match(
            r"the application is not receiving from the connection with None: \d+ messages wait, "
            r"and nothing has been read for 15.0 s",
            warning.getMessage(),
        )


@both_roles
@pytest.mark.anyio
async def test_application_that_does_not_receive_is_warned_on_every_loop(
    role: Role, carrier: Carrier
) -> None:
    """R-A7c."""
    warned = anyio.Event()

    class Alarm(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            warned.set()

    logger = logging.Logger("of this test")
    logger.addHandler(Alarm(logging.WARNING))
    async with (
        carrier.scripted(
            role,
            capacity=5000,
            max_size=1000,
            max_buffer=1000,
            ping_interval=SECONDS,
            ping_timeout=SECONDS,
            logger=logger,
        ) as (ws, peer),
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(overwhelm, peer)
        await warned.wait()
        for _ in range(100):
            await ws.receive()
        assert ws.state is State.OPEN
        tasks.cancel_scope.cancel()


# A limit for sending


async def fill(ws: Connection) -> None:
    """Send until there is no room, to a peer that does not read."""
    with anyio.move_on_after(1):
        await send_for_ever(ws)


@both_roles
@pytest.mark.parametrize("use", [send_for_ever, send_a_long_message, ping_for_ever, pong_for_ever])
@virtual_time
async def test_task_that_waits_too_long_for_room_fails_the_connection(role: Role, use: Use) -> None:
    """R-A5b: so much time it has, even if another task had given up waiting."""
    async with TIMELESS.scripted(role, capacity=1000, ping_interval=None, send_timeout=7) as (
        ws,
        _,
    ):
        await fill(ws)
        start = anyio.current_time()
        end = await notice(ws, use)
        assert anyio.current_time() - start == pytest.approx(7)
        assert end.sent == (1011, "send timeout: the peer does not read")
        assert end.received is None
        assert end.initiator == "local"
        assert isinstance(end.__cause__, TimeoutError)
        assert "send_timeout is 7 s" in str(end.__cause__)


@both_roles
@pytest.mark.anyio
async def test_sender_that_waits_too_long_fails_the_connection_on_every_loop(
    role: Role, carrier: Carrier
) -> None:
    """R-A5b."""
    async with carrier.scripted(role, capacity=1000, ping_interval=None, send_timeout=SECONDS) as (
        ws,
        _,
    ):
        ends = await use_in_many_ways(ws, iterate)
    assert {end.sent for end in ends} == {(1011, "send timeout: the peer does not read")}


@both_roles
@virtual_time
async def test_peer_that_reads_before_the_limit_lives(role: Role) -> None:
    """R-A5b: the time begins anew whenever there was room."""
    async with (
        TIMELESS.scripted(role, capacity=1000, ping_interval=None, send_timeout=7) as (ws, peer),
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(send_for_ever, ws)
        for _ in range(20):
            await anyio.sleep(6)
            for _ in range(10):
                await peer.receive()
        assert ws.state is State.OPEN
        tasks.cancel_scope.cancel()


@both_roles
@virtual_time
async def test_nobody_waits_for_room_so_nothing_fails(role: Role) -> None:
    async with TIMELESS.scripted(role, capacity=1000, ping_interval=None, send_timeout=7) as (
        ws,
        peer,
    ):
        await fill(ws)
        await anyio.sleep(100)
        assert ws.state is State.OPEN
        await peer.send(Frame(TEXT, b"I am back"))
        assert await ws.receive() == "I am back"
