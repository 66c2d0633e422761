"""Receiving: order, cancellation, limits, and what came before the end (RFC 6455 §6.2, §7)."""

from __future__ import annotations

import asyncio
import math
import os
import random

import anyio
import pytest
from anyio.lowlevel import checkpoint

from anyws import (
    ConcurrencyError,
    Connection,
    ConnectionClosedError,
    ConnectionClosedOK,
    MessageTypeError,
    RemoteProtocolError,
    State,
)
from anyws._message_path import CALLS_A_TURN
from anyws.testing import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Frame, RawPeer, close_frame

from .scripted import MEMORY, TIMELESS, Carrier, Role, both_roles, settle, virtual_time
from .support import SocketStream

pytestmark = pytest.mark.anyio

#: How often `receive` is cancelled in one run; R-A8a wants 100,000, which takes a minute.
CANCELLATIONS = int(os.environ.get("ANYWS_CANCELLATIONS", "700"))


@both_roles
async def test_messages_are_received_in_order_as_str_and_bytes(
    role: Role, carrier: Carrier
) -> None:
    async with carrier.scripted(role) as (ws, peer):
        await peer.send(Frame(TEXT, "zwölf".encode()), Frame(BINARY, b"\0\xff"), Frame(TEXT))
        assert [await ws.receive() for _ in range(3)] == ["zwölf", b"\0\xff", ""]


async def test_message_in_fragments_is_received_whole() -> None:
    async with MEMORY.scripted("server") as (ws, peer):
        await peer.send(
            Frame(TEXT, b"\xe2\x82", fin=False), Frame(PING), Frame(CONTINUATION, b"\xac")
        )
        assert await ws.receive() == "€"


async def test_receive_bytes_gives_exactly_bytes() -> None:
    """R-B12: never bytearray or memoryview."""
    async with MEMORY.scripted("client") as (ws, peer):
        await peer.send(
            Frame(BINARY, b"a"),
            Frame(BINARY, b"b", fin=False),
            Frame(CONTINUATION, b"c"),
            Frame(BINARY, bytes(70000)),
        )
        assert [type(await ws.receive_bytes()) for _ in range(3)] == [bytes] * 3


async def test_receive_text_gives_text_only() -> None:
    async with MEMORY.scripted("client") as (ws, peer):
        await peer.send(Frame(TEXT, b"x"), Frame(BINARY, b"yz"), Frame(TEXT, b"next"))
        assert await ws.receive_text() == "x"
        with pytest.raises(
            MessageTypeError, match="binary message of length 2, expected text"
        ) as e:
            await ws.receive_text()
        assert e.value.message == b"yz"
        assert await ws.receive_text() == "next"


async def test_receive_bytes_gives_binary_only() -> None:
    async with MEMORY.scripted("client") as (ws, peer):
        await peer.send(Frame(TEXT, b"x"), Frame(BINARY, b"next"))
        with pytest.raises(
            MessageTypeError, match="text message of length 1, expected binary"
        ) as e:
            await ws.receive_bytes()
        assert e.value.message == "x"
        assert await ws.receive_bytes() == b"next"


# Cancelling


class Canceller:
    """Cancels the scope that the receiving task is in, after a random number of steps."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.scope: anyio.CancelScope | None = None

    async def run(self) -> None:
        """Go on until cancelled."""
        while True:
            for _ in range(self.random.randrange(6)):
                await checkpoint()
            if self.scope is not None:
                self.scope.cancel()
            await checkpoint()


async def receive_numbers(
    ws: Connection, canceller: Canceller, iterate: bool, cancellations: int
) -> list[int]:
    """Receive messages, which are numbers, until so many receives have been cancelled."""
    received = []
    cancelled = 0
    while cancelled < cancellations:
        with anyio.CancelScope() as canceller.scope:
            if iterate:
                async for message in ws:
                    received.append(int(message))
            else:
                while True:
                    received.append(int(await ws.receive()))
        cancelled += 1
    canceller.scope = None
    return received


async def check_cancelled_receives(
    role: Role, iterate: bool, carrier: Carrier, cancellations: int
) -> int:
    """Cancel at random while messages arrive; return the number of messages, all received."""
    canceller = Canceller(seed=len(role) + iterate)
    sent = 0
    done = False

    async def send_numbers(peer: RawPeer) -> None:
        nonlocal sent
        while not done:
            n = canceller.random.choice((1, 1, 1, 3, 40))
            await peer.send(*[Frame(TEXT, b"%d" % number) for number in range(sent, sent + n)])
            sent += n
            for _ in range(canceller.random.randrange(8)):
                await checkpoint()
        await peer.send(Frame(TEXT, b"-1"))

    async with (
        carrier.scripted(role, capacity=1000) as (ws, peer),
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(send_numbers, peer)
        async with anyio.create_task_group() as cancelling:
            cancelling.start_soon(canceller.run)
            received = await receive_numbers(ws, canceller, iterate, cancellations)
            cancelling.cancel_scope.cancel()
        done = True
        while received[-1] != -1:
            received.append(int(await ws.receive()))
        assert received == [*range(sent), -1]
    return sent


@both_roles
@pytest.mark.parametrize("iterate", [False, True], ids=["receive", "iteration"])
async def test_cancelled_receive_loses_and_repeats_nothing(
    role: Role, iterate: bool, carrier: Carrier
) -> None:
    """R-A8a, R-A8b: random cancellations, no gap, no duplicate, no reorder."""
    assert await check_cancelled_receives(role, iterate, carrier, CANCELLATIONS) > 100


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_receive_under_wait_for_of_asyncio_loses_nothing(anyio_backend: str) -> None:
    """R-A8a, for those who use asyncio itself."""
    rng = random.Random(8)
    received: list[str | bytes] = []
    async with (
        MEMORY.scripted("client", capacity=200) as (ws, peer),
        anyio.create_task_group() as tasks,
    ):

        async def send_numbers() -> None:
            for number in range(500):
                await peer.send(Frame(TEXT, b"%d" % number))
                for _ in range(rng.randrange(8)):
                    await checkpoint()

        tasks.start_soon(send_numbers)
        timeouts = 0
        while len(received) < 500:
            try:
                received.append(await asyncio.wait_for(ws.receive(), rng.choice((0, 1e-6, 1e-4))))
            except TimeoutError:
                timeouts += 1
    assert timeouts
    assert received == [str(number) for number in range(500)]


async def test_receive_under_a_timeout_leaves_the_connection_open() -> None:
    """A8: a timeout must not kill the connection."""
    async with MEMORY.scripted("client") as (ws, peer):
        for _ in range(3):
            with anyio.move_on_after(0):
                await ws.receive()
        await peer.send(Frame(TEXT, b"still here"))
        assert await ws.receive() == "still here"


async def test_receiving_many_messages_at_once_gives_other_tasks_turns() -> None:
    async with MEMORY.scripted("client") as (ws, peer):
        count_of_messages = 8 * CALLS_A_TURN
        await peer.send(*[Frame(TEXT, b"%d" % n) for n in range(count_of_messages)])
        await peer.round_trip()
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await checkpoint()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(count)
            received = [int(await ws.receive()) for _ in range(count_of_messages)]
            tasks.cancel_scope.cancel()
        assert received == list(range(count_of_messages))
        assert turns >= 5


async def test_receive_cancelled_while_it_takes_turns_keeps_the_message() -> None:
    """R-A8a, where the receiver does not wait for a message."""
    async with MEMORY.scripted("client") as (ws, peer):
        count = 2 * CALLS_A_TURN
        await peer.send(*[Frame(TEXT, b"%d" % n) for n in range(count)])
        await peer.round_trip()
        received = []
        with anyio.CancelScope() as scope:
            scope.cancel()
            while True:
                received.append(await ws.receive())
        assert len(received) < count
        received += [await ws.receive() for _ in range(count - len(received))]
        assert received == [str(n) for n in range(count)]


# Concurrency


@both_roles
@pytest.mark.parametrize("how", ["receive", "iteration", "stream"])
async def test_second_receiver_is_told_at_once_and_disturbs_nobody(role: Role, how: str) -> None:
    """R-A11c."""
    async with MEMORY.scripted(role) as (ws, peer):
        received = []

        async def receive() -> None:
            received.append(await ws.receive())

        async def receive_otherwise() -> None:
            if how == "receive":
                await ws.receive()
            elif how == "iteration":
                await anext(ws)
            else:
                await ws.receive_stream().__aenter__()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(receive)
            await settle()
            for _ in range(2):
                with pytest.raises(ConcurrencyError, match="another task is receiving"):
                    await receive_otherwise()
            await peer.send(Frame(TEXT, b"for the first"))
        assert received == ["for the first"]


async def test_second_receiver_is_told_while_the_first_takes_turns() -> None:
    """R-A11c, where the first does not wait for a message but lets others run."""
    async with MEMORY.scripted("client") as (ws, peer):
        await peer.send(*[Frame(TEXT, b"%d" % n) for n in range(500)])
        await peer.round_trip()
        received: list[str | bytes] = []

        async def receive_all() -> None:
            while len(received) < 500:
                received.append(await ws.receive())

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(receive_all)
            while not received:
                await checkpoint()
            assert len(received) < 500
            with pytest.raises(ConcurrencyError):
                await ws.receive()
        assert received == [str(n) for n in range(500)]


# The end


@both_roles
async def test_messages_before_the_close_are_all_received(role: Role, carrier: Carrier) -> None:
    """R-A8d: the end never overtakes a message."""
    async with carrier.scripted(role) as (ws, peer):
        await peer.send(*[Frame(TEXT, b"%d" % n) for n in range(500)], close_frame(1000, "bye"))
        await peer.receive_close()
        await peer.drop()
        await ws.wait_closed()
        assert ws.state is State.CLOSED
        assert [await ws.receive() for _ in range(500)] == [str(n) for n in range(500)]
        for _ in range(2):
            with pytest.raises(ConnectionClosedOK):
                await ws.receive()


async def test_messages_before_a_broken_stream_are_all_received() -> None:
    """R-A8d, without a Close frame."""
    async with MEMORY.scripted("client") as (ws, peer):
        await peer.send(*[Frame(TEXT, b"%d" % n) for n in range(5)])
        await peer.drop()
        await ws.wait_closed()
        assert [await ws.receive() for _ in range(5)] == list("01234")
        with pytest.raises(ConnectionClosedError):
            await ws.receive()


@both_roles
async def test_messages_before_a_reset_are_all_received_however_small(role: Role) -> None:
    """R-A8d: they are taken in steps, and the answer to the Ping fails before the second one."""
    async with Carrier("tcp").scripted(role) as (ws, peer):
        assert isinstance(peer.stream, SocketStream)
        peer.stream.send_and_reset(peer.encode(Frame(PING), *[Frame(TEXT, b"ab")] * 5000))
        assert [await ws.receive() for _ in range(5000)] == ["ab"] * 5000
        with pytest.raises(ConnectionClosedError):
            await ws.receive()


@both_roles
@pytest.mark.parametrize("code", [1000, 1001, None])
async def test_iteration_ends_on_normal_closure(role: Role, code: int | None) -> None:
    async with MEMORY.scripted(role) as (ws, peer):
        await peer.send(Frame(TEXT, b"a"), Frame(BINARY, b"b"), close_frame(code))
        await peer.answer_close()
        assert [message async for message in ws] == ["a", b"b"]


@both_roles
@pytest.mark.parametrize("code", [1002, 1011, 3000, 4999])
async def test_iteration_raises_on_any_other_closure(role: Role, code: int) -> None:
    async with MEMORY.scripted(role) as (ws, peer):
        await peer.send(Frame(TEXT, b"a"), close_frame(code, "why"))
        await peer.answer_close()
        assert await anext(ws) == "a"
        with pytest.raises(ConnectionClosedError) as closed:
            await anext(ws)
        assert (closed.value.code, closed.value.reason) == (code, "why")


async def test_iteration_raises_where_no_close_frame_came() -> None:
    async with MEMORY.scripted("client") as (ws, peer):
        await peer.drop()
        with pytest.raises(ConnectionClosedError) as closed:
            await anext(ws)
        assert closed.value.code == 1006


# Violations


VIOLATIONS = pytest.mark.parametrize(
    ("violation", "code", "reason"),
    [
        pytest.param(Frame(TEXT, b"\xff"), 1007, "text is not UTF-8", id="§8.1"),
        pytest.param(Frame(TEXT, b"x", reserved=4), 1002, "reserved bits", id="§5.2-rsv"),
        pytest.param(Frame(3), 1002, "unknown opcode 3", id="§5.2-opcode"),
        pytest.param(Frame(CONTINUATION), 1002, "continuation frame outside", id="§5.4"),
        pytest.param(Frame(PING, bytes(126)), 1002, "control frame with more", id="§5.5"),
        pytest.param(Frame(CLOSE, b"\x03"), 1002, "payload of 1 byte", id="§5.5.1"),
        pytest.param(close_frame(1005), 1002, "reserved code 1005", id="§7.4.1"),
    ],
)


@both_roles
@VIOLATIONS
async def test_violation_fails_the_connection_at_once_if_nothing_is_undelivered(
    role: Role, violation: Frame, code: int, reason: str
) -> None:
    async with MEMORY.scripted(role) as (ws, peer):
        await peer.send(violation)
        sent, text = await peer.receive_close()
        assert sent == code
        assert reason in text
        await peer.drop()
        with pytest.raises(ConnectionClosedError, match="closed by this side") as closed:
            await ws.receive()
        assert closed.value.sent == (code, text)
        assert closed.value.received is None
        assert closed.value.initiator == "local"
        assert isinstance(closed.value.__cause__, RemoteProtocolError)
        assert str(closed.value.__cause__) == text


@both_roles
@VIOLATIONS
async def test_messages_before_a_violation_are_delivered_and_may_be_answered(
    role: Role, violation: Frame, code: int, reason: str
) -> None:
    async with MEMORY.scripted(role) as (ws, peer):
        await peer.send(Frame(TEXT, b"one"), Frame(TEXT, b"two"), violation)
        for text in ("one", "two"):
            assert await ws.receive() == text
            await ws.send(f"answer to {text}")
        assert await peer.receive() == Frame(TEXT, b"answer to one")
        assert await peer.receive() == Frame(TEXT, b"answer to two")
        assert ws.state is State.OPEN
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(peer.answer_close)
            with pytest.raises(ConnectionClosedError) as closed:
                await ws.receive()
        assert closed.value.sent is not None
        assert closed.value.sent.code == code
        assert reason in closed.value.sent.reason


@both_roles
@virtual_time
async def test_violation_behind_undelivered_messages_takes_effect_after_a_second(
    role: Role,
) -> None:
    async with TIMELESS.scripted(role) as (ws, peer):
        start = anyio.current_time()
        await peer.send(Frame(TEXT, b"unread"), Frame(3))
        assert (await peer.receive_close())[0] == 1002
        assert anyio.current_time() - start == pytest.approx(1)
        await peer.drop()
        assert await ws.receive() == "unread"
        with pytest.raises(ConnectionClosedError):
            await ws.receive()


async def test_messages_before_a_violation_are_delivered_on_every_stream(
    carrier: Carrier,
) -> None:
    async with carrier.scripted("server") as (ws, peer):
        await peer.send(*[Frame(TEXT, b"%d" % n) for n in range(100)], Frame(3))
        for n in range(100):
            await ws.send(await ws.receive())
            assert await peer.receive() == Frame(TEXT, b"%d" % n)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(peer.answer_close)
            with pytest.raises(ConnectionClosedError, match="sent 1002"):
                await ws.receive()


async def test_close_does_not_wait_for_a_violation_to_be_reached() -> None:
    async with MEMORY.scripted("client") as (ws, peer):
        await peer.send(Frame(PING), Frame(TEXT, b"unread"), Frame(3))
        assert await peer.receive() == Frame(PONG)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ws.close)
            assert (await peer.answer_close())[0] == 1002
        assert ws.close_code == 1006


@pytest.mark.parametrize("how", ["abort", "break"])
async def test_connection_lost_before_a_violation_was_reached_names_it(how: str) -> None:
    async with MEMORY.scripted("client") as (ws, peer):
        await peer.send(Frame(PING), Frame(TEXT, b"unread"), Frame(3))
        assert await peer.receive() == Frame(PONG)
        if how == "abort":
            await anyio.aclose_forcefully(ws)
        else:
            await peer.drop()
            await ws.send("whose writing fails")
            await ws.wait_closed()
        assert await ws.receive() == "unread"
        with pytest.raises(ConnectionClosedError) as closed:
            await ws.receive()
        assert isinstance(closed.value.__cause__, RemoteProtocolError)
        assert closed.value.initiator == "local"


# Limits


@both_roles
@pytest.mark.parametrize("fragmented", [False, True], ids=["one-frame", "fragments"])
@pytest.mark.parametrize("limit", [1, 100, 200, 70000])
async def test_message_of_max_size_is_received_and_one_byte_more_fails(
    role: Role, fragmented: bool, limit: int
) -> None:
    """R-B3b."""

    def message(size: int) -> list[Frame]:
        if not fragmented:
            return [Frame(BINARY, bytes(size))]
        return [Frame(BINARY, b"\0", fin=False), Frame(CONTINUATION, bytes(size - 1))]

    async with MEMORY.scripted(role, max_size=limit) as (ws, peer):
        await peer.send(*message(limit))
        assert await ws.receive() == bytes(limit)
        await peer.send(*message(limit + 1))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(peer.answer_close)
            with pytest.raises(ConnectionClosedError) as closed:
                await ws.receive()
        assert closed.value.sent is not None
        assert closed.value.sent.code == 1009
        assert f"limit {limit}" in closed.value.sent.reason
        assert "incoming" in closed.value.sent.reason
        assert isinstance(closed.value.__cause__, RemoteProtocolError)


@both_roles
async def test_message_too_big_waits_for_the_messages_before_it(role: Role) -> None:
    async with MEMORY.scripted(role, max_size=10) as (ws, peer):
        await peer.send(Frame(TEXT, b"fits"), Frame(TEXT, b"does not fit"))
        assert await ws.receive() == "fits"
        await ws.send("answer")
        assert await peer.receive() == Frame(TEXT, b"answer")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(peer.answer_close)
            with pytest.raises(ConnectionClosedError):
                await ws.receive()


async def test_message_of_too_many_fragments_fails_with_1008() -> None:
    async with MEMORY.scripted("client", max_fragments=3) as (ws, peer):
        await peer.send(Frame(TEXT, fin=False), Frame(0, fin=False), Frame(0))
        assert await ws.receive() == ""
        await peer.send(Frame(TEXT, fin=False), *[Frame(0, fin=False)] * 3)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(peer.answer_close)
            with pytest.raises(ConnectionClosedError, match="more than 3 fragments"):
                await ws.receive()


@both_roles
@pytest.mark.parametrize(
    ("size", "options"),
    [(1000, {"max_size": 1000, "max_buffer": 200_000}), (0, {})],
    ids=["bytes", "count"],
)
async def test_peer_has_to_wait_once_the_inbox_is_full(
    role: Role, size: int, options: dict[str, int]
) -> None:
    """R-B3a: what is received and not read is bounded in bytes and in number."""
    async with MEMORY.scripted(role, capacity=2000, **options) as (ws, peer):  # type: ignore[arg-type]
        sent = 0

        async def flood() -> None:
            nonlocal sent
            while True:
                await peer.send(*[Frame(BINARY, bytes(size))] * 10)
                sent += 10

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(flood)
            before = math.nan
            while sent != before:
                before = sent
                await settle()
            limit = 200 if size else 1024
            assert limit <= sent <= 2.2 * limit
            # Reading lets it go on, and nothing is lost.
            for _ in range(3 * limit):
                assert await ws.receive() == bytes(size)
            assert sent > before
            tasks.cancel_scope.cancel()


@pytest.mark.parametrize("pings", [False, True], ids=["alone", "among Pongs"])
async def test_unbounded_message_grows_only_while_somebody_waits_for_it(pings: bool) -> None:
    async with MEMORY.scripted(
        "server", capacity=1000, max_size=None, max_fragments=None, max_buffer=5000
    ) as (ws, peer):
        sent = 0

        async def send() -> None:
            nonlocal sent
            pong = [Frame(PONG)] if pings else []
            first = Frame(BINARY, bytes(500), fin=False)
            middle = Frame(CONTINUATION, bytes(500), fin=False)
            frames = [first, *[middle] * 598, Frame(CONTINUATION, bytes(500))]
            for frame in frames:
                await peer.stream.send(peer.encode(*pong, frame))
                sent += 500

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send)
            before = -1
            while sent != before:
                before = sent
                await settle()
            assert 5000 <= sent <= 8000
            assert await ws.receive() == bytes(300_000)


@both_roles
async def test_control_frames_are_answered_while_nobody_receives(
    role: Role, carrier: Carrier
) -> None:
    """R-A7a: Pings are answered and the peer's Close is noticed with no call of `receive`."""
    async with carrier.scripted(role) as (ws, peer):
        for n in range(100):
            await peer.send(Frame(BINARY, bytes(1000)), Frame(PING, b"%d" % n))
            assert await peer.receive() == Frame(PONG, b"%d" % n)
        await peer.send(close_frame(1001))
        assert await peer.receive_close() == (1001, "")
        await peer.drop()
        await ws.wait_closed()
        assert ws.close_code == 1001


@both_roles
async def test_close_that_comes_as_the_inbox_fills_up_is_acted_on(role: Role) -> None:
    """R-A7a: the end is not held up by messages that nobody reads."""
    async with MEMORY.scripted(role, close_timeout=60) as (ws, peer):
        await peer.send(*[Frame(TEXT)] * 2000, close_frame(1000))
        assert await peer.receive_close() == (1000, "")
        await peer.drop()
        with anyio.fail_after(30):
            await ws.wait_closed()
        assert ws.close_code == 1000
        assert len([message async for message in ws]) == 2000
