"""The connection as a stream of bytes: what anyio asks of one, and tunnels through it."""

from __future__ import annotations

import itertools
import random
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager

import anyio
import pytest
import trio
from anyio.abc import ByteStream, SocketAttribute
from anyio.lowlevel import checkpoint
from anyio.streams.buffered import BufferedByteStream
from anyio.streams.tls import TLSAttribute, TLSStream
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import check_two_way_stream

from anyws import (
    ConcurrencyError,
    Connection,
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
    RemoteProtocolError,
    wrap_client,
    wrap_server,
)
from anyws._options import ConnectionKeywords
from anyws.testing import (
    BINARY,
    CONTINUATION,
    TEXT,
    Frame,
    RawPeer,
    close_frame,
)

from .memory import traced
from .scripted import MEMORY, TIMELESS, Carrier, Role, both_roles, settle, virtual_time

pytestmark = pytest.mark.anyio

MESSAGE = 64 * 1024


@asynccontextmanager
async def streams(capacity: int | None = None) -> AsyncIterator[tuple[ByteStream, ByteStream]]:
    """Join two byte streams of ours."""
    async with MEMORY.pair(capacity=capacity) as (client, server):
        yield client.byte_stream(), server.byte_stream()


async def receive_exactly(stream: ByteStream, n: int) -> bytes:
    received = b""
    while len(received) < n:
        received += await stream.receive(n - len(received))
    return received


async def receive_all(stream: ByteStream) -> bytes:
    """Receive up to the end."""
    return b"".join([data async for data in stream])


# Receiving


@both_roles
async def test_bytes_come_whatever_the_messages_and_frames(role: Role) -> None:
    frames = [
        Frame(BINARY, b"one"),
        Frame(BINARY),
        Frame(BINARY, b"t", fin=False),
        Frame(CONTINUATION, fin=False),
        Frame(CONTINUATION, b"wo"),
        Frame(BINARY, fin=False),
        Frame(CONTINUATION),
        Frame(BINARY, b"three"),
        close_frame(1000),
    ]
    async with MEMORY.scripted(role) as (ws, peer):
        await peer.send(*frames)
        await peer.answer_close()
        assert await receive_all(ws.byte_stream()) == b"onetwothree"


@both_roles
async def test_bytes_come_before_their_frame_is_complete(role: Role) -> None:
    async with MEMORY.scripted(role) as (ws, peer):
        stream = ws.byte_stream()
        data = peer.encode(Frame(BINARY, b"abcdef"))
        for rest in (-4, -1, len(data)):
            await peer.stream.send(data[:rest])
            data = data[rest:]
            await settle()
        assert await stream.receive() == b"abcdef"
        data = peer.encode(Frame(BINARY, b"abcdef"))
        for end, piece in ((-4, b"ab"), (-1, b"cde"), (len(data), b"f")):
            await peer.stream.send(data[:end])
            assert await stream.receive() == piece
            data = data[end:]


async def test_bytes_of_a_message_that_had_begun_already_are_not_lost() -> None:
    async with MEMORY.scripted("client") as (ws, peer):
        await peer.send(Frame(BINARY, b"begin", fin=False))
        await peer.round_trip()
        stream = ws.byte_stream()
        assert await stream.receive() == b"begin"
        await peer.send(Frame(CONTINUATION, b"end"))
        assert await stream.receive() == b"end"


async def test_no_more_than_max_bytes_come_at_once() -> None:
    async with MEMORY.scripted("client") as (ws, peer):
        await peer.send(Frame(BINARY, b"abcdef"), Frame(BINARY, b"gh"))
        await peer.round_trip()
        stream = ws.byte_stream()
        assert [await stream.receive(n) for n in (1, 2, 2, 9, 1, 1)] == [
            b"a",
            b"bc",
            b"de",
            b"f",
            b"g",
            b"h",
        ]


@pytest.mark.parametrize(("n", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError)])
async def test_max_bytes_out_of_range_is_an_error(n: int, error: type[Exception]) -> None:
    async with streams() as (stream, _):
        with pytest.raises(error, match="max_bytes is"):
            await stream.receive(n)


@both_roles
@pytest.mark.parametrize("fragmented", [False, True], ids=["one-frame", "fragments"])
@pytest.mark.parametrize("arrived", ["before", "while"])
async def test_limits_of_messages_do_not_limit_a_stream(
    role: Role, fragmented: bool, arrived: str
) -> None:
    large = [Frame(BINARY, bytes(5000))]
    if fragmented:
        middle = [Frame(CONTINUATION, bytes(100), fin=False)] * 49
        large = [Frame(BINARY, bytes(100), fin=False), *middle, Frame(CONTINUATION)]
    async with MEMORY.scripted(role, max_size=1000, max_fragments=5) as (ws, peer):
        stream = ws.byte_stream()
        async with anyio.create_task_group() as tasks:
            frames = [Frame(BINARY, b"a"), *large * 3, Frame(BINARY, b"z")]
            tasks.start_soon(peer.send, *frames)
            if arrived == "before":
                await settle()
            assert await receive_exactly(stream, 15_002) == b"a" + bytes(15_000) + b"z"


async def test_message_of_which_a_stream_was_left_early_is_not_part_of_the_bytes() -> None:
    async with MEMORY.scripted("client") as (ws, peer):
        await peer.send(Frame(TEXT, b"unread", fin=False))
        async with ws.receive_stream():
            pass
        stream = ws.byte_stream()
        await peer.send(Frame(CONTINUATION, b"rest"), Frame(BINARY, b"bytes"))
        assert await stream.receive() == b"bytes"


async def test_messages_may_be_received_before_the_stream_begins() -> None:
    async with MEMORY.scripted("client") as (ws, peer):
        await peer.send(Frame(TEXT, b"hello"), Frame(BINARY, b"bytes"))
        assert await ws.receive_text() == "hello"
        assert await ws.byte_stream().receive() == b"bytes"


# Text


@both_roles
@pytest.mark.parametrize("text", [b"text", b""])
async def test_text_fails_with_1003(role: Role, text: bytes) -> None:
    async with MEMORY.scripted(role) as (ws, peer):
        stream = ws.byte_stream()
        await peer.send(Frame(BINARY, b"before"), Frame(TEXT, text), Frame(BINARY, b"behind"))
        await peer.round_trip()
        assert await stream.receive() == b"before"
        with pytest.raises(ConnectionClosedError) as closed:
            await stream.receive()
        reason = "only binary messages are expected here"
        assert closed.value.sent == (1003, reason)
        assert isinstance(closed.value.__cause__, RemoteProtocolError)
        assert await peer.answer_close() == (1003, reason)
        for _ in range(2):
            with pytest.raises(anyio.BrokenResourceError):
                await stream.receive()
        with pytest.raises(anyio.BrokenResourceError):
            await stream.send(b"more")


async def test_text_is_an_error_on_a_closed_connection_too() -> None:
    async with MEMORY.scripted("client") as (ws, peer):
        stream = ws.byte_stream()
        await peer.send(Frame(TEXT, b"text"), Frame(BINARY, b"behind"), close_frame(1000))
        await peer.answer_close()
        await ws.wait_closed()
        for _ in range(3):
            with pytest.raises(anyio.BrokenResourceError):
                await stream.receive()


# Sending


@pytest.mark.parametrize(
    ("size", "messages"),
    [(0, []), (1, [1]), (MESSAGE, [MESSAGE]), (MESSAGE + 1, [MESSAGE, 1])],
)
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview], ids=lambda kind: kind.__name__)
async def test_messages_have_at_most_64_kib(
    size: int, messages: list[int], kind: Callable[[bytes], bytes]
) -> None:
    data = random.Random(size).randbytes(size)
    async with MEMORY.pair() as (ours, theirs):
        await ours.byte_stream().send(kind(data))
        await ours.send("end")
        received = [await theirs.receive() for _ in range(len(messages) + 1)]
        assert list(map(len, received)) == [*messages, 3]
        assert b"".join(map(bytes, received[:-1])) == data  # type: ignore[arg-type]


@pytest.mark.parametrize("item", ["text", 5, None, [b"bytes"]])
async def test_what_is_not_bytes_is_not_sent(item: object) -> None:
    async with streams() as (ours, theirs):
        with pytest.raises(TypeError, match="expected bytes-like"):
            await ours.send(item)  # type: ignore[arg-type]
        await ours.send(b"next")
        assert await theirs.receive() == b"next"


async def test_there_is_no_half_close_and_asking_for_it_changes_nothing() -> None:
    async with streams() as (ours, theirs):
        with pytest.raises(NotImplementedError, match="no half-close"):
            await ours.send_eof()
        await ours.send(b"still here")
        assert await theirs.receive() == b"still here"


# The end


@both_roles
@pytest.mark.parametrize("code", [1000, 1001, None])
async def test_normal_closure_is_the_end_of_the_stream(role: Role, code: int | None) -> None:
    async with MEMORY.scripted(role) as (ws, peer):
        stream = ws.byte_stream()
        await peer.send(Frame(BINARY, b"last"), close_frame(code))
        await peer.answer_close()
        assert await stream.receive() == b"last"
        for _ in range(2):
            with pytest.raises(ConnectionClosedOK) as ended:
                await stream.receive()
            assert isinstance(ended.value, anyio.EndOfStream)
        # Nobody can receive it: that is no end, but an error.
        with pytest.raises(ConnectionClosedError) as closed:
            await stream.send(b"late")
        assert isinstance(closed.value, anyio.BrokenResourceError)
        assert closed.value.received == ended.value.received


@both_roles
async def test_any_other_end_is_an_error(role: Role) -> None:
    async with MEMORY.scripted(role) as (ws, peer):
        stream = ws.byte_stream()
        await peer.send(Frame(BINARY, b"last"), close_frame(1011, "broken"))
        await peer.answer_close()
        assert await stream.receive() == b"last"
        with pytest.raises(ConnectionClosedError, match="1011 'broken'") as closed:
            await stream.receive()
        assert isinstance(closed.value, anyio.BrokenResourceError)
        with pytest.raises(ConnectionClosedError, match="1011 'broken'"):
            await stream.send(b"late")


async def test_bytes_cut_off_inside_a_message_are_no_normal_end() -> None:
    async with MEMORY.scripted("client") as (ws, peer):
        stream = ws.byte_stream()
        await peer.send(Frame(BINARY, b"half", fin=False))
        assert await stream.receive() == b"half"
        await peer.drop()
        with pytest.raises(anyio.BrokenResourceError):
            await stream.receive()


@both_roles
async def test_closing_the_stream_closes_the_connection_with_1000(role: Role) -> None:
    async with MEMORY.scripted(role) as (ws, peer), anyio.create_task_group() as tasks:
        stream = ws.byte_stream()
        await peer.send(Frame(BINARY, b"one"), Frame(BINARY, b"two"))
        await peer.round_trip()
        assert await stream.receive(1) == b"o"
        tasks.start_soon(peer.answer_close)
        await stream.aclose()
        await stream.aclose()
        assert ws.close_code == 1000
        with pytest.raises(anyio.ClosedResourceError):
            await stream.receive()
        for item in (b"late", b""):
            with pytest.raises(anyio.ClosedResourceError):
                await stream.send(item)
        # The messages are not the stream's any more; there are none.
        with pytest.raises(ConnectionClosedOK):
            await ws.receive()


async def test_closing_under_who_receives_and_sends_says_so() -> None:
    async with MEMORY.scripted("client", capacity=1000) as (ws, _):
        stream = ws.byte_stream()

        async def receive() -> None:
            with pytest.raises(anyio.ClosedResourceError):
                await stream.receive()

        async def send() -> None:
            with pytest.raises(anyio.ClosedResourceError):
                await stream.send(bytes(200_000))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(receive)
            tasks.start_soon(send)
            await settle()
            await anyio.aclose_forcefully(stream)


async def test_leaving_the_block_of_a_stream_closes_it() -> None:
    async with MEMORY.pair() as (ours, theirs):
        async with ours.byte_stream() as stream:
            await stream.send(b"bytes")
        assert ours.close_code == 1000
        assert await receive_all(theirs.byte_stream()) == b"bytes"


# One reader, one writer


async def test_second_receiver_is_told_at_once_and_disturbs_nobody() -> None:
    async with MEMORY.pair() as (ws, other):
        stream = ws.byte_stream()
        received: list[bytes] = []

        async def receive() -> None:
            received.append(await stream.receive())

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(receive)
            await settle()
            for again in (stream.receive, ws.receive, ws.byte_stream().receive):
                with pytest.raises(ConcurrencyError):
                    await again()
            await other.send(b"bytes")
        assert received == [b"bytes"]


async def test_messages_are_for_the_stream_once_it_has_begun() -> None:
    async with MEMORY.pair() as (ws, other):
        await other.send(b"bytes")
        stream = ws.byte_stream()
        assert await stream.receive(1) == b"b"
        for other_way in (ws.receive, ws.__anext__, ws.byte_stream().receive):
            with pytest.raises(ConcurrencyError, match="byte_stream"):
                await other_way()
        assert await stream.receive() == b"ytes"


async def test_stream_cannot_begin_while_another_task_receives() -> None:
    async with MEMORY.pair() as (ws, other):
        stream = ws.byte_stream()
        messages: list[str | bytes] = []

        async def receive() -> None:
            messages.append(await ws.receive())

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(receive)
            await settle()
            with pytest.raises(ConcurrencyError):
                await stream.receive()
            await other.send(b"for the task")
        await other.send(b"for the stream")
        assert await stream.receive() == b"for the stream"
        assert messages == [b"for the task"]


async def test_second_sender_is_told_at_once_and_disturbs_nobody() -> None:
    data = random.Random(0).randbytes(200_000)
    async with streams(capacity=1000) as (ours, theirs), anyio.create_task_group() as tasks:
        tasks.start_soon(ours.send, data)
        await settle()
        with pytest.raises(ConcurrencyError):
            await ours.send(b"between")
        assert await receive_exactly(theirs, len(data)) == data
        await settle()
        await ours.send(b"after")
        assert await theirs.receive() == b"after"


# Whatever the pieces, whatever is cancelled

_SIZES = st.lists(st.integers(0, 300_000), min_size=1, max_size=6)
_READS = st.lists(st.integers(1, 100_000), min_size=1, max_size=6)


@given(sizes=_SIZES, reads=_READS, capacity=st.sampled_from([100_000, None]))
async def test_bytes_arrive_whole_and_in_order_however_they_are_cut(
    sizes: list[int], reads: list[int], capacity: int | None
) -> None:
    data = random.Random(0).randbytes(sum(sizes))
    async with streams(capacity) as (ours, theirs):

        async def send() -> None:
            at = 0
            for size in sizes:
                await ours.send(data[at : at + size])
                at += size

        received = b""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send)
            for n in itertools.cycle([*reads, 65536]):
                if len(received) == len(data):
                    break
                piece = await theirs.receive(n)
                assert 1 <= len(piece) <= n
                received += piece
        assert received == data
        await ours.aclose()
        with pytest.raises(anyio.EndOfStream):
            await theirs.receive()


@given(sizes=st.lists(st.integers(1, 3000), min_size=1, max_size=12), seed=st.integers(0, 1 << 32))
async def test_cancelled_receive_loses_nothing(sizes: list[int], seed: int) -> None:
    chance = random.Random(seed)
    data = chance.randbytes(sum(sizes))
    async with MEMORY.scripted("server", capacity=1000, max_size=1500) as (ws, peer):
        stream = ws.byte_stream()

        async def send() -> None:
            at = 0
            for size in sizes:
                first = chance.randrange(size + 1)
                middle, end = at + first, at + size
                await peer.send(Frame(BINARY, data[at:middle], fin=False))
                for _ in range(chance.randrange(5)):
                    await checkpoint()
                await peer.send(Frame(CONTINUATION, data[middle:end]))
                at = end

        async def cancel(scope: anyio.CancelScope) -> None:
            for _ in range(chance.randrange(6)):
                await checkpoint()
            scope.cancel()

        received = b""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send)
            while len(received) < len(data):
                with anyio.CancelScope() as scope:
                    tasks.start_soon(cancel, scope)
                    received += await stream.receive(chance.choice((1, 700, 65536)))
        assert received == data


async def test_cancelled_send_of_one_message_sent_nothing() -> None:
    async with streams(capacity=1000) as (ours, theirs):
        with anyio.move_on_after(0):
            await ours.send(b"cancelled")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ours.send, bytes(MESSAGE * 2))
            await settle()
            tasks.cancel_scope.cancel()
        with anyio.CancelScope() as scope:
            scope.cancel()
            await ours.send(b"cancelled")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ours.send, b"end")
            # Of a larger item, the messages that went out are whole.
            assert await receive_exactly(theirs, MESSAGE + 3) == bytes(MESSAGE) + b"end"


# Memory


@both_roles
async def test_64_mib_pass_in_bounded_memory(role: Role) -> None:
    size = 64 << 20
    chunk = bytes(1 << 20)
    async with MEMORY.pair(capacity=1 << 16) as ends:
        ours, theirs = (end.byte_stream() for end in (ends if role == "client" else ends[::-1]))

        async def send() -> None:
            for _ in range(size // len(chunk)):
                await ours.send(chunk)
            await ours.aclose()

        received = 0
        async with anyio.create_task_group() as tasks:
            with traced() as peak:
                tasks.start_soon(send)
                async for data in theirs:
                    received += len(data)
                assert peak() < 4 << 20
        assert received == size


async def test_one_message_of_64_mib_passes_in_bounded_memory() -> None:
    size = 64 << 20
    chunk = bytes(1 << 16)

    async def send(peer: RawPeer) -> None:
        await peer.stream.send(b"\x82\x7f" + size.to_bytes(8, "big"))
        for _ in range(size // len(chunk)):
            await peer.stream.send(chunk)

    async with MEMORY.scripted("client", capacity=1 << 16) as (ws, peer):
        received = 0
        async with anyio.create_task_group() as tasks:
            with traced() as peak:
                stream = ws.byte_stream()
                tasks.start_soon(send, peer)
                while received < size:
                    received += len(await stream.receive())
                assert peak() < 4 << 20


@both_roles
async def test_reader_that_stops_makes_the_peer_wait(role: Role) -> None:
    async with MEMORY.scripted(role, capacity=1000, max_size=1000, max_buffer=20_000) as (
        ws,
        peer,
    ):
        stream = ws.byte_stream()
        sent = 0

        async def send() -> None:
            nonlocal sent
            for _ in range(200):
                await peer.send(Frame(BINARY, bytes(1000)))
                sent += 1000

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send)
            received = len(await stream.receive())
            before = -1
            while sent != before:
                before = sent
                await settle()
            assert 20_000 <= sent <= 30_000
            assert await receive_exactly(stream, 200_000 - received) == bytes(200_000 - received)


# What runs over it


async def test_what_is_known_of_the_connection_is_known_of_the_stream(carrier: Carrier) -> None:
    async with carrier.pair() as (ours, _):
        stream = ours.byte_stream()
        assert stream.extra(SocketAttribute.remote_address, None) == ours.remote_address
        assert stream.extra_attributes.keys() == ours.extra_attributes.keys()
        assert (TLSAttribute.tls_version in stream.extra_attributes) is (carrier.name == "tls")


async def test_buffered_stream_runs_over_it() -> None:
    async with streams() as (ours, theirs):
        buffered = BufferedByteStream(theirs)
        await ours.send(b"a line\nand ten bytes")
        assert await buffered.receive_until(b"\n", 100) == b"a line"
        assert await buffered.receive_exactly(4) == b"and "
        assert await buffered.receive() == b"ten bytes"
        await buffered.send(b"back")
        assert await ours.receive() == b"back"


async def test_tls_runs_over_it(
    carrier: Carrier, server_ssl: ssl.SSLContext, client_ssl: ssl.SSLContext
) -> None:
    data = random.Random(0).randbytes(300_000)
    async with carrier.pair() as (client, server):

        async def echo() -> None:
            stream = await TLSStream.wrap(
                server.byte_stream(), server_side=True, ssl_context=server_ssl
            )
            async with stream:
                async for piece in stream:
                    await stream.send(piece)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(echo)
            tls = await TLSStream.wrap(
                client.byte_stream(), hostname="localhost", ssl_context=client_ssl
            )
            tasks.start_soon(tls.send, data)
            received = b""
            while len(received) < len(data):
                received += await tls.receive()
            assert received == data
            await tls.aclose()
        assert client.close_code == server.close_code == 1000


async def test_websocket_runs_over_websocket(carrier: Carrier) -> None:
    large = random.Random(0).randbytes(300_000)
    async with carrier.pair() as (client, server):

        async def echo() -> None:
            async with wrap_server(server.byte_stream()) as inner:
                async for message in inner:
                    await inner.send(message)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(echo)
            async with wrap_client(client.byte_stream(), "ws://localhost/inner") as inner:
                for message in ("text", b"bytes", large):
                    await inner.send(message)
                    assert await inner.receive() == message
            assert inner.close_code == 1000
        assert client.close_code == server.close_code == 1000


# What trio asks of a stream


class TrioStream(trio.abc.Stream):
    """A byte stream of ours with the interface of trio's, and the strictness."""

    def __init__(self, ws: Connection) -> None:
        self._ws = ws
        self._stream = ws.byte_stream()
        self._guard = anyio.ResourceGuard("sending to")

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        with errors_of_trio(), self._guard:
            await self._stream.send(data)  # type: ignore[arg-type]  # more than anyio asks for

    async def wait_send_all_might_not_block(self) -> None:
        with errors_of_trio(), self._guard:
            await self._stream.send(b"")
            try:
                await self._ws._wait_for_room()
            except ConnectionClosed:
                await self._stream.send(b"")
                raise

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        with errors_of_trio():
            try:
                return await self._stream.receive(65536 if max_bytes is None else max_bytes)
            except anyio.EndOfStream:
                return b""

    async def aclose(self) -> None:
        await self._stream.aclose()


@contextmanager
def errors_of_trio() -> Iterator[None]:
    try:
        yield
    except anyio.ClosedResourceError as exc:
        raise trio.ClosedResourceError from exc
    except (anyio.BrokenResourceError, anyio.EndOfStream) as exc:
        raise trio.BrokenResourceError from exc
    except anyio.BusyResourceError as exc:
        raise trio.BusyResourceError from exc


@virtual_time
async def test_stream_passes_the_checks_of_trio() -> None:
    async with AsyncExitStack() as pairs:

        async def joined() -> tuple[TrioStream, TrioStream]:
            options: ConnectionKeywords = {
                "write_limit": 1000,
                "max_size": 1000,
                "max_buffer": 1000,
                "ping_interval": None,
            }
            pair = TIMELESS.pair(capacity=1000, client=options, server=options)
            client, server = await pairs.enter_async_context(pair)
            return TrioStream(client), TrioStream(server)

        async def clogged() -> tuple[TrioStream, TrioStream]:
            async def clog(end: TrioStream) -> None:
                while True:
                    await end.send_all(bytes(1000))

            ends = await joined()
            async with trio.open_nursery() as nursery:
                for end in ends:
                    nursery.start_soon(clog, end)
                await trio.testing.wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()
            return ends

        await check_two_way_stream(joined, clogged)
