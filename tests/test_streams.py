"""Receiving a message piece by piece (RFC 6455 §5.4)."""

from __future__ import annotations

import anyio
import pytest
from anyio.lowlevel import checkpoint

from anyws import (
    Connection,
    ConnectionClosedError,
    ConnectionClosedOK,
    ReceiveStream,
    RemoteProtocolError,
    State,
)
from anyws.testing import BINARY, CONTINUATION, PING, PONG, TEXT, Frame, RawPeer, close_frame

from .memory import traced
from .scripted import MEMORY, Role, both_roles, settle

pytestmark = pytest.mark.anyio


async def read_all(chunks: ReceiveStream) -> list[str | bytes]:
    """Return the pieces of a message."""
    return [chunk async for chunk in chunks]


async def read_stream(ws: Connection) -> tuple[bool, list[str | bytes]]:
    """Receive a message as a stream; return whether it is text, and its pieces."""
    async with ws.receive_stream() as chunks:
        return chunks.text, await read_all(chunks)


@both_roles
async def test_pieces_come_as_their_bytes_arrive(role: Role) -> None:
    """R-B11: whatever the framing, here in one frame."""
    async with MEMORY.scripted(role) as (ws, peer):
        data = peer.encode(Frame(BINARY, b"abcdef"))
        await peer.stream.send(data[:-4])
        async with ws.receive_stream() as chunks:
            assert not chunks.text
            assert await anext(chunks) == b"ab"
            await peer.stream.send(data[-4:-1])
            assert await anext(chunks) == b"cde"
            await peer.stream.send(data[-1:])
            assert await read_all(chunks) == [b"f"]
        await peer.send(Frame(TEXT, b"next"))
        assert await ws.receive() == "next"


@both_roles
async def test_fragments_are_pieces(role: Role) -> None:
    async with MEMORY.scripted(role) as (ws, peer):
        frames = [Frame(TEXT, b"one", fin=False), Frame(0, b"two", fin=False), Frame(PING)]
        async with anyio.create_task_group() as tasks:
            frames.append(Frame(CONTINUATION, b"three"))
            tasks.start_soon(peer.send, *frames)
            assert await read_stream(ws) == (True, ["one", "two", "three"])
        assert await peer.receive() == Frame(PONG)


async def test_whole_message_that_is_there_already_is_one_piece() -> None:
    async with MEMORY.scripted("client") as (ws, peer):
        await peer.send(Frame(TEXT, b"whole"), Frame(BINARY, b"too"), Frame(TEXT))
        await peer.round_trip()
        assert await read_stream(ws) == (True, ["whole"])
        assert await read_stream(ws) == (False, [b"too"])
        assert await read_stream(ws) == (True, [])


async def test_empty_message_has_no_pieces() -> None:
    async with MEMORY.scripted("client") as (ws, peer):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(peer.send, Frame(BINARY, fin=False), Frame(0, fin=False), Frame(0))
            assert await read_stream(ws) == (False, [])
        await peer.send(Frame(TEXT, b"next"))
        assert await ws.receive() == "next"


async def test_text_split_inside_a_character_comes_in_whole_characters() -> None:
    """R-B11: UTF-8 split across fragments, byte by byte."""
    text = "a£€😀z"
    data = text.encode()
    frames = [Frame(TEXT, data[:1], fin=False)]
    frames += [Frame(CONTINUATION, data[at : at + 1], fin=False) for at in range(1, len(data))]
    frames.append(Frame(CONTINUATION))
    async with MEMORY.scripted("client") as (ws, peer), anyio.create_task_group() as tasks:
        tasks.start_soon(peer.send, *frames)
        assert await read_stream(ws) == (True, list(text))


async def test_text_begun_before_the_stream_was_asked_for_is_not_torn() -> None:
    async with MEMORY.scripted("server") as (ws, peer):
        await peer.send(Frame(TEXT, b"a\xe2\x82", fin=False))
        await peer.round_trip()
        async with ws.receive_stream() as chunks:
            assert await anext(chunks) == "a"
            await peer.send(Frame(CONTINUATION, b"\xac"))
            assert await read_all(chunks) == ["€"]


@both_roles
async def test_bad_text_in_a_stream_fails_with_1007(role: Role) -> None:
    async with MEMORY.scripted(role) as (ws, peer):
        await peer.send(Frame(TEXT, b"good", fin=False))
        async with ws.receive_stream() as chunks:
            assert await anext(chunks) == "good"
            await peer.send(Frame(CONTINUATION, b"\xff", fin=False))
            assert (await peer.answer_close())[0] == 1007
            with pytest.raises(ConnectionClosedError):
                await anext(chunks)


async def test_connection_that_ends_inside_the_message_raises() -> None:
    async with MEMORY.scripted("client") as (ws, peer):
        await peer.send(Frame(TEXT, b"some", fin=False))
        async with ws.receive_stream() as chunks:
            await peer.send(close_frame(1000))
            await peer.answer_close()
            assert await anext(chunks) == "some"
            with pytest.raises(ConnectionClosedOK):
                await anext(chunks)


async def test_message_that_the_connection_did_not_live_to_finish_is_no_stream() -> None:
    async with MEMORY.scripted("client") as (ws, peer):
        await peer.send(Frame(TEXT, b"some", fin=False), close_frame(1000))
        await peer.answer_close()
        with pytest.raises(ConnectionClosedOK):
            await ws.receive_stream().__aenter__()


async def test_stream_of_a_closed_connection_raises() -> None:
    async with MEMORY.scripted("client") as (ws, peer):
        await peer.drop()
        with pytest.raises(ConnectionClosedError):
            await ws.receive_stream().__aenter__()
        with pytest.raises(ConnectionClosedError):
            await ws.receive()


async def test_large_message_passes_in_bounded_memory() -> None:
    """R-B11: a message of any size, in one frame, in no more memory than a buffer."""
    size = 48 << 20
    chunk = bytes(1 << 16)

    async def send(peer: RawPeer) -> None:
        await peer.stream.send(b"\x82\x7f" + size.to_bytes(8, "big"))
        for _ in range(size // len(chunk)):
            await peer.stream.send(chunk)

    async with MEMORY.scripted("client", capacity=1 << 16) as (ws, peer):
        received = 0
        async with anyio.create_task_group() as tasks:
            with traced() as peak:
                tasks.start_soon(send, peer)
                async with ws.receive_stream() as chunks:
                    async for piece in chunks:
                        received += len(piece)
                assert peak() < 4 << 20
        assert received == size


@both_roles
async def test_reader_that_stops_makes_the_peer_wait(role: Role) -> None:
    """R-B11: memory is bounded while nobody takes the pieces."""
    async with MEMORY.scripted(role, capacity=1000, max_size=1000, max_buffer=20_000) as (
        ws,
        peer,
    ):
        sent = 0

        async def send() -> None:
            nonlocal sent
            await peer.send(Frame(BINARY, b"\0", fin=False))
            for _ in range(200):
                await peer.send(Frame(CONTINUATION, bytes(1000), fin=False))
                sent += 1000
            await peer.send(Frame(CONTINUATION))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send)
            async with ws.receive_stream() as chunks:
                before = -1
                while sent != before:
                    before = sent
                    await settle()
                assert 20_000 <= sent <= 30_000
                assert sum(map(len, await read_all(chunks))) == 200_001


# Leaving early


REST = Frame(CONTINUATION, b" of it")


@both_roles
@pytest.mark.parametrize("read", [0, 1, 2])
@pytest.mark.parametrize("arrived", ["before", "after"])
async def test_stream_left_early_drops_the_rest_of_its_message_only(
    role: Role, read: int, arrived: str
) -> None:
    """R-A8c: the next `receive` returns the next message, wherever the rest of this one is."""
    begin = [Frame(TEXT, b"some", fin=False), Frame(CONTINUATION, b"more", fin=False)]
    following = [Frame(TEXT, b"next"), Frame(BINARY, b"last")]
    async with MEMORY.scripted(role) as (ws, peer):
        await peer.send(*begin)
        await peer.round_trip()
        async with ws.receive_stream() as chunks:
            for text in ["somemore", " of it"][:read]:
                if text == " of it":
                    await peer.send(REST)
                assert await anext(chunks) == text
            if read < 2 and arrived == "before":
                await peer.send(REST, *following)
                await peer.round_trip()
        if read == 2:
            await peer.send(*following)
        elif arrived == "after":
            await peer.send(REST, *following)
        assert await ws.receive() == "next"
        assert await ws.receive() == b"last"


async def test_whole_message_left_unread_is_dropped() -> None:
    async with MEMORY.scripted("client") as (ws, peer):
        await peer.send(Frame(TEXT, b"unread"), Frame(TEXT, b"next"))
        await peer.round_trip()
        async with ws.receive_stream():
            pass
        assert await ws.receive() == "next"


async def test_stream_left_after_its_message_begins_the_next_one_anew() -> None:
    async with MEMORY.scripted("client") as (ws, peer):
        await peer.send(Frame(TEXT, b"a", fin=False))
        async with ws.receive_stream() as chunks:
            await peer.send(Frame(CONTINUATION, b"b"), Frame(TEXT, b"c", fin=False))
            await peer.round_trip()
            assert await read_all(chunks) == ["a", "b"]
        await peer.send(Frame(CONTINUATION, b"d"))
        assert await ws.receive() == "cd"


@both_roles
async def test_stream_after_one_left_early_is_a_stream_too(role: Role) -> None:
    """R-A8c: its message may be larger than `max_size`, and its text is not torn."""
    async with MEMORY.scripted(role, max_size=10) as (ws, peer):
        await peer.send(Frame(TEXT, b"unread\xe2\x82", fin=False))
        async with ws.receive_stream():
            pass
        large = Frame(TEXT, "€".encode() * 40)
        data = peer.encode(Frame(CONTINUATION, b"\xac and more"), large)

        async def send() -> None:
            await settle()
            await peer.stream.send(data[:-50])
            await settle()
            await peer.stream.send(data[-50:])

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send)
            is_text, pieces = await read_stream(ws)
        assert is_text
        assert "".join(map(str, pieces)) == "€" * 40
        await peer.send(Frame(TEXT, b"next"))
        assert await ws.receive() == "next"


async def test_waiting_for_a_stream_behind_one_left_early_can_be_cancelled() -> None:
    async with MEMORY.scripted("client") as (ws, peer):
        await peer.send(Frame(TEXT, b"unread", fin=False))
        async with ws.receive_stream():
            pass
        with anyio.move_on_after(0):
            await read_stream(ws)
        await peer.send(Frame(CONTINUATION, b"rest"), Frame(TEXT, b"ne", fin=False))
        await peer.round_trip()
        with anyio.CancelScope() as scope:
            scope.cancel()
            await checkpoint()
        await peer.send(Frame(CONTINUATION, b"xt"))
        assert await ws.receive() == "next"


async def test_connection_that_ends_behind_a_stream_left_early_raises() -> None:
    async with MEMORY.scripted("client") as (ws, peer):
        await peer.send(Frame(TEXT, b"unread", fin=False))
        async with ws.receive_stream():
            pass
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(peer.drop)
            with pytest.raises(ConnectionClosedError):
                await read_stream(ws)


# Cancelling


@both_roles
@pytest.mark.parametrize("steps", range(8))
async def test_stream_cancelled_midway_leaves_the_connection_usable(role: Role, steps: int) -> None:
    """R-A8c: wherever the cancellation lands, whole messages come next, and in order."""
    numbers = [Frame(TEXT, b"%d" % n) for n in range(3)]
    async with MEMORY.scripted(role) as (ws, peer):

        async def send() -> None:
            await peer.send(Frame(TEXT, b"one", fin=False))
            await peer.send(Frame(CONTINUATION, b"two", fin=False))
            await peer.send(Frame(CONTINUATION, b"three"), *numbers)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send)
            with anyio.CancelScope() as scope:

                async def cancel() -> None:
                    for _ in range(steps):
                        await checkpoint()
                    scope.cancel()

                tasks.start_soon(cancel)
                await read_stream(ws)
            rest = [await ws.receive() for _ in range(3)]
        # Nothing of the message had come yet, or it has been dropped.
        if rest[0] == "onetwothree":
            rest = [*rest[1:], await ws.receive()]
        assert rest == ["0", "1", "2"]


async def test_waiting_for_a_stream_that_does_not_begin_can_be_cancelled() -> None:
    async with MEMORY.scripted("client", max_size=10) as (ws, peer):
        with anyio.move_on_after(0):
            await read_stream(ws)
        await peer.send(Frame(TEXT, b"abc", fin=False), Frame(CONTINUATION, b"def"))
        assert await ws.receive() == "abcdef"


async def test_next_piece_under_a_timeout_is_not_lost() -> None:
    async with MEMORY.scripted("client") as (ws, peer):
        await peer.send(Frame(TEXT, b"one", fin=False))
        async with ws.receive_stream() as chunks:
            assert await anext(chunks) == "one"
            for _ in range(3):
                with anyio.move_on_after(0):
                    await anext(chunks)
            await peer.send(Frame(CONTINUATION, b"two"))
            assert await read_all(chunks) == ["two"]


# Limits


@both_roles
@pytest.mark.parametrize("before", [0, 1], ids=["first", "behind-another"])
@pytest.mark.parametrize("fragmented", [False, True], ids=["one-frame", "fragments"])
async def test_message_above_max_size_passes_as_a_stream(
    role: Role, before: int, fragmented: bool
) -> None:
    """It waits, and is not failed, when it arrives before `receive_stream` is called."""
    large = [Frame(BINARY, bytes(5000))]
    if fragmented:
        large = [Frame(BINARY, b"\0", fin=False), Frame(CONTINUATION, bytes(4999))]
    async with MEMORY.scripted(role, max_size=1000) as (ws, peer):
        await peer.round_trip()
        await peer.send(*[Frame(TEXT, b"before")] * before, *large, Frame(TEXT, b"after"))
        await settle()
        assert ws.state is State.OPEN
        for _ in range(before):
            assert await ws.receive() == "before"
        is_text, pieces = await read_stream(ws)
        assert not is_text
        assert b"".join(map(bytes, pieces)) == bytes(5000)  # type: ignore[arg-type]
        assert await ws.receive() == "after"


@both_roles
async def test_large_messages_one_after_the_other_pass_as_streams(role: Role) -> None:
    async with MEMORY.scripted(role, max_size=1000) as (ws, peer):
        await peer.send(*[Frame(BINARY, bytes(5000))] * 5)
        for _ in range(5):
            _, pieces = await read_stream(ws)
            assert sum(map(len, pieces)) == 5000


async def test_large_message_fails_once_somebody_receives_it_whole() -> None:
    """R-B3b."""
    async with MEMORY.scripted("client", max_size=1000) as (ws, peer):
        await peer.send(Frame(BINARY, bytes(1001)))
        await settle()
        assert ws.state is State.OPEN
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(peer.answer_close)
            with pytest.raises(ConnectionClosedError, match=r"sent 1009 .*limit 1000"):
                await ws.receive()


@pytest.mark.parametrize("together", [True, False])
async def test_large_message_behind_a_stream_waits_for_the_block_to_be_left(
    together: bool,
) -> None:
    """Its bytes are not piled up meanwhile: the peer has to wait."""
    async with MEMORY.scripted("client", capacity=1000, max_size=1000) as (ws, peer):
        await peer.send(Frame(TEXT, b"first", fin=False))
        sent = 0
        first_read = anyio.Event()

        async def send() -> None:
            nonlocal sent
            if not together:
                await peer.send(Frame(CONTINUATION))
                await first_read.wait()
            data = peer.encode(*[Frame(CONTINUATION)] * together, Frame(BINARY, bytes(500_000)))
            for at in range(0, len(data), 500):
                await peer.stream.send(data[at : at + 500])
                sent += 500

        async with anyio.create_task_group() as tasks:
            async with ws.receive_stream() as chunks:
                tasks.start_soon(send)
                assert await read_all(chunks) == ["first"]
                first_read.set()
                before = -1
                while sent != before:
                    before = sent
                    await settle()
                assert sent <= 10_000
            _, pieces = await read_stream(ws)
        assert sum(map(len, pieces)) == 500_000


@both_roles
@pytest.mark.parametrize("kind", [TEXT, BINARY])
async def test_stream_of_its_max_size_passes(role: Role, kind: int) -> None:
    payload = "é".encode() * 50
    async with MEMORY.scripted(role) as (ws, peer):
        await peer.send(Frame(kind, payload))
        await peer.round_trip()
        async with ws.receive_stream(max_size=100) as chunks:
            assert len(await read_all(chunks)) == 1


@both_roles
@pytest.mark.parametrize("kind", [TEXT, BINARY])
async def test_stream_above_its_max_size_fails_with_1009(role: Role, kind: int) -> None:
    payload = "é".encode() * 50
    async with MEMORY.scripted(role) as (ws, peer):
        await peer.send(Frame(kind, payload, fin=False))
        async with ws.receive_stream(max_size=99) as chunks:
            with pytest.raises(ConnectionClosedError) as closed:
                await read_all(chunks)
        assert await peer.answer_close() == (
            1009,
            "incoming message of 100 bytes or more, limit 99",
        )
        assert closed.value.sent == (1009, "incoming message of 100 bytes or more, limit 99")
        assert isinstance(closed.value.__cause__, RemoteProtocolError)
        await ws.wait_closed()


async def test_stream_above_its_max_size_is_an_error_on_a_closed_connection_too() -> None:
    async with MEMORY.scripted("client") as (ws, peer):
        await peer.send(Frame(BINARY, bytes(100)), close_frame(1000))
        await peer.answer_close()
        await ws.wait_closed()
        async with ws.receive_stream(max_size=99) as chunks:
            with pytest.raises(ConnectionClosedError) as closed:
                await anext(chunks)
        assert isinstance(closed.value.__cause__, RemoteProtocolError)


# Both ends ours


@both_roles
async def test_stream_passes_both_ways(role: Role) -> None:
    """R-B11: sent piece by piece, received piece by piece, echoed."""
    async with MEMORY.pair(capacity=1 << 16) as ends:
        ours, theirs = ends if role == "client" else ends[::-1]
        pieces = [bytes([n]) * 30_000 for n in range(100)]
        echoed: list[bytes] = []

        async def echo() -> None:
            async with theirs.receive_stream() as chunks, theirs.send_stream() as writer:
                async for chunk in chunks:
                    await writer.write(chunk)

        async def read() -> None:
            async with ours.receive_stream() as chunks:
                async for chunk in chunks:
                    assert isinstance(chunk, bytes)
                    echoed.append(chunk)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(echo)
            tasks.start_soon(read)
            await ours.send(pieces)
        assert b"".join(echoed) == b"".join(pieces)
