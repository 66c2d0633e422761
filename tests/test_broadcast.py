"""One message to many connections: who gets it, in which order, what becomes of slow members."""

from __future__ import annotations

import gc
import logging
import weakref
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from itertools import pairwise
from types import ModuleType
from typing import Any, Literal

import anyio
import pytest
from anyio.lowlevel import checkpoint

from anyws import (
    Broadcaster,
    Connection,
    ConnectionClosed,
    ConnectionClosedError,
    Deflate,
    Extension,
    ExtensionCodec,
    ExtensionParameters,
    LocalProtocolError,
    QueueFull,
    ServerConnection,
    Skipped,
    broadcast,
    connect,
    serve,
)
from anyws.testing import BINARY, CLOSE, TEXT, Frame, RawPeer, connection_pair

from .scripted import MEMORY, TIMELESS, Role, both_roles, settle, virtual_time

pytestmark = pytest.mark.anyio

Slow = Literal["close", "drop_oldest", "drop_newest", "block"]

LIMIT = 30.0


@asynccontextmanager
async def peers(
    n: int, role: Role = "server", **options: Any
) -> AsyncIterator[tuple[list[Connection], list[RawPeer]]]:
    """Join connections of ours with scripted peers, which read when the test says so."""
    async with AsyncExitStack() as stack:
        joined = [
            await stack.enter_async_context(MEMORY.scripted(role, **options)) for _ in range(n)
        ]
        yield [ws for ws, _ in joined], [peer for _, peer in joined]


# A peer that has read nothing: one byte of the first frame is under way, and the rest is more than
# `write_limit`. So the first message is sent, and all that follow have to wait.
STALLED: dict[str, Any] = {"capacity": 1, "write_limit": 1}


async def received(peer: RawPeer) -> list[str]:
    """Read what comes as text, until nothing does."""
    messages: list[str] = []

    async def read() -> None:
        while True:
            frame = await peer.receive()
            assert frame.opcode == TEXT
            messages.append(frame.payload.decode())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        before = -1
        while before != len(messages):
            before = len(messages)
            await settle()
        tasks.cancel_scope.cancel()
    return messages


def texts(*numbers: int) -> list[str]:
    return [f"message {n}" for n in numbers]


# broadcast


@both_roles
@pytest.mark.parametrize(
    ("message", "text", "frame"),
    [
        ("zwölf", None, Frame(TEXT, "zwölf".encode())),
        (b"\xff", None, Frame(BINARY, b"\xff")),
        (bytearray(b"a"), None, Frame(BINARY, b"a")),
        ("zwölf", False, Frame(BINARY, "zwölf".encode())),
        ("zwölf".encode(), True, Frame(TEXT, "zwölf".encode())),
        (bytes(100_000), None, Frame(BINARY, bytes(100_000))),
    ],
    ids=["text", "binary", "a bytearray", "text as binary", "bytes as text", "100 kB"],
)
async def test_every_connection_gets_the_message(
    role: Role, message: str | bytes, text: bool | None, frame: Frame
) -> None:
    async with peers(3, role) as (connections, others):
        assert broadcast(connections, message, text=text) == {}
        for peer in others:
            await peer.expect(frame)


async def test_messages_to_many_count_in_the_figures_of_each() -> None:
    group = Broadcaster()
    async with peers(2) as ((first, second), others):
        broadcast([first, second], "hello")
        async with group.member(first):
            group.publish("hello")
        for peer in others:
            await peer.expect(Frame(TEXT, b"hello"))
        assert (first.stats.sent_messages, first.stats.sent_bytes) == (2, 14)
        assert (second.stats.sent_messages, second.stats.sent_bytes) == (1, 7)


async def test_no_connections_are_no_error() -> None:
    assert broadcast([], "hello") == {}
    Broadcaster().publish("hello")


async def test_connections_that_cannot_take_it_are_skipped_and_named() -> None:
    async with (
        peers(1, **STALLED) as ([full], _),
        peers(3) as ([closing, busy, well], [_, of_busy, of_well]),
    ):
        await closing.send_eof()
        async with busy.send_stream(text=True) as writer:
            await writer.write("first")
            assert broadcast([full], "fills it") == {}
            assert broadcast([full, closing, busy, well], "hello") == {
                full: Skipped.FULL,
                closing: Skipped.NOT_OPEN,
                busy: Skipped.BUSY,
            }
        await of_well.expect(Frame(TEXT, b"hello"))
        await of_busy.expect(Frame(TEXT, b"first", fin=False), Frame(0, b""))
        assert broadcast([busy], "again") == {}
        await of_busy.expect(Frame(TEXT, b"again"))


async def test_broadcast_does_not_overtake_tasks_that_wait_to_send() -> None:
    async with peers(1, **STALLED) as ([ws], [peer]), anyio.create_task_group() as tasks:
        await ws.send("message 0")
        tasks.start_soon(ws.send, "message 1")
        await settle()
        assert broadcast([ws], "too much") == {ws: Skipped.FULL}
        assert await received(peer) == texts(0, 1)


BAD = pytest.mark.parametrize(
    ("message", "text", "error"),
    [
        (7, None, TypeError),
        (None, None, TypeError),
        (["a"], None, TypeError),
        ("\ud800", None, LocalProtocolError),
        (b"\xff", True, LocalProtocolError),
    ],
    ids=["an int", "None", "a list", "half a surrogate", "bytes that are not UTF-8"],
)


@BAD
async def test_bad_message_is_sent_to_nobody(
    message: Any, text: bool | None, error: type[Exception]
) -> None:
    async with peers(1) as ([ws], [peer]):
        group = Broadcaster()
        async with group.member(ws):
            with pytest.raises(error):
                broadcast([ws], message, text=text)
            with pytest.raises(error):
                group.publish(message, text=text)
            with pytest.raises(error):
                await group.send(message, text=text)
            group.publish("good")
            assert await received(peer) == ["good"]


# Encoding once


class Counting(Extension):
    """Marks each message with how often anything was encoded before, and says what it shares."""

    name = "x-counting"
    rsv = 1

    def __init__(self, shares: object = None, *, fails: bool = False) -> None:
        self.shares = shares
        self.fails = fails
        self.encoded = 0

    def codec(self, agreed: ExtensionParameters, *, is_client: bool) -> ExtensionCodec:
        return CountingCodec(self)


class CountingCodec(ExtensionCodec):
    def __init__(self, extension: Counting) -> None:
        self.extension = extension

    def begin_message(self, *, text: bool, size: int | None, compress: bool | None) -> int:
        return 1

    def same_encoding(self) -> Any:
        return self.extension.shares

    def encode(self, data: bytes, *, flush: bool, final: bool) -> bytes:
        if self.extension.fails:
            raise OSError("on purpose")
        self.extension.encoded += 1
        return b"%d:" % self.extension.encoded + data

    def decode(self, data: bytes, *, final: bool) -> tuple[bytes]:
        return (data,)


@pytest.mark.parametrize("publish", [False, True], ids=["broadcast", "publish"])
@pytest.mark.parametrize(
    ("shares", "expected"),
    [("all", ["1:hello", "1:hello", "1:hello"]), (None, ["1:hello", "2:hello", "3:hello"])],
    ids=["same encoding", "its own encoding"],
)
async def test_extension_encodes_once_for_those_that_share(
    publish: bool, shares: object, expected: list[str]
) -> None:
    extension, group = Counting(shares), Broadcaster()
    async with AsyncExitStack() as stack:
        pairs = [
            await stack.enter_async_context(connection_pair(extensions=[extension]))
            for _ in range(3)
        ]
        for _, server in pairs:
            await stack.enter_async_context(group.member(server))
        if publish:
            group.publish("hello")
        else:
            assert broadcast([server for _, server in pairs], "hello") == {}
        assert [await client.receive() for client, _ in pairs] == expected


async def test_client_shares_no_frame() -> None:
    extension = Counting("all")
    async with (
        connection_pair(extensions=[extension]) as (one, its_server),
        connection_pair(extensions=[extension]) as (other, other_server),
    ):
        broadcast([one, other], "hello")
        assert await its_server.receive() == "1:hello"
        assert await other_server.receive() == "2:hello"


async def test_each_client_masks_with_a_key_of_its_own() -> None:
    async with peers(4, "client") as (clients, servers):
        assert broadcast(clients, bytes(8)) == {}
        frames = [await peer.stream.receive() for peer in servers]
        assert {frame[:2] for frame in frames} == {b"\x82\x88"}
        assert {frame[6:] for frame in frames} == {frame[2:6] * 2 for frame in frames}
        assert len(set(frames)) > 1


def counting_zlib() -> tuple[ModuleType, list[tuple[Any, ...]]]:
    """Return an engine for `Deflate` and a list of what compressors it was asked for."""
    made: list[tuple[Any, ...]] = []
    engine = ModuleType("counting_zlib")
    engine.__dict__.update(vars(zlib))

    def compressobj(*arguments: Any) -> Any:
        made.append(arguments)
        return zlib.compressobj(*arguments)

    engine.__dict__["compressobj"] = compressobj
    return engine, made


WORDS = "all the words of a message that is long enough to be compressed, " * 4


@pytest.mark.parametrize(
    ("no_takeover", "windows", "compressors"),
    [(True, (12, 12, 12), 2), (True, (12, 10, 12), 4), (False, (12, 12, 12), 3)],
    ids=["once", "once for each window", "each with its own context"],
)
async def test_message_is_compressed_once_for_those_without_a_context(
    no_takeover: bool, windows: tuple[int, ...], compressors: int
) -> None:
    engine, made = counting_zlib()
    async with AsyncExitStack() as stack:
        pairs = []
        for bits in windows:
            deflate = Deflate(
                server_no_context_takeover=no_takeover, server_max_window_bits=bits, engine=engine
            )
            pairs.append(await stack.enter_async_context(connection_pair(compression=deflate)))
        servers = [server for _, server in pairs]
        broadcast(servers, WORDS)
        broadcast(servers, WORDS.upper())
        for client, _ in pairs:
            assert [await client.receive(), await client.receive()] == [WORDS, WORDS.upper()]
    assert len(made) == compressors


async def test_connections_with_contexts_that_differ_can_all_decode() -> None:
    group = Broadcaster()
    async with AsyncExitStack() as stack:
        pairs = [
            await stack.enter_async_context(connection_pair(compression=compression))
            for compression in ("deflate", "deflate", None, Deflate(threshold=0))
        ]
        for number, (_, server) in enumerate(pairs):
            await stack.enter_async_context(group.member(server))
            await server.send(WORDS[number:])
        for _ in range(3):
            group.publish(WORDS)
        group.publish("short")
        for number, (client, _) in enumerate(pairs):
            assert await client.receive() == WORDS[number:]
            assert [await client.receive() for _ in range(4)] == [WORDS] * 3 + ["short"]


@pytest.mark.parametrize("publish", [False, True], ids=["broadcast", "publish"])
async def test_extension_that_fails_costs_its_own_connection_only(publish: bool) -> None:
    group = Broadcaster()
    async with (
        connection_pair(extensions=[Counting(fails=True)]) as (bad_client, bad),
        connection_pair() as (good_client, good),
        group.member(bad) as bad_member,
        group.member(good) as good_member,
    ):
        if publish:
            group.publish("hello")
            assert (bad_member.dropped, good_member.dropped, group.dropped) == (1, 0, 1)
        else:
            assert broadcast([bad, good], "hello") == {bad: Skipped.FAILED}
        assert len(group) == 1
        assert await good_client.receive() == "hello"
        with pytest.raises(ConnectionClosedError) as caught:
            await bad_client.receive()
        assert caught.value.code == 1011


# Groups: joining and leaving


async def test_members_get_what_is_published_while_they_are_members() -> None:
    async with peers(2) as ([one, other], [of_one, of_other]):
        group = Broadcaster()
        async with group.member(one) as member:
            assert (len(group), group.members, member.connection) == (1, (member,), one)
            group.publish("message 1")
            async with group.member(other):
                assert len(group) == 2
                await group.send("message 2")
            group.publish("message 3")
        assert len(group) == 0
        group.publish("message 4")
        assert await received(of_one) == texts(1, 2, 3)
        assert await received(of_other) == texts(2)
        assert group.dropped == 0


async def test_member_object_is_for_one_block_and_a_connection_is_a_member_once() -> None:
    async with peers(1) as ([ws], _):
        group = Broadcaster()
        member = group.member(ws)
        async with member:
            with pytest.raises(RuntimeError, match="for one block only"):
                await member.__aenter__()
            with pytest.raises(ValueError, match="is a member of this group already"):
                await group.member(ws).__aenter__()
        with pytest.raises(RuntimeError, match="for one block only"):
            await member.__aenter__()
        async with group.member(ws):
            assert len(group) == 1


async def test_member_may_leave_before_its_block_ends() -> None:
    async with peers(1) as ([ws], [peer]):
        group = Broadcaster()
        async with group.member(ws) as member:
            member.leave()
            member.leave()
            assert len(group) == 0
            group.publish("not for it")
        assert await received(peer) == []


async def end_by_close_frame(ws: Connection, peer: RawPeer) -> None:
    await peer.send(Frame(CLOSE, b""))


async def end_by_our_close(ws: Connection, peer: RawPeer) -> None:
    await ws.send_eof()


async def end_by_violation(ws: Connection, peer: RawPeer) -> None:
    await peer.send(Frame(3, b""))


async def end_by_drop(ws: Connection, peer: RawPeer) -> None:
    await peer.drop()


@pytest.mark.parametrize(
    "end", [end_by_close_frame, end_by_our_close, end_by_violation, end_by_drop]
)
async def test_connection_that_is_not_open_any_more_leaves_by_itself(
    end: Callable[[Connection, RawPeer], Any],
) -> None:
    async with peers(1, **STALLED) as ([ws], [peer]), peers(1) as ([other], [of_other]):
        group, second = Broadcaster(), Broadcaster()
        async with group.member(ws) as member, second.member(ws), group.member(other):
            for number in range(4):
                group.publish(f"message {number}")
            assert member.queued == 3
            await end(ws, peer)
            await settle()
            assert (len(group), len(second), member.queued) == (1, 0, 0)
            assert (member.dropped, group.dropped) == (3, 3), "they will not be sent"
            group.publish("message 4")
        assert await received(of_other) == texts(*range(5))


async def test_connection_that_is_not_open_cannot_join() -> None:
    async with connection_pair() as (client, server):
        await client.close(4000)
        group = Broadcaster()
        with pytest.raises(ConnectionClosed):
            async with group.member(server):
                pass
        assert len(group) == 0


@contextmanager
def no_garbage_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def test_closed_connection_is_not_kept_by_its_groups() -> None:
    group, other = Broadcaster(1), Broadcaster(slow="drop_oldest")
    gone: list[weakref.ref[ServerConnection]] = []
    ended = anyio.Event()

    async def handle(ws: ServerConnection) -> None:
        gone.append(weakref.ref(ws))
        async with group.member(ws), other.member(ws):
            while len(group):
                group.publish(bytes(1 << 16))
                other.publish("hello")
                await checkpoint()
            await ws.wait_closed()
        ended.set()

    with no_garbage_collector(), anyio.fail_after(LIMIT):
        async with serve(handle, "127.0.0.1", logger=silent()) as server:
            async with connect(server.uri) as client:
                while not group.dropped:
                    await checkpoint()
                with pytest.raises(ConnectionClosedError) as caught:
                    await receive_all(client)
                assert caught.value.code == 1013
                del caught
            await ended.wait()
            assert (len(group), len(other)) == (0, 0)
        del server, handle
        await settle()
        assert [ws() for ws in gone] == [None]


async def receive_all(ws: Connection) -> None:
    async for _ in ws:
        pass


def silent() -> logging.Logger:
    """Return a logger of its own: what pytest records would keep connections alive."""
    logger = logging.Logger("silent")
    logger.disabled = True
    return logger


# Groups: queues and policies


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"max_queue": 0}, ValueError, "max_queue is 0, expected at least 1"),
        ({"slow": "wait"}, ValueError, "slow is 'wait', expected one of close, drop_oldest"),
        ({"close_code": 1005}, LocalProtocolError, "1005"),
        ({"close_reason": "x" * 124}, LocalProtocolError, "close reason is 124 bytes, limit 123"),
    ],
)
async def test_arguments_are_checked(
    arguments: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        Broadcaster(**arguments)


async def test_slow_member_gets_everything_in_order_and_nobody_waits_for_it() -> None:
    async with peers(1, **STALLED) as ([slow], [of_slow]), peers(1) as ([quick], [of_quick]):
        group = Broadcaster(10)
        async with group.member(slow) as slow_member, group.member(quick) as quick_member:
            for number in range(11):
                group.publish(f"message {number}")
            assert (slow_member.queued, quick_member.queued) == (10, 0)
            assert await received(of_quick) == texts(*range(11))
            assert await received(of_slow) == texts(*range(11))
            assert slow_member.queued == 0
            group.publish("message 11")
            assert await received(of_slow) == texts(11)
        assert group.dropped == 0


@pytest.mark.parametrize(("slow", "kept"), [("drop_oldest", (0, 8, 9)), ("drop_newest", (0, 1, 2))])
async def test_dropped_messages_are_counted(slow: Slow, kept: tuple[int, ...]) -> None:
    async with peers(1, **STALLED) as ([ws], [peer]), peers(1) as ([other], [of_other]):
        group = Broadcaster(2, slow)
        async with group.member(ws) as member, group.member(other):
            for number in range(10):
                group.publish(f"message {number}")
            assert (member.queued, member.dropped, group.dropped) == (2, 7, 7)
            assert await received(peer) == texts(*kept)
            assert await received(of_other) == texts(*range(10))
        assert (member.dropped, group.dropped) == (7, 7), "a member that left still counts"


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        ({}, 1013, "too slow to read what is published"),
        ({"close_code": 4000, "close_reason": "slow"}, 4000, "slow"),
    ],
    ids=["by default", "as told"],
)
async def test_slow_member_is_closed_and_logged_once(
    arguments: dict[str, Any], code: int, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with peers(1, **STALLED) as ([ws], [peer]), peers(1) as ([other], [of_other]):
        group = Broadcaster(3, **arguments)
        async with group.member(ws) as member, group.member(other):
            for number in range(4):
                group.publish(f"message {number}")
            assert len(group) == 2
            group.publish("message 4")
            assert len(group) == 1
            group.publish("message 5")
            assert (member.dropped, group.dropped, member.queued) == (4, 4, 0)
            await peer.expect(Frame(TEXT, b"message 0"))
            assert await peer.receive_close() == (code, reason)
            assert await received(of_other) == texts(*range(6))
    [warning] = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert warning.levelname == "WARNING"
    assert warning.getMessage().endswith("3 messages published to it are queued, limit 3")


@virtual_time
async def test_slow_member_that_reads_nothing_is_gone_after_close_timeout() -> None:
    async with TIMELESS.scripted("server", close_timeout=5, **STALLED) as (ws, _):
        group = Broadcaster(1)
        async with group.member(ws):
            began = anyio.current_time()
            for _ in range(3):
                group.publish("hello")
            await ws.wait_closed()
            assert anyio.current_time() - began == pytest.approx(5)


async def test_full_queue_blocks_the_group_and_nobody_gets_the_message() -> None:
    async with peers(1, **STALLED) as ([ws], [peer]), peers(1) as ([other], [of_other]):
        group = Broadcaster(2, "block")
        async with group.member(ws), group.member(other):
            for number in range(3):
                group.publish(f"message {number}")
            with pytest.raises(anyio.WouldBlock) as caught:
                group.publish("not now")
            assert isinstance(caught.value, QueueFull)
            assert caught.value.connections == (ws,)
            assert "1 of the members have 2 messages queued" in str(caught.value)
            assert await received(of_other) == texts(0, 1, 2)
            assert await received(peer) == texts(0, 1, 2)
            group.publish("message 3")
            assert await received(of_other) == texts(3)
        assert group.dropped == 0


@pytest.mark.parametrize("slow", ["block", "close", "drop_oldest", "drop_newest"])
async def test_send_waits_for_room_whatever_the_policy(slow: Slow) -> None:
    async with peers(1, **STALLED) as ([ws], [peer]), peers(1) as ([other], [of_other]):
        group = Broadcaster(1, slow)
        async with group.member(ws), group.member(other), anyio.create_task_group() as tasks:

            async def send() -> None:
                for number in range(10):
                    await group.send(f"message {number}")

            tasks.start_soon(send)
            await settle()
            assert await received(of_other) == texts(0, 1), "one is sent and one is queued"
            assert await received(peer) == texts(*range(10))
            assert await received(of_other) == texts(*range(2, 10))
        assert group.dropped == 0


async def test_cancelled_send_publishes_nothing() -> None:
    async with peers(1, **STALLED) as ([ws], [peer]), peers(1) as ([other], [of_other]):
        group = Broadcaster(1, "block")
        async with group.member(ws), group.member(other):
            for number in range(2):
                await group.send(f"message {number}")
            with anyio.move_on_after(0) as scope:
                await group.send("never")
            assert scope.cancelled_caught
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(group.send, "never")
                await settle()
                tasks.cancel_scope.cancel()
            assert await received(peer) == texts(0, 1)
            assert await received(of_other) == texts(0, 1)


@pytest.mark.parametrize("closes", [False, True], ids=["leaves", "closes"])
async def test_send_waits_no_longer_for_a_member_that_is_gone(closes: bool) -> None:
    async with peers(1, **STALLED) as ([ws], [peer]), peers(1) as ([other], [of_other]):
        group = Broadcaster(1, "block")
        async with group.member(ws) as member, group.member(other):
            async with anyio.create_task_group() as tasks:
                for number in range(2):
                    group.publish(f"message {number}")
                tasks.start_soon(group.send, "message 2")
                tasks.start_soon(group.send, "message 3")
                await settle()
                if closes:
                    await peer.drop()
                else:
                    member.leave()
            assert sorted(await received(of_other)) == texts(0, 1, 2, 3), "in whatever order"


def first_letter(message: object) -> object:
    assert isinstance(message, str)
    return None if message.startswith("-") else message[0]


async def test_message_with_the_same_key_takes_the_place_of_the_queued_one() -> None:
    async with peers(1, **STALLED) as ([ws], [peer]):
        group = Broadcaster(3, "block", coalesce=first_letter)
        async with group.member(ws) as member:
            for message in ("x", "a1", "b1", "a2", "b2", "a3"):
                group.publish(message)
            assert member.queued == 2
            group.publish("c1")
            group.publish("b3")
            with pytest.raises(QueueFull):
                group.publish("d1")
            assert await received(peer) == ["x", "a3", "b3", "c1"]
        assert group.dropped == 0, "what is replaced does not count"


async def test_send_waits_until_a_member_without_its_key_has_room() -> None:
    async with peers(2, **STALLED) as ([one, other], [of_one, of_other]):
        group = Broadcaster(1, "block", coalesce=first_letter)
        async with group.member(one), group.member(other), anyio.create_task_group() as tasks:
            for message in ("x", "a1"):
                group.publish(message)
            tasks.start_soon(group.send, "b1")
            await settle()
            await group.send("a2")
            assert await received(of_one) == ["x", "a2"], "the other one has no room yet"
            assert await received(of_other) == ["x", "a2", "b1"]
            assert await received(of_one) == ["b1"]


async def test_policy_applies_when_the_queue_is_full_of_other_keys() -> None:
    async with peers(1, **STALLED) as ([ws], [peer]):
        group = Broadcaster(2, "drop_oldest", coalesce=first_letter)
        async with group.member(ws) as member:
            for message in ("x", "a1", "b1", "c1", "b2", "-1", "-2"):
                group.publish(message)
            assert member.dropped == 3
            assert await received(peer) == ["x", "-1", "-2"], "None is no key"


def no_key(message: object) -> Any:
    return [message]


async def test_key_that_will_not_do_is_an_error_before_anything_is_sent() -> None:
    async with peers(1) as ([ws], [peer]):
        group = Broadcaster(coalesce=no_key)
        async with group.member(ws):
            with pytest.raises(TypeError, match="unhashable"):
                group.publish("hello")
            assert await received(peer) == []


# Groups: turns


async def test_queued_messages_and_tasks_that_wait_take_turns() -> None:
    async with peers(1, **STALLED) as ([ws], [peer]), anyio.create_task_group() as tasks:
        group = Broadcaster()
        async with group.member(ws):
            group.publish("first")
            for number in range(5):
                group.publish(f"group {number}")
                tasks.start_soon(ws.send, f"task {number}")
            await settle()
            rest = (await received(peer))[1:]
    assert [message for message in rest if "group" in message] == [f"group {n}" for n in range(5)]
    assert sorted(message for message in rest if "task" in message) == [
        f"task {n}" for n in range(5)
    ]
    kinds = [message.split()[0] for message in rest]
    assert all(one != other for one, other in pairwise(kinds)), rest


async def test_task_that_sends_on_and_on_does_not_starve_the_group() -> None:
    async with peers(1, **STALLED) as ([ws], [peer]), anyio.create_task_group() as tasks:
        group = Broadcaster()
        async with group.member(ws):

            async def send() -> None:
                while True:
                    await ws.send("task")

            tasks.start_soon(send)
            await settle()
            for number in range(5):
                group.publish(f"group {number}")
            seen: list[bytes] = []
            while sum(message != b"task" for message in seen) < 5:
                seen.append((await peer.receive()).payload)
            assert len(seen) < 15, seen
            assert [message for message in seen if message != b"task"] == [
                b"group %d" % n for n in range(5)
            ]
            tasks.cancel_scope.cancel()


async def test_tasks_that_are_cancelled_while_they_wait_do_not_hold_up_the_group() -> None:
    async with peers(1, **STALLED) as ([ws], [peer]), anyio.create_task_group() as tasks:
        group = Broadcaster()
        async with group.member(ws):
            group.publish("message 0")
            for _ in range(3):
                tasks.start_soon(ws.send, "never")
            await settle()
            for number in range(1, 4):
                group.publish(f"message {number}")
            tasks.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                await settle()
                assert await received(peer) == texts(0, 1, 2, 3)


async def test_task_need_not_wait_for_a_group_that_its_connection_has_left() -> None:
    async with peers(1, **STALLED) as ([ws], [peer]), anyio.create_task_group() as tasks:
        group = Broadcaster()
        async with group.member(ws):
            for number in range(3):
                group.publish(f"message {number}")
            tasks.start_soon(ws.send, "task")
            await settle()
        assert await received(peer) == ["message 0", "task"]


async def test_groups_of_one_connection_take_turns_and_keep_their_order() -> None:
    async with peers(1, **STALLED) as ([ws], [peer]):
        one, other = Broadcaster(), Broadcaster(2, "drop_newest")
        async with one.member(ws), other.member(ws) as member:
            for number in range(4):
                one.publish(f"one {number}")
            for number in range(4):
                other.publish(f"other {number}")
            assert member.dropped == 2
            assert await received(peer) == [
                "one 0",
                "one 1",
                "other 0",
                "one 2",
                "other 1",
                "one 3",
            ]


async def test_leaving_one_group_leaves_the_others_alone() -> None:
    async with peers(1, **STALLED) as ([ws], [peer]):
        one, other = Broadcaster(), Broadcaster()
        async with one.member(ws):
            async with other.member(ws):
                for number in range(3):
                    other.publish(f"other {number}")
                    one.publish(f"message {number}")
            assert (len(one), len(other), other.dropped) == (1, 0, 2)
            assert await received(peer) == ["other 0", *texts(0, 1, 2)]


async def test_messages_wait_for_a_fragmented_one_to_end() -> None:
    async with peers(1) as ([ws], [peer]):
        group = Broadcaster()
        async with group.member(ws) as member:
            async with ws.send_stream() as writer:
                await writer.write(b"first")
                group.publish("message 0")
                group.publish("message 1")
                assert member.queued == 2
                await writer.write(b"second")
            await peer.expect(
                Frame(BINARY, b"first", fin=False), Frame(0, b"second", fin=False), Frame(0, b"")
            )
            assert await received(peer) == texts(0, 1)


async def test_message_that_an_extension_cannot_encode_later_is_dropped() -> None:
    extension = Counting()
    async with connection_pair(extensions=[extension], capacity=1, write_limit=1) as (
        client,
        server,
    ):
        group = Broadcaster()
        async with group.member(server) as member:
            group.publish("sent")
            group.publish("queued")
            extension.fails = True
            assert await client.receive() == "1:sent"
            with pytest.raises(ConnectionClosedError):
                await client.receive()
            assert (len(group), member.dropped, group.dropped) == (0, 1, 1)


# From where


async def test_handler_may_publish_what_it_receives() -> None:
    group = Broadcaster()

    async def chat(ws: ServerConnection) -> None:
        async with group.member(ws):
            await ws.send("welcome")
            async for message in ws:
                group.publish(message)

    with anyio.fail_after(LIMIT):
        async with serve(chat, "127.0.0.1") as server, AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(connect(server.uri)) for _ in range(3)]
            for client in clients:
                assert await client.receive() == "welcome"
            for number, client in enumerate(clients):
                await client.send(f"hello {number}")
            for client in clients:
                assert sorted([str(await client.receive()) for _ in clients]) == [
                    f"hello {number}" for number in range(3)
                ]
            group.publish("bye")
            group.publish("bye bye")
            for client in clients:
                assert [await client.receive(), await client.receive()] == ["bye", "bye bye"]


async def test_callback_of_the_loop_may_publish() -> None:
    async with peers(2) as (connections, others):
        group = Broadcaster()
        async with group.member(connections[0]), group.member(connections[1]):
            for number in range(3):
                connections[0]._reactor.call_soon(partial(group.publish, f"message {number}"))
            await settle()
            for peer in others:
                assert await received(peer) == texts(0, 1, 2)


async def test_representation_names_the_members_and_what_was_dropped() -> None:
    assert repr(Broadcaster()) == "<Broadcaster members=0 slow='close' dropped=0>"
