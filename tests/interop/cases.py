"""What a connection of ours and one of another library do together, whichever is the server.

A class with these cases needs a fixture `meet`, whose value gives both ends of one open connection.

No cell is skipped. Three facts do not show with some peers, and are checked with the others: the
frames of our messages (`aiohttp`, `trio-websocket`), the reason in our reply to a Close
(`aiohttp`), and a reply that repeats our close code (`aiohttp` answers 1000 to any).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TypeAlias

import pytest

import anyws

from .peers import LIMIT, Close, Message, Peer

Meet: TypeAlias = Callable[[], AbstractAsyncContextManager[tuple[anyws.Connection, Peer]]]

MIB = 2**20

MESSAGES = {
    "text": "Grüße, 世界 🎉",
    "binary": bytes(range(256)),
    "empty-text": "",
    "empty-binary": b"",
    # Two bytes a character: 1 MiB on the wire, which is also our limit by default.
    "1-MiB-text": "é" * (MIB // 2),
    "1-MiB-binary": bytes(range(256)) * (MIB // 256),
}

FRAGMENTED: dict[str, Sequence[str] | Sequence[bytes]] = {
    "text": ["one, ", "zwei: ü, ", "三"],
    "binary": [b"\x00" * 125, b"\xff" * 126, b"\x55" * 65536],
}

CLOSES = {
    "1000": Close(1000, "done"),
    "1001-no-reason": Close(1001, ""),
    "3000-not-ascii": Close(3000, "schön, 再见"),
    "4999-longest-reason": Close(4999, "x" * 123),
}

each_message = pytest.mark.parametrize("data", MESSAGES.values(), ids=MESSAGES)
each_fragmented = pytest.mark.parametrize("fragments", FRAGMENTED.values(), ids=FRAGMENTED)
each_close = pytest.mark.parametrize("close", CLOSES.values(), ids=CLOSES)


@pytest.mark.anyio
class InteropCases:
    """The table: inherit it where a fixture `meet` says who meets whom."""

    @each_message
    async def test_message_from_the_peer_arrives_unchanged(
        self, meet: Meet, data: str | bytes
    ) -> None:
        async with meet() as (ours, peer):
            await peer.send(data)
            assert_same(await ours.receive(), data)

    @each_message
    async def test_message_to_the_peer_arrives_unchanged(
        self, meet: Meet, data: str | bytes
    ) -> None:
        async with meet() as (ours, peer):
            await ours.send(data)
            assert_same((await peer.receive()).data, data)

    @each_fragmented
    async def test_fragments_from_the_peer_are_one_message(
        self, meet: Meet, fragments: Sequence[str] | Sequence[bytes]
    ) -> None:
        message = Message.of(*fragments)
        async with meet() as (ours, peer):
            await peer.send_fragments(message)
            assert_same(await ours.receive(), message.data)

    @each_fragmented
    async def test_fragments_to_the_peer_are_one_message_in_as_many_frames(
        self, meet: Meet, fragments: Sequence[str] | Sequence[bytes]
    ) -> None:
        expected = Message.of(*fragments)
        async with meet() as (ours, peer):
            await ours.send(fragments)
            received = await peer.receive()
        assert_same(received.data, expected.data)
        if peer.tells_fragments:
            # An empty frame may end the message: an iterator tells its end too late.
            assert tuple(filter(None, received.fragments)) == expected.fragments

    async def test_empty_fragments_from_the_peer_add_nothing(self, meet: Meet) -> None:
        async with meet() as (ours, peer):
            await peer.send_fragments(Message.of("", "a", "", "b", ""))
            assert await ours.receive_text() == "ab"

    async def test_ping_to_the_peer_is_answered(self, meet: Meet) -> None:
        async with meet() as (ours, _):
            assert 0 <= await ours.ping() < LIMIT

    async def test_ping_from_the_peer_is_answered_while_nobody_receives(self, meet: Meet) -> None:
        async with meet() as (_, peer):
            assert await peer.ping(b"\x00 payload") == b"\x00 payload"

    @each_close
    async def test_our_close_is_seen_by_the_peer_and_answered(
        self, meet: Meet, close: Close
    ) -> None:
        async with meet() as (ours, peer):
            await ours.close(close.code, close.reason or "")
            assert await peer.wait_closed() == close
            reply_code = close.code if peer.echoes_close_code else 1000
            assert ours.close_code == reply_code
            with pytest.raises(anyws.ConnectionClosed) as caught:
                await ours.receive()
        error = caught.value
        assert error.sent is not None
        assert error.received is not None
        assert (error.sent.code, error.sent.reason) == (close.code, close.reason)
        assert error.received.code == reply_code
        assert error.initiator == "local"

    @each_close
    async def test_close_from_the_peer_is_seen_and_answered(self, meet: Meet, close: Close) -> None:
        async with meet() as (ours, peer):
            await peer.close(close.code, close.reason or "")
            with pytest.raises(anyws.ConnectionClosed) as caught:
                await ours.receive()
            reply = await peer.wait_closed()
            assert (ours.close_code, ours.close_reason) == (close.code, close.reason)
        error = caught.value
        is_normal = close.code in (1000, 1001)
        assert isinstance(
            error, anyws.ConnectionClosedOK if is_normal else anyws.ConnectionClosedError
        )
        assert error.received is not None
        assert error.sent is not None
        assert (error.received.code, error.received.reason) == (close.code, close.reason)
        assert error.sent.code == reply.code == close.code
        assert reply.reason in (error.sent.reason, None)
        assert error.initiator == "remote"

    async def test_messages_before_a_close_from_the_peer_are_all_received(self, meet: Meet) -> None:
        sent: list[str | bytes] = ["one", b"two", "three"]
        async with meet() as (ours, peer):
            for data in sent:
                await peer.send(data)
            await peer.close(1000, "")
            assert [message async for message in ours] == sent

    async def test_messages_before_our_close_are_all_received_by_the_peer(self, meet: Meet) -> None:
        sent: list[str | bytes] = ["one", b"two", "three"]
        async with meet() as (ours, peer):
            for data in sent:
                await ours.send(data)
            await ours.close()
            assert [(await peer.receive()).data for _ in sent] == sent
            assert await peer.wait_closed() == Close(1000, "")


def assert_same(received: str | bytes, sent: str | bytes) -> None:
    """Compare type and value, without 1 MiB in the report of a failure."""
    is_same = type(received) is type(sent) and received == sent
    assert is_same, (
        f"sent {len(sent)} of {sent[:40]!r}, received {len(received)} of {received[:40]!r}"
    )
