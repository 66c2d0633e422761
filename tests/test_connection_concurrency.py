"""Many tasks on one connection at once (RFC 6455 §5.4)."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Awaitable, Callable

import anyio
import anyio.to_thread
import pytest
from anyio.lowlevel import checkpoint

from anyws import Broadcaster, ConcurrencyError, Connection, ConnectionClosed, broadcast
from anyws.testing import BINARY, CLOSE, PING, PONG, TEXT, Frame, RawPeer, close_frame

from .scripted import MEMORY, Carrier, Role, both_roles, settle

pytestmark = pytest.mark.anyio

TASKS = 50
MESSAGES = 6


def message(task: int, number: int) -> bytes:
    """Return a message of a size that is random, yet always the same."""
    size = int(2 ** random.Random(task * MESSAGES + number).uniform(0, 16))
    return bytes([task, number]) + bytes(size)


class StrictPeer:
    """Collects the messages of each task, answers Pings, and sends some of its own."""

    def __init__(self, peer: RawPeer) -> None:
        self._peer = peer
        self._parts: list[bytes] = []
        self.messages: dict[int, list[bytes]] = defaultdict(list)
        self.pongs: list[bytes] = []

    async def run(self) -> None:
        """Read until the Close frame, and answer it."""
        for number in range(20):
            await self._peer.send(Frame(PING, b"%d" % number))
        while (frame := await self._peer.receive()).opcode != CLOSE:
            if frame.opcode == PING:
                await self._peer.send(Frame(PONG, frame.payload))
            elif frame.opcode == PONG:
                self.pongs.append(frame.payload)
            else:
                self._parts.append(frame.payload)
                if frame.fin:
                    whole = b"".join(self._parts)
                    self._parts.clear()
                    self.messages[whole[0]].append(whole)
        await self._peer.send(close_frame(1000))
        await self._peer.drop()


@both_roles
async def test_fifty_tasks_may_send_and_ping_at_once(role: Role, carrier: Carrier) -> None:
    """R-A11a: no frame torn, no messages mixed, and those of each task in its order."""
    async with carrier.scripted(role, capacity=1 << 16, write_limit=20_000) as (ws, peer):
        strict = StrictPeer(peer)

        async def send(task: int) -> None:
            for number in range(MESSAGES):
                whole = message(task, number)
                if number % 3 == 1:
                    await ws.send([whole[:5], whole[5:]])
                elif number % 3 == 2:
                    async with ws.send_stream() as writer:
                        await writer.write(whole[:7])
                        await checkpoint()
                        await writer.write(whole[7:])
                else:
                    await ws.send(whole)
                if number == task % MESSAGES:
                    await ws.ping()

        async with anyio.create_task_group() as reading:
            reading.start_soon(strict.run)
            async with anyio.create_task_group() as tasks:
                for task in range(TASKS):
                    tasks.start_soon(send, task)
            await ws.close()
    assert strict.messages == {
        task: [message(task, number) for number in range(MESSAGES)] for task in range(TASKS)
    }
    # §5.5.3: where they came faster than the Pongs could leave, only the newest was answered.
    assert strict.pongs[-1] == b"19"


@both_roles
async def test_any_task_may_close_under_the_others(role: Role, carrier: Carrier) -> None:
    """R-A11a, R-A4e: senders and the receiver end, no frame is torn, nobody waits for ever."""
    async with carrier.scripted(role, capacity=1 << 16, write_limit=20_000) as (ws, peer):
        strict = StrictPeer(peer)
        ended = 0

        async def send(task: int) -> None:
            nonlocal ended
            with pytest.raises(ConnectionClosed):
                await send_for_ever(ws, task)
            ended += 1

        async def receive() -> None:
            with pytest.raises(ConnectionClosed):
                await ws.receive()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(strict.run)
            tasks.start_soon(receive)
            for task in range(TASKS):
                tasks.start_soon(send, task)
            while sum(map(len, strict.messages.values())) < 3 * TASKS:
                await checkpoint()
            for _ in range(3):
                tasks.start_soon(ws.aclose)
        assert ended == TASKS
        assert ws.close_code == 1000
    for messages in strict.messages.values():
        assert [whole[1] for whole in messages] == list(range(len(messages)))


async def send_for_ever(ws: Connection, task: int) -> None:
    """Send numbered messages, every third of them in fragments."""
    number = 0
    while True:
        whole = bytes([task, number]) + bytes(100 * task)
        await ws.send([whole[:3], whole[3:]] if number % 3 == 1 else whole)
        number += 1


@both_roles
async def test_both_ends_send_while_both_receive(role: Role, carrier: Carrier) -> None:
    """A full-duplex exchange larger than all buffers does not lock up."""
    async with carrier.pair(
        capacity=1 << 16, client={"max_buffer": 1 << 20}, server={"write_limit": 1000}
    ) as ends:
        ours, theirs = ends if role == "client" else ends[::-1]

        async def send(ws: Connection) -> None:
            for number in range(200):
                await ws.send(number.to_bytes(2, "big") + bytes(50_000))

        async def receive(ws: Connection) -> None:
            for number in range(200):
                data = await ws.receive_bytes()
                assert int.from_bytes(data[:2], "big") == number
                assert len(data) == 50_002

        async with anyio.create_task_group() as tasks:
            for ws in (ours, theirs):
                tasks.start_soon(send, ws)
                tasks.start_soon(receive, ws)


@both_roles
async def test_echo_of_each_message_comes_back_in_order(role: Role, carrier: Carrier) -> None:
    async with carrier.pair() as ends, anyio.create_task_group() as tasks:
        ours, theirs = ends if role == "client" else ends[::-1]

        async def echo() -> None:
            async for data in theirs:
                await theirs.send(data)

        tasks.start_soon(echo)
        for number in range(100):
            await ours.send(f"{number}")
            assert await ours.receive() == f"{number}"
        for number in range(100):
            await ours.send(f"{number}")
        assert [int(await ours.receive()) for _ in range(100)] == list(range(100))
        await ours.close()


async def test_cancelled_senders_hand_their_turn_on() -> None:
    """Nobody waits for the turn of a task that is gone."""
    async with MEMORY.scripted("server", capacity=100, write_limit=100) as (ws, peer):
        await ws.send(bytes(1000))
        rng = random.Random(5)
        sent = []

        async def send(number: int) -> None:
            with anyio.move_on_after(0) if rng.random() < 0.5 else anyio.CancelScope():
                await ws.send(number.to_bytes(2, "big") + bytes(200))
                sent.append(number)

        async with anyio.create_task_group() as tasks:
            for number in range(100):
                tasks.start_soon(send, number)
            await settle()
            assert await peer.receive() == Frame(BINARY, bytes(1000))
            tasks.start_soon(ws.send, "end")
            received = []
            while (frame := await peer.receive()) != Frame(TEXT, b"end"):
                received.append(int.from_bytes(frame.payload[:2], "big"))
        assert received == sent
        assert 20 < len(sent) < 80


async def stream_out(ws: Connection) -> None:
    async with ws.send_stream() as writer:
        await writer.write(b"x")


async def stream_in(ws: Connection) -> None:
    async with ws.receive_stream():
        pass


async def enter_a_close_scope(ws: Connection) -> None:
    with ws.cancel_on_close():
        pass


async def send_to_many(ws: Connection) -> None:
    broadcast([ws], "hello")


CALLS: dict[str, Callable[[Connection], Awaitable[object]]] = {
    "send": lambda ws: ws.send("hello"),
    "send fragments": lambda ws: ws.send(["hello"]),
    "send a large message": lambda ws: ws.send(bytes(2_000_000)),
    "send_stream": stream_out,
    "broadcast": send_to_many,
    "receive": Connection.receive,
    "receive_stream": stream_in,
    "iterate": Connection.__anext__,
    "ping": Connection.ping,
    "pong": Connection.pong,
    "close": Connection.close,
    "aclose": Connection.aclose,
    "send_eof": Connection.send_eof,
    "wait_closed": Connection.wait_closed,
    "cancel_on_close": enter_a_close_scope,
}


@both_roles
@pytest.mark.parametrize("name", CALLS)
async def test_another_thread_is_told_and_changes_nothing(name: str, role: Role) -> None:
    """R-D3: its loop is another one."""

    def run_elsewhere() -> None:
        with pytest.raises(ConcurrencyError, match="event loop of another thread"):
            anyio.run(CALLS[name], ws)

    async with MEMORY.scripted(role) as (ws, peer):
        await anyio.to_thread.run_sync(run_elsewhere)
        await ws.send("here")
        await peer.expect(Frame(TEXT, b"here"))
        await peer.send(Frame(TEXT, b"there"))
        assert await ws.receive() == "there"


@both_roles
async def test_a_group_of_another_thread_is_told(role: Role) -> None:
    group = Broadcaster()

    def publish() -> None:
        with pytest.raises(ConcurrencyError, match="event loop of another thread"):
            group.publish("hello")

    async with MEMORY.scripted(role) as (ws, _), group.member(ws):
        await anyio.to_thread.run_sync(publish)
