"""Compression and other extensions on an open connection (RFC 6455 §9, RFC 7692)."""

from __future__ import annotations

import functools
import random
import zlib
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

import anyws
from anyws import (
    Connection,
    ConnectionClosedError,
    Deflate,
    Extension,
    ExtensionCodec,
    ExtensionParameters,
    InvalidHandshake,
    NamedExtension,
    NegotiationError,
)
from anyws.testing import (
    BINARY,
    CONTINUATION,
    PING,
    TEXT,
    Frame,
    RawPeer,
    connection_pair,
    memory_pair,
    run_handler,
)

from .memory import traced
from .scripted import Role, both_roles, settle

pytestmark = pytest.mark.anyio

LIMIT = 60.0
URI = "ws://localhost/"
MIB = 1 << 20
RSV1 = 4

NO_TAKEOVER = Deflate(server_no_context_takeover=True, client_no_context_takeover=True)


def deflated(data: bytes, *, bits: int = 12) -> bytes:
    """Return what a peer sends for a message, by zlib itself (RFC 7692 §7.2.1)."""
    compressor = zlib.compressobj(wbits=-bits)
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


def inflated(data: bytes) -> bytes:
    return zlib.decompressobj(-15).decompress(data + b"\x00\x00\xff\xff")


def bomb(size: int) -> bytes:
    """Return what a message of so many bytes, all of them zero, may be compressed to."""
    compressor = zlib.compressobj(9, wbits=-15)
    # Behind a full flush nothing refers to what went before, so that pieces can be repeated.
    piece = compressor.compress(bytes(MIB)) + compressor.flush(zlib.Z_FULL_FLUSH)
    return (piece * (size // MIB))[:-4]


@functools.cache
def text_of(size: int, seed: int = 0) -> str:
    """Return words that compress as words do."""
    words = random.Random(seed)
    drawn = [f"{words.randrange(5000)}" for _ in range(size // 3)]
    return " ".join(drawn)[:size]


@asynccontextmanager
async def meet(
    role: Role, *, answer: str = "permessage-deflate", **options: Any
) -> AsyncIterator[tuple[Connection, RawPeer]]:
    """Join a connection of ours with a scripted peer; they have agreed on compression.

    The peer answers no Close frame, and is not waited for.
    """
    ours, theirs = memory_pair()
    peer = RawPeer(theirs, is_client=role == "server", reserved=RSV1)
    options = {"compression": "deflate", "close_timeout": 0, **options}
    wrapped = (
        anyws.wrap_client(ours, URI, **options)
        if role == "client"
        else anyws.wrap_server(ours, **options)
    )
    with anyio.fail_after(LIMIT):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(peer.shake_hands, f"Sec-WebSocket-Extensions: {answer}")
            async with wrapped as ws:
                await peer.ready.wait()
                try:
                    yield ws, peer
                finally:
                    await peer.drop()
                    await anyio.aclose_forcefully(ws)


async def echo(ws: Connection) -> None:
    async for message in ws:
        await ws.send(message)


# The opening handshake


async def test_compression_is_off_unless_asked_for() -> None:
    async with connection_pair() as (client, server):
        assert client.extensions == server.extensions == ()
        assert "Sec-WebSocket-Extensions" not in client.request.headers


@pytest.mark.parametrize("side", ["client", "server"])
async def test_compression_takes_two(side: str) -> None:
    options: dict[str, Any] = {side: {"compression": "deflate"}}
    async with connection_pair(**options) as (client, server):
        assert client.extensions == server.extensions == ()
        await client.send("a" * 1000)
        assert await server.receive() == "a" * 1000


async def test_extensions_in_use_are_known_on_both_sides() -> None:
    async with connection_pair(compression="deflate") as (client, server):
        assert client.extensions == server.extensions
        assert [str(extension) for extension in client.extensions] == [
            "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12"
        ]
        assert client.request.headers["Sec-WebSocket-Extensions"] == (
            "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12, "
            "permessage-deflate"
        )


async def test_settings_of_compression_are_negotiated() -> None:
    async with connection_pair(
        client={"compression": Deflate(server_no_context_takeover=True)},
        server={"compression": Deflate(client_max_window_bits=10)},
    ) as (client, server):
        assert client.extensions == server.extensions
        assert [str(extension) for extension in client.extensions] == [
            "permessage-deflate; server_no_context_takeover; "
            "server_max_window_bits=12; client_max_window_bits=10"
        ]
        for n in range(3):
            await client.send("a" * 1000 + str(n))
            assert await server.receive() == "a" * 1000 + str(n)
            await server.send("b" * 1000 + str(n))
            assert await client.receive() == "b" * 1000 + str(n)


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        ("foo", NegotiationError, "an extension that was not offered: foo"),
        ("permessage-deflate; x=1", NegotiationError, "unknown parameter x"),
        # CVE-2026-2229
        ("permessage-deflate; server_max_window_bits=7", NegotiationError, "expected 8 to 15"),
        ("permessage-deflate; server_max_window_bits=99", NegotiationError, "expected 8 to 15"),
        ("permessage-deflate, permessage-deflate", NegotiationError, "twice"),
        ("permessage-deflate; =", InvalidHandshake, "the response cannot be read: comma, or"),
    ],
)
async def test_client_refuses_an_answer_that_does_not_fit(
    answer: str, error: type[Exception], message: str
) -> None:
    ours, theirs = memory_pair()
    peer = RawPeer(theirs, is_client=False)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(peer.shake_hands, f"Sec-WebSocket-Extensions: {answer}")
        with pytest.raises(error, match=message):
            async with anyws.wrap_client(ours, URI, compression="deflate"):
                pass


async def test_server_refuses_offers_that_cannot_be_read() -> None:
    ours, theirs = memory_pair()
    peer = RawPeer(theirs, is_client=True)
    async with anyio.create_task_group() as tasks:

        async def accept() -> None:
            with pytest.raises(InvalidHandshake, match="the request cannot be read: comma, or"):
                async with anyws.wrap_server(ours):
                    pass

        tasks.start_soon(accept)
        response = await peer.upgrade("Sec-WebSocket-Extensions: a b")
        assert response.status == 400
        assert b"comma, or parameter of an extension, expected at 'b'" in response.body
        await peer.drop()


@pytest.mark.parametrize("compression", ["gzip", True, zlib])
async def test_compression_that_does_not_exist_is_told(compression: Any) -> None:
    with pytest.raises(ValueError, match=r"compression is .*, expected 'deflate', a Deflate or No"):
        _ = anyws.connect(URI, compression=compression)


async def test_extensions_are_checked() -> None:
    extensions: Any = ["permessage-deflate"]
    with pytest.raises(TypeError, match="extension 'permessage-deflate' is not an Extension"):
        _ = anyws.serve(echo, "localhost", extensions=extensions)


# Messages


@both_roles
async def test_message_is_compressed_and_marked(role: Role) -> None:
    async with meet(role) as (ws, peer):
        await ws.send("a" * 1000)
        frame = await peer.receive()
        assert (frame.opcode, frame.reserved, frame.fin) == (TEXT, RSV1, True)
        assert len(frame.payload) < 100
        assert inflated(frame.payload) == b"a" * 1000


@both_roles
async def test_context_is_kept_from_message_to_message(role: Role) -> None:
    async with meet(role) as (ws, peer):
        text = text_of(1000)
        sizes = []
        for _ in range(2):
            await ws.send(text)
            sizes.append(len((await peer.receive()).payload))
        assert sizes[1] < sizes[0] / 10


@both_roles
async def test_compression_is_a_choice_for_each_message(role: Role) -> None:
    async with meet(role) as (ws, peer):
        await ws.send("a" * 1000, compress=False)
        await ws.send("a", compress=True)
        await ws.send("a" * 127)
        await ws.send("a" * 128)
        await ws.send(["a" * 10, "b"])
        await ws.send(["a" * 1000, "b"], compress=False)
        async with ws.send_stream(compress=False) as writer:
            await writer.write(b"c")
        frames = [await peer.receive() for _ in range(12)]
        assert [frame.reserved for frame in frames] == [0, 4, 0, 4, 4, 0, 0, 0, 0, 0, 0, 0]
        assert frames[0] == Frame(TEXT, b"a" * 1000)
        assert frames[2] == Frame(TEXT, b"a" * 127)
        assert frames[7:] == [
            Frame(TEXT, b"a" * 1000, fin=False),
            Frame(CONTINUATION, b"b", fin=False),
            Frame(CONTINUATION, b""),
            Frame(BINARY, b"c", fin=False),
            Frame(CONTINUATION, b""),
        ]


@both_roles
async def test_large_message_that_is_not_to_be_compressed_is_sent_as_it_is(role: Role) -> None:
    async with meet(role) as (ws, peer):
        await ws.send(b"a" * 200_000, compress=False)
        await peer.expect(Frame(BINARY, b"a" * 200_000))


@both_roles
async def test_fragment_can_be_decompressed_once_it_is_there(role: Role) -> None:
    async with meet(role) as (ws, peer):
        inflate = zlib.decompressobj(-15)
        async with ws.send_stream(text=True) as writer:
            for n in range(3):
                await writer.write(f"fragment {n}")
                frame = await peer.receive()
                assert frame.reserved == (RSV1 if n == 0 else 0)
                assert inflate.decompress(frame.payload) == f"fragment {n}".encode()
        last = await peer.receive()
        assert last.fin
        assert inflate.decompress(last.payload + b"\x00\x00\xff\xff") == b""


@both_roles
async def test_fragmented_message_is_decompressed(role: Role) -> None:
    async with meet(role) as (ws, peer):
        data = deflated(b"abc" * 1000)
        await peer.send(
            Frame(TEXT, data[:5], fin=False, reserved=RSV1),
            Frame(PING, b"between"),
            Frame(CONTINUATION, b"", fin=False),
            Frame(CONTINUATION, data[5:]),
            Frame(BINARY, b"plain"),
        )
        assert await ws.receive() == "abc" * 1000
        assert await ws.receive() == b"plain"


@pytest.mark.parametrize("compression", ["deflate", NO_TAKEOVER], ids=["takeover", "none"])
async def test_messages_of_any_size_arrive_unchanged(compression: Any) -> None:
    noise = random.Random(1).randbytes(3 * MIB)
    messages: list[str | bytes] = ["", b"", "a", "é" * 70, text_of(5000), noise[:300]]
    messages += [text_of(65536), text_of(MIB), noise, bytes(5 * MIB), "世" * MIB, "end"]
    with anyio.fail_after(LIMIT):
        async with run_handler(
            echo,
            max_size=8 * MIB,
            client={"compression": compression},
            server={"compression": compression},
        ) as ws:
            for message in messages:
                await ws.send(message)
                assert await ws.receive() == message


async def test_many_tasks_send_messages_of_all_sizes() -> None:
    sent: dict[str, list[int]] = {"a": [], "b": [], "c": []}
    received: dict[str, list[int]] = {"a": [], "b": [], "c": []}

    async with connection_pair(compression="deflate") as (client, server):

        async def send(name: str, size: int) -> None:
            for n in range(10):
                await client.send(f"{name} {n} {text_of(size, n)}")
                sent[name].append(n)

        with anyio.fail_after(LIMIT):
            async with anyio.create_task_group() as tasks:
                for name, size in (("a", 10), ("b", 5000), ("c", 200_000)):
                    tasks.start_soon(send, name, size)
                for _ in range(30):
                    message = await server.receive_text()
                    name, n, rest = message.split(" ", 2)
                    assert rest == text_of({"a": 10, "b": 5000, "c": 200_000}[name], int(n))
                    received[name].append(int(n))
    assert received == sent == {name: list(range(10)) for name in "abc"}


# Cancelling and closing


async def test_cancelled_message_leaves_the_next_ones_readable() -> None:
    async with connection_pair(compression="deflate", max_size=4 * MIB) as (client, server):
        text = text_of(300_000)
        for n in range(12):
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(client.send, text)
                    for _ in range(n):
                        await checkpoint()
                    scope.cancel()
            with anyio.fail_after(LIMIT):
                await client.send(text_of(100_000))
                await client.send(f"{n}" * 1000)
                received = await server.receive()
                if received == text:  # all of it was out before the cancellation
                    received = await server.receive()
                assert received == text_of(100_000)
                assert await server.receive() == f"{n}" * 1000


async def test_text_that_cannot_be_sent_leaves_the_next_ones_readable() -> None:
    async with connection_pair(compression="deflate") as (client, server):
        with pytest.raises(anyws.LocalProtocolError, match="not UTF-8"):
            await client.send(b"a" * 300_000 + b"\xff", text=True)
        await client.send("still here" * 100)
        assert await server.receive() == "still here" * 100


async def test_connection_that_ends_ends_a_send_that_compresses() -> None:
    async with connection_pair(compression="deflate", max_size=4 * MIB) as (client, server):
        async with anyio.create_task_group() as tasks:

            async def send() -> None:
                with pytest.raises(anyws.ConnectionClosed):
                    await client.send(text_of(MIB))

            tasks.start_soon(send)
            await checkpoint()
            await server.close()
        assert client.close_code == 1000


async def test_other_tasks_run_while_a_message_is_compressed_and_decompressed() -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await checkpoint()
            turns += 1

    async with connection_pair(compression="deflate", max_size=32 * MIB) as (client, server):
        with anyio.fail_after(LIMIT):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(count)
                await client.send(bytes(16 * MIB))
                compressed = turns
                assert await server.receive() == bytes(16 * MIB)
                decompressed = turns - compressed
                tasks.cancel_scope.cancel()
    # In 256 steps, and in 32.
    assert compressed >= 200
    assert decompressed >= 20


async def test_ping_is_answered_before_a_message_is_decompressed() -> None:
    async with connection_pair(compression="deflate", max_size=32 * MIB) as (client, server):
        with anyio.fail_after(LIMIT):
            await client.send(bytes(30 * MIB))
            await client.send("next")
            await client.ping()  # it is behind both, in the order of bytes
            assert await server.receive() == bytes(30 * MIB)
            assert await server.receive() == "next"


@both_roles
async def test_close_frame_behind_compressed_messages_is_not_early(role: Role) -> None:
    async with meet(role, max_size=8 * MIB) as (ws, peer):
        await peer.send(
            Frame(BINARY, deflated(bytes(5 * MIB)), reserved=RSV1),
            Frame(TEXT, deflated(b"last"), reserved=RSV1),
            anyws.testing.close_frame(1000),
        )
        assert await ws.receive() == bytes(5 * MIB)
        assert await ws.receive() == "last"
        with pytest.raises(anyws.ConnectionClosedOK):
            await ws.receive()


async def receive_pieces(ws: Connection) -> None:
    async with ws.receive_stream() as pieces:
        async for _piece in pieces:
            pass


async def test_closing_does_not_wait_for_what_is_not_decompressed() -> None:
    async with connection_pair(compression="deflate", max_size=None) as (client, server):
        with anyio.fail_after(LIMIT):
            await client.send(bytes(30 * MIB))
            await settle()
            await server.close()
            assert server.close_code == 1000


# Limits


@pytest.fixture(scope="module")
def gibibyte() -> bytes:
    return bomb(1024 * MIB)


@both_roles
@pytest.mark.parametrize("fragments", [1, 10])
async def test_bomb_ends_in_1009_and_little_memory(
    role: Role, fragments: int, gibibyte: bytes
) -> None:
    # R-C2: 1 MB that is 1 GiB.
    assert len(gibibyte) < MIB * 1.02
    size = len(gibibyte) // fragments + 1
    pieces = [gibibyte[at : at + size] for at in range(0, len(gibibyte), size)]
    frames = [
        Frame(
            CONTINUATION if n else BINARY,
            piece,
            fin=n == len(pieces) - 1,
            reserved=0 if n else RSV1,
        )
        for n, piece in enumerate(pieces)
    ]
    async with meet(role, max_size=4 * MIB) as (ws, peer):
        data = peer.encode(*frames)
        with traced() as peak:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(peer.send, data)
                with pytest.raises(ConnectionClosedError) as caught:
                    await ws.receive()
                assert caught.value.sent is not None
                assert caught.value.sent.code == 1009
                tasks.cancel_scope.cancel()
            assert peak() < 2 * 4 * MIB


@both_roles
async def test_million_empty_blocks_end_the_connection(role: Role) -> None:
    # R-C2. Ten bits each: a block of fixed codes that holds nothing but its end.
    bits = "0100000000" * 1_000_000
    blocks = int(bits[::-1], 2).to_bytes(len(bits) // 8, "little")
    async with meet(role) as (ws, peer), anyio.create_task_group() as tasks:
        tasks.start_soon(peer.send, Frame(BINARY, blocks, reserved=RSV1))
        with pytest.raises(ConnectionClosedError) as caught:
            await ws.receive()
        assert caught.value.sent is not None
        assert caught.value.sent.code == 1009
        tasks.cancel_scope.cancel()


@both_roles
async def test_stream_of_a_bomb_waits_for_its_reader(role: Role) -> None:
    data = bomb(64 * MIB)
    async with meet(role, max_size=MIB) as (ws, peer):
        await peer.send(Frame(BINARY, data, reserved=RSV1), Frame(TEXT, b"next"))
        size = 0
        async with ws.receive_stream() as chunks:
            with traced() as peak:
                await settle()
                assert peak() < 4 * MIB
            async for chunk in chunks:
                size += len(chunk)
        assert size == 64 * MIB
        assert await ws.receive() == "next"


@both_roles
async def test_stream_left_early_leaves_the_next_message_readable(role: Role) -> None:
    async with meet(role, max_size=MIB) as (ws, peer):
        compressor = zlib.compressobj(wbits=-12)
        big, small = (
            (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]
            for data in (bytes(20 * MIB) + b"abcdef" * 100, b"abcdef" * 50)
        )
        await peer.send(Frame(BINARY, big, reserved=RSV1), Frame(BINARY, small, reserved=RSV1))
        async with ws.receive_stream() as chunks:
            async for _ in chunks:
                break
        assert await ws.receive() == b"abcdef" * 50


@both_roles
async def test_unread_messages_count_as_large_as_they_are(role: Role) -> None:
    # 100 messages of 1 MiB each are 100 KiB on the wire.
    async with meet(role, max_size=MIB) as (ws, peer):
        frames = [Frame(BINARY, deflated(bytes(MIB)), reserved=RSV1)] * 100
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(peer.send, *frames)
            with traced() as peak:
                await settle()
                assert peak() < 5 * MIB
            for _ in range(100):
                assert await ws.receive() == bytes(MIB)


# What a peer may not do


@both_roles
@pytest.mark.parametrize(
    ("frames", "code", "reason"),
    [
        (
            [Frame(TEXT, b"a", fin=False), Frame(CONTINUATION, b"b", reserved=RSV1)],
            1002,
            "reserved bits 100 set in a frame with opcode 0",
        ),
        ([Frame(PING, b"", reserved=RSV1)], 1002, "reserved bits 100 set in a frame with opcode 9"),
        ([Frame(TEXT, b"", reserved=2)], 1002, "reserved bits 010 set, negotiated are 100"),
        ([Frame(TEXT, b"\xff\xff", reserved=RSV1)], 1007, "compressed data is broken"),
        ([Frame(TEXT, b"", reserved=RSV1)], 1007, "compressed data ends within a block"),
        (
            [Frame(TEXT, deflated(b"abcdefgh")[:-3], reserved=RSV1)],
            1007,
            "compressed data ends within a block",
        ),
        (
            [Frame(TEXT, b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00\x00", reserved=RSV1)],
            1007,
            "compressed data is broken",
        ),
        ([Frame(TEXT, deflated(b"\xff"), reserved=RSV1)], 1007, "text is not UTF-8"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_broken_message_fails_the_connection(
    role: Role, frames: list[Frame], code: int, reason: str
) -> None:
    async with meet(role) as (ws, peer):
        await peer.send(*frames)
        with pytest.raises(ConnectionClosedError, match=reason) as caught:
            await ws.receive()
        assert caught.value.sent is not None
        assert caught.value.sent.code == code


@both_roles
async def test_compressed_message_without_an_agreement_fails_the_connection(role: Role) -> None:
    # GHSA-mq44-7p77-q5h7
    ours, theirs = memory_pair()
    peer = RawPeer(theirs, is_client=role == "server")
    wrapped = anyws.wrap_client(ours, URI) if role == "client" else anyws.wrap_server(ours)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(peer.shake_hands)
        async with wrapped as ws:
            await peer.ready.wait()
            await peer.send(Frame(TEXT, deflated(b"a"), reserved=RSV1))
            code, reason = await peer.receive_close()
            assert (code, reason) == (1002, "reserved bits 100 set, no extension negotiated")
            await peer.drop()
            with pytest.raises(ConnectionClosedError):
                await ws.receive()


# Extensions of an application


class Reversed(Extension, ExtensionCodec):
    """Sends every message backwards, without reserved bits."""

    name = "x-reversed"

    def __init__(self) -> None:
        self._sent: list[bytes] = []
        self._received: list[bytes] = []

    def codec(self, agreed: ExtensionParameters, *, is_client: bool) -> ExtensionCodec:
        return Reversed()

    def encode(self, data: bytes, *, flush: bool, final: bool) -> bytes:
        self._sent.append(data)
        if not final:
            return b""
        data, self._sent = b"".join(self._sent)[::-1], []
        return data

    def decode(self, data: bytes, *, final: bool) -> Iterable[bytes]:
        self._received.append(data)
        if final:
            data, self._received = b"".join(self._received)[::-1], []
            yield data


class Failing(Extension, ExtensionCodec):
    """Cannot encode, or decode, what has the word for it."""

    name = "x-failing"

    def codec(self, agreed: ExtensionParameters, *, is_client: bool) -> ExtensionCodec:
        return self

    def encode(self, data: bytes, *, flush: bool, final: bool) -> bytes:
        if b"unsendable" in data:
            raise RuntimeError("cannot encode")
        return data

    def decode(self, data: bytes, *, final: bool) -> Iterable[bytes]:
        if b"unreadable" in data:
            raise RuntimeError("cannot decode")
        return [data]


async def test_extension_of_an_application_works_with_compression_behind_it() -> None:
    async with connection_pair(extensions=[Reversed()], compression="deflate") as (client, server):
        assert client.extensions[0] == server.extensions[0] == NamedExtension("x-reversed")
        assert [extension.name for extension in server.extensions] == [
            "x-reversed",
            "permessage-deflate",
        ]
        for message in ("abc", "a" * 1000, text_of(200_000), b"", bytes(range(256)) * 10):
            await client.send(message)
            assert await server.receive() == message
            await server.send(message)
            assert await client.receive() == message
        await client.send(["ab", "cd"])
        assert await server.receive() == "abcd"


@pytest.mark.parametrize("size", [0, 100_000])
async def test_extension_that_cannot_encode_fails_the_connection(size: int) -> None:
    async with connection_pair(extensions=[Failing()]) as (client, server):
        with pytest.raises(RuntimeError, match="cannot encode"):
            await client.send("a" * size + "unsendable")
        with pytest.raises(ConnectionClosedError) as caught:
            await server.receive()
        assert caught.value.received == (1011, "an extension failed")


async def test_extension_that_cannot_decode_fails_the_connection() -> None:
    async with connection_pair(extensions=[Failing()]) as (client, server):
        await client.send("unreadable")
        with pytest.raises(ConnectionClosedError, match="an extension failed: RuntimeError"):
            await server.receive()
        with pytest.raises(ConnectionClosedError) as caught:
            await client.receive()
        assert caught.value.received is not None
        assert caught.value.received.code == 1011


@pytest.mark.parametrize("incoming", ["discard", "refuse"])
async def test_compressed_messages_that_nobody_receives(incoming: Any) -> None:
    async with connection_pair(compression="deflate", max_size=None) as (client, server):
        with anyio.fail_after(LIMIT):
            async with anyio.create_task_group() as tasks:

                async def send() -> None:
                    try:
                        await client.send(bytes(10 * MIB))
                        await client.send("next")
                        await client.close()
                    except anyws.ConnectionClosed:
                        assert incoming == "refuse"

                with server.cancel_on_close(incoming=incoming) as scope:
                    tasks.start_soon(send)
                    await anyio.sleep_forever()
        assert scope.closed is not None
        assert scope.closed.sent is not None
        assert scope.closed.sent.code == (1000 if incoming == "discard" else 1008)
