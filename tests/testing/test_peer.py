"""Tests of `anyws.testing._peer`: it says what it is told, and says what it expected."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import pytest

from anyws.testing import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    UPGRADE,
    Frame,
    Head,
    MemoryStream,
    RawPeer,
    close_frame,
    memory_pair,
)

from ..raw import LIMIT
from ..scripted import settle

pytestmark = pytest.mark.anyio

HELLO = Frame(TEXT, b"hello")
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
SWITCHED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: " + ACCEPT.encode() + b"\r\n\r\n"
)


def peers() -> tuple[RawPeer, RawPeer]:
    """Return a client and a server."""
    ours, theirs = memory_pair()
    return RawPeer(ours, is_client=True), RawPeer(theirs, is_client=False)


async def server_hearing(data: bytes) -> RawPeer:
    """Return a server to which a client has sent these bytes, and their end."""
    return await peer_hearing(data, is_client=False)


async def client_hearing(data: bytes) -> RawPeer:
    """Return a client to which a server has sent these bytes, and their end."""
    return await peer_hearing(data, is_client=True)


async def peer_hearing(data: bytes, *, is_client: bool) -> RawPeer:
    ours, theirs = memory_pair()
    await theirs.send(data)
    await theirs.send_eof()
    return RawPeer(ours, is_client=is_client)


async def fails(call: Callable[[], Awaitable[object]], message: str) -> None:
    """Check that it fails with just this message."""
    with pytest.raises(AssertionError) as caught:
        await call()
    assert str(caught.value) == message


# Bytes and frames


async def test_bytes_and_frames_leave_in_one_write() -> None:
    ours, theirs = memory_pair()
    await RawPeer(ours, is_client=False).send(b"garbage", HELLO, b"", Frame(PING))
    assert ours.writes == 1
    assert await theirs.receive() == b"garbage\x81\x05hello\x89\x00"


async def test_client_masks_what_it_says() -> None:
    client, server = peers()
    assert client.encode(HELLO)[1] == 0x80 | 5
    assert len({client.encode(HELLO) for _ in range(5)}) > 1
    assert server.encode(HELLO)[1] == 5
    await client.send(HELLO)
    assert await server.receive() == HELLO


async def test_what_was_expected_may_come_in_any_pieces() -> None:
    client, server = peers()
    data = server.encode(HELLO, Frame(PING), b"garbage", HELLO)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(client.expect, HELLO, Frame(PING), b"gar", b"bage", HELLO)
        for n in range(len(data)):
            await server.send(data[n : n + 1])
            await settle()


async def test_what_follows_what_was_expected_stays_unread() -> None:
    client, server = peers()
    await server.send(b"garbage", HELLO, b"more")
    await client.expect(b"garb")
    await client.expect(b"age", HELLO)
    await server.stream.aclose()
    assert await client.read_rest() == b"more"


@pytest.mark.parametrize(
    ("expected", "data", "message"),
    [
        (HELLO, b"\x89\x00", "expected Frame(TEXT, b'hello'), received Frame(PING, b'')"),
        (HELLO, b"", "expected Frame(TEXT, b'hello'), but the stream ended"),
        (
            HELLO,
            b"\x81\x05he",
            "expected Frame(TEXT, b'hello'), but the stream ended after b'\\x81\\x05he'",
        ),
        (HELLO, b"\x83\x00", "the opcode 3 is not defined (§5.2): received b'\\x83\\x00'"),
        (b"hello", b"help!", "expected b'hello', received b'help!'"),
        (b"hello", b"help", "expected b'hello', received b'help'"),
        (b"hello", b"hell", "expected b'hello', but the stream ended after b'hell'"),
        (
            b"a" * 1000,
            b"a" * 500 + b"x" * 400,
            f"expected {b'a' * 80!r}... (1000 bytes), received {b'a' * 80!r}... (900 bytes); "
            f"from byte 500 on, {b'a' * 80!r}... (500 bytes) and {b'x' * 80!r}... (400 bytes)",
        ),
        (
            Frame(TEXT, b"a" * 100),
            Frame(TEXT, b"a" * 99).encode(),
            f"expected Frame(TEXT, {b'a' * 80!r}... (100 bytes)), "
            f"received Frame(TEXT, {b'a' * 80!r}... (99 bytes)); from byte 99 on, b'a' and b''",
        ),
        (
            Frame(TEXT, b"a" * 81),
            Frame(BINARY, b"a" * 81).encode(),
            f"expected Frame(TEXT, {b'a' * 80!r}... (81 bytes)), "
            f"received Frame(BINARY, {b'a' * 80!r}... (81 bytes))",
        ),
    ],
)
async def test_error_says_what_was_expected_and_what_came(
    expected: bytes | Frame, data: bytes, message: str
) -> None:
    peer = await client_hearing(data)
    await fails(lambda: peer.expect(expected), message)


async def test_error_says_that_the_stream_broke() -> None:
    ours, theirs = memory_pair()
    theirs.reset()
    peer = RawPeer(ours, is_client=True)
    await fails(lambda: peer.expect(HELLO), "expected Frame(TEXT, b'hello'), but the stream broke")


async def end(stream: MemoryStream) -> None:
    await stream.aclose()


async def reset(stream: MemoryStream) -> None:
    stream.reset()


@pytest.mark.parametrize("stop", [end, reset])
async def test_end_is_expected(stop: Callable[[MemoryStream], Awaitable[None]]) -> None:
    ours, theirs = memory_pair()
    peer = RawPeer(ours, is_client=True)
    await stop(theirs)
    await peer.expect_end()
    assert await peer.read_rest() == b""
    assert await peer.receive_rest() == []


@pytest.mark.parametrize("read", [True, False], ids=["read", "not read"])
async def test_bytes_instead_of_the_end_are_named(read: bool) -> None:
    peer = await client_hearing(b"xmore" if read else b"more")
    if read:
        await peer.expect(b"x")
    await fails(peer.expect_end, "expected the end of the stream, received b'more'")


async def test_drop_ends_the_stream() -> None:
    client, server = peers()
    await client.drop()
    await server.expect_end()


# The opening handshake


async def test_two_peers_shake_hands() -> None:
    client, server = peers()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.shake_hands)
        await client.shake_hands()
        await server.ready.wait()
    assert client.ready.is_set()
    await server.send(HELLO)
    await client.expect(HELLO)


async def test_accept_answers_as_the_rfc_shows() -> None:
    client, server = peers()
    await client.send(UPGRADE)
    request = await server.accept("Server: test", then=(HELLO,))
    assert request.first_line == "GET / HTTP/1.1"
    assert request.accept == ACCEPT
    await client.expect(SWITCHED[:-2] + b"Server: test\r\n\r\n", HELLO)


async def test_upgrade_asks_with_more_fields_and_does_not_wait_to_say_more() -> None:
    client, server = peers()
    heads: list[Head] = []

    async def upgrade() -> None:
        heads.append(await client.upgrade("Origin: test", target="/a?b", then=(HELLO, b"x")))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(upgrade)
        request = await server.read_head()
        assert request.first_line == "GET /a?b HTTP/1.1"
        assert request.headers["origin"] == "test"
        assert request.headers["host"] == "localhost"
        await server.expect(HELLO, b"x")
        await server.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\n\r\nno!and more")
    assert (heads[0].status, heads[0].body) == (403, b"no!")
    await server.drop()
    assert await client.read_rest() == b"and more"


async def test_head_that_does_not_end_is_named() -> None:
    peer = await server_hearing(b"GET / HT")
    await fails(
        peer.read_head,
        "expected the head of an HTTP message, but the stream ended after b'GET / HT'",
    )


async def test_body_that_does_not_end_is_named() -> None:
    peer = await client_hearing(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\n\r\nno")
    await fails(peer.read_response, "expected a body of 3 bytes, but the stream ended after b'no'")


async def test_request_that_breaks_the_rules_fails_the_handshake() -> None:
    peer = await server_hearing(UPGRADE.replace(b"13", b"8"))
    with pytest.raises(AssertionError, match=r"^expected a request that opens .* got Head\("):
        await peer.shake_hands()
    assert not peer.ready.is_set()


async def test_response_that_breaks_the_rules_fails_the_handshake() -> None:
    peer = await client_hearing(SWITCHED.replace(b"101", b"200"))
    with pytest.raises(AssertionError, match=r"^expected a response that accepts .* got Head\("):
        await peer.shake_hands()
    assert not peer.ready.is_set()


# Frames


async def test_frames_after_the_handshake_in_the_same_segment_are_received() -> None:
    client, server = peers()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.accept)
        await client.upgrade(then=(HELLO,))
    assert await server.receive() == HELLO


async def test_receive_tells_of_the_end_in_the_stream_s_own_words() -> None:
    peer = await client_hearing(b"\x81\x05hello")
    assert await peer.receive() == HELLO
    with pytest.raises(anyio.EndOfStream):
        await peer.receive()


async def test_cancelled_receive_loses_nothing() -> None:
    client, server = peers()
    await server.send(b"\x81\x05he")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(client.receive)
        await settle()
        tasks.cancel_scope.cancel()
    await server.send(b"llo")
    assert await client.receive() == HELLO


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"\x88\x00", (None, "")),
        (b"\x88\x02\x03\xe8", (1000, "")),
        (b"\x88\x05\x0f\xa0n\xc3\xa9", (4000, "né")),
    ],
)
async def test_close_is_received_with_code_and_reason(
    data: bytes, expected: tuple[int | None, str]
) -> None:
    assert await (await client_hearing(data)).receive_close() == expected


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x89\x00", "expected a Close frame, received Frame(PING, b'')"),
        (b"", "expected a Close frame, but the stream ended"),
        (b"\x88\x01\x03", "half a close code (§5.5.1): received Frame(CLOSE, b'\\x03')"),
        (
            b"\x88\x03\x03\xe8\xff",
            "a close reason that is not UTF-8: received Frame(CLOSE, b'\\x03\\xe8\\xff')",
        ),
    ],
)
async def test_what_is_no_close_is_named(data: bytes, message: str) -> None:
    await fails((await client_hearing(data)).receive_close, message)


@pytest.mark.parametrize(("code", "reason"), [(None, ""), (1000, ""), (4000, "né")])
async def test_answer_echoes_the_close_and_ends_the_stream(code: int | None, reason: str) -> None:
    client, server = peers()
    await client.send(close_frame(code, reason))
    assert await server.answer_close() == (code, reason)
    assert await client.receive_rest() == [close_frame(code, reason)]


async def test_frames_up_to_the_close_are_received() -> None:
    peer = await client_hearing(b"\x81\x05hello\x89\x00\x88\x02\x03\xe8")
    assert await peer.receive_to_close() == [HELLO, Frame(PING), close_frame(1000)]


async def test_close_that_never_comes_is_named() -> None:
    peer = await client_hearing(b"\x81\x05hello\x89\x00")
    await fails(peer.receive_to_close, "expected a Close frame, but the stream ended")


async def test_torn_frame_at_the_end_is_named() -> None:
    peer = await client_hearing(b"\x81\x05hello\x81\x05he")
    await fails(
        peer.receive_rest, "expected whole frames, but the stream ended after b'\\x81\\x05he'"
    )


async def test_frame_torn_by_a_reset_is_named() -> None:
    client, server = peers()
    await server.send(b"\x81\x05he")
    with anyio.fail_after(LIMIT):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(
                fails,
                client.receive_rest,
                "expected whole frames, but the stream broke after b'\\x81\\x05he'",
            )
            await settle()
            assert isinstance(server.stream, MemoryStream)
            server.stream.reset()


async def test_round_trip_returns_what_came_before_the_pong() -> None:
    client, server = peers()

    async def answer() -> None:
        ping = await server.receive()
        assert ping.opcode == PING
        await server.send(HELLO, Frame(PONG, b"another"), Frame(PONG, ping.payload))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(answer)
        assert await client.round_trip() == [HELLO, Frame(PONG, b"another")]


async def test_pong_that_never_comes_is_named() -> None:
    client, server = peers()
    await server.send(Frame(BINARY, b"x"))
    await server.stream.send_eof()
    await fails(client.round_trip, "expected a Pong, but the stream ended")
    assert (await server.receive()).opcode == PING


async def test_frames_that_were_not_asked_for_are_answered_by_nobody() -> None:
    client, server = peers()
    await client.send(Frame(PING, b"x"), Frame(CLOSE))
    assert await server.receive_to_close() == [Frame(PING, b"x"), Frame(CLOSE)]
    await server.drop()
    await client.expect_end()
