"""Pings on a schedule, and the verdict on a peer that has fallen silent.

Under a clock that jumps, on trio; `test_…_on_every_loop` has short times in real ones.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import pytest

from anyws import Connection, ConnectionClosedError, State
from anyws.testing import BINARY, PING, PONG, TEXT, Frame, RawPeer

from .scripted import TIMELESS, Carrier, Role, both_roles, virtual_time


async def wait_idly(ws: Connection) -> None:
    """Receive from a peer that sends nothing."""
    await ws.receive()


async def send_for_ever(ws: Connection) -> None:
    """Send to a peer that does not read."""
    while True:
        await ws.send(bytes(10_000))


async def send_fragments(ws: Connection) -> None:
    """Send one message without end."""
    async with ws.send_stream() as writer:
        while True:
            await writer.write(bytes(10_000))


async def send_one_after_a_while(ws: Connection) -> None:
    """The buffer fills up after the first Ping went out."""
    await anyio.sleep(11)
    await send_for_ever(ws)


# A silent peer


@both_roles
@pytest.mark.parametrize(
    "use", [wait_idly, send_for_ever, send_fragments, send_one_after_a_while, Connection.ping]
)
@pytest.mark.parametrize(("interval", "patience"), [(10, 5), (10, 10), (5, 12), (1, 20)])
@virtual_time
async def test_peer_that_stalls_is_given_up_after_interval_and_timeout(
    role: Role, use: Callable[[Connection], Awaitable[object]], interval: float, patience: float
) -> None:
    """R-A5a, R-A5c: the deadline counts from when the Ping is due, and covers the write."""
    async with TIMELESS.scripted(
        role, capacity=1000, ping_interval=interval, ping_timeout=patience
    ) as (ws, _):
        start = anyio.current_time()
        with pytest.raises(ConnectionClosedError) as closed:
            await use(ws)
        assert anyio.current_time() - start == pytest.approx(interval + patience)
        side = "is silent" if use in (wait_idly, Connection.ping) else "does not read"
        assert closed.value.sent == (1011, f"keepalive ping timeout: the peer {side}")
        assert closed.value.received is None
        assert closed.value.initiator == "local"
        cause = closed.value.__cause__
        assert isinstance(cause, TimeoutError)
        assert str(cause).startswith(
            f"the peer {side}: a Ping was due {patience:.1f} s ago and ping_timeout is "
            f"{patience} s; last byte received {interval + patience:.1f} s ago, last Pong never, "
        )


@virtual_time
async def test_peer_that_answered_before_is_given_up_as_quickly() -> None:
    """R-A5a: from the first Ping that it does not answer."""
    async with (
        TIMELESS.scripted("client", ping_interval=10, ping_timeout=5) as (ws, peer),
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(answer_pings, peer, 3)
        start = anyio.current_time()
        with pytest.raises(ConnectionClosedError):
            await ws.receive()
        assert anyio.current_time() - start == pytest.approx(45)


@both_roles
@pytest.mark.anyio
async def test_stalled_peer_is_given_up_on_every_loop(role: Role, carrier: Carrier) -> None:
    """R-A5a: a sender is blocked, the Ping cannot be written."""
    async with carrier.scripted(role, capacity=1000, ping_interval=0.02, ping_timeout=0.03) as (
        ws,
        _,
    ):
        start = anyio.current_time()
        with pytest.raises(ConnectionClosedError, match="keepalive ping timeout"):
            await send_for_ever(ws)
        assert 0.04 < anyio.current_time() - start < 1.1


@both_roles
@pytest.mark.anyio
async def test_peer_that_answers_is_kept_on_every_loop(role: Role, carrier: Carrier) -> None:
    async with carrier.scripted(role, ping_interval=0.01, ping_timeout=5) as (ws, peer):
        await answer_pings(peer, 4)
        await peer.round_trip()
        assert ws.state is State.OPEN
        assert 0 < ws.latency < 5


# Signs of life


async def answer_pings(peer: RawPeer, n: int) -> None:
    """Answer so many Pings."""
    for _ in range(n):
        ping = await peer.receive()
        assert ping.opcode == PING
        await peer.send(Frame(PONG, ping.payload))


@both_roles
@virtual_time
async def test_pings_go_out_every_interval(role: Role) -> None:
    """R-A7e: also where the timeout is longer, and while the peer sends data."""
    async with TIMELESS.scripted(role, ping_interval=10, ping_timeout=25) as (ws, peer):
        start = anyio.current_time()
        for number in range(1, 7):
            ping = await peer.receive()
            assert ping.opcode == PING
            assert anyio.current_time() - start == pytest.approx(10 * number)
            if number == 2:
                await peer.send(Frame(TEXT, b"data"))
            elif number > 2:
                await peer.send(Frame(PONG, ping.payload))
        assert ws.state is State.OPEN


@virtual_time
async def test_pings_differ() -> None:
    async with TIMELESS.scripted("client", ping_interval=1, ping_timeout=None) as (_, peer):
        assert len({(await peer.receive()).payload for _ in range(50)}) == 50


@both_roles
@pytest.mark.parametrize("sign", ["pong", "other-pong", "ping", "message", "half-a-frame"])
@virtual_time
async def test_any_byte_is_a_sign_of_life(role: Role, sign: str) -> None:
    """R-A7b: a peer that is busy sending data is not killed for a late Pong."""
    async with TIMELESS.scripted(role, ping_interval=10, ping_timeout=5) as (ws, peer):
        message = peer.encode(Frame(BINARY, bytes(100)))
        for number in range(20):
            ping = await peer.receive()
            while ping.opcode != PING:
                ping = await peer.receive()
            await anyio.sleep(4.9)
            if sign == "pong":
                await peer.send(Frame(PONG, ping.payload))
            elif sign == "other-pong":
                await peer.send(Frame(PONG))
            elif sign == "ping":
                await peer.send(Frame(PING))
            elif sign == "message":
                await peer.send(Frame(TEXT, b"data"))
            else:
                await peer.stream.send(message[number : number + 1])
        assert ws.state is State.OPEN


@both_roles
@virtual_time
async def test_peer_is_not_blamed_while_our_inbox_is_full(role: Role) -> None:
    """R-A7c: nothing can be heard of it because our own application does not receive."""
    async with TIMELESS.scripted(
        role, capacity=5000, max_size=1000, max_buffer=10_000, ping_interval=10, ping_timeout=5
    ) as (ws, peer):
        with anyio.move_on_after(1):
            while True:
                await peer.send(Frame(BINARY, bytes(1000)))
        await anyio.sleep(1000)
        assert ws.state is State.OPEN
        # Once it receives again, the peer has all the time to answer that it should have.
        await ws.receive()
        with anyio.move_on_after(1):
            while True:
                await ws.receive()
        assert ws.state is State.OPEN
        start = anyio.current_time()
        with pytest.raises(ConnectionClosedError, match="keepalive ping timeout"):
            await ws.receive()
        assert 5 <= anyio.current_time() - start <= 15


@virtual_time
async def test_receiving_again_just_before_the_deadline_does_not_kill() -> None:
    """R-A7c: what the peer has to say arrives only when we read again."""
    async with TIMELESS.scripted(
        "client", capacity=1 << 20, max_size=1000, max_buffer=2000, ping_interval=10, ping_timeout=5
    ) as (ws, peer):
        start = anyio.current_time()
        await anyio.sleep(1)
        await peer.send(*[Frame(BINARY, bytes(1000))] * 3)
        # The Ping of 10 s finds the inbox full; at 14.9 s all has been received, and the peer,
        # who has been waiting for us, says something at 16 s.
        await anyio.sleep_until(start + 14.9)
        for _ in range(3):
            await ws.receive()
        await anyio.sleep_until(start + 16)
        assert ws.state is State.OPEN
        await peer.send(Frame(TEXT, b"here I am"))
        assert await ws.receive() == "here I am"


# Settings


@both_roles
@virtual_time
async def test_no_interval_means_no_keepalive(role: Role) -> None:
    """R-A7e."""
    async with TIMELESS.scripted(role, ping_interval=None, ping_timeout=1) as (ws, peer):
        await anyio.sleep(10_000)
        assert ws.state is State.OPEN
        assert await peer.round_trip() == []


@both_roles
@virtual_time
async def test_no_timeout_means_that_silence_is_fine(role: Role) -> None:
    async with TIMELESS.scripted(role, ping_interval=10, ping_timeout=None) as (ws, peer):
        await anyio.sleep(1005)
        assert ws.state is State.OPEN
        assert len(await peer.round_trip()) == 100


@both_roles
@virtual_time
async def test_default_is_a_ping_every_20_seconds_and_20_more_to_answer(role: Role) -> None:
    """R-A7e: on by default, on both sides."""
    async with TIMELESS.scripted(role) as (ws, peer):
        start = anyio.current_time()
        assert (await peer.receive()).opcode == PING
        assert anyio.current_time() - start == pytest.approx(20)
        await ws.wait_closed()
        assert anyio.current_time() - start == pytest.approx(40)


@virtual_time
async def test_unanswered_pings_are_not_remembered_for_ever() -> None:
    """A peer that sends data but no Pongs costs no memory."""
    async with TIMELESS.scripted("client", ping_interval=1, ping_timeout=1) as (ws, peer):
        for _ in range(1000):
            assert (await peer.receive()).opcode == PING
            await peer.send(Frame(PING))
            assert (await peer.receive()).opcode == PONG
        assert len(ws._pings) <= 16


@virtual_time
async def test_late_pong_still_tells_the_latency() -> None:
    async with TIMELESS.scripted("client", ping_interval=1, ping_timeout=60) as (ws, peer):
        first = await peer.receive()
        for _ in range(3):
            await peer.receive()
        await peer.send(Frame(PONG, first.payload))
        await peer.round_trip()
        assert ws.latency == pytest.approx(3)


# The end of it


@both_roles
@virtual_time
async def test_no_ping_follows_the_close_frame(role: Role) -> None:
    async with TIMELESS.scripted(role, ping_interval=1, ping_timeout=1, close_timeout=100) as (
        ws,
        peer,
    ):
        await ws.send_eof()
        start = anyio.current_time()
        await ws.wait_closed()
        assert anyio.current_time() - start == pytest.approx(100)
        assert await peer.receive_close() == (1000, "")
        assert await peer.receive_rest() == []


@both_roles
@virtual_time
async def test_keepalive_ends_with_the_connection(role: Role) -> None:
    async with TIMELESS.scripted(role, ping_interval=1, ping_timeout=5) as (ws, peer):
        assert (await peer.receive()).opcode == PING
        await peer.drop()
        await ws.wait_closed()
        sent = ws._pings.copy()
        await anyio.sleep(100)
        assert ws._pings == sent
        assert ws.close_code == 1006
