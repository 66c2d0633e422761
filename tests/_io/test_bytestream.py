"""Tests of `anyws._io.bytestream`, and of TLS over it."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.abc import ByteStream
from anyio.lowlevel import checkpoint
from anyio.streams.tls import TLSStream
from trio.testing import MockClock

from anyws._io.bytestream import ByteStreamTransport
from anyws._io.reactors import new_reactor
from anyws._io.transport import Reactor, Transport
from anyws.testing import MemoryStream, memory_pair

from .conformance import (
    HUGE,
    Check,
    Link,
    Wiring,
    check_transport,
    linked,
    settle,
    wire_memory,
    wire_streams,
)

pytestmark = pytest.mark.anyio

over_memory_and_sockets = pytest.mark.parametrize(
    "wire", [wire_memory, wire_streams], ids=["memory", "socket stream"]
)


@over_memory_and_sockets
@check_transport
async def test_contract_of_a_transport_is_kept(wire: Wiring, check: Check) -> None:
    async with linked(new_reactor(), wire) as link:
        await check(link)


@over_memory_and_sockets
@check_transport
async def test_contract_of_a_transport_is_kept_under_tls(
    wire: Wiring, check: Check, server_ssl: ssl.SSLContext, client_ssl: ssl.SSLContext
) -> None:
    async with linked(new_reactor(), wire, (server_ssl, client_ssl)) as link:
        await check(link)


class Wrapped(ByteStream):
    """A stream around a stream, that behaves as it is told.

    Attributes:
        failures: what the calls of these names raise.
        gate: `send` returns only once this is set, even if it is cancelled.
        closed: whether `aclose` was called.
    """

    def __init__(self, stream: MemoryStream) -> None:
        self.stream = stream
        self.failures: dict[str, Exception] = {}
        self.gate: anyio.Event | None = None
        self.closed = False

    def _fail(self, name: str) -> None:
        if name in self.failures:
            raise self.failures[name]

    async def receive(self, max_bytes: int = 65536) -> bytes:
        await checkpoint()
        self._fail("receive")
        return await self.stream.receive(max_bytes)

    async def send(self, item: bytes) -> None:
        await checkpoint()
        self._fail("send")
        await self.stream.send(item)
        if self.gate is not None:
            with anyio.CancelScope(shield=True):
                await self.gate.wait()

    async def send_eof(self) -> None:
        await checkpoint()
        self._fail("send_eof")
        await self.stream.send_eof()

    async def aclose(self) -> None:
        self.closed = True
        await self.stream.aclose()
        self._fail("aclose")


@asynccontextmanager
async def wrapped(capacity: int | None = None) -> AsyncIterator[tuple[Link, Wrapped]]:
    """Give a link whose transport is over a stream that can be told how to behave."""
    ours, theirs = memory_pair(capacity)
    stream = Wrapped(ours)

    async def wire(reactor: Reactor) -> tuple[Transport, ByteStream]:
        return ByteStreamTransport(reactor, stream), theirs

    async with linked(new_reactor(), wire) as link:
        yield link, stream
    assert stream.closed


async def test_writes_of_a_step_are_sent_in_one_call() -> None:
    async with linked(new_reactor(), wire_memory) as link:
        link.start()
        for n in range(10):
            link.transport.write(b"%d" % n)
        assert await link.peer.receive() == b"0123456789"


async def test_writes_before_run_are_sent_by_it() -> None:
    ours, theirs = memory_pair()
    transport = ByteStreamTransport(new_reactor(), ours)
    transport.write(b"early")
    transport.flush()
    assert transport.unsent == 5
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(transport.run)
        assert await theirs.receive() == b"early"
        transport.abort()
    await theirs.aclose()


async def test_stream_of_a_transport_that_is_aborted_before_run_is_closed_by_it() -> None:
    ours, theirs = memory_pair()
    transport = ByteStreamTransport(new_reactor(), ours)
    transport.abort()
    await transport.run()
    with pytest.raises(anyio.ClosedResourceError):
        await ours.receive()
    with pytest.raises(anyio.EndOfStream):
        await theirs.receive()


@pytest.mark.parametrize("failure", [KeyError("odd"), OSError("broken")], ids=type)
@pytest.mark.parametrize("name", ["receive", "send", "send_eof"])
async def test_whatever_a_stream_raises_is_told_by_lost(name: str, failure: Exception) -> None:
    async with wrapped() as (link, stream):
        stream.failures[name] = failure
        if name != "receive":
            # The peer does not answer, and reading ends by itself.
            await link.peer.send_eof()
        link.start()
        link.transport.write(b"x")
        link.transport.write_eof()
        await link.recorder.until_call("lost")
        assert link.recorder.lost_by is failure


async def test_whatever_a_stream_raises_when_it_is_closed_is_no_news() -> None:
    async with wrapped() as (link, stream):
        stream.failures["aclose"] = KeyError("odd")
        link.start()
        await link.cancel_run()
        assert link.recorder.calls == ["lost"]
        assert link.recorder.lost_by is None


async def test_last_bytes_of_the_peer_are_read_though_a_write_has_failed() -> None:
    async with wrapped() as (link, stream):
        stream.failures["send"] = failure = OSError("broken")
        link.start()
        link.transport.write(b"x")
        await settle()
        link.transport.write(b"ignored")
        link.transport.flush()
        assert link.transport.unsent == 0
        await link.peer.send(HUGE)
        await link.peer.aclose()
        await link.recorder.until_call("lost")
        assert link.recorder.data == HUGE
        assert link.recorder.calls == ["feed", "eof", "lost"]
        assert link.recorder.lost_by is failure


async def test_failure_to_write_comes_before_the_failure_to_read_that_follows() -> None:
    async with wrapped() as (link, stream):
        stream.failures["send"] = failure = OSError("first")
        link.start()
        await settle()
        link.transport.write(b"x")
        await settle()
        stream.failures["receive"] = OSError("second")
        await link.peer.send(b"x")
        await link.recorder.until_call("lost")
        assert link.recorder.lost_by is failure


async def test_nothing_is_told_after_an_abort_during_a_send_that_ends_well() -> None:
    async with wrapped() as (link, stream):
        stream.gate = anyio.Event()
        link.transport.set_low_water(10)
        link.start()
        link.transport.write(bytes(100))
        await settle()
        link.transport.abort()
        await settle()
        stream.gate.set()
        await settle()
        assert link.transport.unsent == 0
        assert link.recorder.calls == ["lost"]


async def test_nothing_is_told_after_an_abort_in_the_step_in_which_the_end_came() -> None:
    async with linked(new_reactor(), wire_memory) as link:
        link.start()
        await settle()
        await link.peer.send_eof()
        link.transport.abort()
        await settle()
        assert link.recorder.calls == ["lost"]


async def test_stream_without_half_close_is_closed_by_write_eof(
    server_ssl: ssl.SSLContext, client_ssl: ssl.SSLContext
) -> None:
    async with over_tls_stream(server_ssl, client_ssl) as link:
        link.start()
        link.transport.write(HUGE)
        link.transport.write_eof()
        assert await link.peer_receives_all() == HUGE
        # It says goodbye, as TLS wants it, and the stream waits for the answer.
        await link.peer.aclose()
        await link.recorder.until_call("lost")
        assert link.recorder.lost_by is None


@asynccontextmanager
async def over_tls_stream(
    server_ssl: ssl.SSLContext, client_ssl: ssl.SSLContext
) -> AsyncIterator[Link]:
    """Give a link whose transport is over anyio's TLS, which has no half-close."""
    ours, theirs = memory_pair()
    streams: list[TLSStream] = []

    async def wrap_ours() -> None:
        streams.append(await TLSStream.wrap(ours, ssl_context=server_ssl))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wrap_ours)
        peer = await TLSStream.wrap(theirs, hostname="localhost", ssl_context=client_ssl)

    async def wire(reactor: Reactor) -> tuple[Transport, ByteStream]:
        return ByteStreamTransport(reactor, streams[0]), peer

    async with linked(new_reactor(), wire) as link:
        yield link


# On a clock that jumps to the next deadline as soon as all tasks wait.
on_a_virtual_clock = pytest.mark.parametrize(
    "anyio_backend", [("trio", {"clock": MockClock(autojump_threshold=0)})], ids=["trio"]
)


@on_a_virtual_clock
async def test_reading_goes_on_for_a_second_after_a_write_has_failed() -> None:
    async with wrapped() as (link, stream):
        stream.failures["send"] = failure = OSError("broken")
        link.start()
        await settle()
        began = anyio.current_time()
        link.transport.write(b"x")
        await link.recorder.until_call("lost")
        assert anyio.current_time() - began == pytest.approx(1)
        assert link.recorder.lost_by is failure


@on_a_virtual_clock
async def test_stream_without_half_close_has_a_second_to_say_goodbye(
    server_ssl: ssl.SSLContext, client_ssl: ssl.SSLContext
) -> None:
    async with over_tls_stream(server_ssl, client_ssl) as link:
        link.start()
        await settle()
        began = anyio.current_time()
        link.transport.write_eof()
        # The peer does not answer.
        await link.recorder.until_call("lost")
        assert anyio.current_time() - began == pytest.approx(1)
        assert link.recorder.lost_by is None
