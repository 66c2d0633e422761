"""Hostile frames over sockets, to either side: what is not tested where the frames are (R-C1, C2).

`test_floods.py` has what comes in great numbers, and `advisories.py` says where the rest is.
"""

from __future__ import annotations

import os

import anyio
import pytest

from anyws import ConnectionClosedError, connect, serve
from anyws.testing import BINARY, CONTINUATION, PING, TEXT, Frame, RawPeer

from ..memory import traced
from ..raw import LIMIT, raw_client, raw_server
from ..scripted import Carrier, Role, both_roles, settle
from ..serving import check_alive, connections, echo

pytestmark = pytest.mark.anyio

TCP = Carrier("tcp")


async def send_on(peer: RawPeer) -> None:
    while True:
        await peer.send(os.urandom(10_000))


@both_roles
@pytest.mark.parametrize("fragments", [0, 2])
@pytest.mark.parametrize(
    ("length", "code"),
    [
        (2**31 - 1, 1009),
        (2**32 - 1000, 1009),
        (2**62, 1009),
        (2**63 - 1, 1009),
        (2**63, 1002),
        (2**64 - 1, 1002),
    ],
)
async def test_declared_length_is_judged_by_the_header(
    role: Role, length: int, code: int, fragments: int
) -> None:
    """The sum with what came before passes 2^31, 2^32, 2^63 and 2^64; nothing is allocated."""
    begun = [Frame(CONTINUATION if n else BINARY, b"x" * 500, fin=False) for n in range(fragments)]
    huge = Frame(CONTINUATION if fragments else BINARY, length=length, length_bytes=9)
    async with TCP.scripted(role, close_timeout=0) as (ws, peer):
        with traced() as peak:
            await peer.send(*begun, huge)
            with pytest.raises(ConnectionClosedError) as caught:
                await ws.receive()
            assert peak() < 1 << 20
        assert caught.value.sent is not None
        assert caught.value.sent.code == code


@both_roles
@pytest.mark.parametrize("bad", [b"\xff\xff", b"\x81\xff" + b"\xff" * 8, b"\x83\x80" + bytes(4)])
async def test_connection_that_failed_ends_though_nobody_receives(role: Role, bad: bytes) -> None:
    """The peer goes on sending, which is read no further than `close_timeout`."""
    async with TCP.scripted(role, close_timeout=0.2) as (ws, peer):
        with traced() as peak:
            await peer.send(bad)
            with pytest.raises(anyio.BrokenResourceError):
                await send_on(peer)
            assert peak() < 1 << 20
        await ws.wait_closed()
        assert ws.stats.unread_bytes == 0
        with pytest.raises(ConnectionClosedError):
            await ws.receive()


@both_roles
async def test_messages_take_no_tasks(role: Role) -> None:
    async with TCP.scripted(role) as (ws, peer):
        await peer.round_trip()
        before = len(anyio.get_running_tasks())
        await peer.send(*[Frame(TEXT, b"hello"), Frame(PING)] * 500)
        await settle()
        assert len(anyio.get_running_tasks()) == before
        for _ in range(500):
            assert await ws.receive() == "hello"
        assert len(anyio.get_running_tasks()) == before


GARBAGE = [b"\xff" * 1000, b"\x00\x00\x00\x00", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00"]


@pytest.mark.parametrize("garbage", GARBAGE)
async def test_garbage_behind_the_request_fails_that_connection_alone(garbage: bytes) -> None:
    async with serve(echo, "127.0.0.1") as server:
        async with raw_client(server.port) as peer:
            assert (await peer.upgrade(then=(garbage,))).status == 101
            assert (await peer.receive_close())[0] == 1002
        await connections(server, 0)
        await check_alive(server)


@pytest.mark.parametrize("garbage", GARBAGE)
async def test_garbage_behind_the_answer_fails_the_connection(garbage: bytes) -> None:
    # A server must not mask, which is what the second byte of each of these comes to (§5.1).
    async with raw_server(lambda peer: peer.accept(then=(garbage,))) as port:
        with anyio.fail_after(LIMIT):
            async with connect(f"ws://127.0.0.1:{port}/", close_timeout=0.1) as ws:
                with pytest.raises(ConnectionClosedError) as caught:
                    await ws.receive()
    assert caught.value.sent is not None
    assert caught.value.sent.code == 1002
