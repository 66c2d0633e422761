"""The send rule: a cancelled send sent nothing, a returned one goes out whole and in order."""

from __future__ import annotations

import array
import gc
import os
import random
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.lowlevel import checkpoint

from anyws import (
    ConcurrencyError,
    Connection,
    ConnectionClosed,
    ConnectionClosedError,
    LocalProtocolError,
    ServerConnection,
    State,
    wrap_client,
)
from anyws._message_path import CALLS_A_TURN
from anyws.testing import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Frame,
    RawPeer,
    close_frame,
    memory_pair,
    run_handler,
)

from .scripted import MEMORY, Carrier, Role, both_roles, settle

pytestmark = pytest.mark.anyio

#: Messages of one run of the fuzz test.
MESSAGES = int(os.environ.get("ANYWS_FUZZ_MESSAGES", "60"))

Send = Callable[[Connection], Awaitable[object]]


async def run_until_stuck(function: Callable[[], Awaitable[object]]) -> bool:
    """Run it, and cancel it once it cannot go on; return whether that was needed."""
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:

            async def cancel() -> None:
                await settle()
                scope.cancel()

            tasks.start_soon(cancel)
            await function()
            tasks.cancel_scope.cancel()
    return scope.cancelled_caught


async def fill(ws: Connection, size: int = 1 << 16) -> int:
    """Send messages of so many bytes until `send` waits; return how many were sent."""
    sent = 0

    async def send() -> None:
        nonlocal sent
        while True:
            await ws.send(sent.to_bytes(4, "big") + bytes(size - 4))
            sent += 1

    before = -1
    while sent != before:
        before = sent
        assert await run_until_stuck(send)
    return sent


async def receive_filling(peer: RawPeer, n: int) -> None:
    """Receive what `fill` sent."""
    for number in range(n):
        frame = await peer.receive()
        assert frame.opcode == BINARY
        assert int.from_bytes(frame.payload[:4], "big") == number


# Cancelling


@both_roles
async def test_cancelled_send_sent_nothing_and_the_connection_stays_usable(
    role: Role, carrier: Carrier
) -> None:
    """R-A1a."""
    async with carrier.scripted(role, capacity=1 << 17) as (ws, peer):
        sent = await fill(ws)
        assert sent > 1
        assert ws.state is State.OPEN
        for message in ("never", b"never", ["never"]):
            assert await run_until_stuck(lambda message=message: ws.send(message))  # type: ignore[misc]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ws.send, "after")
            await receive_filling(peer, sent)
            assert await peer.receive() == Frame(TEXT, b"after")


async def test_send_in_a_cancelled_scope_sends_all_or_nothing() -> None:
    """R-A1a: a call that need not wait may go through; then the message is sent."""
    async with MEMORY.scripted("client") as (ws, peer):
        returned = []
        for n in range(2 * CALLS_A_TURN):
            with anyio.CancelScope() as scope:
                scope.cancel()
                await ws.send(f"{n}")
                returned.append(n)
        assert 0 < len(returned) < 2 * CALLS_A_TURN
        assert await peer.round_trip() == [Frame(TEXT, b"%d" % n) for n in returned]


@both_roles
async def test_no_cancellation_anywhere_tears_a_frame(role: Role, carrier: Carrier) -> None:
    """R-A1b, R-A1c: what returned arrives whole and in order, what was cancelled does not."""
    rng = random.Random(f"{role} {carrier.name}")
    source = rng.randbytes(8 << 20)
    sizes = [int(2 ** rng.uniform(0, 18)) for _ in range(MESSAGES)]
    sizes[MESSAGES // 2] = 8 << 20
    returned: list[bytes] = []
    received: list[bytes] = []
    cancelled = 0

    async with (
        carrier.scripted(role, capacity=1 << 16, write_limit=1 << 12) as (ws, peer),
        anyio.create_task_group() as tasks,
    ):
        scope: anyio.CancelScope | None = None

        async def cancel_now_and_then() -> None:
            while True:
                for _ in range(rng.randrange(20)):
                    await checkpoint()
                if scope is not None:
                    scope.cancel()
                await checkpoint()

        async def receive() -> None:
            while (frame := await peer.receive()).opcode != CLOSE:
                assert frame.opcode == BINARY
                assert frame.fin
                received.append(frame.payload)
                for _ in range(rng.randrange(30)):
                    await checkpoint()
            await peer.send(close_frame(1000))
            if role == "server":
                # §7.1.1: the server ends the bytes, and has sent nothing after its Close.
                assert await peer.receive_rest() == []
            await peer.drop()

        tasks.start_soon(receive)
        async with anyio.create_task_group() as cancelling:
            cancelling.start_soon(cancel_now_and_then)
            for number, size in enumerate(sizes):
                message = number.to_bytes(4, "big") + source[:size]
                with anyio.CancelScope() as scope:
                    await ws.send(message)
                    returned.append(message)
                cancelled += scope.cancelled_caught
            scope = None
            cancelling.cancel_scope.cancel()
        await ws.close()
    assert received == returned
    assert len(returned) + cancelled == MESSAGES
    assert cancelled
    assert returned


async def measure_cancelled_sends(carrier: Carrier, n: int) -> int:
    """Cancel so many sends to a peer that does not read; return the bytes by which memory grew."""
    async with carrier.scripted("client", capacity=1 << 16) as (ws, _):
        await fill(ws)

        async def cancel_sends(n: int) -> None:
            message = bytearray(1 << 16)
            for _ in range(n):
                with anyio.CancelScope() as scope:
                    scope.cancel()
                    await ws.send(message)
                assert scope.cancelled_caught

        tracemalloc.start()
        await cancel_sends(50)
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        await cancel_sends(n)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
    return grown


async def test_cancelled_sends_do_not_grow_memory(carrier: Carrier) -> None:
    """R-A1d."""
    assert await measure_cancelled_sends(carrier, 1000) < 50_000


# Waiting


@both_roles
async def test_send_waits_at_the_write_limit(role: Role) -> None:
    async with MEMORY.scripted(role, capacity=1, write_limit=1000) as (ws, peer):
        # 10 frames of 100 bytes and a header are the first to be 1,000 bytes or more.
        assert await fill(ws, 100) == 10
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ws.send, "after")
            await receive_filling(peer, 10)
            assert await peer.receive() == Frame(TEXT, b"after")


@both_roles
async def test_message_above_the_write_limit_is_sent_whole(role: Role, carrier: Carrier) -> None:
    async with carrier.scripted(role, capacity=1000, write_limit=1000) as (ws, peer):
        await ws.send(bytes(3 << 20))
        assert await peer.receive() == Frame(BINARY, bytes(3 << 20))


@both_roles
async def test_senders_take_turns_in_the_order_they_came(role: Role) -> None:
    """R-A11a: first come, first served, where they have to wait."""
    async with MEMORY.scripted(role, capacity=10, write_limit=100) as (ws, peer):
        await ws.send(bytes(200))
        scopes = [anyio.CancelScope() for _ in range(12)]

        async def send(number: int) -> None:
            with scopes[number]:
                await ws.send(f"{number:050}")

        async with anyio.create_task_group() as tasks:
            for number in range(12):
                tasks.start_soon(send, number)
                await settle()
            # The first, one in the middle and the last change their mind.
            for number in (0, 6, 11):
                scopes[number].cancel()
            await settle()
            assert await peer.receive() == Frame(BINARY, bytes(200))
            for number in (1, 2, 3, 4, 5, 7, 8, 9, 10):
                assert int((await peer.receive()).payload) == number
        assert await peer.round_trip() == []


@both_roles
async def test_newcomer_does_not_overtake_those_who_wait(role: Role) -> None:
    async with MEMORY.scripted(role, capacity=10, write_limit=100) as (ws, peer):
        await ws.send(bytes(200))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ws.send, "first")
            await settle()

            async def send_as_soon_as_there_is_room() -> None:
                assert await peer.receive() == Frame(BINARY, bytes(200))
                await ws.send("second")

            tasks.start_soon(send_as_soon_as_there_is_room)
        assert await peer.receive() == Frame(TEXT, b"first")
        assert await peer.receive() == Frame(TEXT, b"second")


@both_roles
@pytest.mark.parametrize("how", ["close", "drop", "abort", "violation"])
async def test_sender_that_waits_ends_with_the_connection(role: Role, how: str) -> None:
    async with MEMORY.scripted(role, capacity=2000, write_limit=1000) as (ws, peer):
        await fill(ws, 100)
        closed: list[ConnectionClosed] = []

        async def send(data: str | list[str]) -> None:
            with pytest.raises(ConnectionClosed) as caught:
                await ws.send(data)
            closed.append(caught.value)

        async with anyio.create_task_group() as tasks:
            for data in ("a", ["b"], "c"):
                tasks.start_soon(send, data)
                await settle()
            if how == "close":
                await peer.send(close_frame(1000))
                await peer.receive_to_close()
                await peer.drop()
            elif how == "drop":
                await peer.drop()
            elif how == "violation":
                await peer.send(Frame(3))
                await peer.drop()
            else:
                await anyio.aclose_forcefully(ws)
        assert len(closed) == 3
        assert len({str(exc) for exc in closed}) == 1


async def test_send_after_the_end_raises_what_receive_raises() -> None:
    """R-A10c."""
    async with MEMORY.scripted("client") as (ws, peer):
        await peer.send(close_frame(1000))
        await peer.answer_close()
        with pytest.raises(ConnectionClosed) as receiving:
            await ws.receive()
        for data in ("x", b"x", ["x"], [b"x"]):
            with pytest.raises(type(receiving.value)) as sending:
                await ws.send(data)
            assert str(sending.value) == str(receiving.value)


# Few writes, no delay


async def test_small_frames_sent_in_one_go_share_a_write() -> None:
    ours, theirs = memory_pair()
    async with anyio.create_task_group() as tasks:
        peer = RawPeer(theirs, is_client=False)
        tasks.start_soon(peer.shake_hands)
        async with wrap_client(ours, "ws://localhost/") as ws:
            await peer.ready.wait()
            writes = ours.writes
            for n in range(10):
                await ws.send(f"{n}")
            assert [(await peer.receive()).payload for _ in range(10)] == [
                b"%d" % n for n in range(10)
            ]
            assert ours.writes - writes <= 2
            await peer.drop()


@pytest.mark.parametrize("waiting", ["event", "receive", "ping", "closed"])
async def test_frame_is_not_held_back_once_the_task_waits(waiting: str, carrier: Carrier) -> None:
    """Whatever it waits for: here what comes only after all frames have arrived."""
    async with carrier.scripted("server") as (ws, peer):
        arrived = anyio.Event()

        async def receive() -> None:
            for n in range(3):
                assert await peer.receive() == Frame(TEXT, b"%d" % n)
            arrived.set()
            await peer.send(Frame(TEXT, b"arrived"))
            if waiting == "ping":
                await peer.send(Frame(PONG, (await peer.receive()).payload))
            if waiting == "closed":
                await peer.send(close_frame(1000))
                await peer.answer_close()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(receive)
            for n in range(3):
                await ws.send(f"{n}")
            if waiting == "event":
                await arrived.wait()
            elif waiting == "receive":
                assert await ws.receive() == "arrived"
            elif waiting == "ping":
                await ws.ping()
            else:
                await ws.wait_closed()


@pytest.mark.parametrize("fragmented", [False, True])
async def test_many_sends_give_other_tasks_turns(fragmented: bool) -> None:
    """Though none of them has to wait."""
    async with MEMORY.scripted("client") as (ws, _):
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await checkpoint()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(count)
            if fragmented:
                await ws.send([b"x"] * (8 * CALLS_A_TURN))
            else:
                for _ in range(8 * CALLS_A_TURN):
                    await ws.send(b"x")
            tasks.cancel_scope.cancel()
        assert turns >= 5


# Large messages


@both_roles
@pytest.mark.parametrize("kind", ["bytes", "bytearray", "text", "bytes as text"])
async def test_large_message_is_made_ready_a_slice_at_a_time(role: Role, kind: str) -> None:
    """No more than 10 ms of work in one go; other tasks run, and the message is one frame."""
    text = "aé世🌍" * 500_000
    data: str | bytes | bytearray = text if kind == "text" else text.encode()
    if kind == "bytearray":
        data = bytearray(text.encode())
    async with MEMORY.scripted(role, capacity=1 << 20) as (ws, peer):
        turns = 0
        sent = anyio.Event()

        async def count() -> None:
            nonlocal turns
            while not sent.is_set():
                turns += 1
                await checkpoint()

        async def send() -> None:
            await ws.send(data, text=True if kind == "bytes as text" else None)
            sent.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(count)
            tasks.start_soon(send)
            with anyio.fail_after(30):
                frame = await peer.receive()
        is_text = kind in ("text", "bytes as text")
        assert frame == Frame(TEXT if is_text else BINARY, text.encode())
        if role == "client" or kind != "bytes":
            assert turns >= 5


async def test_large_message_whose_send_is_cancelled_is_not_sent(carrier: Carrier) -> None:
    """R-A1a, while it is made ready."""
    async with carrier.scripted("client") as (ws, peer):
        with anyio.CancelScope() as scope:
            scope.cancel()
            await ws.send(bytes(2 << 20))
        assert scope.cancelled_caught
        await ws.send("next")
        assert await peer.round_trip() == [Frame(TEXT, b"next")]


async def test_large_message_that_is_no_text_is_refused_and_nothing_sent() -> None:
    async with MEMORY.scripted("server") as (ws, peer):
        for data in (b"a" * (2 << 20) + b"\xff", "a" * (2 << 20) + "\ud800"):
            with pytest.raises(LocalProtocolError, match="UTF-8"):
                await ws.send(data, text=True)
        assert await peer.round_trip() == []


async def test_messages_of_other_tasks_pass_while_a_large_one_is_made_ready() -> None:
    async with MEMORY.scripted("client", capacity=8 << 20) as (ws, peer):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ws.send, bytes(2 << 20))
            await checkpoint()
            await ws.send("small")
        frames = await peer.round_trip()
        assert [len(frame.payload) for frame in frames] == [5, 2 << 20]


# What can be sent


class Text(str):
    """A subclass, as enumerations of strings are."""


class Bytes(bytes):
    """A subclass."""


@pytest.mark.parametrize(
    ("data", "text", "opcode", "payload"),
    [
        pytest.param("zwölf", None, TEXT, "zwölf".encode(), id="str"),
        pytest.param(Text("x"), None, TEXT, b"x", id="subclass-of-str"),
        pytest.param("", None, TEXT, b"", id="empty-str"),
        pytest.param("zwölf", False, BINARY, "zwölf".encode(), id="str-as-binary"),
        pytest.param("x", True, TEXT, b"x", id="str-as-text"),
        pytest.param(b"\xff", None, BINARY, b"\xff", id="bytes"),
        pytest.param(b"", None, BINARY, b"", id="empty-bytes"),
        pytest.param(Bytes(b"x"), None, BINARY, b"x", id="subclass-of-bytes"),
        pytest.param(bytearray(b"x"), None, BINARY, b"x", id="bytearray"),
        pytest.param(memoryview(b"abc"), None, BINARY, b"abc", id="memoryview"),
        pytest.param(memoryview(b"abcdef")[::2], None, BINARY, b"ace", id="memoryview-strided"),
        pytest.param(memoryview(b"abc")[::-1], None, BINARY, b"cba", id="memoryview-reversed"),
        pytest.param(
            memoryview(array.array("H", [0x4142, 0x4142])),
            None,
            BINARY,
            array.array("H", [0x4142, 0x4142]).tobytes(),
            id="memoryview-of-numbers",
        ),
        pytest.param("é".encode(), True, TEXT, "é".encode(), id="bytes-as-text"),
        pytest.param(bytearray(b"x"), True, TEXT, b"x", id="bytearray-as-text"),
        pytest.param(b"x", False, BINARY, b"x", id="bytes-as-binary"),
    ],
)
async def test_kind_of_message_follows_the_type(
    data: str | bytes | bytearray | memoryview, text: bool | None, opcode: int, payload: bytes
) -> None:
    async with MEMORY.scripted("client") as (ws, peer):
        await ws.send(data, text=text)
        assert await peer.receive() == Frame(opcode, payload)


@both_roles
@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 200_000])
async def test_message_of_any_size_arrives(role: Role, size: int) -> None:
    """§5.2: all three codings of the length."""
    data = random.Random(size).randbytes(size)
    async with MEMORY.scripted(role) as (ws, peer):
        await ws.send(data)
        await ws.send([data])
        assert await peer.receive() == Frame(BINARY, data)
        assert await peer.receive() == Frame(BINARY, data, fin=False)


@both_roles
async def test_buffer_may_be_changed_once_send_has_returned(role: Role) -> None:
    async with MEMORY.scripted(role, capacity=10) as (ws, peer):
        buffer = bytearray(b"a" * 50_000)
        await ws.send(buffer)
        buffer[:] = b"b" * 50_000
        await ws.send(memoryview(buffer))
        buffer[:] = b"c" * 50_000
        assert await peer.receive() == Frame(BINARY, b"a" * 50_000)
        assert await peer.receive() == Frame(BINARY, b"b" * 50_000)


@pytest.mark.parametrize(
    "data", [{"a": 1}, {}, 5, None, 1.5, pytest.param(object(), id="object")], ids=repr
)
async def test_data_of_another_type_is_rejected_and_nothing_sent(data: object) -> None:
    async with MEMORY.scripted("client") as (ws, peer):
        with pytest.raises(TypeError, match=f"cannot send {type(data).__name__}; expected str, b"):
            await ws.send(data)  # type: ignore[arg-type]
        assert await peer.round_trip() == []
        assert ws.state is State.OPEN


@pytest.mark.parametrize(
    ("data", "text", "problem"),
    [
        ("\ud800", None, "text cannot be encoded as UTF-8"),
        ("\ud800", False, "text cannot be encoded as UTF-8"),
        (["\ud800"], None, "text cannot be encoded as UTF-8"),
        (b"\xff", True, "bytes to be sent as text are not UTF-8"),
        (bytearray(b"\xff"), True, "bytes to be sent as text are not UTF-8"),
    ],
)
async def test_bad_text_is_rejected_and_nothing_sent(
    data: str | bytes | list[str], text: bool | None, problem: str
) -> None:
    """§8.1."""
    async with MEMORY.scripted("client") as (ws, peer):
        with pytest.raises(LocalProtocolError, match=problem):
            await ws.send(data, text=text)
        assert await peer.round_trip() == []
        await ws.send("fine")
        assert await peer.receive() == Frame(TEXT, b"fine")


# Fragmented messages


def generator(items: Iterable[str | bytes]) -> Iterator[str | bytes]:
    """Yield the items."""
    yield from items


async def async_generator(items: Iterable[str | bytes]) -> AsyncIterator[str | bytes]:
    """Yield the items, with a turn for other tasks before each."""
    for item in items:
        await checkpoint()
        yield item


@both_roles
@pytest.mark.parametrize("make", [list, tuple, iter, generator, async_generator])
@pytest.mark.parametrize("kind", [TEXT, BINARY])
async def test_iterable_is_one_fragmented_message(
    role: Role,
    make: Callable[[list[str | bytes]], Iterable[str | bytes] | AsyncIterator[str | bytes]],
    kind: int,
) -> None:
    """§5.4: each item is a frame, and the whole one message."""
    items: list[str | bytes] = ["one", "zwö", ""] if kind == TEXT else [b"one", b"zw\xf6", b""]
    async with MEMORY.scripted(role) as (ws, peer):
        await ws.send(make(items))
        encoded = [item.encode() if isinstance(item, str) else item for item in items]
        assert [await peer.receive() for _ in range(4)] == [
            Frame(kind, encoded[0], fin=False),
            Frame(CONTINUATION, encoded[1], fin=False),
            Frame(CONTINUATION, encoded[2], fin=False),
            Frame(CONTINUATION),
        ]


async def test_items_may_be_of_any_bytes_like_type() -> None:
    async with MEMORY.scripted("client") as (ws, peer):
        await ws.send([b"a", bytearray(b"b"), memoryview(b"c")])
        assert [(await peer.receive()).payload for _ in range(4)] == [b"a", b"b", b"c", b""]


@pytest.mark.parametrize("make", [list, generator, async_generator])
async def test_iterable_of_nothing_sends_nothing(
    make: Callable[[list[str | bytes]], Iterable[str | bytes] | AsyncIterator[str | bytes]],
) -> None:
    async with MEMORY.scripted("client") as (ws, peer):
        await ws.send(make([]))
        assert await peer.round_trip() == []


@pytest.mark.parametrize(
    ("data", "text"),
    [([5], None), ([["nested"]], None), ([None, "x"], None), ([b"x"], True), (["x"], False)],
    ids=repr,
)
async def test_first_item_of_another_type_is_rejected_and_nothing_sent(
    data: list[object], text: bool | None
) -> None:
    async with MEMORY.scripted("client") as (ws, peer):
        with pytest.raises(TypeError, match="cannot send"):
            await ws.send(data, text=text)  # type: ignore[arg-type]
        assert await peer.round_trip() == []
        assert ws.state is State.OPEN


@both_roles
@pytest.mark.parametrize(
    ("items", "problem"),
    [
        (["text", b"binary"], "cannot send bytes in this message, expected str"),
        ([b"binary", "text"], "cannot send str in this message, expected bytes-like"),
        ([b"binary", 5], "cannot send int; expected str or bytes-like"),
    ],
)
async def test_later_item_of_another_type_fails_the_connection(
    role: Role, items: list[str | bytes], problem: str
) -> None:
    """§5.4: a message that has begun cannot be abandoned in any other way."""
    async with MEMORY.scripted(role) as (ws, peer):
        with pytest.raises(TypeError, match=problem):
            await ws.send(items)
        assert not (await peer.receive()).fin
        assert await peer.answer_close() == (1011, "a fragmented message was abandoned")
        with pytest.raises(ConnectionClosedError) as closed:
            await ws.receive()
        assert isinstance(closed.value.__cause__, LocalProtocolError)
        assert str(closed.value.__cause__).endswith("abandoned: TypeError")
        assert closed.value.initiator == "local"


class Trouble(Exception):
    """What the producer of a message raises."""


def failing(items: int) -> Iterator[bytes]:
    """Raise after so many items."""
    for n in range(items):
        yield b"%d" % n
    raise Trouble


async def failing_later(items: int) -> AsyncIterator[bytes]:
    """Raise after so many items."""
    for item in failing(items):
        await checkpoint()
        yield item


async def send_failing_stream(ws: Connection, items: int) -> None:
    """Raise after so many writes."""
    async with ws.send_stream() as writer:
        for item in failing(items):
            await writer.write(item)


FAILING: list[Callable[[Connection, int], Awaitable[None]]] = [
    lambda ws, items: ws.send(failing(items)),
    lambda ws, items: ws.send(failing_later(items)),
    send_failing_stream,
]
failing_producers = pytest.mark.parametrize(
    "send", FAILING, ids=["iterable", "async-iterable", "stream"]
)


@both_roles
@failing_producers
async def test_producer_that_raises_at_once_sends_nothing(
    role: Role, send: Callable[[Connection, int], Awaitable[None]]
) -> None:
    async with MEMORY.scripted(role) as (ws, peer):
        with pytest.raises(Trouble):
            await send(ws, 0)
        assert await peer.round_trip() == []
        assert ws.state is State.OPEN


@both_roles
@failing_producers
async def test_producer_that_raises_later_fails_the_connection(
    role: Role, send: Callable[[Connection, int], Awaitable[None]]
) -> None:
    """R-B11: never a valid-looking truncated message."""
    async with MEMORY.scripted(role) as (ws, peer):
        with pytest.raises(Trouble):
            await send(ws, 2)
        assert await peer.receive() == Frame(BINARY, b"0", fin=False)
        assert await peer.receive() == Frame(CONTINUATION, b"1", fin=False)
        assert (await peer.answer_close())[0] == 1011
        with pytest.raises(ConnectionClosedError):
            await ws.receive()


async def unfinished(items: list[bytes]) -> AsyncIterator[bytes]:
    """Yield the items, then wait for ever."""
    for item in items:
        yield item
    await anyio.sleep_forever()


async def send_unfinished_stream(ws: Connection, items: list[bytes]) -> None:
    """Write the items, then wait for ever."""
    async with ws.send_stream() as writer:
        for item in items:
            await writer.write(item)
        await anyio.sleep_forever()


UNFINISHED: list[Callable[[Connection, list[bytes]], Awaitable[None]]] = [
    lambda ws, items: ws.send(unfinished(items)),
    send_unfinished_stream,
]
unfinished_producers = pytest.mark.parametrize("send", UNFINISHED, ids=["iterable", "stream"])


@both_roles
@unfinished_producers
async def test_fragmented_message_cancelled_before_it_began_sends_nothing(
    role: Role, send: Callable[[Connection, list[bytes]], Awaitable[None]]
) -> None:
    """R-A1a."""
    async with MEMORY.scripted(role) as (ws, peer):
        assert await run_until_stuck(lambda: send(ws, []))
        assert await peer.round_trip() == []
        assert ws.state is State.OPEN


@both_roles
@unfinished_producers
async def test_fragmented_message_cancelled_after_it_began_fails_the_connection(
    role: Role, carrier: Carrier, send: Callable[[Connection, list[bytes]], Awaitable[None]]
) -> None:
    """R-A1b: no torn frame; the peer is told by 1011."""
    async with carrier.scripted(role) as (ws, peer):
        assert await run_until_stuck(lambda: send(ws, [b"begun"]))
        assert ws.state is not State.OPEN
        assert await peer.receive() == Frame(BINARY, b"begun", fin=False)
        assert (await peer.answer_close())[0] == 1011
        await ws.wait_closed()


@both_roles
async def test_fragmented_message_cancelled_while_it_waits_for_room_fails_the_connection(
    role: Role,
) -> None:
    """R-A1b."""
    async with MEMORY.scripted(role, capacity=100, write_limit=1000) as (ws, peer):
        assert await run_until_stuck(lambda: ws.send([bytes(100)] * 100))
        frames = await peer.receive_to_close()
        assert len(frames) <= 12
        assert not any(frame.fin for frame in frames[:-1])
        assert frames[-1].payload[:2] == (1011).to_bytes(2, "big")


@both_roles
async def test_other_messages_wait_for_a_fragmented_one_and_pings_do_not(
    role: Role, carrier: Carrier
) -> None:
    """R-A11b."""
    async with carrier.scripted(role) as (ws, peer), anyio.create_task_group() as tasks:
        async with ws.send_stream() as writer:
            await writer.write(b"one")
            assert await peer.receive() == Frame(BINARY, b"one", fin=False)
            tasks.start_soon(ws.send, "other")
            await settle()
            tasks.start_soon(ws.send, ["fragmented"])
            await settle()
            await ws.pong(b"pong")
            assert await peer.receive() == Frame(PONG, b"pong")
            tasks.start_soon(ws.ping, b"ping")
            assert await peer.receive() == Frame(PING, b"ping")
            await peer.send(Frame(PONG, b"ping"))
            await peer.send(Frame(PING, b"theirs"))
            assert await peer.receive() == Frame(PONG, b"theirs")
            await writer.write(b"two")
        assert [await peer.receive() for _ in range(5)] == [
            Frame(CONTINUATION, b"two", fin=False),
            Frame(CONTINUATION),
            Frame(TEXT, b"other"),
            Frame(TEXT, b"fragmented", fin=False),
            Frame(CONTINUATION),
        ]


async def send_nested_stream(ws: Connection) -> None:
    """Begin a message by `send_stream`."""
    async with ws.send_stream() as writer:
        await writer.write(b"x")


@pytest.mark.parametrize(
    "send",
    [lambda ws: ws.send("x"), lambda ws: ws.send(["x"]), send_nested_stream],
    ids=["send", "iterable", "stream"],
)
async def test_task_in_the_middle_of_a_message_cannot_send_another(send: Send) -> None:
    """It would wait for itself for ever."""
    async with MEMORY.scripted("client") as (ws, peer):
        async with ws.send_stream(text=True) as writer:
            await send(ws)
            await writer.write("begun")
            with pytest.raises(ConcurrencyError, match="in the middle of a fragmented message"):
                await send(ws)
            await writer.write("and going on")
        frames = await peer.round_trip()
        assert frames[-3:] == [
            Frame(TEXT, b"begun", fin=False),
            Frame(CONTINUATION, b"and going on", fin=False),
            Frame(CONTINUATION),
        ]
        await send(ws)


# send_stream


@both_roles
async def test_pieces_leave_as_they_are_written(role: Role, carrier: Carrier) -> None:
    async with carrier.scripted(role) as (ws, peer):
        async with ws.send_stream() as writer:
            await writer.write(b"one")
            assert await peer.receive() == Frame(BINARY, b"one", fin=False)
            await writer.write(bytearray(b"two"))
            assert await peer.receive() == Frame(CONTINUATION, b"two", fin=False)
        assert await peer.receive() == Frame(CONTINUATION)


@pytest.mark.parametrize(("text", "opcode"), [(True, TEXT), (False, BINARY)])
async def test_stream_without_pieces_is_an_empty_message(text: bool, opcode: int) -> None:
    async with MEMORY.scripted("client") as (ws, peer):
        async with ws.send_stream(text=text):
            pass
        assert await peer.receive() == Frame(opcode)


@pytest.mark.parametrize(("text", "wrong", "right"), [(True, b"x", "x"), (False, "x", b"x")])
async def test_piece_of_the_other_kind_is_rejected_and_not_sent(
    text: bool, wrong: str | bytes, right: str | bytes
) -> None:
    async with MEMORY.scripted("client") as (ws, peer):
        async with ws.send_stream(text=text) as writer:
            for _ in range(2):
                with pytest.raises(TypeError, match="in this message, expected"):
                    await writer.write(wrong)
                await writer.write(right)
        assert [(await peer.receive()).payload for _ in range(3)] == [b"x", b"x", b""]


@both_roles
@pytest.mark.parametrize("begun", [False, True])
async def test_stream_on_a_connection_that_ended_raises(role: Role, begun: bool) -> None:
    async with MEMORY.scripted(role) as (ws, peer):

        async def send() -> None:
            async with ws.send_stream() as writer:
                if begun:
                    await writer.write(b"one")
                await peer.send(close_frame(1000))
                await peer.receive_to_close()
                await peer.drop()
                with pytest.raises(ConnectionClosed):
                    await writer.write(b"two")

        with pytest.raises(ConnectionClosed):
            await send()


async def test_stream_that_the_end_overtakes_does_not_pass_for_whole() -> None:
    """R-B11."""
    async with MEMORY.scripted("client") as (ws, peer):

        async def send() -> None:
            async with ws.send_stream() as writer:
                await writer.write(b"one")
                await peer.drop()
                await ws.wait_closed()

        with pytest.raises(ConnectionClosedError):
            await send()


async def test_write_that_waits_for_room_ends_with_the_connection() -> None:
    async with MEMORY.scripted("client", capacity=100, write_limit=1000) as (ws, peer):

        async def send() -> None:
            with pytest.raises(ConnectionClosedError) as closed:
                await ws.send([bytes(100)] * 100)
            # Not failed by this side on top of that.
            assert closed.value.sent is None

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send)
            await settle()
            await peer.drop()


@both_roles
async def test_pieces_are_held_up_by_a_peer_that_does_not_read(role: Role) -> None:
    async with MEMORY.scripted(role, capacity=100, write_limit=1000) as (ws, peer):
        written = 0

        async def send() -> None:
            nonlocal written
            async with ws.send_stream() as writer:
                for _ in range(100):
                    await writer.write(bytes(100))
                    written += 1

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send)
            await settle()
            assert written <= 12
            frames = [await peer.receive() for _ in range(101)]
        assert written == 100
        assert frames[-1] == Frame(CONTINUATION)


@asynccontextmanager
async def one_message(ws: Connection) -> AsyncIterator[None]:
    """Be in the middle of a fragmented message."""
    async with ws.send_stream() as writer:
        await writer.write(b"begun")
        yield


@both_roles
async def test_closing_in_the_middle_of_a_message_works(role: Role) -> None:
    """R-A4a: the Close frame goes between its fragments."""
    async with MEMORY.scripted(role) as (ws, peer):

        async def send() -> None:
            async with one_message(ws), anyio.create_task_group() as tasks:
                tasks.start_soon(ws.close)
                assert await peer.receive() == Frame(BINARY, b"begun", fin=False)
                assert (await peer.answer_close())[0] == 1000

        with pytest.raises(ConnectionClosed):
            await send()
        assert ws.close_code == 1000


async def test_send_waits_no_longer_than_the_response_of_the_handshake_takes_to_leave() -> None:
    async def send_at_once(ws: ServerConnection) -> None:
        await ws.send("hello")

    with anyio.fail_after(5):
        async with run_handler(send_at_once, server={"write_limit": 1}) as ws:
            assert [message async for message in ws] == ["hello"]
