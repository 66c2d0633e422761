"""TLS that is cut short, and that brings garbage."""

from __future__ import annotations

from collections.abc import Callable, Coroutine

import anyio
from anyio.abc import AnyByteStream
from anyio.streams.tls import TLSStream

from anyws import Connection, ConnectionClosed
from anyws.testing import TEXT, Frame, RawPeer, close_frame

from .faults import fault
from .seen import Seen, broken, clean
from .stage import LOGGER, Stage

__all__: list[str] = []

# RFC 8446 §5.1: the head of a record of application data, here of 100 bytes.
_RECORD = b"\x17\x03\x03\x00\x64"

# The beginning of a message of 100 bytes: the rest never comes.
_BEGUN = Frame(TEXT, b"begun", fin=False)


async def _end(
    stage: Stage, script: Callable[[RawPeer, AnyByteStream], Coroutine[object, object, None]]
) -> Seen:
    """Return how a connection of ours ends when its peer does this, with the stream below TLS."""
    async with stage.tls.scripted(stage.role, logger=LOGGER) as (ws, peer):
        assert isinstance(peer.stream, TLSStream)
        await peer.round_trip()
        began = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(script, peer, peer.stream.transport_stream)
            closed = await _receive_end(ws)
            seconds = anyio.current_time() - began
    return Seen.of(closed, seconds)


async def _receive_end(ws: Connection) -> ConnectionClosed:
    try:
        while True:
            await ws.receive()
    except ConnectionClosed as closed:
        return closed


@fault(
    "TLS ends in the middle of a message, without close_notify",
    broken("EOFError"),
    is_quick=True,
)
async def truncated(stage: Stage) -> Seen:
    async def end(peer: RawPeer, below: AnyByteStream) -> None:
        await peer.send(_BEGUN)
        await below.aclose()

    return await _end(stage, end)


@fault("TLS ends in the middle of a record", broken("EOFError"), is_quick=True)
async def torn_record(stage: Stage) -> Seen:
    async def end(_: RawPeer, below: AnyByteStream) -> None:
        await below.send(_RECORD + bytes(50))
        await below.aclose()

    return await _end(stage, end)


@fault("TLS ends without close_notify after the closing handshake", clean(), is_quick=True)
async def impolite(stage: Stage) -> Seen:
    async def end(peer: RawPeer, below: AnyByteStream) -> None:
        await peer.send(close_frame(1000))
        await peer.expect(close_frame(1000))
        await below.aclose()

    return await _end(stage, end)


@fault("garbage in the place of a record", broken("SSLError"), is_quick=True)
async def garbage(stage: Stage) -> Seen:
    async def end(_: RawPeer, below: AnyByteStream) -> None:
        await below.send(b"this is no record of TLS at all")

    return await _end(stage, end)


@fault("a record that was altered on the way", broken("SSLError"), is_quick=True)
async def altered(stage: Stage) -> Seen:
    async def end(_: RawPeer, below: AnyByteStream) -> None:
        await below.send(_RECORD + bytes(100))

    return await _end(stage, end)
